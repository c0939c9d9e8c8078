//! A committed batch as a payload: totals, new series, metadata, samples. Bytes: `src/tsdb/FORMAT.md`.
//!
//! Always: what is read back is what was written, bit for bit; a payload that does not fit its form gives `None`.

use crate::model::{Labels, Metadata, MetricKind, TimestampMs, Value};
use crate::tsdb::admission::Commit;
use crate::tsdb::codec::{
    put_bytes, put_f64, put_histogram, put_uvarint, put_varint, take_bytes, take_count, take_f64, take_histogram,
    take_str, take_uvarint, take_varint, unzigzag, whole_number, zigzag,
};
use crate::tsdb::index::Slot;
use crate::tsdb::ledger::Totals;

/// How a sample's value is written, in the two lowest bits of its key.
const RAW: u64 = 0;
const WHOLE: u64 = 1;
const HISTOGRAM: u64 = 2;

/// What a commit record holds.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub totals: Totals,
    pub new_series: Vec<(u64, Labels)>,
    pub metadata: Vec<(String, Metadata)>,
    /// Number of the series, time, value.
    pub samples: Vec<(u64, TimestampMs, Value)>,
}

/// Appends a commit; `totals` are those after it, and `log_ref` gives the number of a slot's series.
pub(super) fn encode(out: &mut Vec<u8>, commit: &Commit, totals: &Totals, log_ref: impl Fn(Slot) -> u64) {
    totals.encode(out);
    put_uvarint(out, commit.new_series.len() as u64);
    for new in &commit.new_series {
        put_uvarint(out, new.log_ref);
        put_bytes(out, new.labels.encoded());
    }
    encode_metadata(out, &commit.metadata);
    put_uvarint(out, commit.samples.len() as u64);
    let (mut expected, mut last_t) = (0u64, 0i64);
    for sample in &commit.samples {
        let reference = log_ref(sample.slot);
        // A scrape repeats the order in which its series began, so the step is mostly zero.
        let step = zigzag(reference.wrapping_sub(expected) as i64);
        let whole = match &sample.value {
            Value::Float(v) => whole_number(*v),
            Value::Histogram(_) => None,
        };
        let form = match (&sample.value, whole) {
            (Value::Histogram(_), _) => HISTOGRAM,
            (Value::Float(_), Some(_)) => WHOLE,
            (Value::Float(_), None) => RAW,
        };
        put_uvarint(out, step << 2 | form);
        put_varint(out, sample.t.0.wrapping_sub(last_t));
        match (&sample.value, whole) {
            (Value::Float(_), Some(whole)) => put_varint(out, whole),
            (Value::Float(v), None) => put_f64(out, *v),
            (Value::Histogram(h), _) => put_histogram(out, h),
        }
        (expected, last_t) = (reference + 1, sample.t.0);
    }
}

/// Reads what [`encode`] wrote into `into`, whose memory is used again.
pub(super) fn decode_into(mut rest: &[u8], into: &mut Decoded) -> Option<()> {
    into.new_series.clear();
    into.samples.clear();
    into.totals = Totals::decode(&mut rest)?;
    for _ in 0..take_count(&mut rest, 2)? {
        let log_ref = take_uvarint(&mut rest)?;
        into.new_series.push((log_ref, Labels::from_encoded(take_bytes(&mut rest)?)?));
    }
    into.metadata = decode_metadata(&mut rest)?;
    let count = take_count(&mut rest, 3)?;
    into.samples.reserve(count);
    let (mut expected, mut last_t) = (0u64, 0i64);
    for _ in 0..count {
        let key = take_uvarint(&mut rest)?;
        let reference = expected.wrapping_add(unzigzag(key >> 2) as u64);
        let t = last_t.wrapping_add(take_varint(&mut rest)?);
        let value = match key & 3 {
            RAW => Value::Float(take_f64(&mut rest)?),
            WHOLE => Value::Float(take_varint(&mut rest)? as f64),
            HISTOGRAM => Value::Histogram(take_histogram(&mut rest)?),
            _ => return None,
        };
        into.samples.push((reference, TimestampMs(t), value));
        (expected, last_t) = (reference.wrapping_add(1), t);
    }
    rest.is_empty().then_some(())
}

