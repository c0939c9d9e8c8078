//! Writes the points of one scope: each data point type in its series form.
//!
//! In:  metrics of one scope.   Out: [`Emitted`] points.
//! Always: a data point is written whole or refused whole.

use hashbrown::{HashMap, HashSet};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    SummaryDataPoint, metric, number_data_point,
};
use parking_lot::Mutex;

use super::delta::{Classic, Total};
use super::exponential::Exponential;
use super::names::{Shape, Style, metric_name};
use super::refusals::Refusal;
use super::{Options, State, Translated, attributes, exemplars, named};
use crate::model::{Exemplar, Labels, LabelsBuilder, Metadata, MetricKind, TimestampMs, UnixNanos, Value, stale_nan};
use crate::rivet;
use crate::storage::Point;

/// A point with what is known of its series.
pub(super) struct Emitted {
    pub point: Point,
    /// Counts up from zero: counters and the parts of cumulative histograms.
    pub is_counter: bool,
    /// When it was zero, where that is known for certain.
    pub zero_at: Option<TimestampMs>,
}

pub(super) struct Writer<'a> {
    options: &'a Options,
    is_engine: bool,
    /// Names and labels are final; see [`super::CANONICAL_MARK`].
    is_exact: bool,
    identity: Vec<(String, String)>,
    sender_hash: u64,
    received_at: TimestampMs,
    emitted: Vec<Emitted>,
    exemplars: Vec<(Labels, Exemplar)>,
    latest: Option<TimestampMs>,
}

/// A place in what was written.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    emitted: usize,
    latest: Option<TimestampMs>,
}

/// How the numbers of a metric are to be read.
#[derive(Clone, Copy)]
enum Reading {
    Level,
    Cumulative,
    Delta { is_monotonic: bool },
}

