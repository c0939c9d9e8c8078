//! Operators between scalars, and the set operators. Those with one scalar side are in `stream`, those between vectors
//! in `matching`.

use hashbrown::HashMap;

use super::element::arithmetic;
use super::grid::Grid;
use super::held::Held;
use super::matching::Signatures;
use super::points::{Scalar, Series};
use super::{Evaluated, Evaluator};
use crate::model::Labels;
use crate::promql::ast::{Binary, BinaryOp, Expr};
use crate::promql::error::QueryError;

impl Evaluator<'_> {
    pub(super) fn binary(&mut self, expr: &Expr, binary: &Binary, grid: &Grid) -> Result<Evaluated, QueryError> {
        let lhs = self.eval(&binary.lhs, grid)?;
        let rhs = self.eval(&binary.rhs, grid)?;
        match (lhs, rhs) {
            (Evaluated::Scalar(_), Evaluated::Scalar(_)) if binary.op.is_trim() => Err(QueryError::Execution(format!(
                "operator {:?} not allowed for Scalar operations",
                binary.op.as_str()
            ))),
            (Evaluated::Scalar(a), Evaluated::Scalar(b)) => {
                Ok(Evaluated::Scalar(scalar_scalar(binary.op, &a, &b, grid)))
            }
            (Evaluated::Vector(lhs), Evaluated::Vector(rhs)) if binary.op.is_set() => {
                // One bit for each match group and step.
                self.check_held(Held::bytes((lhs.len() + rhs.len()).saturating_mul(grid.steps) / 8))?;
                self.set_operation(binary, lhs, rhs, grid).map(Evaluated::Vector)
            }
            (Evaluated::Vector(lhs), Evaluated::Vector(rhs)) => {
                Ok(Evaluated::Vector(self.match_vectors(expr, binary, lhs, rhs, grid)?))
            }
            _ => Err(QueryError::Execution("operators are not defined for strings".into())),
        }
    }

    /// `and`, `or`, `unless`: which series of each side stay, step by step.
    fn set_operation(
        &mut self,
        binary: &Binary,
        mut lhs: Vec<Series>,
        mut rhs: Vec<Series>,
        grid: &Grid,
    ) -> Result<Vec<Series>, QueryError> {
        let mut signatures = Signatures::new(&binary.matching);
        let left: Vec<usize> = lhs.iter().map(|s| signatures.of(&s.labels)).collect();
        let right: Vec<usize> = rhs.iter().map(|s| signatures.of(&s.labels)).collect();
        if binary.op == BinaryOp::Or {
            let present = self.presence(&lhs, &left, signatures.len(), grid)?;
            self.keep_where(&mut rhs, &right, |signature, step| !present.contains(signature, step))?;
            lhs.append(&mut rhs);
            return Ok(join_same_labels(lhs));
        }
        let present = self.presence(&rhs, &right, signatures.len(), grid)?;
        let wanted = binary.op == BinaryOp::And;
        self.keep_where(&mut lhs, &left, |signature, step| present.contains(signature, step) == wanted)?;
        Ok(lhs)
    }

    fn presence(
        &mut self,
        series: &[Series],
        signature_of: &[usize],
        signatures: usize,
        grid: &Grid,
    ) -> Result<Presence, QueryError> {
        let mut presence = Presence { bits: vec![0; (signatures * grid.steps).div_ceil(64)], steps: grid.steps };
        for (one, signature) in series.iter().zip(signature_of) {
            self.worked(one.points.len())?;
            for (step, _) in one.points.iter() {
                let at = signature * grid.steps + step;
                presence.bits[at / 64] |= 1 << (at % 64);
            }
        }
        Ok(presence)
    }

    fn keep_where(
        &mut self,
        series: &mut Vec<Series>,
        signature_of: &[usize],
        keep: impl Fn(usize, usize) -> bool,
    ) -> Result<(), QueryError> {
        for (one, signature) in series.iter_mut().zip(signature_of) {
            self.worked(one.points.len())?;
            one.points.retain(|step| keep(*signature, step));
        }
        series.retain(|one| !one.points.is_empty());
        Ok(())
    }
}

fn scalar_scalar(op: BinaryOp, a: &Scalar, b: &Scalar, grid: &Grid) -> Scalar {
    match (a.constant(), b.constant()) {
        (Some(a), Some(b)) => Scalar::Constant(arithmetic(op, a, b)),
        _ => Scalar::Steps((0..grid.steps).map(|step| arithmetic(op, a.at(step), b.at(step))).collect()),
    }
}

/// A set of (signature, step) pairs, one bit each.
struct Presence {
    bits: Vec<u64>,
    steps: usize,
}

impl Presence {
    fn contains(&self, signature: usize, step: usize) -> bool {
        let at = signature * self.steps + step;
        self.bits[at / 64] >> (at % 64) & 1 == 1
    }
}

/// Series of both sides of `or` that have the same labels become one; they never meet at a step.
fn join_same_labels(series: Vec<Series>) -> Vec<Series> {
    let mut places: HashMap<(Labels, bool), usize> = HashMap::with_capacity(series.len());
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for next in series {
        let place = *places.entry((next.labels.clone(), next.drop_name)).or_insert(out.len());
        match out.get_mut(place) {
            None => out.push(next),
            Some(twin) => match twin.points.merged_with(&next.points) {
                Some(points) => twin.points = points,
                None => out.push(next),
            },
        }
    }
    out
}
