//! What `rivetwatch rules check` says about rules that load: names nobody sends, and conventions not kept.
//!
//! In:  a rule set, and which metric names exist.   Out: findings with file, line, group and rule.
//! The conventions are those of the monitoring mixins: names, severities, texts, runbooks, windows.

use std::collections::HashSet;

use super::problem::RuleProblem;
use super::rule::{Alerting, Group, Rule, RuleSet};
use crate::promql::{DurationKind, Expr, ExprKind, PositionRange};

const NAME_CHARS_MAX: usize = 40;
const GROUP_RULES_MAX: usize = 20;
/// Four scrapes of 15 s: fewer make a rate that one missed scrape empties.
const RANGE_MS_MIN: f64 = 60_000.0;
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Series that Prometheus and this agent write themselves.
const OWN: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];
const OWN_PREFIXES: [&str; 3] = ["scrape_", "rivetwatch_", "target_info"];

/// Findings about a set, in file order; `is_known` says whether a metric of this name can exist, `None` leaves
/// names unchecked.
pub fn check(set: &RuleSet, is_known: Option<&dyn Fn(&str) -> bool>) -> Vec<RuleProblem> {
    let recorded: HashSet<&str> =
        set.rules.iter().filter(|r| r.alerting().is_none()).map(|r| r.name.as_str()).collect();
    let exists = |name: &str| {
        recorded.contains(name)
            || OWN.contains(&name)
            || OWN_PREFIXES.iter().any(|p| name.starts_with(p))
            || is_known.is_none_or(|known| known(name))
    };
    let mut findings = set.warnings.clone();
    for group in &set.groups {
        let mut report = |message: String| {
            findings.push(RuleProblem::in_file(&group.file, None, message).group(&group.name).warning());
        };
        let length = group.name.chars().count();
        if length > NAME_CHARS_MAX {
            report(format!("the group's name has {length} characters; at most {NAME_CHARS_MAX} can be read in lists"));
        }
        if group.rules.len() > GROUP_RULES_MAX {
            report(format!("the group has {} rules; more than {GROUP_RULES_MAX} hide each other", group.rules.len()));
        }
        for rule in &set.rules[group.rules.clone()] {
            check_rule(group, rule, &exists, &mut findings);
        }
    }
    findings
}

fn check_rule(group: &Group, rule: &Rule, exists: &dyn Fn(&str) -> bool, findings: &mut Vec<RuleProblem>) {
    let mut report = |message: String| {
        let problem = RuleProblem::in_file(&group.file, rule.line, message);
        findings.push(problem.group(&group.name).rule(&rule.name).warning());
    };
    for node in rule.expr.walk() {
        let (name, place) = match &node.kind {
            ExprKind::Vector(s) => (s.name.as_deref(), s.position),
            ExprKind::Matrix(m) => (m.selector.name.as_deref(), m.selector.position),
            _ => (None, node.position),
        };
        if let Some(name) = name.filter(|n| !exists(n)) {
            report(format!("metric `{name}` is neither sent nor recorded by a rule\n{}", caret(&rule.text, place)));
        }
        if let Some(seconds) = short_range(node) {
            let message = format!("range of {seconds} s holds fewer than four scrapes of 15 s");
            report(format!("{message}\n{}", caret(&rule.text, node.position)));
        }
    }
    match rule.alerting() {
        Some(alerting) => check_alert(rule, alerting, &mut report),
        None if !rule.name.contains(':') => {
            report("a recorded name has the form `level:metric:operations`".into());
        }
        None => {}
    }
}

