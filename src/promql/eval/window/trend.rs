//! `deriv`, `predict_linear`, `double_exponential_smoothing`: where the floats of a window are heading.

use super::super::annotations::Annotations;
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
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        notes.histograms_ignored_in_range(call.first_arg, &whole.name);
    }
    Ok(of_floats(call, window.floats, window.step, window.now)?.map(Output::Float))
}

/// Where the floats of a window are heading; `now` is the time of the step.
pub(super) fn of_floats(
    call: &WindowCall,
    floats: &[Sample],
    step: usize,
    now: i64,
) -> Result<Option<f64>, QueryError> {
    let param = |index: usize| call.params.get(index).map_or(f64::NAN, |p| p.at(step));
    if call.id == FunctionId::DoubleExponentialSmoothing {
        check_factor("smoothing", "sf", param(0))?;
        check_factor("trend", "tf", param(1))?;
    }
    if floats.len() < 2 {
        return Ok(None);
    }
    Ok(Some(match call.id {
        FunctionId::DoubleExponentialSmoothing => smooth(floats, param(0), param(1)),
        _ => {
            let line = linear_regression(floats, origin(call, floats, now));
            of_line(call, line, step)
        }
    }))
}

/// The time from which a line is measured: times are taken relative to the window or the step, because the epoch is too
/// far away for exact squares.
pub(super) fn origin(call: &WindowCall, floats: &[Sample], now: i64) -> i64 {
    if call.id == FunctionId::Deriv { floats[0].t.0 } else { now }
}

/// What the function wants of the slope and value of a line.
pub(super) fn of_line(call: &WindowCall, (slope, value): (f64, f64), step: usize) -> f64 {
    if call.id == FunctionId::Deriv {
        return slope;
    }
    slope * call.params.first().map_or(f64::NAN, |seconds| seconds.at(step)) + value
}

fn check_factor(name: &str, symbol: &str, value: f64) -> Result<(), QueryError> {
    if value > 0.0 && value < 1.0 {
        return Ok(());
    }
    Err(QueryError::Execution(format!("invalid {name} factor. Expected: 0 < {symbol} < 1, got: {value:.6}")))
}

/// A sum and what rounding has lost of it, by Knuth's sum of two, which has no branch.
#[derive(Clone, Copy, Default)]
struct Exact {
    sum: f64,
    lost: f64,
}

impl Exact {
    #[inline(always)]
    fn add(&mut self, value: f64) {
        let total = self.sum + value;
        let taken = total - self.sum;
        let rest = (self.sum - (total - taken)) + (value - taken);
        self.lost = if total.is_infinite() { 0.0 } else { self.lost + rest };
        self.sum = total;
    }

    fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// Slope per second and value at `at` of the least-squares line.
pub(super) fn linear_regression(samples: &[Sample], at: i64) -> (f64, f64) {
    let first = samples[0].v;
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_xx) = <(Exact, Exact, Exact, Exact)>::default();
    let mut is_constant = true;
    for sample in samples {
        let (x, y) = ((sample.t.0 - at) as f64 / 1000.0, sample.v);
        is_constant &= y == first;
        sum_x.add(x);
        sum_y.add(y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    if is_constant {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = samples.len() as f64;
    let (sum_x, sum_y) = (sum_x.total(), sum_y.total());
    let slope = (sum_xy.total() - sum_x * sum_y / n) / (sum_xx.total() - sum_x * sum_x / n);
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
