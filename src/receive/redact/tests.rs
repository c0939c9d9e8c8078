//! Redaction: which shapes of secrets are found, and where.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::prelude::*;
use prost::Message;

use super::*;

fn counted(redactor: &Redactor) -> Vec<(String, String, f64)> {
    redactor.rows().into_iter().map(|r| (r.labels[0].1.clone(), r.labels[1].1.clone(), r.value)).collect()
}

#[test]
fn each_shape_loses_its_secret_and_keeps_its_surroundings() {
    let redactor = Redactor::new([SecretString::from("my-own-admin-token")]);
    for (key, text, clean) in [
        ("uri", "/gw/a?rvt-key=1&rvt-token=abc123&x=2", "/gw/a?rvt-key=1&rvt-token=REDACTED&x=2"),
        ("uri", "/a?next=%2Fb%3Frvt-token%3Dabc123%26x", "/a?next=%2Fb%3Frvt-token%3DREDACTED"),
        ("body", r#"headers {"x-rivet-token": "abc123", "a": 1}"#, r#"headers {"x-rivet-token": "REDACTED", "a": 1}"#),
        ("body", "protocols rivet, rivet_token.abc123, x", "protocols rivet, rivet_token.REDACTED, x"),
        ("body", "authorization: Bearer abc.def-123", "authorization: Bearer REDACTED"),
        ("body", "sent bearer abcdef0123 on", "sent bearer REDACTED on"),
        ("url.full", "http://default:abc123@127.0.0.1:6420/x", "http://REDACTED@127.0.0.1:6420/x"),
        ("body", "postgres://u:p@ss@db/engine failed", "postgres://REDACTED@db/engine failed"),
        ("body", "key AKIAABCDEFGHIJKLMNOP used", "key REDACTED used"),
        ("body", "got eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "got REDACTED"),
        ("body", "password=hunter2&user=a", "password=REDACTED&user=a"),
        ("http.request.header.authorization", "Basic dTpw", "REDACTED"),
        ("X-Rivet-Token", "abc123", "REDACTED"),
        ("http_request_header_authorization", "Basic dTpw", "REDACTED"),
        ("body", "the value my-own-admin-token stood alone", "the value REDACTED stood alone"),
    ] {
        assert_eq!(redactor.scrub(key, text).as_deref(), Some(clean), "{key}: {text}");
        assert_eq!(redactor.scrub(key, clean), None, "redacting twice changes {clean}");
        assert!(redactor.is_suspicious(format!("{key}\u{2}{text}").as_bytes()), "{text}");
    }
}

#[test]
fn innocent_texts_are_left_alone() {
    let redactor = Redactor::default();
    for (key, text) in [
        ("uri", "/gateway/counter?rvt-key=k13"),
        ("url.full", "http://127.0.0.1:6420/x"),
        ("body", "mail to ops@example.org"),
        ("gen_ai.usage.input_tokens", "17"),
        ("body", "token bucket is empty"),
        ("error", "guard.actor_ready_timeout"),
        ("thread.name", "tokio-runtime-worker"),
        ("body", "see https://example.org/a?mail=x@y.org"),
    ] {
        assert_eq!(redactor.scrub(key, text), None, "{key}: {text}");
    }
    assert_eq!(counted(&redactor), []);
}

#[test]
fn finds_are_counted_by_kind_and_bounded_attribute() {
    let redactor = Redactor::default();
    redactor.scrub("uri", "/a?rvt-token=one");
    redactor.scrub("uri", "/a?rvt-token=two");
    redactor.scrub("something.new", "/a?rvt-token=three");
    let expected = [("rivet_token".to_owned(), "other".to_owned(), 1.0), ("rivet_token".into(), "uri".into(), 2.0)];
    assert_eq!(counted(&redactor), expected);
}

fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

fn nested(depth: u8, leaf: AnyValue) -> AnyValue {
    let value = match depth {
        0 => return leaf,
        d if d % 3 == 0 => Value::BytesValue(match leaf.value {
            Some(Value::StringValue(text)) => text.into_bytes(),
            _ => return nested(depth - 1, leaf),
        }),
        d if d % 2 == 0 => Value::ArrayValue(ArrayValue { values: vec![text("x"), nested(depth - 1, leaf)] }),
        _ => Value::KvlistValue(KeyValueList { values: vec![attribute("k", nested(depth - 1, leaf))] }),
    };
    AnyValue { value: Some(value) }
}

/// A request of each signal with `planted` at place number `place`.
fn requests(
    place: usize,
    planted: &str,
    depth: u8,
) -> (ExportMetricsServiceRequest, ExportTraceServiceRequest, ExportLogsServiceRequest) {
    let mut at = 0;
    let mut put = |innocent: &str| {
        at += 1;
        if at == place + 1 { planted.to_owned() } else { innocent.to_owned() }
    };
    let mut attributes =
        |name: &str| vec![attribute(&put(name), text("plain")), attribute("b", nested(depth, text(&put("plain"))))];
    let (resource, scope, point, exemplar, event, link, own) = (
        attributes("r"),
        attributes("s"),
        attributes("p"),
        attributes("e"),
        attributes("v"),
        attributes("l"),
        attributes("o"),
    );
    let resource = Some(Resource { attributes: resource, ..Default::default() });
    let scope = Some(opentelemetry_proto::tonic::common::v1::InstrumentationScope {
        name: put("scope"),
        version: put("1"),
        attributes: scope,
        ..Default::default()
    });
    let point = NumberDataPoint {
        attributes: point,
        exemplars: vec![Exemplar { filtered_attributes: exemplar, ..Default::default() }],
        ..Default::default()
    };
    let metric = Metric {
        name: put("m"),
        description: put("d"),
        unit: put("u"),
        data: Some(metric::Data::Gauge(Gauge { data_points: vec![point] })),
        ..Default::default()
    };
    let span = Span {
        name: put("span"),
        trace_state: put("state"),
        attributes: own.clone(),
        events: vec![span::Event { name: put("event"), attributes: event, ..Default::default() }],
        links: vec![span::Link { trace_state: put("state"), attributes: link, ..Default::default() }],
        status: Some(Status { message: put("message"), code: 2 }),
        ..Default::default()
    };
    let record = LogRecord {
        body: Some(nested(depth, text(&put("body")))),
        severity_text: put("INFO"),
        event_name: put("event"),
        attributes: own,
        ..Default::default()
    };
    let metrics = ResourceMetrics {
        resource: resource.clone(),
        scope_metrics: vec![ScopeMetrics { scope: scope.clone(), metrics: vec![metric], schema_url: put("s") }],
        schema_url: put("s"),
    };
    let spans = ResourceSpans {
        resource: resource.clone(),
        scope_spans: vec![ScopeSpans { scope: scope.clone(), spans: vec![span], schema_url: put("s") }],
        schema_url: put("s"),
    };
    let logs = ResourceLogs {
        resource,
        scope_logs: vec![ScopeLogs { scope, log_records: vec![record], schema_url: put("s") }],
        schema_url: put("s"),
    };
    (
        ExportMetricsServiceRequest { resource_metrics: vec![metrics] },
        ExportTraceServiceRequest { resource_spans: vec![spans] },
        ExportLogsServiceRequest { resource_logs: vec![logs] },
    )
}

const PLACES: usize = 14 + 18;

fn holds(bytes: &[u8], token: &str) -> bool {
    bytes.windows(token.len()).any(|window| window == token.as_bytes())
}

proptest! {
    #[test]
    fn a_token_planted_anywhere_never_leaves(
        place in 0..PLACES,
        depth in 0u8..6,
        token in "[A-Za-z0-9_]{12,40}",
        form in 0usize..6,
        before in "[a-z /?&=.]{0,12}",
        after in "(|&x=1| and more|\"|, next)",
    ) {
        let secret = match form {
            0 => format!("rvt-token={token}"),
            1 => format!("x-rivet-token: {token}"),
            2 => format!("http://default:{token}@engine:6420"),
            3 => format!("Authorization: Bearer {token}"),
            4 => format!("rivet_token.{token}"),
            _ => format!("https://engine/a?rvt-token%3D{token}"),
        };
        let planted = format!("{before} {secret}{after}");
        let (mut metrics, mut traces, mut logs) = requests(place, &planted, depth);
        let raw = (metrics.encode_to_vec(), traces.encode_to_vec(), logs.encode_to_vec());
        prop_assert!(holds(&raw.0, &token) || holds(&raw.1, &token) || holds(&raw.2, &token), "nothing was planted");
        let redactor = Redactor::default();
        redactor.metrics(Some(&raw.0), &mut metrics);
        redactor.traces(Some(&raw.1), &mut traces);
        redactor.logs(Some(&raw.2), &mut logs);
        for clean in [metrics.encode_to_vec(), traces.encode_to_vec(), logs.encode_to_vec()] {
            prop_assert!(!holds(&clean, &token), "{token} survived in {planted:?}");
        }
        prop_assert!(!redactor.rows().is_empty());
    }
}
