//! `query`, `query_range`, `query_exemplars`, `format_query`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract;
use axum::response::Response;

use super::answer::{ApiError, success, success_raw, write_f64, write_time};
use super::params::Params;
use crate::api::State;
use crate::model::{FloatHistogram, Labels, Sample, TimestampMs, Value};
use crate::promql::{self, Cancel, QueryError, QueryResult, QueryValue};

/// Prometheus refuses ranges with more points than this for each series.
const MAX_POINTS_PER_SERIES: i64 = 11_000;

pub async fn instant(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let at = params.time("time")?.unwrap_or_else(|| state.clock.now());
    let limit = params.limit()?;
    let result =
        run(&state, &params, move |engine, storage, expr, cancel| engine.instant_with(storage, expr, at, cancel))
            .await?;
    Ok(answer(result, limit))
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
    let limit = params.limit()?;
    let result = run(&state, &params, move |engine, storage, expr, cancel| {
        engine.range_with(storage, expr, start, end, step, cancel)
    })
    .await?;
    Ok(answer(result, limit))
}

/// The store keeps no exemplars, so that every valid query has none.
pub async fn exemplars(params: Params) -> Result<Response, ApiError> {
    parse(&params)?;
    Ok(success(Vec::<()>::new(), &[], &[]))
}

pub async fn format(params: Params) -> Result<Response, ApiError> {
    Ok(success(parse(&params)?.to_string(), &[], &[]))
}

fn parse(params: &Params) -> Result<promql::Expr, ApiError> {
    let text = params.get("query").unwrap_or("");
    promql::parse(text).map_err(|e| ApiError::bad_param("query", e.to_string()))
}

