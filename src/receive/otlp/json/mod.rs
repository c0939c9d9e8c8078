//! OTLP/JSON into the same messages as protobuf.
//!
//! In:  the JSON body of a request.   Out: the message, and how many items in it could not be read.
//! Always: a bad data point, span or log record costs itself only; what is absent or `null` has its default.
//! Accepted beyond the specification, because senders do it: 64-bit integers as numbers or strings, enumerations
//! by name, `"NaN"` and `"Infinity"`, identifiers in base64, field names with underscores, unknown fields.
//! Source: OpenTelemetry protocol specification, "JSON Protobuf Encoding".

mod field;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1 as m;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use serde_json::Value;

use field::*;

/// A body that is no request at all.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    #[error("the body is not JSON: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("the body is not a JSON object with a list `{list}`")]
    Shape { list: &'static str },
}

/// A message with what of it could not be read.
#[derive(Debug)]
pub struct Decoded<T> {
    pub request: T,
    /// Data points, spans or log records that were left out.
    pub skipped: u64,
    /// Why the first of them was.
    pub example: Option<String>,
}

/// Reads a metrics request.
pub fn metrics(body: &[u8]) -> Result<Decoded<ExportMetricsServiceRequest>, JsonError> {
    decode(body, "resourceMetrics", |reader, resource| m::ResourceMetrics {
        resource: reader.resource(resource),
        scope_metrics: reader.items(resource, "scopeMetrics", |reader, scope| {
            Ok(m::ScopeMetrics {
                scope: reader.scope(scope),
                metrics: reader.items(scope, "metrics", Reader::metric),
                schema_url: text(scope, "schemaUrl").unwrap_or_default(),
            })
        }),
        schema_url: text(resource, "schemaUrl").unwrap_or_default(),
    })
    .map(|d| d.map(|resource_metrics| ExportMetricsServiceRequest { resource_metrics }))
}

/// Reads a trace request.
pub fn traces(body: &[u8]) -> Result<Decoded<ExportTraceServiceRequest>, JsonError> {
    decode(body, "resourceSpans", |reader, resource| ResourceSpans {
        resource: reader.resource(resource),
        scope_spans: reader.items(resource, "scopeSpans", |reader, scope| {
            Ok(ScopeSpans {
                scope: reader.scope(scope),
                spans: reader.items(scope, "spans", Reader::span),
                schema_url: text(scope, "schemaUrl").unwrap_or_default(),
            })
        }),
        schema_url: text(resource, "schemaUrl").unwrap_or_default(),
    })
    .map(|d| d.map(|resource_spans| ExportTraceServiceRequest { resource_spans }))
}

/// Reads a logs request.
pub fn logs(body: &[u8]) -> Result<Decoded<ExportLogsServiceRequest>, JsonError> {
    decode(body, "resourceLogs", |reader, resource| ResourceLogs {
        resource: reader.resource(resource),
        scope_logs: reader.items(resource, "scopeLogs", |reader, scope| {
            Ok(ScopeLogs {
                scope: reader.scope(scope),
                log_records: reader.items(scope, "logRecords", Reader::log),
                schema_url: text(scope, "schemaUrl").unwrap_or_default(),
            })
        }),
        schema_url: text(resource, "schemaUrl").unwrap_or_default(),
    })
    .map(|d| d.map(|resource_logs| ExportLogsServiceRequest { resource_logs }))
}

impl<T> Decoded<T> {
    fn map<U>(self, f: impl FnOnce(T) -> U) -> Decoded<U> {
        Decoded { request: f(self.request), skipped: self.skipped, example: self.example }
    }
}

