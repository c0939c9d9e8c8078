//! The syntax tree of a query as JSON.
//!
//! Source: `web/api/v1/translate_ast.go` of Prometheus; durations in milliseconds. A duration that is an expression
//! has no number before the query runs and is written as 0.

use serde_json::{Value, json};

use super::answer::write_f64;
use crate::model::Matcher;
use crate::promql::{
    At, Binary, Cardinality, Duration, DurationKind, Expr, ExprKind, Extension, Function, Optional, TimeModifiers,
    ValueType, VectorSelector,
};

/// The tree below and including `expr`.
pub fn of(expr: &Expr) -> Value {
    match &expr.kind {
        ExprKind::Number(number) => json!({ "type": "numberLiteral", "val": number_text(number.value) }),
        ExprKind::String(text) => json!({ "type": "stringLiteral", "val": text.text() }),
        ExprKind::Paren(inner) => json!({ "type": "parenExpr", "expr": of(inner) }),
        ExprKind::Unary { negative, operand } => {
            json!({ "type": "unaryExpr", "op": if *negative { "-" } else { "+" }, "expr": of(operand) })
        }
        ExprKind::Vector(selector) => selector_json("vectorSelector", selector),
        ExprKind::Matrix(matrix) => {
            let mut node = selector_json("matrixSelector", &matrix.selector);
            node["range"] = milliseconds(&matrix.range).into();
            node
        }
        ExprKind::Subquery(subquery) => {
            let mut node = json!({
                "type": "subquery",
                "expr": of(&subquery.expr),
                "range": milliseconds(&subquery.range),
                "step": subquery.step.as_ref().map_or(0, milliseconds),
            });
            add_time(&mut node, &subquery.time);
            node
        }
        ExprKind::Call(call) => json!({
            "type": "call",
            "func": function(call.function),
            "args": call.args.iter().map(of).collect::<Vec<_>>(),
        }),
        ExprKind::Aggregate(aggregate) => json!({
            "type": "aggregation",
            "op": aggregate.op.as_str(),
            "expr": of(&aggregate.expr),
            "param": aggregate.param.as_deref().map(of),
            "grouping": aggregate.grouping,
            "without": aggregate.without,
        }),
        ExprKind::Binary(binary) => json!({
            "type": "binaryExpr",
            "op": binary.op.as_str(),
            "lhs": of(&binary.lhs),
            "rhs": of(&binary.rhs),
            "matching": matching(binary),
            "bool": binary.return_bool,
        }),
    }
}

/// How series are matched; null unless both sides are vectors.
fn matching(binary: &Binary) -> Value {
    if binary.lhs.value_type() != ValueType::Vector || binary.rhs.value_type() != ValueType::Vector {
        return Value::Null;
    }
    let matching = &binary.matching;
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({ "card": cardinality, "labels": matching.labels, "on": matching.on, "include": matching.include })
}

fn function(function: &Function) -> Value {
    let args: Vec<&str> = function.args.iter().map(|kind| kind.as_str()).collect();
    let variadic: i64 = match function.optional {
        Optional::None => 0,
        Optional::UpTo(more) => i64::try_from(more).unwrap_or(i64::MAX),
        Optional::Unlimited => -1,
    };
    json!({
        "name": function.name, "argTypes": args, "variadic": variadic, "returnType": function.returns.as_str(),
    })
}

fn selector_json(kind: &str, selector: &VectorSelector) -> Value {
    let matcher = |m: &Matcher| json!({ "name": m.name, "value": m.value, "type": m.op.as_str() });
    let mut node = json!({
        "type": kind,
        "name": selector.name.as_deref().unwrap_or(""),
        "matchers": selector.matchers.iter().map(matcher).collect::<Vec<_>>(),
        "anchored": selector.extension == Some(Extension::Anchored),
        "smoothed": selector.extension == Some(Extension::Smoothed),
    });
    add_time(&mut node, &selector.time);
    node
}

fn add_time(node: &mut Value, time: &TimeModifiers) {
    node["offset"] = time.offset.as_ref().map_or(0, milliseconds).into();
    let (at, edge) = match time.at {
        Some(At::TimeMs(ms)) => (Some(ms), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
        None => (None, None),
    };
    node["timestamp"] = at.into();
    node["startOrEnd"] = edge.into();
}

fn milliseconds(duration: &Duration) -> i64 {
    match &duration.kind {
        // Saturates; the parser has bounded what is written as a literal.
        DurationKind::Literal(number) => (number.value * 1000.0).round() as i64,
        DurationKind::Sign { negative, operand } => {
            let ms = milliseconds(operand);
            if *negative { -ms } else { ms }
        }
        DurationKind::Paren(inner) => milliseconds(inner),
        _ => 0,
    }
}

fn number_text(value: f64) -> String {
    let mut text = Vec::new();
    write_f64(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}
