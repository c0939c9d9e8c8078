//! Between rules and notify: an alert goes on firing outside until it is known to be over.
//!
//! In:  the state of a rule's alerts after each step, and whether their data is still there.
//! Out: the alerts to send, and when.
//! Always: an error or missing data is not "resolved"; an alert that was sent firing is sent resolved, once
//! known, and repeated for 15 minutes. `ALERTS` is not touched by any of this.

use std::collections::{BTreeMap, BTreeSet};

use super::alerting::{Active, State};
use super::template;
use crate::model::{Alert, AlertState, Labels, TimestampMs};

/// The annotation that says why an alert is held or how it ended, where that is not its condition.
pub const STATE_ANNOTATION: &str = "rivetwatch_state";

/// The severity of an alert whose own could not be rendered: nobody knows how bad it is, so it wakes somebody.
const UNKNOWN_SEVERITY: &str = "critical";

/// The labels of an alert as the outside is told them.
///
/// A `severity` whose template failed is `critical`: the error text that Prometheus puts there matches no route. `ALERTS`
/// and the other labels stay as Prometheus has them.
pub fn told(labels: &Labels) -> Labels {
    if is_severity_unknown(labels) { labels.with("severity", UNKNOWN_SEVERITY) } else { labels.clone() }
}

fn is_severity_unknown(labels: &Labels) -> bool {
    labels.get("severity").is_some_and(template::is_failed)
}

/// Why an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its condition did.
    Ended,
    /// Its data vanished and did not come back in time.
    NoData,
    /// Its instance is known to be gone.
    Retired,
    /// Its rule was removed or changed its labels.
    RuleRemoved,
}

/// What the outside is told of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Firing,
    /// Its condition is not met any more, because nothing is known: told as firing.
    NoData {
        since: TimestampMs,
    },
    Resolved {
        at: TimestampMs,
        reason: Reason,
    },
}

/// One alert as the outside knows it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub source: Labels,
    pub annotations: BTreeMap<String, String>,
    pub value: f64,
    /// Since when its condition is met; it was pending from then to `starts_at`.
    pub active_at: TimestampMs,
    pub starts_at: TimestampMs,
    pub status: Status,
    pub last_sent: Option<TimestampMs>,
}

impl Outgoing {
    /// Whether the outside is told that it fires.
    pub fn is_firing(&self) -> bool {
        !matches!(self.status, Status::Resolved { .. })
    }

    fn resolve(&mut self, at: TimestampMs, reason: Reason) {
        self.status = Status::Resolved { at, reason };
    }
}

/// What a rule's alerts look like from outside.
#[derive(Debug, Default)]
pub struct Hold {
    pub alerts: BTreeMap<Labels, Outgoing>,
    /// The rule failed at its last evaluation.
    pub failing: bool,
}

/// How alerts are sent.
pub struct Sending<'a> {
    pub at: TimestampMs,
    pub interval_ms: i64,
    pub resend_ms: i64,
    pub resolved_retention_ms: i64,
    pub external_labels: &'a Labels,
    pub generator_url: &'a str,
}

impl Hold {
    /// Starts what began to fire; ends nothing.
    pub fn start(&mut self, active: &Active, at: TimestampMs) {
        for (labels, alert) in active.iter().filter(|(_, a)| a.state == State::Firing) {
            match self.alerts.get_mut(labels).filter(|o| o.is_firing()) {
                Some(outgoing) => {
                    outgoing.status = Status::Firing;
                    outgoing.annotations.clone_from(&alert.annotations);
                    outgoing.source = alert.source.clone();
                    outgoing.value = alert.value;
                }
                None => {
                    let outgoing = Outgoing {
                        source: alert.source.clone(),
                        annotations: alert.annotations.clone(),
                        value: alert.value,
                        active_at: alert.active_at,
                        starts_at: alert.fired_at.unwrap_or(at),
                        status: Status::Firing,
                        last_sent: None,
                    };
                    self.alerts.insert(labels.clone(), outgoing);
                }
            }
        }
    }

