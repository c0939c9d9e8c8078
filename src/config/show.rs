//! The configuration in force, as a document: the defaults, the file over them, the environment over both.
//!
//! In:  what [`super::load`] reads.   Out: one tree with every key, and no secret.
//! Always: the defaults are those of `docs/configuration.md`, which a test holds against the code's.

use std::path::Path;

use serde_json::Value;

use super::{ConfigError, environment, load, yaml};

/// The documentation's first block of YAML has every key with its default.
const DOCUMENTED: &str = include_str!("../../docs/configuration.md");

/// What stands where a secret stands.
const HIDDEN: &str = "<secret>";

/// Ends of keys whose texts open something: tokens, passwords, and addresses that are credentials themselves.
const SECRET_ENDS: [&str; 8] = ["key", "token", "secret", "password", "credentials", "url", "webhook", "authorization"];

/// The configuration of a file and the environment with every default, secrets hidden.
///
/// # Errors
/// As [`load`]: what is not valid is not shown.
pub fn shown(path: Option<&Path>, env: &[(String, String)]) -> Result<Value, ConfigError> {
    load(path, env)?;
    let text = match path {
        None => String::new(),
        Some(path) => {
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?
        }
    };
    let mut over: Value = yaml(&text).unwrap_or_default();
    for variable in environment::overrides(env) {
        // It was set when the configuration was loaded.
        let _ = variable.set_in(&mut over);
    }
    let mut tree = defaults();
    lay_over(&mut tree, over);
    hide(&mut tree, "", false);
    Ok(tree)
}

fn defaults() -> Value {
    let block = DOCUMENTED.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    yaml(block.unwrap_or("")).unwrap_or_default()
}

/// Maps are joined key by key; anything else takes the place of what was there.
fn lay_over(tree: &mut Value, over: Value) {
    match (tree, over) {
        (Value::Object(tree), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(tree.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (tree, over) => *tree = over,
    }
}

/// Hides the texts of secret keys, and every text below `headers`.
fn hide(value: &mut Value, key: &str, is_header: bool) {
    match value {
        Value::Object(map) => {
            let below_headers = is_header || key == "headers";
            map.iter_mut().for_each(|(key, value)| hide(value, key, below_headers));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| hide(item, key, is_header)),
        Value::String(text) => {
            let is_secret = is_header || SECRET_ENDS.iter().any(|end| key.ends_with(end));
            // Addresses of engines and of this agent are no secrets unless they carry one.
            let is_plain_address = matches!(key, "external_url" | "peer_url" | "public_url" | "url")
                && reqwest::Url::parse(text).is_ok_and(|url| {
                    url.username().is_empty() && url.query().is_none() && matches!(url.path(), "/" | "/metrics")
                });
            if is_secret && !is_plain_address && !text.is_empty() {
                *text = HIDDEN.to_owned();
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_lies_over_the_defaults_and_secrets_are_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rivetwatch.yaml");
        let text = "rules: {interval: 30s}\n\
                    receive: {scrape: {targets: [{url: 'http://10.0.0.5:6430/metrics'}]}}\n\
                    forward: {otlp: {endpoint: 'http://gateway:4317', headers: {x-tenant: abc}}}\n\
                    notify: {receivers: [{name: p, pagerduty_configs: [{routing_key: abcdef}], \
                    webhook_configs: [{url: 'https://chat.example/hooks/T0/B1/xyz'}]}]}\n";
        std::fs::write(&path, text).unwrap();
        let env = [("RIVETWATCH__DEPLOYMENT".to_owned(), "eu".to_owned())];
        let shown = shown(Some(&path), &env).unwrap();
        assert_eq!((&shown["rules"]["interval"], &shown["rules"]["min_interval"]), (&"30s".into(), &"1s".into()));
        assert_eq!((&shown["deployment"], &shown["api"]["auth"]), (&"eu".into(), &"unset".into()));
        assert_eq!(shown["receive"]["scrape"]["targets"][0]["url"], "http://10.0.0.5:6430/metrics");
        let receiver = &shown["notify"]["receivers"][0];
        assert_eq!(receiver["pagerduty_configs"][0]["routing_key"], HIDDEN);
        assert_eq!(receiver["webhook_configs"][0]["url"], HIDDEN);
        assert_eq!(shown["forward"]["otlp"]["headers"]["x-tenant"], HIDDEN);
        assert_eq!(shown["forward"]["otlp"]["endpoint"], "http://gateway:4317");
    }

    #[test]
    fn defaults_shown_are_a_configuration() {
        let shown = shown(None, &[]).unwrap();
        let config: super::super::Config = serde_json::from_value(shown).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", super::super::Config::default()));
    }
}
