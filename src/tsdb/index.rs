//! From labels to series: for each label name and value the sorted list of series that carry it.
//!
//! In: slots of series with their labels, and matchers.   Out: the slots that pass every matcher, rising.
//! Always: the answer equals asking each matcher about each series, only sooner.

use hashbrown::{HashMap, HashSet};
use regex::escape;
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
    names: HashMap<String, HashMap<String, Postings>>,
    bytes: usize,
}

impl Index {
    /// Adds series that are not there yet.
    pub fn insert<'a>(&mut self, added: impl IntoIterator<Item = (Slot, &'a Labels)>) {
        // A slot that is given again lands behind higher ones: those lists are sorted once, at the end.
        let mut unsorted: HashSet<(&str, &str)> = HashSet::new();
        for (slot, labels) in added {
            for (name, value) in labels.iter() {
                let values = self.names.entry_ref(name).or_default();
                let postings = values.entry_ref(value).or_insert_with(|| {
                    self.bytes += VALUE_BYTES + value.len();
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
            if let Some(postings) = self.names.get_mut(name).and_then(|values| values.get_mut(value)) {
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
            let Some(postings) = values.get_mut(value) else { continue };
            let before = postings.len();
            postings.retain(|slot| !slots.contains(slot));
            postings.shrink_to_fit();
            self.bytes = self.bytes.saturating_sub((before - postings.len()) * size_of::<Slot>());
            if postings.is_empty() {
                values.remove(value);
                self.bytes = self.bytes.saturating_sub(VALUE_BYTES + value.len());
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The slots of the series that pass every matcher, rising. `labels_of` gives the labels of a live slot and
    /// `all` every live slot, rising; both are asked only where the postings do not settle it.
    pub fn select<'a>(
        &self,
        matchers: &[Matcher],
        labels_of: impl Fn(Slot) -> &'a Labels,
        all: impl FnOnce() -> Vec<Slot>,
    ) -> Vec<Slot> {
        let mut lists: Vec<&[Slot]> = Vec::new();
        let mut rest: Vec<&Matcher> = Vec::new();
        for matcher in matchers {
            if matcher.op == MatchOp::Equal && !matcher.value.is_empty() {
                lists.push(self.postings(&matcher.name, &matcher.value));
            } else {
                rest.push(matcher);
            }
        }
        let mut candidates = intersect(lists);
        // A matcher that wants the label present narrows; the other kind only takes away, so it comes later.
        rest.sort_by_key(|matcher| matcher.matches_empty());
        for matcher in rest {
            let values = self.names.get(matcher.name.as_str());
            let values_count = values.map_or(0, HashMap::len);
            candidates = Some(match candidates {
                // Fewer series than values: ask each series.
                Some(mut some) if some.len() <= values_count => {
                    some.retain(|slot| matcher.matches(labels_of(*slot)));
                    some
                }
                Some(some) if matcher.matches_empty() => subtract(&some, &self.union(matcher, false)),
                Some(some) => intersect(vec![&some, &self.union(matcher, true)]).unwrap_or_default(),
                None if matcher.matches_empty() => {
                    // Reached once at most: from here on there are candidates.
                    return self.select_from_all(matchers, labels_of, all());
                }
                None => self.union(matcher, true),
            });
        }
        candidates.unwrap_or_else(all)
    }

    fn select_from_all<'a>(
        &self,
        matchers: &[Matcher],
        labels_of: impl Fn(Slot) -> &'a Labels,
        mut all: Vec<Slot>,
    ) -> Vec<Slot> {
        for matcher in matchers {
            match self.names.get(matcher.name.as_str()) {
                Some(values) if values.len() < all.len() => all = subtract(&all, &self.union(matcher, false)),
                _ => all.retain(|slot| matcher.matches(labels_of(*slot))),
            }
        }
        all
    }

    /// Series with a value that passes (or, for `passes == false`, does not pass) the matcher.
    fn union(&self, matcher: &Matcher, passes: bool) -> Vec<Slot> {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return Vec::new() };
        let mut slots = Vec::new();
        if let (true, Some(alternatives)) = (passes, literal_alternatives(matcher)) {
            let distinct: HashSet<&str> = alternatives.into_iter().collect();
            distinct
                .iter()
                .filter_map(|value| values.get(*value))
                .for_each(|postings| slots.extend_from_slice(postings));
        } else {
            values
                .iter()
                .filter(|(value, _)| matcher.matches_value(value) == passes)
                .for_each(|(_, postings)| slots.extend_from_slice(postings));
        }
        // A series has one value of a label, so nothing is there twice; the runs are merged.
        slots.sort();
        slots
    }

    /// The series that carry exactly this label.
    pub fn postings(&self, name: &str, value: &str) -> &[Slot] {
        self.names.get(name).and_then(|values| values.get(value)).map_or(&[], |postings| postings.as_slice())
    }

    /// Every label name with the number of its values, unsorted.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names.iter().map(|(name, values)| (name.as_str(), values.len()))
    }

    /// Every value of a name with its series, unsorted.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, &[Slot])> {
        self.names.get(name).into_iter().flatten().map(|(value, postings)| (value.as_str(), postings.as_slice()))
    }

    /// Bytes of memory, roughly.
    pub fn size_bytes(&self) -> usize {
        self.bytes
    }
}

/// The texts of `a|b|c` when the expression is nothing but such texts.
fn literal_alternatives(matcher: &Matcher) -> Option<Vec<&str>> {
    let is_plain = |text: &&str| !text.is_empty() && escape(text) == **text;
    (matcher.op == MatchOp::Matches)
        .then(|| matcher.value.split('|').collect::<Vec<_>>())
        .filter(|alternatives| alternatives.iter().all(is_plain))
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
            let labels_of = |wanted: Slot| &live.iter().find(|(slot, _)| *slot == wanted).unwrap().1;
            let all = || live.iter().map(|(slot, _)| *slot).collect();
            let want: Vec<Slot> = live
                .iter()
                .filter(|(_, labels)| matchers.iter().all(|m| m.matches(labels)))
                .map(|(slot, _)| *slot)
                .collect();
            prop_assert_eq!(index.select(&matchers, labels_of, all), want);
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
