//! A native histogram off the wire, checked as Prometheus checks it before it is stored.
//!
//! Source: Prometheus `model/histogram` (`Validate`) and `prompb` (`FloatHistogramProtoToFloatHistogram`).

use super::proto::{BucketSpan, Count, Histogram, ResetHint, ZeroCount};
use crate::model::{CounterResetHint, FloatHistogram, Span};

/// Buckets of one histogram; Prometheus' own client library cuts at 160 by default.
const BUCKETS_MAX: usize = 10_000;

/// The histogram with absolute float counts, or what is wrong with it.
pub(super) fn decode(wire: &Histogram) -> Result<FloatHistogram, &'static str> {
    let (count, is_float) = match wire.count {
        Some(Count::Int(n)) => (n as f64, false),
        Some(Count::Float(n)) => (n, true),
        None => (0.0, false),
    };
    let zero_count = match wire.zero_count {
        Some(ZeroCount::Int(n)) => n as f64,
        Some(ZeroCount::Float(n)) => n,
        None => 0.0,
    };
    let buckets = |deltas: &[i64], counts: &[f64]| match is_float {
        true => Ok(counts.to_vec()),
        false => absolute(deltas),
    };
    let histogram = FloatHistogram {
        counter_reset_hint: match ResetHint::try_from(wire.reset_hint) {
            Ok(ResetHint::Yes) => CounterResetHint::Reset,
            Ok(ResetHint::No) => CounterResetHint::NotReset,
            Ok(ResetHint::Gauge) => CounterResetHint::Gauge,
            Ok(ResetHint::Unknown) | Err(_) => CounterResetHint::Unknown,
        },
        schema: wire.schema,
        zero_threshold: wire.zero_threshold,
        zero_count,
        count,
        sum: wire.sum,
        positive_spans: wire.positive_spans.iter().map(span).collect(),
        positive_buckets: buckets(&wire.positive_deltas, &wire.positive_counts)?,
        negative_spans: wire.negative_spans.iter().map(span).collect(),
        negative_buckets: buckets(&wire.negative_deltas, &wire.negative_counts)?,
        custom_values: wire.custom_values.clone(),
    };
    check(&histogram, is_float)?;
    Ok(histogram)
}

fn span(wire: &BucketSpan) -> Span {
    Span { offset: wire.offset, length: wire.length }
}

/// Counts from the differences between neighbours.
fn absolute(deltas: &[i64]) -> Result<Vec<f64>, &'static str> {
    let mut count = 0i64;
    let add = |delta: &i64| {
        count = count.checked_add(*delta).filter(|n| *n >= 0)?;
        Some(count as f64)
    };
    deltas.iter().map(add).collect::<Option<_>>().ok_or("a bucket has a negative count")
}

