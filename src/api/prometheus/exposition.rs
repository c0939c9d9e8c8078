//! Samples as another Prometheus scrapes them: the text format, and protobuf, which alone has native histograms.
//!
//! In:  samples with their labels, and the `Accept` header of the request.   Out: a page and its content type.
//! Always: families in order of their name as it is sent, each series once. A native histogram with bounds of its own
//! has no form in either format and is left out, as is any native histogram in the text format.
//! Source: `expfmt` of `prometheus/common`, `metrics.proto` of `prometheus/client_model`, whose field numbers are the
//! contract.

use std::fmt::Write;

use axum::http::{HeaderMap, header};
use prost::Message;

use super::answer::write_f64;
use super::escaping::Escaping;
use crate::model::{
    CounterResetHint, FloatHistogram, Labels, METRIC_NAME, Quoted, Span, TimestampMs, Value, is_legacy_label_name,
    is_legacy_metric_name,
};

/// What a page is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub is_protobuf: bool,
    pub escaping: Escaping,
}

impl Format {
    /// The first form of the `Accept` header, by its `q`, that is known here; the text format where none is. `escaping`
    /// holds from where it stands on, because Prometheus asks for it beside a format that is not served.
    pub(super) fn negotiated(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let mut accepted: Vec<Accepted> = lines.flat_map(|line| line.split(',')).map(Accepted::read).collect();
        accepted.sort_by(|a, b| b.quality.total_cmp(&a.quality));
        let mut escaping = Escaping::default();
        for one in accepted {
            escaping = one.param("escaping").and_then(Escaping::from_name).unwrap_or(escaping);
            let is_protobuf = one.kind == "application/vnd.google.protobuf"
                && one.param("proto") == Some("io.prometheus.client.MetricFamily")
                && one.param("encoding") == Some("delimited");
            if is_protobuf || (one.kind == "text/plain" && matches!(one.param("version"), None | Some("0.0.4"))) {
                return Self { is_protobuf, escaping };
            }
        }
        Self { is_protobuf: false, escaping }
    }

    pub(super) fn content_type(self) -> String {
        let kind = match self.is_protobuf {
            true => "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            false => "text/plain; version=0.0.4; charset=utf-8",
        };
        format!("{kind}; escaping={}", self.escaping.as_str())
    }
}

/// One form that a client takes.
struct Accepted {
    kind: String,
    params: Vec<(String, String)>,
    quality: f64,
}

impl Accepted {
    fn read(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().unwrap_or("").to_ascii_lowercase();
        let params = parts.filter_map(|part| part.split_once('='));
        let params: Vec<_> = params
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
            .collect();
        let quality = params.iter().find(|(name, _)| name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        Self { kind, params, quality }
    }

    fn param(&self, wanted: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }
}

/// A sample as it is sent: names escaped, labels in their order.
#[derive(Debug)]
struct Row {
    name: String,
    kind: Kind,
    labels: Vec<(String, String)>,
    t: TimestampMs,
    value: Value,
}

/// The numbers of `MetricType` that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Untyped = 3,
    Histogram = 4,
    GaugeHistogram = 5,
}

/// The page of these samples. `more` labels are added to series that lack them; an empty value is sent, too.
pub(super) fn page(samples: Vec<(Labels, TimestampMs, Value)>, more: &[(String, String)], format: Format) -> Vec<u8> {
    let rows = samples.into_iter().filter_map(|(labels, t, value)| {
        let kind = match &value {
            Value::Float(_) => Kind::Untyped,
            Value::Histogram(h) if !format.is_protobuf || h.uses_custom_buckets() => return None,
            Value::Histogram(h) if h.counter_reset_hint == CounterResetHint::Gauge => Kind::GaugeHistogram,
            Value::Histogram(_) => Kind::Histogram,
        };
        let name = format.escaping.escape(labels.metric_name(), true);
        Some(Row { name, kind, labels: sent(&labels, more, format.escaping), t, value })
    });
    let mut rows: Vec<Row> = rows.collect();
    rows.sort_by(|a, b| (&a.name, a.kind, &a.labels).cmp(&(&b.name, b.kind, &b.labels)));
    // Two names may be the same once they are escaped.
    rows.dedup_by(|a, b| (&a.name, a.kind, &a.labels) == (&b.name, b.kind, &b.labels));
    let families = rows.chunk_by(|a, b| (&a.name, a.kind) == (&b.name, b.kind));
    let mut out = Vec::new();
    for family in families {
        match format.is_protobuf {
            true => write_protobuf(&mut out, family),
            false => write_text(&mut out, family),
        }
    }
    out
}

/// The labels without the name: the series' own, then those of `more` that it lacks.
fn sent(labels: &Labels, more: &[(String, String)], escaping: Escaping) -> Vec<(String, String)> {
    let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(labels.len() + more.len());
    for (name, value) in own.chain(more.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
        let name = escaping.escape(name, false);
        if pairs.iter().all(|(known, _)| *known != name) {
            pairs.push((name, value.to_owned()));
        }
    }
    pairs
}

