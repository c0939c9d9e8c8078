//! The `*_over_time` family: one number, or one histogram, for all samples of a window.

use super::super::annotations::{Annotations, HistogramUse};
use super::super::points::Output;
use super::super::quantiles::quantile;
use super::super::{kahan_add, shared};
use super::{Whole, Window, WindowCall};
use crate::model::{CounterResetHint, Sample};
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;
use crate::promql::histogram::{KahanSum, Sparse};

pub(super) fn apply(
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    notes: &mut Annotations,
) -> Result<Option<Output>, QueryError> {
    let count = window.floats.len() + window.histograms.len();
    let float = |value: f64| Ok(Some(Output::Float(value)));
    match call.id {
        FunctionId::CountOverTime => float(count as f64),
        FunctionId::PresentOverTime | FunctionId::AbsentOverTime => float(1.0),
        FunctionId::SumOverTime | FunctionId::AvgOverTime => Ok(sum_or_average(call, whole, window, notes)),
        FunctionId::FirstOverTime => Ok(Some(first_or_last(window, true))),
        FunctionId::LastOverTime => Ok(Some(first_or_last(window, false))),
        FunctionId::TsOfFirstOverTime => {
            let times = [window.floats.first().map(|s| s.t.0), window.times.first().map(|(t, _)| t.0)];
            float(times.into_iter().flatten().min().unwrap_or_default() as f64 / 1000.0)
        }
        FunctionId::TsOfLastOverTime => {
            let times = [window.floats.last().map(|s| s.t.0), window.times.last().map(|(t, _)| t.0)];
            float(times.into_iter().flatten().max().unwrap_or_default() as f64 / 1000.0)
        }
        _ => of_floats(call, whole, window, notes),
    }
}

/// Functions that look at floats only, and say so where histograms stand beside them.
fn of_floats(
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    notes: &mut Annotations,
) -> Result<Option<Output>, QueryError> {
    let floats = window.floats;
    if floats.is_empty() {
        return Ok(None);
    }
    if !window.histograms.is_empty() {
        notes.histograms_ignored_in_range(call.first_arg, &whole.name);
    }
    let values = || floats.iter().map(|s| s.v).collect::<Vec<f64>>();
    let value = match call.id {
        FunctionId::MaxOverTime => extreme(floats, |new, old| new > old).v,
        FunctionId::MinOverTime => extreme(floats, |new, old| new < old).v,
        FunctionId::TsOfMaxOverTime => extreme(floats, |new, old| new >= old).t.as_secs_f64(),
        FunctionId::TsOfMinOverTime => extreme(floats, |new, old| new <= old).t.as_secs_f64(),
        FunctionId::StdvarOverTime => variance(floats),
        FunctionId::StddevOverTime => variance(floats).sqrt(),
        FunctionId::MadOverTime => median_deviation(quantile(0.5, &mut values()), &values(), &mut Vec::new()),
        FunctionId::QuantileOverTime => {
            let q = call.params.first().map_or(f64::NAN, |p| p.at(window.step));
            if !(0.0..=1.0).contains(&q) {
                notes.invalid_quantile(call.first_arg, q);
            }
            quantile(q, &mut values())
        }
        other => return Err(QueryError::Execution(format!("function {other:?} is not implemented for range vectors"))),
    };
    Ok(Some(Output::Float(value)))
}

/// The sample that wins over all before it; anything wins over NaN.
fn extreme(floats: &[Sample], wins: impl Fn(f64, f64) -> bool) -> Sample {
    let better = |best: Sample, next: &Sample| if wins(next.v, best.v) || best.v.is_nan() { *next } else { best };
    floats[1..].iter().fold(floats[0], better)
}

/// The median distance of values from their median; `scratch` is memory to work in.
pub(super) fn median_deviation(median: f64, values: &[f64], scratch: &mut Vec<f64>) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    scratch.clear();
    scratch.extend(values.iter().map(|v| (v - median).abs()));
    quantile(0.5, scratch)
}

