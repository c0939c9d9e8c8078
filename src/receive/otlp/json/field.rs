//! Single fields of OTLP/JSON objects: what stands under a name, read as what the protocol wants there.
//!
//! In:  an object and the field's name.   Out: its value, the default where it is absent or `null`, or why it cannot be read.
//! Limits: attribute values nest to a depth of [`DEPTH_MAX`].

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value};
use opentelemetry_proto::tonic::metrics::v1 as m;
use serde_json::{Map, Value};

/// The deepest nesting of attribute values; deeper ones make their item unreadable.
const DEPTH_MAX: usize = 64;

pub(super) type Object = Map<String, Value>;

/// Why an item could not be read.
pub(super) struct Bad(pub(super) String);

pub(super) type Read<T> = Result<T, Bad>;

/// A field by its JSON name, or with underscores; `null` is absent.
pub(super) fn field<'a>(at: &'a Object, name: &str) -> Option<&'a Value> {
    let present = |value: &&Value| !value.is_null();
    if let Some(value) = at.get(name).filter(present) {
        return Some(value);
    }
    if !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    at.get(&snake).filter(present)
}

pub(super) fn text(at: &Object, name: &str) -> Option<String> {
    field(at, name)?.as_str().map(str::to_owned)
}

pub(super) fn boolean(at: &Object, name: &str) -> Read<bool> {
    match field(at, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Bad(format!("has a `{name}` that is not a boolean"))),
    }
}

pub(super) fn list<'a>(at: &'a Object, name: &str) -> Read<&'a [Value]> {
    match field(at, name) {
        None => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(Bad(format!("has a `{name}` that is not a list"))),
    }
}

pub(super) fn integer<T: TryFrom<i128> + Default>(at: &Object, name: &str) -> Read<T> {
    field(at, name).map_or_else(|| Ok(T::default()), |value| integer_of(value, name))
}

pub(super) fn integers<T: TryFrom<i128>>(at: &Object, name: &str) -> Read<Vec<T>> {
    list(at, name)?.iter().map(|value| integer_of(value, name)).collect()
}

/// An integer as a number, as a string, or as a whole float.
pub(super) fn integer_of<T: TryFrom<i128>>(value: &Value, name: &str) -> Read<T> {
    let wide = match value {
        Value::Number(n) => {
            n.as_i64().map(i128::from).or_else(|| n.as_u64().map(i128::from)).or_else(|| whole(n.as_f64()?))
        }
        Value::String(text) => text.trim().parse::<i128>().ok().or_else(|| whole(text.trim().parse::<f64>().ok()?)),
        _ => None,
    };
    let bad = || Bad(format!("has a `{name}` that is not an integer of its type"));
    T::try_from(wide.ok_or_else(bad)?).map_err(|_| bad())
}

pub(super) fn whole(n: f64) -> Option<i128> {
    (n.fract() == 0.0 && n.abs() < 1e30).then_some(n as i128)
}

pub(super) fn float(value: &Value, name: &str) -> Read<f64> {
    let n = match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            other => other.trim().parse::<f64>().ok().filter(|n| n.is_finite()),
        },
        _ => None,
    };
    n.ok_or_else(|| Bad(format!("has a `{name}` that is not a number")))
}

pub(super) fn optional_float(at: &Object, name: &str) -> Read<Option<f64>> {
    field(at, name).map(|value| float(value, name)).transpose()
}

pub(super) fn enumeration(at: &Object, name: &str, by_name: impl Fn(&str) -> Option<i32>) -> Read<i32> {
    match field(at, name) {
        Some(Value::String(text)) => match by_name(text) {
            Some(number) => Ok(number),
            None => integer(at, name).map_err(|_| Bad(format!("has an unknown `{name}`"))),
        },
        _ => integer(at, name),
    }
}

pub(super) fn temporality(at: &Object) -> Read<i32> {
    enumeration(at, "aggregationTemporality", |name| m::AggregationTemporality::from_str_name(name).map(|t| t as i32))
}

pub(super) fn attributes(at: &Object, name: &str) -> Read<Vec<KeyValue>> {
    let read = |value: &Value| match value {
        Value::Object(attribute) => key_value(attribute, 0),
        _ => Err(Bad(format!("has an entry of `{name}` that is not an object"))),
    };
    list(at, name)?.iter().map(read).collect()
}

pub(super) fn key_value(at: &Object, depth: usize) -> Read<KeyValue> {
    Ok(KeyValue {
        key: text(at, "key").unwrap_or_default(),
        value: field(at, "value").map(|value| any_value(value, depth)).transpose()?,
        ..Default::default()
    })
}

pub(super) fn any_value(value: &Value, depth: usize) -> Read<AnyValue> {
    if depth > DEPTH_MAX {
        return Err(Bad(format!("has an attribute nested more than {DEPTH_MAX} deep")));
    }
    let Value::Object(at) = value else {
        return Err(Bad("has an attribute value that is not an object".to_owned()));
    };
    use any_value::Value as V;
    let read = if let Some(text) = field(at, "stringValue") {
        Some(V::StringValue(text.as_str().map_or_else(|| text.to_string(), str::to_owned)))
    } else if field(at, "boolValue").is_some() {
        Some(V::BoolValue(boolean(at, "boolValue")?))
    } else if field(at, "intValue").is_some() {
        Some(V::IntValue(integer(at, "intValue")?))
    } else if let Some(n) = field(at, "doubleValue") {
        Some(V::DoubleValue(float(n, "doubleValue")?))
    } else if let Some(Value::Object(array)) = field(at, "arrayValue") {
        let values = list(array, "values")?.iter().map(|value| any_value(value, depth + 1));
        Some(V::ArrayValue(ArrayValue { values: values.collect::<Read<_>>()? }))
    } else if let Some(Value::Object(map)) = field(at, "kvlistValue") {
        let entry = |value: &Value| match value {
            Value::Object(entry) => key_value(entry, depth + 1),
            _ => Err(Bad("has a map entry that is not an object".to_owned())),
        };
        let values = list(map, "values")?.iter().map(entry).collect::<Read<_>>()?;
        Some(V::KvlistValue(KeyValueList { values }))
    } else if let Some(bytes) = text(at, "bytesValue") {
        Some(V::BytesValue(base64(&bytes).ok_or_else(|| Bad("has a `bytesValue` that is not base64".to_owned()))?))
    } else {
        None
    };
    Ok(AnyValue { value: read })
}

/// An identifier of `len` bytes: hexadecimal as specified, or base64; absent and empty give no bytes.
pub(super) fn identifier(at: &Object, name: &str, len: usize) -> Read<Vec<u8>> {
    let Some(value) = field(at, name) else { return Ok(Vec::new()) };
    let bad = || Bad(format!("has a `{name}` that is not an identifier of {len} bytes"));
    let text = value.as_str().ok_or_else(bad)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bytes = if text.len() == 2 * len { hexadecimal(text) } else { base64(text).filter(|bytes| bytes.len() == len) };
    bytes.ok_or_else(bad)
}

pub(super) fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    text.as_bytes().chunks(2).map(|pair| u8::try_from(digit(pair[0])? << 4 | digit(*pair.get(1)?)?).ok()).collect()
}

/// Base64 in either alphabet, with or without padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut group, mut bits) = (0u32, 0u32);
    for b in text.trim_end_matches('=').bytes() {
        let digit = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        group = (group << 6 | u32::from(digit)) & 0x00ff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((group >> bits & 0xff) as u8);
        }
    }
    (bits < 6).then_some(bytes)
}
