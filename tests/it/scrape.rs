//! Scraping against recorded pages, arbitrary bytes and real sockets.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use rivetwatch::model::{ByteSize, Labels, METRIC_NAME, Stats, TimestampMs, Value, is_stale_nan};
use rivetwatch::receive::clock::Clock;
use rivetwatch::receive::identity::{Identity, Local};
use rivetwatch::receive::scrape::text::{Format, Line, parse_line, parse_series};
use rivetwatch::receive::scrape::{
    Config, DnsConfig, Failure, Fetcher, Keep, Page, ScrapeStats, Scraper, Settings, Target, TargetConfig,
    TargetSettings,
};
use rivetwatch::storage::{Append, Batch, Receipt, Ticket};
use tokio_util::sync::CancellationToken;

use crate::rivet_inventory::shared;

fn engine() -> Target {
    let identity = Identity { job: "rivet".into(), instance: "e0".into(), extra: Vec::new() };
    Target::new(TargetSettings::engine(identity))
}

/// The recorded pages of a folder with their times, oldest first.
fn recording(folder: &str) -> Option<Vec<(TimestampMs, Vec<u8>)>> {
    let dir = shared(&format!("engine/{folder}"))?;
    let mut pages = Vec::new();
    for file in std::fs::read_dir(dir).expect("the folder can be read") {
        let path = file.expect("an entry").path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some(seconds) = name.strip_suffix(".prom.gz") else { continue };
        let mut page = Vec::new();
        let file = std::fs::File::open(&path).expect("a page can be opened");
        flate2::read::GzDecoder::new(file).read_to_end(&mut page).expect("a page is gzip");
        pages.push((TimestampMs(seconds.parse::<i64>().expect("seconds") * 1000), page));
    }
    pages.sort();
    Some(pages)
}

fn sum(batch: &Batch, name: &str, label: (&str, &str)) -> f64 {
    let wanted =
        batch.points.iter().filter(|p| p.labels.metric_name() == name && p.labels.get(label.0) == Some(label.1));
    wanted.map(|p| if let Value::Float(v) = p.value { v } else { 0.0 }).filter(|v| !is_stale_nan(*v)).sum()
}

#[test]
fn every_recorded_page_is_read_to_the_last_sample() {
    for folder in ["", "-host-lost", "-pool-in-error", "-rate-limited"] {
        let Some(pages) = recording(&format!("capture-2.3.19{folder}")) else { return };
        let mut target = engine();
        for (at, page) in pages {
            let text = std::str::from_utf8(&page).expect("a recorded page is UTF-8");
            let expected = text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')).count() as u64;
            let (batch, report) = target.page_to_batch(Ok(Page::text(&page)), at, Duration::ZERO);
            assert_eq!((report.failure, report.bad_lines, report.bad_example), (None, 0, None), "{folder} at {at}");
            assert_eq!(report.samples, expected, "{folder} at {at}");
            assert_eq!((report.duplicates, report.over_series_limit, report.over_label_limit), (0, 0, 0));
            assert!(!report.is_load_balanced, "{folder} at {at}");
            let keys: HashSet<(u64, TimestampMs)> = batch.points.iter().map(|p| (p.labels.hash64(), p.t)).collect();
            assert_eq!(keys.len(), batch.points.len(), "each point of a batch is another one");
            let foreign: Vec<&str> = batch
                .points
                .iter()
                .map(|p| p.labels.metric_name())
                .filter(|name| !name.starts_with("rivet_") && !name.starts_with("scrape_") && *name != "up")
                .collect();
            assert!(foreign.is_empty(), "{foreign:?}");
        }
    }
}

#[test]
fn the_429s_of_the_recording_count_from_zero() {
    let Some(pages) = recording("capture-2.3.19-rate-limited") else { return };
    let mut target = engine();
    let name = "rivet_pegboard_outbound_req_error_total";
    let mut last: Option<TimestampMs> = None;
    for (at, page) in pages {
        let (batch, _) = target.page_to_batch(Ok(Page::text(&page)), at, Duration::ZERO);
        let first = batch.points.iter().filter(|p| p.labels.metric_name() == name).collect::<Vec<_>>();
        if !first.is_empty() {
            assert_eq!((first[0].t, &first[0].value), (last.expect("an earlier scrape"), &Value::Float(0.0)));
            assert!(sum(&batch, name, ("status", "429")) > 0.0);
            return;
        }
        last = Some(at);
    }
    panic!("the recording holds 429s");
}

