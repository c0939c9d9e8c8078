//! The way of messages to one incident at one target: their order, their attempts, their end.
//!
//! In: "trigger with this body", "resolve", outcomes of attempts.   Out: the message to send next.
//! Always: messages of a lane go one after the other; a resolve follows only a trigger that was accepted or
//! may have arrived; nothing overtakes a resolve; a resolve is tried until it is accepted.
//! A lane is what the outbox keeps: it holds its target, so the resolve finds its way after the
//! configuration has changed.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::retry::{BACKOFF_MAX_MS, Class, backoff_ms};
use super::settings::Target;
use super::targets::{MessageKind, shrink};
use crate::model::{Labels, TimestampMs};

/// Which group a lane serves: the receiver it was routed to and the labels it was grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKey {
    pub receiver: String,
    pub labels: Labels,
}

/// What the target holds, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incident {
    /// Nothing of ours.
    None,
    /// A trigger was sent whose answer was lost.
    Maybe,
    /// A trigger was accepted.
    Open,
}

/// One message on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub kind: MessageKind,
    /// Without secrets.
    pub body: String,
    pub created: TimestampMs,
    pub attempts: u32,
    pub not_before: TimestampMs,
    pub in_flight: bool,
    pub shrunk: bool,
}

/// What the people behind the target were last told: the notification log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    pub at: TimestampMs,
    /// Hashes of the alerts told as firing.
    pub firing: BTreeSet<u64>,
}

/// A lane; see the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    pub target: Arc<Target>,
    /// [`Target::id`], which costs a hash of secrets, once.
    pub target_id: u64,
    pub group: GroupKey,
    pub dedup_key: String,
    pub incident: Incident,
    pub told: Option<Told>,
    pub queue: VecDeque<Message>,
    /// The alerts have ended and the target wants no resolve; what is in flight is the last message.
    pub closed: bool,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Accepted,
    /// Tried again later; the target itself asked for the pause when `throttled`.
    Waiting {
        throttled: bool,
    },
    /// The body was made smaller and goes out again.
    Shrunk,
    /// The trigger was given up because its alerts have ended.
    Dropped,
    /// The trigger was given up.
    BodyRejected,
    /// The trigger was given up because the target takes nothing.
    TargetRejected,
    /// The resolve waits at a target that takes nothing.
    ResolveRefused,
}

impl Lane {
    /// A lane without messages.
    pub fn new(target: Arc<Target>, group: GroupKey, dedup_key: String) -> Self {
        let target_id = target.id();
        Self {
            target,
            target_id,
            group,
            dedup_key,
            incident: Incident::None,
            told: None,
            queue: VecDeque::new(),
            closed: false,
        }
    }

    /// Its key in the outbox.
    pub fn key(target_id: u64, dedup_key: &str) -> String {
        format!("{target_id:016x}/{dedup_key}")
    }

    /// Whether nothing is open, waiting or to be remembered.
    pub fn is_done(&self) -> bool {
        self.queue.is_empty() && self.incident == Incident::None && self.told.is_none()
    }

    /// Queues a trigger or an update; one that still waits is replaced, since only the newest matters.
    pub fn trigger(&mut self, body: String, told: Told, now: TimestampMs) {
        self.told = Some(told);
        self.closed = false;
        let (created, attempts, not_before) = match self.queue.back() {
            Some(m) if m.kind == MessageKind::Trigger && !m.in_flight => {
                let waiting = (m.created, m.attempts, m.not_before);
                self.queue.pop_back();
                waiting
            }
            _ => (now, 0, now),
        };
        let kind = MessageKind::Trigger;
        self.queue.push_back(Message { kind, body, created, attempts, not_before, in_flight: false, shrunk: false });
    }

    /// Queues the resolve, if there is anything to resolve. Gives the number of triggers that were dropped
    /// because nobody has seen them.
    pub fn resolve(&mut self, body: String, now: TimestampMs) -> u64 {
        self.told = None;
        let mut dropped = 0;
        let mut hold = now;
        if self.queue.back().is_some_and(|m| m.kind == MessageKind::Trigger && !m.in_flight) {
            let trigger = self.queue.pop_back().expect("the queue's last message was just seen");
            // A throttled target must not be asked earlier because the question is another one.
            hold = hold.max(trigger.not_before);
            dropped = u64::from(self.incident == Incident::None || self.ends_with_resolve());
        }
        let may_be_open = self.incident != Incident::None || !self.queue.is_empty();
        if may_be_open && !self.ends_with_resolve() {
            self.queue.push_back(Message {
                kind: MessageKind::Resolve,
                body,
                created: now,
                attempts: 0,
                not_before: hold,
                in_flight: false,
                shrunk: false,
            });
        }
        dropped
    }

