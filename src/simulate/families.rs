//! The metric families of one simulated process, printed as a scrape page or as an OTLP request.
//!
//! In:  what happened, under canonical names.   Out: the names, labels and bounds of the release that the process is.
//! Always: a family appears only after its first use and a labelled series only after its first label set, as in the
//! engine. The text of a series is made once; a page only writes the numbers.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::chance::{Chance, Latency};
use super::engine::Release;
use crate::model::{Quoted, UnixNanos};
use crate::rivet::{inventory, names};

/// Up to so many observations are drawn one by one; beyond, their distribution is.
const DRAWN_MAX: u64 = 24;

/// Which families are recorded.
#[derive(Clone, Debug, Default)]
pub enum Wanted {
    #[default]
    All,
    /// Canonical family names.
    Only(Arc<HashSet<String>>),
}

impl Wanted {
    /// Whether the family with this canonical name is recorded.
    pub fn has(&self, family: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(family),
        }
    }
}

/// Labels of one series, canonical, in the order in which they are printed.
pub type LabelSlice<'a> = &'a [(&'static str, &'a str)];

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
struct Series {
    labels: LabelSet,
    /// What stands before each number of the series on a page.
    lines: Vec<String>,
    state: State,
}

#[derive(Clone, Debug)]
struct Family {
    /// The name that this release sends; `None` where it lacks the family.
    sent: Option<String>,
    kind: Kind,
    series: Vec<Series>,
}

/// Every family of one process.
#[derive(Clone, Debug)]
pub struct Families {
    /// `None`: not an engine; names are sent as they are recorded.
    release: Option<Release>,
    wanted: Wanted,
    families: BTreeMap<&'static str, Family>,
}

impl Families {
    /// Those of an engine of this release.
    pub fn engine(release: Release, wanted: Wanted) -> Self {
        Self { release: Some(release), wanted, families: BTreeMap::new() }
    }

    /// Those of other software.
    pub fn other() -> Self {
        Self { release: None, wanted: Wanted::All, families: BTreeMap::new() }
    }

    /// Forgets everything, as a process that begins anew.
    pub fn clear(&mut self) {
        self.families.clear();
    }

    /// Whether the family has been used.
    pub fn has(&self, family: &str) -> bool {
        self.families.contains_key(family)
    }

    /// Adds `n` to a counter. Zero makes the series appear.
    pub fn add(&mut self, name: &'static str, labels: LabelSlice<'_>, n: f64) {
        if let Some(State::Number(v)) = self.state(name, Kind::Counter, labels) {
            *v += n;
        }
    }

    /// Adds `n` to a counter, unless it is zero: what never happened has no series.
    pub fn add_some(&mut self, name: &'static str, labels: LabelSlice<'_>, n: u64) {
        if n > 0 {
            self.add(name, labels, n as f64);
        }
    }

    /// Sets a gauge.
    pub fn set(&mut self, name: &'static str, labels: LabelSlice<'_>, value: f64) {
        if let Some(State::Number(v)) = self.state(name, Kind::Gauge, labels) {
            *v = value;
        }
    }

    /// Forgets the series of a gauge that are not told any more.
    pub fn forget(&mut self, name: &str) {
        self.families.remove(name);
    }

    /// Records `n` equal values in a histogram.
    pub fn observe(&mut self, name: &'static str, labels: LabelSlice<'_>, value: f64, n: u64) {
        if n == 0 {
            return;
        }
        let kind = Kind::Histogram(bounds_of(name));
        if let (Kind::Histogram(bounds), Some(State::Histogram { buckets, sum, count })) =
            (kind, self.state(name, kind, labels))
        {
            buckets[bounds.partition_point(|bound| *bound < value)] += n;
            *sum += value * n as f64;
            *count += n;
        }
    }

    /// Records `n` durations in a histogram.
    pub fn time(&mut self, name: &'static str, labels: LabelSlice<'_>, n: u64, latency: Latency, chance: &mut Chance) {
        if n == 0 || !self.wanted.has(name) {
            return;
        }
        if n <= DRAWN_MAX {
            for _ in 0..n {
                let seconds = chance.seconds(latency);
                self.observe(name, labels, seconds, 1);
            }
            return;
        }
        let bounds = bounds_of(name);
        let start = chance.unit();
        let Some(State::Histogram { buckets, sum, count }) = self.state(name, Kind::Histogram(bounds), labels) else {
            return;
        };
        // Systematic sampling: evenly spaced ranks from a random start, so that the parts add up to `n`.
        let mut below = 0;
        for (i, bucket) in buckets.iter_mut().enumerate() {
            let until = match bounds.get(i) {
                Some(bound) => ((n as f64 * latency.share_until(*bound) + start).floor() as u64).min(n),
                None => n,
            };
            *bucket += until.saturating_sub(below);
            below = below.max(until);
        }
        *sum += latency.mean() * n as f64;
        *count += n;
    }

