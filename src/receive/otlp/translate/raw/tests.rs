//! What is found by its bytes against what is decoded: requests made by chance, sent to a translator of each kind.

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar, metric,
    number_data_point,
};
use proptest::prelude::*;

use super::*;
use crate::model::{Stats, Value};
use crate::receive::otlp::translate::{CANONICAL_MARK, Options};

const START: i64 = 1_795_419_400_000;

/// Choices read off bytes made by chance; the first of each when they are used up, so that less is simpler.
struct Tape<'a>(std::slice::Iter<'a, u8>);

impl Tape<'_> {
    fn below(&mut self, n: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or(0)) % n
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Once in `n`.
    fn seldom(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn attributes(tape: &mut Tape<'_>) -> Vec<KeyValue> {
    let mut all: Vec<KeyValue> = Vec::new();
    for _ in 0..tape.below(4) {
        let key = tape.one_of(&["path", "method", "error", "le", "instance", "http.route"]);
        let value = tape.one_of(&["a", "b", "", "/x/1", "guard.actor_runner_failed: 17"]);
        all.push(if tape.seldom(40) { text("password", "hunter2hunter2") } else { text(key, value) });
    }
    all
}

fn nanos(tape: &mut Tape<'_>, now: i64) -> u64 {
    let ms = match tape.below(16) {
        15 => return 0,
        14 => now + 3_600_000,
        _ => now,
    };
    ms as u64 * 1_000_000
}

fn start(tape: &mut Tape<'_>) -> u64 {
    tape.one_of(&[START as u64 * 1_000_000, START as u64 * 1_000_000 + 7_000_000_000, 0])
}

fn exemplars(tape: &mut Tape<'_>, t: u64) -> Vec<Exemplar> {
    let value = Some(exemplar::Value::AsDouble(0.2));
    let exemplar =
        Exemplar { time_unix_nano: t, value, trace_id: vec![7; 16], span_id: vec![1; 8], ..Exemplar::default() };
    if tape.seldom(24) { vec![exemplar] } else { Vec::new() }
}

fn number(tape: &mut Tape<'_>, now: i64) -> NumberDataPoint {
    let value = match tape.below(16) {
        15 => None,
        14 => Some(number_data_point::Value::AsDouble(f64::NAN)),
        13 => Some(number_data_point::Value::AsInt(-3)),
        n => Some(number_data_point::Value::AsDouble(n as f64 * 1.5)),
    };
    let time_unix_nano = nanos(tape, now);
    NumberDataPoint {
        attributes: attributes(tape),
        start_time_unix_nano: start(tape),
        time_unix_nano,
        value,
        flags: u32::from(tape.seldom(24)),
        exemplars: exemplars(tape, time_unix_nano),
    }
}

fn classic(tape: &mut Tape<'_>, now: i64) -> HistogramDataPoint {
    let explicit_bounds = match tape.below(8) {
        7 => vec![2.0, 1.0],
        6 => vec![1.0, f64::INFINITY],
        5 => vec![],
        4 => vec![0.5],
        _ => vec![0.1, 1.0],
    };
    let buckets = if tape.seldom(16) { 1 } else { explicit_bounds.len() + 1 };
    let mut bucket_counts: Vec<u64> = (0..buckets).map(|_| tape.below(5) as u64).collect();
    if explicit_bounds.is_empty() && tape.seldom(2) {
        bucket_counts.clear();
    }
    let time_unix_nano = nanos(tape, now);
    HistogramDataPoint {
        attributes: attributes(tape),
        start_time_unix_nano: start(tape),
        time_unix_nano,
        count: bucket_counts.iter().sum::<u64>() + u64::from(tape.seldom(8)),
        sum: (!tape.seldom(4)).then(|| tape.below(9) as f64),
        bucket_counts,
        explicit_bounds,
        exemplars: exemplars(tape, time_unix_nano),
        flags: u32::from(tape.seldom(24)),
        min: tape.seldom(2).then_some(0.0),
        max: tape.seldom(2).then_some(2.0),
    }
}

fn some<T>(tape: &mut Tape<'_>, now: i64, make: impl Fn(&mut Tape<'_>, i64) -> T) -> Vec<T> {
    (0..tape.below(4)).map(|_| make(tape, now)).collect()
}

