//! What goes on: over a real connection, and unchanged when the next one is a rivetwatch too.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    metrics_service_server::{MetricsService, MetricsServiceServer},
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use rivetwatch::forward::encode::points_to_otlp;
use rivetwatch::forward::{Forwarder, Otlp, PointForwarder};
use rivetwatch::model::{
    FloatHistogram, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Span, Stats, TimestampMs, Value,
    stale_nan,
};
use rivetwatch::receive::otlp::translate::{Options, Translator};
use rivetwatch::storage::{Append, Batch, Point};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic_types::{ErrorDetails, StatusExt};

const NOW: TimestampMs = TimestampMs(1_795_419_461_000);

/// An endpoint that answers as scripted, then takes everything.
struct Collector {
    script: Mutex<Vec<Result<i64, tonic::Status>>>,
    taken: mpsc::UnboundedSender<(u64, Option<String>)>,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        let token = request.metadata().get("authorization").map(|v| v.to_str().unwrap().to_owned());
        let metrics = request.into_inner().resource_metrics;
        let metrics = metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
        let points = metrics.map(|m| match &m.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.len() as u64,
            _ => 0,
        });
        let next = self.script.lock().pop();
        let _ = self.taken.send((points.sum(), token));
        let rejected_data_points = next.unwrap_or(Ok(0))?;
        let error_message = String::new();
        let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points, error_message });
        Ok(tonic::Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}

/// Starts a collector; `script` is answered from its end.
async fn collector(
    script: Vec<Result<i64, tonic::Status>>,
) -> (SocketAddr, mpsc::UnboundedReceiver<(u64, Option<String>)>) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (taken, receiver) = mpsc::unbounded_channel();
    let service = MetricsServiceServer::new(Collector { script: Mutex::new(script), taken })
        .accept_compressed(CompressionEncoding::Gzip);
    let incoming = tonic::transport::server::TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    (address, receiver)
}

fn request(points: usize) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint { value: Some(number_data_point::Value::AsInt(1)), ..Default::default() };
    let data = Some(metric::Data::Gauge(Gauge { data_points: vec![point; points] }));
    let metrics = vec![Metric { name: "m".into(), data, ..Default::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..Default::default() }] }
}

fn total(forwarder: &Forwarder, name: &str, label: Option<&str>) -> f64 {
    let rows = forwarder.rows().into_iter().filter(|row| row.name == name);
    rows.filter(|row| label.is_none_or(|l| row.labels.iter().any(|(_, v)| v == l))).map(|row| row.value).sum()
}

fn run(forwarder: &Forwarder) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (stop, forwarder) = (CancellationToken::new(), forwarder.clone());
    let stopping = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move { forwarder.run(stopping, || NOW).await });
    (stop, task)
}

#[tokio::test]
async fn retries_honour_the_endpoint_and_every_point_is_accounted_for() {
    let busy = tonic::Status::with_error_details(
        tonic::Code::ResourceExhausted,
        "busy",
        ErrorDetails::with_retry_info(Some(Duration::from_millis(1))),
    );
    let script = vec![Ok(2), Err(tonic::Status::invalid_argument("never")), Ok(0), Err(busy)];
    let (address, mut taken) = collector(script).await;
    let mut config = Otlp::to(format!("http://{address}"));
    config.headers.0.insert("Authorization".into(), "Bearer next".into());
    let forwarder = Forwarder::new(&config).unwrap();
    let (stop, task) = run(&forwarder);
    let mut seen = Vec::new();
    for points in [5, 7, 11] {
        forwarder.metrics(&request(points));
        seen.push(taken.recv().await.unwrap().0);
        if points == 5 {
            seen.push(taken.recv().await.unwrap().0);
        }
    }
    assert_eq!(seen, [5, 5, 7, 11], "the busy answer is tried again, the refused request is not");
    stop.cancel();
    task.await.unwrap();
    let name = |what: &str| format!("rivetwatch_forward_{what}_items_total");
    assert_eq!(total(&forwarder, &name("accepted"), None), 23.0);
    assert_eq!(total(&forwarder, &name("sent"), None), 14.0);
    assert_eq!(total(&forwarder, &name("dropped"), Some("refused")), 7.0);
    assert_eq!(total(&forwarder, &name("dropped"), Some("partly_rejected")), 2.0);
    assert_eq!(total(&forwarder, "rivetwatch_forward_queue_items", None), 0.0);
}

