//! `rivetwatch rules check|test|export`: the rules as files, without a running agent.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use super::rules_check::{self, RulesCheck};
use super::rules_test::{self, RulesTest};
use crate::export::{relabel, rules as export};
use crate::promql::WindowEdges;
use crate::rules::{TestOptions, builtin_sources};

/// Arguments of `rules`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check rule files: syntax, metrics that cannot exist, conventions. Exit 1 when something is found.
    Check {
        /// Files or patterns; the shipped rules when none is given.
        files: Vec<PathBuf>,
        /// Only what keeps the rules from being loaded.
        #[arg(long)]
        syntax_only: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run promtool's unit-test files. Exit 1 when one fails.
    Test {
        /// Files or patterns.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Let windows hold both edges, as Prometheus 2 does: for files that promtool 2 has to pass as well.
        #[arg(long)]
        closed_windows: bool,
    },
    /// Print the shipped rules for a Prometheus of your own.
    Export {
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Folder for the rule files; without it everything goes to standard output.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Labels of the PrometheusRule that its operator selects by, such as release=kube-prometheus-stack.
        #[arg(long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        /// Namespace of the PrometheusRule.
        #[arg(long)]
        namespace: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Rule files as Prometheus loads them.
    #[default]
    Prometheus,
    /// A PrometheusRule object for the Prometheus operator.
    Prometheusrule,
    /// `metric_relabel_configs` for a Prometheus that scrapes port 6430 itself.
    Relabel,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check { files, syntax_only, json } => {
            let report = RulesCheck { files, syntax_only, ..RulesCheck::default() }.run();
            exit(rules_check::print(&report, json, &mut std::io::stdout().lock()))
        }
        Action::Test { files, json, closed_windows } => {
            let window_edges = if closed_windows { WindowEdges::Closed } else { WindowEdges::HalfOpen };
            let report = RulesTest { files, options: TestOptions { window_edges, ..TestOptions::default() } }.run();
            exit(rules_test::print(&report, json, &mut std::io::stdout().lock()))
        }
        Action::Export { format, dir, labels, namespace } => self::export(format, dir, &labels, namespace),
    }
}

fn exit(written: std::io::Result<i32>) -> Result<ExitCode, CliError> {
    match written {
        Ok(0) => Ok(ExitCode::SUCCESS),
        Ok(_) => Ok(ExitCode::FAILURE),
        Err(error) => Err(CliError::failed(&error)),
    }
}

fn export(
    format: Format,
    dir: Option<PathBuf>,
    labels: &[String],
    namespace: Option<String>,
) -> Result<ExitCode, CliError> {
    let shipped: Vec<export::RuleFile> = builtin_sources()
        .into_iter()
        .map(|source| export::RuleFile {
            name: source.name.trim_start_matches("builtin/").to_owned(),
            text: source.text,
        })
        .collect();
    let files = export::prometheus(&shipped, &export::Changes::default()).map_err(|e| CliError::failed(&e))?;
    let files = match format {
        Format::Prometheus => files,
        Format::Relabel => {
            vec![export::RuleFile {
                name: "metric_relabel_configs.yaml".into(),
                text: relabel::print(relabel::Reader::Prometheus),
            }]
        }
        Format::Prometheusrule => {
            let mut settings = export::PrometheusRuleSettings::default();
            settings.namespace = namespace.or(settings.namespace);
            for label in labels {
                let (name, value) = label
                    .split_once('=')
                    .ok_or_else(|| CliError::Usage(format!("`--label {label}` must be NAME=VALUE")))?;
                settings.labels.insert(name.to_owned(), value.to_owned());
            }
            let text = export::prometheus_rule(&files, &export::Changes::default(), &settings)
                .map_err(|e| CliError::failed(&e))?;
            vec![export::RuleFile { name: "rivetwatch-prometheusrule.yaml".into(), text }]
        }
    };
    for file in files {
        match &dir {
            Some(dir) => {
                let path = dir.join(&file.name);
                std::fs::create_dir_all(dir)
                    .and_then(|()| std::fs::write(&path, &file.text))
                    .map_err(|e| CliError::Failed(format!("failed to write `{}`: {e}", path.display())))?;
                println!("{}", path.display());
            }
            // A reader that goes away early, such as `head`, is no failure.
            None => drop(std::io::stdout().lock().write_all(file.text.as_bytes())),
        }
    }
    Ok(ExitCode::SUCCESS)
}
