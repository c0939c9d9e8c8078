//! Writes an expression back as normalised PromQL, which parses to the same tree.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, Duration, DurationKind, Expr, ExprKind, Extension, NumberLiteral,
    StringLiteral, Subquery, TimeModifiers, VectorSelector,
};
use super::number::{format_float, format_float_g};
use super::parser::is_bare_metric;
use crate::model::{METRIC_NAME, MatchOp, Quoted, format_duration_ms, is_legacy_label_name};

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number(number) => number.fmt(f),
            ExprKind::String(text) => text.fmt(f),
            ExprKind::Vector(selector) => {
                write_selector(f, selector)?;
                write_modifiers(f, selector)
            }
            ExprKind::Matrix(matrix) => {
                write_selector(f, &matrix.selector)?;
                write!(f, "[{}]", matrix.range)?;
                write_modifiers(f, &matrix.selector)
            }
            ExprKind::Subquery(subquery) => {
                write!(f, "{}{}", subquery.expr, SubqueryTail(subquery))
            }
            ExprKind::Call(call) => {
                write!(f, "{}(", call.function.name)?;
                write_list(f, &call.args)?;
                f.write_char(')')
            }
            ExprKind::Aggregate(aggregate) => aggregate.fmt(f),
            ExprKind::Binary(binary) => binary.fmt(f),
            ExprKind::Unary { negative, operand } => write!(f, "{}{operand}", if *negative { '-' } else { '+' }),
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// `[range:step] offset …`: what stands behind the expression of a subquery.
pub(super) struct SubqueryTail<'a>(pub &'a Subquery);

impl Display for SubqueryTail<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.0.range)?;
        if let Some(step) = &self.0.step {
            write!(f, "{step}")?;
        }
        write!(f, "]{}", self.0.time)
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = self.value * 1000.0;
        if self.is_duration && self.value == 0.0 && self.value.is_sign_negative() {
            f.write_str("-0s")
        } else if self.is_duration && ms.fract() == 0.0 && ms.abs() < i64::MAX as f64 {
            f.write_str(&format_duration_ms(ms as i64))
        } else {
            f.write_str(&format_float(self.value))
        }
    }
}

impl Display for StringLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    '\n' => f.write_str("\\n")?,
                    '\t' => f.write_str("\\t")?,
                    '\r' => f.write_str("\\r")?,
                    c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_char('"')
    }
}

fn write_selector(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    let bare_name = selector.name.as_deref().filter(|n| is_bare_metric(n));
    f.write_str(bare_name.unwrap_or(""))?;
    let mut parts: Vec<String> = Vec::new();
    if let Some(name) = selector.name.as_deref().filter(|_| bare_name.is_none()) {
        parts.push(Quoted(name).to_string());
    }
    // The matcher that the name itself made is not written twice.
    let is_name = |m: &crate::model::Matcher| {
        m.name == METRIC_NAME && m.op == MatchOp::Equal && selector.name.as_deref() == Some(m.value.as_str())
    };
    parts.extend(selector.matchers.iter().filter(|m| !is_name(m)).map(ToString::to_string));
    if parts.is_empty() && bare_name.is_some() { Ok(()) } else { write!(f, "{{{}}}", parts.join(",")) }
}

fn write_modifiers(f: &mut Formatter<'_>, selector: &VectorSelector) -> fmt::Result {
    match selector.extension {
        Some(Extension::Anchored) => f.write_str(" anchored")?,
        Some(Extension::Smoothed) => f.write_str(" smoothed")?,
        None => {}
    }
    selector.time.fmt(f)
}

impl Display for TimeModifiers {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::TimeMs(ms)) => write!(
                f,
                " @ {}.{:03}",
                if ms < 0 { format!("-{}", ms.unsigned_abs() / 1000) } else { (ms / 1000).to_string() },
                ms.unsigned_abs() % 1000
            )?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            DurationKind::Literal(literal) => literal.fmt(f),
            DurationKind::Step => f.write_str("step()"),
            DurationKind::Range => f.write_str("range()"),
            DurationKind::Sign { negative, operand } => write!(f, "{}{operand}", if *negative { '-' } else { '+' }),
            DurationKind::Binary { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.as_str()),
            DurationKind::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            DurationKind::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
            DurationKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

/// `sum by (a) `: an aggregation up to its parenthesis.
pub(super) struct AggregateHead<'a>(pub &'a Aggregate);

impl Display for AggregateHead<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(aggregate) = self;
        f.write_str(aggregate.op.as_str())?;
        if aggregate.without {
            write!(f, " without ({}) ", LabelList(&aggregate.grouping))
        } else if !aggregate.grouping.is_empty() {
            write!(f, " by ({}) ", LabelList(&aggregate.grouping))
        } else {
            Ok(())
        }
    }
}

impl Display for Aggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", AggregateHead(self))?;
        if let Some(param) = &self.param {
            write!(f, "{param}, ")?;
        }
        write!(f, "{})", self.expr)
    }
}

impl Display for Binary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.lhs.kind {
            // A sign binds less than `^` and would be read as one before all of it.
            ExprKind::Number(n) if self.op == BinaryOp::Pow && n.value == f64::INFINITY => f.write_str("Inf")?,
            _ => self.lhs.fmt(f)?,
        }
        write!(f, " {} {}", Operator(self), self.rhs)
    }
}

/// An operator with its modifiers.
pub(super) struct Operator<'a>(pub &'a Binary);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(binary) = self;
        f.write_str(binary.op.as_str())?;
        if binary.return_bool {
            f.write_str(" bool")?;
        }
        let matching = &binary.matching;
        if matching.on
            || !matching.labels.is_empty()
            || matching.cardinality == Cardinality::ManyToOne
            || matching.cardinality == Cardinality::OneToMany
        {
            write!(f, " {} ({})", if matching.on { "on" } else { "ignoring" }, LabelList(&matching.labels))?;
        }
        match matching.cardinality {
            Cardinality::ManyToOne => write!(f, " group_left ({})", LabelList(&matching.include))?,
            Cardinality::OneToMany => write!(f, " group_right ({})", LabelList(&matching.include))?,
            Cardinality::OneToOne | Cardinality::ManyToMany => {}
        }
        match (matching.fill_left, matching.fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                write!(f, " fill ({})", format_float_g(left))?;
            }
            (left, right) => {
                for (name, value) in [("fill_left", left), ("fill_right", right)] {
                    if let Some(value) = value {
                        write!(f, " {name} ({})", format_float_g(value))?;
                    }
                }
            }
        }
        Ok(())
    }
}

struct LabelList<'a>(&'a [String]);

impl Display for LabelList<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, label) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_legacy_label_name(label) { f.write_str(label)? } else { Quoted(label).fmt(f)? }
        }
        Ok(())
    }
}

fn write_list(f: &mut Formatter<'_>, items: &[Expr]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}
