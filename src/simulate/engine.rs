//! A model of one engine process under load, with an actor host behind it.
//!
//! It has the habits that matter to whoever watches the real one: a refused start is retried until the host is
//! full of retries (40 wanted actors gave 1,434 start requests in two minutes), a caller whose actor cannot start is
//! counted as an engine-side error and not as a proxied request, and CPU comes only as a histogram of cores.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::families::{Families, otlp_resource, text};
use crate::model::{TimestampMs, UnixNanos};

/// `BUCKETS` of the engine (engine/packages/metrics/src/buckets.rs), in seconds.
const BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
/// Bounds of the CPU histogram, in cores.
const CPU_BUCKETS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0];
const NAMESPACE_ID: &str = "9m6ezzt3rfkgblr7vmngk0alkddl00";
const POOL: &str = "default";
/// A caller gives up after this many wake retries.
const RETRIES_PER_START: f64 = 10.0;
/// At most this many spans leave in one request, as the SDK's batch size.
const MAX_SPANS: usize = 512;

/// Resident memory of an engine without actors, as measured on 2.3.19, and a guess for each actor.
const MEMORY_IDLE: f64 = 105e6;
const MEMORY_PER_ACTOR: f64 = 4e6;
/// Requests and limits of the shipped Kubernetes manifest.
const RESOURCES: [(&str, f64); 4] = [
    ("k8s_container_cpu_request", 2.0),
    ("k8s_container_cpu_limit", 3.0),
    ("k8s_container_memory_request_bytes", 2_147_483_648.0),
    ("k8s_container_memory_limit_bytes", 4_294_967_296.0),
];

/// The releases whose telemetry differs in shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// Metrics on :6430 with the prefix `rivet_`, some counters without `_total`; traces over OTLP.
    V2_3_19,
    /// Metrics over OTLP, with the label names and texts of that time.
    V25_7,
}

/// What goes on around the engine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// Calls of running actors, a second.
    pub calls_per_second: f64,
    /// Actors that somebody wants started, a second.
    pub starts_per_second: f64,
    /// The actor host answers 429 to every start.
    pub host_rate_limited: bool,
    /// CPU used, in cores.
    pub cpu_cores: f64,
    /// Median latency of a call, in seconds.
    pub latency_seconds: f64,
}

impl Default for Conditions {
    /// A quiet working day: 12 calls a second at 12 ms, an actor every five seconds.
    fn default() -> Self {
        Self {
            calls_per_second: 12.0,
            starts_per_second: 0.2,
            host_rate_limited: false,
            cpu_cores: 0.35,
            latency_seconds: 0.012,
        }
    }
}

/// One simulated engine process.
pub struct Engine {
    release: Release,
    instance: String,
    started: TimestampMs,
    families: Families,
    /// What the container runtime knows of the process; the engine itself exports none of it.
    container: Families,
    random: fastrand::Rng,
    running_actors: f64,
    /// Fractions of events that the last step left over, so that rates hold over many steps.
    carry: Carry,
    spans: Vec<Span>,
}

#[derive(Default)]
struct Carry {
    calls: f64,
    starts: f64,
    retries: f64,
    heartbeat: f64,
}

/// Whole events out of a rate, keeping the fraction for the next step.
fn whole(carry: &mut f64, amount: f64) -> usize {
    *carry += amount;
    let n = carry.floor();
    *carry -= n;
    n as usize
}

impl Engine {
    /// A process that began at `started`; equal seeds give equal telemetry.
    pub fn new(release: Release, instance: &str, seed: u64, started: TimestampMs) -> Self {
        Self {
            release,
            instance: instance.to_owned(),
            started,
            families: Families::default(),
            container: Families::default(),
            random: fastrand::Rng::with_seed(seed),
            running_actors: 20.0,
            carry: Carry::default(),
            spans: Vec::new(),
        }
    }

