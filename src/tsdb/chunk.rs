//! Floats of one series, packed as Gorilla does (Pelkonen et al., VLDB 2015): times as deltas of deltas,
//! values as the XOR with their predecessor. Bytes: `src/tsdb/FORMAT.md`.
//!
//! In: times in milliseconds and floats.   Out: the same, bit for bit, NaN payloads included.
//! Limits: a chunk ends after [`SAMPLES_MAX`] samples; its owner may end it earlier.

use super::bitstream::{BitReader, BitWriter};
use crate::model::{Sample, TimestampMs};

/// Samples after which a chunk is full: past about 120 a chunk no longer gets denser, only slower to enter.
pub(super) const SAMPLES_MAX: u16 = 120;

/// Widths of the delta of deltas behind the prefixes `10`, `110`, `1110`, `1111`; `0` alone is no change.
const DELTA_WIDTHS: [u32; 5] = [0, 8, 16, 24, 64];

/// No window of significant bits yet.
const NO_WINDOW: u8 = u8::MAX;

/// The bytes of a chunk ended before its count of samples did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk of {expected} samples ends after {decoded}")]
pub(super) struct Damaged {
    expected: u16,
    decoded: u16,
}

/// A chunk that is full and never changes again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub first_t: i64,
    pub last_t: i64,
    pub count: u16,
    pub bytes: Box<[u8]>,
}

impl Chunk {
    /// The samples for reading.
    pub fn view(&self) -> View<'_> {
        View { first_t: self.first_t, last_t: self.last_t, count: self.count, bytes: &self.bytes }
    }

    /// Bytes of memory behind a counted pointer to this chunk.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.bytes.len()
    }
}

/// A chunk that still grows.
#[derive(Clone, Debug)]
pub(super) struct Appender {
    bits: BitWriter,
    first_t: i64,
    last_t: i64,
    delta: i64,
    value: u64,
    count: u16,
    leading: u8,
    trailing: u8,
}

impl Default for Appender {
    fn default() -> Self {
        Self {
            bits: BitWriter::default(),
            first_t: 0,
            last_t: 0,
            delta: 0,
            value: 0,
            count: 0,
            leading: NO_WINDOW,
            trailing: 0,
        }
    }
}

impl Appender {
    /// Appends a sample; `t` may be any number, but readers look for ranges and rely on rising times.
    pub fn push(&mut self, t: i64, value: f64) {
        let value = value.to_bits();
        if self.count == 0 {
            self.first_t = t;
            self.bits.write(value, 64);
        } else {
            // Wrapping, so that even the two ends of time survive the round trip.
            let delta = t.wrapping_sub(self.last_t);
            self.write_delta(delta.wrapping_sub(self.delta));
            self.delta = delta;
            self.write_value(value ^ self.value);
        }
        self.last_t = t;
        self.value = value;
        self.count += 1;
    }

    fn write_delta(&mut self, change: i64) {
        let fits = |width: u32| change >= -(1 << (width - 1)) && change < 1 << (width - 1);
        let change_bits = change as u64;
        if change == 0 {
            self.bits.write(0b0, 1);
        } else if fits(8) {
            self.bits.write(0b10 << 8 | (change_bits & 0xff), 10);
        } else if fits(16) {
            self.bits.write(0b110 << 16 | (change_bits & 0xffff), 19);
        } else if fits(24) {
            self.bits.write(0b1110 << 24 | (change_bits & 0xff_ffff), 28);
        } else {
            self.bits.write(0b1111, 4);
            self.bits.write(change_bits, 64);
        }
    }

    fn write_value(&mut self, xor: u64) {
        if xor == 0 {
            self.bits.write(0b0, 1);
            return;
        }
        // Five bits hold the number of leading zeros.
        let leading = (xor.leading_zeros() as u8).min(31);
        let trailing = xor.trailing_zeros() as u8;
        if self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing {
            let width = 64 - u32::from(self.leading) - u32::from(self.trailing);
            self.bits.write(0b10, 2);
            self.bits.write(xor >> self.trailing, width);
            return;
        }
        (self.leading, self.trailing) = (leading, trailing);
        let width = 64 - u32::from(leading) - u32::from(trailing);
        // Six bits hold the width less one: it is 1 to 64.
        self.bits.write(0b11 << 11 | u64::from(leading) << 6 | u64::from(width - 1), 13);
        self.bits.write(xor >> trailing, width);
    }

    /// The samples for reading.
    pub fn view(&self) -> View<'_> {
        View { first_t: self.first_t, last_t: self.last_t, count: self.count, bytes: self.bits.bytes() }
    }

    /// The newest sample.
    pub fn last(&self) -> Option<Sample> {
        (self.count > 0).then(|| Sample { t: TimestampMs(self.last_t), v: f64::from_bits(self.value) })
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next sample at `t` belongs into a new chunk; `span_ms` bounds the time one chunk covers.
    pub fn is_full(&self, t: i64, span_ms: i64) -> bool {
        self.count >= SAMPLES_MAX || (self.count > 0 && t.saturating_sub(self.first_t) >= span_ms)
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bits.capacity()
    }

    /// The finished chunk.
    pub fn seal(self) -> Chunk {
        Chunk { first_t: self.first_t, last_t: self.last_t, count: self.count, bytes: self.bits.into_bytes() }
    }
}

/// The samples of a chunk, for reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub first_t: i64,
    pub last_t: i64,
    pub count: u16,
    pub bytes: &'a [u8],
}

