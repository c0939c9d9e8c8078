//! `rivetwatch query`: evaluates PromQL on a running agent.

use std::process::ExitCode;

use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::client::AgentArgs;
use super::output::{Output, print_table};
use super::plot::{COLUMNS_MIN, plot, sparkline_within};
use super::{CliError, output};
use crate::model::{Labels, TimestampMs, parse_duration_ms};
use crate::promql::ParseError;

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
const COLUMNS: usize = 60;

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    // Parsed here, too, because the answer of an agent has no room for a caret under the mistake.
    crate::promql::parse(&args.expr).map_err(|error| CliError::Usage(error.render()))?;
    let text = |seconds: f64| seconds.to_string();
    let answer = match (args.range, args.at) {
        (None, None) => ask(&args, "/api/v1/query", &[])?,
        (None, Some(at)) => ask(&args, "/api/v1/query", &[("time", &text(at))])?,
        (Some(range_ms), at) => {
            let end = at.map_or_else(|| now(&args.agent), Ok)?;
            let range = range_ms as f64 / 1000.0;
            let step = args.step.map_or_else(|| (range / COLUMNS as f64).max(0.001), |ms| ms as f64 / 1000.0);
            let (start, end, step) = (text(end - range), text(end), text(step));
            ask(&args, "/api/v1/query_range", &[("start", &start), ("end", &end), ("step", &step)])?
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

/// Asks for the expression. What the agent refuses although it can be read, such as what is switched off there, is
/// shown with its place.
fn ask(args: &Args, path: &str, params: &[(&str, &str)]) -> Result<Value, CliError> {
    let params: Vec<(&str, &str)> = [("query", args.expr.as_str())].into_iter().chain(params.iter().copied()).collect();
    args.agent.get(path, &params).map_err(|error| match error {
        CliError::Failed(text) => match ParseError::told(&args.expr, &text) {
            Some(refused) => CliError::Failed(format!("the agent refuses the query: {}", refused.render())),
            None => CliError::Failed(text),
        },
        other => other,
    })
}

fn table(data: &Value) {
    let empty = Vec::new();
    let result = &data["result"];
    let point = |value: &Value| value[1].as_str().unwrap_or("").to_owned();
    let newest = |series: &Value| match &series["histogram"] {
        Value::Null => point(&series["value"]),
        histogram => histogram_text(&histogram[1], true),
    };
    match data["resultType"].as_str() {
        Some("vector") => {
            let row = |series: &Value| vec![name(&series["metric"]), newest(series)];
            let rows: Vec<_> = result.as_array().unwrap_or(&empty).iter().map(row).collect();
            print_table(&["SERIES", "VALUE"], &rows);
        }
        Some("matrix") => {
            let series = result.as_array().unwrap_or(&empty);
            let heads: Vec<[String; 2]> = series.iter().map(|one| [name(&one["metric"]), last(one)]).collect();
            let widest = |column: usize| heads.iter().map(|head| head[column].width()).max().unwrap_or(0);
            // Two blanks stand between columns; headings are no wider than "SERIES" and "LAST".
            let taken = widest(0).max("SERIES".len()) + widest(1).max("LAST".len()) + 4;
            let room = output::terminal_columns().map_or(COLUMNS, |columns| columns.saturating_sub(taken));
            let row = |(one, [name, last]): (&Value, [String; 2])| {
                let numbers: Vec<f64> = points(one).into_iter().map(|(_, v)| v).collect();
                vec![name, last, sparkline_within(&numbers, room.clamp(COLUMNS_MIN, COLUMNS + 1))]
            };
            let rows: Vec<_> = series.iter().zip(heads).map(row).collect();
            print_table(&["SERIES", "LAST", "OVER TIME"], &rows);
        }
        _ => println!("{}", point(result)),
    }
}

fn name(metric: &Value) -> String {
    serde_json::from_value::<Labels>(metric.clone()).map_or_else(|_| metric.to_string(), |labels| labels.to_string())
}

/// Time and value of each point, of a native histogram its count, oldest first.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let list = |key: &str| series[key].as_array().into_iter().flatten();
    let float = |point: &Value| Some((point[0].as_f64()?, point[1].as_str()?.parse().ok()?));
    let count = |point: &Value| Some((point[0].as_f64()?, point[1]["count"].as_str()?.parse().ok()?));
    let mut all: Vec<(f64, f64)> =
        list("values").filter_map(float).chain(list("histograms").filter_map(count)).collect();
    all.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    all
}

/// The newest value of a range, short.
fn last(series: &Value) -> String {
    let newest = |key: &str| series[key].as_array().and_then(|points| points.last());
    let time = |point: Option<&Value>| point.and_then(|point| point[0].as_f64()).unwrap_or(f64::NEG_INFINITY);
    let (float, histogram) = (newest("values"), newest("histograms"));
    match histogram {
        Some(histogram) if time(Some(histogram)) > time(float) => histogram_text(&histogram[1], false),
        _ => float.and_then(|v| v[1].as_str()?.parse().ok()).map(output::human).unwrap_or_default(),
    }
}

/// `{count:6, sum:9.5, (1,2]:2}`, as PromQL itself writes a native histogram, with its buckets or without.
fn histogram_text(histogram: &Value, has_buckets: bool) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
    let mut parts = vec![format!("count:{}", text(&histogram["count"])), format!("sum:{}", text(&histogram["sum"]))];
    for bucket in histogram["buckets"].as_array().into_iter().flatten().filter(|_| has_buckets) {
        let (open, close) = match bucket[0].as_u64() {
            Some(1) => ('[', ')'),
            Some(2) => ('(', ')'),
            Some(3) => ('[', ']'),
            _ => ('(', ']'),
        };
        parts.push(format!("{open}{},{}{close}:{}", text(&bucket[1]), text(&bucket[2]), text(&bucket[3])));
    }
    format!("{{{}}}", parts.join(", "))
}

/// The agent's own time, which may be the demo's.
fn now(agent: &AgentArgs) -> Result<f64, CliError> {
    let answer = agent.get("/api/v1/query", &[("query", "time()")])?;
    let now = answer["data"]["result"][1].as_str().and_then(|t| t.parse::<f64>().ok());
    now.ok_or_else(|| CliError::Failed("the agent did not say what time it is".into()))
}

fn plots(data: &Value) {
    for series in data["result"].as_array().into_iter().flatten() {
        // Of a native histogram the observations are drawn.
        let what = if series["histograms"].is_array() { "  count" } else { "" };
        println!("{}{what}", name(&series["metric"]));
        println!("{}", plot(&points(series), output::terminal_columns().unwrap_or(usize::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn native_histograms_have_a_text_and_a_count_over_time() {
        let histogram = json!({"count": "6", "sum": "9.5", "buckets": [[3, "-0.5", "0.5", "1"], [0, "1", "2", "5"]]});
        assert_eq!(histogram_text(&histogram, true), "{count:6, sum:9.5, [-0.5,0.5]:1, (1,2]:5}");
        let series = json!({"values": [[1, "+Inf"]], "histograms": [[2, histogram]]});
        assert_eq!(last(&series), "{count:6, sum:9.5}");
        assert_eq!(points(&series), [(1.0, f64::INFINITY), (2.0, 6.0)]);
        assert_eq!(last(&json!({"values": [[1, "-Inf"]]})), "-Inf");
    }
}
