//! Translation of each data type, and of what is wrong with a point.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, NumberDataPoint, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;
use crate::model::is_stale_nan;

const START: i64 = 1_795_419_400_000;
const DELTA: AggregationTemporality = AggregationTemporality::Delta;
const CUMULATIVE: AggregationTemporality = AggregationTemporality::Cumulative;

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn nanos(ms: i64) -> u64 {
    ms as u64 * 1_000_000
}

fn number(v: f64, start: i64, t: i64, attributes: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.iter().map(|(k, v)| text(k, v)).collect(),
        start_time_unix_nano: nanos(start),
        time_unix_nano: nanos(t),
        value: Some(number_data_point::Value::AsDouble(v)),
        ..Default::default()
    }
}

fn sum(name: &str, temporality: AggregationTemporality, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum { data_points, aggregation_temporality: temporality as i32, is_monotonic: true };
    Metric { name: name.into(), data: Some(metric::Data::Sum(sum)), ..Default::default() }
}

fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric { name: name.into(), data: Some(metric::Data::Gauge(Gauge { data_points })), ..Default::default() }
}

fn request(resource: &[(&str, &str)], metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let attributes = resource.iter().map(|(k, v)| text(k, v)).collect();
    let resource = Some(Resource { attributes, ..Default::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }],
    }
}

const CART: &[(&str, &str)] = &[("service.name", "cart"), ("service.instance.id", "c-1")];

fn translator() -> Translator {
    Translator::new(Options { target_info: false, ..Options::default() })
}

/// Points as `series value @seconds after START`.
fn lines(translated: &Translated) -> Vec<String> {
    let line = |p: &Point| match &p.value {
        Value::Float(v) if is_stale_nan(*v) => format!("{} stale @{}", p.labels, (p.t.0 - START) / 1_000),
        Value::Float(v) => format!("{} {v} @{}", p.labels, (p.t.0 - START) / 1_000),
        Value::Histogram(h) => format!("{} count={} @{}", p.labels, h.count, (p.t.0 - START) / 1_000),
    };
    translated.batch.points.iter().map(line).collect()
}

fn at(translator: &Translator, resource: &[(&str, &str)], metrics: Vec<Metric>, t: i64) -> Translated {
    translator.metrics(&request(resource, metrics), None, TimestampMs(t))
}

#[test]
fn deltas_add_up_from_a_zero_at_their_start() {
    let translator = translator();
    let delta = |v, start, t| vec![sum("hits", DELTA, vec![number(v, START + start, START + t, &[])])];
    let mut all = lines(&at(&translator, CART, delta(5.0, 0, 10_000), START + 10_000));
    all.extend(lines(&at(&translator, CART, delta(2.0, 10_000, 20_000), START + 20_000)));
    let late = at(&translator, CART, delta(9.0, 0, 15_000), START + 21_000);
    assert_eq!(late.refusals.by_reason(), [("delta_out_of_order", 1)]);
    let series = r#"hits_total{instance="c-1", job="cart"}"#;
    assert_eq!(all, [format!("{series} 0 @0"), format!("{series} 5 @10"), format!("{series} 7 @20")]);
}

#[test]
fn delta_histograms_add_up_in_every_part() {
    let translator = translator();
    let delta = |t: i64| {
        let point = HistogramDataPoint {
            start_time_unix_nano: nanos(START + t - 10_000),
            time_unix_nano: nanos(START + t),
            count: 3,
            sum: Some(1.5),
            bucket_counts: vec![1, 2],
            explicit_bounds: vec![0.5],
            ..Default::default()
        };
        let histogram = Histogram { data_points: vec![point], aggregation_temporality: DELTA as i32 };
        vec![Metric { name: "lag".into(), data: Some(metric::Data::Histogram(histogram)), ..Default::default() }]
    };
    at(&translator, CART, delta(10_000), START + 10_000);
    let second = lines(&at(&translator, CART, delta(20_000), START + 20_000));
    assert_eq!(
        second,
        [
            r#"lag_sum{instance="c-1", job="cart"} 3 @20"#,
            r#"lag_count{instance="c-1", job="cart"} 6 @20"#,
            r#"lag_bucket{instance="c-1", job="cart", le="0.5"} 2 @20"#,
            r#"lag_bucket{instance="c-1", job="cart", le="+Inf"} 6 @20"#,
        ]
    );
}

