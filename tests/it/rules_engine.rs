//! The step machine from outside: what the API shows, what the rules write about themselves, what a crash leaves.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::sync::Arc;
use std::time::Duration;

use rivetwatch::model::{AlertState, Labels, Matcher, Stats, TimeRange, TimestampMs, Value};
use rivetwatch::promql::{Engine, EngineOptions, parse_series_labels};
use rivetwatch::rules::{
    BLIND_METRIC, COST_METRIC, Config, FAILURES_METRIC, Input, MemoryStore, Output, Rules, Source, Tuning, load,
};
use rivetwatch::storage::{Point, Select, SeriesData};
use serde_json::json;

struct World {
    store: MemoryStore,
    rules: Rules,
}

impl World {
    fn new(text: &str) -> Self {
        Self { store: MemoryStore::default(), rules: machine(text) }
    }

    fn put(&mut self, series: &str, at: i64, v: f64) {
        let labels = parse_series_labels(series).unwrap();
        self.store.push(Point { labels, t: TimestampMs(at), value: Value::Float(v) });
    }

    fn tick(&mut self, at: i64) -> Output {
        let watch = || Duration::from_millis(5);
        let input = Input { storage: &self.store, sources_ready: true, stopwatch: Some(&watch) };
        let out = self.rules.tick(TimestampMs(at), &input);
        self.store.commit(out.batch.clone());
        out
    }

    /// The last value of the only series with this name and rule.
    fn own(&self, metric: &str, rule: &str) -> Option<f64> {
        let matchers = [Matcher::equal("__name__", metric), Matcher::equal("rule", rule)];
        let mut set = self.store.select(&matchers, TimeRange::ALL).unwrap();
        let mut data = SeriesData::default();
        set.next_into(&mut data).unwrap();
        data.floats.last().map(|s| s.v)
    }
}

fn machine(text: &str) -> Rules {
    let set = load(&[Source { name: "rules.yaml".into(), text: text.into() }], &Tuning::default()).unwrap();
    let settings = Config { external_labels: [("cluster".into(), "eu".into())].into(), ..Config::default() };
    Rules::new(
        set,
        settings.settings("http://watch.example/", 300_000),
        Arc::new(Engine::new(EngineOptions::default())),
    )
}

const RULES: &str = "groups:
- name: g
  limit: 5
  rules:
  - {record: 'job:x:sum', expr: sum by (job) (x), labels: {level: job}}
  - alert: Hot
    expr: job:x:sum > 1
    for: 30s
    labels: {severity: warning}
    annotations: {summary: '{{ $value }}'}
  - {record: broken, expr: a + on (job) b}
- name: other
  interval: 1m
  rules:
  - {alert: Watchdog, expr: vector(1), annotations: {bad: '{{ .Nope }}'}}
";

