//! The metric families of a simulated engine, printed as a scrape page or as an OTLP request.
//!
//! Always: a family appears only after its first use and a labelled series only after its first label set, as in the engine.

use std::collections::BTreeMap;
use std::fmt::Write;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::model::{Quoted, UnixNanos};

/// Labels of one series, in the order they are printed.
type LabelSet = Vec<(&'static str, String)>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    /// The upper bounds, without +Inf.
    Histogram(&'static [f64]),
}

#[derive(Clone, Debug)]
enum State {
    Number(f64),
    Histogram { buckets: Vec<u64>, sum: f64, count: u64 },
}

#[derive(Clone, Debug)]
struct Family {
    kind: Kind,
    series: BTreeMap<LabelSet, State>,
}

/// Every family of one engine process.
#[derive(Clone, Debug, Default)]
pub struct Families(BTreeMap<String, Family>);

impl Families {
    /// Adds `n` to a counter.
    pub fn add(&mut self, name: &str, labels: &[(&'static str, &str)], n: f64) {
        if let State::Number(v) = self.state(name, Kind::Counter, labels) {
            *v += n;
        }
    }

    /// Sets a gauge.
    pub fn set(&mut self, name: &str, labels: &[(&'static str, &str)], value: f64) {
        if let State::Number(v) = self.state(name, Kind::Gauge, labels) {
            *v = value;
        }
    }

    /// Records `value` in a histogram with these bounds.
    pub fn observe(&mut self, name: &str, bounds: &'static [f64], labels: &[(&'static str, &str)], value: f64) {
        if let State::Histogram { buckets, sum, count } = self.state(name, Kind::Histogram(bounds), labels) {
            buckets[bounds.partition_point(|bound| *bound < value)] += 1;
            *sum += value;
            *count += 1;
        }
    }

    fn state(&mut self, name: &str, kind: Kind, labels: &[(&'static str, &str)]) -> &mut State {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Family { kind, series: BTreeMap::new() });
        }
        let family = self.0.get_mut(name).expect("it was inserted if it was missing");
        assert_eq!(family.kind, kind, "`{name}` is used as two kinds of metric");
        let key = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        family.series.entry(key).or_insert_with(|| match kind {
            Kind::Counter | Kind::Gauge => State::Number(0.0),
            Kind::Histogram(bounds) => State::Histogram { buckets: vec![0; bounds.len() + 1], sum: 0.0, count: 0 },
        })
    }

    /// The page that a scrape of port 6430 gets.
    pub fn page(&self) -> String {
        let mut page = String::new();
        for (name, family) in &self.0 {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            let _ = writeln!(page, "# TYPE {name} {kind}");
            for (labels, state) in &family.series {
                write_series(&mut page, name, family.kind, labels, state);
            }
        }
        page
    }

    /// The OTLP request that the engine's periodic reader sends: cumulative, without units.
    pub fn otlp(&self, resource: &[(&str, &str)], start: UnixNanos, now: UnixNanos) -> ExportMetricsServiceRequest {
        let metrics = self.0.iter().map(|(name, family)| family.otlp(name, start, now)).collect();
        let scope = InstrumentationScope { name: "rivet".into(), ..Default::default() };
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(otlp_resource(resource)),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }],
                ..Default::default()
            }],
        }
    }
}

impl Family {
    fn otlp(&self, name: &str, start: UnixNanos, now: UnixNanos) -> Metric {
        let cumulative = AggregationTemporality::Cumulative.into();
        let numbers = || {
            let point = |(labels, state): (&LabelSet, &State)| match state {
                State::Number(v) => Some(NumberDataPoint {
                    attributes: otlp_attributes(labels),
                    start_time_unix_nano: start.0,
                    time_unix_nano: now.0,
                    value: Some(number_data_point::Value::AsDouble(*v)),
                    ..Default::default()
                }),
                State::Histogram { .. } => None,
            };
            self.series.iter().filter_map(point).collect()
        };
        let data = match self.kind {
            Kind::Counter => metric::Data::Sum(Sum {
                data_points: numbers(),
                aggregation_temporality: cumulative,
                is_monotonic: true,
            }),
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
            Kind::Histogram(bounds) => {
                let point = |(labels, state): (&LabelSet, &State)| match state {
                    State::Histogram { buckets, sum, count } => Some(HistogramDataPoint {
                        attributes: otlp_attributes(labels),
                        start_time_unix_nano: start.0,
                        time_unix_nano: now.0,
                        count: *count,
                        sum: Some(*sum),
                        bucket_counts: buckets.clone(),
                        explicit_bounds: bounds.to_vec(),
                        ..Default::default()
                    }),
                    State::Number(_) => None,
                };
                metric::Data::Histogram(Histogram {
                    data_points: self.series.iter().filter_map(point).collect(),
                    aggregation_temporality: cumulative,
                })
            }
        };
        Metric { name: name.to_owned(), data: Some(data), ..Default::default() }
    }
}

fn write_series(page: &mut String, name: &str, kind: Kind, labels: &LabelSet, state: &State) {
    // Writing to a `String` cannot fail.
    match (kind, state) {
        (Kind::Histogram(bounds), State::Histogram { buckets, sum, count }) => {
            let mut cumulative = 0;
            let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (n, le) in buckets.iter().zip(ends) {
                cumulative += n;
                let _ = writeln!(page, "{name}_bucket{} {cumulative}", label_text(labels, Some(&le)));
            }
            let _ = writeln!(page, "{name}_sum{} {sum}", label_text(labels, None));
            let _ = writeln!(page, "{name}_count{} {count}", label_text(labels, None));
        }
        (_, State::Number(v)) => {
            let _ = writeln!(page, "{name}{} {v}", label_text(labels, None));
        }
        (_, State::Histogram { .. }) => {}
    }
}

fn label_text(labels: &LabelSet, le: Option<&str>) -> String {
    let pairs = labels.iter().map(|(n, v)| (*n, v.as_str())).chain(le.map(|le| ("le", le)));
    let text: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    if text.is_empty() { String::new() } else { format!("{{{}}}", text.join(",")) }
}

/// A resource with these string attributes.
pub(super) fn otlp_resource(attributes: &[(&str, &str)]) -> Resource {
    Resource { attributes: attributes.iter().map(|(n, v)| text(n, v)).collect(), ..Default::default() }
}

/// A string attribute.
pub(super) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn otlp_attributes(labels: &LabelSet) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_holds_cumulative_buckets_and_only_what_was_used() {
        let mut families = Families::default();
        assert_eq!(families.page(), "");
        families.add("a_total", &[("x", "1")], 2.0);
        for value in [0.5, 1.0, 7.0] {
            families.observe("d", &[1.0, 5.0], &[], value);
        }
        let page = families.page();
        assert_eq!(
            page.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>(),
            [
                "a_total{x=\"1\"} 2",
                "d_bucket{le=\"1\"} 2",
                "d_bucket{le=\"5\"} 2",
                "d_bucket{le=\"+Inf\"} 3",
                "d_sum 8.5",
                "d_count 3"
            ]
        );
    }
}
