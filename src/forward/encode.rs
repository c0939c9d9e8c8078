//! Points of series as an OTLP metrics request that the next rivetwatch stores unchanged.
//!
//! In:  points and metadata as they would go to the store.   Out: [`Encoded`].
//! Always: names and labels are final and marked so ([`CANONICAL_MARK`]): `job` and `instance` travel as
//! `service.name` and `service.instance.id`, other labels as attributes, staleness markers as points without a
//! recorded value. Limits: native histograms travel when their counts are whole numbers and their buckets exponential.

use hashbrown::HashMap;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::model::{FloatHistogram, METRIC_NAME, Metadata, MetricKind, Span, TimestampMs, Value, is_stale_nan};
use crate::storage::Point;

/// The scope attribute that says that names and labels are final; the receiver knows it by the same name.
pub const CANONICAL_MARK: &str = "rivetwatch.canonical";

/// Metric metadata: the family's type and, where it is not the series' own, its name.
const TYPE_KEY: &str = "prometheus.type";
const FAMILY_KEY: &str = "rivetwatch.family";

/// Most buckets on one side of a native histogram, gaps included.
const BUCKETS_MAX: i64 = 16_384;

/// What became of the points.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    pub request: ExportMetricsServiceRequest,
    /// Points in the request.
    pub points: u64,
    /// Points that OTLP cannot carry: `no_name`, `no_time` (at or before 1970), `float_histogram`.
    pub refused: Vec<(&'static str, u64)>,
}

/// One metric being filled: the points of one series name and source.
struct Family<'a> {
    metadata: Option<&'a (String, Metadata)>,
    numbers: Vec<NumberDataPoint>,
    histograms: Vec<ExponentialHistogramDataPoint>,
}

/// The metrics of one source, by series name.
type Families<'a> = Vec<(&'a str, Family<'a>)>;

/// Encodes points; `metadata` is by family name, as in a batch.
pub fn points_to_otlp(points: &[Point], metadata: &[(String, Metadata)]) -> Encoded {
    let known: HashMap<&str, &(String, Metadata)> = metadata.iter().map(|entry| (entry.0.as_str(), entry)).collect();
    let mut sources: Vec<((&str, &str), Families<'_>)> = Vec::new();
    let mut places: HashMap<(&str, &str), usize> = HashMap::new();
    let mut names: HashMap<(usize, &str), usize> = HashMap::new();
    let mut encoded = Encoded::default();
    let mut refuse = |reason: &'static str| match encoded.refused.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, n)) => *n += 1,
        None => encoded.refused.push((reason, 1)),
    };
    for point in points {
        let name = point.labels.metric_name();
        if name.is_empty() {
            refuse("no_name");
            continue;
        }
        let Some(time_unix_nano) = nanos(point.t) else {
            refuse("no_time");
            continue;
        };
        let histogram = match &point.value {
            Value::Histogram(histogram) => match exponential(histogram) {
                Some(data) => {
                    Some(ExponentialHistogramDataPoint { attributes: attributes(point), time_unix_nano, ..data })
                }
                None => {
                    refuse("float_histogram");
                    continue;
                }
            },
            Value::Float(_) => None,
        };
        let label = |name| point.labels.get(name).unwrap_or("");
        let source = (label("job"), label("instance"));
        let place = *places.entry(source).or_insert_with(|| {
            sources.push((source, Vec::new()));
            sources.len() - 1
        });
        let families = &mut sources[place].1;
        let at = *names.entry((place, name)).or_insert_with(|| {
            let metadata = family_of(name, &known);
            families.push((name, Family { metadata, numbers: Vec::new(), histograms: Vec::new() }));
            families.len() - 1
        });
        encoded.points += 1;
        match (histogram, &point.value) {
            (Some(histogram), _) => families[at].1.histograms.push(histogram),
            (None, Value::Float(v)) => families[at].1.numbers.push(number(point, *v, time_unix_nano)),
            (None, Value::Histogram(_)) => {}
        }
    }
    encoded.request.resource_metrics =
        sources.into_iter().map(|(source, families)| resource(source, families)).collect();
    encoded
}

fn resource((job, instance): (&str, &str), families: Families<'_>) -> ResourceMetrics {
    let identity = [("service.name", job), ("service.instance.id", instance)];
    let attributes = identity.into_iter().filter(|(_, v)| !v.is_empty()).map(|(key, value)| text(key, value));
    let mark = KeyValue {
        key: CANONICAL_MARK.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::BoolValue(true)) }),
        ..KeyValue::default()
    };
    let scope = InstrumentationScope {
        name: "rivetwatch".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        attributes: vec![mark],
        ..InstrumentationScope::default()
    };
    let metrics = families.into_iter().flat_map(|(name, family)| family.metrics(name)).collect();
    ResourceMetrics {
        resource: Some(Resource { attributes: attributes.collect(), ..Resource::default() }),
        scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
        ..ResourceMetrics::default()
    }
}

