//! How far replicas may change at once.
//!
//! Source: `horizontal.go` of Kubernetes 1.34, `calculateScaleUpLimitWithScalingRules` and its neighbours.

use super::spec::{PolicyKind, ScalingRules, Select};
use crate::model::TimestampMs;

/// Without `behavior`: at most this many times the replicas at once …
const SCALE_UP_FACTOR: f64 = 2.0;
/// … or this many replicas, whichever is more.
const SCALE_UP_MINIMUM: f64 = 4.0;

/// Changes of the number of replicas, by direction, newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Events {
    pub up: Vec<(TimestampMs, i32)>,
    pub down: Vec<(TimestampMs, i32)>,
}

impl Events {
    /// Remembers a change that took place, and forgets what no policy counts any more.
    pub fn store(&mut self, now: TimestampMs, from: i32, to: i32, up: &ScalingRules, down: &ScalingRules) {
        if to > from {
            forget(&mut self.up, now, up.longest_period_ms());
            self.up.push((now, to - from));
        } else if to < from {
            forget(&mut self.down, now, down.longest_period_ms());
            self.down.push((now, from - to));
        }
    }

    /// Replicas there were a period ago.
    fn at_start_of(&self, now: TimestampMs, period_secs: i32, current: i32) -> i32 {
        let cutoff = now.plus_ms(-i64::from(period_secs) * 1000);
        let sum = |events: &[(TimestampMs, i32)]| {
            events.iter().filter(|(at, _)| *at > cutoff).map(|(_, change)| *change).sum::<i32>()
        };
        current - sum(&self.up) + sum(&self.down)
    }
}

fn forget(events: &mut Vec<(TimestampMs, i32)>, now: TimestampMs, period_ms: i64) {
    let cutoff = now.plus_ms(-period_ms);
    events.retain(|(at, _)| *at >= cutoff);
}

/// The most replicas there may be without `behavior`.
pub(super) fn up_limit_without_behavior(current: i32) -> i32 {
    (SCALE_UP_FACTOR * f64::from(current)).max(SCALE_UP_MINIMUM) as i32
}

/// The most replicas that the rules for scaling up allow now; never fewer than there are.
pub(super) fn up_limit(now: TimestampMs, current: i32, events: &Events, rules: &ScalingRules) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = events.at_start_of(now, policy.period_secs, current);
        match policy.kind {
            PolicyKind::Pods => start.saturating_add(policy.value),
            // Rounded up, or a small percentage would never add a replica.
            PolicyKind::Percent => (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    let limit = match rules.select {
        Select::Disabled => return current,
        Select::Max => proposals.max(),
        Select::Min => proposals.min(),
    };
    limit.unwrap_or(current).max(current)
}

/// The fewest replicas that the rules for scaling down allow now; never more than there are.
pub(super) fn down_limit(now: TimestampMs, current: i32, events: &Events, rules: &ScalingRules) -> i32 {
    let proposals = rules.policies.iter().map(|policy| {
        let start = events.at_start_of(now, policy.period_secs, current);
        match policy.kind {
            PolicyKind::Pods => start.saturating_sub(policy.value),
            // Cut off, so that a percentage takes at least what it says.
            PolicyKind::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    let limit = match rules.select {
        Select::Disabled => return current,
        // The largest change leaves the fewest replicas.
        Select::Max => proposals.min(),
        Select::Min => proposals.max(),
    };
    limit.unwrap_or(current).min(current)
}
