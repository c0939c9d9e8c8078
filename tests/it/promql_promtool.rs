//! Generated queries against Debian's promtool (Prometheus 2.42): what our engine answers with closed window
//! edges is written as a rule unit test, and promtool must agree. Passed over where there is no promtool.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fmt::Write;
use std::process::Command;

use fastrand::Rng;
use rivetwatch::model::{TimestampMs, Value};
use rivetwatch::promql::testing::MemoryStorage;
use rivetwatch::promql::{Engine, EngineOptions, QueryValue, WindowEdges, parse, parse_series_line};

const STEP_MS: i64 = 30_000;
const QUERIES: usize = 600;

/// Where counters begin, also after a reset: so high that none is extrapolated to its zero. There 2.42 decides how
/// far to extrapolate after it has cut at zero, 3.x before, and both are right.
const BASE: u32 = 5_000;

/// Counters with resets, gauges with gaps, series that end, classic histograms.
fn series(rng: &mut Rng) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for (job, instance) in [("api", "0"), ("api", "1"), ("app", "0")] {
        let mut value = BASE;
        let mut values = String::new();
        for _ in 0..80 {
            value = if rng.u8(..20) == 0 { BASE } else { value + rng.u32(0..30) };
            let _ = match rng.u8(..30) {
                0 => write!(values, "_ "),
                1 => write!(values, "stale "),
                _ => write!(values, "{value} "),
            };
        }
        out.push((format!("requests_total{{job=\"{job}\",instance=\"{instance}\"}}"), values));
        let gauge: String = (0..80)
            .map(|_| if rng.u8(..6) == 0 { "_ ".into() } else { format!("{} ", f64::from(rng.i32(-400..400)) / 8.0) })
            .collect();
        out.push((format!("temperature{{job=\"{job}\",instance=\"{instance}\"}}"), gauge));
        let mut counts = [BASE; 4];
        let mut buckets = [const { String::new() }; 4];
        for _ in 0..80 {
            let mut sum = 0;
            for (count, text) in counts.iter_mut().zip(&mut buckets) {
                *count += rng.u32(0..9);
                sum += *count;
                let _ = write!(text, "{sum} ");
            }
        }
        for (le, text) in ["0.1", "0.5", "2", "+Inf"].iter().zip(buckets) {
            out.push((format!("latency_bucket{{job=\"{job}\",instance=\"{instance}\",le=\"{le}\"}}"), text));
        }
    }
    out
}

fn selector(rng: &mut Rng) -> String {
    let name = rng.choice(["requests_total", "temperature", "latency_bucket"]).unwrap();
    let matcher = rng.choice(["", "{job=\"api\"}", "{instance!=\"1\"}", "{job=~\"a.*\"}", "{instance=\"9\"}"]).unwrap();
    format!("{name}{matcher}")
}

fn modifiers(rng: &mut Rng) -> &'static str {
    rng.choice(["", "", "", " offset 1m", " offset -90s", " @ 900", " @ 1200 offset 30s"]).unwrap()
}

fn range(rng: &mut Rng) -> &'static str {
    rng.choice(["30s", "1m", "100s", "3m", "10m"]).unwrap()
}

