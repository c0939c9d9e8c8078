//! `rivetwatch capacity`: how much room is left, from a running agent; and autoscalers for the engines.

mod export;
mod show;

use std::process::ExitCode;

use super::CliError;
use super::client::AgentArgs;
use super::output::Output;
use crate::capacity::WhatIf;

/// Arguments of `capacity`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Say what would be: `replicas=4,traffic=2x,target.cpu=60%,target.memory=75%,min=2,max=12`.
    #[arg(long, value_name = "KEY=VALUE,…")]
    what_if: Option<String>,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Print an autoscaler for the engines, ready for `kubectl apply -f -`.
    Export(export::Args),
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if let Some(Action::Export(export)) = args.action {
        return export::run(export);
    }
    let mut query = Vec::new();
    if let Some(text) = &args.what_if {
        // A typing mistake is told before anybody is asked.
        WhatIf::parse(text).map_err(|e| CliError::Usage(format!("--what-if: {e}")))?;
        query.push(("what_if", text.as_str()));
    }
    let report = args.agent.get("/api/v1/capacity", &query)?;
    args.output.print(&report["data"], show::tables)?;
    Ok(ExitCode::SUCCESS)
}
