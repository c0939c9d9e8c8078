//! The demo's cluster on loopback: one engine serves a page like 2.3.19 and sends traces, one sends metrics like 25.7.

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
use crate::simulate::engine::nanos;
use crate::simulate::scenario::Scenario;
use crate::simulate::{Cluster, Families, Wanted};

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

/// The demo as a scenario: a quiet working day, until the actor host's platform begins to refuse starts just when more
/// people come.
fn scenario(now: TimestampMs, incident: Incident) -> Scenario {
    let (at, length) = (incident.begins_ms, incident.ends_ms - incident.begins_ms);
    let text = format!(
        "name: demo\nduration: 1d\n\
         cluster: {{pods: 2, release: [2.3.19, '25.7'], platform: host, backend: postgres, engine_api: false}}\n\
         load: {{calls: 24/s, starts: 0.4/s, actors: 40, api: 2.4/s, failing: 0.2%}}\n\
         events:\n\
         - {{at: {at}ms, for: {length}ms, event: host_rate_limit}}\n\
         - {{at: {at}ms, for: {length}ms, event: traffic, of: starts, times: 5}}\n",
    );
    let mut scenario = Scenario::parse(&text, "demo").expect("a test parses the demo's scenario");
    scenario.start = now;
    scenario
}

/// The demo's cluster; clones share it. Its first engine is scraped and sends traces, its second sends metrics.
#[derive(Clone)]
pub struct Engines(Arc<Mutex<Cluster>>);

impl Engines {
    /// Engines that have been at work for a while by `now`.
    pub fn new(now: TimestampMs, incident: Incident) -> Self {
        let mut cluster = Cluster::new(&scenario(now, incident), Wanted::All);
        if let Some(pod) = cluster.pods.first_mut() {
            pod.engine.send_spans();
        }
        cluster.advance(now);
        Self(Arc::new(Mutex::new(cluster)))
    }

    /// The page of port 6430, on any path, as the engine serves it.
    pub fn router(&self) -> Router {
        Router::new().fallback(get(page)).with_state(self.clone())
    }

    /// Lives and sends until told to stop; `otlp` is the base URL of the agent's OTLP/HTTP listener.
    pub async fn run(self, clock: Clock, otlp: String, stop: CancellationToken) {
        // Loopback needs no proxy, and a proxy from the environment must not see the demo.
        let client = match reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build() {
            Ok(client) => client,
            Err(error) => return warn!(%error, "the demo's engines cannot send"),
        };
        let start = self.0.lock().now();
        let mut last = start;
        loop {
            let next = last.plus_ms(STEP_MS);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(next) => {}
            }
            for (path, body) in self.requests(start, next) {
                send(&client, format!("{otlp}{path}"), body);
            }
            last = next;
        }
    }

    /// Lives on until `next`, and gives out what is sent then.
    fn requests(&self, start: TimestampMs, next: TimestampMs) -> Vec<(&'static str, Vec<u8>)> {
        let mut cluster = self.0.lock();
        cluster.advance(next);
        let is_due = |every: i64| next.since(start) % every < STEP_MS;
        let mut requests = Vec::new();
        if is_due(CONTAINERS_EVERY_MS) {
            requests.extend((0..cluster.pods.len()).map(|i| ("/v1/metrics", container(&cluster, i, next))));
        }
        for pod in &mut cluster.pods {
            if is_due(TRACES_EVERY_MS) {
                requests.extend(pod.engine.trace_request().map(|traces| ("/v1/traces", traces.encode_to_vec())));
            }
            if is_due(METRICS_EVERY_MS) {
                let metrics = pod.engine.metrics_request(next, &[]);
                requests.extend(metrics.map(|metrics| ("/v1/metrics", metrics.encode_to_vec())));
            }
        }
        requests
    }
}

/// What an OpenTelemetry collector on the node sends about the container of an engine, with its requests and limits.
fn container(cluster: &Cluster, i: usize, now: TimestampMs) -> Vec<u8> {
    let (plan, pod) = (&cluster.plan, &cluster.pods[i]);
    let mut families = Families::other();
    families.add("container_cpu_time_seconds_total", &[], pod.cpu_seconds);
    for (name, value) in [
        ("container_memory_usage_bytes", pod.memory),
        ("k8s_container_cpu_request", plan.cpu_request),
        ("k8s_container_cpu_limit", plan.cpu_limit),
        ("k8s_container_memory_request_bytes", plan.memory_request),
        ("k8s_container_memory_limit_bytes", plan.memory_limit),
    ] {
        families.set(name, &[], value);
    }
    families.otlp(&pod.engine.resource(), nanos(pod.created), nanos(now)).encode_to_vec()
}

async fn page(State(engines): State<Engines>) -> Result<([(header::HeaderName, &'static str); 1], String), StatusCode> {
    let page = engines.0.lock().pods.first().and_then(|pod| pod.engine.page()).ok_or(StatusCode::NOT_FOUND)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page))
}

/// Sends in the background, as the SDK's exporter does: time goes on while the request is under way.
fn send(client: &reqwest::Client, url: String, body: Vec<u8>) {
    let request = client.post(url).header(header::CONTENT_TYPE, "application/x-protobuf").body(body);
    tokio::spawn(async move {
        match request.send().await.and_then(reqwest::Response::error_for_status) {
            Ok(_) => {}
            Err(error) => warn!(error = %crate::model::chain(&error), "a simulated engine could not send"),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_is_scraped_and_traced_and_the_other_sends() {
        let start = TimestampMs(1_800_000_000_000);
        let engines = Engines::new(start, Incident { begins_ms: 150_000, ends_ms: 450_000 });
        assert!(engines.0.lock().pods[0].engine.page().unwrap().contains("rivet_guard_proxy_request_total"));
        let paths: Vec<&str> = (1..=30)
            .flat_map(|second| engines.requests(start, start.plus_ms(second * 1000)))
            .map(|(path, _)| path)
            .collect();
        let of = |path: &str| paths.iter().filter(|p| **p == path).count();
        assert_eq!((of("/v1/traces"), of("/v1/metrics")), (6, 1 + 2 * 2), "{paths:?}");
    }
}
