//! `rivetwatch query`: evaluates PromQL on a running agent.

use std::process::ExitCode;

use serde_json::Value;

use super::client::AgentArgs;
use super::output::{Output, print_table};
use super::{CliError, output};
use crate::model::{Labels, parse_duration_ms};

/// Arguments of `query`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The PromQL expression.
    expr: String,
    /// Evaluate over this much of the past, such as 1h, instead of now.
    #[arg(long, value_parser = positive_duration)]
    range: Option<i64>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    agent: AgentArgs,
}

fn positive_duration(text: &str) -> Result<i64, String> {
    parse_duration_ms(text).filter(|ms| *ms > 0).ok_or_else(|| format!("`{text}` is not a duration such as 30m or 1h"))
}

/// Points that a sparkline has room for.
const COLUMNS: i64 = 60;

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let answer = match args.range {
        None => args.agent.get("/api/v1/query", &[("query", &args.expr)])?,
        Some(range_ms) => {
            let now = args.agent.get("/api/v1/query", &[("query", "time()")])?;
            let now = now["data"]["result"][1].as_str().and_then(|t| t.parse::<f64>().ok());
            let now = now.ok_or_else(|| CliError::Failed("the agent did not say what time it is".into()))?;
            let start = (now - range_ms as f64 / 1000.0).to_string();
            let step = (range_ms as f64 / 1000.0 / COLUMNS as f64).max(0.001).to_string();
            let params = [("query", args.expr.as_str()), ("start", &start), ("end", &now.to_string()), ("step", &step)];
            args.agent.get("/api/v1/query_range", &params)?
        }
    };
    for kind in ["warnings", "infos"] {
        for text in answer[kind].as_array().into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("{text}");
        }
    }
    args.output.print(&answer["data"], table)?;
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

/// Eight heights of bar, from the lowest to the highest finite value.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    let bar = |v: &f64| match v.is_finite() {
        true if high > low => BARS[((v - low) / (high - low) * 7.0).round() as usize],
        true => BARS[0],
        false => ' ',
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines_span_low_to_high() {
        assert_eq!(sparkline(&[0.0, 1.0, f64::NAN, 7.0]), "▁▂ █");
        assert_eq!(sparkline(&[3.0, 3.0]), "▁▁");
        assert_eq!(sparkline(&[]), "");
    }
}
