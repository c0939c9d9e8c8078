//! The OTLP doors through real sockets: what is kept, what is refused, and how that is said.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, logs_service_client::LogsServiceClient,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse, metrics_service_client::MetricsServiceClient,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use parking_lot::Mutex;
use prost::Message;
use rivetwatch::model::{Stats, TimestampMs, Value};
use rivetwatch::receive::clock::Clock;
use rivetwatch::receive::identity::Local;
use rivetwatch::receive::otlp::translate::Translator;
use rivetwatch::receive::otlp::{Auth, BindError, Config, DoorStats, Doors, Intake, Onward, Signal, Telemetry};
use rivetwatch::receive::redact::Redactor;
use rivetwatch::receive::spans::{self, SpanMetrics};
use rivetwatch::storage::{Append, AppendError, Batch, Receipt, Ticket};
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic_types::StatusExt;

const NOW: TimestampMs = TimestampMs(1_795_419_461_000);

/// A store that keeps batches, or refuses them all.
#[derive(Default)]
struct Recorder {
    batches: Mutex<Vec<Batch>>,
    refuses: Option<AppendError>,
}

impl Append for Recorder {
    fn commit(&self, batch: Batch) -> Ticket {
        if let Some(error) = &self.refuses {
            return Ticket::ready(Err(error.clone()));
        }
        let stored = batch.points.len() as u64;
        self.batches.lock().push(batch);
        Ticket::ready(Ok(Receipt { stored, ..Receipt::default() }))
    }
}

struct Server {
    grpc: SocketAddr,
    http: SocketAddr,
    store: Arc<Recorder>,
    intake: Arc<Intake>,
    spans: Arc<Mutex<SpanMetrics>>,
    onward: Arc<Mutex<Vec<Telemetry>>>,
    stats: DoorStats,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
}

fn config() -> Config {
    let mut config = Config::default();
    config.grpc.endpoint.set_port(0);
    config.http.endpoint.set_port(0);
    config
}

async fn start(config: Config, store: Recorder) -> Server {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (store, onward) = (Arc::new(store), Arc::new(Mutex::new(Vec::new())));
    let taken = Arc::clone(&onward);
    let send_on: Onward = Arc::new(move |telemetry| taken.lock().push(telemetry));
    let spans = Arc::new(Mutex::new(SpanMetrics::new(spans::Config { sampler_ratio: 1.0, ..Default::default() })));
    let intake = Arc::new(Intake::new(
        Translator::new(config.translation(Local { host_name: "this-host".to_owned(), ..Local::default() })),
        Arc::new(Redactor::default()),
        Arc::clone(&store) as Arc<dyn Append>,
        Arc::clone(&spans),
        Some(send_on),
        Clock::new(|| NOW, 1.0),
    ));
    let doors = Doors::bind(&config, Arc::clone(&intake)).await.unwrap();
    let (grpc, http, stats) = (doors.grpc_address().unwrap(), doors.http_address().unwrap(), doors.stats());
    let stop = CancellationToken::new();
    let served = tokio::spawn(doors.serve(stop.clone().cancelled_owned()));
    Server { grpc, http, store, intake, spans, onward, stats, stop, served, client: reqwest::Client::new() }
}

impl Server {
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> reqwest::Response {
        let mut request = self.client.post(format!("http://{}{path}", self.http)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.grpc)).unwrap().connect().await.unwrap()
    }

    fn points(&self) -> Vec<(String, f64)> {
        let batches = self.store.batches.lock();
        let float = |value: &Value| match value {
            Value::Float(v) => *v,
            Value::Histogram(h) => h.count,
        };
        batches.iter().flat_map(|b| &b.points).map(|p| (p.labels.to_string(), float(&p.value))).collect()
    }

    fn refused(&self, reason: &str) -> u64 {
        self.intake.stats().rejected(reason)
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![text("service.name", "cart")], ..Default::default() })
}

