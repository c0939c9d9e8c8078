//! Cuts a query into tokens.
//!
//! In: query text.   Out: tokens with their places, the last one `End`.
//! Keywords stay identifiers: only the parser knows whether `sum` is an aggregation or a metric.
//! Inside `{}` and `[]` a colon stands alone; elsewhere it belongs to the name.

use super::ast::{BinaryOp, PositionRange};
use super::error::ParseError;
use super::number::{parse_number, parse_query_duration_ms};
use super::strings::unquote;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name or a keyword, as written.
    Word(String),
    Number(f64),
    /// Milliseconds.
    Duration(i64),
    String(Vec<u8>),
    Operator(BinaryOp),
    /// `=`, only in braces.
    Assign,
    /// `=~`.
    RegexMatch,
    /// `!~`.
    RegexNotMatch,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    Comma,
    Colon,
    At,
    End,
    /// What cannot be read, and why; nothing follows. The parser tells of it when it gets there, because a mistake
    /// further ahead comes first.
    Broken(String),
}

/// A token and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub token: Token,
    pub position: PositionRange,
}

/// All tokens of `query`, up to the first that cannot be read.
pub(super) fn tokenize(query: &str) -> Vec<Placed> {
    let mut lexer = Lexer { query, at: 0, line: 1, line_start: 0, counted: 0, braces: 0, brackets: 0, parens: 0 };
    let mut tokens = Vec::new();
    loop {
        let placed = lexer
            .next()
            .unwrap_or_else(|error| Placed { token: Token::Broken(error.message), position: error.position });
        let is_last = matches!(placed.token, Token::End | Token::Broken(_));
        tokens.push(placed);
        if is_last {
            return tokens;
        }
    }
}

/// Longest duration, some 292 years: Prometheus holds nanoseconds in 64 bits.
const DURATION_MS_MAX: i64 = i64::MAX / 1_000_000;