fn decode<T>(
    body: &[u8],
    list: &'static str,
    mut resource: impl FnMut(&mut Reader, &Object) -> T,
) -> Result<Decoded<Vec<T>>, JsonError> {
    let root: Value = serde_json::from_slice(body)?;
    let Value::Object(root) = root else { return Err(JsonError::Shape { list }) };
    let mut reader = Reader::default();
    let request = match field(&root, list) {
        None => Vec::new(),
        Some(Value::Array(_)) => reader.items(&root, list, |reader, object| Ok(resource(reader, object))),
        Some(_) => return Err(JsonError::Shape { list }),
    };
    Ok(Decoded { request, skipped: reader.skipped, example: reader.example })
}

#[derive(Default)]
struct Reader {
    skipped: u64,
    example: Option<String>,
    /// What the items being read belong to, for the example: a metric's name.
    within: String,
}

impl Reader {
    /// The items of a list; those that cannot be read are counted and left out.
    fn items<T>(&mut self, at: &Object, list: &str, mut read: impl FnMut(&mut Self, &Object) -> Read<T>) -> Vec<T> {
        let values = match field(at, list) {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(_) => {
                self.skip(format!("`{list}` is not a list"));
                return Vec::new();
            }
        };
        let mut items = Vec::with_capacity(values.len());
        for (n, value) in values.iter().enumerate() {
            let item = match value {
                Value::Object(object) => read(self, object),
                _ => Err(Bad("is not an object".to_owned())),
            };
            match item {
                Ok(item) => items.push(item),
                Err(Bad(why)) => self.skip(format!("{}`{list}[{n}]` {why}", self.within)),
            }
        }
        items
    }

    fn skip(&mut self, why: String) {
        self.skipped += 1;
        self.example.get_or_insert(why);
    }

    fn resource(&mut self, at: &Object) -> Option<Resource> {
        let Value::Object(resource) = field(at, "resource")? else {
            self.skip("`resource` is not an object".to_owned());
            return None;
        };
        let attributes = self.lenient_attributes(resource);
        Some(Resource { attributes, ..Default::default() })
    }

    fn scope(&mut self, at: &Object) -> Option<InstrumentationScope> {
        let Value::Object(scope) = field(at, "scope")? else { return None };
        Some(InstrumentationScope {
            name: text(scope, "name").unwrap_or_default(),
            version: text(scope, "version").unwrap_or_default(),
            attributes: self.lenient_attributes(scope),
            ..Default::default()
        })
    }

    /// Attributes of a resource or scope: a bad one is left out, since whole requests hang on them.
    fn lenient_attributes(&mut self, at: &Object) -> Vec<KeyValue> {
        self.items(at, "attributes", |_, attribute| key_value(attribute, 0))
    }

    fn metric(&mut self, at: &Object) -> Read<m::Metric> {
        self.within = text(at, "name").map_or_else(String::new, |name| format!("metric `{name}`: "));
        let metric = self.data_of(at);
        self.within.clear();
        metric
    }

    fn data_of(&mut self, at: &Object) -> Read<m::Metric> {
        let data = |name: &str| match field(at, name) {
            Some(Value::Object(data)) => Ok(Some(data)),
            None => Ok(None),
            Some(_) => Err(Bad(format!("has a `{name}` that is not an object"))),
        };
        let read = if let Some(gauge) = data("gauge")? {
            Some(m::metric::Data::Gauge(m::Gauge { data_points: self.items(gauge, "dataPoints", |_, p| number(p)) }))
        } else if let Some(sum) = data("sum")? {
            Some(m::metric::Data::Sum(m::Sum {
                aggregation_temporality: temporality(sum)?,
                is_monotonic: boolean(sum, "isMonotonic")?,
                data_points: self.items(sum, "dataPoints", |_, p| number(p)),
            }))
        } else if let Some(histogram) = data("histogram")? {
            Some(m::metric::Data::Histogram(m::Histogram {
                aggregation_temporality: temporality(histogram)?,
                data_points: self.items(histogram, "dataPoints", |_, p| classic(p)),
            }))
        } else if let Some(histogram) = data("exponentialHistogram")? {
            Some(m::metric::Data::ExponentialHistogram(m::ExponentialHistogram {
                aggregation_temporality: temporality(histogram)?,
                data_points: self.items(histogram, "dataPoints", |_, p| exponential(p)),
            }))
        } else {
            data("summary")?.map(|summary| {
                let data_points = self.items(summary, "dataPoints", |_, p| summary_point(p));
                m::metric::Data::Summary(m::Summary { data_points })
            })
        };
        Ok(m::Metric {
            name: text(at, "name").unwrap_or_default(),
            description: text(at, "description").unwrap_or_default(),
            unit: text(at, "unit").unwrap_or_default(),
            metadata: attributes(at, "metadata")?,
            data: read,
        })
    }