/// `good` points with a value and `bad` ones without.
fn metrics(good: usize, bad: usize) -> ExportMetricsServiceRequest {
    let point = |n: usize| NumberDataPoint {
        attributes: vec![text("n", &n.to_string())],
        time_unix_nano: 1_795_419_460_000_000_000,
        value: (n < good).then_some(number_data_point::Value::AsInt(n as i64)),
        ..Default::default()
    };
    let gauge = Gauge { data_points: (0..good + bad).map(point).collect() };
    let metric = Metric { name: "depth".into(), data: Some(metric::Data::Gauge(gauge)), ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: resource(), scope_metrics, ..Default::default() }],
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

#[tokio::test]
async fn every_signal_is_taken_over_grpc_plain_and_compressed() {
    let server = start(config(), Recorder::default()).await;
    let channel = server.channel().await;
    let mut client = MetricsServiceClient::new(channel.clone());
    let answer = client.export(metrics(2, 0)).await.unwrap().into_inner();
    assert_eq!(answer.partial_success, None);
    let mut client = client.send_compressed(CompressionEncoding::Gzip);
    let partial = client.export(metrics(1_000, 2)).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
    assert_eq!(partial.error_message, "metric `depth`: the point has no value");
    assert_eq!(server.points().len(), 1_002);
    assert_eq!(server.points()[1], (r#"depth{instance="this-host", job="cart", n="1"}"#.to_owned(), 1.0));

    let span = Span { name: "s".into(), attributes: vec![text("uri", "/a?rvt-token=abcdef")], ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..Default::default() }];
    let mut traces = TraceServiceClient::new(channel.clone());
    traces.export(ExportTraceServiceRequest { resource_spans }).await.unwrap();
    let record = LogRecord { severity_text: "INFO".into(), ..Default::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, ..Default::default() }];
    let mut logs = LogsServiceClient::new(channel);
    logs.export(ExportLogsServiceRequest { resource_logs }).await.unwrap();

    let received = Signal::ALL.map(|signal| server.intake.stats().received(signal));
    assert_eq!(received, [1_004, 1, 1]);
    let onward = server.onward.lock();
    assert_eq!(onward.len(), 4, "everything that was kept goes on");
    let Telemetry::Traces(sent_on) = &onward[2] else { panic!("the third request was traces") };
    assert!(!format!("{sent_on:?}").contains("abcdef"), "the token does not go on");
}

#[tokio::test]
async fn http_takes_protobuf_json_and_gzip() {
    let server = start(config(), Recorder::default()).await;
    let answer = server.post("/v1/metrics", &[PROTOBUF], metrics(1, 1).encode_to_vec()).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, PROTOBUF.1));
    let answer = ExportMetricsServiceResponse::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_data_points, 1);

    let packed = [PROTOBUF, ("content-encoding", "gzip")];
    let answer = server.post("/v1/metrics", &packed, gzip(&metrics(5_000, 0).encode_to_vec())).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.unwrap().is_empty(), "an empty message is full success");

    let json = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"j","gauge":{"dataPoints":[{"asInt":"3"},{"asInt":"x"}]}}]}]}]}"#;
    let answer = server.post("/v1/metrics", &[("content-type", "application/json; charset=utf-8")], json.into()).await;
    assert_eq!(answer.status(), 200);
    let answer: serde_json::Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["partialSuccess"]["rejectedDataPoints"], "1");
    assert_eq!(server.points().len(), 5_002);
}

