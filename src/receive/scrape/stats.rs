//! What scraping counts of its own work.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::model::{Counter, StatKind, StatRow, Stats};

use super::fetch::Failure;
use super::schedule::TargetStatus;
use super::target::Report;

/// Totals over all targets, and the state of each.
#[derive(Debug, Default)]
pub struct ScrapeStats {
    scrapes: Counter,
    body_bytes: Counter,
    samples: Counter,
    bad_lines: Counter,
    duplicates: Counter,
    filtered: Counter,
    over_series_limit: Counter,
    over_label_limit: Counter,
    stale_markers: Counter,
    zeros: Counter,
    pub(crate) dns_failures: Counter,
    pub(crate) commits_refused: Counter,
    failures: Mutex<BTreeMap<&'static str, u64>>,
    targets: Mutex<BTreeMap<String, TargetStatus>>,
}

impl ScrapeStats {
    /// Adds one scrape.
    pub fn observe(&self, report: &Report) {
        self.scrapes.inc();
        self.body_bytes.add(report.body_bytes);
        self.samples.add(report.samples);
        self.bad_lines.add(report.bad_lines);
        self.duplicates.add(report.duplicates);
        self.filtered.add(report.filtered);
        self.over_series_limit.add(report.over_series_limit);
        self.over_label_limit.add(report.over_label_limit);
        self.stale_markers.add(report.stale_markers);
        self.zeros.add(report.zeros);
        if let Some(failure) = &report.failure {
            *self.failures.lock().entry(failure.reason()).or_default() += 1;
        }
    }

    /// Remembers the state of a target after its last scrape.
    pub fn set_status(&self, status: TargetStatus) {
        self.targets.lock().insert(status.url.clone(), status);
    }

    /// The state of every target, in order of address.
    pub fn targets(&self) -> Vec<TargetStatus> {
        self.targets.lock().values().cloned().collect()
    }

    /// Forgets a target that is gone.
    pub fn forget(&self, target: &str) {
        self.targets.lock().remove(target);
    }
}

impl Stats for ScrapeStats {
    fn rows(&self) -> Vec<StatRow> {
        let dropped = "rivetwatch_scrape_samples_dropped_total";
        let dropped_help = "Samples of scraped pages that were not kept, by reason.";
        let drop_row =
            |reason: &str, n: &Counter| StatRow::counter(dropped, dropped_help, n.get()).with("reason", reason);
        let mut rows = vec![
            StatRow::counter("rivetwatch_scrapes_total", "Scrapes, failed ones included.", self.scrapes.get()),
            StatRow::counter(
                "rivetwatch_scrape_body_bytes_total",
                "Uncompressed bytes of pages.",
                self.body_bytes.get(),
            ),
            StatRow::counter("rivetwatch_scrape_samples_total", "Samples read from pages.", self.samples.get()),
            StatRow::counter(
                "rivetwatch_scrape_bad_lines_total",
                "Lines that could not be read; the rest of their page was kept.",
                self.bad_lines.get(),
            ),
            drop_row("duplicate", &self.duplicates),
            drop_row("filtered", &self.filtered),
            drop_row("series_limit", &self.over_series_limit),
            drop_row("label_limit", &self.over_label_limit),
            StatRow::counter(
                "rivetwatch_scrape_stale_markers_total",
                "Staleness markers written for series that vanished.",
                self.stale_markers.get(),
            ),
            StatRow::counter(
                "rivetwatch_scrape_zeros_total",
                "Zeros written for counters born on a known instance.",
                self.zeros.get(),
            ),
            StatRow::counter(
                "rivetwatch_scrape_dns_failures_total",
                "Resolutions of a DNS name that failed; the targets known before went on.",
                self.dns_failures.get(),
            ),
            StatRow::counter(
                "rivetwatch_scrape_commits_refused_total",
                "Scrapes that the store did not take.",
                self.commits_refused.get(),
            ),
        ];
        let failures = self.failures.lock();
        rows.extend(Failure::REASONS.into_iter().map(|reason| {
            let count = failures.get(reason).copied().unwrap_or(0);
            StatRow::counter("rivetwatch_scrape_failures_total", "Failed scrapes, by reason.", count)
                .with("reason", reason)
        }));
        for (target, status) in &*self.targets.lock() {
            let gauge = |name, help, on: bool| StatRow {
                name,
                help,
                kind: StatKind::Gauge,
                labels: vec![("target", target.clone())],
                value: f64::from(u8::from(on)),
            };
            rows.push(gauge(
                "rivetwatch_scrape_target_up",
                "Whether the last scrape of the target succeeded.",
                status.report.failure.is_none(),
            ));
            rows.push(gauge(
                "rivetwatch_scrape_load_balanced_target",
                "Whether the target looks like an address with several instances behind it.",
                status.report.is_load_balanced,
            ));
        }
        rows
    }
}
