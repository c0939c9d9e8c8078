//! Sends what the queue holds, one request after the other.
//!
//! In:  requests and points, from any thread.   Out: gRPC calls.
//! Always: offering never waits; decisions are [`RetryPolicy`]'s and [`SendQueue`]'s, this file only does the I/O.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use prost::Message;
use secrecy::ExposeSecret;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_types::StatusExt;
use tracing::{info, warn};

use super::config::{Compression, Otlp, Tls};
use super::encode::{self, data_points};
use super::queue::{DropReason, Request, SendQueue, Signal};
use super::retry::{Decision, Outcome, RetryPolicy};
use crate::model::{Counter, StatRow, Stats, TimestampMs};
use crate::storage::{Append, Batch, Receipt, Ticket};

/// Requests of one signal are sent together up to this size: large enough to spare round trips, and a quarter
/// of the 4 MiB that gRPC servers take by default.
const TOGETHER_BYTES: usize = 1 << 20;

/// Why the sender could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("`forward.otlp.endpoint` is no endpoint: `{endpoint}`")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
    #[error("failed to set up TLS for `forward.otlp.endpoint` `{endpoint}`")]
    Tls { endpoint: String, source: tonic::transport::Error },
    #[error("failed to read `{}` (`forward.otlp.{key}`)", path.display())]
    File { key: String, path: PathBuf, source: std::io::Error },
    #[error("`forward.otlp.headers` has a name or value that no header can have: `{name}`")]
    Header { name: String },
}

/// Takes requests, keeps them in a bounded queue, and sends them on. Cheap to clone.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    /// Host and port, for the log.
    endpoint: String,
    /// Whether the last attempt failed, so that the log says it once.
    is_failing: AtomicBool,
    queue: Mutex<SendQueue>,
    filled: Notify,
    signals: Vec<Signal>,
    channel: Channel,
    headers: MetadataMap,
    compression: Compression,
    timeout: Duration,
    grace: Duration,
    requests_sent: Counter,
    requests_failed: Counter,
    requests_given_up: Counter,
}

