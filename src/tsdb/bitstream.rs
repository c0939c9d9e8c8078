//! Bits behind bits in a byte vector, most significant bit first.
//!
//! In: values with their width.   Out: the same values, as long as the widths agree. No length is kept: the
//! reader is told how many values there are, and reading past the end gives `None`.

/// Writes bits.
#[derive(Clone, Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits of the last byte that are not written yet.
    free: u32,
}

impl BitWriter {
    /// Appends the lowest `width` bits of `value`; `width` is at most 64.
    pub fn write(&mut self, value: u64, width: u32) {
        debug_assert!(width <= 64);
        let mut left = width;
        while left > 0 {
            if self.free == 0 {
                if self.bytes.len() == self.bytes.capacity() {
                    // A quarter more at a time: doubling would leave a third of each growing chunk empty.
                    self.bytes.reserve_exact((self.bytes.len() / 4).max(8));
                }
                self.bytes.push(0);
                self.free = 8;
            }
            let take = left.min(self.free);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            let last = self.bytes.last_mut().expect("a byte was pushed when none was free");
            *last |= (part << (self.free - take)) as u8;
            self.free -= take;
            left -= take;
        }
    }

    /// What was written, the last byte filled up with zeros.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory held, written or not.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Gives the bytes away, without spare room.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.bytes.into_boxed_slice()
    }
}

/// Reads bits.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// The next bit.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `width` bits (at most 64), or `None` when fewer are left.
    #[inline]
    pub fn read(&mut self, width: u32) -> Option<u64> {
        // A shifted word holds 57 bits for certain, whatever the position inside the first byte.
        if width > 56 {
            let high = self.read(width - 32)?;
            return Some(high << 32 | self.read(32)?);
        }
        if width == 0 {
            return Some(0);
        }
        let end = self.at + width as usize;
        if end > self.bytes.len() * 8 {
            return None;
        }
        let value = self.word() >> (64 - width);
        self.at = end;
        Some(value)
    }

    /// The number of one-bits before the next zero, at most `max`; the zero is consumed unless `max` was reached.
    #[inline]
    pub fn read_unary(&mut self, max: u32) -> Option<u32> {
        let ones = self.word().leading_ones().min(max);
        let end = self.at + ones as usize + usize::from(ones < max);
        if end > self.bytes.len() * 8 {
            return None;
        }
        self.at = end;
        Some(ones)
    }

    /// The next bits, left-aligned: at least 57 of them, zeros behind the end. [`BitReader::skip`] takes them.
    #[inline]
    pub fn peek(&self) -> u64 {
        self.word()
    }

    /// Takes `width` bits that were looked at, or `None` when fewer are left.
    #[inline]
    pub fn skip(&mut self, width: u32) -> Option<()> {
        let end = self.at + width as usize;
        (end <= self.bytes.len() * 8).then(|| self.at = end)
    }

    /// The bits from the current position on, left-aligned; zeros follow the end.
    #[inline]
    fn word(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..).and_then(<[u8]>::first_chunk::<8>) {
            Some(eight) => u64::from_be_bytes(*eight),
            None => {
                let mut padded = [0; 8];
                let rest = self.bytes.get(byte..).unwrap_or_default();
                padded[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(padded)
            }
        };
        word << (self.at % 8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(width: u32) -> u64 {
        if width == 64 { u64::MAX } else { (1 << width) - 1 }
    }

    proptest! {
        #[test]
        fn values_come_back_in_order(values in prop::collection::vec((any::<u64>(), 0u32..=64), 0..200)) {
            let mut writer = BitWriter::default();
            for &(value, width) in &values {
                writer.write(value, width);
            }
            let bits: u32 = values.iter().map(|(_, width)| width).sum();
            prop_assert_eq!(writer.bytes().len() as u32, bits.div_ceil(8));
            let mut reader = BitReader::new(writer.bytes());
            for &(value, width) in &values {
                prop_assert_eq!(reader.read(width), Some(value & mask(width)));
            }
            prop_assert!(reader.read(8).is_none());
        }
    }

    #[test]
    fn unary_prefixes_stop_at_the_zero_or_at_the_most() {
        let mut writer = BitWriter::default();
        for (value, width) in [(0b0, 1), (0b10, 2), (0b110, 3), (0b111, 3), (0b101, 3)] {
            writer.write(value, width);
        }
        let mut reader = BitReader::new(writer.bytes());
        assert_eq!([0, 1, 2, 3].map(|_| reader.read_unary(3).unwrap()), [0, 1, 2, 3]);
        assert_eq!(reader.read(3), Some(0b101));
        assert_eq!(BitReader::new(&[]).read_unary(3), None);
    }
}
