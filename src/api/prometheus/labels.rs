//! `series`, `labels`, `label/NAME/values`, `metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract;
use axum::response::Response;

use super::answer::{ApiError, OPENING, success, write_closing};
use super::escaping::LabelName;
use super::params::Params;
use super::points::{write_cut, write_json};
use super::reply::{Pieces, reply};
use crate::api::State;
use crate::model::{Matcher, TimeRange};
use crate::storage::{Select, SelectError};

pub async fn series(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let selectors = params.selectors()?;
    if selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided".into()));
    }
    union(&state, &params, selectors, |store, matchers, range| store.series(matchers, range)).await
}

pub async fn names(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let selectors = or_everything(params.selectors()?);
    union(&state, &params, selectors, |store, matchers, range| store.label_names(matchers, range)).await
}

pub async fn values(
    extract::State(state): extract::State<State>,
    LabelName(name): LabelName,
    params: Params,
) -> Result<Response, ApiError> {
    let selectors = or_everything(params.selectors()?);
    union(&state, &params, selectors, move |store, matchers, range| store.label_values(&name, matchers, range)).await
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

/// The union of what the store answers to each selector, in order; in a slot of the queries and within their timeout.
async fn union<T, F>(state: &State, params: &Params, selectors: Vec<Vec<Matcher>>, ask: F) -> Result<Response, ApiError>
where
    T: Ord + serde::Serialize + Send + 'static,
    F: Fn(&dyn Select, &[Matcher], TimeRange) -> Result<Vec<T>, SelectError> + Send + 'static,
{
    let (range, limit) = (params.range()?, params.limit()?);
    let store: Arc<dyn Select> = state.storage.clone();
    reply(state, state.query.timeout.0, false, move |turn| {
        let mut found = BTreeSet::new();
        // Nothing lies between an end and a later start.
        for matchers in selectors.iter().filter(|_| range.from <= range.to) {
            turn.cancel.check()?;
            found.extend(ask(&*store, matchers, range).map_err(|e| ApiError::execution(e.to_string()))?);
        }
        Ok(move |to: &mut Pieces| {
            let limit = limit.unwrap_or(usize::MAX);
            let is_cut = found.len() > limit;
            to.out().extend_from_slice(OPENING);
            write_cut(to, found.into_iter().take(limit), |out, one| write_json(out, one))?;
            let warnings = is_cut.then(|| "results truncated due to limit".to_owned());
            write_closing(to.out(), warnings.as_slice(), &[]);
            Ok(())
        })
    })
    .await
}
