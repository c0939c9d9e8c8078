//! `RIVETWATCH__RECEIVE__OTLP__GRPC__ENDPOINT=…`: one variable sets one key and wins over the file.

use std::path::Path;

use serde_json::Value;

use super::{Config, ConfigError, yaml};

const PREFIX: &str = "RIVETWATCH__";

/// One key set by the environment.
pub(super) struct Override {
    name: String,
    path: Vec<String>,
    value: String,
}

impl Override {
    /// Sets the key in a tree.
    ///
    /// # Errors
    /// The key lies inside something that is no map.
    pub(super) fn set_in(&self, tree: &mut Value) -> Result<(), String> {
        // `5`, `true` and `[a, b]` mean what they mean in the file; what is not YAML is text.
        let value: Value = yaml(&self.value).unwrap_or_else(|_| Value::String(self.value.clone()));
        set(tree, &self.path, value)
    }
}

/// The variables that begin with `RIVETWATCH__`, in order of name.
pub(super) fn overrides(env: &[(String, String)]) -> Vec<Override> {
    let mut found: Vec<Override> = env
        .iter()
        .filter_map(|(name, value)| {
            let path = name.strip_prefix(PREFIX)?.split("__").map(str::to_ascii_lowercase).collect();
            Some(Override { name: name.clone(), path, value: value.clone() })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Lays the variables over the file, one after the other, so that the one that does not fit can be named.
pub(super) fn apply(text: &str, shown: &Path, overrides: &[Override]) -> Result<Config, ConfigError> {
    let bad_file = |reason| ConfigError::Parse { path: shown.to_owned(), reason };
    let mut tree: Value = match text.trim().is_empty() {
        true => Value::Object(serde_json::Map::new()),
        false => yaml(text).map_err(bad_file)?,
    };
    let mut config = Config::default();
    for o in overrides {
        let bad = |reason: String| ConfigError::Environment { name: o.name.clone(), reason };
        o.set_in(&mut tree).map_err(bad)?;
        config = serde_json::from_value(tree.clone()).map_err(|e| bad(e.to_string()))?;
    }
    Ok(config)
}

fn set(tree: &mut Value, path: &[String], value: Value) -> Result<(), String> {
    let Some((first, rest)) = path.split_first() else {
        *tree = value;
        return Ok(());
    };
    if tree.is_null() {
        *tree = Value::Object(serde_json::Map::new());
    }
    match tree {
        Value::Object(map) => set(map.entry(first.as_str()).or_insert(Value::Null), rest, value),
        Value::Array(items) => {
            let index: usize = first.parse().map_err(|_| format!("`{first}` must be the number of an item"))?;
            let len = items.len();
            set(items.get_mut(index).ok_or_else(|| format!("there is no item {index} of {len}"))?, rest, value)
        }
        _ => Err(format!("`{first}` lies inside a plain value")),
    }
}