pub(super) fn variance(floats: &[Sample]) -> f64 {
    let (mut mean, mut mean_lost, mut squares, mut squares_lost) = (0.0, 0.0, 0.0, 0.0);
    for (index, sample) in floats.iter().enumerate() {
        let delta = sample.v - (mean + mean_lost);
        (mean, mean_lost) = kahan_add(delta / (index + 1) as f64, mean, mean_lost);
        (squares, squares_lost) = kahan_add(delta * (sample.v - (mean + mean_lost)), squares, squares_lost);
    }
    (squares + squares_lost) / floats.len() as f64
}

fn first_or_last(window: &Window<'_>, first: bool) -> Output {
    let (float, histogram) = match first {
        true => (window.floats.first(), window.times.first()),
        false => (window.floats.last(), window.times.last()),
    };
    match (float, histogram) {
        (Some(f), Some((t, _))) if (first && f.t < *t) || (!first && f.t > *t) => Output::Float(f.v),
        (_, Some((_, h))) => Output::Histogram(std::sync::Arc::clone(h)),
        (Some(f), None) => Output::Float(f.v),
        (None, None) => Output::Float(f64::NAN),
    }
}

fn sum_or_average(call: &WindowCall, whole: &Whole, window: &Window<'_>, notes: &mut Annotations) -> Option<Output> {
    let averages = call.id == FunctionId::AvgOverTime;
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (false, false) => {
            notes.mixed_floats_histograms(call.first_arg, &whole.name);
            None
        }
        (false, true) => {
            let values = window.floats.iter().map(|s| s.v);
            Some(Output::Float(if averages { average(values) } else { sum(values) }))
        }
        (true, _) => sum_histograms(call, whole, window.histograms, averages, notes),
    }
}

pub(super) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, lost) = values.fold((0.0, 0.0), |(sum, lost), v| kahan_add(v, sum, lost));
    if sum.is_infinite() { sum } else { sum + lost }
}

/// The mean; from the sum, unless that overflows, then by moving the mean towards each value.
pub(super) fn average(values: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost, mut count) = (0.0f64, 0.0, 0.0);
    let mut moving_mean = false;
    for value in values {
        count += 1.0;
        if count == 1.0 {
            sum = value;
            continue;
        }
        if !moving_mean {
            let (next, next_lost) = kahan_add(value, sum, lost);
            if !next.is_infinite() {
                (sum, lost) = (next, next_lost);
                continue;
            }
            moving_mean = true;
            sum /= count - 1.0;
            lost /= count - 1.0;
        }
        let share = (count - 1.0) / count;
        (sum, lost) = kahan_add(value / count, share * sum, share * lost);
    }
    if moving_mean { sum + lost } else { sum / count + lost / count }
}

fn sum_histograms(
    call: &WindowCall,
    whole: &Whole,
    histograms: &[Sparse],
    averages: bool,
    notes: &mut Annotations,
) -> Option<Output> {
    let at = call.first_arg;
    let mut accumulated = KahanSum::new(histograms[0].clone());
    let mut moving_mean = false;
    let mut reconciled = false;
    for (index, histogram) in histograms.iter().enumerate().skip(1) {
        let count = (index + 1) as f64;
        if averages && !moving_mean {
            let mut attempt = accumulated.clone();
            match attempt.add(histogram) {
                Ok(outcome) => reconciled |= outcome.bounds_reconciled,
                Err(_) => {
                    notes.mixed_exponential_custom(at, &whole.name);
                    return None;
                }
            }
            if !attempt.has_overflow() {
                accumulated = attempt;
                continue;
            }
            moving_mean = true;
            accumulated.divide(count - 1.0);
        }
        let mut next = histogram.clone();
        if averages {
            accumulated.scale((count - 1.0) / count);
            next.divide(count);
        }
        match accumulated.add(&next) {
            Ok(outcome) => reconciled |= outcome.bounds_reconciled,
            Err(_) => {
                notes.mixed_exponential_custom(at, &whole.name);
                return None;
            }
        }
    }
    if averages && !moving_mean {
        accumulated.divide(histograms.len() as f64);
    }
    let has = |hint: CounterResetHint| histograms.iter().any(|h| h.hint == hint);
    if has(CounterResetHint::Reset) && has(CounterResetHint::NotReset) {
        notes.reset_collision(at, HistogramUse::Aggregation);
    }
    if reconciled {
        notes.bounds_reconciled(at, HistogramUse::Aggregation);
    }
    Some(Output::Histogram(shared(&accumulated.total())))
}