/// Appends types, help texts and units of families.
pub(super) fn encode_metadata(out: &mut Vec<u8>, metadata: &[(String, Metadata)]) {
    put_uvarint(out, metadata.len() as u64);
    for (family, metadata) in metadata {
        put_bytes(out, family.as_bytes());
        out.push(kind_byte(metadata.kind));
        put_bytes(out, metadata.help.as_bytes());
        put_bytes(out, metadata.unit.as_bytes());
    }
}

/// Reads [`encode_metadata`].
pub(super) fn decode_metadata(rest: &mut &[u8]) -> Option<Vec<(String, Metadata)>> {
    (0..take_count(rest, 4)?)
        .map(|_| {
            let family = take_str(rest)?.to_owned();
            let (&kind, tail) = rest.split_first()?;
            *rest = tail;
            let kind = *KINDS.iter().find(|known| kind_byte(**known) == kind)?;
            let help = take_str(rest)?.to_owned();
            Some((family, Metadata { kind, help, unit: take_str(rest)?.to_owned() }))
        })
        .collect()
}

const KINDS: [MetricKind; 8] = [
    MetricKind::Unknown,
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
];

fn kind_byte(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Unknown => 0,
        MetricKind::Counter => 1,
        MetricKind::Gauge => 2,
        MetricKind::Histogram => 3,
        MetricKind::GaugeHistogram => 4,
        MetricKind::Summary => 5,
        MetricKind::Info => 6,
        MetricKind::StateSet => 7,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::tsdb::admission::{AdmittedSample, NewSeries};
    use crate::tsdb::codec::tests::histograms;
    use crate::tsdb::series::fingerprint;

    fn values() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<u64>().prop_map(|bits| Value::Float(f64::from_bits(bits))),
            (-3i32..100_000).prop_map(|whole| Value::Float(whole.into())),
            histograms().prop_map(|h| Value::Histogram(Arc::new(h))),
        ]
    }

    proptest! {
        #[test]
        fn a_commit_comes_back_bit_for_bit(
            samples in prop::collection::vec((0u32..50, any::<i64>(), values()), 0..30),
            texts in prop::collection::vec((any::<String>(), 0usize..8, any::<String>(), any::<String>()), 0..4),
            stored: u64,
            cut in 1usize..20,
        ) {
            // Numbers of series far apart and out of order.
            let log_ref = |slot: Slot| u64::from(slot) * 7_919 % 50 * 1_000_003 + 1;
            let samples = samples.into_iter().map(|(slot, t, value)| AdmittedSample { slot, t: TimestampMs(t), value });
            let samples: Vec<_> = samples.collect();
            let new_series: Vec<_> = samples
                .iter()
                .map(|s| (s.slot, Labels::from_pairs([("__name__", "m"), ("n", &s.slot.to_string())])))
                .map(|(slot, labels)| NewSeries { slot, log_ref: log_ref(slot), labels })
                .collect();
            let metadata: Vec<_> =
                texts.into_iter().map(|(f, k, help, unit)| (f, Metadata { kind: KINDS[k], help, unit })).collect();
            let totals = Totals { stored, received: stored, ..Totals::default() };
            let commit = Commit { new_series, samples, metadata };
            let mut out = Vec::new();
            encode(&mut out, &commit, &totals, log_ref);
            let mut back = Decoded::default();
            prop_assert!(decode_into(&out, &mut back).is_some());
            prop_assert_eq!(back.totals, totals);
            prop_assert_eq!(back.metadata, commit.metadata);
            let new: Vec<_> = commit.new_series.iter().map(|new| (new.log_ref, new.labels.clone())).collect();
            prop_assert_eq!(back.new_series, new);
            // Fingerprints, because a NaN is not equal to itself.
            let got: Vec<_> = back.samples.iter().map(|(r, t, v)| (*r, *t, fingerprint(v))).collect();
            let want: Vec<_> = commit.samples.iter().map(|s| (log_ref(s.slot), s.t, fingerprint(&s.value))).collect();
            prop_assert_eq!(got, want);
            prop_assert!(decode_into(&out[..out.len().saturating_sub(cut)], &mut Decoded::default()).is_none());
        }
    }
}
