//! `targets`, `capacity` and `status/…`.

use axum::extract;
use axum::response::Response;
use serde_json::json;

use super::answer::{ApiError, success};
use crate::api::State;

/// The version that Grafana reads to choose its features: the language and API level served here.
const PROMETHEUS_LEVEL: &str = "3.5.0";

pub async fn targets(extract::State(state): extract::State<State>) -> Response {
    success((state.targets)(), &[], &[])
}

/// Headroom as `rivetwatch capacity` prints it. Not a path of Prometheus.
pub async fn capacity(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    let work = tokio::task::spawn_blocking(move || (state.capacity)());
    let report = work.await.map_err(|e| ApiError::internal(e.to_string()))?;
    Ok(success(report.map_err(ApiError::execution)?, &[], &[]))
}

pub async fn build_info() -> Response {
    success(
        json!({
            "version": PROMETHEUS_LEVEL, "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": "",
            "application": "rivetwatch", "applicationVersion": env!("CARGO_PKG_VERSION"),
        }),
        &[],
        &[],
    )
}

pub async fn runtime_info(extract::State(state): extract::State<State>) -> Response {
    success(
        json!({
            "serverTime": state.clock.now().to_rfc3339(),
            "ready": state.health.is_ready(),
        }),
        &[],
        &[],
    )
}

pub async fn flags(extract::State(state): extract::State<State>) -> Response {
    success(
        json!({
            "query.timeout": state.query.timeout.to_string(),
            "query.max-concurrency": state.query.max_concurrency.to_string(),
            "query.max-samples": state.query.max_samples.to_string(),
        }),
        &[],
        &[],
    )
}
