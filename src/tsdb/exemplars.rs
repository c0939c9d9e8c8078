//! The newest exemplars of all series, in one ring.
//!
//! In:  exemplars of committed batches.   Out: those of the series that a query names.
//! Always: in a series times rise; a repeat is dropped, and so is one older than the newest.
//! Limits: `limits.exemplars` in all; the oldest give way. They are not in the log: a restart forgets them.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashMap;

use crate::model::{Exemplar, Labels, Matcher, TimeRange};

/// What became of exemplars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub stored: u64,
    /// Repeated, or older than the newest of their series.
    pub dropped: u64,
}

/// The newest exemplar of a series, and how many of the series are in the ring.
#[derive(Debug)]
struct Newest {
    exemplar: Exemplar,
    count: usize,
}

/// The ring.
#[derive(Debug)]
pub(super) struct Exemplars {
    max: usize,
    ring: VecDeque<(Labels, Exemplar)>,
    newest: HashMap<Labels, Newest>,
}

impl Exemplars {
    /// A ring for `max` exemplars; zero keeps none.
    pub fn new(max: usize) -> Self {
        Self { max, ring: VecDeque::new(), newest: HashMap::new() }
    }

    /// Takes exemplars of series.
    pub fn add(&mut self, exemplars: Vec<(Labels, Exemplar)>) -> Taken {
        let mut taken = Taken::default();
        for (series, exemplar) in exemplars {
            let newest = self.newest.get(&series).map(|newest| &newest.exemplar);
            if self.max == 0 || newest.is_some_and(|newest| exemplar.t <= newest.t) {
                taken.dropped += 1;
                continue;
            }
            if self.ring.len() >= self.max {
                self.drop_oldest();
            }
            let count = self.newest.get(&series).map_or(0, |newest| newest.count) + 1;
            self.newest.insert(series.clone(), Newest { exemplar: exemplar.clone(), count });
            self.ring.push_back((series, exemplar));
            taken.stored += 1;
        }
        taken
    }

    /// The exemplars in the range of series that pass all matchers of any selector, by series, oldest first.
    pub fn select(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        let passes = |series: &Labels| selectors.iter().any(|matchers| matchers.iter().all(|m| m.matches(series)));
        let mut found: BTreeMap<&Labels, Vec<Exemplar>> = BTreeMap::new();
        for (series, exemplar) in &self.ring {
            if range.contains(exemplar.t) && passes(series) {
                found.entry(series).or_default().push(exemplar.clone());
            }
        }
        found.into_iter().map(|(series, exemplars)| (series.clone(), exemplars)).collect()
    }

    /// Number of exemplars.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    fn drop_oldest(&mut self) {
        let Some((series, _)) = self.ring.pop_front() else { return };
        if let Some(newest) = self.newest.get_mut(&series) {
            newest.count -= 1;
            if newest.count == 0 {
                self.newest.remove(&series);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    fn series(name: &str) -> Labels {
        Labels::from_pairs([("__name__", name)])
    }

    fn exemplar(t: i64) -> Exemplar {
        Exemplar::new([("trace_id", t.to_string())], t as f64, TimestampMs(t))
    }

    fn times(ring: &Exemplars, name: &str) -> Vec<i64> {
        let found = ring.select(&[vec![Matcher::equal("__name__", name)]], TimeRange::ALL);
        found.iter().flat_map(|(_, exemplars)| exemplars.iter().map(|e| e.t.0)).collect()
    }

    #[test]
    fn repeats_and_older_ones_are_dropped_and_the_oldest_gives_way() {
        let mut ring = Exemplars::new(3);
        let taken = ring.add(vec![(series("a"), exemplar(1)), (series("a"), exemplar(1)), (series("b"), exemplar(9))]);
        assert_eq!(taken, Taken { stored: 2, dropped: 1 });
        ring.add(vec![(series("a"), exemplar(5)), (series("b"), exemplar(8)), (series("a"), exemplar(6))]);
        assert_eq!((times(&ring, "a"), times(&ring, "b")), (vec![5, 6], vec![9]));
        ring.add(vec![(series("c"), exemplar(1))]);
        assert_eq!((ring.len(), ring.newest.len()), (3, 2), "nothing is remembered of b, whose last one gave way");
    }

    #[test]
    fn ranges_and_any_of_the_selectors_count() {
        let mut ring = Exemplars::new(10);
        ring.add((1..=5).map(|t| (series("a"), exemplar(t))).chain([(series("b"), exemplar(3))]).collect());
        let selectors = ["a", "b", "c"].map(|name| vec![Matcher::equal("__name__", name)]);
        let range = TimeRange { from: TimestampMs(2), to: TimestampMs(3) };
        let found: Vec<(String, usize)> =
            ring.select(&selectors, range).iter().map(|(s, e)| (s.to_string(), e.len())).collect();
        assert_eq!(found, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert!(ring.select(&[], TimeRange::ALL).is_empty());
    }

    #[test]
    fn a_ring_of_nothing_keeps_nothing() {
        assert_eq!(Exemplars::new(0).add(vec![(series("a"), exemplar(1))]), Taken { stored: 0, dropped: 1 });
    }
}
