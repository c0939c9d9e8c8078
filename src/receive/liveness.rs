//! Remembers which series a source brought last, and marks those that it no longer brings as stale.
//!
//! In:  the batch of each poll.   Out: the same batch with staleness markers for what is missing.

use std::collections::HashSet;

use crate::model::{Labels, TimestampMs, Value, stale_nan};
use crate::storage::{Batch, Point};

/// The series of the last poll.
#[derive(Debug, Default)]
pub struct Liveness {
    live: HashSet<Labels>,
}

impl Liveness {
    /// Adds markers at `at` to a poll's batch for each series that the poll before had and this one lacks.
    pub fn settle(&mut self, batch: &mut Batch, at: TimestampMs) {
        let now: HashSet<Labels> = batch.points.iter().map(|p| p.labels.clone()).collect();
        let gone: Vec<Labels> = self.live.difference(&now).cloned().collect();
        let stale = |labels| Point { labels, t: at, value: Value::Float(stale_nan()) };
        batch.points.extend(gone.into_iter().map(stale));
        self.live = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_stale_nan;

    #[test]
    fn what_is_missing_is_marked_once() {
        let point = |name: &str, t| Point {
            labels: Labels::from_pairs([("__name__", name)]),
            t: TimestampMs(t),
            value: Value::Float(1.0),
        };
        let mut liveness = Liveness::default();
        let mut poll = |names: &[&str], t| {
            let mut batch = Batch { points: names.iter().map(|n| point(n, t)).collect(), ..Batch::default() };
            liveness.settle(&mut batch, TimestampMs(t));
            let stale = |p: &&Point| matches!(p.value, Value::Float(v) if is_stale_nan(v));
            batch.points.iter().filter(stale).map(|p| p.labels.metric_name().to_owned()).collect::<Vec<_>>()
        };
        assert!(poll(&["a", "b"], 1).is_empty());
        assert_eq!(poll(&["a"], 2), ["b"]);
        assert!(poll(&["a"], 3).is_empty());
    }
}
