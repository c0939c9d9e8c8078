//! `rivetwatch rules test FILE…`: runs promtool's unit-test files.
//!
//! In: files or patterns.   Out: a report that reads as promtool's, or JSON.   Exit: 0 passed, 1 failed.

use std::path::{Path, PathBuf};

use crate::rules::{TestOptions, TestReport, expand, test_files};

/// What the command is given.
#[derive(Clone, Debug, Default)]
pub struct RulesTest {
    /// Paths, or patterns with `*` and `?`.
    pub files: Vec<PathBuf>,
    pub options: TestOptions,
}

impl RulesTest {
    /// Runs every test.
    pub fn run(&self) -> TestReport {
        let files: Vec<PathBuf> = self.files.iter().flat_map(|pattern| matched(pattern)).collect();
        test_files(&files, &self.options)
    }
}

/// A pattern that matches nothing stays, so that it is reported as a file that is not there.
fn matched(pattern: &Path) -> Vec<PathBuf> {
    let found = expand(pattern);
    if found.is_empty() { vec![pattern.to_owned()] } else { found }
}
