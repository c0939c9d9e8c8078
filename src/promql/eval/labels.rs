//! `label_replace` and `label_join`, and the rules for labels that queries make.

use std::sync::LazyLock;

use hashbrown::HashMap;
use parking_lot::Mutex;
use regex::Regex;

use super::grid::Grid;
use super::points::Series;
use super::{Evaluated, Evaluator, merge_same_labels};
use crate::model::{FloatHistogram, METRIC_NAME};
use crate::promql::ast::Call;
use crate::promql::error::QueryError;
use crate::promql::histogram::Sparse;
use crate::promql::number::format_float_g;

/// Largest compiled regular expression, in bytes, as for matchers.
const REGEX_SIZE_LIMIT: usize = 10 * 1024 * 1024;
/// Most patterns remembered at once; a stream of ever new ones starts over.
const REGEXES_KNOWN_MAX: usize = 256;

/// A label name given as a string.
pub(super) fn label_name(bytes: &[u8]) -> Result<String, QueryError> {
    valid_name(bytes).ok_or_else(|| QueryError::Execution(format!("invalid label name {}", quoted(bytes))))
}

fn valid_name(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The text in quotes, bytes that are not UTF-8 as `\xc5`.
fn quoted(bytes: &[u8]) -> String {
    crate::promql::ast::StringLiteral { bytes: bytes.to_vec() }.to_string()
}

/// A histogram as `count_values` writes it: `{count:2, sum:3, [0.5,1]:2}`.
pub(super) fn histogram_text(h: &FloatHistogram) -> String {
    let sparse = Sparse::from(h);
    let mut text = format!("{{count:{}, sum:{}", format_float_g(h.count), format_float_g(h.sum));
    for bucket in sparse.buckets() {
        let (lower, upper) = (format_float_g(bucket.lower), format_float_g(bucket.upper));
        let (open, close) = if bucket.lower < 0.0 && bucket.upper > 0.0 {
            ('[', ']')
        } else if bucket.lower < 0.0 && !sparse.is_custom() {
            ('[', ')')
        } else {
            ('(', ']')
        };
        text.push_str(&format!(", {open}{lower},{upper}{close}:{}", format_float_g(bucket.count)));
    }
    text + "}"
}

impl Evaluator<'_> {
    fn text_arg(&mut self, call: &Call, index: usize, grid: &Grid) -> Result<Vec<u8>, QueryError> {
        match self.eval(&call.args[index], grid)? {
            Evaluated::String(bytes) => Ok(bytes),
            _ => Err(QueryError::Execution("expected a string".into())),
        }
    }

    pub(super) fn label_replace(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let target = self.text_arg(call, 1, grid)?;
        let replacement = String::from_utf8_lossy(&self.text_arg(call, 2, grid)?).into_owned();
        let source = String::from_utf8_lossy(&self.text_arg(call, 3, grid)?).into_owned();
        let pattern = String::from_utf8_lossy(&self.text_arg(call, 4, grid)?).into_owned();
        let regex = compiled(&pattern)?;
        let target = valid_name(&target).ok_or_else(|| {
            QueryError::Execution(format!(
                "invalid destination label name in label_replace(): {}",
                String::from_utf8_lossy(&target)
            ))
        })?;
        let mut series = self.vector(&call.args[0], grid)?;
        for one in &mut series {
            let Some(value) = expand(&regex, &replacement, one.labels.get(&source).unwrap_or("")) else { continue };
            set_label(one, &target, value);
        }
        merge_same_labels(series)
    }

    pub(super) fn label_join(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let target = self.text_arg(call, 1, grid)?;
        let separator = String::from_utf8_lossy(&self.text_arg(call, 2, grid)?).into_owned();
        let invalid = |what: &str, name: &[u8]| {
            QueryError::Execution(format!(
                "invalid {what} label name in label_join(): {}",
                String::from_utf8_lossy(name)
            ))
        };
        let mut sources = Vec::new();
        for index in 3..call.args.len() {
            let name = self.text_arg(call, index, grid)?;
            sources.push(valid_name(&name).ok_or_else(|| invalid("source", &name))?);
        }
        let target = valid_name(&target).ok_or_else(|| invalid("destination", &target))?;
        let mut series = self.vector(&call.args[0], grid)?;
        for one in &mut series {
            let values: Vec<&str> = sources.iter().map(|name| one.labels.get(name).unwrap_or("")).collect();
            let value = values.join(&separator);
            set_label(one, &target, value);
        }
        merge_same_labels(series)
    }
}

/// Sets a label; a name that was set by hand is no longer to be dropped.
fn set_label(series: &mut Series, name: &str, value: String) {
    let mut builder = series.labels.builder();
    builder.set(name, value);
    series.labels = builder.build();
    if name == METRIC_NAME {
        series.drop_name = false;
    }
}

/// The replacement with `$1`, `${1}`, `$name` and `$$` filled in, if the value matches as a whole.
/// The compiled pattern of `label_replace`, remembered: rules ask for the same few patterns at every tick, and
/// compiling one costs more than the rest of such a rule.
fn compiled(pattern: &str) -> Result<Regex, QueryError> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    if let Some(regex) = KNOWN.lock().get(pattern) {
        return Ok(regex.clone());
    }
    let regex = regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
        .size_limit(REGEX_SIZE_LIMIT)
        .build()
        .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    let mut known = KNOWN.lock();
    if known.len() >= REGEXES_KNOWN_MAX {
        known.clear();
    }
    known.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn expand(regex: &Regex, replacement: &str, value: &str) -> Option<String> {
    let captures = regex.captures(value)?;
    let mut out = String::new();
    captures.expand(replacement, &mut out);
    Some(out)
}
