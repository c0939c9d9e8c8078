//! Exponential histograms as native histograms.
//!
//! In:  an OTLP exponential histogram point.   Out: a [`FloatHistogram`] of the same buckets.
//! Always: OTLP's bucket `i` covers (base^i, base^(i+1)], a native one (base^(i-1), base^i]: indices move by one.
//! Scales above 8 are merged down to 8. Source: OpenTelemetry "Exponential histograms" compatibility rules.

use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;

use super::refusals::Refusal;
use crate::model::{FloatHistogram, Span};

const SCHEMA_MAX: i32 = 8;
const SCHEMA_MIN: i32 = -4;

/// Most buckets on one side that an accumulated histogram may span; wider ones are merged to a coarser scale.
const WIDTH_MAX: usize = 1_280;

/// Somewhat beyond the exponents of the smallest (2^-1074) and greatest (2^1024) double.
const EXPONENT_MAX: i64 = 1_100;

/// Empty buckets between two filled ones up to which a span goes on; longer gaps start a new span.
const GAP_MAX: i64 = 2;

/// One side of an exponential histogram: neighbouring OTLP buckets from `offset` on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Side {
    offset: i64,
    counts: Vec<u64>,
}

/// An exponential histogram that can be added to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exponential {
    scale: i32,
    zero_threshold: f64,
    zero_count: u64,
    count: u64,
    sum: f64,
    positive: Side,
    negative: Side,
}

impl Exponential {
    /// Reads a point; refused when its scale is below -4 or its counts do not add up in 64 bits.
    pub(super) fn read(point: &ExponentialHistogramDataPoint) -> Result<Self, Refusal> {
        if point.scale < SCHEMA_MIN {
            return Err(Refusal::BadHistogram { why: "its scale is below -4" });
        }
        let side = |buckets: &Option<Buckets>| {
            let Some(buckets) = buckets else { return Side::default() };
            Side { offset: i64::from(buckets.offset), counts: buckets.bucket_counts.clone() }.trimmed()
        };
        let mut read = Self {
            scale: point.scale,
            zero_threshold: if point.zero_threshold.is_finite() { point.zero_threshold.max(0.0) } else { 0.0 },
            zero_count: point.zero_count,
            count: point.count,
            sum: point.sum.unwrap_or(0.0),
            positive: side(&point.positive),
            negative: side(&point.negative),
        };
        let in_buckets = read.positive.counts.iter().chain(&read.negative.counts).chain([&read.zero_count]);
        if in_buckets.copied().try_fold(0u64, u64::checked_add).is_none() {
            return Err(Refusal::BadHistogram { why: "its bucket counts do not fit in 64 bits" });
        }
        read.coarsen_to(SCHEMA_MAX.min(read.scale));
        if !read.positive.fits(read.scale) || !read.negative.fits(read.scale) {
            return Err(Refusal::BadHistogram { why: "a bucket lies beyond the range of a double" });
        }
        Ok(read)
    }

    /// Adds a delta; the result has the coarser scale of both, and a coarser one still where it would get too wide.
    pub(super) fn add(&mut self, delta: &Self) {
        let mut delta = delta.clone();
        let scale = self.scale.min(delta.scale);
        self.coarsen_to(scale);
        delta.coarsen_to(scale);
        while self.scale > SCHEMA_MIN
            && (self.positive.width_with(&delta.positive) > WIDTH_MAX
                || self.negative.width_with(&delta.negative) > WIDTH_MAX)
        {
            let coarser = self.scale - 1;
            self.coarsen_to(coarser);
            delta.coarsen_to(coarser);
        }
        self.positive.add(&delta.positive);
        self.negative.add(&delta.negative);
        self.zero_threshold = self.zero_threshold.max(delta.zero_threshold);
        self.zero_count = self.zero_count.saturating_add(delta.zero_count);
        self.count = self.count.saturating_add(delta.count);
        self.sum += delta.sum;
    }

    /// The native histogram.
    pub(super) fn to_native(&self) -> FloatHistogram {
        let (positive_spans, positive_buckets) = self.positive.spans();
        let (negative_spans, negative_buckets) = self.negative.spans();
        FloatHistogram {
            schema: self.scale,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count as f64,
            count: self.count as f64,
            sum: self.sum,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            ..FloatHistogram::default()
        }
    }

    fn coarsen_to(&mut self, scale: i32) {
        let steps = u32::try_from(self.scale - scale).unwrap_or(0).min(63);
        if steps > 0 {
            self.positive.coarsen(steps);
            self.negative.coarsen(steps);
        }
        self.scale = scale;
    }
}

impl Side {
    /// Without empty buckets at either end.
    fn trimmed(mut self) -> Self {
        let filled = |n: &u64| *n > 0;
        let Some(first) = self.counts.iter().position(filled) else { return Self::default() };
        let last = self.counts.iter().rposition(filled).unwrap_or(first);
        self.counts.truncate(last + 1);
        self.counts.drain(..first);
        self.offset += first as i64;
        self
    }

