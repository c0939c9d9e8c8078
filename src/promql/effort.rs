//! How much work a query is, told before it runs.
//!
//! In:  an expression, its steps, and a store that knows how many series it holds.   Out: little, or not known to be.
//! Always: a guess that is wrong costs time, never the answer.

use super::ast::{DurationKind, Expr, ExprKind};
use super::engine::Engine;
use crate::model::Matcher;
use crate::storage::Select;

/// Values and samples to be visited, some nanoseconds each, up to which a query is over sooner than another thread wakes.
const LITTLE: u64 = 2_000;

/// Samples are rarely nearer to each other.
const SAMPLE_INTERVAL_MS: u64 = 5_000;

impl Engine {
    /// Whether a query at `steps` times over `span_ms` surely takes less time than handing it to another thread would.
    ///
    /// No subquery and nothing that handles texts counts as little, nor does a store that does not know at once how
    /// many series a selector meets.
    pub fn is_little(&self, storage: &dyn Select, expr: &Expr, steps: u64, span_ms: u64) -> bool {
        let mut effort = 0u64;
        expr.walk().all(|node| {
            let read = match &node.kind {
                ExprKind::Subquery(_) | ExprKind::String(_) => return false,
                ExprKind::Vector(selector) => Some((selector, self.options().lookback_ms.unsigned_abs())),
                ExprKind::Matrix(matrix) => match &matrix.range.kind {
                    DurationKind::Literal(range) => Some((&matrix.selector, (range.value * 1000.0) as u64)),
                    _ => return false,
                },
                _ => None,
            };
            effort = effort.saturating_add(steps);
            if let Some((selector, window_ms)) = read {
                let series = match selector.matchers.iter().any(Matcher::is_slow) {
                    true => None,
                    false => storage.series_at_most(&selector.matchers),
                };
                let Some(series) = series else { return false };
                let samples = span_ms.saturating_add(window_ms) / SAMPLE_INTERVAL_MS;
                effort = effort.saturating_add(samples.saturating_add(steps).saturating_mul(series as u64));
            }
            effort <= LITTLE
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, TimestampMs, Value};
    use crate::promql::parse;
    use crate::storage::{Append, Batch, Point};
    use crate::tsdb::{Settings, Tsdb};

    #[test]
    fn what_reads_few_samples_is_little_and_what_is_unknown_is_not() {
        let tsdb = Tsdb::in_memory(Settings::default());
        let point = |i: usize| {
            let labels = Labels::from_pairs([("__name__", "many".to_owned()), ("l", i.to_string())]);
            Point { labels, t: TimestampMs(1_000_000), value: Value::Float(1.0) }
        };
        let batch = Batch { points: (0..100).map(point).collect(), ..Batch::default() };
        tsdb.commit(batch).wait().unwrap();
        let (minute, day) = (60_000, 86_400_000);
        let engine = Engine::default();
        let is_little = |query: &str, steps, span_ms| engine.is_little(&tsdb, &parse(query).unwrap(), steps, span_ms);
        assert!(is_little("1 + 2 * 3", 100, minute));
        assert!(is_little("absent(none)", 100, day));
        assert!(is_little("many{l='7'}", 10, minute));
        assert!(is_little("sum(rate(many{l='7'}[5m]))", 1, 0));
        assert!(!is_little("many", 1, 0), "a hundred series");
        assert!(!is_little("1 + 2 * 3", 1_000, minute));
        assert!(!is_little("rate(many{l='7'}[1d])", 1, 0), "a long window");
        assert!(!is_little("many{l='7'}", 1, day), "a long span");
        assert!(!is_little("many{l=~'[7-8]'}", 1, 0), "an expression to match with");
        assert!(!is_little("max_over_time(vector(1)[1h:1s])", 1, 0), "a subquery");
        assert!(!is_little("label_replace(vector(1), 'a', 'b', 'c', '(.*)')", 1, 0), "texts");
        let elsewhere = crate::promql::testing::MemoryStorage::default();
        assert!(!engine.is_little(&elsewhere, &parse("many").unwrap(), 1, 0), "a store that does not know");
    }
}
