//! Our `ALERTS`, recorded series and annotations against Prometheus' own, over generated histories.
//!
//! A history is played through our rules; what came out at every tick is written as a promtool unit test,
//! which `promtool test rules` must pass. Passed over where promtool is not installed.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::process::Command;
use std::sync::Arc;

use rivetwatch::model::{Labels, TimestampMs, Value, format_duration_ms};
use rivetwatch::promql::{
    Engine, EngineOptions, QueryValue, WindowEdges, parse, parse_series_labels, parse_series_values,
};
use rivetwatch::rules::{Input, MemoryStore, Rules, Settings, Source, State, Tuning, load};
use rivetwatch::storage::Point;
use serde_json::{Map, json};

const STEP_MS: i64 = 15_000;
const TICKS: i64 = 80;

const RULES: &str = r#"groups:
- name: signals
  rules:
  - {record: 'job:load:sum', expr: 'sum by (job) (load)', labels: {level: job}}
  - {record: 'instance:errors:rate1m', expr: 'rate(errors_total[1m])'}
- name: alerts
  rules:
  - alert: Loaded
    expr: load > 5
    for: 45s
    labels: {severity: '{{ if gt $value 7.0 }}critical{{ else }}warning{{ end }}', team: '{{ $labels.team }}'}
    annotations: {summary: '{{ $labels.instance }} at {{ $value | humanize }}', none: '{{ $labels.nope }}'}
  - alert: Kept
    expr: load > 6
    for: 15s
    keep_firing_for: 1m
    annotations:
      text: '{{ printf "%.3f" $value }} {{ $value | humanizePercentage }} {{ 3661.0 | humanizeDuration }} {{ humanize1024 123456.0 }}'
  - alert: Summed
    expr: 'job:load:sum > 8'
    annotations:
      all: '{{ range query "load" | sortByLabel "instance" }}{{ .Labels.instance }}={{ .Value }};{{ end }}'
      first: '{{ with query "load" | sortByLabel "instance" }}{{ . | first | value | printf "%.1f" }}{{ end }}'
      text: '{{ $labels.job | toUpper | title }} {{ reReplaceAll "(.)b" "$1x" "ab" }} {{ match "a.*" "xay" }} {{ $labels }}'
  - alert: Erring
    expr: 'instance:errors:rate1m > 0.2'
    for: 30s
    annotations: {text: '{{ $value }} {{ $externalLabels.region }} {{ $externalURL }} {{ 1435065584.128 | humanizeTimestamp }}'}
  - {alert: Gone, expr: 'absent(load{instance="c"})', for: 15s}
  - {alert: Always, expr: 'vector(1)', labels: {note: "{{ $value }}"}}
"#;

/// A series of small whole numbers with gaps and ends.
fn history(rng: &mut fastrand::Rng, counter: bool) -> Vec<String> {
    // Counters stay far from zero and do not reset: Prometheus 3 extrapolates towards it otherwise than 2.42.
    let mut level = if counter { 1000 } else { rng.i32(0..10) };
    let mut absent = 0;
    (0..=TICKS)
        .map(|_| {
            if absent > 0 {
                absent -= 1;
                return "_".into();
            }
            match rng.u8(0..20) {
                0 => {
                    absent = rng.i32(1..6);
                    return "stale".into();
                }
                1 => {
                    absent = rng.i32(0..3);
                    return "_".into();
                }
                2..=9 => level = if counter { level + rng.i32(0..30) } else { rng.i32(0..10) },
                _ => {}
            }
            level.to_string()
        })
        .collect()
}

fn samples(engine: &Engine, store: &MemoryStore, query: &str, at: i64) -> Vec<serde_json::Value> {
    let result = engine.instant(store, &parse(query).unwrap(), TimestampMs(at)).unwrap();
    let QueryValue::Vector(samples) = result.value else { panic!("{query} is a vector") };
    let float = |value: Value| if let Value::Float(v) = value { v } else { panic!("floats only") };
    samples.into_iter().map(|s| json!({"labels": s.labels.to_string(), "value": float(s.value)})).collect()
}

