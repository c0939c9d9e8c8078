//! OTLP/JSON requests and the series they become: `tests/otlp/*.json` beside `*.series`.
//!
//! `RIVETWATCH_REFRESH=1 cargo test --test it otlp_golden` writes the expected files anew; read them as a diff.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rivetwatch::model::{TimestampMs, Value, is_stale_nan};
use rivetwatch::receive::identity::Local;
use rivetwatch::receive::otlp::json;
use rivetwatch::receive::otlp::translate::{Options, Translated, Translator};

/// Shortly after the points in the files.
const RECEIVED_AT: TimestampMs = TimestampMs(1_795_419_461_000);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp")
}

/// A folder of shared test data, or `None`, said aloud, where this clone has none.
fn shared_folder(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("RIVETWATCH_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let folder = shared.join(name);
    if !folder.is_dir() {
        eprintln!("passing over: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

fn translate(body: &[u8]) -> Translated {
    let peer: serde_json::Value = serde_json::from_slice(body).unwrap();
    let peer: Option<IpAddr> = peer.get("peer").and_then(|p| p.as_str()).map(|p| p.parse().unwrap());
    let decoded = json::metrics(body).unwrap();
    assert_eq!(decoded.skipped, 0, "{:?}", decoded.example);
    let local = Local { host_name: "this-host".to_owned(), ..Local::default() };
    let options = Options { local, ..Options::default() };
    Translator::new(options).metrics(&decoded.request, peer, RECEIVED_AT)
}

fn render(translated: &Translated) -> String {
    let mut text = String::new();
    for (family, metadata) in &translated.batch.metadata {
        writeln!(text, "# {family} {} unit={:?}", metadata.kind.as_str(), metadata.unit).unwrap();
    }
    for point in &translated.batch.points {
        let ago = RECEIVED_AT.0 - point.t.0;
        match &point.value {
            Value::Float(v) if is_stale_nan(*v) => writeln!(text, "{} stale @-{ago}ms", point.labels).unwrap(),
            Value::Float(v) => writeln!(text, "{} {v} @-{ago}ms", point.labels).unwrap(),
            Value::Histogram(h) => writeln!(
                text,
                "{} histogram(schema={} count={} sum={} zero={} spans={:?} buckets={:?}) @-{ago}ms",
                point.labels,
                h.schema,
                h.count,
                h.sum,
                h.zero_count,
                h.positive_spans.iter().map(|s| (s.offset, s.length)).collect::<Vec<_>>(),
                h.positive_buckets
            )
            .unwrap(),
        }
    }
    writeln!(text, "# received={} accepted={}", translated.received, translated.accepted).unwrap();
    for (reason, n) in translated.refusals.by_reason() {
        writeln!(text, "# refused {reason} {n}").unwrap();
    }
    for example in translated.refusals.examples() {
        writeln!(text, "# e.g. {example}").unwrap();
    }
    text
}

#[test]
fn requests_become_the_expected_series() {
    let refresh = std::env::var_os("RIVETWATCH_REFRESH").is_some();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "json"));
    files.sort();
    assert!(files.len() >= 3, "the folder holds the requests");
    for file in files {
        let translated = translate(&std::fs::read(&file).unwrap());
        assert_eq!(translated.received, translated.accepted + translated.refusals.total(), "{}", file.display());
        let (actual, expected) = (render(&translated), file.with_extension("series"));
        if refresh {
            std::fs::write(&expected, &actual).unwrap();
        }
        let text = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(actual, text, "{}", expected.display());
    }
}

#[test]
fn the_protocols_own_examples_are_accepted_whole() {
    let Some(shared) = shared_folder("conformance/otlp") else { return };
    let read = |name: &str| std::fs::read(shared.join(name)).unwrap();
    let metrics = json::metrics(&read("metrics.json")).unwrap();
    assert_eq!((metrics.skipped, metrics.example), (0, None));
    let translated = Translator::new(Options::default()).metrics(&metrics.request, None, RECEIVED_AT);
    assert_eq!((translated.received, translated.refusals.total()), (4, 0));
    let traces = json::traces(&read("trace.json")).unwrap();
    assert_eq!((traces.skipped, traces.request.resource_spans[0].scope_spans[0].spans.len()), (0, 1));
    for name in ["logs.json", "events.json"] {
        let logs = json::logs(&read(name)).unwrap();
        assert_eq!(logs.skipped, 0, "{name}");
        assert!(!logs.request.resource_logs[0].scope_logs[0].log_records.is_empty(), "{name}");
    }
}