/// Sets the flag when it goes out of scope: the client left, or the answer is there and nobody looks any more.
struct CancelOnDrop(Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Runs a query on a blocking thread, within the concurrency limit and the timeout.
async fn run<F>(state: &State, params: &Params, evaluate: F) -> Result<QueryResult, ApiError>
where
    F: FnOnce(&promql::Engine, &dyn crate::storage::Select, &promql::Expr, &Cancel) -> Result<QueryResult, QueryError>
        + Send
        + 'static,
{
    let expr = parse(params)?;
    let limit = state.query.timeout.0;
    let timeout = match params.duration_ms("timeout")? {
        Some(ms) => Duration::from_millis(ms.max(0).unsigned_abs()).min(limit),
        None => limit,
    };
    let engine = match params.duration_ms("lookback_delta")? {
        Some(lookback_ms) if lookback_ms > 0 => {
            let options = promql::EngineOptions { lookback_ms, ..state.engine.options().clone() };
            Arc::new(promql::Engine::new(options))
        }
        _ => state.engine.clone(),
    };
    let late = || ApiError::timeout(QueryError::TimedOut.to_string());
    let deadline = tokio::time::Instant::now() + timeout;
    let _permit = tokio::time::timeout_at(deadline, state.query_slots.clone().acquire_owned())
        .await
        .map_err(|_| late())?
        .map_err(|_| ApiError::internal("the agent is stopping".into()))?;
    let cancel = Cancel::default();
    let guard = CancelOnDrop(cancel.clone());
    let storage = state.storage.clone();
    let work = tokio::task::spawn_blocking(move || evaluate(&engine, &*storage, &expr, &cancel));
    let outcome = tokio::time::timeout_at(deadline, work).await.map_err(|_| late())?;
    drop(guard);
    match outcome {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(match error {
            QueryError::Canceled => ApiError::canceled(error.to_string()),
            QueryError::TimedOut => ApiError::timeout(error.to_string()),
            QueryError::Parse(_) | QueryError::BadQuery(_) | QueryError::Experimental { .. } => {
                ApiError::bad_data(error.to_string())
            }
            QueryError::Storage(source) => ApiError::internal(source.to_string()),
            _ => ApiError::execution(error.to_string()),
        }),
        Err(panic) => Err(ApiError::internal(format!("the query failed inside the evaluator: {panic}"))),
    }
}

fn answer(mut result: QueryResult, limit: Option<usize>) -> Response {
    let mut warnings = std::mem::take(&mut result.warnings);
    let truncated = limit.is_some_and(|n| match &mut result.value {
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
    success_raw(&data(&result.value), &warnings, &result.infos)
}

/// `{"resultType":…,"result":…}` as Prometheus writes it.
pub fn data(value: &QueryValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let kind = match value {
        QueryValue::Scalar(_) => "scalar",
        QueryValue::String(..) => "string",
        QueryValue::Vector(_) => "vector",
        QueryValue::Matrix(_) => "matrix",
    };
    out.extend_from_slice(format!(r#"{{"resultType":"{kind}","result":"#).as_bytes());
    match value {
        QueryValue::Scalar(sample) => write_point(&mut out, *sample),
        QueryValue::String(t, text) => {
            out.push(b'[');
            write_time(&mut out, *t);
            out.push(b',');
            write_json(&mut out, text);
            out.push(b']');
        }
        QueryValue::Vector(vector) => write_list(&mut out, vector, |out, sample| {
            write_metric(out, &sample.labels);
            match &sample.value {
                Value::Float(v) => {
                    out.extend_from_slice(br#","value":"#);
                    write_point(out, Sample { t: sample.t, v: *v });
                }
                Value::Histogram(h) => {
                    out.extend_from_slice(br#","histogram":"#);
                    write_histogram_point(out, sample.t, h);
                }
            }
            out.push(b'}');
        }),
        QueryValue::Matrix(matrix) => write_list(&mut out, matrix, |out, series| {
            write_metric(out, &series.labels);
            if !series.floats.is_empty() {
                out.extend_from_slice(br#","values":"#);
                write_list(out, &series.floats, |out, sample| write_point(out, *sample));
            }
            if !series.histograms.is_empty() {
                out.extend_from_slice(br#","histograms":"#);
                write_list(out, &series.histograms, |out, (t, h)| write_histogram_point(out, *t, h));
            }
            out.push(b'}');
        }),
    }
    out.push(b'}');
    out
}

fn write_list<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_json(out: &mut Vec<u8>, value: impl serde::Serialize) {
    value.serialize(&mut serde_json::Serializer::new(out)).expect("strings and maps of strings are JSON");
}

fn write_metric(out: &mut Vec<u8>, labels: &Labels) {
    out.extend_from_slice(br#"{"metric":"#);
    write_json(out, labels);
}

fn write_point(out: &mut Vec<u8>, sample: Sample) {
    out.push(b'[');
    write_time(out, sample.t);
    out.extend_from_slice(b",\"");
    write_f64(out, sample.v);
    out.extend_from_slice(b"\"]");
}

/// `[t, {"count":"…","sum":"…","buckets":[[boundaries,"lower","upper","count"],…]}]`; empty buckets are left out.
fn write_histogram_point(out: &mut Vec<u8>, t: TimestampMs, histogram: &FloatHistogram) {
    let quoted = |out: &mut Vec<u8>, v: f64| {
        out.push(b'"');
        write_f64(out, v);
        out.push(b'"');
    };
    out.push(b'[');
    write_time(out, t);
    out.extend_from_slice(br#",{"count":"#);
    quoted(out, histogram.count);
    out.extend_from_slice(br#","sum":"#);
    quoted(out, histogram.sum);
    let buckets: Vec<_> = histogram.buckets().into_iter().filter(|b| b.count != 0.0).collect();
    if !buckets.is_empty() {
        out.extend_from_slice(br#","buckets":"#);
        write_list(out, &buckets, |out, bucket| {
            // Which ends belong to the bucket: 0 upper only, 1 lower only, 2 neither, 3 both.
            let boundaries = match (bucket.lower_inclusive, bucket.upper_inclusive) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            out.extend_from_slice(format!("[{boundaries},").as_bytes());
            quoted(out, bucket.lower);
            out.push(b',');
            quoted(out, bucket.upper);
            out.push(b',');
            quoted(out, bucket.count);
            out.push(b']');
        });
    }
    out.extend_from_slice(b"}]");
}
