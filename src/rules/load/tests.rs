//! What is refused and with which words; what the tuning changes.

use super::*;

fn source(text: &str) -> Source {
    Source { name: "rules.yaml".into(), text: text.into() }
}

fn problems(text: &str) -> Vec<String> {
    match load(&[source(text)], &Tuning::default()) {
        Ok(set) => set.warnings.iter().map(ToString::to_string).collect(),
        Err(e) => e.problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_mistake_of_a_file_is_reported_in_one_pass() {
    let found = problems(
        "groups:
- name: a
  owner: me
  interval: 5 parsecs
  limit: many
  rules:
  - alert: One
    record: one
    expr: up
  - expr: up
  - alert: Two
    expr: 'sum(up'
    for: ever
    labels: {__name__: x}
    annotations:
      summary: '{{ $label.x }}'
  - record: 'three{a=\"b\"}'
    expr: up
    for: 5m
  - alert: Four
    exprr: up
  - record: five
    expr: 'up[5m]'
- name: a
- rules: []
",
    );
    for expected in [
        "rules.yaml:3: group `a`: field `owner` is not known in a group",
        "rules.yaml:4: group `a`: `interval` must be a duration such as `30s` or `1h30m`, got `5 parsecs`",
        "rules.yaml:5: group `a`: `limit` must be a whole number, got `many`",
        "rules.yaml:7: group `a`, rule `One`: only one of 'record' and 'alert' must be set",
        "rules.yaml:10: group `a`, rule `rule 2`: one of 'record' or 'alert' must be set",
        "rules.yaml:12: group `a`, rule `Two`: could not parse expression: 1:",
        "rules.yaml:13: group `a`, rule `Two`: `for` must be a duration",
        "rules.yaml:14: group `a`, rule `Two`: invalid label name: __name__",
        "rules.yaml:16: group `a`, rule `Two`: annotation `summary`: error parsing template __alert_Two",
        "rules.yaml:17: group `a`, rule `three{a=\"b\"}`: invalid field 'for' in recording rule",
        "rules.yaml:17: group `a`, rule `three{a=\"b\"}`: braces present in the recording rule name",
        "rules.yaml:21: group `a`, rule `Four`: field `exprr` is not known in a rule",
        "rules.yaml:20: group `a`, rule `Four`: field 'expr' must be set in rule",
        "rules.yaml:23: group `a`, rule `five`: rule result is not a vector or scalar but a range vector",
        "rules.yaml:24: group `a`: groupname: \"a\" is repeated in the same file",
        "rules.yaml:25: groupname must not be empty",
    ] {
        assert!(found.iter().any(|p| p.starts_with(expected)), "{expected}\nnot in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), 16, "{}", found.join("\n"));
}

#[test]
fn a_mistake_in_an_expression_is_shown_under_a_caret() {
    let found = problems("groups:\n- name: a\n  rules:\n  - record: x\n    expr: sum(up) bogus\n");
    let lines: Vec<&str> = found[0].lines().collect();
    assert_eq!(lines[1].trim_end(), "  sum(up) bogus");
    assert_eq!(lines[2].find('^'), lines[1].find("bogus"));
    for expr in ["sum(rate(a[5m])", "a and (b or c", "foo{a=\"b\"", "a +", "a\n      + ("] {
        let last = expr.lines().last().unwrap().trim();
        let found = problems(&format!("groups:\n- name: a\n  rules:\n  - record: x\n    expr: |\n      {expr}\n\n"));
        let lines: Vec<&str> = found[0].lines().collect();
        let [_, source, caret] = lines.as_slice() else { panic!("no caret behind a block: {found:?}") };
        assert_eq!((source.trim(), *caret), (last, format!("  {}^", " ".repeat(last.len())).as_str()), "{found:?}");
    }
}

#[test]
fn duplicates_are_reported_and_refused_on_request() {
    let text = "groups:
- {name: a, rules: [{record: x, expr: up, labels: {l: '1'}}, {record: x, expr: up, labels: {l: '2'}}]}
- {name: b, rules: [{record: x, expr: sum(up), labels: {l: '1'}}]}
";
    let found = problems(text);
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("rules.yaml:3: group `b`, rule `x`: duplicate rule"), "{found:?}");
    assert!(found[0].ends_with("rules.yaml:2"));
    let strict = Tuning { refuse_duplicates: true, ..Tuning::default() };
    assert_eq!(load(&[source(text)], &strict).unwrap_err().problems.len(), 1);
}

#[test]
fn tuning_disables_overrides_labels_and_sets_thresholds() {
    let text = "groups:
- name: a
  labels: {team: core}
  rules:
  - {record: 'rivet:threshold', expr: '0.7', labels: {signal: cpu, severity: warning}}
  - {record: 'rivet:threshold', expr: '0.9', labels: {signal: cpu, severity: critical}}
  - {alert: Hot, expr: cpu > 1, for: 5m, labels: {severity: warning}}
  - {alert: Cold, expr: cpu < 1, labels: {env: own}}
  - {alert: Gone, expr: absent(cpu)}
";
    let tuning = Tuning {
        disable: vec!["Gone".into()],
        overrides: BTreeMap::from([(
            "Hot".into(),
            Override {
                for_ms: Some(60_000),
                labels: BTreeMap::from([("severity".into(), "critical".into())]),
                ..Override::default()
            },
        )]),
        labels: BTreeMap::from([("env".into(), "prod".into())]),
        thresholds: BTreeMap::from([("cpu".into(), BTreeMap::from([("warning".into(), 0.65)]))]),
        ..Tuning::default()
    };
    let set = load(&[source(text)], &tuning).unwrap();
    let by_name: HashMap<&str, &Rule> = set.rules.iter().map(|r| (r.name.as_str(), r)).collect();
    assert!(!by_name.contains_key("Gone"));
    assert_eq!([&set.rules[0].query, &set.rules[1].query], ["0.65", "0.9"]);
    let hot = by_name["Hot"];
    assert_eq!(hot.alerting().unwrap().for_ms, 60_000);
    let labels = |rule: &Rule| -> Vec<String> {
        rule.alerting().unwrap().labels.iter().map(|(n, t)| format!("{n}={}", t.text())).collect()
    };
    assert_eq!(labels(hot), ["env=prod", "severity=critical", "team=core"]);
    assert_eq!(labels(by_name["Cold"]), ["env=own", "team=core"]);
}

#[test]
fn tuning_that_meets_nothing_is_a_mistake() {
    let tuning = Tuning {
        disable: vec!["Nope".into()],
        overrides: BTreeMap::from([("Nobody".into(), Override::default())]),
        thresholds: BTreeMap::from([("cpu".into(), BTreeMap::from([("warning".into(), 1.0)]))]),
        ..Tuning::default()
    };
    let error = load(&[source("groups: [{name: a, rules: [{alert: A, expr: up}]}]")], &tuning).unwrap_err();
    let found: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "configuration: `rules.disable` names `Nope`, but no rule has that name",
            "configuration: `rules.override` names `Nobody`, but no alert has that name",
            "configuration: `thresholds.cpu.warning` changes no rule: none records `rivet:threshold{signal=\"cpu\",severity=\"warning\"}`",
        ]
    );
}

#[test]
fn waiting_for_sources_passes_along_the_graph() {
    let text = "groups:
- {name: a, rules: [{alert: Down, expr: 'engine_up == 0'}, {alert: Hot, expr: cpu > 1}]}
- {name: b, rules: [{record: engine_up, expr: 'up or absent(up) - 1'}]}
";
    let set = load(&[source(text)], &Tuning::default()).unwrap();
    let waits: Vec<(&str, bool)> = set.rules.iter().map(|r| (r.name.as_str(), r.waits_for_sources)).collect();
    assert_eq!(waits, [("Down", true), ("Hot", false), ("engine_up", true)]);
}

#[test]
fn a_file_of_prometheus_loads_unchanged() {
    let text = "groups:
  - name: a
    interval: 1m
    query_offset: 30s
    limit: 10
    labels: {x: y}
    rules:
      - record: job:x:rate5m
        expr: sum by (job) (rate(x[5m]))
        labels: {level: job}
      - alert: A
        expr: 1
        for: 1h30m
        keep_firing_for: 5m
        labels: {severity: '{{ if gt $value 0.5 }}critical{{ end }}'}
        annotations: {summary: S}
";
    let set = load(&[source(text)], &Tuning::default()).unwrap();
    let group = &set.groups[0];
    assert_eq!((group.interval_ms, group.query_offset_ms, group.limit), (Some(60_000), Some(30_000), 10));
    let a = set.rules[1].alerting().unwrap();
    assert_eq!((a.for_ms, a.keep_firing_for_ms, a.labels.len()), (5_400_000, 300_000, 2));
}

#[test]
fn a_panel_is_linked_in_the_grafana_that_is_configured() {
    let text = "groups:
- name: g
  rules:
  - {alert: A, expr: up, annotations: {dashboard_url: '/d/x?var-job={{ $labels.job }}', other: /d/y}}
  - {alert: B, expr: up, annotations: {dashboard_url: 'https://own.example/d/x'}}
";
    let url = |grafana_url: Option<&str>, i: usize| {
        let tuning = Tuning { grafana_url: grafana_url.map(str::to_owned), ..Tuning::default() };
        let set = load(&[Source { name: "f".into(), text: text.into() }], &tuning).unwrap();
        let annotations = &set.rules[i].alerting().unwrap().annotations;
        annotations.iter().map(|(_, t)| t.text().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(url(None, 0), ["/d/x?var-job={{ $labels.job }}", "/d/y"]);
    let grafana = Some("https://grafana.example/g");
    assert_eq!(url(grafana, 0), ["https://grafana.example/g/d/x?var-job={{ $labels.job }}", "/d/y"]);
    assert_eq!(url(grafana, 1), ["https://own.example/d/x"]);
}
