//! Fields of an object: missing is one thing, something else in their place another, which makes the object unreadable.

use serde_json::Value;

use super::{LabelMap, PortRef};
use crate::model::parse_quantity;

/// What makes an object unreadable.
pub(super) type Read<T> = Result<T, String>;

pub(super) fn at<'a>(value: &'a Value, key: &str) -> Read<&'a Value> {
    value.get(key).filter(|v| v.is_object()).ok_or_else(|| format!("`{key}` is missing"))
}

pub(super) fn name(value: &Value) -> Read<String> {
    text(value, "/metadata/name").filter(|n| !n.is_empty()).ok_or_else(|| "`metadata.name` is missing".into())
}

/// The namespace an object names; manifests may leave it to whoever applies them.
pub(super) fn namespace(value: &Value) -> Read<Option<String>> {
    match value.pointer("/metadata/namespace") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(namespace)) => Ok(Some(namespace.clone())),
        Some(_) => Err("`metadata.namespace` is not a text".into()),
    }
}

pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

/// The items of a list; none where it is missing. Something else in its place makes the object unreadable, since what
/// it should have held would count as absent.
pub(super) fn items<'a>(value: &'a Value, key: &str) -> Read<&'a [Value]> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(format!("`{key}` is not a list")),
    }
}

/// The items of a list of maps. One that is something else makes the object unreadable, as a list of another type does.
pub(super) fn maps<'a>(value: &'a Value, key: &str) -> Read<&'a [Value]> {
    let all = items(value, key)?;
    match all.iter().all(Value::is_object) {
        true => Ok(all),
        false => Err(format!("`{key}` holds what is not a map")),
    }
}

/// A text; `None` where it is missing.
pub(super) fn word(value: &Value, key: &str) -> Read<Option<String>> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{key}` is not a text")),
    }
}

/// A whole number that fits; `None` where there is none.
pub(super) fn number<N: TryFrom<u64>>(value: &Value, pointer: &str) -> Read<Option<N>> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(v) => match v.as_u64().and_then(|n| N::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => Err(format!("`{}` is not a number that fits", pointer.trim_start_matches('/').replace('/', "."))),
        },
    }
}

pub(super) fn quantity(of: Option<&Value>, key: &str) -> Read<Option<f64>> {
    let text = match of.and_then(|of| of.get(key)) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    parse_quantity(&text).map(Some).ok_or_else(|| format!("`{text}` is not a quantity of {key}"))
}

pub(super) fn port_ref(value: Option<&Value>) -> Option<PortRef> {
    match value? {
        Value::String(name) => Some(name.parse().map_or_else(|_| PortRef::Name(name.clone()), PortRef::Number)),
        other => other.as_u64().and_then(|n| u16::try_from(n).ok()).map(PortRef::Number),
    }
}

/// A map of texts; empty where it is missing.
pub(super) fn labels(value: Option<&Value>) -> Read<LabelMap> {
    let odd = || "labels, a selector or annotations are not a map of texts".to_owned();
    match value {
        None | Some(Value::Null) => Ok(LabelMap::new()),
        Some(Value::Object(map)) => {
            map.iter().map(|(name, v)| Ok((name.clone(), v.as_str().ok_or_else(odd)?.to_owned()))).collect()
        }
        Some(_) => Err(odd()),
    }
}

/// The name of something inside an object, which `what` says for people.
pub(super) fn name_of(value: &Value, what: &str) -> Read<String> {
    text(value, "/name").filter(|n| !n.is_empty()).ok_or_else(|| format!("{what} has no name"))
}
