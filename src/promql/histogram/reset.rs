//! Whether a histogram shows that its counter was reset since the one before.

use super::{Indexed, Sparse};
use crate::model::CounterResetHint;

impl Sparse {
    /// Whether the counter was reset between `previous` and this histogram.
    ///
    /// The hint decides where it is certain; otherwise any count that fell, any bucket that went, and any
    /// change of layout that only a restart explains.
    pub(in crate::promql) fn detects_reset(&self, previous: &Self) -> bool {
        match self.hint {
            CounterResetHint::Reset => return true,
            CounterResetHint::NotReset => return false,
            CounterResetHint::Unknown | CounterResetHint::Gauge => {}
        }
        if self.count < previous.count || self.is_custom() != previous.is_custom() {
            return true;
        }
        if self.is_custom() {
            let (mut now, mut before) = (self.clone(), previous.clone());
            now.align_buckets(&mut before);
            return any_fell(&before.positive, &now.positive);
        }
        if self.schema > previous.schema || self.zero_threshold < previous.zero_threshold {
            return true;
        }
        let (zero_count, threshold) = previous.zero_count_at(self.zero_threshold);
        // A threshold inside a populated bucket of the previous one cannot come from the same counter.
        if threshold != self.zero_threshold || self.zero_count < zero_count {
            return true;
        }
        let mut before = previous.clone();
        let inside = |index: i32| super::exponential_bound(index, previous.schema) <= threshold;
        before.positive.retain(|(index, _)| !inside(*index));
        before.negative.retain(|(index, _)| !inside(*index));
        before.reduce_to(self.schema);
        any_fell(&before.positive, &self.positive) || any_fell(&before.negative, &self.negative)
    }
}

/// Whether any bucket of `before` holds more than the same bucket of `now`.
fn any_fell(before: &Indexed, now: &Indexed) -> bool {
    before.iter().any(|(index, count)| {
        let present = now.binary_search_by_key(index, |(i, _)| *i).map_or(0.0, |at| now[at].1);
        present < *count
    })
}
