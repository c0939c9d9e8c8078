//! From labels to series: for each label name and value the sorted list of series that carry it.
//!
//! In: slots of series with their labels, and matchers.   Out: the slots that pass every matcher, rising.
//! Always: the answer equals asking each matcher about each series, only sooner. Matchers that may be slow are never
//! asked here, because this runs under the head's lock: what passes them is known beforehand, or left to the caller.

use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::model::{Labels, MatchOp, Matcher};

/// Where a series lives in the head. Slots of dropped series are given again.
pub(super) type Slot = u32;

/// Rising slots; most values of high-cardinality labels belong to a handful of series.
type Postings = SmallVec<[Slot; 4]>;

/// Memory of one value's entry beside its text: postings, text pointer, and the table's share of empty places.
const VALUE_BYTES: usize = 64;

/// The inverted index.
#[derive(Debug, Default)]
pub(super) struct Index {
    names: HashMap<String, Values>,
    bytes: usize,
    /// Counts changes of any name's set of values, so that a number is never given twice.
    changes: u64,
}

/// The values of one name.
#[derive(Debug, Default)]
struct Values {
    postings: HashMap<String, Postings>,
    /// The change by which this set of values came about.
    changed: u64,
}

/// Which values of a name pass a regular expression.
#[derive(Debug)]
pub(super) struct Passing {
    /// [`Index::values_changed`] of the name when they were matched.
    pub changed: u64,
    pub values: HashSet<Box<str>>,
}

/// What a selection gives.
#[derive(Debug, PartialEq)]
pub(super) enum Selected {
    /// The slots that pass, but for the matchers with these numbers, which are still to be asked.
    Slots(Vec<Slot>, Vec<usize>),
    /// The values that pass the matcher with this number are needed first.
    Needs(usize),
}