    /// Lives through `seconds` that end at `now`.
    pub fn step(&mut self, now: TimestampMs, seconds: f64, conditions: &Conditions) {
        for _ in 0..whole(&mut self.carry.calls, conditions.calls_per_second * seconds) {
            self.call(now, conditions);
        }
        for _ in 0..whole(&mut self.carry.starts, conditions.starts_per_second * seconds) {
            self.wanted_start(conditions);
        }
        if conditions.host_rate_limited {
            // The engine retries every refused start for as long as somebody waits for the actor.
            let storm = conditions.starts_per_second * RETRIES_PER_START * seconds;
            for _ in 0..whole(&mut self.carry.retries, storm) {
                self.refused_start();
            }
        }
        self.container.add("container_cpu_time_seconds_total", &[], conditions.cpu_cores * seconds);
        self.container.set("container_memory_usage_bytes", &[], MEMORY_IDLE + self.running_actors * MEMORY_PER_ACTOR);
        for _ in 0..whole(&mut self.carry.heartbeat, seconds / 10.0) {
            self.housekeeping(now, conditions);
        }
    }

    /// The page of port 6430. A 25.7 engine has none.
    pub fn page(&self) -> Option<String> {
        (self.release == Release::V2_3_19).then(|| self.families.page())
    }

    /// The metrics request that a 25.7 engine sends; later releases send none.
    pub fn metrics_request(&self, now: TimestampMs) -> Option<ExportMetricsServiceRequest> {
        let resource = self.resource();
        (self.release == Release::V25_7).then(|| {
            let pairs: Vec<_> = resource.iter().map(|(n, v)| (*n, v.as_str())).collect();
            self.families.otlp(&pairs, nanos(self.started), nanos(now))
        })
    }

    /// What an OpenTelemetry collector on the node sends about the engine's container, with its requests and limits.
    pub fn container_request(&mut self, now: TimestampMs) -> ExportMetricsServiceRequest {
        for (name, value) in RESOURCES {
            self.container.set(name, &[], value);
        }
        let resource = self.resource();
        let pairs: Vec<_> = resource.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.container.otlp(&pairs, nanos(self.started), nanos(now))
    }

