//! Functions of each float by itself.

use super::super::Evaluator;
use super::super::grid::Grid;
use super::super::points::Scalar;
use super::super::stream::Sink;
use crate::promql::ast::Call;
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;

/// Whether the function is one of these.
pub(super) fn is_math(id: FunctionId) -> bool {
    use FunctionId::{Clamp, ClampMax, ClampMin};
    simple(id).is_some() || matches!(id, Clamp | ClampMax | ClampMin)
}

impl<'a> Evaluator<'a> {
    pub(super) fn math_call(&mut self, call: &Call, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        let before = self.held;
        let params = call.args[1..].iter().map(|arg| self.scalar(arg, grid)).collect::<Result<Vec<Scalar>, _>>()?;
        let param = |index: usize, step: usize| params.get(index).map_or(f64::NAN, |p| p.at(step));
        let function = match simple(call.function.id) {
            Some(function) if params.is_empty() => Some(function),
            _ => None,
        };
        let with_params = |step: usize, v: f64| match call.function.id {
            FunctionId::Clamp => clamp(v, param(0, step), param(1, step)),
            FunctionId::ClampMin => clamp(v, param(0, step), f64::INFINITY),
            FunctionId::ClampMax => clamp(v, f64::NEG_INFINITY, param(0, step)),
            _ => Some(round(v, param(0, step))),
        };
        self.stream(&call.args[0], grid, &mut |this, one| {
            match function {
                Some(function) => one.points.map_floats(function),
                None => one.points.filter_map_floats(with_params),
            }
            one.drop_name = true;
            if one.points.is_empty() { Ok(()) } else { sink(this, one) }
        })?;
        self.held = before;
        Ok(())
    }
}

/// Nothing where the bounds exclude each other. As Go's `Min` and `Max` have it, an infinite bound stands even where
/// another number is NaN.
fn clamp(v: f64, min: f64, max: f64) -> Option<f64> {
    let lesser = |a: f64, b: f64| match () {
        () if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY => f64::NEG_INFINITY,
        () if a.is_nan() || b.is_nan() => f64::NAN,
        () => a.min(b),
    };
    if max < min {
        return None;
    }
    let capped = lesser(v, max);
    Some(-lesser(-capped, -min))
}

/// To the nearest multiple, halves upwards. The inverse loses fewer digits than dividing by the step.
fn round(v: f64, to_nearest: f64) -> f64 {
    let inverse = 1.0 / to_nearest;
    (v * inverse + 0.5).floor() / inverse
}

fn simple(id: FunctionId) -> Option<fn(f64) -> f64> {
    Some(match id {
        FunctionId::Abs => f64::abs,
        FunctionId::Acos => f64::acos,
        FunctionId::Acosh => f64::acosh,
        FunctionId::Asin => f64::asin,
        FunctionId::Asinh => f64::asinh,
        FunctionId::Atan => f64::atan,
        FunctionId::Atanh => f64::atanh,
        FunctionId::Ceil => f64::ceil,
        FunctionId::Cos => f64::cos,
        FunctionId::Cosh => f64::cosh,
        FunctionId::Deg => |v| v * 180.0 / std::f64::consts::PI,
        FunctionId::Exp => f64::exp,
        FunctionId::Floor => f64::floor,
        FunctionId::Ln => f64::ln,
        FunctionId::Log10 => f64::log10,
        FunctionId::Log2 => f64::log2,
        FunctionId::Rad => |v| v * std::f64::consts::PI / 180.0,
        FunctionId::Round => |v| round(v, 1.0),
        FunctionId::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        FunctionId::Sin => f64::sin,
        FunctionId::Sinh => f64::sinh,
        FunctionId::Sqrt => f64::sqrt,
        FunctionId::Tan => f64::tan,
        FunctionId::Tanh => f64::tanh,
        _ => return None,
    })
}
