//! Taking up the alerts of the process before: what `restore` remembers goes back to the rules it came from.
//!
//! Always: an alert that fired fires again with its start and is sent at once, but it is the same alert outside;
//! a pending one goes on only if the agent was down for less than the tolerance. Its texts are those that went out last.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::alerting::{self, ActiveAlert, Element, Rendering, State};
use super::engine::Rules;
use super::evaluate::{answer, vector};
use super::hold::{Outgoing, Reason, Status};
use super::restore::{self, Remembered};
use super::rule::{Alerting, Rule, RuleSet};
use super::template::is_failed;
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
        let mut past = Past { storage, now, seen: HashMap::new() };
        for (labels, memory) in restore::remembered(storage, now)? {
            // What ended long ago was told for long enough, and its data need not be read again.
            let is_past = memory.resolved_at.is_some_and(|at| now.since(at) > self.settings.resolved_retention_ms);
            if is_past && memory.active_at.is_none() && memory.series.is_empty() {
                continue;
            }
            let home = owner(&set, &labels);
            match home {
                Some(i) => {
                    restored += usize::from(self.take_up(i, &set.rules[i], labels, memory, &mut past));
                }
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

    fn take_up(&mut self, i: usize, rule: &Rule, labels: Labels, memory: Remembered, past: &mut Past<'_>) -> bool {
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
        let last = self.last_element(i, rule, alerting, &labels, &memory, past);
        let Element { source, annotations, value, .. } = last;

        let state = &mut self.states[i];
        state.previous.extend(memory.series.iter().cloned());
        let down_ms = memory.last_seen.map_or(i64::MAX, |t| past.now.since(t));
        if let Some(mut outgoing) = outgoing(&labels, &memory, annotations.clone()) {
            outgoing.source = source.clone();
            outgoing.value = value;
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
            value,
            active_at,
            fired_at: memory.fired_at.filter(|_| memory.was_firing),
            resolved_at: None,
            keep_firing_since: memory.keep_firing_since,
            restored: true,
        };
        state.active.insert(labels, alert);
        true
    }

    /// The alert as its rule last saw it: with the value and the texts that went out, read again from the store.
    ///
    /// Where the data is gone by now the value that was written down is put in, and texts that query are left out.
    fn last_element(
        &self,
        i: usize,
        rule: &Rule,
        alerting: &Alerting,
        labels: &Labels,
        memory: &Remembered,
        past: &mut Past<'_>,
    ) -> Element {
        let Past { storage, now, ref mut seen } = *past;
        let offset = self.offset(rule);
        let interval = self.interval_of(rule);
        for t in times(memory, alerting, offset, interval) {
            let elements = seen.entry((i, t)).or_insert_with(|| {
                let at = t.plus_ms(offset);
                let with = Rendering {
                    external_labels: &self.settings.external_labels,
                    external_url: &self.settings.external_url,
                    now: at,
                    answerer: &|query| answer(&*self.evaluator, storage, query, at),
                };
                let samples = vector(&*self.evaluator, storage, &rule.expr, t).unwrap_or_default();
                alerting::elements(rule, alerting, samples, &with, &mut Vec::new()).unwrap_or_default()
            });
            if let Some(element) = elements.get(labels) {
                return element.clone();
            }
        }
        let of_rule = |name: &str| name == "alertname" || alerting.labels.iter().any(|(n, _)| n == name);
        let source = labels.keep(|name| !of_rule(name));
        let rendered = |value: f64| {
            let with = Rendering {
                external_labels: &self.settings.external_labels,
                external_url: &self.settings.external_url,
                now,
                answerer: &|_| Err("the value is not known after a restart".into()),
            };
            alerting::render(rule, alerting, &source, value, &with, &mut Vec::new())
        };
        let (mut element, other) = (rendered(memory.value.unwrap_or(f64::NAN)), rendered(memory.value.unwrap_or(1.0)));
        // Without a value, too, those that want one.
        element.annotations.retain(|name, text| !is_failed(text) && other.annotations.get(name) == Some(text));
        element
    }
}

/// What can be read of the time before the restart.
struct Past<'a> {
    storage: &'a dyn Select,
    now: TimestampMs,
    /// Elements of rules at times before, so that each is evaluated once.
    seen: HashMap<(usize, TimestampMs), BTreeMap<Labels, Element>>,
}

/// Times at which the rule may have seen the alert in its vector, the likeliest first.
///
/// A firing alert was there when its series were written last. One that is kept, held, or over was there before that began;
/// ticks may have been missed, and after a second restart what is written last says nothing of the data.
fn times(memory: &Remembered, alerting: &Alerting, offset: i64, interval: i64) -> Vec<TimestampMs> {
    const INTERVALS_BACK: [i64; 10] = [1, 2, 3, 4, 8, 16, 32, 64, 128, 240];
    // One that began anew since is there.
    let resolved_at = memory.resolved_at.filter(|_| memory.active_at.is_none());
    let ended = memory.no_data_since.or(memory.keep_firing_since).or(resolved_at);
    let ended = ended.map(|at| at.plus_ms(-offset));
    let mut starts = vec![ended.or(memory.last_seen)];
    if memory.keep_firing_since.is_none() && alerting.keep_firing_for_ms > 0 {
        // It ended after it was kept.
        starts.push(ended.map(|at| at.plus_ms(-alerting.keep_firing_for_ms)));
    }
    let latest = memory.last_seen.filter(|_| ended.is_none());
    let back = starts.into_iter().flatten().flat_map(|at| INTERVALS_BACK.map(|n| at.plus_ms(-n * interval)));
    latest.into_iter().chain(back).collect()
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
        active_at: memory.began_at.or(memory.active_at).or(memory.fired_at)?,
        starts_at: memory.fired_at?,
        status,
        last_sent: None,
    })
}