    /// Takes the state after a tick: starts, holds and ends.
    ///
    /// `has_data` says, for the labels of an element, whether the rule's selectors narrowed to them return
    /// anything; it is asked only about alerts that vanished.
    pub fn tick(&mut self, active: &Active, at: TimestampMs, hold_ms: i64, mut has_data: impl FnMut(&Labels) -> bool) {
        self.failing = false;
        self.start(active, at);
        for (labels, outgoing) in self.alerts.iter_mut().filter(|(_, o)| o.is_firing()) {
            let state = active.get(labels).map_or(State::Inactive, |a| a.state);
            match (state, outgoing.status) {
                // A condition that is back decides, not the hold; so does one that an error made begin anew.
                (State::Firing | State::Pending, _) => {}
                (_, Status::NoData { since }) => match has_data(&outgoing.source) {
                    true => outgoing.resolve(at, Reason::Ended),
                    false if at.since(since) >= hold_ms => outgoing.resolve(at, Reason::NoData),
                    false => {}
                },
                (_, _) => match has_data(&outgoing.source) {
                    true => outgoing.resolve(at, Reason::Ended),
                    false if hold_ms == 0 => outgoing.resolve(at, Reason::NoData),
                    false => outgoing.status = Status::NoData { since: at },
                },
            }
        }
    }

    /// Ends every alert that `gone` says yes to.
    pub fn end(&mut self, at: TimestampMs, reason: Reason, gone: impl Fn(&Labels) -> bool) {
        for (_, outgoing) in self.alerts.iter_mut().filter(|(labels, o)| o.is_firing() && gone(labels)) {
            outgoing.resolve(at, reason);
        }
    }

    /// The alerts that are due now; forgets resolved ones that were repeated for long enough.
    pub fn due(&mut self, sending: &Sending) -> Vec<Alert> {
        let at = sending.at;
        // One whose severity can be rendered again, or fails with other words, is the same alert outside: it did not end.
        let any_unknown = self.alerts.keys().any(is_severity_unknown);
        let firing = self.alerts.iter().filter(|(_, o)| any_unknown && o.is_firing());
        let firing: BTreeSet<Labels> = firing.map(|(labels, _)| told(labels)).collect();
        self.alerts.retain(|labels, o| match o.status {
            Status::Resolved { at: end, .. } => {
                at.since(end) <= sending.resolved_retention_ms && (firing.is_empty() || !firing.contains(&told(labels)))
            }
            _ => true,
        });
        let failing = self.failing;
        let due = self.alerts.iter_mut().filter(|(_, o)| match (o.last_sent, o.status) {
            (None, _) => true,
            (Some(sent), Status::Resolved { at: end, .. }) if end > sent => true,
            (Some(sent), _) => at.since(sent) >= sending.resend_ms,
        });
        due.map(|(labels, outgoing)| {
            outgoing.last_sent = Some(at);
            outgoing.alert(labels, failing, sending)
        })
        .collect()
    }
}

impl Outgoing {
    fn alert(&self, labels: &Labels, failing: bool, sending: &Sending) -> Alert {
        let is_severity_unknown = is_severity_unknown(labels);
        let mut labels = told(labels).builder();
        for (name, value) in sending.external_labels.iter() {
            labels.set_default(name, value);
        }
        let mut annotations = self.annotations.clone();
        let note = match self.status {
            Status::Firing if failing => Some("error: the rule fails, so this is the last that is known"),
            Status::Firing | Status::Resolved { reason: Reason::Ended, .. } => None,
            Status::NoData { .. } => Some("no_data: the data vanished, so this is the last that is known"),
            Status::Resolved { reason: Reason::NoData, .. } => {
                Some("no_data: resolved because its data did not come back")
            }
            Status::Resolved { reason: Reason::Retired, .. } => Some("retired: resolved because its instance is gone"),
            Status::Resolved { reason: Reason::RuleRemoved, .. } => {
                Some("rule_removed: resolved because its rule is gone")
            }
        };
        let unknown = is_severity_unknown.then_some("template: the severity could not be rendered, so it is critical");
        let notes: Vec<&str> = note.into_iter().chain(unknown).collect();
        if !notes.is_empty() {
            annotations.insert(STATE_ANNOTATION.into(), notes.join("; "));
        }
        // Two sendings may be lost before the other side believes that we are gone.
        let vouched = sending.at.plus_ms(4 * sending.interval_ms.max(sending.resend_ms));
        let (state, ends_at) = match self.status {
            Status::Resolved { at, .. } => (AlertState::Resolved, at),
            _ => (AlertState::Firing, vouched),
        };
        Alert {
            labels: labels.build(),
            annotations,
            state,
            starts_at: self.starts_at,
            ends_at,
            generator_url: sending.generator_url.to_owned(),
        }
    }
}
