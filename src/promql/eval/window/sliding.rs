//! What is kept of one window for the next: folds of its parts, its sorted values, its candidates for the extreme.
//!
//! In:  the samples of a series and windows over them, both of whose edges only move forward.   Out: what the
//! function needs of each window. Always: a sample costs the same however many windows it is in.

use std::cmp::Ordering;
use std::collections::VecDeque;

use super::super::kahan_add;
use super::super::quantiles::ascending;
use crate::model::Sample;

/// Something that neighbouring parts of a window can be joined to.
pub(super) trait Fold: Copy {
    /// Of one sample.
    fn of(sample: &Sample) -> Self;

    /// Of a part and the newer one next to it.
    fn join(&self, newer: &Self) -> Self;
}

/// Folds of a window from two halves: of the older the fold of every tail, of the newer the fold of all of it.
///
/// Samples leave the older half by taking a shorter tail, and enter the newer one at its end; once the older half is
/// used up, the window is cut anew. So nothing is ever subtracted, which would lose digits.
pub(super) struct Folded<T> {
    /// Tails of the older half, the shortest first.
    tails: Vec<T>,
    /// Index at which the newer half begins.
    middle: usize,
    newer: Option<T>,
    /// Index behind the newer half.
    end: usize,
}

impl<T: Fold> Folded<T> {
    pub(super) fn new() -> Self {
        Self { tails: Vec::new(), middle: 0, newer: None, end: 0 }
    }

    /// The fold of the samples from `lo` up to before `hi`, of which there is at least one.
    pub(super) fn over(&mut self, floats: &[Sample], lo: usize, hi: usize) -> T {
        if lo >= self.middle {
            self.tails.clear();
            let mut tail: Option<T> = None;
            for sample in floats[lo..hi].iter().rev() {
                let longer = tail.map_or_else(|| T::of(sample), |tail| T::of(sample).join(&tail));
                self.tails.push(longer);
                tail = Some(longer);
            }
            (self.middle, self.newer, self.end) = (hi, None, hi);
        }
        for sample in &floats[self.end..hi] {
            self.newer = Some(self.newer.map_or_else(|| T::of(sample), |newer| newer.join(&T::of(sample))));
        }
        self.end = hi;
        let older = self.tails[self.middle - lo - 1];
        self.newer.map_or(older, |newer| older.join(&newer))
    }
}

/// A sum and what rounding has lost of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub sum: f64,
    pub lost: f64,
}

impl Fold for Sum {
    fn of(sample: &Sample) -> Self {
        Self { sum: sample.v, lost: 0.0 }
    }

    fn join(&self, newer: &Self) -> Self {
        let (sum, lost) = kahan_add(newer.sum, self.sum, self.lost);
        Self { sum, lost: lost + newer.lost }
    }
}

/// Count, mean and sum of squared distances from the mean, joined as Chan, Golub and LeVeque (1979) do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    mean_lost: f64,
    squares: f64,
}

impl Spread {
    /// The variance, where adding value to value would give the same to many digits: not beside a mean that is so
    /// large that Prometheus' way loses digits, which this one does not, nor where a value is not finite.
    pub(super) fn variance(&self) -> Option<f64> {
        const MEAN_PER_DEVIATION_MAX: f64 = 1e5;
        let variance = self.squares / self.count;
        let is_plain = self.mean * self.mean <= variance * (MEAN_PER_DEVIATION_MAX * MEAN_PER_DEVIATION_MAX);
        (variance.is_finite() && (is_plain || variance == 0.0)).then_some(variance)
    }
}

impl Spread {
    fn of_one(value: f64) -> Self {
        // What is not finite has no distance, and so no variance has one that it takes part in.
        let squares = if value.is_finite() { 0.0 } else { f64::NAN };
        Self { count: 1.0, mean: value, mean_lost: 0.0, squares }
    }

    /// How far the mean of a newer part is from this one.
    fn delta(&self, newer: &Self) -> f64 {
        (newer.mean - self.mean) + (newer.mean_lost - self.mean_lost)
    }
}

