//! Queries that nobody would write, and what must hold of each: no panic, bounded memory, and answers that agree
//! with themselves.
//!
//! In:  a seed.   Out: queries over a store of their own, and a panic where something does not hold.
//! Always: the same seed gives the same query; no clock, no files.   Limits: [`MAX_SAMPLES`], [`MAX_SERIES`].

mod generate;
mod mutate;
mod store;

pub use self::generate::Generator;
pub use self::mutate::{mutated, smallest};
pub use self::store::{MINUTE, store};

use super::MemoryStorage;
use crate::model::{Labels, TimestampMs, Value};
use crate::promql::engine::{Cancel, Engine, EngineOptions, QueryResult, QueryValue, WindowEdges};
use crate::promql::error::QueryError;
use crate::promql::{Expr, parse};

/// Samples that a query may hold here; the memory it may need follows from them.
pub const MAX_SAMPLES: usize = 10_000;
/// Series that a selector may return here.
pub const MAX_SERIES: usize = 1_000;

/// The chance that queries are drawn by.
pub struct Entropy(fastrand::Rng);

impl Entropy {
    /// The same seed gives the same numbers on every machine.
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number below `limit`, which is not zero.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }
}

/// Runs a query in every way there is and panics where the outcome cannot be right.
///
/// # Panics
/// See the text of each assertion.
pub fn check(store: &MemoryStorage, query: &str) {
    let expr = match parse(query) {
        Ok(expr) => expr,
        Err(error) => {
            assert!(error.position.end as usize <= query.len(), "an error stands behind the query");
            assert!(error.render().contains("parse error"));
            return;
        }
    };
    let printed = expr.to_string();
    match parse(&printed) {
        Ok(again) => assert!(again == expr, "`{printed}` is another tree"),
        // Printing adds parentheses and blanks, so what is just short or flat enough may not be any more.
        Err(e) => assert!(e.message.contains("limit is") || e.message.contains("deeper"), "`{printed}`: {e}"),
    }
    for window_edges in [WindowEdges::HalfOpen, WindowEdges::Closed] {
        let options = EngineOptions {
            max_samples: MAX_SAMPLES,
            max_series: MAX_SERIES,
            experimental: true,
            window_edges,
            ..EngineOptions::default()
        };
        let engine = Engine::new(options);
        let instant = |minutes: i64| engine.instant(store, &expr, TimestampMs(minutes * MINUTE));
        let range = |start: i64, steps: i64, step: i64| {
            engine.range(store, &expr, TimestampMs(start), TimestampMs(start + (steps - 1) * step), step)
        };
        check_result(&range(25 * MINUTE, 40, 13_337));
        if window_edges == WindowEdges::Closed {
            break;
        }
        [-5, 10, 31, 400].into_iter().for_each(|minutes| check_result(&instant(minutes)));
        check_result(&range(0, 1, 1));
        check_instants(&engine, store, &expr);
    }
    check_cancel(store, &expr);
}

/// The labels, and for each point the time and what the value is.
type Shown = (Labels, Vec<(i64, Number)>);

#[derive(Clone, Copy, Debug)]
enum Number {
    Float(f64),
    Histogram(f64, f64),
}

impl Number {
    fn of(value: &Value) -> Self {
        match value {
            Value::Float(v) => Self::Float(*v),
            Value::Histogram(h) => Self::Histogram(h.count, h.sum),
        }
    }

    /// Whether both are the same but for the last digits, which the way to them may change.
    fn is_close(self, other: Self) -> bool {
        let close = |a: f64, b: f64| {
            a.to_bits() == b.to_bits()
                || a == b
                || (a.is_nan() && b.is_nan())
                || (a - b).abs() <= 1e-7 * a.abs().max(b.abs()).max(1e-7)
        };
        match (self, other) {
            (Self::Float(a), Self::Float(b)) => close(a, b),
            (Self::Histogram(a, b), Self::Histogram(c, d)) => close(a, c) && close(b, d),
            _ => false,
        }
    }
}