fn metric(tape: &mut Tape<'_>, now: i64) -> Metric {
    // The last names are engines', whose free texts are cut and merged.
    let names =
        ["hits", "requests.duration", "", "rivet_guard_proxy_request_errors", "rivet_guard_proxy_request_total"];
    let name = if tape.seldom(60) { "https://user:hunter2@host/" } else { tape.one_of(&names) };
    let aggregation_temporality = tape.one_of(&[2, 2, 2, 2, 1, 0]);
    let data = match tape.below(10) {
        9 => None,
        8 => {
            let point = |tape: &mut Tape<'_>, now| SummaryDataPoint {
                attributes: attributes(tape),
                time_unix_nano: nanos(tape, now),
                count: 3,
                sum: 1.0,
                ..SummaryDataPoint::default()
            };
            Some(metric::Data::Summary(Summary { data_points: some(tape, now, point) }))
        }
        7 => {
            let point = |tape: &mut Tape<'_>, now| ExponentialHistogramDataPoint {
                attributes: attributes(tape),
                time_unix_nano: nanos(tape, now),
                count: 1,
                zero_count: 1,
                ..ExponentialHistogramDataPoint::default()
            };
            let data_points = some(tape, now, point);
            Some(metric::Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality }))
        }
        5 | 6 => Some(metric::Data::Gauge(Gauge { data_points: some(tape, now, number) })),
        3 | 4 => {
            let data_points = some(tape, now, classic);
            Some(metric::Data::Histogram(Histogram { data_points, aggregation_temporality }))
        }
        _ => {
            let data_points = some(tape, now, number);
            let is_monotonic = !tape.seldom(4);
            Some(metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic }))
        }
    };
    let metadata = if tape.seldom(8) { vec![text("prometheus.type", "gauge")] } else { Vec::new() };
    let unit = tape.one_of(&["", "s", "By"]).to_owned();
    Metric { name: name.to_owned(), description: "What it is.".to_owned(), unit, metadata, data }
}

fn scope(tape: &mut Tape<'_>, now: i64) -> ScopeMetrics {
    let is_canonical = tape.seldom(5);
    let mark = AnyValue { value: Some(any_value::Value::BoolValue(true)) };
    let mark = KeyValue { key: CANONICAL_MARK.to_owned(), value: Some(mark), ..KeyValue::default() };
    let scope = InstrumentationScope {
        name: tape.one_of(&["one", "two"]).to_owned(),
        attributes: if is_canonical { vec![mark] } else { Vec::new() },
        ..InstrumentationScope::default()
    };
    let metrics = some(tape, now, metric);
    ScopeMetrics { scope: (!tape.seldom(4)).then_some(scope), metrics, schema_url: String::new() }
}

fn resource(tape: &mut Tape<'_>, now: i64) -> ResourceMetrics {
    let mut attributes = vec![
        text("service.name", tape.one_of(&["rivet", "cart"])),
        text("service.instance.id", tape.one_of(&["a", "b"])),
        text("host.name", "node"),
    ];
    if tape.seldom(8) {
        attributes.truncate(1);
    }
    if tape.seldom(40) {
        attributes.push(text("api_key", "hunter2hunter2"));
    }
    let resource = Resource { attributes, ..Resource::default() };
    let scope_metrics = some(tape, now, scope);
    ResourceMetrics { resource: (!tape.seldom(16)).then_some(resource), scope_metrics, schema_url: String::new() }
}

