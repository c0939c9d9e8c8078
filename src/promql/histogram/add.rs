//! Sum and difference of two histograms with differing resolutions, zero buckets or custom bounds.

use super::{Indexed, Sparse};
use crate::model::CounterResetHint;

/// Exponential and custom buckets cannot be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("histograms with exponential and custom buckets cannot be combined")]
pub(crate) struct Incompatible;

/// What happened on the way to a sum or difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddOutcome {
    /// One operand was known to follow a counter reset, the other known not to.
    pub reset_collision: bool,
    /// Custom bounds differed, so that only the common ones are left.
    pub bounds_reconciled: bool,
}

impl Sparse {
    /// Adds `sign` times `other`.
    ///
    /// # Errors
    /// One has exponential, the other custom buckets.
    pub(in crate::promql) fn add_scaled(&mut self, other: &Self, sign: f64) -> Result<AddOutcome, Incompatible> {
        let mut other = other.clone();
        let outcome = self.align(&mut other)?;
        self.positive = combine(&self.positive, &other.positive, sign);
        self.negative = combine(&self.negative, &other.negative, sign);
        self.zero_count += sign * other.zero_count;
        self.count += sign * other.count;
        self.sum += sign * other.sum;
        Ok(outcome)
    }

    /// Brings both to the same zero bucket, resolution and bounds, and settles the counter reset hint.
    pub(super) fn align(&mut self, other: &mut Self) -> Result<AddOutcome, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let reset_collision = self.merge_hint(other.hint);
        let bounds_reconciled = self.align_buckets(other);
        Ok(AddOutcome { reset_collision, bounds_reconciled })
    }

    /// As [`Sparse::align`] for two of the same kind, leaving the hints alone.
    pub(super) fn align_buckets(&mut self, other: &mut Self) -> bool {
        if self.is_custom() {
            return self.reconcile_bounds(other);
        }
        self.reconcile_zero_buckets(other);
        let schema = self.schema.min(other.schema);
        self.reduce_to(schema);
        other.reduce_to(schema);
        false
    }

    /// Gauge wins, then unknown; true when reset meets not-reset.
    fn merge_hint(&mut self, other: CounterResetHint) -> bool {
        use CounterResetHint::{Gauge, Unknown};
        match (self.hint, other) {
            (mine, theirs) if mine == theirs => false,
            (Gauge, _) => false,
            (_, Gauge) => {
                self.hint = Gauge;
                false
            }
            (Unknown, _) => false,
            (_, Unknown) => {
                self.hint = Unknown;
                false
            }
            _ => {
                self.hint = Unknown;
                true
            }
        }
    }

    /// Keeps the custom bounds that both have; whether any differed.
    fn reconcile_bounds(&mut self, other: &mut Self) -> bool {
        if self.custom_values == other.custom_values {
            return false;
        }
        let common: Vec<f64> =
            self.custom_values.iter().copied().filter(|bound| other.custom_values.contains(bound)).collect();
        for side in [self, other] {
            let coarser = side.positive.iter().map(|(index, count)| {
                let upper = side.bound(*index);
                (common.partition_point(|bound| *bound < upper) as i32, *count)
            });
            side.positive = super::merge_neighbours(coarser);
            side.custom_values.clone_from(&common);
        }
        true
    }

    /// Widens the narrower zero bucket until both are the same.
    fn reconcile_zero_buckets(&mut self, other: &mut Self) {
        while self.zero_threshold != other.zero_threshold {
            let (narrow, wide) =
                if self.zero_threshold < other.zero_threshold { (&mut *self, &*other) } else { (&mut *other, &*self) };
            let (count, threshold) = narrow.zero_count_at(wide.zero_threshold);
            narrow.zero_count = count;
            narrow.zero_threshold = threshold;
            let bound_inside = |schema: i32, index: i32| super::exponential_bound(index, schema) <= threshold;
            let schema = narrow.schema;
            narrow.positive.retain(|(index, _)| !bound_inside(schema, *index));
            narrow.negative.retain(|(index, _)| !bound_inside(schema, *index));
        }
    }

    /// The count of a zero bucket widened to `threshold`, and the threshold that was really needed:
    /// a populated bucket is never cut, so the zero bucket grows to its outer bound.
    pub(super) fn zero_count_at(&self, threshold: f64) -> (f64, f64) {
        let mut threshold = threshold;
        loop {
            let mut count = self.zero_count;
            let mut grown = threshold;
            for (index, bucket_count) in self.positive.iter().chain(&self.negative) {
                if self.bound(index - 1) < threshold {
                    count += bucket_count;
                    grown = grown.max(self.bound(*index));
                }
            }
            if grown == threshold {
                return (count, threshold);
            }
            threshold = grown;
        }
    }
}

/// Bucket by bucket `a + sign * b`; buckets that cancel out go.
pub(super) fn combine(a: &Indexed, b: &Indexed, sign: f64) -> Indexed {
    let mut out = Indexed::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let from_a = a.get(i).filter(|x| b.get(j).is_none_or(|y| x.0 <= y.0));
        let from_b = b.get(j).filter(|y| a.get(i).is_none_or(|x| y.0 <= x.0));
        let index = from_a.or(from_b).map_or(0, |(index, _)| *index);
        let count = from_a.map_or(0.0, |(_, count)| *count) + sign * from_b.map_or(0.0, |(_, count)| *count);
        i += usize::from(from_a.is_some());
        j += usize::from(from_b.is_some());
        if count != 0.0 {
            out.push((index, count));
        }
    }
    out
}
