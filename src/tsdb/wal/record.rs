//! Records of the log: a frame that can be found and checked, around a payload. Bytes: `src/tsdb/FORMAT.md`.
//!
//! In: payloads.   Out: frames, and the payloads of the frames that are whole.
//! Always: a record is taken as a whole or not at all, so a commit is there as a whole or not at all.
//! A marker before each frame lets a reader go on behind damaged bytes.

use std::ops::Range;

/// Begins every record.
const MARKER: [u8; 4] = *b"rwR1";

/// Marker, length and checksum.
const FRAME_BYTES: usize = 12;

/// Largest payload with its type byte; a batch of millions of points stays far below.
pub(in crate::tsdb) const RECORD_BYTES_MAX: usize = 1 << 30;

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One committed batch.
    Commit,
    /// Beginning of a checkpoint: totals, metadata, the next number of a series.
    CheckpointHead,
    /// Some series of a checkpoint with their chunks.
    CheckpointSeries,
    /// End of a checkpoint: how many series it holds.
    CheckpointEnd,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Commit, Self::CheckpointHead, Self::CheckpointSeries, Self::CheckpointEnd]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::CheckpointHead => 2,
            Self::CheckpointSeries => 3,
            Self::CheckpointEnd => 4,
        }
    }
}

/// Appends a record whose payload `write` appends; gives `false` and leaves `out` alone where it grew too large.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = out.len();
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&[0; FRAME_BYTES - MARKER.len()]);
    out.push(kind.byte());
    write(out);
    let len = out.len() - start - FRAME_BYTES;
    if len > RECORD_BYTES_MAX {
        out.truncate(start);
        return false;
    }
    let len = (len as u32).to_le_bytes();
    let crc = checksum(len, &out[start + FRAME_BYTES..]).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&len);
    out[start + 8..start + 12].copy_from_slice(&crc);
    true
}

/// The length is part of the checksum, so that a damaged length is found too.
fn checksum(len: [u8; 4], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len);
    hasher.update(body);
    hasher.finalize()
}

/// A whole record and the place behind it.
struct Framed<'a> {
    kind: Kind,
    payload: &'a [u8],
    end: usize,
}

fn take(bytes: &[u8], at: usize) -> Option<Framed<'_>> {
    let frame = bytes.get(at..at + FRAME_BYTES)?;
    let (marker, rest) = frame.split_first_chunk::<4>()?;
    let (len, crc) = rest.split_first_chunk::<4>()?;
    let start = at + FRAME_BYTES;
    let body = bytes.get(start..start.checked_add(u32::from_le_bytes(*len) as usize)?)?;
    let is_whole = *marker == MARKER && checksum(*len, body).to_le_bytes() == *crc;
    let (kind, payload) = body.split_first().filter(|_| is_whole)?;
    Some(Framed { kind: Kind::from_byte(*kind)?, payload, end: start + body.len() })
}

/// What a scan met beside whole records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Bytes between whole records that belong to none, or to one that cannot be understood.
    pub damaged: Vec<Range<usize>>,
    /// Where the last whole record ends; what follows is torn or damaged.
    pub end: usize,
}

/// Gives each whole record from `start` on to `each`, which says whether it understood the payload.
pub(super) fn scan(bytes: &[u8], start: usize, mut each: impl FnMut(Kind, &[u8]) -> bool) -> Scanned {
    let mut scanned = Scanned { damaged: Vec::new(), end: start.min(bytes.len()) };
    while let Some((at, record)) = next_whole(bytes, scanned.end) {
        if at > scanned.end {
            scanned.damaged.push(scanned.end..at);
        }
        if !each(record.kind, record.payload) {
            scanned.damaged.push(at..record.end);
        }
        scanned.end = record.end;
    }
    scanned
}

fn next_whole(bytes: &[u8], from: usize) -> Option<(usize, Framed<'_>)> {
    let mut at = from;
    loop {
        if let Some(record) = take(bytes, at) {
            return Some((at, record));
        }
        let rest = bytes.get(at + 1..)?;
        at += 1 + rest.windows(MARKER.len()).position(|window| window == MARKER)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let (mut out, mut ends) = (b"head".to_vec(), vec![4]);
        for payload in payloads {
            assert!(put(&mut out, Kind::Commit, |out| out.extend_from_slice(payload)));
            ends.push(out.len());
        }
        (out, ends)
    }

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Scanned) {
        let mut payloads = Vec::new();
        let scanned = scan(bytes, 4, |kind, payload| {
            payloads.push(payload.to_vec());
            kind == Kind::Commit
        });
        (payloads, scanned)
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Markers inside payloads must not confuse the search for the next record.
        let bytes = prop_oneof![any::<u8>(), prop::sample::select(MARKER.to_vec())];
        prop::collection::vec(prop::collection::vec(bytes, 0..60), 1..12)
    }

    proptest! {
        #[test]
        fn records_before_a_cut_come_back_and_the_rest_is_torn(payloads in payloads(), cut in any::<prop::sample::Index>()) {
            let (bytes, ends) = log(&payloads);
            let cut = 4 + cut.index(bytes.len() - 3);
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            let (back, scanned) = read(&bytes[..cut]);
            prop_assert_eq!(&back, &payloads[..whole]);
            prop_assert_eq!(scanned, Scanned { damaged: vec![], end: ends[whole] });
        }

        #[test]
        fn one_flipped_bit_costs_one_record(payloads in payloads(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (mut bytes, ends) = log(&payloads);
            let at = 4 + at.index(bytes.len() - 4);
            bytes[at] ^= 1 << bit;
            let hit = ends.iter().filter(|end| **end <= at).count() - 1;
            let (back, scanned) = read(&bytes);
            let mut want = payloads.clone();
            want.remove(hit);
            prop_assert_eq!(back, want);
            if hit + 1 < payloads.len() {
                let lost = ends[hit]..ends[hit + 1];
                prop_assert_eq!(scanned, Scanned { damaged: Vec::from([lost]), end: bytes.len() });
            } else {
                prop_assert_eq!(scanned, Scanned { damaged: vec![], end: ends[hit] });
            }
        }
    }
}
