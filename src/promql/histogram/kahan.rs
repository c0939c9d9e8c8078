//! Sums of many histograms with compensated (Kahan-Neumaier) summation in every bucket.

use super::add::{AddOutcome, Incompatible, combine};
use super::{Indexed, Sparse};
use crate::promql::eval::kahan_add;

/// A running sum and what rounding has lost of it so far.
#[derive(Clone, Debug)]
pub(crate) struct KahanSum {
    sum: Sparse,
    lost: Sparse,
}

impl KahanSum {
    /// A sum that begins with one histogram.
    pub(crate) fn new(first: Sparse) -> Self {
        let lost = Sparse {
            schema: first.schema,
            zero_threshold: first.zero_threshold,
            custom_values: first.custom_values.clone(),
            ..Sparse::default()
        };
        Self { sum: first, lost }
    }

    /// Adds one more.
    ///
    /// # Errors
    /// One has exponential, the other custom buckets.
    pub(crate) fn add(&mut self, other: &Sparse) -> Result<AddOutcome, Incompatible> {
        let mut other = other.clone();
        let outcome = self.sum.align(&mut other)?;
        // The lost part always has the layout of the sum. Aligning it with the already aligned `other` gives it that.
        self.lost.align_buckets(&mut other.clone());
        self.lost.hint = self.sum.hint;
        let (sum, lost) = (&mut self.sum, &mut self.lost);
        for (value, sum, lost) in [
            (other.zero_count, &mut sum.zero_count, &mut lost.zero_count),
            (other.count, &mut sum.count, &mut lost.count),
            (other.sum, &mut sum.sum, &mut lost.sum),
        ] {
            (*sum, *lost) = kahan_add(value, *sum, *lost);
        }
        add_buckets(&other.positive, &mut sum.positive, &mut lost.positive);
        add_buckets(&other.negative, &mut sum.negative, &mut lost.negative);
        Ok(outcome)
    }

    /// Whether the sum has overflowed, so that it cannot be used.
    pub(crate) fn has_overflow(&self) -> bool {
        self.sum.has_overflow()
    }

    /// Multiplies sum and loss.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
        self.lost.scale(factor);
    }

    /// Divides sum and loss.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.sum.divide(divisor);
        self.lost.divide(divisor);
    }

    /// The sum with what was lost put back.
    pub(crate) fn total(&self) -> Sparse {
        let mut total = self.sum.clone();
        total.positive = combine(&total.positive, &self.lost.positive, 1.0);
        total.negative = combine(&total.negative, &self.lost.negative, 1.0);
        for (value, lost) in [
            (&mut total.zero_count, self.lost.zero_count),
            (&mut total.count, self.lost.count),
            (&mut total.sum, self.lost.sum),
        ] {
            // An infinite sum is final; the loss beside it is meaningless.
            if !value.is_infinite() {
                *value += lost;
            }
        }
        total
    }
}

fn add_buckets(values: &Indexed, sums: &mut Indexed, losts: &mut Indexed) {
    let mut losses = Indexed::new();
    let count_at = |buckets: &Indexed, index: i32| {
        buckets.binary_search_by_key(&index, |(i, _)| *i).map_or(0.0, |at| buckets[at].1)
    };
    let mut indexes: Vec<i32> = values.iter().chain(&*sums).chain(&*losts).map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    indexes.dedup();
    let mut new_sums = Indexed::with_capacity(indexes.len());
    for index in indexes {
        let (sum, lost) = kahan_add(count_at(values, index), count_at(sums, index), count_at(losts, index));
        new_sums.push((index, sum));
        losses.push((index, lost));
    }
    *sums = new_sums;
    *losts = losses;
}
