//! Scenarios as people write them, and what is said of their mistakes.

use super::*;
use crate::simulate::engine::{PoolKind, Release};

fn mistakes(text: &str) -> Vec<String> {
    Scenario::parse(text, "test").unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn a_scenario_needs_a_length_and_nothing_else() {
    let scenario = Scenario::parse("duration: 45m\n", "night").unwrap();
    assert_eq!((scenario.name.as_str(), scenario.seed, scenario.duration_ms), ("night", 1, 45 * 60_000));
    assert_eq!(scenario.start.to_rfc3339(), "2026-11-02T00:00:00.000Z");
    let cluster = &scenario.cluster;
    assert_eq!((cluster.pods, cluster.releases.as_slice()), (2, &[Release::V2_3_19][..]));
    assert_eq!(
        (cluster.backend, cluster.pubsub, cluster.platform),
        (Backend::Postgres, Pubsub::Nats, Platform::Kubernetes)
    );
    assert_eq!((cluster.cpu_request, cluster.memory_limit, cluster.autoscaler), (2.0, 4_294_967_296.0, None));
    assert_eq!((cluster.pools.len(), cluster.pools[0].kind), (1, PoolKind::Serverless));
    assert!(scenario.is_quiet() && scenario.events.is_empty());
    let single = Scenario::parse("{duration: 1h, cluster: {backend: rocksdb}}", "x").unwrap().cluster;
    assert_eq!((single.pods, single.pubsub, single.platform), (1, Pubsub::Memory, Platform::Host));
}

#[test]
fn everything_that_can_be_said_is_read() {
    let text = "
name: peak
about: The busiest hour.
seed: 7
start: 2026-11-03T08:00:00+02:00
duration: 2h
sign: 31m
cluster:
  pods: 3
  release: [2.3.7, 2.3.19]
  cpu: {request: 1, limit: 2}
  memory: {request: 1GiB, limit: 2GiB}
  autoscaler: {min: 3, max: 6, cpu: 70%}
  pools:
    - {name: web, rate_limit: 600/m, max_concurrent: 50}
    - {name: jobs, kind: serverful, hosts: 4}
load: {calls: 120/m, starts: 0.5/s, actors: 30, latency: 20ms, daily: {times: 3, peak: '13:30'}, bursts: [{at: 10m, for: 5m, times: 2, every: 1h}]}
events:
  - {at: 1h, event: traffic, times: 2, of: calls, for: 10m}
  - {at: 30m, event: host_rate_limit, pool: web, share: 90%}
expect:
  - {page: A, severity: critical, within: 90s, resolved_by: 1h}
  - {alert: B, sign: 1h, by: 70m}
may: C
never: [D, E]
";
    let s = Scenario::parse(text, "x").unwrap();
    assert_eq!((s.name.as_str(), s.seed, s.start.to_rfc3339().as_str()), ("peak", 7, "2026-11-03T06:00:00.000Z"));
    assert_eq!(s.cluster.autoscaler, Some(Autoscaler { min: 3, max: 6, cpu: 0.7, memory: 0.8 }));
    assert_eq!((s.cluster.pools[0].rate_limit, s.cluster.pools[1].hosts), (Some(10.0), 4));
    assert_eq!((s.load.calls, s.load.latency), (2.0, 0.02));
    assert_eq!(s.load.daily, Some(Daily { times: 3.0, peak_ms: 13 * 3_600_000 + 30 * 60_000 }));
    // In order of time, whatever the file says; without `for` to the end.
    assert_eq!(s.events[0].pool.as_deref(), Some("web"));
    assert_eq!((s.events[0].at_ms, s.events[0].until_ms), (30 * 60_000, 2 * 3_600_000));
    assert_eq!(s.events[1].action, Action::Traffic { times: 2.0, calls: true, starts: false });
    assert_eq!((s.expect[0].sign_ms, s.expect[0].by_ms), (31 * 60_000, 31 * 60_000 + 90_000));
    assert!(!s.expect[1].is_page && !s.is_quiet());
    assert_eq!((s.may, s.never), (vec!["C".to_owned()], vec!["D".to_owned(), "E".to_owned()]));
}

#[test]
fn every_mistake_is_named_with_line_key_and_value() {
    let text = "\
duration: 20m
cluster:
  pods: many
  podz: 2
  pools: [{name: a, kind: serverful, rate_limit: 3/s}, {name: a}]
load:
  calls: 10/y
events:
  - {at: 25m, event: rollout}
  - {at: 5m, event: earthquake}
  - {at: 5m, event: cpu_hog, cores: lots, pool: a}
  - {event: host_rate_limit, pool: b}
expect:
  - {page: X}
  - {within: 5m}
  - {page: Y, by: 30m}
";
    assert_eq!(
        mistakes(text),
        [
            "line 3: `cluster.pods` must be a whole number from 0 to 100, got `many`",
            "line 4: `cluster.podz` is not a known key; known here: release, backend, platform, pods, pubsub, cpu, \
             memory, autoscaler, disk, pools, expected, engine_api",
            "line 5: `cluster.pools` must have one pool of each name, `a` stands twice",
            "line 5: `cluster.pools[0].rate_limit` is of `kind: serverless`; a connected host has neither",
            "line 7: `load.calls` must be a rate such as 20/s or 300/m, got `10/y`",
            "line 9: `events[0].at` must be before the end of the scenario",
            &format!(
                "line 10: `events[1].event` must be one of {}, got `earthquake`",
                EVENTS.map(|(name, ..)| name).join(", ")
            ),
            "line 11: `events[2].cores` must be a number from 0 to 256, got `lots`",
            "line 11: `events[2].pool` is not a known key; known here: at, event, for, pods, cores",
            "line 12: `events[3].at` must say when the event begins",
            "line 12: `events[3].event` `host_rate_limit` needs a pool of `kind: serverless`",
            "line 12: `events[3].pool` must be a pool of `cluster.pools`, got `b`",
            "line 14: `expect[0].by` must say until when the page has to come (or `within`, after the first sign)",
            "line 15: `expect[1].page` must name the alert that pages (or `alert`, one that only has to fire)",
            "line 16: `expect[2].by` must not be after the end of the scenario",
        ]
        .map(str::to_owned)
    );
    assert_eq!(mistakes("name: x\n"), ["line 1: `duration` must say how long the scenario lasts, e.g. 45m"]);
}

#[test]
fn events_are_refused_where_they_cannot_happen() {
    for (cluster, event, needs) in [
        ("{}", "host_down", "needs a pool of `kind: serverful`"),
        ("{pools: [{name: a, kind: serverful}]}", "host_rate_limit", "needs a pool of `kind: serverless`"),
        ("{platform: host}", "scale_down", "needs `platform: kubernetes`"),
        ("{}", "hpa_max", "needs `cluster.autoscaler`"),
        ("{}", "disk_filling", "needs `cluster.backend: rocksdb`"),
        ("{pubsub: memory}", "nats_partition", "`cluster.pubsub: nats` or `postgres`"),
        ("{backend: rocksdb}", "nats_slow_consumer", "needs `cluster.pubsub: nats`"),
        ("{}", "retire_instance", "before any instance is gone"),
    ] {
        let text = format!("duration: 10m\ncluster: {cluster}\nevents: [{{at: 1m, event: {event}}}]\n");
        let found = mistakes(&text);
        assert!(found.len() == 1 && found[0].starts_with("line 3: ") && found[0].contains(needs), "{found:?}");
    }
    // Everything that is listed can be read.
    for (name, keys, about) in EVENTS {
        let cluster = if name == "disk_filling" { "backend: rocksdb" } else { "autoscaler: {}" };
        let text = format!(
            "duration: 10m\ncluster: {{{cluster}, pools: [{{name: a}}, {{name: b, kind: serverful}}]}}\n\
             events: [{}{{at: 1m, event: {name}{}}}]\n",
            if name == "retire_instance" { "{at: 0m, event: scale_down}, " } else { "" },
            if name == "source_lost" { ", source: cadvisor" } else { "" },
        );
        let scenario = Scenario::parse(&text, "x").unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        assert!(!scenario.events.is_empty(), "{name} {keys:?} {about}");
    }
}

#[test]
fn load_follows_the_day_and_its_bursts() {
    let text =
        "{duration: 1h, load: {daily: {times: 3, peak: '14:00'}, bursts: [{at: 10m, for: 5m, times: 2, every: 30m}]}}";
    let load = Scenario::parse(text, "x").unwrap().load;
    let hour = 3_600_000;
    assert!((load.factor(0, 14 * hour) - 3.0).abs() < 1e-9 && (load.factor(0, 2 * hour) - 1.0).abs() < 1e-9);
    assert!((load.factor(0, 8 * hour) - 2.0).abs() < 1e-9);
    let burst = |minutes: i64| load.factor(minutes * 60_000, 2 * hour);
    assert_eq!([9, 10, 14, 15, 40, 45].map(burst), [1.0, 2.0, 2.0, 1.0, 2.0, 1.0]);
}

#[test]
fn names_that_no_rule_has_are_named_with_the_nearest() {
    let text = "duration: 10m\nexpect:\n  - {page: [RivetEngineDwon, RivetEngineDown], severity: fatal, by: 9m}\n\
                may: ['RivetPubsub*', 'Ribet*']\nnever: RivetEngineDown\n";
    let scenario = Scenario::parse(text, "x").unwrap();
    let shipped = crate::rules::load(&crate::rules::builtin_sources(), &Default::default()).unwrap();
    let found: Vec<String> = scenario.named.unknown_to(&[&shipped]).iter().map(ToString::to_string).collect();
    let expected = [
        "line 3: `expect[0].page[0]` names no alert of the rules, got `RivetEngineDwon`; did you mean `RivetEngineDown`?",
        "line 4: `may[1]` names no alert of the rules, got `Ribet*`",
        "line 3: `expect[0].severity` must be a severity of the rules, one of critical, info, warning, got `fatal`",
    ];
    assert_eq!(found, expected);
}
