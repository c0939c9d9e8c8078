//! The changes that a mutation makes in a rule, one at a time.
//!
//! In:  a rule.   Out: every rule that differs from it by one change: a comparison that takes or leaves its edge, a
//! number a little higher or lower, half a window, a label left out, an alert that waits less.
//! Always: the same rule gives the same mutants in the same order; positions and matchers stay as they are.

use serde::{Deserialize, Serialize};

use super::super::rule::Rule;
use crate::model::format_duration_ms;
use crate::promql::{BinaryOp, Duration, DurationKind, Expr, ExprKind, format_float};

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `>` becomes `>=`, `<` becomes `<=`, and the reverse.
    Comparison,
    /// A number that is compared or counted with, or that a threshold records, becomes a little higher and lower.
    Threshold,
    /// A range is halved.
    Window,
    /// An offset is halved.
    Offset,
    /// A label is left out of `by` or `without`.
    By,
    /// A label is left out of `on` or `ignoring`.
    On,
    /// `for` is removed, and halved.
    For,
    /// `keep_firing_for` is removed.
    KeepFiringFor,
}

/// What a mutant has in place of what the rule says.
#[derive(Clone, Debug)]
pub enum Change {
    Expr(Box<Expr>),
    ForMs(i64),
    KeepFiringForMs(i64),
}

/// One change of one rule.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub operator: Operator,
    /// Such as `> to >=` or `drop pod`.
    pub what: String,
    /// Counts those of the same operator and words in one rule, from 1, as they are written.
    pub at: usize,
    pub change: Change,
}

/// Every mutation of `rule` by one of `operators`; numbers are changed by the share `shift`.
pub fn mutations(rule: &Rule, operators: &[Operator], shift: f64) -> Vec<Mutation> {
    let mut found: Vec<(Operator, String, Change)> = Vec::new();
    for (i, node) in rule.expr.walk().enumerate() {
        for (operator, what, kind) in of_node(node, shift) {
            let mut expr = rule.expr.clone();
            if let Some(node) = nth(&mut expr, i) {
                node.kind = kind;
            }
            found.push((operator, what, Change::Expr(Box::new(expr))));
        }
    }
    if let Some(alerting) = rule.alerting() {
        if alerting.for_ms > 0 {
            found.push((Operator::For, "remove".into(), Change::ForMs(0)));
            found.push((Operator::For, "halve".into(), Change::ForMs(alerting.for_ms / 2)));
        }
        if alerting.keep_firing_for_ms > 0 {
            found.push((Operator::KeepFiringFor, "remove".into(), Change::KeepFiringForMs(0)));
        }
    }
    found.retain(|(operator, ..)| operators.contains(operator));
    let mut mutations: Vec<Mutation> = Vec::with_capacity(found.len());
    for (operator, what, change) in found {
        let same = mutations.iter().filter(|m| m.operator == operator && m.what == what).count();
        mutations.push(Mutation { operator, what, at: same + 1, change });
    }
    mutations
}

