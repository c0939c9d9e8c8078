//! The operators `</` and `>/`: a histogram without the observations above or below a value.
//!
//! Buckets that the value cuts are interpolated. Where anything is removed, count and sum are estimated anew
//! from what is left, each bucket at its middle.

use super::quantile::share_below;
use super::{Bucket, Sparse};

/// Which side is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::promql) enum Keep {
    /// `</`.
    Below,
    /// `>/`.
    Above,
}

/// What is left of a bucket: its count and the sum of its observations.
struct Rest {
    count: f64,
    sum: f64,
}

impl Sparse {
    /// The histogram of the observations on one side of `cut`.
    pub(in crate::promql) fn trimmed(&self, cut: f64, keep: Keep) -> Self {
        let mut out = self.clone();
        let (mut count, mut sum) = (0.0, 0.0);
        let mut removed = false;
        let mut trim = |bucket: Bucket, slot: &mut f64| {
            let rest = self.rest_of(bucket, cut, keep);
            removed |= rest.count != bucket.count;
            count += rest.count;
            sum += rest.sum;
            *slot = rest.count;
        };
        for (index, slot) in &mut out.negative {
            trim(Bucket { lower: -self.bound(*index), upper: -self.bound(*index - 1), count: *slot }, slot);
        }
        if self.zero_count > 0.0 {
            let mut bucket = Bucket { lower: -self.zero_threshold, upper: self.zero_threshold, count: self.zero_count };
            self.narrow_zero_bucket(&mut bucket);
            trim(bucket, &mut out.zero_count);
        }
        for (index, slot) in &mut out.positive {
            trim(Bucket { lower: self.bound(*index - 1), upper: self.bound(*index), count: *slot }, slot);
        }
        if !removed {
            return self.clone();
        }
        out.positive.retain(|(_, count)| *count != 0.0);
        out.negative.retain(|(_, count)| *count != 0.0);
        out.count = count;
        out.sum = sum;
        out
    }

    fn rest_of(&self, bucket: Bucket, cut: f64, keep: Keep) -> Rest {
        let nothing = Rest { count: 0.0, sum: 0.0 };
        let keeps_all_of_time = match keep {
            Keep::Below => cut == f64::INFINITY,
            Keep::Above => cut == f64::NEG_INFINITY,
        };
        if keeps_all_of_time {
            return Rest { count: bucket.count, sum: 0.0 };
        }
        if cut.is_infinite() {
            return nothing;
        }
        match (bucket.lower == f64::NEG_INFINITY, bucket.upper == f64::INFINITY) {
            (true, true) => nothing,
            (true, false) => self.rest_of_lowest(bucket, cut, keep),
            // Where the highest bucket ends is unknown: it is above every cut, and stands at its lower bound or the cut.
            (false, true) => match keep {
                Keep::Below => nothing,
                Keep::Above => Rest { count: bucket.count, sum: bucket.count * bucket.lower.max(cut) },
            },
            (false, false) => self.rest_of_bounded(bucket, cut, keep),
        }
    }

    /// Where the lowest custom bucket begins is unknown: at zero if it ends above it, else below every cut.
    fn rest_of_lowest(&self, bucket: Bucket, cut: f64, keep: Keep) -> Rest {
        if bucket.upper > 0.0 {
            if keep == Keep::Above && cut < 0.0 {
                return Rest { count: 0.0, sum: 0.0 };
            }
            return self.rest_of_bounded(Bucket { lower: 0.0, ..bucket }, cut, keep);
        }
        match keep {
            Keep::Below => Rest { count: bucket.count, sum: bucket.count * bucket.upper.min(cut) },
            Keep::Above => Rest { count: 0.0, sum: 0.0 },
        }
    }

    fn rest_of_bounded(&self, bucket: Bucket, cut: f64, keep: Keep) -> Rest {
        let Bucket { lower, upper, count } = bucket;
        let is_linear = self.is_custom() || (lower <= 0.0 && upper >= 0.0);
        let below = if cut <= lower {
            0.0
        } else if cut >= upper {
            1.0
        } else {
            share_below(self, bucket, cut)
        };
        let (share, lower, upper) = match keep {
            Keep::Below => (below, lower, upper.min(cut)),
            Keep::Above => (1.0 - below, lower.max(cut), upper),
        };
        if share <= 0.0 {
            return Rest { count: 0.0, sum: 0.0 };
        }
        let kept = if share >= 1.0 { count } else { count * share };
        let middle = match is_linear {
            true => (lower + upper) / 2.0,
            false => (lower * upper).sqrt().copysign(upper + lower),
        };
        Rest { count: kept, sum: kept * middle }
    }
}