    fn span(&mut self, at: &Object) -> Read<Span> {
        Ok(Span {
            trace_id: identifier(at, "traceId", 16)?,
            span_id: identifier(at, "spanId", 8)?,
            parent_span_id: identifier(at, "parentSpanId", 8)?,
            trace_state: text(at, "traceState").unwrap_or_default(),
            flags: integer(at, "flags")?,
            name: text(at, "name").unwrap_or_default(),
            kind: enumeration(at, "kind", |name| span::SpanKind::from_str_name(name).map(|k| k as i32))?,
            start_time_unix_nano: integer(at, "startTimeUnixNano")?,
            end_time_unix_nano: integer(at, "endTimeUnixNano")?,
            attributes: attributes(at, "attributes")?,
            dropped_attributes_count: integer(at, "droppedAttributesCount")?,
            events: self.items(at, "events", |_, event| {
                Ok(span::Event {
                    time_unix_nano: integer(event, "timeUnixNano")?,
                    name: text(event, "name").unwrap_or_default(),
                    attributes: attributes(event, "attributes")?,
                    dropped_attributes_count: integer(event, "droppedAttributesCount")?,
                })
            }),
            dropped_events_count: integer(at, "droppedEventsCount")?,
            links: self.items(at, "links", |_, link| {
                Ok(span::Link {
                    trace_id: identifier(link, "traceId", 16)?,
                    span_id: identifier(link, "spanId", 8)?,
                    trace_state: text(link, "traceState").unwrap_or_default(),
                    attributes: attributes(link, "attributes")?,
                    dropped_attributes_count: integer(link, "droppedAttributesCount")?,
                    flags: integer(link, "flags")?,
                })
            }),
            dropped_links_count: integer(at, "droppedLinksCount")?,
            status: match field(at, "status") {
                Some(Value::Object(status)) => Some(Status {
                    message: text(status, "message").unwrap_or_default(),
                    code: enumeration(status, "code", |name| {
                        opentelemetry_proto::tonic::trace::v1::status::StatusCode::from_str_name(name).map(|c| c as i32)
                    })?,
                }),
                _ => None,
            },
        })
    }

    fn log(&mut self, at: &Object) -> Read<LogRecord> {
        Ok(LogRecord {
            time_unix_nano: integer(at, "timeUnixNano")?,
            observed_time_unix_nano: integer(at, "observedTimeUnixNano")?,
            severity_number: enumeration(at, "severityNumber", |name| {
                opentelemetry_proto::tonic::logs::v1::SeverityNumber::from_str_name(name).map(|s| s as i32)
            })?,
            severity_text: text(at, "severityText").unwrap_or_default(),
            body: field(at, "body").map(|body| any_value(body, 0)).transpose()?,
            attributes: attributes(at, "attributes")?,
            dropped_attributes_count: integer(at, "droppedAttributesCount")?,
            flags: integer(at, "flags")?,
            trace_id: identifier(at, "traceId", 16)?,
            span_id: identifier(at, "spanId", 8)?,
            event_name: text(at, "eventName").unwrap_or_default(),
        })
    }
}

