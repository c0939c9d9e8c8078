//! Remote write from outside: what is sent can be read back, and what cannot be stored is named.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode, header};
use proptest::prelude::*;
use prost::Message;
use rivetwatch::clock::Clock;
use rivetwatch::model::{
    FloatHistogram, Labels, Matcher, MetricKind, STALE_NAN_BITS, Span, Stats, TimeRange, TimestampMs, is_stale_nan,
};
use rivetwatch::receive::remote_write::proto::{
    BucketSpan, Count, Exemplar, Histogram, Label, MetricMetadata, MetricType, Sample, TimeSeries, WriteRequest,
};
use rivetwatch::receive::remote_write::{self, Config, RemoteWriteStats};
use rivetwatch::storage::{Append, AppendError, Batch, Select, SeriesData, Ticket};
use rivetwatch::tsdb::{Settings, Tsdb};
use tower::ServiceExt;

const NOW_MS: i64 = 1_700_000_000_000;

struct Door {
    router: Router,
    store: Arc<Tsdb>,
    stats: Arc<RemoteWriteStats>,
}

fn open(config: Config, append: impl FnOnce(Arc<Tsdb>) -> Arc<dyn Append>) -> Door {
    let store = Arc::new(Tsdb::in_memory(Settings::default()));
    let stats = Arc::new(RemoteWriteStats::default());
    let settings = remote_write::Settings {
        config,
        clock: Clock::new(|| TimestampMs(NOW_MS), 1.0),
        store: append(store.clone()),
        redactor: Arc::default(),
        stats: stats.clone(),
    };
    Door { router: remote_write::router(settings), store, stats }
}

