//! The library of scenarios, played with the shipped rules and routes; the command's words and exit codes.
//!
//! A debug build plays a representative third; `.ci/run` plays the whole library with the release binary.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rivetwatch::app::Rehearsal;
use rivetwatch::config::{self, Config};
use rivetwatch::model::TimestampMs;
use rivetwatch::rules::Rule;
use rivetwatch::simulate::play::{Report, play};
use rivetwatch::simulate::replay::{self, ReplayError};
use rivetwatch::simulate::scenario::{EVENTS, Scenario};

/// Played here: the quickest of each kind of trouble and of each kind of quiet.
const THIRD: [&str; 21] = [
    "incidents/engine-down",
    "incidents/engine-down-otlp",
    "incidents/pool-in-error",
    "incidents/database-stalled",
    "incidents/unhealthy",
    "incidents/single-engine-down",
    "incidents/retry-storm",
    "incidents/host-lost",
    "incidents/host-lost-and-database-stalled",
    "quiet/agent-sleeps",
    "quiet/callers-mistakes",
    "quiet/counter-reset",
    "quiet/few-429",
    "quiet/host-redeploy",
    "quiet/no-engine",
    "quiet/one-slow-request",
    "quiet/restart-on-a-machine",
    "quiet/rollout",
    "quiet/scrape-gap",
    "quiet/scrape-gap-of-all",
    "quiet/upgrade-to-prefixed",
];

fn library() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

fn read(path: &Path) -> Scenario {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.file_stem().unwrap().to_string_lossy();
    Scenario::parse(&text, &name).unwrap_or_else(|mistakes| panic!("{}: {mistakes:#?}", path.display()))
}

