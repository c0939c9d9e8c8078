//! promtool's unit tests for rules: `rivetwatch rules test`.
//!
//! In:  test files, and the rule files that they name.   Out: a report that reads as promtool's.
//! Always: time begins at zero and goes on by `evaluation_interval`; only input up to the last evaluation
//! is seen, as in promtool. Groups follow `group_eval_order`; without it, the graph decides.

mod compare;
mod format;
mod prepare;
mod run;

use std::fmt;
use std::path::Path;

use serde::Serialize;

pub(super) use self::prepare::Prepared;
pub(super) use self::run::Test;
use crate::promql::WindowEdges;

/// How tests are run.
#[derive(Clone, Debug, Default)]
pub struct TestOptions {
    /// Only tests whose name holds this text; all without it.
    pub run: Option<String>,
    /// Edges of range windows; those of Prometheus 2 are for comparing with its promtool.
    pub window_edges: WindowEdges,
    /// Whether experimental functions may be used.
    pub experimental: bool,
    /// Whether a test evaluates only the rules that what it expects can depend on. Much quicker with large sets; a rule
    /// that fails without being asked for goes unseen.
    pub only_needed: bool,
}

/// What became of all files.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TestReport {
    pub files: Vec<FileReport>,
}

/// What became of one file.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    pub file: String,
    /// Tests that ran.
    pub tests: usize,
    /// What looks wrong and fails nothing: patterns of `rule_files` that match no file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// One text for each failure, indented as promtool prints it.
    pub failures: Vec<String>,
}

impl TestReport {
    /// Whether nothing failed.
    pub fn is_success(&self) -> bool {
        self.files.iter().all(|f| f.failures.is_empty())
    }
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.files {
            writeln!(f, "Unit Testing:  {}", file.file)?;
            match file.failures.is_empty() {
                true => writeln!(f, "  SUCCESS")?,
                false => writeln!(f, "  FAILED:")?,
            }
            for failure in &file.failures {
                writeln!(f, "{failure}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Runs the tests of every file.
pub fn test_files<P: AsRef<Path>>(files: &[P], options: &TestOptions) -> TestReport {
    TestReport { files: files.iter().map(|file| test_file(file.as_ref(), options)).collect() }
}

fn test_file(path: &Path, options: &TestOptions) -> FileReport {
    let mut report =
        FileReport { file: path.display().to_string(), tests: 0, warnings: Vec::new(), failures: Vec::new() };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            report.failures.push(format!("failed to read the test file: {e}"));
            return report;
        }
    };
    run::file(path, &text, options, &mut report);
    report
}

#[cfg(test)]
mod tests;