fn number(at: &Object) -> Read<m::NumberDataPoint> {
    let value = match (field(at, "asDouble"), field(at, "asInt")) {
        (Some(value), _) => Some(m::number_data_point::Value::AsDouble(float(value, "asDouble")?)),
        (None, Some(_)) => Some(m::number_data_point::Value::AsInt(integer(at, "asInt")?)),
        (None, None) => None,
    };
    Ok(m::NumberDataPoint {
        attributes: attributes(at, "attributes")?,
        start_time_unix_nano: integer(at, "startTimeUnixNano")?,
        time_unix_nano: integer(at, "timeUnixNano")?,
        exemplars: exemplars(at)?,
        flags: integer(at, "flags")?,
        value,
    })
}

fn classic(at: &Object) -> Read<m::HistogramDataPoint> {
    Ok(m::HistogramDataPoint {
        attributes: attributes(at, "attributes")?,
        start_time_unix_nano: integer(at, "startTimeUnixNano")?,
        time_unix_nano: integer(at, "timeUnixNano")?,
        count: integer(at, "count")?,
        sum: optional_float(at, "sum")?,
        bucket_counts: integers(at, "bucketCounts")?,
        explicit_bounds: list(at, "explicitBounds")?
            .iter()
            .map(|bound| float(bound, "explicitBounds"))
            .collect::<Read<_>>()?,
        exemplars: exemplars(at)?,
        flags: integer(at, "flags")?,
        min: optional_float(at, "min")?,
        max: optional_float(at, "max")?,
    })
}

fn exponential(at: &Object) -> Read<m::ExponentialHistogramDataPoint> {
    let side = |name: &str| match field(at, name) {
        Some(Value::Object(side)) => Ok(Some(m::exponential_histogram_data_point::Buckets {
            offset: integer(side, "offset")?,
            bucket_counts: integers(side, "bucketCounts")?,
        })),
        None => Ok(None),
        Some(_) => Err(Bad(format!("has a `{name}` that is not an object"))),
    };
    Ok(m::ExponentialHistogramDataPoint {
        attributes: attributes(at, "attributes")?,
        start_time_unix_nano: integer(at, "startTimeUnixNano")?,
        time_unix_nano: integer(at, "timeUnixNano")?,
        count: integer(at, "count")?,
        sum: optional_float(at, "sum")?,
        scale: integer(at, "scale")?,
        zero_count: integer(at, "zeroCount")?,
        positive: side("positive")?,
        negative: side("negative")?,
        flags: integer(at, "flags")?,
        exemplars: exemplars(at)?,
        min: optional_float(at, "min")?,
        max: optional_float(at, "max")?,
        zero_threshold: optional_float(at, "zeroThreshold")?.unwrap_or_default(),
    })
}

/// Exemplars of a point; one that cannot be read is left out, since the point does not need it.
fn exemplars(at: &Object) -> Read<Vec<m::Exemplar>> {
    let read = |value: &Value| -> Option<m::Exemplar> {
        let at = value.as_object()?;
        let value = match field(at, "asDouble") {
            Some(value) => m::exemplar::Value::AsDouble(float(value, "asDouble").ok()?),
            None => m::exemplar::Value::AsInt(integer_of(field(at, "asInt")?, "asInt").ok()?),
        };
        Some(m::Exemplar {
            filtered_attributes: attributes(at, "filteredAttributes").ok()?,
            time_unix_nano: integer(at, "timeUnixNano").ok()?,
            span_id: identifier(at, "spanId", 8).ok()?,
            trace_id: identifier(at, "traceId", 16).ok()?,
            value: Some(value),
        })
    };
    Ok(list(at, "exemplars")?.iter().filter_map(read).collect())
}

