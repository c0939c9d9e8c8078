//! The one question that rules ask of PromQL: the value of an expression at a time.

use crate::model::{Labels, TimestampMs, Value};
use crate::promql::{self, Engine, Expr, QueryError, QueryResult, QueryValue, VectorSample};
use crate::storage::Select;

/// Evaluates instant queries; [`Engine`] does, and tests may put something simpler in its place.
pub trait Evaluate: Send + Sync {
    /// The value of `expr` at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    fn instant(&self, storage: &dyn Select, expr: &Expr, at: TimestampMs) -> Result<QueryResult, QueryError>;
}

impl Evaluate for Engine {
    fn instant(&self, storage: &dyn Select, expr: &Expr, at: TimestampMs) -> Result<QueryResult, QueryError> {
        Engine::instant(self, storage, expr, at)
    }
}

/// Why a rule gave no result.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The expression could not be evaluated.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The expression is a string or a range vector.
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    /// Two elements have the same labels once the rule's own are added.
    #[error("vector contains metrics with the same labelset after applying {kind} labels: {labels}")]
    SameLabels { kind: &'static str, labels: String },
    /// More series or alerts than the group's `limit`.
    #[error("exceeded limit of {limit} with {count} {what}")]
    Limit { limit: usize, count: usize, what: &'static str },
}

/// The elements of the expression's vector; a scalar is one element without labels.
pub fn vector(
    evaluator: &dyn Evaluate,
    storage: &dyn Select,
    expr: &Expr,
    at: TimestampMs,
) -> Result<Vec<VectorSample>, RuleError> {
    match evaluator.instant(storage, expr, at)?.value {
        QueryValue::Vector(samples) => Ok(samples),
        QueryValue::Scalar(sample) => {
            Ok(vec![VectorSample { labels: Labels::empty(), t: at, value: Value::Float(sample.v) }])
        }
        QueryValue::String(..) | QueryValue::Matrix(_) => Err(RuleError::NotAVector),
    }
}

/// Answers the `query` function of templates.
pub fn answer(
    evaluator: &dyn Evaluate,
    storage: &dyn Select,
    query: &str,
    at: TimestampMs,
) -> Result<Vec<(Labels, f64)>, String> {
    let expr = promql::parse(query).map_err(|e| format!("error executing query {query:?}: {e}"))?;
    let samples = vector(evaluator, storage, &expr, at).map_err(|e| format!("error executing query {query:?}: {e}"))?;
    let float = |value: &Value| if let Value::Float(v) = value { *v } else { 0.0 };
    Ok(samples.into_iter().map(|s| (s.labels, float(&s.value))).collect())
}