/// What this node alone may become.
fn of_node(node: &Expr, shift: f64) -> Vec<(Operator, String, ExprKind)> {
    let mut out = Vec::new();
    match &node.kind {
        ExprKind::Binary(binary) => {
            if let Some(op) = other_edge(binary.op) {
                let mut changed = binary.clone();
                changed.op = op;
                let what = format!("{} to {}", binary.op.as_str(), op.as_str());
                out.push((Operator::Comparison, what, ExprKind::Binary(changed)));
            }
            for (what, lhs) in shifted(&binary.lhs, shift) {
                let mut changed = binary.clone();
                changed.lhs = Box::new(lhs);
                out.push((Operator::Threshold, what, ExprKind::Binary(changed)));
            }
            for (what, rhs) in shifted(&binary.rhs, shift) {
                let mut changed = binary.clone();
                changed.rhs = Box::new(rhs);
                out.push((Operator::Threshold, what, ExprKind::Binary(changed)));
            }
            for (i, label) in binary.matching.labels.iter().enumerate() {
                let mut changed = binary.clone();
                changed.matching.labels.remove(i);
                out.push((Operator::On, format!("drop {label}"), ExprKind::Binary(changed)));
            }
        }
        ExprKind::Aggregate(aggregate) => {
            for (i, label) in aggregate.grouping.iter().enumerate() {
                let mut changed = aggregate.clone();
                changed.grouping.remove(i);
                out.push((Operator::By, format!("drop {label}"), ExprKind::Aggregate(changed)));
            }
        }
        ExprKind::Call(call) if call.function.name == "vector" => {
            for (what, arg) in call.args.first().map_or(Vec::new(), |arg| shifted(arg, shift)) {
                let mut changed = call.clone();
                changed.args = vec![arg];
                out.push((Operator::Threshold, what, ExprKind::Call(changed)));
            }
        }
        ExprKind::Vector(selector) => {
            if let Some((what, half)) = selector.time.offset.as_ref().and_then(halved) {
                let mut changed = selector.clone();
                changed.time.offset = Some(half);
                out.push((Operator::Offset, what, ExprKind::Vector(changed)));
            }
        }
        ExprKind::Matrix(matrix) => {
            if let Some((what, half)) = halved(&matrix.range) {
                let mut changed = matrix.clone();
                changed.range = half;
                out.push((Operator::Window, what, ExprKind::Matrix(changed)));
            }
            if let Some((what, half)) = matrix.selector.time.offset.as_ref().and_then(halved) {
                let mut changed = matrix.clone();
                changed.selector.time.offset = Some(half);
                out.push((Operator::Offset, what, ExprKind::Matrix(changed)));
            }
        }
        ExprKind::Subquery(subquery) => {
            if let Some((what, half)) = halved(&subquery.range) {
                let mut changed = subquery.clone();
                changed.range = half;
                out.push((Operator::Window, what, ExprKind::Subquery(changed)));
            }
        }
        _ => {}
    }
    out
}

fn other_edge(op: BinaryOp) -> Option<BinaryOp> {
    match op {
        BinaryOp::Greater => Some(BinaryOp::GreaterOrEqual),
        BinaryOp::GreaterOrEqual => Some(BinaryOp::Greater),
        BinaryOp::Less => Some(BinaryOp::LessOrEqual),
        BinaryOp::LessOrEqual => Some(BinaryOp::Less),
        _ => None,
    }
}

/// The number a little higher and a little lower; none for what is no number, and for zero, which has no share.
fn shifted(expr: &Expr, shift: f64) -> Vec<(String, Expr)> {
    let ExprKind::Number(number) = &expr.kind else { return Vec::new() };
    if number.value == 0.0 {
        return Vec::new();
    }
    let change = |factor: f64| {
        // Rounded to what a person would write: 14.4 becomes 15.12 and not 15.120000000000001.
        let value = (number.value * factor * 1e6).round() / 1e6;
        let mut changed = expr.clone();
        let mut literal = *number;
        literal.value = value;
        changed.kind = ExprKind::Number(literal);
        (format!("{} to {}", format_float(number.value), format_float(value)), changed)
    };
    vec![change(1.0 + shift), change(1.0 - shift)]
}

fn halved(duration: &Duration) -> Option<(String, Duration)> {
    let DurationKind::Literal(literal) = &duration.kind else { return None };
    let mut half = duration.clone();
    let mut changed = *literal;
    changed.value /= 2.0;
    half.kind = DurationKind::Literal(changed);
    let text = |seconds: f64| format_duration_ms((seconds * 1000.0) as i64);
    Some((format!("{} to {}", text(literal.value), text(changed.value)), half))
}

/// The node that [`Expr::walk`] comes to as number `n`.
fn nth(expr: &mut Expr, n: usize) -> Option<&mut Expr> {
    let mut left = n;
    find(expr, &mut left)
}

