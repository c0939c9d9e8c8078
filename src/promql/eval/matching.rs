//! Operators between vectors: which series of the two sides belong together, and what they give.
//!
//! Signatures are computed once for each series. Where a match group has one series on each side, as nearly all
//! have, the two are walked together; otherwise the group is settled step by step.

use hashbrown::HashMap;

use super::element::{Outcome, apply, arithmetic, holds};
use super::grid::Grid;
use super::points::{Output, Point, Points, Series};
use super::{Evaluator, is_metadata_label};
use crate::model::{LabelParts, Labels, METRIC_NAME};
use crate::promql::ast::{Binary, BinaryOp, Cardinality, Expr, Matching};
use crate::promql::error::QueryError;
use crate::promql::labels_text;

/// Numbers for the sets of labels by which series match.
pub(super) struct Signatures<'a> {
    matching: &'a Matching,
    parts: LabelParts,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self { matching, parts: LabelParts::default() }
    }

    /// The number of a series' signature.
    pub(super) fn of(&mut self, labels: &Labels) -> usize {
        let Matching { on, labels: names, .. } = self.matching;
        let is_named = |name: &[u8]| names.iter().any(|n| n.as_bytes() == name);
        let takes_part =
            |name: &[u8]| if *on { is_named(name) } else { name != METRIC_NAME.as_bytes() && !is_named(name) };
        self.parts.number(labels, takes_part)
    }

    /// The labels of the signature that was asked for last.
    fn last(&self) -> Labels {
        self.parts.last()
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }
}

/// Series of one match group, as indexes.
#[derive(Clone, Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// A result series in the making. Its values may come from several pairs, so not in the order of steps.
struct Unsorted {
    labels: Labels,
    drop_name: bool,
    /// The values of the first pair that was walked as a whole.
    whole: Points,
    values: Vec<(usize, Output)>,
}

/// All result series, found again by their labels.
#[derive(Default)]
struct Results {
    by_labels: HashMap<(Labels, bool), usize>,
    series: Vec<Unsorted>,
}

impl Results {
    /// The place of the series with these labels.
    fn place(&mut self, labels: Labels, drop_name: bool) -> usize {
        let next = self.series.len();
        let at = *self.by_labels.entry((labels.clone(), drop_name)).or_insert(next);
        if at == next {
            self.series.push(Unsorted { labels, drop_name, whole: Points::default(), values: Vec::new() });
        }
        at
    }

    /// Adds the values of a pair.
    fn put(&mut self, labels: Labels, drop_name: bool, points: Points) {
        let at = self.place(labels, drop_name);
        let series = &mut self.series[at];
        if series.whole.is_empty() {
            series.whole = points;
        } else {
            series.values.extend(points.iter().map(|(step, point)| (step, point.to_output())));
        }
    }
}

/// One side of a pair: its series, unless that was filled in, and its value.
#[derive(Clone, Copy)]
struct Side<'s> {
    /// Index of the series on its side.
    series: Option<usize>,
    labels: Option<&'s Labels>,
    drop_name: bool,
    point: Point<'s>,
}

impl<'s> Side<'s> {
    fn filled(value: f64) -> Self {
        Self { series: None, labels: None, drop_name: false, point: Point::Float(value) }
    }

    fn of(series: &'s [Series], index: usize, step: usize) -> Option<Self> {
        let one = &series[index];
        let point = one.points.get(step)?;
        Some(Self { series: Some(index), labels: Some(&one.labels), drop_name: one.drop_name, point })
    }
}

/// The pair that gave a group's last value and where its result series is, so that labels are only worked out
/// again when the pair changes.
type LastPair = Option<(Option<usize>, usize)>;

/// What stays the same for all pairs of one operator.
struct Operation<'a> {
    expr: &'a Expr,
    binary: &'a Binary,
    /// `group_right`: the "many" side is the right one.
    swapped: bool,
}

