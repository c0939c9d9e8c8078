//! `series`, `labels`, `label/NAME/values`, `metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract;
use axum::response::Response;

use super::answer::{ApiError, success};
use super::escaping::LabelName;
use super::params::Params;
use crate::api::State;
use crate::model::{Labels, Matcher, TimeRange};
use crate::storage::{Select, SelectError};

pub async fn series(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let (selectors, range) = (params.selectors()?, params.range()?);
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided".into()));
    }
    let found: BTreeSet<Labels> =
        for_each_selector(&state, selectors, range, |store, matchers, range| store.series(matchers, range)).await?;
    Ok(limited(found, params.limit()?))
}

pub async fn names(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let (selectors, range) = (params.selectors()?, params.range()?);
    let found: BTreeSet<String> =
        for_each_selector(&state, or_everything(selectors), range, |store, matchers, range| {
            store.label_names(matchers, range)
        })
        .await?;
    Ok(limited(found, params.limit()?))
}

pub async fn values(
    extract::State(state): extract::State<State>,
    LabelName(name): LabelName,
    params: Params,
) -> Result<Response, ApiError> {
    let (selectors, range) = (params.selectors()?, params.range()?);
    let found: BTreeSet<String> =
        for_each_selector(&state, or_everything(selectors), range, move |store, matchers, range| {
            store.label_values(&name, matchers, range)
        })
        .await?;
    Ok(limited(found, params.limit()?))
}

pub async fn metadata(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let families = state.storage.metadata(params.get("metric"));
    let limit = params.number("limit")?.unwrap_or(usize::MAX);
    // A family has one entry here, so that no limit of a metric leaves any out.
    params.number("limit_per_metric")?;
    let map: BTreeMap<_, _> = families.into_iter().take(limit).map(|(name, meta)| (name, [meta])).collect();
    Ok(success(map, &[], &[]))
}

/// No selector means every series.
fn or_everything(selectors: Vec<Vec<Matcher>>) -> Vec<Vec<Matcher>> {
    if selectors.is_empty() { vec![Vec::new()] } else { selectors }
}

/// The union of what the store answers to each selector; runs on a blocking thread.
async fn for_each_selector<T, F>(
    state: &State,
    selectors: Vec<Vec<Matcher>>,
    range: TimeRange,
    ask: F,
) -> Result<BTreeSet<T>, ApiError>
where
    T: Ord + Send + 'static,
    F: Fn(&dyn Select, &[Matcher], TimeRange) -> Result<Vec<T>, SelectError> + Send + 'static,
{
    if range.to < range.from {
        return Ok(BTreeSet::new());
    }
    let store: Arc<dyn Select> = state.storage.clone();
    let work = move || -> Result<BTreeSet<T>, SelectError> {
        let mut found = BTreeSet::new();
        for matchers in &selectors {
            found.extend(ask(&*store, matchers, range)?);
        }
        Ok(found)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
        .map_err(|e| ApiError::execution(e.to_string()))
}

fn limited<T: serde::Serialize + Ord>(found: BTreeSet<T>, limit: Option<usize>) -> Response {
    match limit {
        Some(n) if found.len() > n => {
            let first: Vec<T> = found.into_iter().take(n).collect();
            success(first, &["results truncated due to limit".to_owned()], &[])
        }
        _ => success(found, &[], &[]),
    }
}
