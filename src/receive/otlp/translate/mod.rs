//! OTLP metrics as series.
//!
//! In:  a decoded, redacted metrics request, who sent it, when it came.   Out: [`Translated`]: one batch for the
//! store, and for every data point that made nothing, why.
//! Always: `received = accepted + refused`, in OTLP data points; a bad point costs nothing that is good beside it.
//! Gauges and non-monotonic sums become gauges, monotonic sums counters with `_total`, classic histograms
//! `_bucket`, `_sum` and `_count`, exponential ones native histograms, summaries quantiles with `_sum` and `_count`.
//! Deltas are added up. Names of known engines become canonical ([`crate::rivet::names`]).
//! Limits: all state is bounded by [`Options`]; what exceeds it is refused or goes without, and counted.

mod attributes;
mod delta;
mod exemplars;
mod exponential;
mod known;
mod names;
mod raw;
mod refusals;
mod resource;
mod starts;
mod wire;
mod writer;

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use hashbrown::HashSet;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, ResourceMetrics, metric};
use parking_lot::Mutex;

use self::delta::Deltas;
use self::known::Known;
use self::starts::StartTimes;
use self::writer::Writer;
use crate::model::{LabelsBuilder, METRIC_NAME, TimestampMs, Value};
use crate::receive::birth::Births;
use crate::receive::identity::Local;
use crate::storage::{Batch, Point};

pub use refusals::{Refusal, Refusals};
pub use resource::{Source, source_of, stamp};

/// The scope attribute by which one rivetwatch tells the next that names and labels are final.
pub const CANONICAL_MARK: &str = "rivetwatch.canonical";

/// How requests are translated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Values of `service.name` whose senders are engines.
    pub engine_services: Vec<String>,
    /// Dots and other characters in names stay as they were sent.
    pub keeps_utf8: bool,
    /// Units and types are appended to names.
    pub adds_suffixes: bool,
    /// Resource attributes become a `target_info` series.
    pub target_info: bool,
    /// Scope name and version become labels.
    pub scope_labels: bool,
    /// Resource attributes that become labels of every series.
    pub promote: Vec<String>,
    /// Where this process runs: what senders beside it are called that do not name themselves.
    pub local: Local,
    /// Points further in the future are refused.
    pub future_ms_max: i64,
    pub label_value_bytes_max: usize,
    pub labels_max: usize,
    pub delta_series_max: usize,
    pub counter_series_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine_services: vec!["rivet".to_owned()],
            keeps_utf8: false,
            adds_suffixes: true,
            target_info: true,
            scope_labels: false,
            promote: Vec::new(),
            local: Local { host_name: "localhost".to_owned(), ..Local::default() },
            future_ms_max: 10 * 60_000,
            label_value_bytes_max: 64 << 10,
            labels_max: 128,
            delta_series_max: 100_000,
            counter_series_max: 1_000_000,
        }
    }
}

/// What a request became.
#[derive(Clone, Debug, Default)]
pub struct Translated {
    /// Points in the order they were sent, zeros before the counters they belong to.
    pub batch: Batch,
    /// Data points in the request.
    pub received: u64,
    /// Data points of which at least one point was made.
    pub accepted: u64,
    pub refusals: Refusals,
    /// Zeros put before counters that were born on known instances.
    pub zeros: u64,
    /// `target_info` points.
    pub target_infos: u64,
    /// Resource attributes that were too long to become labels of `target_info`.
    pub long_attributes: u64,
    /// Points added to others because cutting a free-text label made their series one.
    pub merged: u64,
    /// Resources whose identity two processes share, so that it had to be split.
    pub identity_conflicts: u64,
}

/// Translates requests; holds what has to be remembered between them.
pub struct Translator {
    options: Options,
    state: Mutex<State>,
    known: Mutex<Known>,
}

struct State {
    births: Births,
    deltas: Deltas,
    starts: StartTimes,
}

/// How much the translator remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub delta_series: usize,
    pub counter_series: usize,
    /// Counters that got no zero because the memory was full.
    pub untracked_counters: u64,
    /// Series whose data points are known by their bytes.
    pub known_series: usize,
}