impl View<'_> {
    /// Gives time and value of each sample to `each`, oldest first, until it says `false`.
    ///
    /// # Errors
    /// The bytes end too early.
    #[inline]
    pub fn scan(&self, mut each: impl FnMut(i64, f64) -> bool) -> Result<(), Damaged> {
        let mut decoder =
            Decoder { bits: BitReader::new(self.bytes), t: self.first_t, delta: 0, value: 0, width: 0, trailing: 0 };
        for decoded in 0..self.count {
            let step = if decoded == 0 { decoder.first() } else { decoder.next() };
            step.ok_or(Damaged { expected: self.count, decoded })?;
            if !each(decoder.t, f64::from_bits(decoder.value)) {
                break;
            }
        }
        Ok(())
    }
}

struct Decoder<'a> {
    bits: BitReader<'a>,
    t: i64,
    delta: i64,
    value: u64,
    width: u32,
    trailing: u32,
}

impl Decoder<'_> {
    #[inline]
    fn first(&mut self) -> Option<()> {
        self.value = self.bits.read(64)?;
        Some(())
    }

    /// The next sample. The usual case, a steady interval and few bits that differ, is settled with one look.
    #[inline(always)]
    fn next(&mut self) -> Option<()> {
        /// Bits that a look is certain to show.
        const SEEN: u32 = 57;
        let bits = self.bits.peek();
        match bits >> 61 {
            // The same interval, the same value.
            0b000 | 0b001 => self.bits.skip(2)?,
            // The same interval, a value that differs in the window of the last.
            0b010 if (1..=SEEN - 3).contains(&self.width) => {
                self.bits.skip(3 + self.width)?;
                self.value ^= (bits << 3) >> (64 - self.width) << self.trailing;
            }
            // The same interval, a value with a window of its own.
            0b011 => {
                let window = (bits << 3 >> 53) as u32;
                self.set_window(window)?;
                if self.width <= SEEN - 14 {
                    self.bits.skip(14 + self.width)?;
                    self.value ^= (bits << 14) >> (64 - self.width) << self.trailing;
                } else {
                    self.bits.skip(14)?;
                    self.value ^= self.bits.read(self.width)? << self.trailing;
                }
            }
            _ => return self.next_of_any_kind(),
        }
        self.t = self.t.wrapping_add(self.delta);
        Some(())
    }

    #[inline(always)]
    fn set_window(&mut self, window: u32) -> Option<()> {
        self.width = (window & 0x3f) + 1;
        self.trailing = 64u32.checked_sub(self.width + (window >> 6))?;
        Some(())
    }

    #[inline(never)]
    fn next_of_any_kind(&mut self) -> Option<()> {
        let width = DELTA_WIDTHS[self.bits.read_unary(4)? as usize];
        if width > 0 {
            let shift = 64 - width;
            let change = ((self.bits.read(width)? << shift) as i64) >> shift;
            self.delta = self.delta.wrapping_add(change);
        }
        self.t = self.t.wrapping_add(self.delta);
        match self.bits.read_unary(2)? {
            0 => return Some(()),
            1 => {}
            _ => {
                let window = self.bits.read(11)? as u32;
                self.set_window(window)?;
            }
        }
        self.value ^= self.bits.read(self.width)? << self.trailing;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(samples: &[(i64, u64)]) -> Appender {
        let mut appender = Appender::default();
        for &(t, bits) in samples {
            appender.push(t, f64::from_bits(bits));
        }
        appender
    }

    fn read(view: View<'_>) -> Vec<(i64, u64)> {
        let mut out = Vec::new();
        view.scan(|t, v| {
            out.push((t, v.to_bits()));
            true
        })
        .unwrap();
        out
    }

    fn any_bits() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0u32..2_000).prop_map(|n| f64::from(n).to_bits()),
            Just(crate::model::STALE_NAN_BITS),
            (0u64..1 << 52).prop_map(|payload| f64::INFINITY.to_bits() | payload),
            Just((-0.0f64).to_bits()),
        ]
    }

    fn any_samples() -> impl Strategy<Value = Vec<(i64, u64)>> {
        let jittered = prop::collection::vec((14_900i64..15_100, any_bits()), 0..130).prop_map(|steps| {
            let mut t = 1_795_000_000_000;
            steps
                .into_iter()
                .map(|(step, bits)| {
                    t += step;
                    (t, bits)
                })
                .collect()
        });
        let wild = prop::collection::vec((any::<i64>(), any_bits()), 0..130);
        prop_oneof![jittered, wild]
    }

    proptest! {
        #[test]
        fn samples_come_back_bit_for_bit(samples in any_samples()) {
            let appender = filled(&samples);
            prop_assert_eq!(read(appender.view()), samples.clone());
            prop_assert_eq!(read(appender.seal().view()), samples);
        }

        #[test]
        fn a_shortened_chunk_is_an_error_and_never_a_panic(samples in any_samples(), cut in 1usize..200) {
            let chunk = filled(&samples).seal();
            let keep = chunk.bytes.len().saturating_sub(cut);
            let view = View { bytes: &chunk.bytes[..keep], ..chunk.view() };
            let whole = view.scan(|_, _| true);
            prop_assert_eq!(whole.is_err(), !samples.is_empty());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0u16..200) {
            let view = View { first_t: 0, last_t: 0, count, bytes: &bytes };
            let _ = view.scan(|_, _| true);
        }
    }

    #[test]
    fn a_steady_series_takes_two_bits_a_sample() {
        let samples: Vec<_> = (0..120).map(|i| (i * 15_000, 7f64.to_bits())).collect();
        // 64 bits of value, one step of 15 s (19 bits) and one back to no change, then two bits each.
        assert!(filled(&samples).seal().bytes.len() <= 41);
    }
}
