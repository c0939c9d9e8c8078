//! Operators between vectors: which series of the two sides belong together, and what they give.
//!
//! Signatures are computed once for each series. Where a match group has one series on each side, as nearly all
//! have, the two are walked together; otherwise the group is settled step by step.

use hashbrown::HashMap;

use super::element::{Outcome, apply};
use super::grid::Grid;
use super::points::{Output, Point, Points, Series};
use super::{Evaluator, is_metadata_label};
use crate::model::{Labels, METRIC_NAME};
use crate::promql::ast::{Binary, Cardinality, Expr, Matching};
use crate::promql::error::QueryError;

/// Numbers for the sets of labels by which series match.
pub(super) struct Signatures<'a> {
    matching: &'a Matching,
    numbers: HashMap<Labels, usize>,
}

impl<'a> Signatures<'a> {
    pub(super) fn new(matching: &'a Matching) -> Self {
        Self { matching, numbers: HashMap::new() }
    }

    /// The labels that take part in matching.
    fn labels(&self, labels: &Labels) -> Labels {
        let Matching { on, labels: names, .. } = self.matching;
        let is_named = |name: &str| names.iter().any(|n| n == name);
        labels.keep(|name| if *on { is_named(name) } else { name != METRIC_NAME && !is_named(name) })
    }

    /// The number of a series' signature.
    pub(super) fn of(&mut self, labels: &Labels) -> usize {
        let key = self.labels(labels);
        let next = self.numbers.len();
        *self.numbers.entry(key).or_insert(next)
    }

    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

/// Series of one match group, as indexes.
#[derive(Clone, Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

/// A result series in the making: step by step values of possibly several pairs.
struct Results {
    by_labels: HashMap<(Labels, bool), usize>,
    series: Vec<(Labels, bool, Vec<(usize, Output)>)>,
}

impl Results {
    fn push(&mut self, labels: Labels, drop_name: bool, step: usize, value: Output) -> usize {
        let next = self.series.len();
        let at = *self.by_labels.entry((labels.clone(), drop_name)).or_insert(next);
        if at == next {
            self.series.push((labels, drop_name, Vec::new()));
        }
        self.series[at].2.push((step, value));
        at
    }
}

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
        let mut results = Results { by_labels: HashMap::new(), series: Vec::new() };
        for group in &groups {
            self.cancel.check()?;
            self.match_group(&operation, group, many, one, grid, &mut results)?;
        }
        collect(&operation, results)
    }

    fn match_group(
        &mut self,
        operation: &Operation<'_>,
        group: &Group,
        many: &[Series],
        one: &[Series],
        grid: &Grid,
        results: &mut Results,
    ) -> Result<(), QueryError> {
        let matching = &operation.binary.matching;
        // As in Prometheus, `fill_left` fills the "many" side even where `group_right` makes that the right one.
        let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
        if (group.one.is_empty() && fill_one.is_none()) || (group.many.is_empty() && fill_many.is_none()) {
            return self.check_duplicates(operation, group, one, grid);
        }
        for step in 0..grid.steps {
            let single = self.the_one(operation, group, one, step)?;
            let mut any = false;
            for series in group.many.iter().map(|at| &many[*at]) {
                let Some(point) = series.points.get(step) else { continue };
                let is_second = std::mem::replace(&mut any, true);
                let partner = match single {
                    Some((partner, value)) => Some((Some(partner), value)),
                    None => fill_one.map(|fill| (None, Point::Float(fill))),
                };
                let Some((partner, value)) = partner else { continue };
                if is_second && matching.cardinality == Cardinality::OneToOne {
                    return Err(QueryError::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .into(),
                    ));
                }
                let labels = Some(&series.labels);
                self.emit(
                    operation,
                    (labels, point),
                    (partner.map(|p| &p.labels), value),
                    step,
                    series.drop_name,
                    results,
                );
            }
            if let (false, Some(fill), Some((partner, value))) = (any, fill_many, single) {
                let labels = Some(&partner.labels);
                self.emit(operation, (None, Point::Float(fill)), (labels, value), step, partner.drop_name, results);
            }
        }
        Ok(())
    }

    /// The only series of the "one" side that has a value at a step.
    fn the_one<'s>(
        &self,
        operation: &Operation<'_>,
        group: &Group,
        one: &'s [Series],
        step: usize,
    ) -> Result<Option<(&'s Series, Point<'s>)>, QueryError> {
        let mut present = group.one.iter().filter_map(|at| one[*at].points.get(step).map(|point| (&one[*at], point)));
        let first = present.next();
        match (first, present.next()) {
            (Some((a, _)), Some((b, _))) => Err(duplicate(operation, a, b)),
            (first, _) => Ok(first),
        }
    }

    /// Two series on the "one" side are an error even where nothing matches them.
    fn check_duplicates(
        &self,
        operation: &Operation<'_>,
        group: &Group,
        one: &[Series],
        grid: &Grid,
    ) -> Result<(), QueryError> {
        if group.one.len() > 1 {
            for step in 0..grid.steps {
                self.the_one(operation, group, one, step)?;
            }
        }
        Ok(())
    }

    /// Applies the operator to a pair; a side that was filled in has no labels.
    fn emit(
        &mut self,
        operation: &Operation<'_>,
        many: (Option<&Labels>, Point<'_>),
        one: (Option<&Labels>, Point<'_>),
        step: usize,
        drop_name: bool,
        results: &mut Results,
    ) {
        let Operation { expr, binary, swapped } = *operation;
        let (a, b) = if swapped { (one.1, many.1) } else { (many.1, one.1) };
        let value = match (apply(binary.op, a, b, expr.position, &mut self.notes), binary.return_bool) {
            (Outcome::Undefined, _) | (Outcome::Filtered, false) => return,
            (Outcome::Filtered, true) => Output::Float(0.0),
            (Outcome::Value(_), true) => Output::Float(1.0),
            (Outcome::Value(value), false) => value,
        };
        let labels = result_labels(binary, many.0, one.0);
        let keeps_name = !binary.return_bool;
        results.push(labels, drop_name && keeps_name || binary.return_bool, step, value);
    }
}

fn duplicate(operation: &Operation<'_>, a: &Series, b: &Series) -> QueryError {
    let side = if operation.swapped { "left" } else { "right" };
    let group = Signatures::new(&operation.binary.matching).labels(&a.labels);
    QueryError::Execution(format!(
        "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
         many-to-many matching not allowed: matching labels must be unique on one side",
        crate::promql::labels_text(&group),
        crate::promql::labels_text(&a.labels),
        crate::promql::labels_text(&b.labels)
    ))
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
    let mut builder = many.keep(keeps).builder();
    for name in &matching.include {
        builder.set(name.as_str(), one.and_then(|labels| labels.get(name)).unwrap_or(""));
    }
    builder.build()
}

/// Puts the values of each result series in order; two at one step mean that the labels do not tell them apart.
fn collect(operation: &Operation<'_>, results: Results) -> Result<Vec<Series>, QueryError> {
    let mut out = Vec::with_capacity(results.series.len());
    for (labels, drop_name, mut values) in results.series {
        values.sort_by_key(|(step, _)| *step);
        if values.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            let reason = match operation.binary.matching.cardinality {
                Cardinality::OneToOne => "many-to-one matching must be explicit (group_left/group_right)",
                _ => "grouping labels must ensure unique matches",
            };
            return Err(QueryError::Execution(format!("multiple matches for labels: {reason}")));
        }
        let mut points = Points::default();
        values.into_iter().for_each(|(step, value)| points.push(step, value));
        out.push(Series { labels, drop_name, points });
    }
    Ok(out)
}