impl Evaluator<'_> {
    pub(super) fn match_vectors(
        &mut self,
        expr: &Expr,
        binary: &Binary,
        lhs: Vec<Series>,
        rhs: Vec<Series>,
        grid: &Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let swapped = binary.matching.cardinality == Cardinality::OneToMany;
        let operation = Operation { expr, binary, swapped };
        let (many, one) = if swapped { (&rhs, &lhs) } else { (&lhs, &rhs) };
        let mut signatures = Signatures::new(&binary.matching);
        let of_many: Vec<usize> = many.iter().map(|s| signatures.of(&s.labels)).collect();
        let of_one: Vec<usize> = one.iter().map(|s| signatures.of(&s.labels)).collect();
        let mut groups = vec![Group::default(); signatures.len()];
        of_many.iter().enumerate().for_each(|(at, signature)| groups[*signature].many.push(at));
        of_one.iter().enumerate().for_each(|(at, signature)| groups[*signature].one.push(at));
        let mut results = Results::default();
        let fills = binary.matching.fill_left.is_some() || binary.matching.fill_right.is_some();
        for group in &groups {
            match (group.many.as_slice(), group.one.as_slice()) {
                // Nothing to pair, and nothing that could be there twice.
                ([], [_] | []) | (_, []) if !fills => {}
                ([one_of_many], [single]) if !fills => {
                    self.match_pair(&operation, &many[*one_of_many], &one[*single], &mut results)?;
                }
                // Every series of the group meets the same single one, and may do so.
                (several, [single]) if !fills && binary.matching.cardinality != Cardinality::OneToOne => {
                    for one_of_many in several {
                        self.match_pair(&operation, &many[*one_of_many], &one[*single], &mut results)?;
                    }
                }
                _ => self.match_group(&operation, group, (many, one), grid, &mut results)?,
            }
        }
        collect(&operation, results)
    }

    /// Walks two series together.
    fn match_pair(
        &mut self,
        operation: &Operation<'_>,
        many: &Series,
        one: &Series,
        results: &mut Results,
    ) -> Result<(), QueryError> {
        let Operation { expr, binary, swapped } = *operation;
        self.worked(many.points.len() + one.points.len())?;
        let (lhs, rhs) = if swapped { (&one.points, &many.points) } else { (&many.points, &one.points) };
        let points = match lhs.is_float_only() && rhs.is_float_only() {
            true => pair_of_floats(binary, lhs, rhs),
            false => None,
        };
        let points = points.unwrap_or_else(|| {
            let mut points = Points::default();
            for (step, a) in lhs.iter() {
                let Some(b) = rhs.get(step) else { continue };
                match (apply(binary.op, a, b, expr.position, &mut self.notes), binary.return_bool) {
                    (Outcome::Undefined, _) | (Outcome::Filtered, false) => {}
                    (Outcome::Filtered, true) => points.push_float(step, 0.0),
                    (Outcome::Value(_), true) => points.push_float(step, 1.0),
                    (Outcome::Value(value), false) => points.push(step, value),
                }
            }
            points
        });
        if !points.is_empty() {
            let labels = result_labels(binary, Some(&many.labels), Some(&one.labels));
            results.put(labels, many.drop_name || binary.return_bool, points);
        }
        Ok(())
    }

    fn match_group(
        &mut self,
        operation: &Operation<'_>,
        group: &Group,
        (many, one): (&[Series], &[Series]),
        grid: &Grid,
        results: &mut Results,
    ) -> Result<(), QueryError> {
        let matching = &operation.binary.matching;
        // As in Prometheus, `fill_left` fills the "many" side even where `group_right` makes that the right one.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        let fills = fill_many.is_some() || fill_one.is_some();
        let mut pairs: Vec<LastPair> = vec![None; group.many.len()];
        let mut filled_pair: LastPair = None;
        for step in 0..grid.steps {
            self.worked(group.many.len() + group.one.len())?;
            // Two series on the "one" side are an error even where nothing matches them, unless the other side is
            // wholly empty and nothing stands in for it.
            let single = match the_one(operation, group, one, step) {
                Err(_) if !fills && many.iter().all(|series| series.points.get(step).is_none()) => continue,
                single => single?,
            };
            let partner = single.or(fill_one.map(Side::filled));
            let mut any = false;
            for (index, pair) in group.many.iter().zip(&mut pairs) {
                let Some(side) = Side::of(many, *index, step) else { continue };
                let is_second = std::mem::replace(&mut any, true);
                let Some(partner) = partner else { continue };
                // A pair that a comparison filters out counts, too.
                if is_second && matching.cardinality == Cardinality::OneToOne {
                    return Err(multiple_matches(matching.cardinality));
                }
                self.emit(operation, side, partner, step, pair, results);
            }
            if let (false, Some(fill), Some(partner)) = (any, fill_many, single) {
                self.emit(operation, Side::filled(fill), partner, step, &mut filled_pair, results);
            }
        }
        Ok(())
    }

    /// Applies the operator to a pair.
    fn emit(
        &mut self,
        operation: &Operation<'_>,
        many: Side<'_>,
        one: Side<'_>,
        step: usize,
        last: &mut LastPair,
        results: &mut Results,
    ) {
        let Operation { expr, binary, swapped } = *operation;
        let (a, b) = if swapped { (one.point, many.point) } else { (many.point, one.point) };
        let value = match (apply(binary.op, a, b, expr.position, &mut self.notes), binary.return_bool) {
            (Outcome::Undefined, _) | (Outcome::Filtered, false) => return,
            (Outcome::Filtered, true) => Output::Float(0.0),
            (Outcome::Value(_), true) => Output::Float(1.0),
            (Outcome::Value(value), false) => value,
        };
        let place = match *last {
            Some((partner, place)) if partner == one.series => place,
            _ => {
                let known = if many.series.is_some() { many } else { one };
                let labels = result_labels(binary, many.labels, one.labels);
                results.place(labels, known.drop_name || binary.return_bool)
            }
        };
        *last = Some((one.series, place));
        results.series[place].values.push((step, value));
    }
}