#[test]
fn a_page_without_the_prefix_gives_the_same_batch() {
    let Some(pages) = recording("capture-2.3.19-pool-in-error") else { return };
    let (at, page) = pages.last().expect("a page");
    let text = std::str::from_utf8(page).expect("UTF-8");
    let strip = |line: &str| match line.strip_prefix("# HELP rivet_").map(|l| ("# HELP ", l)) {
        Some((start, rest)) => format!("{start}{rest}\n"),
        None => format!(
            "{}\n",
            line.replacen("# TYPE rivet_", "# TYPE ", 1).strip_prefix("rivet_").unwrap_or(&line.replacen(
                "# TYPE rivet_",
                "# TYPE ",
                1
            ))
        ),
    };
    let bare: String = text.lines().map(strip).collect();
    assert!(!bare.contains("\nrivet_"));
    let (with, _) = engine().page_to_batch(Ok(Page::text(page)), *at, Duration::ZERO);
    let (without, _) = engine().page_to_batch(Ok(Page::text(bare.as_bytes())), *at, Duration::ZERO);
    assert_eq!(with.points, without.points);
    assert_eq!(with.metadata, without.metadata);
}

#[test]
fn every_cut_of_a_real_page_is_noticed_unless_it_falls_between_families() {
    let Some(pages) = recording("capture-2.3.19") else { return };
    let page = &pages[0].1;
    let whole = engine().page_to_batch(Ok(Page::text(page)), TimestampMs(0), Duration::ZERO).1.samples;
    for at in (1..page.len()).step_by(4_001) {
        let (_, report) = engine().page_to_batch(Ok(Page::text(&page[..at])), TimestampMs(0), Duration::ZERO);
        let is_line_end = page[at - 1] == b'\n';
        assert!(report.failure.is_some() || is_line_end, "cut at byte {at}");
        assert!(report.samples < whole);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(pages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..4)) {
        let mut target = engine();
        for (n, page) in pages.iter().enumerate() {
            for format in [Format::Text, Format::OpenMetrics] {
                let at = TimestampMs(n as i64 * 15_000);
                target.page_to_batch(Ok(Page { body: page, format }), at, Duration::ZERO);
            }
        }
    }

    #[test]
    fn mangled_lines_never_panic(page in r#"([a-c_{}",=\\ n#1.\n]|le="|rivet_up|# TYPE |é){0,120}"#) {
        let mut target = engine();
        for at in [0, 15_000] {
            target.page_to_batch(Ok(Page::text(page.as_bytes())), TimestampMs(at), Duration::ZERO);
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        name in "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
        labels in prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9_]{0,5}", r#"[ -~\n\\"é{}]{1,12}"#, 0..4),
        value in prop::num::f64::ANY,
        t in prop::option::of(-1_000_000_000_000i64..1_000_000_000_000),
    ) {
        let pairs = labels.iter().map(|(n, v)| (n.clone(), v.clone()));
        let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME.to_owned(), name)]));
        let line = format!("{labels} {value} {}", t.map_or(String::new(), |t| t.to_string()));
        let Ok(Line::Sample(sample)) = parse_line(&line, Format::Text) else {
            panic!("not read: {line}");
        };
        prop_assert!(sample.value == value || (sample.value.is_nan() && value.is_nan()));
        prop_assert_eq!(sample.timestamp, t.map(TimestampMs));
        let series = parse_series(sample.series).expect("a series");
        let read = series.labels.into_iter().chain([(METRIC_NAME.into(), series.name)]);
        prop_assert_eq!(Labels::from_pairs(read), labels);
    }
}

/// Serves each connection one answer, in turn, and closes it; the answers hold the whole HTTP response.
fn serve(answers: Vec<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for answer in answers {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&answer);
        }
    });
    address
}

fn ok(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n{headers}\r\n{body}").into_bytes()
}

async fn fetch(answer: Vec<u8>) -> Result<String, Failure> {
    let url = format!("http://{}/metrics", serve(vec![answer])).parse().expect("a URL");
    let fetcher = Fetcher::new(ByteSize(64)).expect("a fetcher");
    let fetched = fetcher.fetch(url, Duration::from_secs(20), None).await?;
    Ok(String::from_utf8_lossy(&fetched.body).into_owned())
}

#[tokio::test]
async fn a_page_comes_whole_or_not_at_all() {
    assert_eq!(fetch(ok("content-length: 4\r\n", "a 1\n")).await, Ok("a 1\n".to_owned()));
    let reason = async |answer| fetch(answer).await.map_err(|f| f.reason());
    assert_eq!(reason(ok("content-length: 40\r\n", "a 1\n")).await, Err("truncated"), "shorter than announced");
    let chunked = ok("transfer-encoding: chunked\r\n", "4\r\na 1\n\r\n");
    assert_eq!(reason(chunked).await, Err("truncated"), "no last chunk");
    assert_eq!(reason(ok("content-length: 4000\r\n", "a 1\n")).await, Err("body_too_large"), "announced");
    assert_eq!(reason(ok("", &"a 1\n".repeat(40))).await, Err("body_too_large"), "sent");
    let status = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert_eq!(fetch(status).await, Err(Failure::Status { status: 503 }));
    let redirect = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec();
    assert_eq!(fetch(redirect).await, Err(Failure::Status { status: 302 }), "no redirect is followed");
}

