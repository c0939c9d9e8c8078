//! `instances` and `instances/retire`: not paths of Prometheus.
//!
//! Always: retiring takes a JSON body, which a page of another origin cannot send without being asked first.

use axum::extract;
use axum::response::Response;

use super::answer::{ApiError, success};
use crate::api::{Retire, State};

pub async fn list(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    let work = tokio::task::spawn_blocking(move || (state.instances)());
    Ok(success(work.await.map_err(|e| ApiError::internal(e.to_string()))?, &[], &[]))
}

pub async fn retire(
    extract::State(state): extract::State<State>,
    body: Result<extract::Json<Retire>, extract::rejection::JsonRejection>,
) -> Result<Response, ApiError> {
    let extract::Json(wanted) = body.map_err(|e| ApiError::bad_data(e.body_text()))?;
    let work = tokio::task::spawn_blocking(move || (state.retire)(&wanted));
    Ok(success(work.await.map_err(|e| ApiError::internal(e.to_string()))??, &[], &[]))
}
