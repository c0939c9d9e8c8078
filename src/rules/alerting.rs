//! The life of alerts: inactive, pending, firing, exactly as Prometheus has it.
//!
//! In:  the elements of an alerting rule's vector at a tick.   Out: state, and the series `ALERTS` and
//! `ALERTS_FOR_STATE`.   Always: only a tick ends an alert; a pass between ticks may start or fire one.
//! Source: Prometheus `rules/alerting.go`.

use std::collections::BTreeMap;

use super::evaluate::RuleError;
use super::rule::{Alerting, Rule};
use super::template::{Answerer, Data};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, TimestampMs, Value};
use crate::promql::VectorSample;
use crate::storage::Point;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// The condition ended after the alert had fired.
    Inactive,
    /// The condition holds, not yet for long enough.
    Pending,
    /// The condition holds for long enough.
    Firing,
}

impl State {
    /// The state as `alertstate` and the API write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert of one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveAlert {
    /// Labels of the vector's element, without the rule's own.
    pub source: Labels,
    pub annotations: BTreeMap<String, String>,
    pub state: State,
    pub value: f64,
    pub active_at: TimestampMs,
    pub fired_at: Option<TimestampMs>,
    pub resolved_at: Option<TimestampMs>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<TimestampMs>,
    /// Comes from before a restart and was not seen since.
    pub restored: bool,
}

/// Alerts of one rule by their labels.
pub type Active = BTreeMap<Labels, ActiveAlert>;

/// One element of the vector with the rule's labels and annotations on it.
#[derive(Clone, Debug)]
pub struct Element {
    pub labels: Labels,
    pub source: Labels,
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
}

/// What templates of a rule are rendered with, besides the element.
pub struct Rendering<'a> {
    pub external_labels: &'a Labels,
    pub external_url: &'a str,
    pub now: TimestampMs,
    pub answerer: &'a Answerer<'a>,
}

/// Labels and annotations of a rule, rendered for one element; failures are added to `template_errors`.
pub fn render(
    rule: &Rule,
    alerting: &Alerting,
    metric: &Labels,
    value: f64,
    with: &Rendering,
    template_errors: &mut Vec<String>,
) -> Element {
    let data = Data {
        labels: metric,
        value,
        external_labels: with.external_labels,
        external_url: with.external_url,
        now: with.now,
    };
    let mut expand = |template: &super::template::Template| {
        template.render(&data, with.answerer).unwrap_or_else(|e| {
            let text = format!("<error expanding template: {e}>");
            template_errors.push(e.to_string());
            text
        })
    };
    let mut labels = metric.builder();
    labels.remove(METRIC_NAME);
    for (name, template) in &alerting.labels {
        labels.set(name, expand(template));
    }
    labels.set("alertname", &rule.name);
    let annotations = alerting.annotations.iter().map(|(name, t)| (name.clone(), expand(t))).collect();
    Element { labels: labels.build(), source: metric.without_metric_name(), annotations, value }
}

/// Renders a whole vector.
///
/// # Errors
/// Two elements that have the same labels once the rule's own are added.
pub fn elements(
    rule: &Rule,
    alerting: &Alerting,
    vector: Vec<VectorSample>,
    with: &Rendering,
    template_errors: &mut Vec<String>,
) -> Result<BTreeMap<Labels, Element>, RuleError> {
    let mut out = BTreeMap::new();
    for sample in vector {
        let value = if let Value::Float(v) = sample.value { v } else { 0.0 };
        let element = render(rule, alerting, &sample.labels, value, with, template_errors);
        let labels = element.labels.clone();
        if out.insert(labels.clone(), element).is_some() {
            return Err(RuleError::SameLabels { kind: "alert", labels: labels.to_string() });
        }
    }
    Ok(out)
}

/// How a step may change alerts.
pub struct Step<'a> {
    pub at: TimestampMs,
    pub alerting: &'a Alerting,
    /// Most alerts; zero is without limit.
    pub limit: usize,
    /// Whether alerts from before a restart stay though the vector does not hold them: not every source
    /// has reported yet.
    pub keep_restored: bool,
    pub resolved_retention_ms: i64,
}

