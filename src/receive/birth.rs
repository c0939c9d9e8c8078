//! Gives a counter that appears on a known instance the zero it started from.
//!
//! In:  the time of each page or request of an instance, and its counter series.
//! Out: for a series born between two pages, the time at which it was still zero.
//! Always: time is a parameter; an instance's first page gives no zeros, because nothing is known of before.
//! Limits: `max_series` series are remembered in all; beyond that new ones get no zero and are counted.
//!
//! An engine registers a counter at its first use, so the first value ever seen may be 114, and `rate`
//! would never see those 114. The zero is put at the instance's previous page: that is when the counter was
//! last known to be absent, and there `rate` and `irate` over the first interval come out right.

use hashbrown::{HashMap, HashSet};

use crate::model::TimestampMs;

/// A series not seen for two of these is forgotten, and is born again when it returns.
const GENERATION_MS: i64 = 30 * 60_000;

/// Pages closer together than this are parts of one: a collector may split an export into several requests.
const SAME_PAGE_MS: i64 = 1_000;

/// Beyond the lookback of five minutes a previous page says nothing about the moment before this one.
const GAP_MS_MAX: i64 = 5 * 60_000;

/// The times of one instance's pages.
#[derive(Clone, Copy, Debug)]
struct Pages {
    previous: Option<TimestampMs>,
    current: TimestampMs,
}

/// Which counters were seen on which instance; see the module's text.
#[derive(Debug)]
pub struct Births {
    series_max: usize,
    instances: HashMap<u64, Pages>,
    young: HashSet<u64>,
    old: HashSet<u64>,
    turned_at: TimestampMs,
    untracked: u64,
}

impl Births {
    /// Remembers at most `series_max` series (16 to 32 bytes each), and as many instances.
    pub fn new(series_max: usize) -> Self {
        Self {
            series_max,
            instances: HashMap::new(),
            young: HashSet::new(),
            old: HashSet::new(),
            turned_at: TimestampMs::MIN,
            untracked: 0,
        }
    }

    /// Notes a page of `instance` (any stable hash of job and instance) taken at `at`.
    ///
    /// To be called before the page's series. A time before the instance's latest page changes nothing.
    pub fn begin_page(&mut self, instance: u64, at: TimestampMs) {
        self.turn(at);
        let has_room = self.instances.len() < self.series_max;
        match self.instances.get_mut(&instance) {
            Some(pages) if at.0 - pages.current.0 > SAME_PAGE_MS => {
                *pages = Pages { previous: Some(pages.current), current: at };
            }
            Some(_) => {}
            None if has_room => {
                self.instances.insert(instance, Pages { previous: None, current: at });
            }
            None => self.untracked += 1,
        }
    }

    /// Notes a counter point of `series` at `t`; gives the time of the zero to write before it, if it was just born.
    ///
    /// `series` is a hash of the whole label set, such as `Labels::hash64`. The zero lies before `t`, at the
    /// instance's previous page and at most five minutes back. `None` for a series seen before, on an instance's
    /// first page, after a longer gap, and when the memory is full.
    pub fn on_point(&mut self, instance: u64, series: u64, t: TimestampMs) -> Option<TimestampMs> {
        if self.young.contains(&series) {
            return None;
        }
        if self.old.remove(&series) {
            self.young.insert(series);
            return None;
        }
        if self.young.len() + self.old.len() >= self.series_max {
            self.untracked += 1;
            return None;
        }
        self.young.insert(series);
        let previous = self.instances.get(&instance)?.previous?;
        (previous < t && t.0 - previous.0 <= GAP_MS_MAX).then_some(previous)
    }

    /// Points that could not be judged because the memory was full.
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// Series remembered now.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no series is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, now: TimestampMs) {
        if self.turned_at == TimestampMs::MIN {
            self.turned_at = now;
        }
        if now.0 - self.turned_at.0 < GENERATION_MS {
            return;
        }
        self.turned_at = now;
        self.old = std::mem::take(&mut self.young);
        self.instances.retain(|_, pages| now.0 - pages.current.0 < 2 * GENERATION_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: u64 = 1;

    fn page(births: &mut Births, at: i64, series: &[u64]) -> Vec<Option<i64>> {
        births.begin_page(ENGINE, TimestampMs(at));
        series.iter().map(|s| births.on_point(ENGINE, *s, TimestampMs(at)).map(|t| t.0)).collect()
    }

    #[test]
    fn only_a_counter_born_after_the_first_page_gets_a_zero_at_the_previous_page() {
        let mut births = Births::new(100);
        assert_eq!(page(&mut births, 15_000, &[10, 11]), [None, None]);
        assert_eq!(page(&mut births, 30_000, &[10, 12]), [None, Some(15_000)]);
        assert_eq!(page(&mut births, 45_000, &[12]), [None], "born once");
    }

    #[test]
    fn a_page_split_into_two_requests_is_one_page() {
        let mut births = Births::new(100);
        assert_eq!(page(&mut births, 15_000, &[10]), [None]);
        assert_eq!(page(&mut births, 15_200, &[11]), [None], "the second half of the first page");
        assert_eq!(page(&mut births, 30_000, &[13]), [Some(15_000)]);
        assert_eq!(page(&mut births, 30_100, &[14]), [Some(15_000)], "the second half of the second page");
    }

    #[test]
    fn a_long_gap_and_an_unknown_instance_give_no_zero() {
        let mut births = Births::new(100);
        page(&mut births, 0, &[10]);
        assert_eq!(page(&mut births, 10 * 60_000, &[11]), [None]);
        assert_eq!(births.on_point(2, 12, TimestampMs(600_000)), None);
    }

    #[test]
    fn full_memory_refuses_quietly_and_counts() {
        let mut births = Births::new(2);
        page(&mut births, 0, &[1, 2]);
        assert_eq!(page(&mut births, 15_000, &[3]), [None]);
        assert_eq!((births.untracked(), births.len()), (1, 2));
    }

    #[test]
    fn series_are_forgotten_after_two_generations_and_kept_while_they_report() {
        let mut births = Births::new(100);
        page(&mut births, 0, &[1, 2]);
        let mut zeros = Vec::new();
        for minute in 1..=70 {
            zeros.extend(page(&mut births, minute * 60_000, &[1]));
        }
        assert!(zeros.iter().all(Option::is_none));
        assert_eq!(births.len(), 1);
        assert_eq!(page(&mut births, 71 * 60_000, &[2]), [Some(70 * 60_000)]);
    }
}
