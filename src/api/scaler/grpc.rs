//! The gRPC side: which method is which, who may call, and how an answer is put.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, stream};
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::server::{Server, TcpIncoming};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_prost::ProstCodec;
use tower::Service;
use tracing::debug;

use super::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use super::{ScalerConfig, ScalerTls, ScalerView, read};
use crate::api::auth::Auth;
use crate::clock::Clock;
use crate::model::{Counter, StatRow, Stats};

/// The largest request; a ScaledObject's metadata is a few lines.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// How often a stream looks whether it still has figures.
const STREAM_MS: i64 = 15_000;
/// A call that takes longer is given up.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the door could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ScalerError {
    #[error("failed to listen on `{endpoint}` (`api.external_scaler.listen`)")]
    Listen { endpoint: SocketAddr, source: std::io::Error },
    #[error("`api.external_scaler.auth`: {0}")]
    Auth(String),
    #[error("failed to read `{}` (`api.external_scaler.tls.{key}`)", path.display())]
    Pem { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the files of `api.external_scaler.tls` cannot be used")]
    Tls(#[source] tonic::transport::Error),
}

/// Calls by what came of them.
#[derive(Debug, Default)]
pub struct ScalerStats {
    answered: Counter,
    stale: Counter,
    unauthenticated: Counter,
    invalid: Counter,
}

impl ScalerStats {
    fn count<T>(&self, answer: &Result<T, Status>) {
        let counter = match answer.as_ref().map_err(Status::code) {
            Ok(_) => &self.answered,
            Err(Code::Unauthenticated) => &self.unauthenticated,
            Err(Code::InvalidArgument) => &self.invalid,
            Err(_) => &self.stale,
        };
        counter.inc();
    }
}

impl Stats for ScalerStats {
    fn rows(&self) -> Vec<StatRow> {
        let row = |result: &str, counter: &Counter| {
            let mut row = StatRow::counter(
                "rivetwatch_external_scaler_calls_total",
                "Calls of KEDA by result; `stale` had no figure to answer with.",
                counter.get(),
            );
            row.labels.push(("result", result.to_owned()));
            row
        };
        vec![
            row("answered", &self.answered),
            row("stale", &self.stale),
            row("unauthenticated", &self.unauthenticated),
            row("invalid", &self.invalid),
        ]
    }
}

/// What the door works with.
pub struct ScalerSettings {
    pub config: ScalerConfig,
    pub view: ScalerView,
    pub clock: Clock,
    pub stats: Arc<ScalerStats>,
}

/// The door, bound and not yet open.
pub struct ScalerDoor {
    listener: TcpListener,
    tls: Option<ServerTlsConfig>,
    scaler: ExternalScaler,
    address: SocketAddr,
}

impl ScalerDoor {
    /// Takes the port and reads token and certificates; `None` where no address is configured.
    ///
    /// # Errors
    /// See [`ScalerError`].
    pub async fn bind(settings: ScalerSettings, stop: CancellationToken) -> Result<Option<Self>, ScalerError> {
        let ScalerSettings { config, view, clock, stats } = settings;
        let Some(endpoint) = config.listen else { return Ok(None) };
        let auth = Auth::load(&config.auth).map_err(ScalerError::Auth)?;
        let tls = config.tls.as_ref().map(server_tls).transpose()?;
        let failed = |source| ScalerError::Listen { endpoint, source };
        let listener = TcpListener::bind(endpoint).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { listener, tls, scaler: ExternalScaler { auth, view, clock, stats, stop }, address }))
    }

    /// The address that was really bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop; open streams end then.
    ///
    /// # Errors
    /// The listener failed for good, or the certificates do not work together.
    pub async fn serve(self) -> Result<(), ScalerError> {
        let mut server = Server::builder().concurrency_limit_per_connection(32).timeout(CALL_TIMEOUT);
        if let Some(tls) = self.tls {
            server = server.tls_config(tls).map_err(ScalerError::Tls)?;
        }
        let stop = self.scaler.stop.clone().cancelled_owned();
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        server.add_service(self.scaler).serve_with_incoming_shutdown(incoming, stop).await.map_err(ScalerError::Tls)
    }
}

