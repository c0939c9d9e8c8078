//! `rules` and `alerts`, with Prometheus' filters, and why an alert stands where it stands.

use axum::extract;
use axum::response::Response;
use serde_json::Value;

use super::answer::{ApiError, success};
use super::params::Params;
use crate::api::{Ask, State, View};

pub async fn rules(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let kind = match params.get("type") {
        None => None,
        Some("alert") => Some("alerting"),
        Some("record") => Some("recording"),
        Some(other) => return Err(ApiError::bad_param("type", format!("not supported value {other:?}"))),
    };
    let mut data = look(&state.rules).await?;
    if let Some(groups) = data["groups"].as_array_mut() {
        keep_named(groups, "name", &params, "rule_group[]");
        keep_named(groups, "file", &params, "file[]");
        for group in groups.iter_mut() {
            if let Some(rules) = group["rules"].as_array_mut() {
                keep_named(rules, "name", &params, "rule_name[]");
                rules.retain(|rule| kind.is_none_or(|kind| rule["type"] == kind));
                if params.get("exclude_alerts") == Some("true") {
                    for rule in rules {
                        rule.as_object_mut().map(|fields| fields.remove("alerts"));
                    }
                }
            }
        }
        groups.retain(|group| group["rules"].as_array().is_some_and(|rules| !rules.is_empty()));
    }
    Ok(success(data, &[], &[]))
}

pub async fn alerts(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    Ok(success(look(&state.alerts).await?, &[], &[]))
}

/// Each part of the expressions behind an alert's name, with its value now. Not a path of Prometheus.
pub async fn why(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let name = params.get("name").ok_or_else(|| ApiError::bad_param("name", "must be the name of an alert".into()))?;
    answered(state.why.clone(), name.to_owned()).await
}

/// Asks on a blocking thread.
pub async fn answered(ask: Ask, name: String) -> Result<Response, ApiError> {
    let work = tokio::task::spawn_blocking(move || ask(&name));
    match work.await.map_err(|e| ApiError::internal(e.to_string()))? {
        Ok(data) => Ok(success(data, &[], &[])),
        Err(refused) => Err(refused.into()),
    }
}

/// Looks on a blocking thread: the rules may be in the middle of a tick, and whoever looks waits for its end.
async fn look(view: &View<Value>) -> Result<Value, ApiError> {
    let view = view.clone();
    tokio::task::spawn_blocking(move || view()).await.map_err(|e| ApiError::internal(e.to_string()))
}

/// Keeps the items whose `field` is one of the parameter's values; all of them when it is not given.
fn keep_named(items: &mut Vec<Value>, field: &str, params: &Params, param: &str) {
    let wanted: Vec<&str> = params.all(param).collect();
    items.retain(|item| wanted.is_empty() || item[field].as_str().is_some_and(|name| wanted.contains(&name)));
}
