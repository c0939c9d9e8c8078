//! What a thousand rules over five thousand series cost, beside Debian's prometheus. Prints figures and asserts nothing
//! but that both work.
//!
//! Both scrape the same page every 5 s and evaluate the same rule file every 5 s; the agent also on arrival, as it ships.
//! Beside each runs one without rules: the difference of their processor time is what the rules cost.
//! `--write` keeps the table in `benches/RESULTS.md`; `RIVETWATCH_BINARY` measures another build of the agent,
//! `RIVETWATCH_BENCH_SECONDS` changes how long is measured (60).

mod support;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::page;
use support::peers::Peer;
use support::results;

const RULES: usize = 1_000;
const FAMILIES: usize = 50;
const SERIES_PER_FAMILY: usize = 100;
/// Windows are full and the first evaluations, which compile and allocate, are over.
const WARM_UP: Duration = Duration::from_secs(70);

fn main() {
    let seconds = std::env::var("RIVETWATCH_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let first = Instant::now();
    let page = page::serve(move |_| counters_and_gauges(first.elapsed().as_secs()).into()).address;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rules = folder.path().join("rules.yaml");
    std::fs::write(&rules, rule_file()).expect("the folder can be written to");

    let mut peers = Vec::new();
    for files in [vec![], vec![rules.as_path()]] {
        let name = if files.is_empty() { "plain" } else { "rules" };
        let own = |peer: &str| {
            let path = folder.path().join(format!("{peer}-{name}"));
            std::fs::create_dir(&path).expect("the folder can be written to");
            path
        };
        peers.push(agent(&own("agent"), page, &files));
        peers.extend(prometheus(&own("prometheus"), page, &files));
    }
    std::thread::sleep(WARM_UP);
    let before: Vec<Duration> = peers.iter().map(Peer::cpu).collect();
    let begin = Instant::now();
    std::thread::sleep(Duration::from_secs(seconds));
    let shares = peers.iter().zip(before);
    let shares: Vec<f64> =
        shares.map(|(peer, before)| (peer.cpu() - before).as_secs_f64() / begin.elapsed().as_secs_f64()).collect();

    let half = peers.len() / 2;
    let mut text = format!(
        "{RULES} rules over {} series, scraped and evaluated every 5 s, measured for {seconds} s after {} s.\n\n\
         | | cores without rules | cores with rules | cores for the rules | µs a rule and evaluation | resident, MB |\n\
         | --- | --- | --- | --- | --- | --- |\n",
        FAMILIES * SERIES_PER_FAMILY,
        WARM_UP.as_secs()
    );
    for (i, peer) in peers.iter().enumerate().skip(half) {
        let (without, with) = (shares[i - half], shares[i]);
        let micros = mean_micros(peer);
        let resident = peer.resident() as f64 / 1e6;
        let cost = with - without;
        let _ =
            writeln!(text, "| {} | {without:.4} | {with:.4} | {cost:.4} | {micros:.0} | {resident:.0} |", peer.name);
    }
    if half == 1 {
        text.push_str("\nThere is no prometheus on the PATH, so these are the agent's own figures alone.\n");
    }
    println!("{text}");
    if results::is_wanted() {
        results::write("rules", &text).expect("benches/RESULTS.md can be written");
    }
}

fn agent(folder: &Path, page: SocketAddr, rules: &[&Path]) -> Peer {
    let config = json!({
        "receive": { "scrape": {
            "interval": "5s",
            "timeout": "4s",
            "targets": [{ "url": format!("http://{page}/metrics"), "engine": false, "job": "bench" }],
        }},
        "rules": { "builtin": false, "interval": "5s", "files": rules },
    });
    Peer::agent_with(folder, config)
}

fn prometheus(folder: &Path, page: SocketAddr, rules: &[&Path]) -> Option<Peer> {
    let config = json!({
        "global": { "scrape_interval": "5s", "scrape_timeout": "4s", "evaluation_interval": "5s" },
        "rule_files": rules,
        "scrape_configs": [{ "job_name": "bench", "static_configs": [{ "targets": [page] }] }],
    });
    Peer::prometheus_with(folder, &config.to_string())
}

/// Mean time of one evaluation of one rule, as the server tells of its last.
fn mean_micros(peer: &Peer) -> f64 {
    let mut client = peer.client().expect("the peer answers");
    let (status, body) = client.get("/api/v1/rules").expect("the peer answers");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(body));
    let answer: Value = serde_json::from_slice(body).expect("answers are JSON");
    let groups = answer["data"]["groups"].as_array().expect("a list").iter();
    let rules: Vec<&Value> = groups.flat_map(|group| group["rules"].as_array().expect("a list")).collect();
    assert_eq!(rules.len(), RULES);
    assert!(rules.iter().all(|rule| rule["health"] == "ok"), "{}: every rule works", peer.name);
    let seconds: f64 = rules.iter().filter_map(|rule| rule["evaluationTime"].as_f64()).sum();
    seconds * 1e6 / RULES as f64
}

/// Rules of the four shapes that make up most rule files: sums of rates, ratios of them, quantiles of nothing less than
/// a family, and thresholds on each series.
fn rule_file() -> String {
    let group = |g: usize| {
        let rules: Vec<Value> = (0..100).map(|i| rule(g * 100 + i)).collect();
        json!({ "name": format!("group-{g}"), "rules": rules })
    };
    json!({ "groups": (0..RULES / 100).map(group).collect::<Vec<_>>() }).to_string()
}

fn rule(n: usize) -> Value {
    let family = n / 4 % (FAMILIES / 2);
    let (counter, gauge) = (format!("counter_{family}_total"), format!("gauge_{family}"));
    match n % 4 {
        0 => json!({
            "record": format!("instance:counter_{family}_{n}:rate1m"),
            "expr": format!("sum by (instance) (rate({counter}[1m]))"),
        }),
        1 => json!({
            "alert": format!("Errors{n}"),
            "expr": format!(
                "sum by (zone) (rate({counter}{{code=\"500\"}}[1m])) / sum by (zone) (rate({counter}[1m])) > 0.9"
            ),
            "for": "1m",
        }),
        2 => json!({ "alert": format!("High{n}"), "expr": format!("{gauge} > 1e9"), "for": "1m" }),
        _ => json!({
            "alert": format!("Mean{n}"),
            "expr": format!("avg by (zone) (avg_over_time({gauge}[1m])) > 1e9"),
        }),
    }
}

/// Counters that grow and gauges that move with each scrape.
fn counters_and_gauges(seconds: u64) -> String {
    let mut text = String::new();
    for family in 0..FAMILIES / 2 {
        let _ = writeln!(text, "# TYPE counter_{family}_total counter");
        for n in 0..SERIES_PER_FAMILY {
            let (code, zone, value) = (if n % 10 == 0 { 500 } else { 200 }, n % 5, seconds * (1 + n as u64));
            let _ = writeln!(text, "counter_{family}_total{{code=\"{code}\",path=\"/{n}\",zone=\"z{zone}\"}} {value}");
        }
        let _ = writeln!(text, "# TYPE gauge_{family} gauge");
        for n in 0..SERIES_PER_FAMILY {
            let (zone, value) = (n % 5, 50.0 + (seconds as f64 / 30.0 + n as f64).sin());
            let _ = writeln!(text, "gauge_{family}{{path=\"/{n}\",zone=\"z{zone}\"}} {value}");
        }
    }
    text
}
