//! What stands behind selectors and subqueries: `offset`, `@`, `anchored`, `smoothed`.

use super::Parser;
use crate::promql::ast::{At, BinaryOp, Expr, ExprKind, Extension, PositionRange, TimeModifiers};
use crate::promql::error::ParseError;
use crate::promql::lexer::Token;
use crate::promql::number::format_float;

impl Parser<'_> {
    pub(super) fn offset_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        self.advance();
        let offset = self.offset_duration()?;
        let (end, is_experimental, place) = (self.last_position(), offset.experiment().is_some(), expr.position);
        let Some(time) = time_modifiers(&mut expr) else {
            return Err(self.error(
                expr.position,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if time.offset.is_some() {
            return Err(self.error(place, "offset may not be set multiple times"));
        }
        time.offset = Some(offset);
        expr.experimental |= is_experimental;
        Ok(extend_to(expr, end))
    }

    pub(super) fn at_modifier(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        self.advance();
        let place = expr.position;
        let at = self.at_time(place)?;
        let end = self.last_position();
        let Some(time) = time_modifiers(&mut expr) else {
            return Err(self.error(
                expr.position,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            ));
        };
        if time.at.is_some() {
            return Err(self.error(place, "@ <timestamp> may not be set multiple times"));
        }
        time.at = Some(at);
        Ok(extend_to(expr, end))
    }

    /// The time after `@` of the expression at `place`.
    fn at_time(&mut self, place: PositionRange) -> Result<At, ParseError> {
        for (name, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_keyword(name) {
                self.expect(&Token::LeftParen, "@", "timestamp")?;
                self.expect(&Token::RightParen, "@", "timestamp")?;
                return Ok(at);
            }
        }
        let seconds = self.signed_number("@", "timestamp")?;
        let ms = (seconds * 1000.0).round();
        // The bounds are those of i64 as floats; the upper one itself is already outside.
        if !(ms >= i64::MIN as f64 && ms < i64::MAX as f64) {
            let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { format_float(seconds) };
            return Err(self.error(place, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok(At::TimeMs(ms as i64))
    }

    /// A number with an optional sign; a duration counts as its seconds.
    pub(super) fn signed_number(&mut self, context: &str, expected: &str) -> Result<f64, ParseError> {
        let negative = match self.peek() {
            Token::Operator(BinaryOp::Sub) => Some(true),
            Token::Operator(BinaryOp::Add) => Some(false),
            _ => None,
        };
        if negative.is_some() {
            self.advance();
        }
        let value = match *self.peek() {
            Token::Number(value) => value,
            Token::Duration(ms) => ms as f64 / 1000.0,
            _ => return Err(self.unexpected(context, expected)),
        };
        self.advance();
        Ok(if negative == Some(true) { -value } else { value })
    }

    pub(super) fn extension_modifier(&mut self, mut expr: Expr, extension: Extension) -> Result<Expr, ParseError> {
        let keyword = self.position();
        self.advance();
        let name = match extension {
            Extension::Anchored => "anchored",
            Extension::Smoothed => "smoothed",
        };
        let selector = match &mut expr.kind {
            ExprKind::Vector(_) if extension == Extension::Anchored => {
                return Err(self.error(expr.position, "anchored modifier must be preceded by a range selector"));
            }
            ExprKind::Vector(selector) => selector,
            ExprKind::Matrix(matrix) => &mut matrix.selector,
            _ => {
                let message = format!("{name} modifier must be preceded by an instant or range selector");
                return Err(self.error(expr.position, message));
            }
        };
        if selector.extension.is_some_and(|e| e != extension) {
            return Err(self.error(keyword, "anchored and smoothed modifiers cannot be used together"));
        }
        selector.extension = Some(extension);
        expr.experimental = true;
        Ok(extend_to(expr, keyword))
    }
}

/// The place for `offset` and `@` of a selector or subquery.
fn time_modifiers(expr: &mut Expr) -> Option<&mut TimeModifiers> {
    match &mut expr.kind {
        ExprKind::Vector(selector) => Some(&mut selector.time),
        ExprKind::Matrix(matrix) => Some(&mut matrix.selector.time),
        ExprKind::Subquery(subquery) => Some(&mut subquery.time),
        _ => None,
    }
}

fn extend_to(mut expr: Expr, end: PositionRange) -> Expr {
    expr.position = expr.position.to(end);
    if let ExprKind::Vector(selector) = &mut expr.kind {
        selector.position = expr.position;
    }
    expr
}
