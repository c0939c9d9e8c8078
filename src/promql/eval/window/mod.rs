//! Functions of range vectors: a window slides over each series' samples once, for all steps.
//!
//! In:  samples of a selector, or of a subquery.   Out: one value, or none, for each series and step.
//! Series of floats alone go through `floats`, which keeps what it knows of one window for the next. Families for
//! everything else: `rate`, `extended` (anchored and smoothed), `over_time`, `trend`, `changes`.

mod changes;
mod extended;
mod floats;
mod over_time;
mod rate;
mod sliding;
mod trend;

use std::sync::Arc;

use super::Evaluator;
use super::grid::Grid;
use super::points::{Output, Point, Points, Scalar, Series};
use super::selector::PartitionPointLinear;
use super::stream::Sink;
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
struct Whole {
    name: String,
    /// Histograms unpacked, one for each of the series' histograms.
    unpacked: Vec<Sparse>,
    /// Indexes of floats that are smaller than the one before, for counters.
    falls: Vec<usize>,
}

impl Whole {
    fn of(labels: &Labels, data: &SeriesData) -> Self {
        let unpacked = data.histograms.iter().map(|(_, h)| Sparse::from(&**h)).collect();
        Self { name: labels.metric_name().to_owned(), unpacked, falls: falls(&data.floats) }
    }
}

/// Indexes of floats that are smaller than the one before.
fn falls(floats: &[Sample]) -> Vec<usize> {
    (1..floats.len()).filter(|i| floats[*i].v < floats[i - 1].v).collect()
}

/// The samples of one series at one step.
///
/// For anchored and smoothed selectors it also holds samples around the window.
struct Window<'a> {
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