    fn ends_with_resolve(&self) -> bool {
        self.queue.back().is_some_and(|m| m.kind == MessageKind::Resolve)
    }

    /// Ends the lane without a message: the target does not want resolves.
    pub fn close(&mut self) {
        self.told = None;
        self.queue.retain(|m| m.in_flight);
        self.incident = Incident::None;
        self.closed = !self.queue.is_empty();
    }

    /// When the next message may go; `None` while one is in flight or none waits.
    pub fn due(&self) -> Option<TimestampMs> {
        self.queue.front().filter(|m| !m.in_flight).map(|m| m.not_before)
    }

    /// Marks the next message as in flight.
    pub fn start(&mut self) -> Option<&Message> {
        let message = self.queue.front_mut()?;
        message.in_flight = true;
        message.attempts = message.attempts.saturating_add(1);
        Some(message)
    }

    /// After a restart: what was in flight is sent again, and may have arrived.
    pub fn recover(&mut self) {
        if self.closed {
            self.queue.clear();
            self.closed = false;
        }
        if let Some(message) = self.queue.front_mut().filter(|m| m.in_flight) {
            message.in_flight = false;
            if message.kind == MessageKind::Trigger {
                self.incident = self.incident.max(Incident::Maybe);
            }
        }
    }

    /// Takes in the outcome of the message in flight. The number is that of dropped triggers.
    pub fn finish(&mut self, class: &Class, now: TimestampMs, rng: &mut fastrand::Rng) -> (Progress, u64) {
        let Some(message) = self.queue.front_mut().filter(|m| m.in_flight) else {
            // Only the runner's own mistake could lead here; the lane stays as it is.
            return (Progress::Waiting { throttled: false }, 0);
        };
        message.in_flight = false;
        let is_trigger = message.kind == MessageKind::Trigger;
        if self.closed {
            self.closed = false;
            self.queue.pop_front();
            return if *class == Class::Accepted { (Progress::Accepted, 0) } else { (Progress::Dropped, 1) };
        }
        let progress = match class {
            Class::Accepted => {
                self.incident = if is_trigger { Incident::Open } else { Incident::None };
                self.queue.pop_front();
                return (Progress::Accepted, 0);
            }
            Class::Retry { wait_ms, throttled, may_have_arrived } => {
                let pause = backoff_ms(message.attempts, rng);
                // What the target asks for is the least; jitter comes on top of it only.
                message.not_before =
                    now.plus_ms(wait_ms.map_or(pause, |asked| asked.max(if *throttled { 0 } else { pause })));
                if is_trigger && *may_have_arrived {
                    self.incident = self.incident.max(Incident::Maybe);
                }
                Progress::Waiting { throttled: *throttled }
            }
            Class::BodyRejected | Class::TargetRejected if !is_trigger => {
                message.not_before = now.plus_ms(BACKOFF_MAX_MS);
                return (Progress::ResolveRefused, 0);
            }
            Class::BodyRejected => match shrink(&self.target.integration, &message.body).filter(|_| !message.shrunk) {
                Some(smaller) => {
                    message.body = smaller;
                    message.shrunk = true;
                    message.not_before = now;
                    Progress::Shrunk
                }
                None => {
                    self.queue.pop_front();
                    Progress::BodyRejected
                }
            },
            Class::TargetRejected => {
                self.queue.pop_front();
                if self.incident == Incident::None {
                    // Nobody was told, so the next flush of the group tries again.
                    self.told = None;
                }
                Progress::TargetRejected
            }
        };
        (progress, self.skip_what_healed(now))
    }