impl Index {
    /// Adds series that are not there yet.
    pub fn insert<'a>(&mut self, added: impl IntoIterator<Item = (Slot, &'a Labels)>) {
        // A slot that is given again lands behind higher ones: those lists are sorted once, at the end.
        let mut unsorted: HashSet<(&str, &str)> = HashSet::new();
        for (slot, labels) in added {
            for (name, value) in labels.iter() {
                let values = self.names.entry_ref(name).or_default();
                let postings = values.postings.entry_ref(value).or_insert_with(|| {
                    self.bytes += VALUE_BYTES + value.len();
                    self.changes += 1;
                    values.changed = self.changes;
                    Postings::new()
                });
                if postings.last().is_some_and(|last| *last > slot) {
                    unsorted.insert((name, value));
                }
                postings.push(slot);
                self.bytes += size_of::<Slot>();
            }
        }
        for (name, value) in unsorted {
            if let Some(postings) = self.names.get_mut(name).and_then(|values| values.postings.get_mut(value)) {
                // A stable sort finds the two rising runs and merges them.
                postings.sort();
            }
        }
    }

    /// Takes series out.
    pub fn remove<'a>(&mut self, dropped: impl IntoIterator<Item = (Slot, &'a Labels)>) {
        let mut slots = HashSet::new();
        let mut touched: HashSet<(&str, &str)> = HashSet::new();
        for (slot, labels) in dropped {
            slots.insert(slot);
            touched.extend(labels.iter());
        }
        for (name, value) in touched {
            let Some(values) = self.names.get_mut(name) else { continue };
            let Some(postings) = values.postings.get_mut(value) else { continue };
            let before = postings.len();
            postings.retain(|slot| !slots.contains(slot));
            postings.shrink_to_fit();
            self.bytes = self.bytes.saturating_sub((before - postings.len()) * size_of::<Slot>());
            if postings.is_empty() {
                values.postings.remove(value);
                self.bytes = self.bytes.saturating_sub(VALUE_BYTES + value.len());
                self.changes += 1;
                values.changed = self.changes;
            }
            if values.postings.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The slots of the series that pass every matcher, rising. `labels_of` gives the labels of a live slot and
    /// `all` every live slot, rising; both are asked only where the postings do not settle it. `passing` gives for the
    /// number of a slow matcher what passes it, where that is known; without `may_need` nothing more is asked for.
    pub fn select<'a>(
        &self,
        matchers: &[Matcher],
        may_need: bool,
        passing: impl Fn(usize) -> Option<&'a Passing>,
        labels_of: impl Fn(Slot) -> &'a Labels,
        all: impl FnOnce() -> Vec<Slot>,
    ) -> Selected {
        let mut lists: Vec<&[Slot]> = Vec::new();
        let mut rest: Vec<(usize, &Matcher)> = Vec::new();
        for (number, matcher) in matchers.iter().enumerate() {
            if matcher.op == MatchOp::Equal && !matcher.value.is_empty() {
                lists.push(self.postings(&matcher.name, &matcher.value));
            } else {
                rest.push((number, matcher));
            }
        }
        let mut candidates = intersect(lists);
        let mut left = Vec::new();
        // A matcher that wants the label present narrows; the other kind only takes away, so it comes later. What is
        // slow comes last of each kind, when there is least to ask.
        rest.sort_by_key(|(_, matcher)| (matcher.matches_empty(), matcher.is_slow()));
        let mut all = Some(all);
        for (number, matcher) in rest {
            let values_count = self.names.get(matcher.name.as_str()).map_or(0, |values| values.postings.len());
            let known = match matcher.is_slow() {
                true => passing(number).filter(|known| known.changed == self.values_changed(&matcher.name)),
                false => None,
            };
            let takes_away = matcher.matches_empty();
            if values_count == 0 {
                // No series has the label: all of them pass, or none.
                if !takes_away {
                    return Selected::Slots(Vec::new(), Vec::new());
                }
                continue;
            }
            if matcher.is_slow() && known.is_none() {
                let is_few = candidates.as_ref().is_some_and(|some| some.len() <= values_count);
                if may_need && !is_few {
                    return Selected::Needs(number);
                }
                candidates = candidates.or_else(|| all.take().map(|all| all()));
                left.push(number);
                continue;
            }
            let some = match candidates {
                None if takes_away => all.take().map_or_else(Vec::new, |all| all()),
                None => {
                    candidates = Some(self.union(matcher, known, true));
                    continue;
                }
                Some(some) => some,
            };
            candidates = Some(match known {
                // Fewer series than values: ask each series.
                None if some.len() <= values_count => {
                    some.into_iter().filter(|slot| matcher.matches(labels_of(*slot))).collect()
                }
                _ if takes_away => subtract(&some, &self.union(matcher, known, false)),
                _ => intersect(vec![&some, &self.union(matcher, known, true)]).unwrap_or_default(),
            });
        }
        Selected::Slots(candidates.or_else(|| all.take().map(|all| all())).unwrap_or_default(), left)
    }

    /// Series with a value that passes (or, for `passes == false`, does not pass) the matcher.
    fn union(&self, matcher: &Matcher, known: Option<&Passing>, passes: bool) -> Vec<Slot> {
        let Some(Values { postings, .. }) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        let mut slots = Vec::new();
        let mut add = |postings: &Postings| slots.extend_from_slice(postings);
        match (known, matcher.values()) {
            (Some(known), _) => {
                // What is known is what the expression matches, whichever way the matcher wants it.
                if passes == (matcher.op == MatchOp::Matches) {
                    known.values.iter().filter_map(|value| postings.get(&**value)).for_each(&mut add);
                } else {
                    postings
                        .iter()
                        .filter(|(value, _)| !known.values.contains(value.as_str()))
                        .for_each(|(_, p)| add(p));
                }
            }
            (None, Some(values)) if passes => {
                values.into_iter().filter_map(|value| postings.get(value)).for_each(&mut add);
            }
            (None, _) => {
                postings.iter().filter(|(value, _)| matcher.matches_value(value) == passes).for_each(|(_, p)| add(p));
            }
        }
        // A series has one value of a label, so nothing is there twice; the runs are merged.
        slots.sort();
        slots
    }

    /// Stands for the set of values that a name has now.
    pub fn values_changed(&self, name: &str) -> u64 {
        self.names.get(name).map_or(0, |values| values.changed)
    }

    /// The series that carry exactly this label.
    pub fn postings(&self, name: &str, value: &str) -> &[Slot] {
        let values = self.names.get(name).map(|values| &values.postings);
        values.and_then(|values| values.get(value)).map_or(&[], |postings| postings.as_slice())
    }

    /// Every label name with the number of its values, unsorted.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, values)| (name.as_str(), values.postings.len()))
    }

    /// Every value of a name with its series, unsorted.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, &[Slot])> {
        let values = self.names.get(name).into_iter().flat_map(|values| &values.postings);
        values.map(|(value, postings)| (value.as_str(), postings.as_slice()))
    }

    /// Bytes of memory, roughly.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }
}

/// What all lists have in common; `None` without any list.
fn intersect(mut lists: Vec<&[Slot]>) -> Option<Vec<Slot>> {
    lists.sort_by_key(|list| list.len());
    let (shortest, others) = lists.split_first()?;
    let mut common = shortest.to_vec();
    for other in others {
        let mut rest = *other;
        common.retain(|slot| {
            rest = &rest[gallop(rest, *slot)..];
            rest.first() == Some(slot)
        });
    }
    Some(common)
}

