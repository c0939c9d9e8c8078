//! Native histograms in their float form (Prometheus `model/histogram.FloatHistogram`).

/// Whether a histogram sample is known to follow a counter reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// A run of `length` neighbouring buckets that begins `offset` buckets after the previous run ended.
///
/// The first span's offset is the index of its first bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// A native histogram with absolute float counts per bucket.
///
/// `schema` is -4 to 8 for exponential buckets (base 2^(2^-schema)) and [`FloatHistogram::CUSTOM_BUCKETS`]
/// for the bounds in `custom_values` (ascending, without +Inf). Bucket counts are absolute, not deltas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    pub counter_reset_hint: CounterResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub positive_buckets: Vec<f64>,
    pub negative_spans: Vec<Span>,
    pub negative_buckets: Vec<f64>,
    pub custom_values: Vec<f64>,
}

impl FloatHistogram {
    /// The schema number of histograms whose bounds stand in `custom_values`.
    pub const CUSTOM_BUCKETS: i32 = -53;

    /// Every bucket from the lowest to the highest, empty ones too: negative, zero (only where it has a count), positive.
    ///
    /// A bucket owns its bounds as Prometheus has it: below zero the lower one, above zero the upper one,
    /// around zero both.
    pub fn buckets(&self) -> Vec<Bucket> {
        let bucket = |lower: f64, upper: f64, count: f64| Bucket {
            lower,
            upper,
            lower_inclusive: lower < 0.0,
            upper_inclusive: upper > 0.0,
            count,
        };
        let mut buckets: Vec<Bucket> = indexed(&self.negative_spans, &self.negative_buckets)
            .map(|(index, count)| bucket(-self.upper_bound(index), -self.upper_bound(index - 1), count))
            .collect();
        buckets.reverse();
        if self.zero_count != 0.0 {
            buckets.push(bucket(-self.zero_threshold, self.zero_threshold, self.zero_count));
        }
        let positive = indexed(&self.positive_spans, &self.positive_buckets)
            .map(|(index, count)| bucket(self.upper_bound(index - 1), self.upper_bound(index), count));
        buckets.extend(positive);
        buckets
    }

    /// The upper bound of the bucket with this index, in the positive range.
    fn upper_bound(&self, index: i32) -> f64 {
        if self.uses_custom_buckets() {
            return match usize::try_from(index) {
                Ok(i) => self.custom_values.get(i).copied().unwrap_or(f64::INFINITY),
                Err(_) => f64::NEG_INFINITY,
            };
        }
        (f64::from(index) * 2f64.powi(-self.schema)).exp2()
    }

    /// Whether the bounds are the ones in `custom_values`.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == Self::CUSTOM_BUCKETS
    }
}

/// One bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub lower: f64,
    pub upper: f64,
    pub lower_inclusive: bool,
    pub upper_inclusive: bool,
    pub count: f64,
}

/// Index and count of every bucket that the spans cover.
fn indexed<'a>(spans: &'a [Span], counts: &'a [f64]) -> impl Iterator<Item = (i32, f64)> + 'a {
    let mut next = 0;
    let indices = spans.iter().flat_map(move |span| {
        let first = next + span.offset;
        next = first + i32::try_from(span.length).unwrap_or(i32::MAX - first);
        first..next
    });
    indices.zip(counts.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_run_from_the_lowest_to_the_highest() {
        let h = FloatHistogram {
            schema: 0,
            zero_threshold: 0.5,
            zero_count: 4.0,
            positive_spans: vec![Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1.0, 2.0],
            negative_spans: vec![Span { offset: 1, length: 2 }],
            negative_buckets: vec![5.0, 6.0],
            ..FloatHistogram::default()
        };
        let shown: Vec<_> = h.buckets().iter().map(|b| (b.lower, b.upper, b.count)).collect();
        assert_eq!(shown, [(-4.0, -2.0, 6.0), (-2.0, -1.0, 5.0), (-0.5, 0.5, 4.0), (1.0, 2.0, 1.0), (4.0, 8.0, 2.0)]);
        assert!(h.buckets()[0].lower_inclusive && !h.buckets()[0].upper_inclusive);
    }
}
