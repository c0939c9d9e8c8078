//! A rule file as a document whose texts are what stands there.
//!
//! In: the text of a rule file.   Out: its YAML as a JSON value, in the order in which it is written.
//! Always: what Prometheus reads as text is text here, character by character: `b: 1.10` is not 1.1, `c: 007` not 7 and
//! `d: true` no boolean, which the operator would refuse. Only the first document counts, as in Prometheus.
//! Source: Prometheus `model/rulefmt`, whose fields are all text but `limit`.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::{Map, Value};

use crate::model::first_document;

/// Reads the text of a rule file; an empty one is `null`.
///
/// # Errors
/// The text is not YAML, or a list, mapping or text stands where another belongs.
pub fn read(text: &str) -> Result<Value, Box<serde_saphyr::Error>> {
    let text = first_document(text).text;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_saphyr::from_str::<Document>(text)?.0)
}

struct Document(Value);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Part::File.deserialize(deserializer).map(Self)
    }
}

/// What is read, which tells how.
#[derive(Clone, Copy)]
enum Part {
    File,
    Groups,
    Group,
    Rules,
    Rule,
    /// Labels or annotations.
    Pairs,
    Text,
    /// What the format does not know, and numbers.
    Any,
}

impl Part {
    /// What stands in an item of this list.
    fn item(self) -> Self {
        match self {
            Self::Groups => Self::Group,
            Self::Rules => Self::Rule,
            _ => Self::Any,
        }
    }

    /// What stands behind this key.
    fn behind(self, key: &str) -> Self {
        match (self, key) {
            (Self::File, "groups") => Self::Groups,
            (Self::Group, "rules") => Self::Rules,
            (Self::Group, "labels") | (Self::Rule, "labels" | "annotations") => Self::Pairs,
            (Self::Group, "name" | "interval" | "query_offset") => Self::Text,
            (Self::Rule, "record" | "alert" | "expr" | "for" | "keep_firing_for") | (Self::Pairs, _) => Self::Text,
            _ => Self::Any,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::Any => Value::deserialize(deserializer),
            // A label without a value has the empty one.
            Self::Text => Option::<String>::deserialize(deserializer).map(|text| text.unwrap_or_default().into()),
            _ => deserializer.deserialize_option(self),
        }
    }
}

impl<'de> Visitor<'de> for Part {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a rule file with `groups`",
            Self::Groups => "a list of groups",
            Self::Group => "a group with `name` and `rules`",
            Self::Rules => "a list of rules",
            Self::Rule => "a rule with `record` or `alert`, and `expr`",
            Self::Pairs => "a mapping of names to texts",
            Self::Text | Self::Any => "a value",
        })
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::Groups | Self::Rules => deserializer.deserialize_seq(self),
            _ => deserializer.deserialize_map(self),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = list.next_element_seed(self.item())? {
            out.push(item);
        }
        Ok(out.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let part = self.behind(&key);
            let value = map.next_value_seed(part)?;
            // A key with nothing behind it is as good as none, but for a label.
            if !value.is_null() || matches!(part, Self::Any) {
                out.insert(key, value);
            }
        }
        Ok(out.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_are_what_stands_there() {
        let text = "groups:
- name: 7
  limit: 5
  rules:
  - alert: A
    expr: 1.50
    for: 0
    labels: {b: 1.10, c: 007, d: true, e: 1e3, f: 0x1F, h: 1_000, i: null, j: , k: 'null', l: no}
    annotations:
  - &r {record: x, expr: 1e3}
  - {<<: *r, record: y}
---
groups: nothing of this
";
        let expected = json!({"groups": [{"name": "7", "limit": 5, "rules": [
            {"alert": "A", "expr": "1.50", "for": "0", "labels": {"b": "1.10", "c": "007", "d": "true", "e": "1e3",
             "f": "0x1F", "h": "1_000", "i": "", "j": "", "k": "null", "l": "no"}},
            {"record": "x", "expr": "1e3"},
            {"record": "y", "expr": "1e3"},
        ]}]});
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("# nothing\n").unwrap(), Value::Null);
        assert!(read("groups: {}").is_err() && read("- a").is_err() && read("groups: [").is_err());
    }
}
