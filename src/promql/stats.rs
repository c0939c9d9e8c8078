//! What the engine counts of its work.

use super::engine::QueryResult;
use super::error::QueryError;
use crate::model::{Counter, StatRow, Stats};

/// Evaluations by outcome. Clones of an engine share one.
#[derive(Debug, Default)]
pub struct EngineStats {
    ok: Counter,
    failed: [Counter; QueryError::CLASSES.len()],
    annotations: Counter,
}

impl EngineStats {
    /// Counts one evaluation.
    pub(super) fn count(&self, result: &Result<QueryResult, QueryError>) {
        match result {
            Ok(answer) => {
                self.ok.inc();
                self.annotations.add((answer.warnings.len() + answer.infos.len()) as u64);
            }
            Err(error) => {
                let class = QueryError::CLASSES.iter().position(|class| *class == error.class());
                self.failed[class.unwrap_or_default()].inc();
            }
        }
    }
}

impl Stats for EngineStats {
    fn rows(&self) -> Vec<StatRow> {
        const NAME: &str = "rivetwatch_query_evaluations_total";
        const HELP: &str = "Evaluations of PromQL expressions, of rules and of requests, by outcome.";
        let mut rows = vec![StatRow::counter(NAME, HELP, self.ok.get()).with("outcome", "ok")];
        for (class, counter) in QueryError::CLASSES.iter().zip(&self.failed) {
            rows.push(StatRow::counter(NAME, HELP, counter.get()).with("outcome", *class));
        }
        rows.push(StatRow::counter(
            "rivetwatch_query_annotations_total",
            "Warnings and infos that came with answers to PromQL expressions.",
            self.annotations.get(),
        ));
        rows
    }
}
