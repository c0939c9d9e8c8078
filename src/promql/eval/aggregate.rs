//! Aggregation: series stream into their groups' cells, one cell for each group and step.

use std::sync::Arc;

use super::annotations::{Annotations, HistogramUse};
use super::grid::Grid;
use super::held::Held;
use super::points::{Output, Point, Points, Series};
use super::selector::sort_by_labels;
use super::sums::Sums;
use super::{Evaluated, Evaluator, kahan_add, shared};
use crate::model::{CounterResetHint, FloatHistogram, LabelParts, Labels, METRIC_NAME};
use crate::promql::ast::{Aggregate, AggregateOp, PositionRange};
use crate::promql::error::QueryError;
use crate::promql::histogram;
use crate::promql::histogram::{KahanSum, Sparse};

/// Series of one group.
pub(super) struct Group {
    pub labels: Labels,
    pub drop_name: bool,
    /// Indexes into the input.
    pub members: Vec<usize>,
}

/// The number of the group that a series with these labels belongs to.
fn group_number(aggregate: &Aggregate, groups: &mut LabelParts, labels: &Labels) -> usize {
    let is_named = |name: &[u8]| aggregate.grouping.iter().any(|n| n.as_bytes() == name);
    match aggregate.without {
        true => groups.number(labels, |name| name != METRIC_NAME.as_bytes() && !is_named(name)),
        false => groups.number(labels, is_named),
    }
}

/// Which series belong together, groups in order of first appearance.
pub(super) fn groups(aggregate: &Aggregate, series: &[Series]) -> Vec<Group> {
    let mut parts = LabelParts::default();
    let mut groups: Vec<Group> = Vec::new();
    for (index, one) in series.iter().enumerate() {
        let at = group_number(aggregate, &mut parts, &one.labels);
        match groups.get_mut(at) {
            Some(group) => group.members.push(index),
            None => groups.push(Group { labels: parts.last(), drop_name: one.drop_name, members: vec![index] }),
        }
    }
    groups
}

impl Evaluator<'_> {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let Some(param) = &aggregate.param else { return self.reduce(aggregate, grid) };
        let at_param = param.position;
        let param = self.eval(param, grid)?;
        let series = self.vector(&aggregate.expr, grid)?;
        match (aggregate.op, param) {
            (AggregateOp::CountValues, Evaluated::String(label)) => self.count_values(aggregate, &label, &series, grid),
            (AggregateOp::Quantile, Evaluated::Scalar(q)) => {
                self.quantile_of_groups(aggregate, &q, &series, grid, at_param)
            }
            (
                AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio,
                Evaluated::Scalar(k),
            ) => self.choose(aggregate, &k, series, grid),
            _ => Err(QueryError::Execution("the parameter has the wrong type".into())),
        }
    }

    /// `sum` and its kin: each series is added to its group as it comes and not kept.
    fn reduce(&mut self, aggregate: &Aggregate, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let (op, at) = (aggregate.op, aggregate.expr.position);
        let mut parts = LabelParts::default();
        let mut groups: Vec<Reduced> = Vec::new();
        let mut total = Held::default();
        self.stream(&aggregate.expr, grid, &mut |this, one| {
            let place = group_number(aggregate, &mut parts, &one.labels);
            if place == groups.len() {
                let labels = parts.last();
                total += Held::bytes(labels.size_bytes() + grid.steps * CELL_BYTES);
                this.check_held(total)?;
                let cells = Cells::Sums(Sums::new(op, grid.steps));
                groups.push(Reduced { labels, drop_name: one.drop_name, cells });
            }
            this.worked(one.points.len())?;
            let name = one.labels.metric_name();
            groups[place].cells.add(op, &one.points, name, at, &mut this.notes);
            Ok(())
        })?;
        let mut out = Vec::with_capacity(groups.len());
        for Reduced { labels, drop_name, cells } in groups {
            let points = cells.finish(op, at, &mut self.notes);
            if !points.is_empty() {
                out.push(Series { labels, drop_name, points });
            }
        }
        sort_by_labels(&mut out);
        Ok(out)
    }
}

/// Memory of a cell of a sum.
const CELL_BYTES: usize = size_of::<u32>() + 2 * size_of::<f64>();

