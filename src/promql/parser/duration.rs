//! Durations in brackets and after `offset`: literals, `step()`, `range()`, arithmetic.

use super::Parser;
use crate::promql::ast::{BinaryOp, Duration, DurationKind, NumberLiteral, PositionRange};
use crate::promql::error::ParseError;
use crate::promql::lexer::Token;
use crate::promql::operators::POW_PRECEDENCE;
use crate::promql::parser::MAX_DEPTH;

impl Parser<'_> {
    /// A duration in brackets, where all operators may stand.
    pub(super) fn duration(&mut self, context: &str) -> Result<Duration, ParseError> {
        let duration = self.duration_expression(0, context)?;
        if let DurationKind::Literal(literal) = &duration.kind
            && literal.value <= 0.0
        {
            return Err(self.error(duration.position, "duration must be greater than 0"));
        }
        Ok(duration)
    }

    /// The duration after `offset`: one term, with a sign or in parentheses; operators belong to the query.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        let start = self.position();
        let negative = match self.peek() {
            Token::Operator(BinaryOp::Sub) => Some(true),
            Token::Operator(BinaryOp::Add) => Some(false),
            _ => None,
        };
        let Some(negative) = negative else { return self.duration_term("offset") };
        self.advance();
        let operand = self.duration_term("offset")?;
        self.signed(start, negative, operand)
    }

    fn signed(&self, start: PositionRange, negative: bool, operand: Duration) -> Result<Duration, ParseError> {
        let position = start.to(operand.position);
        if let DurationKind::Literal(literal) = operand.kind {
            // A duration of zero has no sign.
            let value = if negative && literal.value != 0.0 { -literal.value } else { literal.value };
            return self.duration_node(DurationKind::Literal(NumberLiteral { value, ..literal }), position, 0);
        }
        let depth = operand.depth;
        self.duration_node(DurationKind::Sign { negative, operand: Box::new(operand) }, position, depth)
    }

    fn duration_node(&self, kind: DurationKind, position: PositionRange, below: u32) -> Result<Duration, ParseError> {
        let depth = below + 1;
        if depth > MAX_DEPTH { Err(self.too_deep(position)) } else { Ok(Duration { kind, position, depth }) }
    }

    fn duration_expression(&mut self, min_precedence: u8, context: &str) -> Result<Duration, ParseError> {
        let mut lhs = self.duration_unary(context)?;
        loop {
            let op = match self.peek() {
                Token::Operator(op) if op.drops_name() && op.precedence() >= min_precedence => *op,
                _ => return Ok(lhs),
            };
            self.advance();
            let rhs_min = if op == BinaryOp::Pow { POW_PRECEDENCE } else { op.precedence() + 1 };
            let rhs = self.nested(|p| p.duration_expression(rhs_min, context))?;
            let position = lhs.position.to(rhs.position);
            let below = lhs.depth.max(rhs.depth);
            let kind = DurationKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs) };
            lhs = self.duration_node(kind, position, below)?;
        }
    }

    fn duration_unary(&mut self, context: &str) -> Result<Duration, ParseError> {
        let negative = match self.peek() {
            Token::Operator(BinaryOp::Sub) => true,
            Token::Operator(BinaryOp::Add) => false,
            _ => return self.duration_term(context),
        };
        let start = self.position();
        self.advance();
        let operand = self.nested(|p| p.duration_expression(POW_PRECEDENCE, context))?;
        self.signed(start, negative, operand)
    }

    fn duration_term(&mut self, context: &str) -> Result<Duration, ParseError> {
        let start = self.position();
        // A bare number is so many seconds, so both spellings are the same duration.
        let literal = |value| DurationKind::Literal(NumberLiteral { value, is_duration: true });
        match self.peek().clone() {
            Token::Number(value) => {
                self.advance();
                if !value.is_finite() || value.abs() > i64::MAX as f64 / 1e9 {
                    return Err(self.error(start, "duration out of range"));
                }
                self.duration_node(literal(value), start, 0)
            }
            Token::Duration(ms) => {
                self.advance();
                self.duration_node(literal(ms as f64 / 1000.0), start, 0)
            }
            Token::LeftParen => {
                self.advance();
                let inner = self.nested(|p| p.duration_expression(0, context))?;
                let close = self.expect(&Token::RightParen, context, "\")\"")?;
                let below = inner.depth;
                self.duration_node(DurationKind::Paren(Box::new(inner)), start.to(close), below)
            }
            Token::Word(word) => self.duration_function(&word, start, context),
            _ => Err(self.unexpected(context, "duration")),
        }
    }

    fn duration_function(&mut self, word: &str, start: PositionRange, context: &str) -> Result<Duration, ParseError> {
        let lower = word.to_ascii_lowercase();
        if !matches!(lower.as_str(), "step" | "range" | "min_of" | "max_of") {
            return Err(self.unexpected(context, "duration"));
        }
        self.advance();
        self.expect(&Token::LeftParen, context, "\"(\"")?;
        if matches!(lower.as_str(), "step" | "range") {
            let close = self.expect(&Token::RightParen, context, "\")\"")?;
            let kind = if lower == "step" { DurationKind::Step } else { DurationKind::Range };
            return self.duration_node(kind, start.to(close), 0);
        }
        let first = self.nested(|p| p.duration_expression(0, context))?;
        self.expect(&Token::Comma, context, "\",\"")?;
        let second = self.nested(|p| p.duration_expression(0, context))?;
        let close = self.expect(&Token::RightParen, context, "\")\"")?;
        let below = first.depth.max(second.depth);
        let (first, second) = (Box::new(first), Box::new(second));
        let kind = match lower.as_str() {
            "min_of" => DurationKind::MinOf(first, second),
            _ => DurationKind::MaxOf(first, second),
        };
        self.duration_node(kind, start.to(close), below)
    }
}