fn check(h: &FloatHistogram, is_float: bool) -> Result<(), &'static str> {
    match h.schema {
        FloatHistogram::CUSTOM_BUCKETS => {
            let rises = h.custom_values.windows(2).all(|pair| pair[0] < pair[1]);
            if !rises || h.custom_values.iter().any(|v| !v.is_finite()) {
                return Err("its custom bounds are not finite and ascending");
            }
            if h.zero_count != 0.0 || h.zero_threshold != 0.0 || !h.negative_spans.is_empty() {
                return Err("custom buckets go with neither a zero bucket nor negative buckets");
            }
            let last: i64 = h.positive_spans.iter().map(|s| i64::from(s.offset) + i64::from(s.length)).sum();
            if last > h.custom_values.len() as i64 + 1 || h.positive_spans.first().is_some_and(|s| s.offset < 0) {
                return Err("its custom buckets lie beyond their bounds");
            }
        }
        -4..=8 => {
            if !h.custom_values.is_empty() {
                return Err("exponential buckets go without custom bounds");
            }
        }
        _ => return Err("its schema is neither -4 to 8 nor -53"),
    }
    for (spans, counts) in [(&h.positive_spans, &h.positive_buckets), (&h.negative_spans, &h.negative_buckets)] {
        if counts.len() > BUCKETS_MAX || spans.len() > BUCKETS_MAX {
            return Err("it has more than 10,000 buckets");
        }
        if spans.iter().skip(1).any(|s| s.offset < 0) {
            return Err("a span begins before the one ahead of it ends");
        }
        if spans.iter().map(|s| u64::from(s.length)).sum::<u64>() != counts.len() as u64 {
            return Err("its spans and its buckets differ in number");
        }
        // Indexes are 32 bits wide everywhere.
        let reach: i64 = spans.iter().map(|s| i64::from(s.offset).abs() + i64::from(s.length)).sum();
        if reach > i64::from(i32::MAX / 2) {
            return Err("a bucket's index is out of range");
        }
        if counts.iter().any(|n| !n.is_finite() || *n < 0.0) {
            return Err("a bucket has a count that is negative or not finite");
        }
    }
    let observed = h.positive_buckets.iter().chain(&h.negative_buckets).sum::<f64>() + h.zero_count;
    if h.count < 0.0 || h.zero_count < 0.0 || !h.count.is_finite() || !h.zero_count.is_finite() {
        return Err("a count is negative or not finite");
    }
    // Float counts were rounded, and whole numbers may be beyond those that a float holds exactly.
    let tolerance = h.count * if is_float { 1e-9 } else { f64::EPSILON };
    if observed > h.count + tolerance {
        return Err("its buckets hold more observations than its count");
    }
    // Observations of NaN are in the count and in no bucket, and make the sum NaN.
    if !is_float && !h.sum.is_nan() && observed < h.count - tolerance {
        return Err("its count is above the number of observations in its buckets, and its sum is not NaN");
    }
    if !h.zero_threshold.is_finite() || h.zero_threshold < 0.0 {
        return Err("its zero threshold is negative or not finite");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> Histogram {
        Histogram {
            count: Some(Count::Int(7)),
            sum: 12.5,
            schema: 1,
            zero_threshold: 0.001,
            zero_count: Some(ZeroCount::Int(1)),
            positive_spans: vec![BucketSpan { offset: -1, length: 2 }, BucketSpan { offset: 3, length: 1 }],
            positive_deltas: vec![1, 2, -1],
            ..Histogram::default()
        }
    }

    #[test]
    fn deltas_become_counts() {
        let h = decode(&wire()).unwrap();
        assert_eq!((h.count, h.zero_count, h.positive_buckets), (7.0, 1.0, vec![1.0, 3.0, 2.0]));
    }

    #[test]
    fn float_counts_stay_as_they_are() {
        let float = Histogram {
            count: Some(Count::Float(2.5)),
            zero_count: None,
            positive_deltas: Vec::new(),
            positive_counts: vec![1.0, 0.5, 1.0],
            ..wire()
        };
        assert_eq!(decode(&float).unwrap().positive_buckets, [1.0, 0.5, 1.0]);
    }

    #[test]
    fn what_does_not_add_up_is_refused() {
        type Breaks = fn(&mut Histogram);
        let broken: [(&str, Breaks); 10] = [
            ("schema", |h| h.schema = 9),
            ("negative count", |h| h.positive_deltas[0] = -1),
            ("differ in number", |h| h.positive_deltas.truncate(2)),
            ("differ in number", |h| h.positive_spans[0].length = u32::MAX),
            ("more observations", |h| h.count = Some(Count::Int(6))),
            ("count is above", |h| h.count = Some(Count::Int(8))),
            ("before the one ahead", |h| h.positive_spans[1].offset = -1),
            ("out of range", |h| h.positive_spans[0].offset = i32::MIN),
            ("without custom", |h| h.custom_values = vec![1.0]),
            ("threshold", |h| h.zero_threshold = f64::NAN),
        ];
        for (part, breaks) in broken {
            let mut h = wire();
            breaks(&mut h);
            let error = decode(&h).unwrap_err();
            assert!(error.contains(part), "`{error}` lacks `{part}`");
        }
    }

    #[test]
    fn observations_of_nan_are_in_no_bucket() {
        let h = decode(&Histogram { count: Some(Count::Int(9)), sum: f64::NAN, ..wire() }).unwrap();
        assert_eq!(h.count, 9.0);
    }

    #[test]
    fn custom_bounds_ascend_and_hold_the_buckets() {
        let custom = |bounds: &[f64], length: u32| Histogram {
            count: Some(Count::Int(6)),
            schema: FloatHistogram::CUSTOM_BUCKETS,
            positive_spans: vec![BucketSpan { offset: 0, length }],
            positive_deltas: vec![1; length as usize],
            custom_values: bounds.to_vec(),
            ..Histogram::default()
        };
        assert!(decode(&custom(&[1.0, 2.0], 3)).is_ok());
        assert!(decode(&custom(&[2.0, 1.0], 3)).is_err() && decode(&custom(&[1.0], 3)).is_err());
    }
}
