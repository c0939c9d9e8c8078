//! The rules as others see them: what `/api/v1/rules` and `/api/v1/alerts` answer with.
//!
//! Out: a snapshot that shares the rule set and copies only what changes; serialises as Prometheus does.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::alerting::{ActiveAlert, State};
use super::engine::{Health, RuleState, Rules};
use super::hold::{Outgoing, Status, told};
use super::rule::{Rule, RuleKind, RuleSet};
use crate::model::{Labels, TimestampMs};

/// All groups with their rules and alerts at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub set: Arc<RuleSet>,
    /// One for each rule of the set, in the same order.
    pub rules: Vec<RuleView>,
    /// Interval of groups that name none.
    pub interval_ms: i64,
    /// Offset of groups that name none.
    pub query_offset_ms: i64,
}

/// What changes about a rule.
#[derive(Clone, Debug, Default)]
pub struct RuleView {
    pub health: Health,
    pub evaluated_at: Option<TimestampMs>,
    pub took_seconds: f64,
    pub alerts: Vec<AlertView>,
    /// Whether it reads nothing but series that are not there.
    pub blind: bool,
}

/// An alert that is pending, firing, or held.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    #[serde(serialize_with = "state_name")]
    pub state: State,
    /// Since when its condition is met; before `fired_at` it was pending.
    #[serde(serialize_with = "rfc3339")]
    pub active_at: TimestampMs,
    /// Since when it fires; Prometheus has no such field.
    #[serde(serialize_with = "optional_rfc3339", skip_serializing_if = "Option::is_none")]
    pub fired_at: Option<TimestampMs>,
    #[serde(serialize_with = "optional_rfc3339", skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<TimestampMs>,
    /// In Go's `%e`, as Prometheus writes it.
    pub value: String,
    /// `no_data` or `error` where the alert is held; Prometheus has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<&'static str>,
}

fn state_name<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

pub(super) fn rfc3339<S: Serializer>(t: &TimestampMs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(t)
}

fn optional_rfc3339<S: Serializer>(t: &Option<TimestampMs>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&t.unwrap_or_default())
}

impl Rules {
    /// A snapshot of the rules and their alerts.
    pub fn view(&self) -> View {
        let rules = self.states.iter().map(|state| RuleView {
            health: state.health.clone(),
            evaluated_at: state.evaluated_at,
            took_seconds: state.took.as_secs_f64(),
            alerts: alerts(state),
            blind: state.blind,
        });
        View {
            set: Arc::clone(&self.set),
            rules: rules.collect(),
            interval_ms: self.settings.interval_ms,
            query_offset_ms: self.settings.query_offset_ms,
        }
    }
}

fn alerts(state: &RuleState) -> Vec<AlertView> {
    let failing = state.hold.failing.then_some("error");
    let active = state.active.iter().filter(|(_, a)| a.state != State::Inactive);
    let active =
        active.map(|(labels, alert)| AlertView::new(labels, alert, failing.filter(|_| alert.state == State::Firing)));
    let gone = |labels: &Labels| state.active.get(labels).is_none_or(|a| a.state == State::Inactive);
    let held = state.hold.alerts.iter().filter(|(labels, o)| o.is_firing() && gone(labels));
    active.chain(held.map(|(labels, outgoing)| AlertView::held(labels, outgoing, failing))).collect()
}

impl AlertView {
    fn new(labels: &Labels, alert: &ActiveAlert, hold: Option<&'static str>) -> Self {
        Self {
            labels: told(labels),
            annotations: alert.annotations.clone(),
            state: alert.state,
            active_at: alert.active_at,
            fired_at: alert.fired_at.filter(|_| alert.state == State::Firing),
            keep_firing_since: alert.keep_firing_since,
            value: exponent(alert.value),
            hold,
        }
    }

    fn held(labels: &Labels, outgoing: &Outgoing, failing: Option<&'static str>) -> Self {
        Self {
            labels: told(labels),
            annotations: outgoing.annotations.clone(),
            state: State::Firing,
            active_at: outgoing.active_at,
            fired_at: Some(outgoing.starts_at),
            keep_firing_since: None,
            value: exponent(outgoing.value),
            hold: if matches!(outgoing.status, Status::NoData { .. }) { Some("no_data") } else { failing },
        }
    }
}

