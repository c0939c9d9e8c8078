//! A store in plain memory: what rule unit tests and the tests of this room evaluate over.
//!
//! In:  points and batches.   Out: a [`Select`] that can be cut off at a time, so that nothing later is seen.
//! Always: samples of a series are in order of time; a second one at the same time is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Metadata, Sample, TimeRange, TimestampMs, Value};
use crate::storage::{Batch, Point, Select, SelectError, SeriesData, SeriesSet};

/// Series in memory.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    series: Vec<(Labels, SeriesData)>,
    by_labels: BTreeMap<Labels, usize>,
    by_name: BTreeMap<String, Vec<usize>>,
    /// Nothing after this time is seen.
    until: TimestampMs,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { series: Vec::new(), by_labels: BTreeMap::new(), by_name: BTreeMap::new(), until: TimestampMs::MAX }
    }
}

impl MemoryStore {
    /// Adds every point of a batch.
    pub fn commit(&mut self, batch: Batch) {
        batch.points.into_iter().for_each(|p| self.push(p));
    }

    /// Adds one point.
    pub fn push(&mut self, point: Point) {
        let at = match self.by_labels.get(&point.labels) {
            Some(at) => *at,
            None => {
                let at = self.series.len();
                self.by_name.entry(point.labels.metric_name().to_owned()).or_default().push(at);
                self.by_labels.insert(point.labels.clone(), at);
                self.series.push((point.labels, SeriesData::default()));
                at
            }
        };
        let data = &mut self.series[at].1;
        match point.value {
            Value::Float(v) => {
                let index = data.floats.partition_point(|s| s.t < point.t);
                if data.floats.get(index).is_none_or(|s| s.t != point.t) {
                    data.floats.insert(index, Sample { t: point.t, v });
                }
            }
            Value::Histogram(h) => {
                let index = data.histograms.partition_point(|(t, _)| *t < point.t);
                if data.histograms.get(index).is_none_or(|(t, _)| *t != point.t) {
                    data.histograms.insert(index, (point.t, Arc::clone(&h)));
                }
            }
        }
    }

    /// Hides everything after `until`.
    pub fn show_until(&mut self, until: TimestampMs) {
        self.until = until;
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Vec<(&Labels, SeriesData)> {
        let range = TimeRange { from: range.from, to: range.to.min(self.until) };
        let candidates: Vec<usize> = match matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal) {
            Some(name) => self.by_name.get(&name.value).cloned().unwrap_or_default(),
            None => (0..self.series.len()).collect(),
        };
        let passing = candidates.into_iter().map(|at| &self.series[at]);
        let passing = passing.filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels)));
        let cut = passing.map(|(labels, data)| {
            let from = data.floats.partition_point(|s| s.t < range.from);
            let to = data.floats.partition_point(|s| s.t <= range.to).max(from);
            let h_from = data.histograms.partition_point(|(t, _)| *t < range.from);
            let h_to = data.histograms.partition_point(|(t, _)| *t <= range.to).max(h_from);
            let data = SeriesData {
                floats: data.floats[from..to].to_vec(),
                histograms: data.histograms[h_from..h_to].to_vec(),
                ..SeriesData::default()
            };
            (labels, data)
        });
        cut.filter(|(_, data)| !data.is_empty()).collect()
    }
}

struct Found<'a>(std::vec::IntoIter<(&'a Labels, SeriesData)>);

impl SeriesSet for Found<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        into.clear();
        Ok(self.0.next().map(|(labels, data)| {
            *into = data;
            labels.clone()
        }))
    }
}

impl Select for MemoryStore {
    fn select<'a>(&'a self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        Ok(Box::new(Found(self.matching(matchers, range).into_iter())))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError> {
        let mut all: Vec<Labels> = self.matching(matchers, range).into_iter().map(|(l, _)| l.clone()).collect();
        all.sort();
        Ok(all)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let found = self.matching(matchers, range);
        let names: BTreeSet<&str> = found.iter().flat_map(|(l, _)| l.iter().map(|(n, _)| n)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let found = self.matching(matchers, range);
        let values: BTreeSet<&str> = found.iter().filter_map(|(l, _)| l.get(name)).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }

    fn metadata(&self, _family: Option<&str>) -> Vec<(String, Metadata)> {
        Vec::new()
    }
}
