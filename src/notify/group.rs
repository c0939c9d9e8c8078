//! Groups: the alerts that make one notification, and what a flush of them asks of each target.
//!
//! In: a group's members at the moment of its flush.   Out: for each lane one of trigger, resolve, nothing.
//! Always: an incident that was told stays open while an alert of it fires, muted or not; it is resolved
//! when all of them have ended, muted or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::lane::{GroupKey, Told};
use super::settings::RouteNode;
use crate::model::{Alert, Labels, TimestampMs};

/// A group of alerts with its timers.
#[derive(Clone, Debug)]
pub struct Group {
    pub key: GroupKey,
    /// Each member with the routes by which it came; none when the configuration no longer sends it here.
    pub members: BTreeMap<Labels, Vec<Arc<RouteNode>>>,
    pub group_interval_ms: i64,
    pub repeat_interval_ms: i64,
    pub next_flush: TimestampMs,
    /// The receiver that took over because this one's targets refuse everything.
    pub fallback: Option<String>,
    /// What of this group stands in the outbox, to write only what changed.
    pub stored: Option<Vec<u8>>,
}

/// A group as the outbox keeps it: enough to notice after a restart that its alerts have ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct GroupRecord {
    pub key: GroupKey,
    pub group_interval_ms: i64,
    pub repeat_interval_ms: i64,
    pub fallback: Option<String>,
    pub alerts: Vec<Alert>,
}

/// What a flush sees of a group.
#[derive(Debug, Default)]
pub struct Flush {
    /// Firing members that may be notified, oldest first.
    pub firing: Vec<Alert>,
    /// Hashes of all firing members, muted ones among them.
    pub all_firing: BTreeSet<u64>,
    /// Members that have ended since the last flush.
    pub resolved: Vec<Alert>,
    /// Firing members held back, by reason.
    pub suppressed: BTreeMap<&'static str, u64>,
}

impl Flush {
    /// Hashes of the members that may be notified.
    pub fn firing_hashes(&self) -> BTreeSet<u64> {
        self.firing.iter().map(|a| a.labels.hash64()).collect()
    }
}

/// What a flush asks of one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Nothing,
    Trigger,
    Resolve,
}

/// Decides for one target. `told` is what its people know; `is_wanted` is false once the configuration no
/// longer sends this group to this target, which then gets its resolve and nothing else.
pub fn decide(
    told: Option<&Told>,
    is_wanted: bool,
    flush: &Flush,
    repeat_interval_ms: i64,
    now: TimestampMs,
) -> Decision {
    let firing = flush.firing_hashes();
    let Some(told) = told else {
        return if is_wanted && !firing.is_empty() { Decision::Trigger } else { Decision::Nothing };
    };
    let still_firing = told.firing.intersection(&flush.all_firing).count();
    if still_firing == 0 && (firing.is_empty() || !is_wanted) {
        return Decision::Resolve;
    }
    if !is_wanted || firing.is_empty() {
        return Decision::Nothing;
    }
    let has_new = !firing.is_subset(&told.firing);
    let has_ended = still_firing < told.firing.len();
    let is_repeat_due = now.since(told.at) >= repeat_interval_ms;
    if has_new || has_ended || is_repeat_due { Decision::Trigger } else { Decision::Nothing }
}

/// What the people know after a trigger: what it names, and what still fires but is muted.
pub fn told_after(before: Option<&Told>, flush: &Flush, now: TimestampMs) -> Told {
    let mut firing = flush.firing_hashes();
    if let Some(before) = before {
        firing.extend(before.firing.intersection(&flush.all_firing));
    }
    Told { at: now, firing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AlertState;

    fn flush(firing: &[&str], muted: &[&str]) -> Flush {
        let alert = |name: &str| Alert {
            labels: Labels::from_pairs([("alertname", name)]),
            annotations: BTreeMap::new(),
            state: AlertState::Firing,
            starts_at: TimestampMs(0),
            ends_at: TimestampMs(0),
            generator_url: String::new(),
        };
        let all = firing.iter().chain(muted).map(|n| alert(n).labels.hash64()).collect();
        Flush { firing: firing.iter().map(|n| alert(n)).collect(), all_firing: all, ..Default::default() }
    }

    fn told(firing: &[&str]) -> Told {
        told_after(None, &flush(firing, &[]), TimestampMs(0))
    }

    fn decision(told: Option<&Told>, is_wanted: bool, flush: &Flush) -> Decision {
        decide(told, is_wanted, flush, 1_000, TimestampMs(500))
    }

    #[test]
    fn a_muted_alert_keeps_its_incident_open_and_its_end_resolves_it() {
        let told = told(&["a"]);
        assert_eq!(decision(Some(&told), true, &flush(&[], &["a"])), Decision::Nothing);
        assert_eq!(decision(Some(&told), true, &flush(&[], &[])), Decision::Resolve);
        assert_eq!(decision(Some(&told), true, &flush(&[], &["b"])), Decision::Resolve, "b was never told");
    }

    #[test]
    fn only_news_and_the_repeat_interval_notify() {
        let told = told(&["a"]);
        assert_eq!(decision(None, true, &flush(&["a"], &[])), Decision::Trigger);
        assert_eq!(decision(None, true, &flush(&[], &["a"])), Decision::Nothing);
        assert_eq!(decision(Some(&told), true, &flush(&["a"], &[])), Decision::Nothing);
        assert_eq!(decision(Some(&told), true, &flush(&["a", "b"], &[])), Decision::Trigger);
        assert_eq!(decision(Some(&told), true, &flush(&["b"], &[])), Decision::Trigger, "one incident goes on");
        assert_eq!(decide(Some(&told), true, &flush(&["a"], &[]), 1_000, TimestampMs(1_000)), Decision::Trigger);
    }

    #[test]
    fn a_target_that_was_taken_out_gets_its_resolve_and_nothing_else() {
        let told = told(&["a"]);
        assert_eq!(decision(None, false, &flush(&["a"], &[])), Decision::Nothing);
        assert_eq!(decision(Some(&told), false, &flush(&["a", "b"], &[])), Decision::Nothing);
        assert_eq!(decision(Some(&told), false, &flush(&["b"], &[])), Decision::Resolve);
    }
}
