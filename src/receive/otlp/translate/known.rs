//! Data points that came before, in the same words, from the same sender: found by a hash of their bytes, they need no
//! message built, no attribute read and no label made.
//!
//! In:  a metric as it was sent.   Out: its points, when every one of its data points is known.
//! Always: what is found is what [`Writer::metric`] would have written; it is where it was learned from. Nothing is learned
//! of data points that were refused, redacted, merged with others, added up, or that stand for no value.
//! Limits: numbers and classic histograms that are levels or cumulative, without exemplars. [`Known::new`] says how many
//! series; the hash has 128 bits, so that no two data points meet by chance, and a seed that no sender knows, without which
//! it is hard to make two meet: it is no cryptographic hash.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric,
};
use prost::Message;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::names::Shape;
use super::wire::{Field, Fields, packed};
use super::writer::{Emitted, Writer, plain};
use crate::model::{Labels, MetricKind, TimestampMs, UnixNanos};

/// What did not come again for one to two of these is forgotten.
const GENERATION_MS: i64 = 30 * 60_000;

/// The series of one data point, in the order in which they are written.
enum Series {
    Number(Labels),
    Histogram(Box<[Labels]>),
}

impl Series {
    fn labels(&self) -> &[Labels] {
        match self {
            Self::Number(labels) => std::slice::from_ref(labels),
            Self::Histogram(labels) => labels,
        }
    }
}

/// The data points that are known.
pub(super) struct Known {
    series_max: usize,
    seed: u64,
    young: HashMap<u128, Series>,
    old: HashMap<u128, Series>,
    /// Series of the young and the old.
    counts: [usize; 2],
    turned_at: TimestampMs,
}

/// Data points of one metric that were not written, because one of them is not known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// How the numbers of a metric are sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Gauge,
    Sum,
    CumulativeCounter,
    CumulativeHistogram,
}

/// A metric without its data points.
pub(super) struct Head<'a> {
    kind: Kind,
    name: &'a str,
    /// Name, description, unit and metadata, of which secrets have to be taken.
    pub texts: Vec<&'a [u8]>,
    points: Vec<&'a [u8]>,
    metric: Metric,
}

impl<'a> Head<'a> {
    /// Reads a metric that may be known; `None` where it is of another kind, or not as SDKs send it.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let mut metric = Metric::default();
        let (mut name, mut data) = ("", None);
        let mut texts = Vec::with_capacity(4);
        for field in Fields::of(message) {
            let (number, Field::Bytes(bytes)) = field.ok()? else { return None };
            match number {
                1 => name = std::str::from_utf8(bytes).ok()?,
                2 => metric.description = std::str::from_utf8(bytes).ok()?.to_owned(),
                3 => metric.unit = std::str::from_utf8(bytes).ok()?.to_owned(),
                5 | 7 | 9 if data.is_none() => data = Some((number, bytes)),
                12 => metric.metadata.push(KeyValue::decode(bytes).ok()?),
                _ => return None,
            }
            if !matches!(number, 5 | 7 | 9) {
                texts.push(bytes);
            }
        }
        name.clone_into(&mut metric.name);
        let (number, data) = data?;
        let (mut points, mut temporality, mut is_monotonic) = (Vec::new(), None, false);
        for field in Fields::of(data) {
            match field.ok()? {
                (1, Field::Bytes(point)) => points.push(point),
                (2, Field::Varint(n)) => temporality = AggregationTemporality::try_from(i32::try_from(n).ok()?).ok(),
                (3, Field::Varint(n)) => is_monotonic = n != 0,
                _ => return None,
            }
        }
        let is_cumulative = temporality == Some(AggregationTemporality::Cumulative);
        let kind = match (number, is_monotonic) {
            (5, _) => Kind::Gauge,
            (7, false) if is_cumulative => Kind::Sum,
            (7, true) if is_cumulative => Kind::CumulativeCounter,
            (9, _) if is_cumulative => Kind::CumulativeHistogram,
            _ => return None,
        };
        Some(Self { kind, name, texts, points, metric })
    }

    pub(super) fn data_points(&self) -> u64 {
        self.points.len() as u64
    }

    /// The metric with one of its data points after the other; without those that do not decode.
    pub(super) fn each_alone(&self) -> impl Iterator<Item = Metric> + '_ {
        let temporality = AggregationTemporality::Cumulative as i32;
        self.points.iter().filter_map(move |message| {
            let data = match self.kind {
                Kind::Gauge => return None,
                Kind::Sum | Kind::CumulativeCounter => metric::Data::Sum(Sum {
                    data_points: vec![NumberDataPoint::decode(*message).ok()?],
                    aggregation_temporality: temporality,
                    is_monotonic: self.kind == Kind::CumulativeCounter,
                }),
                Kind::CumulativeHistogram => metric::Data::Histogram(Histogram {
                    data_points: vec![HistogramDataPoint::decode(*message).ok()?],
                    aggregation_temporality: temporality,
                }),
            };
            Some(Metric { name: self.name.to_owned(), data: Some(data), ..Metric::default() })
        })
    }

    /// Name, description, unit and metadata.
    pub(super) fn metric(&self) -> &Metric {
        &self.metric
    }

    pub(super) fn shape(&self) -> (Shape, MetricKind) {
        match self.kind {
            Kind::Gauge | Kind::Sum => (Shape::Gauge, MetricKind::Gauge),
            Kind::CumulativeCounter => (Shape::Counter, MetricKind::Counter),
            Kind::CumulativeHistogram => (Shape::Other, MetricKind::Histogram),
        }
    }
}

