//! Quantiles, fractions and variance estimated from a native histogram.
//!
//! Inside a bucket observations are spread evenly on a logarithmic scale, in the zero bucket and in custom
//! buckets on a linear one.

use super::{Bucket, Sparse};
use crate::promql::eval::kahan_add;

/// A quantile, and what has to be said about it.
pub(crate) struct Quantile {
    pub value: f64,
    /// The rank lies among NaN observations, so the value is NaN.
    pub is_nan_result: bool,
    /// There are NaN observations, which shift every quantile upwards.
    pub is_skewed: bool,
}

impl Quantile {
    fn plain(value: f64) -> Self {
        Self { value, is_nan_result: false, is_skewed: false }
    }
}

/// The `q`-quantile: -Inf below 0, +Inf above 1, NaN for no observations or `q` = NaN.
pub(crate) fn quantile(q: f64, h: &Sparse) -> Quantile {
    if q < 0.0 {
        return Quantile::plain(f64::NEG_INFINITY);
    }
    if q > 1.0 {
        return Quantile::plain(f64::INFINITY);
    }
    if h.count == 0.0 || q.is_nan() {
        return Quantile::plain(f64::NAN);
    }
    // NaN observations are counted but are in no bucket; then only counting from below is right.
    let has_nan = h.sum.is_nan();
    let from_below = has_nan || q < 0.5;
    let rank = if from_below { q * h.count } else { (1.0 - q) * h.count };
    let mut buckets = h.buckets();
    if !from_below {
        buckets.reverse();
    }
    let mut count = 0.0;
    let mut found = Bucket { lower: 0.0, upper: 0.0, count: 0.0 };
    for bucket in buckets.into_iter().filter(|b| b.count != 0.0) {
        found = bucket;
        count += bucket.count;
        if count >= rank {
            break;
        }
    }
    h.narrow_zero_bucket(&mut found);
    if h.is_custom() {
        if found.lower == f64::NEG_INFINITY {
            if found.upper <= 0.0 {
                return Quantile { value: found.upper, is_nan_result: false, is_skewed: has_nan };
            }
            found.lower = 0.0;
        } else if found.upper == f64::INFINITY {
            return Quantile { value: found.lower, is_nan_result: false, is_skewed: has_nan };
        }
    }
    let count = count.min(h.count);
    if has_nan && count < rank {
        return Quantile { value: f64::NAN, is_nan_result: true, is_skewed: false };
    }
    let rank_in_bucket = if from_below { rank - (count - found.count) } else { count - rank };
    let value = interpolate(h, found, rank_in_bucket / found.count);
    Quantile { value, is_nan_result: false, is_skewed: has_nan }
}

/// The value at `fraction` of the bucket.
fn interpolate(h: &Sparse, bucket: Bucket, fraction: f64) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if h.is_custom() || (lower <= 0.0 && upper >= 0.0) {
        return lower + (upper - lower) * fraction;
    }
    let (log_lower, log_upper) = (lower.abs().log2(), upper.abs().log2());
    if lower > 0.0 {
        return (log_lower + (log_upper - log_lower) * fraction).exp2();
    }
    -(log_upper + (log_lower - log_upper) * (1.0 - fraction)).exp2()
}

/// The fraction of observations between `lower` and `upper`; NaN for no observations or a NaN bound.
pub(crate) fn fraction(lower: f64, upper: f64, h: &Sparse) -> f64 {
    if h.count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let buckets = h.buckets();
    // NaN observations are in no bucket and belong to no fraction.
    let total_in_buckets: f64 = buckets.iter().map(|b| b.count).sum();
    let limit = if h.sum.is_nan() { total_in_buckets } else { h.count };
    let rank_of = |value: f64| rank_of(value, h, &buckets).map_or(limit, |rank| rank.min(limit));
    (rank_of(upper) - rank_of(lower)) / h.count
}

/// Observations below `value`; `None` when it is above every bucket.
fn rank_of(value: f64, h: &Sparse, buckets: &[Bucket]) -> Option<f64> {
    let mut rank = 0.0;
    for bucket in buckets {
        let mut bucket = *bucket;
        h.narrow_zero_bucket(&mut bucket);
        // The lowest custom bucket ends somewhere, so it is taken to begin at zero where that is below it.
        if h.is_custom() && bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
            bucket.lower = 0.0;
        }
        if bucket.lower >= value {
            return Some(rank);
        }
        if bucket.upper > value {
            return Some(rank + bucket.count * share_below(h, bucket, value));
        }
        rank += bucket.count;
    }
    None
}

/// The share of a bucket's observations below a value inside it.
pub(super) fn share_below(h: &Sparse, bucket: Bucket, value: f64) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if h.is_custom() || (lower <= 0.0 && upper >= 0.0) {
        return match (lower == f64::NEG_INFINITY, upper == f64::INFINITY) {
            (true, _) => 1.0,
            (_, true) => 0.0,
            _ => (value - lower) / (upper - lower),
        };
    }
    let (log_lower, log_upper, log_value) = (lower.abs().log2(), upper.abs().log2(), value.abs().log2());
    let share = (log_value - log_lower) / (log_upper - log_lower);
    if lower > 0.0 { share } else { 1.0 - (log_value - log_upper) / (log_lower - log_upper) }
}

/// The estimated variance: each bucket's observations at its middle, geometric where buckets are exponential.
pub(crate) fn variance(h: &Sparse) -> f64 {
    let mean = h.sum / h.count;
    let (mut sum, mut lost) = (0.0, 0.0);
    for bucket in h.buckets().into_iter().filter(|b| b.count != 0.0) {
        let delta = middle(h, bucket) - mean;
        (sum, lost) = kahan_add(bucket.count * delta * delta, sum, lost);
    }
    (sum + lost) / h.count
}

/// The value that stands for all of a bucket.
pub(super) fn middle(h: &Sparse, bucket: Bucket) -> f64 {
    let Bucket { lower, upper, .. } = bucket;
    if h.is_custom() {
        (upper + lower) / 2.0
    } else if lower <= 0.0 && upper >= 0.0 {
        0.0
    } else if upper < 0.0 {
        -(upper * lower).sqrt()
    } else {
        (upper * lower).sqrt()
    }
}
