//! `rivetwatch capacity`: how much room is left, from a running agent.

use std::process::ExitCode;

use serde_json::Value;

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, human, human_seconds, print_table};

/// Arguments of `capacity`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    agent: AgentArgs,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let report = args.agent.get("/api/v1/capacity", &[])?;
    args.output.print(&report["data"], table)?;
    Ok(ExitCode::SUCCESS)
}

fn table(report: &Value) {
    let empty = Vec::new();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let number = |v: &Value| v.as_f64().map_or_else(|| "unknown".to_owned(), human);
    let percent = |v: &Value| v.as_f64().map_or_else(|| "unknown".to_owned(), |r| format!("{:.1}%", r * 100.0));
    if let Some(binding) = report["binding"].as_object() {
        println!(
            "Nearest limit: {} of {}, {} left\n",
            text(&binding["resource"]),
            text(&binding["subject"]),
            percent(&binding["headroom_ratio"])
        );
    }
    let row = |row: &Value| {
        let full = row["time_to_full_seconds"].as_f64().map_or_else(|| "-".to_owned(), human_seconds);
        let used = format!("{} {}", number(&row["used"]), text(&row["unit"]));
        let cells = [&row["resource"], &row["subject"]].map(text);
        let [resource, subject] = cells;
        let (limit, source) = (number(&row["limit"]), text(&row["limit_source"]));
        vec![resource, subject, used, limit, source, percent(&row["headroom_ratio"]), full, text(&row["note"])]
    };
    let rows: Vec<_> = report["rows"].as_array().unwrap_or(&empty).iter().map(row).collect();
    print_table(&["RESOURCE", "OF", "USED", "LIMIT", "SOURCE", "HEADROOM", "FULL IN", "NOTE"], &rows);
    let scaling = |row: &Value| {
        let replicas = [&row["replicas"], &row["wanted_replicas"]].map(|v| v.to_string());
        let [now, wanted] = replicas;
        vec![text(&row["resource"]), percent(&row["utilization"]), percent(&row["target"]), now, wanted]
    };
    let rows: Vec<_> = report["autoscaling"].as_array().unwrap_or(&empty).iter().map(scaling).collect();
    if !rows.is_empty() {
        println!();
        print_table(&["AUTOSCALING BY", "UTILIZATION", "TARGET", "REPLICAS", "WANTED"], &rows);
    }
}