/// An operator on two series of floats; `None` where it is not defined for floats.
fn pair_of_floats(binary: &Binary, lhs: &Points, rhs: &Points) -> Option<Points> {
    let op = binary.op;
    Some(match op {
        BinaryOp::Add => lhs.zip_floats(rhs, |a, b| Some(a + b)),
        BinaryOp::Sub => lhs.zip_floats(rhs, |a, b| Some(a - b)),
        BinaryOp::Mul => lhs.zip_floats(rhs, |a, b| Some(a * b)),
        BinaryOp::Div => lhs.zip_floats(rhs, |a, b| Some(a / b)),
        op if op.is_comparison() && !binary.return_bool => lhs.zip_floats(rhs, |a, b| holds(op, a, b).then_some(a)),
        op if op.is_comparison() || op.drops_name() => lhs.zip_floats(rhs, |a, b| Some(arithmetic(op, a, b))),
        _ => return None,
    })
}

/// The only series of the "one" side that has a value at a step.
fn the_one<'s>(
    operation: &Operation<'_>,
    group: &Group,
    one: &'s [Series],
    step: usize,
) -> Result<Option<Side<'s>>, QueryError> {
    let mut present = group.one.iter().filter_map(|at| Side::of(one, *at, step));
    let first = present.next();
    match (first.and_then(|side| side.labels), present.next().and_then(|side| side.labels)) {
        (Some(a), Some(b)) => Err(duplicate(operation, a, b)),
        _ => Ok(first),
    }
}

fn duplicate(operation: &Operation<'_>, a: &Labels, b: &Labels) -> QueryError {
    let side = if operation.swapped { "left" } else { "right" };
    let mut signatures = Signatures::new(&operation.binary.matching);
    signatures.of(a);
    let group = signatures.last();
    QueryError::Execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
         many-to-many matching not allowed: matching labels must be unique on one side",
        labels_text(&group),
        labels_text(a),
        labels_text(b)
    ))
}

fn multiple_matches(cardinality: Cardinality) -> QueryError {
    let reason = match cardinality {
        Cardinality::OneToOne => "many-to-one matching must be explicit (group_left/group_right)",
        _ => "grouping labels must ensure unique matches",
    };
    QueryError::Execution(format!("multiple matches for labels: {reason}"))
}

/// The labels of a pair's result.
fn result_labels(binary: &Binary, many: Option<&Labels>, one: Option<&Labels>) -> Labels {
    let matching = &binary.matching;
    let drops_name = binary.op.drops_name();
    let is_named = |name: &str| matching.labels.iter().any(|n| n == name);
    let keeps = |name: &str| {
        if drops_name && is_metadata_label(name) {
            return false;
        }
        match (matching.cardinality, matching.on) {
            (Cardinality::OneToOne, true) => is_named(name),
            (Cardinality::OneToOne, false) => !is_named(name),
            _ => true,
        }
    };
    let Some(many) = many else {
        // Only the labels that the match group has in common are known of a series that is not there.
        let known = |name: &str| {
            if matching.on {
                is_named(name)
            } else {
                name != METRIC_NAME && !is_metadata_label(name) && !is_named(name)
            }
        };
        let is_included = |name: &str| matching.include.iter().any(|n| n == name);
        return one.map_or_else(Labels::empty, |labels| labels.keep(|name| known(name) || is_included(name)));
    };
    if matching.include.is_empty() || one.is_none() {
        return many.keep(keeps);
    }
    matching
        .include
        .iter()
        .fold(many.keep(keeps), |labels, name| labels.with(name, one.and_then(|labels| labels.get(name)).unwrap_or("")))
}

/// Puts the values of each result series in order; two at one step mean that the labels do not tell them apart.
fn collect(operation: &Operation<'_>, results: Results) -> Result<Vec<Series>, QueryError> {
    let mut out = Vec::with_capacity(results.series.len());
    for Unsorted { labels, drop_name, whole, mut values } in results.series {
        if values.is_empty() {
            out.push(Series { labels, drop_name, points: whole });
            continue;
        }
        values.extend(whole.iter().map(|(step, point)| (step, point.to_output())));
        values.sort_by_key(|(step, _)| *step);
        if values.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(multiple_matches(operation.binary.matching.cardinality));
        }
        let mut points = Points::default();
        values.into_iter().for_each(|(step, value)| points.push(step, value));
        out.push(Series { labels, drop_name, points });
    }
    Ok(out)
}
