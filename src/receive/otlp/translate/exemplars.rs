//! Exemplars of data points.
//!
//! In:  OTLP exemplars.   Out: ours, with `trace_id` and `span_id` as labels, then the filtered attributes.
//! Always: attributes that do not fit are left out (`model::EXEMPLAR_CHARS_MAX`), the trace never; an exemplar
//! without a value is none. Source: OpenTelemetry, "Prometheus and OpenMetrics Compatibility", exemplars.

use std::collections::VecDeque;

use opentelemetry_proto::tonic::metrics::v1::{Exemplar as Wire, exemplar::Value};

use super::{Options, attributes, names};
use crate::model::{Exemplar, TimestampMs, UnixNanos};

/// One exemplar; one without a time has that of its point, `t`.
pub(super) fn read(wire: &Wire, t: TimestampMs, options: &Options) -> Option<Exemplar> {
    let value = match wire.value? {
        Value::AsDouble(v) => v,
        Value::AsInt(v) => v as f64,
    };
    let t = match wire.time_unix_nano {
        0 => t,
        nanos => TimestampMs::from(UnixNanos(nanos)).min(t),
    };
    let trace = [("trace_id", hexadecimal(&wire.trace_id)), ("span_id", hexadecimal(&wire.span_id))];
    let trace = trace.into_iter().map(|(name, id)| (name.to_owned(), id));
    let filtered = wire.filtered_attributes.iter().filter_map(|attribute| {
        let name = names::label_name(&attribute.key, options.keeps_utf8).into_owned();
        Some((name, attributes::text_of(attribute.value.as_ref()?).into_owned()))
    });
    Some(Exemplar::new(trace.chain(filtered), value, t))
}

/// The exemplars of a histogram, smallest value first, to be dealt out to its buckets by [`up_to`].
pub(super) fn by_value(wire: &[Wire], t: TimestampMs, options: &Options) -> VecDeque<Exemplar> {
    let mut exemplars: Vec<Exemplar> = wire.iter().filter_map(|e| read(e, t, options)).collect();
    // A stable sort: equal values stay in the order of time in which they were sent.
    exemplars.sort_by(|a, b| a.value.total_cmp(&b.value));
    exemplars.into()
}

/// Takes those that lie in the bucket up to `bound`, oldest first.
pub(super) fn up_to(exemplars: &mut VecDeque<Exemplar>, bound: f64) -> impl Iterator<Item = Exemplar> {
    let end = exemplars.iter().take_while(|e| e.value <= bound).count();
    let mut inside: Vec<Exemplar> = exemplars.drain(..end).collect();
    inside.sort_by_key(|e| e.t);
    inside.into_iter()
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

    fn wire(value: f64, seconds: u64) -> Wire {
        Wire { value: Some(Value::AsDouble(value)), time_unix_nano: seconds * 1_000_000_000, ..Wire::default() }
    }

    #[test]
    fn the_trace_comes_first_and_what_does_not_fit_is_left_out() {
        let attribute = |key: &str, text: String| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(text)) }),
            ..KeyValue::default()
        };
        let wire = Wire {
            trace_id: vec![0xab; 16],
            span_id: vec![1, 2, 3, 4, 5, 6, 7, 8],
            filtered_attributes: vec![attribute("http.path", "/".repeat(90)), attribute("user.id", "7".into())],
            ..wire(0.5, 3)
        };
        let exemplar = read(&wire, TimestampMs(9_000), &Options::default()).unwrap();
        let trace = "ab".repeat(16);
        assert_eq!(
            exemplar.labels.to_string(),
            format!(r#"{{span_id="0102030405060708", trace_id="{trace}", user_id="7"}}"#)
        );
        assert_eq!((exemplar.value, exemplar.t), (0.5, TimestampMs(3_000)));
        assert_eq!(read(&Wire { value: None, ..wire }, TimestampMs(0), &Options::default()), None);
    }

    #[test]
    fn each_goes_to_its_bucket_in_order_of_time() {
        let wires = [wire(0.7, 3), wire(0.2, 2), wire(0.1, 1), wire(5.0, 4), wire(0.3, 1)];
        let mut exemplars = by_value(&wires, TimestampMs(9_000), &Options::default());
        let values = |list: Vec<Exemplar>| list.iter().map(|e| e.value).collect::<Vec<_>>();
        assert_eq!(values(up_to(&mut exemplars, 0.3).collect()), [0.1, 0.3, 0.2]);
        assert_eq!(values(up_to(&mut exemplars, 1.0).collect()), [0.7]);
        assert_eq!(values(exemplars.into()), [5.0]);
    }
}
