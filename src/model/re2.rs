//! The dialect of regular expressions that Go and RE2 have, written out in that of the `regex` crate.
//!
//! In:  a pattern.   Out: one that matches the same, or the error that Go gives.
//! Always: what the two read differently is spelled so that it cannot be misread: a brace that is no repetition is text,
//! `[a&&b]` is a list of characters, `\<` is a character, classes are ASCII.   Limits: [`DEPTH_MAX`] groups in another.
//!
//! Source: package `regexp/syntax` of Go with its flags `Perl`; RE2's page on syntax.

use std::fmt::Write;

use regex::Regex;

/// Groups within groups; the library reads no more.
const DEPTH_MAX: usize = 240;
/// What a repetition may ask for, and those within one another together.
const REPEAT_MAX: u64 = 1000;
const GROUPS_OF_POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

/// Why a pattern is none, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {rule}: `{part}`")]
pub struct SyntaxError {
    pub rule: &'static str,
    /// The part of the pattern that breaks it.
    pub part: String,
}

/// The pattern in the dialect of the `regex` crate.
///
/// # Errors
/// Go would refuse it.
pub fn of_re2(pattern: &str) -> Result<String, SyntaxError> {
    let mut reader = Reader { pattern, at: 0, out: String::with_capacity(pattern.len() + 8), names: Vec::new() };
    reader.alternatives(0)?;
    match reader.peek() {
        None => Ok(reader.out),
        Some(_) => Err(reader.error("unexpected )", 0, pattern.len())),
    }
}

struct Reader<'a> {
    pattern: &'a str,
    at: usize,
    out: String,
    /// Names of groups, each once.
    names: Vec<&'a str>,
}

/// What a repetition would repeat.
struct Atom {
    /// The largest product of repetitions within one another.
    weight: u64,
    /// Where the repetition that it has already begins.
    repeated_at: Option<usize>,
}

