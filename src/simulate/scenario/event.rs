//! The `events:` of a scenario: what happens, when, for how long, and to whom.

use super::cluster::{Backend, ClusterPlan, Platform, Pubsub};
use super::tree::Fields;
use crate::simulate::engine::{PoolKind, Release};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub at_ms: i64,
    /// When it is over; the end of the scenario for one without `for`.
    pub until_ms: i64,
    pub pods: Pods,
    /// Every pool when `None`.
    pub pool: Option<String>,
    pub action: Action,
}

impl Event {
    /// Whether it goes on at this time.
    pub fn is_on(&self, since_start: i64) -> bool {
        (self.at_ms..self.until_ms).contains(&since_start)
    }
}

/// Which engine instances an event is about: the oldest ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    All,
    Oldest(u32),
}

/// Who tells of the engines beside themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Cadvisor,
    KubeState,
    EngineApi,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    // Actor hosts.
    HostRateLimit { share: f64 },
    HostError { share: f64, status: &'static str },
    HostDown { recovery_ms: i64 },
    HostFlap { every_ms: i64 },
    PoolError,
    RetryStorm { wanted: f64 },
    // Load.
    Traffic { times: f64, calls: bool, starts: bool },
    CallerErrors { rate: f64 },
    FailingCalls { share: f64 },
    SlowCalls { median: f64 },
    SlowRequest { seconds: f64 },
    ApiErrors { share: f64 },
    // Machines.
    CpuHog { cores: f64 },
    MemoryLeak { bytes_a_second: f64 },
    DiskFilling { bytes_a_second: f64 },
    NodeLost { replaced_after_ms: Option<i64> },
    EngineDown,
    CounterReset,
    CrashLoop { every_ms: i64 },
    WorkerStall,
    Unhealthy,
    DeadWorkflows { n: f64 },
    // Deployment.
    Rollout { to: Option<Release> },
    Scale { to: u32 },
    HpaMax { replicas: Option<u32> },
    RetireInstance,
    // What the engines stand on.
    SlowDatabase { median: f64 },
    DatabaseStall,
    DatabaseConflicts { share: f64 },
    NatsPartition,
    NatsSlowConsumer { rate: f64 },
    // Whoever watches.
    ScrapeGap,
    AgentPause,
    ClockSkew { by_ms: i64 },
    SourceLost { source: Source },
}

