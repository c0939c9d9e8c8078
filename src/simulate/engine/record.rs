//! Work as metrics: which families each thing that happens is counted in.
//!
//! Labels and habits as recorded on 2.3.19 and read off the source of 2.3.7 and 25.7; where a family has dozens of label values on the real
//! engine (transactions, workflows, subjects), a few stand for all.

use super::work::{ApiCalls, ClusterGauges, LATE_CALL, PoolKind, PoolWork, Work};
use super::{Engine, HEARTBEAT_MS, Release};
use crate::model::TimestampMs;
use crate::simulate::chance::Latency;

/// Transactions by name, with their share of all.
const TRANSACTIONS: [(&str, f64); 2] = [("pegboard_actor_get_for_gateway", 0.6), ("gas_pull_next_signals", 0.4)];

/// Subjects of messages, with their share of all.
const SUBJECTS: [(&str, f64); 2] = [("pegboard.gateway", 0.8), ("gasoline.worker.bump", 0.2)];

/// What 2.3.19 calls every pool in the families of the gateway.
const UNKNOWN_POOL: (&str, &str) = ("pool_name", "unknown");
/// A host is pinged this often, and looked at on each ping.
const PING_SECONDS: f64 = 3.0;

/// Where the attempts of transactions are counted.
const ATTEMPT_LOCATION: &str = "engine/packages/universaldb/src/database.rs:145";

/// Takes in one step of one process.
pub(super) fn record(engine: &mut Engine, now: TimestampMs, work: &Work) {
    requests(engine, now, work);
    gateway(engine, work);
    for calls in &work.api {
        api(engine, now, calls);
    }
    actors(engine, work);
    for pool in &work.pools {
        match pool.kind {
            PoolKind::Serverless => serverless(engine, pool),
            PoolKind::Serverful => serverful(engine, pool, work.seconds),
        }
    }
    worker(engine, now, work);
    database(engine, work);
    messages(engine, work);
    if let Some(gauges) = &work.cluster {
        cluster(engine, now, work, gauges);
    }
}

fn requests(engine: &mut Engine, now: TimestampMs, work: &Work) {
    let families = &mut engine.families;
    families.add_some("rivet_guard_tcp_connection_total", &[], work.connections);
    for calls in &work.calls {
        let is_gateway = calls.status != "101";
        families.add_some("rivet_guard_proxy_request_total", &[], calls.n);
        let labels = [("status", calls.status)];
        families.time("rivet_guard_proxy_request_duration", &labels, calls.n, calls.latency, &mut engine.chance);
        families.add_some(
            "rivet_guard_route_total",
            &[("router", if is_gateway { "gateway" } else { "envoy" })],
            calls.n,
        );
        if let Some(spans) = &mut engine.spans {
            spans.add("guard_request", now, calls.n, calls.latency, calls.status, &mut engine.chance);
        }
    }
    for (error, n) in &work.refused {
        // 25.7 writes the code alone.
        let error = match engine.release {
            Release::V25_7 => error.split_once('.').map_or(*error, |(_, code)| code),
            Release::V2_3_7 | Release::V2_3_19 => error,
        };
        families.add_some("rivet_guard_proxy_request_errors_total", &[("error", error)], *n);
    }
}

/// What the gateway sees of calls on their way to actors, and of the waits of callers for those that are not up.
fn gateway(engine: &mut Engine, work: &Work) {
    let Some(namespace) = work.pools.first().map(|pool| pool.namespace_id.as_str()) else { return };
    let (families, chance) = (&mut engine.families, &mut engine.chance);
    let namespace = ("namespace_id", namespace);
    for calls in &work.calls {
        let result = if calls.status == "error" { "envoy_error" } else { "success" };
        let labels = [namespace, UNKNOWN_POOL, ("protocol", "http"), ("result", result)];
        families.time("rivet_gateway2_request_duration_seconds", &labels, calls.n, calls.latency, chance);
    }
    let mut wait = |outcome: &str, retries: &str, n: u64, latency: Latency| {
        let bucket = ("wake_retries_bucket", retries);
        let labels = [namespace, ("outcome", outcome), UNKNOWN_POOL, bucket, ("was_sleeping", "true")];
        families.time("rivet_guard_route_pegboard_ready_wait_duration", &labels, n, latency, chance);
    };
    let started: u64 = work.pools.iter().map(|pool| pool.started).sum();
    wait("ready", "0", started, Latency { median: 0.4, spread: 0.5 });
    wait("ready", "3+", work.late, LATE_CALL);
    for (error, n) in &work.refused {
        match *error {
            "guard.actor_wake_retries_exceeded" => wait("stopped", "3+", *n, Latency { median: 26.0, spread: 0.1 }),
            "guard.actor_ready_timeout" => wait("timeout", "0", *n, Latency { median: 15.0, spread: 0.1 }),
            _ => {}
        }
    }
    let answered: u64 = work.calls.iter().filter(|c| c.status != "error").map(|c| c.n).sum();
    let pool = work.pools.first().map_or("", |pool| pool.name.as_str());
    let commit = [namespace, ("pool_name", pool), ("result", "ok"), ("type", "commit")];
    families.add_some("rivet_pegboard_envoy_sqlite_request_total", &commit, answered);
    families.add_some("rivet_cache_request_total", &[("key", "namespace.resolve_for_name_local")], answered);
}

