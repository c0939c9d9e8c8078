//! The arithmetic of native histograms: `model::FloatHistogram` holds the data, here it is calculated with.
//!
//! In and out: float histograms.   Always: a [`Sparse`] has no empty buckets and its indexes ascend, so that
//! what comes out is compacted. Meanings are those of Prometheus `model/histogram`.

mod add;
mod kahan;
mod quantile;
mod reset;
mod trim;

pub(in crate::promql) use add::Incompatible;
pub(in crate::promql) use kahan::KahanSum;
pub(in crate::promql) use quantile::{fraction, quantile, variance};
pub(in crate::promql) use trim::Keep;

use crate::model::{CounterResetHint, FloatHistogram, Span};

/// Buckets by index, ascending, none of them empty.
type Indexed = Vec<(i32, f64)>;

/// A histogram unpacked for calculation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sparse {
    pub hint: CounterResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive: Indexed,
    pub negative: Indexed,
    pub custom_values: Vec<f64>,
}

/// A bucket by its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub count: f64,
}

impl From<&FloatHistogram> for Sparse {
    fn from(h: &FloatHistogram) -> Self {
        Self {
            hint: h.counter_reset_hint,
            schema: h.schema,
            // Senders are free to write NaN, which could never be widened to another threshold.
            zero_threshold: h.zero_threshold.max(0.0),
            zero_count: h.zero_count,
            count: h.count,
            sum: h.sum,
            positive: unpack(&h.positive_spans, &h.positive_buckets),
            negative: unpack(&h.negative_spans, &h.negative_buckets),
            custom_values: h.custom_values.clone(),
        }
    }
}

impl From<&Sparse> for FloatHistogram {
    fn from(s: &Sparse) -> Self {
        let (positive_spans, positive_buckets) = pack(&s.positive);
        let (negative_spans, negative_buckets) = pack(&s.negative);
        Self {
            counter_reset_hint: s.hint,
            schema: s.schema,
            zero_threshold: s.zero_threshold,
            zero_count: s.zero_count,
            count: s.count,
            sum: s.sum,
            positive_spans,
            positive_buckets,
            negative_spans,
            negative_buckets,
            custom_values: s.custom_values.clone(),
        }
    }
}

/// The histogram without empty buckets and with the fewest spans.
pub(super) fn compact(h: &FloatHistogram) -> FloatHistogram {
    FloatHistogram::from(&Sparse::from(h))
}

/// Buckets beyond what the spans announce are left out, as are spans beyond the buckets.
fn unpack(spans: &[Span], counts: &[f64]) -> Indexed {
    let mut index = 0i32;
    let indexes = spans.iter().flat_map(|span| {
        let first = index.saturating_add(span.offset);
        index = first.saturating_add_unsigned(span.length);
        first..index
    });
    indexes.zip(counts.iter().copied()).filter(|(_, count)| *count != 0.0).collect()
}

fn pack(buckets: &Indexed) -> (Vec<Span>, Vec<f64>) {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0i32;
    let kept = || buckets.iter().filter(|(_, count)| *count != 0.0);
    for (index, _) in kept() {
        match spans.last_mut() {
            Some(span) if *index == next => span.length += 1,
            _ => spans.push(Span { offset: index.wrapping_sub(next), length: 1 }),
        }
        next = index + 1;
    }
    (spans, kept().map(|(_, count)| *count).collect())
}

impl Sparse {
    /// Whether the bounds are the ones in `custom_values`.
    pub(super) fn is_custom(&self) -> bool {
        self.schema == FloatHistogram::CUSTOM_BUCKETS
    }

    /// Multiplies every count by `factor`; a negative one makes it a gauge.
    pub(super) fn scale(&mut self, factor: f64) {
        self.for_each_count(|count| *count *= factor);
        self.sum *= factor;
        if factor < 0.0 {
            self.hint = CounterResetHint::Gauge;
        }
    }

    /// Divides every count; dividing by zero leaves no buckets, because each would be infinite.
    pub(super) fn divide(&mut self, divisor: f64) {
        self.for_each_count(|count| *count /= divisor);
        self.sum /= divisor;
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        }
        if divisor < 0.0 {
            self.hint = CounterResetHint::Gauge;
        }
    }

    fn for_each_count(&mut self, mut change: impl FnMut(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|(_, count)| change(count));
    }

    /// Whether any of the numbers has become infinite.
    pub(super) fn has_overflow(&self) -> bool {
        [self.zero_count, self.count, self.sum].iter().any(|v| v.is_infinite())
            || self.positive.iter().chain(&self.negative).any(|(_, count)| count.is_infinite())
    }

    /// Upper bound of the bucket with this index.
    pub(super) fn bound(&self, index: i32) -> f64 {
        if !self.is_custom() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(at) => self.custom_values.get(at).copied().unwrap_or(f64::INFINITY),
        }
    }

    /// All buckets from the lowest to the highest, the zero bucket in its place.
    pub(super) fn buckets(&self) -> Vec<Bucket> {
        let mut all = Vec::with_capacity(self.positive.len() + self.negative.len() + 1);
        for (index, count) in self.negative.iter().rev() {
            all.push(Bucket { lower: -self.bound(*index), upper: -self.bound(index - 1), count: *count });
        }
        if self.zero_count > 0.0 {
            all.push(Bucket { lower: -self.zero_threshold, upper: self.zero_threshold, count: self.zero_count });
        }
        for (index, count) in &self.positive {
            all.push(Bucket { lower: self.bound(index - 1), upper: self.bound(*index), count: *count });
        }
        all
    }

    /// Where the zero bucket is one-sided because all other buckets are on that side, cuts it at zero.
    fn narrow_zero_bucket(&self, bucket: &mut Bucket) {
        if self.is_custom() || !(bucket.lower < 0.0 && bucket.upper > 0.0) {
            return;
        }
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }

    /// Lowers the resolution to `schema`, which must not be above the present one.
    pub(super) fn reduce_to(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let shift = self.schema - schema;
        for buckets in [&mut self.positive, &mut self.negative] {
            *buckets = merge_neighbours(buckets.iter().map(|(index, count)| (((index - 1) >> shift) + 1, *count)));
        }
        self.schema = schema;
    }
}

/// Adds up neighbours with the same index.
fn merge_neighbours(buckets: impl Iterator<Item = (i32, f64)>) -> Indexed {
    let mut merged = Indexed::new();
    for (index, count) in buckets {
        match merged.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => merged.push((index, count)),
        }
    }
    merged
}

/// `2^(index * 2^-schema)`; the bucket that reaches 2^1024 ends at the largest float instead.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    let exponent = f64::from(index) * f64::exp2(-f64::from(schema));
    if exponent == 1024.0 { f64::MAX } else { exponent.exp2() }
}

#[cfg(test)]
mod tests;
