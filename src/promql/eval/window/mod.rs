//! Functions of range vectors: a window slides over each series' samples once, for all steps.
//!
//! In:  samples of a selector, or of a subquery.   Out: one value, or none, for each series and step.
//! Families: `rate`, `extended` (anchored and smoothed), `over_time`, `trend`, `changes`.

mod changes;
mod extended;
mod over_time;
mod rate;
mod trend;

use std::sync::Arc;

use super::grid::Grid;
use super::points::{Output, Point, Points, Scalar, Series};
use super::selector::{PartitionPointLinear, sort_by_labels};
use super::{Evaluated, Evaluator};
use crate::model::{CounterResetHint, FloatHistogram, Labels, Sample, TimestampMs, is_stale_nan};
use crate::promql::ast::{Call, Expr, ExprKind, Extension, MatrixSelector, PositionRange, Subquery, ValueType};
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;
use crate::promql::histogram::Sparse;
use crate::storage::SeriesData;

/// Steps from which on a subquery is long.
const LONG_SUBQUERY_STEPS: usize = 100_000;

/// Samples for which each step of a long subquery counts while it is being evaluated.
const ROOM_PER_SUBQUERY_STEP: usize = 5;

/// What is known of a series before its windows are walked.
pub(super) struct Whole {
    pub labels: Labels,
    pub name: String,
    drop_name: bool,
    /// Histograms unpacked, one for each of the series' histograms.
    unpacked: Vec<Sparse>,
    /// Indexes of floats that are smaller than the one before, for counters.
    falls: Vec<usize>,
}

/// The samples of one series at one step.
///
/// For anchored and smoothed selectors it also holds samples around the window.
pub(super) struct Window<'a> {
    pub floats: &'a [Sample],
    pub times: &'a [(TimestampMs, Arc<FloatHistogram>)],
    pub histograms: &'a [Sparse],
    /// Indexes of floats that are smaller than the one before, the first of the window excepted.
    pub falls: &'a [usize],
    /// Index of the first of `floats` in the whole series, in which `falls` count too.
    pub first_float: usize,
    /// The edges of the window proper: samples belong to it after `start` and up to `end`.
    pub start: i64,
    pub end: i64,
    /// The step's own time, which `@` and `offset` do not move.
    pub now: i64,
    pub step: usize,
}

/// What a function remembers from one window of a series to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Index, in the whole series, of the largest or smallest float of the last window.
    pub best: Option<usize>,
    /// Floats before this index have been looked at.
    pub seen: usize,
}

/// A call of a window function.
pub(super) struct WindowCall {
    pub id: FunctionId,
    /// Place of the first argument, where most annotations point to.
    pub first_arg: PositionRange,
    /// Place of all arguments.
    pub all_args: PositionRange,
    pub params: Vec<Scalar>,
    pub extension: Option<Extension>,
    pub range_ms: i64,
}

/// Where windows lie and how far around them samples are wanted.
struct Slide {
    range: i64,
    offset: i64,
    at: Option<i64>,
    before: i64,
    after: i64,
}

impl Slide {
    fn end(&self, grid: &Grid, step: usize) -> i64 {
        self.at.unwrap_or_else(|| grid.time(step)) - self.offset
    }
}

