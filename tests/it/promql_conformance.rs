//! PromQL test scripts: our own, which must pass whole, and Prometheus' where they are at hand, whose scores
//! stand in `tests/promql/SCORES.md` and can only rise.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rivetwatch::promql::testing::{Kind, Report, run_script};

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("failed to list `{}`: {e}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    files.sort();
    files
}

fn run(path: &Path) -> Report {
    run_script(&std::fs::read_to_string(path).unwrap())
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn own_scripts_pass_whole() {
    let files = scripts(&root().join("tests/promql"));
    assert!(!files.is_empty());
    for file in files {
        let report = run(&file);
        let failures: Vec<String> = report
            .outcomes
            .iter()
            .filter_map(|o| Some(format!("line {}: {}\n  {}", o.line, o.query, o.failure.as_ref()?)))
            .collect();
        assert!(failures.is_empty(), "{}:\n{}", file.display(), failures.join("\n"));
        assert!(report.passed(None) > 0, "{} holds no eval", file.display());
    }
}

/// The committed scores: evaluations that pass, by file and kind.
fn committed_scores() -> BTreeMap<(String, String), usize> {
    let table = std::fs::read_to_string(root().join("tests/promql/SCORES.md")).unwrap();
    let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    let rows = table.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter_map(|row| match row.as_slice() {
        [file, kind, passed, _total] => Some(((file.clone(), kind.clone()), passed.parse().ok()?)),
        _ => None,
    })
    .collect()
}

#[test]
fn scores_on_the_scripts_of_prometheus_do_not_fall() {
    let shared = std::env::var_os("RIVETWATCH_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let folder = shared.join("conformance/promqltest");
    if !folder.is_dir() {
        println!("passed over: `{}` is not there", folder.display());
        return;
    }
    let committed = committed_scores();
    let mut rows = Vec::new();
    let mut sums: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    let mut fallen = Vec::new();
    for file in scripts(&folder) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let report = run(&file);
        for kind in Kind::ALL {
            let (passed, failed) = (report.passed(Some(kind)), report.failed(Some(kind)));
            if passed + failed == 0 {
                continue;
            }
            let sum = sums.entry(kind).or_default();
            sum.0 += passed;
            sum.1 += passed + failed;
            rows.push(format!("| {name} | {} | {passed} | {} |", kind.as_str(), passed + failed));
            let before = committed.get(&(name.clone(), kind.as_str().to_owned())).copied().unwrap_or(0);
            if passed < before {
                fallen.push(format!("{name}, {}: {passed}, was {before}", kind.as_str()));
            }
        }
    }
    println!("{}", rows.join("\n"));
    for (kind, (passed, total)) in &sums {
        println!("{}: {passed} of {total}", kind.as_str());
    }
    assert!(fallen.is_empty(), "scores fell:\n{}", fallen.join("\n"));
    let share = |kind: Kind| sums.get(&kind).map_or(0.0, |(passed, total)| *passed as f64 / *total as f64);
    assert_eq!(share(Kind::Float), 1.0, "float core must pass whole");
    assert!(share(Kind::Native) >= 0.95 && share(Kind::Experimental) >= 0.80);
}
