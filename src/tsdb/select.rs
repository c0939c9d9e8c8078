//! The way out: [`Select`] over snapshots of the head.

use std::sync::Arc;

use super::Tsdb;
use super::chunk::Damaged;
use super::series::Series;
use crate::model::{Exemplar, Labels, Matcher, Metadata, TimeRange};
use crate::storage::{Select, SelectError, SeriesData, SeriesSet};

/// A snapshot that is read series after series.
struct Snapshot {
    series: std::vec::IntoIter<Arc<Series>>,
    range: TimeRange,
}

impl SeriesSet for Snapshot {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        for series in self.series.by_ref() {
            into.clear();
            let read = match into.latest_only {
                true => series.read_latest_into(self.range, into),
                false => series.read_into(self.range, into),
            };
            read.map_err(|damaged| read_error(&series.labels, damaged))?;
            if !into.is_empty() {
                return Ok(Some(series.labels.clone()));
            }
        }
        into.clear();
        Ok(None)
    }
}

fn read_error(labels: &Labels, damaged: Damaged) -> SelectError {
    SelectError::Read { reason: format!("series `{labels}`: {damaged}") }
}

impl Tsdb {
    /// Series of a snapshot that have a sample in the range for certain.
    fn series_in_range(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Arc<Series>>, SelectError> {
        let mut series = self.head().snapshot(matchers, range);
        let mut failure = None;
        series.retain(|series| match series.has_sample_in(range) {
            Ok(found) => found,
            Err(damaged) => {
                failure.get_or_insert_with(|| read_error(&series.labels, damaged));
                false
            }
        });
        failure.map_or(Ok(series), Err)
    }
}

impl Select for Tsdb {
    fn select<'a>(&'a self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        let series = self.head().snapshot(matchers, range).into_iter();
        Ok(Box::new(Snapshot { series, range }))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError> {
        let mut labels: Vec<_> =
            self.series_in_range(matchers, range)?.iter().map(|series| series.labels.clone()).collect();
        labels.sort_unstable();
        Ok(labels)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let mut names = if matchers.is_empty() {
            self.head().label_names(range)
        } else {
            let series = self.series_in_range(matchers, range)?;
            let names: hashbrown::HashSet<&str> =
                series.iter().flat_map(|series| series.labels.iter().map(|(name, _)| name)).collect();
            names.into_iter().map(str::to_owned).collect()
        };
        names.sort_unstable();
        Ok(names)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let mut values = if matchers.is_empty() {
            self.head().label_values(name, range)
        } else {
            let series = self.series_in_range(matchers, range)?;
            let values: hashbrown::HashSet<&str> = series.iter().filter_map(|series| series.labels.get(name)).collect();
            values.into_iter().map(str::to_owned).collect()
        };
        values.sort_unstable();
        Ok(values)
    }

    fn series_at_most(&self, matchers: &[Matcher]) -> Option<usize> {
        self.head().series_at_most(matchers)
    }

    fn exemplars(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        self.shared.exemplars.read().select(selectors, range)
    }

    fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)> {
        self.head().metadata(family)
    }
}
