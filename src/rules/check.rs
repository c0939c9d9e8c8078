//! What `rivetwatch rules check` says about rules that load: names nobody sends, and conventions not kept.
//!
//! In:  a rule set, and what is known of metric names.   Out: findings with file, line, group and rule, and a caret under
//! the place where a part of an expression is at fault.
//! The conventions are those of the monitoring mixins: names, severities, texts, runbooks, windows, guarded quotients.

use std::collections::HashSet;

use super::problem::RuleProblem;
use super::rule::{Alerting, Group, Rule, RuleSet};
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::promql::{BinaryOp, DurationKind, Expr, ExprKind, PositionRange};

const NAME_CHARS_MAX: usize = 40;
const GROUP_RULES_MAX: usize = 20;
/// Four scrapes of 15 s: fewer make a rate that one missed scrape empties.
const RANGE_MS_MIN: f64 = 60_000.0;
const SEVERITIES: [&str; 3] = ["critical", "warning", "info"];

/// Series that Prometheus and this agent write themselves.
const OWN: [&str; 3] = ["up", "ALERTS", "ALERTS_FOR_STATE"];

/// Functions whose result is zero or absent while nothing is counted.
const RATES: [&str; 4] = ["rate", "irate", "increase", "delta"];

/// What is known of a metric that a rule reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    Fine,
    /// Nobody sends it; why.
    Missing(String),
    /// It is sent, and yet does not say what the rule takes it for; why.
    Trap(String),
}

/// Tells what is known of a metric name that a rule reads.
pub type Names<'a> = dyn Fn(&Rule, &str) -> Reading + 'a;

/// Findings about a set, in file order; `names` tells of metrics that no rule records, `None` leaves them unchecked.
pub fn check(set: &RuleSet, names: Option<&Names>) -> Vec<RuleProblem> {
    let recorded: HashSet<&str> =
        set.rules.iter().filter(|r| r.alerting().is_none()).map(|r| r.name.as_str()).collect();
    let reading = |rule: &Rule, name: &str| match names {
        Some(names) if !recorded.contains(name) && !OWN.contains(&name) => names(rule, name),
        _ => Reading::Fine,
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
            check_rule(group, rule, &reading, &mut findings);
        }
    }
    findings
}

