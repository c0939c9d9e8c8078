//! Numbers, texts and histograms as the bytes of the log. Diagrams: `src/tsdb/FORMAT.md`.
//!
//! Reading takes from the front of a slice and gives `None` where the bytes do not hold what is asked for.

use std::sync::Arc;

use crate::model::{CounterResetHint, FloatHistogram, Span};

/// Appends a number in groups of seven bits, lowest first, the high bit saying that more follow (LEB128).
pub(super) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads [`put_uvarint`].
#[inline]
pub(super) fn take_uvarint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// A signed number with the sign in the lowest bit, so that small ones of both signs stay short.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Appends a signed number.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, zigzag(value));
}

/// Reads [`put_varint`].
pub(super) fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    take_uvarint(rest).map(unzigzag)
}

/// Appends bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads [`put_bytes`].
pub(super) fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_uvarint(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(len)?;
    *rest = tail;
    Some(bytes)
}

/// Reads a text that [`put_bytes`] wrote.
pub(super) fn take_str<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_bytes(rest)?).ok()
}

/// Appends the bits of a float, little-endian.
pub(super) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// Reads [`put_f64`].
pub(super) fn take_f64(rest: &mut &[u8]) -> Option<f64> {
    let (bytes, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(f64::from_bits(u64::from_le_bytes(*bytes)))
}

/// The float as a whole number, where that gives the same bits back: most counters are small and whole.
#[inline]
pub(super) fn whole_number(value: f64) -> Option<i64> {
    // Beyond 2^53 the short form is no shorter than eight bytes anyway.
    const MAX: f64 = (1u64 << 53) as f64;
    let whole = value as i64;
    (value.abs() <= MAX && (whole as f64).to_bits() == value.to_bits()).then_some(whole)
}

/// Appends a histogram, bit for bit.
pub(super) fn put_histogram(out: &mut Vec<u8>, h: &FloatHistogram) {
    out.push(match h.counter_reset_hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::Reset => 1,
        CounterResetHint::NotReset => 2,
        CounterResetHint::Gauge => 3,
    });
    put_varint(out, i64::from(h.schema));
    for value in [h.zero_threshold, h.zero_count, h.count, h.sum] {
        put_f64(out, value);
    }
    for spans in [&h.positive_spans, &h.negative_spans] {
        put_uvarint(out, spans.len() as u64);
        for span in spans {
            put_varint(out, i64::from(span.offset));
            put_uvarint(out, u64::from(span.length));
        }
    }
    for floats in [&h.positive_buckets, &h.negative_buckets, &h.custom_values] {
        put_uvarint(out, floats.len() as u64);
        for &value in floats {
            put_f64(out, value);
        }
    }
}

/// Reads [`put_histogram`].
pub(super) fn take_histogram(rest: &mut &[u8]) -> Option<Arc<FloatHistogram>> {
    let (&hint, tail) = rest.split_first()?;
    *rest = tail;
    let counter_reset_hint = match hint {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::Reset,
        2 => CounterResetHint::NotReset,
        3 => CounterResetHint::Gauge,
        _ => return None,
    };
    // Fields are read in the order in which they are written here.
    Some(Arc::new(FloatHistogram {
        counter_reset_hint,
        schema: i32::try_from(take_varint(rest)?).ok()?,
        zero_threshold: take_f64(rest)?,
        zero_count: take_f64(rest)?,
        count: take_f64(rest)?,
        sum: take_f64(rest)?,
        positive_spans: take_spans(rest)?,
        negative_spans: take_spans(rest)?,
        positive_buckets: take_floats(rest)?,
        negative_buckets: take_floats(rest)?,
        custom_values: take_floats(rest)?,
    }))
}

fn take_spans(rest: &mut &[u8]) -> Option<Vec<Span>> {
    let count = take_count(rest, 2)?;
    (0..count)
        .map(|_| {
            let offset = i32::try_from(take_varint(rest)?).ok()?;
            Some(Span { offset, length: u32::try_from(take_uvarint(rest)?).ok()? })
        })
        .collect()
}

fn take_floats(rest: &mut &[u8]) -> Option<Vec<f64>> {
    let count = take_count(rest, 8)?;
    (0..count).map(|_| take_f64(rest)).collect()
}

/// A count of things of at least `bytes_min` each: refused when they cannot all be there, before memory is asked for.
pub(super) fn take_count(rest: &mut &[u8], bytes_min: usize) -> Option<usize> {
    let count = usize::try_from(take_uvarint(rest)?).ok()?;
    (count <= rest.len() / bytes_min).then_some(count)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn floats() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..8)
    }

    fn spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }), 0..4)
    }

    pub(in crate::tsdb) fn histograms() -> impl Strategy<Value = FloatHistogram> {
        let hints =
            [CounterResetHint::Unknown, CounterResetHint::Reset, CounterResetHint::NotReset, CounterResetHint::Gauge];
        let head = (prop::sample::select(hints.to_vec()), any::<i32>(), any::<[u64; 4]>());
        (head, spans(), spans(), floats(), floats(), floats()).prop_map(|(head, ps, ns, pb, nb, custom_values)| {
            let (counter_reset_hint, schema, numbers) = head;
            let [zero_threshold, zero_count, count, sum] = numbers.map(f64::from_bits);
            FloatHistogram {
                counter_reset_hint,
                schema,
                zero_threshold,
                zero_count,
                count,
                sum,
                positive_spans: ps,
                positive_buckets: pb,
                negative_spans: ns,
                negative_buckets: nb,
                custom_values,
            }
        })
    }

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(unsigned: u64, signed: i64, text: String) {
            let mut out = Vec::new();
            put_uvarint(&mut out, unsigned);
            put_varint(&mut out, signed);
            put_bytes(&mut out, text.as_bytes());
            let mut rest = out.as_slice();
            prop_assert_eq!(take_uvarint(&mut rest), Some(unsigned));
            prop_assert_eq!(take_varint(&mut rest), Some(signed));
            prop_assert_eq!(take_str(&mut rest), Some(text.as_str()));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn whole_numbers_keep_their_bits(bits: u64, small in -1_000_000i64..1_000_000) {
            for value in [f64::from_bits(bits), small as f64, -0.0, f64::INFINITY, 0.5] {
                if let Some(whole) = whole_number(value) {
                    prop_assert_eq!((whole as f64).to_bits(), value.to_bits());
                }
            }
            prop_assert_eq!(whole_number(small as f64), Some(small));
        }

        #[test]
        fn histograms_come_back_bit_for_bit_and_shortened_ones_do_not(h in histograms(), cut in 1usize..40) {
            let mut out = Vec::new();
            put_histogram(&mut out, &h);
            let mut rest = out.as_slice();
            let back = take_histogram(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            // Compared as bytes, because a NaN is not equal to itself.
            let mut again = Vec::new();
            put_histogram(&mut again, &back);
            prop_assert_eq!(&again, &out);
            prop_assert!(take_histogram(&mut &out[..out.len().saturating_sub(cut)]).is_none());
        }
    }
}
