//! Groups are flushed: what they hold becomes triggers and resolves in lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;

use super::super::group::{Decision, Flush, GroupRecord, decide, told_after};
use super::super::inhibit::Sources;
use super::super::lane::{GroupKey, Incident, Lane, Told};
use super::super::page::Page;
use super::super::settings::{Integration, RouteNode, Style, Target, TargetSettings};
use super::super::silence::{Silence, SilenceState};
use super::super::targets::{self, MessageKind};
use super::{Notifier, Table, dedup_key, record_key};
use crate::model::{Alert, TimestampMs};

impl Notifier {
    pub(super) fn flush_due(&mut self, now: TimestampMs) {
        let due: Vec<GroupKey> = self.groups.values().filter(|g| g.next_flush <= now).map(|g| g.key.clone()).collect();
        if due.is_empty() {
            return;
        }
        let flushes = self.look_at(&due, now);
        let mut lanes_of: HashMap<GroupKey, Vec<String>> = HashMap::new();
        for (key, lane) in &self.lanes {
            lanes_of.entry(lane.group.clone()).or_default().push(key.clone());
        }
        for (key, flush) in due.into_iter().zip(flushes) {
            let lanes = lanes_of.remove(&key).unwrap_or_default();
            self.flush(&key, &flush, lanes, now);
        }
    }

    /// What each of the groups holds now, less what is muted.
    pub(super) fn look_at(&self, keys: &[GroupKey], now: TimestampMs) -> Vec<Flush> {
        let settings = self.settings.clone();
        let firing = self.alerts.values().filter(|e| !e.is_resolved(now)).map(|e| &e.alert.labels);
        let sources = Sources::collect(&settings.inhibitions, firing);
        let active: Vec<&Silence> = self.silences.values().filter(|s| s.state(now) == SilenceState::Active).collect();
        let mut muted_routes: HashMap<*const RouteNode, bool> = HashMap::new();
        let look = |key: &GroupKey| {
            let mut flush = Flush::default();
            let Some(group) = self.groups.get(key) else { return flush };
            for (labels, routes) in &group.members {
                let Some(entry) = self.alerts.get(labels) else { continue };
                if entry.is_resolved(now) {
                    flush.resolved.push(entry.alert.clone());
                    continue;
                }
                flush.all_firing.insert(labels.hash64());
                let mut is_muted =
                    |r: &Arc<RouteNode>| *muted_routes.entry(Arc::as_ptr(r)).or_insert_with(|| r.is_muted(now));
                let reason = if routes.is_empty() {
                    Some("not_routed")
                } else if active.iter().any(|s| s.matchers.matches(labels)) {
                    Some("silenced")
                } else if sources.inhibitor(labels).is_some() {
                    Some("inhibited")
                } else if routes.iter().all(&mut is_muted) {
                    Some("mute_time")
                } else {
                    None
                };
                match reason {
                    Some(reason) => *flush.suppressed.entry(reason).or_default() += 1,
                    None => flush.firing.push(entry.alert.clone()),
                }
            }
            flush.firing.sort_by(|a, b| a.starts_at.cmp(&b.starts_at).then_with(|| a.labels.cmp(&b.labels)));
            flush
        };
        keys.iter().map(look).collect()
    }

    pub(super) fn flush(&mut self, key: &GroupKey, flush: &Flush, lanes: Vec<String>, now: TimestampMs) {
        let Some(group) = self.groups.get_mut(key) else { return };
        group.next_flush = now.plus_ms(group.group_interval_ms);
        let (repeat_ms, fallback) = (group.repeat_interval_ms, group.fallback.clone());
        for (reason, n) in &flush.suppressed {
            self.stats.suppressed(reason, *n);
        }

        let wanted = self.targets_for(key, fallback.as_deref());
        let mut keys: BTreeSet<String> = wanted.keys().cloned().collect();
        keys.extend(lanes);
        for lane_key in &keys {
            self.flush_lane(key, lane_key, wanted.get(lane_key), flush, repeat_ms, now);
        }
        self.after_flush(key, flush, &keys);
    }

    /// The lanes that the configuration asks for, by their keys, with the dedup key of each.
    pub(super) fn targets_for(
        &self,
        key: &GroupKey,
        fallback: Option<&str>,
    ) -> BTreeMap<String, (TargetSettings, String)> {
        let mut wanted = BTreeMap::new();
        // A fallback that has this group on its own account is told already.
        let taken =
            |name: &str| self.groups.contains_key(&GroupKey { receiver: name.to_owned(), labels: key.labels.clone() });
        let names = std::iter::once(key.receiver.as_str()).chain(fallback.filter(|name| !taken(name)));
        for name in names {
            let dedup_key = dedup_key(&self.settings.deployment, name, &key.labels);
            for target in self.settings.receivers.get(name).map(|r| r.targets.as_slice()).unwrap_or_default() {
                let lane_key = Lane::key(target.target.id(), &dedup_key);
                wanted.insert(lane_key, (target.clone(), dedup_key.clone()));
            }
        }
        wanted
    }

