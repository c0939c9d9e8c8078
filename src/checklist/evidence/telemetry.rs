//! What an agent's series tell of the engine and of the watching itself.

use crate::checklist::known::Known;

/// An engine instance by its series.
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceSeen {
    /// `instance`, with `namespace` and `cluster` where there are some.
    pub name: String,
    /// The pod, where its series tell.
    pub pod: Option<String>,
    pub is_up: bool,
    /// Seconds since its last sample, where that is known.
    pub age: Option<f64>,
    /// Connections it took within the hour.
    pub connections: Option<f64>,
    /// Spans that arrived within the hour; 0 where none did.
    pub spans: f64,
    /// Seconds since the last of them, to the minute.
    pub span_age: Option<f64>,
}

/// A pool's load at its peak.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolLoad {
    pub pool: String,
    /// Rivet's namespace: its id in figures of the engine's metrics, its name in those of the engine's API.
    pub rivet_namespace: Option<String>,
    /// Start requests a second.
    pub starts: Option<f64>,
    /// Start requests a second that the host refused with 429.
    pub refused: Option<f64>,
    pub running: Option<f64>,
    /// Running actors over `max_concurrent_actors`.
    pub concurrency: Option<f64>,
}

/// A place that notifications go to.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSeen {
    pub receiver: String,
    pub integration: String,
    pub is_broken: bool,
    /// Seconds since it last accepted something; `None` before the first.
    pub last_success: Option<f64>,
}

/// What the series say; each field may be missing for itself.
#[derive(Clone, Debug)]
pub struct TelemetrySeen {
    /// Where the series were asked for.
    pub source: String,
    pub instances: Known<Vec<InstanceSeen>>,
    /// Actors that run, at their most within a day.
    pub actors_running: Known<f64>,
    /// Versions of the engines that run.
    pub versions: Known<Vec<String>>,
    pub pools: Known<Vec<PoolLoad>>,
    /// Secrets that were cut out of received telemetry within a day.
    pub secrets: Known<f64>,
    /// Spans of requests seen and requests counted by the engine within the hour, all instances together.
    pub sampled: Known<(f64, f64)>,
    pub targets: Known<Vec<TargetSeen>>,
    /// The database the agent was told of.
    pub backend: Known<String>,
    /// Messages that NATS dropped for slow engines within the hour.
    pub nats_slow_consumers: Known<f64>,
    /// Smallest CPU request in cores, memory request in bytes, and both limits, over the instances.
    pub cpu_request: Known<f64>,
    pub memory_request: Known<f64>,
    pub cpu_limit: Known<f64>,
    pub memory_limit: Known<f64>,
}
