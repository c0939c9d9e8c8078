//! Selectors: `name{label="value", "quoted.label"=~"…"}` and `{"quoted.name"}`.

use super::Parser;
use crate::model::{METRIC_NAME, MatchOp, Matcher, MatcherError, REGEX_BYTES_MAX};
use crate::promql::ast::{BinaryOp, Expr, ExprKind, PositionRange, TimeModifiers, VectorSelector};
use crate::promql::error::ParseError;
use crate::promql::lexer::Token;

impl Parser<'_> {
    /// A selector whose name, if it has one, was read already.
    pub(super) fn vector_selector(&mut self, name: Option<(String, PositionRange)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.position(), |(_, position)| *position);
        let mut name = name.map(|(name, _)| name);
        let mut matchers = Vec::new();
        if self.take_if(&Token::LeftBrace) {
            while !self.take_if(&Token::RightBrace) {
                self.label_matcher(&mut name, &mut matchers)?;
                if self.peek() != &Token::RightBrace {
                    self.expect(&Token::Comma, "label matching", "\",\" or \"}\"")?;
                }
            }
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        let position = start.to(self.last_position());
        let selector = VectorSelector { name, matchers, time: TimeModifiers::default(), extension: None, position };
        self.node(ExprKind::Vector(selector), position)
    }

    fn label_matcher(&mut self, name: &mut Option<String>, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
        let place = self.position();
        let (label, quoted) = match self.peek().clone() {
            Token::Word(word) => (word, false),
            Token::String(bytes) => (self.utf8(bytes, place)?, true),
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        self.advance();
        let op = match self.peek() {
            Token::Assign => MatchOp::Equal,
            Token::Operator(BinaryOp::NotEqual) => MatchOp::NotEqual,
            Token::RegexMatch => MatchOp::Matches,
            Token::RegexNotMatch => MatchOp::NotMatches,
            Token::Comma | Token::RightBrace if quoted => {
                if let Some(first) = name {
                    let message = format!("metric name must not be set twice: {first:?} or {label:?}");
                    return Err(self.error(place, message));
                }
                *name = Some(label);
                return Ok(());
            }
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.advance();
        let value_place = self.position();
        let value = match self.peek().clone() {
            Token::String(bytes) => self.utf8(bytes, value_place)?,
            _ => return Err(self.unexpected("label matching", "string")),
        };
        self.advance();
        let room = super::MAX_PATTERN_BYTES - self.pattern_bytes;
        let matcher = Matcher::within(room, label, op, value).map_err(|e| {
            if room < REGEX_BYTES_MAX && matches!(e, MatcherError::Regex { .. }) {
                let message = format!(
                    "the regular expressions up to here need more than {} MiB of memory once compiled",
                    super::MAX_PATTERN_BYTES >> 20
                );
                return self.error(place.to(value_place), message);
            }
            let cause = std::error::Error::source(&e).map(|c| format!(": {c}")).unwrap_or_default();
            self.error(place.to(value_place), format!("{e}{cause}"))
        })?;
        self.pattern_bytes += matcher.pattern_bytes();
        matchers.push(matcher);
        Ok(())
    }

    fn utf8(&self, bytes: Vec<u8>, place: PositionRange) -> Result<String, ParseError> {
        String::from_utf8(bytes).map_err(|_| self.error(place, "invalid UTF-8 in label name or value"))
    }
}