#[tokio::test]
async fn http_refusals_have_status_text_and_count() {
    let mut config = config();
    config.limits.request_size.0 = 2_048;
    let server = start(config, Recorder::default()).await;
    let body = || metrics(1, 0).encode_to_vec();
    let zstd = [PROTOBUF, ("content-encoding", "zstd")];
    let packed = [PROTOBUF, ("content-encoding", "gzip")];
    let bomb = gzip(&vec![0; 100_000]);
    assert!(bomb.len() < 2_048);
    for (path, headers, body, status, reason, says) in [
        ("/v1/metrics", &[PROTOBUF][..], b"\xff\xff\xff".to_vec(), 400, "protobuf", "ExportMetricsServiceRequest"),
        ("/v1/metrics", &[("content-type", "text/plain")], body(), 415, "content_type", "`text/plain`"),
        ("/v1/metrics", &[], body(), 415, "content_type", "application/x-protobuf"),
        ("/v1/metrics", &zstd, body(), 415, "encoding", "`zstd` is not supported; send `gzip`"),
        ("/v1/traces", &packed, b"not gzip".to_vec(), 400, "compression", "gzip body"),
        ("/v1/metrics", &[PROTOBUF], vec![0; 3_000], 413, "too_large", "2048 bytes"),
        ("/v1/metrics", &packed, bomb, 413, "too_large", "decompressed"),
        ("/v1/logs", &[("content-type", "application/json")], b"{".to_vec(), 400, "json", "not JSON"),
        ("/v2/metrics", &[PROTOBUF], body(), 404, "unknown_path", "/v1/metrics"),
    ] {
        let before = server.refused(reason);
        let answer = server.post(path, headers, body).await;
        assert_eq!(answer.status().as_u16(), status, "{reason}");
        let is_protobuf = answer.headers()["content-type"] == PROTOBUF.1;
        let bytes = answer.bytes().await.unwrap();
        let message = match is_protobuf {
            true => tonic_types::Status::decode(bytes).unwrap().message,
            false => String::from_utf8(bytes.to_vec()).unwrap(),
        };
        assert!(message.contains(says), "{reason}: {message}");
        assert_eq!(server.refused(reason), before + 1, "{reason} is counted");
    }
    let got = server.client.get(format!("http://{}/v1/metrics", server.http)).send().await.unwrap();
    assert_eq!((got.status().as_u16(), got.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(server.points(), [], "nothing refused was kept");
    assert_eq!(server.post("/v1/metrics", &[PROTOBUF], body()).await.status(), 200, "and the door still works");
}

/// Sends raw bytes as a gRPC call and gives the status it was answered with.
async fn raw_grpc(server: &Server, headers: &[(&str, &str)], body: Vec<u8>) -> tonic::Status {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let path = "opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let mut request = client.post(format!("http://{}/{path}", server.grpc)).body(body);
    request = request.header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200, "gRPC tells errors in its own headers");
    tonic::Status::from_header_map(answer.headers()).unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &len, message].concat()
}

#[tokio::test]
async fn grpc_refusals_have_code_text_and_count() {
    let mut config = config();
    config.limits.request_size.0 = 2_048;
    let server = start(config, Recorder::default()).await;
    let good = metrics(1, 0).encode_to_vec();
    let gzip_header = [("grpc-encoding", "gzip")];
    use tonic::Code::{InvalidArgument, Unimplemented};
    for (headers, body, code, reason, says) in [
        (&[][..], framed(0, b"\xff\xff"), InvalidArgument, "protobuf", "ExportMetricsServiceRequest"),
        (&[("grpc-encoding", "zstd")], framed(1, &good), Unimplemented, "encoding", "send `gzip`"),
        (&[], framed(1, &good), InvalidArgument, "frame", "no grpc-encoding"),
        (&[], vec![0, 0], InvalidArgument, "frame", "prefix"),
        (&gzip_header, framed(1, b"not gzip"), InvalidArgument, "compression", "gzip"),
        (&gzip_header, framed(1, &gzip(&vec![0; 100_000])), InvalidArgument, "too_large", "2048 bytes"),
        (&[], framed(0, &vec![0; 3_000]), InvalidArgument, "too_large", "2048 bytes"),
    ] {
        let before = server.refused(reason);
        let status = raw_grpc(&server, headers, body).await;
        assert_eq!(status.code(), code, "{reason}: {}", status.message());
        assert!(status.message().contains(says), "{reason}: {}", status.message());
        assert_eq!(server.refused(reason), before + 1, "{reason} is counted");
    }
    MetricsServiceClient::new(server.channel().await).export(metrics(1, 0)).await.unwrap();
}