/// Name of each event, the keys it takes beside `at` and `event`, and what it is, for help and docs.
pub const EVENTS: [(&str, &[&str], &str); 38] = [
    ("host_rate_limit", &["for", "pool", "share"], "a serverless host answers 429 to `share` (1) of the starts"),
    ("host_error", &["for", "pool", "share", "status"], "it answers `status` (500) to `share` (1) of them"),
    ("host_down", &["for", "pool", "recovery"], "long-lived hosts are gone; calls fail `recovery` (6m) longer"),
    ("host_flap", &["for", "pool", "every"], "long-lived hosts lose their connection every `every` (30s)"),
    ("pool_error", &["for", "pool"], "the engine holds the pool in error and refuses its calls at once"),
    ("retry_storm", &["for", "pool", "wanted"], "`wanted` (40) actors at once, and a host full of their retries"),
    ("traffic", &["for", "times", "of"], "`times` (2) the load `of` `calls`, `starts` or `all`"),
    ("traffic_x3", &["for"], "three times the calls and starts"),
    ("caller_errors", &["for", "rate"], "`rate` (5/s) calls that callers get wrong"),
    ("failing_calls", &["for", "share"], "actors answer `share` (0.3) of the calls with 500"),
    ("slow_calls", &["for", "median"], "half of the calls take longer than `median` (5s)"),
    ("slow_request", &["length"], "one call takes `length` (40s)"),
    ("api_errors", &["for", "share"], "`share` (0.3) of the API calls are answered 500"),
    ("cpu_hog", &["for", "pods", "cores"], "something takes `cores` (2) beside the work, on `pods` (all)"),
    ("memory_leak", &["for", "pods", "per_minute"], "memory grows by `per_minute` (100MiB), on `pods` (all)"),
    ("disk_filling", &["for", "per_minute"], "the data directory grows by `per_minute` (1GB)"),
    ("node_lost", &["pods", "replaced_after"], "`pods` (1) vanish; Kubernetes replaces them after 5m, or `never`"),
    ("engine_down", &["for", "pods"], "the processes of `pods` (all) are gone"),
    ("counter_reset", &["pods"], "the processes of `pods` (1) begin anew between two scrapes"),
    ("crash_loop", &["for", "pods", "every"], "the processes of `pods` (1) end every `every` (1m)"),
    ("worker_stall", &["for", "pods"], "the workflow workers of `pods` (all) stand still"),
    ("unhealthy", &["for", "pods"], "`pods` (all) do not answer their health probe"),
    ("dead_workflows", &["count"], "`count` (5) workflows die for good"),
    ("rollout", &[], "every pod is replaced, one after the other"),
    ("upgrade", &["to"], "a rollout to the release `to` (2.3.19)"),
    ("scale", &["to"], "the Deployment is scaled to `to` pods"),
    ("scale_down", &["to"], "the Deployment is scaled down to `to` (1) pods"),
    ("hpa_max", &["for", "replicas"], "the autoscaler may not go above `replicas` (as many as there are)"),
    ("retire_instance", &[], "the operator retires the instance that went last"),
    ("slow_database", &["for", "median"], "half of the transactions take longer than `median` (2s)"),
    ("database_stall", &["for"], "no transaction ends"),
    ("database_conflicts", &["for", "share"], "`share` (0.5) of the transactions are repeated"),
    ("nats_partition", &["for"], "messages between engines arrive late or never"),
    ("nats_slow_consumer", &["for", "rate"], "`rate` (1/s) messages are lost to slow consumers"),
    ("scrape_gap", &["for", "pods"], "scrapes of `pods` (all) time out"),
    ("agent_pause", &["for"], "the agent's machine sleeps: no scrape, no evaluation"),
    ("source_lost", &["for", "source"], "`cadvisor`, `kube_state` or `engine_api` tells nothing any more"),
    ("clock_skew", &["for", "pods", "by"], "the clocks of `pods` (1) are ahead by `by` (20s), behind with a minus"),
];

/// How long Kubernetes waits before it replaces the pods of a lost node.
const EVICTION_MS: i64 = 5 * 60_000;

impl Event {
    /// Reads one item of `events`; `None` when it names no event.
    pub(super) fn read(fields: &mut Fields<'_>, duration_ms: i64, cluster: &ClusterPlan) -> Option<Self> {
        if !fields.has("at") {
            fields.wrong("at", "must say when the event begins");
        }
        let at_ms = fields.duration("at").unwrap_or(0);
        if at_ms >= duration_ms {
            fields.wrong("at", "must be before the end of the scenario");
        }
        let Some(name) = fields.text("event") else {
            fields.wrong("event", "must name what happens");
            return None;
        };
        let Some((_, keys, _)) = EVENTS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<&str> = EVENTS.iter().map(|(known, ..)| *known).collect();
            fields.wrong("event", format!("must be one of {}, got `{name}`", known.join(", ")));
            return None;
        };
        let takes = |key: &str| keys.contains(&key);
        let until_ms = match takes("for") {
            true => fields.duration("for").map_or(duration_ms, |length| at_ms.saturating_add(length)),
            false => at_ms + 1,
        };
        let all_by_default = !matches!(name, "node_lost" | "counter_reset" | "crash_loop" | "clock_skew");
        let default_pods = if all_by_default { Pods::All } else { Pods::Oldest(1) };
        let pods = match takes("pods") {
            true => fields.read("pods", "`all` or a number of pods", pods).unwrap_or(default_pods),
            false => default_pods,
        };
        let pool = if takes("pool") { fields.text("pool").map(str::to_owned) } else { None };
        if let Some(pool) = &pool
            && !cluster.pools.iter().any(|plan| plan.name == *pool)
        {
            fields.wrong("pool", format!("must be a pool of `cluster.pools`, got `{pool}`"));
        }
        let action = action(name, fields)?;
        check(name, &action, pool.as_deref(), fields, cluster);
        Some(Self { at_ms, until_ms, pods, pool, action })
    }
}