    pub(super) fn flush_lane(
        &mut self,
        group: &GroupKey,
        lane_key: &str,
        wanted: Option<&(TargetSettings, String)>,
        flush: &Flush,
        repeat_ms: i64,
        now: TimestampMs,
    ) {
        let told: Option<Told> = self.lanes.get(lane_key).and_then(|l| l.told.clone());
        let decision = decide(told.as_ref(), wanted.is_some(), flush, repeat_ms, now);
        match (decision, wanted) {
            (Decision::Nothing, _) | (Decision::Trigger, None) => {}
            (Decision::Trigger, Some((target, dedup_key))) => {
                if let Integration::Unsupported(_) = target.target.integration {
                    self.refuse_unsupported(target, group, lane_key, dedup_key, flush, now);
                    return;
                }
                if !self.lanes.contains_key(lane_key) && self.lanes.len() >= self.settings.outbox_max {
                    self.stats.failed(&target.target, "outbox_full");
                    return;
                }
                let page = self.page(&target.target.receiver, group, dedup_key, flush, told.as_ref(), now);
                let body = targets::body(&target.target.integration, &target.style, MessageKind::Trigger, &page);
                let lane = self
                    .lanes
                    .entry(lane_key.to_owned())
                    .or_insert_with(|| Lane::new(target.target.clone(), group.clone(), dedup_key.clone()));
                lane.trigger(body, told_after(told.as_ref(), flush, now), now);
                self.lane_changed(lane_key);
            }
            (Decision::Resolve, _) => {
                let Some(lane) = self.lanes.get(lane_key) else { return };
                let (target, dedup_key) = (lane.target.clone(), lane.dedup_key.clone());
                let page = Page {
                    firing: Vec::new(),
                    ..self.page(&target.receiver, group, &dedup_key, flush, told.as_ref(), now)
                };
                let style = wanted.map_or(Style::Plain, |(t, _)| t.style.clone());
                let body = targets::body(&target.integration, &style, MessageKind::Resolve, &page);
                let Some(lane) = self.lanes.get_mut(lane_key) else { return };
                if wanted.is_some_and(|(t, _)| !t.send_resolved)
                    || matches!(target.integration, Integration::Unsupported(_))
                {
                    lane.close();
                } else {
                    let dropped = lane.resolve(body, now);
                    (0..dropped).for_each(|_| self.stats.dropped("resolved_before_accepted"));
                }
                self.lane_changed(lane_key);
            }
        }
    }

    /// A kind this release does not deliver to: the page is counted as failed and the target as broken, once
    /// for each notification it should have had, and the fallback takes over.
    pub(super) fn refuse_unsupported(
        &mut self,
        target: &TargetSettings,
        group: &GroupKey,
        lane_key: &str,
        dedup_key: &str,
        flush: &Flush,
        now: TimestampMs,
    ) {
        self.stats.failed(&target.target, "not_supported");
        self.stats.broken(&target.target);
        let lane = self
            .lanes
            .entry(lane_key.to_owned())
            .or_insert_with(|| Lane::new(target.target.clone(), group.clone(), dedup_key.to_owned()));
        lane.told = Some(told_after(lane.told.as_ref(), flush, now));
        self.lane_changed(lane_key);
        self.fall_back(group, now);
    }

    /// Hands the group to its receiver's fallback, at once. The broken target itself is asked again at the
    /// group's next flush.
    pub(super) fn fall_back(&mut self, key: &GroupKey, now: TimestampMs) {
        let fallback = self.settings.receivers.get(&key.receiver).and_then(|r| r.fallback.clone());
        let Some(group) = self.groups.get_mut(key) else { return };
        if fallback.is_none() || group.fallback == fallback {
            return;
        }
        group.fallback = fallback.clone();
        let repeat_ms = group.repeat_interval_ms;
        let flush = self.look_at(std::slice::from_ref(key), now).pop().unwrap_or_default();
        for (lane_key, target) in self.targets_for(key, fallback.as_deref()) {
            if Some(&target.0.target.receiver) == fallback.as_ref() {
                self.flush_lane(key, &lane_key, Some(&target), &flush, repeat_ms, now);
            }
        }
    }