/// The fields of a data point of either kind.
#[derive(Default)]
struct RawPoint<'a> {
    attributes: &'a [u8],
    time: u64,
    /// The value of a number, the count of a histogram.
    value: Option<f64>,
    count: u64,
    sum: Option<f64>,
    counts: &'a [u8],
    bounds: &'a [u8],
}

impl<'a> RawPoint<'a> {
    /// `None` where there is more to a point than a value at a time, or its attributes are not in one piece.
    fn read(message: &'a [u8], kind: Kind) -> Option<Self> {
        let mut point = Self::default();
        let mut attributes = 0..0;
        let is_histogram = kind == Kind::CumulativeHistogram;
        let attributes_field = if is_histogram { 9 } else { 7 };
        let mut fields = Fields::of(message);
        loop {
            let begin = fields.position();
            let Some(field) = fields.next() else { break };
            match (field.ok()?, is_histogram) {
                ((number, Field::Bytes(_)), _) if number == attributes_field => {
                    if attributes.is_empty() {
                        attributes = begin..begin;
                    }
                    if attributes.end != begin {
                        return None;
                    }
                    attributes.end = fields.position();
                }
                // The start says nothing of what is cumulative, and least and greatest have no series.
                ((2, Field::Fixed64(_)), _) | ((11 | 12, Field::Fixed64(_)), true) => {}
                ((3, Field::Fixed64(nanos)), _) => point.time = nanos,
                ((4, Field::Fixed64(bits)), false) => point.value = Some(f64::from_bits(bits)),
                ((6, Field::Fixed64(bits)), false) => point.value = Some(bits.cast_signed() as f64),
                ((4, Field::Fixed64(count)), true) => point.count = count,
                ((5, Field::Fixed64(bits)), true) => point.sum = Some(f64::from_bits(bits)),
                ((6, Field::Bytes(packed)), true) if point.counts.is_empty() => point.counts = packed,
                ((7, Field::Bytes(packed)), true) if point.bounds.is_empty() => point.bounds = packed,
                ((8, Field::Varint(0)), false) | ((10, Field::Varint(0)), true) => {}
                _ => return None,
            }
        }
        point.attributes = message.get(attributes)?;
        Some(point)
    }

    fn key(&self, seed: u64) -> u128 {
        let attributes = xxh3_128_with_seed(self.attributes, seed);
        match self.bounds {
            [] => attributes ^ u128::from(self.sum.is_some()),
            bounds => attributes ^ (u128::from(xxh3_64_with_seed(bounds, seed)) << 1) ^ u128::from(self.sum.is_some()),
        }
    }

    /// Series of a histogram with these bounds.
    fn series_of_histogram(&self) -> usize {
        usize::from(self.sum.is_some()) + 2 + self.bounds.len() / 8
    }

    /// The counts up to each bound, the last of which is that of all; `None` where the histogram is not well made.
    fn cumulated(&self) -> Option<(u64, impl Iterator<Item = u64> + '_)> {
        let counts = packed(self.counts)?;
        let total = counts.clone().try_fold(0u64, u64::checked_add)?;
        let is_whole = self.counts.len() == self.bounds.len() + 8 || (self.counts.is_empty() && self.bounds.is_empty());
        let count = self.count.max(total);
        let bounds = self.bounds.len() / 8;
        let up_to = counts.take(bounds).scan(0u64, |sum, n| {
            *sum = sum.saturating_add(n);
            Some(*sum)
        });
        is_whole.then_some((count, up_to.chain([count])))
    }
}

