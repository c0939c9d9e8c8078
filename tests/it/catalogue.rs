//! The shipped catalogue holds to its own conventions: names, severities, annotations, runbooks, tests, thresholds.
//!
//! promtool checks syntax and meaning (`.ci/run`); this checks what promtool does not know, with Rust alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use rivetwatch::export::covered::Covering;
use rivetwatch::export::dashboards;
use rivetwatch::promql::{self, selectors};
use rivetwatch::rivet::errors::{Cause, ERROR_CODES};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    pub groups: Vec<Group>,
}

/// Only the fields that Prometheus 2.42 knows: a newer one would make older loaders refuse the whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    name: String,
    interval: Option<String>,
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub record: Option<String>,
    pub alert: Option<String>,
    pub expr: String,
    #[serde(rename = "for")]
    pending_for: Option<String>,
    #[serde(rename = "keep_firing_for")]
    _keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    #[serde(default)]
    group_eval_order: Vec<String>,
    tests: Vec<TestGroup>,
}

#[derive(Deserialize)]
struct TestGroup {
    #[serde(default)]
    alert_rule_test: Vec<AlertTest>,
}

#[derive(Deserialize)]
struct AlertTest {
    alertname: String,
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Deserialize)]
struct ExpectedAlert {
    exp_labels: BTreeMap<String, String>,
    #[serde(default)]
    exp_annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct InhibitFile {
    inhibit_rules: Vec<InhibitRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InhibitRule {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    equal: Vec<String>,
}

fn alerts_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts")
}

fn files(dir: &Path, suffix: &str) -> Vec<(String, String)> {
    let mut out: Vec<_> = fs::read_dir(dir)
        .expect("the folder is part of the crate")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap_or_default().to_string_lossy().into_owned(), path))
        .filter(|(name, _)| name.ends_with(suffix))
        .map(|(name, path)| (name, fs::read_to_string(path).expect("the file is text")))
        .collect();
    out.sort();
    out
}

/// Rule files by name: those that begin with two digits.
pub fn rule_files() -> Vec<(String, String, RuleFile)> {
    files(&alerts_dir(), ".yaml")
        .into_iter()
        .filter(|(name, _)| name.as_bytes()[..2].iter().all(u8::is_ascii_digit))
        .map(|(name, text)| {
            let parsed = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            (name, text, parsed)
        })
        .collect()
}

/// Every alerting rule, with its file.
fn alerting_rules() -> Vec<(String, String, Rule)> {
    let mut out = Vec::new();
    for (file, _, parsed) in rule_files() {
        for rule in parsed.groups.into_iter().flat_map(|group| group.rules) {
            if let Some(name) = rule.alert.clone() {
                out.push((file.clone(), name, rule));
            }
        }
    }
    assert!(out.len() > 50, "only {} alerting rules were found", out.len());
    out
}

#[test]
fn names_and_groups_keep_to_the_limits_of_the_mixin_guide() {
    let mut groups = BTreeSet::new();
    for (file, _, parsed) in rule_files() {
        for group in parsed.groups {
            assert!(group.name.len() <= 40, "{file}: group {} is longer than 40", group.name);
            assert!(group.rules.len() <= 20, "{file}: group {} holds {} rules", group.name, group.rules.len());
            assert!(groups.insert(group.name.clone()), "{file}: group {} exists twice", group.name);
            // Sums over windows count on one point a minute; everything else is judged at every tick.
            let minutely = group.name.starts_with("rivet-slo-") || group.name == "rivet-burn-rates";
            let is_view = group.name.starts_with("rivet-dashboard-");
            assert!(is_view || (group.interval.as_deref() == Some("1m")) == minutely, "{file}: {}", group.name);
        }
    }
    for (file, name, rule) in alerting_rules() {
        assert!(name == "Watchdog" || name.starts_with("Rivet"), "{file}: {name}");
        assert!(name.len() <= 40, "{file}: {name} is longer than 40");
        let severity = rule.labels.get("severity").unwrap_or_else(|| panic!("{name} has no severity"));
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: {severity}");
    }
}

#[test]
fn annotations_say_what_is_wrong_where_and_how_much() {
    for (file, name, rule) in alerting_rules() {
        let get = |key: &str| rule.annotations.get(key).unwrap_or_else(|| panic!("{file}: {name} lacks {key}"));
        let summary = get("summary");
        assert!(!summary.contains("{{"), "{name}: the summary is static");
        assert!(summary.ends_with('.') && summary.starts_with(char::is_uppercase), "{name}: {summary}");
        assert!(get("description").contains("$value"), "{name}: the description holds no value");
        let link = format!("{{{{ with $externalURL }}}}{{{{ . }}}}/runbooks/{name}{{{{ end }}}}");
        assert_eq!(get("runbook_url"), &link, "{name}");
    }
}

