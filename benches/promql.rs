//! PromQL over HTTP beside Debian's prometheus: the shapes of Prometheus' own `BenchmarkRangeQuery`, each as the ratio
//! of the two medians. Prints figures; fails only where the two do not give the same answer.
//!
//! Varies the number of series (1, 100, 1,000) and of steps (1, 100, 1,000). Both hold the same samples, written to
//! both by remote write, and are asked in turns over one kept connection each, after a warm-up.
//! `--write` keeps the table in `benches/RESULTS.md`; any other word runs only the shapes that contain it.
//! `RIVETWATCH_BINARY` measures another build of the agent, `RIVETWATCH_BENCH_BUDGET_MS` changes the time for each shape.
//! `--serve` only fills the peers and says where they listen, for a profiler.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use prost::Message;
use rivetwatch::receive::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use serde_json::Value;

use support::http::{Client, escape};
use support::peers::Peer;
use support::results;

/// Time of the first sample, in seconds: off the minute, so that the steps of subqueries fall between samples, too.
const START: i64 = 1_700_000_103;
const STEP: i64 = 15;
/// Six hours: a thousand steps with the hour before them.
const SAMPLES: i64 = 1_440;
/// A day, of single series only, for long windows.
const SAMPLES_LONG: i64 = 5_760;

/// Range queries end so long after the newest sample, as they do where now is asked for. No step meets a sample's own
/// time: whether a window holds the sample on its left edge is what Prometheus 2 and 3 do not agree on.
const OFF_BEAT: i64 = 8;

const RUNS_MIN: usize = 5;
const RUNS_MAX: usize = 101;
const WARM_UP: usize = 3;

