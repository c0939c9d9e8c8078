//! Series that the rules write about themselves, so that what is wrong with them can be an alert like any other.
//!
//! Out: failures and blindness of each rule, and what a restart needs to know of alerts beyond `ALERTS`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::alerting::{self, State};
use super::engine::Rules;
use super::hold::Status;
use super::overlay::{Fresh, Overlay};
use super::presence::any_present;
use super::restore::{FIRED_METRIC, KEEP_METRIC, NO_DATA_METRIC, VALUE_METRIC};
use super::rule::{Alerting, Reads, Rule, RuleSet, reads_of};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp, Matcher, TimestampMs, Value};
use crate::promql::{BinaryOp, Expr, ExprKind};
use crate::storage::{Point, Select};

/// Evaluations by rule that failed, or in which a label or annotation could not be rendered, since the start.
pub const FAILURES_METRIC: &str = "rivetwatch_rule_evaluation_failures_total";
/// One for each rule that can give nothing, because series that it needs are not there.
pub const BLIND_METRIC: &str = "rivetwatch_rule_blind";

/// What the last evaluation of a rule cost, of those that cost more than [`COST_SHOWN`].
pub const COST_METRIC: &str = "rivetwatch_rule_evaluation_duration_seconds";

/// A rule usually takes some tens of microseconds; one below this is no burden to anybody.
const COST_SHOWN: Duration = Duration::from_millis(10);
/// Every so many ticks each rule is checked for series that are not there.
const BLIND_CHECK_TICKS: u64 = 4;

impl Rules {
    /// Series of a rule's alerts: Prometheus' two, and what a restart needs besides.
    pub(super) fn alert_series(&self, i: usize, rule: &Rule, alerting: &Alerting, t: TimestampMs) -> Vec<Point> {
        let state = &self.states[i];
        let mut points = alerting::series(rule, alerting, &state.active, t);
        if !self.settings.own_series {
            return points;
        }
        let mut push_value = |metric: &str, labels: &Labels, v: f64| {
            points.push(Point { labels: labels.with(METRIC_NAME, metric), t, value: Value::Float(v) });
        };
        // One that is not known after a restart is not a value, and would hide that.
        for (labels, outgoing) in state.hold.alerts.iter().filter(|(_, o)| o.is_firing() && !o.value.is_nan()) {
            push_value(VALUE_METRIC, labels, outgoing.value);
        }
        let mut push = |metric: &str, labels: &Labels, when: TimestampMs| {
            push_value(metric, labels, when.as_secs_f64());
        };
        for (labels, outgoing) in state.hold.alerts.iter().filter(|(_, o)| o.is_firing()) {
            push(FIRED_METRIC, labels, outgoing.starts_at);
            if let Status::NoData { since } = outgoing.status {
                push(NO_DATA_METRIC, labels, since);
            }
        }
        for (labels, alert) in &state.active {
            if let Some(since) = alert.keep_firing_since.filter(|_| alert.state == State::Firing) {
                push(KEEP_METRIC, labels, since);
            }
        }
        points
    }

    /// Series about the rules, so that failing and blind rules can be alerts like any other.
    pub(super) fn record_own(&mut self, at: TimestampMs, storage: &dyn Select, fresh: &mut Fresh) {
        let set = Arc::clone(&self.set);
        let mut blind_count = 0;
        for (i, rule) in set.rules.iter().enumerate() {
            if (self.ticks + i as u64).is_multiple_of(BLIND_CHECK_TICKS) && self.states[i].evaluated_at.is_some() {
                let t = at.plus_ms(-self.offset(rule));
                let overlay = Overlay::new(storage, fresh);
                let look = Look { own: &self.own, storage: &overlay, t, lookback_ms: self.settings.lookback_ms };
                self.states[i].blind = look.is_blind(rule, set.group_of(rule).is_builtin());
            }
            blind_count += usize::from(self.states[i].blind);
        }
        for series in &self.own.series {
            let states = || series.rules.iter().map(|i| &self.states[*i]);
            let mut push = |labels: &Labels, value: f64| {
                fresh.record(Point { labels: labels.clone(), t: at, value: Value::Float(value) });
            };
            push(&series.failures, states().map(|s| s.failures).sum::<u64>() as f64);
            push(&series.blind, f64::from(u8::from(states().any(|s| s.blind))));
            let took: Duration = states().map(|s| s.took).sum();
            if took >= COST_SHOWN {
                push(&series.cost, took.as_secs_f64());
            }
        }
        self.stats.blind.set(blind_count as f64);
    }
}

