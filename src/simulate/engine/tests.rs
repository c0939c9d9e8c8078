//! The modelled engine: its page and its OTLP say what the real one says.

use super::*;
use crate::model::LabelsBuilder;
use crate::rivet::names;
use crate::simulate::chance::Latency;

/// A step of five seconds of an engine with an actor host of each kind, to which something of everything happens.
fn work(t: i64) -> Work {
    let mut serverless = PoolWork::idle("default", "n1", PoolKind::Serverless);
    serverless.accepted = 1;
    serverless.placed = 2;
    serverless.started = 1;
    serverless.failed = vec![("429", 1)];
    serverless.open = 12.0;
    let mut serverful = PoolWork::idle("hosts", "n1", PoolKind::Serverful);
    serverful.hosts = 2;
    serverful.connected = u64::from(t == 5);
    serverful.disconnected = vec![("connection_error", 1)];
    serverful.no_host = 1;
    serverful.not_placed = 1;
    let latency = Latency::of(0.01);
    let api = |status, error| ApiCalls { method: "GET", path: "/actors", status, error, n: 2, latency };
    Work {
        late: 0,
        seconds: 5.0,
        connections: 3,
        calls: vec![Calls { status: "200", n: 50, latency }, Calls { status: "500", n: 1, latency }],
        refused: vec![("guard.actor_ready_timeout", 2)],
        api: vec![api("200", ""), api("500", "core.internal_error")],
        actors: Actors { created: 1, woken: 2, lost: 1, events: 3 },
        pools: vec![serverless, serverful],
        worker: Worker {
            heartbeat: Some(TimestampMs(t * 1000)),
            cpu_cores: 0.5,
            pulls: 2,
            wakes: 4,
            ..Worker::default()
        },
        database: Database { transactions: 100, repeated: 1, idle_seconds: 0.2, ..Database::default() },
        messages: Messages {
            published: 20,
            received: 20,
            retries: 1,
            timeouts: 1,
            slow_consumer: 1,
            dropped: 1,
            ..Messages::default()
        },
        cluster: (t % 20 == 0).then(|| ClusterGauges {
            actors_active: 12.0,
            pending_metering: 1.0,
            dead: vec![("boom", 1.0)],
            ..ClusterGauges::default()
        }),
    }
}

fn engine(release: Release, wanted: Wanted) -> Engine {
    let mut engine = Engine::new(release, "engine-1", Chance::new(7), TimestampMs(0), wanted);
    for t in (5..=60).step_by(5) {
        engine.record(TimestampMs(t * 1000), &work(t));
    }
    engine
}

fn series(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '))
}

/// Names of series, without labels.
fn series_names(page: &str) -> Vec<&str> {
    series(page).map(|(series, _)| series.split('{').next().unwrap_or(series)).collect()
}

#[test]
fn pages_hold_nothing_that_the_release_does_not_send() {
    for release in [Release::V2_3_7, Release::V2_3_19] {
        let page = engine(release, Wanted::All).page().unwrap();
        let mut families = std::collections::BTreeSet::new();
        for name in series_names(&page) {
            let canonical = names::lookup(name).unwrap_or_else(|| panic!("{name} is no name of an engine"));
            families.insert(canonical.family.name.clone());
            assert_eq!(name.starts_with("rivet_"), release == Release::V2_3_19, "{name}");
            let labels: Vec<&str> = series(&page)
                .filter(|(series, _)| series.split('{').next() == Some(name))
                .flat_map(|(series, _)| series.split_once('{').map_or("", |(_, labels)| labels).split(','))
                .filter_map(|pair| pair.split_once('=').map(|(label, _)| label))
                .collect();
            for label in labels {
                let known = canonical.family.labels.iter().any(|l| l == label) || label == "le";
                assert!(known, "{name} has no label {label}: {:?}", canonical.family.labels);
            }
        }
        assert!(families.len() > 100, "`--full` is far more than the model: {}", families.len());
    }
}

