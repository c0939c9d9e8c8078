//! `rate`, `increase`, `delta`: the slope of a window, extrapolated to its edges; `irate`, `idelta`: of its end.

use super::super::annotations::{Annotations, HistogramUse};
use super::super::points::Output;
use super::super::shared;
use super::{Whole, Window, WindowCall};
use crate::model::{CounterResetHint, Sample};
use crate::promql::functions::FunctionId;
use crate::promql::histogram::Sparse;

/// How much further than the average distance of samples the window's edge may be to be extrapolated to.
const EXTRAPOLATION_THRESHOLD: f64 = 1.1;

pub(super) fn extrapolated(
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    notes: &mut Annotations,
) -> Option<Output> {
    let is_counter = call.id != FunctionId::Delta;
    if !window.floats.is_empty() && !window.histograms.is_empty() {
        notes.mixed_floats_histograms(call.first_arg, &whole.name);
        return None;
    }
    if window.histograms.len() > 1 {
        let (first, last) = (window.times[0].0.0, window.times[window.times.len() - 1].0.0);
        let mut change = histogram_change(call, whole, window.histograms, is_counter, notes)?;
        let start_count = window.histograms[0].count;
        let to_zero = (is_counter && change.count > 0.0 && start_count >= 0.0).then(|| start_count / change.count);
        let edges = (window.start, window.end);
        change.scale(factor(call, edges, (first, last), window.histograms.len(), to_zero));
        return Some(Output::Histogram(shared(&change)));
    }
    // At each fall a counter began anew from zero, so what it had reached is added.
    let before_falls = if is_counter { window.falls } else { &[] };
    let reached = before_falls.iter().map(|i| window.floats[i - window.first_float - 1].v).sum::<f64>();
    of_floats(call, window.floats, reached, (window.start, window.end)).map(Output::Float)
}

/// The extrapolated change of floats in a window; `reached` is what a counter lost at its resets.
#[inline]
pub(super) fn of_floats(call: &WindowCall, floats: &[Sample], reached: f64, edges: (i64, i64)) -> Option<f64> {
    let [first, .., last] = floats else { return None };
    let is_counter = call.id != FunctionId::Delta;
    let change = last.v - first.v + reached;
    let to_zero = (is_counter && change > 0.0 && first.v >= 0.0).then(|| first.v / change);
    Some(change * factor(call, edges, (first.t.0, last.t.0), floats.len(), to_zero))
}

/// What the change between first and last sample is multiplied by to stand for the whole window.
///
/// Edges that lie within the usual distance of samples are extrapolated to, others half that distance towards
/// them; a counter never beyond where it would have been zero, `to_zero` sampled intervals before its first sample.
#[inline]
fn factor(
    call: &WindowCall,
    (start, end): (i64, i64),
    (first, last): (i64, i64),
    samples: usize,
    to_zero: Option<f64>,
) -> f64 {
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let sampled = seconds(last - first);
    let average = sampled / (samples - 1) as f64;
    let threshold = average * EXTRAPOLATION_THRESHOLD;
    let mut to_start = seconds(first - start);
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if let Some(intervals) = to_zero {
        to_start = to_start.min(sampled * intervals);
    }
    let mut to_end = seconds(end - last);
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled;
    if call.id == FunctionId::Rate { factor / seconds(call.range_ms) } else { factor }
}

