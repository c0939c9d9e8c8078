//! The notation of series in test scripts: `name{label="v"} 1 2+1x5 _ stale {{schema:0 count:3}}`.
//!
//! Shared by `promqltest` scripts and by rule unit tests.

use std::collections::HashSet;
use std::sync::Arc;

use super::histogram::Sparse;
use super::number::parse_signed_number;
use super::parser::parse_labels;
use crate::model::{CounterResetHint, FloatHistogram, Labels, Span, Value, stale_nan};

/// Most values that one line may stand for.
const MAX_VALUES: usize = 10_000_000;

/// Why a series line could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    #[error("series `{text}` is not a label set: {reason}")]
    Labels { text: String, reason: String },
    #[error("value `{text}` {reason}")]
    Value { text: String, reason: &'static str },
}

/// A value of a series line.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesValue {
    pub value: Value,
    /// Whether a histogram's counter reset hint was written, so that it is to be compared.
    pub hint_given: bool,
}

/// Reads a whole line: the labels, then one entry for each position, `None` where the value is left out.
///
/// # Errors
/// See [`SeriesError`].
pub fn parse_series_line(line: &str) -> Result<(Labels, Vec<Option<SeriesValue>>), SeriesError> {
    let (series, values) = split_series(line);
    Ok((parse_series_labels(series)?, parse_series_values(values)?))
}

/// Reads the labels of a series, `{}` and names that are keywords included.
///
/// # Errors
/// The text is not a label set.
pub fn parse_series_labels(text: &str) -> Result<Labels, SeriesError> {
    parse_labels(text).map_err(|e| SeriesError::Labels { text: text.into(), reason: e.message })
}

/// Splits a line behind the series, which may hold blanks in its braces and quotes.
pub(super) fn split_series(line: &str) -> (&str, &str) {
    let line = line.trim();
    let mut in_braces = false;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped && open != '`';
            }
            None => match c {
                '"' | '\'' | '`' => quote = Some(c),
                '{' => in_braces = true,
                '}' => in_braces = false,
                _ if c.is_whitespace() && !in_braces => {
                    // `name {labels}` is one series all the same.
                    let rest = line[at..].trim_start();
                    let is_histogram = rest.starts_with("{{");
                    let labels_follow = rest.starts_with('{') && !is_histogram && !line[..at].contains('{');
                    if !labels_follow {
                        return (&line[..at], rest);
                    }
                }
                _ => {}
            },
        }
    }
    (line, "")
}

/// Reads values separated by blanks.
///
/// # Errors
/// An item is not in the notation, or the items stand for too many values.
pub fn parse_series_values(text: &str) -> Result<Vec<Option<SeriesValue>>, SeriesError> {
    let mut values = Vec::new();
    for item in items(text) {
        let refuse = |reason| SeriesError::Value { text: item.into(), reason };
        if item.contains("{{") {
            values.extend(histogram_item(item).map_err(refuse)?.into_iter().map(Some));
        } else {
            let floats = float_item(item).map_err(refuse)?;
            let float = |v: f64| SeriesValue { value: Value::Float(v), hint_given: false };
            values.extend(floats.into_iter().map(|v| v.map(float)));
        }
        if values.len() > MAX_VALUES {
            return Err(refuse("makes the line too long"));
        }
    }
    Ok(values)
}

/// Cuts at blanks outside `{{ }}`.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut depth = 0usize;
        let end = rest.char_indices().find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && c.is_whitespace()
        });
        let end = end.map_or(rest.len(), |(at, _)| at);
        let item = &rest[..end];
        rest = rest[end..].trim_start();
        Some(item)
    })
}

/// `body` and the number behind its last `x`.
fn repetitions(item: &str) -> Option<(&str, usize)> {
    let (body, count) = item.rsplit_once('x')?;
    let is_count = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
    is_count.then(|| count.parse().ok()).flatten().filter(|n| *n < MAX_VALUES).map(|n| (body, n))
}

fn float_item(item: &str) -> Result<Vec<Option<f64>>, &'static str> {
    if item == "_" {
        return Ok(vec![None]);
    }
    if item == "stale" {
        return Ok(vec![Some(stale_nan())]);
    }
    // `0x5` is six zeros, as in Prometheus; `0x1f` can only be meant as a number.
    let is_repetition = repetitions(item).is_some_and(|(body, _)| !body.is_empty());
    if let Some(value) = parse_signed_number(item).filter(|_| !is_repetition) {
        return Ok(vec![Some(value)]);
    }
    let (body, times) = repetitions(item).ok_or("is not a number")?;
    if body == "_" {
        return Ok(vec![None; times]);
    }
    if let Some(value) = parse_signed_number(body) {
        let is_word = body.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_alphabetic());
        return if is_word { Err("is a word, which cannot be repeated") } else { Ok(vec![Some(value); times + 1]) };
    }
    let signs = body.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let pair = signs
        .into_iter()
        .find_map(|(at, _)| Some((parse_signed_number(&body[..at])?, parse_signed_number(&body[at..])?)));
    let (first, step) = pair.ok_or("is not of the form a+bxN")?;
    let series = std::iter::successors(Some(first), |v| Some(v + step));
    Ok(series.take(times + 1).map(Some).collect())
}

