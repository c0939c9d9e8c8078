//! The notifier as a step machine: alerts, outcomes and commands in; messages and records out.
//!
//! In:  `step(now, inputs)`.   Out: effects in the order in which they must happen, and the next deadline.
//! Always: no clock, no I/O; the same inputs at the same times give the same effects (chance comes from
//! `seed`). A message is in a record before it is in a send. See `lane` for the order of messages and
//! `group` for when there is one.
//! Limits: `alerts_max` alerts, `outbox_max` lanes; what is beyond is refused and counted.

mod flush;
mod intake;
mod sending;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::group::{Group, GroupRecord};
use super::inhibit::Sources;
use super::lane::{GroupKey, Incident, Lane};
use super::level::{Beat, Health, Relayed};
use super::retry::Outcome;
use super::settings::{Settings, Target, length_delimited};
use super::silence::{RETENTION_MS, Silence, SilenceState};
use super::stats::NotifyStats;
use super::targets::MessageKind;
use super::view::{AlertView, GroupView, OutboxView, View};
use crate::model::{Alert, AlertState, Labels, TimestampMs};

/// Messages in flight at once, over all targets.
const IN_FLIGHT_MAX: usize = 64;
/// Messages in flight at once to one target.
const IN_FLIGHT_PER_TARGET_MAX: usize = 4;
/// A message that waits longer means that the outbox is stuck, and the heartbeat stops.
const STUCK_MS: i64 = 15 * 60_000;
/// Gauges over all alerts are refreshed this often.
const GAUGES_EVERY_MS: i64 = 10_000;

/// What the notifier is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// From the rules or from other senders. An `ends_at` of 0 means "not known".
    Alerts(Vec<Alert>),
    /// What became of the send with this number.
    Delivered {
        id: u64,
        outcome: Outcome,
    },
    /// A new silence, or a new end for one that is known.
    PutSilence(Silence),
    ExpireSilence(String),
    /// Another configuration holds from now on.
    ConfigReplaced(Arc<Settings>),
    /// Whether data arrives and rules are evaluated.
    Health(bool),
}

/// What the notifier wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Must be on disk before the sends that follow.
    Persist(Vec<Change>),
    Send(Send),
}

/// One message for one target; its outcome comes back as [`Input::Delivered`] with the same number.
#[derive(Clone, Debug, PartialEq)]
pub struct Send {
    pub id: u64,
    pub target: Arc<Target>,
    pub kind: MessageKind,
    /// Without secrets; see [`targets::request`].
    pub body: String,
}

/// The tables of the outbox's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    Lanes,
    Groups,
    Silences,
}

/// One record that is written, or removed where there is no value.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub table: Table,
    pub key: String,
    pub value: Option<Vec<u8>>,
}

/// Records as the file holds them.
pub type Records = BTreeMap<(Table, String), Vec<u8>>;

#[derive(Debug)]
struct Entry {
    alert: Alert,
    updated_at: TimestampMs,
    groups: Vec<GroupKey>,
}

impl Entry {
    fn is_resolved(&self, now: TimestampMs) -> bool {
        is_resolved(&self.alert, now)
    }
}

fn is_resolved(alert: &Alert, now: TimestampMs) -> bool {
    alert.state == AlertState::Resolved || alert.ends_at <= now
}

#[derive(Clone, Debug)]
enum InFlight {
    Lane(String),
    Relay(u64),
    Heartbeat(u64),
}

impl InFlight {
    /// The key of the lane that this belongs to, if it does to one.
    fn lane(&self) -> Option<&String> {
        match self {
            Self::Lane(key) => Some(key),
            Self::Relay(_) | Self::Heartbeat(_) => None,
        }
    }
}

