//! What asking the engine counts of its own work.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::client::ProbeFailure;
use crate::model::{Counter, StatRow, Stats};

/// The calls that are made, as metric labels name them.
const ENDPOINTS: [&str; 4] = ["health", "metadata", "envoys", "runner_configs"];

/// Totals of calls and their failures.
#[derive(Debug, Default)]
pub struct EngineApiStats {
    probes: Mutex<BTreeMap<&'static str, u64>>,
    failures: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    pub(super) left_out: Counter,
    pub(super) commits_refused: Counter,
}

impl EngineApiStats {
    /// Adds one call of an endpoint.
    pub fn observe(&self, endpoint: &'static str, failure: Option<&ProbeFailure>) {
        *self.probes.lock().entry(endpoint).or_default() += 1;
        if let Some(failure) = failure {
            *self.failures.lock().entry((endpoint, failure.reason())).or_default() += 1;
        }
    }
}

impl Stats for EngineApiStats {
    fn rows(&self) -> Vec<StatRow> {
        let (probes, failures) = (self.probes.lock(), self.failures.lock());
        let mut rows = Vec::new();
        for endpoint in ENDPOINTS {
            let count = probes.get(endpoint).copied().unwrap_or(0);
            let help = "Calls of the engine's API.";
            rows.push(StatRow::counter("rivetwatch_engine_api_calls_total", help, count).with("endpoint", endpoint));
            for reason in ProbeFailure::REASONS {
                let count = failures.get(&(endpoint, reason)).copied().unwrap_or(0);
                let help = "Calls of the engine's API that failed, by reason.";
                let row = StatRow::counter("rivetwatch_engine_api_failures_total", help, count);
                rows.push(row.with("endpoint", endpoint).with("reason", reason));
            }
        }
        rows.push(StatRow::counter(
            "rivetwatch_engine_api_left_out_total",
            "Namespaces, pools and pages of lists beyond the limits of a reading.",
            self.left_out.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_engine_api_commits_refused_total",
            "Readings that the store did not take.",
            self.commits_refused.get(),
        ));
        rows
    }
}