impl Forwarder {
    /// Prepares the connection, without connecting yet; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The endpoint, a header, or a file of the configuration is unusable.
    pub fn new(config: &Otlp) -> Result<Self, ForwardError> {
        let endpoint = |source| ForwardError::Endpoint { endpoint: config.endpoint.clone(), source };
        let mut target = Endpoint::from_shared(config.endpoint.clone())
            .map_err(endpoint)?
            .connect_timeout(config.timeout.0)
            .timeout(config.timeout.0)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(30))
            .user_agent(concat!("rivetwatch/", env!("CARGO_PKG_VERSION")))
            .map_err(endpoint)?;
        if config.endpoint.starts_with("https://") {
            let tls = tls(&config.tls)?;
            target = target
                .tls_config(tls)
                .map_err(|source| ForwardError::Tls { endpoint: config.endpoint.clone(), source })?;
        }
        let queue_bytes = usize::try_from(config.queue.max_bytes.0).unwrap_or(usize::MAX);
        let inner = Inner {
            endpoint: target
                .uri()
                .authority()
                .map_or_else(String::new, |a| format!("{}:{}", a.host(), a.port_u16().unwrap_or(4317))),
            is_failing: AtomicBool::new(false),
            queue: Mutex::new(SendQueue::new(queue_bytes, config.queue.max_items)),
            filled: Notify::new(),
            signals: config.signals.clone(),
            channel: target.connect_lazy(),
            headers: headers(config)?,
            compression: config.compression,
            timeout: config.timeout.0,
            grace: config.grace.0,
            requests_sent: Counter::default(),
            requests_failed: Counter::default(),
            requests_given_up: Counter::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    /// Queues a redacted metrics request, where metrics are configured to go on.
    pub fn metrics(&self, request: &ExportMetricsServiceRequest) {
        let items = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
        self.offer(Signal::Metrics, items.map(data_points).sum(), request);
    }

    /// Queues a redacted trace request, where traces are configured to go on.
    pub fn traces(&self, request: &ExportTraceServiceRequest) {
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        self.offer(Signal::Traces, scopes.map(|s| s.spans.len() as u64).sum(), request);
    }

    /// Queues a redacted logs request, where logs are configured to go on.
    pub fn logs(&self, request: &ExportLogsServiceRequest) {
        let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
        self.offer(Signal::Logs, scopes.map(|s| s.log_records.len() as u64).sum(), request);
    }

    fn offer(&self, signal: Signal, items: u64, request: &impl Message) {
        if items == 0 || !self.0.signals.contains(&signal) {
            return;
        }
        let message = Bytes::from(request.encode_to_vec());
        self.0.queue.lock().push(Request { signal, message, items });
        self.0.filled.notify_one();
    }

    /// Sends until `shutdown` ends; then for as long as `grace` allows, and drops what is left.
    ///
    /// `clock` tells the time for waits between attempts.
    pub async fn run(&self, shutdown: impl Future<Output = ()>, clock: impl Fn() -> TimestampMs) {
        let mut retry = RetryPolicy::default();
        let stopping = CancellationToken::new();
        let send = async {
            while !stopping.is_cancelled() || self.0.queue.lock().queued() > 0 {
                self.step(&mut retry, &clock, &stopping).await;
            }
        };
        let stop = async {
            shutdown.await;
            stopping.cancel();
            tokio::time::sleep(self.0.grace).await;
        };
        let in_time = tokio::select! {
            () = send => true,
            () = stop => false,
        };
        let left = {
            let mut queue = self.0.queue.lock();
            let left = queue.queued();
            queue.clear(DropReason::Shutdown);
            left
        };
        if in_time {
            info!("everything received was forwarded before stopping");
        } else {
            warn!(items = left, "stopped before everything received was forwarded");
        }
    }

    /// Sends the oldest request once, waiting for one first and for its next try afterwards.
    ///
    /// When stopping begins, it ends either wait; a call under way goes on.
    async fn step(&self, retry: &mut RetryPolicy, clock: &impl Fn() -> TimestampMs, stopping: &CancellationToken) {
        let taken = self.0.queue.lock().take(TOGETHER_BYTES);
        let Some(request) = taken else {
            tokio::select! {
                () = self.0.filled.notified() => {}
                () = stopping.cancelled() => {}
            }
            return;
        };
        let was_stopping = stopping.is_cancelled();
        // Were this future dropped in the middle of the call, the request goes back as the oldest.
        let mut under_way = UnderWay { inner: &self.0, request: Some(request) };
        let outcome = match &under_way.request {
            Some(request) => self.0.call(request).await,
            None => return,
        };
        let decision = retry.decide(clock(), &outcome, fastrand::f64());
        let Some(request) = under_way.request.take() else { return };
        match decision {
            Decision::Settle { rejected } => {
                self.0.requests_sent.inc();
                if self.0.is_failing.swap(false, Ordering::Relaxed) {
                    info!(endpoint = self.0.endpoint.as_str(), "forwarding goes on");
                }
                self.0.queue.lock().settle(&request, rejected);
                if rejected > 0 {
                    warn!(signal = request.signal.as_str(), rejected, "the endpoint did not keep everything");
                }
            }
            Decision::GiveUp => {
                self.0.requests_given_up.inc();
                self.0.queue.lock().forget(&request, DropReason::Refused);
                let signal = request.signal.as_str();
                warn!(signal, items = request.items, ?outcome, "the endpoint refused a request for good; dropped it");
            }
            Decision::Retry { at } => {
                self.0.requests_failed.inc();
                if !self.0.is_failing.swap(true, Ordering::Relaxed) {
                    let endpoint = self.0.endpoint.as_str();
                    warn!(endpoint, ?outcome, "forwarding fails; what is received waits in the queue");
                }
                self.0.queue.lock().put_back(request);
                let wait = u64::try_from(at.0 - clock().0).unwrap_or(0);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait)) => {}
                    () = stopping.cancelled(), if !was_stopping => {}
                }
            }
        }
    }
}

/// A request that was taken from the queue; dropped unfinished, it goes back.
struct UnderWay<'a> {
    inner: &'a Inner,
    request: Option<Request>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request.take() {
            self.inner.queue.lock().put_back(request);
        }
    }
}

impl Inner {
    async fn call(&self, request: &Request) -> Outcome {
        let calling = self.unary(request);
        let answer = match tokio::time::timeout(self.timeout, calling).await {
            Ok(answer) => answer,
            Err(_) => return Outcome::Failed { code: tonic::Code::DeadlineExceeded, wait: None },
        };
        match answer {
            // The three answers differ in name only: field 1 holds the rejected count and the text.
            Ok(answer) => {
                let partial = ExportMetricsServiceResponse::decode(answer).ok().and_then(|a| a.partial_success);
                let rejected = partial.map_or(0, |p| p.rejected_data_points);
                Outcome::Taken { rejected: u64::try_from(rejected).unwrap_or(0) }
            }
            Err(status) => {
                let is_transport = status.source().is_some();
                match status.code() {
                    tonic::Code::Unknown | tonic::Code::Unavailable | tonic::Code::Internal if is_transport => {
                        Outcome::Unreachable
                    }
                    code => {
                        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
                        Outcome::Failed { code, wait }
                    }
                }
            }
        }
    }