impl Atom {
    const PLAIN: Option<Self> = Some(Self { weight: 1, repeated_at: None });
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let is_there = self.rest().starts_with(text);
        if is_there {
            self.at += text.len();
        }
        is_there
    }

    fn error(&self, rule: &'static str, from: usize, to: usize) -> SyntaxError {
        SyntaxError { rule, part: self.pattern.get(from..to).unwrap_or(self.pattern).to_owned() }
    }

    fn whole(&self, rule: &'static str) -> SyntaxError {
        self.error(rule, 0, self.pattern.len())
    }

    /// Up to the end or the parenthesis that closes the group; gives the weight of the heaviest part.
    fn alternatives(&mut self, depth: usize) -> Result<u64, SyntaxError> {
        if depth > DEPTH_MAX {
            return Err(self.whole("expression nests too deeply"));
        }
        let mut weight = 1;
        let mut atom = None;
        while let Some(c) = self.peek() {
            let from = self.at;
            atom = match c {
                ')' => break,
                '|' => {
                    self.at += 1;
                    self.out.push('|');
                    None
                }
                '(' => self.group(depth)?,
                '*' | '+' | '?' => {
                    self.at += 1;
                    self.repeat(atom, from, 1)?
                }
                '{' => match self.counts() {
                    Some((min, max)) => {
                        if min > REPEAT_MAX || max.is_some_and(|max| max > REPEAT_MAX || min > max) {
                            return Err(self.error("invalid repeat count", from, self.at));
                        }
                        self.repeat(atom, from, max.unwrap_or(min))?
                    }
                    None => {
                        self.at += 1;
                        self.literal('{');
                        Atom::PLAIN
                    }
                },
                '^' | '$' | '.' => {
                    self.at += 1;
                    self.out.push(c);
                    Atom::PLAIN
                }
                '[' => {
                    self.class()?;
                    Atom::PLAIN
                }
                '\\' => self.escaped(atom)?,
                c => {
                    self.at += c.len_utf8();
                    self.literal(c);
                    Atom::PLAIN
                }
            };
            weight = weight.max(atom.as_ref().map_or(1, |atom| atom.weight));
        }
        Ok(weight)
    }

    /// A repetition that has been read from `from` on, of at most `times`; what it repeats has been written.
    fn repeat(&mut self, atom: Option<Atom>, from: usize, times: u64) -> Result<Option<Atom>, SyntaxError> {
        self.take("?");
        let Some(atom) = atom else {
            return Err(self.error("missing argument to repetition operator", from, self.at));
        };
        if let Some(first) = atom.repeated_at {
            return Err(self.error("invalid nested repetition operator", first, self.at));
        }
        // What is repeated zero times repeats nothing itself.
        let weight = atom.weight * times.max(1);
        if times >= 2 && weight > REPEAT_MAX {
            return Err(self.error("invalid repeat count", from, self.at));
        }
        let written = &self.pattern[from..self.at];
        self.out.push_str(written);
        let weight = if written.starts_with("{0}") || written.starts_with("{0,0}") { 1 } else { weight };
        Ok(Some(Atom { weight, repeated_at: Some(from) }))
    }

    /// `{2}`, `{2,}`, `{2,3}`; anything else is text. A number beyond all bounds is just that.
    fn counts(&mut self) -> Option<(u64, Option<u64>)> {
        let number = |text: &str| {
            let is_number = text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
            let is_plain = is_number && (text.len() == 1 || !text.starts_with('0'));
            is_plain.then(|| text.parse().unwrap_or(u64::MAX))
        };
        let inside = self.rest().strip_prefix('{')?;
        let inside = &inside[..inside.find('}')?];
        let counts = match inside.split_once(',') {
            None => number(inside).map(|n| (n, Some(n))),
            Some((min, "")) => number(min).map(|n| (n, None)),
            Some((min, max)) => number(min).zip(number(max)).map(|(min, max)| (min, Some(max))),
        };
        self.at += counts.map_or(0, |_| inside.len() + 2);
        counts
    }

    /// `(…)`, `(?:…)`, `(?P<name>…)`, `(?<name>…)`, `(?i-s:…)`, `(?i)`; the last is nothing to repeat.
    fn group(&mut self, depth: usize) -> Result<Option<Atom>, SyntaxError> {
        let from = self.at;
        self.at += 1;
        if self.take("?P<") || self.take("?<") {
            let Some(length) = self.rest().find('>') else {
                return Err(self.error("invalid named capture", from, self.pattern.len()));
            };
            let name = &self.rest()[..length];
            self.at += length + 1;
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || !name.chars().all(is_word) {
                return Err(self.error("invalid named capture", from, self.at));
            }
            if self.names.contains(&name) {
                return Err(SyntaxError { rule: "duplicate capture group name", part: name.to_owned() });
            }
            self.names.push(name);
            // The library has no name that begins with a digit; such a group has its number alone.
            match name.starts_with(|c: char| c.is_ascii_digit()) {
                true => self.out.push('('),
                false => self.out.push_str(&format!("(?P<{name}>")),
            }
        } else if self.take("?") {
            let invalid = |at: usize| self.error("invalid or unsupported Perl syntax", from, at);
            let flags = self.rest().find([':', ')']).ok_or_else(|| invalid(self.pattern.len()))?;
            let end = self.at + flags;
            let (set, unset) =
                self.rest()[..flags].split_once('-').map_or((&self.rest()[..flags], None), |(a, b)| (a, Some(b)));
            let is_flags = |flags: &str| flags.chars().all(|c| "imsU".contains(c));
            if !is_flags(set) || unset.is_some_and(|unset| unset.is_empty() || !is_flags(unset)) {
                return Err(invalid(end + 1));
            }
            let is_group = self.pattern[end..].starts_with(':');
            let unset = unset.unwrap_or_default();
            // The library takes each flag once; the last word counts.
            let once = |flags: &str| -> String { "imsU".chars().filter(|flag| flags.contains(*flag)).collect() };
            let off = once(unset);
            let on: String = once(set).chars().filter(|flag| !off.contains(*flag)).collect();
            self.at = end + 1;
            let minus = if off.is_empty() { "" } else { "-" };
            match is_group {
                true => self.out.push_str(&format!("(?{on}{minus}{off}:")),
                false => {
                    if !on.is_empty() || !off.is_empty() {
                        self.out.push_str(&format!("(?{on}{minus}{off})"));
                    }
                    return Ok(None);
                }
            }
        } else {
            self.out.push('(');
        }
        let weight = self.alternatives(depth + 1)?;
        if !self.take(")") {
            return Err(self.whole("missing closing )"));
        }
        self.out.push(')');
        Ok(Some(Atom { weight, repeated_at: None }))
    }

    /// What follows a backslash outside brackets; `before` stays what a repetition would repeat where nothing is written.
    fn escaped(&mut self, before: Option<Atom>) -> Result<Option<Atom>, SyntaxError> {
        let from = self.at;
        let second = self.rest().chars().nth(1);
        let assertion = match second {
            Some('A') => r"\A",
            Some('z') => r"\z",
            Some('b') => r"(?-u:\b)",
            Some('B') => r"(?-u:\B)",
            _ => "",
        };
        if !assertion.is_empty() {
            self.at += 2;
            self.out.push_str(assertion);
            return Ok(Atom::PLAIN);
        }
        match second {
            Some('C') => Err(self.error("invalid escape sequence", from, from + 2)),
            Some('Q') => {
                self.at += 2;
                let text = self.rest().split_once(r"\E").map_or(self.rest(), |(text, _)| text);
                self.at += text.len();
                self.take(r"\E");
                text.chars().for_each(|c| self.literal(c));
                Ok(if text.is_empty() { before } else { Atom::PLAIN })
            }
            _ => {
                if !self.perl_class()? {
                    let c = self.escape()?;
                    self.literal(c);
                }
                Ok(Atom::PLAIN)
            }
        }
    }

    /// `\d`, `\pN`, `\p{Greek}` and the like, where one is next.
    fn perl_class(&mut self) -> Result<bool, SyntaxError> {
        let from = self.at;
        let mut chars = self.rest().chars();
        let kind = match (chars.next(), chars.next()) {
            (Some('\\'), Some(kind)) => kind,
            _ => return Ok(false),
        };
        let class = match kind {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            's' => r"[\t\n\f\r ]",
            'S' => r"[^\t\n\f\r ]",
            'p' | 'P' => {
                self.at += 2;
                return self.unicode_class(from, kind == 'P').map(|()| true);
            }
            _ => return Ok(false),
        };
        self.at += 2;
        self.out.push_str(class);
        Ok(true)
    }

    fn unicode_class(&mut self, from: usize, is_negated: bool) -> Result<(), SyntaxError> {
        let range = |reader: &Self| reader.error("invalid character class range", from, reader.at);
        let name = match self.next() {
            Some('{') => {
                let Some(length) = self.rest().find('}') else {
                    return Err(self.error("invalid character class range", from, self.pattern.len()));
                };
                let name = &self.rest()[..length];
                self.at += length + 1;
                name
            }
            Some(c) => &self.pattern[self.at - c.len_utf8()..self.at],
            None => return Err(range(self)),
        };
        let (flips, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
        let letter = if is_negated == flips { 'p' } else { 'P' };
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic() || "_ -".contains(c));
        // Categories and scripts, and none of the other properties that the library knows.
        let known = ["gc", "sc"].into_iter().find(|of| is_name && Regex::new(&format!(r"\p{{{of}={name}}}")).is_ok());
        let known = known.ok_or_else(|| range(self))?;
        self.out.push_str(&format!(r"\{letter}{{{known}={name}}}"));
        Ok(())
    }

    /// The one character that a backslash and what follows it stand for.
    fn escape(&mut self) -> Result<char, SyntaxError> {
        let from = self.at;
        self.at += 1;
        let Some(c) = self.next() else {
            return Err(SyntaxError { rule: "trailing backslash at end of expression", part: String::new() });
        };
        let digits = |reader: &Self, radix: u32, most: usize| {
            reader.rest().chars().take(most).take_while(|c| c.is_digit(radix)).count()
        };
        let invalid = |reader: &Self| reader.error("invalid escape sequence", from, reader.at);
        let of_digits = |text: &str, radix: u32| u32::from_str_radix(text, radix).ok().and_then(char::from_u32);
        match c {
            // A digit alone would refer back to a group, which there is not.
            '1'..='7' if digits(self, 8, 1) == 0 => Err(invalid(self)),
            '0'..='7' => {
                self.at += digits(self, 8, 2);
                of_digits(&self.pattern[from + 1..self.at], 8).ok_or_else(|| invalid(self))
            }
            'x' if self.take("{") => {
                let length = digits(self, 16, 16);
                let text = &self.rest()[..length];
                self.at += length;
                let is_closed = self.take("}");
                of_digits(text, 16).filter(|_| is_closed).ok_or_else(|| invalid(self))
            }
            'x' => {
                let length = digits(self, 16, 2);
                self.at += length;
                of_digits(&self.pattern[from + 2..self.at], 16).filter(|_| length == 2).ok_or_else(|| invalid(self))
            }
            'a' => Ok('\x07'),
            'f' => Ok('\x0c'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\x0b'),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
            _ => Err(invalid(self)),
        }
    }

    /// `[…]`.
    fn class(&mut self) -> Result<(), SyntaxError> {
        let from = self.at;
        self.at += 1;
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let unclosed = |reader: &Self| reader.error("missing closing ]", from, reader.pattern.len());
        let mut is_first = true;
        loop {
            match self.peek() {
                None => return Err(unclosed(self)),
                Some(']') if !is_first => break,
                _ => is_first = false,
            }
            if self.posix_group()? || self.perl_class()? {
                continue;
            }
            let range_at = self.at;
            let low = self.class_char(from)?;
            let is_range = self.rest().starts_with('-') && !matches!(self.rest().chars().nth(1), None | Some(']'));
            if !is_range {
                self.literal(low);
                continue;
            }
            self.at += 1;
            let high = self.class_char(from)?;
            if high < low {
                return Err(self.error("invalid character class range", range_at, self.at));
            }
            self.literal(low);
            self.out.push('-');
            self.literal(high);
        }
        self.at += 1;
        self.out.push(']');
        Ok(())
    }

    fn class_char(&mut self, class_at: usize) -> Result<char, SyntaxError> {
        match self.peek() {
            Some('\\') => self.escape(),
            Some(_) => Ok(self.next().unwrap_or_default()),
            None => Err(self.error("missing closing ]", class_at, self.pattern.len())),
        }
    }

    /// `[:alpha:]` and the like within brackets, where one is next.
    fn posix_group(&mut self) -> Result<bool, SyntaxError> {
        let Some(rest) = self.rest().strip_prefix("[:") else { return Ok(false) };
        let Some(length) = rest.find(":]") else { return Ok(false) };
        let from = self.at;
        self.at += length + 4;
        let name = &rest[..length];
        if !GROUPS_OF_POSIX.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(self.error("invalid character class range", from, self.at));
        }
        self.out.push_str(&self.pattern[from..self.at]);
        Ok(true)
    }

    /// One character, so that it means nothing else.
    fn literal(&mut self, c: char) {
        if c.is_alphanumeric() || c == '_' {
            self.out.push(c);
        } else {
            write!(self.out, r"\x{{{:x}}}", u32::from(c)).expect("writing to memory cannot fail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let dialect = of_re2(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}"));
        Regex::new(&format!("^(?s:{dialect})$")).unwrap_or_else(|e| panic!("{pattern}: {dialect}: {e}")).is_match(text)
    }

    #[test]
    fn patterns_match_as_in_go() {
        // Each with what it matches, and what it does not.
        for (pattern, yes, no) in [
            ("/actors/{actor_id}", "/actors/{actor_id}", "/actors/actor_id"),
            (r"/actors/{[^}]+}(/.*)?", "/actors/{id}/x", "/actors/id"),
            ("{", "{", "}"),
            ("1{1", "1{1", "1"),
            ("b{,3}", "b{,3}", "bb"),
            ("b{02}", "b{02}", "bb"),
            ("b{2,}", "bbb", "b"),
            ("b{1,2}?", "bb", "bbb"),
            ("[1&&2]+", "1&2", "3"),
            ("[&&1]", "&", "2"),
            ("[a-z&&[^b]]&b", "&]&b", "a&b"),
            ("[a[1]]", "[]", "1"),
            ("[a~~b]", "~", "ab"),
            ("[*--]", "+", "a"),
            ("[]a]", "]", "[]a]"),
            ("[^]a]", "b", "]"),
            ("[a-]", "-", "b"),
            (r"x\<1", "x<1", "x1"),
            (r"\061", "1", "061"),
            (r"\351", "é", "351"),
            (r"\08", "\u{0}8", "08"),
            (r"\x41\x{20ac}", "A€", "A"),
            (r"\p{^Latin}", "1", "a"),
            (r"\P{Greek}", "a", "α"),
            (r"[\pN\p{Greek}]+", "α1", "a"),
            ("(?P<1a>1)", "1", "2"),
            ("(?<word>a)", "a", "b"),
            (r"[[:alpha:][:^digit:]]", "a", "1"),
            ("[[:x]", ":", "a"),
            (r"(?i)a(?-i)b", "Ab", "AB"),
            ("(?i:a)b", "Ab", "AB"),
            ("(?)a", "a", "b"),
            (r"\Qa.b|c\E+", "a.b|cc", "aab"),
            (r"\Qa.b", "a.b", "axb"),
            (r"a\\d", r"a\d", "a1"),
            (r"\_\ #", "_ #", "_#"),
            (r"a\bb|a\b", "a", "ab"),
            (r"a\Bb", "ab", "a b"),
            ("^*a$", "a", "aa"),
            ("a|", "", "b"),
            ("(|a)*", "aa", "b"),
            ("", "", "a"),
            ("(?:a{2}){3}", "aaaaaa", "aa"),
            ("a b", "a b", "ab"),
            (r"[\]\-\\]+", r"]-\", "a"),
            ("é{2}", "éé", "é"),
        ] {
            assert!(matches(pattern, yes), "{pattern} on {yes:?}");
            assert!(!matches(pattern, no), "{pattern} on {no:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_in_its_words() {
        for (pattern, message) in [
            ("1++", "invalid nested repetition operator: `++`"),
            ("1**", "invalid nested repetition operator: `**`"),
            ("1{1}{2}", "invalid nested repetition operator: `{1}{2}`"),
            ("a*??", "invalid nested repetition operator: `*??`"),
            ("*", "missing argument to repetition operator: `*`"),
            ("a|*", "missing argument to repetition operator: `*`"),
            ("(+)", "missing argument to repetition operator: `+`"),
            ("a{1001}", "invalid repeat count: `{1001}`"),
            ("a{2,1}", "invalid repeat count: `{2,1}`"),
            ("a{99999999999999999999}", "invalid repeat count: `{99999999999999999999}`"),
            ("(a{100}){100}", "invalid repeat count: `{100}`"),
            ("(?x) 1", "invalid or unsupported Perl syntax: `(?x)`"),
            ("(?R)1", "invalid or unsupported Perl syntax: `(?R)`"),
            ("(?-)", "invalid or unsupported Perl syntax: `(?-)`"),
            ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
            ("(?P<a", "invalid named capture: `(?P<a`"),
            ("(?P<a b>1)", "invalid named capture: `(?P<a b>`"),
            ("(?P<n>a)(?P<n>b)", "duplicate capture group name: `n`"),
            ("[1--2]", "invalid character class range: `1--`"),
            ("[b-a]", "invalid character class range: `b-a`"),
            ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
            (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
            (r"\p{sc=Greek}", r"invalid character class range: `\p{sc=Greek}`"),
            (r"\u0031", r"invalid escape sequence: `\u`"),
            (r"\8", r"invalid escape sequence: `\8`"),
            (r"\1", r"invalid escape sequence: `\1`"),
            (r"\C", r"invalid escape sequence: `\C`"),
            (r"\Z", r"invalid escape sequence: `\Z`"),
            (r"[\b]", r"invalid escape sequence: `\b`"),
            (r"[a-\d]", r"invalid escape sequence: `\d`"),
            (r"\x4", r"invalid escape sequence: `\x4`"),
            (r"\x{110000}", r"invalid escape sequence: `\x{110000}`"),
            (r"\é", r"invalid escape sequence: `\é`"),
            (r"a\", "trailing backslash at end of expression: ``"),
            ("[a", "missing closing ]: `[a`"),
            ("[]", "missing closing ]: `[]`"),
            ("(a", "missing closing ): `(a`"),
            ("a)|(b", "unexpected ): `a)|(b`"),
        ] {
            let error = of_re2(pattern).expect_err(pattern);
            assert_eq!(error.to_string(), format!("error parsing regexp: {message}"), "{pattern}");
        }
        assert!(of_re2(&"(".repeat(10_000)).unwrap_err().to_string().contains("nests too deeply"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_a_pattern_of_the_library(pattern in r"[ab12(){}\[\]|*+?.^$\\:<>,&~\-PQEdpNxius!=é\n]{0,12}") {
            if let Ok(dialect) = of_re2(&pattern) {
                let built = Regex::new(&dialect);
                proptest::prop_assert!(built.is_ok(), "{:?} became {:?}: {:?}", pattern, dialect, built);
            }
        }
    }
}
