//! Tells the judge that received data was committed.
//!
//! In:  batches of the receivers.   Out: the same batches to the store, and a signal once a commit is visible.
//! Always: only received data passes here; what the judge records itself does not wake it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::model::TimestampMs;
use crate::storage::{Append, Batch, Ticket};

/// A source counts as quiet after this long without a commit.
const QUIET_MS: i64 = 100;
/// A source that is never quiet is judged all the same after this long.
const PATIENCE_MS: i64 = 500;

/// The receivers' door to the store.
#[derive(Clone)]
pub struct Announced {
    store: Arc<dyn Append>,
    arrived: Arc<Notify>,
    clock: Clock,
    last_ms: Arc<AtomicI64>,
}

impl Announced {
    /// A door to `store`.
    pub fn new(store: Arc<dyn Append>, clock: Clock) -> Self {
        Self { store, arrived: Arc::default(), clock, last_ms: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    /// Whether data arrived at `since` or later.
    pub fn has_data_since(&self, since: TimestampMs) -> bool {
        self.last_ms.load(Ordering::Relaxed) >= since.0
    }

    /// Completes when data has arrived and its source is quiet, or has kept us waiting for half a second.
    pub async fn quiet_after_arrival(&self) {
        self.arrived.notified().await;
        let deadline = self.clock.now().plus_ms(PATIENCE_MS);
        loop {
            let quiet_at: TimestampMs = self.clock.now().plus_ms(QUIET_MS).min(deadline);
            tokio::select! {
                () = self.clock.sleep_until(quiet_at) => return,
                () = self.arrived.notified() => {}
            }
        }
    }
}

impl Append for Announced {
    fn commit(&self, batch: Batch) -> Ticket {
        let ticket = self.store.commit(batch);
        // The pass waits for quiet anyway, and by then the commit is visible.
        self.last_ms.store(self.clock.now().0, Ordering::Relaxed);
        self.arrived.notify_one();
        ticket
    }
}
