//! `capacity`, `check` and `status/…`.

use std::collections::HashMap;

use axum::extract;
use axum::response::Response;
use serde_json::{Value, json};

use super::answer::{ApiError, OPENING, success, write_closing};
use super::params::Params;
use super::points::write_json;
use super::reply::{Pieces, reply};
use crate::api::{Refused, State};
use crate::model::{Labels, METRIC_NAME, TimeRange, format_duration_ms};

/// Entries of each list of `status/tsdb`, by default and at most, as in Prometheus.
const TOP: usize = 10;
const TOP_MAX: usize = 10_000;

/// The version that Grafana reads to choose its features: the language and API level served here.
const PROMETHEUS_LEVEL: &str = "3.5.0";

/// What `api.query.experimental` switches on, as Prometheus names it.
const EXPERIMENTAL: &str =
    "promql-experimental-functions,promql-duration-expr,promql-extended-range-selectors,promql-binop-fill-modifiers";

/// Headroom as `rivetwatch capacity` prints it. Not a path of Prometheus.
///
/// `what_if` adds the same under assumptions: `replicas=4,traffic=2x,target.cpu=60%`.
pub async fn capacity(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let what_if = params.get("what_if").filter(|text| !text.is_empty()).map(str::to_owned);
    let work = tokio::task::spawn_blocking(move || (state.capacity)(what_if.as_deref()));
    let report = work.await.map_err(|e| ApiError::internal(e.to_string()))?;
    match report {
        Ok(report) => Ok(success(report, &[], &[])),
        Err(Refused::BadRequest(why)) => Err(ApiError::bad_param("what_if", why)),
        Err(refused) => Err(refused.into()),
    }
}

/// The last run of the production checklist as `rivetwatch check` prints it. Not a path of Prometheus.
pub async fn check(extract::State(state): extract::State<State>) -> Result<Response, ApiError> {
    Ok(success((state.check)().map_err(ApiError::execution)?, &[], &[]))
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
    success((state.runtime)(), &[], &[])
}

pub async fn flags(extract::State(state): extract::State<State>) -> Response {
    success(
        json!({
            "query.timeout": state.query.timeout.to_string(),
            "query.max-concurrency": state.query.max_concurrency.to_string(),
            "query.max-samples": state.query.max_samples.to_string(),
            "query.lookback-delta": format_duration_ms(state.engine.options().lookback_ms),
            "query.max-series": state.query.max_series.to_string(),
            "enable-feature": if state.query.experimental { EXPERIMENTAL } else { "" },
            "web.cors.origin": state.cors_origins.join("|"),
            "web.enable-admin-api": "false",
            "web.enable-lifecycle": "false",
        }),
        &[],
        &[],
    )
}

/// The part of the configuration that Prometheus has, too. The agent's own file may hold secrets and is not shown.
pub async fn config(extract::State(state): extract::State<State>) -> Response {
    let [scrape, timeout, evaluation] =
        [state.scrape_interval_ms, state.scrape_timeout_ms, state.interval_ms].map(format_duration_ms);
    let mut yaml = format!(
        "global:\n  scrape_interval: {scrape}\n  scrape_timeout: {timeout}\n  evaluation_interval: {evaluation}\n"
    );
    if !state.external_labels.is_empty() {
        yaml.push_str("  external_labels:\n");
        // A JSON text is one in YAML, too, and needs no look at what is special there.
        let lines =
            state.external_labels.iter().map(|(name, value)| format!("    {}: {}\n", json!(name), json!(value)));
        yaml.extend(lines);
    }
    success(json!({ "yaml": yaml }), &[], &[])
}

/// The log is read before the listener opens, so that its replay is always over.
pub async fn wal_replay() -> Response {
    success(json!({ "min": 0, "max": 0, "current": 0 }), &[], &[])
}

/// Where the series are: the names, labels and pairs with the most of them. `limit` is 10 by default.
pub async fn tsdb(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let limit = match params.get("limit").map(str::parse::<usize>) {
        None => TOP,
        Some(Ok(n @ 1..=TOP_MAX)) => n,
        Some(_) => return Err(ApiError::bad_data(format!("limit must be a number from 1 to {TOP_MAX}"))),
    };
    let (storage, head) = (state.storage.clone(), state.head.clone());
    reply(&state, state.query.timeout.0, false, move |_| {
        let series = storage.series(&[], TimeRange::ALL).map_err(|e| ApiError::internal(e.to_string()))?;
        let found = cardinality(&mut head(), &series, limit);
        Ok(move |to: &mut Pieces| {
            to.out().extend_from_slice(OPENING);
            write_json(to.out(), found);
            write_closing(to.out(), &[], &[]);
            Ok(())
        })
    })
    .await
}

fn cardinality(head: &mut Value, series: &[Labels], limit: usize) -> Value {
    let mut pairs: HashMap<(&str, &str), usize> = HashMap::new();
    for pair in series.iter().flat_map(Labels::iter) {
        *pairs.entry(pair).or_default() += 1;
    }
    let (mut values, mut bytes) = (HashMap::<&str, usize>::new(), HashMap::<&str, usize>::new());
    for ((name, value), count) in &pairs {
        *values.entry(name).or_default() += 1;
        *bytes.entry(name).or_default() += (name.len() + value.len()) * count;
    }
    let names = pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME).map(|((_, value), n)| (*value, *n));
    head["numSeries"] = series.len().into();
    head["numLabelPairs"] = pairs.len().into();
    json!({
        "headStats": head,
        "seriesCountByMetricName": top(names, limit),
        "labelValueCountByLabelName": top(values.iter().map(|(name, n)| (*name, *n)), limit),
        "memoryInBytesByLabelName": top(bytes.iter().map(|(name, n)| (*name, *n)), limit),
        "seriesCountByLabelValuePair": top(pairs.iter().map(|((name, value), n)| (format!("{name}={value}"), *n)), limit),
    })
}

/// The largest counts first; equal ones by name.
fn top<N: Into<String>>(counts: impl Iterator<Item = (N, usize)>, limit: usize) -> Vec<Value> {
    let mut counts: Vec<(String, usize)> = counts.map(|(name, n)| (name.into(), n)).collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(limit);
    counts.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}
