//! `rivetwatch config check`: is the configuration right, with every mistake in one pass?

use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;

/// Arguments of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Check the file, the environment, the rules and the routes; exit 2 with every mistake named.
    Check {
        /// The configuration file.
        #[arg(short, long, env = "RIVETWATCH_CONFIG")]
        config: Option<PathBuf>,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let Action::Check { config } = args.action;
    let origin = crate::app::Origin { path: config, env: std::env::vars().collect() };
    let config = origin.load().map_err(|e| CliError::Usage(crate::app::chain(&e)))?;
    let set =
        config.rules.load(origin.base(), &config.thresholds).map_err(|e| CliError::Usage(crate::app::chain(&e)))?;
    crate::app::notify_settings(&config).map_err(CliError::Usage)?;
    println!("The configuration is valid: {} rules, {} receivers.", set.rules.len(), config.notify.receivers.len());
    for warning in config.notify.warnings("notify") {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}
