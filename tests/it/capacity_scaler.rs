//! KEDA's contract against the door, through a real socket and a gRPC client that knows only the messages.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rivetwatch::api::scaler::ScalerTls;
use rivetwatch::api::scaler::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use rivetwatch::api::{
    AuthConfig, ScalerConfig, ScalerDoor, ScalerMetric, ScalerQuestion, ScalerSettings, ScalerStats,
};
use rivetwatch::clock::Clock;
use rivetwatch::model::{Stats, TimestampMs};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// What the door answers with, which a test may change.
type Figure = Arc<Mutex<Result<f64, String>>>;

struct Server {
    address: SocketAddr,
    figure: Figure,
    asked: Arc<Mutex<Vec<ScalerQuestion>>>,
    stats: Arc<ScalerStats>,
    stop: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A clock that runs a hundred times as fast, so that a stream looks again soon.
fn fast() -> Clock {
    let began = std::time::Instant::now();
    Clock::new(move || TimestampMs(1_795_419_600_000 + began.elapsed().as_millis() as i64 * 100), 100.0)
}

async fn serve(config: ScalerConfig) -> Server {
    let figure: Figure = Arc::new(Mutex::new(Ok(42.5)));
    let asked: Arc<Mutex<Vec<ScalerQuestion>>> = Arc::default();
    let (of, log) = (figure.clone(), asked.clone());
    let view = Arc::new(move |question: &ScalerQuestion| {
        log.lock().push(question.clone());
        of.lock().clone()
    });
    let stop = CancellationToken::new();
    let config = ScalerConfig { listen: Some("127.0.0.1:0".parse().unwrap()), ..config };
    let stats = Arc::new(ScalerStats::default());
    let settings = ScalerSettings { config, view, clock: fast(), stats: stats.clone() };
    let door = ScalerDoor::bind(settings, stop.clone()).await.unwrap().expect("an address is configured");
    let address = door.address();
    tokio::spawn(async move { door.serve().await.unwrap() });
    Server { address, figure, asked, stats, stop }
}

async fn channel(server: &Server) -> Channel {
    Endpoint::from_shared(format!("http://{}", server.address)).unwrap().connect().await.unwrap()
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let scaler_metadata: HashMap<String, String> =
        metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ScaledObjectRef { name: "rivet-engine".into(), namespace: "rivet".into(), scaler_metadata }
}

async fn call<In, Out>(channel: Channel, method: &str, message: In) -> Result<Out, Status>
where
    In: prost::Message + Default + 'static,
    Out: prost::Message + Default + 'static,
{
    call_with(channel, method, Request::new(message)).await
}

async fn call_with<In, Out>(channel: Channel, method: &str, request: Request<In>) -> Result<Out, Status>
where
    In: prost::Message + Default + 'static,
    Out: prost::Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|e| Status::unknown(e.to_string()))?;
    let path = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
    client.unary(request, path, ProstCodec::<In, Out>::default()).await.map(tonic::Response::into_inner)
}

