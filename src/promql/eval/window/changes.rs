//! `changes` and `resets`: how often neighbouring samples differ, or fall.

use super::super::element::same;
use super::super::points::Output;
use super::{Window, WindowCall};
use crate::promql::ast::Extension;
use crate::promql::functions::FunctionId;

/// A sample of either kind, by time and index.
#[derive(Clone, Copy)]
enum Entry {
    Float(i64, usize),
    Histogram(i64, usize),
}

impl Entry {
    fn time(self) -> i64 {
        match self {
            Self::Float(t, _) | Self::Histogram(t, _) => t,
        }
    }
}

pub(super) fn count(call: &WindowCall, window: &Window<'_>) -> Option<Output> {
    if window.histograms.is_empty() && call.extension.is_none() {
        // Falls were found once for the whole series, so resets need not look at the samples again.
        let count = match call.id {
            FunctionId::Resets => window.falls.len(),
            _ => window.floats.windows(2).filter(|pair| differ(pair[0].v, pair[1].v)).count(),
        };
        return Some(Output::Float(count as f64));
    }
    count_merged(call, window)
}

fn differ(a: f64, b: f64) -> bool {
    a != b && !(a.is_nan() && b.is_nan())
}

/// Floats and histograms together, in the order of time.
fn count_merged(call: &WindowCall, window: &Window<'_>) -> Option<Output> {
    let floats = window.floats.iter().enumerate().map(|(i, s)| Entry::Float(s.t.0, i));
    let histograms = window.times.iter().enumerate().map(|(i, (t, _))| Entry::Histogram(t.0, i));
    let mut entries: Vec<Entry> = floats.chain(histograms).collect();
    entries.sort_by_key(|entry| entry.time());
    if call.extension == Some(Extension::Anchored) {
        // The window begins with the last sample at or before its edge, and must have one inside.
        let before = entries.iter().take_while(|entry| entry.time() <= window.start).count();
        if before == entries.len() {
            return None;
        }
        entries.drain(..before.saturating_sub(1));
    }
    let differs = |pair: &[Entry]| match (pair[0], pair[1]) {
        (Entry::Float(_, a), Entry::Float(_, b)) => {
            let (a, b) = (window.floats[a].v, window.floats[b].v);
            if call.id == FunctionId::Resets { b < a } else { differ(a, b) }
        }
        (Entry::Histogram(_, a), Entry::Histogram(_, b)) => match call.id {
            FunctionId::Resets => window.histograms[b].detects_reset(&window.histograms[a]),
            _ => !same(&window.times[a].1, &window.times[b].1),
        },
        _ => true,
    };
    Some(Output::Float(entries.windows(2).filter(|pair| differs(pair)).count() as f64))
}
