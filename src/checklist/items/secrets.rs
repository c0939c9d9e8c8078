//! Tokens and passwords where they do not belong: config maps, plain variables, arguments, URLs.
//!
//! Always: no value is shown, only where it stands. A name says that a value is a secret; a path, a reference to another
//! variable and what is public by its name are none.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::facts;
use super::security::url_password;
use crate::checklist::cluster::{Cluster, ConfigMap, Container, EnvValue, Workload};
use crate::checklist::evidence::{DatabaseAddress, EngineSettings, Evidence, is_config_name, parse_config};
use crate::checklist::outcome::Outcome;

/// Names that only the admin token has.
const ADMIN_NAMES: [&str; 5] =
    ["RIVET__AUTH__ADMIN_TOKEN", "RIVET_TOKEN", "RIVET_ADMIN_TOKEN", "ADMIN_TOKEN", "AUTH_ADMIN_TOKEN"];

/// Secrets stand in Secrets.
pub fn in_secrets(e: &Evidence) -> Outcome {
    let cluster = match facts::cluster(e) {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let admin = e.told.admin_token.as_ref().and_then(|token| token.as_ref().ok());
    let admin = admin.map(|token| token.expose_secret().trim().to_owned()).filter(|t| t.len() >= 8);
    let mut outcomes = Vec::new();
    match &cluster.workloads {
        Err(gap) => outcomes.push(Outcome::from(gap)),
        Ok(workloads) => {
            for workload in &workloads.items {
                for container in workload.all_containers() {
                    for variable in &container.env {
                        let EnvValue::Text(value) = &variable.value else { continue };
                        let place = format!("variable {} of {}", variable.name, workload.title());
                        outcomes.extend(plain_secret(&place, &variable.name, value.expose_secret(), admin.as_deref()));
                    }
                    outcomes.extend(in_arguments(&workload.title(), container, admin.as_deref()));
                }
            }
            outcomes.extend(workloads.is_whole().err().map(Outcome::from));
        }
    }
    match &cluster.config_maps {
        Err(gap) => outcomes.push(Outcome::unknown(format!("config maps were not read: {gap}"))),
        Ok(maps) => {
            outcomes.extend(maps.items.iter().flat_map(|map| map_secrets(map, admin.as_deref())));
            outcomes.extend(maps.is_whole().err().map(Outcome::from));
            outcomes.extend(missing_maps(cluster));
        }
    }
    let unread = e.settings.as_ref().map(EngineSettings::unread_config_maps).unwrap_or_default();
    outcomes.extend(unread.iter().map(Outcome::unknown));
    Outcome::worst_of(outcomes).unwrap_or_else(|| {
        Outcome::pass(format!(
            "no token and no password in config maps, plain variables and arguments of {}",
            cluster.source
        ))
    })
}

/// Config maps that pods cannot start without, and that are not among the objects.
fn missing_maps(cluster: &Cluster) -> Vec<Outcome> {
    let (Ok(workloads), Ok(maps)) = (&cluster.workloads, &cluster.config_maps) else { return Vec::new() };
    // One that could not be read is named by the list itself.
    if maps.is_whole().is_err() {
        return Vec::new();
    }
    let is_there = |workload: &Workload, name: &str| {
        // Every namespace has this one, with the root of the API server.
        name == "kube-root-ca.crt"
            || maps.items.iter().any(|map| map.name == name && workload.is_beside(map.namespace.as_deref()))
    };
    let missing = workloads.items.iter().flat_map(|workload| {
        let names = workload.config_map_names().into_iter().filter(move |name| !is_there(workload, name));
        names.map(|name| Outcome::unknown(format!("ConfigMap {name} of {} was not found", workload.title())))
    });
    missing.collect()
}

fn map_secrets(map: &ConfigMap, admin: Option<&str>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (key, text) in &map.data {
        let text = text.expose_secret();
        let place = format!("ConfigMap {} ({key})", map.name);
        let tree = is_config_name(key).then(|| parse_config(key, text));
        match tree {
            Some(Ok(tree)) => in_tree(&place, "", &tree, &mut outcomes),
            // A file that cannot be read: the token stands behind its key all the same.
            _ => outcomes.extend(admin_token_in_text(&place, text)),
        }
        outcomes.extend(plain_secret(&place, key, text, admin));
        if text.contains("-----BEGIN ") && text.contains("PRIVATE KEY-----") {
            outcomes.push(Outcome::warn(format!("a private key stands in {place}, which is no Secret")));
        }
    }
    outcomes
}

fn admin_token_in_text(place: &str, text: &str) -> Option<Outcome> {
    let (_, rest) = text.split_once("admin_token")?;
    let value = rest.trim_start_matches(['"', '\'', ' ', ':', '=', '\n', '\t']);
    let is_set = !value.is_empty() && !value.starts_with(['{', '}', ',']) && !value.starts_with("null");
    is_set.then(|| Outcome::fail(format!("the admin token stands in {place}, which is no Secret")))
}

/// Values of a configuration whose keys say that they are secrets.
fn in_tree(place: &str, path: &str, value: &Value, outcomes: &mut Vec<Outcome>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match value {
                    Value::String(text) if is_secret_name(key) && is_secret_value(text) => {
                        outcomes.push(match is_admin_name(key) {
                            true => Outcome::fail(format!("the admin token stands in {place}, which is no Secret")),
                            false => Outcome::warn(format!("`{path}` stands in {place}, which is no Secret")),
                        });
                    }
                    value => in_tree(place, &path, value, outcomes),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| in_tree(place, path, item, outcomes)),
        _ => {}
    }
}

