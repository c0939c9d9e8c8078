//! Notices when two processes report under one identity.
//!
//! In:  start times of a few cumulative series of each request.   Out: whether the identity needs splitting.
//! Always: a restart (a later start, never the earlier one again) is not a conflict; only starts that go back
//! and forth twice within ten minutes are. A conflict ends ten minutes after the last time it was seen.
//! Limits: eight series of each identity, `IDENTITIES_MAX` identities.

use hashbrown::HashMap;

use crate::model::TimestampMs;

/// Series that are watched of each identity: two engines have nearly all series in common.
pub(super) const PROBES_MAX: usize = 8;

const IDENTITIES_MAX: usize = 10_000;
const MEMORY_MS: i64 = 10 * 60_000;

/// How often an older start must come back: once may be the last export of a process that ends.
const RETURNS_MIN: u32 = 2;

#[derive(Debug, Default)]
struct Watched {
    latest_starts: Vec<(u64, u64)>,
    returns: u32,
    returned_at: Option<TimestampMs>,
    seen_at: TimestampMs,
}

/// The start times seen lately.
#[derive(Debug, Default)]
pub(super) struct StartTimes {
    identities: HashMap<u64, Watched>,
}

impl StartTimes {
    /// Notes the `(series, start)` probes of one request, and says whether its identity is shared now.
    pub(super) fn observe(&mut self, identity: u64, probes: &[(u64, u64)], now: TimestampMs) -> bool {
        if probes.is_empty() {
            return self.identities.get(&identity).is_some_and(|w| w.is_shared(now));
        }
        if self.identities.len() >= IDENTITIES_MAX && !self.identities.contains_key(&identity) {
            self.identities.retain(|_, watched| now.0 - watched.seen_at.0 < MEMORY_MS);
            if self.identities.len() >= IDENTITIES_MAX {
                return false;
            }
        }
        let watched = self.identities.entry(identity).or_default();
        watched.seen_at = now;
        let mut went_back = false;
        for (series, start) in probes {
            let has_room = watched.latest_starts.len() < PROBES_MAX;
            match watched.latest_starts.iter_mut().find(|(known, _)| known == series) {
                Some((_, latest)) => {
                    went_back |= start < latest;
                    *latest = *start;
                }
                None if has_room => watched.latest_starts.push((*series, *start)),
                None => {}
            }
        }
        if went_back {
            watched.returns = if watched.remembers(now) { watched.returns + 1 } else { 1 };
            watched.returned_at = Some(now);
        }
        watched.is_shared(now)
    }
}

impl Watched {
    fn remembers(&self, now: TimestampMs) -> bool {
        self.returned_at.is_some_and(|at| now.0 - at.0 < MEMORY_MS)
    }

    fn is_shared(&self, now: TimestampMs) -> bool {
        self.returns >= RETURNS_MIN && self.remembers(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(starts: &[u64]) -> Vec<bool> {
        let mut times = StartTimes::default();
        let at = |n: usize| TimestampMs(15_000 * n as i64);
        starts.iter().enumerate().map(|(n, start)| times.observe(1, &[(7, *start)], at(n))).collect()
    }

    #[test]
    fn a_restart_and_a_late_last_export_are_no_conflict() {
        assert_eq!(run(&[10, 10, 20, 20, 30]), [false; 5]);
        assert_eq!(run(&[10, 20, 10, 20, 20]), [false; 5]);
    }

    #[test]
    fn starts_that_alternate_are_two_processes() {
        assert_eq!(run(&[10, 20, 10, 20, 10, 20]), [false, false, false, false, true, true]);
    }

    #[test]
    fn a_conflict_ends_when_one_process_is_left() {
        let mut times = StartTimes::default();
        for (n, start) in [10, 20, 10, 20, 10].into_iter().enumerate() {
            times.observe(1, &[(7, start)], TimestampMs(n as i64));
        }
        assert!(times.observe(1, &[(7, 20)], TimestampMs(MEMORY_MS - 1)));
        assert!(!times.observe(1, &[(7, 20)], TimestampMs(MEMORY_MS + 4)));
    }
}
