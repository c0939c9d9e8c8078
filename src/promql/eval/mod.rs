//! Evaluation, series by series: each node turns whole series into whole series over all steps of the query.
//!
//! In:  a checked tree, a store, the times.   Out: a value with its annotations.
//! Always: an instant query is a range of one step; a part that is the same at every step is evaluated once.
//! Limits: samples held, series selected, and the cancel flag, looked at between series.

mod absent;
mod aggregate;
mod annotations;
mod binary;
mod classic;
mod element;
mod functions;
mod grid;
mod held;
mod info;
mod labels;
mod matching;
mod points;
mod quantiles;
mod rank;
mod selector;
mod stream;
mod sums;
mod window;

use std::sync::Arc;

use hashbrown::HashMap;

use self::annotations::Annotations;
use self::grid::{Grid, QueryTimes};
use self::held::Held;
use self::points::{Point, Points, Scalar, Series};
use super::ast::{Expr, ExprKind};
use super::engine::{Cancel, EngineOptions, MatrixSeries, QueryResult, QueryValue, VectorSample};
use super::error::QueryError;
use super::functions::FunctionId;
use crate::model::{FloatHistogram, Labels, METRIC_NAME, Sample, TimestampMs, Value};
use crate::storage::Select;

/// Evaluates `expr` at one time.
pub(super) fn instant(
    options: &EngineOptions,
    storage: &dyn Select,
    cancel: &Cancel,
    expr: &Expr,
    at: TimestampMs,
) -> Result<QueryResult, QueryError> {
    check_time(at)?;
    let times = QueryTimes { start: at.0, end: at.0, step: 0 };
    let mut evaluator = Evaluator::new(options, storage, cancel, times);
    let grid = Grid::single(at.0);
    let value = match &expr.unwrap_parens().kind {
        ExprKind::Matrix(matrix) => {
            let series = evaluator.raw_window(matrix, at.0)?;
            QueryValue::Matrix(series)
        }
        ExprKind::Subquery(subquery) => match evaluator.subquery_series(subquery, &grid)? {
            Some((inner, series)) => {
                let series = finish_names(series)?;
                QueryValue::Matrix(series.into_iter().map(|s| matrix_series(s, &inner)).filter(has_points).collect())
            }
            None => QueryValue::Matrix(Vec::new()),
        },
        _ => match evaluator.eval(expr, &grid)? {
            Evaluated::Scalar(scalar) => QueryValue::Scalar(Sample { t: at, v: scalar.at(0) }),
            Evaluated::String(bytes) => QueryValue::String(at, String::from_utf8_lossy(&bytes).into_owned()),
            Evaluated::Vector(series) => QueryValue::Vector(vector_samples(finish_names(series)?, at)),
        },
    };
    evaluator.finish(value)
}

/// Evaluates `expr` at every step from `start` to `end`.
pub(super) fn range(
    options: &EngineOptions,
    storage: &dyn Select,
    cancel: &Cancel,
    expr: &Expr,
    start: TimestampMs,
    end: TimestampMs,
    step_ms: i64,
) -> Result<QueryResult, QueryError> {
    check_time(start)?;
    check_time(end)?;
    let times = QueryTimes { start: start.0, end: end.0, step: step_ms };
    let mut evaluator = Evaluator::new(options, storage, cancel, times);
    let grid = Grid { start: start.0, step: step_ms, steps: (end.since(start) / step_ms) as usize + 1 };
    let mut matrix: Vec<MatrixSeries> = match evaluator.eval(expr, &grid)? {
        Evaluated::Scalar(scalar) => {
            let floats = (0..grid.steps).map(|i| Sample { t: TimestampMs(grid.time(i)), v: scalar.at(i) }).collect();
            vec![MatrixSeries { labels: Labels::empty(), floats, histograms: Vec::new() }]
        }
        Evaluated::String(_) => return Err(QueryError::BadQuery("a string has no range".into())),
        Evaluated::Vector(series) => {
            finish_names(series)?.into_iter().map(|s| matrix_series(s, &grid)).filter(has_points).collect()
        }
    };
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    evaluator.finish(QueryValue::Matrix(matrix))
}

fn check_time(t: TimestampMs) -> Result<(), QueryError> {
    match t.0.unsigned_abs() <= grid::MAX_TIME_MS.unsigned_abs() {
        true => Ok(()),
        false => Err(QueryError::BadQuery(format!("time {} ms is out of range", t.0))),
    }
}

fn has_points(series: &MatrixSeries) -> bool {
    !series.floats.is_empty() || !series.histograms.is_empty()
}

fn matrix_series(series: Series, grid: &Grid) -> MatrixSeries {
    let mut out = MatrixSeries { labels: series.labels, floats: Vec::new(), histograms: Vec::new() };
    let time = |step: usize| TimestampMs(grid.time(step));
    if series.points.is_float_only() {
        out.floats.reserve_exact(series.points.len());
        out.floats.extend(series.points.floats().map(|(step, v)| Sample { t: time(step), v }));
        return out;
    }
    for (step, point) in series.points.iter() {
        match point {
            Point::Float(v) => out.floats.push(Sample { t: time(step), v }),
            Point::Histogram(h) => out.histograms.push((time(step), Arc::clone(h))),
        }
    }
    out
}