impl Translator {
    pub fn new(options: Options) -> Self {
        let births = Births::new(options.counter_series_max);
        let deltas = Deltas::new(options.delta_series_max);
        let known = Known::new(options.counter_series_max);
        let state = State { births, deltas, starts: StartTimes::default() };
        Self { options, state: Mutex::new(state), known: Mutex::new(known) }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// How much is remembered between requests.
    pub fn memory(&self) -> Memory {
        let state = self.state.lock();
        Memory {
            delta_series: state.deltas.len(),
            counter_series: state.births.len(),
            untracked_counters: state.births.untracked(),
            known_series: self.known.lock().len(),
        }
    }

    /// Translates one request that came from `peer` (`None`: from this process or machine) at `received_at`.
    pub fn metrics(
        &self,
        request: &ExportMetricsServiceRequest,
        peer: Option<IpAddr>,
        received_at: TimestampMs,
    ) -> Translated {
        let mut out = Translated::default();
        let mut described = HashSet::new();
        for resource in &request.resource_metrics {
            self.resource(resource, peer, received_at, &mut described, &mut out);
        }
        out.batch.refused = out.refusals.by_reason().to_vec();
        debug_assert_eq!(out.received, out.accepted + out.refusals.total());
        out
    }

    fn resource(
        &self,
        resource: &ResourceMetrics,
        peer: Option<IpAddr>,
        received_at: TimestampMs,
        described: &mut HashSet<String>,
        out: &mut Translated,
    ) {
        let attributes = resource.resource.as_ref().map_or(&[][..], |r| r.attributes.as_slice());
        let sender = self.sender(attributes, peer, received_at, out, || cumulative_starts(resource));
        let accepted_before = out.accepted;
        let mut latest: Option<TimestampMs> = None;
        for scope in &resource.scope_metrics {
            let mut writer = self.writer(scope.scope.as_ref(), &sender, received_at);
            for metric in &scope.metrics {
                out.received += data_points(metric);
                writer.metric(metric, &self.state, out, described);
            }
            latest = self.close(writer, &sender, latest, out);
        }
        if let Some(t) = latest.filter(|_| self.options.target_info && out.accepted > accepted_before) {
            self.target_info(attributes, &sender.labels, t, out);
        }
    }

    /// Who sent a resource; `starts` gives its cumulative series, as [`cumulative_starts`] does.
    fn sender<'a, S: Iterator<Item = (u64, u64)>>(
        &self,
        attributes: &'a [KeyValue],
        peer: Option<IpAddr>,
        received_at: TimestampMs,
        out: &mut Translated,
        starts: impl Fn() -> S,
    ) -> Sender<'a> {
        let mut source = source_of(attributes, peer, &self.options);
        if let Some(start) = self.shared_identity_start(&source, received_at, starts) {
            source.identity.instance = format!("{}#{}", source.identity.instance, start / 1_000_000);
            out.identity_conflicts += 1;
        }
        let mut labels = vec![
            ("job".to_owned(), source.identity.job.clone()),
            ("instance".to_owned(), source.identity.instance.clone()),
        ];
        labels.extend(source.identity.extra.iter().cloned());
        let instance_key = hash_of(&(&source.identity.job, &source.identity.instance));
        Sender { attributes, labels, instance_key, is_engine: source.is_engine }
    }

    /// A writer for the metrics of one scope.
    fn writer(
        &self,
        scope: Option<&InstrumentationScope>,
        sender: &Sender<'_>,
        received_at: TimestampMs,
    ) -> Writer<'_> {
        if scope.is_some_and(|s| resource::flag(&s.attributes, CANONICAL_MARK)) {
            return Writer::exact(&self.options, resource::exact_identity(sender.attributes), received_at);
        }
        let mut labels = sender.labels.clone();
        if let Some(scope) = scope.filter(|_| self.options.scope_labels) {
            let name_and_version = [("otel_scope_name", &scope.name), ("otel_scope_version", &scope.version)];
            let present = name_and_version.into_iter().filter(|(_, value)| !value.is_empty());
            labels.extend(present.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        Writer::new(&self.options, sender.is_engine, labels, received_at)
    }

    /// Moves what a writer made to the batch; gives the time that `target_info` is written at if nothing follows.
    fn close(
        &self,
        writer: Writer<'_>,
        sender: &Sender<'_>,
        latest: Option<TimestampMs>,
        out: &mut Translated,
    ) -> Option<TimestampMs> {
        // What another rivetwatch sends has its target_info among it.
        let latest = if writer.is_exact() { None } else { latest.max(writer.latest()) };
        self.append(writer, sender.instance_key, out);
        latest
    }

    /// Moves what a writer made to the batch, with zeros before the counters that were just born.
    fn append(&self, writer: Writer<'_>, instance_key: u64, out: &mut Translated) {
        let (emitted, mut exemplars) = writer.finish();
        out.batch.exemplars.append(&mut exemplars);
        out.batch.points.reserve(emitted.len());
        let mut state = self.state.lock();
        let page = emitted.iter().filter(|e| e.is_counter).map(|e| e.point.t).min();
        if let Some(page) = page {
            state.births.begin_page(instance_key, page);
        }
        for emitted in emitted {
            if emitted.is_counter {
                let series = emitted.point.labels.hash64();
                let born = state.births.on_point(instance_key, series, emitted.point.t);
                // A delta's own start is known for certain; whether the series is new is noted all the same.
                if let Some(zero_at) = emitted.zero_at.or(born) {
                    out.zeros += 1;
                    let labels = emitted.point.labels.clone();
                    out.batch.points.push(Point { labels, t: zero_at, value: Value::Float(0.0) });
                }
            }
            out.batch.points.push(emitted.point);
        }
    }

    fn target_info(
        &self,
        attributes: &[KeyValue],
        identity: &[(String, String)],
        t: TimestampMs,
        out: &mut Translated,
    ) {
        let fits = |a: &&KeyValue| {
            let bytes = a.value.as_ref().map_or(0, |value| attributes::text_of(value).len());
            bytes <= self.options.label_value_bytes_max
        };
        let descriptive = attributes.iter().filter(|a| !resource::is_identifying(&a.key));
        let (descriptive, long): (Vec<_>, Vec<_>) = descriptive.partition(fits);
        out.long_attributes += long.len() as u64;
        let descriptive: Vec<KeyValue> = descriptive.into_iter().cloned().collect();
        if descriptive.is_empty() {
            return;
        }
        if let Ok(mut labels) = attributes::labels_of(&descriptive, identity, &self.options) {
            let labels = named(&mut labels, "target_info").build();
            out.batch.points.push(Point { labels, t, value: Value::Float(1.0) });
            out.target_infos += 1;
        }
    }

    /// The start of the sending process in nanoseconds, when another process reports under the same identity.
    fn shared_identity_start<S: Iterator<Item = (u64, u64)>>(
        &self,
        source: &Source,
        now: TimestampMs,
        starts: impl Fn() -> S,
    ) -> Option<u64> {
        let identity = hash_of(&source.identity);
        let probes: Vec<(u64, u64)> = starts().take(starts::PROBES_MAX).collect();
        if !self.state.lock().starts.observe(identity, &probes, now) {
            return None;
        }
        // The earliest instrument began with the process; later ones began at their first use.
        starts().map(|(_, start)| start).min()
    }
}

