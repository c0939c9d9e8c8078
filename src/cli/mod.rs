//! The command line: one file a command, each parses its arguments, calls the library and prints.
//!
//! Always: data on standard output, progress and errors on standard error; exit 0 fine, 1 a finding or failure, 2 wrong usage.

mod alerts;
mod capacity;
mod check;
mod client;
mod config;
mod dashboards;
mod demo;
mod documents;
mod health;
mod instances;
mod notify;
mod output;
mod plot;
pub mod promqltest;
mod query;
mod rules;
pub mod rules_check;
mod rules_export;
mod rules_names;
pub mod rules_test;
mod run;
mod silence;
mod simulate;
mod spinner;
mod why;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use output::Output;

/// The monitoring agent for self-hosted Rivet Engine: OTLP in, alerts, capacity and dashboards out.
#[derive(Debug, Parser)]
#[command(name = "rivetwatch", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receive, keep, judge and page until stopped.
    Run(run::Args),
    /// Show everything at work: simulated engines, an incident, its page and its resolve. No set-up.
    Demo(demo::Args),
    /// Go through the production checklist: is the engine set up right, by everything that can be seen of it?
    Check(Box<check::Args>),
    /// Say how much room is left, from a running agent.
    Capacity(capacity::Args),
    /// List the alerts of a running agent, or say why one fires or does not.
    Alerts(alerts::Args),
    /// List the instances of a running agent, or say that one is gone for good.
    Instances(instances::Args),
    /// Mute alerts: add, list and expire silences of a running agent.
    Silence(silence::Args),
    /// Evaluate a PromQL query on a running agent.
    Query(query::Args),
    /// Check, test and export alerting rules.
    Rules(rules::Args),
    /// Write the Grafana dashboards.
    Dashboards(dashboards::Args),
    /// Rehearse incidents, or play recorded scrapes, in virtual time: who would be paged, and when.
    Simulate(simulate::Args),
    /// Check and show the configuration.
    Config(config::Args),
    /// Ask the local agent whether it is alive, for exec probes.
    Health(health::Args),
    /// Try the way to the receivers of the configuration.
    Notify(notify::Args),
    /// Run PromQL test scripts in Prometheus' own format.
    Promqltest(promqltest::Args),
    /// Print a completion script for a shell.
    Completions(documents::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(documents::ManArgs),
}

/// Why a command could not do its work, for standard error.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The words or files given are wrong: exit 2.
    #[error("{0}")]
    Usage(String),
    /// The work failed: exit 1.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// A failure whose text is the error and its causes.
    pub fn failed(error: &dyn std::error::Error) -> Self {
        Self::Failed(crate::model::chain(error))
    }
}

/// Parses the process' arguments and runs the command.
pub fn main() -> ExitCode {
    leave_quietly_when_nobody_reads();
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Check(args) => check::run(*args),
        Command::Capacity(args) => capacity::run(args),
        Command::Alerts(args) => alerts::run(args),
        Command::Instances(args) => instances::run(args),
        Command::Silence(args) => silence::run(args),
        Command::Query(args) => query::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Dashboards(args) => dashboards::run(args),
        Command::Simulate(args) => simulate::run(args),
        Command::Config(args) => config::run(args),
        Command::Health(args) => health::run(args),
        Command::Notify(args) => notify::run(args),
        Command::Promqltest(args) => promqltest::command(args),
        Command::Completions(args) => documents::completions(args),
        Command::Man(args) => documents::man(args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("rivetwatch: {error}");
            ExitCode::from(match error {
                CliError::Usage(_) => 2,
                CliError::Failed(_) => 1,
            })
        }
    }
}

/// A reader such as `head` that has seen enough is no fault of ours: print macros panic then, with a trace.
fn leave_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or("");
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            // What a process has that SIGPIPE ends.
            std::process::exit(141);
        }
        usual(panic);
    }));
}

/// The runtime of long-running commands: one worker for each core.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| CliError::failed(&e))
}

/// Runs one request to its end.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|e| CliError::failed(&e))?.block_on(work))
}

/// Reads a duration such as `30s` from an argument.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let ms =
        crate::model::parse_duration_ms(text).ok_or_else(|| format!("`{text}` is not a duration such as 30s or 5m"))?;
    Ok(std::time::Duration::from_millis(ms.unsigned_abs()))
}

/// Completes when the process is asked to end, with the name of the signal.
async fn ended_by_signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        },
        _ => std::future::pending().await,
    }
}