/// The step machine; see the module.
#[derive(Debug)]
pub struct Notifier {
    settings: Arc<Settings>,
    stats: Arc<NotifyStats>,
    rng: fastrand::Rng,
    alerts: HashMap<Labels, Entry>,
    groups: BTreeMap<GroupKey, Group>,
    lanes: BTreeMap<String, Lane>,
    silences: BTreeMap<String, Silence>,
    relayed: BTreeMap<String, Relayed>,
    relays: BTreeMap<u64, Beat>,
    heartbeats: BTreeMap<u64, Beat>,
    health: Health,
    in_flight: BTreeMap<u64, InFlight>,
    /// Until when a target asked to be left alone.
    holds: HashMap<u64, TimestampMs>,
    next_id: u64,
    changes: BTreeMap<(Table, String), Option<Vec<u8>>>,
    gauges_at: TimestampMs,
}

impl Notifier {
    /// A notifier that knows nothing yet. `seed` decides the jitter.
    pub fn new(settings: Arc<Settings>, stats: Arc<NotifyStats>, seed: u64) -> Self {
        let mut notifier = Self {
            settings,
            stats,
            rng: fastrand::Rng::with_seed(seed),
            alerts: HashMap::new(),
            groups: BTreeMap::new(),
            lanes: BTreeMap::new(),
            silences: BTreeMap::new(),
            relayed: BTreeMap::new(),
            relays: BTreeMap::new(),
            heartbeats: BTreeMap::new(),
            health: Health::default(),
            in_flight: BTreeMap::new(),
            holds: HashMap::new(),
            next_id: 1,
            changes: BTreeMap::new(),
            gauges_at: TimestampMs::MIN,
        };
        notifier.declare_targets(TimestampMs::MIN);
        notifier
    }

    /// A notifier that goes on where `records` ended. The second value counts records that could not be read.
    ///
    /// What was in flight is sent again. An alert that was told counts as firing until `resolve_timeout` from
    /// now, unless its sender says otherwise: it may have ended while nobody watched.
    pub fn restore(
        settings: Arc<Settings>,
        stats: Arc<NotifyStats>,
        seed: u64,
        records: &Records,
        now: TimestampMs,
    ) -> (Self, usize) {
        let mut notifier = Self::new(settings, stats, seed);
        let mut unreadable = 0;
        for ((table, key), value) in records {
            let is_read = match table {
                Table::Lanes => serde_json::from_slice::<Lane>(value).is_ok_and(|mut lane| {
                    lane.recover();
                    match lane.is_done() {
                        true => drop(notifier.changes.insert((*table, key.clone()), None)),
                        false => drop(notifier.lanes.insert(key.clone(), lane)),
                    }
                    true
                }),
                Table::Silences => serde_json::from_slice::<Silence>(value)
                    .is_ok_and(|silence| notifier.silences.insert(key.clone(), silence).is_none()),
                Table::Groups => serde_json::from_slice::<GroupRecord>(value)
                    .is_ok_and(|record| notifier.restore_group(record, value, now)),
            };
            unreadable += usize::from(!is_read);
        }
        notifier.take_new_credentials();
        notifier.route_again(now);
        (notifier, unreadable)
    }

    fn restore_group(&mut self, record: GroupRecord, stored: &[u8], now: TimestampMs) -> bool {
        let vouched = now.plus_ms(self.settings.resolve_timeout_ms);
        let members = record.alerts.iter().map(|a| (a.labels.clone(), Vec::new())).collect();
        for mut alert in record.alerts {
            alert.ends_at = alert.ends_at.max(vouched);
            let entry = self.alerts.entry(alert.labels.clone());
            let entry = entry.or_insert_with(|| Entry { alert, updated_at: now, groups: Vec::new() });
            entry.groups.push(record.key.clone());
        }
        let group = Group {
            key: record.key.clone(),
            members,
            group_interval_ms: record.group_interval_ms,
            repeat_interval_ms: record.repeat_interval_ms,
            next_flush: now.plus_ms(record.group_interval_ms.min(self.settings.resolve_timeout_ms)),
            fallback: record.fallback,
            stored: Some(stored.to_vec()),
        };
        self.groups.insert(record.key, group).is_none()
    }

