//! `/federate`: the newest sample of chosen series, as another Prometheus can scrape it.
//!
//! In:  `match[]` selectors, and the `Accept` header.   Out: the text format or protobuf, each sample with its time.
//! Always: `rules.external_labels` are added where a series has none of that name; a series without `instance` gets an
//! empty one, so that the scraper does not put its own there. Limits: those of a query.
//! Source: `web/federate.go` of Prometheus.

use axum::extract;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::answer::ApiError;
use super::exposition::{Format, page};
use super::params::Params;
use super::reply::{Pieces, reply};
use crate::api::State;
use crate::model::{Labels, TimeRange, TimestampMs, Value, is_stale_nan};
use crate::storage::{SelectError, SeriesData};

/// What the scraper adds where a series lacks it.
const INSTANCE: &str = "instance";

pub async fn federate(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let (selectors, format) = (params.selectors()?, Format::negotiated(&headers));
    let (now, lookback_ms) = (state.clock.now(), state.engine.options().lookback_ms);
    let (storage, more) = (state.storage.clone(), added(&state.external_labels));
    let mut response = reply(&state, state.query.timeout.0, false, move |turn| {
        let window = TimeRange { from: now.plus_ms(1 - lookback_ms), to: now };
        let (mut data, mut newest) = (SeriesData::default(), Vec::new());
        let unread = |error: SelectError| ApiError::internal(error.to_string());
        for matchers in &selectors {
            let mut set = storage.select(matchers, window).map_err(unread)?;
            while let Some(labels) = set.next_into(&mut data).map_err(unread)? {
                turn.cancel.check()?;
                newest.extend(current(&data).map(|(t, value)| (labels.clone(), t, value)));
            }
        }
        let page = page(newest, &more, format);
        Ok(move |to: &mut Pieces| {
            *to.out() = page;
            Ok(())
        })
    })
    .await?;
    let kind = HeaderValue::try_from(format.content_type()).expect("kinds of content are ASCII");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// The labels that are added to series without them, by name.
fn added(external: &Labels) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = external.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    if external.get(INSTANCE).is_none() {
        pairs.push((INSTANCE.to_owned(), String::new()));
    }
    pairs.sort_unstable();
    pairs
}

/// The newest sample, if the series has not ended.
fn current(data: &SeriesData) -> Option<(TimestampMs, Value)> {
    let float = data.floats.last().map(|sample| (sample.t, Value::Float(sample.v)));
    let histogram = data.histograms.last().map(|(t, h)| (*t, Value::Histogram(h.clone())));
    let (t, value) = float.into_iter().chain(histogram).max_by_key(|(t, _)| *t)?;
    let has_ended = match &value {
        Value::Float(v) => is_stale_nan(*v),
        Value::Histogram(h) => is_stale_nan(h.sum),
    };
    (!has_ended).then_some((t, value))
}