    /// Lanes whose target is still configured reach it as it is configured now: a rotated credential must not
    /// leave their resolves outside.
    pub(super) fn take_new_credentials(&mut self) {
        let settings = self.settings.clone();
        let targets = settings.receivers.values().flat_map(|r| &r.targets).map(|t| (t.target.id(), &t.target));
        let configured: HashMap<u64, &Arc<Target>> = targets.collect();
        let is_outdated = |lane: &Lane| configured.get(&lane.target_id).is_some_and(|t| **t != lane.target);
        let outdated: Vec<String> =
            self.lanes.iter().filter(|(_, lane)| is_outdated(lane)).map(|(key, _)| key.clone()).collect();
        for key in outdated {
            if let Some(lane) = self.lanes.get_mut(&key)
                && let Some(target) = configured.get(&lane.target_id)
            {
                lane.target = Arc::clone(target);
            }
            self.lane_changed(&key);
        }
    }

    pub(super) fn page(
        &self,
        receiver: &str,
        group: &GroupKey,
        dedup_key: &str,
        flush: &Flush,
        told: Option<&Told>,
        now: TimestampMs,
    ) -> Page {
        // Only the end of what was told is news.
        let is_news = |a: &&Alert| told.is_some_and(|t| t.firing.contains(&a.labels.hash64()));
        Page {
            deployment: self.settings.deployment.clone(),
            receiver: receiver.to_owned(),
            dedup_key: dedup_key.to_owned(),
            group_labels: group.labels.clone(),
            firing: flush.firing.clone(),
            resolved: flush.resolved.iter().filter(is_news).cloned().collect(),
            external_url: self.settings.external_url.clone(),
            now,
        }
    }

    /// Lets go of what has ended, and records what people were told of the rest.
    pub(super) fn after_flush(&mut self, key: &GroupKey, flush: &Flush, lanes: &BTreeSet<String>) {
        let Some(group) = self.groups.get_mut(key) else { return };
        for alert in &flush.resolved {
            group.members.remove(&alert.labels);
            if let Some(entry) = self.alerts.get_mut(&alert.labels) {
                entry.groups.retain(|g| g != key);
                if entry.groups.is_empty() {
                    self.alerts.remove(&alert.labels);
                }
            }
        }
        let is_told = lanes.iter().filter_map(|k| self.lanes.get(k)).any(|l| l.told.is_some());
        let is_wanted = group.members.values().any(|routes| !routes.is_empty());
        let record = is_told.then(|| GroupRecord {
            key: key.clone(),
            group_interval_ms: group.group_interval_ms,
            repeat_interval_ms: group.repeat_interval_ms,
            fallback: group.fallback.clone(),
            alerts: group
                .members
                .keys()
                .filter_map(|labels| self.alerts.get(labels))
                .map(|e| Alert { ends_at: TimestampMs(0), ..e.alert.clone() })
                .collect(),
        });
        let bytes = record.map(|r| serde_json::to_vec(&r).expect("a record is plain data"));
        if group.stored != bytes {
            self.changes.insert((Table::Groups, record_key(key)), bytes.clone());
            group.stored = bytes;
        }
        if group.members.is_empty() || (!is_wanted && !is_told) {
            self.remove_group(key);
        }
    }

    pub(super) fn remove_group(&mut self, key: &GroupKey) {
        let Some(group) = self.groups.remove(key) else { return };
        if group.stored.is_some() {
            self.changes.insert((Table::Groups, record_key(key)), None);
        }
        for labels in group.members.keys() {
            if let Some(entry) = self.alerts.get_mut(labels) {
                entry.groups.retain(|g| g != key);
                if entry.groups.is_empty() {
                    self.alerts.remove(labels);
                }
            }
        }
    }

    /// After another configuration: triggers nobody has seen, at targets nobody wants any more.
    pub(super) fn drop_what_nobody_wants(&mut self) {
        let mut wanted = BTreeSet::new();
        for group in self.groups.values().filter(|g| g.members.values().any(|routes| !routes.is_empty())) {
            wanted.extend(self.targets_for(&group.key, group.fallback.as_deref()).into_keys());
        }
        let unseen: Vec<String> = self
            .lanes
            .iter()
            .filter(|(key, lane)| {
                let is_moving = lane.queue.iter().any(|m| m.in_flight);
                !wanted.contains(*key) && !is_moving && lane.incident == Incident::None
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in unseen {
            if self.lanes.remove(&key).is_some_and(|lane| !lane.queue.is_empty()) {
                self.stats.dropped("configuration_changed");
            }
            self.changes.insert((Table::Lanes, key), None);
        }
    }
}
