//! Families that the model has no part for: what an engine in good health shows in them.
//!
//! So that a page can be as large as a real one (`--full`), and that a rule which reads such a family finds it.
//! Always: nothing that tells of trouble is recorded, since the engine would not have it before the first trouble.

use super::work::Work;
use crate::model::MetricKind;
use crate::rivet::inventory::{self, Family};
use crate::simulate::chance::{Chance, Latency};
use crate::simulate::families::{Families, Wanted};

/// Words in a family's name that tell of something that went wrong.
const TROUBLE: &[&str] = &[
    "error",
    "fail",
    "lost",
    "drop",
    "retry",
    "retries",
    "timeout",
    "conflict",
    "reject",
    "stale",
    "expired",
    "slow",
    "dead",
    "overflow",
    "throttle",
    "orphan",
    "missing",
    "invalid",
    "evict",
    "abort",
    "mismatch",
    "corrupt",
    "no_envoy",
    "not_found",
    "drain",
    "too_",
];

/// Families that the model records where they belong.
const MODELLED: &[&str] = &[
    "rivet_api_request_duration",
    "rivet_api_request_errors_total",
    "rivet_api_request_total",
    "rivet_cache_request_total",
    "rivet_envoy_lb_no_envoy_available_total",
    "rivet_gasoline_cpu_usage",
    "rivet_gasoline_load_shedding_ratio",
    "rivet_gasoline_pull_workflows_duration",
    "rivet_gasoline_signal_pending",
    "rivet_gasoline_signal_published_total",
    "rivet_gasoline_signal_recv_lag",
    "rivet_gasoline_worker_last_metrics_publish",
    "rivet_gasoline_worker_last_ping",
    "rivet_gasoline_workflow_active",
    "rivet_gasoline_workflow_dead",
    "rivet_gasoline_workflow_dispatched_total",
    "rivet_gasoline_workflow_sleeping",
    "rivet_gasoline_workflow_total",
    "rivet_gasoline_workflow_wake_delta_duration",
    "rivet_gateway2_request_duration_seconds",
    "rivet_guard_proxy_request_duration",
    "rivet_guard_proxy_request_errors_total",
    "rivet_guard_proxy_request_total",
    "rivet_guard_route_pegboard_ready_wait_duration",
    "rivet_guard_route_total",
    "rivet_guard_tcp_connection_total",
    "rivet_instrumented_future_duration",
    "rivet_nats_slow_consumer_total",
    "rivet_nats_subscription_dropped_messages_total",
    "rivet_pegboard_actor_allocate_duration",
    "rivet_pegboard_actor_start_duration",
    "rivet_pegboard_envoy_connected",
    "rivet_pegboard_envoy_sqlite_request_total",
    "rivet_pegboard_envoy_state_transition_total",
    "rivet_pegboard_envoy_time_since_last_pong_seconds",
    "rivet_pegboard_outbound_req_active",
    "rivet_pegboard_outbound_req_by_generation_total",
    "rivet_pegboard_outbound_req_duration_seconds",
    "rivet_pegboard_outbound_req_error_total",
    "rivet_pegboard_outbound_req_total",
    "rivet_tokio_worker_busy_duration_total",
    "rivet_udb_last_tx_completed_age_seconds",
    "rivet_udb_ping_duration",
    "rivet_udb_transaction_duration",
    "rivet_udb_transaction_total",
    "rivet_ups_message_recv_lag",
    "rivet_ups_publish_attempt_duration_seconds",
    "rivet_ups_publish_retry_total",
    "rivet_ups_request_timeout_count_total",
];

/// Prefixes of families that belong to hosts of the first generation, which an engine whose actors are all of the second
/// does not have, and to messages through Postgres.
const ABSENT: &[&str] = &[
    "rivet_pegboard_runner_",
    "rivet_pegboard_serverless_",
    "rivet_pegboard_actor_pending_",
    "rivet_pegboard_client_",
    "rivet_ups_postgres_",
];

/// The families to fill.
#[derive(Clone, Debug)]
pub struct Fill(Vec<Filled>);

#[derive(Clone, Debug)]
struct Filled {
    family: &'static Family,
    labels: Vec<(&'static str, &'static str)>,
}

impl Fill {
    /// Every recorded family that is wanted, not modelled, and no sign of trouble.
    pub fn new(wanted: &Wanted) -> Self {
        let is_trouble = |name: &str| TROUBLE.iter().any(|word| name.contains(word));
        let is_absent = |name: &str| ABSENT.iter().any(|prefix| name.starts_with(prefix));
        let filled = |family: &'static Family| Filled {
            family,
            labels: family.labels.iter().map(|label| (label.as_str(), value_of(label))).collect(),
        };
        let wanted = inventory::families().iter().filter(|f| f.is_recorded && wanted.has(&f.name));
        let unmodelled = wanted.filter(|f| !MODELLED.contains(&f.name.as_str()));
        Self(unmodelled.filter(|f| !is_trouble(&f.name) && !is_absent(&f.name)).map(filled).collect())
    }

    /// Records a step in proportion to the work done.
    pub fn record(&self, families: &mut Families, work: &Work, chance: &mut Chance) {
        let calls: u64 = work.calls.iter().map(|c| c.n).sum();
        for Filled { family, labels } in &self.0 {
            let name = family.name.as_str();
            match family.kind {
                MetricKind::Counter => families.add_some(name, labels, calls),
                MetricKind::Histogram | MetricKind::GaugeHistogram => match family.unit.as_str() {
                    "seconds" => families.time(name, labels, calls, Latency::of(0.002), chance),
                    _ => families.observe(name, labels, 1.0, calls),
                },
                _ if calls > 0 || families.has(name) => {
                    families.set(name, labels, if family.unit == "ratio" { 1.0 } else { 0.0 });
                }
                _ => {}
            }
        }
    }
}

/// A plausible value of a label.
fn value_of(label: &str) -> &'static str {
    match label {
        "namespace_id" => "9m6ezzt3rfkgblr7vmngk0alkddl00",
        "pool_name" | "runner_name" | "name" => "default",
        "result" | "status" => "ok",
        "error" | "drain_reason" => "",
        "workflow_name" => "pegboard_actor2",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_records_is_not_filled_too() {
        let recorded = include_str!("record.rs").split('"').filter(|word| word.starts_with("rivet_"));
        let missing: Vec<&str> = recorded.filter(|name| !MODELLED.contains(name)).collect();
        assert_eq!(missing, [""; 0]);
        let names: Vec<&str> = Fill::new(&Wanted::All).0.iter().map(|f| f.family.name.as_str()).collect();
        assert!(names.len() > 80, "{}", names.len());
        assert!(!names.iter().any(|name| name.contains("_error")), "{names:?}");
    }
}
