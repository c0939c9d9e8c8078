//! Evaluation, series by series.

use super::ast::Expr;
use super::engine::{Cancel, EngineOptions, QueryResult};
use super::error::QueryError;
use crate::model::TimestampMs;
use crate::storage::Select;

pub(super) fn instant(
    _options: &EngineOptions,
    _storage: &dyn Select,
    _cancel: &Cancel,
    _expr: &Expr,
    _at: TimestampMs,
) -> Result<QueryResult, QueryError> {
    Err(QueryError::Execution("evaluation is not wired yet".into()))
}

pub(super) fn range(
    _options: &EngineOptions,
    _storage: &dyn Select,
    _cancel: &Cancel,
    _expr: &Expr,
    _start: TimestampMs,
    _end: TimestampMs,
    _step_ms: i64,
) -> Result<QueryResult, QueryError> {
    Err(QueryError::Execution("evaluation is not wired yet".into()))
}
