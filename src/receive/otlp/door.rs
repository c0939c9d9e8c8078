//! The two doors: OTLP over gRPC and over HTTP.
//!
//! In:  connections.   Out: requests to the [`Intake`], answers to the sender.
//! Always: a busy port fails at [`Doors::bind`]; a refusal is counted by reason and says what would be right.
//! Either door understands both protocols, so a sender that mixes up the ports is served all the same.
//! Source: OpenTelemetry protocol specification 1.x; gRPC over HTTP/2.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::serve::IncomingStream;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prost::Message;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::debug;

use super::body::{self, Budget, Share};
use super::config::{Auth, Config};
use super::intake::{Answer, Encoding, Intake, Signal};
use super::reject::Reject;
use super::tls::{self, TlsError, TlsListener};
use crate::model::{StatRow, Stats};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const GRPC: &str = "application/grpc";

/// Why the doors could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("failed to listen on `{endpoint}` (`receive.otlp.{door}.endpoint`)")]
    Listen { door: &'static str, endpoint: SocketAddr, source: io::Error },
    #[error("failed to set up TLS for the OTLP doors")]
    Tls(#[from] TlsError),
    #[error("failed to read the token file `{}` (`receive.otlp.auth.token_file`)", path.display())]
    Token { path: std::path::PathBuf, source: io::Error },
    #[error("the token file `{}` (`receive.otlp.auth.token_file`) is empty", path.display())]
    EmptyToken { path: std::path::PathBuf },
}

/// The doors, bound and not yet open.
pub struct Doors {
    grpc: Option<TcpListener>,
    http: Option<TcpListener>,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// What every request needs.
pub(super) struct Shared {
    intake: Arc<Intake>,
    token: Option<SecretString>,
    request_bytes_max: usize,
    request_timeout: std::time::Duration,
    budget: Arc<Budget>,
}

/// A read-only view of the doors' counts that outlives them.
#[derive(Clone)]
pub struct DoorStats(Arc<Shared>);

impl Stats for DoorStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = self.0.intake.rows();
        rows.push(StatRow::gauge(
            "rivetwatch_otlp_in_flight_bytes",
            "Bytes of OTLP requests being worked on.",
            self.0.budget.used() as f64,
        ));
        rows
    }
}

impl Doors {
    /// Takes the ports and reads the token file.
    ///
    /// # Errors
    /// A port is busy or not ours to take; the token file cannot be read or is empty.
    pub async fn bind(config: &Config, intake: Arc<Intake>) -> Result<Self, BindError> {
        let token = match &config.auth {
            Some(Auth::TokenFile(path)) => {
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map_err(|source| BindError::Token { path: path.clone(), source })?;
                if text.trim().is_empty() {
                    return Err(BindError::EmptyToken { path: path.clone() });
                }
                Some(SecretString::from(text.trim()))
            }
            Some(Auth::None) | None => None,
        };
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let shared = Shared {
            intake,
            token,
            request_bytes_max: size(config.limits.request_size.0),
            request_timeout: config.limits.request_timeout.0,
            budget: Budget::new(size(config.limits.in_flight_size.0)),
        };
        let grpc = if config.grpc.enabled { Some(listen("grpc", config.grpc.endpoint).await?) } else { None };
        let http = if config.http.enabled { Some(listen("http", config.http.endpoint).await?) } else { None };
        Ok(Self { grpc, http, tls, shared: Arc::new(shared) })
    }

