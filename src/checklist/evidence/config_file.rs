//! The text of the engine's configuration files: json, json5, jsonc and yaml, laid over each other.

use secrecy::SecretString;
use serde_json::{Map, Value};

/// A file as it was read; it may hold passwords.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    pub name: String,
    pub text: SecretString,
}

/// Whether a file is one that the engine reads, by its name.
pub fn is_config_name(name: &str) -> bool {
    [".json", ".json5", ".jsonc", ".yaml", ".yml"].iter().any(|end| name.ends_with(end))
}

/// Reads one file by the end of its name; errors show nothing of it.
pub fn parse_config(name: &str, text: &str) -> Result<Value, String> {
    let is_yaml = name.trim_end_matches(')').ends_with(".yaml") || name.trim_end_matches(')').ends_with(".yml");
    let tree: Value = match is_yaml {
        true => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())?
        }
        // JSON with comments and JSON are JSON5.
        false => json5::from_str(text).map_err(|e| match e.position() {
            Some(at) => format!("it is not JSON5 at line {}, column {}", at.line + 1, at.column + 1),
            None => "it is not JSON5".to_owned(),
        })?,
    };
    match tree {
        Value::Object(_) | Value::Null => Ok(tree),
        _ => Err("it is not a map of keys".into()),
    }
}

/// Lays `over` over `under`, key by key.
pub(super) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (under @ Value::Null, over @ Value::Object(_)) => {
            *under = Value::Object(Map::new());
            merge(under, over);
        }
        (under, over) => *under = over,
    }
}
