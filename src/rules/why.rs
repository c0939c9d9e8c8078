//! Why an alert fires, is pending, or is silent: each part of its expression with its value.
//!
//! In:  a rule's expression, the store, a time.   Out: [`Part`]s as a tree: what holds, since when, and what is missing.
//! Always: parts are split where the outcome is decided (`and`, `or`, `unless`, comparisons) and nowhere else; "since"
//! looks back [`WINDOW_MS`] and says so where that is not enough. What cannot be said of the past does not keep the values
//! of now from being told.
//! Limits: [`VALUES_MAX`] series of each side are shown, and the query engine's own limits hold for each part.

use serde::Serialize;

use super::evaluate::{RuleError, vector};
use super::rule::Rule;
use super::view::rfc3339;
use crate::model::{Labels, TimestampMs, Value};
use crate::promql::{
    Binary, BinaryOp, Engine, Expr, ExprKind, QueryValue, ValueType, VectorSample, format_float_short,
};
use crate::storage::Select;

/// Series that are shown of each side of a part.
const VALUES_MAX: usize = 5;
/// How far back "since" looks.
const WINDOW_MS: i64 = 3_600_000;

/// One deciding part of an expression.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// The part as PromQL.
    pub expr: String,
    pub kind: Kind,
    /// Whether it returns anything now.
    pub holds: bool,
    /// Since when it has been holding, or not holding; absent where the look back failed, as a part does that was ambiguous
    /// at some time within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
    /// What a comparison compares, or what else returned something; the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Shown>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub right: Vec<Shown>,
    /// In words, what keeps it from holding; absent where it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}

/// How a part comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `and`: every part has to hold, for the same series.
    AllOf,
    /// `or`: one part is enough.
    AnyOf,
    /// `unless`: the first part has to hold and the second not.
    Unless,
    Comparison,
    /// Anything else: it holds while it returns something.
    Value,
}

/// Since when a part is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Since {
    #[serde(serialize_with = "rfc3339")]
    pub at: TimestampMs,
    /// It has been so for all of the time looked at: longer than `at` says.
    pub or_longer: bool,
}

/// One series of a side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    pub labels: Labels,
    /// As Go's `%g` writes it; `histogram` where it is one.
    pub value: String,
}

/// Explains a rule's expression as it is evaluated at `at`; `step_ms` is how closely "since" looks.
///
/// The rule reads what was `offset_ms` before, its `query_offset`; "since" is told in the time of the rule.
///
/// # Errors
/// A part could not be evaluated.
pub fn explain(
    rule: &Rule,
    engine: &Engine,
    storage: &dyn Select,
    at: TimestampMs,
    offset_ms: i64,
    step_ms: i64,
) -> Result<Part, RuleError> {
    Asker { engine, storage, at: at.plus_ms(-offset_ms), offset_ms, step_ms }.part(&rule.expr)
}

struct Asker<'a> {
    engine: &'a Engine,
    storage: &'a dyn Select,
    /// The time that is read.
    at: TimestampMs,
    offset_ms: i64,
    step_ms: i64,
}