#[tokio::test]
async fn nobody_at_home_is_a_refused_connection() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    let url = format!("http://{free}/metrics").parse().expect("a URL");
    let failure = Fetcher::new(ByteSize::mib(1)).expect("a fetcher").fetch(url, Duration::from_secs(20), None).await;
    assert_eq!(failure.map(|_| ()).map_err(|f| f.reason()), Err("connect"));
}

/// Keeps every batch, and says so on a channel.
struct Collector {
    batches: Mutex<Vec<Batch>>,
    committed: tokio::sync::mpsc::UnboundedSender<()>,
}

impl Append for Collector {
    fn commit(&self, batch: Batch) -> Ticket {
        let stored = batch.points.len() as u64;
        self.batches.lock().push(batch);
        let _ = self.committed.send(());
        Ticket::ready(Ok(Receipt { stored, ..Receipt::default() }))
    }
}

#[tokio::test]
async fn the_loop_scrapes_static_targets_and_names_and_stops() {
    let page = ok("content-length: 42\r\n", "# TYPE gasoline_x gauge\nrivet_x 1\nother 2\n\n");
    let first = serve(vec![page.clone()]);
    let named = serve(vec![page]);
    let targets = vec![
        TargetConfig::engine_at(format!("http://{first}/metrics")),
        TargetConfig {
            dns: Some(DnsConfig { name: "localhost".into(), port: named.port(), path: "/metrics".into() }),
            ..TargetConfig::default()
        },
    ];
    let (committed, mut commits) = tokio::sync::mpsc::unbounded_channel();
    let store = Arc::new(Collector { batches: Mutex::default(), committed });
    let stats = Arc::new(ScrapeStats::default());
    let settings = Settings {
        config: Config { targets, ..Config::default() },
        local: Local { host_name: "node-a".into(), ..Local::default() },
        used: Keep::All,
        // A clock that stands still: each target is scraped once, at its start.
        redactor: Arc::default(),
        clock: Clock::new(|| TimestampMs(1_000_000), 1.0),
    };
    let stop = CancellationToken::new();
    let scraper = Scraper::new(settings, store.clone(), stats.clone()).expect("a scraper");
    let running = tokio::spawn(scraper.run(stop.clone()));
    let ups = || {
        let batches = store.batches.lock();
        batches.iter().flat_map(|b| &b.points).filter(|p| p.labels.metric_name() == "up").count()
    };
    // `localhost` may have two addresses here, one of which nobody listens on.
    let is_done = || ups() >= 2 && stats.targets().iter().filter(|t| t.report.failure.is_none()).count() == 2;
    while !is_done() {
        commits.recv().await.expect("the loop runs");
    }
    stop.cancel();
    running.await.expect("the loop ends by itself");
    let status = stats.targets().into_iter().find(|t| t.url.contains(&first.to_string())).expect("the static target");
    assert_eq!((status.identity.instance.as_str(), status.report.samples), ("node-a", 2));
    let rows = stats.rows();
    let up = rows.iter().filter(|r| r.name == "rivetwatch_scrape_target_up" && r.value == 1.0).count();
    assert_eq!(up, 2);
}

#[tokio::test]
async fn without_targets_the_loop_goes_on_until_it_is_stopped() {
    let (committed, _commits) = tokio::sync::mpsc::unbounded_channel();
    let store = Arc::new(Collector { batches: Mutex::default(), committed });
    let settings = Settings {
        config: Config { targets: Vec::new(), ..Config::default() },
        local: Local { host_name: "gateway".into(), ..Local::default() },
        used: Keep::All,
        clock: Clock::new(|| TimestampMs(1_000_000), 1.0),
        redactor: Arc::default(),
    };
    let stop = CancellationToken::new();
    let scraper = Scraper::new(settings, store, Arc::new(ScrapeStats::default())).expect("a scraper");
    let mut running = Box::pin(scraper.run(stop.clone()));
    for _ in 0..3 {
        let step = std::future::poll_fn(|cx| std::task::Poll::Ready(running.as_mut().poll(cx))).await;
        assert!(step.is_pending(), "the loop ended by itself, which its owner takes for a failure");
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await;
}