/// A group in the making.
struct Reduced {
    labels: Labels,
    drop_name: bool,
    cells: Cells,
}

/// The cells of a group, one a step.
enum Cells {
    /// As long as all is plain: floats, and no sum of an average that overflows.
    Sums(Sums),
    Any(Vec<Cell>),
}

impl Cells {
    /// `name` is that of the series.
    fn add(&mut self, op: AggregateOp, points: &Points, name: &str, at: PositionRange, notes: &mut Annotations) {
        if let Self::Sums(sums) = self {
            if points.is_float_only() && sums.takes(points) {
                return sums.add(points);
            }
            let cell = |(count, value, aside)| match count {
                0 => Cell::Empty,
                _ => Cell::Floats(Floats { count: f64::from(count), value, aside, moving_mean: false }),
            };
            *self = Self::Any(sums.cells().map(cell).collect());
        }
        if let Self::Any(cells) = self {
            for (step, point) in points.iter() {
                cells[step].add(op, point, name, at, notes);
            }
        }
    }

    fn finish(self, op: AggregateOp, at: PositionRange, notes: &mut Annotations) -> Points {
        let mut points = Points::default();
        match self {
            Self::Sums(sums) => {
                for (step, (count, value, aside)) in sums.cells().enumerate().filter(|(_, cell)| cell.0 > 0) {
                    let floats = Floats { count: f64::from(count), value, aside, moving_mean: false };
                    points.push_float(step, floats.finish(op));
                }
            }
            Self::Any(cells) => {
                for (step, cell) in cells.into_iter().enumerate() {
                    if let Some(value) = cell.finish(op, at, notes) {
                        points.push(step, value);
                    }
                }
            }
        }
        points
    }
}

/// What a group has gathered at one step.
#[derive(Clone)]
enum Cell {
    Empty,
    /// `count` and `group`, and the float operators.
    Floats(Floats),
    /// `sum` and `avg` of histograms.
    Histograms(Box<Histograms>),
    /// `sum` and `avg` of floats and histograms together have no meaning.
    Mixed,
    /// Exponential and custom buckets met.
    Incompatible,
}

#[derive(Clone, Copy)]
struct Floats {
    count: f64,
    value: f64,
    /// What rounding has lost of `value`, or the sum of squares for the variance.
    aside: f64,
    moving_mean: bool,
}

#[derive(Clone)]
struct Histograms {
    sum: KahanSum,
    count: f64,
    moving_mean: bool,
    saw_reset: bool,
    saw_not_reset: bool,
    reconciled: bool,
}

impl Cell {
    fn add(&mut self, op: AggregateOp, point: Point<'_>, name: &str, at: PositionRange, notes: &mut Annotations) {
        match (op, point) {
            (AggregateOp::Count | AggregateOp::Group, _) => self.add_float(op, 0.0),
            (AggregateOp::Sum | AggregateOp::Avg, Point::Histogram(h)) => {
                if self.add_histogram(op, h).is_err() {
                    notes.mixed_exponential_custom(at, name);
                }
            }
            (_, Point::Histogram(_)) => notes.histogram_ignored_in_aggregation(at, op.as_str()),
            (_, Point::Float(v)) => self.add_float(op, v),
        }
    }

    fn add_float(&mut self, op: AggregateOp, v: f64) {
        match self {
            Self::Empty => {
                let squares = matches!(op, AggregateOp::Stddev | AggregateOp::Stdvar);
                let aside = if squares && !v.is_finite() { f64::NAN } else { 0.0 };
                *self = Self::Floats(Floats { count: 1.0, value: v, aside, moving_mean: false });
            }
            Self::Floats(floats) => floats.add(op, v),
            Self::Histograms(_) => *self = Self::Mixed,
            Self::Mixed | Self::Incompatible => {}
        }
    }

