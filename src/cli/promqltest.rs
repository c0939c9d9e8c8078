//! `rivetwatch promqltest FILE…`: runs PromQL test scripts.

use std::io::Write;
use std::path::PathBuf;

use crate::promql::testing::run_script;

/// Runs the scripts and writes, to `out`, a line for each file and the sum; with `verbose` also each failure with
/// what was expected and got. True when everything passed; a file that cannot be read counts as a failure.
///
/// # Errors
/// `out` cannot be written.
pub fn run(files: &[PathBuf], verbose: bool, out: &mut dyn Write) -> std::io::Result<bool> {
    let (mut passed, mut failed) = (0, 0);
    for file in files {
        let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                writeln!(out, "{name}: failed to read `{}`: {error}", file.display())?;
                failed += 1;
                continue;
            }
        };
        let report = run_script(&text);
        writeln!(out, "{name}: {} passed, {} failed", report.passed(None), report.failed(None))?;
        passed += report.passed(None);
        failed += report.failed(None);
        if verbose {
            for outcome in &report.outcomes {
                if let Some(failure) = &outcome.failure {
                    writeln!(
                        out,
                        "  {name}:{}: {}\n    {}",
                        outcome.line,
                        outcome.query,
                        failure.replace('\n', "\n    ")
                    )?;
                }
            }
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok(failed == 0)
}
