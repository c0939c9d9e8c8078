//! promtool's notation of series and values: `up{job="a"}` and `0+1x5 _ stale`.
//!
//! In: text.   Out: labels, or a value for each position. Limit: a million positions.

use std::sync::Arc;

use crate::model::{FloatHistogram, Labels, MatchOp, Value, stale_nan};
use crate::promql::{parse_selector, parse_signed_number};

const POSITIONS_MAX: usize = 1_000_000;

/// Reads a series such as `name{label="value"}`, `{label="value"}` or `{}`.
pub fn parse_series(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    if text.replace(char::is_whitespace, "") == "{}" {
        return Ok(Labels::empty());
    }
    // A selector must match something; a name that is never asked for makes it one.
    let matchers = match parse_selector(text) {
        Ok(matchers) => matchers,
        Err(e) => return Err(e.to_string()),
    };
    if let Some(m) = matchers.iter().find(|m| m.op != MatchOp::Equal) {
        return Err(format!("a series has `=` only, got `{m}`"));
    }
    Ok(Labels::from_pairs(matchers.iter().map(|m| (m.name.clone(), m.value.clone()))))
}

/// Reads values; a position without one is `None`.
pub fn parse_values(text: &str) -> Result<Vec<Option<Value>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let (body, times) = match item.rsplit_once('x') {
            Some((body, times)) if !body.is_empty() && !body.ends_with('0') || item.starts_with("_x") => {
                let times: usize = times.parse().map_err(|_| format!("`{item}` has no count after x"))?;
                (body, Some(times))
            }
            _ => split_times(item)?,
        };
        if out.len() + times.unwrap_or(0) >= POSITIONS_MAX {
            return Err(format!("more than {POSITIONS_MAX} values"));
        }
        match (body, times) {
            ("_", times) => out.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
            ("stale", None) => out.push(Some(Value::Float(stale_nan()))),
            (body, times) => {
                let (mut value, step) = start_and_step(body).ok_or_else(|| format!("`{item}` is not a value"))?;
                for _ in 0..=times.unwrap_or(0) {
                    out.push(Some(Value::Float(value)));
                    value += step;
                }
            }
        }
    }
    Ok(out)
}

fn split_times(item: &str) -> Result<(&str, Option<usize>), String> {
    match item.rsplit_once('x').filter(|(body, _)| !matches!(body.trim_start_matches(['+', '-']), "0" | "")) {
        Some((body, times)) => {
            times.parse().map(|n| (body, Some(n))).map_err(|_| format!("`{item}` has no count after x"))
        }
        None => match item.split_once('x') {
            // `0x10` is zero, eleven times; promtool has hexadecimal numbers only with letters in them.
            Some((body, times)) if times.parse::<usize>().is_ok() => Ok((body, times.parse().ok())),
            _ => Ok((item, None)),
        },
    }
}

fn start_and_step(text: &str) -> Option<(f64, f64)> {
    if let Some(value) = parse_signed_number(text) {
        return Some((value, 0.0));
    }
    let at = text.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let mut splits = at.map(|(at, _)| text.split_at(at));
    splits.find_map(|(start, step)| Some((parse_signed_number(start)?, parse_signed_number(step)?)))
}

/// A histogram in promtool's notation.
pub fn histogram_text(h: &Arc<FloatHistogram>) -> String {
    format!("{h:?}")
}