/// Expression, the sizes that stand for `X` in it, and the numbers of steps.
type Shape = (&'static str, &'static [&'static str], &'static [i64]);

const ALL: &[&str] = &["one", "hundred", "thousand"];
const ONE: &[&str] = &["one"];
const HUNDRED: &[&str] = &["hundred"];
const THOUSAND: &[&str] = &["thousand"];
const MANY: &[&str] = &["hundred", "thousand"];
const STEPS: &[i64] = &[1, 100, 1_000];

const SHAPES: &[Shape] = &[
    ("a_X", MANY, STEPS),
    ("rate(a_X[1m])", ALL, STEPS),
    ("rate(a_X[5m])", MANY, STEPS),
    ("rate(a_one[1d])", ONE, &[1]),
    ("changes(a_one[1d])", ONE, &[1]),
    ("deriv(g_X[5m])", HUNDRED, STEPS),
    ("predict_linear(g_X[1h], 3600)", HUNDRED, &[1, 100]),
    ("irate(a_X[1m])", HUNDRED, STEPS),
    ("-a_X", HUNDRED, STEPS),
    ("abs(g_X)", HUNDRED, STEPS),
    ("g_X > 50", HUNDRED, STEPS),
    ("a_X * 2", HUNDRED, STEPS),
    ("a_X - b_X", ALL, STEPS),
    ("rate(a_X[1m]) + rate(b_X[1m])", MANY, STEPS),
    ("a_X and b_X{l=~\".*[0-4]$\"}", HUNDRED, STEPS),
    ("a_X or b_X{l=~\".*[0-4]$\"}", HUNDRED, STEPS),
    ("a_X unless b_X{l=~\".*[0-4]$\"}", HUNDRED, STEPS),
    ("a_X and b_X{l=\"notfound\"}", HUNDRED, STEPS),
    ("a_X * on (l) group_left (version) info_X", MANY, STEPS),
    ("sum by (zone) (rate(a_X[5m])) / sum by (zone) (rate(b_X[5m]))", MANY, STEPS),
    ("sum(a_X)", MANY, STEPS),
    ("sum by (zone) (a_X)", MANY, STEPS),
    ("sum without (l, instance) (h_X)", MANY, STEPS),
    ("sum by (le) (rate(h_X[1m]))", MANY, STEPS),
    ("avg(rate(a_X[1m]))", THOUSAND, STEPS),
    ("count_values(\"value\", info_X)", HUNDRED, STEPS),
    ("topk(1, g_X)", MANY, STEPS),
    ("topk(5, g_X)", MANY, STEPS),
    ("quantile(0.9, g_X)", MANY, STEPS),
    ("histogram_quantile(0.9, rate(h_X[5m]))", MANY, STEPS),
    ("histogram_quantile(0.9, sum by (le) (rate(h_X[5m])))", MANY, STEPS),
    ("label_replace(a_X, \"l2\", \"$1\", \"l\", \"(.*)\")", HUNDRED, STEPS),
    ("label_join(a_X, \"l2\", \"-\", \"l\", \"zone\")", HUNDRED, STEPS),
    ("timestamp(a_X)", HUNDRED, STEPS),
    ("sum_over_time(g_X[1h])", HUNDRED, STEPS),
    ("avg_over_time(g_X[5m])", MANY, STEPS),
    ("max_over_time(g_X[1h])", HUNDRED, STEPS),
    ("count_over_time(g_X[1h])", HUNDRED, STEPS),
    ("stddev_over_time(g_X[1h])", HUNDRED, &[1, 100]),
    ("quantile_over_time(0.9, g_X[1h])", HUNDRED, &[1, 100]),
    ("last_over_time(g_X[5m])", HUNDRED, STEPS),
    ("absent(a_X{l=\"notfound\"})", ONE, STEPS),
    ("max_over_time(rate(a_X[1m])[10m:1m])", MANY, &[1, 100]),
    ("avg_over_time(sum(rate(a_X[5m]))[1h:1m])", MANY, &[1, 100, 1_000]),
    ("count({__name__=~\"[ab]_hundred\", zone!=\"z3\"})", ONE, STEPS),
    ("a_hundred @ end() + 1", ONE, STEPS),
    ("1 + 2 * 3", ONE, STEPS),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let budget = std::env::var("RIVETWATCH_BENCH_BUDGET_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(1_500);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let agent = Peer::agent(folder.path());
    let prometheus = Peer::prometheus(folder.path());
    let peers: Vec<&Peer> = prometheus.iter().chain([&agent]).collect();
    fill(&peers);
    if std::env::args().any(|arg| arg == "--serve") {
        peers.iter().for_each(|peer| println!("{} {}", peer.name, peer.address));
        // Until the profiler's user ends it.
        loop {
            std::thread::park();
        }
    }
    let mut rows = Vec::new();
    let mut differing = Vec::new();
    for case in cases().into_iter().filter(|case| words.is_empty() || words.iter().any(|w| case.expr.contains(w))) {
        let mut clients: Vec<Client> = peers.iter().map(|peer| peer.client().expect("the peer is there")).collect();
        if let Err(problem) = agree(&case, &mut clients) {
            eprintln!("{}: {problem}", case.expr);
            differing.push(case.expr.clone());
        }
        let row = measure(case, &mut clients, Duration::from_millis(budget));
        eprintln!("{}", row.line());
        rows.push(row);
    }
    let text = report(&rows, prometheus.is_some());
    println!("{text}");
    assert!(differing.is_empty(), "the answers of the two differ, so their times mean nothing: {differing:?}");
    if results::is_wanted() {
        results::write("promql", &text).expect("benches/RESULTS.md can be written");
    }
}

/// One query.
struct Case {
    expr: String,
    steps: i64,
    path: String,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, sizes, all_steps) in SHAPES {
        for (size, steps) in sizes.iter().flat_map(|size| all_steps.iter().map(move |steps| (size, steps))) {
            let expr = shape.replace("_X", &format!("_{size}"));
            let end = START + (SAMPLES - 1) * STEP + OFF_BEAT;
            let start = end - (steps - 1) * STEP;
            let query = escape(&expr);
            let path = format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={STEP}");
            cases.push(Case { expr, steps: *steps, path });
        }
    }
    cases
}

/// The medians of one case, in the order of the peers.
struct Row {
    case: Case,
    medians: Vec<Duration>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let [theirs, ours] = self.medians.as_slice() else { return None };
        Some(theirs.as_secs_f64() / ours.as_secs_f64())
    }

    fn line(&self) -> String {
        let mut line = format!("| `{}` | {} |", self.case.expr.replace('|', "\\|"), self.case.steps);
        for median in &self.medians {
            let _ = write!(line, " {:.2} |", median.as_secs_f64() * 1e3);
        }
        if let Some(ratio) = self.ratio() {
            let _ = write!(line, " {ratio:.1} |");
        }
        line
    }
}

