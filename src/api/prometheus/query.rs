//! `query`, `query_range`, `query_exemplars`, `format_query`, `parse_query`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract;
use axum::response::Response;

use serde_json::json;

use super::answer::{ApiError, OPENING, success, write_closing, write_f64};
use super::params::Params;
use super::reply::{Gone, Pieces, reply};
use super::{points, tree};
use crate::api::State;
use crate::model::{Exemplar, Labels, Matcher, Metadata, TimeRange};
use crate::promql::{self, Cancel, QueryError, QueryResult, QueryValue};
use crate::storage::{Select, SelectError, SeriesData, SeriesSet};

/// Prometheus refuses ranges with more points than this for each series.
const MAX_POINTS_PER_SERIES: i64 = 11_000;

pub async fn instant(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let at = params.time("time")?.unwrap_or_else(|| state.clock.now());
    run(&state, &params, (1, 0), move |engine, storage, expr, cancel| engine.instant_with(storage, expr, at, cancel))
        .await
}

pub async fn range(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
    if end < start {
        return Err(ApiError::bad_param("end", "end timestamp must not be before start time".into()));
    }
    let step = params
        .duration_ms("step")?
        .ok_or_else(|| ApiError::bad_param("step", "cannot parse \"\" to a valid duration".into()))?;
    if step <= 0 {
        let reason = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::bad_param("step", reason.into()));
    }
    if end.since(start) / step > MAX_POINTS_PER_SERIES {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
                .into(),
        ));
    }
    let span_ms = end.since(start).unsigned_abs();
    let steps = span_ms / step.unsigned_abs() + 1;
    run(&state, &params, (steps, span_ms), move |engine, storage, expr, cancel| {
        engine.range_with(storage, expr, start, end, step, cancel)
    })
    .await
}

/// The exemplars of every series that a selector of the query names.
pub async fn exemplars(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let (range, expr) = (params.range()?, parse(&params)?);
    if range.to < range.from {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp".into()));
    }
    let selectors: Vec<Vec<Matcher>> = promql::selectors(&expr).map(|selector| selector.matchers.clone()).collect();
    let exemplar = |exemplar: &Exemplar| {
        let mut value = Vec::new();
        write_f64(&mut value, exemplar.value);
        json!({
            "labels": exemplar.labels,
            "value": String::from_utf8_lossy(&value),
            "timestamp": exemplar.t.as_secs_f64(),
        })
    };
    let found = state.storage.exemplars(&selectors, range);
    let rows: Vec<_> = found
        .iter()
        .map(|(series, list)| {
            json!({ "seriesLabels": series, "exemplars": list.iter().map(exemplar).collect::<Vec<_>>() })
        })
        .collect();
    Ok(success(rows, &[], &[]))
}

/// The syntax tree, in the form that Prometheus' own page and other tools read.
pub async fn parse_query(params: Params) -> Result<Response, ApiError> {
    Ok(success(tree::of(&parse(&params)?), &[], &[]))
}

pub async fn format(params: Params) -> Result<Response, ApiError> {
    Ok(success(parse(&params)?.pretty(), &[], &[]))
}

fn parse(params: &Params) -> Result<promql::Expr, ApiError> {
    let text = params.get("query").unwrap_or("");
    promql::parse(text).map_err(|e| ApiError::bad_param("query", e.to_string()))
}

/// A store that counts the samples it gives out.
struct Counting {
    store: Arc<dyn Select>,
    samples: AtomicU64,
}

struct CountingSet<'a> {
    set: Box<dyn SeriesSet + 'a>,
    samples: &'a AtomicU64,
}

impl SeriesSet for CountingSet<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        let next = self.set.next_into(into)?;
        if next.is_some() {
            self.samples.fetch_add(into.len() as u64, Ordering::Relaxed);
        }
        Ok(next)
    }
}

