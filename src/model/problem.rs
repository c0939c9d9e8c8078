//! One mistake in a configuration, worded so that its reader can put it right.

use std::fmt;

/// A mistake found while validating: which key, which rule it breaks, what was given.
///
/// Validation collects every problem before it gives up, so that one start shows all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the key, e.g. `receive.otlp.grpc.endpoint`.
    pub key: String,
    /// The rule and the value, e.g. "must be at least 1s, got 10ms".
    pub rule: String,
}

impl Problem {
    /// A problem with `key`; `rule` completes the sentence that begins with the key.
    pub fn new(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { key: key.into(), rule: rule.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key, self.rule)
    }
}
