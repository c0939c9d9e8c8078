//! The door for Prometheus remote write 1.0: `POST /api/v1/write`.
//!
//! In:  snappy-compressed `prometheus.WriteRequest`s.   Out: one batch a request to `storage::Append`.
//! Always: an answer of 204 comes after the commit; names and labels stay as sent, secrets apart; where some samples
//! are refused the others are stored, and 400 names the refused ones, which the sender must not repeat.
//! Limits: `receive.remote_write.request_size` and `.in_flight_size`; beyond the latter 503 with `Retry-After`.
//! Source: Prometheus Remote-Write 1.0 specification.

mod config;
mod decode;
mod histogram;
pub mod proto;
mod stats;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::receive::redact::Redactor;
use crate::storage::{Append, AppendError, Receipt};

pub use config::Config;
pub use stats::RemoteWriteStats;

/// What the budget of requests is counted in.
const BUDGET_UNIT_BYTES: usize = 1 << 10;
/// What a sender is told to wait when too much is being worked on.
const RETRY_AFTER_MS: u64 = 1_000;
/// How long a sender may take for its body; Prometheus' own timeout is 30 s.
const BODY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

/// What the door works with.
pub struct Settings {
    pub config: Config,
    pub clock: Clock,
    pub store: Arc<dyn Append>,
    /// Takes secrets out of labels and help texts.
    pub redactor: Arc<Redactor>,
    pub stats: Arc<RemoteWriteStats>,
}

struct Door {
    settings: Settings,
    request_bytes_max: usize,
    budget: Arc<Semaphore>,
}