#[tokio::test]
async fn headers_are_sent_and_stopping_empties_the_queue() {
    let (address, mut taken) = collector(Vec::new()).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "Bearer from-file\n").unwrap();
    let mut config = Otlp::to(format!("http://{address}"));
    config.header_files.insert("authorization".into(), folder.path().join("token"));
    let forwarder = Forwarder::new(&config).unwrap();
    for _ in 0..3 {
        forwarder.metrics(&request(10));
    }
    let (stop, task) = run(&forwarder);
    stop.cancel();
    task.await.unwrap();
    assert_eq!(taken.recv().await.unwrap(), (30, Some("Bearer from-file".to_owned())), "sent together, before the end");
    assert_eq!(total(&forwarder, "rivetwatch_forward_sent_items_total", None), 30.0);
}

#[tokio::test]
async fn what_cannot_be_sent_before_the_end_is_dropped_and_counted() {
    let mut config = Otlp::to("http://127.0.0.1:1");
    config.grace = rivetwatch::model::HumanDuration::millis(50);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let forwarder = Forwarder::new(&config).unwrap();
    forwarder.metrics(&request(4));
    let (stop, task) = run(&forwarder);
    stop.cancel();
    task.await.unwrap();
    assert_eq!(total(&forwarder, "rivetwatch_forward_dropped_items_total", Some("shutdown")), 4.0);
    assert_eq!(total(&forwarder, "rivetwatch_forward_queue_items", None), 0.0);
}

#[tokio::test]
async fn signals_that_are_not_configured_do_not_go_on() {
    let mut config = Otlp::to("http://127.0.0.1:1");
    config.signals = vec![rivetwatch::forward::Signal::Traces];
    let forwarder = Forwarder::new(&config).unwrap();
    forwarder.metrics(&request(4));
    assert_eq!(total(&forwarder, "rivetwatch_forward_accepted_items_total", None), 0.0);
    let sidecar = PointForwarder(Forwarder::new(&Otlp::to("http://127.0.0.1:1")).unwrap());
    let up = Point { labels: Labels::from_pairs([(METRIC_NAME, "up")]), t: NOW, value: Value::Float(1.0) };
    let receipt = sidecar.commit(Batch { points: vec![up], ..Batch::default() }).await.unwrap();
    assert_eq!(receipt.stored, 1);
    assert_eq!(total(&sidecar.0, "rivetwatch_forward_queue_items", None), 1.0);
}

/// Sends points through the wire form to the next rivetwatch and gives what it would store, sorted.
fn next_one(batch: &Batch) -> Batch {
    let encoded = points_to_otlp(&batch.points, &batch.metadata);
    assert_eq!((encoded.points, encoded.refused.as_slice()), (batch.points.len() as u64, &[][..]));
    let wire = prost::Message::encode_to_vec(&encoded.request);
    let request = prost::Message::decode(wire.as_slice()).unwrap();
    let peer = Some("10.9.9.9".parse().unwrap());
    let translated = Translator::new(Options::default()).metrics(&request, peer, NOW);
    assert_eq!((translated.received, translated.refusals.total()), (encoded.points, 0));
    translated.batch
}

fn sorted(batch: &Batch) -> Vec<String> {
    let line = |p: &Point| match &p.value {
        // Bits, because a staleness marker and an ordinary NaN differ only there.
        Value::Float(v) => format!("{} {} {:x}", p.labels, p.t.0, v.to_bits()),
        Value::Histogram(h) => format!("{} {} {h:?}", p.labels, p.t.0),
    };
    let mut lines: Vec<String> = batch.points.iter().map(line).collect();
    lines.sort();
    lines
}

