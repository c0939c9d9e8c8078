//! The values of one series on the steps of a query.

use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, STALE_NAN_BITS, is_stale_nan};

/// Stands where there is no float. The staleness marker is never a value of an expression.
const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

/// A value at a step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Point<'a> {
    Float(f64),
    Histogram(&'a Arc<FloatHistogram>),
}

/// A value to keep.
#[derive(Clone, Debug)]
pub(super) enum Output {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}

impl Point<'_> {
    pub(super) fn to_output(self) -> Output {
        match self {
            Self::Float(v) => Output::Float(v),
            Self::Histogram(h) => Output::Histogram(Arc::clone(h)),
        }
    }
}

/// Values by step, dense from the first to the last that is there.
///
/// Always: `histograms` is empty or as long as `floats`; where it holds one, the float is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Points {
    first: usize,
    floats: Vec<f64>,
    histograms: Vec<Option<Arc<FloatHistogram>>>,
    present: usize,
}

impl Points {
    /// The same float at each of `steps` steps.
    pub(super) fn repeat(value: &Output, steps: usize) -> Self {
        let mut points = Self::default();
        for step in 0..steps {
            points.push(step, value.clone());
        }
        points
    }

    /// Adds a value; steps must come in ascending order.
    pub(super) fn push(&mut self, step: usize, value: Output) {
        match value {
            Output::Float(v) => self.push_float(step, v),
            Output::Histogram(h) => {
                self.fill_up_to(step);
                self.histograms.resize(self.floats.len(), None);
                self.floats.push(ABSENT);
                self.histograms.push(Some(h));
                self.present += 1;
            }
        }
    }

    /// Adds a float; steps must come in ascending order.
    pub(super) fn push_float(&mut self, step: usize, value: f64) {
        self.fill_up_to(step);
        // An input that happens to hold these bits stays a NaN.
        self.floats.push(if is_stale_nan(value) { f64::NAN } else { value });
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        self.present += 1;
    }

    fn fill_up_to(&mut self, step: usize) {
        if self.floats.is_empty() {
            self.first = step;
        }
        debug_assert!(step >= self.first + self.floats.len(), "steps ascend");
        self.floats.resize(step - self.first, ABSENT);
        if !self.histograms.is_empty() {
            self.histograms.resize(self.floats.len(), None);
        }
    }

    /// The value at a step.
    pub(super) fn get(&self, step: usize) -> Option<Point<'_>> {
        self.at(step.checked_sub(self.first)?)
    }

    fn at(&self, index: usize) -> Option<Point<'_>> {
        let float = *self.floats.get(index)?;
        if !is_stale_nan(float) {
            return Some(Point::Float(float));
        }
        self.histograms.get(index)?.as_ref().map(Point::Histogram)
    }

    /// Steps and values, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, Point<'_>)> {
        (0..self.floats.len()).filter_map(|index| self.at(index).map(|point| (self.first + index, point)))
    }

    /// What the values count for against the limit of samples: a sample is allowed 16 bytes, and a gap between
    /// values takes 8.
    pub(super) fn weight(&self) -> usize {
        self.present.max(self.floats.len() / 2)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// Whether there is no histogram.
    pub(super) fn is_float_only(&self) -> bool {
        self.histograms.is_empty()
    }

    /// Every float replaced by `change` of it; histograms go.
    pub(super) fn map_floats(mut self, mut change: impl FnMut(f64) -> f64) -> Self {
        if !self.is_float_only() {
            let mut floats = Self::default();
            for (step, point) in self.iter() {
                if let Point::Float(v) = point {
                    floats.push_float(step, change(v));
                }
            }
            return floats;
        }
        for value in self.floats.iter_mut().filter(|v| !is_stale_nan(**v)) {
            let changed = change(*value);
            *value = if is_stale_nan(changed) { f64::NAN } else { changed };
        }
        self
    }

    /// The values of both; `None` where both have one at the same step.
    pub(super) fn merged_with(&self, other: &Self) -> Option<Self> {
        let mut merged = Self::default();
        let end = (self.first + self.floats.len()).max(other.first + other.floats.len());
        for step in self.first.min(other.first)..end {
            match (self.get(step), other.get(step)) {
                (Some(_), Some(_)) => return None,
                (Some(point), None) | (None, Some(point)) => merged.push(step, point.to_output()),
                (None, None) => {}
            }
        }
        Some(merged)
    }
}

/// A series of an instant vector, over all steps of the query.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub labels: Labels,
    /// The metric name is to go at the end of the query; until then functions may still ask for it.
    pub drop_name: bool,
    pub points: Points,
}

/// The values of a scalar.
#[derive(Clone, Debug)]
pub(super) enum Scalar {
    Constant(f64),
    Steps(Vec<f64>),
}

impl Scalar {
    pub(super) fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Steps(values) => values.get(step).copied().unwrap_or(f64::NAN),
        }
    }

    /// The same at every step, if it is.
    pub(super) fn constant(&self) -> Option<f64> {
        match self {
            Self::Constant(value) => Some(*value),
            Self::Steps(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_mixed_kinds_read_back() {
        let mut points = Points::default();
        points.push_float(2, 1.0);
        points.push(4, Output::Histogram(Arc::default()));
        points.push_float(5, f64::from_bits(STALE_NAN_BITS));
        assert_eq!(points.iter().count(), 3);
        assert!(points.get(0).is_none() && points.get(3).is_none() && points.get(6).is_none());
        assert!(matches!(points.get(2), Some(Point::Float(1.0))));
        assert!(matches!(points.get(4), Some(Point::Histogram(_))));
        assert!(matches!(points.get(5), Some(Point::Float(v)) if v.is_nan()));
        assert_eq!(points.map_floats(|v| v + 1.0).iter().count(), 2);
    }

    #[test]
    fn merging_refuses_two_values_at_one_step() {
        let (mut a, mut b) = (Points::default(), Points::default());
        a.push_float(0, 1.0);
        b.push_float(1, 2.0);
        assert_eq!(a.merged_with(&b).unwrap().iter().count(), 2);
        b.push_float(2, 2.0);
        assert!(b.merged_with(&b.clone()).is_none());
    }
}