struct Lexer<'a> {
    query: &'a str,
    at: usize,
    /// Line and its first byte at `counted`, which never is behind the token being read.
    line: u32,
    line_start: usize,
    counted: usize,
    braces: usize,
    brackets: usize,
    parens: usize,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.query[self.at..]
    }

    fn position(&self, start: usize) -> PositionRange {
        let column = (start - self.line_start) as u32 + 1;
        PositionRange { start: start as u32, end: self.at as u32, line: self.line, column }
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.query, self.position(start), message)
    }

    fn next(&mut self) -> Result<Placed, ParseError> {
        self.skip_blanks_and_comments();
        let start = self.at;
        self.count_lines();
        let Some(first) = self.rest().chars().next() else {
            let open = match (self.braces, self.parens, self.brackets) {
                (0, 0, 0) => return Ok(Placed { token: Token::End, position: self.position(start) }),
                (0, 0, _) => "unclosed left bracket",
                (0, ..) => "unclosed left parenthesis",
                _ => "unexpected end of input inside braces",
            };
            return Err(self.error(start, open));
        };
        let token = match first {
            '"' | '\'' | '`' => self.string(first)?,
            '0'..='9' => self.number()?,
            '.' if self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
            _ if is_word_start(first, self.colons_in_words()) => self.word(),
            _ => self.symbol(first)?,
        };
        Ok(Placed { token, position: self.position(start) })
    }

    /// Moves the line count on to where the next token begins.
    fn count_lines(&mut self) {
        let passed = &self.query.as_bytes()[self.counted..self.at];
        for (index, _) in passed.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            self.line += 1;
            self.line_start = self.counted + index + 1;
        }
        self.counted = self.at;
    }

    fn colons_in_words(&self) -> bool {
        self.braces == 0 && self.brackets == 0
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = &self.query[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    fn word(&mut self) -> Token {
        let colons = self.colons_in_words();
        let end = self.rest().find(|c| !is_word_part(c, colons)).unwrap_or(self.rest().len());
        let word = self.rest()[..end].to_owned();
        self.at += end;
        if self.braces == 0 {
            if word.eq_ignore_ascii_case("inf") {
                return Token::Number(f64::INFINITY);
            }
            if word.eq_ignore_ascii_case("nan") {
                return Token::Number(f64::NAN);
            }
        }
        Token::Word(word)
    }

    /// A number or a duration: the run of digits, letters, dots and underscores, and an exponent's sign.
    fn number(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let bytes = self.rest().as_bytes();
        let is_hex = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x');
        let mut len = 0;
        while len < bytes.len() {
            let is_sign_of_exponent = matches!(bytes[len], b'+' | b'-')
                && !is_hex
                && len > 0
                && bytes[len - 1].eq_ignore_ascii_case(&b'e')
                && bytes[..len - 1].iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'_'))
                && bytes.get(len + 1).is_some_and(u8::is_ascii_digit);
            if !(bytes[len].is_ascii_alphanumeric() || matches!(bytes[len], b'.' | b'_') || is_sign_of_exponent) {
                break;
            }
            len += 1;
        }
        let text = &self.query[start..start + len];
        self.at += len;
        match (parse_number(text), parse_query_duration_ms(text)) {
            (Some(value), _) => Ok(Token::Number(value)),
            (None, Some(ms)) if ms > DURATION_MS_MAX => Err(self.error(start, "duration out of range")),
            (None, Some(ms)) => Ok(Token::Duration(ms)),
            (None, None) => Err(self.error(start, format!("bad number or duration syntax: {text:?}"))),
        }
    }

    fn string(&mut self, quote: char) -> Result<Token, ParseError> {
        let start = self.at;
        let body = &self.query[start + 1..];
        let mut escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let is_end = c == quote && !escaped;
            escaped = quote != '`' && c == '\\' && !escaped;
            is_end || (c == '\n' && quote != '`')
        });
        match end {
            Some((len, c)) if c == quote => {
                self.at = start + 1 + len + 1;
                match quote {
                    '`' => Ok(Token::String(body.as_bytes()[..len].to_vec())),
                    _ => unquote(&body[..len], quote).map(Token::String).map_err(|reason| self.error(start, reason)),
                }
            }
            _ => {
                self.at = self.query.len();
                Err(self.error(
                    start,
                    match quote {
                        '`' => "unterminated raw string",
                        _ if escaped && end.is_none() => "escape sequence not terminated",
                        _ => "unterminated quoted string",
                    },
                ))
            }
        }
    }

    fn symbol(&mut self, first: char) -> Result<Token, ParseError> {
        let start = self.at;
        let in_braces = self.braces > 0;
        const IN_BRACES: [(&str, Token); 6] = [
            ("=~", Token::RegexMatch),
            ("!~", Token::RegexNotMatch),
            ("!=", Token::Operator(BinaryOp::NotEqual)),
            ("==", Token::Operator(BinaryOp::Equal)),
            ("=", Token::Assign),
            (",", Token::Comma),
        ];
        const OUTSIDE: [(&str, Token); 20] = [
            ("==", Token::Operator(BinaryOp::Equal)),
            ("!=", Token::Operator(BinaryOp::NotEqual)),
            ("=~", Token::RegexMatch),
            ("!~", Token::RegexNotMatch),
            ("=", Token::Assign),
            ("<=", Token::Operator(BinaryOp::LessOrEqual)),
            ("</", Token::Operator(BinaryOp::TrimUpper)),
            ("<", Token::Operator(BinaryOp::Less)),
            (">=", Token::Operator(BinaryOp::GreaterOrEqual)),
            (">/", Token::Operator(BinaryOp::TrimLower)),
            (">", Token::Operator(BinaryOp::Greater)),
            ("+", Token::Operator(BinaryOp::Add)),
            ("-", Token::Operator(BinaryOp::Sub)),
            ("*", Token::Operator(BinaryOp::Mul)),
            ("/", Token::Operator(BinaryOp::Div)),
            ("%", Token::Operator(BinaryOp::Mod)),
            ("^", Token::Operator(BinaryOp::Pow)),
            ("@", Token::At),
            (",", Token::Comma),
            (":", Token::Colon),
        ];
        let table: &[(&str, Token)] = if in_braces { &IN_BRACES } else { &OUTSIDE };
        if let Some((text, token)) = table.iter().find(|(text, _)| self.rest().starts_with(text)) {
            self.at += text.len();
            return Ok(token.clone());
        }
        self.at += first.len_utf8();
        let place = if in_braces { " inside braces" } else { "" };
        match first {
            '{' if !in_braces => {
                self.braces += 1;
                Ok(Token::LeftBrace)
            }
            '}' if in_braces => {
                self.braces -= 1;
                Ok(Token::RightBrace)
            }
            '(' if !in_braces => {
                self.parens += 1;
                Ok(Token::LeftParen)
            }
            ')' if !in_braces && self.parens > 0 => {
                self.parens -= 1;
                Ok(Token::RightParen)
            }
            // Prometheus points behind it.
            ')' if !in_braces => Err(self.error(self.at, "unexpected right parenthesis ')'")),
            '[' if !in_braces && self.brackets == 0 => {
                self.brackets += 1;
                Ok(Token::LeftBracket)
            }
            ']' if !in_braces && self.brackets > 0 => {
                self.brackets -= 1;
                Ok(Token::RightBracket)
            }
            '!' => {
                let after = self.rest().chars().next().map_or("end of input".to_owned(), |c| format!("{c:?}"));
                Err(self.error(start, format!("unexpected character after '!'{place}: {after}")))
            }
            ']' if !in_braces => Err(self.error(start, "unexpected right bracket ']'")),
            _ => Err(self.error(start, format!("unexpected character{place}: {first:?}"))),
        }
    }
}

fn is_word_start(c: char, colons: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (colons && c == ':')
}

fn is_word_part(c: char, colons: bool) -> bool {
    is_word_start(c, colons) || c.is_ascii_digit()
}