#[test]
fn a_counter_born_on_a_known_instance_counts_from_zero() {
    let translator = translator();
    let page = |t: i64, codes: &[&str]| {
        let points = codes.iter().map(|code| number(114.0, START, START + t, &[("code", code)])).collect();
        vec![sum("errors", CUMULATIVE, points), gauge("level", vec![number(1.0, 0, START + t, &[])])]
    };
    let first = at(&translator, CART, page(15_000, &["200"]), START + 15_000);
    assert_eq!(first.zeros, 0, "nothing is known of the time before the first page");
    let second = at(&translator, CART, page(30_000, &["200", "429"]), START + 30_000);
    assert_eq!(second.zeros, 1);
    assert_eq!(
        lines(&second),
        [
            r#"errors_total{code="200", instance="c-1", job="cart"} 114 @30"#,
            r#"errors_total{code="429", instance="c-1", job="cart"} 0 @15"#,
            r#"errors_total{code="429", instance="c-1", job="cart"} 114 @30"#,
            r#"level{instance="c-1", job="cart"} 1 @30"#,
        ]
    );
    let other = at(&translator, &[("service.name", "new")], page(30_000, &["500"]), START + 30_000);
    assert_eq!(other.zeros, 0, "another instance has its own first page");
}

#[test]
fn two_processes_under_one_identity_are_split_by_start() {
    let translator = translator();
    let engine = &[("service.name", "rivet")];
    let page = |n: i64, start: i64| {
        let point = number(1.0, START + start, START + n * 15_000, &[("signal_name", "x")]);
        vec![sum("rivet_gasoline_signal_published", CUMULATIVE, vec![point])]
    };
    let mut instances = Vec::new();
    let mut conflicts = 0;
    for n in 1..=6 {
        let translated = at(&translator, engine, page(n, if n % 2 == 0 { 2_000 } else { 1_000 }), START + n * 15_000);
        conflicts += translated.identity_conflicts;
        let points = &translated.batch.points;
        instances.extend(points.iter().filter_map(|p| p.labels.get("instance")).map(str::to_owned));
    }
    let split = [format!("localhost#{}", START + 1_000), format!("localhost#{}", START + 2_000)];
    assert_eq!(instances[4..], split, "after the older start came back twice");
    assert_eq!((instances[0].as_str(), conflicts), ("localhost", 2));
}

