//! The demo's two engines on loopback: one serves a page like 2.3.19 and sends traces, one sends metrics like 25.7.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::routing::get;
use parking_lot::Mutex;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Clock;
use crate::model::TimestampMs;
use crate::simulate::{Conditions, Engine, Release};

/// How often the engines live on, in demo time.
const STEP_MS: i64 = 1_000;
/// The SDK's batch delay for spans.
const TRACES_EVERY_MS: i64 = 5_000;
/// The periodic reader of 25.7 engines.
const METRICS_EVERY_MS: i64 = 30_000;

/// How often a collector on the node tells of the engines' containers.
const CONTAINERS_EVERY_MS: i64 = 15_000;

/// When the incident happens, in demo time since the start.
#[derive(Clone, Copy, Debug)]
pub struct Incident {
    pub begins_ms: i64,
    pub ends_ms: i64,
}

impl Incident {
    /// What goes on `since_start` milliseconds into the demo.
    fn conditions(&self, since_start: i64) -> Conditions {
        let broken = (self.begins_ms..self.ends_ms).contains(&since_start);
        let quiet = Conditions::default();
        match broken {
            // The actor host's platform begins to refuse starts just when more people come.
            true => Conditions { host_rate_limited: true, starts_per_second: 1.0, cpu_cores: 0.6, ..quiet },
            false => quiet,
        }
    }
}

/// Both engines; clones share them.
#[derive(Clone)]
pub struct Engines {
    scraped: Arc<Mutex<Engine>>,
    sending: Arc<Mutex<Engine>>,
}

impl Engines {
    /// Two engines that started a minute before `now`.
    pub fn new(now: TimestampMs) -> Self {
        let started = now.plus_ms(-60_000);
        let engine = |release, name, seed| Arc::new(Mutex::new(Engine::new(release, name, seed, started)));
        Self { scraped: engine(Release::V2_3_19, "engine-a", 1), sending: engine(Release::V25_7, "engine-b", 2) }
    }

    /// The page of port 6430, on any path, as the engine serves it.
    pub fn router(&self) -> Router {
        Router::new().fallback(get(page)).with_state(self.clone())
    }

    /// Lives and sends until told to stop; `otlp` is the base URL of the agent's OTLP/HTTP listener.
    pub async fn run(self, clock: Clock, incident: Incident, otlp: String, stop: CancellationToken) {
        // Loopback needs no proxy, and a proxy from the environment must not see the demo.
        let client = match reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() {
            Ok(client) => client,
            Err(error) => return warn!(%error, "the demo's engines cannot send"),
        };
        let start = clock.now();
        let mut last = start;
        loop {
            let next = last.plus_ms(STEP_MS);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(next) => {}
            }
            let conditions = incident.conditions(next.since(start));
            for engine in [&self.scraped, &self.sending] {
                engine.lock().step(next, STEP_MS as f64 / 1000.0, &conditions);
            }
            let due = |every: i64| next.since(start) % every < STEP_MS;
            if due(TRACES_EVERY_MS)
                && let Some(request) = self.scraped.lock().trace_request()
            {
                send(&client, format!("{otlp}/v1/traces"), request.encode_to_vec());
            }
            if due(METRICS_EVERY_MS)
                && let Some(request) = self.sending.lock().metrics_request(next)
            {
                send(&client, format!("{otlp}/v1/metrics"), request.encode_to_vec());
            }
            if due(CONTAINERS_EVERY_MS) {
                for engine in [&self.scraped, &self.sending] {
                    let request = engine.lock().container_request(next);
                    send(&client, format!("{otlp}/v1/metrics"), request.encode_to_vec());
                }
            }
            last = next;
        }
    }
}

async fn page(State(engines): State<Engines>) -> Result<([(header::HeaderName, &'static str); 1], String), StatusCode> {
    let page = engines.scraped.lock().page().ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page))
}

/// Sends in the background, as the SDK's exporter does: time goes on while the request is under way.
fn send(client: &reqwest::Client, url: String, body: Vec<u8>) {
    let request = client.post(url).header(header::CONTENT_TYPE, "application/x-protobuf").body(body);
    tokio::spawn(async move {
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => {}
            Err(error) => warn!(error = %crate::app::chain(&error), "a simulated engine could not send"),
        }
    });
}