    /// The address really bound for gRPC; `None` when it is off.
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().and_then(|l| l.local_addr().ok())
    }

    /// The address really bound for HTTP; `None` when it is off.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|l| l.local_addr().ok())
    }

    /// The counts, to be asked for before [`Doors::serve`].
    pub fn stats(&self) -> DoorStats {
        DoorStats(Arc::clone(&self.shared))
    }

    /// Serves until `shutdown` ends, then finishes the requests that are under way.
    ///
    /// # Errors
    /// A listener failed for good.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> io::Result<()> {
        let stopping = CancellationToken::new();
        let serve = |listener: Option<TcpListener>| {
            let (shared, tls) = (Arc::clone(&self.shared), self.tls.clone());
            let stopped = stopping.clone().cancelled_owned();
            async move {
                // A door that is off stands until the other is told to stop.
                let Some(listener) = listener else {
                    stopped.await;
                    return Ok(());
                };
                let router = Router::new().fallback(handle).layer(CatchPanicLayer::new()).with_state(shared);
                let service = router.into_make_service_with_connect_info::<Peer>();
                if let Some(acceptor) = tls {
                    let listener = TlsListener::new(listener, acceptor);
                    return axum::serve(listener, service).with_graceful_shutdown(stopped).await;
                }
                axum::serve(listener, service).with_graceful_shutdown(stopped).await
            }
        };
        let (grpc, http) = (serve(self.grpc), serve(self.http));
        let both = async { tokio::try_join!(grpc, http).map(|_| ()) };
        let stop = async {
            shutdown.await;
            stopping.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            result = both => result,
            () = stop => Ok(()),
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        // Answers are small and single, so waiting to fill a segment only delays them.
        if let Err(error) = stream.io().set_nodelay(true) {
            debug!(%error, "failed to set TCP_NODELAY");
        }
        Self(*stream.remote_addr())
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

async fn listen(door: &'static str, endpoint: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(endpoint).await.map_err(|source| BindError::Listen { door, endpoint, source })
}

/// In which protocol a sender spoke, and is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Http(Encoding),
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let content_type = text(request.headers(), header::CONTENT_TYPE.as_str()).to_ascii_lowercase();
    let protocol = match content_type.split(';').next().unwrap_or_default().trim() {
        kind if kind.starts_with(GRPC) => Protocol::Grpc,
        JSON => Protocol::Http(Encoding::Json),
        _ => Protocol::Http(Encoding::Protobuf),
    };
    match shared.take(request, protocol, &content_type).await {
        Ok((signal, answer)) => accepted(protocol, signal, answer),
        Err(reject) => {
            shared.intake.stats.reject(&reject);
            debug!(reason = reject.text(), "refused an OTLP request");
            refused(protocol, &reject)
        }
    }
}

impl Shared {
    async fn take(&self, request: Request, protocol: Protocol, content_type: &str) -> Result<(Signal, Answer), Reject> {
        let signal = signal_of(request.uri().path()).ok_or(Reject::UnknownPath)?;
        if request.method() != Method::POST {
            return Err(Reject::Method { got: request.method().to_string() });
        }
        let (parts, body) = request.into_parts();
        self.authorize(&parts.headers)?;
        let encoding = match protocol {
            Protocol::Http(Encoding::Json) => Encoding::Json,
            _ => Encoding::Protobuf,
        };
        let is_known = match protocol {
            // `application/grpc+proto` is the same; `application/grpc-web` and `+json` are not.
            Protocol::Grpc => matches!(content_type, GRPC | "application/grpc+proto"),
            Protocol::Http(Encoding::Json) => true,
            Protocol::Http(Encoding::Protobuf) => content_type.split(';').next().is_some_and(|c| c.trim() == PROTOBUF),
        };
        if !is_known {
            let expected = "`application/x-protobuf`, `application/json` or `application/grpc`";
            return Err(Reject::ContentType { got: shortened(content_type), expected });
        }
        let packing = match protocol {
            Protocol::Grpc => text(&parts.headers, "grpc-encoding"),
            Protocol::Http(_) => text(&parts.headers, header::CONTENT_ENCODING.as_str()),
        };
        let is_gzip = match packing {
            "" | "identity" => false,
            "gzip" => true,
            other => return Err(Reject::Encoding { got: shortened(other) }),
        };
        let limit = self.request_bytes_max;
        let announced = text(&parts.headers, header::CONTENT_LENGTH.as_str()).parse::<usize>().unwrap_or(0);
        let prefix = if protocol == Protocol::Grpc { 5 } else { 0 };
        if announced > limit + prefix {
            return Err(Reject::TooLarge { limit });
        }
        let mut share = Share::new(&self.budget);
        let reading = body::read(body, limit + prefix, &mut share);
        let read = tokio::time::timeout(self.request_timeout, reading).await;
        let mut body = read.map_err(|_| Reject::Timeout { seconds: self.request_timeout.as_secs() })??;
        let mut is_compressed = is_gzip;
        if protocol == Protocol::Grpc {
            (body, is_compressed) = body::unframe(body, limit)?;
            if is_compressed && !is_gzip {
                return Err(Reject::Frame { why: "it is compressed, but no grpc-encoding was named" });
            }
        }
        if is_compressed {
            body = body::gunzip(body, limit, &mut share).await?;
        }
        let peer: Option<IpAddr> = parts.extensions.get::<ConnectInfo<Peer>>().map(|peer| peer.0.0.ip());
        let answer = self.intake.take(signal, encoding, body, peer).await?;
        Ok((signal, answer))
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Reject> {
        let Some(token) = &self.token else { return Ok(()) };
        let given = text(headers, header::AUTHORIZATION.as_str());
        let given = given.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        match given {
            Some((_, given)) if is_equal(given.trim().as_bytes(), token.expose_secret().as_bytes()) => Ok(()),
            _ => Err(Reject::Unauthorized),
        }
    }
}

/// Compares in a time that does not depend on where the first difference is.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

fn signal_of(path: &str) -> Option<Signal> {
    match path {
        "/v1/metrics" | "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Some(Signal::Metrics),
        "/v1/traces" | "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Some(Signal::Traces),
        "/v1/logs" | "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Some(Signal::Logs),
        _ => None,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn shortened(value: &str) -> String {
    value.chars().take(100).collect()
}

fn accepted(protocol: Protocol, signal: Signal, answer: Answer) -> Response {
    let body = match protocol {
        Protocol::Http(Encoding::Json) => json_answer(signal, &answer).into_bytes(),
        _ => protobuf_answer(signal, answer),
    };
    match protocol {
        Protocol::Http(encoding) => {
            respond(StatusCode::OK, if encoding == Encoding::Json { JSON } else { PROTOBUF }, body)
        }
        Protocol::Grpc => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let framed = Full::new(body::frame(&body)).with_trailers(async move { Some(Ok(trailers)) });
            let mut response = Response::new(Body::new(framed));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(GRPC));
            response
        }
    }
}

fn protobuf_answer(signal: Signal, answer: Answer) -> Vec<u8> {
    let rejected = i64::try_from(answer.rejected).unwrap_or(i64::MAX);
    let is_partial = rejected > 0 || !answer.message.is_empty();
    let error_message = answer.message;
    match signal {
        Signal::Metrics => ExportMetricsServiceResponse {
            partial_success: is_partial
                .then_some(ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message }),
        }
        .encode_to_vec(),
        Signal::Traces => ExportTraceServiceResponse {
            partial_success: is_partial
                .then_some(ExportTracePartialSuccess { rejected_spans: rejected, error_message }),
        }
        .encode_to_vec(),
        Signal::Logs => ExportLogsServiceResponse {
            partial_success: is_partial
                .then_some(ExportLogsPartialSuccess { rejected_log_records: rejected, error_message }),
        }
        .encode_to_vec(),
    }
}

