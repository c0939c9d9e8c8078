//! Keeps the points: in-memory head, write-ahead log, retention.
//!
//! In: batches through `storage::Append`.   Out: series through `storage::Select`; counts through `model::Stats`.
//! Always: a batch is visible as a whole or not at all; time is what `maintain` is told and what samples carry.
//! Limits: series, series per job, memory, waiting batches and points; each refusal is counted.

// The log is written next and uses what is not called yet.
#![allow(dead_code)]

mod admission;
mod bitstream;
mod chunk;
mod codec;
mod config;
mod head;
mod index;
mod ledger;
mod select;
mod series;
mod stats;
mod writer;

use std::sync::Arc;

use parking_lot::Mutex;

pub use config::{Config, LimitsConfig, Settings, WalConfig, WalSync};
pub use ledger::Totals;

use crate::model::TimestampMs;
use crate::storage::{Append, AppendError, Batch, Ticket};
use head::Head;
use stats::{Counters, Overload};
use writer::{Shared, Writer};

/// What a waiting sender is told when a limit is reached: the head shrinks with each `maintain`.
const RETRY_AFTER_MEMORY_MS: u64 = 5_000;

/// The store.
#[derive(Debug)]
pub struct Tsdb {
    shared: Arc<Shared>,
    /// `None` once closed.
    writer: Mutex<Option<Writer>>,
}

impl Tsdb {
    /// A store without a log, which commits on the caller's thread: the same input gives the same state.
    pub fn in_memory(settings: Settings) -> Self {
        let head = Head::new(settings.chunk_span_ms());
        let shared = Arc::new(Shared { settings, head, totals: Mutex::default(), counters: Counters::default() });
        Self { writer: Mutex::new(Some(Writer::new(Arc::clone(&shared)))), shared }
    }

    /// Tells the store the time: drops samples older than the retention, and series that have none left.
    ///
    /// To be called regularly (once a minute does); may hold its thread for some milliseconds.
    pub fn maintain(&self, now: TimestampMs) {
        if let Some(writer) = self.writer.lock().as_mut() {
            writer.maintain(now);
        }
    }

    /// Refuses further batches; what was answered stays readable.
    pub fn flush_and_close(&self) {
        self.writer.lock().take();
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

    /// Bytes of memory in use, roughly: series, samples, index, the writer's state.
    pub fn memory_bytes(&self) -> usize {
        self.head().size_bytes() + self.counters().writer_bytes.get() as usize
    }

    fn head(&self) -> &Head {
        &self.shared.head
    }

    fn counters(&self) -> &Counters {
        &self.shared.counters
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
        match self.writer.lock().as_mut() {
            Some(writer) => writer.commit(vec![(batch, answer)]),
            None => drop(answer.send(Err(AppendError::Closed))),
        }
        ticket
    }
}