#[test]
fn the_view_serialises_as_prometheus_answers() {
    let mut world = World::new(RULES);
    for (series, v) in
        [("x{job=\"a\"}", 2.5), ("a{job=\"j\",c=\"1\"}", 1.0), ("b{job=\"j\"}", 1.0), ("b{job=\"j\",c=\"2\"}", 1.0)]
    {
        world.put(series, 0, v);
    }
    let before = serde_json::to_value(world.rules.view().groups(|_, _| true)).unwrap();
    assert_eq!(before[0]["rules"][0]["health"], "unknown");
    assert_eq!(before[0]["rules"][0]["lastEvaluation"], "0001-01-01T00:00:00Z");
    let out = world.tick(0);
    assert_eq!(
        out.failures.iter().map(|f| (f.rule.as_str(), f.kind)).collect::<Vec<_>>(),
        [("broken", "evaluation"), ("Watchdog", "template")]
    );

    let view = world.rules.view();
    let mut groups = serde_json::to_value(view.groups(|_, _| true)).unwrap();
    let error = groups[0]["rules"][2]["lastError"].take();
    assert!(error.as_str().unwrap().contains("many-to-"), "{error}");
    let evaluated = json!({"health": "ok", "evaluationTime": 0.0, "lastEvaluation": "1970-01-01T00:00:00.000Z"});
    let with = |mut rule: serde_json::Value| {
        for (key, value) in evaluated.as_object().unwrap() {
            rule.as_object_mut().unwrap().entry(key).or_insert(value.clone());
        }
        rule
    };
    let expected = json!([
        {
            "name": "g", "file": "rules.yaml", "interval": 15.0, "limit": 5, "evaluationTime": 0.0,
            "lastEvaluation": "1970-01-01T00:00:00.000Z",
            "rules": [
                with(json!({"name": "job:x:sum", "query": "sum by (job) (x)", "labels": {"level": "job"}, "type": "recording"})),
                with(json!({
                    "state": "pending", "name": "Hot", "query": "job:x:sum > 1", "duration": 30.0, "keepFiringFor": 0.0,
                    "labels": {"severity": "warning"}, "annotations": {"summary": "{{ $value }}"},
                    "alerts": [{
                        "labels": {"alertname": "Hot", "job": "a", "level": "job", "severity": "warning"},
                        "annotations": {"summary": "2.5"}, "state": "pending",
                        "activeAt": "1970-01-01T00:00:00.000Z", "value": "2.5e+00",
                    }],
                    "type": "alerting",
                })),
                with(json!({"name": "broken", "query": "a + on (job) b", "health": "err", "lastError": null, "type": "recording"})),
            ],
        },
        {
            "name": "other", "file": "rules.yaml", "interval": 60.0, "limit": 0, "evaluationTime": 0.0,
            "lastEvaluation": "1970-01-01T00:00:00.000Z",
            "rules": [with(json!({
                "state": "firing", "name": "Watchdog", "query": "vector(1)", "duration": 0.0, "keepFiringFor": 0.0,
                "labels": {}, "annotations": {"bad": "{{ .Nope }}"},
                "alerts": [{
                    "labels": {"alertname": "Watchdog"},
                    "annotations": {"bad": groups[1]["rules"][0]["alerts"][0]["annotations"]["bad"]},
                    "state": "firing", "activeAt": "1970-01-01T00:00:00.000Z", "firedAt": "1970-01-01T00:00:00.000Z",
                    "value": "1e+00",
                }],
                "type": "alerting",
            }))],
        },
    ]);
    let text = groups[1]["rules"][0]["alerts"][0]["annotations"]["bad"].as_str().unwrap().to_owned();
    assert!(text.starts_with("<error expanding template: error executing template __alert_Watchdog:"), "{text}");
    assert_eq!(groups, expected);
    assert_eq!(view.groups(|rule, _| rule.name == "Hot").len(), 1, "groups without a kept rule are left out");
}

#[test]
fn alerts_are_sent_with_links_and_external_labels_and_repeated_each_minute() {
    let mut world = World::new("groups: [{name: g, rules: [{alert: Hot, expr: x > 1}]}]");
    let mut sent = Vec::new();
    for at in (0..=300_000).step_by(15_000) {
        world.put("x{job=\"a\"}", at, if at < 150_000 { 5.0 } else { 0.0 });
        sent.extend(world.tick(at).alerts.into_iter().map(|a| (at / 1000, a)));
    }
    let times: Vec<_> = sent.iter().map(|(at, a)| (*at, a.state)).collect();
    let (f, r) = (AlertState::Firing, AlertState::Resolved);
    assert_eq!(times, [(0, f), (60, f), (120, f), (150, r), (210, r), (270, r)]);
    let alert = &sent[1].1;
    assert_eq!(alert.labels, Labels::from_pairs([("alertname", "Hot"), ("cluster", "eu"), ("job", "a")]));
    assert_eq!(alert.generator_url, "http://watch.example/graph?g0.expr=x+%3E+1&g0.tab=1");
    assert_eq!((alert.starts_at.0, alert.ends_at.0), (0, 60_000 + 240_000));
    assert_eq!(sent[5].1.ends_at.0, 150_000);
}

#[test]
fn a_resolve_that_was_not_told_before_a_crash_is_told_after_it() {
    let text = "groups: [{name: g, rules: [{alert: Hot, expr: x > 1}]}]";
    let mut world = World::new(text);
    for (at, v) in [(0, 5.0), (15_000, 5.0), (30_000, 0.0)] {
        world.put("x", at, v);
        // The process dies before the last tick's alerts are handed on.
        world.tick(at);
    }
    world.rules = machine(text);
    assert_eq!(world.rules.restore(TimestampMs(40_000), &world.store).unwrap(), 1);
    world.put("x", 45_000, 0.0);
    let alerts = world.tick(45_000).alerts;
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].state, alerts[0].starts_at.0, alerts[0].ends_at.0), (AlertState::Resolved, 0, 30_000));
    let much_later = machine(text).restore(TimestampMs(40_000_000), &world.store);
    assert_eq!(much_later.unwrap(), 0, "it was told for long enough");
}