    /// The spans since the last call, at sampler ratio 1; `None` when there were none.
    pub fn trace_request(&mut self) -> Option<ExportTraceServiceRequest> {
        if self.spans.is_empty() {
            return None;
        }
        let resource = self.resource();
        let pairs: Vec<_> = resource.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let scope = InstrumentationScope { name: "tracing-otel-subscriber".into(), ..Default::default() };
        let spans = std::mem::take(&mut self.spans);
        Some(ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(otlp_resource(&pairs)),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
                ..Default::default()
            }],
        })
    }

    fn resource(&self) -> Vec<(&'static str, String)> {
        let version = match self.release {
            Release::V2_3_19 => "2.3.19",
            Release::V25_7 => "25.7.1",
        };
        let mut resource = vec![("service.name", "rivet".to_owned()), ("service.version", version.to_owned())];
        if self.release == Release::V25_7 {
            resource.push(("server_id", self.instance.clone()));
        }
        resource
    }

    /// One call of a running actor.
    fn call(&mut self, now: TimestampMs, conditions: &Conditions) {
        let latency = self.skewed(conditions.latency_seconds);
        let status = if self.random.f64() < 0.002 { "500" } else { "200" };
        self.families.add("rivet_guard_proxy_request_total", &[], 1.0);
        self.families.observe("rivet_guard_proxy_request_duration", BUCKETS, &[("status", status)], latency);
        if self.release == Release::V2_3_19 {
            self.families.add("rivet_guard_route_total", &[("router", "gateway")], 1.0);
            self.span("guard_request", now, latency, status);
        }
        if self.random.f64() < 0.1 {
            self.api_call(now);
        }
    }

    fn api_call(&mut self, now: TimestampMs) {
        let latency = self.skewed(0.004);
        let (method, path) = ("GET", "/actors");
        let duration = "rivet_api_request_duration";
        match self.release {
            Release::V2_3_19 => {
                let labels = [("method", method), ("path", path), ("router", "api-public")];
                self.families.add("rivet_api_request_total", &labels, 1.0);
                let labels =
                    [("error", ""), ("method", method), ("path", path), ("router", "api-public"), ("status", "200")];
                self.families.observe(duration, BUCKETS, &labels, latency);
                self.span("http_request", now, latency, "200");
            }
            Release::V25_7 => {
                self.families.add("rivet_api_request_total", &[("method", method), ("path", path)], 1.0);
                let labels =
                    [("method", method), ("path", path), ("watch", "false"), ("status", "200 OK"), ("error_code", "")];
                self.families.observe(duration, BUCKETS, &labels, latency);
            }
        }
    }

    /// Somebody wants an actor that is not running yet.
    fn wanted_start(&mut self, conditions: &Conditions) {
        let created = [("sub_workflow_name", "pegboard_actor2"), ("workflow_name", "")];
        self.families.add("rivet_gasoline_workflow_dispatched", &created, 1.0);
        let wake = [("signal_name", "pegboard_actor2_wake"), ("workflow_name", "")];
        self.families.add("rivet_gasoline_signal_published", &wake, 1.0);
        if conditions.host_rate_limited {
            self.refused_start();
            // Eight wake retries later the caller has its error; the proxied-request counter never sees the call.
            let error = match self.release {
                Release::V2_3_19 => ("error", "guard.actor_wake_retries_exceeded"),
                Release::V25_7 => ("error_type", "actor_wake_retries_exceeded"),
            };
            self.families.add("rivet_guard_proxy_request_errors_total", &[error], 1.0);
            return;
        }
        let start = self.skewed(0.4);
        match self.release {
            Release::V2_3_19 => {
                self.outbound_request("success", start);
                let labels = [("kind", "serverless"), ("result", "allocated")];
                self.families.observe("rivet_pegboard_actor_allocate_duration", BUCKETS, &labels, 0.02);
                let labels = [("kind", "serverless"), ("namespace_id", NAMESPACE_ID), ("pool_name", POOL)];
                self.families.observe("rivet_pegboard_actor_start_duration", BUCKETS, &labels, start);
            }
            Release::V25_7 => {
                let labels = [("did_reserve", "true")];
                self.families.observe("rivet_pegboard_actor_allocate_duration", BUCKETS, &labels, 0.02);
                self.families.observe("rivet_pegboard_actor_start_duration", BUCKETS, &[], start);
            }
        }
        // Actors sleep again after a while, so the number wanders about twenty.
        self.running_actors = (self.running_actors + self.random.f64() * 2.0 - 1.0).clamp(10.0, 40.0);
    }

    /// A start request that the host answers with 429.
    fn refused_start(&mut self) {
        if self.release != Release::V2_3_19 {
            return;
        }
        self.outbound_request("error_http_429", 0.05);
        let labels = [("error", "http_error"), ("namespace_id", NAMESPACE_ID), ("pool_name", POOL), ("status", "429")];
        self.families.add("rivet_pegboard_outbound_req_error_total", &labels, 1.0);
        for signal in ["pegboard_actor2_allocated", "pegboard_actor2_lost"] {
            let labels = [("signal_name", signal), ("workflow_name", "")];
            self.families.add("rivet_gasoline_signal_published", &labels, 1.0);
        }
    }

    fn outbound_request(&mut self, result: &str, seconds: f64) {
        let labels = [("namespace_id", NAMESPACE_ID), ("runner_name", POOL)];
        self.families.add("rivet_pegboard_outbound_req_total", &labels, 1.0);
        let labels = [("drain_reason", ""), ("namespace_id", NAMESPACE_ID), ("pool_name", POOL), ("result", result)];
        self.families.observe("rivet_pegboard_outbound_req_duration_seconds", BUCKETS, &labels, seconds);
    }

    /// What the engine's workers record about every ten seconds.
    fn housekeeping(&mut self, now: TimestampMs, conditions: &Conditions) {
        let workflows = [("pegboard_actor2", self.running_actors), ("namespace", 0.0)];
        for (workflow, active) in workflows {
            let labels = [("workflow_name", workflow)];
            self.families.set("rivet_gasoline_workflow_active", &labels, active);
            self.families.set("rivet_gasoline_workflow_sleeping", &labels, 1.0);
        }
        let lag = self.skewed(0.008);
        let labels = [("signal_name", "pegboard_actor2_wake"), ("workflow_name", "pegboard_actor2")];
        self.families.observe("rivet_gasoline_signal_recv_lag", BUCKETS, &labels, lag);
        match self.release {
            Release::V25_7 => {
                let labels = [("worker_instance_id", "worker")];
                self.families.set("rivet_gasoline_worker_last_ping", &labels, now.0 as f64);
            }
            Release::V2_3_19 => {
                self.families.set("rivet_gasoline_worker_last_ping", &[], now.0 as f64);
                self.families.set("rivet_gasoline_worker_last_metrics_publish", &[], now.0 as f64);
                for _ in 0..10 {
                    let cores = conditions.cpu_cores * (0.9 + 0.2 * self.random.f64());
                    self.families.observe("rivet_gasoline_cpu_usage", CPU_BUCKETS, &[], cores);
                    self.families.observe("rivet_gasoline_load_shedding_ratio", CPU_BUCKETS, &[], 1.0);
                }
                let labels = [("namespace_id", NAMESPACE_ID), ("runner_name", POOL)];
                self.families.set("rivet_pegboard_outbound_req_active", &labels, self.running_actors.round());
                for _ in 0..20 {
                    let (transaction, operation, publish) =
                        (self.skewed(0.003), self.skewed(0.0005), self.skewed(0.001));
                    let labels = [("name", "pull_workflows_tx")];
                    self.families.observe("rivet_udb_transaction_duration", BUCKETS, &labels, transaction);
                    self.families.add("rivet_udb_transaction_total", &labels, 1.0);
                    let labels = [("isolation", "serializable"), ("op", "get"), ("result", "ok")];
                    self.families.observe("rivet_udb_operation_duration_seconds", BUCKETS, &labels, operation);
                    let labels = [("subject_root", "pegboard")];
                    self.families.observe("rivet_ups_publish_attempt_duration_seconds", BUCKETS, &labels, publish);
                }
            }
        }
    }

    fn span(&mut self, name: &str, end: TimestampMs, seconds: f64, status: &str) {
        if self.spans.len() >= MAX_SPANS {
            return;
        }
        let end = nanos(end).0;
        let mut attributes = vec![
            text("http.request.method", "GET"),
            text("http.path", "/actors"),
            text("uri", "/gateway/actor?rvt-token=demo-not-a-secret"),
            KeyValue {
                key: "http.response.status_code".into(),
                value: Some(AnyValue { value: status.parse().ok().map(any_value::Value::IntValue) }),
                ..Default::default()
            },
        ];
        if name == "http_request" {
            attributes.push(text("http.route", "/actors"));
        }
        let id = |random: &mut fastrand::Rng, n: usize| (0..n).map(|_| random.u8(..)).collect();
        self.spans.push(Span {
            trace_id: id(&mut self.random, 16),
            span_id: id(&mut self.random, 8),
            name: name.to_owned(),
            // The engine never sets a kind: everything is INTERNAL.
            kind: 1,
            start_time_unix_nano: end.saturating_sub((seconds * 1e9) as u64),
            end_time_unix_nano: end,
            attributes,
            ..Default::default()
        });
    }

    /// A latency whose median is `median`, with a long tail to the right.
    fn skewed(&mut self, median: f64) -> f64 {
        // The sum of four uniform numbers is close enough to a bell for a log-normal tail.
        let bell: f64 = (0..4).map(|_| self.random.f64()).sum::<f64>() - 2.0;
        median * (bell * 1.2).exp()
    }
}