fn summary_point(at: &Object) -> Read<m::SummaryDataPoint> {
    let quantile = |value: &Value| match value {
        Value::Object(at) => Ok(m::summary_data_point::ValueAtQuantile {
            quantile: optional_float(at, "quantile")?.unwrap_or_default(),
            value: optional_float(at, "value")?.unwrap_or_default(),
        }),
        _ => Err(Bad("has a quantile that is not an object".to_owned())),
    };
    Ok(m::SummaryDataPoint {
        attributes: attributes(at, "attributes")?,
        start_time_unix_nano: integer(at, "startTimeUnixNano")?,
        time_unix_nano: integer(at, "timeUnixNano")?,
        count: integer(at, "count")?,
        sum: optional_float(at, "sum")?.unwrap_or_default(),
        quantile_values: list(at, "quantileValues")?.iter().map(quantile).collect::<Read<_>>()?,
        flags: integer(at, "flags")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_gauge(point: &str) -> Decoded<ExportMetricsServiceRequest> {
        let body = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"g","gauge":{{"dataPoints":[{{"asInt":"1"}},{point}]}}}}]}}]}}]}}"#
        );
        metrics(body.as_bytes()).unwrap()
    }

    fn points(decoded: &Decoded<ExportMetricsServiceRequest>) -> &[m::NumberDataPoint] {
        match &decoded.request.resource_metrics[0].scope_metrics[0].metrics[0].data {
            Some(m::metric::Data::Gauge(gauge)) => &gauge.data_points,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_bad_point_among_good_ones_costs_itself_only() {
        for (bad, why) in [
            (r#"{"asInt":"many"}"#, "metric `g`: `dataPoints[1]` has a `asInt` that is not an integer of its type"),
            (
                r#"{"asDouble":1,"flags":"x"}"#,
                "metric `g`: `dataPoints[1]` has a `flags` that is not an integer of its type",
            ),
            (r#""text""#, "metric `g`: `dataPoints[1]` is not an object"),
        ] {
            let decoded = one_gauge(bad);
            assert_eq!((points(&decoded).len(), decoded.skipped), (1, 1), "{bad}");
            assert_eq!(decoded.example.as_deref(), Some(why));
        }
    }

    #[test]
    fn unusual_spellings_are_read() {
        for good in [
            r#"{"asDouble":"NaN","attributes":null,"startTimeUnixNano":null,"unknown":{"x":[1]}}"#,
            r#"{"as_double":1.5,"flags":"1","time_unix_nano":"1544712660300000000"}"#,
            r#"{"asInt":7,"attributes":[{"key":"a","value":{"arrayValue":{}}},{"value":{"bytesValue":"_-8"}}]}"#,
        ] {
            let decoded = one_gauge(good);
            assert_eq!((points(&decoded).len(), decoded.skipped), (2, 0), "{good}: {:?}", decoded.example);
        }
        let nan = one_gauge(r#"{"asDouble":"NaN"}"#);
        assert!(matches!(points(&nan)[1].value, Some(m::number_data_point::Value::AsDouble(v)) if v.is_nan()));
    }

    #[test]
    fn bodies_that_are_no_request_are_refused() {
        assert!(metrics(b"{").unwrap_err().to_string().starts_with("the body is not JSON"));
        assert_eq!(
            metrics(br#"{"resourceMetrics":{}}"#).unwrap_err().to_string(),
            "the body is not a JSON object with a list `resourceMetrics`"
        );
        assert!(metrics(b"{}").unwrap().request.resource_metrics.is_empty());
    }

    #[test]
    fn identifiers_come_in_hexadecimal_and_base64() {
        let span = |id: &str| {
            let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"spanId":"{id}"}}]}}]}}]}}"#);
            let decoded = traces(body.as_bytes()).unwrap();
            decoded.request.resource_spans[0].scope_spans[0].spans.first().map(|s| s.span_id.clone())
        };
        assert_eq!(span("eee19b7ec3c1b174"), Some(vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74]));
        assert_eq!(span("VtD0sqmIWnU="), Some(vec![0x56, 0xd0, 0xf4, 0xb2, 0xa9, 0x88, 0x5a, 0x75]));
        assert_eq!(span(""), Some(vec![]));
        assert_eq!(span("xyz"), None);
    }
}