fn histogram_item(item: &str) -> Result<Vec<SeriesValue>, &'static str> {
    let close = item.find("}}").ok_or("lacks }}")? + 2;
    let (first, hint_given) = histogram(&item[..close])?;
    let value = |h: FloatHistogram| SeriesValue { value: Value::Histogram(Arc::new(h)), hint_given };
    let rest = &item[close..];
    if rest.is_empty() {
        return Ok(vec![value(first)]);
    }
    let (body, times) = repetitions(rest).ok_or("must end in xN")?;
    if body.is_empty() {
        return Ok(vec![value(first); times + 1]);
    }
    let sign = match body.as_bytes()[0] {
        b'+' => 1.0,
        b'-' => -1.0,
        _ => return Err("must have + or - between histograms"),
    };
    let step = Sparse::from(&histogram(&body[1..])?.0);
    let mut current = Sparse::from(&first);
    let mut values = vec![value(first)];
    for _ in 0..times {
        current.add_scaled(&step, sign).map_err(|_| "adds histograms of differing kinds")?;
        values.push(value(FloatHistogram::from(&current)));
    }
    Ok(values)
}

/// `{{key:value …}}`: the histogram, and whether its counter reset hint was written.
fn histogram(text: &str) -> Result<(FloatHistogram, bool), &'static str> {
    let inner = text.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).ok_or("must stand in {{ }}")?;
    let mut h = FloatHistogram::default();
    let mut seen: HashSet<&str> = HashSet::new();
    let (mut offset, mut n_offset) = (0, 0);
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once(':').ok_or("must hold key:value pairs")?;
        let (key, after) = (key.trim(), after.trim_start());
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => list.split_once(']').ok_or("lacks ]")?,
            None => after.split_once(char::is_whitespace).unwrap_or((after, "")),
        };
        if !seen.insert(key) {
            return Err("holds a key twice");
        }
        let number = || parse_signed_number(value).ok_or("holds something that is not a number");
        let integer = || value.parse::<i32>().map_err(|_| "holds something that is not a whole number");
        let list = || {
            let numbers = value.split_whitespace().map(parse_signed_number).collect::<Option<Vec<f64>>>();
            numbers.ok_or("holds a list of something else than numbers")
        };
        match key {
            "schema" => h.schema = integer()?,
            "sum" => h.sum = number()?,
            "count" => h.count = number()?,
            "z_bucket" => h.zero_count = number()?,
            "z_bucket_w" => h.zero_threshold = number()?,
            "buckets" => h.positive_buckets = list()?,
            "n_buckets" => h.negative_buckets = list()?,
            "offset" => offset = integer()?,
            "n_offset" => n_offset = integer()?,
            "custom_values" => h.custom_values = list()?,
            "counter_reset_hint" => {
                h.counter_reset_hint = match value {
                    "unknown" => CounterResetHint::Unknown,
                    "reset" => CounterResetHint::Reset,
                    "not_reset" => CounterResetHint::NotReset,
                    "gauge" => CounterResetHint::Gauge,
                    _ => return Err("holds an unknown counter_reset_hint"),
                }
            }
            _ => return Err("holds an unknown key"),
        }
        rest = next.trim_start();
    }
    let span = |offset: i32, buckets: &[f64]| match buckets.is_empty() {
        true => Vec::new(),
        false => vec![Span { offset, length: buckets.len() as u32 }],
    };
    h.positive_spans = span(offset, &h.positive_buckets);
    h.negative_spans = span(n_offset, &h.negative_buckets);
    Ok((h, seen.contains("counter_reset_hint")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(text: &str) -> Vec<Option<f64>> {
        let values = parse_series_values(text).unwrap();
        let float = |v: SeriesValue| match v.value {
            Value::Float(v) => v,
            Value::Histogram(_) => panic!("a histogram in {text}"),
        };
        values.into_iter().map(|v| v.map(float)).collect()
    }

    #[test]
    fn numbers_repeat_and_step() {
        assert_eq!(
            floats("1 _ 2+3x2 -1-1x1 _x2"),
            [Some(1.0), None, Some(2.0), Some(5.0), Some(8.0), Some(-1.0), Some(-2.0), None, None]
        );
        assert_eq!(floats("0x2"), [Some(0.0); 3]);
        assert_eq!(floats("0x1f 1e+2 7x1"), [Some(31.0), Some(100.0), Some(7.0), Some(7.0)]);
        assert!(floats("stale")[0].is_some_and(crate::model::is_stale_nan));
        for text in ["NaNx3", "1+x3", "abc", "1 + 1x3", "{{schema:0", "{{sum:1 sum:2}}"] {
            assert!(parse_series_values(text).is_err(), "{text}");
        }
    }

    #[test]
    fn histograms_step_too() {
        let values =
            parse_series_values("{{schema:1 count:2 sum:-0.5 offset:-1 buckets:[1 1]}}+{{count:1 buckets:[1]}}x1")
                .unwrap();
        let Some(Some(SeriesValue { value: Value::Histogram(last), hint_given: false })) = values.last() else {
            panic!("expected a histogram")
        };
        assert_eq!((last.count, last.schema, last.sum), (3.0, 0, -0.5));
        assert_eq!(values.len(), 2);
    }

    #[test]
    fn series_take_any_name() {
        for (line, labels) in [
            ("up 1", "up"),
            ("{} 1", "{}"),
            ("sum{by=\"x\"} 1", "sum{by=\"x\"}"),
            ("{\"my.name\", \"a b\"=\"c d\"} 1", "{\"my.name\", \"a b\"=\"c d\"}"),
            ("x {a=\"b\"} 1", "x{a=\"b\"}"),
        ] {
            let (read, values) = parse_series_line(line).unwrap();
            assert_eq!((read.to_string().as_str(), values.len()), (labels, 1), "{line}");
        }
    }
}
