//! `rivetwatch config check`: is the configuration right? `config show`: what is in force, defaults and all.

use std::path::PathBuf;
use std::process::ExitCode;

use super::CliError;
use super::output::Output;

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
    /// Print the configuration in force: the file, the environment over it, and the defaults under both. Secrets are
    /// not shown.
    Show {
        /// The configuration file.
        #[arg(short, long, env = "RIVETWATCH_CONFIG")]
        config: Option<PathBuf>,
        /// How it is printed.
        #[arg(short, long, value_enum, default_value_t = Form::Yaml)]
        output: Form,
    },
}

/// The forms of a configuration; a table is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Yaml,
    Json,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Check { config } => check(config),
        Action::Show { config, output } => show(config, output),
    }
}

fn show(path: Option<PathBuf>, output: Form) -> Result<ExitCode, CliError> {
    let env: Vec<(String, String)> = std::env::vars().collect();
    let shown = crate::config::shown(path.as_deref(), &env).map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    match output {
        Form::Yaml => Output::Yaml.print(&shown, |_| ())?,
        Form::Json => Output::Json.print(&shown, |_| ())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: Option<PathBuf>) -> Result<ExitCode, CliError> {
    let origin = crate::app::Origin { path, env: std::env::vars().collect() };
    let config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let set =
        config.rules.load(origin.base(), &config.thresholds).map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let routes = crate::app::notify_settings(&config).map_err(CliError::Usage)?;
    // As it is delivered: an Alertmanager's file stands in for what is not written here.
    let notify = config.notify.with_file().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    println!("The configuration is valid: {} rules, {} receivers.", set.rules.len(), notify.receivers.len());
    let (file, at) = match &config.notify.config_file {
        Some(file) => (format!("{}: ", file.display()), ""),
        None => (String::new(), "notify"),
    };
    for warning in notify.warnings(at) {
        eprintln!("warning: {file}{warning}");
    }
    for warning in set.warnings.iter().map(ToString::to_string).chain(routes.unreadable_files()) {
        eprintln!("warning: {warning}");
    }
    Ok(ExitCode::SUCCESS)
}
