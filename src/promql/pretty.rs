//! Writes an expression over several lines where it would be too long for one.
//!
//! In:  a tree.   Out: PromQL that parses to the same tree; what fits into [`LINE_BYTES_MAX`] stays on one line.
//! Source: `promql/parser/prettier.go` of Prometheus ("Prettify"), whose lines these are.

use std::fmt::{self, Display, Write};

use super::ast::{Expr, ExprKind};
use super::print::{AggregateHead, Operator, SubqueryTail};

/// Longest text of a node that is not split, without its indentation.
const LINE_BYTES_MAX: usize = 100;
const INDENT: &str = "  ";

impl Expr {
    /// The expression with calls, aggregations, operators and parentheses on lines of their own where the node is longer
    /// than 100 bytes.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        write_pretty(&mut out, self, 0);
        out
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
    fn what_is_too_long_for_a_line_is_split_and_reads_back() {
        let long =
            "a_metric_with_a_long_name_indeed{the_first_label=\"value\",label_two=\"value\",label_three=\"value\"}";
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