#[test]
fn engines_of_different_addresses_stay_apart_and_only_engines_are_renamed() {
    let translator = translator();
    let metrics = || vec![sum("gasoline_signal_published", CUMULATIVE, vec![number(1.0, 0, START, &[])])];
    let from = |service: &str, peer: &str| {
        let request = request(&[("service.name", service)], metrics());
        lines(&translator.metrics(&request, Some(peer.parse().unwrap()), TimestampMs(START))).remove(0)
    };
    let canonical = "rivet_gasoline_signal_published_total";
    assert_eq!(from("rivet", "10.0.0.1"), format!(r#"{canonical}{{instance="10.0.0.1", job="rivet"}} 1 @0"#));
    assert_eq!(from("rivet", "::ffff:10.0.0.2"), format!(r#"{canonical}{{instance="10.0.0.2", job="rivet"}} 1 @0"#));
    assert_eq!(from("rivet", "127.0.0.1"), format!(r#"{canonical}{{instance="localhost", job="rivet"}} 1 @0"#));
    assert_eq!(from("shop", "10.0.0.1"), r#"gasoline_signal_published_total{instance="10.0.0.1", job="shop"} 1 @0"#);
}

#[test]
fn series_that_become_one_when_a_label_is_cut_are_added_up() {
    let translator = translator();
    let attributes = |error: &'static str| [("error", error)];
    let points = ["no upstream: 10.0.0.1:80", "no upstream: 10.0.0.2:80"]
        .map(|error| number(4.0, 0, START, &attributes(error)))
        .to_vec();
    let metrics = vec![sum("rivet_guard_proxy_request_errors_total", CUMULATIVE, points)];
    let translated = at(&translator, &[("service.name", "rivet")], metrics, START);
    let sums: Vec<&Point> = translated.batch.points.iter().collect();
    assert_eq!((sums.len(), translated.merged, translated.accepted), (1, 1, 2), "{:?}", lines(&translated));
    assert_eq!(sums[0].value, Value::Float(8.0));
}

#[test]
fn nan_bits_do_not_make_a_point_stale_but_the_flag_does() {
    let translator = translator();
    let stale_bits = f64::from_bits(crate::model::STALE_NAN_BITS);
    let mut flagged = number(1.0, 0, START, &[("n", "flag")]);
    flagged.flags = 1;
    let points = vec![number(stale_bits, 0, START, &[("n", "bits")]), flagged];
    let translated = at(&translator, CART, vec![gauge("g", points)], START);
    assert_eq!(
        lines(&translated),
        [r#"g{instance="c-1", job="cart", n="bits"} NaN @0"#, r#"g{instance="c-1", job="cart", n="flag"} stale @0"#]
    );
}

#[test]
fn options_keep_dots_promote_attributes_and_add_scopes() {
    let options = Options {
        keeps_utf8: true,
        scope_labels: true,
        target_info: false,
        promote: vec!["deployment.environment.name".into()],
        ..Options::default()
    };
    let resource = [("service.name", "cart"), ("service.instance.id", "c"), ("deployment.environment.name", "prod")];
    let mut request = request(&resource, vec![gauge("queue.depth", vec![number(1.0, 0, START, &[("a.b", "x")])])]);
    request.resource_metrics[0].scope_metrics[0].scope =
        Some(InstrumentationScope { name: "lib".into(), version: "1".into(), ..Default::default() });
    let translated = Translator::new(options).metrics(&request, None, TimestampMs(START));
    assert_eq!(
        lines(&translated),
        [concat!(
            r#"{"queue.depth", "a.b"="x", "deployment.environment.name"="prod", instance="c", job="cart", "#,
            r#"otel_scope_name="lib", otel_scope_version="1"} 1 @0"#
        )]
    );
}

#[test]
fn the_final_mark_is_honoured_per_scope() {
    let translator = translator();
    let mut request = request(CART, vec![gauge("rivet:cpu_usage:cores", vec![number(1.0, 0, START, &[("job", "x")])])]);
    let value = AnyValue { value: Some(any_value::Value::BoolValue(true)) };
    let mark = KeyValue { key: CANONICAL_MARK.into(), value: Some(value), ..Default::default() };
    request.resource_metrics[0].scope_metrics[0].scope =
        Some(InstrumentationScope { attributes: vec![mark], ..Default::default() });
    let translated = translator.metrics(&request, Some("10.1.1.1".parse().unwrap()), TimestampMs(START));
    assert_eq!(lines(&translated), [r#"rivet:cpu_usage:cores{instance="c-1", job="cart"} 1 @0"#]);
}

mod properties {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    proptest! {
        /// Whatever bytes parse as a request, the books balance and nothing panics.
        #[test]
        fn every_data_point_is_accounted_for(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(request) = ExportMetricsServiceRequest::decode(bytes.as_slice()) {
                let translated = translator().metrics(&request, None, TimestampMs(START));
                prop_assert_eq!(translated.received, translated.accepted + translated.refusals.total());
            }
        }

        #[test]
        fn hostile_points_are_accounted_for(
            points in prop::collection::vec(
                (any::<f64>(), any::<u64>(), any::<u64>(), any::<u32>(), any::<i32>(), any::<i32>(), prop::collection::vec(any::<u64>(), 0..6)),
                0..20,
            ),
            temporality in -1i32..4,
            delta_limit in 0usize..4,
        ) {
            use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
            use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogram, ExponentialHistogramDataPoint};
            let exponential = points.iter().map(|(v, start, t, flags, scale, offset, counts)| ExponentialHistogramDataPoint {
                start_time_unix_nano: *start,
                time_unix_nano: *t,
                sum: Some(*v),
                scale: *scale,
                zero_count: u64::from(*flags),
                positive: Some(Buckets { offset: *offset, bucket_counts: counts.clone() }),
                flags: *flags & 1,
                ..Default::default()
            });
            let classic = points.iter().map(|(v, start, t, flags, _, _, counts)| HistogramDataPoint {
                start_time_unix_nano: *start,
                time_unix_nano: *t,
                count: u64::from(*flags),
                sum: Some(*v),
                bucket_counts: counts.clone(),
                explicit_bounds: counts.iter().skip(1).map(|n| *n as f64).collect(),
                flags: *flags & 1,
                ..Default::default()
            });
            let exponential = ExponentialHistogram { data_points: exponential.collect(), aggregation_temporality: temporality };
            let classic = Histogram { data_points: classic.collect(), aggregation_temporality: temporality };
            let metrics = vec![
                Metric { name: "e".into(), data: Some(metric::Data::ExponentialHistogram(exponential)), ..Default::default() },
                Metric { name: "c".into(), data: Some(metric::Data::Histogram(classic)), ..Default::default() },
            ];
            let translator = Translator::new(Options { delta_series_max: delta_limit, ..Options::default() });
            let translated = translator.metrics(&request(CART, metrics), None, TimestampMs(START));
            prop_assert_eq!(translated.received, 2 * points.len() as u64);
            prop_assert_eq!(translated.received, translated.accepted + translated.refusals.total());
        }
    }
}
