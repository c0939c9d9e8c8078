//! Compares what was got with what was expected.

use super::Answer;
use super::script::{Eval, Expected, ExpectedSeries, Text};
use crate::model::{FloatHistogram, Labels, Sample, TimestampMs, Value, is_stale_nan};
use crate::promql::engine::{MatrixSeries, QueryResult, QueryValue, VectorSample};
use crate::promql::histogram::compact;
use crate::promql::labels_text;
use crate::promql::series::SeriesValue;

/// Largest relative difference of floats that count as equal.
const EPSILON: f64 = 1e-6;

/// Checks failure, annotations and value.
pub(super) fn outcome(
    eval: &Eval,
    answer: &Answer,
    check_value: impl FnOnce(&QueryValue) -> Result<(), String>,
) -> Result<(), String> {
    value_or_failure(eval, answer, check_value)?;
    match answer {
        Ok(result) => check_annotations(eval, result),
        Err(_) => Ok(()),
    }
}

/// Checks failure and value.
pub(super) fn value_or_failure(
    eval: &Eval,
    answer: &Answer,
    check_value: impl FnOnce(&QueryValue) -> Result<(), String>,
) -> Result<(), String> {
    match (answer, &eval.fail) {
        (Ok(_), Some(text)) => Err(format!("expected a failure with {}, got an answer", text.describe())),
        (Err(error), Some(text)) if text.accepts(&error.to_string()) => Ok(()),
        (Err(error), Some(text)) => Err(format!("expected a failure with {}, got `{error}`", text.describe())),
        (Err(error), None) => Err(format!("failed with `{error}`")),
        (Ok(result), None) => check_value(&result.value),
    }
}

fn check_annotations(eval: &Eval, result: &QueryResult) -> Result<(), String> {
    let kinds =
        [("warning", &eval.warn, eval.no_warn, &result.warnings), ("info", &eval.info, eval.no_info, &result.infos)];
    for (kind, wanted, none, got) in kinds {
        if none && !got.is_empty() {
            return Err(format!("expected no {kind}, got {got:?}"));
        }
        if wanted.is_empty() {
            continue;
        }
        if let Some(missing) = wanted.iter().find(|text| !got.iter().any(|g| text.accepts(g))) {
            return Err(format!("expected {kind} {}, got {got:?}", missing.describe()));
        }
        if let Some(extra) = got.iter().find(|g| !wanted.iter().any(|text: &Text| text.accepts(g))) {
            return Err(format!("unexpected {kind} `{extra}`"));
        }
    }
    Ok(())
}

/// Checks the value of an instant query.
pub(super) fn instant(eval: &Eval, value: &QueryValue) -> Result<(), String> {
    match (&eval.expected, value) {
        (Expected::Scalar(wanted), QueryValue::Scalar(got)) if almost_equal(*wanted, got.v) => Ok(()),
        (Expected::Scalar(wanted), QueryValue::Scalar(got)) => Err(format!("expected {wanted}, got {}", got.v)),
        (Expected::String(wanted), QueryValue::String(_, got)) if wanted == got => Ok(()),
        (Expected::RangeVector { start, step, series }, value) => match value {
            QueryValue::Matrix(got) => check_matrix(series, got, *start, *step),
            other => Err(format!("expected a matrix, got {other:?}")),
        },
        (Expected::Series(wanted), QueryValue::Vector(got)) => check_vector(wanted, got, eval.ordered),
        (Expected::Series(wanted), QueryValue::Matrix(got)) if wanted.is_empty() && got.is_empty() => Ok(()),
        (Expected::String(wanted), got) => Err(format!("expected {wanted:?}, got {got:?}")),
        (_, got) => Err(format!("got a value of another type: {got:?}")),
    }
}

/// Checks the value of a range query.
pub(super) fn matrix(expected: &Expected, value: &QueryValue, start: i64, step: i64) -> Result<(), String> {
    match (expected, value) {
        (Expected::Series(wanted), QueryValue::Matrix(got)) => check_matrix(wanted, got, start, step),
        (_, got) => Err(format!("got a value of another type: {got:?}")),
    }
}

fn check_vector(wanted: &[ExpectedSeries], got: &[VectorSample], ordered: bool) -> Result<(), String> {
    for (position, (labels, values)) in wanted.iter().enumerate() {
        let at = got.iter().position(|s| s.labels == *labels);
        let Some(at) = at else {
            return Err(format!("expected series {}, got {}", labels_text(labels), shown(got)));
        };
        if ordered && at != position {
            return Err(format!("expected {} at position {position}, got it at {at}", labels_text(labels)));
        }
        let Some(Some(value)) = values.first() else { continue };
        check_value(labels, value, &got[at].value)?;
    }
    match got.iter().find(|s| !wanted.iter().any(|(labels, _)| *labels == s.labels)) {
        Some(extra) => Err(format!("unexpected series {}", shown(std::slice::from_ref(extra)))),
        None if got.len() != wanted.len() => Err(format!("expected {} series, got {}", wanted.len(), got.len())),
        None => Ok(()),
    }
}