fn pods(text: &str) -> Option<Pods> {
    match text {
        "all" => Some(Pods::All),
        number => number.parse().ok().filter(|n| *n > 0).map(Pods::Oldest),
    }
}

/// Reads the keys of one event; everything has a default.
fn action(name: &str, fields: &mut Fields<'_>) -> Option<Action> {
    let mib = f64::from(1 << 20);
    let per_minute = |fields: &mut Fields<'_>, default: f64| fields.bytes("per_minute").unwrap_or(default) / 60.0;
    let seconds = |ms: Option<i64>, default: f64| ms.map_or(default, |ms| ms.max(1) as f64 / 1000.0);
    Some(match name {
        "host_rate_limit" => Action::HostRateLimit { share: fields.share("share").unwrap_or(1.0) },
        "host_error" => {
            let statuses = ["500", "502", "503", "504", "400", "404"].map(|status| (status, status));
            let status = fields.choice("status", &statuses).unwrap_or("500");
            Action::HostError { share: fields.share("share").unwrap_or(1.0), status }
        }
        "host_down" => Action::HostDown { recovery_ms: fields.duration("recovery").unwrap_or(6 * 60_000) },
        "host_flap" => Action::HostFlap { every_ms: fields.duration("every").unwrap_or(30_000).max(5_000) },
        "pool_error" => Action::PoolError,
        "retry_storm" => Action::RetryStorm { wanted: fields.number("wanted", 1.0, 1e5).unwrap_or(40.0) },
        "traffic" => {
            let parts = [("calls", (true, false)), ("starts", (false, true)), ("all", (true, true))];
            let (calls, starts) = fields.choice("of", &parts).unwrap_or((true, true));
            Action::Traffic { times: fields.number("times", 0.0, 1_000.0).unwrap_or(2.0), calls, starts }
        }
        "traffic_x3" => Action::Traffic { times: 3.0, calls: true, starts: true },
        "caller_errors" => Action::CallerErrors { rate: fields.rate("rate").unwrap_or(5.0) },
        "failing_calls" => Action::FailingCalls { share: fields.share("share").unwrap_or(0.3) },
        "slow_calls" => Action::SlowCalls { median: seconds(fields.duration("median"), 5.0) },
        "slow_request" => Action::SlowRequest { seconds: seconds(fields.duration("length"), 40.0) },
        "api_errors" => Action::ApiErrors { share: fields.share("share").unwrap_or(0.3) },
        "cpu_hog" => Action::CpuHog { cores: fields.number("cores", 0.0, 256.0).unwrap_or(2.0) },
        "memory_leak" => Action::MemoryLeak { bytes_a_second: per_minute(fields, 100.0 * mib) },
        "disk_filling" => Action::DiskFilling { bytes_a_second: per_minute(fields, 1e9) },
        "node_lost" => {
            let replaced_after_ms = match fields.text("replaced_after") {
                Some("never") => None,
                Some(_) => fields.duration("replaced_after"),
                None => Some(EVICTION_MS),
            };
            Action::NodeLost { replaced_after_ms }
        }
        "engine_down" => Action::EngineDown,
        "counter_reset" => Action::CounterReset,
        "crash_loop" => Action::CrashLoop { every_ms: fields.duration("every").unwrap_or(60_000).max(5_000) },
        "worker_stall" => Action::WorkerStall,
        "unhealthy" => Action::Unhealthy,
        "dead_workflows" => Action::DeadWorkflows { n: fields.whole("count", 1, 1_000_000).unwrap_or(5) as f64 },
        "rollout" => Action::Rollout { to: None },
        "upgrade" => {
            let releases: Vec<(&str, Release)> = Release::ALL.into_iter().map(|r| (r.as_str(), r)).collect();
            Action::Rollout { to: Some(fields.choice("to", &releases).unwrap_or(Release::V2_3_19)) }
        }
        "scale" | "scale_down" => {
            let default = if name == "scale" { 3 } else { 1 };
            Action::Scale { to: fields.whole("to", 0, 100).unwrap_or(default) as u32 }
        }
        "hpa_max" => Action::HpaMax { replicas: fields.whole("replicas", 1, 100).map(|n| n as u32) },
        "retire_instance" => Action::RetireInstance,
        "slow_database" => Action::SlowDatabase { median: seconds(fields.duration("median"), 2.0) },
        "database_stall" => Action::DatabaseStall,
        "database_conflicts" => Action::DatabaseConflicts { share: fields.share("share").unwrap_or(0.5) },
        "nats_partition" => Action::NatsPartition,
        "nats_slow_consumer" => Action::NatsSlowConsumer { rate: fields.rate("rate").unwrap_or(1.0) },
        "scrape_gap" => Action::ScrapeGap,
        "agent_pause" => Action::AgentPause,
        "source_lost" => {
            let sources =
                [("cadvisor", Source::Cadvisor), ("kube_state", Source::KubeState), ("engine_api", Source::EngineApi)];
            if !fields.has("source") {
                fields.wrong("source", "must be one of cadvisor, kube_state, engine_api");
            }
            Action::SourceLost { source: fields.choice("source", &sources).unwrap_or(Source::Cadvisor) }
        }
        "clock_skew" => Action::ClockSkew { by_ms: fields.read("by", SKEW, skew).unwrap_or(20_000) },
        _ => return None,
    })
}