fn vector_samples(series: Vec<Series>, at: TimestampMs) -> Vec<VectorSample> {
    let sample = |s: &Series| {
        let value = match s.points.get(0)? {
            Point::Float(v) => Value::Float(v),
            Point::Histogram(h) => Value::Histogram(Arc::clone(h)),
        };
        Some(VectorSample { labels: s.labels.clone(), t: at, value })
    };
    series.iter().filter_map(sample).collect()
}

/// Whether the label describes the metric itself, so that it goes with the name.
pub(super) fn is_metadata_label(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Drops the names that are to be dropped, and joins series that are then the same.
fn finish_names(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let mut dropped = false;
    let series: Vec<Series> = series
        .into_iter()
        .map(|mut s| {
            if std::mem::take(&mut s.drop_name) {
                dropped = true;
                s.labels = s.labels.keep(|name| !is_metadata_label(name));
            }
            s
        })
        .collect();
    if dropped { merge_same_labels(series) } else { Ok(series) }
}

/// Joins series with the same labels, which must not meet at any step.
fn merge_same_labels(series: Vec<Series>) -> Result<Vec<Series>, QueryError> {
    let mut by_labels: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    for next in series {
        match by_labels.get(&next.labels) {
            None => {
                by_labels.insert(next.labels.clone(), merged.len());
                merged.push(next);
            }
            Some(at) => {
                let joined = merged[*at].points.merged_with(&next.points).ok_or_else(|| {
                    QueryError::Execution("vector cannot contain metrics with the same labelset".into())
                })?;
                merged[*at].points = joined;
            }
        }
    }
    Ok(merged)
}

/// Values after which the cancel flag is looked at: about a millisecond of work.
const VALUES_BETWEEN_CHECKS: usize = 1 << 16;

/// The value of a node.
enum Evaluated {
    Scalar(Scalar),
    String(Vec<u8>),
    Vector(Vec<Series>),
}

/// One running query.
struct Evaluator<'a> {
    options: &'a EngineOptions,
    storage: &'a dyn Select,
    cancel: &'a Cancel,
    times: QueryTimes,
    notes: Annotations,
    /// What the vectors take that are held at this moment.
    held: Held,
    /// Values worked on since the cancel flag was last looked at.
    unchecked: usize,
    /// Whether selectors work out counter reset hints that the store does not give, as Prometheus does where only
    /// counts and sums of histograms are wanted; the answer may then warn of conflicts.
    works_out_resets: bool,
    /// Samples read, see [`QueryResult::samples`], and whether they are counted: those inside a subquery are not, since
    /// its windows are.
    samples: u64,
    counts_samples: bool,
}

impl<'a> Evaluator<'a> {
    fn new(options: &'a EngineOptions, storage: &'a dyn Select, cancel: &'a Cancel, times: QueryTimes) -> Self {
        Self {
            options,
            storage,
            cancel,
            times,
            notes: Annotations::default(),
            held: Held::default(),
            unchecked: 0,
            works_out_resets: false,
            samples: 0,
            counts_samples: true,
        }
    }

    /// The answer, unless nobody waits for it any more.
    fn finish(self, value: QueryValue) -> Result<QueryResult, QueryError> {
        self.cancel.check()?;
        let (warnings, infos) = self.notes.finish();
        Ok(QueryResult { value, warnings, infos, samples: self.samples })
    }

    /// Looks at the cancel flag once enough was worked on since the last time; `values` are those of now.
    #[inline]
    fn worked(&mut self, values: usize) -> Result<(), QueryError> {
        self.unchecked += values + 1;
        if self.unchecked < VALUES_BETWEEN_CHECKS {
            return Ok(());
        }
        self.unchecked = 0;
        self.cancel.check()
    }

    /// Notes that a step has read so many samples.
    #[inline]
    fn read_samples(&mut self, samples: usize) {
        if self.counts_samples {
            self.samples += samples as u64;
        }
    }

    /// Evaluates a node on a grid; what its parts held is let go, what it gives is held.
    fn eval(&mut self, expr: &Expr, grid: &Grid) -> Result<Evaluated, QueryError> {
        self.cancel.check()?;
        let before = self.held;
        let value = if grid.steps > 1 && is_step_invariant(expr) {
            let samples = self.samples;
            let once = self.eval_node(expr, &Grid::single(grid.start))?;
            // Read once, it stands for all steps, and Prometheus counts it so.
            self.samples = samples.saturating_add((self.samples - samples).saturating_mul(grid.steps as u64));
            if let Evaluated::Vector(series) = &once {
                self.check_samples(series.len().saturating_mul(grid.steps))?;
            }
            repeat(once, grid.steps)
        } else {
            self.eval_node(expr, grid)?
        };
        self.held = before;
        let more = Held::of(&value);
        self.check_held(more)?;
        self.held += more;
        Ok(value)
    }

