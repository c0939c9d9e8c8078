//! `rivetwatch rules check|test|mutate|export`: the rules as files, without a running agent.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::CliError;
use super::output::Output;
use super::rules_check::RulesCheck;
use super::rules_export;
use super::rules_names::{self, Release};
use super::rules_test::RulesTest;
use crate::app::Origin;
use crate::promql::WindowEdges;
use crate::rules::{Mutants, Rule, TestOptions};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check rule files: syntax, metrics that no engine sends or that mislead, conventions. Exit 1 when something is found.
    Check {
        /// Files or patterns; the shipped rules when none is given.
        files: Vec<PathBuf>,
        /// The configuration whose rules are checked, when no file is given.
        #[arg(short, long, env = "RIVETWATCH_CONFIG")]
        config: Option<PathBuf>,
        /// Report metrics that this release of the engine does not send; by default those that none sends.
        #[arg(long, value_enum, value_name = "RELEASE")]
        engine_release: Option<Release>,
        /// Only what keeps the rules from being loaded.
        #[arg(long)]
        syntax_only: bool,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Run promtool's unit-test files. Exit 1 when one fails.
    Test {
        /// Files or patterns.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        /// Let windows hold both edges, as Prometheus 2 does: for files that promtool 2 has to pass as well.
        #[arg(long)]
        closed_windows: bool,
    },
    /// Change rules in small ways and see whether their unit tests notice. Exit 1 when too few changes are noticed.
    Mutate {
        /// The plan: rule files, test files, changes, and mutants that mean the same (see tests/rules/mutation.yaml).
        plan: PathBuf,
        /// Try the plan's seeded sample only.
        #[arg(long)]
        sample: bool,
        /// Try only rules whose name holds this text.
        #[arg(long, value_name = "TEXT")]
        rule: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Print the rules for a Prometheus, vmalert or Grafana of your own.
    Export(rules_export::Args),
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check { files, config, engine_release, syntax_only, output } => {
            let names = |rule: &Rule, name: &str| rules_names::judge(engine_release, rule, name);
            let mut check = RulesCheck { files, syntax_only, names: Some(&names), ..RulesCheck::default() };
            if config.is_some() {
                let origin = Origin { path: config, env: std::env::vars().collect() };
                let config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
                (check.config, check.thresholds) = (config.rules, config.thresholds);
                check.base = origin.base().to_owned();
            }
            let report = check.run();
            output.print(&report, |report| print!("{report}"))?;
            Ok(exit(report.findings.is_empty()))
        }
        Action::Test { files, output, closed_windows } => {
            let window_edges = if closed_windows { WindowEdges::Closed } else { WindowEdges::HalfOpen };
            let report = RulesTest { files, options: TestOptions { window_edges, ..TestOptions::default() } }.run();
            for warning in report.files.iter().flat_map(|file| &file.warnings) {
                eprintln!("  WARNING: {warning}");
            }
            output.print(&report, |report| print!("{report}"))?;
            Ok(exit(report.is_success()))
        }
        Action::Mutate { plan, sample, rule, output } => mutate(&plan, sample, rule.as_deref(), output),
        Action::Export(args) => rules_export::run(args),
    }
}

fn exit(is_success: bool) -> ExitCode {
    if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn mutate(plan: &Path, sample: bool, rule: Option<&str>, output: Output) -> Result<ExitCode, CliError> {
    let mutants = Mutants::read(plan).map_err(CliError::Usage)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let report = mutants.run(sample, rule, threads).map_err(CliError::Failed)?;
    output.print(&report, |report| print!("{report}"))?;
    Ok(exit(report.is_success()))
}
