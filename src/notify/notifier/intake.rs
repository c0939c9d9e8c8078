//! Alerts come in: they are kept, and join the groups that the routing tree gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::group::Group;
use super::super::lane::GroupKey;
use super::super::level::Beat;
use super::super::settings::RouteNode;
use super::{Entry, Notifier, is_resolved};
use crate::model::{Alert, AlertState, TimestampMs};

impl Notifier {
    pub(super) fn take_alert(&mut self, mut alert: Alert, now: TimestampMs) {
        self.stats.alerts_received.inc();
        if alert.labels.is_empty() {
            self.stats.alerts_refused.inc();
            return;
        }
        match alert.state {
            AlertState::Firing if alert.ends_at.0 == 0 => {
                alert.ends_at = now.plus_ms(self.settings.resolve_timeout_ms);
            }
            AlertState::Firing => {}
            AlertState::Resolved if alert.ends_at.0 == 0 || alert.ends_at > now => alert.ends_at = now,
            AlertState::Resolved => {}
        }
        if is_resolved(&alert, now) {
            alert.state = AlertState::Resolved;
        }
        let is_full = self.alerts.len() >= self.settings.alerts_max;
        let known = self.alerts.get_mut(&alert.labels);
        let was_firing = known.as_ref().is_some_and(|e| !e.is_resolved(now));
        match known {
            // The end of something nobody here has seen.
            None if alert.state == AlertState::Resolved => return,
            None if is_full => {
                self.stats.alerts_refused.inc();
                return;
            }
            None => {
                let entry = Entry { alert: alert.clone(), updated_at: now, groups: Vec::new() };
                self.alerts.insert(alert.labels.clone(), entry);
            }
            Some(entry) => {
                let is_new_episode = !was_firing && alert.state == AlertState::Firing;
                if !is_new_episode {
                    alert.starts_at = alert.starts_at.min(entry.alert.starts_at);
                }
                if was_firing && alert.state == AlertState::Resolved && alert.ends_at < entry.alert.starts_at {
                    // A sender's end from before the beginning we know of: it has ended, and that is all it says.
                    alert.starts_at = entry.alert.starts_at;
                    alert.ends_at = now;
                }
                if !was_firing && alert.state == AlertState::Resolved {
                    // A repeated resolve does not move the end.
                    alert.ends_at = alert.ends_at.min(entry.alert.ends_at);
                }
                entry.alert = alert.clone();
                entry.updated_at = now;
            }
        }
        if was_firing && alert.state == AlertState::Firing {
            self.relay(&alert, now);
            return;
        }
        if alert.state == AlertState::Firing {
            for route in self.settings.root.matching(&alert.labels) {
                self.join_group(&alert, &route, now);
            }
        }
        self.relay(&alert, now);
    }

    pub(super) fn join_group(&mut self, alert: &Alert, route: &Arc<RouteNode>, now: TimestampMs) {
        let key = GroupKey { receiver: route.receiver.clone(), labels: route.group_by.labels(&alert.labels) };
        let group = self.groups.entry(key.clone()).or_insert_with(|| {
            // An alert that has been waiting elsewhere (a restart, a late sender) does not wait again.
            let has_waited = alert.starts_at.plus_ms(route.group_wait_ms) <= now;
            Group {
                key: key.clone(),
                members: BTreeMap::new(),
                group_interval_ms: route.group_interval_ms,
                repeat_interval_ms: route.repeat_interval_ms,
                next_flush: if has_waited { now } else { now.plus_ms(route.group_wait_ms) },
                fallback: None,
                stored: None,
            }
        });
        group.group_interval_ms = route.group_interval_ms;
        group.repeat_interval_ms = route.repeat_interval_ms;
        let routes = group.members.entry(alert.labels.clone()).or_default();
        if !routes.iter().any(|r| Arc::ptr_eq(r, route)) {
            routes.push(route.clone());
        }
        if let Some(entry) = self.alerts.get_mut(&alert.labels)
            && !entry.groups.contains(&key)
        {
            entry.groups.push(key);
        }
    }

    /// Sends every alert through the routing tree of the present settings.
    pub(super) fn route_again(&mut self, now: TimestampMs) {
        for group in self.groups.values_mut() {
            group.members.values_mut().for_each(Vec::clear);
        }
        let firing: Vec<Alert> =
            self.alerts.values().filter(|e| !e.is_resolved(now)).map(|e| e.alert.clone()).collect();
        for alert in firing {
            for route in self.settings.root.matching(&alert.labels) {
                self.join_group(&alert, &route, now);
            }
            self.relay(&alert, now);
        }
    }

    pub(super) fn declare_targets(&mut self, now: TimestampMs) {
        let settings = self.settings.clone();
        let (mut relays, mut heartbeats) = (BTreeMap::new(), BTreeMap::new());
        for receiver in settings.receivers.values() {
            receiver.targets.iter().for_each(|t| self.stats.declare(&t.target));
            for relay in &receiver.relays {
                self.stats.declare(&relay.target);
                let id = relay.target.id();
                let beat = self.relays.remove(&id).unwrap_or_else(|| Beat::relay(relay, now));
                relays.insert(id, beat.with(relay.target.clone(), relay.resend_ms));
            }
            for heartbeat in &receiver.heartbeats {
                self.stats.declare(&heartbeat.target);
                let id = heartbeat.target.id();
                let beat = self.heartbeats.remove(&id).unwrap_or_else(|| Beat::heartbeat(heartbeat, now));
                heartbeats.insert(id, beat.with(heartbeat.target.clone(), heartbeat.interval_ms));
            }
        }
        self.relays = relays;
        self.heartbeats = heartbeats;
        self.relayed.retain(|name, _| settings.receivers.get(name).is_some_and(|r| !r.relays.is_empty()));
    }

    pub(super) fn relay(&mut self, alert: &Alert, now: TimestampMs) {
        if self.relays.is_empty() {
            return;
        }
        let receivers: BTreeSet<String> =
            self.settings.root.matching(&alert.labels).iter().map(|r| r.receiver.clone()).collect();
        for name in receivers {
            let Some(receiver) = self.settings.receivers.get(&name).filter(|r| !r.relays.is_empty()) else { continue };
            if self.relayed.entry(name).or_default().put(alert, now) {
                for relay in &receiver.relays {
                    if let Some(beat) = self.relays.get_mut(&relay.target.id()) {
                        beat.hurry(now);
                    }
                }
            }
        }
    }
}
