//! What one engine process did in one step: the input of [`super::Engine::record`].
//!
//! Everything is a count over the step or a state at its end; nothing is a metric yet.

use crate::model::TimestampMs;
use crate::simulate::chance::Latency;

/// How long a call takes whose actor was refused at first and came up after all.
pub const LATE_CALL: Latency = Latency::of(4.0);

/// A step of one process. `Default` is a process that did nothing at all.
#[derive(Clone, Debug, Default)]
pub struct Work {
    /// Length of the step.
    pub seconds: f64,
    /// Connections that the proxy took.
    pub connections: u64,
    /// Calls that the proxy let through, by status.
    pub calls: Vec<Calls>,
    /// Those of them that waited [`LATE_CALL`] for an actor that was refused before it came up.
    pub late: u64,
    /// Calls that the engine refused itself, by error text, in the order of first use.
    pub refused: Vec<(&'static str, u64)>,
    pub api: Vec<ApiCalls>,
    pub actors: Actors,
    pub pools: Vec<PoolWork>,
    pub worker: Worker,
    pub database: Database,
    pub messages: Messages,
    /// What the process writes of the whole cluster when it holds the lock for it.
    pub cluster: Option<ClusterGauges>,
}

/// Calls through the proxy with one status.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    /// `200`, `500`, `101`, or `error`.
    pub status: &'static str,
    pub n: u64,
    pub latency: Latency,
}

/// Calls of the engine's own API on one route.
#[derive(Clone, Copy, Debug)]
pub struct ApiCalls {
    pub method: &'static str,
    /// Route template.
    pub path: &'static str,
    pub status: &'static str,
    /// `group.code`, empty on success.
    pub error: &'static str,
    pub n: u64,
    pub latency: Latency,
}

/// Actors over all pools.
#[derive(Clone, Copy, Debug, Default)]
pub struct Actors {
    pub created: u64,
    pub woken: u64,
    /// Lost on their way up or while they ran.
    pub lost: u64,
    /// Events that running actors sent.
    pub events: u64,
}

/// Whether actors of a pool are called or connect themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PoolKind {
    /// The engine calls a URL for each start.
    Serverless,
    /// Long-lived hosts hold a connection.
    Serverful,
}

impl PoolKind {
    /// The value of the `kind` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serverless => "serverless",
            Self::Serverful => "serverful",
        }
    }
}

/// What happened in one pool.
#[derive(Clone, Debug)]
pub struct PoolWork {
    pub name: String,
    /// Id of Rivet's namespace.
    pub namespace_id: String,
    pub kind: PoolKind,
    /// Placements that found a place, and those that did not.
    pub placed: u64,
    pub not_placed: u64,
    /// Actors that came up, and how long that took.
    pub started: u64,
    pub start: Latency,
    /// Start requests that the host took.
    pub accepted: u64,
    /// Start requests that failed, by HTTP status.
    pub failed: Vec<(&'static str, u64)>,
    /// How long the host takes to refuse.
    pub refusal: Latency,
    /// Start requests that are open: each is a running actor.
    pub open: f64,
    /// Connected long-lived hosts.
    pub hosts: u64,
    /// Placements that found no host.
    pub no_host: u64,
    /// Hosts that connected, and that went, with the reason.
    pub connected: u64,
    pub disconnected: Vec<(&'static str, u64)>,
}

impl PoolWork {
    /// A pool in which nothing happened.
    pub fn idle(name: &str, namespace_id: &str, kind: PoolKind) -> Self {
        Self {
            name: name.to_owned(),
            namespace_id: namespace_id.to_owned(),
            kind,
            placed: 0,
            not_placed: 0,
            started: 0,
            start: Latency::of(0.4),
            accepted: 0,
            failed: Vec::new(),
            refusal: Latency::of(0.05),
            open: 0.0,
            hosts: 0,
            no_host: 0,
            connected: 0,
            disconnected: Vec::new(),
        }
    }
}

/// The workflow worker and the CPU that it measures.
#[derive(Clone, Copy, Debug)]
pub struct Worker {
    /// By the process' own clock; `None` while the worker stands still.
    pub heartbeat: Option<TimestampMs>,
    pub cpu_cores: f64,
    /// Share of the work that it takes.
    pub shedding: f64,
    /// Looks for runnable workflows.
    pub pulls: u64,
    pub pull: Latency,
    /// Workflows that were taken up, and how long they had waited.
    pub wakes: u64,
    pub lag: Latency,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            heartbeat: None,
            cpu_cores: 0.0,
            shedding: 1.0,
            pulls: 0,
            pull: Latency::of(0.005),
            wakes: 0,
            lag: Latency::of(0.02),
        }
    }
}

/// Database work.
#[derive(Clone, Copy, Debug)]
pub struct Database {
    pub transactions: u64,
    pub latency: Latency,
    /// Attempts that were repeated.
    pub repeated: u64,
    /// Seconds since the last transaction ended.
    pub idle_seconds: f64,
}

impl Default for Database {
    fn default() -> Self {
        Self { transactions: 0, latency: Latency::of(0.003), repeated: 0, idle_seconds: 0.0 }
    }
}

/// Messages between engines.
#[derive(Clone, Copy, Debug)]
pub struct Messages {
    pub published: u64,
    pub publish: Latency,
    pub received: u64,
    pub lag: Latency,
    pub retries: u64,
    pub timeouts: u64,
    /// Only with NATS.
    pub slow_consumer: u64,
    pub dropped: u64,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            published: 0,
            publish: Latency::of(0.000_2),
            received: 0,
            lag: Latency::of(0.002),
            retries: 0,
            timeouts: 0,
            slow_consumer: 0,
            dropped: 0,
        }
    }
}

/// Gauges about the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterGauges {
    pub actors_active: f64,
    pub actors_sleeping: f64,
    /// Workflows of other kinds that sleep.
    pub housekeeping: f64,
    pub pending_wakes: f64,
    /// Signals that no workflow takes up; they only grow.
    pub pending_metering: f64,
    /// Workflows that died for good, by error text.
    pub dead: Vec<(&'static str, f64)>,
}
