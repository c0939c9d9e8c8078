//! What the simulated watchers see of a cluster: the same as real ones, and nothing where they see nothing.

use std::collections::BTreeSet;

use super::*;
use crate::model::{Value, is_stale_nan};
use crate::receive::host::{Config as HostConfig, HostReader, Resources, Roots};
use crate::simulate::families::Wanted;
use crate::simulate::scenario::Scenario;
use crate::storage::Point;

fn points(text: &str, turns: usize) -> (Cluster, Vec<Vec<Point>>) {
    let scenario = Scenario::parse(text, "test").unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let mut cluster = Cluster::new(&scenario, Wanted::All);
    let mut watch = Watch::new(scenario.cluster.platform, scenario.cluster.engine_api);
    let mut turns_seen = Vec::new();
    for turn in 0..turns {
        let now = scenario.start.plus_ms(turn as i64 * 15_000);
        cluster.advance(now);
        turns_seen.push(watch.turn(&cluster, now).into_iter().flat_map(|batch| batch.points).collect());
    }
    (cluster, turns_seen)
}

fn values<'a>(points: &'a [Point], name: &'a str) -> impl Iterator<Item = (&'a crate::model::Labels, f64)> {
    points.iter().filter(move |p| p.labels.metric_name() == name).filter_map(|p| match p.value {
        Value::Float(v) => Some((&p.labels, v)),
        Value::Histogram(_) => None,
    })
}

#[test]
fn pods_join_with_what_kubernetes_says_of_them() {
    let (cluster, turns) = points("duration: 10m\n", 4);
    let last = &turns[3];
    let pods: BTreeSet<&str> = cluster.pods.iter().map(|pod| pod.name.as_str()).collect();
    for name in
        ["up", "container_cpu_usage_seconds_total", "kube_pod_container_resource_requests", "rivet_probe_success"]
    {
        let seen: BTreeSet<&str> = values(last, name).filter_map(|(labels, _)| labels.get("pod")).collect();
        assert_eq!(seen, pods, "{name}");
        assert!(
            values(last, name)
                .filter(|(l, _)| l.get("pod").is_some())
                .all(|(l, _)| l.get("namespace") == Some(NAMESPACE))
        );
    }
    let (labels, _) = values(last, "rivet_gasoline_worker_last_ping").next().unwrap();
    assert_eq!((labels.get("job"), labels.get("instance")), (Some("rivet"), labels.get("pod")));
    assert!(
        turns[0].is_empty() || values(&turns[0], "up").all(|(l, _)| l.get("job") != Some("rivet")),
        "not known yet"
    );
}

#[test]
fn both_name_shapes_and_otlp_come_out_canonical() {
    for release in ["2.3.7", "2.3.19", "'25.7'"] {
        let (_, turns) = points(&format!("duration: 10m\ncluster: {{release: {release}}}\n"), 8);
        let all: Vec<Point> = turns.concat();
        for name in
            ["rivet_guard_proxy_request_total", "rivet_gasoline_signal_published_total", "rivet_api_request_total"]
        {
            assert!(values(&all, name).next().is_some(), "{name} of {release}");
        }
        let engine = all.iter().filter(|p| p.labels.get("job") == Some("rivet"));
        for name in engine.map(|p| p.labels.metric_name()) {
            assert!(name.starts_with("rivet_") || name == "up" || name.starts_with("scrape_"), "{name} of {release}");
        }
    }
}

#[test]
fn an_engine_that_is_down_is_seen_as_down_and_one_that_is_gone_is_ended() {
    let text = "duration: 20m\ncluster: {pods: 2, engine_api: false}\n\
                events: [{at: 30s, event: engine_down, pods: 1, for: 5m}, {at: 1m, event: scale_down, to: 1}]\n";
    let (_, turns) = points(text, 12);
    let up = |turn: usize| {
        values(&turns[turn], "up").filter(|(l, _)| l.get("job") == Some("rivet")).map(|(_, v)| v).collect::<Vec<_>>()
    };
    assert_eq!(up(2), [1.0, 1.0]);
    assert_eq!(up(3), [0.0, 1.0]);
    assert_eq!(up(11).iter().filter(|v| !is_stale_nan(**v)).count(), 1, "{:?}", up(11));
}

#[test]
fn what_the_host_series_are_called_is_what_a_reading_calls_them() {
    let (_, turns) = points("duration: 10m\ncluster: {backend: rocksdb}\n", 3);
    let simulated: BTreeSet<&str> = turns[2]
        .iter()
        .map(|p| p.labels.metric_name())
        .filter(|name| !name.starts_with("rivet_") && !name.starts_with("scrape_") && *name != "up")
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    std::fs::write(&pid_file, std::process::id().to_string()).unwrap();
    let config =
        HostConfig { pid_file: Some(pid_file), data_directory: Some(dir.path().to_owned()), ..HostConfig::default() };
    let resources =
        Resources { cpu_request: Some(1.0), cpu_limit: Some(2.0), memory_request: Some(1.0), memory_limit: Some(2.0) };
    let identity = Identity { job: "rivet".into(), instance: "x".into(), extra: Vec::new() };
    let mut reader = HostReader::new(config, resources, identity, Roots::system());
    let reading = reader.read(TimestampMs(1_000));
    let read: BTreeSet<&str> = reading.batch.points.iter().map(|p| p.labels.metric_name()).collect();
    let unknown: Vec<&&str> = simulated.difference(&read).collect();
    assert!(simulated.len() > 8 && unknown.is_empty(), "{unknown:?} of {simulated:?}");
}

#[test]
fn a_source_that_is_lost_is_a_failed_scrape() {
    let text = "duration: 10m\nevents: [{at: 30s, event: source_lost, source: cadvisor}, {at: 30s, event: source_lost, source: engine_api}]\n";
    let (_, turns) = points(text, 5);
    let up = |turn: usize| values(&turns[turn], "up").find(|(l, _)| l.get("job") == Some("kubelet")).map(|(_, v)| v);
    assert_eq!((up(1), up(4)), (Some(1.0), Some(0.0)));
    assert!(values(&turns[1], "rivet_probe_success").next().is_some());
    assert!(values(&turns[4], "rivet_probe_success").next().is_none());
}
