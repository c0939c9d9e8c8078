//! What goes on to the next collector, and how.
//!
//! Always: only received telemetry goes on; what the rules and capacity record never does.

use std::sync::Arc;

use crate::forward::{Forwarder, PointForwarder};
use crate::receive::otlp::{Onward, Telemetry};
use crate::storage::{Append, Batch, Ticket};

/// Sends on the requests as they came, redacted.
pub fn requests(forwarder: &Forwarder) -> Onward {
    let forwarder = forwarder.clone();
    Arc::new(move |telemetry| match telemetry {
        Telemetry::Metrics(request) => forwarder.metrics(&request),
        Telemetry::Traces(request) => forwarder.traces(&request),
        Telemetry::Logs(request) => forwarder.logs(&request),
    })
}

/// The same for a sidecar, whose metrics have gone on as points already.
pub fn requests_without_metrics(forwarder: &Forwarder) -> Onward {
    let send = requests(forwarder);
    Arc::new(move |telemetry| match telemetry {
        Telemetry::Metrics(_) => {}
        other => send(other),
    })
}

/// Keeps points and sends them on: for what this process gathers itself.
pub struct KeepAndForward {
    pub store: Arc<dyn Append>,
    pub forwarder: PointForwarder,
}

impl Append for KeepAndForward {
    fn commit(&self, batch: Batch) -> Ticket {
        // The copy shares its labels; the forwarder's answer is in its own counts.
        drop(self.forwarder.commit(batch.clone()));
        self.store.commit(batch)
    }
}
