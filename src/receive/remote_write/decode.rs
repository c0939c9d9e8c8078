//! From the bytes of a `WriteRequest` to a batch.
//!
//! In:  a decompressed request.   Out: [`Decoded`]: points, metadata, and what was refused with the reason.
//! Always: names and labels stay as they were sent, since the data is someone else's, but for secrets, which are taken
//! out; one broken series does not spoil the others, one broken message does.
//! Limits: bytes a label and a series, beyond which the series is refused; points and families a request, beyond which
//! the whole request is.

use std::sync::Arc;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{self, DecodeContext, WireType};

use super::histogram;
use super::proto::{HISTOGRAMS, LABELS, Label, METADATA, MetricMetadata, MetricType, SAMPLES, TIMESERIES, TimeSeries};
use crate::model::{
    EXEMPLAR_CHARS_MAX, Exemplar, Labels, METRIC_NAME, Metadata, MetricKind, TimestampMs, Value, is_stale_nan,
    stale_nan,
};
use crate::receive::redact::Redactor;
use crate::storage::{Batch, Point};

/// Points of one request: as many as may wait for the store by default.
pub(super) const POINTS_MAX: usize = 500_000;
/// Families described by one request.
pub(super) const FAMILIES_MAX: usize = 20_000;
/// Bytes of one series in a request, about 60,000 samples; it bounds what unpacking takes.
pub(super) const SERIES_BYTES_MAX: usize = 1 << 20;
/// Bytes of one label, name and value, as for OTLP.
pub(super) const LABEL_BYTES_MAX: usize = 64 << 10;
/// Prometheus refuses samples further ahead than this.
pub(super) const FUTURE_MS_MAX: i64 = 10 * 60 * 1000;

/// What a request brings.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub batch: Batch,
    pub series: u64,
    pub floats: u64,
    pub histograms: u64,
    pub exemplars: u64,
    /// For a person: the first refusal of each reason.
    pub examples: Vec<String>,
}

/// Why nothing of a request can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("the body is not a `prometheus.WriteRequest`")]
    Protobuf(#[from] prost::DecodeError),
    #[error("the body is not a `prometheus.WriteRequest`: it ends {missing} bytes before a message in it does")]
    CutOff { missing: u64 },
    #[error("the request has more than {POINTS_MAX} samples; send fewer at once")]
    Points,
    #[error("the request describes more than {FAMILIES_MAX} metric families; send fewer at once")]
    Families,
}

/// Reads a request; samples later than `now` by more than ten minutes are refused.
pub(super) fn decode(mut body: &[u8], now: TimestampMs, redactor: &Redactor) -> Result<Decoded, DecodeError> {
    let mut decoded = Decoded::default();
    let latest = now.plus_ms(FUTURE_MS_MAX);
    // One look at the whole request saves one at each label of nearly all requests.
    let redactor = redactor.is_suspicious(body).then_some(redactor);
    while body.has_remaining() {
        let (tag, wire_type) = encoding::decode_key(&mut body)?;
        match (tag, wire_type) {
            (TIMESERIES, WireType::LengthDelimited) => {
                let message = take(&mut body)?;
                if message.len() > SERIES_BYTES_MAX {
                    decoded.refuse_large(message)?;
                    continue;
                }
                let mut series = TimeSeries::decode(message)?;
                if let Some(redactor) = redactor {
                    let of_exemplars = series.exemplars.iter_mut().flat_map(|e| &mut e.labels);
                    let labels = series.labels.iter_mut().chain(of_exemplars);
                    redactor.labels(labels.map(|l| (&mut l.name, &mut l.value)));
                }
                decoded.add_series(series, latest);
                decoded.series += 1;
                if decoded.floats + decoded.histograms > POINTS_MAX as u64 {
                    return Err(DecodeError::Points);
                }
            }
            (METADATA, WireType::LengthDelimited) => {
                if decoded.batch.metadata.len() >= FAMILIES_MAX {
                    return Err(DecodeError::Families);
                }
                let mut family = MetricMetadata::decode(take(&mut body)?)?;
                if let Some(clean) = redactor.and_then(|r| r.scrub("help", &family.help)) {
                    family.help = clean;
                }
                decoded.batch.metadata.push(metadata(family));
            }
            _ => encoding::skip_field(wire_type, tag, &mut body, DecodeContext::default())?,
        }
    }
    Ok(decoded)
}

/// Takes one length-delimited message off the front.
fn take<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let len = encoding::decode_varint(body)?;
    let at = usize::try_from(len).ok().filter(|len| *len <= body.len());
    let Some(at) = at else { return Err(DecodeError::CutOff { missing: len.saturating_sub(body.len() as u64) }) };
    let (message, rest) = body.split_at(at);
    *body = rest;
    Ok(message)
}

