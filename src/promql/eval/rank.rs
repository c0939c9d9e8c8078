//! Aggregations that look at all series of a group at once: `topk`, `bottomk`, `limitk`, `limit_ratio`,
//! `quantile`, `count_values`.

use std::cmp::Ordering;

use hashbrown::HashMap;
use xxhash_rust::xxh64::xxh64;

use super::Evaluator;
use super::aggregate::{Group, groups};
use super::annotations::Annotations;
use super::grid::Grid;
use super::points::{Point, Points, Scalar, Series};
use super::quantiles::quantile;
use crate::model::Labels;
use crate::promql::ast::{Aggregate, AggregateOp, PositionRange};
use crate::promql::error::QueryError;
use crate::promql::number::format_float;

impl Evaluator<'_> {
    /// The `q`-quantile of each group's floats at each step.
    pub(super) fn quantile_of_groups(
        &mut self,
        aggregate: &Aggregate,
        q: &Scalar,
        series: &[Series],
        grid: &Grid,
        at_param: PositionRange,
    ) -> Vec<Series> {
        let mut out = Vec::new();
        for group in groups(aggregate, series) {
            let mut points = Points::default();
            for step in 0..grid.steps {
                let mut values = Vec::new();
                for member in &group.members {
                    match series[*member].points.get(step) {
                        Some(Point::Float(v)) => values.push(v),
                        Some(Point::Histogram(_)) => {
                            self.notes.histogram_ignored_in_aggregation(aggregate.expr.position, aggregate.op.as_str());
                        }
                        None => {}
                    }
                }
                if values.is_empty() {
                    continue;
                }
                let q = q.at(step);
                if !(0.0..=1.0).contains(&q) {
                    self.notes.invalid_quantile(at_param, q);
                }
                points.push_float(step, quantile(q, &mut values));
            }
            if !points.is_empty() {
                out.push(Series { labels: group.labels, drop_name: group.drop_name, points });
            }
        }
        out
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
        for group in groups(aggregate, series) {
            self.cancel.check()?;
            let drop_name = group.drop_name && label != crate::model::METRIC_NAME;
            for member in &group.members {
                for (step, point) in series[*member].points.iter() {
                    let text = match point {
                        Point::Float(v) => format_float(v),
                        Point::Histogram(h) => super::labels::histogram_text(h),
                    };
                    let mut builder = group.labels.builder();
                    if !is_removed {
                        builder.set(label.as_str(), text);
                    }
                    let labels = builder.build();
                    let at = *by_labels.entry(labels.clone()).or_insert(counts.len());
                    if at == counts.len() {
                        self.check_samples((at + 1) * grid.steps)?;
                        counts.push((labels, drop_name, vec![0; grid.steps]));
                    }
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
        for group in &groups {
            self.cancel.check()?;
            for step in 0..grid.steps {
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