fn api(engine: &mut Engine, now: TimestampMs, calls: &ApiCalls) {
    if calls.n == 0 {
        return;
    }
    let families = &mut engine.families;
    let (method, path) = (("method", calls.method), ("path", calls.path));
    let (total, duration) = ("rivet_api_request_total", "rivet_api_request_duration");
    let is_failed = !calls.status.starts_with('2');
    let errors = "rivet_api_request_errors_total";
    match engine.release {
        Release::V25_7 => {
            let status = match calls.status {
                "200" => "200 OK",
                "500" => "500 Internal Server Error",
                other => other,
            };
            families.add(total, &[method, path], calls.n as f64);
            let labels = [method, path, ("watch", "false"), ("status", status), ("error", calls.error)];
            families.time(duration, &labels, calls.n, calls.latency, &mut engine.chance);
            families.add_some(errors, &labels, if is_failed { calls.n } else { 0 });
        }
        Release::V2_3_7 | Release::V2_3_19 => {
            let router = ("router", "api-public");
            families.add(total, &[method, path, router], calls.n as f64);
            let labels = [("error", calls.error), method, path, router, ("status", calls.status)];
            families.time(duration, &labels, calls.n, calls.latency, &mut engine.chance);
            families.add_some(errors, &labels, if is_failed { calls.n } else { 0 });
            if let Some(spans) = &mut engine.spans {
                spans.add("http_request", now, calls.n, calls.latency, calls.status, &mut engine.chance);
            }
        }
    }
}

fn actors(engine: &mut Engine, work: &Work) {
    let families = &mut engine.families;
    let actors = &work.actors;
    let (dispatched, published) = ("rivet_gasoline_workflow_dispatched_total", "rivet_gasoline_signal_published_total");
    families.add_some(dispatched, &[("sub_workflow_name", "pegboard_actor2"), ("workflow_name", "")], actors.created);
    families.add_some(
        dispatched,
        &[("sub_workflow_name", "pegboard_actor2_metrics"), ("workflow_name", "pegboard_actor2")],
        actors.created,
    );
    let mut signal = |name: &str, from: &str, n: u64| {
        families.add_some(published, &[("signal_name", name), ("workflow_name", from)], n);
    };
    signal("pegboard_actor2_wake", "", actors.woken);
    signal("pegboard_actor2_allocated", "", actors.lost);
    signal("pegboard_actor2_lost", "", actors.lost);
    signal("pegboard_actor_metrics_pause", "pegboard_actor2", actors.lost);
    signal("pegboard_actor2_events", "", actors.events);
}