    fn state(&mut self, name: &'static str, kind: Kind, labels: LabelSlice<'_>) -> Option<&mut State> {
        if !self.families.contains_key(name) {
            if !self.wanted.has(name) {
                return None;
            }
            let sent = self.release.map_or_else(|| Some(name.to_owned()), |release| release.name_of(name));
            self.families.insert(name, Family { sent, kind, series: Vec::new() });
        }
        let release = self.release;
        let family = self.families.get_mut(name).expect("it was inserted if it was missing");
        assert_eq!(family.kind, kind, "`{name}` is used as two kinds of metric");
        let sent = family.sent.as_deref()?;
        let is_it = |s: &Series| {
            s.labels.len() == labels.len() && s.labels.iter().zip(labels).all(|((n, v), (m, w))| n == m && v == w)
        };
        let at = match family.series.iter().position(is_it) {
            Some(at) => at,
            None => {
                let labels: LabelSet = labels.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
                let lines = lines(sent, kind, &sent_labels(release, name, &labels));
                let state = match kind {
                    Kind::Counter | Kind::Gauge => State::Number(0.0),
                    Kind::Histogram(bounds) => {
                        State::Histogram { buckets: vec![0; bounds.len() + 1], sum: 0.0, count: 0 }
                    }
                };
                family.series.push(Series { labels, lines, state });
                family.series.len() - 1
            }
        };
        Some(&mut family.series[at].state)
    }

    /// The page that a scrape gets, written over what `page` held.
    pub fn page_into(&self, page: &mut String) {
        page.clear();
        for family in self.families.values() {
            let Some(sent) = &family.sent else { continue };
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram(_) => "histogram",
            };
            // Writing to a `String` cannot fail.
            let _ = writeln!(page, "# TYPE {sent} {kind}");
            for series in &family.series {
                series.write(page);
            }
        }
    }

    /// The page that a scrape gets.
    pub fn page(&self) -> String {
        let mut page = String::new();
        self.page_into(&mut page);
        page
    }

    /// The OTLP request that the engine's periodic reader sends: cumulative, without units.
    pub fn otlp(&self, resource: &[(&str, &str)], start: UnixNanos, now: UnixNanos) -> ExportMetricsServiceRequest {
        let metrics = self.families.iter().filter_map(|(name, f)| f.otlp(self.release, name, start, now)).collect();
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

/// Bounds of a histogram of the engine, by its canonical name.
fn bounds_of(name: &str) -> &'static [f64] {
    inventory::family(name).map_or(&[], |family| family.bounds.as_slice())
}

/// Labels as the release names them: 25.7 has other words for some.
fn sent_labels(release: Option<Release>, family: &str, labels: &LabelSet) -> Vec<(&'static str, String)> {
    if release != Some(Release::V25_7) {
        return labels.clone();
    }
    let old = |(name, value): &(&'static str, String)| {
        let rename = names::RENAMES.iter().find(|r| family.starts_with(r.families) && r.to == *name);
        match rename {
            None => (*name, value.clone()),
            Some(rename) => {
                let written = rename.values.iter().find(|(_, new)| new == value);
                (rename.from, written.map_or_else(|| value.clone(), |(old, _)| (*old).to_owned()))
            }
        }
    };
    labels.iter().map(old).collect()
}