#[test]
fn failing_and_blind_rules_say_so_in_series_of_their_own() {
    let mut world = World::new(
        "groups:
- name: g
  rules:
  - {record: limit, expr: '1'}
  - {alert: Vanished, expr: x > on () group_left () min(limit)}
  - {alert: Never, expr: never > 1}
  - {alert: Absent, expr: absent(never)}
  - {record: broken, expr: a + on (job) b}
  - {alert: HalfNever, expr: a > 5 and on () typo == 1}
  - {alert: NeverDivided, expr: sum(a) / sum(typo) > 0.5}
  - {alert: NoneOfThese, expr: 'a{c=\"500\"} / on (job) a > 0.5'}
  - {alert: EitherOr, expr: typo > 1 or a > 5}
  - {alert: Unless, expr: a > 5 unless on () typo}
  - {alert: OfARule, expr: a > 5 and on () filtered}
  - {record: filtered, expr: a > 5}
",
    );
    for at in (0..=600_000).step_by(15_000) {
        if at <= 60_000 {
            world.put("x", at, 0.0);
        }
        for series in ["a{job=\"j\"}", "b{job=\"j\"}", "b{job=\"j\",c=\"2\"}"] {
            world.put(series, at, 1.0);
        }
        world.tick(at);
        if at == 60_000 {
            assert_eq!(world.own(BLIND_METRIC, "Vanished"), Some(0.0));
        }
    }
    let blind = ["Vanished", "Never", "Absent", "limit", "broken"].map(|rule| world.own(BLIND_METRIC, rule));
    assert_eq!(blind, [Some(1.0), Some(1.0), Some(0.0), Some(0.0), Some(0.0)]);
    let blind = ["HalfNever", "NeverDivided"].map(|rule| world.own(BLIND_METRIC, rule));
    assert_eq!(blind, [Some(1.0); 2], "one side that never existed is enough");
    let names = ["NoneOfThese", "EitherOr", "Unless", "OfARule", "filtered"];
    assert_eq!(names.map(|rule| world.own(BLIND_METRIC, rule)), [Some(0.0); 5], "what may be absent");
    assert_eq!(world.own(FAILURES_METRIC, "broken"), Some(41.0));
    assert_eq!(world.own(FAILURES_METRIC, "Never"), Some(0.0));
    let rows = world.rules.stats().rows();
    let value = |name: &str| rows.iter().find(|r| r.name == name).map(|r| r.value);
    assert_eq!(value("rivetwatch_rules_failures_total"), Some(41.0));
    assert_eq!(value("rivetwatch_rules_ticks_total"), Some(41.0));
    assert_eq!(value("rivetwatch_rules_blind"), Some(4.0));
}

#[test]
fn an_arrival_begins_no_alert_beyond_the_limit_that_the_tick_ends_them_all_for() {
    let mut world = World::new("groups: [{name: g, limit: 1, rules: [{alert: Many, expr: x > 1}]}]");
    world.tick(0);
    for series in ["x{i=\"1\"}", "x{i=\"2\"}"] {
        world.put(series, 7_000, 5.0);
    }
    let input = Input { storage: &world.store, sources_ready: true, stopwatch: None };
    let arrived = world.rules.arrival(TimestampMs(7_100), &input);
    assert!(arrived.is_none_or(|out| out.alerts.is_empty()));
    let ticked = world.tick(15_000);
    assert!(ticked.alerts.is_empty());
    assert_eq!(ticked.failures.len(), 1);
}

