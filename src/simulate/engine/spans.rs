//! The spans that an engine sends, as far as anything is made of them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::nanos;
use crate::model::TimestampMs;
use crate::simulate::chance::{Chance, Latency};
use crate::simulate::families::{otlp_resource, text};

/// At most this many spans leave in one request, as the SDK's batch size.
const SPANS_MAX: usize = 512;

/// Spans that wait to be sent.
#[derive(Debug, Default)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// One span for each of `n` calls that ended at `end`; what is beyond a batch is dropped, as by the SDK.
    pub fn add(&mut self, name: &str, end: TimestampMs, n: u64, latency: Latency, status: &str, chance: &mut Chance) {
        for _ in 0..n {
            if self.0.len() >= SPANS_MAX {
                return;
            }
            let seconds = chance.seconds(latency);
            self.0.push(span(name, end, seconds, status, chance));
        }
    }

    /// The request with everything that waits; `None` when nothing does.
    pub fn take_request(&mut self, resource: &[(String, String)]) -> Option<ExportTraceServiceRequest> {
        if self.0.is_empty() {
            return None;
        }
        let pairs: Vec<(&str, &str)> = resource.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let scope = InstrumentationScope { name: "tracing-otel-subscriber".into(), ..Default::default() };
        let spans = std::mem::take(&mut self.0);
        Some(ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(otlp_resource(&pairs)),
                scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..Default::default() }],
                ..Default::default()
            }],
        })
    }
}

fn span(name: &str, end: TimestampMs, seconds: f64, status: &str, chance: &mut Chance) -> Span {
    let end = nanos(end).0;
    let mut attributes = vec![
        text("http.request.method", "GET"),
        text("http.path", "/actors"),
        text("uri", "/gateway/actor"),
        KeyValue {
            key: "http.response.status_code".into(),
            value: Some(AnyValue { value: status.parse().ok().map(any_value::Value::IntValue) }),
            ..Default::default()
        },
    ];
    if name == "http_request" {
        attributes.push(text("http.route", "/actors"));
    }
    Span {
        trace_id: chance.bytes(16),
        span_id: chance.bytes(8),
        name: name.to_owned(),
        // The engine never sets a kind: everything is INTERNAL.
        kind: 1,
        start_time_unix_nano: end.saturating_sub((seconds * 1e9) as u64),
        end_time_unix_nano: end,
        attributes,
        ..Default::default()
    }
}