impl Fold for Spread {
    fn of(sample: &Sample) -> Self {
        Self::of_one(sample.v)
    }

    fn join(&self, newer: &Self) -> Self {
        let count = self.count + newer.count;
        let share = newer.count / count;
        let delta = self.delta(newer);
        let (mean, mean_lost) = kahan_add(delta * share, self.mean, self.mean_lost);
        let squares = self.squares + newer.squares + delta * delta * (self.count * share);
        Self { count, mean, mean_lost, squares }
    }
}

/// What a least-squares line is drawn from: of times in milliseconds and of values the spread, and the products of
/// both distances from their means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    times: Spread,
    values: Spread,
    products: f64,
}

impl Line {
    /// Slope per second and value at `at`, where adding value to value would give the same to many digits: neither may
    /// be small beside values so large that their sums have no digits left for it.
    pub(super) fn slope_and_value(&self, at: i64) -> Option<(f64, f64)> {
        const SUMS_PER_RESULT_MAX: f64 = 1e5;
        let Self { times, values, products } = self;
        if values.squares == 0.0 {
            return Some((0.0, values.mean));
        }
        let slope = products / times.squares;
        let ahead = (at as f64 - times.mean) - times.mean_lost;
        let value = values.mean + slope * ahead;
        let reach = 2.0 * (times.squares / times.count).sqrt() + ahead.abs();
        let size = values.mean.abs() + (values.squares / values.count).sqrt();
        let is_plain = reach * size * values.count <= products.abs() * SUMS_PER_RESULT_MAX
            && size + (slope * ahead).abs() <= value.abs() * SUMS_PER_RESULT_MAX;
        (slope.is_finite() && value.is_finite() && is_plain).then_some((slope * 1000.0, value))
    }
}

impl Fold for Line {
    fn of(sample: &Sample) -> Self {
        Self { times: Spread::of_one(sample.t.0 as f64), values: Spread::of_one(sample.v), products: 0.0 }
    }

    fn join(&self, newer: &Self) -> Self {
        let weight = self.times.count * newer.times.count / (self.times.count + newer.times.count);
        let distances = self.times.delta(&newer.times) * self.values.delta(&newer.values);
        Self {
            times: self.times.join(&newer.times),
            values: self.values.join(&newer.values),
            products: self.products + newer.products + distances * weight,
        }
    }
}

/// The values of a window in ascending order.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    values: Vec<f64>,
    lo: usize,
    hi: usize,
}

impl Sorted {
    /// The values from `lo` up to before `hi`, sorted.
    pub(super) fn over(&mut self, floats: &[Sample], lo: usize, hi: usize) -> &[f64] {
        let (leaving, entering) = (lo - self.lo, hi - self.hi);
        // Moving a value costs as much as sorting a few.
        if lo >= self.hi || leaving + entering > (hi - lo) / 4 {
            self.values.clear();
            self.values.extend(floats[lo..hi].iter().map(|sample| sample.v));
            self.values.sort_unstable_by(ascending);
        } else {
            for sample in &floats[self.lo..lo] {
                let at = self.place(sample.v);
                self.values.remove(at);
            }
            for sample in &floats[self.hi..hi] {
                let at = self.place(sample.v);
                self.values.insert(at, sample.v);
            }
        }
        (self.lo, self.hi) = (lo, hi);
        &self.values
    }

    fn place(&self, value: f64) -> usize {
        self.values.partition_point(|other| ascending(other, &value) == Ordering::Less)
    }
}

/// Indexes of the samples of a window that are or may yet become its extreme, the best first.
#[derive(Debug, Default)]
pub(super) struct Extreme {
    candidates: VecDeque<usize>,
    seen: usize,
}

