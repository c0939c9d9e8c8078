//! `label_replace` and `label_join`, and the rules for labels that queries make.

use std::sync::LazyLock;

use hashbrown::HashMap;
use parking_lot::Mutex;
use regex::Regex;

use super::grid::Grid;
use super::held::Held;
use super::points::Series;
use super::{Evaluated, Evaluator, merge_same_labels};
use crate::model::{FloatHistogram, METRIC_NAME, REGEX_BYTES_MAX, compile_anchored};
use crate::promql::ast::Call;
use crate::promql::error::QueryError;
use crate::promql::histogram::Sparse;
use crate::promql::number::format_float_g;

/// Longest label value that a query makes of others.
const MADE_LABEL_BYTES_MAX: usize = 256 << 10;

/// Most patterns remembered at once; a stream of ever new ones starts over.
const REGEXES_KNOWN_MAX: usize = 256;
/// Memory up to which a compiled pattern is remembered.
const REGEX_KNOWN_BYTES_MAX: usize = 128 << 10;

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
        let mut made = 0;
        for one in &mut series {
            let given = one.labels.get(&source).unwrap_or("");
            // Every `$` may stand for all of the value.
            let longest =
                replacement.matches('$').count().saturating_mul(given.len()).saturating_add(replacement.len());
            check_length(longest, "label_replace()")?;
            self.worked(given.len())?;
            let Some(value) = expand(&regex, &replacement, given) else { continue };
            self.set_label(one, &target, &value, &mut made)?;
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
        let mut made = 0;
        for one in &mut series {
            let values: Vec<&str> = sources.iter().map(|name| one.labels.get(name).unwrap_or("")).collect();
            let separators = separator.len().saturating_mul(values.len().saturating_sub(1));
            check_length(
                values.iter().map(|value| value.len()).sum::<usize>().saturating_add(separators),
                "label_join()",
            )?;
            let value = values.join(&separator);
            self.worked(value.len())?;
            self.set_label(one, &target, &value, &mut made)?;
        }
        merge_same_labels(series)
    }

    /// Sets a label; a name that was set by hand is no longer to be dropped. `made` counts the bytes of new label sets.
    fn set_label(&self, series: &mut Series, name: &str, value: &str, made: &mut usize) -> Result<(), QueryError> {
        series.labels = series.labels.with(name, value);
        if name == METRIC_NAME {
            series.drop_name = false;
        }
        *made += series.labels.size_bytes();
        self.check_held(Held::bytes(*made))
    }
}

/// Refuses labels that a query makes of others beyond any use.
fn check_length(bytes: usize, function: &str) -> Result<(), QueryError> {
    if bytes <= MADE_LABEL_BYTES_MAX {
        return Ok(());
    }
    let limit = MADE_LABEL_BYTES_MAX >> 10;
    Err(QueryError::Execution(format!("label value made by {function} would be longer than {limit} KiB")))
}

/// The compiled pattern of `label_replace`, remembered: rules ask for the same few patterns at every tick, and
/// compiling one costs more than the rest of such a rule.
fn compiled(pattern: &str) -> Result<Regex, QueryError> {
    static KNOWN: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
    if let Some(regex) = KNOWN.lock().get(pattern) {
        return Ok(regex.clone());
    }
    let (regex, bytes) = compile_anchored(pattern, REGEX_BYTES_MAX)
        .map_err(|_| QueryError::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    if bytes + pattern.len() <= REGEX_KNOWN_BYTES_MAX {
        let mut known = KNOWN.lock();
        if known.len() >= REGEXES_KNOWN_MAX {
            known.clear();
        }
        known.insert(pattern.to_owned(), regex.clone());
    }
    Ok(regex)
}

/// The replacement with `$1`, `${1}`, `$name` and `$$` filled in, if the value matches as a whole.
fn expand(regex: &Regex, replacement: &str, value: &str) -> Option<String> {
    let captures = regex.captures(value)?;
    let mut out = String::new();
    captures.expand(replacement, &mut out);
    Some(out)
}
