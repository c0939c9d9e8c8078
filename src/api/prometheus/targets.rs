//! `targets`, `targets/metadata`, `alertmanagers`.

use std::collections::BTreeSet;

use axum::extract;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{ApiError, success};
use super::params::Params;
use crate::api::State;
use crate::model::{Labels, METRIC_NAME, Matcher, TimeRange};

/// What series of a family carry behind its name.
const SUFFIXES: [&str; 5] = ["", "_total", "_bucket", "_sum", "_count"];

/// With `state=active|dropped|any` and `scrapePool`.
pub async fn targets(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let mut data = (state.targets)();
    let wanted = params.get("state").unwrap_or("any").to_ascii_lowercase();
    if let (Some(pool), Some(active)) = (params.get("scrapePool"), data["activeTargets"].as_array_mut()) {
        active.retain(|target| target["scrapePool"] == pool);
    }
    let has_all = wanted == "any";
    if !has_all && wanted != "active" {
        data["activeTargets"] = json!([]);
    }
    if !has_all && wanted != "dropped" {
        data["droppedTargets"] = json!([]);
    }
    Ok(success(data, &[], &[]))
}

/// Type, help and unit of the families that each target exposes, with `match_target`, `metric` and `limit`.
pub async fn metadata(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let limit = params.number("limit")?.unwrap_or(usize::MAX);
    let wanted = match params.get("match_target") {
        Some(text) => {
            crate::promql::parse_selector(text).map_err(|e| ApiError::bad_param("match_target", e.to_string()))?
        }
        None => Vec::new(),
    };
    let metric = params.get("metric").map(str::to_owned);
    let work = tokio::task::spawn_blocking(move || -> Result<Vec<Value>, ApiError> {
        let targets = (state.targets)();
        let families = state.storage.metadata(metric.as_deref());
        let mut found = Vec::new();
        for target in targets["activeTargets"].as_array().into_iter().flatten() {
            let pairs = target["labels"].as_object().into_iter().flatten();
            let labels = Labels::from_pairs(pairs.filter_map(|(n, v)| Some((n.as_str(), v.as_str()?))));
            if !wanted.iter().all(|matcher| matcher.matches(&labels)) {
                continue;
            }
            let own = ["job", "instance"].map(|name| Matcher::equal(name, labels.get(name).unwrap_or("")));
            let names = state.storage.label_values(METRIC_NAME, &own, TimeRange::ALL);
            let names: BTreeSet<String> = names.map_err(|e| ApiError::internal(e.to_string()))?.into_iter().collect();
            for (family, about) in &families {
                if !SUFFIXES.iter().any(|suffix| names.contains(&format!("{family}{suffix}"))) {
                    continue;
                }
                if found.len() >= limit {
                    return Ok(found);
                }
                let mut entry = json!({ "target": target["labels"] });
                // Prometheus names the family only where the request does not.
                if metric.is_none() {
                    entry["metric"] = family.as_str().into();
                }
                entry["type"] = about.kind.as_str().into();
                entry["help"] = about.help.as_str().into();
                entry["unit"] = about.unit.as_str().into();
                found.push(entry);
            }
        }
        Ok(found)
    });
    let found = work.await.map_err(|e| ApiError::internal(e.to_string()))??;
    if found.is_empty() {
        return Err(ApiError::not_found("specified metadata not found".into()));
    }
    Ok(success(found, &[], &[]))
}

/// The agent notifies by itself and knows no Alertmanagers as Prometheus means them.
pub async fn alertmanagers() -> Response {
    success(json!({ "activeAlertmanagers": [], "droppedAlertmanagers": [] }), &[], &[])
}
