//! The data of fuzzed queries: half an hour of everything that series can be.

use std::sync::Arc;

use super::MemoryStorage;
use crate::model::{CounterResetHint, FloatHistogram, Labels, METRIC_NAME, Span, TimestampMs, Value, stale_nan};

/// In milliseconds.
pub const MINUTE: i64 = 60_000;

const MINUTES: i64 = 35;

/// Counters with resets, gauges with gaps and ends and odd numbers, classic and native histograms of every layout, info
/// metrics, and series of both kinds of samples.
pub fn store() -> MemoryStorage {
    let mut store = MemoryStorage::default();
    let mut add = |name: &str, labels: &[(&str, &str)], t: i64, value: Value| {
        let labels = Labels::from_pairs([(METRIC_NAME, name)].into_iter().chain(labels.iter().copied()));
        store.append(labels, TimestampMs(t), value);
    };
    let mut rng = fastrand::Rng::with_seed(42);
    for minute in 0..MINUTES {
        let t = minute * MINUTE;
        for (index, pod) in ["a", "b", "c"].into_iter().enumerate() {
            let labels = [("pod", pod), ("job", "fuzz"), ("instance", ["x", "y"][index % 2])];
            let counter = ((minute % 13) * (index as i64 + 1)) as f64;
            add("counter_total", &labels, t, Value::Float(counter));
            add("gauge", &labels, t + 500, Value::Float((minute as f64 / (index + 2) as f64).sin() * 10.0));
            if rng.f64() < 0.7 {
                add("gaps", &labels, t, Value::Float(if rng.f64() < 0.2 { stale_nan() } else { rng.f64() }));
            }
            add("native", &labels, t, Value::Histogram(Arc::new(exponential(minute, index as i32))));
            add("target_info", &[("job", "fuzz"), ("instance", labels[2].1), ("version", pod)], t, Value::Float(1.0));
        }
        let odd = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e308, -1e308, 5e-324, 1.5];
        add("odd", &[("pod", "a")], t, Value::Float(odd[rng.usize(..odd.len())]));
        add("odd", &[("pod", "b")], t, Value::Float(odd[rng.usize(..odd.len())]));
        for (index, le) in ["0.1", "1", "10", "+Inf", "x"].into_iter().enumerate() {
            add("classic_bucket", &[("le", le), ("pod", "a")], t, Value::Float((minute % 20 * index as i64) as f64));
        }
        add("custom", &[("pod", "a")], t, Value::Histogram(Arc::new(custom(minute, &[0.5, 1.0, 5.0]))));
        add("custom", &[("pod", "b")], t, Value::Histogram(Arc::new(custom(minute, &[1.0, 2.0]))));
        add("strange", &[("pod", "a")], t, Value::Histogram(Arc::new(strange(minute, &mut rng))));
        let mixed = match minute % 3 {
            0 => Value::Float(minute as f64),
            1 => Value::Histogram(Arc::new(exponential(minute, 0))),
            _ => Value::Histogram(Arc::new(custom(minute, &[1.0]))),
        };
        add("mixed", &[("pod", "a")], t, mixed);
    }
    add("with.dots", &[("a b", "ü"), ("empty", "")], 20 * MINUTE, Value::Float(7.0));
    store
}

fn exponential(minute: i64, index: i32) -> FloatHistogram {
    let count = (minute % 17) as f64;
    FloatHistogram {
        schema: 3 - index,
        zero_threshold: 0.001 * f64::from(index + 1),
        zero_count: count,
        count: count * 4.0,
        sum: count * 2.5,
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
        positive_buckets: vec![count, count / 2.0, count / 2.0],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        negative_buckets: vec![count],
        counter_reset_hint: if index == 2 { CounterResetHint::Gauge } else { CounterResetHint::Unknown },
        ..FloatHistogram::default()
    }
}

fn custom(minute: i64, bounds: &[f64]) -> FloatHistogram {
    let count = (minute % 11) as f64;
    FloatHistogram {
        schema: FloatHistogram::CUSTOM_BUCKETS,
        count: count * (bounds.len() + 1) as f64,
        sum: count * 3.0,
        positive_spans: vec![Span { offset: 0, length: bounds.len() as u32 + 1 }],
        positive_buckets: vec![count; bounds.len() + 1],
        custom_values: bounds.to_vec(),
        ..FloatHistogram::default()
    }
}

/// What no sender should send, but one might: counts that are no numbers, spans beyond the buckets, far indexes.
fn strange(minute: i64, rng: &mut fastrand::Rng) -> FloatHistogram {
    let odd = [0.0, f64::NAN, f64::INFINITY, -1.0, 1e308, 2.0];
    let mut number = || odd[rng.usize(..odd.len())];
    FloatHistogram {
        schema: if minute % 2 == 0 { 8 } else { -4 },
        zero_threshold: number().abs(),
        zero_count: number(),
        count: number(),
        sum: number(),
        positive_spans: vec![Span { offset: i32::MAX - 3, length: 3 }, Span { offset: 5, length: 9 }],
        positive_buckets: vec![number(), number()],
        negative_spans: vec![Span { offset: i32::MIN + 2, length: 1 }],
        negative_buckets: vec![number(), number(), number()],
        ..FloatHistogram::default()
    }
}