const SKEW: &str = "a duration such as 20s or -20s";

fn skew(text: &str) -> Option<i64> {
    match text.strip_prefix('-') {
        Some(behind) => crate::model::parse_duration_ms(behind).map(|ms| -ms),
        None => crate::model::parse_duration_ms(text),
    }
}

/// Refuses what cannot happen to this cluster.
fn check(name: &str, action: &Action, pool: Option<&str>, fields: &mut Fields<'_>, cluster: &ClusterPlan) {
    let needs_kind = match action {
        Action::HostRateLimit { .. } | Action::HostError { .. } | Action::RetryStorm { .. } => {
            Some(PoolKind::Serverless)
        }
        Action::HostDown { .. } | Action::HostFlap { .. } => Some(PoolKind::Serverful),
        _ => None,
    };
    let has_kind = |kind| cluster.pools.iter().any(|p| p.kind == kind && pool.is_none_or(|name| p.name == name));
    if let Some(kind) = needs_kind.filter(|kind| !has_kind(*kind)) {
        fields.wrong("event", format!("`{name}` needs a pool of `kind: {}`", kind.as_str()));
    }
    let deploys = matches!(action, Action::Scale { .. } | Action::HpaMax { .. });
    if deploys && cluster.platform == Platform::Host {
        fields.wrong("event", format!("`{name}` needs `platform: kubernetes`"));
    }
    if matches!(action, Action::HpaMax { .. }) && cluster.autoscaler.is_none() {
        fields.wrong("event", "`hpa_max` needs `cluster.autoscaler`");
    }
    if matches!(action, Action::DiskFilling { .. }) && cluster.backend != Backend::RocksDb {
        fields.wrong("event", "`disk_filling` needs `cluster.backend: rocksdb`, which has a data directory");
    }
    if matches!(action, Action::NatsPartition) && cluster.pubsub == Pubsub::Memory {
        fields.wrong("event", "`nats_partition` needs messages between engines: `cluster.pubsub: nats` or `postgres`");
    }
    if matches!(action, Action::NatsSlowConsumer { .. }) && cluster.pubsub != Pubsub::Nats {
        fields.wrong("event", "`nats_slow_consumer` needs `cluster.pubsub: nats`");
    }
}

/// Why events, given in order of their times, cannot come in that order.
pub(super) fn out_of_order(events: &[Event]) -> Option<&'static str> {
    let retired = events.iter().position(|event| event.action == Action::RetireInstance)?;
    let takes_away = |event: &Event| {
        matches!(
            event.action,
            Action::Scale { .. } | Action::NodeLost { .. } | Action::Rollout { .. } | Action::EngineDown
        )
    };
    let is_possible = events[..retired].iter().any(takes_away);
    (!is_possible).then_some("have a `retire_instance` before any instance is gone")
}
