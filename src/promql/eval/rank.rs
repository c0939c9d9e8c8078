//! Aggregations that look at all series of a group at once: `topk`, `bottomk`, `limitk`, `limit_ratio`,
//! `quantile`, `count_values`.

use std::cmp::Ordering;

use hashbrown::HashMap;
use xxhash_rust::xxh64::xxh64;

use super::Evaluator;
use super::aggregate::{Group, groups};
use super::annotations::Annotations;
use super::grid::Grid;
use super::held::Held;
use super::points::{Point, Points, Scalar, Series};
use super::quantiles::quantile;
use crate::model::Labels;
use crate::promql::ast::{Aggregate, AggregateOp, PositionRange};
use crate::promql::error::QueryError;
use crate::promql::number::format_float;

/// Steps whose values are brought together at once, so that each series is read in runs.
const STEPS_AT_ONCE: usize = 64;

/// Up to so many best series are kept sorted as the series pass; more are sorted step by step.
const KEPT_SORTED_MAX: usize = 32;

impl Evaluator<'_> {
    /// The `q`-quantile of each group's floats at each step.
    pub(super) fn quantile_of_groups(
        &mut self,
        aggregate: &Aggregate,
        q: &Scalar,
        series: &[Series],
        grid: &Grid,
        at_param: PositionRange,
    ) -> Result<Vec<Series>, QueryError> {
        let mut out = Vec::new();
        let mut columns: Vec<Vec<f64>> = vec![Vec::new(); STEPS_AT_ONCE.min(grid.steps)];
        for group in groups(aggregate, series) {
            let mut points = Points::default();
            if group.members.iter().any(|member| !series[*member].points.is_float_only()) {
                self.notes.histogram_ignored_in_aggregation(aggregate.expr.position, aggregate.op.as_str());
            }
            self.check_held(Held::bytes(group.members.len().saturating_mul(columns.len() * size_of::<f64>())))?;
            for begin in (0..grid.steps).step_by(STEPS_AT_ONCE) {
                let end = grid.steps.min(begin + STEPS_AT_ONCE);
                columns.iter_mut().for_each(Vec::clear);
                for member in &group.members {
                    self.worked(end - begin)?;
                    series[*member]
                        .points
                        .floats_between(begin, end)
                        .for_each(|(step, v)| columns[step - begin].push(v));
                }
                for (step, values) in (begin..end).zip(&mut columns).filter(|(_, values)| !values.is_empty()) {
                    let q = q.at(step);
                    if !(0.0..=1.0).contains(&q) {
                        self.notes.invalid_quantile(at_param, q);
                    }
                    points.push_float(step, quantile(q, values));
                }
            }
            if !points.is_empty() {
                out.push(Series { labels: group.labels, drop_name: group.drop_name, points });
            }
        }
        Ok(out)
    }

    /// How many series of each group have each value.
    pub(super) fn count_values(
        &mut self,
        aggregate: &Aggregate,
        label: &[u8],
        series: &[Series],
        grid: &Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let label = super::labels::label_name(label)?;
        // What `without` takes away is gone even where it is the label of the values.
        let is_removed =
            aggregate.without && (label == crate::model::METRIC_NAME || aggregate.grouping.contains(&label));
        // Groups may meet in one label set, where `label` overwrites a label by which they differ.
        let mut counts: Vec<(Labels, bool, Vec<u32>)> = Vec::new();
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        let mut total = Held::default();
        for group in groups(aggregate, series) {
            let drop_name = group.drop_name && label != crate::model::METRIC_NAME;
            // Values come again and again; their texts and label sets are worked out once.
            let mut places: HashMap<u64, usize> = HashMap::new();
            let mut place_of = |this: &mut Self, counts: &mut Vec<(Labels, bool, Vec<u32>)>, text: &str| {
                let labels = if is_removed { group.labels.clone() } else { group.labels.with(&label, text) };
                let at = *by_labels.entry(labels.clone()).or_insert(counts.len());
                if at == counts.len() {
                    total += Held { samples: 1, bytes: labels.size_bytes() + grid.steps * size_of::<u32>() };
                    this.check_held(total)?;
                    counts.push((labels, drop_name, vec![0; grid.steps]));
                }
                Ok::<usize, QueryError>(at)
            };
            for member in &group.members {
                self.worked(series[*member].points.len())?;
                for (step, point) in series[*member].points.iter() {
                    let at = match point {
                        Point::Histogram(h) => place_of(self, &mut counts, &super::labels::histogram_text(h))?,
                        Point::Float(v) => match places.get(&v.to_bits()) {
                            Some(at) => *at,
                            None => {
                                let at = place_of(self, &mut counts, &format_float(v))?;
                                places.insert(v.to_bits(), at);
                                at
                            }
                        },
                    };
                    counts[at].2[step] += 1;
                }
            }
        }
        let series_of = |(labels, drop_name, counts): (Labels, bool, Vec<u32>)| {
            let mut points = Points::default();
            for (step, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                points.push_float(step, f64::from(count));
            }
            Series { labels, drop_name, points }
        };
        Ok(counts.into_iter().map(series_of).collect())
    }

    /// The series that `topk` and its kin let through, with their own labels.
    pub(super) fn choose(
        &mut self,
        aggregate: &Aggregate,
        param: &Scalar,
        series: Vec<Series>,
        grid: &Grid,
    ) -> Result<Vec<Series>, QueryError> {
        check_parameter(aggregate.op, param, grid)?;
        let groups = groups(aggregate, &series);
        let mut chosen: Vec<Points> = vec![Points::default(); series.len()];
        let mut order = Vec::new();
        let most = (0..grid.steps).map(|step| param.at(step).max(0.0) as usize).max().unwrap_or(0);
        let ranks = matches!(aggregate.op, AggregateOp::TopK | AggregateOp::BottomK);
        for group in &groups {
            if ranks && most.min(group.members.len()) <= KEPT_SORTED_MAX {
                let best = self.best_of(aggregate, param, group, &series, grid, most.min(group.members.len()))?;
                for (step, kept) in best.steps() {
                    kept.iter().for_each(|(v, index)| chosen[*index as usize].push_float(step, *v));
                    if grid.steps == 1 {
                        order.extend(kept.iter().map(|(_, index)| *index as usize));
                    }
                }
                continue;
            }
            for step in 0..grid.steps {
                self.worked(group.members.len())?;
                let picked = pick(aggregate, param.at(step), group, &series, step, &mut self.notes);
                for index in picked {
                    if let Some(point) = series[index].points.get(step) {
                        chosen[index].push(step, point.to_output());
                    }
                    if grid.steps == 1 {
                        order.push(index);
                    }
                }
            }
        }
        if grid.steps > 1 {
            order = (0..series.len()).filter(|index| !chosen[*index].is_empty()).collect();
        }
        Ok(order
            .into_iter()
            .map(|index| Series {
                labels: series[index].labels.clone(),
                drop_name: series[index].drop_name,
                points: std::mem::take(&mut chosen[index]),
            })
            .collect())
    }

    /// The `most` best floats of a group at each step, of equal ones those that come first.
    fn best_of(
        &mut self,
        aggregate: &Aggregate,
        param: &Scalar,
        group: &Group,
        series: &[Series],
        grid: &Grid,
        most: usize,
    ) -> Result<Best, QueryError> {
        self.check_held(Held::bytes(most.saturating_mul(grid.steps * size_of::<(f64, u32)>())))?;
        let mut best = Best { most, kept: vec![(f64::NAN, 0); most * grid.steps], counts: vec![0; grid.steps] };
        for member in &group.members {
            let points = &series[*member].points;
            self.worked(points.len())?;
            if !points.is_float_only() {
                self.notes.histogram_ignored_in_aggregation(aggregate.expr.position, aggregate.op.as_str());
            }
            // A query has fewer series than that, which `max_series` says.
            let index = u32::try_from(*member).unwrap_or(u32::MAX);
            for (step, v) in points.floats() {
                best.offer(aggregate.op, param.at(step).max(0.0) as usize, step, v, index);
            }
        }
        Ok(best)
    }
}

