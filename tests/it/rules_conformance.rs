//! The unit-test files of Prometheus' promtool, in place from the shared folder, and our own `alerts/`.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::path::PathBuf;

use rivetwatch::promql::WindowEdges;
use rivetwatch::rules::{Source, TestOptions, Tuning, expand, load, test_files};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("RIVETWATCH_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from)
        .join("conformance/promtool");
    if !folder.is_dir() {
        println!("passed over: {} is absent", folder.display());
        return None;
    }
    Some(folder)
}

fn test(folder: &std::path::Path, file: &str, run: Option<&str>) -> (bool, String) {
    let options = TestOptions { run: run.map(str::to_owned), ..TestOptions::default() };
    let report = test_files(&[folder.join(file)], &options);
    (report.is_success(), report.to_string())
}

#[test]
fn promtools_own_unit_tests_pass() {
    let Some(folder) = shared() else { return };
    for file in [
        "unittest.yml",
        "long-period.yml",
        "at-modifier-test.yml",
        "negative-offset-test.yml",
        "no-test-group-interval.yml",
    ] {
        let (passed, text) = test(&folder, file, None);
        assert!(passed, "{text}");
    }
    assert!(test(&folder, "rules_run.yml", Some("correct")).0);
    assert!(test(&folder, "rules_run_fuzzy.yml", Some("correct")).0);
}

#[test]
fn promtools_failing_unit_tests_fail_with_its_words() {
    let Some(folder) = shared() else { return };
    for (file, words) in [
        ("bad-input-series.yml", vec!["up{job="]),
        ("bad-promql.yml", vec!["expr: \"join_1 + on(a) join_2\", time: 0s, err:", "many-to-"]),
        ("bad-rules-error-test.yml", vec!["rule: joined, time: 0s, err:"]),
        ("bad-rules-syntax-test.yml", vec!["bad-rules-syntax.yml:7", "test +", "^"]),
        ("rules_run.yml", vec!["wrong test", "exp: {__name__=\"test\"} 1E+00", "got: {__name__=\"test\"} 0E+00"]),
        ("rules_run_fuzzy.yml", vec!["wrong fuzzy match"]),
        ("rules_run_no_fuzzy.yml", vec!["exp: {__name__=\"test_low\"} 3E+00", "2.9999999999999996E+00"]),
        ("rules_run_extrafields.yml", vec!["field `namespace` is not known in a group", "field `ownership`"]),
        (
            "failing.yml",
            vec![
                "name: Failing test,",
                "alertname: Test, time: 0s, \n        exp:[\n            0:\n              Labels:{alertname=\"Test\"}",
                "got:[]",
                "name: Failing alert test,\n    alertname: InstanceDown, time: 5m, \n        exp:[], \n        got:[\n            0:\n              Labels:{alertname=\"InstanceDown\", job=\"test\", severity=\"page\"}",
                "alertname: AlwaysFiring, time: 5m",
            ],
        ),
    ] {
        let (passed, text) = test(&folder, file, None);
        assert!(!passed, "{file} must fail");
        for word in words {
            assert!(text.contains(word), "{file}: `{word}` is missing in\n{text}");
        }
    }
}

#[test]
fn promtools_rule_files_load_or_are_refused() {
    let Some(folder) = shared() else { return };
    for (file, refusal) in [
        ("rules.yml", None),
        ("at-modifier.yml", None),
        ("negative-offset.yml", None),
        ("rules-bad.yml", Some("undefined variable \"$label\"")),
        ("bad-rules-syntax.yml", Some("could not parse expression")),
        ("rules_duplicates.yml", Some("duplicate rule")),
        ("rules_extrafields.yml", Some("`namespace` is not known")),
    ] {
        let source = Source { name: file.into(), text: std::fs::read_to_string(folder.join(file)).unwrap() };
        let strict = Tuning { refuse_duplicates: true, ..Tuning::default() };
        let text: Vec<String> = match load(&[source], &strict) {
            Ok(set) => set.warnings.iter().map(ToString::to_string).collect(),
            Err(e) => e.problems.iter().map(ToString::to_string).collect(),
        };
        match refusal {
            None => assert!(text.is_empty(), "{file}: {text:?}"),
            Some(words) => assert!(text.iter().any(|t| t.contains(words) && t.contains(file)), "{file}: {text:?}"),
        }
    }
}

#[test]
fn the_tests_of_our_own_alerts_pass() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("alerts/tests");
    if !folder.is_dir() {
        println!("passed over: there are no alerts in this tree");
        return;
    }
    // They are written for promtool 2.42, whose windows hold both edges.
    let options = TestOptions { window_edges: WindowEdges::Closed, only_needed: true, ..TestOptions::default() };
    let mut files = expand(&folder.join("*.yaml"));
    if cfg!(debug_assertions) {
        // Whole incidents need every rule at every tick; `.ci/run` plays them with the release binary.
        files.retain(|file| !file.ends_with("incidents.test.yaml"));
    }
    let report = test_files(&files, &options);
    assert!(report.is_success() && !report.files.is_empty(), "{report}");
}