impl Evaluator<'_> {
    /// Evaluates a call whose function takes a range vector.
    pub(super) fn window_call(&mut self, call: &Call, grid: &Grid) -> Result<Evaluated, QueryError> {
        let mut params = Vec::new();
        let mut range_arg = None;
        for arg in &call.args {
            match arg.value_type() {
                ValueType::Scalar => params.push(self.scalar(arg, grid)?),
                _ => range_arg = Some(arg),
            }
        }
        let range_arg = range_arg.ok_or_else(|| QueryError::Execution("a range vector is missing".into()))?;
        let extension = check_extension(call, range_arg)?;
        let first_arg = call.args[0].position;
        let mut window_call = WindowCall {
            id: call.function.id,
            first_arg,
            all_args: call.args.iter().fold(first_arg, |all, arg| all.to(arg.position)),
            params,
            extension,
            range_ms: 0,
        };
        window_call.range_ms = self.range_of(range_arg)?;
        let keeps_name = matches!(call.function.id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        let mut out = Vec::new();
        let mut total = 0;
        self.for_each_window_series(range_arg, grid, |this, whole, points_of| {
            let mut points = Points::default();
            let mut memory = Memory::default();
            points_of(this, &mut |this, window| {
                if let Some(value) = apply(this, &window_call, whole, window, &mut memory)? {
                    points.push(window.step, value);
                }
                Ok(())
            })?;
            total += points.weight();
            this.check_samples(total)?;
            if !points.is_empty() {
                this.note_non_counter(&window_call, whole);
                let drop_name = whole.drop_name || !keeps_name;
                out.push(Series { labels: whole.labels.clone(), drop_name, points });
            }
            Ok(())
        })?;
        sort_by_labels(&mut out);
        Ok(Evaluated::Vector(out))
    }

    fn range_of(&self, arg: &Expr) -> Result<i64, QueryError> {
        match &arg.unwrap_parens().kind {
            ExprKind::Matrix(matrix) => self.times.positive_ms(&matrix.range),
            ExprKind::Subquery(subquery) => self.times.positive_ms(&subquery.range),
            _ => Err(QueryError::Execution("expected a range selector or a subquery".into())),
        }
    }

    /// Calls `visit` with each series of a range vector and a walk over its windows; empty windows are left out.
    #[allow(clippy::type_complexity, reason = "the two nested callbacks are the whole interface")]
    pub(super) fn for_each_window_series(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        mut visit: impl FnMut(
            &mut Self,
            &Whole,
            &dyn Fn(
                &mut Self,
                &mut dyn FnMut(&mut Self, &Window<'_>) -> Result<(), QueryError>,
            ) -> Result<(), QueryError>,
        ) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        let mut visit_data = |this: &mut Self, labels: Labels, drop_name: bool, data: &SeriesData, slide: &Slide| {
            let name = labels.metric_name().to_owned();
            let unpacked = data.histograms.iter().map(|(_, h)| Sparse::from(&**h)).collect();
            let falls = (1..data.floats.len()).filter(|i| data.floats[*i].v < data.floats[i - 1].v).collect();
            let whole = Whole { labels, name, drop_name, unpacked, falls };
            visit(this, &whole, &|this, each| walk(this, &whole, data, slide, grid, each))
        };
        match &arg.unwrap_parens().kind {
            ExprKind::Matrix(matrix) => {
                let slide = self.slide_of_selector(matrix)?;
                let from = self.window_start(slide.end(grid, 0), slide.range + slide.before);
                let to = slide.end(grid, grid.steps - 1) + slide.after;
                self.for_each_series(&matrix.selector, from, to, |this, labels, data| {
                    this.check_samples(data.len())?;
                    // A staleness marker ends a series but is no sample of a window.
                    data.floats.retain(|s| !is_stale_nan(s.v));
                    visit_data(this, labels, false, data, &slide)
                })
            }
            ExprKind::Subquery(subquery) => {
                let range = self.times.positive_ms(&subquery.range)?;
                let (offset, at) = self.times.modifiers(&subquery.time)?;
                let slide = Slide { range, offset, at, before: 0, after: 0 };
                let (inner, series) = self.subquery_series(subquery, grid)?;
                for one in series {
                    self.cancel.check()?;
                    let data = series_data(&one, &inner);
                    visit_data(self, one.labels, one.drop_name, &data, &slide)?;
                }
                Ok(())
            }
            _ => Err(QueryError::Execution("expected a range selector or a subquery".into())),
        }
    }

    fn slide_of_selector(&self, matrix: &MatrixSelector) -> Result<Slide, QueryError> {
        let range = self.times.positive_ms(&matrix.range)?;
        let (offset, at) = self.times.modifiers(&matrix.selector.time)?;
        let lookback = self.options.lookback_ms;
        let (before, after) = match matrix.selector.extension {
            None => (0, 0),
            Some(Extension::Anchored) => (lookback, 0),
            Some(Extension::Smoothed) => (lookback, lookback),
        };
        Ok(Slide { range, offset, at, before, after })
    }

    /// The inner expression of a subquery at all the times that any step's window needs.
    pub(super) fn subquery_series(
        &mut self,
        subquery: &Subquery,
        grid: &Grid,
    ) -> Result<(Grid, Vec<Series>), QueryError> {
        let range = self.times.positive_ms(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.times.positive_ms(step)?,
            None => self.options.default_subquery_step_ms,
        };
        let (offset, at) = self.times.modifiers(&subquery.time)?;
        let from = self.window_start(at.unwrap_or(grid.start) - offset, range);
        let to = at.unwrap_or_else(|| grid.last()) - offset;
        // Subqueries run at multiples of their step, whatever the query's own times are.
        let start = from.div_euclid(step) * step + if from.rem_euclid(step) == 0 { 0 } else { step };
        if to < start {
            return Ok((Grid { start, step, steps: 0 }, Vec::new()));
        }
        let steps = usize::try_from((to - start) / step + 1).unwrap_or(usize::MAX);
        // Each step of an aggregation takes more room than a sample, which begins to matter here.
        let room = if steps > LONG_SUBQUERY_STEPS { ROOM_PER_SUBQUERY_STEP } else { 1 };
        self.check_samples(steps.saturating_mul(room))?;
        let inner = Grid { start, step, steps };
        Ok((inner, self.vector_with_resets(&subquery.expr, &inner, false)?))
    }

    /// Says so when `rate` or `increase` is used on what does not look like a counter.
    fn note_non_counter(&mut self, call: &WindowCall, whole: &Whole) {
        let is_counter_function = matches!(call.id, FunctionId::Rate | FunctionId::Increase);
        if !is_counter_function || whole.name.is_empty() || !whole.unpacked.is_empty() {
            return;
        }
        match whole.labels.get("__type__") {
            Some("counter" | "histogram") => {}
            Some(kind) => self.notes.possible_non_counter_type(call.first_arg, &whole.name, kind),
            None => {
                if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| whole.name.ends_with(suffix)) {
                    self.notes.possible_non_counter(call.first_arg, &whole.name);
                }
            }
        }
    }
}