/// The best series of a group at each step, with their values, best first.
struct Best {
    most: usize,
    /// `most` places for each step.
    kept: Vec<(f64, u32)>,
    /// Places of each step that are taken.
    counts: Vec<u32>,
}

impl Best {
    /// Puts a value in its place among the first `k` of a step, if it is one of them.
    #[inline]
    fn offer(&mut self, op: AggregateOp, k: usize, step: usize, v: f64, index: u32) {
        let places = k.min(self.most);
        let count = self.counts[step] as usize;
        let kept = &mut self.kept[step * self.most..][..places];
        if count >= places && (places == 0 || by_rank(op, v, kept[places - 1].0) != Ordering::Less) {
            return;
        }
        let filled = count.min(places.saturating_sub(1));
        let at = kept[..filled].partition_point(|(other, _)| by_rank(op, *other, v) != Ordering::Greater);
        kept[at..=filled].rotate_right(1);
        kept[at] = (v, index);
        self.counts[step] = (filled + 1) as u32;
    }

    /// Each step with its best.
    fn steps(&self) -> impl Iterator<Item = (usize, &[(f64, u32)])> {
        self.counts.iter().enumerate().map(|(step, count)| (step, &self.kept[step * self.most..][..*count as usize]))
    }
}

fn check_parameter(op: AggregateOp, param: &Scalar, grid: &Grid) -> Result<(), QueryError> {
    let refuse = |reason: String| Err(QueryError::Execution(reason));
    for step in 0..grid.steps {
        let value = param.at(step);
        let is_ratio = op == AggregateOp::LimitRatio;
        if value.is_nan() {
            return refuse(format!("{} value is NaN", if is_ratio { "Ratio" } else { "Parameter" }));
        }
        // Prometheus counts in 64-bit integers; the bounds are those as floats.
        if !is_ratio && value <= i64::MIN as f64 {
            return refuse(format!("Scalar value {} underflows int64", format_float(value)));
        }
        if !is_ratio && value >= i64::MAX as f64 {
            return refuse(format!("Scalar value {} overflows int64", format_float(value)));
        }
    }
    Ok(())
}