/// A data point with the parts that all types share.
struct Frame {
    labels: LabelsBuilder,
    /// The family's name: canonical, suffixed and sanitised.
    family: String,
    /// Several raw series may have become this one.
    merges: bool,
    t: TimestampMs,
    start: Option<TimestampMs>,
    is_stale: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        options: &'a Options,
        is_engine: bool,
        identity: Vec<(String, String)>,
        received_at: TimestampMs,
    ) -> Self {
        Self {
            options,
            is_engine,
            is_exact: false,
            sender_hash: super::hash_of(&(&identity, is_engine)),
            identity,
            received_at,
            emitted: Vec::new(),
            exemplars: Vec::new(),
            latest: None,
        }
    }

    /// A writer for points whose names and labels another rivetwatch made final.
    pub(super) fn exact(options: &'a Options, identity: Vec<(String, String)>, received_at: TimestampMs) -> Self {
        let writer = Self::new(options, false, identity, received_at);
        Self { is_exact: true, sender_hash: !writer.sender_hash, ..writer }
    }

    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// The same for all points that become the same labels if their names and attributes are the same.
    pub(super) fn sender_hash(&self) -> u64 {
        self.sender_hash
    }

    /// Whether a point of this time is refused.
    pub(super) fn is_too_new(&self, t: TimestampMs) -> bool {
        t.0.saturating_sub(self.received_at.0) > self.options.future_ms_max
    }

    /// A point of a series that was written before.
    pub(super) fn push_known(&mut self, labels: &Labels, t: TimestampMs, v: f64, is_counter: bool) {
        self.latest = self.latest.max(Some(t));
        let point = Point { labels: labels.clone(), t, value: Value::Float(v) };
        self.emitted.push(Emitted { point, is_counter, zero_at: None });
    }

    /// How much is written.
    pub(super) fn mark(&self) -> Mark {
        Mark { emitted: self.emitted.len(), latest: self.latest }
    }

    /// Takes back what was written by [`Writer::push_known`] since.
    pub(super) fn back_to(&mut self, mark: Mark) {
        self.emitted.truncate(mark.emitted);
        self.latest = mark.latest;
    }

    /// What was written since.
    pub(super) fn since(&self, mark: Mark) -> &[Emitted] {
        self.emitted.get(mark.emitted..).unwrap_or_default()
    }

    /// The greatest time written.
    pub(super) fn latest(&self) -> Option<TimestampMs> {
        self.latest
    }

    /// The points, and the exemplars with the labels of their series.
    pub(super) fn finish(self) -> (Vec<Emitted>, Vec<(Labels, Exemplar)>) {
        (self.emitted, self.exemplars)
    }

    /// The name that a metric's series have; empty where nothing of it can stand in one.
    pub(super) fn name_of(&self, metric: &Metric, shape: Shape) -> String {
        let style = Style { keeps_utf8: self.options.keeps_utf8, adds_suffixes: self.options.adds_suffixes };
        // Engines declare no units, and their canonical names have none added.
        let unit = if self.is_engine { "" } else { metric.unit.as_str() };
        match self.is_exact {
            true => metric.name.clone(),
            false => metric_name(&metric.name, unit, shape, style),
        }
    }

    /// Writes one metric; counts what was accepted and refused into `out`.
    ///
    /// Says whether every data point was accepted and became points of its own.
    pub(super) fn metric(
        &mut self,
        metric: &Metric,
        state: &Mutex<State>,
        out: &mut Translated,
        described: &mut HashSet<String>,
    ) -> bool {
        let Some(data) = &metric.data else { return false };
        let (shape, kind) = match data {
            metric::Data::Gauge(_) => (Shape::Gauge, MetricKind::Gauge),
            metric::Data::Sum(sum) if sum.is_monotonic => (Shape::Counter, MetricKind::Counter),
            metric::Data::Sum(_) => (Shape::Gauge, MetricKind::Gauge),
            metric::Data::Histogram(_) | metric::Data::ExponentialHistogram(_) => (Shape::Other, MetricKind::Histogram),
            metric::Data::Summary(_) => (Shape::Other, MetricKind::Summary),
        };
        let name = self.name_of(metric, shape);
        if name.is_empty() {
            out.refusals.add(&metric.name, &Refusal::NoName, super::data_points(metric));
            return false;
        }
        let first = self.emitted.len();
        let refused_before = out.refusals.total();
        let mut merges = false;
        {
            let mut written = |result: Result<bool, Refusal>| match result {
                Ok(is_merging) => {
                    merges |= is_merging;
                    out.accepted += 1;
                }
                Err(refusal) => out.refusals.add(&metric.name, &refusal, 1),
            };
            match data {
                metric::Data::Gauge(gauge) => {
                    gauge.data_points.iter().for_each(|p| written(self.number(&name, p, Reading::Level, state)));
                }
                metric::Data::Sum(sum) => {
                    let reading = match (temporality(sum.aggregation_temporality), sum.is_monotonic) {
                        (Some(AggregationTemporality::Delta), is_monotonic) => Ok(Reading::Delta { is_monotonic }),
                        (Some(_), true) => Ok(Reading::Cumulative),
                        (_, false) => Ok(Reading::Level),
                        (None, true) => Err(Refusal::NoTemporality),
                    };
                    sum.data_points.iter().for_each(|p| {
                        written(reading.clone().and_then(|reading| self.number(&name, p, reading, state)));
                    });
                }
                metric::Data::Histogram(histogram) => {
                    let is_delta = is_delta(histogram.aggregation_temporality);
                    histogram.data_points.iter().for_each(|p| {
                        written(is_delta.clone().and_then(|is_delta| self.classic(&name, p, is_delta, state)));
                    });
                }
                metric::Data::ExponentialHistogram(histogram) => {
                    let is_delta = is_delta(histogram.aggregation_temporality);
                    histogram.data_points.iter().for_each(|p| {
                        written(is_delta.clone().and_then(|is_delta| self.exponential(&name, p, is_delta, state)));
                    });
                }
                metric::Data::Summary(summary) => {
                    summary.data_points.iter().for_each(|p| written(self.summary(&name, p)));
                }
            }
        }
        if merges {
            out.merged += self.merge_from(first);
        }
        if self.emitted.len() > first {
            self.describe(metric, &name, kind, out, described);
        }
        !merges && out.refusals.total() == refused_before
    }

    /// Says what the family is that `name` is of, once a request.
    pub(super) fn describe(
        &self,
        metric: &Metric,
        name: &str,
        kind: MetricKind,
        out: &mut Translated,
        described: &mut HashSet<String>,
    ) {
        let text = |key: &str| {
            let value = metric.metadata.iter().find(|kv| self.is_exact && kv.key == key)?.value.as_ref()?;
            Some(attributes::text_of(value).into_owned())
        };
        let known = self.is_engine.then(|| rivet::names::canonical_family(name)).flatten();
        let family = known.map_or_else(|| text(FAMILY_KEY).unwrap_or_else(|| name.to_owned()), |f| f.name.clone());
        if described.contains(&family) {
            return;
        }
        let metadata = match known {
            Some(known) => known.metadata(),
            None => {
                let kind = text(TYPE_KEY).map_or(kind, |t| kind_named(&t));
                Metadata { kind, help: metric.description.clone(), unit: metric.unit.clone() }
            }
        };
        described.insert(family.clone());
        out.batch.metadata.push((family, metadata));
    }

    fn frame(&self, name: &str, attributes: &[KeyValue], start: u64, time: u64, flags: u32) -> Result<Frame, Refusal> {
        let t = match time {
            0 => self.received_at,
            nanos => TimestampMs::from(UnixNanos(nanos)),
        };
        if self.is_too_new(t) {
            let ahead_ms = t.0.saturating_sub(self.received_at.0);
            return Err(Refusal::TooNew { ahead_ms, limit_ms: self.options.future_ms_max });
        }
        let mut labels = match self.is_exact {
            true => {
                let mut labels = attributes::exact_labels_of(attributes, self.options)?;
                for (name, value) in &self.identity {
                    labels.set(name.as_str(), value.as_str());
                }
                labels
            }
            false => attributes::labels_of(attributes, &self.identity, self.options)?,
        };
        let canonical = match self.is_engine {
            true => rivet::names::translate(name, &mut labels),
            false => None,
        };
        Ok(Frame {
            family: canonical.map_or(name, |c| c.name).to_owned(),
            merges: canonical.is_some_and(|c| c.merges),
            labels,
            t,
            start: (start != 0).then(|| TimestampMs::from(UnixNanos(start))).filter(|start| *start < t),
            is_stale: flags & DataPointFlags::NoRecordedValueMask as u32 != 0,
        })
    }

    fn number(
        &mut self,
        name: &str,
        point: &NumberDataPoint,
        reading: Reading,
        state: &Mutex<State>,
    ) -> Result<bool, Refusal> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let mut frame = self.frame(name, &point.attributes, times.0, times.1, point.flags)?;
        let family = frame.family.clone();
        let labels = named(&mut frame.labels, &family).build();
        if frame.is_stale {
            self.push(labels, &frame, stale_nan(), false, None);
            return Ok(false);
        }
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(v)) => plain(v),
            Some(number_data_point::Value::AsInt(v)) => v as f64,
            None => return Err(Refusal::NoValue),
        };
        let read = |e| Some((labels.clone(), exemplars::read(e, frame.t, self.options)?));
        self.exemplars.extend(point.exemplars.iter().filter_map(read));
        match reading {
            Reading::Level => self.push(labels, &frame, value, false, None),
            // A zero sent as another rivetwatch's own needs no zero before it.
            Reading::Cumulative => self.push(labels, &frame, value, !self.is_exact, None),
            Reading::Delta { is_monotonic } => {
                let delta = Total::Number(value);
                let added = state.lock().deltas.add(&labels, delta, frame.t, self.received_at)?;
                if let Total::Number(total) = added.total {
                    let zero_at = frame.start.filter(|_| added.is_first && is_monotonic);
                    self.push(labels, &frame, total, is_monotonic, zero_at);
                }
            }
        }
        Ok(frame.merges)
    }

    fn classic(
        &mut self,
        name: &str,
        point: &HistogramDataPoint,
        is_delta: bool,
        state: &Mutex<State>,
    ) -> Result<bool, Refusal> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let mut frame = self.frame(name, &point.attributes, times.0, times.1, point.flags)?;
        let mut histogram = read_classic(point, frame.is_stale)?;
        let mut zero_at = None;
        if is_delta && !frame.is_stale {
            let family = frame.family.clone();
            let key = named(&mut frame.labels, &family).build();
            let added = state.lock().deltas.add(&key, Total::Classic(histogram), frame.t, self.received_at)?;
            zero_at = frame.start.filter(|_| added.is_first);
            let Total::Classic(total) = added.total else { return Ok(false) };
            histogram = total;
        }
        let value = |n: f64| if frame.is_stale { stale_nan() } else { n };
        let family = frame.family.clone();
        let counts = !frame.is_stale;
        if let Some(sum) = histogram.sum {
            // A sum that can fall (negative observations) is no counter, but most are, and a zero harms neither.
            let labels = named(&mut frame.labels, &format!("{family}_sum")).build();
            self.push(labels, &frame, value(plain(sum)), counts, zero_at);
        }
        let labels = named(&mut frame.labels, &format!("{family}_count")).build();
        self.push(labels, &frame, value(histogram.count as f64), counts, zero_at);
        named(&mut frame.labels, &format!("{family}_bucket"));
        let mut exemplars = exemplars::by_value(&point.exemplars, frame.t, self.options);
        let mut cumulated = 0u64;
        for (bound, n) in histogram.bounds.iter().zip(&histogram.counts) {
            cumulated = cumulated.saturating_add(*n);
            if bound.is_finite() {
                let labels = frame.labels.set("le", attributes::number_text(*bound)).build();
                self.exemplars.extend(exemplars::up_to(&mut exemplars, *bound).map(|e| (labels.clone(), e)));
                self.push(labels, &frame, value(cumulated as f64), counts, zero_at);
            }
        }
        let labels = frame.labels.set("le", "+Inf").build();
        self.exemplars.extend(exemplars.into_iter().map(|e| (labels.clone(), e)));
        self.push(labels, &frame, value(histogram.count as f64), counts, zero_at);
        Ok(frame.merges)
    }

    fn exponential(
        &mut self,
        name: &str,
        point: &ExponentialHistogramDataPoint,
        is_delta: bool,
        state: &Mutex<State>,
    ) -> Result<bool, Refusal> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let mut frame = self.frame(name, &point.attributes, times.0, times.1, point.flags)?;
        let family = frame.family.clone();
        let labels = named(&mut frame.labels, &family).build();
        if frame.is_stale {
            self.push(labels, &frame, stale_nan(), false, None);
            return Ok(false);
        }
        let mut histogram = Exponential::read(point)?;
        if is_delta {
            let added = state.lock().deltas.add(&labels, Total::Exponential(histogram), frame.t, self.received_at)?;
            let Total::Exponential(total) = added.total else { return Ok(false) };
            histogram = total;
        }
        let read = |e| Some((labels.clone(), exemplars::read(e, frame.t, self.options)?));
        self.exemplars.extend(point.exemplars.iter().filter_map(read));
        let point = Point { labels, t: frame.t, value: Value::Histogram(histogram.to_native().into()) };
        self.latest = self.latest.max(Some(frame.t));
        self.emitted.push(Emitted { point, is_counter: false, zero_at: None });
        Ok(false)
    }

    fn summary(&mut self, name: &str, point: &SummaryDataPoint) -> Result<bool, Refusal> {
        let times = (point.start_time_unix_nano, point.time_unix_nano);
        let mut frame = self.frame(name, &point.attributes, times.0, times.1, point.flags)?;
        let value = |n: f64| if frame.is_stale { stale_nan() } else { plain(n) };
        let family = frame.family.clone();
        let counts = !frame.is_stale;
        let labels = named(&mut frame.labels, &format!("{family}_sum")).build();
        self.push(labels, &frame, value(point.sum), counts, None);
        let labels = named(&mut frame.labels, &format!("{family}_count")).build();
        self.push(labels, &frame, value(point.count as f64), counts, None);
        named(&mut frame.labels, &family);
        for quantile in &point.quantile_values {
            let labels = frame.labels.set("quantile", attributes::number_text(quantile.quantile)).build();
            self.push(labels, &frame, value(quantile.value), false, None);
        }
        Ok(false)
    }

    fn push(&mut self, labels: Labels, frame: &Frame, v: f64, is_counter: bool, zero_at: Option<TimestampMs>) {
        self.latest = self.latest.max(Some(frame.t));
        let point = Point { labels, t: frame.t, value: Value::Float(v) };
        self.emitted.push(Emitted { point, is_counter, zero_at });
    }

    /// Adds up the floats of equal series and time from `first` on; gives how many points went into others.
    fn merge_from(&mut self, first: usize) -> u64 {
        let mut places: HashMap<(Labels, TimestampMs), usize> = HashMap::new();
        let mut merged: Vec<Emitted> = Vec::with_capacity(self.emitted.len() - first);
        let mut gone = 0;
        for emitted in self.emitted.drain(first..) {
            let key = (emitted.point.labels.clone(), emitted.point.t);
            match places.get(&key).and_then(|at| merged.get_mut(*at)) {
                Some(there) => {
                    if let (Value::Float(sum), Value::Float(v)) = (&mut there.point.value, &emitted.point.value) {
                        *sum += v;
                    }
                    gone += 1;
                }
                None => {
                    places.insert(key, merged.len());
                    merged.push(emitted);
                }
            }
        }
        self.emitted.append(&mut merged);
        gone
    }
}