#[test]
fn recorded_series_end_when_their_rule_gives_them_no_more() {
    let mut world = World::new("groups: [{name: g, rules: [{record: 'big', expr: x > 1}]}]");
    world.put("x{i=\"1\"}", 0, 5.0);
    world.tick(0);
    world.put("x{i=\"1\"}", 15_000, 0.0);
    let out = world.tick(15_000);
    let ended: Vec<_> = out.batch.points.iter().filter(|p| p.labels.metric_name() == "big").collect();
    assert_eq!(ended.len(), 1);
    assert!(matches!(ended[0].value, Value::Float(v) if rivetwatch::model::is_stale_nan(v)));
    assert!(world.tick(30_000).batch.points.iter().all(|p| p.labels.metric_name() != "big"), "once");
}

#[test]
fn a_rule_that_costs_much_is_named_with_its_cost() {
    let mut world = World::new("groups: [{name: g, rules: [{record: cheap, expr: '1'}, {alert: Dear, expr: x > 1}]}]");
    // Each look at the watch is later: by 1 ms, and by 40 ms after the second rule.
    let looks = std::cell::Cell::new(0u64);
    let stopwatch = || {
        looks.set(looks.get() + 1);
        std::time::Duration::from_millis(looks.get() + if looks.get() >= 4 { 40 } else { 0 })
    };
    let input = Input { storage: &world.store, sources_ready: true, stopwatch: Some(&stopwatch) };
    let batch = world.rules.tick(TimestampMs(15_000), &input).batch;
    world.store.commit(batch);
    assert_eq!(world.own(COST_METRIC, "cheap"), None);
    assert_eq!(world.own(COST_METRIC, "Dear"), Some(0.041));
}

#[test]
fn a_group_with_a_longer_interval_keeps_to_its_own_ticks() {
    let mut world = World::new(
        "groups:
- name: minutely
  interval: 1m
  rules:
  - {record: 'job:x:last', expr: x}
  - {alert: Slow, expr: x > 0, for: 30s}
- name: every-tick
  interval: 5s
  rules: [{record: 'job:x:tick', expr: x}]
",
    );
    let recorded = |out: &Output, name: &str| out.batch.points.iter().any(|p| p.labels.metric_name() == name);
    let mut at_ticks = Vec::new();
    // The start is not aligned; the tick at 120 s is missed and made up for at 135 s.
    for at in [15, 30, 45, 60, 75, 90, 105, 135, 150, 165, 180, 195] {
        world.put("x{job=\"a\"}", at * 1000, 1.0);
        let out = world.tick(at * 1000);
        assert!(recorded(&out, "job:x:tick"), "a shorter interval than the tick's is the tick's");
        if recorded(&out, "job:x:last") {
            at_ticks.push(at);
        }
    }
    assert_eq!(at_ticks, [60, 135, 180]);

    world.put("x{job=\"b\"}", 196_000, 1.0);
    let input = Input { storage: &world.store, sources_ready: true, stopwatch: None };
    world.rules.arrival(TimestampMs(197_000), &input).unwrap();
    let alerts = |world: &World| world.rules.view().alerts().count();
    assert_eq!(alerts(&world), 1, "what arrives between ticks waits for the group's own");
    assert_eq!(world.rules.next_deadline(), None);
    world.tick(240_000);
    assert_eq!(alerts(&world), 2);
}

#[test]
fn a_reload_neither_repeats_nor_forgets_a_groups_interval() {
    let text = "groups: [{name: minutely, interval: 1m, rules: [{record: 'job:x:last', expr: vector(1)}]}]";
    let mut world = World::new(text);
    let ran = |out: Output| out.batch.points.iter().any(|p| p.labels.metric_name() == "job:x:last");
    assert!(ran(world.tick(60_000)));
    let again = load(&[Source { name: "rules.yaml".into(), text: text.into() }], &Tuning::default()).unwrap();
    world.rules.replace(again, TimestampMs(65_000));
    assert!(!ran(world.tick(75_000)));
    assert!(ran(world.tick(120_000)));
}