/// Indexes of the series that pass at a step, best first.
fn pick(
    aggregate: &Aggregate,
    param: f64,
    group: &Group,
    series: &[Series],
    step: usize,
    notes: &mut Annotations,
) -> Vec<usize> {
    let at = aggregate.expr.position;
    let present = group.members.iter().copied().filter(|index| series[*index].points.get(step).is_some());
    match aggregate.op {
        AggregateOp::LimitK => present.take(param.max(0.0) as usize).collect(),
        AggregateOp::LimitRatio => {
            let capped = param.clamp(-1.0, 1.0);
            if capped != param {
                let at = aggregate.param.as_ref().map_or(at, |p| p.position);
                notes.invalid_ratio(at, param, capped);
            }
            present.filter(|index| is_in_ratio(&series[*index].labels, capped)).collect()
        }
        op => {
            let mut floats: Vec<(usize, f64)> = Vec::new();
            for index in present {
                match series[index].points.get(step) {
                    Some(Point::Float(v)) => floats.push((index, v)),
                    _ => notes.histogram_ignored_in_aggregation(at, op.as_str()),
                }
            }
            let k = param.max(0.0) as usize;
            floats.sort_by(|(_, a), (_, b)| by_rank(op, *a, *b));
            floats.truncate(k);
            floats.into_iter().map(|(index, _)| index).collect()
        }
    }
}

/// The better value first, NaN last.
fn by_rank(op: AggregateOp, a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if op == AggregateOp::BottomK => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (false, false) => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
    }
}

/// Whether a series is in the share of all series that a ratio stands for.
///
/// The hash of the labels decides, so that the same series are chosen at every step, and a negative ratio
/// chooses exactly those that the positive one beside it leaves.
fn is_in_ratio(labels: &Labels, ratio: f64) -> bool {
    // The encoding of label sets is that of Prometheus, so its hash is too, and it chooses the same series.
    let place = xxh64(labels.encoded(), 0) as f64 / u64::MAX as f64;
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}