/// Who sent a resource.
struct Sender<'a> {
    attributes: &'a [KeyValue],
    /// The identity, as labels.
    labels: Vec<(String, String)>,
    instance_key: u64,
    is_engine: bool,
}

/// Hashes of cumulative series, as sent, with their start times in nanoseconds.
fn cumulative_starts(resource: &ResourceMetrics) -> impl Iterator<Item = (u64, u64)> {
    resource.scope_metrics.iter().flat_map(|scope| &scope.metrics).flat_map(starts_of)
}

fn starts_of(metric: &Metric) -> Vec<(u64, u64)> {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let start = |attributes: &[KeyValue], nanos: u64| (nanos != 0).then(|| (series_hash(metric, attributes), nanos));
    match &metric.data {
        Some(metric::Data::Sum(sum)) if sum.aggregation_temporality == cumulative => {
            sum.data_points.iter().filter_map(|p| start(&p.attributes, p.start_time_unix_nano)).collect()
        }
        Some(metric::Data::Histogram(histogram)) if histogram.aggregation_temporality == cumulative => {
            histogram.data_points.iter().filter_map(|p| start(&p.attributes, p.start_time_unix_nano)).collect()
        }
        _ => Vec::new(),
    }
}

fn series_hash(metric: &Metric, attributes: &[KeyValue]) -> u64 {
    let pairs: Vec<_> = attributes
        .iter()
        .map(|a| (a.key.as_str(), a.value.as_ref().map(attributes::text_of).unwrap_or_default()))
        .collect();
    hash_of(&(&metric.name, pairs))
}

fn hash_of(value: &impl Hash) -> u64 {
    xxhash_rust::xxh3::Xxh3DefaultBuilder::new().hash_one(value)
}

fn named<'a>(labels: &'a mut LabelsBuilder, name: &str) -> &'a mut LabelsBuilder {
    labels.set(METRIC_NAME, name)
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

#[cfg(test)]
mod tests;
