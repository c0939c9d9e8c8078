//! A store that is a map, for scripts and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::script::Load;
use crate::model::{
    CounterResetHint, FloatHistogram, Labels, METRIC_NAME, Matcher, Metadata, Sample, Span, TimeRange, TimestampMs,
    Value,
};
use crate::promql::histogram::Sparse;
use crate::storage::{Select, SelectError, SeriesData, SeriesSet};

/// Series in memory, sorted by labels.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    series: BTreeMap<Labels, SeriesData>,
    /// Whether a script gave start timestamps, which are not kept.
    pub(super) lacks_start_timestamps: bool,
}

/// Counts of one classic histogram at one time.
#[derive(Default)]
struct ClassicAt {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

impl MemoryStorage {
    /// Adds a sample, which must be newer than those the series has.
    ///
    /// A histogram without a counter reset hint gets the one that Prometheus' chunks give it when read:
    /// `not_reset` where it continues the one before.
    pub fn append(&mut self, labels: Labels, t: TimestampMs, value: Value) {
        let data = self.series.entry(labels).or_default();
        match value {
            Value::Float(v) => data.floats.push(Sample { t, v }),
            Value::Histogram(h) => {
                let h = match data.histograms.last() {
                    Some((_, before)) if continues(before, &h) => {
                        Arc::new(FloatHistogram { counter_reset_hint: CounterResetHint::NotReset, ..(*h).clone() })
                    }
                    _ => h,
                };
                data.histograms.push((t, h));
            }
        }
    }

    /// Runs a `load` command.
    pub(super) fn load(&mut self, load: &Load) -> Result<(), String> {
        self.lacks_start_timestamps |= load.has_start_timestamps;
        let mut classics: BTreeMap<(Labels, i64), ClassicAt> = BTreeMap::new();
        for (labels, values) in &load.series {
            for (index, value) in values.iter().enumerate() {
                let t = index as i64 * load.step;
                let Some(value) = value else { continue };
                if let (true, Value::Float(v)) = (load.with_custom_buckets, &value.value) {
                    collect_classic(&mut classics, labels, t, *v);
                }
                self.append(labels.clone(), TimestampMs(t), value.value.clone());
            }
        }
        for ((labels, t), classic) in classics {
            let native = classic.to_native()?;
            self.append(labels, TimestampMs(t), Value::Histogram(Arc::new(native)));
        }
        Ok(())
    }

    fn matching(&self, matchers: &[Matcher]) -> impl Iterator<Item = (&Labels, &SeriesData)> {
        self.series.iter().filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels)))
    }
}

/// Whether `next` has no hint of its own and goes on counting where `before` was.
fn continues(before: &FloatHistogram, next: &FloatHistogram) -> bool {
    next.counter_reset_hint == CounterResetHint::Unknown
        && before.counter_reset_hint != CounterResetHint::Gauge
        && !Sparse::from(next).detects_reset(&Sparse::from(before))
}

/// Remembers one float of a classic histogram under the labels that its native twin will have.
fn collect_classic(classics: &mut BTreeMap<(Labels, i64), ClassicAt>, labels: &Labels, t: i64, v: f64) {
    let name = labels.metric_name();
    let suffix = ["_bucket", "_count", "_sum"].into_iter().find(|suffix| name.ends_with(suffix));
    let Some(suffix) = suffix else { return };
    let mut builder = labels.builder();
    builder.set(METRIC_NAME, &name[..name.len() - suffix.len()]).remove("le");
    let upper = labels.get("le").and_then(crate::promql::number::parse_signed_number).filter(|le| !le.is_nan());
    if suffix == "_bucket" && upper.is_none() {
        return;
    }
    let classic = classics.entry((builder.build(), t)).or_default();
    match (suffix, upper) {
        ("_bucket", Some(upper)) => classic.buckets.push((upper, v)),
        ("_count", _) => classic.count = Some(v),
        _ => classic.sum = v,
    }
}

impl ClassicAt {
    fn to_native(&self) -> Result<FloatHistogram, String> {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let count = self.count.or(buckets.last().map(|(_, count)| *count)).unwrap_or(0.0);
        if buckets.last().is_none_or(|(upper, _)| *upper != f64::INFINITY) {
            buckets.push((f64::INFINITY, count));
        }
        let counts: Vec<f64> = buckets.iter().map(|(_, count)| *count).collect();
        if counts.windows(2).any(|pair| pair[1] < pair[0]) || counts.last() != Some(&count) {
            return Err("counts of classic buckets fall, or do not end at the count".into());
        }
        let below = std::iter::once(0.0).chain(counts.iter().copied());
        Ok(FloatHistogram {
            schema: FloatHistogram::CUSTOM_BUCKETS,
            count,
            sum: self.sum,
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts.iter().zip(below).map(|(count, below)| count - below).collect(),
            custom_values: buckets[..buckets.len() - 1].iter().map(|(upper, _)| *upper).collect(),
            ..FloatHistogram::default()
        })
    }
}

struct MemorySet<'a> {
    series: std::vec::IntoIter<(&'a Labels, &'a SeriesData)>,
    range: TimeRange,
}

impl SeriesSet for MemorySet<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        for (labels, data) in self.series.by_ref() {
            into.clear();
            into.floats.extend(data.floats.iter().filter(|s| self.range.contains(s.t)));
            into.histograms.extend(data.histograms.iter().filter(|(t, _)| self.range.contains(*t)).cloned());
            if !into.is_empty() {
                return Ok(Some(labels.clone()));
            }
        }
        Ok(None)
    }
}

impl Select for MemoryStorage {
    fn select<'a>(&'a self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        let series: Vec<_> = self.matching(matchers).collect();
        Ok(Box::new(MemorySet { series: series.into_iter(), range }))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError> {
        let mut set = self.select(matchers, range)?;
        let mut data = SeriesData::default();
        std::iter::from_fn(|| set.next_into(&mut data).transpose()).collect()
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let series = self.series(matchers, range)?;
        let mut names: Vec<String> = series.iter().flat_map(|l| l.iter().map(|(name, _)| name.to_owned())).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let series = self.series(matchers, range)?;
        let mut values: Vec<String> = series.iter().filter_map(|l| l.get(name).map(str::to_owned)).collect();
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    fn metadata(&self, _family: Option<&str>) -> Vec<(String, Metadata)> {
        Vec::new()
    }
}
