//! PromQL as Prometheus 3.x speaks it: text to tree, tree to answer over `storage::Select`.
//!
//! In:  query text, a store, times given by the caller.   Out: values, warnings and infos.
//! Always: no clock is read; no recursion is deeper than [`MAX_DEPTH`]; every function of [`FUNCTIONS`] is evaluated.
//! Limits: [`MAX_QUERY_BYTES`], [`MAX_PATTERN_BYTES`], and those of [`EngineOptions`].

mod ast;
mod check;
mod effort;
mod engine;
mod error;
mod eval;
mod functions;
mod histogram;
mod lexer;
mod number;
mod operators;
mod parser;
mod pretty;
mod print;
mod series;
mod stack;
mod stats;
mod strings;
pub mod testing;

pub use ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Duration, DurationKind, Expr, ExprKind, Extension,
    Matching, MatrixSelector, NumberLiteral, PositionRange, StringLiteral, Subquery, TimeModifiers, ValueType,
    VectorSelector, selectors,
};
pub use engine::{Cancel, Engine, EngineOptions, MatrixSeries, QueryResult, QueryValue, VectorSample, WindowEdges};
pub use error::{ParseError, QueryError};
pub use functions::{FUNCTIONS, Function, FunctionId, Optional};
pub use number::{format_float, format_float_short, parse_number, parse_signed_number};
pub use parser::{MAX_DEPTH, MAX_PATTERN_BYTES, MAX_QUERY_BYTES, parse, parse_selector};
pub use series::{SeriesError, SeriesValue, parse_series_labels, parse_series_line, parse_series_values};
pub use stats::EngineStats;

/// `{__name__="up", job="x"}`: the form in which messages show series.
fn labels_text(labels: &crate::model::Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}={}", crate::model::Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