fn check_alert(rule: &Rule, alerting: &Alerting, report: &mut dyn FnMut(String)) {
    let is_camel_case =
        rule.name.starts_with(|c: char| c.is_ascii_uppercase()) && rule.name.chars().all(|c| c.is_ascii_alphanumeric());
    if !is_camel_case {
        report("an alert's name is written in CamelCase".into());
    }
    let length = rule.name.chars().count();
    if length > NAME_CHARS_MAX {
        report(format!("the name has {length} characters; at most {NAME_CHARS_MAX} fit into a notification"));
    }
    match alerting.labels.iter().find(|(n, _)| n == "severity").map(|(_, t)| t.text()) {
        None => report("label `severity` is missing; it is critical, warning or info".into()),
        Some(text) if !text.contains("{{") && !SEVERITIES.contains(&text) => {
            report(format!("label `severity` must be critical, warning or info, got `{text}`"));
        }
        Some(_) => {}
    }
    let annotation = |name: &str| alerting.annotations.iter().find(|(n, _)| n == name).map(|(_, t)| t);
    match annotation("summary") {
        None => report("annotation `summary` is missing: what is wrong, in one sentence".into()),
        Some(t) if t.is_dynamic() => {
            report("annotation `summary` must be static; values belong in `description`".into())
        }
        Some(t) => {
            let text = t.text().trim();
            if !text.starts_with(|c: char| c.is_uppercase() || c.is_numeric()) || !text.ends_with('.') {
                report(format!("annotation `summary` must be a sentence with a capital and a full stop, got `{text}`"));
            }
        }
    }
    match annotation("description") {
        None => report("annotation `description` is missing: which instance, which value, in which unit".into()),
        Some(t) if !t.is_dynamic() => {
            report("annotation `description` names no instance or value; write `{{ $labels.instance }}`".into());
        }
        Some(_) => {}
    }
    match annotation("runbook_url") {
        None => report("annotation `runbook_url` is missing: who is woken needs to know what to do".into()),
        Some(t) if t.text().trim().is_empty() => report("annotation `runbook_url` is empty".into()),
        Some(_) => {}
    }
}

fn short_range(node: &Expr) -> Option<f64> {
    let ExprKind::Matrix(matrix) = &node.kind else { return None };
    let DurationKind::Literal(n) = &matrix.range.kind else { return None };
    (n.value > 0.0 && n.value * 1000.0 < RANGE_MS_MIN).then_some(n.value)
}

/// The line of the expression with carets under the place.
fn caret(text: &str, place: PositionRange) -> String {
    let start = (place.start as usize).min(text.len());
    let line_start = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(line_start..).and_then(|rest| rest.lines().next()).unwrap_or("");
    let before = text.get(line_start..start).unwrap_or("");
    let end = (place.end as usize).min(line_start + line.len()).max(start);
    let width = text.get(start..end).map_or(1, |part| part.chars().count()).max(1);
    let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("  {line}\n  {indent}{}", "^".repeat(width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::load::{Source, Tuning, load};

    fn findings(text: &str) -> Vec<String> {
        let set = load(&[Source { name: "r.yaml".into(), text: text.into() }], &Tuning::default()).unwrap();
        let known = |name: &str| name == "known_total";
        check(&set, Some(&known)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn unknown_metrics_and_short_windows_are_shown_under_a_caret() {
        let found = findings(
            "groups:
- name: a
  rules:
  - record: job:x:rate5m
    expr: |
      rate(known_total[5m])
        / rate(unknwon_total[30s])
  - record: job:y:sum
    expr: sum(job:x:rate5m) + up + rivetwatch_rule_blind
",
        );
        assert_eq!(
            found,
            [
                "r.yaml:4: group `a`, rule `job:x:rate5m`: range of 30 s holds fewer than four scrapes of 15 s\n    / rate(unknwon_total[30s])\n           ^^^^^^^^^^^^^^^^^^",
                "r.yaml:4: group `a`, rule `job:x:rate5m`: metric `unknwon_total` is neither sent nor recorded by a rule\n    / rate(unknwon_total[30s])\n           ^^^^^^^^^^^^^",
            ]
            .map(str::to_owned)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
        );
    }

    #[test]
    fn conventions_of_the_mixins_are_kept_or_reported() {
        let good = "groups:
- name: a
  rules:
  - alert: RivetHot
    expr: known_total > 1
    labels: {severity: warning}
    annotations:
      summary: Too hot.
      description: '{{ $labels.instance }} is at {{ $value }}.'
      runbook_url: /runbooks/rivethot
";
        assert_eq!(findings(good), [""; 0]);
        let bad = "groups:
- name: a
  rules:
  - alert: rivet_hot
    expr: known_total > 1
    labels: {severity: page}
    annotations: {summary: 'hot {{ $value }}', description: hot}
  - alert: RivetHotterThanAnyoneWouldEverHaveExpected
    expr: known_total > 1
    annotations: {summary: hot}
  - {record: flat, expr: known_total}
";
        let found = findings(bad);
        for part in [
            "CamelCase",
            "must be critical, warning or info, got `page`",
            "`summary` must be static",
            "`description` names no instance",
            "`runbook_url` is missing",
            "has 42 characters",
            "`severity` is missing",
            "`summary` must be a sentence",
            "`description` is missing",
            "level:metric:operations",
        ] {
            assert!(found.iter().any(|f| f.contains(part)), "{part}\n{}", found.join("\n"));
        }
        assert_eq!(found.len(), 11, "{}", found.join("\n"));
    }
}
