//! Tells the judge that received data was committed.
//!
//! In:  batches of the receivers.   Out: the same batches to the store, and a signal once a commit is visible.
//! Always: only received data passes here; what the judge records itself does not wake it again.

use std::sync::Arc;

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
}

impl Announced {
    /// A door to `store`.
    pub fn new(store: Arc<dyn Append>) -> Self {
        Self { store, arrived: Arc::default() }
    }

    /// Completes when data has arrived and its source is quiet, or has kept us waiting for half a second.
    pub async fn quiet_after_arrival(&self, clock: &Clock) {
        self.arrived.notified().await;
        let deadline = clock.now().plus_ms(PATIENCE_MS);
        loop {
            let quiet_at: TimestampMs = clock.now().plus_ms(QUIET_MS).min(deadline);
            tokio::select! {
                () = clock.sleep_until(quiet_at) => return,
                () = self.arrived.notified() => {}
            }
        }
    }
}

impl Append for Announced {
    fn commit(&self, batch: Batch) -> Ticket {
        let ticket = self.store.commit(batch);
        // The pass waits for quiet anyway, and by then the commit is visible.
        self.arrived.notify_one();
        ticket
    }
}
