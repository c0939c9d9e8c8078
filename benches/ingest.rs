//! What it costs to take points in and to hold them, beside Debian's prometheus and VictoriaMetrics. Prints figures; asserts
//! only that all that was sent is there.
//!
//! Every way in gets fresh servers that know the series already, so that what is measured is the steady state; the figure is
//! points per second of the server's processor time, whatever the client costs. Rules are off: `--bench rules` has those.
//! `--write` keeps the table in `benches/RESULTS.md`; any other word measures only the ways in that contain it; `RIVETWATCH_BINARY` and `VICTORIA_METRICS_BINARY` (1.97 or later) name
//! other binaries, `RIVETWATCH_BENCH_SERIES` another number of series than 100,000.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use support::http::escape;
use support::page;
use support::peers::Peer;
use support::results;
use support::sender::{Fleet, Sender, Way};

/// Rounds of 15 s that are measured after one that makes the series.
const ROUNDS: u32 = 20;
/// An hour.
const ROUNDS_HELD: u32 = 240;
/// Buffers are merged and written behind the answers.
const SETTLE: Duration = Duration::from_secs(3);

fn main() {
    let series = std::env::var("RIVETWATCH_BENCH_SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut text = String::new();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    ways(&mut text, series, &words);
    if words.is_empty() {
        held(&mut text, series);
        scraped(&mut text);
    }
    if results::is_wanted() {
        results::write("ingest", &text).expect("benches/RESULTS.md can be written");
    }
}

/// A server, with its data in the folder.
type Start = fn(&Path) -> Option<Peer>;

fn agent(folder: &Path) -> Option<Peer> {
    Some(Peer::agent_with(folder, json!({ "storage": { "retention": "100y" }, "rules": { "builtin": false } })))
}

/// A server that scrapes the page.
type Scraping<'a> = &'a dyn Fn(&Path) -> Option<Peer>;

/// Points per second of processor time, by the way in.
fn ways(text: &mut String, series: usize, words: &[String]) {
    let servers: [Start; 3] = [agent, Peer::prometheus, Peer::victoria_metrics];
    let head = format!(
        "Millions of points stored per second of processor time: {series} series, {ROUNDS} rounds, a request for each 5,000 \
         points.\n\n| way | bytes a point | prometheus | victoria-metrics | rivetwatch | ratio to the best |\n\
         | --- | --- | --- | --- | --- | --- |\n"
    );
    say(text, &head);
    for way in Way::ALL.into_iter().filter(|way| words.iter().all(|word| way.to_string().contains(word))) {
        let mut rates = [None; 3];
        let mut bytes = 0.0;
        for (rate, start) in rates.iter_mut().zip(servers) {
            let folder = tempfile::tempdir().expect("a temporary folder");
            let Some(peer) = start(folder.path()) else { continue };
            let Some(mut sender) = Sender::connect(&peer, way) else { continue };
            let mut fleet = Fleet::new(series, ROUNDS + 1);
            if !sender.round(&mut fleet) {
                continue;
            }
            std::thread::sleep(SETTLE);
            let before = peer.cpu();
            let sent = sender.bytes;
            (0..ROUNDS).for_each(|_| assert!(sender.round(&mut fleet), "{}: took the first round", peer.name));
            std::thread::sleep(SETTLE);
            let points = series as f64 * f64::from(ROUNDS);
            *rate = Some(points / (peer.cpu() - before).as_secs_f64() / 1e6);
            bytes = (sender.bytes - sent) as f64 / points;
            assert_stored(&peer, &fleet);
        }
        let [own, others @ ..] = rates;
        let best = others.into_iter().flatten().reduce(f64::max);
        let ratio = own.zip(best).map(|(own, best)| own / best);
        let cell = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| format!("{figure:.2}"));
        let [prometheus, victoria] = others.map(cell);
        let row = format!("| {way} | {bytes:.0} | {prometheus} | {victoria} | {} | {} |\n", cell(own), cell(ratio));
        say(text, &row);
    }
    say(text, "\n");
}

