//! The one writer: decides, logs, makes visible, answers.
//!
//! In: batches in the order of their commit.   Out: their receipts.
//! Always: a batch is in the log before it is visible, and visible before it is answered. What could not be logged
//! is taken back, as if it had never come.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::admission::Admission;
use super::config::Settings;
use super::exemplars::Exemplars;
use super::head::Head;
use super::index::Slot;
use super::ledger::Totals;
use super::retention::Retention;
use super::stats::Counters;
use super::wal::{CheckpointJob, Replayed, Wal, WalCounters};
use crate::model::TimestampMs;
use crate::storage::{AppendError, Batch, Receipt};

/// Where the receipt of a batch goes.
pub(super) type Answer = oneshot::Sender<Result<Receipt, AppendError>>;

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: Settings,
    pub head: Head,
    pub exemplars: RwLock<Exemplars>,
    /// The totals of what is visible.
    pub totals: Mutex<Totals>,
    pub counters: Counters,
    pub wal: Arc<WalCounters>,
}

impl Shared {
    /// The empty store.
    pub fn new(settings: Settings) -> Self {
        Self {
            head: Head::new(Retention::new(&settings)),
            exemplars: RwLock::new(Exemplars::new(settings.exemplars_max)),
            settings,
            totals: Mutex::default(),
            counters: Counters::default(),
            wal: Arc::default(),
        }
    }
}

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    admission: Admission,
    totals: Totals,
    wal: Option<Wal>,
}

impl Writer {
    /// The writer of an empty store without a log.
    pub fn new(shared: Arc<Shared>) -> Self {
        let admission = Admission::new(&shared.settings);
        Self { shared, admission, totals: Totals::default(), wal: None }
    }

    /// The writer of a store that goes on where its log ends.
    pub fn resume(shared: Arc<Shared>, wal: Wal, replayed: Replayed) -> Self {
        let mut writer = Self { wal: Some(wal), totals: replayed.totals, ..Self::new(shared) };
        let restored: Vec<_> = (0 as Slot..).zip(replayed.series).collect();
        for (slot, series) in &restored {
            writer.admission.restore(*slot, series);
        }
        writer.admission.skip_log_refs(replayed.last_log_ref);
        writer.shared.head.restore(restored, replayed.metadata);
        *writer.shared.totals.lock() = writer.totals.clone();
        writer.publish_size();
        writer
    }

    /// Commits batches together (one write of the log) and answers each.
    pub fn commit(&mut self, group: Vec<(Batch, Answer)>) {
        let (totals_before, newest_before) = (self.totals.clone(), self.admission.newest());
        let mut commits = Vec::with_capacity(group.len());
        let mut answers = Vec::with_capacity(group.len());
        let mut exemplars = Vec::new();
        for (mut batch, answer) in group {
            let refused_by_receiver = std::mem::take(&mut batch.refused);
            exemplars.append(&mut batch.exemplars);
            let is_empty = batch.points.is_empty() && batch.metadata.is_empty() && refused_by_receiver.is_empty();
            let (commit, receipt) = self.admission.admit(batch, &self.shared.head);
            self.totals.add(&receipt, &refused_by_receiver);
            if let Some(wal) = self.wal.as_mut().filter(|_| !is_empty) {
                wal.add(&commit, &self.totals, |slot| self.admission.log_ref(slot));
            }
            commits.push(commit);
            answers.push((answer, receipt));
        }
        if let Err(error) = self.wal.as_mut().map_or(Ok(()), Wal::write) {
            tracing::error!(%error, batches = answers.len(), "the write-ahead log could not be written");
            self.admission.roll_back(&commits, newest_before, &self.shared.head);
            self.totals = totals_before;
            for (answer, _) in answers {
                // A sender that has gone away does not want to know.
                let _ = answer.send(Err(AppendError::Log { reason: error.to_string() }));
            }
            return;
        }
        let counters = &self.shared.counters;
        counters.series_created.add(commits.iter().map(|commit| commit.new_series.len() as u64).sum());
        counters.commits.add(commits.len() as u64);
        self.shared.head.apply(commits);
        if !exemplars.is_empty() {
            let taken = self.shared.exemplars.write().add(exemplars);
            counters.exemplars_stored.add(taken.stored);
            counters.exemplars_dropped.add(taken.dropped);
        }
        *self.shared.totals.lock() = self.totals.clone();
        self.publish_size();
        for (answer, receipt) in answers {
            let _ = answer.send(Ok(receipt));
        }
    }

    /// Drops what the retention has passed; gives a checkpoint to write where the log has grown enough.
    pub fn maintain(&mut self, now: TimestampMs) -> Option<CheckpointJob> {
        self.admission.set_now(now);
        let dropped = self.shared.head.drop_old(now);
        self.admission.forget(&dropped);
        self.shared.counters.series_dropped.add(dropped.len() as u64);
        self.publish_size();
        let wal = self.wal.as_mut().filter(|wal| wal.needs_checkpoint())?;
        let (dir, segment, covered_bytes) = match wal.cut() {
            Ok(cut) => cut,
            Err(error) => {
                self.shared.wal.checkpoint_failures.inc();
                tracing::warn!(%error, "a segment of the write-ahead log could not be begun");
                return None;
            }
        };
        Some(CheckpointJob {
            dir,
            segment,
            covered_bytes,
            series: self.shared.head.all(),
            metadata: self.shared.head.metadata(None),
            totals: self.totals.clone(),
            next_log_ref: self.admission.next_log_ref(),
        })
    }

    /// Whether the log holds commits that are not forced to disk.
    pub fn needs_sync(&self) -> bool {
        self.wal.as_ref().is_some_and(Wal::is_dirty)
    }

    /// Forces the log to disk.
    pub fn sync(&mut self) {
        if let Some(wal) = &mut self.wal {
            wal.sync();
        }
    }

    fn publish_size(&self) {
        let bytes = self.admission.size_bytes() + self.wal.as_ref().map_or(0, Wal::size_bytes);
        self.shared.counters.writer_bytes.set(bytes as f64);
    }
}
