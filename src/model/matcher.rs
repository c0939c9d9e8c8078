//! A condition on one label, as in `{job="rivet", path=~"/actors.*"}`.

use std::fmt;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Labels;
use super::labels::{Quoted, is_legacy_label_name};
use super::pattern::{Pattern, PatternError, REGEX_BYTES_MAX};
use super::re2::SyntaxError;

/// The four comparisons of a label matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Matches,
    NotMatches,
}

impl MatchOp {
    /// The operator as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::NotMatches => "!~",
        }
    }
}

/// Why a matcher could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MatcherError {
    /// It is no regular expression.
    #[error(transparent)]
    Syntax(SyntaxError),
    /// It needs too much memory once compiled.
    #[error("regular expression `{pattern}` does not compile")]
    Regex { pattern: String, source: Box<regex::Error> },
}

/// A condition on the value of one label; an absent label counts as the empty value.
///
/// Regular expressions are anchored at both ends and `.` also matches a line feed, as in Prometheus.
#[derive(Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    pattern: Option<Pattern>,
    given_up: Option<Arc<AtomicU8>>,
}

impl Matcher {
    /// A matcher for `name`; compiles `value` where `op` is a regular expression.
    ///
    /// # Errors
    /// The expression does not compile or would need more than [`REGEX_BYTES_MAX`] once compiled.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        Self::within(REGEX_BYTES_MAX, name, op, value)
    }

    /// As [`Matcher::new`] where a compiled expression may take no more than `bytes_max`.
    ///
    /// # Errors
    /// The expression does not compile or would need more than that.
    pub fn within(
        bytes_max: usize,
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, MatcherError> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::NotMatches => {
                Some(Pattern::new(&value, bytes_max.min(REGEX_BYTES_MAX)).map_err(|e| match e {
                    PatternError::Syntax(e) => MatcherError::Syntax(e),
                    PatternError::Compile(e) => MatcherError::Regex { pattern: value.clone(), source: Box::new(e) },
                })?)
            }
        };
        Ok(Self { name: name.into(), op, value, pattern, given_up: None })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None, given_up: None }
    }

    /// The same matcher, to which nothing passes any more once the flag is not zero: whoever waits for a selection with
    /// it gets an answer soon, and is to throw it away.
    pub fn until(&self, given_up: &Arc<AtomicU8>) -> Self {
        Self { given_up: Some(Arc::clone(given_up)), ..self.clone() }
    }

    /// Whether the flag of [`Matcher::until`] is set.
    pub fn has_given_up(&self) -> bool {
        self.given_up.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed) != 0)
    }

    /// Whether a label with this value passes.
    pub fn matches_value(&self, value: &str) -> bool {
        let matches_pattern = || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            _ if self.is_slow() && self.has_given_up() => false,
            MatchOp::Matches => matches_pattern(),
            MatchOp::NotMatches => !matches_pattern(),
        }
    }

    /// The values that pass, where they can be listed: those of `a="b"` and `a=~"b|c"`.
    pub fn values(&self) -> Option<Vec<&str>> {
        match self.op {
            MatchOp::Equal => Some(vec![&self.value]),
            MatchOp::Matches => self.pattern.as_ref()?.texts().map(Iterator::collect),
            MatchOp::NotEqual | MatchOp::NotMatches => None,
        }
    }

    /// Whether values are matched by a compiled expression, which may take long.
    pub fn is_slow(&self) -> bool {
        self.pattern_bytes() > 0
    }

    /// Most memory that a compiled expression takes, zero where there is none.
    pub fn pattern_bytes(&self) -> usize {
        self.pattern.as_ref().map_or(0, Pattern::bytes)
    }

    /// Whether the label set passes.
    pub fn matches(&self, labels: &Labels) -> bool {
        let is_value = || labels.get_bytes(&self.name).unwrap_or_default() == self.value.as_bytes();
        match self.op {
            MatchOp::Equal => is_value(),
            MatchOp::NotEqual => !is_value(),
            MatchOp::Matches | MatchOp::NotMatches => self.matches_value(labels.get(&self.name).unwrap_or("")),
        }
    }

    /// Whether a series without this label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches_value("")
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match is_legacy_label_name(&self.name) {
            true => write!(f, "{}{}{}", self.name, self.op.as_str(), Quoted(&self.value)),
            false => write!(f, "{}{}{}", Quoted(&self.name), self.op.as_str(), Quoted(&self.value)),
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_expressions_are_anchored_and_alternatives_stay_inside() {
        let m = Matcher::new("status", MatchOp::Matches, "5..|error").unwrap();
        assert!(m.matches_value("503") && m.matches_value("error"));
        assert!(!m.matches_value("1503") && !m.matches_value("errors"));
    }

    #[test]
    fn nothing_passes_what_has_given_up() {
        let flag = Arc::new(AtomicU8::new(0));
        for op in [MatchOp::Matches, MatchOp::NotMatches] {
            let m = Matcher::new("a", op, "[xy]z").unwrap().until(&flag);
            flag.store(0, Ordering::Relaxed);
            assert!(m.is_slow() && (m.matches_value("xz") ^ m.matches_value("z")));
            flag.store(1, Ordering::Relaxed);
            assert!(m.has_given_up() && !m.matches_value("xz") && !m.matches_value("z"));
        }
    }

    #[test]
    fn an_absent_label_is_the_empty_value() {
        let labels = Labels::from_pairs([("a", "1")]);
        assert!(Matcher::equal("b", "").matches(&labels));
        assert!(Matcher::new("b", MatchOp::NotEqual, "x").unwrap().matches(&labels));
    }
}
