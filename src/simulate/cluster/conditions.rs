//! What the events of a scenario make of the cluster at one time.

use super::pool::HostConditions;
use crate::simulate::scenario::{Action, Event, Pods, PoolPlan, Source};

/// The conditions that hold for everybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    pub calls: f64,
    pub starts: f64,
    pub caller_errors: f64,
    pub failing: f64,
    /// Median latency of calls, in seconds, instead of the load's.
    pub slow_calls: Option<f64>,
    pub api_errors: f64,
    pub database_median: Option<f64>,
    pub database_stalled: bool,
    pub conflicts: f64,
    pub partitioned: bool,
    pub slow_consumer: f64,
    pub disk_bytes_a_second: f64,
    /// The most replicas that the autoscaler may ask for.
    pub replicas_max: u32,
    pub agent_paused: bool,
    pub lost_sources: Vec<Source>,
}

/// The conditions of one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PodConditions {
    pub hog_cores: f64,
    pub leak_bytes_a_second: f64,
    pub is_down: bool,
    pub crashes_every_ms: Option<i64>,
    pub is_stalled: bool,
    pub is_unhealthy: bool,
    pub is_out_of_reach: bool,
    pub clock_skew_ms: i64,
}

impl Conditions {
    /// Those of the events that are on; `replicas` are the pods there are.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>, replicas: u32) -> Self {
        let mut c = Self {
            calls: 1.0,
            starts: 1.0,
            caller_errors: 0.0,
            failing: 0.0,
            slow_calls: None,
            api_errors: 0.0,
            database_median: None,
            database_stalled: false,
            conflicts: 0.0,
            partitioned: false,
            slow_consumer: 0.0,
            disk_bytes_a_second: 0.0,
            replicas_max: u32::MAX,
            agent_paused: false,
            lost_sources: Vec::new(),
        };
        for event in events {
            match &event.action {
                Action::Traffic { times, calls, starts } => {
                    c.calls *= if *calls { *times } else { 1.0 };
                    c.starts *= if *starts { *times } else { 1.0 };
                }
                Action::CallerErrors { rate } => c.caller_errors += rate,
                Action::FailingCalls { share } => c.failing = c.failing.max(*share),
                Action::SlowCalls { median } => c.slow_calls = Some(c.slow_calls.unwrap_or(0.0).max(*median)),
                Action::ApiErrors { share } => c.api_errors = c.api_errors.max(*share),
                Action::SlowDatabase { median } => {
                    c.database_median = Some(c.database_median.unwrap_or(0.0).max(*median));
                }
                Action::DatabaseStall => c.database_stalled = true,
                Action::DatabaseConflicts { share } => c.conflicts = c.conflicts.max(*share),
                Action::NatsPartition => c.partitioned = true,
                Action::NatsSlowConsumer { rate } => c.slow_consumer += rate,
                Action::DiskFilling { bytes_a_second } => c.disk_bytes_a_second += bytes_a_second,
                Action::HpaMax { replicas: most } => c.replicas_max = c.replicas_max.min(most.unwrap_or(replicas)),
                Action::AgentPause => c.agent_paused = true,
                Action::SourceLost { source } => c.lost_sources.push(*source),
                _ => {}
            }
        }
        c
    }
}

impl PodConditions {
    /// Those of the instance that is the `rank`th oldest.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>, rank: usize) -> Self {
        let mut c = Self::default();
        let is_meant = |pods: Pods| match pods {
            Pods::All => true,
            Pods::Oldest(n) => rank < n as usize,
        };
        for event in events.into_iter().filter(|event| is_meant(event.pods)) {
            match &event.action {
                Action::CpuHog { cores } => c.hog_cores += cores,
                Action::MemoryLeak { bytes_a_second } => c.leak_bytes_a_second += bytes_a_second,
                Action::EngineDown => c.is_down = true,
                Action::CrashLoop { every_ms } => c.crashes_every_ms = Some(*every_ms),
                Action::WorkerStall => c.is_stalled = true,
                Action::Unhealthy => c.is_unhealthy = true,
                Action::ScrapeGap => c.is_out_of_reach = true,
                Action::ClockSkew { by_ms } => c.clock_skew_ms += by_ms,
                _ => {}
            }
        }
        c
    }
}

impl HostConditions {
    /// Those of one pool.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>, pool: &PoolPlan) -> Self {
        let mut c = Self::default();
        let is_meant = |event: &&Event| event.pool.as_ref().is_none_or(|name| *name == pool.name);
        for event in events.into_iter().filter(is_meant) {
            match &event.action {
                Action::HostRateLimit { share } => c.refused = c.refused.max(*share),
                Action::HostError { share, status } => c.failing = Some((*share, status)),
                Action::HostDown { recovery_ms } => c.away = Some(*recovery_ms),
                Action::PoolError => c.in_error = true,
                Action::RetryStorm { wanted } => {
                    c.refused = 1.0;
                    c.storm = *wanted;
                }
                _ => {}
            }
        }
        c
    }
}