/// An instant vector.
fn vector(rng: &mut Rng, depth: u8) -> String {
    let kinds = if depth == 0 { 2 } else { 9 };
    match rng.u8(..kinds) {
        0 => format!("{}{}", selector(rng), modifiers(rng)),
        1 => {
            let function = rng.choice([
                "rate",
                "increase",
                "delta",
                "irate",
                "idelta",
                "sum_over_time",
                "avg_over_time",
                "min_over_time",
                "max_over_time",
                "count_over_time",
                "last_over_time",
                "stddev_over_time",
                "changes",
                "resets",
                "deriv",
                "present_over_time",
                "absent_over_time",
            ]);
            format!("{}({}[{}]{})", function.unwrap(), selector(rng), range(rng), modifiers(rng))
        }
        2 => {
            let op = rng.choice(["sum", "avg", "min", "max", "count", "group", "stddev", "quantile(0.3, "]);
            let op = op.unwrap();
            let inner = vector(rng, depth - 1);
            if op.ends_with(' ') {
                return format!("{op}{inner})");
            }
            let grouping = rng.choice(["", " by (job)", " without (instance)", " by (le, job)"]).unwrap();
            format!("{op}{grouping} ({inner})")
        }
        3 => {
            let op = rng.choice(["+", "-", "*", "/", "> bool", "<", "and", "or", "unless", "=="]).unwrap();
            let matching = rng.choice(["", "on (job, instance)", "ignoring (le)"]).unwrap();
            format!("({}) {op} {matching} ({})", vector(rng, depth - 1), vector(rng, depth - 1))
        }
        4 => {
            let op = rng.choice(["+", "-", "*", "%", ">", "<= bool", "/"]).unwrap();
            format!("({}) {op} {}", vector(rng, depth - 1), rng.i8(-3..9))
        }
        5 => {
            let function =
                rng.choice(["max_over_time", "avg_over_time", "delta", "count_over_time", "quantile_over_time(0.7, "]);
            let function = function.unwrap();
            let open = if function.ends_with(' ') { "" } else { "(" };
            let step = rng.choice(["", "30s", "45s", "1m"]).unwrap();
            format!("{function}{open}({})[{}:{step}])", vector(rng, depth - 1), range(rng))
        }
        6 => format!("histogram_quantile({}, {})", f64::from(rng.u8(..11)) / 10.0, vector(rng, depth - 1)),
        7 => {
            let function =
                rng.choice(["abs", "ceil", "sgn", "-", "floor", "sort", "timestamp", "absent", "hour"]).unwrap();
            format!("{function}({})", vector(rng, depth - 1))
        }
        _ => format!("label_replace({}, \"x\", \"$1\", \"instance\", \"(.)\")", vector(rng, depth - 1)),
    }
}

#[test]
fn promtool_agrees_on_generated_queries() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("passed over: there is no promtool");
        return;
    }
    let mut rng = Rng::with_seed(0x9e37);
    let series = series(&mut rng);
    let mut storage = MemoryStorage::default();
    let mut yaml = String::from("evaluation_interval: 30s\ntests:\n- interval: 30s\n  input_series:\n");
    for (name, values) in &series {
        let _ = writeln!(yaml, "  - series: '{name}'\n    values: '{values}'");
        let (labels, values) = parse_series_line(&format!("{name} {values}")).unwrap();
        for (index, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                storage.append(labels.clone(), TimestampMs(index as i64 * STEP_MS), value.value);
            }
        }
    }
    yaml.push_str("  promql_expr_test:\n");
    // promtool takes the evaluation interval as the step of subqueries that name none.
    let options = EngineOptions {
        window_edges: WindowEdges::Closed,
        default_subquery_step_ms: STEP_MS,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options);
    let (mut written, mut with_values) = (0, 0);
    while written < QUERIES {
        // Rounded, because the two add up in different orders.
        let query = format!("round({}, 0.000001)", vector(&mut rng, 3));
        let at = rng.i64(0..85) * STEP_MS + rng.choice([0, 0, 7_000]).unwrap();
        let expr = parse(&query).unwrap_or_else(|e| panic!("{}", e.render()));
        let Ok(answer) = engine.instant(&storage, &expr, TimestampMs(at)) else { continue };
        let QueryValue::Vector(samples) = answer.value else { continue };
        let mut lines = String::new();
        let mut is_comparable = true;
        for sample in &samples {
            match sample.value {
                // promtool finds no NaN equal to another.
                Value::Float(v) if v.is_finite() => {
                    let _ = writeln!(lines, "    - labels: '{}'\n      value: {v:?}", sample.labels);
                }
                _ => is_comparable = false,
            }
        }
        if !is_comparable {
            continue;
        }
        written += 1;
        with_values += usize::from(!samples.is_empty());
        let samples = if lines.is_empty() { " []\n".to_owned() } else { format!("\n{lines}") };
        let _ = write!(yaml, "  - expr: '{query}'\n    eval_time: {at}ms\n    exp_samples:{samples}");
    }
    assert!(with_values > QUERIES / 4, "only {with_values} queries have values");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yaml");
    std::fs::write(&file, yaml).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output().unwrap();
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", shown.chars().take(6000).collect::<String>());
    println!("promtool agrees on {QUERIES} queries, {with_values} of them with values");
}
