//! A condition on one label, as in `{job="rivet", path=~"/actors.*"}`.

use std::fmt;

use regex::Regex;

use super::Labels;
use super::labels::{Quoted, is_legacy_label_name};

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
    regex: Option<Regex>,
}

impl Matcher {
    /// A matcher for `name`; compiles `value` where `op` is a regular expression.
    ///
    /// # Errors
    /// The expression does not compile or would need more than 10 MB once compiled.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, MatcherError> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::NotMatches => Some(
                Regex::new(&format!("^(?s:{value})$"))
                    .map_err(|e| MatcherError::Regex { pattern: value.clone(), source: Box::new(e) })?,
            ),
        };
        Ok(Self { name: name.into(), op, value, regex })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), regex: None }
    }

    /// Whether a label with this value passes.
    pub fn matches_value(&self, value: &str) -> bool {
        let is_regex_match = || self.regex.as_ref().is_some_and(|r| r.is_match(value));
        match self.op {
            MatchOp::Equal => value == self.value,
            MatchOp::NotEqual => value != self.value,
            MatchOp::Matches => is_regex_match(),
            MatchOp::NotMatches => !is_regex_match(),
        }
    }

    /// Whether the label set passes.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or(""))
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
    fn an_absent_label_is_the_empty_value() {
        let labels = Labels::from_pairs([("a", "1")]);
        assert!(Matcher::equal("b", "").matches(&labels));
        assert!(Matcher::new("b", MatchOp::NotEqual, "x").unwrap().matches(&labels));
    }
}