fn shown(samples: &[VectorSample]) -> String {
    let texts: Vec<String> =
        samples.iter().map(|s| format!("{} {}", labels_text(&s.labels), value_text(&s.value))).collect();
    if texts.is_empty() { "nothing".into() } else { texts.join(", ") }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Float(v) => format!("{v}"),
        Value::Histogram(h) => format!("{:?}", compact(h)),
    }
}

fn check_matrix(wanted: &[ExpectedSeries], got: &[MatrixSeries], start: i64, step: i64) -> Result<(), String> {
    for (labels, values) in wanted {
        let found = got.iter().find(|s| s.labels == *labels);
        let time = |index: usize| TimestampMs(start + index as i64 * step);
        if values.iter().all(Option::is_none) && found.is_none() {
            continue;
        }
        let Some(found) = found else {
            let names: Vec<String> = got.iter().map(|s| labels_text(&s.labels)).collect();
            return Err(format!("expected series {}, got {}", labels_text(labels), names.join(", ")));
        };
        for (index, value) in values.iter().enumerate() {
            match (value, value_at(found, time(index))) {
                (None, None) => {}
                (Some(value), Some(got)) => {
                    check_value(labels, value, &got).map_err(|e| format!("at {}: {e}", time(index).0))?;
                }
                (Some(_), None) => return Err(format!("{}: nothing at {} ms", labels_text(labels), time(index).0)),
                (None, Some(got)) => {
                    let text = value_text(&got);
                    return Err(format!("{}: unexpected {text} at {} ms", labels_text(labels), time(index).0));
                }
            }
        }
        let wanted_points = values.iter().flatten().count();
        let got_points = found.floats.len() + found.histograms.len();
        if wanted_points != got_points {
            return Err(format!("{}: expected {wanted_points} points, got {got_points}", labels_text(labels)));
        }
    }
    match got.iter().find(|s| !wanted.iter().any(|(labels, _)| *labels == s.labels)) {
        Some(extra) => Err(format!("unexpected series {}", labels_text(&extra.labels))),
        None => Ok(()),
    }
}

fn value_at(series: &MatrixSeries, t: TimestampMs) -> Option<Value> {
    let float = series.floats.iter().find(|s| s.t == t).map(|s| Value::Float(s.v));
    float.or_else(|| series.histograms.iter().find(|(at, _)| *at == t).map(|(_, h)| Value::Histogram(h.clone())))
}

/// The matrix at one time.
pub(super) fn slice(matrix: &[MatrixSeries], t: TimestampMs) -> QueryValue {
    let sample = |s: &MatrixSeries| Some(VectorSample { labels: s.labels.clone(), t, value: value_at(s, t)? });
    QueryValue::Vector(matrix.iter().filter_map(sample).collect())
}

/// A scalar that a range query has turned into a series without labels.
pub(super) fn as_scalar(samples: Vec<VectorSample>, t: TimestampMs) -> QueryValue {
    match samples.as_slice() {
        [VectorSample { value: Value::Float(v), .. }] => QueryValue::Scalar(Sample { t, v: *v }),
        _ => QueryValue::Vector(samples),
    }
}

fn check_value(labels: &Labels, wanted: &SeriesValue, got: &Value) -> Result<(), String> {
    let equal = match (&wanted.value, got) {
        (Value::Float(a), Value::Float(b)) => almost_equal(*a, *b),
        (Value::Histogram(a), Value::Histogram(b)) => same_histogram(a, b, wanted.hint_given),
        _ => false,
    };
    if equal {
        return Ok(());
    }
    Err(format!("{}: expected {}, got {}", labels_text(labels), value_text(&wanted.value), value_text(got)))
}

fn same_histogram(wanted: &FloatHistogram, got: &FloatHistogram, hint_given: bool) -> bool {
    let (a, b) = (compact(wanted), compact(got));
    let all_equal = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| almost_equal(*a, *b));
    a.schema == b.schema
        && a.zero_threshold == b.zero_threshold
        && a.custom_values == b.custom_values
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && all_equal(&a.positive_buckets, &b.positive_buckets)
        && all_equal(&a.negative_buckets, &b.negative_buckets)
        && all_equal(&[a.count, a.sum, a.zero_count], &[b.count, b.sum, b.zero_count])
        && (!hint_given || a.counter_reset_hint == b.counter_reset_hint)
}

/// Equal up to one part in a million; NaN equals NaN, and the staleness marker only itself.
fn almost_equal(a: f64, b: f64) -> bool {
    if is_stale_nan(a) || is_stale_nan(b) {
        return is_stale_nan(a) && is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let sum = a.abs() + b.abs();
    let difference = (a - b).abs();
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}
