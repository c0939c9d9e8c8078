//! `rivetwatch alerts`: what is firing and pending on a running agent; `alerts why` explains one.

use std::process::ExitCode;

use serde_json::Value;

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, print_table};
use super::why;

/// Arguments of `alerts`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Exit 1 when an alert of severity critical is firing.
    #[arg(long)]
    fail_on_critical: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say why an alert fires, is pending or is silent: each part of its expression with its value now.
    Why(why::Args),
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if let Some(Command::Why(args)) = &args.command {
        return why::run(args).map(|()| ExitCode::SUCCESS);
    }
    let answer = args.agent.get("/api/v1/alerts", &[])?;
    let alerts = &answer["data"]["alerts"];
    args.output.print(alerts, table)?;
    let is_critical = |alert: &Value| alert["state"] == "firing" && alert["labels"]["severity"] == "critical";
    let found = alerts.as_array().into_iter().flatten().any(is_critical);
    Ok(if args.fail_on_critical && found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(alerts: &Value) {
    let empty = Vec::new();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let row = |alert: &Value| {
        let labels = &alert["labels"];
        let subject = ["instance", "pool_name", "job"].iter().map(|l| text(&labels[*l])).find(|v| !v.is_empty());
        // An alert of many signals is told apart by the signal alone.
        let subject = [subject.unwrap_or_default(), text(&labels["signal"])].join(" ");
        vec![
            text(&alert["state"]),
            text(&labels["severity"]),
            text(&labels["alertname"]),
            subject.trim().to_owned(),
            text(&alert["activeAt"]).get(..19).unwrap_or_default().replace('T', " "),
            text(&alert["annotations"]["summary"]),
        ]
    };
    let rows: Vec<_> = alerts.as_array().unwrap_or(&empty).iter().map(row).collect();
    match rows.is_empty() {
        true => println!("No alert is firing or pending."),
        false => print_table(&["STATE", "SEVERITY", "ALERT", "OF", "SINCE", "SUMMARY"], &rows),
    }
}