fn metadata(wire: MetricMetadata) -> (String, Metadata) {
    let kind = match MetricType::try_from(wire.kind) {
        Ok(MetricType::Counter) => MetricKind::Counter,
        Ok(MetricType::Gauge) => MetricKind::Gauge,
        Ok(MetricType::Histogram) => MetricKind::Histogram,
        Ok(MetricType::GaugeHistogram) => MetricKind::GaugeHistogram,
        Ok(MetricType::Summary) => MetricKind::Summary,
        Ok(MetricType::Info) => MetricKind::Info,
        Ok(MetricType::StateSet) => MetricKind::StateSet,
        Ok(MetricType::Unknown) | Err(_) => MetricKind::Unknown,
    };
    (wire.metric_family_name, Metadata { kind, help: wire.help, unit: wire.unit })
}

impl Decoded {
    /// Refuses a series that is too large to be unpacked; its samples are counted without that.
    fn refuse_large(&mut self, mut message: &[u8]) -> Result<(), DecodeError> {
        let (bytes, mut samples, mut name) = (message.len(), 0, String::new());
        while message.has_remaining() {
            let (tag, wire_type) = encoding::decode_key(&mut message)?;
            if wire_type != WireType::LengthDelimited {
                encoding::skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
                continue;
            }
            let field = take(&mut message)?;
            match tag {
                // A name that is itself too large is not unpacked either.
                LABELS if field.len() <= LABEL_BYTES_MAX => {
                    let label = Label::decode(field)?;
                    if label.name == METRIC_NAME {
                        name = label.value;
                    }
                }
                SAMPLES | HISTOGRAMS => samples += 1,
                _ => {}
            }
        }
        self.series += 1;
        self.refuse("series_too_large", samples, || {
            format!("a series of `{name}` takes {bytes} bytes in the request, more than {SERIES_BYTES_MAX}")
        });
        Ok(())
    }

    fn add_series(&mut self, wire: TimeSeries, latest: TimestampMs) {
        let (floats, histograms) = (wire.samples.len() as u64, wire.histograms.len() as u64);
        self.floats += floats;
        self.histograms += histograms;
        self.exemplars += wire.exemplars.len() as u64;
        let labels = match labels(&wire) {
            Ok(labels) => labels,
            Err(why) => return self.refuse("invalid_labels", floats + histograms, || why),
        };
        for exemplar in &wire.exemplars {
            let chars = exemplar.labels.iter().map(|l| l.name.chars().count() + l.value.chars().count());
            // Prometheus drops such an exemplar; without its labels it says nothing.
            if chars.sum::<usize>() > EXEMPLAR_CHARS_MAX {
                continue;
            }
            let pairs = exemplar.labels.iter().map(|l| (&l.name, &l.value));
            let exemplar = Exemplar::new(pairs, exemplar.value, TimestampMs(exemplar.timestamp));
            if exemplar.t <= latest {
                self.batch.exemplars.push((labels.clone(), exemplar));
            }
        }
        for sample in &wire.samples {
            self.add(&labels, TimestampMs(sample.timestamp), Value::Float(sample.value), latest);
        }
        for wire in &wire.histograms {
            let t = TimestampMs(wire.timestamp);
            if is_stale_nan(wire.sum) {
                self.add(&labels, t, Value::Float(stale_nan()), latest);
                continue;
            }
            match histogram::decode(wire) {
                Ok(histogram) => self.add(&labels, t, Value::Histogram(Arc::new(histogram)), latest),
                Err(why) => self.refuse("invalid_histogram", 1, || format!("`{labels}` at {t}: {why}")),
            }
        }
    }

    fn add(&mut self, labels: &Labels, t: TimestampMs, value: Value, latest: TimestampMs) {
        if t > latest {
            return self.refuse("too_new", 1, || format!("`{labels}` at {t} is more than 10m ahead of this clock"));
        }
        self.batch.points.push(Point { labels: labels.clone(), t, value });
    }

    fn refuse(&mut self, reason: &'static str, n: u64, example: impl FnOnce() -> String) {
        if n == 0 {
            return;
        }
        match self.batch.refused.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += n,
            None => {
                self.batch.refused.push((reason, n));
                let text: String = example().chars().take(400).collect();
                self.examples.push(format!("{reason}: {text}"));
            }
        }
    }
}

/// The label set, or what is wrong with it.
fn labels(wire: &TimeSeries) -> Result<Labels, String> {
    let mut pairs: Vec<(&str, &str)> = wire.labels.iter().map(|l| (l.name.as_str(), l.value.as_str())).collect();
    pairs.sort_unstable();
    let shown = || {
        let text: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        text.join(", ")
    };
    if let Some((name, value)) = pairs.iter().find(|(name, value)| name.len() + value.len() > LABEL_BYTES_MAX) {
        let start: String = name.chars().take(64).collect();
        let bytes = name.len() + value.len();
        return Err(format!("label `{start}` has {bytes} bytes, more than {LABEL_BYTES_MAX}"));
    }
    if pairs.iter().any(|(name, _)| name.is_empty()) {
        return Err(format!("`{{{}}}` has a label without a name", shown()));
    }
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("`{{{}}}` has the label `{}` twice", shown(), pair[0].0));
    }
    if !pairs.iter().any(|(name, value)| *name == METRIC_NAME && !value.is_empty()) {
        return Err(format!("`{{{}}}` has no metric name", shown()));
    }
    Ok(Labels::from_pairs(pairs))
}