fn server_tls(tls: &ScalerTls) -> Result<ServerTlsConfig, ScalerError> {
    let file = |key: &'static str, path: &PathBuf| {
        std::fs::read(path).map_err(|source| ScalerError::Pem { key, path: path.clone(), source })
    };
    let identity = Identity::from_pem(file("cert_file", &tls.cert_file)?, file("key_file", &tls.key_file)?);
    let mut config = ServerTlsConfig::new().identity(identity);
    if let Some(path) = &tls.client_ca_file {
        config = config.client_ca_root(Certificate::from_pem(file("client_ca_file", path)?));
    }
    Ok(config)
}

/// The service; cheap to clone.
#[derive(Clone)]
struct ExternalScaler {
    auth: Auth,
    view: ScalerView,
    clock: Clock,
    stats: Arc<ScalerStats>,
    stop: CancellationToken,
}

impl NamedService for ExternalScaler {
    const NAME: &'static str = "externalscaler.ExternalScaler";
}

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Service<Request<Body>> for ExternalScaler {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let scaler = self.clone();
        Box::pin(async move {
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            Ok(match method.as_str() {
                "IsActive" => grpc().unary(IsActive(scaler), request).await,
                "GetMetricSpec" => grpc().unary(GetMetricSpec(scaler), request).await,
                "GetMetrics" => grpc().unary(GetMetrics(scaler), request).await,
                "StreamIsActive" => grpc().server_streaming(StreamIsActive(scaler), request).await,
                // KEDA asks newer scalers for a stream of targets, and takes this for a no.
                other => Status::unimplemented(format!("there is no method `{other}`")).into_http(),
            })
        })
    }
}

fn grpc<Out: prost::Message + 'static, In: prost::Message + Default + 'static>() -> Grpc<ProstCodec<Out, In>> {
    Grpc::new(ProstCodec::default()).max_decoding_message_size(REQUEST_BYTES_MAX)
}

impl ExternalScaler {
    /// Refuses callers without the token: in the header, or in the metadata, where KEDA puts what it reads from the
    /// environment of the target.
    fn authorize(&self, headers: &MetadataMap, object: &ScaledObjectRef) -> Result<(), Status> {
        let header = headers.get("authorization").and_then(|v| v.to_str().ok());
        let header = header.and_then(crate::api::auth::bearer);
        let metadata = ["tokenFromEnv", "token"].iter().find_map(|key| object.scaler_metadata.get(*key));
        if self.auth.accepts(header.or(metadata.map(String::as_str))) {
            return Ok(());
        }
        Err(Status::unauthenticated(
            "this listener wants a token: metadata `tokenFromEnv` of the trigger, or `authorization: Bearer TOKEN`",
        ))
    }

    /// The figure that `object` asks for.
    async fn figure(&self, object: &ScaledObjectRef) -> Result<f64, Status> {
        let (question, _) = read(&object.scaler_metadata)?;
        let view = self.view.clone();
        let answer = tokio::task::spawn_blocking(move || view(&question)).await;
        let answer = answer.map_err(|e| Status::internal(e.to_string()))?;
        answer.map_err(|why| {
            debug!(object = object.name, why, "the external scaler has no figure");
            Status::unavailable(why)
        })
    }
}

impl ExternalScaler {
    fn counted<T>(&self, answer: Result<T, Status>) -> Result<tonic::Response<T>, Status> {
        self.stats.count(&answer);
        answer.map(tonic::Response::new)
    }

    /// True while there are figures: an engine is never scaled to zero on account of little load.
    async fn is_active(&self, headers: &MetadataMap, object: &ScaledObjectRef) -> Result<IsActiveResponse, Status> {
        self.authorize(headers, object)?;
        self.figure(object).await?;
        Ok(IsActiveResponse { result: true })
    }

