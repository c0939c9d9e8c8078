//! The way of a request behind the doors: decode, redact, translate, commit, send on, answer.
//!
//! In:  a whole, decompressed body.   Out: [`Answer`] after the commit, or [`Reject`].
//! Always: an answer is given after the store has the points; what is sent on was redacted and kept before.
//! Bodies above `OFFLOAD_BYTES` are worked on by blocking threads, so that small requests do not wait behind them.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use parking_lot::Mutex;
use prost::Message;

use super::json;
use super::reject::Reject;
use super::stats::OtlpStats;
use super::translate::{Translated, Translator, stamp};
use crate::model::{StatRow, Stats};
use crate::receive::clock::Clock;
use crate::receive::redact::Redactor;
use crate::receive::spans::{SpanMetrics, SpanStats};
use crate::storage::Append;

/// About half a millisecond's work.
const OFFLOAD_BYTES: usize = 32 << 10;

/// Most examples in one answer, and the longest text.
const EXAMPLES_MAX: usize = 5;

/// The three signals of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    Metrics,
    Traces,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 3] = [Self::Metrics, Self::Traces, Self::Logs];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Traces => "traces",
            Self::Logs => "logs",
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

/// A redacted request on its way to the next collector.
#[derive(Clone, Debug)]
pub enum Telemetry {
    Metrics(ExportMetricsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Logs(ExportLogsServiceRequest),
}

/// Takes what goes on; must return at once.
pub type Onward = Arc<dyn Fn(Telemetry) + Send + Sync>;

/// What a kept request is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Data points, spans or log records that were not kept.
    pub rejected: u64,
    /// Why, by example; empty when all were kept.
    pub message: String,
}

/// Everything a request needs on its way.
pub struct Intake {
    pub(super) translator: Translator,
    pub(super) redactor: Arc<Redactor>,
    pub(super) store: Arc<dyn Append>,
    pub(super) spans: Arc<Mutex<SpanMetrics>>,
    pub(super) onward: Option<Onward>,
    pub(super) stamps_identity: bool,
    pub(super) clock: Clock,
    pub(super) stats: OtlpStats,
    pub(super) span_stats: SpanStats,
}

impl Intake {
    /// An intake that commits to `store`, counts request spans in `spans` and gives what it kept to `onward`.
    pub fn new(
        translator: Translator,
        redactor: Arc<Redactor>,
        store: Arc<dyn Append>,
        spans: Arc<Mutex<SpanMetrics>>,
        onward: Option<Onward>,
        clock: Clock,
    ) -> Self {
        let (stats, span_stats) = (OtlpStats::default(), SpanStats::default());
        Self { translator, redactor, store, spans, onward, stamps_identity: false, clock, stats, span_stats }
    }

    /// Writes into what goes on who it came from, since the next collector cannot see the sender's address.
    ///
    /// For sidecars. Attributes that are there stay as they are.
    pub fn stamping_identity(mut self) -> Self {
        self.stamps_identity = true;
        self
    }

    fn send_on(&self, mut telemetry: Telemetry, peer: Option<IpAddr>) {
        let Some(onward) = &self.onward else { return };
        if self.stamps_identity {
            let options = self.translator.options();
            match &mut telemetry {
                Telemetry::Metrics(r) => {
                    r.resource_metrics.iter_mut().for_each(|r| stamp(&mut r.resource, peer, options));
                }
                Telemetry::Traces(r) => r.resource_spans.iter_mut().for_each(|r| stamp(&mut r.resource, peer, options)),
                Telemetry::Logs(r) => r.resource_logs.iter_mut().for_each(|r| stamp(&mut r.resource, peer, options)),
            }
        }
        onward(telemetry);
    }

    /// The counts of the OTLP doors.
    pub fn stats(&self) -> &OtlpStats {
        &self.stats
    }

    /// Takes one body of `signal` that came from `peer`.
    pub(super) async fn take(
        self: &Arc<Self>,
        signal: Signal,
        encoding: Encoding,
        body: Bytes,
        peer: Option<IpAddr>,
    ) -> Result<Answer, Reject> {
        self.stats.request(signal, encoding == Encoding::Json, body.len());
        match signal {
            Signal::Metrics => self.take_metrics(encoding, body, peer).await,
            Signal::Traces => self.offload(body, move |intake, body| intake.take_traces(encoding, body, peer)).await,
            Signal::Logs => self.offload(body, move |intake, body| intake.take_logs(encoding, body, peer)).await,
        }
    }

    /// Takes a decoded metrics request, as one of this process' own parts makes it, from this machine.
    ///
    /// # Errors
    /// The store refused the whole request.
    pub async fn take_metrics_request(
        self: &Arc<Self>,
        mut request: ExportMetricsServiceRequest,
    ) -> Result<Answer, Reject> {
        self.redactor.metrics(None, &mut request);
        let translated = self.translator.metrics(&request, None, self.clock.now());
        self.keep(Some(request), translated, None, 0, None).await
    }

    async fn take_metrics(
        self: &Arc<Self>,
        encoding: Encoding,
        body: Bytes,
        peer: Option<IpAddr>,
    ) -> Result<Answer, Reject> {
        let work = move |intake: &Intake, body: &[u8]| {
            let message = "ExportMetricsServiceRequest";
            // What goes on has to be decoded for it; what is only kept has not.
            if encoding == Encoding::Protobuf && intake.onward.is_none() {
                let now = intake.clock.now();
                let translated = intake.translator.raw_metrics(body, &intake.redactor, peer, now);
                let translated = translated.map_err(|source| Reject::Protobuf { message, source })?;
                return Ok((None, translated, 0, None));
            }
            let (mut request, skipped, example): (ExportMetricsServiceRequest, _, _) =
                decode(encoding, body, message, json::metrics)?;
            let raw = (encoding == Encoding::Protobuf).then_some(body);
            intake.redactor.metrics(raw, &mut request);
            let translated = intake.translator.metrics(&request, peer, intake.clock.now());
            Ok((Some(request), translated, skipped, example))
        };
        let (request, translated, skipped, example) = self.offload(body, work).await?;
        self.keep(request, translated, peer, skipped, example).await
    }

