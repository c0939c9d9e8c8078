//! What stands between an operator and its right side: `bool`, `on`, `ignoring`, `group_left`, `fill`. Whether it may
//! stand there is for `check`.

use super::Parser;
use crate::promql::ast::{BinaryOp, Cardinality, Matching};
use crate::promql::error::ParseError;
use crate::promql::lexer::Token;

impl Parser<'_> {
    /// The modifiers of `op`: whether results are 0 and 1, and how series match.
    pub(super) fn binary_modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching), ParseError> {
        let mut matching = Matching::default();
        let return_bool = self.take_keyword("bool");
        if self.peek_keyword("on") || self.peek_keyword("ignoring") {
            matching.on = self.peek_keyword("on");
            self.advance();
            matching.labels = self.grouping_labels()?;
            self.group_modifier(&mut matching)?;
        }
        self.fill_modifiers(&mut matching)?;
        if op.is_set() && matching.cardinality == Cardinality::OneToOne {
            matching.cardinality = Cardinality::ManyToMany;
        }
        Ok((return_bool, matching))
    }

    fn group_modifier(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        matching.cardinality = match (self.peek_keyword("group_left"), self.peek_keyword("group_right")) {
            (true, _) => Cardinality::ManyToOne,
            (_, true) => Cardinality::OneToMany,
            _ => return Ok(()),
        };
        self.advance();
        if self.peek() == &Token::LeftParen {
            matching.include = self.grouping_labels()?;
        }
        Ok(())
    }

    fn fill_modifiers(&mut self, matching: &mut Matching) -> Result<(), ParseError> {
        // `fill` without a parenthesis is a metric of that name.
        while self.peek_second() == &Token::LeftParen {
            let (left, right) = match self.peek_word().map(str::to_ascii_lowercase).as_deref() {
                Some("fill") => (true, true),
                Some("fill_left") => (true, false),
                Some("fill_right") => (false, true),
                _ => return Ok(()),
            };
            let start = self.position();
            self.advance();
            self.expect(&Token::LeftParen, "fill modifier", "\"(\"")?;
            let value = self.signed_number("fill modifier", "number")?;
            self.expect(&Token::RightParen, "fill modifier", "\")\"")?;
            let is_second = (left && matching.fill_left.is_some()) || (right && matching.fill_right.is_some());
            if is_second {
                return Err(self.error(start.to(self.last_position()), "a side may not be filled multiple times"));
            }
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        Ok(())
    }

    /// `(label, "quoted.label", …)`; a comma may trail.
    pub(super) fn grouping_labels(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect(&Token::LeftParen, "grouping opts", "\"(\"")?;
        let mut labels = Vec::new();
        loop {
            if self.take_if(&Token::RightParen) {
                return Ok(labels);
            }
            match self.peek().clone() {
                Token::Word(word) if !word.contains(':') => labels.push(word),
                Token::String(bytes) if !bytes.is_empty() => match String::from_utf8(bytes) {
                    Ok(label) => labels.push(label),
                    Err(_) => return Err(self.unexpected("grouping opts", "label")),
                },
                // The lexer takes these words for numbers.
                Token::Number(value) if value.is_infinite() => labels.push("inf".into()),
                Token::Number(value) if value.is_nan() => labels.push("nan".into()),
                _ => return Err(self.unexpected("grouping opts", "label")),
            }
            self.advance();
            if self.peek() != &Token::RightParen {
                self.expect(&Token::Comma, "grouping opts", "\",\" or \")\"")?;
            }
        }
    }
}
