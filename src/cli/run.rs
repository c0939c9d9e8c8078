//! `rivetwatch run`: receive, keep, judge and page until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tracing::{error, info, warn};

use super::CliError;
use crate::app::{App, Origin};

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file; every key is optional. Defaults alone watch an engine on this machine.
    #[arg(short, long, env = "RIVETWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Time for finishing what was accepted after a signal.
    #[arg(long, default_value = "20s", value_parser = super::duration)]
    grace: Duration,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let origin = Origin { path: args.config, env: std::env::vars().collect() };
    let loaded = origin.load();
    super::runtime()?.block_on(async {
        let config = match loaded {
            Ok(config) => config,
            // A sidecar must not hold its engine back: it starts with defaults, and says so until it is put right.
            Err(error) if origin.is_sidecar() => {
                eprintln!(
                    "rivetwatch: {}; running on defaults so that the engine is not held back",
                    crate::model::chain(&error)
                );
                origin.broken_sidecar()
            }
            Err(error) => return Err(CliError::Usage(crate::model::chain(&error))),
        };
        let mut app = App::start(config, origin, crate::app::clock::wall()).await.map_err(|e| CliError::failed(&e))?;
        let code = tokio::select! {
            name = super::ended_by_signal() => {
                info!(signal = name, "stopping");
                ExitCode::SUCCESS
            }
            task = app.failed() => {
                error!(task, "a task ended unexpectedly; stopping");
                ExitCode::FAILURE
            }
        };
        let unfinished = app.stop(args.grace).await;
        if !unfinished.is_empty() {
            warn!(tasks = ?unfinished, "tasks ran past the grace period");
        }
        Ok(code)
    })
}