/// The signals and own metrics that an expression reads, and what they are made of; `rivet:alert` for alerts. Thresholds are left
/// out where anything else is read.
fn signals_behind(expr: &str, recorded: &BTreeMap<String, String>) -> BTreeSet<String> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![expr.to_owned()]);
    while let Some(text) = waiting.pop() {
        let expr = promql::parse(&text).unwrap();
        let names = selectors(&expr).filter_map(|s| s.name.clone());
        for name in names.filter(|n| n.starts_with("rivet") || n == "ALERTS") {
            if found.insert(name.clone()) {
                waiting.extend(recorded.get(&name).cloned());
            }
        }
    }
    if found.remove("ALERTS") {
        found.insert("rivet:alert".to_owned());
    }
    if found.len() > 1 {
        found.remove("rivet:threshold");
    }
    found
}

/// Text without the `:instance` views that dashboards read in place of series without an instance.
fn without_views(text: &str) -> String {
    text.replace(":instance{", "{").replace('\\', "")
}

#[test]
fn the_panel_that_an_alert_links_shows_what_it_reads() {
    let boards: BTreeMap<String, serde_json::Value> = dashboards::files()
        .into_iter()
        .map(|(name, text)| (name.trim_end_matches(".json").to_owned(), serde_json::from_str(&text).unwrap()))
        .collect();
    let recorded: BTreeMap<String, String> = rule_files()
        .into_iter()
        .flat_map(|(_, _, parsed)| parsed.groups.into_iter().flat_map(|group| group.rules))
        .filter_map(|rule| Some((rule.record?, rule.expr)))
        .collect();
    let link = Regex::new(r"^/d/([a-z-]+)(?:\?viewPanel=(\d+))?").unwrap();
    for (file, name, rule) in alerting_rules() {
        let url = rule.annotations.get("dashboard_url").unwrap_or_else(|| panic!("{file}: {name} links no panel"));
        let found = link.captures(url).unwrap_or_else(|| panic!("{name}: {url}"));
        let board = boards.get(&found[1]).unwrap_or_else(|| panic!("{name}: no dashboard {}", &found[1]));
        let Some(id) = found.get(2).map(|m| m.as_str().parse::<u64>().unwrap()) else {
            // It always fires and shows nothing but that.
            assert_eq!(name, "Watchdog", "an alert that links a dashboard and no panel of it");
            continue;
        };
        let panel = crate::dashboards::panels(board).into_iter().find(|p| p["id"] == id);
        let panel = panel.unwrap_or_else(|| panic!("{name}: no panel {id} on {}", &found[1]));
        let shown = without_views(&panel["targets"].to_string());
        let reads = signals_behind(&rule.expr, &recorded);
        // A rate shows beside its ratio, and a count beside what it is compared with: the name is enough.
        let stem = |name: &String| name.split(':').take(2).collect::<Vec<_>>().join(":");
        assert!(
            reads.iter().any(|name| shown.contains(&stem(name))),
            "{name}: panel `{}` shows none of {reads:?}",
            panel["title"]
        );
        for label in ["cluster", "job", "instance"] {
            let part = format!("{{{{ with $labels.{label} }}}}&var-{label}={{{{ . }}}}{{{{ end }}}}");
            assert!(url.contains(&part), "{name}: {url}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let alerts: BTreeSet<String> = alerting_rules().into_iter().map(|(_, name, _)| name).collect();
    let mut runbooks = BTreeSet::new();
    for (file, text) in files(&alerts_dir().join("runbooks"), ".md") {
        for heading in ["## Cause", "## Check", "## Fix", "## Related"] {
            assert!(text.contains(heading), "{file} lacks {heading}");
        }
        runbooks.insert(file.trim_end_matches(".md").to_owned());
    }
    assert_eq!(alerts, runbooks);
}

/// Names that an inhibition rule chooses by `alertname`; none where it chooses by other labels or takes all.
fn chosen_by_name(matchers: &[String], alerts: &BTreeSet<String>) -> BTreeSet<String> {
    let named: Vec<_> =
        matchers.iter().filter_map(|m| narrows(m)).filter(|(label, ..)| *label == "alertname").collect();
    let takes_all = named.iter().any(|(_, want, pattern)| *want && pattern.as_str() == "^(?:Rivet.+)$");
    if named.is_empty() || takes_all {
        return BTreeSet::new();
    }
    alerts.iter().filter(|name| named.iter().all(|(_, want, p)| p.is_match(name) == *want)).cloned().collect()
}

#[test]
fn runbooks_name_what_keeps_their_alert_quiet() {
    let alerts: BTreeSet<String> = alerting_rules().into_iter().map(|(_, name, _)| name).collect();
    let mut quieted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for rule in inhibit_rules() {
        let sources = chosen_by_name(&rule.source_matchers, &alerts);
        for target in chosen_by_name(&rule.target_matchers, &alerts) {
            quieted.entry(target.clone()).or_default().extend(sources.iter().filter(|s| **s != target).cloned());
        }
    }
    let link = Regex::new(r"\[(\w+)\]\((\w+)\.md\)").unwrap();
    for (file, text) in files(&alerts_dir().join("runbooks"), ".md") {
        let named: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("- Kept quiet by: "))
            .flat_map(|line| link.captures_iter(line).map(|c| c[1].to_owned()).collect::<Vec<_>>())
            .collect();
        let expected = quieted.remove(file.trim_end_matches(".md")).unwrap_or_default();
        assert_eq!(named, expected, "{file}: left: named, right: by inhibit_rules.yaml");
        for found in link.captures_iter(&text) {
            assert!(found[1] == found[2] && alerts.contains(&found[1]), "{file}: link to {}", &found[2]);
        }
    }
}

#[test]
fn every_alert_is_tested_firing_and_silent() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for (file, text) in files(&alerts_dir().join("tests"), ".test.yaml") {
        let parsed: TestFile = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(!parsed.group_eval_order.is_empty(), "{file} has no group_eval_order");
        for test in parsed.tests.iter().flat_map(|group| &group.alert_rule_test) {
            let severities: BTreeSet<&str> =
                test.exp_alerts.iter().map(|alert| alert.exp_labels["severity"].as_str()).collect();
            for severity in ["critical", "warning", "info"] {
                let key = (test.alertname.clone(), severity.to_owned());
                if severities.contains(severity) {
                    firing.insert(key)
                } else {
                    silent.insert(key)
                };
            }
            for alert in &test.exp_alerts {
                assert!(alert.exp_annotations.contains_key("description"), "{file}: {}", test.alertname);
            }
        }
    }
    for (_, name, rule) in alerting_rules() {
        let key = (name.clone(), rule.labels["severity"].clone());
        assert!(firing.contains(&key), "{key:?} is never seen firing");
        assert!(name == "Watchdog" || silent.contains(&key), "{key:?} is never seen silent");
    }
}

#[test]
fn thresholds_that_are_read_are_recorded_and_the_reverse() {
    let read = Regex::new(r#"rivet:threshold\{signal="([a-z0-9_]+)", severity="([a-z]+)"\}"#).unwrap();
    let absent = Regex::new(r#"absent\(rivet:threshold\{signal="([a-z0-9_]+)", severity="([a-z]+)"\}\)"#).unwrap();
    let (mut reads, mut records, mut watched) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let pair = |c: regex::Captures<'_>| (c[1].to_owned(), c[2].to_owned());
    for (file, _, parsed) in rule_files() {
        for rule in parsed.groups.into_iter().flat_map(|group| group.rules) {
            assert!(!rule.expr.contains("scalar("), "{file}: scalar() is silent on a second copy");
            if rule.record.as_deref() == Some("rivet:threshold") {
                let key = (rule.labels["signal"].clone(), rule.labels["severity"].clone());
                assert!(records.insert(key.clone()), "{key:?} is recorded twice");
            } else if rule.alert.as_deref() == Some("RivetThresholdMissing") {
                watched.extend(absent.captures_iter(&rule.expr).map(pair));
            } else if !file.starts_with("15-") {
                reads.extend(read.captures_iter(&rule.expr).map(pair));
            }
        }
    }
    assert_eq!(reads, records, "left: read by alerts and signals; right: recorded");
    assert_eq!(watched, records, "left: watched by RivetThresholdMissing; right: recorded");
}

#[test]
fn only_the_signals_know_raw_names() {
    let raw = Regex::new(r"\b(rivet|kube|container|process|k8s|system)_[a-z0-9_]+").unwrap();
    for (file, name, rule) in alerting_rules() {
        let known = ["rivet_namespace"];
        let found: Vec<_> = raw.find_iter(&rule.expr).map(|m| m.as_str()).filter(|m| !known.contains(m)).collect();
        assert!(found.is_empty(), "{file}: {name} reads {found:?}");
    }
}

#[test]
fn alerts_that_others_cover_exist() {
    let alerts: BTreeSet<String> = alerting_rules().into_iter().map(|(_, name, _)| name).collect();
    for (ours, _) in Covering::KubePrometheus.pairs() {
        assert!(alerts.contains(*ours), "{ours} is no alert of ours");
    }
}

#[test]
fn client_errors_are_left_out_of_the_error_ratio_and_no_others() {
    let (_, text, _) = rule_files().into_iter().find(|(name, _, _)| name == "10-signals.yaml").unwrap();
    let matcher = Regex::new(r#"errors_total\{error!~"([^"]+)"\}"#).unwrap();
    let patterns: BTreeSet<&str> = matcher.captures_iter(&text).map(|c| c.get(1).unwrap().as_str()).collect();
    assert_eq!(patterns.len(), 1, "numerator and denominator leave out the same codes");
    let left_out = Regex::new(&format!("^(?:{})$", patterns.first().unwrap())).unwrap();
    for error in ERROR_CODES {
        let client = error.cause == Cause::Client;
        assert_eq!(left_out.is_match(error.code), client, "{}", error.code);
        assert_eq!(left_out.is_match(&format!("{}: some text", error.code)), client, "{} with text", error.code);
    }
    assert!(!left_out.is_match("never.heard_of"), "an unknown code counts as an error");
}

/// One matcher of an inhibition rule on `alertname` or `severity`; others do not narrow the choice.
fn narrows(matcher: &str) -> Option<(&'static str, bool, Regex)> {
    let parts = Regex::new(r#"^(alertname|severity)(=~|!~|!=|=)"([^"]+)"$"#).expect("a fixed pattern");
    let captures = parts.captures(matcher)?;
    let label = if &captures[1] == "alertname" { "alertname" } else { "severity" };
    let pattern = Regex::new(&format!("^(?:{})$", &captures[3])).expect("the matcher's pattern compiles");
    Some((label, !captures[2].starts_with('!'), pattern))
}

fn inhibit_rules() -> Vec<InhibitRule> {
    let text = fs::read_to_string(alerts_dir().join("inhibit_rules.yaml")).unwrap();
    let parsed: InhibitFile = serde_saphyr::from_str(&text).unwrap();
    parsed.inhibit_rules
}

#[test]
fn inhibition_names_alerts_that_exist_and_never_mutes_both_sides() {
    let alerts: BTreeSet<(String, String)> =
        alerting_rules().into_iter().map(|(_, name, rule)| (name, rule.labels["severity"].clone())).collect();
    let chosen = |matchers: &[String]| -> BTreeSet<(String, String)> {
        let narrowed: Vec<_> = matchers.iter().filter_map(|m| narrows(m)).collect();
        let fits = |(name, severity): &(String, String)| {
            narrowed.iter().all(|(label, want, pattern)| {
                pattern.is_match(if *label == "alertname" { name } else { severity }) == *want
            })
        };
        alerts.iter().filter(|alert| fits(alert)).cloned().collect()
    };
    let mut mutes = BTreeSet::new();
    for rule in &inhibit_rules() {
        let (sources, targets) = (chosen(&rule.source_matchers), chosen(&rule.target_matchers));
        assert!(!sources.is_empty() && !targets.is_empty(), "{:?} names nothing", rule.target_matchers);
        assert!(rule.equal.iter().any(|label| label == "job"), "{:?}: not bound to one installation", rule.equal);
        assert!(targets.iter().all(|(name, _)| name != "Watchdog"), "{:?} mutes the heartbeat", rule.target_matchers);
        // The first rule is about the severities of one alert, which `equal` says and the names do not.
        if !rule.equal.iter().any(|label| label == "alertname") {
            mutes.extend(sources.iter().flat_map(|s| targets.iter().map(move |t| (s.clone(), t.clone()))));
        }
    }
    for (source, target) in &mutes {
        assert!(source == target || !mutes.contains(&(target.clone(), source.clone())), "{source:?} and {target:?}");
    }
}

/// Subject and alerts of each rule file, as Markdown.
fn inventory() -> String {
    let mut out = String::new();
    for (file, text, parsed) in rule_files() {
        let alerts: Vec<Rule> =
            parsed.groups.into_iter().flat_map(|group| group.rules).filter(|rule| rule.alert.is_some()).collect();
        if alerts.is_empty() {
            continue;
        }
        let subject = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_else(|| panic!("{file}"));
        out.push_str(&format!(
            "\n### {subject}\n\n`alerts/{file}`\n\n| Alert | Severity | Says | After |\n|---|---|---|---|\n"
        ));
        for rule in alerts {
            let name = rule.alert.unwrap();
            let link = format!("[{name}](../alerts/runbooks/{name}.md)");
            let window = rule.labels.get("long").map_or(String::new(), |long| format!(" ({long})"));
            let (severity, says) = (&rule.labels["severity"], &rule.annotations["summary"]);
            let after = rule.pending_for.as_deref().unwrap_or("at once");
            out.push_str(&format!("| {link} | {severity}{window} | {says} | {after} |\n"));
        }
    }
    out
}

#[test]
fn the_documents_list_every_alert() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts.md");
    let text = fs::read_to_string(&path).unwrap();
    let mark = "<!-- From here on written by `UPDATE=1 cargo test catalogue`. -->\n";
    let (head, tail) = text.split_once(mark).expect("the mark stands in docs/alerts.md");
    let expected = inventory();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{head}{mark}{expected}")).unwrap();
        return;
    }
    assert!(tail == expected, "docs/alerts.md does not list the shipped alerts: run with UPDATE=1");
}
