//! The store with what this evaluation has recorded so far laid over it.
//!
//! In:  a store and the points of one tick.   Out: a [`Select`] that shows both as one.
//! Always: a series has at most one fresh point; within a tick a rule sees what the rules before it
//! recorded, though the batch is committed only at the end, as a whole.

use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Metadata, Sample, TimeRange, Value, is_stale_nan};
use crate::storage::{Point, Select, SelectError, SeriesData, SeriesSet};

/// What was recorded in this evaluation.
#[derive(Debug, Default)]
pub struct Fresh {
    points: Vec<Point>,
    by_labels: HashMap<Labels, usize>,
    by_name: HashMap<String, Vec<usize>>,
}

impl Fresh {
    /// Adds a point; `false` when another rule recorded the series already, whose value then stands.
    ///
    /// A marker that ended the series in this evaluation gives way to a value.
    pub fn record(&mut self, point: Point) -> bool {
        match self.by_labels.get(&point.labels) {
            Some(at) if is_end(&self.points[*at].value) => {
                self.points[*at] = point;
                true
            }
            Some(_) => false,
            None => {
                let at = self.points.len();
                self.by_name.entry(point.labels.metric_name().to_owned()).or_default().push(at);
                self.by_labels.insert(point.labels.clone(), at);
                self.points.push(point);
                true
            }
        }
    }

    /// Ends a series that its rule does not give any more, unless another rule recorded it.
    pub fn end(&mut self, point: Point) {
        if !self.by_labels.contains_key(&point.labels) {
            self.record(point);
        }
    }

    /// Everything recorded, in the order of recording.
    pub fn into_points(self) -> Vec<Point> {
        self.points
    }

    /// Number of recorded points.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    fn matching(&self, matchers: &[Matcher], range: TimeRange) -> Vec<usize> {
        let passes = |at: &usize, but: Option<usize>| {
            let point = &self.points[*at];
            let mut others = matchers.iter().enumerate().filter(|(i, _)| Some(*i) != but);
            range.contains(point.t) && others.all(|(_, m)| m.matches(&point.labels))
        };
        match matchers.iter().position(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal) {
            Some(name) => {
                let named = self.by_name.get(&matchers[name].value).into_iter().flatten().copied();
                named.filter(|at| passes(at, Some(name))).collect()
            }
            None => (0..self.points.len()).filter(|at| passes(at, None)).collect(),
        }
    }
}

fn is_end(value: &Value) -> bool {
    matches!(value, Value::Float(v) if is_stale_nan(*v))
}

/// A store under fresh points.
pub struct Overlay<'a> {
    base: &'a dyn Select,
    fresh: &'a Fresh,
}

impl<'a> Overlay<'a> {
    /// `fresh` laid over `base`.
    pub fn new(base: &'a dyn Select, fresh: &'a Fresh) -> Self {
        Self { base, fresh }
    }
}

struct Merged<'a> {
    base: Box<dyn SeriesSet + 'a>,
    fresh: &'a Fresh,
    /// Fresh points of this selection that no series of the base has taken yet.
    left: BTreeSet<usize>,
    base_ended: bool,
}

impl SeriesSet for Merged<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        if !self.base_ended {
            if let Some(labels) = self.base.next_into(into)? {
                if let Some(at) = self.fresh.by_labels.get(&labels).filter(|at| self.left.remove(at)) {
                    push(into, &self.fresh.points[*at]);
                }
                return Ok(Some(labels));
            }
            self.base_ended = true;
        }
        into.clear();
        Ok(self.left.pop_first().map(|at| {
            let point = &self.fresh.points[at];
            push(into, point);
            point.labels.clone()
        }))
    }
}

/// Appends a point unless the series has one as late already.
fn push(into: &mut SeriesData, point: &Point) {
    let last = into.floats.last().map(|s| s.t).max(into.histograms.last().map(|(t, _)| *t));
    if last.is_some_and(|last| last >= point.t) {
        return;
    }
    match &point.value {
        Value::Float(v) => into.floats.push(Sample { t: point.t, v: *v }),
        Value::Histogram(h) => into.histograms.push((point.t, h.clone())),
    }
}

