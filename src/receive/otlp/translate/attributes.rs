//! Attributes as labels.
//!
//! In:  OTLP attributes of a point.   Out: labels without a metric name, or why the point cannot have any.
//! Always: the last of two equal keys wins; keys that become the same label name join their values by `;`,
//! in order of key; a label of the source's identity wins over a point's, which becomes `exported_…`.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::refusals::Refusal;
use super::{Options, names};
use crate::model::LabelsBuilder;

/// The longest label name in bytes; longer ones are refused with the point.
const LABEL_NAME_BYTES_MAX: usize = 1_024;

/// The labels that `attributes` make beside those of the source, `identity`.
pub(super) fn labels_of(
    attributes: &[KeyValue],
    identity: &[(String, String)],
    options: &Options,
) -> Result<LabelsBuilder, Refusal> {
    let mut builder = LabelsBuilder::default();
    if attributes.len() + identity.len() > options.labels_max {
        return Err(Refusal::TooManyLabels { count: attributes.len() + identity.len(), limit: options.labels_max });
    }
    let mut sorted: Vec<(&str, &AnyValue)> =
        attributes.iter().filter_map(|a| Some((a.key.as_str(), a.value.as_ref()?))).collect();
    // A stable sort keeps equal keys in the order they were sent.
    sorted.sort_by_key(|(key, _)| *key);
    for (at, (key, value)) in sorted.iter().enumerate() {
        if sorted.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        let name = names::label_name(key, options.keeps_utf8);
        let text = text_of(value);
        check(&name, &text, options)?;
        if name.is_empty() || text.is_empty() {
            continue;
        }
        let name = match identity.iter().any(|(label, _)| *label == name) {
            true => Cow::Owned(format!("exported_{name}")),
            false => name,
        };
        match builder.get(&name) {
            Some(before) => {
                let joined = format!("{before};{text}");
                check(&name, &joined, options)?;
                builder.set(name, joined)
            }
            None => builder.set(name, text),
        };
    }
    for (name, value) in identity {
        check(name, value, options)?;
        builder.set(name.as_str(), value.as_str());
    }
    Ok(builder)
}

/// The labels that `attributes` are, word for word: what another rivetwatch sent.
pub(super) fn exact_labels_of(attributes: &[KeyValue], options: &Options) -> Result<LabelsBuilder, Refusal> {
    if attributes.len() > options.labels_max {
        return Err(Refusal::TooManyLabels { count: attributes.len(), limit: options.labels_max });
    }
    let mut builder = LabelsBuilder::default();
    for attribute in attributes {
        if let Some(value) = &attribute.value {
            let text = text_of(value);
            check(&attribute.key, &text, options)?;
            builder.set(attribute.key.as_str(), text);
        }
    }
    Ok(builder)
}

fn check(name: &str, value: &str, options: &Options) -> Result<(), Refusal> {
    let limit = options.label_value_bytes_max;
    if name.len() > LABEL_NAME_BYTES_MAX {
        return Err(Refusal::LabelTooLong { name: shortened(name), bytes: name.len(), limit: LABEL_NAME_BYTES_MAX });
    }
    if value.len() > limit {
        return Err(Refusal::LabelTooLong { name: shortened(name), bytes: value.len(), limit });
    }
    Ok(())
}

fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}

/// An attribute's value as text: lists and maps as JSON, bytes as base64 (OpenTelemetry, "AnyValue to string").
pub(super) fn text_of(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        None => Cow::Borrowed(""),
        Some(Value::StringValue(text)) => Cow::Borrowed(text),
        Some(Value::BoolValue(flag)) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Some(Value::IntValue(n)) => Cow::Owned(n.to_string()),
        Some(Value::DoubleValue(n)) => Cow::Owned(number_text(*n)),
        Some(Value::BytesValue(bytes)) => Cow::Owned(base64(bytes)),
        Some(Value::StringValueStrindex(_)) => Cow::Borrowed(""),
        Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => Cow::Owned(json_of(value).to_string()),
    }
}

fn json_of(value: &AnyValue) -> serde_json::Value {
    match &value.value {
        Some(Value::BoolValue(flag)) => (*flag).into(),
        Some(Value::IntValue(n)) => (*n).into(),
        Some(Value::DoubleValue(n)) => serde_json::Number::from_f64(*n).map_or(number_text(*n).into(), Into::into),
        Some(Value::ArrayValue(list)) => list.values.iter().map(json_of).collect(),
        Some(Value::KvlistValue(map)) => map
            .values
            .iter()
            .map(|kv| (kv.key.clone(), kv.value.as_ref().map_or_else(Default::default, json_of)))
            .collect(),
        None => serde_json::Value::Null,
        _ => text_of(value).into_owned().into(),
    }
}

/// A number as the text format writes it: shortest form, `+Inf`, `-Inf`, `NaN`.
pub(super) fn number_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    n.to_string()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |group, b| group << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = (group >> (18 - 6 * at)) as usize & 63;
            text.push(if at <= chunk.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
    }

    fn labels(attributes: &[KeyValue]) -> String {
        let identity = [("job".to_owned(), "rivet".to_owned())];
        labels_of(attributes, &identity, &Options::default()).unwrap().build().to_string()
    }

    #[test]
    fn duplicates_collisions_and_reserved_names_are_settled() {
        assert_eq!(labels(&[attribute("a", "1"), attribute("a", "2")]), r#"{a="2", job="rivet"}"#);
        assert_eq!(labels(&[attribute("a.b", "2"), attribute("a_b", "1")]), r#"{a_b="2;1", job="rivet"}"#);
        assert_eq!(labels(&[attribute("job", "mine")]), r#"{exported_job="mine", job="rivet"}"#);
        assert_eq!(labels(&[attribute("__name__", "x"), attribute("empty", "")]), r#"{job="rivet", key_name_="x"}"#);
    }

    #[test]
    fn long_and_many_labels_are_refused_with_a_reason() {
        let options = Options::default();
        let long = labels_of(&[attribute("error", &"x".repeat(1 << 20))], &[], &options).unwrap_err();
        assert_eq!(long.reason(), "label_too_long");
        assert_eq!(long.to_string(), "label `error` has 1048576 bytes, the limit is 65536");
        let many: Vec<_> = (0..200).map(|n| attribute(&format!("a{n}"), "x")).collect();
        assert_eq!(labels_of(&many, &[], &options).unwrap_err().reason(), "too_many_labels");
    }

    #[test]
    fn values_of_every_type_have_a_text() {
        let text = |value| text_of(&AnyValue { value: Some(value) }).into_owned();
        assert_eq!(text(Value::IntValue(-3)), "-3");
        assert_eq!(text(Value::DoubleValue(0.5)), "0.5");
        assert_eq!(text(Value::DoubleValue(f64::INFINITY)), "+Inf");
        assert_eq!(text(Value::BoolValue(true)), "true");
        for (bytes, expected) in [(&b"f"[..], "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"foob", "Zm9vYg==")] {
            assert_eq!(text(Value::BytesValue(bytes.to_vec())), expected);
        }
        let list = opentelemetry_proto::tonic::common::v1::ArrayValue {
            values: vec![AnyValue { value: Some(Value::IntValue(1)) }, AnyValue { value: None }],
        };
        assert_eq!(text(Value::ArrayValue(list)), "[1,null]");
    }
}
