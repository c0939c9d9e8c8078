//! From rule files to a rule set: every check that Prometheus makes, every mistake in one pass.
//!
//! In:  texts of rule files, and the user's tuning of them.   Out: a [`RuleSet`], or all the mistakes.
//! Always: a set with an error is not given out at all, so a bad reload leaves the old one standing.
//! Source of the checks: Prometheus `model/rulefmt`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::file::{Pairs, RuleEntry, RuleFile, RuleGroup, Text, line_of};
use super::graph::{self, Broken, Graph};
use super::problem::{Level, RuleProblem};
use super::rule::{Alerting, Group, Rule, RuleKind, RuleSet, asks_for_absence, reads_of};
use super::template::Template;
use crate::model::{METRIC_NAME, parse_duration_ms};
use crate::promql;

/// The metric that holds the thresholds; `signal` and `severity` tell them apart.
pub const THRESHOLD_METRIC: &str = "rivet:threshold";

/// The annotation that links a panel of Grafana; the shipped rules write it relative to Grafana's address.
const DASHBOARD_URL: &str = "dashboard_url";

/// The text of one rule file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Path, or the name of an embedded file; shown in problems and by the API.
    pub name: String,
    pub text: String,
}

/// What the configuration changes in loaded rules.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// Names of rules to leave out.
    pub disable: Vec<String>,
    /// Changes by name of alert.
    pub overrides: BTreeMap<String, Override>,
    /// Labels for every alert that does not set them.
    pub labels: BTreeMap<String, String>,
    /// Values by signal and severity, in place of those recorded as `rivet:threshold`.
    pub thresholds: BTreeMap<String, BTreeMap<String, f64>>,
    /// What completes `dashboard_url` annotations that begin with `/`; without a slash at the end.
    pub grafana_url: Option<String>,
    /// Whether duplicate rules keep the set from being loaded.
    pub refuse_duplicates: bool,
}

/// What is changed in one alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Override {
    pub for_ms: Option<i64>,
    pub keep_firing_for_ms: Option<i64>,
    /// Labels set or replaced; `severity` is one of them.
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Why a set of rules was not loaded: every mistake that was found, errors and warnings.
#[derive(Debug, thiserror::Error)]
#[error("{}", summary(problems))]
pub struct LoadError {
    pub problems: Vec<RuleProblem>,
}

fn summary(problems: &[RuleProblem]) -> String {
    /// More would bury the first.
    const SHOWN_MAX: usize = 10;
    let errors: Vec<String> = problems.iter().filter(|p| p.level == Level::Error).map(ToString::to_string).collect();
    let shown = errors.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>().join("; ");
    match errors.len() {
        0 => "rules were not loaded".into(),
        1..=SHOWN_MAX => format!("rules were not loaded: {shown}"),
        more => format!("rules were not loaded: {shown}; and {} more", more - SHOWN_MAX),
    }
}

/// Reads, checks, tunes and orders the rules of `sources`.
///
/// # Errors
/// Any mistake of level [`Level::Error`]; the error lists all of them.
pub fn load(sources: &[Source], tuning: &Tuning) -> Result<RuleSet, LoadError> {
    let mut loader = Loader { tuning, set: RuleSet::default(), problems: Vec::new(), used: HashSet::new() };
    for source in sources {
        loader.file(source);
    }
    loader.check_tuning();
    loader.check_duplicates();
    let Loader { mut set, mut problems, .. } = loader;

    let graph = graph::build(&set.rules);
    problems.extend(graph.broken.iter().map(|broken| out_of_order(&set, broken)));
    for i in &graph.order {
        let waits = asks_for_absence(&set.rules[*i].expr)
            || graph.reads_from[*i].iter().any(|j| set.rules[*j].waits_for_sources);
        set.rules[*i].waits_for_sources = waits;
    }
    set.feeds_alerts = feed_alerts(&set.rules, &graph);
    set.order = graph.order;

    if problems.iter().any(|p| p.level == Level::Error) {
        return Err(LoadError { problems });
    }
    set.warnings = problems;
    Ok(set)
}

