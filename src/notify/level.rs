//! Targets that are told the state again and again: Alertmanagers and heartbeats.
//!
//! In: which alerts go to them, and whether the agent is healthy.   Out: what to send now.
//! Always: what they are told is true at the moment of sending, so a lost request is healed by the next and
//! nothing is kept on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::retry::{Class, backoff_ms};
use super::settings::{HeartbeatSettings, RelaySettings, Target};
use super::targets::alertmanager::RESOLVED_REPEAT_MS;
use crate::model::{Alert, AlertState, Labels, TimestampMs};

/// How long the agent's word that it is healthy is good for.
const HEALTH_FRESH_MS: i64 = 120_000;

/// Timer of one such target.
#[derive(Clone, Debug)]
pub struct Beat {
    pub target: Arc<Target>,
    pub interval_ms: i64,
    pub next: TimestampMs,
    pub in_flight: bool,
    attempts: u32,
    /// Whether something changed while a request was in flight.
    changed: bool,
}

impl Beat {
    fn new(target: Arc<Target>, interval_ms: i64, now: TimestampMs) -> Self {
        Self { target, interval_ms, next: now, in_flight: false, attempts: 0, changed: false }
    }

    /// For an Alertmanager.
    pub fn relay(settings: &RelaySettings, now: TimestampMs) -> Self {
        Self::new(settings.target.clone(), settings.resend_ms, now)
    }

    /// For a heartbeat.
    pub fn heartbeat(settings: &HeartbeatSettings, now: TimestampMs) -> Self {
        Self::new(settings.target.clone(), settings.interval_ms, now)
    }

    /// The same timer for a target as it is configured now.
    pub fn with(self, target: Arc<Target>, interval_ms: i64) -> Self {
        Self { target, interval_ms, ..self }
    }

    /// There is news: send at once, unless the target asked for a pause.
    pub fn hurry(&mut self, now: TimestampMs) {
        self.changed = true;
        if self.attempts == 0 {
            self.next = self.next.min(now);
        }
    }

    /// Whether it is time to send.
    pub fn is_due(&self, now: TimestampMs) -> bool {
        !self.in_flight && self.next <= now
    }

    /// A request leaves.
    pub fn start(&mut self) {
        self.in_flight = true;
        self.changed = false;
    }

    /// The request has ended. True when it was accepted.
    pub fn finish(&mut self, class: &Class, now: TimestampMs, rng: &mut fastrand::Rng) -> bool {
        self.in_flight = false;
        if *class == Class::Accepted {
            self.attempts = 0;
            self.next = if self.changed { now } else { now.plus_ms(self.interval_ms) };
            return true;
        }
        self.attempts = self.attempts.saturating_add(1);
        // The next regular sending comes in any case, so the pause is never longer than the interval,
        // unless the target itself asks for more.
        let pause = backoff_ms(self.attempts, rng).min(self.interval_ms);
        let asked = match class {
            Class::Retry { wait_ms, .. } => wait_ms.unwrap_or(0),
            _ => self.interval_ms,
        };
        self.next = now.plus_ms(pause.max(asked));
        false
    }
}

/// The alerts one receiver's Alertmanagers are told, each with the time of its last change of state.
#[derive(Clone, Debug, Default)]
pub struct Relayed(BTreeMap<Labels, (Alert, TimestampMs)>);

impl Relayed {
    /// Takes an alert; true when it is news (new, or its state changed).
    pub fn put(&mut self, alert: &Alert, now: TimestampMs) -> bool {
        let before = self.0.get(&alert.labels).map(|(before, since)| (before.state, *since));
        let is_news = before.is_none_or(|(state, _)| state != alert.state);
        let since = before.filter(|_| !is_news).map_or(now, |(_, since)| since);
        self.0.insert(alert.labels.clone(), (alert.clone(), since));
        is_news
    }

    /// Forgets what ended a while ago, and counts as ended what nobody vouches for any more.
    pub fn prune(&mut self, now: TimestampMs) {
        for (alert, since) in self.0.values_mut() {
            if alert.state == AlertState::Firing && alert.ends_at <= now {
                alert.state = AlertState::Resolved;
                *since = now;
            }
        }
        self.0.retain(|_, (a, since)| a.state == AlertState::Firing || now.since(*since) < RESOLVED_REPEAT_MS);
    }

    /// The alerts, by labels.
    pub fn iter(&self) -> impl Iterator<Item = &Alert> {
        self.0.values().map(|(alert, _)| alert)
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What the agent last said of its health.
#[derive(Clone, Copy, Debug, Default)]
pub struct Health(Option<(bool, TimestampMs)>);

impl Health {
    /// Takes the agent's word.
    pub fn say(&mut self, healthy: bool, now: TimestampMs) {
        self.0 = Some((healthy, now));
    }

    /// Whether the agent said lately that it is healthy; silence is not health.
    pub fn is_good(self, now: TimestampMs) -> bool {
        self.0.is_some_and(|(healthy, at)| healthy && now.since(at) <= HEALTH_FRESH_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_word_of_health_is_none() {
        let mut health = Health::default();
        assert!(!health.is_good(TimestampMs(0)));
        health.say(true, TimestampMs(0));
        assert!(health.is_good(TimestampMs(HEALTH_FRESH_MS)) && !health.is_good(TimestampMs(HEALTH_FRESH_MS + 1)));
        health.say(false, TimestampMs(1));
        assert!(!health.is_good(TimestampMs(1)));
    }
}