/// A call of a window function.
struct WindowCall {
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
pub(super) struct Slide {
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

impl<'a> Evaluator<'a> {
    /// Evaluates a call whose function takes a range vector.
    pub(super) fn window_call(&mut self, call: &Call, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        let before = self.held;
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
        let window_call = WindowCall {
            id: call.function.id,
            first_arg,
            all_args: call.args.iter().fold(first_arg, |all, arg| all.to(arg.position)),
            params,
            extension,
            range_ms: self.range_of(range_arg)?,
        };
        let keeps_name = matches!(call.function.id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        let mut one = Series { labels: Labels::empty(), drop_name: false, points: Points::default() };
        let mut noted = String::new();
        self.for_each_windowed(range_arg, grid, |this, labels, drop_name, data, slide| {
            one.points.clear();
            let is_plain = data.histograms.is_empty() && window_call.extension.is_none();
            if !is_plain || !this.window_of_floats(&window_call, slide, grid, &data.floats, &mut one.points)? {
                let whole = Whole::of(labels, data);
                walk(this, &whole, data, slide, grid, &mut |this, window| {
                    if let Some(value) = apply(this, &window_call, &whole, window)? {
                        one.points.push(window.step, value);
                    }
                    this.worked(window.floats.len() + window.histograms.len())
                })?;
            }
            if one.points.is_empty() {
                return Ok(());
            }
            if data.histograms.is_empty() {
                this.note_non_counter(&window_call, labels, &mut noted);
            }
            (one.labels, one.drop_name) = (labels.clone(), drop_name || !keeps_name);
            sink(this, &mut one)
        })?;
        self.held = before;
        Ok(())
    }

    /// Calls `each` with every step at which a series of a range vector has a sample in its window.
    pub(super) fn for_each_present_step(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        mut each: impl FnMut(usize),
    ) -> Result<(), QueryError> {
        self.for_each_windowed(arg, grid, |this, labels, _, data, slide| {
            walk(this, &Whole::of(labels, data), data, slide, grid, &mut |_, window| {
                each(window.step);
                Ok(())
            })
        })
    }

    fn range_of(&self, arg: &Expr) -> Result<i64, QueryError> {
        match &arg.unwrap_parens().kind {
            ExprKind::Matrix(matrix) => self.times.positive_ms(&matrix.range),
            ExprKind::Subquery(subquery) => self.times.positive_ms(&subquery.range),
            _ => Err(QueryError::Execution("expected a range selector or a subquery".into())),
        }
    }

    /// Calls `visit` with the samples of each series of a range vector, its labels, and whether its name is to go.
    fn for_each_windowed(
        &mut self,
        arg: &Expr,
        grid: &Grid,
        mut visit: impl FnMut(&mut Self, &Labels, bool, &SeriesData, &Slide) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match &arg.unwrap_parens().kind {
            ExprKind::Matrix(matrix) => {
                let slide = self.slide_of_selector(matrix)?;
                let from = self.window_start(slide.end(grid, 0), slide.range + slide.before);
                let to = slide.end(grid, grid.steps - 1) + slide.after;
                self.for_each_series(&matrix.selector, from, to, |this, labels, data| {
                    this.check_samples(data.len())?;
                    // A staleness marker ends a series but is no sample of a window.
                    data.floats.retain(|s| !is_stale_nan(s.v));
                    visit(this, &labels, false, data, &slide)
                })
            }
            ExprKind::Subquery(subquery) => {
                let range = self.times.positive_ms(&subquery.range)?;
                let (offset, at) = self.times.modifiers(&subquery.time)?;
                let slide = Slide { range, offset, at, before: 0, after: 0 };
                let Some(inner) = self.subquery_grid(subquery, grid)? else { return Ok(()) };
                let mut data = SeriesData::default();
                let works_out_resets = std::mem::replace(&mut self.works_out_resets, false);
                let counts_samples = std::mem::replace(&mut self.counts_samples, false);
                let result = self.stream(&subquery.expr, &inner, &mut |this, one| {
                    fill_from_points(&mut data, &one.points, &inner);
                    this.counts_samples = counts_samples;
                    let result = visit(this, &one.labels, one.drop_name, &data, &slide);
                    this.counts_samples = false;
                    result
                });
                (self.works_out_resets, self.counts_samples) = (works_out_resets, counts_samples);
                result
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
    ) -> Result<Option<(Grid, Vec<Series>)>, QueryError> {
        let Some(inner) = self.subquery_grid(subquery, grid)? else { return Ok(None) };
        let series = self.vector_with_resets(&subquery.expr, &inner, false)?;
        Ok(Some((inner, series)))
    }

    /// The times at which the inner expression of a subquery is needed, if there are any.
    fn subquery_grid(&mut self, subquery: &Subquery, grid: &Grid) -> Result<Option<Grid>, QueryError> {
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
            return Ok(None);
        }
        let steps = usize::try_from((to - start) / step + 1).unwrap_or(usize::MAX);
        // Each step of an aggregation takes more room than a sample, which begins to matter here.
        let room = if steps > LONG_SUBQUERY_STEPS { ROOM_PER_SUBQUERY_STEP } else { 1 };
        self.check_samples(steps.saturating_mul(room))?;
        Ok(Some(Grid { start, step, steps }))
    }

    /// Says so when `rate` or `increase` is used on what does not look like a counter.
    ///
    /// Series of one name come one after the other, so `noted` remembers that of the last one without a type.
    fn note_non_counter(&mut self, call: &WindowCall, labels: &Labels, noted: &mut String) {
        if !matches!(call.id, FunctionId::Rate | FunctionId::Increase) {
            return;
        }
        let name = labels.metric_name();
        let kind = labels.get("__type__");
        if name.is_empty() || (kind.is_none() && noted == name) {
            return;
        }
        match kind {
            Some("counter" | "histogram") => {}
            Some(kind) => self.notes.possible_non_counter_type(call.first_arg, name, kind),
            None => {
                name.clone_into(noted);
                if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
                    self.notes.possible_non_counter(call.first_arg, name);
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
        evaluator.worked(0)?;
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
        evaluator.read_samples(window.floats.len() + window.times.len());
        each(evaluator, &window)?;
    }
    Ok(())
}

/// The values of a series as samples at the times of its grid.
fn fill_from_points(data: &mut SeriesData, points: &Points, grid: &Grid) {
    data.clear();
    let time = |step: usize| TimestampMs(grid.time(step));
    data.floats.extend(points.floats().map(|(step, v)| Sample { t: time(step), v }));
    if !points.is_float_only() {
        for (step, point) in points.iter() {
            if let Point::Histogram(h) = point {
                data.histograms.push((time(step), without_hint(h)));
            }
        }
    }
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
        _ => over_time::apply(call, whole, window, notes),
    }
}