    /// Takes in `inputs` at `now`. Gives what must happen, in order, and when to step again at the latest.
    pub fn step(&mut self, now: TimestampMs, inputs: Vec<Input>) -> (Vec<Effect>, Option<TimestampMs>) {
        for input in inputs {
            self.take(now, input);
        }
        self.flush_due(now);
        let mut sends = self.send_lanes(now);
        sends.extend(self.send_relays(now));
        sends.extend(self.send_heartbeats(now));
        self.forget_silences(now);
        self.refresh_gauges(now);

        let changes: Vec<Change> = std::mem::take(&mut self.changes)
            .into_iter()
            .map(|((table, key), value)| Change { table, key, value })
            .collect();
        let mut effects = Vec::with_capacity(sends.len() + 1);
        if !changes.is_empty() {
            effects.push(Effect::Persist(changes));
        }
        effects.extend(sends.into_iter().map(Effect::Send));
        (effects, self.next_deadline(now))
    }

    fn take(&mut self, now: TimestampMs, input: Input) {
        match input {
            Input::Alerts(alerts) => alerts.into_iter().for_each(|alert| self.take_alert(alert, now)),
            Input::Delivered { id, outcome } => self.delivered(id, &outcome, now),
            Input::PutSilence(silence) => self.put_silence(silence),
            Input::ExpireSilence(id) => {
                if let Some(mut silence) = self.silences.get(&id).cloned() {
                    silence.expire(now);
                    self.put_silence(silence);
                }
            }
            Input::ConfigReplaced(settings) => {
                self.settings = settings;
                self.declare_targets(now);
                self.take_new_credentials();
                self.route_again(now);
                self.drop_what_nobody_wants();
            }
            Input::Health(healthy) => self.health.say(healthy, now),
        }
    }

    fn put_silence(&mut self, silence: Silence) {
        let bytes = serde_json::to_vec(&silence).expect("a silence is plain data");
        self.changes.insert((Table::Silences, silence.id.clone()), Some(bytes));
        self.silences.insert(silence.id.clone(), silence);
    }

    fn forget_silences(&mut self, now: TimestampMs) {
        let is_old = |s: &&Silence| now.since(s.ends_at) > RETENTION_MS;
        let old: Vec<String> = self.silences.values().filter(is_old).map(|s| s.id.clone()).collect();
        for id in old {
            self.silences.remove(&id);
            self.changes.insert((Table::Silences, id), None);
        }
    }

    fn next_deadline(&self, now: TimestampMs) -> Option<TimestampMs> {
        let held = |lane: &Lane| match self.holds.is_empty() {
            true => None,
            false => self.holds.get(&lane.target_id).copied(),
        };
        let can_send = self.in_flight.len() < IN_FLIGHT_MAX;
        let lanes = self.lanes.values().filter(|_| can_send).filter_map(|l| {
            let due = l.due()?;
            let due = held(l).map_or(due, |hold| due.max(hold));
            // One that is due now waits for a place; an outcome will wake it.
            (due > now).then_some(due)
        });
        let groups = self.groups.values().map(|g| g.next_flush);
        let relays = self
            .relays
            .values()
            .filter(|b| !b.in_flight && self.relayed.get(&b.target.receiver).is_some_and(|r| !r.is_empty()));
        let heartbeats = self.heartbeats.values().filter(|b| !b.in_flight);
        lanes.chain(groups).chain(relays.chain(heartbeats).map(|b| b.next).filter(|t| *t > now)).min()
    }