/// Says of a rule that it is evaluated before what it reads.
fn out_of_order(set: &RuleSet, broken: &Broken) -> RuleProblem {
    let named = |rules: &[usize], between: &str| {
        let mut names: Vec<String> = rules.iter().map(|i| format!("`{}`", set.rules[*i].name)).collect();
        // Several rules may record one name, each with labels of its own.
        names.dedup();
        names.join(between)
    };
    let (reader, message) = match broken {
        Broken::Ring(ring) => {
            let around: Vec<usize> = ring.iter().chain(ring.first()).copied().collect();
            let names = named(&around, " → ");
            (ring[0], format!("rules read each other in a ring, {names}; it is evaluated first"))
        }
        Broken::Late { reader, reads } => {
            let is_in_group = reads.iter().all(|j| set.rules[*j].group == set.rules[*reader].group);
            let names = named(reads, ", ");
            let (why, what) = match (is_in_group, names.contains(", ")) {
                (true, false) => ("which comes after it in its group", "; move it behind"),
                (true, true) => ("which come after it in its group", "; move it behind"),
                (false, _) => ("which could not be put before it", ""),
            };
            (*reader, format!("reads {names}, {why}: it sees what was recorded an interval before{what}"))
        }
    };
    let rule = &set.rules[reader];
    let group = set.group_of(rule);
    RuleProblem::in_file(&group.file, rule.line, message).group(&group.name).rule(&rule.name).warning()
}

/// Whether each rule is an alert or one depends on it. What a text asks for is known only when it is rendered, so one
/// that asks may depend on all.
fn feed_alerts(rules: &[Rule], graph: &Graph) -> Vec<bool> {
    let alerting = || rules.iter().enumerate().filter_map(|(i, rule)| Some((i, rule.alerting()?)));
    match alerting().any(|(_, alerting)| alerting.texts().any(Template::may_query)) {
        true => vec![true; rules.len()],
        false => graph.with_all_they_read(alerting().map(|(i, _)| i)),
    }
}

struct Loader<'a> {
    tuning: &'a Tuning,
    set: RuleSet,
    problems: Vec<RuleProblem>,
    /// Names and thresholds of the tuning that met a rule.
    used: HashSet<String>,
}

