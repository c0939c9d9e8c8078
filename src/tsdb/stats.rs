//! What the store counts of its own work.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Tsdb;
use crate::model::{Counter, Gauge, StatRow, Stats};

/// Why a whole batch was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    Memory,
    Queue,
}

/// Counts that the threads of the store share.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub commits: Counter,
    pub overloaded_memory: Counter,
    pub overloaded_queue: Counter,
    pub points_overloaded: Counter,
    pub series_created: Counter,
    pub series_dropped: Counter,
    pub exemplars_stored: Counter,
    pub exemplars_dropped: Counter,
    pub writer_bytes: Gauge,
    pub queued_batches: AtomicUsize,
    pub queued_points: AtomicUsize,
}

impl Counters {
    /// Counts a batch that was refused as a whole.
    pub fn refuse(&self, overload: Overload, points: usize) {
        match overload {
            Overload::Memory => self.overloaded_memory.inc(),
            Overload::Queue => self.overloaded_queue.inc(),
        }
        self.points_overloaded.add(points as u64);
    }
}

impl Stats for Tsdb {
    fn rows(&self) -> Vec<StatRow> {
        let totals = self.totals();
        let counters = self.counters();
        let (series, chunks) = self.head().levels();
        let level = |count: usize| count as f64;
        let mut rows = vec![
            StatRow::counter("rivetwatch_points_received_total", "Points of all answered batches.", totals.received),
            StatRow::counter("rivetwatch_points_stored_total", "Points that were stored.", totals.stored),
            StatRow::counter(
                "rivetwatch_points_duplicate_total",
                "Points that were stored already with the same time and value.",
                totals.duplicate,
            ),
        ];
        const REFUSED: &str = "rivetwatch_points_refused_total";
        const REFUSED_HELP: &str = "Points that were refused, by reason.";
        rows.extend(
            totals
                .refused
                .iter()
                .map(|(reason, count)| StatRow::counter(REFUSED, REFUSED_HELP, *count).with("reason", reason.as_ref())),
        );
        const OVERLOADED: &str = "rivetwatch_store_overloaded_batches_total";
        const OVERLOADED_HELP: &str =
            "Batches that were refused as a whole and may be sent again, by the limit reached.";
        rows.extend([
            StatRow::counter(OVERLOADED, OVERLOADED_HELP, counters.overloaded_memory.get()).with("limit", "memory"),
            StatRow::counter(OVERLOADED, OVERLOADED_HELP, counters.overloaded_queue.get()).with("limit", "queue"),
            StatRow::counter(
                "rivetwatch_store_overloaded_points_total",
                "Points of batches that were refused as a whole; they are not among the received.",
                counters.points_overloaded.get(),
            ),
            StatRow::counter("rivetwatch_store_commits_total", "Batches that were committed.", counters.commits.get()),
            StatRow::gauge("rivetwatch_head_series", "Series in memory.", level(series)),
            StatRow::gauge("rivetwatch_head_chunks", "Chunks in memory.", level(chunks)),
            StatRow::counter(
                "rivetwatch_head_series_created_total",
                "Series that began.",
                counters.series_created.get(),
            ),
            StatRow::counter(
                "rivetwatch_head_series_dropped_total",
                "Series whose last sample grew older than the retention.",
                counters.series_dropped.get(),
            ),
            StatRow::gauge(
                "rivetwatch_head_exemplars",
                "Exemplars in memory.",
                level(self.shared.exemplars.read().len()),
            ),
            StatRow::counter(
                "rivetwatch_head_exemplars_stored_total",
                "Exemplars that were stored.",
                counters.exemplars_stored.get(),
            ),
            StatRow::counter(
                "rivetwatch_head_exemplars_dropped_total",
                "Exemplars that repeated the newest of their series or were older.",
                counters.exemplars_dropped.get(),
            ),
            StatRow::gauge(
                "rivetwatch_store_memory_bytes",
                "Memory of series, samples, index and log buffers, roughly.",
                level(self.memory_bytes()),
            ),
            StatRow::gauge(
                "rivetwatch_store_memory_limit_bytes",
                "Memory beyond which batches are refused.",
                level(self.settings().memory_bytes_max),
            ),
            StatRow::gauge(
                "rivetwatch_store_queue_batches",
                "Batches that wait for the writer.",
                level(counters.queued_batches.load(Ordering::Relaxed)),
            ),
            StatRow::gauge(
                "rivetwatch_store_queue_limit_batches",
                "Batches that may wait for the writer.",
                level(self.settings().queue_batches),
            ),
            StatRow::gauge(
                "rivetwatch_store_queue_points",
                "Points that wait for the writer.",
                level(counters.queued_points.load(Ordering::Relaxed)),
            ),
            StatRow::gauge(
                "rivetwatch_store_queue_limit_points",
                "Points that may wait for the writer.",
                level(self.settings().queue_points),
            ),
        ]);
        rows.extend(self.wal_rows());
        rows
    }
}