    fn refresh_gauges(&mut self, now: TimestampMs) {
        let waiting = self.lanes.values().map(|l| l.queue.len()).sum::<usize>();
        self.stats.outbox_length.set(waiting as f64);
        if now.since(self.gauges_at) < GAUGES_EVERY_MS {
            return;
        }
        self.gauges_at = now;
        let oldest = self.lanes.values().filter_map(|l| l.queue.front()).map(|m| m.created).min();
        self.stats.outbox_oldest_seconds.set(oldest.map_or(0.0, |t| now.since(t) as f64 / 1000.0));
        self.stats.incidents_open.set(self.lanes.values().filter(|l| l.incident != Incident::None).count() as f64);
        self.stats
            .silences_active
            .set(self.silences.values().filter(|s| s.state(now) == SilenceState::Active).count() as f64);
        let alerts = self.alert_views(now);
        self.stats.alerts_active.set(alerts.len() as f64);
        self.stats.alerts_silenced.set(alerts.iter().filter(|a| !a.silenced_by.is_empty()).count() as f64);
        self.stats.alerts_inhibited.set(alerts.iter().filter(|a| !a.inhibited_by.is_empty()).count() as f64);
    }

    fn alert_views(&self, now: TimestampMs) -> Vec<AlertView> {
        let firing = self.alerts.values().filter(|e| !e.is_resolved(now));
        let sources = Sources::collect(&self.settings.inhibitions, firing.clone().map(|e| &e.alert.labels));
        let mut views: Vec<AlertView> = firing
            .map(|entry| {
                let labels = &entry.alert.labels;
                let mut receivers: Vec<String> = entry.groups.iter().map(|g| g.receiver.clone()).collect();
                receivers.sort();
                receivers.dedup();
                let silences = self.silences.values().filter(|s| s.silences(labels, now));
                AlertView {
                    alert: entry.alert.clone(),
                    updated_at: entry.updated_at,
                    receivers,
                    silenced_by: silences.map(|s| s.id.clone()).collect(),
                    inhibited_by: sources
                        .inhibitor(labels)
                        .map(|l| format!("{:016x}", l.hash64()))
                        .into_iter()
                        .collect(),
                }
            })
            .collect();
        views.sort_by(|a, b| a.alert.labels.cmp(&b.alert.labels));
        views
    }

    /// Everything others may read, as it is at `now`.
    pub fn view(&self, now: TimestampMs) -> View {
        let alerts = self.alert_views(now);
        let places: HashMap<Labels, usize> =
            alerts.iter().enumerate().map(|(i, a)| (a.alert.labels.clone(), i)).collect();
        let groups = self
            .groups
            .values()
            .map(|g| GroupView {
                receiver: g.key.receiver.clone(),
                labels: g.key.labels.clone(),
                alerts: g.members.keys().filter_map(|l| places.get(l).copied()).collect(),
            })
            .filter(|g| !g.alerts.is_empty())
            .collect();
        let outbox = self
            .lanes
            .values()
            .map(|l| OutboxView {
                receiver: l.target.receiver.clone(),
                integration: l.target.integration.as_str().to_owned(),
                group_labels: l.group.labels.clone(),
                dedup_key: l.dedup_key.clone(),
                incident: l.incident,
                waiting: l.queue.len(),
                attempts: l.queue.front().map_or(0, |m| m.attempts),
            })
            .collect();
        View {
            now,
            groups,
            outbox,
            silences: self.silences.values().cloned().collect(),
            receivers: self.settings.receivers.keys().cloned().collect(),
            routing_yaml: self.settings.routing_yaml.clone(),
            resolve_timeout_ms: self.settings.resolve_timeout_ms,
            alerts,
        }
    }

    /// Whether nothing waits and nothing is on its way; what a stop waits for.
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.lanes.values().all(|l| l.queue.is_empty())
    }
}

fn record_key(key: &GroupKey) -> String {
    dedup_key("", &key.receiver, &key.labels)
}

/// The dedup key of an incident: a pure function of what it is about, never of time or of single alerts.
pub fn dedup_key(deployment: &str, receiver: &str, group_labels: &Labels) -> String {
    let parts = [deployment.as_bytes(), receiver.as_bytes(), group_labels.encoded()];
    format!("rivetwatch-{:032x}", xxh3_128(&length_delimited(parts)))
}
