//! `info(v, {selectors})`: adds the data labels of info metrics with the same `job` and `instance`.

use super::Evaluator;
use super::grid::Grid;
use super::points::Series;
use crate::promql::ast::Call;
use crate::promql::error::QueryError;

impl Evaluator<'_> {
    pub(super) fn info(&mut self, _call: &Call, _grid: &Grid) -> Result<Vec<Series>, QueryError> {
        Err(QueryError::Execution("function `info` is not implemented".into()))
    }
}
