//! Files of our own, through the whole runner.

use super::*;

fn run(rules: &str, test: &str) -> TestReport {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yaml"), rules).unwrap();
    let path = dir.path().join("test.yaml");
    std::fs::write(&path, test).unwrap();
    test_files(&[path], &TestOptions::default())
}

const RULES: &str = "groups:
- name: alerts
  rules:
  - alert: Hot
    expr: signal:x > 1
    for: 1m
    labels: {severity: warning, empty: ''}
    annotations: {summary: '{{ $labels.job }} at {{ $value }} in {{ $externalLabels.region }}', none: ''}
- name: signals
  rules:
  - {record: 'signal:x', expr: sum by (job) (x)}
";

#[test]
fn alerts_are_compared_with_their_annotations() {
    let test = "rule_files: [rules.yaml]
evaluation_interval: 30s
group_eval_order: [signals, alerts]
tests:
- interval: 30s
  external_labels: {region: eu}
  input_series: [{series: 'x{job=\"a\",i=\"1\"}', values: 1x10}, {series: 'x{job=\"a\",i=\"2\"}', values: 1x10}]
  alert_rule_test:
  - {eval_time: 59s, alertname: Hot, exp_alerts: []}
  - eval_time: 1m
    alertname: Hot
    exp_alerts: [{exp_labels: {job: a, severity: warning}, exp_annotations: {summary: a at 2 in eu, none: ''}}]
  promql_expr_test:
  - {expr: ALERTS, eval_time: 1m, exp_samples: [{labels: 'ALERTS{alertname=\"Hot\",alertstate=\"firing\",job=\"a\",severity=\"warning\"}', value: 1}]}
";
    let report = run(RULES, test);
    assert!(report.is_success(), "{report}");
    let failing = run(RULES, &test.replace("a at 2 in eu", "other"));
    assert!(failing.to_string().contains("summary=\"a at 2 in eu\""), "{failing}");
}

#[test]
fn group_eval_order_decides_whether_a_reader_sees_this_tick() {
    let test = |order: &str| {
        format!(
            "rule_files: [rules.yaml]
{order}
tests:
- input_series: [{{series: 'x{{job=\"a\"}}', values: 0 5 5 5}}]
  promql_expr_test:
  - {{expr: 'count(ALERTS)', eval_time: 1m, exp_samples: [{{value: 1}}]}}
"
        )
    };
    assert!(run(RULES, &test("group_eval_order: [signals, alerts]")).is_success());
    assert!(run(RULES, &test("")).is_success(), "without an order the graph decides");
    let behind = run(RULES, &test("group_eval_order: [alerts, signals]"));
    assert!(behind.to_string().contains("exp: {} 1E+00\n        got: nil"), "{behind}");
}

#[test]
fn mistakes_in_the_file_are_named() {
    for (test, words) in [
        ("tests: [{alert_rule_tests: []}]", "alert_rule_tests"),
        ("evaluation_interval: soon", "not a valid duration string: \"soon\""),
        ("group_eval_order: [a, a]", "group name repeated in evaluation order"),
        ("tests: [{input_series: [{series: 'x{', values: 1}]}]", "series `x{`"),
        ("tests: [{input_series: [{series: x, values: 1 two}]}]", "values of `x`"),
        ("tests: [{alert_rule_test: [{eval_time: 1m}]}]", "misses required attribute alertname at eval_time 1m"),
    ] {
        let report = run(RULES, test);
        assert!(!report.is_success() && report.to_string().contains(words), "{words}\n{report}");
    }
    assert!(!test_files(&["/nowhere/test.yaml"], &TestOptions::default()).is_success());
}

#[test]
fn rule_files_that_are_not_there_are_worth_a_warning_as_in_promtool() {
    let test = "rule_files: [missing.yaml, 'none*.yaml', 'rul*.yaml']
tests: [{promql_expr_test: [{expr: '1', eval_time: 1m, exp_samples: [{value: 1}]}]}]
";
    let report = run(RULES, test);
    assert!(report.is_success(), "{report}");
    let [first, second] = report.files[0].warnings.as_slice() else { panic!("{:?}", report.files[0]) };
    assert!(first.starts_with("no file match pattern ") && first.ends_with("missing.yaml"), "{first}");
    assert!(second.ends_with("none*.yaml"), "{second}");
}

#[test]
fn only_input_up_to_the_last_evaluation_is_seen_as_in_promtool() {
    let test = "tests:
- interval: 15s
  input_series: [{series: x, values: 0 1 2 3 4 5 6 7 8}]
  promql_expr_test: [{expr: x, eval_time: 1m45s, exp_samples: [{labels: x, value: 4}]}]
";
    let report = run(RULES, test);
    assert!(report.is_success(), "{report}");
}
