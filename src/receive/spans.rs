//! Turns the engine's request spans into request rate, errors and latency.
//!
//! In:  trace requests of engines.   Out: at each [`SpanMetrics::collect`], one batch of counters and histograms.
//! Always: errors are read from `http.response.status_code`, because the engine never sets a span's status;
//! counts are scaled by one over the sampler ratio, `rivet_span_observed_total` is not, so that rules can ask
//! for enough spans before they believe the rest.
//! Limits: `sources_max` engines; 501 statuses each (100 to 599 and `unknown`). Retried exports count twice.

use std::net::IpAddr;

use hashbrown::HashMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::identity::Identity;
use super::otlp::translate::{Options, source_of};
use crate::model::{
    Counter, HumanDuration, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, Problem, StatRow, Stats, TimestampMs,
    Value, stale_nan,
};
use crate::storage::{Batch, Point};

/// Upper bounds of the latency histogram in seconds: the engine's own for its request durations (`BUCKETS`).
const BOUNDS: [f64; 18] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

const REQUESTS: &str = "rivet_span_requests_total";
const OBSERVED: &str = "rivet_span_observed_total";
const DURATION: &str = "rivet_span_request_duration_seconds";

/// `receive.spans`: request rate, errors and latency from spans.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The engine's `RIVET_OTEL_SAMPLER_RATIO`, which no attribute tells: counts are divided by it.
    /// Above 0, at most 1; default 0.001, the engine's own. Set it to what the engine is run with.
    pub sampler_ratio: f64,
    /// An engine without spans for so long loses its span series. Default 1h, at least 1m.
    pub idle: HumanDuration,
    /// Most engines that are counted at once. Default 1000, at least 1.
    pub sources_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { sampler_ratio: 0.001, idle: HumanDuration::secs(3_600), sources_max: 1_000 }
    }
}

impl Config {
    /// Adds what is wrong to `problems`; `at` is this section's path.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if !(self.sampler_ratio > 0.0 && self.sampler_ratio <= 1.0) {
            let rule = format!("must be above 0 and at most 1, got {}", self.sampler_ratio);
            problems.push(Problem::new(format!("{at}.sampler_ratio"), rule));
        }
        if self.idle < HumanDuration::secs(60) {
            problems.push(Problem::new(format!("{at}.idle"), format!("must be at least 1m, got {}", self.idle)));
        }
        if self.sources_max == 0 {
            problems.push(Problem::new(format!("{at}.sources_max"), "must be at least 1, got 0"));
        }
    }
}

/// The two spans that are requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestSpan {
    /// A request through the proxy.
    Guard,
    /// A call of the engine's API.
    Http,
}

impl RequestSpan {
    const ALL: [Self; 2] = [Self::Guard, Self::Http];

