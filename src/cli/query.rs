//! `rivetwatch query`: evaluates PromQL on a running agent.

use std::process::ExitCode;

use serde_json::Value;

use super::client::AgentArgs;
use super::output::{Output, print_table};
use super::plot::{plot, sparkline};
use super::{CliError, output};
use crate::model::{Labels, TimestampMs, parse_duration_ms};

/// Arguments of `query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The PromQL expression.
    expr: String,
    /// Evaluate over this much of the past, such as 1h.
    #[arg(long, value_parser = positive_duration)]
    range: Option<i64>,
    /// Time between two points of the range; by default as many points as a sparkline has room for.
    #[arg(long, value_parser = positive_duration, requires = "range")]
    step: Option<i64>,
    /// Evaluate at, or up to, this time instead of now: RFC 3339 or Unix seconds.
    #[arg(long, value_parser = time)]
    at: Option<f64>,
    /// Draw each series of the range as a plot instead of a sparkline.
    #[arg(long, requires = "range")]
    plot: bool,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    agent: AgentArgs,
}

fn positive_duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| format!("`{text}` is not a duration such as 30m or 1h"))
}

fn time(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite());
    seconds
        .or_else(|| TimestampMs::from_rfc3339(text).map(TimestampMs::as_secs_f64))
        .ok_or_else(|| format!("`{text}` is neither a time such as 2026-01-31T13:00:00Z nor Unix seconds"))
}

/// Points that a sparkline has room for.
const COLUMNS: i64 = 60;

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    // Parsed here, too, because the answer of an agent has no room for a caret under the mistake.
    crate::promql::parse(&args.expr).map_err(|error| CliError::Usage(error.render()))?;
    let text = |seconds: f64| seconds.to_string();
    let answer = match (args.range, args.at) {
        (None, None) => args.agent.get("/api/v1/query", &[("query", &args.expr)])?,
        (None, Some(at)) => args.agent.get("/api/v1/query", &[("query", &args.expr), ("time", &text(at))])?,
        (Some(range_ms), at) => {
            let end = at.map_or_else(|| now(&args.agent), Ok)?;
            let range = range_ms as f64 / 1000.0;
            let step = args.step.map_or_else(|| (range / COLUMNS as f64).max(0.001), |ms| ms as f64 / 1000.0);
            let (start, end, step) = (text(end - range), text(end), text(step));
            let params = [("query", args.expr.as_str()), ("start", &start), ("end", &end), ("step", &step)];
            args.agent.get("/api/v1/query_range", &params)?
        }
    };
    for kind in ["warnings", "infos"] {
        for text in answer[kind].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("{text}");
        }
    }
    args.output.print(&answer["data"], |data| if args.plot { plots(data) } else { table(data) })?;
    Ok(ExitCode::SUCCESS)
}

fn table(data: &Value) {
    let empty = Vec::new();
    let result = &data["result"];
    let point = |value: &Value| value[1].as_str().unwrap_or("").to_owned();
    match data["resultType"].as_str() {
        Some("vector") => {
            let row = |series: &Value| vec![name(&series["metric"]), point(&series["value"])];
            let rows: Vec<_> = result.as_array().unwrap_or(&empty).iter().map(row).collect();
            print_table(&["SERIES", "VALUE"], &rows);
        }
        Some("matrix") => {
            let row = |series: &Value| {
                let values = series["values"].as_array().unwrap_or(&empty);
                let numbers: Vec<f64> = values.iter().filter_map(|v| v[1].as_str()?.parse().ok()).collect();
                let last = numbers.last().map(|v| output::human(*v)).unwrap_or_default();
                vec![name(&series["metric"]), last, sparkline(&numbers)]
            };
            let rows: Vec<_> = result.as_array().unwrap_or(&empty).iter().map(row).collect();
            print_table(&["SERIES", "LAST", "OVER TIME"], &rows);
        }
        _ => println!("{}", point(result)),
    }
}

fn name(metric: &Value) -> String {
    serde_json::from_value::<Labels>(metric.clone()).map_or_else(|_| metric.to_string(), |labels| labels.to_string())
}

/// The agent's own time, which may be the demo's.
fn now(agent: &AgentArgs) -> Result<f64, CliError> {
    let answer = agent.get("/api/v1/query", &[("query", "time()")])?;
    let now = answer["data"]["result"][1].as_str().and_then(|t| t.parse::<f64>().ok());
    now.ok_or_else(|| CliError::Failed("the agent did not say what time it is".into()))
}

fn plots(data: &Value) {
    for series in data["result"].as_array().into_iter().flatten() {
        println!("{}", name(&series["metric"]));
        let point = |value: &Value| Some((value[0].as_f64()?, value[1].as_str()?.parse().ok()?));
        let points: Vec<(f64, f64)> = series["values"].as_array().into_iter().flatten().filter_map(point).collect();
        println!("{}", plot(&points));
    }
}