    async fn keep(
        &self,
        request: Option<ExportMetricsServiceRequest>,
        translated: Translated,
        peer: Option<IpAddr>,
        skipped: u64,
        example: Option<String>,
    ) -> Result<Answer, Reject> {
        self.stats.items(Signal::Metrics, translated.received);
        self.stats.translated(&translated);
        self.stats.skipped(skipped);
        let Translated { mut batch, accepted, refusals, .. } = translated;
        if skipped > 0 {
            batch.refused.push(("unreadable", skipped));
        }
        let receipt = match self.store.commit(batch).await {
            Ok(receipt) => receipt,
            Err(error) => {
                self.stats.unkept(accepted);
                return Err(error.into());
            }
        };
        self.stats.receipt(&receipt);
        if let Some(request) = request {
            self.send_on(Telemetry::Metrics(request), peer);
        }
        // The store counts points, the sender data points: a histogram that lost one bucket was not kept whole.
        let refused_points: u64 = receipt.refused.iter().map(|(_, n)| n).sum();
        let rejected = refusals.total() + skipped + refused_points.min(accepted);
        let examples = refusals.examples().iter().cloned().chain(example).chain(receipt.examples);
        Ok(Answer { rejected, message: examples.take(EXAMPLES_MAX).collect::<Vec<_>>().join("; ") })
    }

    fn take_traces(&self, encoding: Encoding, body: &[u8], peer: Option<IpAddr>) -> Result<Answer, Reject> {
        let (mut request, skipped, example): (ExportTraceServiceRequest, _, _) =
            decode(encoding, body, "ExportTraceServiceRequest", json::traces)?;
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        self.stats.items(Signal::Traces, scopes.map(|s| s.spans.len() as u64).sum());
        self.stats.skipped(skipped);
        self.redactor.traces((encoding == Encoding::Protobuf).then_some(body), &mut request);
        let now = self.clock.now();
        self.spans.lock().observe(&request, peer, self.translator.options(), now, &self.span_stats);
        self.send_on(Telemetry::Traces(request), peer);
        Ok(Answer { rejected: skipped, message: example.unwrap_or_default() })
    }

    fn take_logs(&self, encoding: Encoding, body: &[u8], peer: Option<IpAddr>) -> Result<Answer, Reject> {
        let (mut request, skipped, example): (ExportLogsServiceRequest, _, _) =
            decode(encoding, body, "ExportLogsServiceRequest", json::logs)?;
        let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
        self.stats.items(Signal::Logs, scopes.map(|s| s.log_records.len() as u64).sum());
        self.stats.skipped(skipped);
        self.redactor.logs((encoding == Encoding::Protobuf).then_some(body), &mut request);
        self.send_on(Telemetry::Logs(request), peer);
        Ok(Answer { rejected: skipped, message: example.unwrap_or_default() })
    }

    /// Does `work` on a blocking thread when the body is large, here otherwise.
    async fn offload<T: Send + 'static>(
        self: &Arc<Self>,
        body: Bytes,
        work: impl FnOnce(&Intake, &[u8]) -> Result<T, Reject> + Send + 'static,
    ) -> Result<T, Reject> {
        if body.len() <= OFFLOAD_BYTES {
            return work(self, &body);
        }
        let intake = Arc::clone(self);
        // The task fails only when the runtime stops under it.
        tokio::task::spawn_blocking(move || work(&intake, &body)).await.unwrap_or(Err(Reject::Closed))
    }
}

fn decode<T: Message + Default>(
    encoding: Encoding,
    body: &[u8],
    message: &'static str,
    from_json: impl Fn(&[u8]) -> Result<json::Decoded<T>, json::JsonError>,
) -> Result<(T, u64, Option<String>), Reject> {
    match encoding {
        Encoding::Protobuf => {
            let request = T::decode(body).map_err(|source| Reject::Protobuf { message, source })?;
            Ok((request, 0, None))
        }
        Encoding::Json => {
            let decoded = from_json(body).map_err(|source| Reject::Json { source })?;
            Ok((decoded.request, decoded.skipped, decoded.example))
        }
    }
}

impl Stats for Intake {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = self.stats.rows();
        rows.extend(self.span_stats.rows());
        rows.extend(self.redactor.rows());
        let memory = self.translator.memory();
        rows.push(StatRow::gauge(
            "rivetwatch_otlp_delta_series",
            "Delta series being added up.",
            memory.delta_series as f64,
        ));
        rows.push(StatRow::gauge(
            "rivetwatch_otlp_counter_series",
            "Counter series remembered, so that new ones count from zero.",
            memory.counter_series as f64,
        ));
        rows.push(StatRow::counter(
            "rivetwatch_otlp_untracked_counters_total",
            "Counter points that could not be remembered.",
            memory.untracked_counters,
        ));
        rows.push(StatRow::gauge(
            "rivetwatch_otlp_known_series",
            "Series whose data points are known by their bytes, so that they need not be decoded.",
            memory.known_series as f64,
        ));
        rows
    }
}
