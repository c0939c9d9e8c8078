//! One operator on two values.

use std::sync::Arc;

use super::annotations::{Annotations, HistogramUse};
use super::points::{Output, Point};
use super::shared;
use crate::model::{CounterResetHint, FloatHistogram};
use crate::promql::ast::{BinaryOp, PositionRange};
use crate::promql::histogram::{Keep, Sparse};

/// What an operator gives for two values.
pub(super) enum Outcome {
    /// A value; for comparisons the left one, because the comparison holds.
    Value(Output),
    /// The comparison does not hold.
    Filtered,
    /// The operator is not defined for such values; an annotation says so.
    Undefined,
}

/// A copy multiplied by a number.
pub(super) fn scaled(h: &FloatHistogram, factor: f64) -> Arc<FloatHistogram> {
    let mut sparse = Sparse::from(h);
    sparse.scale(factor);
    shared(&sparse)
}

/// Floats only.
pub(super) fn arithmetic(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Atan2 => a.atan2(b),
        _ => f64::from(u8::from(holds(op, a, b))),
    }
}

/// Whether a comparison of floats holds.
pub(super) fn holds(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Less => a < b,
        BinaryOp::LessOrEqual => a <= b,
        BinaryOp::Greater => a > b,
        BinaryOp::GreaterOrEqual => a >= b,
        _ => false,
    }
}

/// Applies `op`; what cannot be done is annotated at `at`.
pub(super) fn apply(op: BinaryOp, a: Point<'_>, b: Point<'_>, at: PositionRange, notes: &mut Annotations) -> Outcome {
    let kept = |holds: bool, value: Output| if holds { Outcome::Value(value) } else { Outcome::Filtered };
    match (a, b) {
        (Point::Float(x), Point::Float(y)) if op.is_comparison() => kept(holds(op, x, y), Output::Float(x)),
        (Point::Float(x), Point::Float(y)) if op.drops_name() => Outcome::Value(Output::Float(arithmetic(op, x, y))),
        (Point::Float(x), Point::Histogram(h)) if op == BinaryOp::Mul => {
            Outcome::Value(Output::Histogram(scaled(h, x)))
        }
        (Point::Histogram(h), Point::Float(y)) => match op {
            BinaryOp::Mul => Outcome::Value(Output::Histogram(scaled(h, y))),
            BinaryOp::Div => {
                let mut sparse = Sparse::from(&**h);
                sparse.divide(y);
                Outcome::Value(Output::Histogram(shared(&sparse)))
            }
            BinaryOp::TrimUpper | BinaryOp::TrimLower => {
                let keep = if op == BinaryOp::TrimUpper { Keep::Below } else { Keep::Above };
                Outcome::Value(Output::Histogram(shared(&Sparse::from(&**h).trimmed(y, keep))))
            }
            _ => undefined("histogram", op, "float", at, notes),
        },
        (Point::Histogram(x), Point::Histogram(y)) => match op {
            BinaryOp::Equal => kept(same(x, y), Output::Histogram(Arc::clone(x))),
            BinaryOp::NotEqual => kept(!same(x, y), Output::Histogram(Arc::clone(x))),
            BinaryOp::Add | BinaryOp::Sub => add(op, x, y, at, notes),
            _ => undefined("histogram", op, "histogram", at, notes),
        },
        (Point::Float(_), Point::Float(_)) => undefined("float", op, "float", at, notes),
        (Point::Float(_), Point::Histogram(_)) => undefined("float", op, "histogram", at, notes),
    }
}

fn undefined(left: &str, op: BinaryOp, right: &str, at: PositionRange, notes: &mut Annotations) -> Outcome {
    notes.incompatible_types(at, left, op.as_str(), right);
    Outcome::Undefined
}

/// Whether two histograms hold the same, however they are laid out; hints aside.
pub(super) fn same(a: &FloatHistogram, b: &FloatHistogram) -> bool {
    let (mut a, mut b) = (Sparse::from(a), Sparse::from(b));
    a.hint = CounterResetHint::Unknown;
    b.hint = CounterResetHint::Unknown;
    // NaN sums of the same bits are the same histogram.
    let sums_agree = a.sum.to_bits() == b.sum.to_bits() || a.sum == b.sum;
    (a.sum, b.sum) = (0.0, 0.0);
    sums_agree && a == b
}

fn add(op: BinaryOp, x: &FloatHistogram, y: &FloatHistogram, at: PositionRange, notes: &mut Annotations) -> Outcome {
    let (sign, used_for) = match op {
        BinaryOp::Sub => (-1.0, HistogramUse::Subtraction),
        _ => (1.0, HistogramUse::Addition),
    };
    let mut sum = Sparse::from(x);
    let Ok(outcome) = sum.add_scaled(&Sparse::from(y), sign) else {
        notes.incompatible_layout(at, op.as_str());
        return Outcome::Undefined;
    };
    if outcome.reset_collision {
        notes.reset_collision(at, used_for);
    }
    if outcome.bounds_reconciled {
        notes.bounds_reconciled(at, used_for);
    }
    if op == BinaryOp::Sub {
        sum.hint = CounterResetHint::Gauge;
    }
    Outcome::Value(Output::Histogram(shared(&sum)))
}
