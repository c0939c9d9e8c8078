//! Taking up the alerts of the process before: what `restore` remembers goes back to the rules it came from.
//!
//! Always: an alert that fired fires again with its start and is sent at once, but it is the same alert outside;
//! a pending one goes on only if the agent was down for less than the tolerance.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alerting::{self, ActiveAlert, Rendering, State};
use super::engine::Rules;
use super::hold::{Outgoing, Reason, Status};
use super::restore::{self, Remembered};
use super::rule::{Rule, RuleSet};
use crate::model::{Labels, TimestampMs};
use crate::storage::{Select, SelectError};

impl Rules {
    /// Takes up the alerts from before a restart; call once, before the first tick.
    ///
    /// # Errors
    /// The store could not be read; the machine then begins with nothing.
    pub fn restore(&mut self, now: TimestampMs, storage: &dyn Select) -> Result<usize, SelectError> {
        let set = Arc::clone(&self.set);
        let mut restored = 0;
        for (labels, memory) in restore::remembered(storage, now)? {
            let home = owner(&set, &labels);
            match home {
                Some(i) => restored += usize::from(self.take_up(i, &set.rules[i], labels, memory, now)),
                None => {
                    self.orphans.extend(memory.series.iter().cloned());
                    if let Some(mut outgoing) = outgoing(&labels, &memory, BTreeMap::new()) {
                        if outgoing.is_firing() {
                            outgoing.status = Status::Resolved { at: now, reason: Reason::RuleRemoved };
                        }
                        self.departed.alerts.insert(labels, outgoing);
                    }
                }
            }
        }
        Ok(restored)
    }

    fn take_up(&mut self, i: usize, rule: &Rule, labels: Labels, memory: Remembered, now: TimestampMs) -> bool {
        let Some(alerting) = rule.alerting() else { return false };
        // Labels whose template came out empty stand in the series as they were written.
        let raw = |name: &str, value: &str| {
            alerting.labels.iter().any(|(n, t)| n == name && t.is_dynamic() && t.text() == value)
        };
        let mut builder = labels.builder();
        labels.iter().filter(|(n, v)| raw(n, v)).for_each(|(n, _)| {
            builder.remove(n);
        });
        let labels = builder.build();
        let of_rule = |name: &str| name == "alertname" || alerting.labels.iter().any(|(n, _)| n == name);
        let source = labels.keep(|name| !of_rule(name));
        let with = Rendering {
            external_labels: &self.settings.external_labels,
            external_url: &self.settings.external_url,
            now,
            answerer: &|_| Err("the value is not known after a restart".into()),
        };
        let mut annotations = alerting::render(rule, alerting, &source, f64::NAN, &with, &mut Vec::new()).annotations;
        annotations.retain(|_, text| !text.contains("<error expanding template:"));

        let state = &mut self.states[i];
        state.previous.extend(memory.series.iter().cloned());
        let down_ms = memory.last_seen.map_or(i64::MAX, |t| now.since(t));
        if let Some(mut outgoing) = outgoing(&labels, &memory, annotations.clone()) {
            outgoing.source = source.clone();
            state.hold.alerts.insert(labels.clone(), outgoing);
        }
        let Some(active_at) = memory.active_at else { return state.hold.alerts.contains_key(&labels) };
        if !memory.was_firing && down_ms >= self.settings.restore_tolerance_ms {
            return false;
        }
        let alert = ActiveAlert {
            source,
            annotations,
            state: if memory.was_firing { State::Firing } else { State::Pending },
            value: f64::NAN,
            active_at,
            fired_at: memory.fired_at.filter(|_| memory.was_firing),
            resolved_at: None,
            keep_firing_since: memory.keep_firing_since,
            restored: true,
        };
        state.active.insert(labels, alert);
        true
    }
}

/// The alerting rule that an alert's labels belong to: same name, fixed labels equal, most of them first.
fn owner(set: &RuleSet, labels: &Labels) -> Option<usize> {
    let fits = |rule: &&Rule| rule.fixed_labels().iter().all(|(n, v)| labels.get(n).unwrap_or("") == *v);
    let name = labels.get("alertname")?;
    let candidates = set.rules.iter().enumerate().filter(|(_, r)| r.name == name && r.alerting().is_some());
    candidates.filter(|(_, r)| fits(r)).max_by_key(|(i, r)| (r.fixed_labels().len(), usize::MAX - i)).map(|(i, _)| i)
}

/// What the outside knew of a remembered alert; `None` when it had not fired, or ended before it could be told.
fn outgoing(labels: &Labels, memory: &Remembered, annotations: BTreeMap<String, String>) -> Option<Outgoing> {
    let status = match (memory.resolved_at, memory.no_data_since, memory.was_firing) {
        (Some(at), ..) => Status::Resolved { at, reason: Reason::Ended },
        (None, Some(since), false) => Status::NoData { since },
        _ => Status::Firing,
    };
    Some(Outgoing {
        source: labels.clone(),
        annotations,
        value: f64::NAN,
        starts_at: memory.fired_at?,
        status,
        last_sent: None,
    })
}
        active_at: memory.began_at.or(memory.active_at).or(memory.fired_at)?,