    fn name(self) -> &'static str {
        match self {
            Self::Guard => "guard_request",
            Self::Http => "http_request",
        }
    }

    /// The kind of a span; the epoxy client's `http_request` has no route and is no request to this engine.
    fn of(span: &Span) -> Option<Self> {
        match span.name.as_str() {
            "guard_request" => Some(Self::Guard),
            "http_request" if span.attributes.iter().any(|a| a.key == "http.route") => Some(Self::Http),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Requests {
    /// Spans by status code, with the time from which the count is known; 0 stands for `unknown`.
    by_status: HashMap<u16, u64>,
    /// Spans by bucket, not cumulated; the last is +Inf.
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
    observed: u64,
    /// Statuses whose series were written before.
    written: Vec<u16>,
}

#[derive(Debug, Default)]
struct Engine {
    requests: [Requests; RequestSpan::ALL.len()],
    seen_at: TimestampMs,
}

/// Counts request spans; see the module's text.
#[derive(Debug)]
pub struct SpanMetrics {
    config: Config,
    engines: HashMap<Identity, Engine>,
    collected_at: Option<TimestampMs>,
}

/// What was done with spans.
#[derive(Debug, Default)]
pub struct SpanStats {
    /// Spans that were requests of an engine.
    pub counted: Counter,
    /// Request spans left out because `sources_max` engines are known already.
    pub over_limit: Counter,
}

impl Stats for SpanStats {
    fn rows(&self) -> Vec<StatRow> {
        vec![
            StatRow::counter(
                "rivetwatch_request_spans_total",
                "Spans counted as requests of an engine.",
                self.counted.get(),
            ),
            StatRow::counter(
                "rivetwatch_request_spans_dropped_total",
                "Request spans not counted because of too many sources.",
                self.over_limit.get(),
            ),
        ]
    }
}

impl SpanMetrics {
    pub fn new(config: Config) -> Self {
        Self { config, engines: HashMap::new(), collected_at: None }
    }

    /// Counts the request spans in `request`, which came from `peer` at `now`.
    pub fn observe(
        &mut self,
        request: &ExportTraceServiceRequest,
        peer: Option<IpAddr>,
        options: &Options,
        now: TimestampMs,
        stats: &SpanStats,
    ) {
        for resource in &request.resource_spans {
            let attributes = resource.resource.as_ref().map_or(&[][..], |r| r.attributes.as_slice());
            let source = source_of(attributes, peer, options);
            if !source.is_engine {
                continue;
            }
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            for (kind, span) in spans.filter_map(|span| Some((RequestSpan::of(span)?, span))) {
                let has_room = self.engines.len() < self.config.sources_max;
                if !has_room && !self.engines.contains_key(&source.identity) {
                    stats.over_limit.inc();
                    continue;
                }
                let engine = self.engines.entry(source.identity.clone()).or_default();
                engine.seen_at = now;
                engine.requests[kind as usize].add(span);
                stats.counted.inc();
            }
        }
    }

    /// The series as of `now`: running totals, a zero at the last collection before each series' first point,
    /// and staleness markers for engines that went silent.
    ///
    /// To be called at an even interval from the start on, whether or not spans came.
    pub fn collect(&mut self, now: TimestampMs) -> Batch {
        let mut batch = Batch::default();
        let idle_ms = self.config.idle.as_ms();
        let scale = 1.0 / self.config.sampler_ratio;
        let zero_at = self.collected_at.filter(|at| *at < now);
        self.engines.retain(|identity, engine| {
            let is_idle = now.0 - engine.seen_at.0 >= idle_ms;
            for kind in RequestSpan::ALL {
                let mut series = SeriesWriter { identity, kind, now, zero_at, is_idle, batch: &mut batch };
                engine.requests[kind as usize].write(&mut series, scale);
            }
            !is_idle
        });
        if !batch.points.is_empty() {
            let describe = |name: &str, kind, help: &str, unit: &str| {
                (name.to_owned(), Metadata { kind, help: help.to_owned(), unit: unit.to_owned() })
            };
            batch.metadata = vec![
                describe(REQUESTS, MetricKind::Counter, "Requests, estimated from sampled spans.", ""),
                describe(OBSERVED, MetricKind::Counter, "Request spans really seen.", ""),
                describe(DURATION, MetricKind::Histogram, "Request duration, estimated from sampled spans.", "seconds"),
            ];
        }
        self.collected_at = Some(now);
        batch
    }
}

impl Requests {
    fn add(&mut self, span: &Span) {
        let nanos = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
        let seconds = nanos as f64 / 1e9;
        *self.by_status.entry(status_of(span)).or_default() += 1;
        self.buckets[BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())] += 1;
        self.seconds += seconds;
        self.observed += 1;
    }

    fn write(&mut self, series: &mut SeriesWriter<'_>, scale: f64) {
        if self.observed == 0 {
            return;
        }
        let is_first = self.written.is_empty();
        let mut statuses: Vec<(u16, u64)> = self.by_status.iter().map(|(status, n)| (*status, *n)).collect();
        statuses.sort_unstable();
        for (status, n) in statuses {
            let text = if status == 0 { "unknown".to_owned() } else { status.to_string() };
            let is_new = !self.written.contains(&status);
            series.write(REQUESTS, Some(("status", &text)), n as f64 * scale, is_new);
            if is_new {
                self.written.push(status);
            }
        }
        series.write(OBSERVED, None, self.observed as f64, is_first);
        let mut cumulated = 0;
        for (at, n) in self.buckets.iter().enumerate() {
            cumulated += n;
            let le = BOUNDS.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            series.write(&format!("{DURATION}_bucket"), Some(("le", &le)), cumulated as f64 * scale, is_first);
        }
        series.write(&format!("{DURATION}_sum"), None, self.seconds * scale, is_first);
        series.write(&format!("{DURATION}_count"), None, self.observed as f64 * scale, is_first);
    }
}

/// Writes the series of one kind of span of one engine.
struct SeriesWriter<'a> {
    identity: &'a Identity,
    kind: RequestSpan,
    now: TimestampMs,
    zero_at: Option<TimestampMs>,
    is_idle: bool,
    batch: &'a mut Batch,
}

