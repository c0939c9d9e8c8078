//! What reading metrics.k8s.io counts of its own work.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::step::{Reading, SKIPPED};
use crate::model::{Counter, Gauge, StatRow, Stats};

/// Totals of readings, their failures, and the pods that were passed over.
#[derive(Debug)]
pub struct PodMetricsStats {
    /// Every reason for which a reading can fail.
    reasons: &'static [&'static str],
    readings: Counter,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    skipped: Mutex<BTreeMap<&'static str, u64>>,
    pods: Gauge,
    readable: Gauge,
    /// Readings that the store did not take.
    pub commits_refused: Counter,
}

impl PodMetricsStats {
    /// Counts for failures of these `reasons`.
    pub fn new(reasons: &'static [&'static str]) -> Self {
        Self {
            reasons,
            readings: Counter::default(),
            failures: Mutex::default(),
            skipped: Mutex::default(),
            pods: Gauge::default(),
            readable: Gauge::default(),
            commits_refused: Counter::default(),
        }
    }

    /// Adds a reading.
    pub fn read(&self, reading: &Reading) {
        self.readings.inc();
        self.readable.set(1.0);
        self.pods.set(reading.pods as f64);
        let mut skipped = self.skipped.lock();
        for (reason, (pods, _)) in &reading.skipped {
            *skipped.entry(reason).or_default() += pods;
        }
    }

    /// Adds a reading that failed.
    pub fn failed(&self, reason: &'static str) {
        self.readings.inc();
        self.readable.set(0.0);
        self.pods.set(0.0);
        *self.failures.lock().entry(reason).or_default() += 1;
    }
}

impl Stats for PodMetricsStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = vec![
            StatRow::counter(
                "rivetwatch_pod_metrics_readings_total",
                "Readings of metrics.k8s.io.",
                self.readings.get(),
            ),
            StatRow::gauge(
                "rivetwatch_pod_metrics_readable",
                "Whether the last reading of metrics.k8s.io succeeded.",
                self.readable.get(),
            ),
            StatRow::gauge(
                "rivetwatch_pod_metrics_pods",
                "Pods of the engine that the last reading told of.",
                self.pods.get(),
            ),
            StatRow::counter(
                "rivetwatch_pod_metrics_commits_refused_total",
                "Readings of metrics.k8s.io that the store did not take.",
                self.commits_refused.get(),
            ),
        ];
        let (failures, skipped) = (self.failures.lock(), self.skipped.lock());
        for reason in self.reasons {
            let count = failures.get(reason).copied().unwrap_or(0);
            let help = "Readings of metrics.k8s.io that failed, by reason.";
            rows.push(StatRow::counter("rivetwatch_pod_metrics_failures_total", help, count).with("reason", *reason));
        }
        for reason in SKIPPED {
            let count = skipped.get(reason).copied().unwrap_or(0);
            let help = "Pods that a reading of metrics.k8s.io passed over, by reason.";
            let row = StatRow::counter("rivetwatch_pod_metrics_pods_skipped_total", help, count);
            rows.push(row.with("reason", reason));
        }
        rows
    }
}