impl Asker<'_> {
    fn part(&self, expr: &Expr) -> Result<Part, RuleError> {
        let expr = expr.unwrap_parens();
        let found = self.now(expr)?;
        let holds = !found.is_empty();
        let mut part = Part {
            expr: expr.to_string(),
            kind: kind_of(expr),
            holds,
            since: self.since(expr, holds),
            left: Vec::new(),
            right: Vec::new(),
            missing: None,
            parts: Vec::new(),
        };
        match (&expr.kind, part.kind) {
            (ExprKind::Binary(binary), Kind::AllOf | Kind::AnyOf | Kind::Unless) => {
                let mut operands = Vec::new();
                collect(expr, binary.op, &mut operands);
                part.parts = operands.into_iter().map(|operand| self.part(operand)).collect::<Result<_, _>>()?;
                part.missing = (!holds).then(|| missing_of_parts(part.kind, &part.parts));
            }
            (ExprKind::Binary(binary), Kind::Comparison) => {
                let (left, right) = (self.now(&binary.lhs)?, self.now(&binary.rhs)?);
                part.missing = match (holds, left.is_empty(), right.is_empty()) {
                    (true, ..) => None,
                    (_, true, _) => Some(self.why_nothing(&binary.lhs)?),
                    (_, _, true) => Some(self.why_nothing(&binary.rhs)?),
                    _ => Some(missing_of_comparison(binary, &left, &right)),
                };
                (part.left, part.right) = (shown(&left), shown(&right));
            }
            _ => {
                part.left = shown(&found);
                part.missing = if holds { None } else { Some(self.why_nothing(expr)?) };
            }
        }
        Ok(part)
    }

    /// In words, the innermost part of an expression by which it returns nothing.
    fn why_nothing(&self, expr: &Expr) -> Result<String, RuleError> {
        let expr = expr.unwrap_parens();
        let is_vector = |inner: &&Expr| inner.value_type() == ValueType::Vector;
        for inner in expr.children().filter(is_vector) {
            if self.now(inner)?.is_empty() {
                return self.why_nothing(inner);
            }
        }
        let mut sides = expr.children().filter(is_vector);
        Ok(match (&expr.kind, sides.next(), sides.next()) {
            (ExprKind::Binary(_), Some(left), Some(right)) => {
                format!("no series of `{}` has its counterpart in `{}`", left.unwrap_parens(), right.unwrap_parens())
            }
            _ => format!("`{expr}` returns nothing"),
        })
    }

    fn now(&self, expr: &Expr) -> Result<Vec<VectorSample>, RuleError> {
        vector(self.engine, self.storage, expr, self.at)
    }

    /// The first step of the run of steps up to now at which the part was as it is now.
    fn since(&self, expr: &Expr, holds: bool) -> Option<Since> {
        let steps = WINDOW_MS / self.step_ms;
        let start = self.at.plus_ms(-steps * self.step_ms);
        let result = self.engine.range(self.storage, expr, start, self.at, self.step_ms).ok()?;
        let QueryValue::Matrix(matrix) = result.value else { return None };
        let mut held = vec![false; steps as usize + 1];
        for series in &matrix {
            let times = series.floats.iter().map(|s| s.t).chain(series.histograms.iter().map(|(t, _)| *t));
            for t in times {
                if let Some(step) = held.get_mut((t.since(start) / self.step_ms) as usize) {
                    *step = true;
                }
            }
        }
        let same = held.iter().rev().take_while(|held| **held == holds).count() as i64;
        let back = (same - 1).max(0);
        Some(Since { at: self.at.plus_ms(self.offset_ms - back * self.step_ms), or_longer: back == steps })
    }
}

fn kind_of(expr: &Expr) -> Kind {
    match &expr.kind {
        ExprKind::Binary(binary) => match binary.op {
            BinaryOp::And => Kind::AllOf,
            BinaryOp::Or => Kind::AnyOf,
            BinaryOp::Unless => Kind::Unless,
            op if op.is_comparison() && !binary.return_bool && expr.value_type() == ValueType::Vector => {
                Kind::Comparison
            }
            _ => Kind::Value,
        },
        _ => Kind::Value,
    }
}

/// The operands of a chain of one set operator; `unless` keeps its two sides.
fn collect<'a>(expr: &'a Expr, op: BinaryOp, operands: &mut Vec<&'a Expr>) {
    match &expr.unwrap_parens().kind {
        ExprKind::Binary(binary) if binary.op == op && (op != BinaryOp::Unless || operands.is_empty()) => {
            match op {
                BinaryOp::Unless => operands.extend([&*binary.lhs, &*binary.rhs]),
                _ => {
                    collect(&binary.lhs, op, operands);
                    collect(&binary.rhs, op, operands);
                }
            };
        }
        _ => operands.push(expr),
    }
}

fn shown(found: &[VectorSample]) -> Vec<Shown> {
    let row = |sample: &VectorSample| Shown { labels: sample.labels.clone(), value: text_of(&sample.value) };
    found.iter().take(VALUES_MAX).map(row).collect()
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Float(v) => format_float_short(*v),
        Value::Histogram(_) => "histogram".to_owned(),
    }
}

/// Four significant digits: enough to see how far it is.
fn short(v: f64) -> String {
    let digits = 3 - v.abs().log10().floor().clamp(-300.0, 300.0) as i32;
    match v.is_finite() && v.fract() != 0.0 && digits > 0 {
        true => format_float_short(format!("{v:.*}", digits.unsigned_abs() as usize).parse().unwrap_or(v)),
        false => format_float_short(v),
    }
}