/// What of the series about the rules is the same at every tick.
#[derive(Default)]
pub(super) struct OwnSeries {
    series: Vec<SeriesOfName>,
    /// Names of the series that rules record without reading any.
    constant: HashSet<String>,
    /// Names of the series that rules record.
    recorded: HashSet<String>,
}

/// The series about the rules that share group, name and severity, as thresholds do; their counts are added.
struct SeriesOfName {
    rules: Vec<usize>,
    failures: Labels,
    blind: Labels,
    cost: Labels,
}

impl OwnSeries {
    pub(super) fn of(set: &RuleSet) -> Self {
        let mut by_labels: BTreeMap<Labels, Vec<usize>> = BTreeMap::new();
        for (i, rule) in set.rules.iter().enumerate() {
            let mut labels = LabelsBuilder::default();
            let group = set.group_of(rule);
            labels.set("rule", &rule.name).set("group", &group.name);
            if group.is_builtin() {
                labels.set("builtin", "true");
            }
            if let Some((_, severity)) = rule.fixed_labels().into_iter().find(|(n, _)| *n == "severity") {
                labels.set("rule_severity", severity);
            }
            by_labels.entry(labels.build()).or_default().push(i);
        }
        let series = by_labels.into_iter().map(|(labels, rules)| SeriesOfName {
            rules,
            failures: labels.with(METRIC_NAME, FAILURES_METRIC),
            blind: labels.with(METRIC_NAME, BLIND_METRIC),
            cost: labels.with(METRIC_NAME, COST_METRIC),
        });
        let recording = || set.rules.iter().filter(|r| r.alerting().is_none());
        let constant = recording().filter(|r| r.selectors.is_empty()).map(|r| r.name.clone()).collect();
        Self { series: series.collect(), constant, recorded: recording().map(|r| r.name.clone()).collect() }
    }
}

/// Looks for the series that a rule reads.
struct Look<'a> {
    own: &'a OwnSeries,
    storage: &'a dyn Select,
    t: TimestampMs,
    lookback_ms: i64,
}

impl Look<'_> {
    /// Whether none of the series that a rule reads is there, or a metric that it needs is not.
    ///
    /// Thresholds and other constants do not count. Shipped rules name families of many releases and only ask for the first.
    fn is_blind(&self, rule: &Rule, is_builtin: bool) -> bool {
        // A rule that asks for absence fires on what this would report.
        !rule.waits_for_sources && (self.has_nothing(rule) || (!is_builtin && self.lacks(&rule.expr)))
    }

    fn has_nothing(&self, rule: &Rule) -> bool {
        let is_constant = |reads: &Reads| metric_of(reads).is_some_and(|name| self.own.constant.contains(name));
        let mut reads = rule.selectors.iter().filter(|s| !is_constant(s)).peekable();
        reads.peek().is_some() && reads.all(|s| !self.is_there(&s.matchers, s.offset_ms))
    }

    /// Whether an expression gives nothing because of a metric without any series.
    ///
    /// That one with certain labels has none is how many rules are meant: no 500 was answered yet. What a rule records is
    /// there when that rule finds it, and whether that one is blind is its own affair.
    fn lacks(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Vector(_) | ExprKind::Matrix(_) => reads_of(expr).iter().any(|reads| {
                let Some(name) = metric_of(reads) else { return false };
                let is_of_rules = matches!(name, "ALERTS" | "ALERTS_FOR_STATE") || self.own.recorded.contains(name);
                !is_of_rules && !self.is_there(&[Matcher::equal(METRIC_NAME, name)], reads.offset_ms)
            }),
            ExprKind::Binary(binary) => match binary.op {
                BinaryOp::Or => self.lacks(&binary.lhs) && self.lacks(&binary.rhs),
                BinaryOp::Unless => self.lacks(&binary.lhs),
                _ => self.lacks(&binary.lhs) || self.lacks(&binary.rhs),
            },
            _ => expr.children().any(|child| self.lacks(child)),
        }
    }

    fn is_there(&self, matchers: &[Matcher], offset_ms: i64) -> bool {
        // A store that cannot be read says nothing about rules.
        any_present(self.storage, matchers, self.t.plus_ms(-offset_ms), self.lookback_ms).unwrap_or(true)
    }
}

/// The metric that a selector names.
fn metric_of(reads: &Reads) -> Option<&str> {
    let name = reads.matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal)?;
    Some(&name.value)
}