fn texts(pairs: impl IntoIterator<Item = (String, String)>) -> Map<String, serde_json::Value> {
    pairs.into_iter().map(|(n, v)| (n, json!(v))).collect()
}

fn unit_test(seed: u64) -> serde_json::Value {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut store = MemoryStore::default();
    let mut input = Vec::new();
    for (metric, counter) in [("load", false), ("errors_total", true)] {
        for instance in ["a", "b", "c"] {
            let series = format!("{metric}{{instance=\"{instance}\",job=\"j\"}}");
            let values = history(&mut rng, counter).join(" ");
            let labels = parse_series_labels(&series).unwrap();
            for (i, value) in parse_series_values(&values).unwrap().into_iter().enumerate() {
                if let Some(value) = value {
                    let t = TimestampMs(i as i64 * STEP_MS);
                    store.push(Point { labels: labels.clone(), t, value: value.value });
                }
            }
            input.push(json!({"series": series, "values": values}));
        }
    }
    let engine = Engine::new(EngineOptions { window_edges: WindowEdges::Closed, ..EngineOptions::default() });
    let set = load(&[Source { name: "rules".into(), text: RULES.into() }], &Tuning::default()).unwrap();
    let settings = Settings {
        interval_ms: STEP_MS,
        own_series: false,
        external_labels: Labels::from_pairs([("region", "eu")]),
        external_url: "http://watch.example".into(),
        ..Settings::default()
    };
    let mut rules = Rules::new(set, settings, Arc::new(engine.clone()));
    let (mut alerts, mut exprs) = (Vec::new(), Vec::new());
    for at in (0..=TICKS).map(|i| i * STEP_MS) {
        store.show_until(TimestampMs(at));
        let out = rules.tick(TimestampMs(at), &Input { storage: &store, sources_ready: true, stopwatch: None });
        assert_eq!(out.failures, [], "at {at}");
        store.commit(out.batch);
        let time = format_duration_ms(at);
        for query in ["ALERTS", "ALERTS_FOR_STATE", "job:load:sum", "instance:errors:rate1m"] {
            exprs.push(json!({"expr": query, "eval_time": time, "exp_samples": samples(&engine, &store, query, at)}));
        }
        let view = rules.view();
        for name in ["Loaded", "Kept", "Summed", "Erring", "Gone", "Always"] {
            let firing =
                view.alerts().filter(|(rule, a)| rule.name == name && a.state == State::Firing && a.hold.is_none());
            let expected: Vec<_> = firing
                .map(|(_, a)| {
                    let labels = a.labels.iter().filter(|(n, _)| *n != "alertname");
                    let labels = texts(labels.map(|(n, v)| (n.to_owned(), v.to_owned())));
                    json!({"exp_labels": labels, "exp_annotations": texts(a.annotations.clone())})
                })
                .collect();
            alerts.push(json!({"eval_time": time, "alertname": name, "exp_alerts": expected}));
        }
    }
    json!({
        "interval": "15s",
        "input_series": input,
        "external_labels": {"region": "eu"},
        "external_url": "http://watch.example",
        "alert_rule_test": alerts,
        "promql_expr_test": exprs,
    })
}

#[test]
fn promtool_agrees_on_every_tick_of_generated_histories() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("passed over: promtool is not installed");
        return;
    }
    let tests: Vec<_> = (0..6).map(unit_test).collect();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), RULES).unwrap();
    let file = json!({
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "15s",
        "group_eval_order": ["signals", "alerts"],
        "tests": tests,
    });
    let path = dir.path().join("test.yaml");
    std::fs::write(&path, serde_json::to_string_pretty(&file).unwrap()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}", said.chars().take(6000).collect::<String>());
}
