//! What reading the host counts of its own work.

use parking_lot::Mutex;

use super::reader::SourceStatus;
use crate::model::{Counter, StatRow, Stats};

/// Readings, and which sources the last one could read.
#[derive(Debug, Default)]
pub struct HostStats {
    readings: Counter,
    pub(super) commits_refused: Counter,
    sources: Mutex<Vec<SourceStatus>>,
}

impl HostStats {
    /// Adds one reading.
    pub fn observe(&self, sources: &[SourceStatus]) {
        self.readings.inc();
        *self.sources.lock() = sources.to_vec();
    }

    /// The sources of the last reading, each with the reason why it could not be read.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.sources.lock().clone()
    }
}

impl Stats for HostStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = vec![
            StatRow::counter("rivetwatch_host_readings_total", "Readings of the host.", self.readings.get()),
            StatRow::counter(
                "rivetwatch_host_commits_refused_total",
                "Readings of the host that the store did not take.",
                self.commits_refused.get(),
            ),
        ];
        rows.extend(self.sources.lock().iter().map(|status| {
            let readable = f64::from(u8::from(status.reason.is_none()));
            let help = "Whether the last reading of the host could use this source.";
            StatRow::gauge("rivetwatch_host_source_readable", help, readable).with("source", status.source.as_str())
        }));
        rows
    }
}