/// `name{label="value"}`, or `{"na.me",label="value"}` where the name needs quotes.
fn write_text(out: &mut Vec<u8>, family: &[Row]) {
    let name = family[0].name.as_str();
    let is_bare = is_legacy_metric_name(name);
    let shown = if is_bare { name.to_owned() } else { Quoted(name).to_string() };
    let mut text = String::new();
    let written = writeln!(text, "# TYPE {shown} untyped");
    written.expect("writing to memory cannot fail");
    for row in family {
        let Value::Float(v) = row.value else { continue };
        let mut parts = if is_bare { Vec::new() } else { vec![shown.clone()] };
        parts.extend(row.labels.iter().map(|(label, value)| match is_legacy_label_name(label) {
            true => format!("{label}={}", Quoted(value)),
            false => format!("{}={}", Quoted(label), Quoted(value)),
        }));
        let mut number = Vec::new();
        write_f64(&mut number, v);
        let bare = if is_bare { name } else { "" };
        let written = writeln!(text, "{bare}{{{}}} {} {}", parts.join(","), String::from_utf8_lossy(&number), row.t.0);
        written.expect("writing to memory cannot fail");
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_protobuf(out: &mut Vec<u8>, family: &[Row]) {
    let metrics = family.iter().map(|row| Metric {
        label: row.labels.iter().map(|(name, value)| LabelPair { name: name.clone(), value: value.clone() }).collect(),
        untyped: match row.value {
            Value::Float(value) => Some(Untyped { value: Some(value) }),
            Value::Histogram(_) => None,
        },
        timestamp_ms: Some(row.t.0),
        histogram: match &row.value {
            Value::Float(_) => None,
            Value::Histogram(histogram) => Some(Histogram::from(&**histogram)),
        },
    });
    let message =
        MetricFamily { name: family[0].name.clone(), kind: Some(family[0].kind as i32), metric: metrics.collect() };
    message.encode_length_delimited(out).expect("a vector grows");
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Untyped>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Untyped {
    #[prost(double, optional, tag = "1")]
    value: Option<f64>,
}

/// A native histogram with float counts.
#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(double, optional, tag = "2")]
    sample_sum: Option<f64>,
    #[prost(double, optional, tag = "4")]
    sample_count_float: Option<f64>,
    #[prost(sint32, optional, tag = "5")]
    schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    zero_threshold: Option<f64>,
    #[prost(double, optional, tag = "8")]
    zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(double, repeated, tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(double, repeated, tag = "14")]
    positive_count: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    length: Option<u32>,
}

impl From<&FloatHistogram> for Histogram {
    fn from(h: &FloatHistogram) -> Self {
        let spans = |spans: &[Span]| -> Vec<BucketSpan> {
            spans.iter().map(|s| BucketSpan { offset: Some(s.offset), length: Some(s.length) }).collect()
        };
        let mut wire = Self {
            sample_sum: Some(h.sum),
            sample_count_float: Some(h.count),
            schema: Some(h.schema),
            zero_threshold: Some(h.zero_threshold),
            zero_count_float: Some(h.zero_count),
            negative_span: spans(&h.negative_spans),
            negative_count: h.negative_buckets.clone(),
            positive_span: spans(&h.positive_spans),
            positive_count: h.positive_buckets.clone(),
        };
        if h.count == 0.0 {
            // Readers take a histogram without observations for one of whole numbers, whose buckets are other fields.
            // An empty span alone says that it is a native one.
            (wire.negative_span, wire.negative_count, wire.positive_count) = Default::default();
            wire.positive_span = vec![BucketSpan { offset: Some(0), length: Some(0) }];
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::negotiated(&headers)
    }

    #[test]
    fn the_best_known_form_is_taken() {
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        let text = |escaping| Format { is_protobuf: false, escaping };
        // The headers of Prometheus 2.42, with and without native histograms, and of 3.x.
        let of_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let of_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(format(of_2), text(Escaping::Underscores));
        assert_eq!(format(&format!("{proto},{of_2}")), Format { is_protobuf: true, escaping: Escaping::Underscores });
        assert_eq!(format(of_3), text(Escaping::AllowUtf8));
        assert_eq!(
            format(&format!("text/plain;q=0.1, {proto};escaping=values;q=0.9")),
            Format { is_protobuf: true, escaping: Escaping::Values }
        );
        assert_eq!(format("text/plain;escaping=nonsense"), text(Escaping::Underscores));
        assert_eq!(format("text/html"), text(Escaping::Underscores));
        assert_eq!(
            format("text/plain; escaping=dots").content_type(),
            "text/plain; version=0.0.4; charset=utf-8; escaping=dots"
        );
    }

    #[test]
    fn names_that_become_the_same_are_one_family_and_series_come_once() {
        let sample = |name: &str, label: &str, v| {
            let labels = Labels::from_pairs([(METRIC_NAME, name), (label, "x")]);
            (labels, TimestampMs(5), Value::Float(v))
        };
        let samples = || vec![sample("a.b", "l.m", 1.0), sample("a.c", "l", 2.0), sample("a_b", "l_m", 3.0)];
        let more = [("instance".to_owned(), String::new())];
        let text =
            |escaping| String::from_utf8(page(samples(), &more, Format { is_protobuf: false, escaping })).unwrap();
        assert_eq!(
            text(Escaping::Underscores),
            "# TYPE a_b untyped\na_b{l_m=\"x\",instance=\"\"} 1 5\n# TYPE a_c untyped\na_c{l=\"x\",instance=\"\"} 2 5\n"
        );
        assert!(text(Escaping::AllowUtf8).starts_with(
            "# TYPE \"a.b\" untyped\n{\"a.b\",\"l.m\"=\"x\",instance=\"\"} 1 5\n# TYPE \"a.c\" untyped\n"
        ));
    }

    #[test]
    fn a_histogram_without_observations_still_is_a_native_one() {
        let empty = FloatHistogram {
            zero_threshold: 0.0,
            positive_spans: vec![Span { offset: 3, length: 1 }],
            positive_buckets: vec![0.0],
            ..FloatHistogram::default()
        };
        let wire = Histogram::from(&empty);
        assert_eq!((wire.positive_span.len(), wire.positive_count.len()), (1, 0));
    }
}
