//! What notification counts of its own work.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::settings::Target;
use crate::model::{Counter, Gauge, StatKind, StatRow, Stats, TimestampMs};

/// Counts of one target kind of one receiver.
#[derive(Clone, Debug, Default)]
struct PerTarget {
    sent: u64,
    retried: u64,
    failed: BTreeMap<&'static str, u64>,
    last_success: Option<TimestampMs>,
    broken: bool,
}

/// The counts; shared between the notifier, the runner and `/metrics`.
#[derive(Debug, Default)]
pub struct NotifyStats {
    targets: Mutex<BTreeMap<(String, String), PerTarget>>,
    suppressed: Mutex<BTreeMap<&'static str, u64>>,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// Alerts received, repeats included.
    pub alerts_received: Counter,
    /// Alerts refused because `alerts_max` is reached or they have no labels.
    pub alerts_refused: Counter,
    /// Alerts that fire now.
    pub alerts_active: Gauge,
    /// Firing alerts that a silence holds back now.
    pub alerts_silenced: Gauge,
    /// Firing alerts that another alert holds back now.
    pub alerts_inhibited: Gauge,
    /// Messages waiting in the outbox.
    pub outbox_length: Gauge,
    /// Age of the oldest waiting message.
    pub outbox_oldest_seconds: Gauge,
    /// Incidents that are open at a target and get their resolve.
    pub incidents_open: Gauge,
    /// Silences that hold now.
    pub silences_active: Gauge,
    /// Pings held back because the agent is not healthy.
    pub heartbeats_held: Counter,
    /// Writes of the outbox that failed.
    pub store_failures: Counter,
}

impl NotifyStats {
    fn at(&self, target: &Target, change: impl FnOnce(&mut PerTarget)) {
        let key = (target.receiver.clone(), target.integration.as_str().to_owned());
        change(self.targets.lock().entry(key).or_default());
    }

    /// Makes the target's rows appear, at zero.
    pub fn declare(&self, target: &Target) {
        self.at(target, |_| {});
    }

    /// A message was accepted.
    pub fn sent(&self, target: &Target, now: TimestampMs) {
        self.at(target, |t| {
            t.sent += 1;
            t.last_success = Some(now);
            t.broken = false;
        });
    }

    /// An attempt failed and will be repeated.
    pub fn retried(&self, target: &Target) {
        self.at(target, |t| t.retried += 1);
    }

    /// A message was given up.
    pub fn failed(&self, target: &Target, reason: &'static str) {
        self.at(target, |t| *t.failed.entry(reason).or_default() += 1);
    }

    /// The target does not take anything as it is configured.
    pub fn broken(&self, target: &Target) {
        self.at(target, |t| t.broken = true);
    }

    /// `n` firing alerts were not notified at a flush.
    pub fn suppressed(&self, reason: &'static str, n: u64) {
        if n > 0 {
            *self.suppressed.lock().entry(reason).or_default() += n;
        }
    }

    /// A message was dropped before it was ever accepted.
    pub fn dropped(&self, reason: &'static str) {
        *self.dropped.lock().entry(reason).or_default() += 1;
    }

    /// Messages dropped so far for `reason`.
    pub fn dropped_total(&self, reason: &str) -> u64 {
        self.dropped.lock().get(reason).copied().unwrap_or(0)
    }
}

impl Stats for NotifyStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = vec![
            StatRow::counter(
                "rivetwatch_notify_alerts_received_total",
                "Alerts received, repeats included.",
                self.alerts_received.get(),
            ),
            StatRow::counter(
                "rivetwatch_notify_alerts_refused_total",
                "Alerts refused: too many at once, or without labels.",
                self.alerts_refused.get(),
            ),
            StatRow::gauge("rivetwatch_notify_alerts_active", "Alerts that fire now.", self.alerts_active.get()),
            StatRow::gauge(
                "rivetwatch_notify_alerts_silenced",
                "Firing alerts that a silence holds back now.",
                self.alerts_silenced.get(),
            ),
            StatRow::gauge(
                "rivetwatch_notify_alerts_inhibited",
                "Firing alerts that another alert holds back now.",
                self.alerts_inhibited.get(),
            ),
            StatRow::gauge("rivetwatch_notify_silences_active", "Silences that hold now.", self.silences_active.get()),
            StatRow::gauge(
                "rivetwatch_notify_outbox_length",
                "Messages waiting in the outbox.",
                self.outbox_length.get(),
            ),
            StatRow::gauge(
                "rivetwatch_notify_outbox_oldest_seconds",
                "Age of the oldest waiting message.",
                self.outbox_oldest_seconds.get(),
            ),
            StatRow::gauge(
                "rivetwatch_notify_incidents_open",
                "Incidents open at a target that still get their resolve.",
                self.incidents_open.get(),
            ),
            StatRow::counter(
                "rivetwatch_notify_heartbeats_held_total",
                "Pings held back because the agent was not healthy.",
                self.heartbeats_held.get(),
            ),
            StatRow::counter(
                "rivetwatch_notify_store_failures_total",
                "Writes of the outbox that failed.",
                self.store_failures.get(),
            ),
        ];
        for reason in ["silenced", "inhibited", "mute_time", "not_routed"] {
            let n = self.suppressed.lock().get(reason).copied().unwrap_or(0);
            let row = StatRow::counter(
                "rivetwatch_notify_alerts_suppressed_total",
                "Firing alerts not notified at a flush of their group.",
                n,
            );
            rows.push(row.with("reason", reason));
        }
        for reason in ["resolved_before_accepted", "configuration_changed"] {
            let n = self.dropped.lock().get(reason).copied().unwrap_or(0);
            let row = StatRow::counter(
                "rivetwatch_notifications_dropped_total",
                "Notifications dropped before they were ever accepted.",
                n,
            );
            rows.push(row.with("reason", reason));
        }
        for ((receiver, integration), t) in self.targets.lock().iter() {
            let of = |row: StatRow| row.with("receiver", receiver.clone()).with("integration", integration.clone());
            rows.push(of(StatRow::counter(
                "rivetwatch_notifications_sent_total",
                "Notifications accepted by the target.",
                t.sent,
            )));
            rows.push(of(StatRow::counter(
                "rivetwatch_notifications_retried_total",
                "Attempts that failed and are repeated.",
                t.retried,
            )));
            for reason in ["body_rejected", "target_rejected", "not_supported", "outbox_full"] {
                let n = t.failed.get(reason).copied().unwrap_or(0);
                rows.push(
                    of(StatRow::counter("rivetwatch_notifications_failed_total", "Notifications given up.", n))
                        .with("reason", reason),
                );
            }
            rows.push(of(StatRow::gauge(
                "rivetwatch_notification_target_broken_bool",
                "1 while the target refuses everything as it is configured.",
                f64::from(u8::from(t.broken)),
            )));
            rows.push(of(StatRow {
                kind: StatKind::Gauge,
                ..StatRow::gauge(
                    "rivetwatch_notification_last_success_timestamp_seconds",
                    "When the target last accepted a notification; 0 before the first.",
                    t.last_success.map_or(0.0, TimestampMs::as_secs_f64),
                )
            }));
        }
        rows
    }
}
