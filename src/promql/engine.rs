//! The engine: limits, and the two questions that can be asked, at one time and over a range.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::ast::Expr;
use super::error::{ParseError, QueryError};
use super::eval;
use super::stats::EngineStats;
use crate::model::{FloatHistogram, Labels, Sample, TimestampMs, Value};
use crate::storage::Select;

/// Stack that a level of an expression takes of a debug build, which takes most: 8 KiB were measured, of `label_replace`.
const STACK_BYTES_PER_LEVEL: usize = 12 << 10;

/// Runs an evaluation where its recursion cannot overflow the stack.
fn with_enough_stack<T: Send>(
    expr: &Expr,
    evaluate: impl FnOnce() -> Result<T, QueryError> + Send,
) -> Result<T, QueryError> {
    super::stack::run(expr.depth, STACK_BYTES_PER_LEVEL, evaluate)
        .unwrap_or_else(|e| Err(QueryError::Execution(format!("failed to start a thread for a deep query: {e}"))))
}

/// Most steps of one range query, as Prometheus' API has it.
pub const MAX_STEPS: i64 = 11_000;

/// Which samples on the edge of a window belong to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowEdges {
    /// `(t - range, t]`, Prometheus 3.
    #[default]
    HalfOpen,
    /// `[t - range, t]`, Prometheus 2; only for comparing with it in tests.
    Closed,
}

/// What an engine is set to.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far back an instant selector looks for its sample, in milliseconds.
    pub lookback_ms: i64,
    /// Most samples held at once by one query; see also [`EngineOptions::max_memory_bytes`].
    pub max_samples: usize,
    /// Most series that one selector may return.
    pub max_series: usize,
    /// Step of subqueries that name none, in milliseconds.
    pub default_subquery_step_ms: i64,
    pub window_edges: WindowEdges,
    /// Whether functions and modifiers that Prometheus has behind feature flags may be used.
    pub experimental: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            lookback_ms: 5 * 60 * 1000,
            max_samples: 50_000_000,
            max_series: 500_000,
            default_subquery_step_ms: 60 * 1000,
            window_edges: WindowEdges::HalfOpen,
            experimental: false,
        }
    }
}

impl EngineOptions {
    /// Most memory that one query may hold: what as many samples as allowed take, once as they are worked on and once
    /// as they are answered, and as much again for labels and sums in the making as a small query may need.
    pub fn max_memory_bytes(&self) -> usize {
        const BYTES_PER_SAMPLE: usize = 24;
        const BYTES_BESIDE: usize = 64 << 20;
        self.max_samples.saturating_mul(BYTES_PER_SAMPLE).saturating_add(BYTES_BESIDE)
    }
}

/// A flag that ends a running query; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicU8>);

const RUNNING: u8 = 0;
const CANCELED: u8 = 1;
const TIMED_OUT: u8 = 2;

impl Cancel {
    /// Ends the query because nobody waits for it any more.
    pub fn cancel(&self) {
        self.0.store(CANCELED, Ordering::Relaxed);
    }

    /// Ends the query because its time is over.
    pub fn time_out(&self) {
        self.0.store(TIMED_OUT, Ordering::Relaxed);
    }

    /// The flag itself, zero as long as the query runs; for what cannot give an error.
    pub(super) fn flag(&self) -> &Arc<AtomicU8> {
        &self.0
    }

    /// The error of a query that was ended.
    ///
    /// # Errors
    /// [`QueryError::Canceled`] or [`QueryError::TimedOut`] once the flag is set.
    pub fn check(&self) -> Result<(), QueryError> {
        match self.0.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            TIMED_OUT => Err(QueryError::TimedOut),
            _ => Err(QueryError::Canceled),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryResult {
    pub value: QueryValue,
    /// `PromQL warning: …` with `(line:column)`, in order of first appearance; ten, and then how many more there are.
    pub warnings: Vec<String>,
    /// `PromQL info: …` likewise.
    pub infos: Vec<String>,
    /// Samples that the steps have read: of an instant selector those that it gives, of a range those in each window,
    /// so that one sample counts for each step that reads it.
    pub samples: u64,
}

/// The value of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    Scalar(Sample),
    String(TimestampMs, String),
    Vector(Vec<VectorSample>),
    Matrix(Vec<MatrixSeries>),
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    pub labels: Labels,
    pub t: TimestampMs,
    pub value: Value,
}

/// One series of a range vector, points oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSeries {
    pub labels: Labels,
    pub floats: Vec<Sample>,
    pub histograms: Vec<(TimestampMs, Arc<FloatHistogram>)>,
}