impl Select for Overlay<'_> {
    fn select<'s>(&'s self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 's>, SelectError> {
        let base = self.base.select(matchers, range)?;
        let left: BTreeSet<usize> = self.fresh.matching(matchers, range).into_iter().collect();
        match left.is_empty() {
            true => Ok(base),
            false => Ok(Box::new(Merged { base, fresh: self.fresh, left, base_ended: false })),
        }
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError> {
        let mut all = self.base.series(matchers, range)?;
        let fresh = self.fresh.matching(matchers, range);
        if !fresh.is_empty() {
            all.extend(fresh.into_iter().map(|at| self.fresh.points[at].labels.clone()));
            all.sort();
            all.dedup();
        }
        Ok(all)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let mut names: BTreeSet<String> = self.base.label_names(matchers, range)?.into_iter().collect();
        for at in self.fresh.matching(matchers, range) {
            names.extend(self.fresh.points[at].labels.iter().map(|(n, _)| n.to_owned()));
        }
        Ok(names.into_iter().collect())
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        let mut values: BTreeSet<String> = self.base.label_values(name, matchers, range)?.into_iter().collect();
        let fresh = self.fresh.matching(matchers, range);
        values.extend(fresh.into_iter().filter_map(|at| self.fresh.points[at].labels.get(name).map(str::to_owned)));
        Ok(values.into_iter().collect())
    }

    fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)> {
        self.base.metadata(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TimestampMs, stale_nan};
    use crate::rules::memory::MemoryStore;

    fn point(name: &str, job: &str, t: i64, v: f64) -> Point {
        let labels = Labels::from_pairs([(METRIC_NAME, name), ("job", job)]);
        Point { labels, t: TimestampMs(t), value: Value::Float(v) }
    }

    fn shown(select: &dyn Select, matcher: Matcher, to: i64) -> Vec<String> {
        let range = TimeRange { from: TimestampMs(0), to: TimestampMs(to) };
        let mut set = select.select(&[matcher], range).unwrap();
        let (mut data, mut out) = (SeriesData::default(), Vec::new());
        while let Some(labels) = set.next_into(&mut data).unwrap() {
            let values: Vec<String> = data.floats.iter().map(|s| format!("{}@{}", s.v, s.t.0)).collect();
            out.push(format!("{labels} {}", values.join(" ")));
        }
        out.sort();
        out
    }

    #[test]
    fn the_store_and_what_is_fresh_are_seen_as_one() {
        let mut store = MemoryStore::default();
        store.push(point("x", "a", 10, 1.0));
        store.push(point("x", "b", 10, 2.0));
        let mut fresh = Fresh::default();
        assert!(fresh.record(point("x", "a", 20, 3.0)));
        assert!(fresh.record(point("x", "c", 20, 4.0)));
        assert!(fresh.record(point("y", "a", 20, 5.0)));
        let overlay = Overlay::new(&store, &fresh);
        let x = || Matcher::equal(METRIC_NAME, "x");
        assert_eq!(shown(&overlay, x(), 20), [r#"x{job="a"} 1@10 3@20"#, r#"x{job="b"} 2@10"#, r#"x{job="c"} 4@20"#]);
        assert_eq!(shown(&overlay, x(), 19), [r#"x{job="a"} 1@10"#, r#"x{job="b"} 2@10"#]);
        assert_eq!(shown(&overlay, Matcher::equal("job", "a"), 20), [r#"x{job="a"} 1@10 3@20"#, r#"y{job="a"} 5@20"#]);
        let all = TimeRange::ALL;
        assert_eq!(overlay.series(&[x()], all).unwrap().len(), 3);
        assert_eq!(overlay.label_values("job", &[x()], all).unwrap(), ["a", "b", "c"]);
        assert_eq!(overlay.label_values(METRIC_NAME, &[], all).unwrap(), ["x", "y"]);
        assert_eq!(overlay.label_names(&[], all).unwrap(), [METRIC_NAME, "job"]);
    }

    #[test]
    fn a_series_has_one_fresh_point_and_a_value_beats_an_end() {
        let mut fresh = Fresh::default();
        fresh.end(point("x", "a", 20, stale_nan()));
        assert!(fresh.record(point("x", "a", 20, 1.0)), "another rule records what one has ended");
        assert!(!fresh.record(point("x", "a", 20, 2.0)), "the first value stands");
        fresh.end(point("x", "a", 20, stale_nan()));
        let points = fresh.into_points();
        assert_eq!(points, [point("x", "a", 20, 1.0)]);
    }
}