/// What stands before each number of a series.
fn lines(name: &str, kind: Kind, labels: &[(&'static str, String)]) -> Vec<String> {
    match kind {
        Kind::Counter | Kind::Gauge => vec![format!("{name}{} ", label_text(labels, None))],
        Kind::Histogram(bounds) => {
            let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            let buckets = ends.map(|le| format!("{name}_bucket{} ", label_text(labels, Some(&le))));
            let rest = ["sum", "count"].map(|part| format!("{name}_{part}{} ", label_text(labels, None)));
            buckets.chain(rest).collect()
        }
    }
}

fn label_text(labels: &[(&'static str, String)], le: Option<&str>) -> String {
    let pairs = labels.iter().map(|(n, v)| (*n, v.as_str())).chain(le.map(|le| ("le", le)));
    let text: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    if text.is_empty() { String::new() } else { format!("{{{}}}", text.join(",")) }
}

impl Series {
    fn write(&self, page: &mut String) {
        match &self.state {
            State::Number(v) => write_line(page, &self.lines[0], *v),
            State::Histogram { buckets, sum, count } => {
                let mut cumulative = 0;
                for (n, line) in buckets.iter().zip(&self.lines) {
                    cumulative += n;
                    write_line(page, line, cumulative as f64);
                }
                write_line(page, &self.lines[buckets.len()], *sum);
                write_line(page, &self.lines[buckets.len() + 1], *count as f64);
            }
        }
    }
}

fn write_line(page: &mut String, line: &str, value: f64) {
    page.push_str(line);
    // Whole numbers are most of a page, and an integer is written several times as fast.
    let _ = match value.fract() == 0.0 && value.abs() < 1e15 {
        true => writeln!(page, "{}", value as i64),
        false => writeln!(page, "{value}"),
    };
}

impl Family {
    fn otlp(&self, release: Option<Release>, name: &str, start: UnixNanos, now: UnixNanos) -> Option<Metric> {
        let cumulative = AggregationTemporality::Cumulative.into();
        let attributes = |series: &Series| {
            sent_labels(release, name, &series.labels).iter().map(|(name, value)| text(name, value)).collect()
        };
        let numbers = || {
            let point = |series: &Series| match series.state {
                State::Number(v) => Some(NumberDataPoint {
                    attributes: attributes(series),
                    start_time_unix_nano: start.0,
                    time_unix_nano: now.0,
                    value: Some(number_data_point::Value::AsDouble(v)),
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
                let point = |series: &Series| match &series.state {
                    State::Histogram { buckets, sum, count } => Some(HistogramDataPoint {
                        attributes: attributes(series),
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
        Some(Metric { name: self.sent.clone()?, data: Some(data), ..Default::default() })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(page: &str) -> Vec<&str> {
        page.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_page_holds_cumulative_buckets_and_only_what_was_used() {
        let mut families = Families::engine(Release::V2_3_19, Wanted::All);
        assert_eq!(families.page(), "");
        families.add("rivet_gasoline_workflow_dispatched_total", &[("workflow_name", "a")], 2.0);
        families.add_some("rivet_guard_proxy_request_total", &[], 0);
        for value in [0.1, 0.1, 0.3, 7.0] {
            families.observe("rivet_gasoline_load_shedding_ratio", &[], value, 1);
        }
        let page = families.page();
        let lines = samples(&page);
        assert_eq!(lines.len(), 13 + 1, "{page}");
        assert!(lines.contains(&"rivet_gasoline_load_shedding_ratio_bucket{le=\"0.2\"} 2"));
        assert!(lines.contains(&"rivet_gasoline_load_shedding_ratio_bucket{le=\"+Inf\"} 4"));
        assert!(lines.contains(&"rivet_gasoline_load_shedding_ratio_sum 7.5"));
        assert!(
            lines.contains(&"rivet_gasoline_workflow_dispatched{workflow_name=\"a\"} 2"),
            "without `_total`: {page}"
        );
    }

    #[test]
    fn each_release_sends_its_own_names_and_labels() {
        let page = |release| {
            let mut families = Families::engine(release, Wanted::All);
            families.add("rivet_guard_proxy_request_errors_total", &[("error", "guard.no_route")], 1.0);
            families.set("rivet_udb_last_tx_completed_age_seconds", &[], 0.5);
            families
        };
        assert_eq!(
            samples(&page(Release::V2_3_7).page()),
            ["guard_proxy_request_errors_total{error=\"guard.no_route\"} 1"]
        );
        let prefixed = "rivet_guard_proxy_request_errors_total{error=\"guard.no_route\"} 1";
        assert!(samples(&page(Release::V2_3_19).page()).contains(&prefixed));
        let request = page(Release::V25_7).otlp(&[], UnixNanos(1), UnixNanos(2));
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        assert_eq!(metrics.len(), 1, "25.7 has no such gauge");
        let Some(metric::Data::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(sum.data_points[0].attributes, [text("error_type", "guard.no_route")]);
    }

    #[test]
    fn many_durations_fill_the_buckets_as_few_do() {
        let mut families = Families::engine(Release::V2_3_19, Wanted::All);
        let mut chance = Chance::new(3);
        let name = "rivet_guard_proxy_request_duration";
        families.time(name, &[("status", "200")], 10_000, Latency::of(0.01), &mut chance);
        for _ in 0..1_000 {
            families.time(name, &[("status", "500")], 10, Latency::of(0.01), &mut chance);
        }
        let page = families.page();
        let value = |series: &str| {
            let line = page.lines().find(|l| l.starts_with(series)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        for le in ["0.005", "0.01", "0.05"] {
            let many = value(&format!("{name}_bucket{{status=\"200\",le=\"{le}\"}}"));
            let few = value(&format!("{name}_bucket{{status=\"500\",le=\"{le}\"}}"));
            assert!((many - few).abs() < 200.0, "{le}: {many} and {few}");
        }
        assert_eq!(value(&format!("{name}_count{{status=\"200\"}}")), 10_000.0);
        assert_eq!(value(&format!("{name}_bucket{{status=\"200\",le=\"+Inf\"}}")), 10_000.0);
    }

    #[test]
    fn families_that_nobody_wants_are_not_recorded() {
        let only = Wanted::Only(Arc::new(["rivet_guard_proxy_request_total".to_owned()].into()));
        let mut families = Families::engine(Release::V2_3_19, only);
        families.add("rivet_guard_proxy_request_total", &[], 1.0);
        families.add("rivet_guard_tcp_connection_total", &[], 1.0);
        families.time("rivet_api_request_duration", &[], 3, Latency::of(0.1), &mut Chance::new(1));
        assert_eq!(samples(&families.page()), ["rivet_guard_proxy_request_total 1"]);
    }
}