/// Every scenario of the library, by its folder and name.
fn all() -> Vec<(String, Scenario)> {
    let mut found = Vec::new();
    for folder in ["incidents", "quiet"] {
        for entry in std::fs::read_dir(library().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let scenario = read(&path);
            found.push((format!("{folder}/{}", scenario.name), scenario));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    found
}

fn rehearsal(config: Config) -> Rehearsal {
    Rehearsal::new(config, Path::new(".")).unwrap()
}

fn rehearse(rehearsal: &Rehearsal, scenario: &Scenario) -> Report {
    play(scenario, rehearsal.scenario(scenario), rehearsal.wanted(false)).unwrap()
}

fn parse(text: &str) -> Scenario {
    Scenario::parse(text, "test").unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[test]
fn the_library_is_large_and_half_of_it_quiet() {
    let library = all();
    let quiet = library.iter().filter(|(name, _)| name.starts_with("quiet/")).count();
    assert!(library.len() >= 30, "{}", library.len());
    assert!(2 * quiet >= library.len(), "{quiet} of {}", library.len());
    for (name, scenario) in &library {
        assert!(!scenario.about.is_empty(), "{name} does not say what it is about");
        let is_quiet = scenario.expect.is_empty() && scenario.may.is_empty();
        assert_eq!(is_quiet, name.starts_with("quiet/"), "{name} is in the wrong folder");
    }
    let set = rivetwatch::rules::load(&rivetwatch::rules::builtin_sources(), &Default::default()).unwrap();
    let known: BTreeSet<&str> =
        set.rules.iter().filter(|rule| Rule::alerting(rule).is_some()).map(|rule| rule.name.as_str()).collect();
    for (name, scenario) in &library {
        for expectation in &scenario.expect {
            let any = expectation.alertnames.iter().any(|alert| known.contains(alert.as_str()));
            assert!(any, "{name} expects {:?}, which no rule raises", expectation.alertnames);
        }
    }
    let used: BTreeSet<String> = THIRD.map(str::to_owned).into();
    assert!(used.iter().all(|name| library.iter().any(|(known, _)| known == name)), "{used:?}");
}

#[test]
fn pages_on_burn_rates_have_their_long_window_their_for_and_a_minute() {
    let set = rivetwatch::rules::load(&rivetwatch::rules::builtin_sources(), &Default::default()).unwrap();
    let burn = |name: &str| name.ends_with("BudgetBurn");
    let mut bars: BTreeSet<(String, i64)> = BTreeSet::new();
    for rule in set.rules.iter().filter(|rule| burn(&rule.name)) {
        let labels = rule.fixed_labels();
        let (_, long) = labels.iter().find(|(name, _)| *name == "long").unwrap();
        let window = rivetwatch::model::parse_duration_ms(long).unwrap();
        bars.insert((rule.name.clone(), window + rule.alerting().unwrap().for_ms + 60_000));
    }
    let mut measured = BTreeSet::new();
    for (name, scenario) in all() {
        for expectation in &scenario.expect {
            let [alert] = expectation.alertnames.as_slice() else { continue };
            if burn(alert) {
                let bar = (alert.clone(), expectation.by_ms - expectation.sign_ms);
                assert!(bars.contains(&bar), "{name}: {bar:?} is not one of {bars:?}");
                measured.insert(bar);
            }
        }
    }
    assert!(measured.len() >= 3, "{measured:?}");
}

#[test]
fn a_third_of_the_library_pages_whom_it_should_and_nobody_else() {
    let rehearsal = rehearsal(Config::default());
    let scenarios: Vec<Scenario> = THIRD.iter().map(|name| read(&library().join(format!("{name}.yaml")))).collect();
    let queue = Mutex::new(scenarios.iter());
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = { queue.lock().unwrap().next() } {
                    let report = rehearse(&rehearsal, scenario);
                    if !report.is_success() {
                        let (missed, wrong) = (&report.expected.missed, &report.false_pages);
                        let words = format!("{}: {missed:?} {wrong:?} {:?}", scenario.name, report.failures);
                        failed.lock().unwrap().push(words);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A total outage, long enough for its page.
const OUTAGE: &str = "duration: 6m\nevents: [{at: 3m, event: engine_down}]\nsign: 3m7s\n";

#[test]
fn the_same_scenario_gives_the_same_report() {
    let rehearsal = rehearsal(Config::default());
    let scenario = parse(&format!("{OUTAGE}expect: [{{page: RivetEngineDown, within: 90s}}]\n"));
    let (one, other) = (rehearse(&rehearsal, &scenario), rehearse(&rehearsal, &scenario));
    assert_eq!(serde_json::to_value(&one).unwrap(), serde_json::to_value(&other).unwrap());
    assert!(one.is_success(), "{one:?}");
    // With every family of the engine, the rules say the same.
    let full = play(&scenario, rehearsal.scenario(&scenario), rehearsal.wanted(true)).unwrap();
    assert!(full.points > 2 * one.points, "{} and {}", full.points, one.points);
    assert_eq!(full.pages, one.pages);
}

#[test]
fn expectations_fail_for_what_is_missing_late_or_too_much() {
    let rehearsal = rehearsal(Config::default());
    let report = |expect: &str| rehearse(&rehearsal, &parse(&format!("{OUTAGE}{expect}\n")));
    let nothing = report("expect: []");
    assert_eq!(nothing.false_pages.len(), 1, "{nothing:?}");
    assert_eq!(
        (nothing.false_pages[0].alertname.as_str(), nothing.false_pages[0].why),
        ("RivetEngineDown", "nothing expects it")
    );
    let late = report("expect: [{page: RivetEngineDown, within: 5s}]");
    assert!(late.expected.missed[0].why.ends_with("s late") && late.false_pages.is_empty(), "{late:?}");
    let early = report("expect: [{page: RivetEngineDown, sign: 5m, by: 6m}]");
    assert!(early.expected.missed[0].why.contains("before the first sign"), "{early:?}");
    let open = report("expect: [{page: RivetEngineDown, within: 90s, resolved_by: 6m}]");
    assert_eq!(open.expected.missed[0].why, "paged in time and not resolved");
    let never = report("may: ['Rivet*']\nnever: [RivetEngineDown]");
    assert_eq!(never.false_pages[0].why, "`never` names it");
    let may = report("may: ['RivetEngine*']\nexpect: [{alert: RivetEngineInstanceDown, severity: info, within: 60s}]");
    assert!(may.is_success() && may.expected.met.len() == 1, "{may:?}");
}

#[test]
fn users_rehearse_with_their_own_rules_thresholds_and_routes() {
    let scenario = parse(&format!("{OUTAGE}expect: [{{page: RivetEngineDown, within: 90s}}]\n"));
    let disabled = config::from_value(serde_json::json!({"rules": {"disable": ["RivetEngineDown"]}})).unwrap();
    let report = rehearse(&rehearsal(disabled), &scenario);
    assert_eq!(report.expected.missed.len(), 1, "{report:?}");
    let slower = config::from_value(serde_json::json!({
        "rules": {"override": {"RivetEngineDown": {"for": "80s"}}},
        "notify": {"receivers": [{"name": "hook", "webhook_configs": [{"url": "http://hook.invalid/"}]}],
                   "route": {"receiver": "hook", "group_by": ["alertname"], "group_wait": "1s",
                             "routes": [{"receiver": "hook", "matchers": ["severity=critical"]}]}},
    }));
    let report = rehearse(&rehearsal(slower.unwrap()), &scenario);
    let page = report.pages.iter().find(|page| page.alertname == "RivetEngineDown").unwrap();
    assert_eq!((page.receiver.as_str(), page.severity.as_str()), ("hook", "critical"));
    assert!(page.at_seconds > 267.0, "80 s after the first sign at 187 s: {page:?}");
    let relayed = serde_json::json!({"notify": {"receivers": [
        {"name": "am", "alertmanager_configs": [{"urls": ["http://am.invalid:9093"]}]}]}});
    let error = Rehearsal::new(config::from_value(relayed).unwrap(), Path::new(".")).err().unwrap();
    assert!(error.contains("nobody is paged by these routes"), "{error}");
}

#[test]
fn the_command_says_what_is_wrong_and_exits_as_promised() {
    let dir = tempfile::tempdir().unwrap();
    let run = |text: &str, more: &[&str]| {
        let file = dir.path().join("a.yaml");
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
        let out = command.arg("simulate").arg(&file).args(more).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, words) = run("duration: soon\nclusters: {}\n", &[]);
    assert_eq!(code, Some(2));
    assert!(
        words.contains("a.yaml: line 1: `duration` must be a duration such as 90s, 10m or 1h30m, got `soon`"),
        "{words}"
    );
    assert!(words.contains("a.yaml: line 2: `clusters` is not a known key; known here: name, about"), "{words}");
    let (code, _, words) = run("duration: 2m\nnever: [RivetEngineDwon]\n", &[]);
    assert_eq!(code, Some(2), "a `never` that cannot fail: {words}");
    assert!(words.contains("a.yaml: line 2: `never[0]` names no alert of the rules, got `RivetEngineDwon`"), "{words}");
    let (code, out, _) = run("duration: 2m\nexpect: [{page: RivetEngineDown, by: 1m}]\n", &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, report["expected"]["missed"][0]["why"].as_str()), (Some(1), Some("never paged")));
    let (code, out, _) = run("duration: 2m\n", &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["pages"], &report["false_pages"]),
        (Some(0), &serde_json::json!([]), &serde_json::json!([]))
    );
    assert_eq!(report["expected"], serde_json::json!({"met": [], "missed": []}));
}

#[test]
fn the_documents_name_every_event_and_their_example_is_sound() {
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/simulate.md")).unwrap();
    for (name, keys, _) in EVENTS {
        let row = docs.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/simulate.md does not have the event {name}"));
        keys.iter().for_each(|key| assert!(row.contains(&format!("`{key}`")), "{row} lacks {key}"));
    }
    let block = |begin: &str| docs.split(begin).nth(1).unwrap().split("```").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("host.yaml"), block("```yaml\n")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
    let out = command.args(["simulate", "host.yaml"]).current_dir(&dir).output().unwrap();
    let printed = String::from_utf8(out.stdout).unwrap();
    // How many points there are is told by how many families the rules read.
    let points = regex::Regex::new(r"\d+ points").unwrap();
    let but_points = |text: &str| points.replace(text, "N points").into_owned();
    let shown = block("$ rivetwatch simulate host.yaml\n");
    assert_eq!(but_points(&printed), but_points(shown), "docs/simulate.md shows what is printed");
    assert!(out.status.success());
}

fn replayed(pages: &[&str]) -> Result<replay::Report, ReplayError> {
    let at = |i: usize| TimestampMs(1_795_419_468_000 + 15_000 * i as i64);
    let scrapes: Vec<_> = pages.iter().enumerate().map(|(i, page)| (at(i), page.as_bytes().to_vec())).collect();
    replay::play(&scrapes, rehearsal(Config::default()).replay())
}

#[test]
fn a_recorded_scrape_that_is_no_page_is_named_and_the_rest_is_played() {
    let report = replayed(&["a_metric 1\n", "<html>\n", "a_metric 2\n"]).unwrap();
    assert_eq!(report.scrapes, 3);
    let [unread] = report.unread.as_slice() else { panic!("{:?}", report.unread) };
    assert_eq!(unread.at_seconds, 15.0);
    assert!(unread.reason.contains("not a metrics page"), "{}", unread.reason);
}

#[test]
fn an_empty_page_is_an_engine_that_does_not_answer() {
    let mut pages = vec!["a_metric 1\n"; 8];
    pages.extend([""; 20]);
    let report = replayed(&pages).unwrap();
    assert_eq!(report.unread.len(), 20);
    let paged: Vec<&str> = report.pages.iter().map(|page| page.alertname.as_str()).collect();
    assert_eq!(paged, ["RivetEngineDown"]);
}

#[test]
fn a_replay_tells_as_a_scenario_does_and_refuses_a_folder_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let run = |dir: &Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
        let out = command.args(["simulate", "-o", "json", "--replay"]).arg(dir).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, _, words) = run(&dir.path().join("nowhere"));
    assert!(code == Some(2) && words.contains("nowhere"), "{code:?} {words}");
    let (code, _, words) = run(dir.path());
    assert!(code == Some(2) && words.contains("holds no scrapes"), "{code:?} {words}");
    std::fs::write(dir.path().join("1795419468.prom"), "a_metric 1\n").unwrap();
    std::fs::write(dir.path().join("1795419483.prom.gz"), [0x1f, 0x8b]).unwrap();
    let (code, out, words) = run(dir.path());
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["false_pages"]), (Some(0), &serde_json::json!([])));
    assert_eq!(report["expected"], serde_json::json!({"met": [], "missed": []}));
    assert!(words.contains("warning: `") && words.contains("1795419483.prom.gz` is left out"), "{words}");
    assert!(report["broken"][0]["file"].as_str().unwrap().ends_with("1795419483.prom.gz"), "{out}");
}

#[test]
fn a_recording_without_a_single_page_is_an_error() {
    let error = replayed(&["<html>\n", "this is { not a page\n"]).unwrap_err();
    assert!(error.to_string().contains("not a metrics page"), "{error}");
}