fn json_answer(signal: Signal, answer: &Answer) -> String {
    if answer.rejected == 0 && answer.message.is_empty() {
        return "{}".to_owned();
    }
    let rejected = match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Traces => "rejectedSpans",
        Signal::Logs => "rejectedLogRecords",
    };
    let partial = serde_json::json!({ rejected: answer.rejected.to_string(), "errorMessage": answer.message });
    serde_json::json!({ "partialSuccess": partial }).to_string()
}

fn refused(protocol: Protocol, reject: &Reject) -> Response {
    let status = reject.to_status();
    let encoding = match protocol {
        Protocol::Grpc => {
            let mut response = status.into_http::<Body>();
            if matches!(reject, Reject::Encoding { .. }) {
                response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
            }
            return response;
        }
        Protocol::Http(encoding) => encoding,
    };
    let mut response = match (encoding, reject) {
        // Who sent an unknown type may not read protobuf either.
        (Encoding::Json, _) | (_, Reject::ContentType { .. } | Reject::UnknownPath | Reject::Method { .. }) => {
            let body = serde_json::json!({ "code": status.code() as i32, "message": status.message() });
            respond(reject.http_status(), JSON, body.to_string().into_bytes())
        }
        (Encoding::Protobuf, _) => {
            // The details of a gRPC status are a whole google.rpc.Status; without any it is made here.
            let body = match status.details() {
                [] => tonic_types::Status {
                    code: status.code() as i32,
                    message: status.message().to_owned(),
                    details: Vec::new(),
                }
                .encode_to_vec(),
                details => details.to_vec(),
            };
            respond(reject.http_status(), PROTOBUF, body)
        }
    };
    let headers = response.headers_mut();
    if let Some(wait) = reject.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_millis().div_ceil(1_000).max(1) as u64));
    }
    match reject {
        Reject::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Reject::Encoding { .. } => {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"));
        }
        Reject::Method { .. } => {
            headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        _ => {}
    }
    response
}

fn respond(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