impl Loader<'_> {
    fn file(&mut self, source: &Source) {
        let file = match RuleFile::parse(&source.name, &source.text) {
            Ok(file) => file,
            Err(problem) => return self.problems.push(problem),
        };
        for key in &file.unknown {
            let message = format!("field `{}` is not known; a rule file holds `groups`", key.value);
            self.problems.push(RuleProblem::in_file(&source.name, line_of(key), message));
        }
        if file.unread_at.is_some() {
            let message = "a rule file is one YAML document, as for Prometheus: from here on nothing is read";
            self.problems.push(RuleProblem::in_file(&source.name, file.unread_at, message).warning());
        }
        let mut names = HashSet::new();
        for group in &file.groups {
            let name = group.value.name.as_ref().map_or("", |n| n.value.as_str());
            if name.is_empty() {
                let message = "groupname must not be empty";
                self.problems.push(RuleProblem::in_file(&source.name, line_of(group), message));
            } else if !names.insert(name.to_owned()) {
                let message = format!("groupname: \"{name}\" is repeated in the same file");
                self.problems.push(RuleProblem::in_file(&source.name, line_of(group), message).group(name));
            }
            self.group(&source.name, name, &group.value);
        }
    }

    fn group(&mut self, file: &str, name: &str, group: &RuleGroup) {
        let mut found = Vec::new();
        let mut report = |line, message: String| found.push(RuleProblem::in_file(file, line, message).group(name));
        for key in &group.unknown {
            report(line_of(key), format!("field `{}` is not known in a group", key.value));
        }
        let interval_ms = duration("interval", group.interval.as_ref(), &mut report).filter(|ms| *ms > 0);
        let query_offset_ms = duration("query_offset", group.query_offset.as_ref(), &mut report);
        let limit = match &group.limit {
            None => 0,
            Some(text) => text.value.parse::<i64>().map(|n| usize::try_from(n).unwrap_or(0)).unwrap_or_else(|_| {
                report(line_of(text), format!("`limit` must be a whole number, got `{}`", text.value));
                0
            }),
        };
        check_label_names(&group.labels, "label", &mut report);

        let (index, first) = (self.set.groups.len(), self.set.rules.len());
        for (i, entry) in group.rules.iter().enumerate() {
            let shown = entry.value.alert.as_ref().or(entry.value.record.as_ref());
            let shown = shown.map(|n| n.value.clone()).filter(|n| !n.is_empty()).unwrap_or(format!("rule {}", i + 1));
            let mut report = |line: Option<u32>, message: String| {
                let line = line.or_else(|| line_of(entry));
                found.push(RuleProblem::in_file(file, line, message).group(name).rule(&shown));
            };
            if let Some(rule) = self.rule(index, &group.labels, &entry.value, line_of(entry), &mut report) {
                self.set.rules.push(rule);
            }
        }
        let rules = first..self.set.rules.len();
        let (name, file) = (name.to_owned(), file.to_owned());
        self.set.groups.push(Group { name, file, interval_ms, query_offset_ms, limit, rules });
        self.problems.append(&mut found);
    }

    /// Checks a whole rule before giving up on it, so that one pass shows every mistake.
    fn rule(
        &mut self,
        group: usize,
        group_labels: &Pairs,
        entry: &RuleEntry,
        line: Option<u32>,
        report: &mut dyn FnMut(Option<u32>, String),
    ) -> Option<Rule> {
        let mut sound = true;
        let mut report = |line: Option<u32>, message: String| {
            sound = false;
            report(line, message);
        };
        for key in &entry.unknown {
            report(line_of(key), format!("field `{}` is not known in a rule", key.value));
        }
        let name_of = |text: &Option<Text>| text.as_ref().map(|t| t.value.clone()).unwrap_or_default();
        let (record, alert) = (name_of(&entry.record), name_of(&entry.alert));
        match (record.is_empty(), alert.is_empty()) {
            (false, false) => report(None, "only one of 'record' and 'alert' must be set".into()),
            (true, true) => report(None, "one of 'record' or 'alert' must be set".into()),
            _ => {}
        }
        if !record.is_empty() {
            for (field, present) in [
                ("annotations", !entry.annotations.0.is_empty()),
                ("for", entry.hold.is_some()),
                ("keep_firing_for", entry.keep_firing_for.is_some()),
            ] {
                if present {
                    report(None, format!("invalid field '{field}' in recording rule"));
                }
            }
            if record.contains(['{', '}']) {
                let message = "braces present in the recording rule name; should it be in expr?";
                report(entry.record.as_ref().and_then(line_of), format!("{message}: {record}"));
            }
        }
        check_label_names(&entry.labels, "label", &mut report);
        check_label_names(&entry.annotations, "annotation", &mut report);
        let for_ms = duration("for", entry.hold.as_ref(), &mut report).unwrap_or(0);
        let keep_firing_for_ms = duration("keep_firing_for", entry.keep_firing_for.as_ref(), &mut report).unwrap_or(0);

        let expr = self.expression(&record, entry, &mut report);
        let kind = match alert.is_empty() {
            true => RuleKind::Recording { labels: merge(group_labels, &entry.labels) },
            false => {
                let tuned = self.tuning.overrides.get(&alert);
                if tuned.is_some() {
                    self.used.insert(alert.clone());
                }
                let mut labels: BTreeMap<String, (String, Option<u32>)> =
                    self.tuning.labels.iter().map(|(n, v)| (n.clone(), (v.clone(), None))).collect();
                let written = group_labels.0.iter().chain(&entry.labels.0);
                labels.extend(written.map(|(n, v)| (n.value.clone(), (v.value.clone(), line_of(v)))));
                labels.extend(tuned.iter().flat_map(|t| &t.labels).map(|(n, v)| (n.clone(), (v.clone(), None))));
                let mut annotations: BTreeMap<String, (String, Option<u32>)> = BTreeMap::new();
                annotations
                    .extend(entry.annotations.0.iter().map(|(n, v)| (n.value.clone(), (v.value.clone(), line_of(v)))));
                annotations
                    .extend(tuned.iter().flat_map(|t| &t.annotations).map(|(n, v)| (n.clone(), (v.clone(), None))));
                if let (Some(url), Some((text, _))) = (&self.tuning.grafana_url, annotations.get_mut(DASHBOARD_URL))
                    && text.starts_with('/')
                {
                    text.insert_str(0, url);
                }
                let mut templates = |kind: &str, texts: BTreeMap<String, (String, Option<u32>)>| -> Vec<_> {
                    let parsed =
                        texts.into_iter().filter_map(|(name, (text, line))| match Template::parse(&alert, &text) {
                            Ok(template) => Some((name, template)),
                            Err(e) => {
                                report(line, format!("{kind} `{name}`: {e}"));
                                None
                            }
                        });
                    parsed.collect()
                };
                RuleKind::Alerting(Alerting {
                    for_ms: tuned.and_then(|t| t.for_ms).unwrap_or(for_ms),
                    keep_firing_for_ms: tuned.and_then(|t| t.keep_firing_for_ms).unwrap_or(keep_firing_for_ms),
                    labels: templates("label", labels),
                    annotations: templates("annotation", annotations),
                })
            }
        };

        let name = if alert.is_empty() { record } else { alert };
        if self.tuning.disable.contains(&name) {
            self.used.insert(name);
            return None;
        }
        let (expr, text) = expr.filter(|_| sound)?;
        let (query, selectors) = (expr.to_string(), reads_of(&expr));
        Some(Rule { group, name, line, expr, text, query, selectors, waits_for_sources: false, kind })
    }

    fn expression(
        &mut self,
        record: &str,
        entry: &RuleEntry,
        report: &mut dyn FnMut(Option<u32>, String),
    ) -> Option<(promql::Expr, String)> {
        let Some(written) = entry.expr.as_ref().filter(|e| !e.value.trim().is_empty()) else {
            report(None, "field 'expr' must be set in rule".into());
            return None;
        };
        let text = self.threshold_override(record, entry).map_or(written.value.clone(), |value| value.to_string());
        let parsed = promql::parse(&text);
        let expr =
            parsed.map_err(|e| report(line_of(written), format!("could not parse expression: {}", e.render()))).ok()?;
        use promql::ValueType::{Scalar, Vector};
        if !matches!(expr.value_type(), Scalar | Vector) {
            let got = expr.value_type().documented();
            report(line_of(written), format!("rule result is not a vector or scalar but a {got}"));
            return None;
        }
        Some((expr, text))
    }

    fn threshold_override(&mut self, record: &str, entry: &RuleEntry) -> Option<f64> {
        if record != THRESHOLD_METRIC {
            return None;
        }
        let label = |name: &str| entry.labels.0.iter().find(|(n, _)| n.value == name).map(|(_, v)| v.value.as_str());
        let (signal, severity) = (label("signal")?, label("severity")?);
        let value = *self.tuning.thresholds.get(signal)?.get(severity)?;
        self.used.insert(threshold_key(signal, severity));
        Some(value)
    }

    /// A name in the tuning that meets no rule is a mistake: it looks as if it worked.
    fn check_tuning(&mut self) {
        let mut unmet = Vec::new();
        let name_lists = self.tuning.disable.iter().map(|n| ("rules.disable", n));
        for (key, name) in name_lists.chain(self.tuning.overrides.keys().map(|n| ("rules.override", n))) {
            if !self.used.contains(name) {
                unmet.push((key.to_owned(), format!("names `{name}`, but no {} has that name", kind_of(key))));
            }
        }
        for (signal, by_severity) in &self.tuning.thresholds {
            for (severity, value) in by_severity {
                let key = format!("thresholds.{signal}.{severity}");
                if !value.is_finite() {
                    unmet.push((key, format!("must be a number, got {value}")));
                } else if !self.used.contains(&threshold_key(signal, severity)) {
                    let rule = format!("`{THRESHOLD_METRIC}{{signal=\"{signal}\",severity=\"{severity}\"}}`");
                    unmet.push((key, format!("changes no rule: none records {rule}")));
                }
            }
        }
        for (key, message) in unmet {
            self.problems.push(RuleProblem::in_file("configuration", None, format!("`{key}` {message}")));
        }
    }

    /// The same name with the same labels twice: the second series or alert would collide with the first.
    fn check_duplicates(&mut self) {
        let mut seen: HashMap<_, (String, Option<u32>)> = HashMap::new();
        for rule in &self.set.rules {
            let group = &self.set.groups[rule.group];
            if let Some((file, line)) = seen.get(&rule.identity()) {
                let place = line.map_or(file.clone(), |l| format!("{file}:{l}"));
                let message = format!("duplicate rule: the same name and labels stand at {place}");
                let mut problem =
                    RuleProblem::in_file(&group.file, rule.line, message).group(&group.name).rule(&rule.name);
                if !self.tuning.refuse_duplicates {
                    problem = problem.warning();
                }
                self.problems.push(problem);
            } else {
                seen.insert(rule.identity(), (group.file.clone(), rule.line));
            }
        }
    }
}