/// Secrets among the words of a command: behind a flag, behind the name of a variable, in a URL.
fn in_arguments(title: &str, container: &Container, admin: Option<&str>) -> Vec<Outcome> {
    let words = container.args.iter().flat_map(|arg| arg.split_whitespace());
    let words: Vec<&str> = words.map(|word| word.trim_matches(['"', '\'', ';'])).collect();
    let mut outcomes = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let (name, inline) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
        let next = || words.get(i + 1).copied().filter(|next| !next.starts_with('-')).unwrap_or_default();
        let (name, value, place) = match (inline, name.strip_prefix('-')) {
            (Some(value), _) => (name, value, format!("argument {name} of {title}")),
            (None, Some(_)) => (name, next(), format!("argument {name} of {title}")),
            (None, None) => ("", *word, format!("an argument of {title}")),
        };
        outcomes.extend(plain_secret(&place, name.trim_start_matches('-'), value, admin));
    }
    outcomes
}

/// A secret in plain text under a name.
fn plain_secret(place: &str, name: &str, value: &str, admin: Option<&str>) -> Option<Outcome> {
    if value.is_empty() {
        return None;
    }
    if admin.is_some_and(|admin| value.contains(admin)) {
        return Some(Outcome::fail(format!("the admin token stands in {place}")));
    }
    if value.contains("rvt-token=") {
        return Some(Outcome::fail(format!("a URL in {place} carries a token")));
    }
    if name.to_ascii_uppercase().contains("PUBLIC") {
        return None;
    }
    let in_url = urls_with_password(value);
    let is_endpoint = ["RIVET_ENDPOINT", "RIVET_ENGINE"].contains(&name.to_ascii_uppercase().as_str());
    if (is_admin_name(name) && is_secret_value(value)) || (is_endpoint && !in_url.is_empty()) {
        return Some(Outcome::fail(format!("a token stands in plain text in {place}; take it from a Secret")));
    }
    if is_secret_name(name) && is_secret_value(value) {
        return Some(Outcome::warn(format!(
            "a password or token stands in plain text in {place}; take it from a Secret"
        )));
    }
    let first = in_url.first()?;
    let what = match DatabaseAddress::parse(first).is_some() {
        true => "the PostgreSQL password",
        false => "the password of a URL",
    };
    Some(Outcome::warn(format!("{what} stands in {place}, which is no Secret")))
}

/// Words that are URLs with a password of their own.
fn urls_with_password(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| c.is_whitespace() || "\"'`,<>".contains(c)).filter(|word| word.contains("://"));
    // What stands before the scheme, such as `url=`, does not belong to it.
    let from_scheme = |word: &'_ str| -> usize {
        let scheme = word.find("://").unwrap_or(0);
        word[..scheme].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '+').map_or(0, |at| at + 1)
    };
    let words = words.map(|word| &word[from_scheme(word)..]);
    words.filter(|word| url_password(word).is_some_and(is_secret_value)).collect()
}

/// `clientSecret`, `client-secret` and `client.secret` as variables write them.
fn as_variable(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            out.push('_');
        }
        was_lower = c.is_ascii_lowercase();
        out.push(if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    }
    out
}

fn is_admin_name(name: &str) -> bool {
    ADMIN_NAMES.contains(&as_variable(name).as_str())
}

/// Whether a name says that its value is a secret.
fn is_secret_name(name: &str) -> bool {
    let name = as_variable(name);
    let ends =
        ["PASSWORD", "PASSWD", "_PASS", "_SECRET", "_TOKEN", "API_KEY", "PRIVATE_KEY", "SECRET_KEY", "ACCESS_KEY"];
    !name.contains("PUBLIC")
        && (["PASS", "SECRET", "TOKEN"].contains(&name.as_str()) || ends.iter().any(|e| name.ends_with(e)))
}

/// Whether a value may be a secret: no switch, no path, nothing that is filled in later.
fn is_secret_value(value: &str) -> bool {
    let value = value.trim();
    let is_switch =
        ["true", "false", "yes", "no", "on", "off", "none", "null"].contains(&value.to_ascii_lowercase().as_str());
    let is_reference = ["$", "{{", "<", "/", "file:"].iter().any(|start| value.starts_with(start));
    !value.is_empty() && !is_switch && !is_reference && !value.contains("$(") && !value.contains("${")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_a_secret() {
        for name in
            ["POSTGRES_PASSWORD", "RIVET__NATS__PASSWORD", "PGPASSWORD", "clientSecret", "api-key", "pass", "TOKEN"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["TOKEN_FILE", "PASSWORD_HASHING", "RIVET_PUBLIC_TOKEN", "SECRET_NAME", "COMPASS", "KEY", "BYPASS"]
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_that_are_filled_in_later_are_no_secrets() {
        for value in ["true", "/run/secrets/token", "$(PG_PASSWORD)", "${TOKEN}", "{{ .Values.password }}", " "] {
            assert!(!is_secret_value(value), "{value}");
        }
        assert!(is_secret_value("postgres"));
        assert_eq!(urls_with_password("a=redis://:p4ss@r:6379/0, x http://u@h"), ["redis://:p4ss@r:6379/0"]);
        assert!(urls_with_password("postgres://u:$(PASSWORD)@db/x").is_empty());
    }
}
