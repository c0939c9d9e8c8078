//! Writes an expression over several lines where it would be too long for one.
//!
//! In:  a tree.   Out: PromQL that means the same, matchers in order; what fits into [`LINE_BYTES_MAX`] stays on one line.
//! Source: `promql/parser/prettier.go` of Prometheus ("Prettify"), whose lines these are.

use std::fmt::{self, Display, Write};

use super::ast::{Expr, ExprKind, VectorSelector};
use super::print::{AggregateHead, Operator, SubqueryTail};

/// Longest text of a node that is not split, without its indentation.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

impl Expr {
    /// The expression with calls, aggregations, operators and parentheses on lines of their own where the node is longer
    /// than 100 bytes, and the matchers of selectors in order.
    pub fn pretty(&self) -> String {
        let mut sorted = self.clone();
        sort_matchers(&mut sorted);
        let mut out = String::new();
        write_pretty(&mut out, &sorted, 0);
        out
    }
}

/// Puts matchers in the order of their texts; the one that a name has made stays last.
fn sort_matchers(expr: &mut Expr) {
    let sort = |selector: &mut VectorSelector| {
        let end = selector.matchers.len() - usize::from(selector.name.is_some());
        selector.matchers[..end].sort_by_cached_key(ToString::to_string);
    };
    match &mut expr.kind {
        ExprKind::Number(_) | ExprKind::String(_) => {}
        ExprKind::Vector(selector) => sort(selector),
        ExprKind::Matrix(matrix) => sort(&mut matrix.selector),
        ExprKind::Subquery(subquery) => sort_matchers(&mut subquery.expr),
        ExprKind::Call(call) => call.args.iter_mut().for_each(sort_matchers),
        ExprKind::Aggregate(aggregate) => {
            aggregate.param.iter_mut().for_each(|param| sort_matchers(param));
            sort_matchers(&mut aggregate.expr);
        }
        ExprKind::Binary(binary) => {
            sort_matchers(&mut binary.lhs);
            sort_matchers(&mut binary.rhs);
        }
        ExprKind::Unary { operand: inner, .. } | ExprKind::Paren(inner) => sort_matchers(inner),
    }
}

/// Counts what is written, and fails once it is too much for a line.
struct Line(usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        if self.0 > LINE_BYTES_MAX { Err(fmt::Error) } else { Ok(()) }
    }
}

fn needs_split(expr: &Expr) -> bool {
    write!(Line(0), "{expr}").is_err()
}

fn push(out: &mut String, level: usize, text: impl Display) {
    write!(out, "{}{text}", INDENT.repeat(level)).expect("writing to memory cannot fail");
}

fn write_pretty(out: &mut String, expr: &Expr, level: usize) {
    match &expr.kind {
        // Prometheus splits neither selectors nor literals, however long, and a sign stays with its operand.
        ExprKind::Unary { negative, operand } => {
            push(out, level, if *negative { '-' } else { '+' });
            let mut child = String::new();
            write_pretty(&mut child, operand, level);
            out.push_str(child.trim_start());
        }
        ExprKind::Call(call) if needs_split(expr) && !call.args.is_empty() => {
            push(out, level, format_args!("{}(\n", call.function.name));
            write_args(out, &call.args, level + 1);
            push(out, level, ')');
        }
        ExprKind::Aggregate(aggregate) if needs_split(expr) => {
            push(out, level, format_args!("{}(\n", AggregateHead(aggregate)));
            let args: Vec<&Expr> = aggregate.param.as_deref().into_iter().chain([&*aggregate.expr]).collect();
            write_args(out, args, level + 1);
            push(out, level, ')');
        }
        ExprKind::Binary(binary) if needs_split(expr) => {
            write_pretty(out, &binary.lhs, level + 1);
            out.push('\n');
            push(out, level, format_args!("{}\n", Operator(binary)));
            write_pretty(out, &binary.rhs, level + 1);
        }
        ExprKind::Paren(inner) if needs_split(expr) => {
            push(out, level, "(\n");
            write_pretty(out, inner, level + 1);
            out.push('\n');
            push(out, level, ')');
        }
        ExprKind::Subquery(subquery) if needs_split(expr) => {
            write_pretty(out, &subquery.expr, level);
            push(out, 0, SubqueryTail(subquery));
        }
        _ => push(out, level, expr),
    }
}

/// Each argument on a line of its own.
fn write_args<'a>(out: &mut String, args: impl IntoIterator<Item = &'a Expr>, level: usize) {
    for (index, arg) in args.into_iter().enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        write_pretty(out, arg, level);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use crate::promql::parse;

    #[test]
    fn matchers_are_in_order() {
        let pretty = parse("max_over_time(m{b=\"1\",a=~\"2\"}[5m]) + {z=\"1\",\"q.q\",a!=\"1\"}").unwrap().pretty();
        assert_eq!(pretty, "max_over_time(m{a=~\"2\",b=\"1\"}[5m]) + {\"q.q\",a!=\"1\",z=\"1\"}");
    }

    #[test]
    fn what_is_too_long_for_a_line_is_split_and_reads_back() {
        let long =
            "a_metric_with_a_long_name_indeed{label_1=\"some value\",label_2=\"some value\",label_3=\"some value\"}";
        let rate = format!("rate({long}[5m])");
        let cases = [
            (
                format!("{rate} / on (x) group_left (y) sum by (x) ({rate})"),
                format!(
                    "  rate(\n    {long}[5m]\n  )\n/ on (x) group_left (y)\n  sum by (x) (\n    rate(\n      {long}[5m]\n    )\n  )"
                ),
            ),
            (format!("-topk(3, {rate})"), format!("-topk(\n  3,\n  rate(\n    {long}[5m]\n  )\n)")),
            (
                format!("max_over_time(({rate})[5m:1m] offset 1h)"),
                format!("max_over_time(\n  (\n    rate(\n      {long}[5m]\n    )\n  )[5m:1m] offset 1h\n)"),
            ),
            ("sum(up)  by(a)".to_owned(), "sum by (a) (up)".to_owned()),
        ];
        for (query, want) in cases {
            let expr = parse(&query).unwrap();
            assert_eq!(expr.pretty(), want);
            assert_eq!(parse(&expr.pretty()).unwrap(), expr);
        }
    }
}