impl Known {
    /// Remembers up to `series_max` series that came lately, and as many that came before.
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            series_max,
            seed: RandomState::new().hash_one(0),
            young: HashMap::new(),
            old: HashMap::new(),
            counts: [0; 2],
            turned_at: TimestampMs::MIN,
        }
    }

    /// Series remembered now.
    pub(super) fn len(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Forgets what did not come for long; to be called at the begin of a request.
    pub(super) fn turn(&mut self, now: TimestampMs) {
        if self.turned_at == TimestampMs::MIN {
            self.turned_at = now;
        }
        if now.0 - self.turned_at.0 >= GENERATION_MS || self.counts[0] >= self.series_max {
            self.turned_at = now;
            self.old = std::mem::take(&mut self.young);
            self.counts = [0, self.counts[0]];
        }
    }

    /// What tells the metrics of one scope from all others: by its sender and its own name, unit and kind.
    fn seed(&self, writer: &Writer<'_>, head: &Head<'_>) -> u64 {
        let hash = |bytes: &[u8], seed| xxh3_64_with_seed(bytes, seed);
        let seed = hash(head.name.as_bytes(), self.seed ^ writer.sender_hash());
        hash(head.metric.unit.as_bytes(), seed) ^ (head.kind as u64)
    }

    /// Writes the points of a metric of which every data point is known; otherwise none.
    pub(super) fn write(&mut self, head: &Head<'_>, writer: &mut Writer<'_>) -> Result<(), Unknown> {
        let seed = self.seed(writer, head);
        let before = writer.mark();
        for message in &head.points {
            if self.write_point(message, head.kind, seed, writer).is_none() {
                writer.back_to(before);
                return Err(Unknown);
            }
        }
        Ok(())
    }

    fn write_point(&mut self, message: &[u8], kind: Kind, seed: u64, writer: &mut Writer<'_>) -> Option<()> {
        let point = RawPoint::read(message, kind)?;
        let t = TimestampMs::from(UnixNanos(point.time));
        // Without a time, or ahead of it, a point is for the writer to judge.
        if point.time == 0 || writer.is_too_new(t) {
            return None;
        }
        match self.find(point.key(seed))? {
            Series::Number(labels) => {
                let is_counter = kind == Kind::CumulativeCounter && !writer.is_exact();
                writer.push_known(labels, t, plain(point.value?), is_counter);
            }
            Series::Histogram(labels) => {
                let (count, up_to) = point.cumulated()?;
                let sum = point.sum.map(plain);
                let values = sum.into_iter().chain([count as f64]).chain(up_to.map(|n| n as f64));
                labels.iter().zip(values).for_each(|(labels, value)| writer.push_known(labels, t, value, true));
            }
        }
        Some(())
    }

    fn find(&mut self, key: u128) -> Option<&Series> {
        if !self.young.contains_key(&key) {
            let series = self.old.remove(&key)?;
            let count = series.labels().len();
            self.counts = [self.counts[0] + count, self.counts[1] - count];
            self.young.insert(key, series);
        }
        self.young.get(&key)
    }

    /// Remembers what each data point of a metric became, where every one became points of its own.
    pub(super) fn learn(&mut self, head: &Head<'_>, writer: &Writer<'_>, emitted: &[Emitted]) {
        let seed = self.seed(writer, head);
        let points: Option<Vec<RawPoint<'_>>> =
            head.points.iter().map(|message| RawPoint::read(message, head.kind)).collect();
        let Some(points) = points else { return };
        let series_of = |point: &RawPoint<'_>| match head.kind {
            Kind::CumulativeHistogram => point.series_of_histogram(),
            _ => 1,
        };
        if points.iter().map(series_of).sum::<usize>() != emitted.len() {
            return;
        }
        let mut rest = emitted;
        for point in &points {
            let Some((own, others)) = rest.split_at_checked(series_of(point)) else { return };
            rest = others;
            if self.counts[0] >= self.series_max {
                return;
            }
            let labels = own.iter().map(|emitted| emitted.point.labels.clone());
            let series = match own {
                [number] if head.kind != Kind::CumulativeHistogram => Series::Number(number.point.labels.clone()),
                _ => Series::Histogram(labels.collect()),
            };
            if self.young.insert(point.key(seed), series).is_none() {
                self.counts[0] += own.len();
            }
        }
    }
}