fn value() -> impl Strategy<Value = Value> {
    let histogram = (-4i32..=8, -100i32..100, prop::collection::vec((1u32..1000, 0usize..2), 1..6), 0u32..9).prop_map(
        |(schema, offset, filled, zero)| {
            let mut buckets = Vec::new();
            for (n, gap) in filled {
                buckets.extend(std::iter::repeat_n(0.0, if buckets.is_empty() { 0 } else { gap }));
                buckets.push(f64::from(n));
            }
            let count = buckets.iter().sum::<f64>() + f64::from(zero);
            let positive_spans = vec![Span { offset: offset.clamp(-60, 60), length: buckets.len() as u32 }];
            Value::Histogram(Arc::new(FloatHistogram {
                schema,
                zero_count: f64::from(zero),
                count,
                sum: count * 1.5,
                positive_spans,
                positive_buckets: buckets,
                ..FloatHistogram::default()
            }))
        },
    );
    prop_oneof![
        4 => any::<f64>().prop_map(|v| Value::Float(if v.is_nan() { f64::NAN } else { v })),
        1 => Just(Value::Float(stale_nan())),
        1 => Just(Value::Float(f64::NAN)),
        2 => histogram,
    ]
}

fn point() -> impl Strategy<Value = Point> {
    let labels = prop::collection::vec(("[a-z_.]{1,6}", ".{0,8}"), 0..4);
    let source = (prop::option::of("[a-z/]{1,5}"), prop::option::of("[a-z0-9.#]{1,5}"));
    let name = "(rivet:cpu_usage:cores|up|[a-z]{1,3}_(total|bucket|sum|count)|http\\.x|target_info)";
    (name, labels, source, 1i64..NOW.0, value()).prop_map(|(name, labels, (job, instance), t, value)| {
        let mut builder = LabelsBuilder::default();
        for (key, value) in labels {
            builder.set(key, value);
        }
        builder.set("job", job.unwrap_or_default()).set("instance", instance.unwrap_or_default());
        Point { labels: builder.set(METRIC_NAME, name).build(), t: TimestampMs(t), value }
    })
}

proptest! {
    #[test]
    fn points_reach_the_next_rivetwatch_unchanged(points in prop::collection::vec(point(), 0..30)) {
        let batch = Batch { points, ..Batch::default() };
        prop_assert_eq!(sorted(&next_one(&batch)), sorted(&batch));
    }
}

#[test]
fn both_ends_know_the_mark_by_one_name() {
    let sent = rivetwatch::forward::encode::CANONICAL_MARK;
    assert_eq!(sent, rivetwatch::receive::otlp::translate::CANONICAL_MARK);
}

#[test]
fn metadata_travels_with_the_points() {
    let describe = |name: &str, kind, unit: &str| {
        (name.to_owned(), Metadata { kind, help: format!("about {name}"), unit: unit.to_owned() })
    };
    let metadata = vec![
        describe("rivet_api_request_duration", MetricKind::Histogram, "seconds"),
        describe("up", MetricKind::Gauge, ""),
        describe("rivet_api_request_total", MetricKind::Counter, ""),
    ];
    let named = |name: &str| Point {
        labels: Labels::from_pairs([(METRIC_NAME, name), ("job", "rivet"), ("instance", "a")]),
        t: NOW,
        value: Value::Float(1.0),
    };
    let names =
        ["rivet_api_request_duration_bucket", "rivet_api_request_duration_sum", "up", "rivet_api_request_total"];
    let batch = Batch { points: names.map(named).to_vec(), metadata, ..Batch::default() };
    let mut got = next_one(&batch).metadata;
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let mut expected = batch.metadata.clone();
    expected.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(got, expected);
}

#[test]
fn what_otlp_cannot_carry_is_refused_by_reason() {
    let up = Labels::from_pairs([(METRIC_NAME, "up")]);
    let half = FloatHistogram { count: 0.5, ..FloatHistogram::default() };
    let points = vec![
        Point { labels: Labels::from_pairs([("job", "a")]), t: NOW, value: Value::Float(1.0) },
        Point { labels: up.clone(), t: TimestampMs(0), value: Value::Float(1.0) },
        Point { labels: up.clone(), t: NOW, value: Value::Histogram(Arc::new(half)) },
        Point { labels: up, t: NOW, value: Value::Float(1.0) },
    ];
    let encoded = points_to_otlp(&points, &[]);
    assert_eq!(encoded.points, 1);
    assert_eq!(encoded.refused, [("no_name", 1), ("no_time", 1), ("float_histogram", 1)]);
}
