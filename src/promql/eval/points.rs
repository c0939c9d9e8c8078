//! The values of one series on the steps of a query.

use std::sync::Arc;

use super::held::SAMPLE_BYTES;
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
    /// Bytes of the histograms.
    histogram_bytes: usize,
}

/// Memory of a histogram.
fn bytes_of(h: &FloatHistogram) -> usize {
    let numbers = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
    size_of::<FloatHistogram>() + (numbers + h.positive_spans.len() + h.negative_spans.len()) * size_of::<f64>()
}

impl Points {
    /// The same value at each of `steps` steps.
    pub(super) fn repeat(value: &Output, steps: usize) -> Self {
        match value {
            Output::Float(v) => Self { floats: vec![canonical(*v); steps], present: steps, ..Self::default() },
            Output::Histogram(h) => Self {
                floats: vec![ABSENT; steps],
                histograms: vec![Some(Arc::clone(h)); steps],
                present: steps,
                histogram_bytes: bytes_of(h),
                ..Self::default()
            },
        }
    }

    /// Forgets the values and keeps the memory.
    pub(super) fn clear(&mut self) {
        (self.first, self.present, self.histogram_bytes) = (0, 0, 0);
        self.floats.clear();
        self.histograms.clear();
    }

    /// Replaces all values by those that `value` gives for steps up to before `steps`.
    #[inline]
    pub(super) fn fill(&mut self, steps: usize, mut value: impl FnMut(usize) -> Option<Output>) {
        self.clear();
        for step in 0..steps {
            match value(step) {
                Some(Output::Float(v)) => self.push_float(step, v),
                Some(histogram) => self.push(step, histogram),
                None => {}
            }
        }
    }

    /// Adds a value; steps must come in ascending order.
    pub(super) fn push(&mut self, step: usize, value: Output) {
        match value {
            Output::Float(v) => self.push_float(step, v),
            Output::Histogram(h) => {
                self.fill_up_to(step);
                self.histograms.resize(self.floats.len(), None);
                self.floats.push(ABSENT);
                self.histogram_bytes += bytes_of(&h);
                self.histograms.push(Some(h));
                self.present += 1;
            }
        }
    }

    /// Adds a float; steps must come in ascending order.
    #[inline(always)]
    pub(super) fn push_float(&mut self, step: usize, value: f64) {
        if step != self.first + self.floats.len() || self.floats.is_empty() {
            self.fill_up_to(step);
        }
        self.floats.push(canonical(value));
        if !self.histograms.is_empty() {
            self.histograms.push(None);
        }
        self.present += 1;
    }

