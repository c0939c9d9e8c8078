//! The HTTP doors on 6440: Prometheus API, Alertmanager API, runbooks, the page, own metrics and health.
//!
//! In:  requests of Grafana, promtool, amtool, the command line and people.   Out: JSON, text and one page.
//! Always: the rooms are only read here, except for silences and alerts that others hand in.
//! Limits: bodies of 2 MiB for forms; answers are compressed with gzip or zstd where the client takes it.

pub mod alertmanager;
mod auth;
mod config;
mod health;
pub mod page;
pub mod prometheus;
pub mod scaler;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::trace::TraceLayer;
use tracing::Span;

use crate::clock::Clock;
use crate::model::Labels;
use crate::promql;
use crate::storage::Select;

pub use auth::{Auth, AuthConfig, check_exposure};
pub use config::{Config, DEFAULT_PORT, ProbeConfig, QueryConfig, WindowEdges};
pub use health::Health;
pub use scaler::{
    ScalerConfig, ScalerDoor, ScalerError, ScalerMetric, ScalerQuestion, ScalerSettings, ScalerStats, ScalerView,
};

/// What the handlers read; cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Shared>);

/// The parts behind [`State`], filled in by `app`.
pub struct Shared {
    pub storage: Arc<dyn Select>,
    pub engine: Arc<promql::Engine>,
    pub clock: Clock,
    pub query: QueryConfig,
    /// Time between evaluations of the rules, for `status/config`.
    pub interval_ms: i64,
    /// Time between scrapes and the most that one may take, for `status/config`.
    pub scrape_interval_ms: i64,
    pub scrape_timeout_ms: i64,
    /// Pages of these origins may ask from a browser.
    pub cors_origins: Vec<String>,
    /// `rules.external_labels`, for `/federate` and `status/config`.
    pub external_labels: Labels,
    /// One permit for each query that may run at once.
    pub query_slots: Arc<Semaphore>,
    pub health: Arc<Health>,
    /// The page of `/metrics`.
    pub metrics_page: View<Vec<u8>>,
    /// `data` of `/api/v1/rules`, `/api/v1/alerts`, `/api/v1/targets`, `/api/v1/capacity`, `/api/v1/check`.
    pub rules: View<Value>,
    pub alerts: View<Value>,
    pub targets: View<Value>,
    pub capacity: CapacityView,
    /// `data` of `/api/v1/alerts/why`, by alert name.
    pub why: Ask,
    /// `data` of `/api/v1/instances`, and of retiring one.
    pub instances: View<Value>,
    pub retire: AskRetire,
    /// `data` of `/api/v1/status/runtimeinfo`.
    pub runtime: View<Value>,
    /// `headStats` of `/api/v1/status/tsdb`.
    pub head: View<Value>,
    pub check: View<Result<Value, String>>,
}

/// Something that is worked out when it is asked for.
pub type View<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Something that is worked out for a name.
pub type Ask = Arc<dyn Fn(&str) -> Result<Value, Refused> + Send + Sync>;

/// What says that an instance is gone for good.
pub type AskRetire = Arc<dyn Fn(&Retire) -> Result<Value, Refused> + Send + Sync>;

/// The instance that is gone, and whether that is meant even where it seems to be alive.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    pub instance: String,
    pub cluster: Option<String>,
    pub namespace: Option<String>,
    #[serde(default)]
    pub force: bool,
}

/// Headroom, also under assumptions such as `traffic=2x`.
pub type CapacityView = Arc<dyn Fn(Option<&str>) -> Result<Value, Refused> + Send + Sync>;

/// Why a view has nothing to show; for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing has that name.
    #[error("{0}")]
    NotFound(String),
    /// What was asked makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// It was understood and could not be worked out.
    #[error("{0}")]
    Failed(String),
}

impl State {
    /// The state of an API.
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }
}

impl std::ops::Deref for State {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Everything on 6440. `more` holds the routers of other guarded doors, such as the Alertmanager API.
///
/// The page needs no token: it holds nothing of the installation and asks for one when the APIs do.
pub fn router(state: State, auth: Auth, more: Router) -> Router {
    let cors = cors(&state.cors_origins);
    let open = health::router().with_state(state.clone()).merge(page::router());
    let guarded = Router::new()
        .nest("/api/v1", prometheus::router())
        .route("/federate", get(prometheus::federate))
        .merge(health::metrics_router())
        .with_state(state)
        .merge(more)
        .layer(axum::middleware::from_fn_with_state(auth, auth::require_token))
        // Outside of the token, which the question before the question does not carry.
        .layer(cors);
    let spans = TraceLayer::new_for_http()
        .make_span_with(request_span)
        .on_request(())
        .on_response(|response: &Response, _: Duration, span: &Span| {
            span.record("http.response.status_code", response.status().as_u16());
        })
        .on_body_chunk(())
        .on_eos(())
        .on_failure(());
    Router::new().merge(open).merge(guarded).layer(CatchPanicLayer::new()).layer(CompressionLayer::new()).layer(spans)
}

/// Lets browsers show answers to pages of these origins; with none, to no other page.
fn cors(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    if origins.is_empty() {
        return CorsLayer::new();
    }
    CorsLayer::new().allow_origin(origins).allow_methods([Method::GET, Method::POST, Method::DELETE]).allow_headers([
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::ACCEPT,
    ])
}

/// The span of one request: its method and path, never its query, which may hold a token.
fn request_span(request: &Request) -> Span {
    tracing::info_span!(
        "http_request",
        otel.kind = "server",
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
    )
}

/// `/livez`, `/readyz` and `/metrics` alone, for the probes listener.
pub fn probe_router(state: State) -> Router {
    health::router()
        .merge(health::metrics_router())
        .with_state(state)
        .fallback(get(|| async { axum::http::StatusCode::NOT_FOUND }))
}
