//! `rivetwatch rules check [FILE…]`: syntax, unknown metrics, and the conventions of monitoring mixins.
//!
//! In: files, or the rules of the configuration.   Out: findings with their places, as text or JSON.
//! Exit: 0 nothing found, 1 something found.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::rules::{
    Config, Level, LoadError, Names, Reading, Rule, RuleProblem, RuleSet, Source, Thresholds, Tuning, builtin_sources,
    check, expand, load,
};

/// What the command is given.
#[derive(Default)]
pub struct RulesCheck<'a> {
    /// Paths, or patterns with `*` and `?`; empty for the rules of the configuration.
    pub files: Vec<PathBuf>,
    pub config: Config,
    pub thresholds: Thresholds,
    /// Folder of the configuration file, where its relative paths start.
    pub base: PathBuf,
    /// What is known of metric names; `None` leaves them unchecked.
    pub names: Option<&'a Names<'a>>,
    /// Whether only what keeps rules from being loaded is reported.
    pub syntax_only: bool,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct CheckReport {
    pub rules: usize,
    pub alerts: usize,
    pub findings: Vec<RuleProblem>,
}

impl RulesCheck<'_> {
    /// Loads and checks the rules.
    pub fn run(&self) -> CheckReport {
        match self.load() {
            Ok(set) => {
                let mut findings = if self.syntax_only { set.warnings.clone() } else { self.check(&set) };
                findings.sort_by(|a, b| (a.level, &a.file, a.line).cmp(&(b.level, &b.file, b.line)));
                CheckReport { rules: set.rules.len(), alerts: set.alerting_count(), findings }
            }
            Err(e) => CheckReport { rules: 0, alerts: 0, findings: e.problems },
        }
    }

    /// Files of one's own stand beside the shipped ones, so what those record is there to be read.
    fn check(&self, set: &RuleSet) -> Vec<RuleProblem> {
        let Some(names) = self.names.filter(|_| !self.files.is_empty()) else { return check(set, self.names) };
        let shipped = load(&builtin_sources(), &Tuning::default()).unwrap_or_default();
        let recorded: HashSet<&str> =
            shipped.rules.iter().filter(|r| r.alerting().is_none()).map(|r| r.name.as_str()).collect();
        let with_shipped = |rule: &Rule, name: &str| match recorded.contains(name) {
            true => Reading::Fine,
            false => names(rule, name),
        };
        check(set, Some(&with_shipped))
    }

    fn load(&self) -> Result<RuleSet, LoadError> {
        if self.files.is_empty() {
            return self.config.load(&self.base, &self.thresholds);
        }
        let (mut sources, mut problems) = (Vec::new(), Vec::new());
        for pattern in &self.files {
            let found = expand(pattern);
            if found.is_empty() {
                problems.push(RuleProblem::in_file(&pattern.display().to_string(), None, "matches no file"));
            }
            for path in found {
                match source(&path) {
                    Ok(source) => sources.push(source),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        let strict = Tuning { refuse_duplicates: true, ..Tuning::default() };
        match (load(&sources, &strict), problems.is_empty()) {
            (result, true) => result,
            (result, false) => {
                problems.extend(result.err().map(|e| e.problems).unwrap_or_default());
                Err(LoadError { problems })
            }
        }
    }
}

fn source(path: &Path) -> Result<Source, RuleProblem> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Source { name, text }),
        Err(e) => Err(RuleProblem::in_file(&name, None, format!("failed to read the rule file: {e}"))),
    }
}

impl fmt::Display for CheckReport {
    /// One finding a paragraph, then how many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let level = match finding.level {
                Level::Error => "error",
                Level::Warning => "warning",
            };
            writeln!(f, "{level}: {finding}")?;
        }
        let errors = self.findings.iter().filter(|f| f.level == Level::Error).count();
        match (errors, self.findings.len() - errors) {
            (0, 0) => writeln!(f, "{} rules, {} of them alerts: nothing found", self.rules, self.alerts),
            (errors, warnings) => writeln!(f, "{errors} errors, {warnings} warnings"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_ones_own_may_read_what_the_shipped_ones_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.yaml");
        let text =
            "groups: [{name: a, rules: [{record: 'a:b:c', expr: 'rivet:cpu_usage:cores > rivet:no_such:cores'}]}]";
        std::fs::write(&path, text).unwrap();
        let names = |_: &Rule, name: &str| Reading::Missing(format!("`{name}` is unknown"));
        let report = RulesCheck { files: vec![path], names: Some(&names), ..RulesCheck::default() }.run();
        let [found] = report.findings.as_slice() else { panic!("{report}") };
        assert!(found.message.starts_with("`rivet:no_such:cores` is unknown"), "{found}");
    }
}