/// A float as Go's `strconv.FormatFloat(v, 'e', -1, 64)` prints it.
fn exponent(v: f64) -> String {
    if !v.is_finite() {
        return super::template::format_float(v);
    }
    let text = format!("{v:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

impl View {
    /// How far before its time a rule is evaluated, in milliseconds.
    pub fn offset_of(&self, rule: &Rule) -> i64 {
        self.set.group_of(rule).query_offset_ms.unwrap_or(self.query_offset_ms)
    }

    /// Every alert, with the rule it comes from.
    pub fn alerts(&self) -> impl Iterator<Item = (&Rule, &AlertView)> {
        self.set.rules.iter().zip(&self.rules).flat_map(|(rule, view)| view.alerts.iter().map(move |a| (rule, a)))
    }

    /// The groups, for `/api/v1/rules`; `keep` picks rules, and groups without any are left out unless all are kept.
    pub fn groups<'a>(&'a self, keep: impl Fn(&Rule, &RuleView) -> bool + 'a) -> Vec<GroupJson<'a>> {
        let groups = self.set.groups.iter().map(|group| {
            let kept = group.rules.clone().filter(|i| keep(&self.set.rules[*i], &self.rules[*i]));
            let rules: Vec<RuleJson> =
                kept.map(|i| RuleJson { rule: &self.set.rules[i], view: &self.rules[i] }).collect();
            let all = &self.rules[group.rules.clone()];
            GroupJson {
                name: &group.name,
                file: &group.file,
                interval: group.interval_ms.unwrap_or(self.interval_ms) as f64 / 1000.0,
                limit: group.limit,
                evaluation_time: all.iter().map(|r| r.took_seconds).sum(),
                last_evaluation: time_or_zero(all.iter().filter_map(|r| r.evaluated_at).max()),
                is_whole: rules.len() == group.rules.len(),
                rules,
            }
        });
        groups.filter(|g| g.is_whole || !g.rules.is_empty()).collect()
    }
}

/// One group as the API writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupJson<'a> {
    pub name: &'a str,
    pub file: &'a str,
    pub rules: Vec<RuleJson<'a>>,
    pub interval: f64,
    pub limit: usize,
    pub evaluation_time: f64,
    pub last_evaluation: String,
    #[serde(skip)]
    is_whole: bool,
}

/// One rule as the API writes it.
#[derive(Debug)]
pub struct RuleJson<'a> {
    rule: &'a Rule,
    view: &'a RuleView,
}

impl RuleView {
    /// The worst state of the rule's alerts.
    pub fn state(&self) -> State {
        let firing = self.alerts.iter().any(|a| a.state == State::Firing);
        if firing {
            State::Firing
        } else if self.alerts.is_empty() {
            State::Inactive
        } else {
            State::Pending
        }
    }

    /// `ok`, `err` or `unknown`.
    pub fn health_name(&self) -> &'static str {
        match self.health {
            Health::Unknown => "unknown",
            Health::Good => "ok",
            Health::Bad(_) => "err",
        }
    }
}

impl Serialize for RuleJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (rule, view) = (self.rule, self.view);
        let mut map = serializer.serialize_map(None)?;
        if rule.alerting().is_some() {
            map.serialize_entry("state", view.state().as_str())?;
        }
        map.serialize_entry("name", &rule.name)?;
        map.serialize_entry("query", &rule.query)?;
        match &rule.kind {
            RuleKind::Alerting(alerting) => {
                let texts = |pairs: &[(String, super::template::Template)]| -> BTreeMap<String, String> {
                    pairs.iter().map(|(n, t)| (n.clone(), t.text().to_owned())).collect()
                };
                map.serialize_entry("duration", &(alerting.for_ms as f64 / 1000.0))?;
                map.serialize_entry("keepFiringFor", &(alerting.keep_firing_for_ms as f64 / 1000.0))?;
                map.serialize_entry("labels", &texts(&alerting.labels))?;
                map.serialize_entry("annotations", &texts(&alerting.annotations))?;
                map.serialize_entry("alerts", &view.alerts)?;
            }
            RuleKind::Recording { labels } if labels.is_empty() => {}
            RuleKind::Recording { labels } => {
                let labels: BTreeMap<&str, &str> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                map.serialize_entry("labels", &labels)?;
            }
        }
        map.serialize_entry("health", view.health_name())?;
        if let Health::Bad(error) = &view.health {
            map.serialize_entry("lastError", error)?;
        }
        map.serialize_entry("evaluationTime", &view.took_seconds)?;
        map.serialize_entry("lastEvaluation", &time_or_zero(view.evaluated_at))?;
        map.serialize_entry("type", if rule.alerting().is_some() { "alerting" } else { "recording" })?;
        map.end()
    }
}

fn time_or_zero(t: Option<TimestampMs>) -> String {
    t.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), TimestampMs::to_rfc3339)
}
