//! The running totals of points: what came, and what became of each.
//!
//! Always: `received = stored + duplicate + the sum of refused`. The log carries the totals with each commit, so
//! they go on after a restart. A batch that was refused as a whole is not in here: it comes again.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::codec::{put_bytes, put_uvarint, take_count, take_str, take_uvarint};
use crate::storage::Receipt;

/// Points since the store was first opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Points of all answered batches, those the receivers refused among them.
    pub received: u64,
    /// Points that could be queried once they were answered.
    pub stored: u64,
    /// Points that were there already, with the same time and value.
    pub duplicate: u64,
    /// Points that were refused, by reason.
    pub refused: BTreeMap<Cow<'static, str>, u64>,
}

impl Totals {
    /// Counts a batch: its receipt, and what the receiver had refused of it.
    pub(super) fn add(&mut self, receipt: &Receipt, refused_by_receiver: &[(&'static str, u64)]) {
        self.stored += receipt.stored;
        self.duplicate += receipt.duplicate;
        self.received += receipt.stored + receipt.duplicate;
        for &(reason, count) in receipt.refused.iter().chain(refused_by_receiver) {
            self.received += count;
            *self.refused.entry(Cow::Borrowed(reason)).or_default() += count;
        }
    }

    /// Appends the totals to a record of the log.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.received, self.stored, self.duplicate, self.refused.len() as u64] {
            put_uvarint(out, number);
        }
        for (reason, count) in &self.refused {
            put_bytes(out, reason.as_bytes());
            put_uvarint(out, *count);
        }
    }

    /// Reads what [`Totals::encode`] wrote.
    pub(super) fn decode(rest: &mut &[u8]) -> Option<Self> {
        let (received, stored, duplicate) = (take_uvarint(rest)?, take_uvarint(rest)?, take_uvarint(rest)?);
        let count = take_count(rest, 2)?;
        let refused = (0..count)
            .map(|_| Some((Cow::Owned(take_str(rest)?.to_owned()), take_uvarint(rest)?)))
            .collect::<Option<_>>()?;
        Some(Self { received, stored, duplicate, refused })
    }

    /// The higher of the two for each number: records may be read out of order around a checkpoint.
    pub(super) fn merge_max(&mut self, other: Self) {
        self.received = self.received.max(other.received);
        self.stored = self.stored.max(other.stored);
        self.duplicate = self.duplicate.max(other.duplicate);
        for (reason, count) in other.refused {
            let mine = self.refused.entry(reason).or_default();
            *mine = count.max(*mine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_in_one_column_and_the_bytes_give_it_back() {
        let mut totals = Totals::default();
        let receipt =
            Receipt { stored: 5, duplicate: 2, refused: vec![("too_old", 1), ("out_of_order", 3)], examples: vec![] };
        totals.add(&receipt, &[("bad_name", 4)]);
        totals.add(&receipt, &[]);
        assert_eq!(totals.received, 26);
        assert_eq!(totals.received, totals.stored + totals.duplicate + totals.refused.values().sum::<u64>());
        let mut bytes = Vec::new();
        totals.encode(&mut bytes);
        assert_eq!(Totals::decode(&mut bytes.as_slice()), Some(totals));
        assert_eq!(Totals::decode(&mut &bytes[..bytes.len() - 1]), None);
    }
}
