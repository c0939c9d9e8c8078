//! Whether the data behind an alert is still there.
//!
//! In:  a rule's selectors and the labels of one element.   Out: yes or no.
//! A selector is narrowed by those of the element's labels that its own series carry (seen over the last
//! hour); a selector that knows less of the element than another, such as a threshold without an
//! instance, says nothing about it and is left out.

use crate::model::{Labels, Matcher, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{Select, SelectError, SeriesData};

use super::rule::Reads;

/// How far back series are looked for to learn which labels a selector's series carry.
const LEARN_MS: i64 = 3_600_000;

/// Answers for one rule at one time; what it learns of the selectors is kept for the next alert.
pub struct Presence<'a> {
    storage: &'a dyn Select,
    selectors: &'a [Reads],
    at: TimestampMs,
    lookback_ms: i64,
    /// Series of each selector over the last hour.
    seen: Vec<Option<Vec<Labels>>>,
}

impl<'a> Presence<'a> {
    /// For a rule with these selectors, evaluated at `at`.
    pub fn new(storage: &'a dyn Select, selectors: &'a [Reads], at: TimestampMs, lookback_ms: i64) -> Self {
        Self { storage, selectors, at, lookback_ms, seen: vec![None; selectors.len()] }
    }

    /// Whether any selector that knows of the element returns something for it.
    ///
    /// A rule without selectors always has its data. A store that cannot be read gives no.
    pub fn has_data(&mut self, element: &Labels) -> bool {
        self.selectors.is_empty() || self.look(element).unwrap_or(false)
    }

    fn look(&mut self, element: &Labels) -> Result<bool, SelectError> {
        let mut known = Vec::with_capacity(self.selectors.len());
        for i in 0..self.selectors.len() {
            known.push(self.labels_in_common(i, element)?);
        }
        for i in 0..self.selectors.len() {
            let knows_less =
                known.iter().any(|other| other.len() > known[i].len() && known[i].iter().all(|l| other.contains(l)));
            if !knows_less && self.returns_something(i, &known[i])? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The element's labels that series of the selector carry with the same value.
    fn labels_in_common<'e>(&mut self, i: usize, element: &'e Labels) -> Result<Vec<(&'e str, &'e str)>, SelectError> {
        if self.seen[i].is_none() {
            let to = self.at.plus_ms(-self.selectors[i].offset_ms);
            let range = TimeRange { from: to.plus_ms(-LEARN_MS), to };
            self.seen[i] = Some(self.storage.series(&self.selectors[i].matchers, range)?);
        }
        let mut left: Vec<&Labels> = self.seen[i].iter().flatten().collect();
        let mut common = Vec::new();
        for (name, value) in element.iter() {
            let with: Vec<&Labels> = left.iter().copied().filter(|l| l.get(name) == Some(value)).collect();
            if !with.is_empty() {
                common.push((name, value));
                left = with;
            }
        }
        Ok(common)
    }

    fn returns_something(&self, i: usize, narrowed: &[(&str, &str)]) -> Result<bool, SelectError> {
        let mut matchers = self.selectors[i].matchers.clone();
        matchers.extend(narrowed.iter().map(|(n, v)| Matcher::equal(*n, *v)));
        any_present(self.storage, &matchers, self.at.plus_ms(-self.selectors[i].offset_ms), self.lookback_ms)
    }
}

/// Whether a selector returns any series at a time: one with a sample in the lookback that did not end.
///
/// # Errors
/// The store could not be read.
pub fn any_present(
    storage: &dyn Select,
    matchers: &[Matcher],
    at: TimestampMs,
    lookback_ms: i64,
) -> Result<bool, SelectError> {
    let range = TimeRange { from: at.plus_ms(1 - lookback_ms), to: at };
    let mut set = storage.select(matchers, range)?;
    let mut data = SeriesData::default();
    while set.next_into(&mut data)?.is_some() {
        let float = data.floats.last();
        let histogram = data.histograms.last().map(|(t, _)| *t);
        let ended = float.is_some_and(|s| is_stale_nan(s.v) && histogram.is_none_or(|t| t < s.t));
        if !ended && !data.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{METRIC_NAME, Value, stale_nan};
    use crate::promql::parse;
    use crate::rules::memory::MemoryStore;
    use crate::rules::rule::reads_of;
    use crate::storage::Point;

    /// Whether `expr` has data for `element` at 10 minutes; series end at the given minutes, `None` goes on.
    fn has_data(expr: &str, series: &[(&str, Option<i64>)], element: &[(&str, &str)]) -> bool {
        let mut store = MemoryStore::default();
        for (name, end) in series {
            let labels = crate::promql::parse_series_labels(name).unwrap();
            let last = end.unwrap_or(10);
            for minute in 0..=last {
                let v = if Some(minute) == *end { stale_nan() } else { 1.0 };
                store.push(Point { labels: labels.clone(), t: TimestampMs(minute * 60_000), value: Value::Float(v) });
            }
        }
        let reads = reads_of(&parse(expr).unwrap());
        let element = Labels::from_pairs(element.iter().copied());
        assert_eq!(element.get(METRIC_NAME), None);
        Presence::new(&store, &reads, TimestampMs(600_000), 300_000).has_data(&element)
    }

    #[test]
    fn data_of_others_does_not_speak_for_an_instance() {
        let series = [("cpu{instance=\"a\"}", Some(9)), ("cpu{instance=\"b\"}", None)];
        assert!(!has_data("cpu > 1", &series, &[("instance", "a")]));
        assert!(has_data("cpu > 1", &series, &[("instance", "b")]));
        assert!(has_data("sum(cpu) > 1", &series, &[]), "an element without labels is about all of them");
    }

    #[test]
    fn thresholds_and_wider_selectors_know_nothing_of_an_instance() {
        let series = [
            ("cpu{job=\"j\",instance=\"a\"}", Some(9)),
            ("threshold{signal=\"cpu\"}", None),
            ("expected{job=\"j\"}", None),
        ];
        let expr = "cpu > on () group_left () min(threshold) and on (job) expected";
        assert!(!has_data(expr, &series, &[("job", "j"), ("instance", "a")]));
    }

    #[test]
    fn labels_that_no_series_carries_do_not_narrow() {
        let series = [("cpu{pod=\"a\"}", None)];
        let expr = "label_replace(cpu, \"instance\", \"$1\", \"pod\", \"(.*)\") > 1";
        assert!(has_data(expr, &series, &[("instance", "a"), ("pod", "a")]));
        assert!(has_data(expr, &series, &[("instance", "a")]));
    }

    #[test]
    fn either_branch_of_a_chain_is_enough_and_old_samples_are_not() {
        let series = [("a{i=\"x\"}", Some(9)), ("b{i=\"x\"}", None), ("c{i=\"y\"}", Some(4))];
        assert!(has_data("a or b", &series, &[("i", "x")]));
        assert!(!has_data("c > 0", &series, &[("i", "y")]));
        assert!(has_data("vector(1)", &series, &[]), "a rule without selectors always has its data");
    }
}