impl Select for Counting {
    fn select<'a>(&'a self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        let set = self.store.select(matchers, range)?;
        Ok(Box::new(CountingSet { set, samples: &self.samples }))
    }

    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError> {
        self.store.series(matchers, range)
    }

    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        self.store.label_names(matchers, range)
    }

    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError> {
        self.store.label_values(name, matchers, range)
    }

    fn series_at_most(&self, matchers: &[Matcher]) -> Option<usize> {
        self.store.series_at_most(matchers)
    }

    fn exemplars(&self, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        self.store.exemplars(selectors, range)
    }

    fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)> {
        self.store.metadata(family)
    }
}

/// Runs a query of so many steps over so many milliseconds, within the concurrency limit and the timeout: on a blocking
/// thread, or at once where it is so little that waking one would take longer.
async fn run<F>(state: &State, params: &Params, (steps, span_ms): (u64, u64), evaluate: F) -> Result<Response, ApiError>
where
    F: FnOnce(&promql::Engine, &dyn Select, &promql::Expr, &Cancel) -> Result<QueryResult, QueryError> + Send + 'static,
{
    let (expr, limit) = (parse(params)?, params.limit()?);
    let timeout = match params.duration_ms("timeout")? {
        Some(ms) => Duration::from_millis(ms.max(0).unsigned_abs()).min(state.query.timeout.0),
        None => state.query.timeout.0,
    };
    let engine = match params.duration_ms("lookback_delta")? {
        Some(lookback_ms) if lookback_ms > 0 => {
            let options = promql::EngineOptions { lookback_ms, ..state.engine.options().clone() };
            Arc::new(state.engine.with_options(options))
        }
        _ => state.engine.clone(),
    };
    let storage = Counting { store: state.storage.clone(), samples: AtomicU64::new(0) };
    let with_stats = params.get("stats").is_some();
    let is_little = engine.is_little(&storage, &expr, steps, span_ms);
    reply(state, timeout, is_little, move |turn| {
        let began = Instant::now();
        let result = evaluate(&engine, &storage, &expr, &turn.cancel).map_err(ApiError::from)?;
        let held = storage.samples.load(Ordering::Relaxed);
        let took = began.elapsed().as_secs_f64();
        let stats = with_stats.then(|| stats(turn.queued.as_secs_f64(), took, result.samples, held));
        Ok(move |to: &mut Pieces| write(result, limit, stats.as_ref(), to))
    })
    .await
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Canceled => ApiError::canceled(error.to_string()),
            QueryError::TimedOut => ApiError::timeout(error.to_string()),
            QueryError::Parse(_) | QueryError::BadQuery(_) => ApiError::bad_param("query", error.to_string()),
            QueryError::Storage(source) => ApiError::internal(source.to_string()),
            _ => ApiError::execution(error.to_string()),
        }
    }
}

/// Seconds and samples under Prometheus' names: those that the steps have read, and those that the store gave, which at
/// most are held at once.
fn stats(queued: f64, took: f64, samples: u64, held: u64) -> serde_json::Value {
    json!({
        "timings": {
            "evalTotalTime": took, "resultSortTime": 0.0, "queryPreparationTime": 0.0, "innerEvalTime": took,
            "execQueueTime": queued, "execTotalTime": queued + took,
        },
        "samples": { "totalQueryableSamples": samples, "peakSamples": held },
    })
}

fn write(
    result: QueryResult,
    limit: Option<usize>,
    stats: Option<&serde_json::Value>,
    to: &mut Pieces,
) -> Result<(), Gone> {
    let QueryResult { mut value, mut warnings, infos, .. } = result;
    let truncated = limit.is_some_and(|n| match &mut value {
        QueryValue::Vector(v) if v.len() > n => {
            v.truncate(n);
            true
        }
        QueryValue::Matrix(m) if m.len() > n => {
            m.truncate(n);
            true
        }
        _ => false,
    });
    if truncated {
        warnings.push("results truncated due to limit".into());
    }
    to.out().extend_from_slice(OPENING);
    points::write(value, stats, to)?;
    write_closing(to.out(), &warnings, &infos);
    Ok(())
}