    #[cold]
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
    #[inline]
    pub(super) fn get(&self, step: usize) -> Option<Point<'_>> {
        self.at(step.checked_sub(self.first)?)
    }

    #[inline]
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

    /// Steps and floats, ascending; histograms are passed over.
    #[inline]
    pub(super) fn floats(&self) -> impl Iterator<Item = (usize, f64)> {
        let numbered = self.floats.iter().enumerate().map(|(index, v)| (self.first + index, *v));
        numbered.filter(|(_, v)| !is_stale_nan(*v))
    }

    /// As [`Points::floats`], of the steps from `begin` up to before `end`.
    pub(super) fn floats_between(&self, begin: usize, end: usize) -> impl Iterator<Item = (usize, f64)> {
        let from = begin.saturating_sub(self.first).min(self.floats.len());
        let to = end.saturating_sub(self.first).clamp(from, self.floats.len());
        let numbered = self.floats[from..to].iter().enumerate().map(move |(index, v)| (self.first + from + index, *v));
        numbered.filter(|(_, v)| !is_stale_nan(*v))
    }

    /// The first step and the floats from there on, where none is missing and none is a histogram.
    pub(super) fn unbroken(&self) -> Option<(usize, &[f64])> {
        (self.is_float_only() && self.present == self.floats.len()).then_some((self.first, &self.floats))
    }

    /// What the values count for against the limit of samples: one each, a gap between them half of that, and a
    /// histogram what it takes of memory.
    pub(super) fn weight(&self) -> usize {
        self.present.max(self.floats.len() / 2) + self.histogram_bytes / SAMPLE_BYTES
    }

    /// Memory of the values.
    pub(super) fn size_bytes(&self) -> usize {
        size_of_val(self.floats.as_slice()) + size_of_val(self.histograms.as_slice()) + self.histogram_bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        self.present
    }

    /// Whether there is no histogram.
    pub(super) fn is_float_only(&self) -> bool {
        self.histograms.is_empty()
    }

    /// Replaces every float by `change` of it; histograms go.
    pub(super) fn map_floats(&mut self, mut change: impl FnMut(f64) -> f64) {
        self.drop_histograms();
        for value in self.floats.iter_mut().filter(|v| !is_stale_nan(**v)) {
            *value = canonical(change(*value));
        }
    }

    /// Replaces every float, at its step, by what `change` makes of it, if anything; histograms go.
    pub(super) fn filter_map_floats(&mut self, mut change: impl FnMut(usize, f64) -> Option<f64>) {
        self.drop_histograms();
        let mut present = 0;
        for (index, value) in self.floats.iter_mut().enumerate().filter(|(_, v)| !is_stale_nan(**v)) {
            *value = change(self.first + index, *value).map_or(ABSENT, canonical);
            present += usize::from(!is_stale_nan(*value));
        }
        if present < self.present {
            self.present = present;
            self.trim();
        }
    }

    /// What `join` makes of the floats of both at each step at which both have one.
    pub(super) fn zip_floats(&self, other: &Self, join: impl Fn(f64, f64) -> Option<f64>) -> Self {
        let first = self.first.max(other.first);
        let end = (self.first + self.floats.len()).min(other.first + other.floats.len());
        let mut joined = Self { first, ..Self::default() };
        if first >= end {
            return joined;
        }
        let (mine, theirs) = (&self.floats[first - self.first..], &other.floats[first - other.first..]);
        let pairs = mine.iter().zip(theirs).take(end - first);
        joined.floats.reserve_exact(end - first);
        if self.unbroken().is_some() && other.unbroken().is_some() {
            joined.floats.extend(pairs.map(|(a, b)| join(*a, *b).map_or(ABSENT, canonical)));
        } else {
            joined.floats.extend(pairs.map(|(a, b)| match is_stale_nan(*a) || is_stale_nan(*b) {
                true => ABSENT,
                false => join(*a, *b).map_or(ABSENT, canonical),
            }));
        }
        joined.present = joined.floats.iter().filter(|v| !is_stale_nan(**v)).count();
        joined.trim();
        joined
    }

    /// Leaves the values, of either kind, at the steps that `keep` says yes to.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        if self.is_float_only() {
            return self.filter_map_floats(|step, v| keep(step).then_some(v));
        }
        let mut kept = Self::default();
        for (step, point) in self.iter().filter(|(step, _)| keep(*step)) {
            kept.push(step, point.to_output());
        }
        *self = kept;
    }

    fn drop_histograms(&mut self) {
        if self.is_float_only() {
            return;
        }
        self.histograms.clear();
        self.histogram_bytes = 0;
        self.present = self.floats.iter().filter(|v| !is_stale_nan(**v)).count();
        self.trim();
    }

    /// Takes gaps at both ends away.
    fn trim(&mut self) {
        debug_assert!(self.is_float_only());
        let is_present = |v: &f64| !is_stale_nan(*v);
        self.floats.truncate(self.floats.iter().rposition(is_present).map_or(0, |last| last + 1));
        let leading = self.floats.iter().position(is_present).unwrap_or(0);
        self.floats.drain(..leading);
        self.first += leading;
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

/// An input that happens to hold the bits of [`ABSENT`] stays a NaN.
#[inline]
fn canonical(value: f64) -> f64 {
    if is_stale_nan(value) { f64::NAN } else { value }
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
        points.map_floats(|v| v + 1.0);
        assert_eq!(points.iter().count(), 2);
    }

    #[test]
    fn gaps_at_the_ends_go() {
        let mut points = Points::default();
        (3..9).for_each(|step| points.push_float(step, step as f64));
        points.retain(|step| step == 5 || step == 7);
        assert_eq!(points.floats().collect::<Vec<_>>(), [(5, 5.0), (7, 7.0)]);
        assert_eq!((points.len(), points.weight(), points.unbroken()), (2, 2, None));
        points.filter_map_floats(|step, v| (step == 7).then_some(v * 2.0));
        assert_eq!(points.unbroken(), Some((7, [14.0].as_slice())));
        points.retain(|_| false);
        assert!(points.is_empty() && points.iter().next().is_none());
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