fn nanos(t: TimestampMs) -> UnixNanos {
    UnixNanos(t.0.max(0).unsigned_abs() * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(minutes: i64, conditions: &Conditions) -> Engine {
        let mut engine = Engine::new(Release::V2_3_19, "a", 7, TimestampMs(0));
        for second in 1..=minutes * 60 {
            engine.step(TimestampMs(second * 1000), 1.0, conditions);
        }
        engine
    }

    fn value(page: &str, series: &str) -> f64 {
        let line = page.lines().find(|l| l.starts_with(series)).unwrap_or_else(|| panic!("{series} in\n{page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    #[test]
    fn rates_hold_over_small_steps_and_nothing_fails_on_a_quiet_day() {
        let page = after(10, &Conditions::default()).page().unwrap();
        assert_eq!(value(&page, "rivet_guard_proxy_request_total"), 7200.0);
        assert!(!page.contains("429"), "families of failures appear only with the first failure");
    }

    #[test]
    fn a_rate_limited_host_gets_more_starts_than_anybody_wants() {
        let conditions = Conditions { host_rate_limited: true, ..Conditions::default() };
        let page = after(5, &conditions).page().unwrap();
        let wanted = value(&page, "rivet_gasoline_workflow_dispatched");
        let asked = value(&page, "rivet_pegboard_outbound_req_total");
        assert!(asked > 9.0 * wanted, "{asked} start requests for {wanted} actors");
    }

    #[test]
    fn equal_seeds_give_equal_pages() {
        let conditions = Conditions::default();
        assert_eq!(after(2, &conditions).page(), after(2, &conditions).page());
    }
}