/// Asks the peers in turns until the time is used up.
fn measure(case: Case, clients: &mut [Client], budget: Duration) -> Row {
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); clients.len()];
    for _ in 0..WARM_UP {
        clients.iter_mut().for_each(|client| _ = ask(client, &case.path));
    }
    let begin = Instant::now();
    while times[0].len() < RUNS_MIN || (begin.elapsed() < budget && times[0].len() < RUNS_MAX) {
        for (client, times) in clients.iter_mut().zip(&mut times) {
            let asked = Instant::now();
            ask(client, &case.path);
            times.push(asked.elapsed());
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    Row { case, medians: times.into_iter().map(median).collect() }
}

fn ask<'a>(client: &'a mut Client, path: &str) -> &'a [u8] {
    let (status, body) = client.get(path).expect("the peer answers");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
    body
}

fn report(rows: &[Row], compared: bool) -> String {
    let mut text = String::new();
    let mut ratios: Vec<f64> = rows.iter().filter_map(Row::ratio).collect();
    ratios.sort_by(f64::total_cmp);
    if let (Some(lowest), Some(highest)) = (ratios.first(), ratios.last()) {
        let median = ratios[ratios.len() / 2];
        let slower = ratios.iter().filter(|ratio| **ratio < 1.0).count();
        let _ = writeln!(
            text,
            "Range queries over HTTP, median of at least {RUNS_MIN} runs in turns, in milliseconds. `_one`, `_hundred` \
             and `_thousand` are that many\nseries, of `h_` a tenth as many histograms of 12 buckets.\n\n\
             **{median:.1} times as fast as prometheus on the median shape, from {lowest:.1} to {highest:.1} times; \
             {slower} of {} shapes slower.**\n",
            ratios.len()
        );
    }
    if compared {
        text.push_str("| query | steps | prometheus | rivetwatch | ratio |\n| --- | --- | --- | --- | --- |\n");
    } else {
        text.push_str("There is no prometheus on the PATH, so these are the agent's own figures alone.\n\n");
        text.push_str("| query | steps | rivetwatch |\n| --- | --- | --- |\n");
    }
    rows.iter().for_each(|row| text.push_str(&(row.line() + "\n")));
    text
}

/// Whether all peers give the same answer, to 1e-9.
fn agree(case: &Case, clients: &mut [Client]) -> Result<(), String> {
    let answers: Vec<BTreeMap<String, Vec<(f64, f64)>>> =
        clients.iter_mut().map(|client| series_of(ask(client, &case.path))).collect();
    let [theirs, ours] = answers.as_slice() else { return Ok(()) };
    if !theirs.keys().eq(ours.keys()) {
        return Err(format!("{} series and {}", theirs.len(), ours.len()));
    }
    for (labels, wanted) in theirs {
        let found = &ours[labels];
        if wanted.len() != found.len() {
            return Err(format!("{labels}: {} points and {}", wanted.len(), found.len()));
        }
        for (&(t, a), &(u, b)) in wanted.iter().zip(found) {
            let close = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs());
            if t != u || !close {
                return Err(format!("{labels}: {a} at {t} and {b} at {u}"));
            }
        }
    }
    Ok(())
}

fn series_of(body: &[u8]) -> BTreeMap<String, Vec<(f64, f64)>> {
    let answer: Value = serde_json::from_slice(body).expect("answers are JSON");
    let number = |text: &Value| match text.as_str().expect("values are strings") {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().expect("values are numbers"),
    };
    let list = |value: &Value| value.as_array().expect("a list").clone();
    list(&answer["data"]["result"])
        .iter()
        .map(|series| {
            // Sorted by name, because peers write labels in orders of their own.
            let labels: BTreeMap<&String, &Value> = series["metric"].as_object().expect("labels").iter().collect();
            let points = list(&series["values"]);
            let points = points.iter().map(|pair| (pair[0].as_f64().expect("a time"), number(&pair[1]))).collect();
            (format!("{labels:?}"), points)
        })
        .collect()
}

/// A series and how its values come about.
struct Source {
    labels: Vec<(&'static str, String)>,
    samples: i64,
    value: Box<dyn FnMut(i64) -> f64>,
}

/// A generator of numbers from 0 to 1 with a seed, the same on every machine.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut rng = fastrand::Rng::with_seed(seed);
    move || rng.f64()
}