/// Evaluates expressions. Holds options and counts only, so that one engine serves any number of threads.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    options: EngineOptions,
    stats: Arc<EngineStats>,
}

impl Engine {
    /// An engine with these options.
    pub fn new(options: EngineOptions) -> Self {
        Self { options, stats: Arc::default() }
    }

    /// What the engine is set to.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The engine with other options, counting into the same stats; for requests with a lookback of their own.
    pub fn with_options(&self, options: EngineOptions) -> Self {
        Self { options, stats: Arc::clone(&self.stats) }
    }

    /// What the engine and its clones have done.
    pub fn stats(&self) -> Arc<EngineStats> {
        Arc::clone(&self.stats)
    }

    /// The value of `expr` at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(&self, storage: &dyn Select, expr: &Expr, at: TimestampMs) -> Result<QueryResult, QueryError> {
        self.instant_with(storage, expr, at, &Cancel::default())
    }

    /// As [`Engine::instant`], ended early by `cancel`.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant_with(
        &self,
        storage: &dyn Select,
        expr: &Expr,
        at: TimestampMs,
        cancel: &Cancel,
    ) -> Result<QueryResult, QueryError> {
        let evaluate = || with_enough_stack(expr, || eval::instant(&self.options, storage, cancel, expr, at));
        let result = self.check_experimental(expr).and_then(|()| evaluate());
        self.stats.count(&result);
        result
    }

    /// The values of `expr` at `start`, `start + step_ms`, … up to `end`, as a matrix.
    ///
    /// # Errors
    /// See [`QueryError`]; a step that is not positive, an end before the start, more than 11,000 steps, and an
    /// expression that is neither scalar nor instant vector are bad queries.
    pub fn range(
        &self,
        storage: &dyn Select,
        expr: &Expr,
        start: TimestampMs,
        end: TimestampMs,
        step_ms: i64,
    ) -> Result<QueryResult, QueryError> {
        self.range_with(storage, expr, start, end, step_ms, &Cancel::default())
    }

    /// As [`Engine::range`], ended early by `cancel`.
    ///
    /// # Errors
    /// See [`Engine::range`].
    pub fn range_with(
        &self,
        storage: &dyn Select,
        expr: &Expr,
        start: TimestampMs,
        end: TimestampMs,
        step_ms: i64,
        cancel: &Cancel,
    ) -> Result<QueryResult, QueryError> {
        let evaluate =
            || with_enough_stack(expr, || eval::range(&self.options, storage, cancel, expr, start, end, step_ms));
        let result = check_range(expr, start, end, step_ms)
            .and_then(|()| self.check_experimental(expr))
            .and_then(|()| evaluate());
        self.stats.count(&result);
        result
    }

    pub(super) fn check_experimental(&self, expr: &Expr) -> Result<(), QueryError> {
        if self.options.experimental {
            return Ok(());
        }
        let Some((position, refusal)) = expr.first_experiment() else { return Ok(()) };
        // Prometheus names a flag here or nothing; a user has to know what to do.
        let message = format!("{refusal}; `experimental: true` under `api.query` enables it");
        Err(QueryError::Parse(ParseError::new("", position, message)))
    }
}

/// Whether a range query can be asked at all.
fn check_range(expr: &Expr, start: TimestampMs, end: TimestampMs, step_ms: i64) -> Result<(), QueryError> {
    let refuse = |reason: &str| Err(QueryError::BadQuery(reason.to_owned()));
    if step_ms <= 0 {
        return refuse("zero or negative query resolution step widths are not accepted. Try a positive integer");
    }
    if end < start {
        return refuse("end timestamp must not be before start time");
    }
    if end.since(start) / step_ms > MAX_STEPS {
        return refuse(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        );
    }
    if !matches!(expr.value_type(), super::ValueType::Scalar | super::ValueType::Vector) {
        let got = expr.value_type().documented();
        return Err(QueryError::BadQuery(format!(
            "invalid expression type {got:?} for range query, must be Scalar or instant Vector"
        )));
    }
    Ok(())
}