impl Tsdb {
    fn wal_rows(&self) -> Vec<StatRow> {
        let wal = self.wal_counters();
        let report = self.replay_report();
        let level = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
        let segments = match self.settings().dir {
            Some(_) => level(&wal.last_segment) - level(&wal.first_segment) + 1.0,
            None => 0.0,
        };
        vec![
            StatRow::counter("rivetwatch_wal_written_bytes_total", "Bytes written to the log.", wal.bytes.get()),
            StatRow::counter(
                "rivetwatch_wal_writes_total",
                "Writes to the log, each of one or more commits.",
                wal.writes.get(),
            ),
            StatRow::counter(
                "rivetwatch_wal_write_failures_total",
                "Writes to the log that failed; their batches were refused as retryable.",
                wal.write_failures.get(),
            ),
            StatRow::counter("rivetwatch_wal_fsyncs_total", "Times the log was forced to disk.", wal.fsyncs.get()),
            StatRow::counter(
                "rivetwatch_wal_fsync_failures_total",
                "Times the log could not be forced to disk.",
                wal.fsync_failures.get(),
            ),
            StatRow::counter(
                "rivetwatch_wal_checkpoints_total",
                "Checkpoints of the log written.",
                wal.checkpoints.get(),
            ),
            StatRow::counter(
                "rivetwatch_wal_checkpoint_failures_total",
                "Checkpoints of the log that could not be written.",
                wal.checkpoint_failures.get(),
            ),
            StatRow::gauge(
                "rivetwatch_wal_checkpoint_bytes",
                "Size of the last checkpoint since the start.",
                level(&wal.checkpoint_bytes),
            ),
            StatRow::gauge(
                "rivetwatch_wal_uncovered_bytes",
                "Size of the log that no checkpoint covers.",
                level(&wal.uncovered_bytes),
            ),
            StatRow::gauge("rivetwatch_wal_segments", "Segments of the log on disk.", segments),
            StatRow::counter(
                "rivetwatch_wal_truncated_bytes_total",
                "Bytes of interrupted writes cut off the end of the log at the start.",
                report.torn_bytes,
            ),
            StatRow::counter(
                "rivetwatch_wal_truncations_total",
                "Starts that found an interrupted write at the end of the log.",
                u64::from(report.torn_bytes > 0),
            ),
            StatRow::counter(
                "rivetwatch_wal_corruptions_total",
                "Damaged places found in the log at the start.",
                report.damages,
            ),
            StatRow::counter(
                "rivetwatch_wal_replayed_samples_total",
                "Samples read from the log at the start.",
                report.samples,
            ),
            StatRow::counter(
                "rivetwatch_wal_replayed_samples_unknown_series_total",
                "Samples in the log whose series was lost to damage.",
                report.samples_unknown_series,
            ),
        ]
    }
}