fn shown(value: &QueryValue) -> Vec<Shown> {
    match value {
        QueryValue::Scalar(sample) => vec![(Labels::empty(), vec![(sample.t.0, Number::Float(sample.v))])],
        QueryValue::String(..) => Vec::new(),
        QueryValue::Vector(vector) => {
            vector.iter().map(|s| (s.labels.clone(), vec![(s.t.0, Number::of(&s.value))])).collect()
        }
        QueryValue::Matrix(matrix) => matrix
            .iter()
            .map(|series| {
                let floats = series.floats.iter().map(|s| (s.t.0, Number::Float(s.v)));
                let histograms = series.histograms.iter().map(|(t, h)| (t.0, Number::Histogram(h.count, h.sum)));
                let mut points: Vec<(i64, Number)> = floats.chain(histograms).collect();
                points.sort_by_key(|(t, _)| *t);
                (series.labels.clone(), points)
            })
            .collect(),
    }
}

fn check_result(result: &Result<QueryResult, QueryError>) {
    let result = match result {
        Ok(result) => result,
        Err(error) => {
            assert!(QueryError::CLASSES.contains(&error.class()));
            assert_ne!(error.class(), "internal", "{error}");
            return;
        }
    };
    let mut series = shown(&result.value);
    let points: usize = series.iter().map(|(_, points)| points.len()).sum();
    assert!(points <= MAX_SAMPLES, "{points} points where {MAX_SAMPLES} are allowed");
    for (labels, points) in &series {
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{labels} has two values at one time");
        assert!(!points.is_empty(), "{labels} has no value");
    }
    let count = series.len();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    series.dedup_by(|a, b| a.0 == b.0);
    assert_eq!(series.len(), count, "two series have the same labels");
    for note in result.warnings.iter().chain(&result.infos) {
        assert!(note.starts_with("PromQL ") || note.ends_with(" annotations omitted"), "{note}");
    }
}

/// A range query is the instant queries of its steps.
fn check_instants(engine: &Engine, store: &MemoryStorage, expr: &Expr) {
    const STEPS: i64 = 4;
    const STEP: i64 = 3 * MINUTE;
    let text = expr.to_string();
    // These are other questions over a range, choose between equals, or hang on the last digits of a number.
    const OTHER: [&str; 14] = [
        "start()",
        "end()",
        "step()",
        "range()",
        "sort",
        "topk",
        "bottomk",
        "limit",
        "==",
        "!=",
        "<",
        ">",
        "count_values",
        "label_replace",
    ];
    const DIGITS: [&str; 12] =
        ["ceil", "floor", "round", "%", "sgn", "changes", "resets", "quantile", "day", "sin", "cos", "tan"];
    if OTHER.iter().chain(&DIGITS).any(|word| text.contains(word)) {
        return;
    }
    let first = TimestampMs(20 * MINUTE);
    let Ok(range) = engine.range(store, expr, first, first.plus_ms((STEPS - 1) * STEP), STEP) else { return };
    let range = shown(&range.value);
    for step in 0..STEPS {
        let at = first.plus_ms(step * STEP);
        let instant = engine.instant(store, expr, at).unwrap_or_else(|e| panic!("a range has values, its step {e}"));
        let instant = shown(&instant.value);
        let of_range = range.iter().filter(|(_, points)| points.iter().any(|(t, _)| *t == at.0));
        assert_eq!(instant.len(), of_range.count(), "`{text}` has other series at {at} than over a range");
        for (labels, points) in &instant {
            let same = range.iter().find(|(other, _)| other == labels);
            let twin = same.and_then(|(_, points)| points.iter().find(|(t, _)| *t == at.0));
            let (_, number) = points[0];
            assert!(
                twin.is_some_and(|(_, other)| number.is_close(*other)),
                "`{text}` is {number:?} at {at} and {twin:?} over a range, of {labels}"
            );
        }
    }
}

/// A query that was ended says so, whatever it is.
fn check_cancel(store: &MemoryStorage, expr: &Expr) {
    let cancel = Cancel::default();
    cancel.cancel();
    let engine = Engine::new(EngineOptions { experimental: true, ..EngineOptions::default() });
    let result = engine.range_with(store, expr, TimestampMs(0), TimestampMs(MINUTE), MINUTE, &cancel);
    assert!(result.is_err(), "a canceled query has an answer");
}
