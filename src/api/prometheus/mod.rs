//! The Prometheus HTTP API, enough that Grafana's Prometheus data source, promtool and curl work on the agent itself.
//!
//! In:  `GET` and `POST` (form) requests under `/api/v1`.   Out: Prometheus' JSON envelope and status codes.
//! Always: errors carry `errorType`; a query stops when its client goes away or its time is up.
//! Limits: `api.query.max_concurrency` queries at once (others wait), `timeout`, samples and series per query.

mod answer;
mod escaping;
mod exposition;
mod federate;
mod instances;
mod labels;
mod params;
mod points;
mod query;
mod reply;
mod rules;
mod status;
mod targets;
mod tree;

use axum::Router;
use axum::routing::{get, post};

use super::State;

pub use answer::{ApiError, write_f64};
pub use federate::federate;

/// The routes below `/api/v1`.
pub fn router() -> Router<State> {
    Router::new()
        .route("/query", get(query::instant).post(query::instant))
        .route("/query_range", get(query::range).post(query::range))
        .route("/query_exemplars", get(query::exemplars).post(query::exemplars))
        .route("/format_query", get(query::format).post(query::format))
        .route("/parse_query", get(query::parse_query).post(query::parse_query))
        .route("/series", get(labels::series).post(labels::series))
        .route("/labels", get(labels::names).post(labels::names))
        .route("/label/{name}/values", get(labels::values))
        .route("/metadata", get(labels::metadata))
        .route("/rules", get(rules::rules))
        .route("/alerts", get(rules::alerts))
        .route("/alerts/why", get(rules::why))
        .route("/instances", get(instances::list))
        .route("/instances/retire", post(instances::retire))
        .route("/targets", get(targets::targets))
        .route("/targets/metadata", get(targets::metadata))
        .route("/alertmanagers", get(targets::alertmanagers))
        .route("/capacity", get(status::capacity))
        .route("/check", get(status::check))
        .route("/status/buildinfo", get(status::build_info))
        .route("/status/runtimeinfo", get(status::runtime_info))
        .route("/status/config", get(status::config))
        .route("/status/flags", get(status::flags))
        .route("/status/tsdb", get(status::tsdb))
        .route("/status/walreplay", get(status::wal_replay))
        .method_not_allowed_fallback(answer::method_not_allowed)
        .fallback(answer::no_such_path)
}