/// Why a request was refused as a whole.
#[derive(Debug, thiserror::Error)]
enum Reject {
    #[error("the remote write receiver is off; `receive.remote_write.enabled: true` switches it on")]
    Off,
    #[error("the content type is `{given}`, and this door takes `application/x-protobuf` of remote write 1.0")]
    Type { given: String },
    #[error("the content encoding is `{given}`, and this door takes `snappy`")]
    Encoding { given: String },
    #[error("the request is above {limit} bytes (`receive.remote_write.request_size`)")]
    TooLarge { limit: usize },
    #[error("the body broke off: {0}")]
    BrokenOff(String),
    #[error("the body took longer than {} s", BODY_TIMEOUT.as_secs())]
    TooSlow,
    #[error("the body is not snappy in its block format")]
    Snappy(#[from] snap::Error),
    #[error(transparent)]
    Decode(#[from] decode::DecodeError),
    #[error("too many requests are being worked on (`receive.remote_write.in_flight_size`)")]
    Busy,
    #[error(transparent)]
    Store(#[from] AppendError),
    #[error("the request could not be worked on: {0}")]
    Panic(String),
}

impl Reject {
    fn status(&self) -> StatusCode {
        match self {
            Self::Off => StatusCode::NOT_FOUND,
            Self::Type { .. } | Self::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff(_) | Self::Snappy(_) | Self::Decode(_) => StatusCode::BAD_REQUEST,
            // Prometheus repeats a request after 5xx always, after 429 only when it was told to.
            Self::Busy | Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Panic(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Busy => Some(RETRY_AFTER_MS),
            Self::Store(AppendError::Overloaded { retry_after_ms, .. }) => Some(*retry_after_ms),
            Self::Store(AppendError::Log { .. } | AppendError::Closed) => Some(RETRY_AFTER_MS),
            _ => None,
        }
    }
}

/// The router with `/api/v1/write`; a door that is off answers 404 and says how to switch it on.
pub fn router(settings: Settings) -> Router {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let units = size(settings.config.in_flight_size.0) / BUDGET_UNIT_BYTES;
    let door = Door {
        request_bytes_max: size(settings.config.request_size.0),
        budget: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        settings,
    };
    Router::new().route("/api/v1/write", post(write)).with_state(Arc::new(door))
}

async fn write(State(door): State<Arc<Door>>, request: Request) -> Response {
    let response = match door.take(request).await {
        Ok(refused) if refused.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(refused) => (StatusCode::BAD_REQUEST, refused).into_response(),
        Err(reject) => {
            let text = crate::model::chain(&reject);
            debug!(error = text, "a remote write request was refused");
            let mut response = (reject.status(), format!("{text}\n")).into_response();
            if let Some(ms) = reject.retry_after_ms() {
                response.headers_mut().insert(header::RETRY_AFTER, ms.div_ceil(1000).max(1).into());
            }
            response
        }
    };
    door.settings.stats.answered(response.status().as_u16());
    response
}

impl Door {
    /// Stores a request; returns the text for the sender where samples were refused.
    async fn take(&self, request: Request) -> Result<String, Reject> {
        let Settings { config, clock, store, redactor, stats } = &self.settings;
        if !config.enabled {
            return Err(Reject::Off);
        }
        check_headers(request.headers())?;
        let limit = self.request_bytes_max;
        let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
        let announced: usize = announced.unwrap_or(limit);
        if announced > limit {
            return Err(Reject::TooLarge { limit });
        }
        let _packed = self.reserve(announced)?;
        let body = match tokio::time::timeout(BODY_TIMEOUT, read(request.into_body(), limit)).await {
            Ok(body) => body?,
            Err(_) => return Err(Reject::TooSlow),
        };
        let unpacked = snap::raw::decompress_len(&body)?;
        if unpacked > limit {
            return Err(Reject::TooLarge { limit });
        }
        let _unpacked = self.reserve(unpacked)?;
        stats.read(unpacked);
        let (now, redactor) = (clock.now(), Arc::clone(redactor));
        let work = tokio::task::spawn_blocking(move || {
            let plain = snap::raw::Decoder::new().decompress_vec(&body)?;
            decode::decode(&plain, now, &redactor).map_err(Reject::from)
        });
        let decoded = work.await.map_err(|e| Reject::Panic(e.to_string()))??;
        stats.decoded(&decoded);
        let mut examples = decoded.examples;
        let refused_here: u64 = decoded.batch.refused.iter().map(|(_, n)| n).sum();
        let points = decoded.batch.points.len() as u64;
        let receipt = match store.commit(decoded.batch).await {
            Ok(receipt) => receipt,
            Err(error) => {
                stats.unkept(points);
                warn!(%error, "the store refused a remote write request");
                return Err(error.into());
            }
        };
        stats.receipt(&receipt);
        let Receipt { stored, duplicate, refused, examples: more } = receipt;
        examples.extend(more);
        let refused = refused_here + refused.iter().map(|(_, n)| n).sum::<u64>();
        if refused == 0 {
            return Ok(String::new());
        }
        debug!(refused, stored, example = examples.first(), "samples of a remote write request were refused");
        Ok(format!("{refused} samples were refused, {} stored:\n{}\n", stored + duplicate, examples.join("\n")))
    }

    /// A share of the budget for `bytes`.
    fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Reject> {
        let units = u32::try_from(bytes.div_ceil(BUDGET_UNIT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.budget).try_acquire_many_owned(units).map_err(|_| Reject::Busy)
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), Reject> {
    let given = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    if let Some(given) = given(header::CONTENT_TYPE) {
        let mut parts = given.split(';').map(str::trim);
        let is_protobuf = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-protobuf"));
        let is_first_version = parts.all(|part| match part.split_once('=') {
            Some(("proto", message)) => message == "prometheus.WriteRequest",
            _ => true,
        });
        if !is_protobuf || !is_first_version {
            return Err(Reject::Type { given });
        }
    }
    match given(header::CONTENT_ENCODING) {
        // Old senders leave it out, and there was never another.
        None => Ok(()),
        Some(encoding) if encoding.eq_ignore_ascii_case("snappy") => Ok(()),
        Some(given) => Err(Reject::Encoding { given }),
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Reject> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Reject::TooLarge { limit }),
        Err(error) => Err(Reject::BrokenOff(error.to_string())),
    }
}