#[tokio::test]
async fn an_overloaded_store_asks_for_a_retry_in_both_protocols() {
    let error = AppendError::Overloaded { what: "memory cap".into(), retry_after_ms: 1_500 };
    let server = start(config(), Recorder { refuses: Some(error), ..Recorder::default() }).await;
    let answer = server.post("/v1/metrics", &[PROTOBUF], metrics(3, 0).encode_to_vec()).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "2"));
    let status = tonic_types::Status::decode(answer.bytes().await.unwrap()).unwrap();
    assert_eq!((status.code, status.details.len()), (tonic::Code::ResourceExhausted as i32, 1));

    let refused = MetricsServiceClient::new(server.channel().await).export(metrics(3, 0)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(refused.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(1_500)));
    assert_eq!(server.refused("overloaded"), 2);
    assert!(server.onward.lock().is_empty(), "what was not kept does not go on");
    let unkept = server.stats.rows().into_iter().find(|r| r.name == "rivetwatch_otlp_unkept_data_points_total");
    assert_eq!(unkept.unwrap().value, 6.0);
}

#[tokio::test]
async fn too_many_bytes_at_once_are_refused_for_now() {
    let mut config = config();
    config.limits.request_size.0 = 4_096;
    config.limits.in_flight_size.0 = 4_096;
    let server = start(config, Recorder::default()).await;
    // The packed body alone fits, packed and unpacked together do not.
    let most = (1..200).rfind(|n| metrics(*n, 0).encoded_len() < 4_096).unwrap();
    let body = gzip(&metrics(most, 0).encode_to_vec());
    let answer = server.post("/v1/metrics", &[PROTOBUF, ("content-encoding", "gzip")], body).await;
    assert_eq!(answer.status(), 429);
    assert_eq!(server.post("/v1/metrics", &[PROTOBUF], metrics(1, 0).encode_to_vec()).await.status(), 200);
}

#[tokio::test]
async fn a_token_is_asked_for_in_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "s3cret-token\n").unwrap();
    let server = start(Config { auth: Some(Auth::TokenFile(token_file)), ..config() }, Recorder::default()).await;
    for (authorization, status) in
        [("", 401), ("Bearer wrong", 401), ("Basic s3cret-token", 401), ("Bearer s3cret-token", 200)]
    {
        let headers = [PROTOBUF, ("authorization", authorization)];
        let answer = server.post("/v1/metrics", &headers, metrics(1, 0).encode_to_vec()).await;
        assert_eq!(answer.status().as_u16(), status, "{authorization}");
    }
    let mut client = MetricsServiceClient::new(server.channel().await);
    assert_eq!(client.export(metrics(1, 0)).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    let mut request = tonic::Request::new(metrics(1, 0));
    request.metadata_mut().insert("authorization", "Bearer s3cret-token".parse().unwrap());
    client.export(request).await.unwrap();
}

#[tokio::test]
async fn a_busy_port_is_named_and_stopping_ends_the_service() {
    let server = start(config(), Recorder::default()).await;
    let mut busy = config();
    busy.http.endpoint = server.http;
    let Err(error) = Doors::bind(&busy, Arc::clone(&server.intake)).await else { panic!("the port is taken") };
    assert_eq!(error.to_string(), format!("failed to listen on `{}` (`receive.otlp.http.endpoint`)", server.http));
    assert!(matches!(error, BindError::Listen { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse));
    server.post("/v1/metrics", &[PROTOBUF], metrics(1, 0).encode_to_vec()).await;
    server.stop.cancel();
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn with_both_doors_off_the_service_stands_until_it_is_stopped() {
    let intake = start(config(), Recorder::default()).await.intake;
    let mut off = config();
    (off.grpc.enabled, off.http.enabled) = (false, false);
    let doors = Doors::bind(&off, intake).await.unwrap();
    let stop = CancellationToken::new();
    let mut served = tokio::spawn(doors.serve(stop.clone().cancelled_owned()));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), &mut served).await.is_err());
    stop.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_body_that_breaks_off_is_counted() {
    let server = start(config(), Recorder::default()).await;
    let mut stream = tokio::net::TcpStream::connect(server.http).await.unwrap();
    let head = "POST /v1/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 100\r\n\r\nhalf";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    assert_eq!(server.refused("broken_off"), 1, "{}", String::from_utf8_lossy(&answer));
}