    /// Whether every bucket lies where a double can. It also keeps sums of two histograms small at scale -4.
    fn fits(&self, scale: i32) -> bool {
        let limit = if scale >= 0 { EXPONENT_MAX << scale } else { EXPONENT_MAX >> -scale };
        self.offset >= -limit && self.end() <= limit
    }

    fn coarsen(&mut self, steps: u32) {
        if self.counts.is_empty() {
            return;
        }
        let offset = self.offset >> steps;
        let last = (self.offset + self.counts.len() as i64 - 1) >> steps;
        let mut counts = vec![0u64; (last - offset + 1) as usize];
        for (at, n) in self.counts.iter().enumerate() {
            let to = ((self.offset + at as i64) >> steps) - offset;
            counts[to as usize] = counts[to as usize].saturating_add(*n);
        }
        *self = Self { offset, counts };
    }

    fn end(&self) -> i64 {
        self.offset + self.counts.len() as i64
    }

    fn width_with(&self, other: &Self) -> usize {
        match (self.counts.is_empty(), other.counts.is_empty()) {
            (true, _) => other.counts.len(),
            (_, true) => self.counts.len(),
            _ => (self.end().max(other.end()) - self.offset.min(other.offset)) as usize,
        }
    }

    fn add(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        if self.counts.is_empty() {
            *self = other.clone();
            return;
        }
        let offset = self.offset.min(other.offset);
        let mut counts = vec![0u64; self.width_with(other)];
        for side in [&*self, other] {
            for (at, n) in side.counts.iter().enumerate() {
                let to = (side.offset + at as i64 - offset) as usize;
                counts[to] = counts[to].saturating_add(*n);
            }
        }
        *self = Self { offset, counts };
    }

    fn spans(&self) -> (Vec<Span>, Vec<f64>) {
        let (mut spans, mut buckets): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut end: Option<i64> = None;
        for (at, n) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            let index = self.offset + at as i64 + 1;
            match (end, spans.last_mut()) {
                (Some(end), Some(span)) if index - end <= GAP_MAX => {
                    span.length += (index - end) as u32 + 1;
                    buckets.extend(std::iter::repeat_n(0.0, (index - end) as usize));
                }
                // The first span's offset is the index itself; the others count from the end of the one before.
                _ => spans.push(Span { offset: (index - end.unwrap_or(0)) as i32, length: 1 }),
            }
            buckets.push(*n as f64);
            end = Some(index + 1);
        }
        (spans, buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            scale,
            count: counts.iter().sum::<u64>() + 1,
            sum: Some(5.0),
            zero_count: 1,
            positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
            ..Default::default()
        }
    }

    #[test]
    fn buckets_move_by_one_and_long_gaps_split_spans() {
        let native = Exponential::read(&point(0, -2, &[1, 0, 2, 0, 0, 0, 3])).unwrap().to_native();
        assert_eq!(native.positive_spans, [Span { offset: -1, length: 3 }, Span { offset: 3, length: 1 }]);
        assert_eq!(native.positive_buckets, [1.0, 0.0, 2.0, 3.0]);
        assert_eq!((native.schema, native.count, native.zero_count, native.sum), (0, 7.0, 1.0, 5.0));
    }

    #[test]
    fn fine_scales_are_merged_down_to_eight() {
        // At scale 9 the buckets 2 and 3 are together the bucket 1 of scale 8, which is the native bucket 2.
        let native = Exponential::read(&point(9, 2, &[4, 5])).unwrap().to_native();
        assert_eq!((native.schema, native.positive_spans.as_slice()), (8, &[Span { offset: 2, length: 1 }][..]));
        assert_eq!(native.positive_buckets, [9.0]);
        assert!(Exponential::read(&point(-5, 0, &[1])).is_err());
    }

    #[test]
    fn adding_takes_the_coarser_scale_and_stays_bounded() {
        let mut sum = Exponential::read(&point(1, 0, &[1, 1])).unwrap();
        sum.add(&Exponential::read(&point(0, 0, &[1])).unwrap());
        assert_eq!(sum.to_native().positive_buckets, [3.0]);
        assert_eq!(sum.scale, 0);
        for offset in [-1_000, 1_000] {
            sum.add(&Exponential::read(&point(0, offset, &[1])).unwrap());
        }
        assert!(sum.positive.counts.len() <= WIDTH_MAX && sum.scale == -1);
        assert_eq!(sum.positive.counts.iter().sum::<u64>(), 5);
    }

    #[test]
    fn hostile_offsets_are_refused() {
        for scale in [-4, 0, 8] {
            assert!(Exponential::read(&point(scale, i32::MAX, &[1, 1])).is_err());
            assert!(Exponential::read(&point(scale, i32::MIN, &[1, 1])).is_err());
        }
        assert!(Exponential::read(&point(i32::MAX, i32::MIN, &[1, 1])).is_ok(), "merged down to one bucket or two");
        assert!(Exponential::read(&point(0, 0, &[u64::MAX - 1])).is_ok());
        let mut overflowing = point(0, 0, &[7]);
        overflowing.zero_count = u64::MAX;
        assert!(Exponential::read(&overflowing).is_err());
    }
}