impl Family<'_> {
    fn metrics(self, name: &str) -> Vec<Metric> {
        let kind = self.metadata.map_or(MetricKind::Unknown, |(_, m)| m.kind);
        let base = Metric {
            name: name.to_owned(),
            description: self.metadata.map_or_else(String::new, |(_, m)| m.help.clone()),
            unit: self.metadata.map_or_else(String::new, |(_, m)| m.unit.clone()),
            metadata: match self.metadata {
                Some((family, _)) => vec![text(TYPE_KEY, kind.as_str()), text(FAMILY_KEY, family)],
                None => vec![text(TYPE_KEY, kind.as_str())],
            },
            data: None,
        };
        let mut metrics = Vec::new();
        if !self.numbers.is_empty() {
            // Parts of histograms and summaries count up too, all but the quantiles, which have the bare name.
            let is_part = self.metadata.is_some_and(|(family, _)| family != name);
            let counts_up = match kind {
                MetricKind::Counter => true,
                MetricKind::Histogram | MetricKind::Summary => is_part,
                _ => false,
            };
            let data = match counts_up {
                true => metric::Data::Sum(Sum {
                    data_points: self.numbers,
                    aggregation_temporality: AggregationTemporality::Cumulative as i32,
                    is_monotonic: true,
                }),
                false => metric::Data::Gauge(Gauge { data_points: self.numbers }),
            };
            metrics.push(Metric { data: Some(data), ..base.clone() });
        }
        if !self.histograms.is_empty() {
            let data = metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.histograms,
                aggregation_temporality: AggregationTemporality::Cumulative as i32,
            });
            metrics.push(Metric { data: Some(data), ..base });
        }
        metrics
    }
}

fn family_of<'a>(name: &str, known: &HashMap<&str, &'a (String, Metadata)>) -> Option<&'a (String, Metadata)> {
    let suffixes = ["", "_bucket", "_sum", "_count", "_total"];
    suffixes.iter().find_map(|suffix| known.get(name.strip_suffix(suffix)?).copied())
}

fn number(point: &Point, v: f64, time_unix_nano: u64) -> NumberDataPoint {
    let is_stale = is_stale_nan(v);
    NumberDataPoint {
        attributes: attributes(point),
        time_unix_nano,
        flags: if is_stale { DataPointFlags::NoRecordedValueMask as u32 } else { 0 },
        value: (!is_stale).then_some(number_data_point::Value::AsDouble(v)),
        ..NumberDataPoint::default()
    }
}

/// The histogram's data without attributes and time; `None` when OTLP cannot carry it unchanged.
fn exponential(histogram: &FloatHistogram) -> Option<ExponentialHistogramDataPoint> {
    if !(-4..=8).contains(&histogram.schema) {
        return None;
    }
    Some(ExponentialHistogramDataPoint {
        count: whole(histogram.count)?,
        sum: Some(histogram.sum),
        scale: histogram.schema,
        zero_count: whole(histogram.zero_count)?,
        zero_threshold: histogram.zero_threshold,
        positive: Some(buckets(&histogram.positive_spans, &histogram.positive_buckets)?),
        negative: Some(buckets(&histogram.negative_spans, &histogram.negative_buckets)?),
        ..ExponentialHistogramDataPoint::default()
    })
}

/// Spans and their buckets as one run, empty buckets filled in; OTLP's indices are one below.
fn buckets(spans: &[Span], counts: &[f64]) -> Option<Buckets> {
    let Some(first) = spans.first() else { return Some(Buckets::default()) };
    let offset = i64::from(first.offset) - 1;
    let width: i64 = spans.iter().skip(1).map(|s| i64::from(s.offset)).sum::<i64>()
        + spans.iter().map(|s| i64::from(s.length)).sum::<i64>();
    if !(0..=BUCKETS_MAX).contains(&width) || spans.iter().skip(1).any(|s| s.offset < 0) {
        return None;
    }
    let mut bucket_counts = Vec::with_capacity(usize::try_from(width).ok()?);
    let mut counts = counts.iter();
    for (at, span) in spans.iter().enumerate() {
        if at > 0 {
            bucket_counts.extend(std::iter::repeat_n(0, usize::try_from(span.offset).ok()?));
        }
        for _ in 0..span.length {
            bucket_counts.push(whole(*counts.next()?)?);
        }
    }
    Some(Buckets { offset: i32::try_from(offset).ok()?, bucket_counts })
}

/// A count that is a whole number small enough to be exact as a double.
fn whole(n: f64) -> Option<u64> {
    (n >= 0.0 && n.fract() == 0.0 && n <= 9_007_199_254_740_992.0).then_some(n as u64)
}

fn nanos(t: TimestampMs) -> Option<u64> {
    u64::try_from(t.0).ok().filter(|ms| *ms > 0)?.checked_mul(1_000_000)
}

fn attributes(point: &Point) -> Vec<KeyValue> {
    let inside = |name: &str| !matches!(name, METRIC_NAME | "job" | "instance");
    point.labels.iter().filter(|(name, _)| inside(name)).map(|(name, value)| text(name, value)).collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// Data points of a metric, whatever their type.
pub(super) fn data_points(metric: &Metric) -> u64 {
    let points = match &metric.data {
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(metric::Data::Sum(sum)) => sum.data_points.len(),
        Some(metric::Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(metric::Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    points as u64
}
