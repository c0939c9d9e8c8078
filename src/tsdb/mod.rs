//! Keeps the points: in-memory head, write-ahead log, retention.
//!
//! In: batches through `storage::Append`.   Out: series through `storage::Select`; counts through `model::Stats`.
//! Always: a batch is visible as a whole or not at all; time is what `maintain` is told and what samples carry.
//! Limits: series, series per job, memory, waiting batches and points; each refusal is counted.

mod admission;
mod bitstream;
mod chunk;
mod codec;
mod config;
mod exemplars;
mod head;
mod index;
mod ledger;
mod queue;
mod retention;
mod select;
mod series;
mod stats;
mod wal;
mod writer;

use std::sync::Arc;

use parking_lot::Mutex;

pub use config::{Config, LimitsConfig, Settings, WalConfig, WalSync};
pub use ledger::Totals;
pub use wal::{Damage, OpenError, ReplayReport};

use crate::model::{TimeRange, TimestampMs};
use crate::storage::{Append, AppendError, Batch, Point, Ticket};
use head::Head;
use queue::WriterThread;
use stats::{Counters, Overload};
use wal::{Wal, WalCounters};
use writer::{Shared, Writer};

/// What a sender is told when memory is full: the head shrinks with each `maintain`.
const RETRY_AFTER_MEMORY_MS: u64 = 5_000;

/// The store.
#[derive(Debug)]
pub struct Tsdb {
    shared: Arc<Shared>,
    door: Door,
    replay: ReplayReport,
    /// One `maintain` at a time, so that one checkpoint is written at a time.
    maintenance: Mutex<()>,
}

/// How batches reach the writer.
#[derive(Debug)]
enum Door {
    /// On the caller's thread; `None` once closed.
    Inline(Mutex<Option<Box<Writer>>>),
    /// Through a queue.
    Thread(WriterThread),
}

impl Tsdb {
    /// Opens the store in `settings.dir`, with what its log holds; without a directory, [`Tsdb::in_memory`].
    ///
    /// Blocks until the log is read; what has aged out meanwhile goes with the first [`Tsdb::maintain`]. Damage in the log is not an error: see [`Tsdb::replay_report`].
    ///
    /// # Errors
    /// The directory is in use by another store, or cannot be read or written, or is of a later release.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let Some(dir) = settings.dir.clone() else { return Ok(Self::in_memory(settings)) };
        let shared = Arc::new(Shared::new(settings));
        let (wal, mut replayed) = Wal::open(&dir, &shared.settings, Arc::clone(&shared.wal))?;
        let replay = std::mem::take(&mut replayed.report);
        let writer = Writer::resume(Arc::clone(&shared), wal, replayed);
        let thread = WriterThread::start(writer, Arc::clone(&shared)).map_err(|source| OpenError::Thread { source })?;
        Ok(Self { shared, door: Door::Thread(thread), replay, maintenance: Mutex::default() })
    }

    /// A store without a log, which commits on the caller's thread: the same input gives the same state.
    pub fn in_memory(settings: Settings) -> Self {
        let shared = Arc::new(Shared::new(settings));
        let writer = Box::new(Writer::new(Arc::clone(&shared)));
        let door = Door::Inline(Mutex::new(Some(writer)));
        Self { shared, door, replay: ReplayReport::default(), maintenance: Mutex::default() }
    }

    /// Tells the store the time: drops samples older than the retention and series that have none left, and writes
    /// a checkpoint of the log where one is due.
    ///
    /// To be called once right after the start and then regularly (once a minute does), on a thread that may be held: the checkpoint of 100,000 series
    /// takes about a second. Batches are committed all the while.
    pub fn maintain(&self, now: TimestampMs) {
        let _one_at_a_time = self.maintenance.lock();
        let job = match &self.door {
            Door::Inline(writer) => writer.lock().as_mut().and_then(|writer| writer.maintain(now)),
            Door::Thread(thread) => thread.maintain(now),
        };
        if let Some(job) = job {
            wal::run_checkpoint(job, &self.shared.wal);
        }
    }

    /// Commits what waits, forces the log to disk and gives the directory free. Further batches are refused as
    /// closed; what was stored stays readable.
    pub fn flush_and_close(&self) {
        match &self.door {
            Door::Inline(writer) => drop(writer.lock().take()),
            Door::Thread(thread) => thread.close(),
        }
    }

    /// Whether batches can be taken: not closed, and the writer has not died. For liveness checks.
    pub fn is_writable(&self) -> bool {
        match &self.door {
            Door::Inline(writer) => writer.lock().is_some(),
            Door::Thread(thread) => thread.is_running(),
        }
    }

    /// What reading the log back met when the store was opened.
    pub fn replay_report(&self) -> &ReplayReport {
        &self.replay
    }

    /// Times of the oldest and the newest sample; `None` while there is none.
    pub fn time_range(&self) -> Option<TimeRange> {
        self.shared.head.time_range()
    }

    /// Number of chunks in memory.
    pub fn chunks(&self) -> usize {
        self.shared.head.levels().1
    }

    /// Whether any series in memory carries this label, e.g. an `instance` that was seen before.
    pub fn has_label(&self, name: &str, value: &str) -> bool {
        self.shared.head.has_label(name, value)
    }

    /// For each label name the number of its values, unsorted.
    pub fn label_cardinality(&self) -> Vec<(String, usize)> {
        self.shared.head.label_cardinality()
    }

    /// The running totals of points.
    pub fn totals(&self) -> Totals {
        self.shared.totals.lock().clone()
    }

    /// Bytes of memory in use, roughly: series, samples, index, the writer's state, waiting points.
    pub fn memory_bytes(&self) -> usize {
        // A waiting point takes its own place and about as much in the buffers behind it.
        let waiting = self.counters().queued_points.load(std::sync::atomic::Ordering::Relaxed) * 2 * size_of::<Point>();
        self.head().size_bytes() + self.counters().writer_bytes.get() as usize + waiting
    }

    fn head(&self) -> &Head {
        &self.shared.head
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    fn wal_counters(&self) -> &WalCounters {
        &self.shared.wal
    }

    fn settings(&self) -> &Settings {
        &self.shared.settings
    }
}

impl Append for Tsdb {
    fn commit(&self, batch: Batch) -> Ticket {
        let limit = self.settings().memory_bytes_max;
        if self.memory_bytes() >= limit {
            self.counters().refuse(Overload::Memory, batch.points.len());
            let what = format!("`limits.memory` ({limit} bytes)");
            return Ticket::ready(Err(AppendError::Overloaded { what, retry_after_ms: RETRY_AFTER_MEMORY_MS }));
        }
        let (answer, ticket) = Ticket::new();
        match &self.door {
            Door::Thread(thread) => thread.commit(batch, answer),
            Door::Inline(writer) => match writer.lock().as_mut() {
                Some(writer) => writer.commit(vec![(batch, answer)]),
                // A sender that has gone away does not want to know.
                None => drop(answer.send(Err(AppendError::Closed))),
            },
        }
        ticket
    }
}

impl Drop for Tsdb {
    fn drop(&mut self) {
        self.flush_and_close();
    }
}