#[test]
fn every_label_that_a_recorded_family_has_is_there() {
    // The recordings decide where they hold the family; labels of the source that no recording shows are left out.
    let page = engine(Release::V2_3_19, Wanted::All).page().unwrap();
    for (name, labels) in [
        ("rivet_guard_proxy_request_duration_count", &["status"][..]),
        ("rivet_api_request_duration_count", &["error", "method", "path", "router", "status"]),
        ("rivet_pegboard_actor_allocate_duration_count", &["kind", "result"]),
        ("rivet_pegboard_outbound_req_error_total", &["error", "namespace_id", "pool_name", "status"]),
        ("rivet_pegboard_outbound_req_total", &["namespace_id", "runner_name"]),
        ("rivet_pegboard_envoy_connected", &["namespace_id", "pool_name"]),
        ("rivet_envoy_lb_no_envoy_available_total", &["namespace_id", "pool_name", "strategy"]),
        ("rivet_gasoline_signal_published", &["signal_name", "workflow_name"]),
        ("rivet_gasoline_workflow_dispatched", &["sub_workflow_name", "workflow_name"]),
        ("rivet_udb_transaction_total", &["name"]),
        ("rivet_instrumented_future_duration_count", &["location", "name"]),
        ("rivet_ups_publish_attempt_duration_seconds_count", &["subject_root"]),
        ("rivet_gasoline_cpu_usage_count", &[]),
    ] {
        let (found, _) = series(&page)
            .find(|(series, _)| series.split('{').next() == Some(name))
            .unwrap_or_else(|| panic!("{name} is not on the page"));
        let text = found.split_once('{').map_or("", |(_, labels)| labels);
        let mut got: Vec<&str> =
            text.split(',').filter_map(|pair| pair.split_once('=').map(|(label, _)| label)).collect();
        got.sort_unstable();
        assert_eq!(got, labels, "{found}");
    }
}

#[test]
fn what_never_happened_has_no_family() {
    let mut engine = Engine::new(Release::V2_3_19, "e", Chance::new(1), TimestampMs(0), Wanted::All);
    engine.record(TimestampMs(5_000), &Work { seconds: 5.0, ..Work::default() });
    let page = engine.page().unwrap();
    for family in ["guard_proxy", "outbound", "error", "dead", "publish_retry", "envoy", "signal_published"] {
        assert!(!page.contains(family), "{family} on\n{page}");
    }
}

#[test]
fn only_the_holder_of_the_lock_writes_the_gauges_of_the_cluster() {
    let mut engine = Engine::new(Release::V2_3_19, "e", Chance::new(1), TimestampMs(0), Wanted::All);
    let mut step = work(5);
    step.cluster = None;
    engine.record(TimestampMs(5_000), &step);
    assert!(!engine.page().unwrap().contains("rivet_gasoline_workflow_active"));
    engine.record(TimestampMs(20_000), &work(20));
    let published = "rivet_gasoline_worker_last_metrics_publish 20000";
    assert!(engine.page().unwrap().contains(published));
    step.worker.heartbeat = Some(TimestampMs(60_000));
    engine.record(TimestampMs(60_000), &step);
    let page = engine.page().unwrap();
    assert!(page.contains(published) && page.contains("rivet_gasoline_worker_last_ping 60000"), "{page}");
}

#[test]
fn an_engine_of_25_7_sends_what_it_is_known_to_send() {
    let engine = engine(Release::V25_7, Wanted::All);
    assert_eq!(engine.page(), None);
    let request = engine.metrics_request(TimestampMs(60_000), &[("k8s.pod.name", "p")]).unwrap();
    let resource = &request.resource_metrics[0];
    assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 4);
    let metrics = &resource.scope_metrics[0].metrics;
    assert!(metrics.len() > 30, "{}", metrics.len());
    for metric in metrics {
        let canonical = names::canonical(&metric.name, &mut LabelsBuilder::default());
        assert!(canonical.is_some_and(|name| name.starts_with("rivet_")), "{}", metric.name);
    }
    assert!(!metrics.iter().any(|m| m.name.contains("load_shedding") || m.name.contains("outbound")));
}

#[test]
fn a_restart_begins_from_zero_and_equal_seeds_give_equal_pages() {
    let (mut one, other) = (engine(Release::V2_3_19, Wanted::All), engine(Release::V2_3_19, Wanted::All));
    assert_eq!(one.page(), other.page());
    one.restart(TimestampMs(61_000));
    assert_eq!(one.page().as_deref(), Some(""));
    assert_eq!(one.started(), TimestampMs(61_000));
}
