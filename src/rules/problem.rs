//! A mistake in a rule file, worded and placed so that its author can put it right.

use std::fmt;

/// Whether a mistake keeps the rules from being loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The set is not loaded.
    Error,
    /// The set is loaded as it is; `rules check` still counts it as a finding.
    Warning,
}

/// One mistake and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RuleProblem {
    pub level: Level,
    pub file: String,
    /// Line in the file, from 1, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Name of the rule, or `rule N` (from 1) where it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// What is wrong; for expressions the query and a caret follow on lines of their own.
    pub message: String,
}

impl RuleProblem {
    /// A mistake in `file` as a whole.
    pub fn in_file(file: &str, line: Option<u32>, message: impl Into<String>) -> Self {
        Self { level: Level::Error, file: file.into(), line, group: None, rule: None, message: message.into() }
    }

    /// The same, in a group.
    pub fn group(mut self, name: &str) -> Self {
        self.group = Some(name.to_owned());
        self
    }

    /// The same, in a rule.
    pub fn rule(mut self, name: &str) -> Self {
        self.rule = Some(name.to_owned());
        self
    }

    /// The same, not keeping the rules from being loaded.
    pub fn warning(mut self) -> Self {
        self.level = Level::Warning;
        self
    }
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(group) = &self.group {
            write!(f, ": group `{group}`")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "{} `{rule}`", if self.group.is_some() { ", rule" } else { ": rule" })?;
        }
        write!(f, ": {}", self.message)
    }
}
