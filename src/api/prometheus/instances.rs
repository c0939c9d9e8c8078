//! `instances` and `instances/retire`: not paths of Prometheus.
//!
//! Always: retiring takes a JSON body, which a page of another origin cannot send without being asked first.

use axum::extract;
use axum::response::Response;
use serde::Deserialize;

use super::answer::{ApiError, success};
use super::rules::answered;
use crate::api::State;

pub async fn list(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    let work = tokio::task::spawn_blocking(move || (state.instances)());
    Ok(success(work.await.map_err(|e| ApiError::internal(e.to_string()))?, &[], &[]))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retire {
    instance: String,
}

pub async fn retire(
    extract::State(state): extract::State<State>,
    body: Result<extract::Json<Retire>, extract::rejection::JsonRejection>,
) -> Result<Response, ApiError> {
    let extract::Json(Retire { instance }) = body.map_err(|e| ApiError::bad_data(e.body_text()))?;
    answered(state.retire.clone(), instance).await
}
