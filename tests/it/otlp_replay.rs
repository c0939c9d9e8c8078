//! The recorded traces of a real engine through the spans room and the redactor.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use prost::Message;
use rivetwatch::model::{Labels, TimestampMs, Value};
use rivetwatch::receive::otlp::json;
use rivetwatch::receive::otlp::translate::Options;
use rivetwatch::receive::redact::Redactor;
use rivetwatch::receive::spans::{Config, SpanMetrics, SpanStats};

fn recording() -> Option<PathBuf> {
    let shared = std::env::var_os("RIVETWATCH_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let file = shared.join("engine/capture-2.3.19/traces.otlp.jsonl.gz");
    if !file.exists() {
        println!("passing over: no {}", file.display());
        return None;
    }
    Some(file)
}

fn holds(bytes: &[u8], token: &str) -> bool {
    bytes.windows(token.len()).any(|window| window == token.as_bytes())
}

/// 80 proxied requests and 8 API calls, all 200, as counted by hand in the recording (ids are base64 there).
#[test]
fn recorded_spans_become_request_series_and_lose_the_admin_token() {
    let Some(file) = recording() else { return };
    let lines = BufReader::new(flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap())).lines();
    let (redactor, stats) = (Redactor::default(), SpanStats::default());
    let mut metrics = SpanMetrics::new(Config { sampler_ratio: 0.5, ..Config::default() });
    metrics.collect(TimestampMs(0));
    let (mut requests, mut spans, mut leaks) = (0, 0, 0);
    for line in lines {
        let decoded = json::traces(line.unwrap().as_bytes()).unwrap();
        assert_eq!((decoded.skipped, decoded.example), (0, None));
        let mut request = decoded.request;
        let raw = request.encode_to_vec();
        leaks += u64::from(holds(&raw, "admin-token-for-tests"));
        redactor.traces(Some(&raw), &mut request);
        assert!(!holds(&request.encode_to_vec(), "admin-token-for-tests"));
        metrics.observe(&request, None, &Options::default(), TimestampMs(1), &stats);
        requests += 1;
        spans += request.resource_spans.iter().flat_map(|r| &r.scope_spans).map(|s| s.spans.len()).sum::<usize>();
    }
    assert_eq!(requests, 22);
    assert!(spans > 5_000, "{spans}");
    assert!(leaks > 0, "the recording holds the token that the engine leaked");
    assert_eq!(stats.counted.get(), 88);
    let batch = metrics.collect(TimestampMs(15_000));
    let value = |name: &str, pairs: &[(&str, &str)]| {
        let source = [("__name__", name), ("job", "rivet"), ("instance", "localhost")];
        let labels = Labels::from_pairs(source.into_iter().chain(pairs.iter().copied()));
        let point = batch.points.iter().find(|p| p.labels == labels && p.t.0 == 15_000).unwrap();
        match &point.value {
            Value::Float(v) => *v,
            Value::Histogram(_) => panic!("span series are floats"),
        }
    };
    assert_eq!(value("rivet_span_requests_total", &[("span", "guard_request"), ("status", "200")]), 160.0);
    assert_eq!(value("rivet_span_requests_total", &[("span", "http_request"), ("status", "200")]), 16.0);
    assert_eq!(value("rivet_span_observed_total", &[("span", "guard_request")]), 80.0);
    let le = |le| value("rivet_span_request_duration_seconds_bucket", &[("span", "guard_request"), ("le", le)]);
    assert_eq!(le("+Inf"), 160.0);
    assert!(le("0.001") < le("10"), "requests took between a millisecond and ten seconds");
}