fn find<'a>(expr: &'a mut Expr, left: &mut usize) -> Option<&'a mut Expr> {
    if *left == 0 {
        return Some(expr);
    }
    *left -= 1;
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => None,
        ExprKind::Subquery(subquery) => find(&mut subquery.expr, left),
        ExprKind::Call(call) => call.args.iter_mut().find_map(|arg| find(arg, left)),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.as_deref_mut().into_iter().chain([&mut *aggregate.expr]).find_map(|e| find(e, left))
        }
        ExprKind::Binary(binary) => [&mut *binary.lhs, &mut *binary.rhs].into_iter().find_map(|e| find(e, left)),
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => find(inner, left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::load::{Source, Tuning, load};

    const ALL: [Operator; 8] = [
        Operator::Comparison,
        Operator::Threshold,
        Operator::Window,
        Operator::Offset,
        Operator::By,
        Operator::On,
        Operator::For,
        Operator::KeepFiringFor,
    ];

    fn texts(rule: &str, operators: &[Operator]) -> Vec<String> {
        let text = format!("groups: [{{name: g, rules: [{rule}]}}]");
        let set = load(&[Source { name: "f".into(), text }], &Tuning::default()).unwrap();
        let shown = |m: Mutation| match m.change {
            Change::Expr(expr) => format!("{} #{}: {expr}", m.what, m.at),
            Change::ForMs(ms) => format!("{} #{}: for {ms}", m.what, m.at),
            Change::KeepFiringForMs(ms) => format!("{} #{}: keep {ms}", m.what, m.at),
        };
        mutations(&set.rules[0], operators, 0.05).into_iter().map(shown).collect()
    }

    #[test]
    fn every_part_of_a_rule_is_changed_once() {
        let rule =
            "{alert: A, for: 3m, keep_firing_for: 1m, expr: 'sum by (a, b) (rate(x[2m] offset 4m)) > 2 and on (a) y'}";
        assert_eq!(
            texts(rule, &ALL),
            [
                "drop a #1: sum by (a, b) (rate(x[2m] offset 4m)) > 2 and on () y",
                "> to >= #1: sum by (a, b) (rate(x[2m] offset 4m)) >= 2 and on (a) y",
                "2 to 2.1 #1: sum by (a, b) (rate(x[2m] offset 4m)) > 2.1 and on (a) y",
                "2 to 1.9 #1: sum by (a, b) (rate(x[2m] offset 4m)) > 1.9 and on (a) y",
                "drop a #1: sum by (b) (rate(x[2m] offset 4m)) > 2 and on (a) y",
                "drop b #1: sum by (a) (rate(x[2m] offset 4m)) > 2 and on (a) y",
                "2m to 1m #1: sum by (a, b) (rate(x[1m] offset 4m)) > 2 and on (a) y",
                "4m to 2m #1: sum by (a, b) (rate(x[2m] offset 2m)) > 2 and on (a) y",
                "remove #1: for 0",
                "halve #1: for 90000",
                "remove #1: keep 0",
            ]
        );
        assert_eq!(texts(rule, &[Operator::For]).len(), 2);
    }

    #[test]
    fn the_same_change_at_two_places_is_numbered() {
        let rule = "{record: r, expr: '(x > 0) / (y > 0) or vector(0.5) or max_over_time(z[1h:1m])'}";
        let found = texts(rule, &ALL);
        assert_eq!(found[0], "> to >= #1: (x >= 0) / (y > 0) or vector(0.5) or max_over_time(z[1h:1m])");
        assert_eq!(found[1], "> to >= #2: (x > 0) / (y >= 0) or vector(0.5) or max_over_time(z[1h:1m])");
        assert!(found[2].contains("vector(0.525)") && found[3].contains("vector(0.475)"), "{found:?}");
        assert!(found[4].contains("z[30m:1m]") && found.len() == 5, "zero has no share of itself: {found:?}");
    }
}
