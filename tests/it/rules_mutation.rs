//! How many small mistakes in the shipped rules their unit tests find: a seeded sample; `.ci/run` tries all of them.

use std::path::Path;

use rivetwatch::rules::Mutants;

fn plan() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/mutation.yaml")
}

#[test]
fn the_tests_of_the_shipped_rules_find_nine_of_ten_mutants() {
    let mutants = Mutants::read(&plan()).unwrap();
    assert!(mutants.count() > 1500, "only {} mutants", mutants.count());
    let report = mutants.run(true, None, 1).unwrap();
    println!("{report}");
    assert!(report.is_success(), "{report}");
}

/// A rule, its test, and a plan with `more` in it.
fn scored(test: &str, more: &str) -> Result<rivetwatch::rules::MutationReport, String> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("r.yaml", "groups: [{name: g, rules: [{alert: Hot, expr: sum by (job) (x) > 10, for: 2m}]}]");
    write("t.yaml", test);
    let plan = "rule_files: [r.yaml]\ntest_files: [t.yaml]\noperators: [comparison, threshold, by, for]\nshift: 0.05\n";
    write("plan.yaml", &format!("{plan}score_min: 0.9\nseed: 1\nsample: 2\n{more}"));
    Mutants::read(&dir.path().join("plan.yaml"))?.run(false, None, 1)
}

const LOOSE: &str = "rule_files: [r.yaml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series: [{series: 'x{job=\"a\"}', values: 20x10}]
  alert_rule_test: [{eval_time: 5m, alertname: Hot, exp_alerts: [{exp_labels: {job: a}}]}]
";

#[test]
fn a_loose_test_lets_mutants_live_and_each_is_named() {
    let report = scored(LOOSE, "").unwrap();
    assert_eq!((report.mutants, report.killed), (6, 1), "{report}");
    assert!(!report.is_success());
    let text = report.to_string();
    for survivor in
        ["Hot{} comparison: > to >=", "Hot{} threshold: 10 to 10.5", "Hot{} for: remove", "Hot{} for: halve"]
    {
        assert!(text.contains(&format!("survived: {survivor}\n")), "{survivor} in\n{text}");
    }
    assert!(
        text.ends_with("mutation score 16.7 %: 1 of 6 mutants killed, 0 equivalent, at least 90 % wanted\n"),
        "{text}"
    );
}

#[test]
fn a_tight_test_kills_them_all() {
    let tight = "rule_files: [r.yaml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series: [{series: 'x{job=\"a\"}', values: '10x4 10.2x10'}]
  alert_rule_test:
  - {eval_time: 4m, alertname: Hot, exp_alerts: []}
  - {eval_time: 6m, alertname: Hot, exp_alerts: []}
  - {eval_time: 7m, alertname: Hot, exp_alerts: [{exp_labels: {job: a}}]}
";
    let report = scored(tight, "").unwrap();
    assert_eq!((report.killed, report.mutants), (6, 6), "{report}");
    let known = "equivalent: [{rule: Hot, operator: for, what: remove, reason: wrong}, {rule: Nope, operator: by, what: '*', reason: old}]";
    let report = scored(tight, known).unwrap();
    assert!(!report.is_success() && report.wrong_entries.len() == 2, "{report}");
    assert!(report.wrong_entries[0].contains("a test finds it: Hot{} for: remove"), "{report}");
    assert!(report.wrong_entries[1].contains("fits no mutant: Nope"), "{report}");
}

#[test]
fn plans_and_tests_that_cannot_judge_are_refused() {
    let failing = LOOSE.replace("exp_alerts: [{exp_labels: {job: a}}]", "exp_alerts: []");
    assert!(scored(&failing, "").unwrap_err().contains("fails on the rules as they are"));
    for (more, word) in [
        ("colour: red", "colour"),
        ("equivalent: [{rule: Hot, operator: for, what: remove, reason: ' '}]", "gives no reason"),
        ("skip_rules: [{rule: Hot, reason: ''}]", "gives no reason"),
    ] {
        let error = scored(LOOSE, more).unwrap_err();
        assert!(error.contains(word) && error.contains("plan.yaml"), "{error}");
    }
    assert!(scored("rule_files: [r.yaml]\ntests: [{promql_expr_test: 3}]", "").unwrap_err().contains("t.yaml"));
}
