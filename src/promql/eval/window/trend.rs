//! `deriv`, `predict_linear`, `double_exponential_smoothing`: where the floats of a window are heading.

use super::super::annotations::Annotations;
use super::super::kahan_add;
use super::super::points::Output;
use super::{Whole, Window, WindowCall};
use crate::model::Sample;
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;

pub(super) fn apply(
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    notes: &mut Annotations,
) -> Result<Option<Output>, QueryError> {
    let floats = window.floats;
    let param = |index: usize| call.params.get(index).map_or(f64::NAN, |p| p.at(window.step));
    if call.id == FunctionId::DoubleExponentialSmoothing {
        check_factor("smoothing", "sf", param(0))?;
        check_factor("trend", "tf", param(1))?;
    }
    if !floats.is_empty() && !window.histograms.is_empty() {
        notes.histograms_ignored_in_range(call.first_arg, &whole.name);
    }
    if floats.len() < 2 {
        return Ok(None);
    }
    Ok(Some(Output::Float(match call.id {
        // Times are taken relative to the window, because the epoch is too far away for exact squares.
        FunctionId::Deriv => linear_regression(floats, floats[0].t.0).0,
        FunctionId::PredictLinear => {
            let (slope, intercept) = linear_regression(floats, window.now);
            slope * param(0) + intercept
        }
        _ => smooth(floats, param(0), param(1)),
    })))
}

fn check_factor(name: &str, symbol: &str, value: f64) -> Result<(), QueryError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(QueryError::Execution(format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {value:.6}")))
}

/// Slope per second and value at `at` of the least-squares line.
fn linear_regression(samples: &[Sample], at: i64) -> (f64, f64) {
    let first = samples[0].v;
    if samples.iter().all(|s| s.v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let sum = |of: &dyn Fn(f64, f64) -> f64| {
        let (sum, lost) = samples
            .iter()
            .fold((0.0, 0.0), |(sum, lost), s| kahan_add(of((s.t.0 - at) as f64 / 1000.0, s.v), sum, lost));
        sum + lost
    };
    let n = samples.len() as f64;
    let (sum_x, sum_y) = (sum(&|x, _| x), sum(&|_, y| y));
    let (sum_xy, sum_xx) = (sum(&|x, y| x * y), sum(&|x, _| x * x));
    let slope = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n);
    (slope, sum_y / n - slope * sum_x / n)
}

/// Holt's linear method: a smoothed value and a smoothed trend.
fn smooth(samples: &[Sample], smoothing: f64, trend_factor: f64) -> f64 {
    let mut before = 0.0;
    let mut value = samples[0].v;
    let mut trend = samples[1].v - samples[0].v;
    for (index, sample) in samples.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_factor * (value - before) + (1.0 - trend_factor) * trend;
        }
        let next = smoothing * sample.v + (1.0 - smoothing) * (value + trend);
        before = value;
        value = next;
    }
    value
}
