//! Rules as they are evaluated: checked, parsed, and in the order of the graph.

use std::collections::BTreeSet;

use super::problem::RuleProblem;
use super::template::Template;
use crate::model::Matcher;
use crate::promql::{DurationKind, Expr, ExprKind, selectors};

/// Everything that was loaded, and the order in which it is evaluated.
#[derive(Debug, Default)]
pub struct RuleSet {
    pub groups: Vec<Group>,
    /// In the order of files, groups and rules.
    pub rules: Vec<Rule>,
    /// Indexes into `rules`: each rule after those whose series it reads.
    pub order: Vec<usize>,
    /// For each rule whether it is an alert, or one depends on it.
    pub feeds_alerts: Vec<bool>,
    /// What does not keep the set from being used: broken cycles, duplicates.
    pub warnings: Vec<RuleProblem>,
}

/// What the rules of a group share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub file: String,
    /// Own interval; `None` is that of the tick.
    pub interval_ms: Option<i64>,
    /// How far before the tick the group is evaluated and recorded.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts of one rule; zero is without limit.
    pub limit: usize,
    /// Indexes into [`RuleSet::rules`].
    pub rules: std::ops::Range<usize>,
}

impl Group {
    /// Whether it is one of those that ship with the agent.
    pub fn is_builtin(&self) -> bool {
        self.file.starts_with(super::builtin::FOLDER)
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Index into [`RuleSet::groups`].
    pub group: usize,
    /// The recorded metric, or the `alertname`.
    pub name: String,
    pub line: Option<u32>,
    pub expr: Expr,
    /// The expression as it was written; places in `expr` are places in it.
    pub text: String,
    /// The expression in normalised PromQL.
    pub query: String,
    pub selectors: Vec<Reads>,
    /// Whether it, or a rule it reads, asks for absence: such rules wait for the sources after a start.
    pub waits_for_sources: bool,
    pub kind: RuleKind,
}

/// What a rule makes of its expression.
#[derive(Debug)]
pub enum RuleKind {
    /// Writes it under another name, with these labels.
    Recording {
        labels: Vec<(String, String)>,
    },
    Alerting(Alerting),
}

/// The rest of an alerting rule.
#[derive(Debug)]
pub struct Alerting {
    pub for_ms: i64,
    pub keep_firing_for_ms: i64,
    /// Rule and group labels, each a template.
    pub labels: Vec<(String, Template)>,
    pub annotations: Vec<(String, Template)>,
}

impl Alerting {
    /// The texts of labels and annotations.
    pub fn texts(&self) -> impl Iterator<Item = &Template> {
        self.labels.iter().chain(&self.annotations).map(|(_, template)| template)
    }
}

/// One selector of an expression.
#[derive(Clone, Debug)]
pub struct Reads {
    pub matchers: Vec<Matcher>,
    /// Its `offset`, where that is a plain duration.
    pub offset_ms: i64,
}

impl Rule {
    /// The alerting part, `None` for a recording rule.
    pub fn alerting(&self) -> Option<&Alerting> {
        match &self.kind {
            RuleKind::Alerting(alerting) => Some(alerting),
            RuleKind::Recording { .. } => None,
        }
    }

    /// Labels that every series of this rule has with the same value.
    pub fn fixed_labels(&self) -> Vec<(&str, &str)> {
        match &self.kind {
            RuleKind::Recording { labels } => labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect(),
            RuleKind::Alerting(alerting) => {
                let fixed = alerting.labels.iter().filter(|(_, t)| !t.is_dynamic());
                fixed.map(|(n, t)| (n.as_str(), t.text())).chain([("alertname", self.name.as_str())]).collect()
            }
        }
    }

    /// What makes a rule the same rule after a reload: its kind, name and labels as written.
    pub fn identity(&self) -> (bool, String, BTreeSet<(String, String)>) {
        let labels = match &self.kind {
            RuleKind::Recording { labels } => labels.iter().cloned().collect(),
            RuleKind::Alerting(a) => a.labels.iter().map(|(n, t)| (n.clone(), t.text().to_owned())).collect(),
        };
        (self.alerting().is_some(), self.name.clone(), labels)
    }
}

impl RuleSet {
    /// The group of a rule.
    pub fn group_of(&self, rule: &Rule) -> &Group {
        &self.groups[rule.group]
    }

    /// Number of alerting rules.
    pub fn alerting_count(&self) -> usize {
        self.rules.iter().filter(|r| r.alerting().is_some()).count()
    }
}

/// The selectors of an expression, as the graph and the hold read them.
pub fn reads_of(expr: &Expr) -> Vec<Reads> {
    selectors(expr)
        .map(|s| Reads {
            matchers: s.matchers.clone(),
            offset_ms: match s.time.offset.as_ref().map(|d| &d.kind) {
                Some(DurationKind::Literal(n)) => (n.value * 1000.0) as i64,
                _ => 0,
            },
        })
        .collect()
}

/// Whether the expression itself asks for absence.
pub fn asks_for_absence(expr: &Expr) -> bool {
    expr.walk()
        .any(|e| matches!(&e.kind, ExprKind::Call(c) if matches!(c.function.name, "absent" | "absent_over_time")))
}
