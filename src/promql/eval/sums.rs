//! Sums of floats, one for each step, added to by whole series at once.
//!
//! In:  values of series by step.   Out: for each step count, value, and what stands beside it.
//! Always: the same as adding value after value, only that the loops hold nothing but arithmetic.

use super::points::Points;
use crate::promql::ast::AggregateOp;

/// Beyond this an average might overflow, for which sums are not the way.
const AVERAGE_MAX: f64 = f64::MAX / 4.0;

/// One cell for each step.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    op: AggregateOp,
    counts: Vec<u32>,
    values: Vec<f64>,
    /// What rounding has lost of sums, or the sums of squares for variances; empty for operators that need neither.
    asides: Vec<f64>,
}

impl Sums {
    /// Nothing at any of `steps` steps.
    pub(super) fn new(op: AggregateOp, steps: usize) -> Self {
        let begin = match op {
            // What any number, -0 included, is added to without a change.
            AggregateOp::Sum | AggregateOp::Avg => -0.0,
            // What loses to any number.
            AggregateOp::Max | AggregateOp::Min => f64::NAN,
            _ => 0.0,
        };
        let has_asides = !matches!(op, AggregateOp::Max | AggregateOp::Min | AggregateOp::Count | AggregateOp::Group);
        Self {
            op,
            counts: vec![0; steps],
            values: vec![begin; steps],
            asides: vec![0.0; if has_asides { steps } else { 0 }],
        }
    }

    /// Whether the points can be added here: not where the sum of an average might overflow.
    pub(super) fn takes(&self, points: &Points) -> bool {
        let is_large = |v: f64| v.abs() > AVERAGE_MAX;
        self.op != AggregateOp::Avg
            || !(points.floats().any(|(_, v)| is_large(v)) || self.values.iter().any(|v| is_large(*v)))
    }

    /// Count, value and aside of each step.
    pub(super) fn cells(&self) -> impl Iterator<Item = (u32, f64, f64)> {
        let asides = self.asides.iter().copied().chain(std::iter::repeat(0.0));
        self.counts.iter().zip(&self.values).zip(asides).map(|((count, value), aside)| (*count, *value, aside))
    }

    /// Adds the floats of one series.
    pub(super) fn add(&mut self, points: &Points) {
        match self.op {
            AggregateOp::Sum | AggregateOp::Avg => self.each(points, |_, value, aside, v| {
                // Knuth's sum of two: `total + rest` is exactly `value + v`.
                let total = *value + v;
                let taken = total - *value;
                let rest = (*value - (total - taken)) + (v - taken);
                *aside = if total.is_infinite() { 0.0 } else { *aside + rest };
                *value = total;
            }),
            AggregateOp::Stddev | AggregateOp::Stdvar => self.each(points, |count, value, aside, v| {
                let delta = v - *value;
                *value += delta / f64::from(count);
                *aside += delta * (v - *value);
            }),
            // Anything wins over NaN.
            AggregateOp::Max => self.each_alone(points, |value, v| {
                *value = if v > *value || value.is_nan() { v } else { *value };
            }),
            AggregateOp::Min => self.each_alone(points, |value, v| {
                *value = if v < *value || value.is_nan() { v } else { *value };
            }),
            _ => self.each_alone(points, |_, _| {}),
        }
    }

    #[inline]
    fn each(&mut self, points: &Points, add: impl Fn(u32, &mut f64, &mut f64, f64)) {
        if let Some((first, floats)) = points.unbroken() {
            let steps = first..first + floats.len();
            let cells = self.counts[steps.clone()].iter_mut().zip(&mut self.values[steps.clone()]);
            for (((count, value), aside), v) in cells.zip(&mut self.asides[steps]).zip(floats) {
                *count += 1;
                add(*count, value, aside, *v);
            }
            return;
        }
        for (step, v) in points.floats() {
            self.counts[step] += 1;
            add(self.counts[step], &mut self.values[step], &mut self.asides[step], v);
        }
    }

    /// As [`Sums::each`] where there is nothing aside.
    #[inline]
    fn each_alone(&mut self, points: &Points, add: impl Fn(&mut f64, f64)) {
        if let Some((first, floats)) = points.unbroken() {
            let steps = first..first + floats.len();
            self.counts[steps.clone()].iter_mut().for_each(|count| *count += 1);
            self.values[steps].iter_mut().zip(floats).for_each(|(value, v)| add(value, *v));
            return;
        }
        for (step, v) in points.floats() {
            self.counts[step] += 1;
            add(&mut self.values[step], v);
        }
    }
}