    async fn unary(&self, request: &Request) -> Result<Bytes, tonic::Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        if self.compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let client = &mut client;
        client.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(match request.signal {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        });
        let mut call = tonic::Request::new(request.message.clone());
        *call.metadata_mut() = self.headers.clone();
        Ok(client.unary(call, path, RawCodec).await?.into_inner())
    }
}

impl Stats for Forwarder {
    fn rows(&self) -> Vec<StatRow> {
        let queue = self.0.queue.lock();
        let mut rows = Vec::new();
        for signal in Signal::ALL {
            let totals = queue.totals(signal);
            let counter = |name, help, n| StatRow::counter(name, help, n).with("signal", signal.as_str());
            rows.push(counter(
                "rivetwatch_forward_accepted_items_total",
                "Data points, spans and log records queued for forwarding.",
                totals.accepted,
            ));
            rows.push(counter(
                "rivetwatch_forward_sent_items_total",
                "Data points, spans and log records that the endpoint took.",
                totals.sent,
            ));
            for reason in DropReason::ALL {
                let help = "Data points, spans and log records given up.";
                let dropped = totals.dropped[reason as usize];
                rows.push(
                    counter("rivetwatch_forward_dropped_items_total", help, dropped).with("reason", reason.as_str()),
                );
            }
            rows.push(
                StatRow::gauge(
                    "rivetwatch_forward_queue_items",
                    "Data points, spans and log records waiting or under way.",
                    queue.queued_of(signal) as f64,
                )
                .with("signal", signal.as_str()),
            );
        }
        let help = "Bytes of requests waiting or under way.";
        rows.push(StatRow::gauge("rivetwatch_forward_queue_bytes", help, queue.bytes() as f64));
        let outcomes = [
            ("sent", &self.0.requests_sent),
            ("failed", &self.0.requests_failed),
            ("refused", &self.0.requests_given_up),
        ];
        for (outcome, count) in outcomes {
            let help = "Attempts to send a request, by how they ended; failed ones are tried again.";
            rows.push(
                StatRow::counter("rivetwatch_forward_attempts_total", help, count.get()).with("outcome", outcome),
            );
        }
        rows
    }
}

/// A store that keeps nothing and sends every point on under its final name: what the sidecar commits to.
///
/// The receipt counts what was queued as stored; what the queue drops later is in the forwarder's own counts.
#[derive(Clone)]
pub struct PointForwarder(pub Forwarder);

impl Append for PointForwarder {
    fn commit(&self, batch: Batch) -> Ticket {
        let encoded = encode::points_to_otlp(&batch.points, &batch.metadata);
        self.0.offer(Signal::Metrics, encoded.points, &encoded.request);
        let receipt = Receipt { stored: encoded.points, refused: encoded.refused, ..Receipt::default() };
        Ticket::ready(Ok(receipt))
    }
}

fn headers(config: &Otlp) -> Result<MetadataMap, ForwardError> {
    let mut map = MetadataMap::new();
    let mut add = |name: &str, value: &str| {
        let bad = || ForwardError::Header { name: name.to_owned() };
        let key = AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| bad())?;
        let mut value = AsciiMetadataValue::try_from(value).map_err(|_| bad())?;
        value.set_sensitive(true);
        map.insert(key, value);
        Ok(())
    };
    for (name, value) in &config.headers.0 {
        add(name, value.expose_secret())?;
    }
    for (name, path) in &config.header_files {
        let value = read(&format!("header_files.{name}"), path)?;
        add(name, String::from_utf8_lossy(&value).trim())?;
    }
    Ok(map)
}

fn tls(config: &Tls) -> Result<ClientTlsConfig, ForwardError> {
    let mut tls = ClientTlsConfig::new();
    tls = match &config.ca_file {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read("tls.ca_file", path)?)),
        None => tls.with_native_roots(),
    };
    if let (Some(cert), Some(key)) = (&config.cert_file, &config.key_file) {
        tls = tls.identity(Identity::from_pem(read("tls.cert_file", cert)?, read("tls.key_file", key)?));
    }
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name);
    }
    Ok(tls)
}

fn read(key: &str, path: &Path) -> Result<Vec<u8>, ForwardError> {
    std::fs::read(path).map_err(|source| ForwardError::File { key: key.to_owned(), path: path.to_owned(), source })
}

/// Messages that are encoded already.
#[derive(Clone, Copy, Debug, Default)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = tonic::Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, tonic::Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
