//! `rivetwatch promqltest FILE…`: runs PromQL test scripts.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use crate::promql::testing::run_script;

/// Arguments of `promqltest`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scripts in Prometheus' own format.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Show each failure with what was expected and got.
    #[arg(short, long)]
    verbose: bool,
}

/// The command: exit 1 when a case failed.
pub fn command(args: Args) -> Result<ExitCode, CliError> {
    match run(&args.files, args.verbose, &mut std::io::stdout().lock()) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => Err(CliError::failed(&error)),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(script: &str, verbose: bool) -> (bool, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script.test");
        std::fs::write(&file, script).unwrap();
        let mut out = Vec::new();
        let passed = run(&[file], verbose, &mut out).unwrap();
        (passed, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_passing_script_is_two_lines() {
        let (passed, out) = run_on("load 1m\n  up 1\n\neval instant at 0 up\n  up 1\n", true);
        assert!(passed);
        assert_eq!(out, "script.test: 1 passed, 0 failed\n1 passed, 0 failed\n");
    }

    #[test]
    fn failures_are_shown_with_expected_and_got_when_asked_for() {
        let script = "load 1m\n  up 1\n\neval instant at 0 up\n  up 2\n\neval instant at 0 up{\n  up 1\n";
        let (passed, out) = run_on(script, false);
        assert!(!passed);
        assert_eq!(out, "script.test: 0 passed, 2 failed\n0 passed, 2 failed\n");
        let (_, out) = run_on(script, true);
        assert!(out.contains("script.test:4: up\n    at 0 ms: {__name__=\"up\"}: expected 2, got 1"), "{out}");
        assert!(out.contains("parse error"), "{out}");
    }

    #[test]
    fn a_missing_file_is_a_failure() {
        let mut out = Vec::new();
        assert!(!run(&[PathBuf::from("/nonexistent.test")], false, &mut out).unwrap());
        assert!(String::from_utf8(out).unwrap().ends_with("0 passed, 1 failed\n"));
    }
}