fn check_rule(group: &Group, rule: &Rule, reading: &Names, findings: &mut Vec<RuleProblem>) {
    let mut report = |message: String| {
        let problem = RuleProblem::in_file(&group.file, rule.line, message);
        findings.push(problem.group(&group.name).rule(&rule.name).warning());
    };
    for (message, place) in unreadable(&rule.expr, rule, reading) {
        report(format!("{message}\n{}", caret(&rule.text, place)));
    }
    for node in rule.expr.walk() {
        for (seconds, range) in short_ranges(node) {
            let message = format!("range of {seconds} s holds fewer than four scrapes of 15 s");
            report(format!("{message}\n{}", caret(&rule.text, range.position)));
        }
        if let Some(divisor) = unguarded(node) {
            let message = "a quotient of rates is NaN or infinite while nothing is counted; divide by `(… > 0)`";
            report(format!("{message}\n{}", caret(&rule.text, divisor.position)));
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

/// Metrics that give nothing, or not what they seem to, each with its place.
///
/// In a chain `a or b` one branch that can be read is enough: the others are for other releases.
fn unreadable(expr: &Expr, rule: &Rule, reading: &Names) -> Vec<(String, PositionRange)> {
    if let ExprKind::Binary(binary) = &expr.kind
        && binary.op == BinaryOp::Or
    {
        let (left, right) = (unreadable(&binary.lhs, rule, reading), unreadable(&binary.rhs, rule, reading));
        return if left.is_empty() || right.is_empty() { Vec::new() } else { [left, right].concat() };
    }
    let (name, place) = match &expr.kind {
        ExprKind::Vector(s) => (s.name.as_deref(), s.position),
        ExprKind::Matrix(m) => (m.selector.name.as_deref(), m.selector.position),
        _ => (None, expr.position),
    };
    let own = name.and_then(|name| match reading(rule, name) {
        Reading::Fine => None,
        Reading::Missing(why) | Reading::Trap(why) => Some((why, place)),
    });
    let below = expr.children().flat_map(|child| unreadable(child, rule, reading));
    own.into_iter().chain(below).collect()
}

/// The right side of a division, where it is made of rates and lets zero through.
fn unguarded(node: &Expr) -> Option<&Expr> {
    let ExprKind::Binary(binary) = &node.kind else { return None };
    if binary.op != BinaryOp::Div {
        return None;
    }
    let is_rate = |e: &Expr| matches!(&e.kind, ExprKind::Call(call) if RATES.contains(&call.function.name));
    let is_guard = |e: &Expr| matches!(&e.kind, ExprKind::Binary(b) if b.op.is_comparison() && !b.return_bool);
    let rhs = binary.rhs.unwrap_parens();
    (rhs.walk().any(is_rate) && !rhs.walk().any(is_guard)).then_some(&*binary.rhs)
}

/// Ranges of a call that hold too few samples to go by. Whether there is any is told by one; and the least or the most of what
/// rules record, at every evaluation and without a gap, is told by as many as there are.
fn short_ranges(node: &Expr) -> impl Iterator<Item = (f64, &Expr)> {
    let (args, is_extreme) = match &node.kind {
        ExprKind::Call(call) => match call.function.name {
            "present_over_time" | "absent_over_time" => (&[][..], false),
            name => (&*call.args, matches!(name, "min_over_time" | "max_over_time")),
        },
        _ => (&[][..], false),
    };
    args.iter().filter_map(move |arg| {
        let ExprKind::Matrix(matrix) = &arg.kind else { return None };
        let is_recorded = |m: &Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal && m.value.contains(':');
        if is_extreme && matrix.selector.matchers.iter().any(is_recorded) {
            return None;
        }
        let DurationKind::Literal(n) = &matrix.range.kind else { return None };
        (n.value > 0.0 && n.value * 1000.0 < RANGE_MS_MIN).then_some((n.value, arg))
    })
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
        let names = |_: &Rule, name: &str| match name {
            "known_total" | "rivetwatch_rule_blind" => Reading::Fine,
            "drifting" => Reading::Trap("`drifting` drifts".into()),
            _ => Reading::Missing(format!("metric `{name}` is neither sent nor recorded by a rule")),
        };
        check(&set, Some(&names)).iter().map(ToString::to_string).collect()
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
        / (rate(unknwon_total[30s]) > 0)
  - record: job:y:sum
    expr: sum(job:x:rate5m) + up + rivetwatch_rule_blind
",
        );
        assert_eq!(
            found,
            [
                "r.yaml:4: group `a`, rule `job:x:rate5m`: range of 30 s holds fewer than four scrapes of 15 s\n    / (rate(unknwon_total[30s]) > 0)\n            ^^^^^^^^^^^^^^^^^^",
                "r.yaml:4: group `a`, rule `job:x:rate5m`: metric `unknwon_total` is neither sent nor recorded by a rule\n    / (rate(unknwon_total[30s]) > 0)\n            ^^^^^^^^^^^^^",
            ]
            .map(str::to_owned)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
        );
        let short = |expr: &str| {
            let found = findings(&format!("groups: [{{name: a, rules: [{{record: 'a:b:c', expr: '{expr}'}}]}}]"));
            found.iter().filter(|finding| finding.contains("fewer than four scrapes")).count()
        };
        assert_eq!((short("min_over_time(known_total[30s])"), short("rate(a:b:d[30s])")), (1, 1));
        assert_eq!(short("min_over_time(a:b:d[30s])"), 0, "one at each evaluation, and no scrape");
    }

    #[test]
    fn one_branch_that_can_be_read_is_enough_and_traps_are_not() {
        let rule =
            |expr: &str| findings(&format!("groups: [{{name: a, rules: [{{record: 'a:b:c', expr: '{expr}'}}]}}]"));
        assert_eq!(rule("gone or on (job) known_total or lost"), [""; 0]);
        assert_eq!(rule("gone or lost").len(), 2);
        assert_eq!(rule("known_total + (gone or lost)").len(), 2);
        let trap = rule("max(drifting) > 3");
        assert!(trap.len() == 1 && trap[0].ends_with("drifts\n  max(drifting) > 3\n      ^^^^^^^^"), "{trap:?}");
    }

    #[test]
    fn quotients_of_rates_guard_their_divisor() {
        let rule =
            |expr: &str| findings(&format!("groups: [{{name: a, rules: [{{record: 'a:b:c', expr: '{expr}'}}]}}]"));
        let found = rule("known_total / sum(rate(known_total[5m]))");
        assert!(found.len() == 1 && found[0].contains("(… > 0)"), "{found:?}");
        assert!(found[0].ends_with("\n                ^^^^^^^^^^^^^^^^^^^^^^^^^^"), "{}", found[0]);
        assert_eq!(rule("known_total / (sum(rate(known_total[5m])) > 0)"), [""; 0]);
        assert_eq!(rule("rate(known_total[5m]) / 60"), [""; 0]);
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