    /// Drops a failed trigger that a resolve follows; and that resolve too when the trigger never arrived.
    fn skip_what_healed(&mut self, now: TimestampMs) -> u64 {
        let mut dropped = 0;
        let mut hold = now;
        if self.queue.len() > 1
            && self.queue[0].kind == MessageKind::Trigger
            && let Some(trigger) = self.queue.pop_front()
        {
            hold = trigger.not_before;
            dropped = u64::from(self.incident == Incident::None && self.queue[0].kind == MessageKind::Resolve);
            if self.queue[0].kind == MessageKind::Trigger {
                // A newer text for the same incident: it inherits the pause.
                self.queue[0].attempts = trigger.attempts;
            }
        }
        if self.incident == Incident::None && self.queue.front().is_some_and(|m| m.kind == MessageKind::Resolve) {
            self.queue.pop_front();
        }
        if let Some(next) = self.queue.front_mut() {
            next.not_before = next.not_before.max(hold);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Integration, Transport};
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn lane() -> Lane {
        let target = Target {
            receiver: "r".into(),
            integration: Integration::Webhook,
            url: None,
            key: None,
            transport: Transport::default(),
        };
        let group = GroupKey { receiver: "r".into(), labels: Labels::empty() };
        Lane::new(Arc::new(target), group, "key".into())
    }

    fn told() -> Told {
        Told { at: NOW, firing: BTreeSet::from([1]) }
    }

    fn kinds(lane: &Lane) -> Vec<MessageKind> {
        lane.queue.iter().map(|m| m.kind).collect()
    }

    fn finish(lane: &mut Lane, class: Class) -> (Progress, u64) {
        lane.start();
        lane.finish(&class, NOW, &mut fastrand::Rng::with_seed(1))
    }

    const LOST: Class = Class::Retry { wait_ms: None, throttled: false, may_have_arrived: true };
    const REFUSED: Class = Class::Retry { wait_ms: None, throttled: false, may_have_arrived: false };

    #[test]
    fn a_trigger_that_nobody_saw_is_dropped_with_its_resolve() {
        let mut lane = lane();
        lane.trigger("t".into(), told(), NOW);
        assert_eq!(finish(&mut lane, REFUSED), (Progress::Waiting { throttled: false }, 0));
        assert_eq!(lane.resolve("r".into(), NOW), 1);
        assert!(lane.is_done());
    }

    #[test]
    fn a_trigger_whose_answer_was_lost_gets_its_resolve() {
        let mut lane = lane();
        lane.trigger("t".into(), told(), NOW);
        finish(&mut lane, LOST);
        assert_eq!(lane.resolve("r".into(), NOW), 0);
        assert_eq!(kinds(&lane), [MessageKind::Resolve]);
        assert!(lane.due().unwrap() > NOW, "the pause still holds");
        finish(&mut lane, Class::Accepted);
        assert!(lane.is_done());
    }

    #[test]
    fn an_alert_that_heals_while_its_trigger_is_in_flight_is_settled_by_the_answer() {
        for (class, left) in [
            (Class::Accepted, vec![MessageKind::Resolve]),
            (LOST, vec![MessageKind::Resolve]),
            (REFUSED, vec![]),
            (Class::TargetRejected, vec![]),
        ] {
            let mut lane = lane();
            lane.trigger("t".into(), told(), NOW);
            lane.start();
            lane.resolve("r".into(), NOW);
            lane.finish(&class, NOW, &mut fastrand::Rng::with_seed(1));
            assert_eq!(kinds(&lane), left, "{class:?}");
        }
    }

    #[test]
    fn a_new_episode_waits_behind_the_resolve_of_the_old_one() {
        let mut lane = lane();
        lane.trigger("t1".into(), told(), NOW);
        finish(&mut lane, Class::Accepted);
        lane.resolve("r1".into(), NOW);
        lane.trigger("t2".into(), told(), NOW);
        assert_eq!(kinds(&lane), [MessageKind::Resolve, MessageKind::Trigger]);
        // It heals again before anything left: only the old resolve is owed.
        assert_eq!(lane.resolve("r2".into(), NOW), 1);
        assert_eq!(kinds(&lane), [MessageKind::Resolve]);
    }

    #[test]
    fn a_target_that_wants_no_resolve_is_forgotten_after_what_is_in_flight() {
        for class in [Class::Accepted, LOST, REFUSED] {
            let mut lane = lane();
            lane.trigger("t".into(), told(), NOW);
            lane.start();
            lane.close();
            assert!(!lane.is_done());
            lane.finish(&class, NOW, &mut fastrand::Rng::with_seed(1));
            assert!(lane.is_done(), "{class:?}");
        }
        let mut lane = lane();
        lane.trigger("t".into(), told(), NOW);
        lane.start();
        lane.close();
        lane.recover();
        assert!(lane.is_done());
    }

    #[test]
    fn a_resolve_is_never_given_up() {
        let mut lane = lane();
        lane.trigger("t".into(), told(), NOW);
        finish(&mut lane, Class::Accepted);
        lane.resolve("r".into(), NOW);
        for class in [REFUSED, LOST, Class::BodyRejected, Class::TargetRejected] {
            finish(&mut lane, class);
            assert_eq!(kinds(&lane), [MessageKind::Resolve]);
        }
    }

    #[test]
    fn a_restart_sends_again_what_was_in_flight() {
        let mut lane = lane();
        lane.trigger("t".into(), told(), NOW);
        lane.start();
        let stored = serde_json::to_string(&lane).unwrap();
        let mut lane: Lane = serde_json::from_str(&stored).unwrap();
        lane.recover();
        assert_eq!((lane.incident, lane.due()), (Incident::Maybe, Some(NOW)));
    }
}