/// What an hour of all series takes of memory.
fn held(text: &mut String, series: usize) {
    let head = format!(
        "Resident memory with an hour of {series} series, a point each 15 s, less what the empty server takes.\n\n\
         | server | way | empty, MB | after the hour, MB | for 100,000 series, MB |\n| --- | --- | --- | --- | --- |\n"
    );
    say(text, &head);
    let servers: [(Start, Way); 3] =
        [(Peer::prometheus, Way::RemoteWrite), (Peer::victoria_metrics, Way::Http), (agent, Way::Http)];
    for (start, way) in servers {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Some(peer) = start(folder.path()) else { continue };
        let Some(mut sender) = Sender::connect(&peer, way) else { continue };
        let mut fleet = Fleet::new(series, ROUNDS_HELD);
        let empty = peer.resident() as f64 / 1e6;
        if !(0..ROUNDS_HELD).all(|_| sender.round(&mut fleet)) {
            continue;
        }
        std::thread::sleep(SETTLE);
        let full = peer.resident() as f64 / 1e6;
        assert_stored(&peer, &fleet);
        let each = (full - empty) * 100_000.0 / series as f64;
        say(text, &format!("| {} | {way} | {empty:.0} | {full:.0} | {each:.0} |\n", peer.name));
    }
    say(text, "\n");
}

/// Samples per second of processor time, of text pages as long as the engine's.
fn scraped(text: &mut String) {
    const WARM_UP: Duration = Duration::from_secs(5);
    const MEASURED: Duration = Duration::from_secs(30);
    // Made once, so that serving them costs little.
    let pages: Vec<Arc<str>> = (1..=8).map(|round| page::engine_like(round).into()).collect();
    let samples = pages[0].lines().filter(|line| !line.starts_with('#')).count();
    let bytes = pages[0].len() as f64 / samples as f64;
    let page = page::serve(move |n| Arc::clone(&pages[n % pages.len()]));
    let targets = json!([{ "url": format!("http://{}/metrics", page.address), "engine": false, "job": "bench" }]);
    let scrape = json!({ "interval": "1s", "timeout": "900ms", "targets": targets });
    let own = json!({ "receive": { "scrape": scrape }, "rules": { "builtin": false } });
    let job = json!({ "job_name": "bench", "static_configs": [{ "targets": [page.address] }] });
    let theirs = json!({ "global": { "scrape_interval": "1s", "scrape_timeout": "900ms" }, "scrape_configs": [job] });
    let theirs = theirs.to_string();
    let servers: [Scraping<'_>; 3] = [
        &|folder| Peer::prometheus_with(folder, &theirs),
        &|folder| Peer::victoria_metrics_with(folder, Some(&theirs)),
        &|folder| Some(Peer::agent_with(folder, own.clone())),
    ];
    let head = format!(
        "Millions of samples stored per second of processor time: a text page of {samples} samples ({bytes:.0} bytes each) \
         scraped each second for {} s, one server at a time.\n\n| server | samples | resident, MB |\n| --- | --- | --- |\n",
        MEASURED.as_secs()
    );
    say(text, &head);
    for start in servers {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let Some(peer) = start(folder.path()) else { continue };
        std::thread::sleep(WARM_UP);
        let (before, pages) = (peer.cpu(), page.count());
        std::thread::sleep(MEASURED);
        let (cpu, pages) = (peer.cpu() - before, page.count() - pages);
        let rate = (pages * samples) as f64 / cpu.as_secs_f64() / 1e6;
        say(text, &format!("| {} | {rate:.2} | {:.0} |\n", peer.name, peer.resident() as f64 / 1e6));
    }
}

/// Prints and keeps.
fn say(text: &mut String, more: &str) {
    print!("{more}");
    let _ = text.write_str(more);
}

/// Every series has its newest sample.
fn assert_stored(peer: &Peer, fleet: &Fleet) {
    let query = escape("count({__name__=~\"bench_.+\"})");
    let path = format!("/api/v1/query?query={query}&time={}&nocache=1", fleet.newest_seconds());
    let mut client = peer.client().expect("the peer answers");
    let (status, body) = client.get(&path).expect("the peer answers");
    assert_eq!(status, 200, "{}: {}", peer.name, String::from_utf8_lossy(body));
    let answer: Value = serde_json::from_slice(body).expect("answers are JSON");
    let count = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing");
    assert_eq!(count, fleet.len().to_string(), "{}: series stored", peer.name);
}
