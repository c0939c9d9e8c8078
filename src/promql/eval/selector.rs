//! Selectors: the series of the store on the steps of the query.

use super::Evaluator;
use super::grid::Grid;
use super::points::{Output, Points, Series};
use super::stream::Sink;
use crate::model::{CounterResetHint, FloatHistogram, Labels, Matcher, Sample, TimeRange, TimestampMs, is_stale_nan};
use crate::promql::ast::{Extension, MatrixSelector, VectorSelector};
use crate::promql::engine::{MatrixSeries, WindowEdges};
use crate::promql::error::QueryError;
use crate::promql::histogram::Sparse;
use crate::storage::SeriesData;
use std::sync::Arc;

/// A sample of either kind at its own time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    Float(Sample),
    Histogram(TimestampMs, &'a Arc<FloatHistogram>),
}

impl Found<'_> {
    pub(super) fn time(&self) -> i64 {
        match self {
            Self::Float(sample) => sample.t.0,
            Self::Histogram(t, _) => t.0,
        }
    }

    pub(super) fn output(&self) -> Output {
        match self {
            Self::Float(sample) => Output::Float(sample.v),
            Self::Histogram(_, h) => Output::Histogram(Arc::clone(h)),
        }
    }
}

/// Reaches back from the end of a window to its first millisecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach(i64);

impl Reach {
    #[inline]
    pub(super) fn first(self, end: i64) -> i64 {
        end.saturating_sub(self.0)
    }
}

impl<'a> Evaluator<'a> {
    /// Calls `visit` with each series of a selector in a closed range of time; the samples are lent.
    pub(super) fn for_each_series(
        &mut self,
        selector: &VectorSelector,
        from: i64,
        to: i64,
        visit: impl FnMut(&mut Self, Labels, &mut SeriesData) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        self.for_each_series_into(SeriesData::default(), selector, from, to, visit)
    }

    /// As [`Evaluator::for_each_series`] with the memory that the samples are read into, which says what is wanted.
    fn for_each_series_into(
        &mut self,
        mut data: SeriesData,
        selector: &VectorSelector,
        from: i64,
        to: i64,
        mut visit: impl FnMut(&mut Self, Labels, &mut SeriesData) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let range = TimeRange { from: TimestampMs(from), to: TimestampMs(to) };
        // Matching many values with an expression may take long, so that also ends with the query.
        let mut set = if selector.matchers.iter().any(Matcher::is_slow) {
            let matchers: Vec<Matcher> = selector.matchers.iter().map(|m| m.until(self.cancel.flag())).collect();
            self.storage.select(&matchers, range)?
        } else {
            self.storage.select(&selector.matchers, range)?
        };
        self.cancel.check()?;
        let mut count = 0;
        while let Some(labels) = set.next_into(&mut data)? {
            // For each, because a store may be slow to give the next.
            self.cancel.check()?;
            count += 1;
            if count > self.options.max_series {
                return Err(QueryError::TooManySeries { limit: self.options.max_series });
            }
            if self.works_out_resets {
                work_out_resets(&mut data);
            }
            visit(self, labels, &mut data)?;
        }
        Ok(())
    }

    /// How far a window that begins `range` before its end reaches.
    pub(super) fn reach(&self, range: i64) -> Reach {
        match self.options.window_edges {
            WindowEdges::HalfOpen => Reach(range.saturating_sub(1)),
            WindowEdges::Closed => Reach(range),
        }
    }

    /// The first millisecond of a window that begins `range` before `end`.
    pub(super) fn window_start(&self, end: i64, range: i64) -> i64 {
        self.reach(range).first(end)
    }

    /// The value of each series at each step: its last sample within the lookback, unless that marks it stale.
    pub(super) fn instant_selector(
        &mut self,
        selector: &VectorSelector,
        grid: &Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), QueryError> {
        if selector.extension == Some(Extension::Smoothed) {
            return self.smoothed_selector(selector, grid, sink);
        }
        self.latest_samples(selector, grid, |found| found.output(), sink)
    }