/// Last less first histogram, counter resets in between added up.
fn histogram_change(
    call: &WindowCall,
    whole: &Whole,
    histograms: &[Sparse],
    is_counter: bool,
    notes: &mut Annotations,
) -> Option<Sparse> {
    let at = call.first_arg;
    let (first, last) = (&histograms[0], &histograms[histograms.len() - 1]);
    let is_gauge = |h: &Sparse| h.hint == CounterResetHint::Gauge;
    if is_counter && (is_gauge(first) || is_gauge(last)) {
        notes.not_a_counter(at, &whole.name);
    }
    let mut previous = first.clone();
    // Before a reset the first histogram does not matter, not even its layout.
    if is_counter && histograms[1].detects_reset(first) {
        let second = &histograms[1];
        previous = Sparse { schema: second.schema, custom_values: second.custom_values.clone(), ..Sparse::default() };
    }
    let is_custom = previous.is_custom();
    if last.is_custom() != is_custom {
        notes.mixed_exponential_custom(at, &whole.name);
        return None;
    }
    let mut schema = last.schema.min(previous.schema);
    if is_counter {
        for current in &histograms[1..histograms.len() - 1] {
            if is_gauge(current) {
                notes.not_a_counter(at, &whole.name);
            }
            if current.is_custom() != is_custom {
                notes.mixed_exponential_custom(at, &whole.name);
                return None;
            }
            schema = schema.min(current.schema);
        }
    }
    let mut change = last.clone();
    change.reduce_to(schema);
    let mut add = |change: &mut Sparse, other: &Sparse, sign: f64, used_for| match change.add_scaled(other, sign) {
        Ok(outcome) => {
            if outcome.bounds_reconciled {
                notes.bounds_reconciled(at, used_for);
            }
            Some(())
        }
        Err(_) => {
            notes.mixed_exponential_custom(at, &whole.name);
            None
        }
    };
    add(&mut change, &previous, -1.0, HistogramUse::Subtraction)?;
    if is_counter {
        for current in &histograms[1..] {
            if current.detects_reset(&previous) {
                add(&mut change, &previous, 1.0, HistogramUse::Addition)?;
            }
            previous = current.clone();
        }
    } else if !is_gauge(first) || !is_gauge(last) {
        notes.not_a_gauge(at, &whole.name);
    }
    change.hint = CounterResetHint::Gauge;
    Some(change)
}

/// The last two samples of a window, each a float or a histogram.
enum Last<'a> {
    Float(i64, f64),
    Histogram(i64, &'a Sparse),
}

impl Last<'_> {
    fn time(&self) -> i64 {
        match self {
            Self::Float(t, _) | Self::Histogram(t, _) => *t,
        }
    }
}

/// The change between two samples, per second for `irate`; after a reset a counter has grown from zero.
pub(super) fn instant_change(is_rate: bool, from: i64, before: f64, to: i64, after: f64) -> Option<f64> {
    if from == to {
        return None;
    }
    let change = if is_rate && after < before { after } else { after - before };
    Some(if is_rate { change / ((to - from) as f64 / 1000.0) } else { change })
}

pub(super) fn last_two(
    call: &WindowCall,
    whole: &Whole,
    window: &Window<'_>,
    notes: &mut Annotations,
) -> Option<Output> {
    let at = call.all_args;
    let is_rate = call.id == FunctionId::Irate;
    if let ([.., before, after], []) = (window.floats, window.histograms) {
        return instant_change(is_rate, before.t.0, before.v, after.t.0, after.v).map(Output::Float);
    }
    let floats = window.floats.iter().rev().take(2).map(|s| Last::Float(s.t.0, s.v));
    let times = window.times.iter().rev().map(|(t, _)| t.0);
    let histograms = times.zip(window.histograms.iter().rev()).take(2).map(|(t, h)| Last::Histogram(t, h));
    let mut last: Vec<Last<'_>> = floats.chain(histograms).collect();
    last.sort_by_key(Last::time);
    let [.., before, after] = last.as_slice() else { return None };
    let interval = after.time() - before.time();
    if interval == 0 {
        return None;
    }
    let seconds = interval as f64 / 1000.0;
    match (before, after) {
        (Last::Float(from, before), Last::Float(to, after)) => {
            instant_change(is_rate, *from, *before, *to, *after).map(Output::Float)
        }
        (Last::Histogram(_, before), Last::Histogram(_, after)) => {
            let is_gauge = |h: &Sparse| h.hint == CounterResetHint::Gauge;
            let gauges = [before, after].into_iter().filter(|h| is_gauge(h)).count();
            match (is_rate, gauges) {
                (true, 1..) => notes.not_a_counter(at, &whole.name),
                (false, 0 | 1) => notes.not_a_gauge(at, &whole.name),
                _ => {}
            }
            let mut change = (*after).clone();
            if !is_rate || !after.detects_reset(before) {
                match change.add_scaled(before, -1.0) {
                    Ok(outcome) if outcome.bounds_reconciled => notes.bounds_reconciled(at, HistogramUse::Subtraction),
                    Ok(_) => {}
                    Err(_) => {
                        notes.mixed_exponential_custom(at, &whole.name);
                        return None;
                    }
                }
            }
            change.hint = CounterResetHint::Gauge;
            if is_rate {
                change.divide(seconds);
            }
            Some(Output::Histogram(shared(&change)))
        }
        _ => {
            notes.mixed_floats_histograms(at, &whole.name);
            None
        }
    }
}