    fn metric_spec(&self, headers: &MetadataMap, object: &ScaledObjectRef) -> Result<GetMetricSpecResponse, Status> {
        self.authorize(headers, object)?;
        let (question, target) = read(&object.scaler_metadata)?;
        let spec = MetricSpec {
            metric_name: question.metric.name().to_owned(),
            target_size: target.ceil() as i64,
            target_size_float: target,
        };
        Ok(GetMetricSpecResponse { metric_specs: vec![spec] })
    }

    async fn metrics(&self, headers: &MetadataMap, message: GetMetricsRequest) -> Result<GetMetricsResponse, Status> {
        let object = message.scaled_object_ref.unwrap_or_default();
        self.authorize(headers, &object)?;
        let (question, _) = read(&object.scaler_metadata)?;
        let name = question.metric.name();
        if !message.metric_name.is_empty() && message.metric_name != name {
            let says = format!("this trigger serves `{name}`, not `{}`", super::short(&message.metric_name));
            return Err(Status::invalid_argument(says));
        }
        let value = self.figure(&object).await?;
        let value =
            MetricValue { metric_name: name.to_owned(), metric_value: value.ceil() as i64, metric_value_float: value };
        Ok(GetMetricsResponse { metric_values: vec![value] })
    }
}

struct IsActive(ExternalScaler);

impl UnaryService<ScaledObjectRef> for IsActive {
    type Response = IsActiveResponse;
    type Future = Answer<Result<tonic::Response<IsActiveResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        Box::pin(async move {
            let (headers, _, object) = request.into_parts();
            scaler.counted(scaler.is_active(&headers, &object).await)
        })
    }
}

struct GetMetricSpec(ExternalScaler);

impl UnaryService<ScaledObjectRef> for GetMetricSpec {
    type Response = GetMetricSpecResponse;
    type Future = Answer<Result<tonic::Response<GetMetricSpecResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        Box::pin(async move {
            let (headers, _, object) = request.into_parts();
            scaler.counted(scaler.metric_spec(&headers, &object))
        })
    }
}

struct GetMetrics(ExternalScaler);

impl UnaryService<GetMetricsRequest> for GetMetrics {
    type Response = GetMetricsResponse;
    type Future = Answer<Result<tonic::Response<GetMetricsResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<GetMetricsRequest>) -> Self::Future {
        let scaler = self.0.clone();
        Box::pin(async move {
            let (headers, _, message) = request.into_parts();
            scaler.counted(scaler.metrics(&headers, message).await)
        })
    }
}

struct StreamIsActive(ExternalScaler);

type Activity = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

impl ServerStreamingService<ScaledObjectRef> for StreamIsActive {
    type Response = IsActiveResponse;
    type ResponseStream = Activity;
    type Future = Answer<Result<tonic::Response<Activity>, Status>>;

    /// Says once that there are figures, and ends with an error when there are none any more; KEDA comes again then.
    fn call(&mut self, request: tonic::Request<ScaledObjectRef>) -> Self::Future {
        let scaler = self.0.clone();
        Box::pin(async move {
            let (headers, _, object) = request.into_parts();
            let may = scaler.authorize(&headers, &object).and_then(|()| read(&object.scaler_metadata));
            scaler.counted(may.map(drop))?;
            let activity = stream::unfold(Some((scaler, object, false)), |state| async move {
                let (scaler, object, has_spoken) = state?;
                match watch(&scaler, &object, has_spoken).await {
                    Ok(()) => Some((Ok(IsActiveResponse { result: true }), Some((scaler, object, true)))),
                    Err(status) => Some((Err(status), None)),
                }
            });
            Ok(tonic::Response::new(Box::pin(activity) as Activity))
        })
    }
}

/// Waits for something to say: at first that there are figures, later only that there are none.
async fn watch(scaler: &ExternalScaler, object: &ScaledObjectRef, has_spoken: bool) -> Result<(), Status> {
    if !has_spoken {
        return scaler.figure(object).await.map(drop);
    }
    loop {
        let next = scaler.clock.now().plus_ms(STREAM_MS);
        tokio::select! {
            () = scaler.stop.cancelled() => return Err(Status::unavailable("the agent is stopping")),
            () = scaler.clock.sleep_until(next) => scaler.figure(object).await.map(drop)?,
        }
    }
}