fn metrics_of(object: ScaledObjectRef, name: &str) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(object), metric_name: name.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_calls_of_a_poll_are_answered() {
    let server = serve(ScalerConfig::default()).await;
    let channel = channel(&server).await;
    let of = object(&[("scalerAddress", "rivetwatch:6442"), ("target", "90"), ("job", "rivet")]);
    let spec: GetMetricSpecResponse = call(channel.clone(), "GetMetricSpec", of.clone()).await.unwrap();
    assert_eq!(spec.metric_specs.len(), 1);
    let (name, target) = (spec.metric_specs[0].metric_name.clone(), spec.metric_specs[0].target_size_float);
    assert_eq!((name.as_str(), target), ("rivetwatch-binding-percent", 90.0));
    let values: GetMetricsResponse = call(channel.clone(), "GetMetrics", metrics_of(of.clone(), &name)).await.unwrap();
    let value = &values.metric_values[0];
    assert_eq!((value.metric_name.as_str(), value.metric_value_float, value.metric_value), (name.as_str(), 42.5, 43));
    let active: IsActiveResponse = call(channel.clone(), "IsActive", of).await.unwrap();
    assert!(active.result);
    let replicas = object(&[("metric", "replicas"), ("namespace", "rivet")]);
    let spec: GetMetricSpecResponse = call(channel, "GetMetricSpec", replicas.clone()).await.unwrap();
    assert_eq!(
        (spec.metric_specs[0].metric_name.as_str(), spec.metric_specs[0].target_size),
        ("rivetwatch-wanted-replicas", 1)
    );
    let asked = server.asked.lock();
    assert_eq!(asked[0], ScalerQuestion { metric: ScalerMetric::Binding, job: Some("rivet".into()), namespace: None });
    assert_eq!(asked.len(), 2, "what to aim at is answered without figures: {asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_figures_are_an_error_and_never_a_number() {
    let server = serve(ScalerConfig::default()).await;
    let channel = channel(&server).await;
    *server.figure.lock() = Err("the newest figure of any engine is 130 s old".into());
    let of = object(&[]);
    let metrics = call::<_, GetMetricsResponse>(channel.clone(), "GetMetrics", metrics_of(of.clone(), "")).await;
    let active = call::<_, IsActiveResponse>(channel.clone(), "IsActive", of.clone()).await;
    for status in [metrics.unwrap_err(), active.unwrap_err()] {
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "the newest figure of any engine is 130 s old")
        );
    }
    // KEDA drops a metric whose target it cannot ask for; the autoscaler would then shrink without it.
    let spec: GetMetricSpecResponse = call(channel, "GetMetricSpec", of).await.unwrap();
    assert_eq!(spec.metric_specs[0].target_size_float, 100.0);
    let counts: Vec<_> = server.stats.rows().into_iter().map(|r| (r.labels[0].1.clone(), r.value)).collect();
    assert_eq!(counts[..2], [("answered".to_owned(), 1.0), ("stale".to_owned(), 2.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_speaks_once_and_ends_with_the_figures() {
    let server = serve(ScalerConfig::default()).await;
    let mut client = tonic::client::Grpc::new(channel(&server).await);
    client.ready().await.unwrap();
    let path = "/externalscaler.ExternalScaler/StreamIsActive".parse().unwrap();
    let codec = ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
    let mut stream = client.server_streaming(Request::new(object(&[])), path, codec).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap(), Some(IsActiveResponse { result: true }));
    // The stream has looked again several times within a second, and had nothing to say.
    let silence = tokio::time::timeout(Duration::from_secs(1), stream.message()).await;
    assert!(silence.is_err(), "{silence:?}");
    assert!(server.asked.lock().len() > 2);
    *server.figure.lock() = Err("no engine sends figures".into());
    let end = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.unwrap().unwrap_err();
    assert_eq!((end.code(), end.message()), (Code::Unavailable, "no engine sends figures"));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_hold_up_the_end() {
    let server = serve(ScalerConfig::default()).await;
    let mut client = tonic::client::Grpc::new(channel(&server).await);
    client.ready().await.unwrap();
    let path = "/externalscaler.ExternalScaler/StreamIsActive".parse().unwrap();
    let codec = ProstCodec::<ScaledObjectRef, IsActiveResponse>::default();
    let mut stream = client.server_streaming(Request::new(object(&[])), path, codec).await.unwrap().into_inner();
    stream.message().await.unwrap();
    server.stop.cancel();
    let end = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.unwrap();
    assert!(matches!(end, Err(_) | Ok(None)), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let server = serve(ScalerConfig::default()).await;
    let channel = channel(&server).await;
    let wrong =
        call::<_, IsActiveResponse>(channel.clone(), "IsActive", object(&[("metric", "cpu")])).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("`binding` or `replicas`"), "{wrong}");
    let other = metrics_of(object(&[]), "s0-other");
    let wrong = call::<_, GetMetricsResponse>(channel.clone(), "GetMetrics", other).await.unwrap_err();
    assert!(wrong.code() == Code::InvalidArgument && wrong.message().contains("s0-other"), "{wrong}");
    let unknown = call::<_, GetMetricSpecResponse>(channel.clone(), "StreamMetricSpec", object(&[])).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "KEDA falls back on this code alone");
    let huge = object(&[("x", &"y".repeat(100_000))]);
    let refused = call::<_, IsActiveResponse>(channel, "IsActive", huge).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_comes_in_a_header_or_in_the_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "s3cret\n").unwrap();
    let server = serve(ScalerConfig { auth: AuthConfig::TokenFile(file), ..ScalerConfig::default() }).await;
    let channel = channel(&server).await;
    let of = |metadata: &[(&str, &str)]| call::<_, IsActiveResponse>(channel.clone(), "IsActive", object(metadata));
    assert_eq!(of(&[]).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(of(&[("token", "s3cre")]).await.unwrap_err().code(), Code::Unauthenticated);
    assert!(of(&[("tokenFromEnv", "s3cret")]).await.is_ok(), "KEDA puts the variable's value there");
    let mut request = Request::new(object(&[]));
    request.metadata_mut().insert("authorization", "Bearer s3cret".parse().unwrap());
    assert!(call_with::<_, IsActiveResponse>(channel.clone(), "IsActive", request).await.is_ok());
    let spec = call::<_, GetMetricSpecResponse>(channel, "GetMetricSpec", object(&[])).await;
    assert_eq!(spec.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_show_certificates_where_they_are_asked_for() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/otlp/tls");
    let file = |name: &str| folder.join(name);
    let tls =
        ScalerTls { cert_file: file("server.pem"), key_file: file("server.key"), client_ca_file: Some(file("ca.pem")) };
    let server = serve(ScalerConfig { tls: Some(tls), ..ScalerConfig::default() }).await;
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    let trust =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(file("ca.pem")))).domain_name("localhost");
    let connect = |tls: ClientTlsConfig| {
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{}", server.address.port())).unwrap();
        endpoint.tls_config(tls).unwrap().connect_timeout(Duration::from_secs(20)).connect_lazy()
    };
    let without = call::<_, IsActiveResponse>(connect(trust.clone()), "IsActive", object(&[])).await;
    assert!(without.is_err(), "{without:?}");
    let identity = Identity::from_pem(read(file("client.pem")), read(file("client.key")));
    let with = call::<_, IsActiveResponse>(connect(trust.identity(identity)), "IsActive", object(&[])).await;
    assert!(with.is_ok(), "{with:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_door_that_cannot_open_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let bind = |config: ScalerConfig| {
        let settings = ScalerSettings { config, view: Arc::new(|_| Ok(1.0)), clock: fast(), stats: Arc::default() };
        ScalerDoor::bind(settings, CancellationToken::new())
    };
    assert!(bind(ScalerConfig::default()).await.unwrap().is_none(), "off by default");
    let busy = ScalerConfig { listen: Some(taken.local_addr().unwrap()), ..ScalerConfig::default() };
    let Err(error) = bind(busy.clone()).await else { panic!("the port is taken") };
    assert!(error.to_string().contains("api.external_scaler.listen"), "{error}");
    let missing = ScalerConfig { auth: AuthConfig::TokenFile("/missing/token".into()), ..busy };
    let Err(error) = bind(missing).await else { panic!("the token file is missing") };
    assert!(error.to_string().contains("/missing/token"), "{error}");
}