/// All of it, floats by their bits.
fn read(translated: &Translated) -> (Vec<String>, String) {
    let point = |p: &crate::storage::Point| match &p.value {
        Value::Float(v) => format!("{} {:x} @{}", p.labels, v.to_bits(), p.t.0),
        Value::Histogram(h) => format!("{} {h:?} @{}", p.labels, p.t.0),
    };
    let mut rest = translated.clone();
    let points = rest.batch.points.drain(..).map(|p| point(&p)).collect();
    (points, format!("{rest:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Few names, attributes and senders, so that most of a request has been seen before.
    #[test]
    fn requests_become_the_same_whether_they_are_known_or_decoded(
        tapes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..8),
        scope_labels in any::<bool>(),
    ) {
        let options = Options { scope_labels, ..Options::default() };
        let (knowing, decoding) = (Translator::new(options.clone()), Translator::new(options));
        let (own, others) = (Redactor::default(), Redactor::default());
        for (n, tape) in tapes.iter().chain(&tapes).enumerate() {
            let now = START + n as i64 * 15_000;
            let mut tape = Tape(tape.iter());
            let request = ExportMetricsServiceRequest { resource_metrics: some(&mut tape, now, resource) };
            let message = request.encode_to_vec();
            let known = knowing.raw_metrics(&message, &own, None, TimestampMs(now)).expect("it was just encoded");
            let decoded = decoding.decoded(&message, &others, None, TimestampMs(now)).expect("it was just encoded");
            prop_assert_eq!(read(&known), read(&decoded));
        }
        prop_assert_eq!(own.rows(), others.rows());
    }

    #[test]
    fn bytes_are_refused_as_they_are_when_they_are_decoded(
        tape in prop::collection::vec(any::<u8>(), 0..400),
        broken in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let translator = Translator::new(Options::default());
        let redactor = Redactor::default();
        let now = TimestampMs(START);
        let mut tape = Tape(tape.iter());
        let request = ExportMetricsServiceRequest { resource_metrics: some(&mut tape, START, resource) };
        let mut message = request.encode_to_vec();
        // What was known before must not make a broken message whole.
        translator.raw_metrics(&message, &redactor, None, now).expect("it was just encoded");
        if !message.is_empty() {
            broken.iter().for_each(|(at, byte)| *at.get_mut(&mut message) = *byte);
        }
        let fresh = Translator::new(Options::default());
        let expected = fresh.decoded(&message, &redactor, None, now).map_err(|e| e.to_string()).map(|t| t.received);
        let found = translator.raw_metrics(&message, &redactor, None, now).map(|t| t.received);
        prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?} {:?}", found, expected);
        if let (Ok(found), Ok(expected)) = (found, expected) {
            prop_assert_eq!(found, expected);
        }
    }
}

/// In the steady state nothing is decoded.
#[test]
fn what_came_before_is_known() {
    let translator = Translator::new(Options::default());
    let redactor = Redactor::default();
    let request = |value: f64, t: i64| {
        let point = |path| NumberDataPoint {
            attributes: vec![text("path", path)],
            time_unix_nano: t as u64 * 1_000_000,
            value: Some(number_data_point::Value::AsDouble(value)),
            ..NumberDataPoint::default()
        };
        let gauge = metric::Data::Gauge(Gauge { data_points: vec![point("/a"), point("/b")] });
        let metric = Metric { name: "open".to_owned(), data: Some(gauge), ..Metric::default() };
        let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
    };
    let send = |value, t| translator.raw_metrics(&request(value, t), &redactor, None, TimestampMs(t)).unwrap();
    let first = send(1.0, START);
    assert_eq!(translator.memory().known_series, 2);
    let second = send(2.0, START + 15_000);
    // The very labels that were learned, not equal ones.
    for (first, second) in first.batch.points.iter().zip(&second.batch.points) {
        let place = |labels: &crate::model::Labels| labels.get("path").map(str::as_ptr);
        assert_eq!(place(&first.labels), place(&second.labels));
    }
    assert_eq!(second.batch.points.len(), 2);
    assert_eq!(second.accepted, 2);
}