impl Extreme {
    /// The sample from `lo` up to before `hi` over which no later one `wins`; any number wins over NaN, and of NaN alone
    /// the last.
    pub(super) fn over(&mut self, floats: &[Sample], lo: usize, hi: usize, wins: impl Fn(f64, f64) -> bool) -> Sample {
        for (index, sample) in floats.iter().enumerate().take(hi).skip(self.seen.max(lo)) {
            if sample.v.is_nan() {
                continue;
            }
            while self.candidates.back().is_some_and(|last| wins(sample.v, floats[*last].v)) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(index);
        }
        self.seen = hi;
        while self.candidates.front().is_some_and(|first| *first < lo) {
            self.candidates.pop_front();
        }
        floats[self.candidates.front().copied().unwrap_or(hi - 1)]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::over_time::{sum, variance};
    use super::super::trend::linear_regression;
    use super::*;
    use crate::model::TimestampMs;

    fn samples(values: &[f64]) -> Vec<Sample> {
        values.iter().enumerate().map(|(i, v)| Sample { t: TimestampMs(i as i64), v: *v }).collect()
    }

    fn values() -> impl Strategy<Value = Vec<f64>> {
        let value = prop_oneof![
            4 => -10i32..10,
            1 => 1_000_000_000..1_000_000_003,
        ];
        prop::collection::vec(value.prop_map(|v| f64::from(v) / 4.0), 1..60)
    }

    proptest! {
        #[test]
        fn sliding_over_windows_is_looking_at_each(
            values in values(),
            windows in prop::collection::vec((0..5usize, 0..7usize), 1..40),
        ) {
            let floats = samples(&values);
            let (mut sums, mut spreads) = (Folded::<Sum>::new(), Folded::<Spread>::new());
            let mut lines = Folded::<Line>::new();
            let (mut sorted, mut highest, mut last_lowest) = (Sorted::default(), Extreme::default(), Extreme::default());
            let (mut lo, mut hi) = (0, 1);
            for (from, to) in windows {
                lo += from;
                hi = (hi + to).max(lo + 1);
                if hi > floats.len() {
                    break;
                }
                let window = &floats[lo..hi];
                let found = sums.over(&floats, lo, hi);
                prop_assert_eq!(found.sum + found.lost, sum(window.iter().map(|s| s.v)));
                let (found, wanted) = (spreads.over(&floats, lo, hi), variance(window));
                let close = found.variance().is_none_or(|found| (found - wanted).abs() <= wanted * 1e-10);
                prop_assert!(close, "{:?} and {}", found, wanted);
                if window.len() > 1 {
                    let (found, wanted) = (lines.over(&floats, lo, hi), linear_regression(window, 70));
                    let close = |a: f64, b: f64| (a - b).abs() <= b.abs() * 1e-9;
                    let agrees = |(slope, value)| close(slope, wanted.0) && close(value, wanted.1);
                    prop_assert!(found.slope_and_value(70).is_none_or(agrees), "{:?} and {:?}", found, wanted);
                }
                let mut wanted: Vec<f64> = window.iter().map(|s| s.v).collect();
                wanted.sort_unstable_by(ascending);
                prop_assert_eq!(sorted.over(&floats, lo, hi), wanted.as_slice());
                let first_highest = window.iter().rev().max_by(|a, b| a.v.total_cmp(&b.v));
                prop_assert_eq!(Some(&highest.over(&floats, lo, hi, |new, old| new > old)), first_highest);
                let wanted = window.iter().rev().min_by(|a, b| a.v.total_cmp(&b.v));
                prop_assert_eq!(Some(&last_lowest.over(&floats, lo, hi, |new, old| new <= old)), wanted);
            }
        }
    }

    #[test]
    fn of_nan_alone_the_last_is_the_extreme_and_a_number_wins() {
        let floats = samples(&[f64::NAN, f64::NAN, 1.0, f64::NAN]);
        let mut highest = Extreme::default();
        let mut over = |lo, hi| highest.over(&floats, lo, hi, |new, old| new > old).t.0;
        assert_eq!((over(0, 2), over(0, 3), over(1, 4), over(3, 4)), (1, 2, 2, 3));
    }
}
