//! Messages leave, and their outcomes come back.

use hashbrown::HashMap;

use super::super::lane::{Lane, Progress};
use super::super::retry::{Class, Outcome};
use super::super::targets::{self, MessageKind};
use super::{IN_FLIGHT_MAX, IN_FLIGHT_PER_TARGET_MAX, InFlight, Notifier, STUCK_MS, Send, Table, is_resolved};
use crate::model::{Alert, TimestampMs};

impl Notifier {
    pub(super) fn lane_changed(&mut self, key: &str) {
        let Some(lane) = self.lanes.get(key) else { return };
        let value = (!lane.is_done()).then(|| serde_json::to_vec(lane).expect("a lane is plain data"));
        if value.is_none() {
            self.lanes.remove(key);
        }
        self.changes.insert((Table::Lanes, key.to_owned()), value);
    }

    pub(super) fn send_lanes(&mut self, now: TimestampMs) -> Vec<Send> {
        self.holds.retain(|_, until| *until > now);
        if self.in_flight.len() >= IN_FLIGHT_MAX {
            return Vec::new();
        }
        let mut per_target: HashMap<u64, usize> = HashMap::new();
        for key in self.in_flight.values().filter_map(InFlight::lane) {
            if let Some(lane) = self.lanes.get(key) {
                *per_target.entry(lane.target_id).or_default() += 1;
            }
        }
        let is_free = |lane: &Lane| {
            per_target.get(&lane.target_id).is_none_or(|busy| *busy < IN_FLIGHT_PER_TARGET_MAX)
                && !self.holds.contains_key(&lane.target_id)
        };
        let mut due: Vec<(TimestampMs, &String)> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.due().is_some_and(|t| t <= now) && is_free(lane))
            .map(|(key, lane)| (lane.queue[0].created, key))
            .collect();
        // The oldest first, so that none starves; of thousands only as many as can leave are sorted.
        if due.len() > IN_FLIGHT_MAX {
            due.select_nth_unstable(IN_FLIGHT_MAX);
            due.truncate(IN_FLIGHT_MAX);
        }
        due.sort_unstable();
        let due: Vec<String> = due.into_iter().map(|(_, key)| key.clone()).collect();
        let mut sends = Vec::new();
        for key in due {
            if self.in_flight.len() >= IN_FLIGHT_MAX {
                break;
            }
            let Some(lane) = self.lanes.get_mut(&key) else { continue };
            let id = lane.target_id;
            let busy = per_target.entry(id).or_default();
            if *busy >= IN_FLIGHT_PER_TARGET_MAX {
                continue;
            }
            let target = lane.target.clone();
            let Some(message) = lane.start() else { continue };
            *busy += 1;
            sends.push(Send { id: self.next_id, target, kind: message.kind, body: message.body.clone() });
            self.in_flight.insert(self.next_id, InFlight::Lane(key.clone()));
            self.next_id += 1;
            self.lane_changed(&key);
        }
        sends
    }

    pub(super) fn delivered(&mut self, id: u64, outcome: &Outcome, now: TimestampMs) {
        let class = outcome.classify(now);
        match self.in_flight.remove(&id) {
            None => {}
            Some(InFlight::Lane(key)) => self.lane_delivered(&key, &class, now),
            Some(InFlight::Relay(target)) => self.beat_delivered(target, &class, now, true),
            Some(InFlight::Heartbeat(target)) => self.beat_delivered(target, &class, now, false),
        }
    }

    pub(super) fn lane_delivered(&mut self, key: &str, class: &Class, now: TimestampMs) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let (progress, dropped) = lane.finish(class, now, &mut self.rng);
        let (target, group) = (lane.target.clone(), lane.group.clone());
        let due = lane.due();
        (0..dropped).for_each(|_| self.stats.dropped("resolved_before_accepted"));
        match progress {
            Progress::Accepted => self.stats.sent(&target, now),
            Progress::Waiting { throttled } => {
                self.stats.retried(&target);
                // The limit counts for the whole key, so its other incidents wait as well.
                if let (true, Some(due)) = (throttled, due) {
                    self.holds.insert(target.id(), due);
                }
            }
            Progress::Dropped => {}
            Progress::Shrunk => self.stats.retried(&target),
            Progress::BodyRejected => self.stats.failed(&target, "body_rejected"),
            Progress::TargetRejected => {
                self.stats.failed(&target, "target_rejected");
                self.stats.broken(&target);
                self.fall_back(&group, now);
            }
            Progress::ResolveRefused => {
                self.stats.retried(&target);
                self.stats.broken(&target);
            }
        }
        self.lane_changed(key);
    }

    pub(super) fn beat_delivered(&mut self, id: u64, class: &Class, now: TimestampMs, is_relay: bool) {
        let beats = if is_relay { &mut self.relays } else { &mut self.heartbeats };
        let Some(beat) = beats.get_mut(&id) else { return };
        let target = beat.target.clone();
        if beat.finish(class, now, &mut self.rng) {
            self.stats.sent(&target, now);
            return;
        }
        match class {
            Class::TargetRejected => {
                self.stats.failed(&target, "target_rejected");
                self.stats.broken(&target);
            }
            Class::BodyRejected => self.stats.failed(&target, "body_rejected"),
            _ => self.stats.retried(&target),
        }
    }

    pub(super) fn send_relays(&mut self, now: TimestampMs) -> Vec<Send> {
        let mut sends = Vec::new();
        self.relayed.values_mut().for_each(|r| r.prune(now));
        for (id, beat) in &mut self.relays {
            let Some(relayed) = self.relayed.get(&beat.target.receiver).filter(|r| !r.is_empty()) else { continue };
            if !beat.is_due(now) {
                continue;
            }
            beat.start();
            let ended = |a: &Alert| is_resolved(a, now);
            let body = targets::alertmanager::body(relayed.iter(), ended, now, beat.interval_ms);
            sends.push(Send { id: self.next_id, target: beat.target.clone(), kind: MessageKind::Trigger, body });
            self.in_flight.insert(self.next_id, InFlight::Relay(*id));
            self.next_id += 1;
        }
        sends
    }

    pub(super) fn send_heartbeats(&mut self, now: TimestampMs) -> Vec<Send> {
        if !self.heartbeats.values().any(|b| b.is_due(now)) {
            return Vec::new();
        }
        let is_healthy = self.health.is_good(now) && !self.is_stuck(now);
        let mut sends = Vec::new();
        for (id, beat) in self.heartbeats.iter_mut().filter(|(_, b)| b.is_due(now)) {
            let receiver = &beat.target.receiver;
            let watchdog_fires = self.groups.values().filter(|g| g.key.receiver == *receiver).any(|g| {
                g.members
                    .iter()
                    .filter(|(_, routes)| !routes.is_empty())
                    .any(|(labels, _)| self.alerts.get(labels).is_some_and(|e| !e.is_resolved(now)))
            });
            if !watchdog_fires || !is_healthy {
                // It stays due, so that it goes out with the first step at which all is well.
                if now.since(beat.next) >= beat.interval_ms {
                    self.stats.heartbeats_held.inc();
                    beat.next = now;
                }
                continue;
            }
            beat.start();
            let body = targets::heartbeat::body(&self.settings.deployment);
            sends.push(Send { id: self.next_id, target: beat.target.clone(), kind: MessageKind::Trigger, body });
            self.in_flight.insert(self.next_id, InFlight::Heartbeat(*id));
            self.next_id += 1;
        }
        sends
    }

    /// Whether a message has been waiting for so long that people are not being told.
    pub(super) fn is_stuck(&self, now: TimestampMs) -> bool {
        self.lanes.values().filter_map(|l| l.queue.front()).any(|m| m.attempts > 0 && now.since(m.created) > STUCK_MS)
    }
}
