//! Operators with a scalar on at least one side, and the set operators.

use hashbrown::HashSet;

use super::element::{Outcome, apply, arithmetic};
use super::grid::Grid;
use super::matching::Signatures;
use super::points::{Point, Points, Scalar, Series};
use super::{Evaluated, Evaluator};
use crate::promql::ast::{Binary, BinaryOp, Expr};
use crate::promql::error::QueryError;

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, expr: &Expr, binary: &Binary, grid: &Grid) -> Result<Evaluated, QueryError> {
        let lhs = self.eval(&binary.lhs, grid)?;
        let rhs = self.eval(&binary.rhs, grid)?;
        match (lhs, rhs) {
            (Evaluated::Scalar(a), Evaluated::Scalar(b)) => {
                Ok(Evaluated::Scalar(scalar_scalar(binary.op, &a, &b, grid)))
            }
            (Evaluated::Vector(series), Evaluated::Scalar(scalar)) => {
                Ok(Evaluated::Vector(self.vector_scalar(expr, binary, series, &scalar, false)?))
            }
            (Evaluated::Scalar(scalar), Evaluated::Vector(series)) => {
                Ok(Evaluated::Vector(self.vector_scalar(expr, binary, series, &scalar, true)?))
            }
            (Evaluated::Vector(lhs), Evaluated::Vector(rhs)) if binary.op.is_set() => {
                // One bit for each match group and step.
                self.check_samples((lhs.len() + rhs.len()).saturating_mul(grid.steps) / 128)?;
                Ok(Evaluated::Vector(set_operation(binary, lhs, rhs, grid)))
            }
            (Evaluated::Vector(lhs), Evaluated::Vector(rhs)) => {
                Ok(Evaluated::Vector(self.match_vectors(expr, binary, lhs, rhs, grid)?))
            }
            _ => Err(QueryError::Execution("operators are not defined for strings".into())),
        }
    }

    fn vector_scalar(
        &mut self,
        expr: &Expr,
        binary: &Binary,
        series: Vec<Series>,
        scalar: &Scalar,
        scalar_is_left: bool,
    ) -> Result<Vec<Series>, QueryError> {
        let mut out = Vec::with_capacity(series.len());
        for one in series {
            self.cancel.check()?;
            let drop_name = one.drop_name || binary.op.drops_name() || binary.return_bool;
            if let Some(number) = scalar.constant().filter(|_| binary.op.drops_name() && one.points.is_float_only()) {
                let (op, points) = (binary.op, one.points);
                let points = match scalar_is_left {
                    true => points.map_floats(|v| arithmetic(op, number, v)),
                    false => points.map_floats(|v| arithmetic(op, v, number)),
                };
                out.push(Series { labels: one.labels, drop_name, points });
                continue;
            }
            let mut points = Points::default();
            for (step, point) in one.points.iter() {
                let number = Point::Float(scalar.at(step));
                let (a, b) = if scalar_is_left { (number, point) } else { (point, number) };
                let outcome = apply(binary.op, a, b, expr.position, &mut self.notes);
                match (outcome, binary.return_bool) {
                    (Outcome::Undefined, _) | (Outcome::Filtered, false) => {}
                    (Outcome::Filtered, true) => points.push_float(step, 0.0),
                    (Outcome::Value(_), true) => points.push_float(step, 1.0),
                    // A comparison keeps the vector's value, on whichever side it stands.
                    (Outcome::Value(_), false) if binary.op.is_comparison() => points.push(step, point.to_output()),
                    (Outcome::Value(value), false) => points.push(step, value),
                }
            }
            if !points.is_empty() {
                out.push(Series { labels: one.labels, drop_name, points });
            }
        }
        Ok(out)
    }
}

fn scalar_scalar(op: BinaryOp, a: &Scalar, b: &Scalar, grid: &Grid) -> Scalar {
    match (a.constant(), b.constant()) {
        (Some(a), Some(b)) => Scalar::Constant(arithmetic(op, a, b)),
        _ => Scalar::Steps((0..grid.steps).map(|step| arithmetic(op, a.at(step), b.at(step))).collect()),
    }
}

/// `and`, `or`, `unless`: which series of each side stay, step by step.
fn set_operation(binary: &Binary, lhs: Vec<Series>, rhs: Vec<Series>, grid: &Grid) -> Vec<Series> {
    let mut signatures = Signatures::new(&binary.matching);
    let left: Vec<usize> = lhs.iter().map(|s| signatures.of(&s.labels)).collect();
    let right: Vec<usize> = rhs.iter().map(|s| signatures.of(&s.labels)).collect();
    match binary.op {
        BinaryOp::Or => {
            let present = presence(&lhs, &left, signatures.len(), grid);
            let rhs = keep_where(rhs, &right, |signature, step| !present.contains(&(signature, step)));
            let mut all = lhs;
            all.extend(rhs);
            join_same_labels(all)
        }
        op => {
            let present = presence(&rhs, &right, signatures.len(), grid);
            let wanted = op == BinaryOp::And;
            keep_where(lhs, &left, |signature, step| present.contains(&(signature, step)) == wanted)
        }
    }
}

/// A set of (signature, step) pairs, one bit each.
struct Presence {
    bits: Vec<u64>,
    steps: usize,
}

impl Presence {
    fn contains(&self, (signature, step): &(usize, usize)) -> bool {
        let at = signature * self.steps + step;
        self.bits[at / 64] >> (at % 64) & 1 == 1
    }
}

fn presence(series: &[Series], signature_of: &[usize], signatures: usize, grid: &Grid) -> Presence {
    let mut presence = Presence { bits: vec![0; (signatures * grid.steps).div_ceil(64)], steps: grid.steps };
    for (one, signature) in series.iter().zip(signature_of) {
        for (step, _) in one.points.iter() {
            let at = signature * grid.steps + step;
            presence.bits[at / 64] |= 1 << (at % 64);
        }
    }
    presence
}

fn keep_where(series: Vec<Series>, signature_of: &[usize], keep: impl Fn(usize, usize) -> bool) -> Vec<Series> {
    let filter = |(one, signature): (Series, &usize)| {
        let mut points = Points::default();
        for (step, point) in one.points.iter().filter(|(step, _)| keep(*signature, *step)) {
            points.push(step, point.to_output());
        }
        (!points.is_empty()).then_some(Series { points, ..one })
    };
    series.into_iter().zip(signature_of).filter_map(filter).collect()
}

/// Series of both sides of `or` that have the same labels become one; they never meet at a step.
fn join_same_labels(series: Vec<Series>) -> Vec<Series> {
    let mut labels = HashSet::new();
    if series.iter().all(|s| labels.insert((s.labels.clone(), s.drop_name))) {
        return series;
    }
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for next in series {
        let twin = out.iter().position(|s| s.labels == next.labels && s.drop_name == next.drop_name);
        match twin.and_then(|at| out[at].points.merged_with(&next.points).map(|points| (at, points))) {
            Some((at, points)) => out[at].points = points,
            None => out.push(next),
        }
    }
    out
}