fn door() -> Door {
    open(Config { enabled: true, ..Config::default() }, |store| store)
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).unwrap()
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Door {
    async fn post(&self, headers: &[(header::HeaderName, &str)], body: Vec<u8>) -> Answer {
        let mut request = Request::post("/api/v1/write");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let answer = self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        Answer { status, headers, text: String::from_utf8(text.to_vec()).unwrap() }
    }

    async fn write(&self, request: &WriteRequest) -> Answer {
        let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
        self.post(&headers, packed(&request.encode_to_vec())).await
    }

    fn read(&self) -> Vec<(Labels, SeriesData)> {
        let mut set = self.store.select(&[], TimeRange::ALL).unwrap();
        let (mut data, mut found) = (SeriesData::default(), Vec::new());
        while let Some(labels) = set.next_into(&mut data).unwrap() {
            found.push((labels, data.clone()));
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    fn counted(&self, name: &str, label: &str) -> f64 {
        let rows = self.stats.rows();
        let fits = |row: &&rivetwatch::model::StatRow| {
            row.name == name && (label.is_empty() || row.labels.iter().any(|(_, value)| value == label))
        };
        rows.iter().filter(fits).map(|row| row.value).sum()
    }
}

fn series(pairs: &[(&str, &str)], samples: &[(f64, i64)]) -> TimeSeries {
    TimeSeries {
        labels: pairs.iter().map(|(n, v)| Label { name: (*n).into(), value: (*v).into() }).collect(),
        samples: samples.iter().map(|(value, timestamp)| Sample { value: *value, timestamp: *timestamp }).collect(),
        ..TimeSeries::default()
    }
}

fn request(timeseries: Vec<TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries, metadata: Vec::new() }
}

#[tokio::test]
async fn what_is_written_can_be_read() {
    let door = door();
    let histogram = Histogram {
        count: Some(Count::Int(3)),
        sum: 4.5,
        positive_spans: vec![BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![1, 1],
        timestamp: NOW_MS,
        ..Histogram::default()
    };
    let with_histogram = TimeSeries {
        histograms: vec![
            histogram,
            Histogram { sum: f64::from_bits(STALE_NAN_BITS), timestamp: NOW_MS + 1, ..Histogram::default() },
        ],
        exemplars: vec![Exemplar::default()],
        ..series(&[("__name__", "sizes")], &[])
    };
    // Names of the engine stay what they were: this is someone else's data.
    let own_words = series(
        &[("__name__", "rivet_foo_total"), ("instance", "b"), ("empty", "")],
        &[(1.0, NOW_MS - 1), (2.0, NOW_MS)],
    );
    let stale = series(&[("__name__", "stale")], &[(f64::from_bits(STALE_NAN_BITS), NOW_MS)]);
    let about = MetricMetadata {
        kind: MetricType::Histogram as i32,
        metric_family_name: "sizes".into(),
        help: "Sizes.".into(),
        unit: "bytes".into(),
    };
    let answer =
        door.write(&WriteRequest { timeseries: vec![own_words, stale, with_histogram], metadata: vec![about] }).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));

    let found = door.read();
    let names: Vec<String> = found.iter().map(|(labels, _)| labels.to_string()).collect();
    assert_eq!(names, [r#"rivet_foo_total{instance="b"}"#, "sizes", "stale"]);
    let values: Vec<f64> = found[0].1.floats.iter().map(|sample| sample.v).collect();
    assert_eq!(values, [1.0, 2.0]);
    let want = FloatHistogram {
        count: 3.0,
        sum: 4.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, 2.0],
        ..FloatHistogram::default()
    };
    assert_eq!(*found[1].1.histograms[0].1, want);
    assert!(is_stale_nan(found[1].1.floats[0].v) && is_stale_nan(found[2].1.floats[0].v));
    let metadata = door.store.metadata(Some("sizes"));
    assert_eq!((metadata[0].1.kind, metadata[0].1.unit.as_str()), (MetricKind::Histogram, "bytes"));
    assert_eq!(door.counted("rivetwatch_remote_write_samples_total", "stored"), 5.0);
    assert_eq!(door.counted("rivetwatch_remote_write_exemplars_total", ""), 1.0);
    assert_eq!(door.counted("rivetwatch_remote_write_requests_total", "204"), 1.0);
}

#[tokio::test]
async fn an_old_range_is_taken_where_nothing_is_later() {
    let door = door();
    let year_ago = NOW_MS - 365 * 86_400_000;
    let old = |name: &str| request(vec![series(&[("__name__", name)], &[(1.0, year_ago), (2.0, year_ago + 15_000)])]);
    assert_eq!(door.write(&old("a")).await.status, 204);
    assert_eq!(door.write(&old("b")).await.status, 204);
    // The same once more is no loss.
    assert_eq!(door.write(&old("a")).await.status, 204);
    assert_eq!(door.counted("rivetwatch_remote_write_samples_total", "duplicate"), 2.0);
    // Once the store is told the time, retention counts from there.
    door.store.maintain(TimestampMs(NOW_MS));
    let late = door.write(&old("c")).await;
    assert_eq!(late.status, 400);
    assert!(late.text.contains("too_old") && late.text.contains("the end of retention"), "{}", late.text);
}

#[tokio::test]
async fn good_samples_are_kept_and_bad_ones_named() {
    let door = door();
    let sent = request(vec![
        series(&[("__name__", "good")], &[(1.0, NOW_MS)]),
        series(&[("__name__", "back")], &[(1.0, NOW_MS), (2.0, NOW_MS - 1)]),
        series(&[("__name__", "twice")], &[(1.0, NOW_MS), (2.0, NOW_MS)]),
        series(&[("job", "nameless")], &[(1.0, NOW_MS)]),
        series(&[("__name__", "doubled"), ("a", "1"), ("a", "2")], &[(1.0, NOW_MS)]),
        series(&[("__name__", "ahead")], &[(1.0, NOW_MS + 600_001)]),
        TimeSeries {
            histograms: vec![Histogram { schema: 40, ..Histogram::default() }],
            ..series(&[("__name__", "broken")], &[])
        },
    ]);
    let answer = door.write(&sent).await;
    assert_eq!(answer.status, 400);
    for part in [
        "6 samples were refused, 3 stored",
        "out_of_order: `back`",
        "conflicting_value: `twice`",
        "invalid_labels: `{job=\"nameless\"}` has no metric name",
        "too_new: `ahead`",
        "invalid_histogram: `broken`",
        "schema",
    ] {
        assert!(answer.text.contains(part), "`{part}` is missing in {}", answer.text);
    }
    assert_eq!(door.read().len(), 3);
    let refused = |reason| door.counted("rivetwatch_remote_write_refused_samples_total", reason);
    assert_eq!((refused("invalid_labels"), refused("out_of_order"), refused("")), (2.0, 1.0, 6.0));
}

#[tokio::test]
async fn requests_that_cannot_be_read_say_why() {
    let door = door();
    let protobuf = || (header::CONTENT_TYPE, "application/x-protobuf");
    let good = || packed(&request(vec![series(&[("__name__", "a")], &[(1.0, NOW_MS)])]).encode_to_vec());
    let second_version = (header::CONTENT_TYPE, "application/x-protobuf;proto=io.prometheus.write.v2.Request");
    let wide = series(&[("__name__", "a")], &vec![(1.0, NOW_MS); 100_000]);
    for (headers, body, status, part) in [
        (vec![protobuf()], b"not snappy".to_vec(), 400, "snappy"),
        (vec![protobuf()], packed(b"not protobuf"), 400, "WriteRequest"),
        (vec![protobuf()], packed(&[0x0a, 0xff, 0x7f]), 400, "WriteRequest"),
        (vec![(header::CONTENT_TYPE, "application/json")], good(), 415, "application/json"),
        (vec![second_version], good(), 415, "1.0"),
        (vec![protobuf(), (header::CONTENT_ENCODING, "gzip")], good(), 415, "gzip"),
        // The header announces four gigabytes and nothing follows.
        (vec![protobuf()], vec![0xff, 0xff, 0xff, 0xff, 0x0f], 413, "request_size"),
        (vec![protobuf()], packed(&request(vec![wide]).encode_to_vec()), 400, "series_too_large"),
    ] {
        let answer = door.post(&headers, body).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        assert!(answer.text.contains(part), "`{part}` is missing in {}", answer.text);
    }
    // Neither header is needed.
    assert_eq!(door.post(&[], good()).await.status, 204);
    let get = Request::get("/api/v1/write").body(Body::empty()).unwrap();
    assert_eq!(door.router.clone().oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_door_that_is_off_says_how_to_open_it() {
    let door = open(Config::default(), |store| store);
    let answer = door.write(&request(Vec::new())).await;
    assert_eq!(answer.status, 404);
    assert!(answer.text.contains("receive.remote_write.enabled"), "{}", answer.text);
}

struct Full;

impl Append for Full {
    fn commit(&self, _: Batch) -> Ticket {
        Ticket::ready(Err(AppendError::Overloaded { what: "memory".into(), retry_after_ms: 4_200 }))
    }
}

#[tokio::test]
async fn overload_is_told_as_a_time_to_wait() {
    let door = open(Config { enabled: true, ..Config::default() }, |_| Arc::new(Full));
    let answer = door.write(&request(vec![series(&[("__name__", "a")], &[(1.0, NOW_MS)])])).await;
    assert_eq!((answer.status, answer.headers[header::RETRY_AFTER].as_bytes()), (503, &b"5"[..]));
    assert_eq!(door.counted("rivetwatch_remote_write_samples_total", "unkept"), 1.0);
}

fn label_value() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,3}", "\\PC{0,4}"]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever series are sent, in whatever order of labels, all samples are read back bit by bit.
    #[test]
    fn round_trip(
        sent in proptest::collection::btree_map(
            (label_value(), label_value()),
            proptest::collection::vec((any::<u64>(), 1..100_000i64), 0..20),
            0..12,
        )
    ) {
        let door = door();
        let mut want = Vec::new();
        let mut wire = Vec::new();
        for ((a, b), steps) in &sent {
            let mut t = NOW_MS - 2_000_000;
            let samples: Vec<(f64, i64)> = steps.iter().map(|(bits, step)| { t += step; (f64::from_bits(*bits), t) }).collect();
            wire.push(series(&[("z", b), ("__name__", "m"), ("a", a)], &samples));
            if !samples.is_empty() {
                let points: Vec<(u64, i64)> = samples.iter().map(|(v, t)| (v.to_bits(), *t)).collect();
                want.push((Labels::from_pairs([("__name__", "m"), ("a", a.as_str()), ("z", b.as_str())]), points));
            }
        }
        want.sort_by(|a, b| a.0.cmp(&b.0));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(door.write(&request(wire)));
        prop_assert_eq!(answer.status, 204, "{}", answer.text);
        let got: Vec<(Labels, Vec<(u64, i64)>)> = door
            .read()
            .into_iter()
            .map(|(labels, data)| (labels, data.floats.iter().map(|s| (s.v.to_bits(), s.t.0)).collect()))
            .collect();
        prop_assert_eq!(got, want);
        prop_assert!(door.store.series(&[Matcher::equal("__name__", "m")], TimeRange::ALL).unwrap().len() <= sent.len());
    }

    /// Bytes of any kind are answered, and never with a fault of ours.
    #[test]
    fn noise_is_refused(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let door = door();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let answer = runtime.block_on(door.post(&[], packed(&noise)));
        prop_assert!(matches!(answer.status, 204 | 400), "{}: {}", answer.status, answer.text);
    }
}

#[tokio::test]
async fn secrets_are_not_stored() {
    let door = door();
    let leaking =
        series(&[("__name__", "calls_total"), ("uri", "/a?rvt-token=4dm1n"), ("password", "x")], &[(1.0, NOW_MS)]);
    let about = MetricMetadata {
        kind: MetricType::Counter as i32,
        metric_family_name: "calls_total".into(),
        help: "Calls with Authorization: Bearer abcdef123456.".into(),
        unit: String::new(),
    };
    let answer = door.write(&WriteRequest { timeseries: vec![leaking], metadata: vec![about] }).await;
    assert_eq!(answer.status, 204, "{}", answer.text);
    let labels = door.read()[0].0.to_string();
    assert_eq!(labels, r#"calls_total{password="REDACTED", uri="/a?rvt-token=REDACTED"}"#);
    assert!(!door.store.metadata(None)[0].1.help.contains("abcdef"));
}

#[tokio::test]
async fn a_request_that_ends_early_is_told_so() {
    let door = door();
    let whole = request(vec![series(&[("__name__", "up")], &[(1.0, NOW_MS)])]).encode_to_vec();
    let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
    let answer = door.post(&headers, packed(&whole[..whole.len() - 3])).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("it ends 3 bytes before a message in it does"), "{}", answer.text);
}

#[tokio::test]
async fn exemplars_are_kept_with_their_series() {
    let door = door();
    let label = |name: &str, value: &str| Label { name: name.into(), value: value.into() };
    let exemplar = |id: &str, timestamp| Exemplar { labels: vec![label("trace_id", id)], value: 0.3, timestamp };
    let long = "x".repeat(128);
    let timed = TimeSeries {
        // One whose labels are too long says nothing without them.
        exemplars: vec![
            exemplar("a1", NOW_MS - 5),
            exemplar("a1", NOW_MS - 5),
            exemplar(&long, NOW_MS - 3),
            exemplar("a2", NOW_MS),
        ],
        ..series(&[("__name__", "calls_total")], &[(1.0, NOW_MS)])
    };
    assert_eq!(door.write(&request(vec![timed])).await.status, 204);
    let found = door.store.exemplars(&[vec![Matcher::equal("__name__", "calls_total")]], TimeRange::ALL);
    let ids: Vec<_> = found[0].1.iter().map(|e| (e.labels.get("trace_id").unwrap_or(""), e.t.0 - NOW_MS)).collect();
    assert_eq!(ids, [("a1", -5), ("a2", 0)]);
}

#[tokio::test]
async fn a_label_or_series_that_is_too_large_costs_itself_only() {
    let door = door();
    let good = || series(&[("__name__", "good")], &[(1.0, NOW_MS)]);
    let (long, huge) = ("x".repeat(70_000), "x".repeat(2 << 20));
    let labelled = |value: &str| series(&[("__name__", "bad"), ("path", value)], &[(1.0, NOW_MS), (2.0, NOW_MS + 1)]);
    let answer = door.write(&request(vec![labelled(&long), labelled(&huge), good()])).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.starts_with("4 samples were refused, 1 stored"), "{}", answer.text);
    for part in ["invalid_labels: label `path` has 70004 bytes", "series_too_large: a series of `bad` takes"] {
        assert!(answer.text.contains(part), "{part} is not in {}", answer.text);
    }
    assert_eq!(door.read().len(), 1);
}