fn kind_of(key: &str) -> &'static str {
    if key == "rules.disable" { "rule" } else { "alert" }
}

fn threshold_key(signal: &str, severity: &str) -> String {
    format!("\u{1}{signal}\u{1}{severity}")
}

fn duration(key: &str, text: Option<&Text>, report: &mut dyn FnMut(Option<u32>, String)) -> Option<i64> {
    let text = text?;
    let ms = parse_duration_ms(text.value.trim());
    if ms.is_none() {
        report(line_of(text), format!("`{key}` must be a duration such as `30s` or `1h30m`, got `{}`", text.value));
    }
    ms
}

fn check_label_names(pairs: &Pairs, kind: &str, report: &mut dyn FnMut(Option<u32>, String)) {
    for (name, _) in &pairs.0 {
        if name.value.is_empty() || (kind == "label" && name.value == METRIC_NAME) {
            report(line_of(name), format!("invalid {kind} name: {}", name.value));
        }
    }
}

fn merge(group: &Pairs, rule: &Pairs) -> Vec<(String, String)> {
    let all = group.0.iter().chain(&rule.0).map(|(n, v)| (n.value.clone(), v.value.clone()));
    all.collect::<BTreeMap<_, _>>().into_iter().collect()
}

#[cfg(test)]
mod tests;