/// A sidecar's points and traces, sent by its forwarder, arrive at a gateway's door: points unchanged, traces
/// with the identity that only the sidecar could see.
#[tokio::test]
async fn a_sidecars_points_and_traces_reach_the_gateway() {
    use rivetwatch::forward::{Forwarder, Otlp, PointForwarder};
    use rivetwatch::model::Labels;
    use rivetwatch::storage::Point;

    let gateway = start(config(), Recorder::default()).await;
    let forwarder = Forwarder::new(&Otlp::to(format!("http://{}", gateway.grpc))).unwrap();
    let pairs = [("__name__", "rivet_api_request_total"), ("job", "rivet"), ("instance", "pod-1"), ("le", "x.y")];
    let labels = Labels::from_pairs(pairs);
    let points = vec![Point { labels: labels.clone(), t: NOW, value: Value::Float(7.0) }];
    PointForwarder(forwarder.clone()).commit(Batch { points, ..Batch::default() }).await.unwrap();

    let attributes = vec![text("service.name", "rivet")];
    let mut resource = Some(Resource { attributes, ..Default::default() });
    let local = Local { host_name: "pod-1".to_owned(), ..Local::default() };
    let options = config().translation(local);
    rivetwatch::receive::otlp::translate::stamp(&mut resource, None, &options);
    let span = Span { name: "guard_request".into(), ..Default::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..Default::default() }];
    forwarder.traces(&ExportTraceServiceRequest { resource_spans });

    let stop = CancellationToken::new();
    stop.cancel();
    forwarder.run(stop.cancelled_owned(), || NOW).await;
    assert_eq!(gateway.points(), [(labels.to_string(), 7.0)]);
    let batch = gateway.spans.lock().collect(NOW);
    let instances: Vec<_> = batch.points.iter().map(|p| p.labels.get("instance")).collect();
    assert!(!instances.is_empty() && instances.iter().all(|i| *i == Some("pod-1")));
    let row = |name| forwarder.rows().into_iter().filter(|r| r.name == name).map(|r| r.value).sum::<f64>();
    assert_eq!((row("rivetwatch_forward_sent_items_total"), row("rivetwatch_forward_queue_items")), (2.0, 0.0));
}

/// Encrypted both ways: a sender with a certificate of the authority is served, one without is turned away.
#[tokio::test]
async fn senders_show_certificates_where_they_are_asked_for() {
    use rivetwatch::forward::{Forwarder, Otlp, PointForwarder};
    use rivetwatch::model::{HumanDuration, Labels};
    use rivetwatch::receive::otlp::Tls;
    use rivetwatch::storage::Point;

    let file = |name: &str| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/tls").join(name);
    let tls = Tls { cert_file: file("server.pem"), key_file: file("server.key"), client_ca_file: Some(file("ca.pem")) };
    let gateway = start(Config { tls: Some(tls.clone()), ..config() }, Recorder::default()).await;
    let mut sent = Vec::new();
    for has_certificate in [false, true] {
        let mut otlp = Otlp::to(format!("https://localhost:{}", gateway.grpc.port()));
        otlp.tls.ca_file = Some(file("ca.pem"));
        otlp.grace = HumanDuration::secs(if has_certificate { 20 } else { 1 });
        if has_certificate {
            (otlp.tls.cert_file, otlp.tls.key_file) = (Some(file("client.pem")), Some(file("client.key")));
        }
        let forwarder = Forwarder::new(&otlp).unwrap();
        let up = Point { labels: Labels::from_pairs([("__name__", "up")]), t: NOW, value: Value::Float(1.0) };
        PointForwarder(forwarder.clone()).commit(Batch { points: vec![up], ..Batch::default() }).await.unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        forwarder.run(stop.cancelled_owned(), || NOW).await;
        let rows = forwarder.rows().into_iter().filter(|r| r.name == "rivetwatch_forward_sent_items_total");
        sent.push(rows.map(|r| r.value).sum::<f64>());
    }
    assert_eq!((sent.as_slice(), gateway.points().len()), (&[0.0, 1.0][..], 1));

    let missing = Tls { key_file: file("nowhere.key"), ..tls };
    let refused = Doors::bind(&Config { tls: Some(missing), ..config() }, Arc::clone(&gateway.intake)).await;
    assert!(matches!(refused, Err(BindError::Tls(_))));
}
