//! The one writer: decides, makes visible, answers.
//!
//! In: batches in the order of their commit.   Out: their receipts.
//! Always: a batch is visible before it is answered.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::admission::Admission;
use super::config::Settings;
use super::head::Head;
use super::ledger::Totals;
use super::stats::Counters;
use crate::model::TimestampMs;
use crate::storage::{AppendError, Batch, Receipt};

/// Where the receipt of a batch goes.
pub(super) type Answer = oneshot::Sender<Result<Receipt, AppendError>>;

/// What the writer and the readers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: Settings,
    pub head: Head,
    /// The totals of what is visible.
    pub totals: Mutex<Totals>,
    pub counters: Counters,
}

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    admission: Admission,
    totals: Totals,
}

impl Writer {
    /// The writer of an empty store.
    pub fn new(shared: Arc<Shared>) -> Self {
        let admission = Admission::new(&shared.settings);
        Self { shared, admission, totals: Totals::default() }
    }

    /// Commits batches together and answers each.
    pub fn commit(&mut self, group: Vec<(Batch, Answer)>) {
        let shared = Arc::clone(&self.shared);
        let mut commits = Vec::with_capacity(group.len());
        let mut answers = Vec::with_capacity(group.len());
        for (mut batch, answer) in group {
            let refused_by_receiver = std::mem::take(&mut batch.refused);
            let (commit, receipt) = self.admission.admit(batch, &shared.head);
            self.totals.add(&receipt, &refused_by_receiver);
            commits.push(commit);
            answers.push((answer, receipt));
        }
        shared.counters.series_created.add(commits.iter().map(|commit| commit.new_series.len() as u64).sum());
        shared.counters.commits.add(commits.len() as u64);
        shared.head.apply(commits);
        shared.counters.writer_bytes.set(self.admission.size_bytes() as f64);
        *shared.totals.lock() = self.totals.clone();
        for (answer, receipt) in answers {
            // A receiver that has gone away does not want to know.
            let _ = answer.send(Ok(receipt));
        }
    }

    /// Drops what the retention has passed.
    pub fn maintain(&mut self, now: TimestampMs) {
        self.admission.set_now(now);
        let dropped = self.shared.head.drop_before(now.plus_ms(-self.shared.settings.retention_ms));
        self.admission.forget(&dropped);
        self.shared.counters.series_dropped.add(dropped.len() as u64);
    }
}