#[test]
fn a_template_that_fails_is_counted_and_an_unknown_severity_wakes_somebody() {
    let mut world = World::new(
        "groups:
- name: g
  rules:
  - alert: Hot
    expr: x > 1
    labels: {severity: '{{ (query \"level\") | first | value }}', team: a}
    annotations: {summary: '{{ .Nope }}'}
",
    );
    let mut sent = Vec::new();
    for at in (0..=120_000).step_by(15_000) {
        world.put("x{job=\"j\"}", at, 5.0);
        if at >= 60_000 {
            world.put("level", at, 2.0);
        }
        sent.extend(world.tick(at).alerts.into_iter().map(|a| (at, a)));
    }
    // The annotation fails at every tick, the label at the first four.
    assert_eq!(world.own(FAILURES_METRIC, "Hot"), Some(9.0));
    let told: Vec<_> = sent.iter().map(|(at, a)| (*at, a.state, a.labels.get("severity").unwrap())).collect();
    assert_eq!(
        told,
        [
            (0, AlertState::Firing, "critical"),
            (60_000, AlertState::Firing, "2"),
            (60_000, AlertState::Resolved, "critical"),
            (120_000, AlertState::Firing, "2"),
            (120_000, AlertState::Resolved, "critical"),
        ]
    );
    let first = &sent[0].1;
    assert_eq!((first.labels.get("team"), first.labels.get("job")), (Some("a"), Some("j")), "the others stay");
    assert_eq!(
        first.annotations["rivetwatch_state"],
        "template: the severity could not be rendered, so it is critical"
    );
    assert_eq!(sent[1].1.annotations.get("rivetwatch_state"), None);
    // What is recorded is what Prometheus records.
    let mut set = world.store.select(&[Matcher::equal("__name__", "ALERTS")], TimeRange::ALL).unwrap();
    let mut data = SeriesData::default();
    let mut severities = Vec::new();
    while let Some(labels) = set.next_into(&mut data).unwrap() {
        severities.push(labels.get("severity").unwrap().to_owned());
    }
    severities.sort();
    assert!(severities[0] == "2" && severities[1].starts_with("<error expanding template:"), "{severities:?}");
    let health = serde_json::to_value(world.rules.view().groups(|_, _| true)).unwrap()[0]["rules"][0]["health"].take();
    assert_eq!(health, "ok");
}

#[test]
fn an_unknown_severity_that_is_critical_after_all_is_one_alert() {
    let mut world = World::new(
        "groups:
- name: g
  rules:
  - {alert: Hot, expr: x > 1, labels: {severity: '{{ with (query \"level\") | first | value }}critical{{ end }}'}}
",
    );
    let mut sent = Vec::new();
    for at in (0..=120_000).step_by(15_000) {
        world.put("x", at, 5.0);
        if at >= 60_000 {
            world.put("level", at, 2.0);
        }
        sent.extend(world.tick(at).alerts.into_iter().map(|a| (at, a.state, a.labels)));
    }
    assert!(sent.iter().all(|(_, state, _)| *state == AlertState::Firing), "{sent:?}");
    assert_eq!(sent.iter().map(|(at, ..)| *at).collect::<Vec<_>>(), [0, 60_000, 120_000]);
    assert!(sent.iter().all(|(.., labels)| *labels == sent[0].2));
}

#[test]
fn pending_and_firing_have_their_own_start_also_while_held() {
    let mut world = World::new("groups: [{name: g, rules: [{alert: Hot, expr: x > 1, for: 30s}]}]");
    let starts = |world: &World| {
        let view = world.rules.view();
        let alert = serde_json::to_value(view.alerts().next().unwrap().1).unwrap();
        let time = |name: &str| alert[name].as_str().map(|t| t[17..19].to_owned());
        (alert["state"].as_str().unwrap().to_owned(), time("activeAt").unwrap(), time("firedAt"), alert["hold"].clone())
    };
    for at in [15_000, 30_000, 45_000] {
        world.put("x", at, 5.0);
        world.tick(at);
        if at == 30_000 {
            assert_eq!(starts(&world), ("pending".into(), "15".into(), None, json!(null)));
        }
    }
    assert_eq!(starts(&world), ("firing".into(), "15".into(), Some("45".into()), json!(null)));
    for at in [360_000, 375_000] {
        world.tick(at);
    }
    let held = ("firing".to_owned(), "15".to_owned(), Some("45".to_owned()), json!("no_data"));
    assert_eq!(starts(&world), held);
    world.rules = machine("groups: [{name: g, rules: [{alert: Hot, expr: x > 1, for: 30s}]}]");
    world.rules.restore(TimestampMs(380_000), &world.store).unwrap();
    assert_eq!(starts(&world), held, "after a restart, too");
}