fn missing_of_parts(kind: Kind, parts: &[Part]) -> String {
    let missing: Vec<&str> = parts.iter().filter_map(|part| part.missing.as_deref()).collect();
    match kind {
        Kind::Unless if parts.first().is_some_and(|first| first.holds) => {
            let exception = parts.get(1).map_or("", |part| part.expr.as_str());
            format!("the exception `{exception}` holds for the same series")
        }
        Kind::AnyOf => missing.join("; or "),
        _ if missing.is_empty() => "each part holds, but not for the same series".to_owned(),
        Kind::Unless => missing.first().copied().unwrap_or_default().to_owned(),
        _ => missing.join("; and "),
    }
}

/// What keeps `left op right` from holding though both return something, by the element of `left` that is nearest.
fn missing_of_comparison(binary: &Binary, left: &[VectorSample], right: &[VectorSample]) -> String {
    let op = binary.op;
    let floats = |side: &[VectorSample]| -> Vec<(Labels, f64)> {
        let float = |s: &VectorSample| match s.value {
            Value::Float(v) if !v.is_nan() => Some((s.labels.clone(), v)),
            _ => None,
        };
        side.iter().filter_map(float).collect()
    };
    let (left, right) = (floats(left), floats(right));
    let [(_, limit)] = right.as_slice() else {
        return format!("no series of `{}` is {} its counterpart", binary.lhs, op.as_str());
    };
    let nearest = match op {
        BinaryOp::Less | BinaryOp::LessOrEqual => left.iter().min_by(|a, b| a.1.total_cmp(&b.1)),
        BinaryOp::Greater | BinaryOp::GreaterOrEqual => left.iter().max_by(|a, b| a.1.total_cmp(&b.1)),
        _ => left.iter().min_by(|a, b| (a.1 - limit).abs().total_cmp(&(b.1 - limit).abs())),
    };
    let Some((labels, value)) = nearest else { return format!("`{}` is NaN", binary.lhs) };
    let labels = labels.without_metric_name();
    let of = if labels.is_empty() { String::new() } else { format!(" of {labels}") };
    format!("{}{of} is not {} {}", short(*value), op.as_str(), short(*limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{parse, parse_series_labels};
    use crate::rules::memory::MemoryStore;
    use crate::rules::rule::{RuleKind, asks_for_absence, reads_of};
    use crate::storage::Point;

    /// Series with one value a minute, the last one at ten minutes.
    fn why(expr: &str, series: &[(&str, &[f64])]) -> Part {
        why_with_offset(expr, series, 0)
    }

    /// Of a rule that is evaluated so much later.
    fn why_with_offset(expr: &str, series: &[(&str, &[f64])], offset_ms: i64) -> Part {
        let mut store = MemoryStore::default();
        for (name, values) in series {
            let labels = parse_series_labels(name).unwrap();
            for (back, v) in values.iter().rev().enumerate() {
                let t = TimestampMs(600_000 - back as i64 * 60_000);
                store.push(Point { labels: labels.clone(), t, value: Value::Float(*v) });
            }
        }
        let parsed = parse(expr).unwrap();
        let rule = Rule {
            group: 0,
            name: "A".into(),
            line: None,
            text: expr.into(),
            query: parsed.to_string(),
            selectors: reads_of(&parsed),
            waits_for_sources: asks_for_absence(&parsed),
            kind: RuleKind::Recording { labels: Vec::new() },
            expr: parsed,
        };
        explain(&rule, &Engine::default(), &store, TimestampMs(600_000 + offset_ms), offset_ms, 60_000).unwrap()
    }

    #[test]
    fn a_comparison_says_how_near_the_nearest_is_and_since_when() {
        let part = why("cpu > 0.7", &[("cpu{i=\"a\"}", &[0.8, 0.2, 0.3]), ("cpu{i=\"b\"}", &[0.1, 0.5, 0.6])]);
        assert_eq!((part.kind, part.holds), (Kind::Comparison, false));
        assert_eq!(part.missing.as_deref(), Some("0.6 of {i=\"b\"} is not > 0.7"));
        assert_eq!(part.left.iter().map(|s| s.value.as_str()).collect::<Vec<_>>(), ["0.3", "0.6"]);
        assert_eq!(part.since, Some(Since { at: TimestampMs(540_000), or_longer: false }), "it held two minutes ago");
    }

    #[test]
    fn each_link_of_a_chain_is_a_part_and_only_what_fails_is_missing() {
        let expr = "cpu > on () group_left () min(limit) and on (i) (up == 1) and on (i) load > 5";
        let series: &[(&str, &[f64])] =
            &[("cpu{i=\"a\"}", &[0.9]), ("limit", &[0.7]), ("up{i=\"a\"}", &[1.0]), ("load{i=\"a\"}", &[4.0])];
        let part = why(expr, series);
        assert_eq!(part.kind, Kind::AllOf);
        assert_eq!(part.parts.iter().map(|p| p.holds).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(part.missing.as_deref(), Some("4 of {i=\"a\"} is not > 5"));
    }

    #[test]
    fn no_data_and_a_missing_threshold_are_named() {
        let series: &[(&str, &[f64])] = &[("cpu", &[0.9])];
        assert_eq!(why("gone > 1", series).missing.as_deref(), Some("`gone` returns nothing"));
        let missing = why("cpu > on () group_left () min(limit)", series).missing;
        assert_eq!(missing.as_deref(), Some("`limit` returns nothing"));
    }

    #[test]
    fn the_part_that_is_not_there_is_named() {
        let series: &[(&str, &[f64])] = &[("dead", &[3.0]), ("a{i=\"1\"}", &[1.0]), ("b{i=\"2\"}", &[1.0])];
        for (expr, missing) in [
            ("dead - dead offset 30m > 0", "`dead offset 30m` returns nothing"),
            ("sum(rate(gone[5m])) / 2 > 1", "`rate(gone[5m])` returns nothing"),
            ("(dead - (gone))", "`gone` returns nothing"),
            ("a / b > 1", "no series of `a` has its counterpart in `b`"),
        ] {
            assert_eq!(why(expr, series).missing.as_deref(), Some(missing), "{expr}");
        }
    }

    #[test]
    fn alternatives_and_exceptions_are_told_apart() {
        let series: &[(&str, &[f64])] = &[("a", &[1.0]), ("b", &[1.0])];
        assert_eq!(why("a > 2 or b > 3", series).missing.as_deref(), Some("1 is not > 2; or 1 is not > 3"));
        let part = why("a == 1 unless b == 1", series);
        assert_eq!(part.missing.as_deref(), Some("the exception `b == 1` holds for the same series"));
        let part = why("a > 0 and on (i) x > 0", &[("a{i=\"1\"}", &[1.0]), ("x{i=\"2\"}", &[1.0])]);
        assert_eq!(part.missing.as_deref(), Some("each part holds, but not for the same series"));
    }

    #[test]
    fn numbers_in_words_are_short() {
        for (v, text) in [(0.263_095_238, "0.2631"), (12.345_678, "12.35"), (98_765.4, "98765.4"), (3.0, "3")] {
            assert_eq!(short(v), text);
        }
        assert_eq!(
            (short(0.0), short(f64::INFINITY), short(1.0 / 3e7)),
            ("0".into(), "+Inf".into(), "3.333e-08".into())
        );
    }

    #[test]
    fn what_holds_says_since_when() {
        let part = why("a", &[("a", &[1.0, 1.0, 1.0])]);
        assert_eq!((part.holds, part.missing), (true, None));
        assert_eq!(part.since.unwrap().at, TimestampMs(480_000));
        assert!(why("vector(1)", &[]).since.unwrap().or_longer);
    }
    #[test]
    fn what_failed_a_while_ago_is_told_without_its_past() {
        // Two of `limit` eight minutes ago made the match ambiguous for five minutes; stale markers would end it at once.
        let series: &[(&str, &[f64])] = &[
            ("m", &[9.0; 10]),
            ("limit{n=\"1\"}", &[1.0; 10]),
            (
                "limit{n=\"2\"}",
                &[1.0, 1.0, f64::from_bits(0x7ff0_0000_0000_0002), f64::from_bits(0x7ff0_0000_0000_0002)],
            ),
        ];
        let part = why("m > on () group_left () limit * 3", series);
        assert_eq!((part.holds, part.since, part.right[0].value.as_str()), (true, None, "3"));
        assert!(!serde_json::to_string(&part).unwrap().contains("since"));
        let part = why("m > 1 and on () m > on () group_left () limit * 3", series);
        assert_eq!(part.parts.iter().map(|p| p.since.is_some()).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_query_offset_is_heeded() {
        let part = why_with_offset("m > 0", &[("m", &[0.0, 7.0])], 60_000);
        assert!(part.holds);
        assert_eq!(part.since.unwrap().at, TimestampMs(660_000), "the rule sees it a minute later");
        let part = why_with_offset("m > 0", &[("m", &[0.0, 7.0])], 0);
        assert_eq!(part.since.unwrap().at, TimestampMs(600_000));
    }
}