/// Metric metadata keys by which one rivetwatch tells the next what a family is (`prometheus.type` is OpenTelemetry's).
pub(super) const TYPE_KEY: &str = "prometheus.type";
pub(super) const FAMILY_KEY: &str = "rivetwatch.family";

fn kind_named(name: &str) -> MetricKind {
    use MetricKind::{Counter, Gauge, GaugeHistogram, Histogram, Info, StateSet, Summary, Unknown};
    let kinds = [Counter, Gauge, Histogram, GaugeHistogram, Summary, Info, StateSet];
    kinds.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Unknown)
}

fn temporality(number: i32) -> Option<AggregationTemporality> {
    AggregationTemporality::try_from(number).ok().filter(|t| *t != AggregationTemporality::Unspecified)
}

fn is_delta(number: i32) -> Result<bool, Refusal> {
    temporality(number).map(|t| t == AggregationTemporality::Delta).ok_or(Refusal::NoTemporality)
}

/// The value with every NaN the ordinary one: only the flag of a point makes it stale, never its bits.
pub(super) fn plain(v: f64) -> f64 {
    if v.is_nan() { f64::NAN } else { v }
}

fn read_classic(point: &HistogramDataPoint, is_stale: bool) -> Result<Classic, Refusal> {
    let bad = |why| Err(Refusal::BadHistogram { why });
    let (bounds, mut counts) = (point.explicit_bounds.clone(), point.bucket_counts.clone());
    if bounds.iter().any(|b| b.is_nan()) || bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
        return bad("its bounds do not ascend");
    }
    if is_stale {
        counts = vec![0; bounds.len() + 1];
    }
    if counts.is_empty() && bounds.is_empty() {
        counts = vec![point.count];
    }
    if counts.len() != bounds.len() + 1 {
        return bad("it has not one bucket count more than bounds");
    }
    let Some(total) = counts.iter().copied().try_fold(0u64, u64::checked_add) else {
        return bad("its bucket counts do not fit in 64 bits");
    };
    // The +Inf bucket is the count; were the count the smaller, buckets would fall.
    let count = point.count.max(total);
    let sum = if is_stale { Some(0.0) } else { point.sum };
    Ok(Classic { bounds, counts, count, sum })
}
