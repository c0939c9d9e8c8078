//! `/livez`, `/readyz`, `/metrics`, and Prometheus' `/-/healthy` and `/-/ready`.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use axum::Router;
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

use super::State;
use crate::model::TimestampMs;

/// Evaluation that has not finished a tick for this many intervals counts as stopped.
const MISSED_TICKS: i64 = 4;

/// Whether the agent is ready and alive; written by the tasks, read by the probes.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    /// Milliseconds of the last finished tick; zero where nothing is evaluated (a sidecar, or before the first tick).
    last_tick: AtomicI64,
    interval_ms: AtomicI64,
}

impl Health {
    /// The store is open and its log replayed.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// A tick of evaluation has finished at `at`; the next is due `interval_ms` later.
    pub fn ticked(&self, at: TimestampMs, interval_ms: i64) {
        self.interval_ms.store(interval_ms, Ordering::Relaxed);
        self.last_tick.store(at.0, Ordering::Relaxed);
    }

    /// Whether the agent may be given traffic.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Whether evaluation goes on: true before its first tick, false when it has missed several.
    pub fn is_alive(&self, now: TimestampMs) -> bool {
        let last = self.last_tick.load(Ordering::Relaxed);
        last == 0 || now.0 - last <= MISSED_TICKS * self.interval_ms.load(Ordering::Relaxed).max(1_000)
    }
}

/// The own metrics, which name what is watched: behind the token on the API's listener.
pub fn metrics_router() -> Router<State> {
    Router::new().route("/metrics", get(metrics))
}

/// The probes.
pub fn router() -> Router<State> {
    Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/-/healthy", get(live))
        .route("/-/ready", get(ready))
}

async fn live(extract::State(state): extract::State<State>) -> impl IntoResponse {
    match state.health.is_alive(state.clock.now()) {
        true => (StatusCode::OK, "alive\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "evaluation has stopped\n"),
    }
}

async fn ready(extract::State(state): extract::State<State>) -> impl IntoResponse {
    match state.health.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "replaying the write-ahead log\n"),
    }
}

async fn metrics(extract::State(state): extract::State<State>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (state.metrics_page)())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evaluation_that_stops_ends_life_after_four_intervals() {
        let health = Health::default();
        assert!(health.is_alive(TimestampMs(1_000_000)), "nothing was evaluated yet");
        health.ticked(TimestampMs(1_000_000), 15_000);
        assert!(health.is_alive(TimestampMs(1_060_000)));
        assert!(!health.is_alive(TimestampMs(1_060_001)));
    }
}
