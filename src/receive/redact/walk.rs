//! Visits every text of an OTLP request, at whatever depth, and hands it to the redactor.
//!
//! Always: a field of the protocol that can hold text is visited; the identifiers that are plain bytes are not.
//! Keys are texts too: one that holds a secret itself is replaced.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;

use super::Redactor;

/// One visit of one request.
pub(super) struct Walk<'a> {
    redactor: &'a Redactor,
    found: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(redactor: &'a Redactor) -> Self {
        Self { redactor, found: false }
    }

    /// Visits one part of a request.
    pub(super) fn one(mut self, visit: impl FnOnce(&mut Self)) -> bool {
        visit(&mut self);
        self.found
    }

    pub(super) fn metrics(mut self, request: &mut ExportMetricsServiceRequest) -> bool {
        for resource in &mut request.resource_metrics {
            self.resource(&mut resource.resource);
            self.text("schema_url", &mut resource.schema_url);
            for scope in &mut resource.scope_metrics {
                self.scope(&mut scope.scope);
                self.text("schema_url", &mut scope.schema_url);
                scope.metrics.iter_mut().for_each(|m| self.metric(m));
            }
        }
        self.found
    }

    pub(super) fn traces(mut self, request: &mut ExportTraceServiceRequest) -> bool {
        for resource in &mut request.resource_spans {
            self.resource(&mut resource.resource);
            self.text("schema_url", &mut resource.schema_url);
            for scope in &mut resource.scope_spans {
                self.scope(&mut scope.scope);
                self.text("schema_url", &mut scope.schema_url);
                scope.spans.iter_mut().for_each(|s| self.span(s));
            }
        }
        self.found
    }

    pub(super) fn logs(mut self, request: &mut ExportLogsServiceRequest) -> bool {
        for resource in &mut request.resource_logs {
            self.resource(&mut resource.resource);
            self.text("schema_url", &mut resource.schema_url);
            for scope in &mut resource.scope_logs {
                self.scope(&mut scope.scope);
                self.text("schema_url", &mut scope.schema_url);
                scope.log_records.iter_mut().for_each(|r| self.log(r));
            }
        }
        self.found
    }

    pub(super) fn metric(&mut self, metric: &mut Metric) {
        self.text("name", &mut metric.name);
        self.text("description", &mut metric.description);
        self.text("unit", &mut metric.unit);
        self.attributes(&mut metric.metadata);
        match &mut metric.data {
            Some(metric::Data::Gauge(gauge)) => gauge.data_points.iter_mut().for_each(|p| {
                self.point(&mut p.attributes, &mut p.exemplars);
            }),
            Some(metric::Data::Sum(sum)) => sum.data_points.iter_mut().for_each(|p| {
                self.point(&mut p.attributes, &mut p.exemplars);
            }),
            Some(metric::Data::Histogram(histogram)) => histogram.data_points.iter_mut().for_each(|p| {
                self.point(&mut p.attributes, &mut p.exemplars);
            }),
            Some(metric::Data::ExponentialHistogram(histogram)) => histogram.data_points.iter_mut().for_each(|p| {
                self.point(&mut p.attributes, &mut p.exemplars);
            }),
            Some(metric::Data::Summary(summary)) => {
                summary.data_points.iter_mut().for_each(|p| self.attributes(&mut p.attributes));
            }
            None => {}
        }
    }

    fn point(&mut self, attributes: &mut [KeyValue], exemplars: &mut [Exemplar]) {
        self.attributes(attributes);
        exemplars.iter_mut().for_each(|e| self.attributes(&mut e.filtered_attributes));
    }

    fn span(&mut self, span: &mut Span) {
        self.text("name", &mut span.name);
        self.text("trace_state", &mut span.trace_state);
        self.attributes(&mut span.attributes);
        for event in &mut span.events {
            self.text("name", &mut event.name);
            self.attributes(&mut event.attributes);
        }
        for link in &mut span.links {
            self.text("trace_state", &mut link.trace_state);
            self.attributes(&mut link.attributes);
        }
        if let Some(status) = &mut span.status {
            self.text("status", &mut status.message);
        }
    }

    fn log(&mut self, record: &mut LogRecord) {
        self.text("severity_text", &mut record.severity_text);
        self.text("event_name", &mut record.event_name);
        self.attributes(&mut record.attributes);
        if let Some(body) = &mut record.body {
            self.value("body", body);
        }
    }

    pub(super) fn resource(&mut self, resource: &mut Option<Resource>) {
        let Some(resource) = resource else { return };
        self.attributes(&mut resource.attributes);
        for entity in &mut resource.entity_refs {
            self.text("schema_url", &mut entity.schema_url);
            self.text("name", &mut entity.r#type);
            let keys = entity.id_keys.iter_mut().chain(&mut entity.description_keys);
            keys.for_each(|key| self.text("name", key));
        }
    }

    pub(super) fn scope(&mut self, scope: &mut Option<InstrumentationScope>) {
        let Some(scope) = scope else { return };
        self.text("name", &mut scope.name);
        self.text("version", &mut scope.version);
        self.attributes(&mut scope.attributes);
    }

    fn attributes(&mut self, attributes: &mut [KeyValue]) {
        for attribute in attributes {
            if let Some(value) = &mut attribute.value {
                self.value(&attribute.key, value);
            }
            self.text("name", &mut attribute.key);
        }
    }

    /// A map's own keys judge its values; the items of a list are judged by the list's key.
    fn value(&mut self, key: &str, value: &mut AnyValue) {
        match &mut value.value {
            Some(any_value::Value::StringValue(text)) => self.text(key, text),
            Some(any_value::Value::ArrayValue(list)) => list.values.iter_mut().for_each(|v| self.value(key, v)),
            Some(any_value::Value::KvlistValue(map)) => self.attributes(&mut map.values),
            Some(any_value::Value::BytesValue(bytes)) => {
                if let Some(clean) = self.redactor.scrub(key, &String::from_utf8_lossy(bytes)) {
                    *bytes = clean.into_bytes();
                    self.found = true;
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, key: &str, text: &mut String) {
        if let Some(clean) = self.redactor.scrub(key, text) {
            *text = clean;
            self.found = true;
        }
    }
}
