//! `anchored` and `smoothed`: the change between the very edges of a window.
//!
//! Anchored takes the last sample at or before an edge, smoothed the line between the samples around it.
//! Resets are counted between neighbouring samples; a step in which the left edge was interpolated already
//! accounts for its own.

use super::super::annotations::Annotations;
use super::super::grid::Grid;
use super::super::points::{Output, Points, Series};
use super::super::selector::PartitionPointLinear;
use super::super::stream::Sink;
use super::super::{Evaluator, shared};
use super::{Whole, Window, WindowCall};
use std::sync::Arc;

use crate::model::{CounterResetHint, FloatHistogram, Sample, TimestampMs, is_stale_nan};
use crate::promql::ast::{Extension, VectorSelector};
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;
use crate::promql::histogram::{Incompatible, Sparse};

/// Which samples the edges of a window fall on or between.
struct Edges {
    first: usize,
    last: usize,
    /// The left edge lies between `first` and the next, the right one between `last` and the one before.
    left_between: bool,
    right_between: bool,
}

fn edges(window: &Window<'_>, smoothed: bool, len: usize, time: impl Fn(usize) -> i64) -> Option<Edges> {
    let last_index = len.checked_sub(1)?;
    let first = (0..last_index).take_while(|i| time(*i) <= window.start).count().saturating_sub(1);
    let last = match smoothed {
        true => (0..last_index).take_while(|i| time(*i) < window.end).count(),
        false => last_index,
    };
    let only_before = time(last) <= window.start;
    let only_after = time(first) > window.end;
    if only_before || only_after {
        return None;
    }
    Some(Edges {
        first,
        last,
        left_between: smoothed && time(first) < window.start && first < last_index,
        right_between: smoothed && last > 0 && time(last) > window.end,
    })
}

pub(super) fn rate(call: &WindowCall, whole: &Whole, window: &Window<'_>, notes: &mut Annotations) -> Option<Output> {
    let is_counter = call.id != FunctionId::Delta;
    let smoothed = call.extension == Some(Extension::Smoothed);
    let seconds = if call.id == FunctionId::Rate { call.range_ms as f64 / 1000.0 } else { 1.0 };
    match (window.floats.is_empty(), window.histograms.is_empty()) {
        (false, false) => {
            notes.mixed_floats_histograms(call.first_arg, &whole.name);
            None
        }
        (true, _) => {
            let edges = edges(window, smoothed, window.times.len(), |i| window.times[i].0.0)?;
            note_hints(call, whole, &window.histograms[edges.first..=edges.last], is_counter, notes);
            match histogram_change(window, &edges, is_counter) {
                Ok(mut change) => {
                    change.divide(seconds);
                    Some(Output::Histogram(shared(&change)))
                }
                Err(Incompatible) => {
                    notes.mixed_exponential_custom(call.first_arg, &whole.name);
                    None
                }
            }
        }
        (false, true) => {
            let floats = window.floats;
            let edges = edges(window, smoothed, floats.len(), |i| floats[i].t.0)?;
            Some(Output::Float(float_change(floats, window, &edges, is_counter) / seconds))
        }
    }
}

/// Transitions in which a reset has to be made up for.
fn transitions(edges: &Edges) -> std::ops::RangeInclusive<usize> {
    edges.first + 1 + usize::from(edges.left_between)..=edges.last
}

fn float_change(floats: &[Sample], window: &Window<'_>, edges: &Edges, is_counter: bool) -> f64 {
    let left = match edges.left_between {
        true => interpolate_floats(floats[edges.first], floats[edges.first + 1], window.start, is_counter),
        false => floats[edges.first].v,
    };
    let right = match edges.right_between {
        true => interpolate_floats(floats[edges.last - 1], floats[edges.last], window.end, is_counter),
        false => floats[edges.last].v,
    };
    let resets = transitions(edges).filter(|i| is_counter && floats[*i].v < floats[i - 1].v);
    right - left + resets.map(|i| floats[i - 1].v).sum::<f64>()
}

/// The value at `t` on the line between two samples; a counter that fell began again from zero.
fn interpolate_floats(a: Sample, b: Sample, t: i64, is_counter: bool) -> f64 {
    let from = if is_counter && b.v < a.v { 0.0 } else { a.v };
    from + (b.v - from) * (t - a.t.0) as f64 / (b.t.0 - a.t.0) as f64
}

fn histogram_change(window: &Window<'_>, edges: &Edges, is_counter: bool) -> Result<Sparse, Incompatible> {
    let (h, time) = (window.histograms, |i: usize| window.times[i].0.0);
    let between = |i: usize, t: i64| {
        let fraction = (t - time(i)) as f64 / (time(i + 1) - time(i)) as f64;
        interpolate_histograms(&h[i], &h[i + 1], fraction, is_counter)
    };
    let left = if edges.left_between { between(edges.first, window.start)? } else { h[edges.first].clone() };
    let mut change = if edges.right_between { between(edges.last - 1, window.end)? } else { h[edges.last].clone() };
    change.add_scaled(&left, -1.0)?;
    for i in transitions(edges).filter(|_| is_counter) {
        if h[i].detects_reset(&h[i - 1]) {
            change.add_scaled(&h[i - 1], 1.0)?;
        }
    }
    change.hint = CounterResetHint::Gauge;
    Ok(change)
}

