//! The data file of mutation testing: which rules, which tests, which changes, and what no test can tell apart.
//!
//! In: YAML beside the tests (`tests/rules/mutation.yaml`).   Out: a [`Plan`]; unknown fields are refused.

use std::path::Path;

use serde::Deserialize;

use super::operators::{Mutation, Operator};

/// What is mutated and by what it is judged. Paths start at the folder of the data file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Rule files: paths or patterns.
    pub rule_files: Vec<String>,
    /// promtool's unit-test files that name them: paths or patterns.
    pub test_files: Vec<String>,
    /// Names of test files that are left out, such as those that run everything.
    #[serde(default)]
    pub skip_test_files: Vec<String>,
    /// Names of rules that are left out; `*` stands for anything.
    #[serde(default)]
    pub skip_rules: Vec<Skip>,
    pub operators: Vec<Operator>,
    /// By what share of itself a number is changed.
    pub shift: f64,
    /// The least share of mutants that must be found.
    pub score_min: f64,
    /// Seed of a sample.
    pub seed: u64,
    /// Mutants in a sample.
    pub sample: usize,
    /// Mutants that mean the same as the rule.
    #[serde(default)]
    pub equivalent: Vec<Equivalent>,
}

/// Rules that are not mutated.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    pub rule: String,
    pub reason: String,
}

/// Mutants that no test could tell from the rule.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Equivalent {
    /// Name of the rule; `*` stands for anything.
    pub rule: String,
    pub operator: Operator,
    /// The words of the mutant; `*` stands for anything.
    pub what: String,
    /// Which of several in the rule, from 1; all of them without it.
    #[serde(default)]
    pub at: Vec<usize>,
    pub reason: String,
}

impl Plan {
    /// Reads the data file.
    ///
    /// # Errors
    /// The file cannot be read or is not a plan, or a number is out of its bounds; with the file's name.
    pub fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("failed to read `{file}`: {e}"))?;
        let options = serde_saphyr::options! { with_snippet: false };
        let plan: Self = serde_saphyr::from_str_with_options(&text, options).map_err(|e| format!("`{file}`: {e}"))?;
        for (key, value) in [("shift", plan.shift), ("score_min", plan.score_min)] {
            if !(value > 0.0 && value <= 1.0) {
                return Err(format!("`{file}`: `{key}` must be above 0 and at most 1, got {value}"));
            }
        }
        let equivalent = plan.equivalent.iter().map(|e| ("equivalent", &e.rule, &e.reason));
        let reasons = equivalent.chain(plan.skip_rules.iter().map(|s| ("skip_rules", &s.rule, &s.reason)));
        for (key, rule, reason) in reasons {
            if reason.trim().is_empty() {
                return Err(format!("`{file}`: `{key}` of rule `{rule}` gives no reason"));
            }
        }
        Ok(plan)
    }
}

impl Equivalent {
    /// Whether it speaks of this mutation of the rule `rule`.
    pub fn is_about(&self, rule: &str, mutation: &Mutation) -> bool {
        self.operator == mutation.operator
            && matches_pattern(&self.rule, rule)
            && matches_pattern(&self.what, &mutation.what)
            && (self.at.is_empty() || self.at.contains(&mutation.at))
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything.
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|tail| {
            tail.char_indices().map(|(i, _)| i).chain([tail.len()]).any(|i| matches_pattern(rest, &tail[i..]))
        }),
    }
}
