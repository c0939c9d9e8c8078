//! Reads PromQL by recursive descent, precedence climbing for the operators.
//!
//! In: query text.   Out: a checked [`Expr`], or the first mistake with its place, worded as Prometheus does.
//! Limits: [`MAX_QUERY_BYTES`] of text, [`MAX_DEPTH`] levels of nesting, [`MAX_PATTERN_BYTES`] of regular expressions;
//! so no query can exhaust memory or stack, here or in anything that later walks the tree.

mod duration;
mod matching;
mod modifiers;
mod selector;
mod token_text;

use super::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Expr, ExprKind, Extension, MatrixSelector, NumberLiteral,
    PositionRange, StringLiteral, Subquery, TimeModifiers,
};
use super::check::check;
use super::error::ParseError;
use super::functions::Function;
use super::lexer::{Placed, Token, tokenize};
use super::operators::POW_PRECEDENCE;
use crate::model::is_legacy_metric_name;

/// Longest query that is read, in bytes.
pub const MAX_QUERY_BYTES: usize = 256 * 1024;

/// Most levels of nesting; a level is an operator, a call, a pair of parentheses.
pub const MAX_DEPTH: u32 = 200;

/// Most memory that the compiled regular expressions of one query may take: some hundred of the usual kind. Lists of
/// texts, and texts with `.*` beside them, take none.
pub const MAX_PATTERN_BYTES: usize = 32 << 20;

/// Stack that a level of brackets takes of a debug build, which takes most: 21 KiB were measured.
const STACK_BYTES_PER_LEVEL: usize = 28 << 10;

/// Parses one expression and checks its types.
///
/// # Errors
/// The text is longer than [`MAX_QUERY_BYTES`], nests deeper than [`MAX_DEPTH`], has regular expressions that take more
/// than [`MAX_PATTERN_BYTES`], or is not PromQL.
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!("query is {} bytes long, the limit is {MAX_QUERY_BYTES}", query.len());
        return Err(ParseError::new("", PositionRange::default(), message));
    }
    let tokens = tokenize(query);
    super::stack::run(nesting_at_most(&tokens), STACK_BYTES_PER_LEVEL, || parse_tokens(query, tokens)).unwrap_or_else(
        |e| {
            let message = format!("failed to start a thread for a deep query: {e}");
            Err(ParseError::new("", PositionRange::default(), message))
        },
    )
}

/// More levels than the parser can recurse into for these tokens: brackets nest, signs and `^` nest to the right.
fn nesting_at_most(tokens: &[Placed]) -> u32 {
    let (mut open, mut deepest, mut nesting_operators) = (0u32, 0u32, 0u32);
    for placed in tokens {
        match placed.token {
            Token::LeftParen | Token::LeftBracket => {
                open = open.saturating_add(1);
                deepest = deepest.max(open);
            }
            Token::RightParen | Token::RightBracket => open = open.saturating_sub(1),
            Token::Operator(_) => nesting_operators = nesting_operators.saturating_add(1),
            _ => {}
        }
    }
    deepest.saturating_add(nesting_operators)
}

fn parse_tokens(query: &str, tokens: Vec<Placed>) -> Result<Expr, ParseError> {
    let mut parser = Parser { query, tokens, at: 0, nesting: 0, aggregations: 0, pattern_bytes: 0 };
    if parser.peek() == &Token::End {
        return Err(parser.error(PositionRange::default(), "no expression found in input"));
    }
    let expr = parser.expression(0)?;
    if parser.peek() != &Token::End {
        return Err(parser.unexpected("", ""));
    }
    check(query, &expr)?;
    Ok(expr)
}

/// Reads `name{label="value"}` as a list of matchers, as `match[]` parameters give it.
///
/// # Errors
/// The text is not a single selector without modifiers.
pub fn parse_selector(text: &str) -> Result<Vec<crate::model::Matcher>, ParseError> {
    let expr = parse(text)?;
    match expr.kind {
        ExprKind::Vector(selector) if selector.time == TimeModifiers::default() && selector.extension.is_none() => {
            Ok(selector.matchers)
        }
        _ => Err(ParseError::new(text, expr.position, "expected a series selector without modifiers")),
    }
}

/// Words that stand for a metric nowhere but in quotes.
const NEVER_A_METRIC: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

