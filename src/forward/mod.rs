//! Sends received telemetry on, as OTLP over gRPC.
//!
//! In:  redacted requests ([`Forwarder::metrics`] and its siblings), or batches of points ([`PointForwarder`]).
//! Out: one OTLP endpoint.
//! Always: accepted = sent + queued + dropped(reason), in data points, spans and log records; the oldest go first
//! when the queue is full; what the endpoint may yet take is tried again, what it never will is dropped.
//! Limits: a queue in memory, bounded in items and bytes; requests of one signal are sent together up to 1 MiB.
//! Never: computed series, `ALERTS`.

mod config;
pub mod encode;
mod queue;
mod retry;
mod sender;

pub use config::{Compression, Config, Headers, Otlp, Queue, Tls};
pub use queue::Signal;
pub use retry::{Decision, Outcome, RetryPolicy};
pub use sender::{ForwardError, Forwarder, PointForwarder};