    /// Fails where the histogram does not go with those before it, once.
    fn add_histogram(&mut self, op: AggregateOp, h: &Arc<FloatHistogram>) -> Result<(), histogram::Incompatible> {
        match self {
            Self::Empty => {
                let histograms = Histograms {
                    sum: KahanSum::new(Sparse::from(&**h)),
                    count: 1.0,
                    moving_mean: false,
                    saw_reset: h.counter_reset_hint == CounterResetHint::Reset,
                    saw_not_reset: h.counter_reset_hint == CounterResetHint::NotReset,
                    reconciled: false,
                };
                *self = Self::Histograms(Box::new(histograms));
            }
            Self::Histograms(histograms) => {
                if histograms.add(op, h).is_none() {
                    *self = Self::Incompatible;
                    return Err(histogram::Incompatible);
                }
            }
            Self::Floats(_) => *self = Self::Mixed,
            Self::Mixed | Self::Incompatible => {}
        }
        Ok(())
    }

    fn finish(self, op: AggregateOp, at: PositionRange, notes: &mut Annotations) -> Option<Output> {
        match self {
            Self::Empty | Self::Incompatible => None,
            Self::Floats(floats) => Some(Output::Float(floats.finish(op))),
            Self::Histograms(histograms) => Some(histograms.finish(op, at, notes)),
            Self::Mixed => {
                notes.mixed_in_aggregation(at);
                None
            }
        }
    }
}

impl Floats {
    fn add(&mut self, op: AggregateOp, v: f64) {
        self.count += 1.0;
        match op {
            AggregateOp::Sum => (self.value, self.aside) = kahan_add(v, self.value, self.aside),
            AggregateOp::Avg => self.add_to_average(v),
            AggregateOp::Max if v > self.value || self.value.is_nan() => self.value = v,
            AggregateOp::Min if v < self.value || self.value.is_nan() => self.value = v,
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = v - self.value;
                self.value += delta / self.count;
                self.aside += delta * (v - self.value);
            }
            _ => {}
        }
    }

    /// Sums as long as that does not overflow, then moves the mean towards each value.
    fn add_to_average(&mut self, v: f64) {
        if !self.moving_mean {
            let (sum, lost) = kahan_add(v, self.value, self.aside);
            if !sum.is_infinite() {
                (self.value, self.aside) = (sum, lost);
                return;
            }
            self.moving_mean = true;
            self.value /= self.count - 1.0;
            self.aside /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        (self.value, self.aside) = kahan_add(v / self.count, share * self.value, share * self.aside);
    }

    fn finish(self, op: AggregateOp) -> f64 {
        match op {
            AggregateOp::Count => self.count,
            AggregateOp::Group => 1.0,
            AggregateOp::Sum if self.value.is_infinite() => self.value,
            AggregateOp::Sum => self.value + self.aside,
            AggregateOp::Avg if self.moving_mean => self.value + self.aside,
            AggregateOp::Avg => self.value / self.count + self.aside / self.count,
            AggregateOp::Stdvar => self.aside / self.count,
            AggregateOp::Stddev => (self.aside / self.count).sqrt(),
            _ => self.value,
        }
    }
}

impl Histograms {
    /// `None` when the layouts do not go together.
    fn add(&mut self, op: AggregateOp, h: &FloatHistogram) -> Option<()> {
        self.count += 1.0;
        self.saw_reset |= h.counter_reset_hint == CounterResetHint::Reset;
        self.saw_not_reset |= h.counter_reset_hint == CounterResetHint::NotReset;
        let mut next = Sparse::from(h);
        if op == AggregateOp::Avg && !self.moving_mean {
            let mut attempt = self.sum.clone();
            self.reconciled |= attempt.add(&next).ok()?.bounds_reconciled;
            if !attempt.has_overflow() {
                self.sum = attempt;
                return Some(());
            }
            self.moving_mean = true;
            self.sum.divide(self.count - 1.0);
        }
        if op == AggregateOp::Avg {
            self.sum.scale((self.count - 1.0) / self.count);
            next.divide(self.count);
        }
        self.reconciled |= self.sum.add(&next).ok()?.bounds_reconciled;
        Some(())
    }

    fn finish(mut self, op: AggregateOp, at: PositionRange, notes: &mut Annotations) -> Output {
        if self.saw_reset && self.saw_not_reset {
            notes.reset_collision(at, HistogramUse::Aggregation);
        }
        if self.reconciled {
            notes.bounds_reconciled(at, HistogramUse::Aggregation);
        }
        if op == AggregateOp::Avg && !self.moving_mean {
            self.sum.divide(self.count);
        }
        Output::Histogram(shared(&self.sum.total()))
    }
}