/// Words that stand for a metric and never for a function.
const NEVER_A_FUNCTION: [&str; 6] = ["and", "or", "unless", "by", "without", "offset"];

/// Whether the name of a metric may stand before its braces, and is not read as something else there.
pub(super) fn is_bare_metric(name: &str) -> bool {
    let is_word = |word: &&str| name.eq_ignore_ascii_case(word);
    is_legacy_metric_name(name) && !NEVER_A_METRIC.iter().chain(&["inf", "nan"]).any(is_word)
}

/// Reads a label set: `name`, `name{label="v"}`, `{"name", "label"="v"}`, `{}`. Any word is a valid name.
pub(super) fn parse_labels(text: &str) -> Result<crate::model::Labels, ParseError> {
    let mut parser =
        Parser { query: text, tokens: tokenize(text), at: 0, nesting: 0, aggregations: 0, pattern_bytes: 0 };
    let start = parser.position();
    let name = match parser.peek().clone() {
        Token::Word(word) => Some(word),
        // The lexer takes these words for numbers.
        Token::Number(_) if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some(text[..start.end as usize].to_owned())
        }
        Token::LeftBrace => None,
        _ => return Err(parser.unexpected("metric", "name or \"{\"")),
    };
    if name.is_some() {
        parser.advance();
    }
    let expr = parser.vector_selector(name.map(|name| (name, start)))?;
    if parser.peek() != &Token::End {
        return Err(parser.unexpected("metric", ""));
    }
    let mut labels = crate::model::LabelsBuilder::default();
    for matcher in expr.direct_selector().map(|s| s.matchers.as_slice()).unwrap_or_default() {
        if matcher.op != crate::model::MatchOp::Equal {
            return Err(parser.error(expr.position, "a label set takes only ="));
        }
        labels.set(matcher.name.as_str(), matcher.value.as_str());
    }
    Ok(labels.build())
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    nesting: u32,
    /// Aggregations around this place; where nothing else is known, an error names them.
    aggregations: u32,
    /// Most memory of the regular expressions so far.
    pattern_bytes: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    /// The token after the next one.
    fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].token
    }

    fn position(&self) -> PositionRange {
        self.tokens[self.at].position
    }

    /// Where the token before this one stands.
    fn last_position(&self) -> PositionRange {
        self.tokens[self.at.saturating_sub(1)].position
    }

    fn advance(&mut self) -> Token {
        let token = self.tokens[self.at].token.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take_if(&mut self, token: &Token) -> bool {
        let is_it = self.peek() == token;
        if is_it {
            self.advance();
        }
        is_it
    }

    fn expect(&mut self, token: &Token, context: &str, expected: &str) -> Result<PositionRange, ParseError> {
        let position = self.position();
        if self.take_if(token) { Ok(position) } else { Err(self.unexpected(context, expected)) }
    }

    fn peek_word(&self) -> Option<&str> {
        match self.peek() {
            Token::Word(word) => Some(word),
            _ => None,
        }
    }

    fn peek_keyword(&self, keyword: &str) -> bool {
        self.peek_word().is_some_and(|w| w.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let is_it = self.peek_keyword(keyword);
        if is_it {
            self.advance();
        }
        is_it
    }

    fn error(&self, position: PositionRange, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, position, message)
    }

    fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        if let Token::Broken(why) = self.peek() {
            return self.error(self.position(), why.as_str());
        }
        let mut message = format!("unexpected {}", token_text::describe(self.peek(), self.query, self.position()));
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        } else if self.aggregations > 0 {
            message.push_str(" in aggregation");
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error(self.position(), message)
    }

    /// Runs `read` one level deeper, or refuses.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, ParseError>) -> Result<T, ParseError> {
        if self.nesting >= MAX_DEPTH {
            return Err(self.too_deep(self.position()));
        }
        self.nesting += 1;
        let result = read(self);
        self.nesting -= 1;
        result
    }

    fn too_deep(&self, position: PositionRange) -> ParseError {
        self.error(position, format!("expression nests deeper than {MAX_DEPTH} levels"))
    }

    /// Makes a node; refuses it when the tree below is already as deep as allowed.
    fn node(&self, kind: ExprKind, position: PositionRange) -> Result<Expr, ParseError> {
        let expr = Expr { kind, position, depth: 0, experimental: false };
        let depth = 1 + expr.children().map(|child| child.depth).max().unwrap_or(0);
        let experimental = expr.own_experiment().is_some() || expr.children().any(|child| child.experimental);
        if depth > MAX_DEPTH { Err(self.too_deep(position)) } else { Ok(Expr { depth, experimental, ..expr }) }
    }

    /// An expression whose operators all bind at least as tight as `min_precedence`.
    fn expression(&mut self, min_precedence: u8) -> Result<Expr, ParseError> {
        let mut lhs = self.unary()?;
        while let Some(op) = self.peek_operator().filter(|op| op.precedence() >= min_precedence) {
            self.advance();
            let (return_bool, matching) = self.binary_modifiers(op)?;
            // `^` groups to the right, everything else to the left.
            let rhs_min = if op == BinaryOp::Pow { POW_PRECEDENCE } else { op.precedence() + 1 };
            let rhs = self.nested(|p| p.expression(rhs_min))?;
            let position = lhs.position.to(rhs.position);
            let binary = Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), return_bool, matching };
            lhs = self.node(ExprKind::Binary(binary), position)?;
        }
        Ok(lhs)
    }

    fn peek_operator(&self) -> Option<BinaryOp> {
        match self.peek() {
            Token::Operator(op) => Some(*op),
            Token::Word(word) => [BinaryOp::And, BinaryOp::Or, BinaryOp::Unless, BinaryOp::Atan2]
                .into_iter()
                .find(|op| word.eq_ignore_ascii_case(op.as_str())),
            _ => None,
        }
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let negative = match self.peek() {
            Token::Operator(BinaryOp::Add) => false,
            Token::Operator(BinaryOp::Sub) => true,
            _ => return self.postfix(),
        };
        let start = self.position();
        self.advance();
        let operand = self.nested(|p| p.expression(POW_PRECEDENCE))?;
        let position = start.to(operand.position);
        if let ExprKind::Number(number) = operand.kind {
            let value = if negative { -number.value } else { number.value };
            return self.node(ExprKind::Number(NumberLiteral { value, ..number }), position);
        }
        self.node(ExprKind::Unary { negative, operand: Box::new(operand) }, position)
    }

    /// A primary expression with the ranges and modifiers behind it.
    fn postfix(&mut self) -> Result<Expr, ParseError> {
        let mut expr = self.primary()?;
        loop {
            expr = match self.peek() {
                Token::LeftBracket => self.range_or_subquery(expr)?,
                Token::At => self.at_modifier(expr)?,
                Token::Word(word) if word.eq_ignore_ascii_case("offset") => self.offset_modifier(expr)?,
                Token::Word(word) if word.eq_ignore_ascii_case("anchored") => {
                    self.extension_modifier(expr, Extension::Anchored)?
                }
                Token::Word(word) if word.eq_ignore_ascii_case("smoothed") => {
                    self.extension_modifier(expr, Extension::Smoothed)?
                }
                _ => return Ok(expr),
            };
        }
    }

    fn range_or_subquery(&mut self, inner: Expr) -> Result<Expr, ParseError> {
        let open = self.position();
        self.advance();
        let range = self.duration("subquery or range selector")?;
        if self.take_if(&Token::Colon) {
            let step = match self.peek() {
                Token::RightBracket => None,
                _ => Some(self.duration("subquery selector")?),
            };
            let close = self.expect(&Token::RightBracket, "subquery selector", "\"]\"")?;
            let position = inner.position.to(close);
            let subquery = Subquery { expr: Box::new(inner), range, step, time: TimeModifiers::default() };
            return self.node(ExprKind::Subquery(subquery), position);
        }
        let close = self.expect(&Token::RightBracket, "subquery or range", "\":\" or \"]\"")?;
        let place = open.to(close);
        let position = inner.position.to(close);
        let ExprKind::Vector(selector) = inner.kind else {
            return Err(self.error(place, "ranges only allowed for vector selectors"));
        };
        if selector.time.offset.is_some() {
            return Err(self.error(place, "no offset modifiers allowed before range"));
        }
        if selector.time.at.is_some() {
            return Err(self.error(place, "no @ modifiers allowed before range"));
        }
        if selector.extension.is_some() {
            return Err(self.error(place, "no anchored or smoothed modifiers allowed before range"));
        }
        self.node(ExprKind::Matrix(MatrixSelector { selector, range }), position)
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let position = self.position();
        match self.peek().clone() {
            Token::Number(value) => {
                self.advance();
                self.node(ExprKind::Number(NumberLiteral { value, is_duration: false }), position)
            }
            Token::Duration(ms) => {
                self.advance();
                let value = ms as f64 / 1000.0;
                self.node(ExprKind::Number(NumberLiteral { value, is_duration: true }), position)
            }
            Token::String(bytes) => {
                self.advance();
                self.node(ExprKind::String(StringLiteral { bytes }), position)
            }
            Token::LeftParen => {
                self.advance();
                let inner = self.nested(|p| p.expression(0))?;
                let close = self.expect(&Token::RightParen, "", "")?;
                self.node(ExprKind::Paren(Box::new(inner)), position.to(close))
            }
            Token::LeftBrace => self.vector_selector(None),
            Token::Word(word) => self.word(word),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// An aggregation, a call, or a metric of that name.
    fn word(&mut self, word: String) -> Result<Expr, ParseError> {
        let second = self.peek_second();
        let grouping_follows =
            matches!(second, Token::Word(w) if w.eq_ignore_ascii_case("by") || w.eq_ignore_ascii_case("without"));
        let paren_follows = second == &Token::LeftParen;
        if let Some(op) = AggregateOp::from_name(&word).filter(|_| paren_follows || grouping_follows) {
            return self.aggregate(op);
        }
        if NEVER_A_METRIC.iter().any(|keyword| word.eq_ignore_ascii_case(keyword)) {
            return Err(self.unexpected("", ""));
        }
        if paren_follows && !word.contains(':') && !NEVER_A_FUNCTION.iter().any(|k| word.eq_ignore_ascii_case(k)) {
            return self.call(&word);
        }
        let start = self.position();
        self.advance();
        self.vector_selector(Some((word, start)))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let start = self.position();
        self.advance();
        let before = self.grouping_clause()?;
        self.aggregations += 1;
        let args = self.arguments()?;
        self.aggregations -= 1;
        let after = if before.is_none() { self.grouping_clause()? } else { None };
        let position = start.to(self.last_position());
        let (without, grouping) = before.or(after).unwrap_or_default();
        let expected = if op.takes_parameter() { 2 } else { 1 };
        if args.is_empty() {
            return Err(self.error(position, "no arguments for aggregate expression provided"));
        }
        if args.len() != expected {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {expected}, got {}",
                args.len()
            );
            return Err(self.error(position, message));
        }
        let mut args = args.into_iter();
        let param = if op.takes_parameter() { args.next().map(Box::new) } else { None };
        let expr = Box::new(args.next().expect("the number of arguments was checked"));
        self.node(ExprKind::Aggregate(Aggregate { op, param, expr, grouping, without }), position)
    }

    /// `by (…)` or `without (…)`: whether it is `without`, and the labels.
    fn grouping_clause(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = match (self.peek_keyword("by"), self.peek_keyword("without")) {
            (true, _) => false,
            (_, true) => true,
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some((without, self.grouping_labels()?)))
    }

    fn call(&mut self, name: &str) -> Result<Expr, ParseError> {
        let start = self.position();
        // These are keywords to Prometheus and so read in any case.
        let is_keyword = ["start", "end", "step", "range"].iter().any(|k| k.eq_ignore_ascii_case(name));
        let lower = name.to_ascii_lowercase();
        let function = Function::by_name(if is_keyword { &lower } else { name });
        self.advance();
        // A mistake in the arguments is told first, as Prometheus does.
        let args = self.arguments()?;
        let Some(function) = function else {
            return Err(self.error(start, format!("unknown function with name {name:?}")));
        };
        let position = start.to(self.last_position());
        self.node(ExprKind::Call(Call { function, args }), position)
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect(&Token::LeftParen, "", "")?;
        let mut args = Vec::new();
        if self.take_if(&Token::RightParen) {
            return Ok(args);
        }
        loop {
            args.push(self.nested(|p| p.expression(0))?);
            if self.take_if(&Token::RightParen) {
                return Ok(args);
            }
            let comma = self.expect(&Token::Comma, "", "")?;
            if self.peek() == &Token::RightParen {
                return Err(self.error(comma, "trailing commas not allowed in function call args"));
            }
        }
    }
}

#[cfg(test)]
mod tests;
