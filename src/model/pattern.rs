//! Regular expressions as Prometheus' matchers have them: anchored, of RE2's dialect, and bounded in memory.
//!
//! In:  a pattern.   Out: whether texts match as a whole. Most patterns in use are lists of texts or a text with `.*`
//! beside it, and those take no compiled expression at all.   Limits: [`REGEX_BYTES_MAX`] for one expression.

use std::collections::BTreeSet;

use regex::{Regex, RegexBuilder};

use super::re2::{SyntaxError, of_re2};

/// Largest compiled expression with the memory it works in. One that takes that much may need a millisecond for a text
/// of a hundred bytes.
pub const REGEX_BYTES_MAX: usize = 4 << 20;

/// Sizes of compiled expressions that are tried in turn, because the library only tells whether one is exceeded; and
/// the memory that each may work in.
const SIZES: [(usize, usize); 3] = [(16 << 10, 64 << 10), (128 << 10, 512 << 10), (1 << 20, 3 << 20)];

/// Why a pattern cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PatternError {
    #[error(transparent)]
    Syntax(#[from] SyntaxError),
    /// It needs too much memory once compiled.
    #[error(transparent)]
    Compile(#[from] regex::Error),
}

/// A pattern that texts are matched with as a whole.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// `a|b|c`.
    Texts(BTreeSet<String>),
    /// A text, with `.*` before it, behind it, or both.
    Part {
        before: bool,
        text: String,
        after: bool,
    },
    /// `.+`.
    Present,
    Regex {
        regex: Regex,
        bytes: usize,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is not a regular expression, or needs more than `bytes_max` once compiled.
    pub fn new(pattern: &str, bytes_max: usize) -> Result<Self, PatternError> {
        if let Some(texts) = alternatives(pattern) {
            return Ok(Self(Kind::Texts(texts)));
        }
        if pattern == ".+" {
            return Ok(Self(Kind::Present));
        }
        let (before, rest) = pattern.strip_prefix(".*").map_or((false, pattern), |rest| (true, rest));
        let (after, rest) = rest.strip_suffix(".*").map_or((false, rest), |rest| (true, rest));
        if let Some(text) = literal(rest) {
            return Ok(Self(Kind::Part { before, text, after }));
        }
        let (regex, bytes) = compile(pattern, bytes_max)?;
        Ok(Self(Kind::Regex { regex, bytes }))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Texts(texts) => texts.contains(text),
            Kind::Present => !text.is_empty(),
            Kind::Part { before: true, text: part, after: true } => text.contains(part.as_str()),
            Kind::Part { before: true, text: part, .. } => text.ends_with(part.as_str()),
            Kind::Part { text: part, .. } => text.starts_with(part.as_str()),
            Kind::Regex { regex, .. } => regex.is_match(text),
        }
    }

    /// The texts that match, where they can be listed.
    pub fn texts(&self) -> Option<impl Iterator<Item = &str>> {
        match &self.0 {
            Kind::Texts(texts) => Some(texts.iter().map(String::as_str)),
            _ => None,
        }
    }

    /// Most memory that the compiled expression takes, zero where there is none.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Regex { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

/// Compiles an expression that matches texts as a whole; gives it with the most memory that it takes.
///
/// # Errors
/// It is not a regular expression, or needs more than `bytes_max`.
pub fn compile(pattern: &str, bytes_max: usize) -> Result<(Regex, usize), PatternError> {
    // It is a pattern by itself, so that no parenthesis of it closes the one around it.
    let dialect = of_re2(pattern)?;
    let anchored = format!("^(?s:{dialect})$");
    let build = |(size, work): (usize, usize)| {
        RegexBuilder::new(&anchored).size_limit(size).dfa_size_limit(work).build().map(|regex| (regex, size + work))
    };
    let mut last = Err(regex::Error::CompiledTooBig(bytes_max));
    for size in SIZES.into_iter().filter(|(size, work)| size + work <= bytes_max) {
        last = build(size);
        if !matches!(last, Err(regex::Error::CompiledTooBig(_))) {
            break;
        }
    }
    Ok(last?)
}

/// Characters with a meaning of their own outside brackets.
const SPECIAL: &str = r"\.+*?()|[]{}^$";

/// The text that a pattern without any meaning stands for.
fn literal(pattern: &str) -> Option<String> {
    let mut text = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(|escaped| SPECIAL.contains(*escaped))?,
            c if SPECIAL.contains(c) => return None,
            c => c,
        };
        text.push(c);
    }
    Some(text)
}

/// The texts of `a|b|c`, if there is nothing else in the pattern.
fn alternatives(pattern: &str) -> Option<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    let mut from = 0;
    let mut escaped = false;
    for (at, c) in pattern.char_indices() {
        if c == '|' && !escaped {
            texts.insert(literal(&pattern[from..at])?);
            from = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    texts.insert(literal(&pattern[from..])?);
    Some(texts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text, REGEX_BYTES_MAX).unwrap()
    }

    #[test]
    fn the_usual_patterns_take_no_compiled_expression() {
        for (text, yes, no) in [
            ("a|b", "b", "ab"),
            (r"10\.0\.0\.1:9100|x", "10.0.0.1:9100", "10a0.0.1:9100"),
            ("", "", "a"),
            ("a|", "", "b"),
            ("a.*", "a\nb", "ba"),
            (".*a", "xa", "ax"),
            (".*a.*", "xax", "x"),
            (".*", "", "-"),
            (".+", "\n", ""),
        ] {
            let pattern = pattern(text);
            assert_eq!(pattern.bytes(), 0, "{text}");
            assert!(pattern.matches(yes) && (no == "-" || !pattern.matches(no)), "{text}");
        }
        assert_eq!(pattern("b|a|b").texts().unwrap().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn classes_are_ascii_as_in_re2() {
        assert!(pattern(r"\d\w\s\S\b").matches("1a b") && !pattern(r"\w").matches("é") && !pattern(r"\d").matches("٣"));
        assert!(pattern(r"[^\W\d]+").matches("ab_") && !pattern(r"[^\W\d]+").matches("a1"));
        assert!(pattern(r"\Qa.b|c\E+").matches("a.b|cc") && pattern(r"a\\d").matches(r"a\d"));
        assert!(pattern(".").matches("é"), "a point is a character and no byte");
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        for text in
            ["a)|(b", "(", "[a", r"\", "*", "(?P<a", "(a{1000}){1000}", "((.{1,100}){1,100}){1,100}", "y{99999}"]
        {
            let error = Pattern::new(text, REGEX_BYTES_MAX).unwrap_err();
            assert!(matches!(error, PatternError::Syntax(_)), "{text}: {error}");
        }
        for text in [r"(\pL{500}){2}", "(a|[b-z]{900}){1}(\\pL{1000}|x)"] {
            let error = Pattern::new(text, REGEX_BYTES_MAX).unwrap_err();
            assert!(matches!(error, PatternError::Compile(regex::Error::CompiledTooBig(_))), "{text}: {error}");
        }
        assert!(Pattern::new("[ab]c", 1_000).is_err(), "the caller's limit counts");
    }

    proptest! {
        #[test]
        fn shortcuts_match_what_the_expression_matches(
            text in r"(\.\*)?([abé|]|\\\.|\.){0,6}(\.\*)?|\.\+",
            values in prop::collection::vec(r"[abé.\n]{0,5}", 8),
        ) {
            let (regex, _) = compile(&text, REGEX_BYTES_MAX).unwrap();
            let pattern = pattern(&text);
            for value in values {
                prop_assert_eq!(pattern.matches(&value), regex.is_match(&value), "{} on {:?}", text, value);
            }
        }
    }
}
