//! One series in memory: its labels, full chunks, and the chunk that still grows.
//!
//! In: samples in rising order of time.   Out: the same, by range.
//! Always: a series is shared with snapshots and copied before it changes, so a snapshot never sees a later sample.
//! Full chunks are shared by the copies; only the growing chunk (about 200 bytes) is copied.

use std::sync::Arc;

use super::chunk::{Appender, Chunk, Damaged, SAMPLES_MAX, View};
use super::codec;
use super::retention::Keep;
use crate::model::{FloatHistogram, Labels, Sample, TimeRange, TimestampMs, Value};
use crate::storage::SeriesData;

/// A histogram at a time.
pub(super) type HistogramSample = (TimestampMs, Arc<FloatHistogram>);

/// What a value is compared by: the bits of a float, or the hash of a histogram's bytes.
///
/// Two histograms that differ have the same hash once in 2^64 pairs; then the later is taken for a repeat.
pub(super) fn fingerprint(value: &Value) -> u64 {
    match value {
        Value::Float(v) => v.to_bits(),
        Value::Histogram(h) => {
            let mut bytes = Vec::with_capacity(256);
            codec::put_histogram(&mut bytes, h);
            xxhash_rust::xxh3::xxh3_64(&bytes)
        }
    }
}

/// What an append added beside the series' own bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growth {
    /// Bytes of the chunk that became full, or of the histogram.
    pub bytes: usize,
    pub chunks: usize,
}

/// The samples of one series.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub labels: Labels,
    /// The number by which the log knows this series; never given twice.
    pub log_ref: u64,
    pub keep: Keep,
    full: Vec<Arc<Chunk>>,
    open: Appender,
    histograms: Option<Box<Histograms>>,
}

#[derive(Clone, Debug, Default)]
struct Histograms {
    full: Vec<Arc<[HistogramSample]>>,
    open: Vec<HistogramSample>,
}

impl Series {
    /// A series without samples.
    pub fn new(labels: Labels, log_ref: u64, keep: Keep) -> Self {
        Self { labels, log_ref, keep, full: Vec::new(), open: Appender::default(), histograms: None }
    }

    /// A series from full chunks, as a checkpoint holds them; whoever reads it sets how long it is kept.
    pub fn from_parts(labels: Labels, log_ref: u64, full: Vec<Arc<Chunk>>, histograms: Vec<HistogramSample>) -> Self {
        let histograms = (!histograms.is_empty()).then(|| {
            let full = histograms.chunks(SAMPLES_MAX.into()).map(Arc::from).collect();
            Box::new(Histograms { full, open: Vec::new() })
        });
        Self { labels, log_ref, keep: Keep::default(), full, open: Appender::default(), histograms }
    }

    /// Appends a sample later than all others; a chunk covers at most `span_ms`.
    pub fn push(&mut self, t: TimestampMs, value: Value, span_ms: i64) -> Growth {
        let mut growth = Growth::default();
        match value {
            Value::Float(v) => {
                if self.open.is_full(t.0, span_ms) {
                    let chunk = Arc::new(std::mem::take(&mut self.open).seal());
                    growth.bytes += chunk.size_bytes();
                    // A series has few full chunks; doubling would leave half of the pointers empty.
                    self.full.reserve_exact(1);
                    self.full.push(chunk);
                }
                growth.chunks = usize::from(self.open.is_empty());
                self.open.push(t.0, v);
            }
            Value::Histogram(h) => {
                growth.bytes += histogram_bytes(&h);
                let histograms = self.histograms.get_or_insert_default();
                let is_full = histograms.open.len() >= SAMPLES_MAX.into()
                    || histograms.open.first().is_some_and(|(first, _)| t.since(*first) >= span_ms);
                if is_full {
                    histograms.full.push(std::mem::take(&mut histograms.open).into());
                }
                growth.chunks = usize::from(histograms.open.is_empty());
                histograms.open.push((t, h));
            }
        }
        growth
    }

    /// Forgets the chunks that end before `cutoff`; the chunk that `cutoff` falls into stays whole.
    pub fn drop_before(&mut self, cutoff: TimestampMs) {
        self.full.retain(|chunk| chunk.last_t >= cutoff.0);
        if self.open.view().last_t < cutoff.0 {
            self.open = Appender::default();
        }
        if let Some(histograms) = &mut self.histograms {
            histograms.full.retain(|run| run.last().is_some_and(|(t, _)| *t >= cutoff));
            if histograms.open.last().is_some_and(|(t, _)| *t < cutoff) {
                histograms.open = Vec::new();
            }
            if histograms.runs().next().is_none() {
                self.histograms = None;
            }
        }
    }

    /// Whether [`Series::drop_before`] would change anything.
    pub fn has_chunks_before(&self, cutoff: TimestampMs) -> bool {
        // The oldest of each kind comes first.
        self.views().next().is_some_and(|view| view.last_t < cutoff.0)
            || self.histogram_runs().next().is_some_and(|run| run.last().is_some_and(|(t, _)| *t < cutoff))
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.chunks() == 0
    }

    /// Number of chunks of both kinds.
    pub fn chunks(&self) -> usize {
        self.views().count() + self.histogram_runs().count()
    }