/// Walks the windows of one series; both edges only ever move forward.
fn walk<'e>(
    evaluator: &mut Evaluator<'e>,
    whole: &Whole,
    data: &SeriesData,
    slide: &Slide,
    grid: &Grid,
    each: &mut dyn FnMut(&mut Evaluator<'e>, &Window<'_>) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let (mut f_lo, mut f_hi, mut h_lo, mut h_hi) = (0, 0, 0, 0);
    let (mut r_lo, mut r_hi) = (0, 0);
    for step in 0..grid.steps {
        evaluator.cancel.check()?;
        let end = slide.end(grid, step);
        let first = evaluator.window_start(end, slide.range + slide.before);
        let last = end + slide.after;
        f_lo += data.floats[f_lo..].partition_point_linear(|s| s.t.0 < first);
        f_hi = f_hi.max(f_lo);
        f_hi += data.floats[f_hi..].partition_point_linear(|s| s.t.0 <= last);
        h_lo += data.histograms[h_lo..].partition_point_linear(|(t, _)| t.0 < first);
        h_hi = h_hi.max(h_lo);
        h_hi += data.histograms[h_hi..].partition_point_linear(|(t, _)| t.0 <= last);
        r_lo += whole.falls[r_lo..].partition_point_linear(|i| *i <= f_lo);
        r_hi = r_hi.max(r_lo);
        r_hi += whole.falls[r_hi..].partition_point_linear(|i| *i < f_hi);
        if f_lo == f_hi && h_lo == h_hi {
            continue;
        }
        let window = Window {
            floats: &data.floats[f_lo..f_hi],
            times: &data.histograms[h_lo..h_hi],
            histograms: &whole.unpacked[h_lo..h_hi],
            falls: &whole.falls[r_lo..r_hi],
            first_float: f_lo,
            start: end - slide.range,
            end,
            now: grid.time(step),
            step,
        };
        each(evaluator, &window)?;
    }
    Ok(())
}

/// The values of a series as samples at the times of its grid.
fn series_data(series: &Series, grid: &Grid) -> SeriesData {
    let mut data = SeriesData::default();
    for (step, point) in series.points.iter() {
        let t = TimestampMs(grid.time(step));
        match point {
            Point::Float(v) => data.floats.push(Sample { t, v }),
            Point::Histogram(h) => data.histograms.push((t, without_hint(h))),
        }
    }
    data
}

/// A counter reset hint speaks of the sample before in the store, which a subquery may have stepped over.
fn without_hint(h: &Arc<FloatHistogram>) -> Arc<FloatHistogram> {
    match h.counter_reset_hint {
        CounterResetHint::Unknown | CounterResetHint::Gauge => Arc::clone(h),
        CounterResetHint::Reset | CounterResetHint::NotReset => {
            Arc::new(FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..(**h).clone() })
        }
    }
}

/// Only functions that make sense of values at the edges take the modifiers.
pub(super) fn check_extension(call: &Call, range_arg: &Expr) -> Result<Option<Extension>, QueryError> {
    let extension = range_arg.unwrap_parens().direct_selector().and_then(|s| s.extension);
    use FunctionId::{Changes, Delta, Increase, Rate, Resets};
    let (name, allowed, listed): (&str, &[FunctionId], &str) = match extension {
        None => return Ok(None),
        Some(Extension::Anchored) => {
            ("anchored", &[Changes, Delta, Increase, Rate, Resets], "changes, delta, increase, rate, resets")
        }
        Some(Extension::Smoothed) => ("smoothed", &[Delta, Increase, Rate], "delta, increase, rate"),
    };
    if allowed.contains(&call.function.id) {
        return Ok(extension);
    }
    let function = call.function.name;
    Err(QueryError::Execution(format!("{name} modifier can only be used with: {listed} - not with {function}")))
}

/// The value of the function for one window, which holds at least one sample.
fn apply(
    evaluator: &mut Evaluator<'_>,
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    memory: &mut Memory,
) -> Result<Option<Output>, QueryError> {
    let notes = &mut evaluator.notes;
    match call.id {
        FunctionId::Rate | FunctionId::Increase | FunctionId::Delta if call.extension.is_some() => {
            Ok(extended::rate(call, whole, window, notes))
        }
        FunctionId::Rate | FunctionId::Increase | FunctionId::Delta => {
            Ok(rate::extrapolated(call, whole, window, notes))
        }
        FunctionId::Irate | FunctionId::Idelta => Ok(rate::last_two(call, whole, window, notes)),
        FunctionId::Changes | FunctionId::Resets => Ok(changes::count(call, window)),
        FunctionId::Deriv | FunctionId::PredictLinear | FunctionId::DoubleExponentialSmoothing => {
            trend::apply(call, whole, window, notes)
        }
        _ => over_time::apply(call, whole, window, memory, notes),
    }
}