/// The histogram at `fraction` of the way from `a` to `b`; a counter that was reset began again from nothing.
fn interpolate_histograms(a: &Sparse, b: &Sparse, fraction: f64, is_counter: bool) -> Result<Sparse, Incompatible> {
    if a.is_custom() != b.is_custom() {
        return Err(Incompatible);
    }
    let mut result = b.clone();
    if is_counter && b.detects_reset(a) {
        result.scale(fraction);
        return Ok(result);
    }
    result.add_scaled(a, -1.0)?;
    result.scale(fraction);
    result.add_scaled(a, 1.0)?;
    result.hint = a.hint;
    Ok(result)
}

fn note_hints(call: &WindowCall, whole: &Whole, used: &[Sparse], is_counter: bool, notes: &mut Annotations) {
    let is_gauge = |h: &Sparse| h.hint == CounterResetHint::Gauge;
    if is_counter && used.iter().any(is_gauge) {
        notes.not_a_counter(call.first_arg, &whole.name);
    }
    let both_ends_are_gauges = used.first().is_some_and(is_gauge) && used.last().is_some_and(is_gauge);
    if !is_counter && !both_ends_are_gauges {
        notes.not_a_gauge(call.first_arg, &whole.name);
    }
}

impl<'a> Evaluator<'a> {
    /// `selector smoothed`: the line between the samples around each step.
    pub(in crate::promql::eval) fn smoothed_selector(
        &mut self,
        selector: &VectorSelector,
        grid: &Grid,
        sink: Sink<'_, 'a>,
    ) -> Result<(), QueryError> {
        let (offset, at) = self.times.modifiers(&selector.time)?;
        let time = |step: usize| at.unwrap_or_else(|| grid.time(step)) - offset;
        let lookback = self.options.lookback_ms;
        let from = self.window_start(time(0), lookback);
        self.for_each_series(selector, from, time(grid.steps - 1) + lookback, |this, labels, data| {
            data.floats.retain(|s| !is_stale_nan(s.v));
            let unpacked: Vec<Sparse> = data.histograms.iter().map(|(_, h)| Sparse::from(&**h)).collect();
            let mut points = Points::default();
            let (mut f_lo, mut f_hi, mut h_lo, mut h_hi) = (0, 0, 0, 0);
            for step in 0..grid.steps {
                let now = time(step);
                let (first, last) = (this.window_start(now, lookback), now + lookback);
                f_lo += data.floats[f_lo..].partition_point_linear(|s| s.t.0 < first);
                f_hi += data.floats[f_hi..].partition_point_linear(|s| s.t.0 <= last);
                h_lo += data.histograms[h_lo..].partition_point_linear(|(t, _)| t.0 < first);
                h_hi += data.histograms[h_hi..].partition_point_linear(|(t, _)| t.0 <= last);
                let floats = &data.floats[f_lo.min(f_hi)..f_hi];
                let h_lo = h_lo.min(h_hi);
                let value = match (floats.is_empty(), h_lo == h_hi) {
                    (true, true) => None,
                    (false, false) => {
                        this.notes.mixed_floats_histograms(selector.position, labels.metric_name());
                        None
                    }
                    (false, true) => smoothed_float(floats, now).map(Output::Float),
                    (true, false) => match smoothed_histogram(&data.histograms[h_lo..h_hi], &unpacked[h_lo..h_hi], now)
                    {
                        Ok(histogram) => histogram.map(|h| Output::Histogram(shared(&h))),
                        Err(Incompatible) => {
                            this.notes.mixed_exponential_custom(selector.position, labels.metric_name());
                            None
                        }
                    },
                };
                if let Some(value) = value {
                    points.push(step, value);
                }
            }
            this.worked(grid.steps)?;
            if points.is_empty() {
                return Ok(());
            }
            sink(this, &mut Series { labels, drop_name: false, points })
        })
    }
}

/// The value at `now` on the line through the samples around it; after the last sample its value, before the first
/// nothing.
fn smoothed_float(floats: &[Sample], now: i64) -> Option<f64> {
    let after = floats.partition_point(|s| s.t.0 < now);
    match (after.checked_sub(1).map(|i| floats[i]), floats.get(after)) {
        (_, Some(exact)) if exact.t.0 == now => Some(exact.v),
        (Some(a), Some(b)) => Some(interpolate_floats(a, *b, now, false)),
        (Some(a), None) => Some(a.v),
        (None, _) => None,
    }
}

/// As [`smoothed_float`] for histograms.
fn smoothed_histogram(
    times: &[(TimestampMs, Arc<FloatHistogram>)],
    histograms: &[Sparse],
    now: i64,
) -> Result<Option<Sparse>, Incompatible> {
    let time = |i: usize| times[i].0.0;
    let after = times.partition_point(|(t, _)| t.0 < now);
    let exact = histograms.get(after).filter(|_| time(after) == now);
    match (after.checked_sub(1), histograms.get(after)) {
        (_, Some(_)) if exact.is_some() => Ok(exact.cloned()),
        (Some(before), Some(b)) => {
            let a = &histograms[before];
            let fraction = (now - time(before)) as f64 / (time(after) - time(before)) as f64;
            interpolate_histograms(a, b, fraction, a.hint != CounterResetHint::Gauge).map(Some)
        }
        (Some(before), None) => Ok(histograms.get(before).cloned()),
        (None, _) => Ok(None),
    }
}