/// Takes the vector of a tick: starts, fires and ends alerts.
///
/// # Errors
/// More alerts than the limit: all of them are forgotten, as in Prometheus.
pub fn tick(active: &mut Active, elements: BTreeMap<Labels, Element>, step: &Step) -> Result<(), RuleError> {
    let at = step.at;
    let seen: std::collections::BTreeSet<Labels> = elements.keys().cloned().collect();
    merge(active, elements, at);

    let mut count = 0;
    active.retain(|labels, alert| {
        if !seen.contains(labels) {
            if alert.restored && step.keep_restored {
                count += 1;
                return true;
            }
            let mut keep_firing = false;
            if alert.state == State::Firing && step.alerting.keep_firing_for_ms > 0 {
                let since = *alert.keep_firing_since.get_or_insert(at);
                keep_firing = at.since(since) < step.alerting.keep_firing_for_ms;
            }
            let forget = alert.state == State::Pending
                || alert.resolved_at.is_some_and(|t| t.plus_ms(step.resolved_retention_ms) < at);
            if alert.state != State::Inactive && !keep_firing {
                alert.state = State::Inactive;
                alert.resolved_at = Some(at);
            }
            if !keep_firing {
                return !forget;
            }
        } else {
            alert.keep_firing_since = None;
            alert.restored = false;
        }
        count += 1;
        fire_if_due(alert, step);
        true
    });
    if step.limit > 0 && count > step.limit {
        active.clear();
        return Err(RuleError::Limit { limit: step.limit, count, what: "alerts" });
    }
    Ok(())
}

/// Takes the vector of a pass between ticks: starts and fires alerts, ends none.
///
/// `may_start` is false where only what is pending already may go on to fire.
pub fn arrive(active: &mut Active, mut elements: BTreeMap<Labels, Element>, step: &Step, may_start: bool) {
    let is_alive = |active: &Active, labels: &Labels| active.get(labels).is_some_and(|a| a.state != State::Inactive);
    let alive = active.values().filter(|a| a.state != State::Inactive).count();
    let new = elements.keys().filter(|labels| !is_alive(active, labels)).count();
    // A tick ends every alert of a rule beyond its limit, so that an arrival must not begin one that would be taken back.
    let may_start = may_start && (step.limit == 0 || alive + new <= step.limit);
    elements.retain(|labels, _| may_start || is_alive(active, labels));
    let seen: Vec<Labels> = elements.keys().cloned().collect();
    merge(active, elements, step.at);
    for labels in seen {
        if let Some(alert) = active.get_mut(&labels) {
            fire_if_due(alert, step);
        }
    }
}

fn merge(active: &mut Active, elements: BTreeMap<Labels, Element>, at: TimestampMs) {
    for (labels, element) in elements {
        match active.get_mut(&labels) {
            Some(alert) if alert.state != State::Inactive => {
                alert.value = element.value;
                alert.annotations = element.annotations;
                alert.source = element.source;
            }
            _ => {
                let alert = ActiveAlert {
                    source: element.source,
                    annotations: element.annotations,
                    state: State::Pending,
                    value: element.value,
                    active_at: at,
                    fired_at: None,
                    resolved_at: None,
                    keep_firing_since: None,
                    restored: false,
                };
                active.insert(labels, alert);
            }
        }
    }
}

fn fire_if_due(alert: &mut ActiveAlert, step: &Step) {
    if alert.state == State::Pending && step.at.since(alert.active_at) >= step.alerting.for_ms {
        alert.state = State::Firing;
        alert.fired_at = Some(step.at);
    }
}

/// `ALERTS` and `ALERTS_FOR_STATE` of every alert that is pending or firing.
pub fn series(rule: &Rule, alerting: &Alerting, active: &Active, t: TimestampMs) -> Vec<Point> {
    let mut points = Vec::with_capacity(active.len() * 2);
    for (labels, alert) in active.iter().filter(|(_, a)| a.state != State::Inactive) {
        let mut builder = LabelsBuilder::default();
        // Prometheus begins with the rule's labels as written, so one whose template came out empty stays raw.
        for (name, template) in &alerting.labels {
            builder.set(name, template.text());
        }
        for (name, value) in labels.iter() {
            builder.set(name, value);
        }
        builder.set("alertname", &rule.name);
        let mut point = |name: &str, value: f64, builder: &mut LabelsBuilder| {
            let labels = builder.set(METRIC_NAME, name).build();
            points.push(Point { labels, t, value: Value::Float(value) });
        };
        point("ALERTS_FOR_STATE", alert.active_at.0.div_euclid(1000) as f64, &mut builder);
        builder.set("alertstate", alert.state.as_str());
        point("ALERTS", 1.0, &mut builder);
    }
    points
}
