//! Numbers for parts of label sets, as grouping and matching need them.
//!
//! In:  label sets and which of their names count.   Out: the same number for the same part.
//! Always: numbers begin at zero and have no gaps; a part that was seen before is found without an allocation.

use std::hash::{Hash, Hasher};

use hashbrown::{Equivalent, HashMap};

use super::{Encoder, Labels};

/// The parts seen so far; see [`LabelParts::number`].
#[derive(Default)]
pub struct LabelParts {
    numbers: HashMap<Labels, usize>,
    scratch: Encoder,
}

impl LabelParts {
    /// The number of the labels of `whole` whose name `wanted` says yes to.
    pub fn number(&mut self, whole: &Labels, mut wanted: impl FnMut(&[u8]) -> bool) -> usize {
        self.scratch.clear();
        whole.pairs().filter(|pair| wanted(pair.name)).for_each(|pair| self.scratch.put_encoded(pair.encoded));
        self.scratch.put_hash();
        if let Some(number) = self.numbers.get(&Part(self.scratch.bytes())) {
            return *number;
        }
        let number = self.numbers.len();
        self.numbers.insert(self.scratch.labels(), number);
        number
    }

    /// The number of the part that is exactly these labels, if it was seen.
    pub fn get(&self, part: &Labels) -> Option<usize> {
        self.numbers.get(part).copied()
    }

    /// How many different parts there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// The part that was found or made by the last [`LabelParts::number`]; the empty set before.
    pub fn last(&self) -> Labels {
        let found = self.numbers.get_key_value(&Part(self.scratch.bytes()));
        found.map_or_else(Labels::empty, |(labels, _)| labels.clone())
    }
}

/// The bytes of a set, its hash in front.
struct Part<'a>(&'a [u8]);

impl Hash for Part<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(super::hash_in_front(self.0));
    }
}

impl Equivalent<Labels> for Part<'_> {
    fn equivalent(&self, labels: &Labels) -> bool {
        *self.0 == *labels.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_part_has_the_same_number_and_is_the_set_that_is_kept() {
        let mut parts = LabelParts::default();
        assert_eq!(parts.last(), Labels::empty());
        let sets = [[("a", "1"), ("b", "1")], [("a", "2"), ("b", "1")], [("a", "1"), ("b", "2")]];
        let sets = sets.map(Labels::from_pairs);
        let is_a = |name: &[u8]| name == b"a";
        assert_eq!(sets.each_ref().map(|set| parts.number(set, is_a)), [0, 1, 0]);
        assert_eq!(parts.last(), sets[2].keep(|name| name == "a"));
        assert_eq!(parts.number(&sets[1], |_| false), 2);
        assert_eq!(parts.last(), Labels::empty());
        assert_eq!((parts.get(&Labels::from_pairs([("a", "2")])), parts.get(&sets[0])), (Some(1), None));
        assert_eq!((parts.len(), parts.is_empty()), (3, false));
    }
}
