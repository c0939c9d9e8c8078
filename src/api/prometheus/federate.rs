//! `/federate`: the newest sample of chosen series, as text that another Prometheus can scrape.
//!
//! In:  `match[]` selectors.   Out: the text format, each sample with its time, families in order of their name.
//! Always: a series without `instance` gets an empty one, so that the scraper does not put its own there; native
//! histograms have no text form and are left out. Limits: those of a query.
//! Source: `web/federate.go` of Prometheus.

use std::fmt::Write;

use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::answer::{ApiError, write_f64};
use super::params::Params;
use crate::api::State;
use crate::model::{
    Labels, METRIC_NAME, Sample, TimeRange, TimestampMs, is_legacy_label_name, is_legacy_metric_name, is_stale_nan,
};
use crate::storage::{SelectError, SeriesData};

pub async fn federate(extract::State(state): extract::State<State>, params: Params) -> Result<Response, ApiError> {
    let selectors = params.selectors()?;
    let (now, lookback_ms) = (state.clock.now(), state.engine.options().lookback_ms);
    let limit = state.query.timeout.0;
    let permit = tokio::time::timeout(limit, state.query_slots.clone().acquire_owned()).await;
    let permit = permit.map_err(|_| ApiError::timeout("other queries took all of the time".into()))?;
    let permit = permit.map_err(|_| ApiError::internal("the agent is stopping".into()))?;
    let work = tokio::task::spawn_blocking(move || -> Result<String, SelectError> {
        let _permit = permit;
        let window = TimeRange { from: now.plus_ms(1 - lookback_ms), to: now };
        let (mut data, mut newest) = (SeriesData::default(), Vec::new());
        for matchers in &selectors {
            let mut set = state.storage.select(matchers, window)?;
            while let Some(labels) = set.next_into(&mut data)? {
                newest.extend(current(&data).map(|sample| (labels.clone(), sample)));
            }
        }
        newest.sort_by(|(a, _), (b, _)| a.metric_name().cmp(b.metric_name()).then_with(|| a.cmp(b)));
        newest.dedup_by(|(a, _), (b, _)| a == b);
        Ok(page(&newest))
    });
    let page =
        work.await.map_err(|e| ApiError::internal(e.to_string()))?.map_err(|e| ApiError::internal(e.to_string()))?;
    let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=values";
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], page).into_response())
}

/// The newest sample, if it is a float and the series has not ended.
fn current(data: &SeriesData) -> Option<Sample> {
    let last = *data.floats.last()?;
    let newest_histogram = data.histograms.last().map_or(TimestampMs::MIN, |(t, _)| *t);
    (last.t > newest_histogram && !is_stale_nan(last.v)).then_some(last)
}

fn page(samples: &[(Labels, Sample)]) -> String {
    let mut out = String::new();
    let mut family = None;
    for (labels, sample) in samples {
        let name = labels.metric_name();
        if name.is_empty() {
            continue;
        }
        if family != Some(name) {
            family = Some(name);
            let shown = if is_legacy_metric_name(name) { name.to_owned() } else { quoted(name) };
            writes(&mut out, format_args!("# TYPE {shown} untyped\n"));
        }
        write_series(&mut out, labels);
        let mut value = Vec::new();
        write_f64(&mut value, sample.v);
        writes(&mut out, format_args!(" {} {}\n", String::from_utf8_lossy(&value), sample.t.0));
    }
    out
}

/// `name{label="value"}`, or `{"na.me",label="value"}` where the name needs quotes.
fn write_series(out: &mut String, labels: &Labels) {
    let name = labels.metric_name();
    let mut parts = Vec::new();
    match is_legacy_metric_name(name) {
        true => out.push_str(name),
        false => parts.push(quoted(name)),
    }
    for (label, value) in labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
        let label = if is_legacy_label_name(label) { label.to_owned() } else { quoted(label) };
        parts.push(format!("{label}={}", quoted(value)));
    }
    if labels.get("instance").is_none() {
        parts.push(r#"instance="""#.to_owned());
    }
    writes(out, format_args!("{{{}}}", parts.join(",")));
}

fn writes(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory cannot fail");
}

/// A label value between quotes, with the three escapes of the text format.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#))
}
