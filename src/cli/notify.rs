//! `rivetwatch notify test RECEIVER`: does the way to each target of a receiver work?

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::CliError;
use super::output::{Output, print_table};
use crate::notify::{Outcome, trial};

/// Arguments of `notify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Send a page and its resolve to every target of a receiver, past routes and silences. Exit 1 when one is refused.
    Test {
        /// Names of receivers; every receiver of the configuration when none is given.
        receivers: Vec<String>,
        /// The configuration file.
        #[arg(short, long, env = "RIVETWATCH_CONFIG")]
        config: Option<PathBuf>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

/// What one target made of it.
#[derive(Debug, Serialize)]
struct Row {
    receiver: String,
    target: String,
    page: String,
    resolve: Option<String>,
    is_fine: bool,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let Action::Test { receivers, config, output } = args.action;
    let origin = crate::app::Origin { path: config, env: std::env::vars().collect() };
    let config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let settings = crate::app::notify_settings(&config).map_err(CliError::Usage)?;
    let known = || settings.receivers.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let names = match receivers.is_empty() {
        true => settings.receivers.keys().cloned().collect(),
        false => receivers,
    };
    if let Some(name) = names.iter().find(|name| !settings.receivers.contains_key(*name)) {
        return Err(CliError::Usage(format!("there is no receiver `{name}`; the configuration has {}", known())));
    }
    let now = crate::app::clock::wall().now();
    let mut rows = Vec::new();
    for name in &names {
        let trials = super::block_on(trial::send(&settings, name, now))?.unwrap_or_default();
        rows.extend(trials.into_iter().map(|trial| Row {
            receiver: name.clone(),
            target: trial.integration,
            is_fine: is_accepted(&trial.trigger) && trial.resolve.as_ref().is_none_or(is_accepted),
            page: told(&trial.trigger),
            resolve: trial.resolve.as_ref().map(told),
        }));
    }
    output.print(&rows, |rows| table(rows))?;
    Ok(if !rows.is_empty() && rows.iter().all(|row| row.is_fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_accepted(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Answered { status: 200..=299, .. })
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Answered { status: 200..=299, .. } => "accepted".into(),
        Outcome::Answered { status, body, .. } => format!("refused with status {status}: {}", body.trim()),
        Outcome::Failed { what, .. } | Outcome::Unusable { what } => format!("failed: {what}"),
    }
}

fn table(rows: &[Row]) {
    if rows.is_empty() {
        return println!("No receiver has a target: nobody would be paged.");
    }
    let cells = |row: &Row| {
        vec![row.receiver.clone(), row.target.clone(), row.page.clone(), row.resolve.clone().unwrap_or("-".into())]
    };
    print_table(&["RECEIVER", "TARGET", "PAGE", "RESOLVE"], &rows.iter().map(cells).collect::<Vec<_>>());
}
