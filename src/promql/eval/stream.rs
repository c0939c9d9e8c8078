//! Series on their way: nodes that look at one series at a time hand them on one by one, so that an aggregation
//! never holds what it adds up.
//!
//! In:  an expression, a place to hand series to.   Out: its series, in any order, the memory of one used again
//! for the next. Always: what a series' receiver wants to keep, it copies.

use super::element::{Outcome, apply, arithmetic, holds};
use super::grid::Grid;
use super::held::Held;
use super::points::{Point, Points, Scalar, Series};
use super::selector::sort_by_labels;
use super::{Evaluator, element, is_step_invariant};
use crate::promql::ast::{Binary, BinaryOp, Expr, ExprKind, ValueType};
use crate::promql::error::QueryError;

/// Takes a series that is lent to it; it may change it.
pub(super) type Sink<'s, 'a> = &'s mut dyn FnMut(&mut Evaluator<'a>, &mut Series) -> Result<(), QueryError>;

impl<'a> Evaluator<'a> {
    /// Hands each series of a vector to `sink`.
    pub(super) fn stream(&mut self, expr: &Expr, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        let is_evaluated_once = grid.steps > 1 && is_step_invariant(expr);
        if is_evaluated_once || !is_streamed(expr) {
            let before = self.held;
            for mut one in self.vector(expr, grid)? {
                self.worked(one.points.len())?;
                sink(self, &mut one)?;
            }
            self.held = before;
            return Ok(());
        }
        self.stream_node(expr, grid, sink)
    }

    /// All series that a streamed node hands on, sorted by labels.
    pub(super) fn collect(&mut self, expr: &Expr, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let mut out: Vec<Series> = Vec::new();
        let mut total = Held::default();
        self.stream_node(expr, grid, &mut |this, one| {
            total += Held::of_series(one);
            this.check_held(total)?;
            out.push(one.clone());
            Ok(())
        })?;
        sort_by_labels(&mut out);
        Ok(out)
    }

    fn stream_node(&mut self, expr: &Expr, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        self.cancel.check()?;
        match &expr.kind {
            ExprKind::Paren(inner) => self.stream(inner, grid, sink),
            ExprKind::Vector(selector) => self.instant_selector(selector, grid, sink),
            ExprKind::Unary { negative: false, operand } => self.stream(operand, grid, sink),
            ExprKind::Unary { operand, .. } => self.stream(operand, grid, &mut |this, one| {
                negate(one);
                sink(this, one)
            }),
            ExprKind::Binary(binary) => self.stream_with_scalar(expr, binary, grid, sink),
            ExprKind::Call(call) => self.stream_call(call, grid, sink),
            _ => Err(QueryError::Execution("expected an instant vector".into())),
        }
    }

    /// An operator between a vector and a scalar.
    fn stream_with_scalar(
        &mut self,
        expr: &Expr,
        binary: &Binary,
        grid: &Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), QueryError> {
        let scalar_is_left = binary.lhs.value_type() == ValueType::Scalar;
        let (scalar, vector) = if scalar_is_left { (&binary.lhs, &binary.rhs) } else { (&binary.rhs, &binary.lhs) };
        let before = self.held;
        let scalar = self.scalar(scalar, grid)?;
        let with_scalar = WithScalar { expr, binary, scalar: &scalar, scalar_is_left };
        self.stream(vector, grid, &mut |this, one| {
            with_scalar.apply(this, one);
            if one.points.is_empty() { Ok(()) } else { sink(this, one) }
        })?;
        self.held = before;
        Ok(())
    }
}

/// Whether the node looks at one series at a time.
pub(super) fn is_streamed(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Vector(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => {
            inner.value_type() == ValueType::Vector && is_streamed(inner)
        }
        ExprKind::Binary(binary) => {
            let sides = (binary.lhs.value_type(), binary.rhs.value_type());
            matches!(sides, (ValueType::Scalar, ValueType::Vector) | (ValueType::Vector, ValueType::Scalar))
        }
        ExprKind::Call(call) => super::functions::is_streamed(call.function),
        _ => false,
    }
}

/// The sign in front of a series.
pub(super) fn negate(one: &mut Series) {
    one.drop_name = true;
    if one.points.is_float_only() {
        return one.points.map_floats(|v| -v);
    }
    let mut points = Points::default();
    for (step, point) in one.points.iter() {
        match point {
            Point::Float(v) => points.push_float(step, -v),
            Point::Histogram(h) => points.push(step, super::points::Output::Histogram(element::scaled(h, -1.0))),
        }
    }
    one.points = points;
}

/// An operator and its scalar side.
struct WithScalar<'e> {
    expr: &'e Expr,
    binary: &'e Binary,
    scalar: &'e Scalar,
    scalar_is_left: bool,
}

impl WithScalar<'_> {
    fn apply(&self, evaluator: &mut Evaluator<'_>, one: &mut Series) {
        let Self { binary, scalar, scalar_is_left, .. } = *self;
        let op = binary.op;
        one.drop_name = one.drop_name || op.drops_name() || binary.return_bool;
        // The trimming operators are not defined for floats; an annotation says so.
        if !one.points.is_float_only() || !(op.is_comparison() || op.drops_name()) {
            return self.apply_to_any(evaluator, one);
        }
        let ordered = |number: f64, v: f64| if scalar_is_left { (number, v) } else { (v, number) };
        if op.is_comparison() && !binary.return_bool {
            return one.points.filter_map_floats(|step, v| {
                let (a, b) = ordered(scalar.at(step), v);
                // The vector's value stays, on whichever side it stands.
                holds(op, a, b).then_some(v)
            });
        }
        let compute = |number: f64, v: f64| {
            let (a, b) = ordered(number, v);
            arithmetic(op, a, b)
        };
        match (scalar.constant(), op, scalar_is_left) {
            // Spelt out for those that are common, so that the loop holds nothing but the operation.
            (Some(number), BinaryOp::Mul, _) => one.points.map_floats(|v| v * number),
            (Some(number), BinaryOp::Div, false) => one.points.map_floats(|v| v / number),
            (Some(number), BinaryOp::Add, _) => one.points.map_floats(|v| v + number),
            (Some(number), BinaryOp::Sub, false) => one.points.map_floats(|v| v - number),
            (Some(number), ..) => one.points.map_floats(|v| compute(number, v)),
            (None, ..) => one.points.filter_map_floats(|step, v| Some(compute(scalar.at(step), v))),
        }
    }

    fn apply_to_any(&self, evaluator: &mut Evaluator<'_>, one: &mut Series) {
        let binary = self.binary;
        let mut points = Points::default();
        for (step, point) in one.points.iter() {
            let number = Point::Float(self.scalar.at(step));
            let (a, b) = if self.scalar_is_left { (number, point) } else { (point, number) };
            let outcome = apply(binary.op, a, b, self.expr.position, &mut evaluator.notes);
            match (outcome, binary.return_bool) {
                (Outcome::Undefined, _) | (Outcome::Filtered, false) => {}
                (Outcome::Filtered, true) => points.push_float(step, 0.0),
                (Outcome::Value(_), true) => points.push_float(step, 1.0),
                (Outcome::Value(_), false) if binary.op.is_comparison() => points.push(step, point.to_output()),
                (Outcome::Value(value), false) => points.push(step, value),
            }
        }
        one.points = points;
    }
}