/// A counter that grows by whole numbers and begins anew now and then.
fn counter(seed: u64) -> Box<dyn FnMut(i64) -> f64> {
    let (mut noise, pace) = (noise(seed), 1.0 + (seed % 37) as f64);
    let mut value = 100_000.0;
    Box::new(move |_| {
        value = if noise() < 0.001 { 0.0 } else { value + (noise() * pace * 20.0).floor() };
        value
    })
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    for (size, count) in [("one", 1u64), ("hundred", 100), ("thousand", 1_000)] {
        let samples = if count == 1 { SAMPLES_LONG } else { SAMPLES };
        for n in 0..count {
            let labels = |name: &str| {
                vec![
                    ("__name__", format!("{name}_{size}")),
                    ("instance", format!("host-{:03}:9100", n % 100)),
                    ("job", "bench".to_owned()),
                    ("l", n.to_string()),
                    ("zone", format!("z{}", n % 5)),
                ]
            };
            let mut add = |labels, value| sources.push(Source { labels, samples, value });
            add(labels("a"), counter(n));
            add(labels("b"), counter(n + 5_000));
            let mut noise = noise(n + 9_000);
            let (phase, level) = (n as f64, 40.0 + (n % 30) as f64);
            add(labels("g"), Box::new(move |t| level + 10.0 * (phase + t as f64 / 50.0).sin() + noise()));
            let mut info = labels("info");
            info.push(("version", format!("1.{}", n % 3)));
            add(info, Box::new(|_| 1.0));
            // Cumulative: each bucket holds what the ones below it hold.
            for (bucket, le) in
                ["0.1", "0.2", "0.4", "0.8", "1.5", "3", "6", "12", "25", "50", "100", "+Inf"].iter().enumerate()
            {
                if n % 10 == 0 {
                    let mut with_le = labels("h");
                    with_le.push(("le", (*le).to_owned()));
                    let share = 1.0 + bucket as f64;
                    add(with_le, Box::new(move |t| share * (t * (1 + n as i64 % 7)) as f64));
                }
            }
        }
    }
    sources
}

/// Writes the same samples to all peers, in the order of time.
fn fill(peers: &[&Peer]) {
    const STEPS_AT_ONCE: i64 = 40;
    const SERIES_AT_ONCE: usize = 500;
    let began = Instant::now();
    let mut clients: Vec<Client> = peers.iter().map(|peer| peer.client().expect("the peer is there")).collect();
    let mut sources = sources();
    let mut written = 0;
    for first in (-(SAMPLES_LONG - SAMPLES)..SAMPLES).step_by(STEPS_AT_ONCE as usize) {
        for some in sources.chunks_mut(SERIES_AT_ONCE) {
            let timeseries: Vec<TimeSeries> = some
                .iter_mut()
                .filter(|source| first >= SAMPLES - source.samples)
                .map(|source| {
                    let steps = first..(first + STEPS_AT_ONCE).min(SAMPLES);
                    let mut sample = |i: i64| Sample {
                        value: (source.value)(i + SAMPLES_LONG),
                        timestamp: (START + i * STEP) * 1000,
                    };
                    let mut labels = source.labels.clone();
                    labels.sort();
                    let labels = labels.into_iter().map(|(name, value)| Label { name: name.into(), value }).collect();
                    TimeSeries { labels, samples: steps.map(&mut sample).collect(), ..TimeSeries::default() }
                })
                .collect();
            if timeseries.is_empty() {
                continue;
            }
            written += timeseries.iter().map(|series| series.samples.len()).sum::<usize>();
            let request = WriteRequest { timeseries, metadata: Vec::new() }.encode_to_vec();
            let body = snap::raw::Encoder::new().compress_vec(&request).expect("a request fits");
            let headers = "content-type: application/x-protobuf\r\ncontent-encoding: snappy\r\n\
                           x-prometheus-remote-write-version: 0.1.0\r\n";
            for (client, peer) in clients.iter_mut().zip(peers) {
                let (status, body) = client.post("/api/v1/write", headers, &body).expect("the peer answers");
                assert!(status / 100 == 2, "{}: {status} {}", peer.name, String::from_utf8_lossy(body));
            }
        }
    }
    eprintln!("{} series, {written} samples written in {:.1} s", sources.len(), began.elapsed().as_secs_f64());
}
