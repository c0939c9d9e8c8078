//! The type check: which expressions may stand where, worded as Prometheus does.

use super::ast::{Aggregate, AggregateOp, Binary, Call, Cardinality, Expr, ExprKind, PositionRange, ValueType};
use super::error::ParseError;
use super::functions::FunctionId;
use crate::model::METRIC_NAME;

/// Checks the whole tree, the outermost mistake last, as Prometheus reports the innermost first.
pub(super) fn check(query: &str, expr: &Expr) -> Result<(), ParseError> {
    let error = |position: PositionRange, message: String| Err(ParseError::new(query, position, message));
    // The selector of `info` restricts what is found by other means, so it may let everything pass.
    let is_info = matches!(&expr.kind, ExprKind::Call(call) if call.function.id == FunctionId::Info);
    for child in expr.children().take(if is_info { 1 } else { usize::MAX }) {
        check(query, child)?;
    }
    match &expr.kind {
        ExprKind::Vector(_) | ExprKind::Matrix(_) => check_selector(query, expr),
        ExprKind::Call(call) => check_call(query, expr, call),
        ExprKind::Aggregate(aggregate) => check_aggregate(query, aggregate),
        ExprKind::Binary(binary) => check_binary(query, expr, binary),
        ExprKind::Unary { operand, .. } => match operand.value_type() {
            ValueType::Scalar | ValueType::Vector => Ok(()),
            other => {
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                    other.documented()
                );
                error(expr.position, message)
            }
        },
        ExprKind::Subquery(subquery) => match subquery.expr.value_type() {
            ValueType::Vector => Ok(()),
            other => {
                let message = format!("subquery is only allowed on instant vector, got {} instead", other.as_str());
                error(expr.position, message)
            }
        },
        ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Paren(_) => Ok(()),
    }
}

fn expect(query: &str, expr: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    Err(ParseError::new(query, expr.position, message))
}

fn check_selector(query: &str, expr: &Expr) -> Result<(), ParseError> {
    let Some(selector) = expr.direct_selector() else { return Ok(()) };
    // The name is the last matcher; one that stands in quotes among the others may be repeated there.
    let is_quoted = query.as_bytes().get(expr.position.start as usize) == Some(&b'{');
    let others = selector.matchers.split_last().map_or(&[][..], |(_, others)| others);
    if let Some(name) = &selector.name
        && let Some(second) = others.iter().find(|m| m.name == METRIC_NAME && !(is_quoted && m.value == *name))
    {
        let message = format!("metric name must not be set twice: {name:?} or {:?}", second.value);
        return Err(ParseError::new(query, expr.position, message));
    }
    // A selector that an absent series passes would select the whole store.
    if selector.matchers.iter().all(crate::model::Matcher::matches_empty) {
        return Err(ParseError::new(
            query,
            expr.position,
            "vector selector must contain at least one non-empty matcher",
        ));
    }
    Ok(())
}

fn check_call(query: &str, expr: &Expr, call: &Call) -> Result<(), ParseError> {
    let (name, given) = (call.function.name, call.args.len());
    let (min, max) = (call.function.min_args(), call.function.max_args());
    let count_error = if max == Some(min) && given != min {
        Some(format!("expected {min} argument(s) in call to {name:?}, got {given}"))
    } else if given < min {
        Some(format!("expected at least {min} argument(s) in call to {name:?}, got {given}"))
    } else {
        max.filter(|max| given > *max)
            .map(|max| format!("expected at most {max} argument(s) in call to {name:?}, got {given}"))
    };
    if let Some(message) = count_error {
        return Err(ParseError::new(query, expr.position, message));
    }
    let is_info = call.function.id == FunctionId::Info;
    for (index, arg) in call.args.iter().enumerate() {
        expect(query, arg, call.function.arg_type(index), &format!("call to function {name:?}"))?;
        if is_info && index == 1 && !matches!(&arg.kind, ExprKind::Vector(s) if s.name.is_none()) {
            let message = "expected label selectors only, got vector selector instead";
            return Err(ParseError::new(query, arg.position, message));
        }
    }
    Ok(())
}

fn check_aggregate(query: &str, aggregate: &Aggregate) -> Result<(), ParseError> {
    expect(query, &aggregate.expr, ValueType::Vector, "aggregation expression")?;
    let Some(param) = &aggregate.param else { return Ok(()) };
    let wanted = if aggregate.op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
    expect(query, param, wanted, "aggregation parameter")
}

/// In the order in which Prometheus looks, because the first mistake is the one that is told.
fn check_binary(query: &str, expr: &Expr, binary: &Binary) -> Result<(), ParseError> {
    let error = |position, message: String| Err(ParseError::new(query, position, message));
    let (left, right) = (binary.lhs.value_type(), binary.rhs.value_type());
    let (op, matching) = (binary.op.as_str(), &binary.matching);
    if binary.return_bool && !binary.op.is_comparison() {
        let message = "bool modifier can only be used on comparison operators";
        return error(operator_place(query, binary), message.into());
    }
    if binary.op.is_comparison() && !binary.return_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        let message = "comparisons between scalars must use BOOL modifier";
        return error(operator_place(query, binary), message.into());
    }
    if let Some(both) = matching.labels.iter().find(|label| matching.on && matching.include.contains(label)) {
        let message = format!("label {both:?} must not occur in ON and GROUP clause at once");
        return error(operator_place(query, binary), message);
    }
    for (side, kind) in [(&binary.lhs, left), (&binary.rhs, right)] {
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return error(side.position, message.into());
        }
    }
    let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
    if left != ValueType::Vector || right != ValueType::Vector {
        if !matching.labels.is_empty() {
            return error(expr.position, "vector matching only allowed between instant vectors".into());
        }
        if fills {
            return error(expr.position, "filling in missing series only allowed between instant vectors".into());
        }
        if binary.op.is_set() {
            return error(expr.position, format!("set operator {op:?} not allowed in binary scalar expression"));
        }
    } else if binary.op.is_set() {
        if matching.cardinality != Cardinality::ManyToMany {
            return error(expr.position, format!("no grouping allowed for {op:?} operation"));
        }
        if fills {
            return error(expr.position, "filling in missing series not allowed for set operators".into());
        }
    }
    Ok(())
}

/// Where the operator stands, with its modifiers: what is between the two sides.
fn operator_place(query: &str, binary: &Binary) -> PositionRange {
    let (from, to) = (binary.lhs.position.end as usize, binary.rhs.position.start as usize);
    let between = query.get(from..to).unwrap_or("");
    let start = from + (between.len() - between.trim_start().len());
    PositionRange::of(query, start, start + between.trim().len())
}