fn placements(engine: &mut Engine, pool: &PoolWork) {
    let kind = ("kind", pool.kind.as_str());
    let place = [kind, ("namespace_id", pool.namespace_id.as_str()), ("pool_name", pool.name.as_str())];
    for (result, n) in [("allocated", pool.placed), ("not_allocated", pool.not_placed)] {
        let labels: &[(&'static str, &str)] = match engine.release {
            Release::V25_7 => &[("result", result)],
            Release::V2_3_7 | Release::V2_3_19 => &[kind, ("result", result)],
        };
        let name = "rivet_pegboard_actor_allocate_duration";
        engine.families.time(name, labels, n, Latency::of(0.02), &mut engine.chance);
    }
    let labels: &[(&'static str, &str)] = if engine.release == Release::V25_7 { &[] } else { &place };
    let name = "rivet_pegboard_actor_start_duration";
    engine.families.time(name, labels, pool.started, pool.start, &mut engine.chance);
}

fn serverless(engine: &mut Engine, pool: &PoolWork) {
    placements(engine, pool);
    let families = &mut engine.families;
    let namespace = ("namespace_id", pool.namespace_id.as_str());
    let (runner, name) = (("runner_name", pool.name.as_str()), ("pool_name", pool.name.as_str()));
    let failed: u64 = pool.failed.iter().map(|(_, n)| n).sum();
    if pool.accepted + failed == 0 && !families.has("rivet_pegboard_outbound_req_total") {
        return;
    }
    families.add_some("rivet_pegboard_outbound_req_total", &[namespace, runner], pool.accepted + failed);
    families.set("rivet_pegboard_outbound_req_active", &[namespace, runner], pool.open.round());
    // Who is refused is tried again and again, so that most failed requests are of actors that were tried often.
    for (generation, n) in [("1", pool.accepted), ("6-10", failed / 20), ("11+", failed - failed / 20)] {
        let labels = [("generation_bucket", generation), namespace, runner];
        families.add_some("rivet_pegboard_outbound_req_by_generation_total", &labels, n);
    }
    let duration = "rivet_pegboard_outbound_req_duration_seconds";
    let labels = [("drain_reason", ""), namespace, name, ("result", "success")];
    // A request that was taken stays open as long as its actor runs; it is timed when that sleeps.
    families.time(duration, &labels, pool.accepted, Latency { median: 60.0, spread: 1.0 }, &mut engine.chance);
    for (status, n) in &pool.failed {
        let result = format!("error_http_{status}");
        let labels = [("drain_reason", ""), namespace, name, ("result", result.as_str())];
        families.time(duration, &labels, *n, pool.refusal, &mut engine.chance);
        let labels = [("error", "http_error"), namespace, name, ("status", status)];
        families.add_some("rivet_pegboard_outbound_req_error_total", &labels, *n);
        let labels = [("signal_name", "pegboard_runner_pool_error_tracker_report_error"), ("workflow_name", "")];
        families.add_some("rivet_gasoline_signal_published_total", &labels, *n);
    }
}

fn serverful(engine: &mut Engine, pool: &PoolWork, seconds: f64) {
    placements(engine, pool);
    let families = &mut engine.families;
    let place = [("namespace_id", pool.namespace_id.as_str()), ("pool_name", pool.name.as_str())];
    // Only a process that had a connection of the pool knows the gauge.
    if pool.hosts + pool.connected > 0 || families.has("rivet_pegboard_envoy_connected") {
        families.set("rivet_pegboard_envoy_connected", &place, pool.hosts as f64);
    }
    let pings = (pool.hosts as f64 * seconds / PING_SECONDS).round() as u64;
    let pong = Latency { median: PING_SECONDS + 0.06, spread: 0.01 };
    families.time("rivet_pegboard_envoy_time_since_last_pong_seconds", &place, pings, pong, &mut engine.chance);
    let [namespace, name] = place;
    families.add_some(
        "rivet_envoy_lb_no_envoy_available_total",
        &[namespace, name, ("strategy", "hash")],
        pool.no_host,
    );
    let mut transition = |state: &str, reason: &str, n: u64| {
        let labels = [("envoy_state", state), namespace, name, ("protocol_version", "8"), ("reason", reason)];
        families.add_some("rivet_pegboard_envoy_state_transition_total", &labels, n);
    };
    transition("starting", "websocket_accepted", pool.connected);
    transition("connected", "init_complete", pool.connected);
    for (reason, n) in &pool.disconnected {
        transition("disconnected", reason, *n);
    }
}

fn worker(engine: &mut Engine, now: TimestampMs, work: &Work) {
    let worker = &work.worker;
    let is_due = engine.heartbeat_at.is_none_or(|last| now.since(last) >= HEARTBEAT_MS);
    if let Some(clock) = worker.heartbeat.filter(|_| is_due) {
        engine.heartbeat_at = Some(now);
        let labels: &[(&'static str, &str)] =
            if engine.release == Release::V25_7 { &[("worker_id", "worker")] } else { &[] };
        engine.families.set("rivet_gasoline_worker_last_ping", labels, clock.0 as f64);
    }
    let (families, chance) = (&mut engine.families, &mut engine.chance);
    let labels: &[(&'static str, &str)] =
        if engine.release == Release::V25_7 { &[("worker_id", "worker")] } else { &[] };
    families.time("rivet_gasoline_pull_workflows_duration", labels, worker.pulls, worker.pull, chance);
    // CPU is measured when the worker looks for work, about every 16 s on an idle engine.
    let cores = (worker.cpu_cores * chance.between(0.9, 1.1)).max(0.0);
    families.observe("rivet_gasoline_cpu_usage", &[], cores, worker.pulls);
    families.observe("rivet_gasoline_load_shedding_ratio", &[], worker.shedding, worker.pulls);
    for thread in ["0", "1"] {
        let busy = (worker.cpu_cores / 2.0).min(1.0) * work.seconds;
        families.add("rivet_tokio_worker_busy_duration_total", &[("worker", thread)], busy);
    }
    let actors = [("workflow_name", "pegboard_actor2")];
    families.time("rivet_gasoline_workflow_wake_delta_duration", &actors, worker.wakes, worker.lag, chance);
    let labels = [("signal_name", "pegboard_actor2_wake"), ("workflow_name", "pegboard_actor2")];
    families.time("rivet_gasoline_signal_recv_lag", &labels, worker.wakes, worker.lag, chance);
}

fn database(engine: &mut Engine, work: &Work) {
    let (families, chance) = (&mut engine.families, &mut engine.chance);
    let database = &work.database;
    let mut left = database.transactions;
    for (i, (name, share)) in TRANSACTIONS.iter().enumerate() {
        let n = if i + 1 == TRANSACTIONS.len() { left } else { chance.share(database.transactions, *share).min(left) };
        left -= n;
        let labels = [("name", *name)];
        families.time("rivet_udb_transaction_duration", &labels, n, database.latency, chance);
        families.add_some("rivet_udb_transaction_total", &labels, n);
    }
    let labels = [("location", ATTEMPT_LOCATION), ("name", "txn_attempt")];
    let attempts = database.transactions + database.repeated;
    families.time("rivet_instrumented_future_duration", &labels, attempts, database.latency, chance);
    families.set("rivet_udb_last_tx_completed_age_seconds", &[], database.idle_seconds);
    if engine.release == Release::V25_7 {
        // That release times a ping instead.
        let pings = u64::from(database.idle_seconds < work.seconds);
        families.time("rivet_udb_ping_duration", &[], pings, database.latency, chance);
    }
}

fn messages(engine: &mut Engine, work: &Work) {
    let (families, chance) = (&mut engine.families, &mut engine.chance);
    let messages = &work.messages;
    for (subject, share) in SUBJECTS {
        let n = chance.share(messages.published, share);
        let labels = [("subject_root", subject)];
        families.time("rivet_ups_publish_attempt_duration_seconds", &labels, n, messages.publish, chance);
        let n = chance.share(messages.received, share);
        families.time("rivet_ups_message_recv_lag", &[("subject", subject)], n, messages.lag, chance);
    }
    let root = [("subject_root", "pegboard.gateway")];
    families.add_some("rivet_ups_publish_retry_total", &root, messages.retries);
    families.add_some("rivet_ups_request_timeout_count_total", &[("subject", "pegboard.gateway")], messages.timeouts);
    families.add_some("rivet_nats_slow_consumer_total", &root, messages.slow_consumer);
    families.add_some("rivet_nats_subscription_dropped_messages_total", &[], messages.dropped);
}

/// What the holder of the lock writes every 20 s; the other processes keep what they wrote when they last held it.
fn cluster(engine: &mut Engine, now: TimestampMs, work: &Work, gauges: &ClusterGauges) {
    let families = &mut engine.families;
    let (active, sleeping, total) =
        ("rivet_gasoline_workflow_active", "rivet_gasoline_workflow_sleeping", "rivet_gasoline_workflow_total");
    let others = gauges.housekeeping;
    for (workflow, is_active, is_sleeping) in [
        ("pegboard_actor2", gauges.actors_active, gauges.actors_sleeping),
        ("pegboard_actor2_metrics", 0.0, gauges.actors_active + gauges.actors_sleeping),
        ("pegboard_metrics_aggregator", 1.0, 0.0),
        ("gasoline_pruner", 0.0, others),
    ] {
        let labels = [("workflow_name", workflow)];
        families.set(active, &labels, is_active.round());
        families.set(sleeping, &labels, is_sleeping.round());
        families.set(total, &labels, (is_active + is_sleeping).round());
    }
    let pending = "rivet_gasoline_signal_pending";
    families.set(pending, &[("signal_name", "pegboard_actor2_wake")], gauges.pending_wakes.round());
    if gauges.pending_metering > 0.0 {
        families.set(pending, &[("signal_name", "pegboard_actor_metrics_pause")], gauges.pending_metering.round());
    }
    for (error, n) in &gauges.dead {
        let labels = [("error", *error), ("workflow_name", "pegboard_actor2")];
        families.set("rivet_gasoline_workflow_dead", &labels, *n);
    }
    let clock = work.worker.heartbeat.unwrap_or(now);
    families.set("rivet_gasoline_worker_last_metrics_publish", &[], clock.0 as f64);
}