    fn eval_node(&mut self, expr: &Expr, grid: &Grid) -> Result<Evaluated, QueryError> {
        if stream::is_streamed(expr) {
            return self.collect(expr, grid).map(Evaluated::Vector);
        }
        match &expr.kind {
            ExprKind::Number(number) => Ok(Evaluated::Scalar(Scalar::Constant(number.value))),
            ExprKind::String(text) => Ok(Evaluated::String(text.bytes.clone())),
            ExprKind::Paren(inner) => self.eval(inner, grid),
            ExprKind::Unary { negative, operand } => self.unary(*negative, operand, grid),
            ExprKind::Binary(binary) => self.binary(expr, binary, grid),
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, grid).map(Evaluated::Vector),
            ExprKind::Call(call) => self.call(call, grid),
            ExprKind::Vector(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                Err(QueryError::Execution("a range vector stands only as the argument of a function".into()))
            }
        }
    }

    /// The value of an expression that the type check knows to be a vector.
    fn vector(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        match self.eval(expr, grid)? {
            Evaluated::Vector(series) => Ok(series),
            _ => Err(QueryError::Execution("expected an instant vector".into())),
        }
    }

    /// As [`Evaluator::vector`], with or without working out counter resets below.
    fn vector_with_resets(&mut self, expr: &Expr, grid: &Grid, works_out: bool) -> Result<Vec<Series>, QueryError> {
        let before = std::mem::replace(&mut self.works_out_resets, works_out);
        let result = self.vector(expr, grid);
        self.works_out_resets = before;
        result
    }

    /// The value of an expression that the type check knows to be a scalar.
    fn scalar(&mut self, expr: &Expr, grid: &Grid) -> Result<Scalar, QueryError> {
        match self.eval(expr, grid)? {
            Evaluated::Scalar(scalar) => Ok(scalar),
            _ => Err(QueryError::Execution("expected a scalar".into())),
        }
    }

    /// A sign in front of what is not handed on series by series.
    fn unary(&mut self, negative: bool, operand: &Expr, grid: &Grid) -> Result<Evaluated, QueryError> {
        let value = self.eval(operand, grid)?;
        if !negative {
            return Ok(value);
        }
        Ok(match value {
            Evaluated::Scalar(Scalar::Constant(v)) => Evaluated::Scalar(Scalar::Constant(-v)),
            Evaluated::Scalar(Scalar::Steps(values)) => {
                Evaluated::Scalar(Scalar::Steps(values.into_iter().map(|v| -v).collect()))
            }
            Evaluated::Vector(mut series) => {
                series.iter_mut().for_each(stream::negate);
                Evaluated::Vector(series)
            }
            text @ Evaluated::String(_) => text,
        })
    }
}

fn repeat(value: Evaluated, steps: usize) -> Evaluated {
    match value {
        Evaluated::Scalar(scalar) => Evaluated::Scalar(Scalar::Constant(scalar.at(0))),
        Evaluated::String(text) => Evaluated::String(text),
        Evaluated::Vector(series) => Evaluated::Vector(
            series
                .into_iter()
                .filter_map(|s| {
                    let value = s.points.get(0)?.to_output();
                    Some(Series { points: Points::repeat(&value, steps), ..s })
                })
                .collect(),
        ),
    }
}

/// Whether the value is the same at every step: everything in it is constant or pinned with `@`.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => true,
        ExprKind::Vector(selector) => selector.time.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.selector.time.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.time.at.is_some(),
        ExprKind::Call(call) => {
            let depends_on_time = match call.function.id {
                FunctionId::Time | FunctionId::PredictLinear | FunctionId::Timestamp | FunctionId::Info => true,
                FunctionId::DaysInMonth
                | FunctionId::DayOfMonth
                | FunctionId::DayOfWeek
                | FunctionId::DayOfYear
                | FunctionId::Hour
                | FunctionId::Minute
                | FunctionId::Month
                | FunctionId::Year => call.args.is_empty(),
                _ => false,
            };
            !depends_on_time && call.args.iter().all(is_step_invariant)
        }
        _ => expr.children().all(is_step_invariant),
    }
}

/// One step of Kahan-Neumaier summation: the new sum and what rounding has lost.
pub(super) fn kahan_add(value: f64, sum: f64, lost: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        return (total, 0.0);
    }
    let error = if sum.abs() >= value.abs() { (sum - total) + value } else { (value - total) + sum };
    (total, lost + error)
}

/// A histogram as it is handed on.
fn shared(sparse: &super::histogram::Sparse) -> Arc<FloatHistogram> {
    Arc::new(FloatHistogram::from(sparse))
}

#[cfg(test)]
mod tests;