    /// As [`Evaluator::instant_selector`], with what `pick` takes of each sample.
    pub(super) fn latest_samples(
        &mut self,
        selector: &VectorSelector,
        grid: &Grid,
        pick: impl Fn(&Found<'_>) -> Output,
        sink: Sink<'_, 'a>,
    ) -> Result<(), QueryError> {
        let (offset, at) = self.times.modifiers(&selector.time)?;
        match at {
            Some(at) => self.samples_at(selector, grid.steps, |_| at - offset, pick, sink),
            None => self.samples_at(selector, grid.steps, |step| grid.time(step) - offset, pick, sink),
        }
    }

    /// What `pick` takes of the current sample of each series at the times that `time` gives, which never go back.
    pub(super) fn samples_at(
        &mut self,
        selector: &VectorSelector,
        steps: usize,
        time: impl Fn(usize) -> i64,
        pick: impl Fn(&Found<'_>) -> Output,
        sink: Sink<'_, 'a>,
    ) -> Result<(), QueryError> {
        let reach = self.reach(self.options.lookback_ms);
        let from = reach.first(time(0));
        let mut one = Series { labels: Labels::empty(), drop_name: false, points: Points::default() };
        // A counter reset is seen only beside the histogram before.
        let data = if steps == 1 && !self.works_out_resets { SeriesData::for_latest() } else { SeriesData::default() };
        self.for_each_series_into(data, selector, from, time(steps.saturating_sub(1)), |this, labels, data| {
            let (mut floats, mut histograms) = (0, 0);
            if data.histograms.is_empty() {
                one.points.fill(steps, |step| {
                    let end = time(step);
                    floats += data.floats[floats..].partition_point_linear(|s| s.t.0 <= end);
                    let sample = data.floats[floats.checked_sub(1)?];
                    let is_current = sample.t.0 >= reach.first(end) && !is_stale_nan(sample.v);
                    is_current.then(|| pick(&Found::Float(sample)))
                });
            } else {
                one.points.fill(steps, |step| {
                    let end = time(step);
                    floats += data.floats[floats..].partition_point_linear(|s| s.t.0 <= end);
                    histograms += data.histograms[histograms..].partition_point_linear(|(t, _)| t.0 <= end);
                    let found = latest(data, floats, histograms)?;
                    let is_stale = matches!(found, Found::Float(s) if is_stale_nan(s.v));
                    (found.time() >= reach.first(end) && !is_stale).then(|| pick(&found))
                });
            }
            this.worked(steps)?;
            this.read_samples(one.points.len());
            if one.points.is_empty() {
                return Ok(());
            }
            (one.labels, one.drop_name) = (labels, false);
            sink(this, &mut one)
        })
    }

    /// The samples of a range selector as they are, for an instant query that asks for them.
    pub(super) fn raw_window(&mut self, matrix: &MatrixSelector, now: i64) -> Result<Vec<MatrixSeries>, QueryError> {
        if matrix.selector.extension.is_some() {
            let reason = "anchored and smoothed modifiers can only be used in functions";
            return Err(QueryError::Execution(reason.into()));
        }
        let range = self.times.positive_ms(&matrix.range)?;
        let (offset, at) = self.times.modifiers(&matrix.selector.time)?;
        let end = at.unwrap_or(now) - offset;
        let mut out = Vec::new();
        let mut total = 0;
        self.for_each_series(&matrix.selector, self.window_start(end, range), end, |this, labels, data| {
            data.floats.retain(|s| !is_stale_nan(s.v));
            total += data.len();
            this.check_samples(total)?;
            this.read_samples(data.len());
            if !data.is_empty() {
                out.push(MatrixSeries { labels, floats: data.floats.clone(), histograms: data.histograms.clone() });
            }
            Ok(())
        })?;
        out.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(out)
    }
}

/// Gives histograms without a counter reset hint the one that the sample before tells.
fn work_out_resets(data: &mut SeriesData) {
    for index in 1..data.histograms.len() {
        let (before, after) = (&data.histograms[index - 1].1, &data.histograms[index].1);
        if after.counter_reset_hint != CounterResetHint::Unknown {
            continue;
        }
        let counter_reset_hint = match Sparse::from(&**after).detects_reset(&Sparse::from(&**before)) {
            true => CounterResetHint::Reset,
            false => CounterResetHint::NotReset,
        };
        data.histograms[index].1 = Arc::new(FloatHistogram { counter_reset_hint, ..(**after).clone() });
    }
}

/// The later of the last of `floats` floats and the last of `histograms` histograms.
pub(super) fn latest(data: &SeriesData, floats: usize, histograms: usize) -> Option<Found<'_>> {
    let float = floats.checked_sub(1).map(|at| data.floats[at]);
    let histogram = histograms.checked_sub(1).map(|at| &data.histograms[at]);
    match (float, histogram) {
        (Some(sample), Some((t, _))) if sample.t > *t => Some(Found::Float(sample)),
        (_, Some((t, h))) => Some(Found::Histogram(*t, h)),
        (Some(sample), None) => Some(Found::Float(sample)),
        (None, None) => None,
    }
}

pub(super) fn sort_by_labels(series: &mut [Series]) {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
}

/// How many items from the front satisfy a condition; steps are near each other, so counting beats halving.
pub(super) trait PartitionPointLinear<T> {
    fn partition_point_linear(&self, condition: impl Fn(&T) -> bool) -> usize;
}

impl<T> PartitionPointLinear<T> for [T] {
    fn partition_point_linear(&self, condition: impl Fn(&T) -> bool) -> usize {
        self.iter().take_while(|item| condition(item)).count()
    }
}
