//! `rivetwatch health`: is the local agent alive? Exit 0 or 1, for exec probes.

use std::process::ExitCode;

use super::CliError;
use super::client::AgentArgs;

/// Arguments of `health`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    agent: AgentArgs,
    /// Ask whether it is ready for traffic instead of alive.
    #[arg(long)]
    ready: bool,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let path = if args.ready { "/readyz" } else { "/livez" };
    let answer = args.agent.send(reqwest::Method::GET, path, &[], None)?;
    println!("{}", answer.body.trim_end());
    Ok(if answer.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