impl SeriesWriter<'_> {
    fn write(&mut self, name: &str, label: Option<(&str, &str)>, v: f64, is_new: bool) {
        let mut labels = LabelsBuilder::default();
        labels.set(METRIC_NAME, name).set("span", self.kind.name());
        labels.set("job", self.identity.job.as_str()).set("instance", self.identity.instance.as_str());
        for (name, value) in &self.identity.extra {
            labels.set(name.as_str(), value.as_str());
        }
        if let Some((name, value)) = label {
            labels.set(name, value);
        }
        let labels = labels.build();
        if is_new && let Some(t) = self.zero_at {
            self.batch.points.push(Point { labels: labels.clone(), t, value: Value::Float(0.0) });
        }
        let v = if self.is_idle { stale_nan() } else { v };
        self.batch.points.push(Point { labels, t: self.now, value: Value::Float(v) });
    }
}

/// The HTTP status of a request span; 0 when it has none between 100 and 599.
fn status_of(span: &Span) -> u16 {
    let value = span.attributes.iter().find(|a| a.key == "http.response.status_code").and_then(|a| a.value.as_ref());
    let code = match value.and_then(|v| v.value.as_ref()) {
        Some(Any::IntValue(code)) => u16::try_from(*code).ok(),
        Some(Any::StringValue(code)) => code.parse().ok(),
        _ => None,
    };
    code.filter(|code| (100..600).contains(code)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};

    use super::*;

    fn attribute(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
    }

    fn span(name: &str, ms: u64, attributes: Vec<KeyValue>) -> Span {
        Span {
            name: name.into(),
            start_time_unix_nano: 1_000_000_000,
            end_time_unix_nano: 1_000_000_000 + ms * 1_000_000,
            attributes,
            ..Default::default()
        }
    }

    fn status(code: i64) -> KeyValue {
        attribute("http.response.status_code", Any::IntValue(code))
    }

    fn request(service: &str, instance: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let attributes = vec![
            attribute("service.name", Any::StringValue(service.into())),
            attribute("service.instance.id", Any::StringValue(instance.into())),
        ];
        let resource = Some(Resource { attributes, ..Default::default() });
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { resource, scope_spans, ..Default::default() }],
        }
    }

    fn observe(metrics: &mut SpanMetrics, request: &ExportTraceServiceRequest, now: i64) -> SpanStats {
        let stats = SpanStats::default();
        metrics.observe(request, None, &Options::default(), TimestampMs(now), &stats);
        stats
    }

    fn value(batch: &Batch, series: &str, t: i64) -> Option<f64> {
        batch.points.iter().find(|p| p.labels.to_string() == series && p.t.0 == t).map(|p| match &p.value {
            Value::Float(v) => *v,
            Value::Histogram(_) => panic!("span series are floats"),
        })
    }

    #[test]
    fn only_requests_of_engines_count_and_status_comes_from_the_attribute() {
        let mut metrics = SpanMetrics::new(Config { sampler_ratio: 0.1, ..Config::default() });
        metrics.collect(TimestampMs(0));
        let route = attribute("http.route", Any::StringValue("/actors".into()));
        let spans = vec![
            span("guard_request", 30, vec![status(200)]),
            span("guard_request", 300, vec![status(503)]),
            span("guard_request", 1, vec![]),
            span("http_request", 2, vec![status(404), route]),
            span("http_request", 2, vec![status(200)]),
            span("workflow", 2, vec![status(200)]),
        ];
        let stats = observe(&mut metrics, &request("rivet", "a", spans.clone()), 5_000);
        observe(&mut metrics, &request("other", "b", spans), 5_000);
        assert_eq!(stats.counted.get(), 4);
        let batch = metrics.collect(TimestampMs(15_000));
        for (series, expected) in [
            (r#"rivet_span_requests_total{instance="a", job="rivet", span="guard_request", status="200"}"#, 10.0),
            (r#"rivet_span_requests_total{instance="a", job="rivet", span="guard_request", status="503"}"#, 10.0),
            (r#"rivet_span_requests_total{instance="a", job="rivet", span="guard_request", status="unknown"}"#, 10.0),
            (r#"rivet_span_requests_total{instance="a", job="rivet", span="http_request", status="404"}"#, 10.0),
            (r#"rivet_span_observed_total{instance="a", job="rivet", span="guard_request"}"#, 3.0),
            (
                r#"rivet_span_request_duration_seconds_bucket{instance="a", job="rivet", le="0.05", span="guard_request"}"#,
                20.0,
            ),
            (r#"rivet_span_request_duration_seconds_count{instance="a", job="rivet", span="guard_request"}"#, 30.0),
        ] {
            assert_eq!(value(&batch, series, 15_000), Some(expected), "{series}");
            assert_eq!(value(&batch, series, 0), Some(0.0), "{series} was born after the last collection");
        }
        assert!(batch.points.iter().all(|p| p.labels.get("job") == Some("rivet")));
    }

    #[test]
    fn a_new_status_gets_its_own_zero_and_old_series_do_not_repeat_theirs() {
        let mut metrics = SpanMetrics::new(Config::default());
        observe(&mut metrics, &request("rivet", "a", vec![span("guard_request", 1, vec![status(200)])]), 1);
        metrics.collect(TimestampMs(15_000));
        observe(&mut metrics, &request("rivet", "a", vec![span("guard_request", 1, vec![status(500)])]), 16_000);
        let batch = metrics.collect(TimestampMs(30_000));
        let zeros: Vec<_> = batch.points.iter().filter(|p| p.t.0 == 15_000).map(|p| p.labels.get("status")).collect();
        assert_eq!(zeros, [Some("500")]);
    }

    #[test]
    fn silent_engines_end_with_staleness_markers_and_the_number_of_engines_is_bounded() {
        let mut metrics = SpanMetrics::new(Config { sources_max: 1, ..Config::default() });
        let one = |instance| request("rivet", instance, vec![span("guard_request", 1, vec![status(200)])]);
        observe(&mut metrics, &one("a"), 0);
        assert_eq!(observe(&mut metrics, &one("b"), 0).over_limit.get(), 1);
        assert!(!metrics.collect(TimestampMs(15_000)).points.is_empty());
        let last = metrics.collect(TimestampMs(3_600_000));
        let is_stale = |p: &Point| matches!(p.value, Value::Float(v) if crate::model::is_stale_nan(v));
        assert!(!last.points.is_empty() && last.points.iter().all(is_stale));
        assert!(metrics.collect(TimestampMs(3_615_000)).points.is_empty());
    }

    #[test]
    fn the_ratio_is_validated() {
        for (ratio, problems) in [(0.001, 0), (1.0, 0), (0.0, 1), (1.5, 1), (f64::NAN, 1)] {
            let mut found = Vec::new();
            Config { sampler_ratio: ratio, ..Config::default() }.validate("receive.spans", &mut found);
            assert_eq!(found.len(), problems, "{ratio}");
        }
    }
}
