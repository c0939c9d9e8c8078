//! Tokens as error messages name them.

use crate::promql::ast::{AggregateOp, BinaryOp, PositionRange};
use crate::promql::lexer::Token;

/// The words that are keywords where the grammar wants one.
const KEYWORDS: [&str; 12] = [
    "bool",
    "by",
    "fill",
    "fill_left",
    "fill_right",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "on",
    "without",
    "anchored",
];

/// `identifier "foo"`, `<by>`, `<op:+>`, `end of input`: what stands at `position`.
pub(super) fn describe(token: &Token, query: &str, position: PositionRange) -> String {
    let text = query.get(position.start as usize..position.end as usize).unwrap_or("");
    match token {
        Token::End => "end of input".into(),
        Token::Number(_) => format!("number {text:?}"),
        Token::Duration(_) => format!("duration {text:?}"),
        Token::String(_) => format!("string {text:?}"),
        Token::Operator(op) => format!("<op:{}>", op.as_str()),
        Token::Word(word) => describe_word(word),
        _ => format!("{text:?}"),
    }
}

fn describe_word(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let is_operator =
        [BinaryOp::And, BinaryOp::Or, BinaryOp::Unless, BinaryOp::Atan2].iter().any(|op| op.as_str() == lower);
    if KEYWORDS.contains(&lower.as_str()) {
        format!("<{lower}>")
    } else if is_operator {
        format!("<op:{lower}>")
    } else if AggregateOp::from_name(word).is_some() {
        format!("<aggr:{lower}>")
    } else {
        format!("identifier {word:?}")
    }
}