/// What is in `from` and not in `taken`.
fn subtract(from: &[Slot], taken: &[Slot]) -> Vec<Slot> {
    let mut rest = taken;
    let mut kept = from.to_vec();
    kept.retain(|slot| {
        rest = &rest[gallop(rest, *slot)..];
        rest.first() != Some(slot)
    });
    kept
}

/// The place of the first element that is not below `slot`: steps that double, then a binary search.
fn gallop(list: &[Slot], slot: Slot) -> usize {
    let mut bound = 1;
    while bound < list.len() && list[bound] < slot {
        bound *= 2;
    }
    let low = bound / 2;
    let high = list.len().min(bound + 1);
    low + list[low..high].partition_point(|other| *other < slot)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn label_sets() -> impl Strategy<Value = Vec<Labels>> {
        let labels = ("[ab]", "[abc]?", "(x|y|xy)?")
            .prop_map(|(name, a, b)| Labels::from_pairs([("__name__", name), ("a", a), ("b", b)]));
        prop::collection::vec(labels, 0..40)
    }

    fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
        let names = prop::sample::select(vec!["__name__", "a", "b", "absent"]);
        let ops = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Matches, MatchOp::NotMatches]);
        let values = prop::sample::select(vec![
            "", "a", "b", "x", "xy", "a|b", "b|b", "x|", "a.*", ".*", ".+", "[^a]", "x?", "x|y",
        ]);
        let matcher = (names, ops, values).prop_map(|(n, op, v)| Matcher::new(n, op, v).unwrap());
        prop::collection::vec(matcher, 0..4)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn selection_equals_asking_every_series(
            sets in label_sets(),
            matchers in matchers(),
            dropped in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            order in any::<u64>(),
        ) {
            let mut live: Vec<(Slot, Labels)> = (0..).zip(sets).collect();
            // Slots come in any order, as they do once dropped ones are given again.
            fastrand::Rng::with_seed(order).shuffle(&mut live);
            let mut index = Index::default();
            let half = live.len() / 2;
            index.insert(live[..half].iter().map(|(slot, labels)| (*slot, labels)));
            index.insert(live[half..].iter().map(|(slot, labels)| (*slot, labels)));
            for at in dropped {
                if !live.is_empty() {
                    let (slot, labels) = live.remove(at.index(live.len()));
                    index.remove([(slot, &labels)]);
                }
            }
            live.sort_by_key(|(slot, _)| *slot);
            // Some of what passes is known, some of it from before the last change.
            let known: Vec<Option<Passing>> = matchers.iter().map(|m| {
                let matches = Matcher::new(m.name.as_str(), MatchOp::Matches, m.value.as_str()).unwrap();
                let values = index.values(&m.name).map(|(value, _)| value).filter(|v| matches.matches_value(v));
                let is_stale = order & 3 == 0;
                let changed = if is_stale { u64::MAX } else { index.values_changed(&m.name) };
                (order & 12 > 0).then(|| Passing { changed, values: values.map(Box::from).collect() })
            }).collect();
            let labels_of = |wanted: Slot| &live.iter().find(|(slot, _)| *slot == wanted).unwrap().1;
            let all = || live.iter().map(|(slot, _)| *slot).collect();
            let want: Vec<Slot> = live
                .iter()
                .filter(|(_, labels)| matchers.iter().all(|m| m.matches(labels)))
                .map(|(slot, _)| *slot)
                .collect();
            let may_need = order & 16 > 0;
            match index.select(&matchers, may_need, |number| known[number].as_ref(), labels_of, all) {
                Selected::Needs(number) => prop_assert!(may_need && matchers[number].is_slow()),
                Selected::Slots(mut slots, left) => {
                    slots.retain(|slot| left.iter().all(|number| matchers[*number].matches(labels_of(*slot))));
                    prop_assert!(left.iter().all(|number| matchers[*number].is_slow()));
                    prop_assert_eq!(slots, want);
                }
            }
        }
    }

    #[test]
    fn an_index_without_series_holds_no_bytes() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "rivet")]);
        let mut index = Index::default();
        index.insert([(3, &labels), (1, &labels)]);
        assert_eq!(index.postings("job", "rivet"), [1, 3]);
        index.remove([(3, &labels), (1, &labels)]);
        assert_eq!((index.size_bytes(), index.names().count()), (0, 0));
    }
}