#[test]
fn texts_after_a_restart_are_the_last_ones_known() {
    let text = "groups:
- name: g
  rules:
  - {alert: Now, expr: x > 1, annotations: &texts {summary: '{{ $value }} of {{ $labels.job }}', other: '{{ query \"y\" | first | value }}', plain: p}}
  - {alert: Kept, expr: k > 1, keep_firing_for: 10m, annotations: *texts}
  - {alert: Held, expr: h > 1, annotations: *texts}
  - {alert: Fails, expr: a + on (job) b > 1, annotations: *texts}
  - {alert: Over, expr: o > 1, annotations: *texts}
- name: late
  query_offset: 15s
  rules:
  - {alert: Late, expr: k > 1, keep_firing_for: 10m, annotations: *texts}
";
    let mut world = World::new(text);
    let run = |world: &mut World, from: i64, to: i64| {
        for at in (from..=to).step_by(15_000) {
            world.put("y", at, 9.0);
            world.put("x{job=\"j\"}", at, 5.0);
            world.put("k{job=\"j\"}", at, if at <= 60_000 { 2.5 } else { 0.0 });
            world.put("o{job=\"j\"}", at, if at < to { 7.0 } else { 0.0 });
            world.put("a{job=\"j\"}", at, 1.0);
            world.put("b{job=\"j\"}", at, 3.0);
            if at > 60_000 {
                world.put("b{job=\"j\",c=\"2\"}", at, 3.0);
            }
            if at == 75_000 {
                world.put("h{job=\"j\"}", at, rivetwatch::model::stale_nan());
            } else if at < 75_000 {
                world.put("h{job=\"j\"}", at, 4.0);
            }
            world.tick(at);
        }
    };
    run(&mut world, 0, 120_000);
    let texts = |world: &World| -> Vec<String> {
        let view = world.rules.view();
        let line = |a: &rivetwatch::rules::AlertView| {
            let a = serde_json::to_value(a).unwrap();
            let text = |name: &str| a["annotations"][name].as_str().unwrap_or("-").to_owned();
            format!(
                "{} {}|{}|{} {}",
                a["labels"]["alertname"],
                text("summary"),
                text("other"),
                text("plain"),
                a["value"]
            )
        };
        view.alerts().map(|(_, a)| line(a)).collect()
    };
    let before = texts(&world);
    assert_eq!(before.len(), 5, "{before:?}");
    assert_eq!(before[2], "\"Held\" 4 of j|9|p \"4e+00\"");
    world.rules = machine(text);
    world.rules.restore(TimestampMs(125_000), &world.store).unwrap();
    assert_eq!(texts(&world), before);
    // Killed again before any source reported: what ticks wrote meanwhile holds no data.
    let input = Input { storage: &world.store, sources_ready: false, stopwatch: None };
    let sent = world.rules.tick(TimestampMs(495_000), &input);
    let over = sent.alerts.iter().find(|a| a.name() == "Over").unwrap();
    assert_eq!((over.state, over.annotations["summary"].as_str()), (AlertState::Resolved, "7 of j"));
    world.store.commit(sent.batch);
    world.rules = machine(text);
    world.rules.restore(TimestampMs(500_000), &world.store).unwrap();
    assert_eq!(texts(&world), before);
}

#[test]
fn a_text_whose_data_is_gone_after_a_restart_has_the_value_that_was_written_down_and_never_nan() {
    let text = "groups:
- name: g
  rules:
  - {alert: Hot, expr: x > 1, annotations: {value: '{{ $value }}', job: 'of {{ $labels.job }}', query: '{{ query \"x\" | first | value }}'}}
";
    let mut world = World::new(text);
    world.put("x{job=\"j\"}", 0, 5.0);
    let points = world.tick(0).batch.points;
    for (is_kept, wanted) in [(true, vec![("job", "of j"), ("value", "5")]), (false, vec![("job", "of j")])] {
        let mut store = MemoryStore::default();
        let kept = points.iter().filter(|p| is_kept || p.labels.metric_name() != "rivetwatch_alert_value");
        kept.for_each(|point| store.push(point.clone()));
        world.rules = machine(text);
        world.rules.restore(TimestampMs(15_000), &store).unwrap();
        let view = world.rules.view();
        let annotations = &view.alerts().next().unwrap().1.annotations;
        assert_eq!(annotations.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect::<Vec<_>>(), wanted);
    }
}