    /// Number of samples of both kinds.
    pub fn samples(&self) -> usize {
        self.views().map(|view| usize::from(view.count)).sum::<usize>()
            + self.histogram_runs().map(<[_]>::len).sum::<usize>()
    }

    /// Time of the oldest sample.
    pub fn first_t(&self) -> Option<TimestampMs> {
        let float = self.views().next().map(|view| TimestampMs(view.first_t));
        let histogram = self.histogram_runs().next().and_then(|run| run.first()).map(|(t, _)| *t);
        float.into_iter().chain(histogram).min()
    }

    /// Time of the newest sample.
    pub fn last_t(&self) -> Option<TimestampMs> {
        let float = self.views().last().map(|view| TimestampMs(view.last_t));
        let histogram = self.histogram_runs().last().and_then(|run| run.last()).map(|(t, _)| *t);
        float.max(histogram)
    }

    /// Float chunks that hold samples, oldest first.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        let open = (!self.open.is_empty()).then(|| self.open.view());
        self.full.iter().map(|chunk| chunk.view()).chain(open)
    }

    /// Runs of histograms, oldest first.
    pub fn histogram_runs(&self) -> impl Iterator<Item = &[HistogramSample]> {
        self.histograms.iter().flat_map(|histograms| histograms.runs())
    }

    /// Whether a sample may lie in the range; exact but for gaps inside a chunk.
    pub fn overlaps(&self, range: TimeRange) -> bool {
        self.views().any(|view| view.overlaps(range.from.0, range.to.0))
            || self.histogram_runs().any(|run| touches(run, range))
    }

    /// Appends the samples in the range to `into`.
    ///
    /// # Errors
    /// A chunk is damaged.
    pub fn read_into(&self, range: TimeRange, into: &mut SeriesData) -> Result<(), Damaged> {
        for view in self.views().filter(|view| view.overlaps(range.from.0, range.to.0)) {
            view.scan(|t, v| {
                if t >= range.from.0 && t <= range.to.0 {
                    into.floats.push(Sample { t: TimestampMs(t), v });
                }
                t < range.to.0
            })?;
        }
        for run in self.histogram_runs().filter(|run| touches(run, range)) {
            into.histograms.extend(run.iter().filter(|(t, _)| range.contains(*t)).cloned());
        }
        Ok(())
    }

    /// Whether a sample lies in the range.
    ///
    /// # Errors
    /// A chunk is damaged.
    pub fn has_sample_in(&self, range: TimeRange) -> Result<bool, Damaged> {
        for view in self.views().filter(|view| view.overlaps(range.from.0, range.to.0)) {
            // An end of the chunk inside the range settles it without decoding.
            let mut found = range.contains(TimestampMs(view.first_t)) || range.contains(TimestampMs(view.last_t));
            if !found {
                view.scan(|t, _| {
                    found = range.contains(TimestampMs(t));
                    !found && t < range.to.0
                })?;
            }
            if found {
                return Ok(true);
            }
        }
        Ok(self.histogram_runs().any(|run| run.iter().any(|(t, _)| range.contains(*t))))
    }

    /// The fingerprint of the sample at exactly `t`.
    ///
    /// # Errors
    /// A chunk is damaged.
    pub fn fingerprint_at(&self, t: TimestampMs) -> Result<Option<u64>, Damaged> {
        let mut data = SeriesData::default();
        self.read_into(TimeRange { from: t, to: t }, &mut data)?;
        let float = data.floats.first().map(|sample| sample.v.to_bits());
        Ok(float.or_else(|| data.histograms.pop().map(|(_, h)| fingerprint(&Value::Histogram(h)))))
    }

    /// Bytes of memory of this series and its samples; labels count here although clones share them.
    pub fn size_bytes(&self) -> usize {
        let histograms: usize = self.histogram_runs().flatten().map(|(_, h)| histogram_bytes(h)).sum();
        self.own_bytes() + self.full.iter().map(|chunk| chunk.size_bytes()).sum::<usize>() + histograms
    }

    /// Bytes beside full chunks and histograms. A copy may take less: it has no room to grow.
    pub fn own_bytes(&self) -> usize {
        const COUNTED_POINTER: usize = 2 * size_of::<usize>();
        size_of::<Self>()
            + COUNTED_POINTER
            + self.labels.size_bytes()
            + self.full.capacity() * size_of::<usize>()
            + self.open.heap_bytes()
    }
}

impl Histograms {
    fn runs(&self) -> impl Iterator<Item = &[HistogramSample]> {
        let open = (!self.open.is_empty()).then_some(self.open.as_slice());
        self.full.iter().map(|run| &**run).chain(open)
    }
}

fn touches(run: &[HistogramSample], range: TimeRange) -> bool {
    run.first().is_some_and(|(t, _)| *t <= range.to) && run.last().is_some_and(|(t, _)| *t >= range.from)
}

/// Bytes of memory of one histogram sample.
pub(super) fn histogram_bytes(h: &FloatHistogram) -> usize {
    let floats = h.positive_buckets.len() + h.negative_buckets.len() + h.custom_values.len();
    let spans = h.positive_spans.len() + h.negative_spans.len();
    size_of::<FloatHistogram>() + size_of::<HistogramSample>() + 16 + floats * 8 + spans * 8
}
