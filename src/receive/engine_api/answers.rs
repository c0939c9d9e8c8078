//! Reads the JSON of the engine's lists, tolerantly: a row without what is needed is left out, nothing is required.
//!
//! The peer API gives one datacenter (`{"pool": {"serverless": …}}`), the public one all of them
//! (`{"pool": {"datacenters": {"name": {"serverless": …}}}}`). Seen on 2.3.19; `runner_pool_error` by its source.

use serde_json::Value;

use crate::rivet::limits::POOL_CONCURRENT_ACTORS_DEFAULT;

/// A namespace of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    pub id: String,
    pub name: String,
}

/// An actor host as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envoy {
    pub pool: String,
    /// Actors that run on it.
    pub slots: u64,
    /// Milliseconds since the epoch, by the engine's clock.
    pub last_ping: i64,
    /// It is leaving.
    pub is_stopping: bool,
}

/// A pool of actor hosts as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub name: String,
    /// The most actors it runs at once; `None` for a pool of long-lived hosts, which has no such limit.
    pub max_concurrent_actors: Option<u64>,
    /// Kind of the error that the engine holds the pool in, e.g. `serverless_http_error`.
    pub error: Option<String>,
}

/// Rows of a `/namespaces` answer; `None` when it is no such answer.
pub fn namespaces(answer: &Value) -> Option<Vec<Namespace>> {
    let row =
        |row: &Value| Some(Namespace { id: text(row, "namespace_id").unwrap_or_default(), name: text(row, "name")? });
    Some(answer.get("namespaces")?.as_array()?.iter().filter_map(row).collect())
}

/// Rows of an `/envoys` answer; `None` when it is no such answer.
pub fn envoys(answer: &Value) -> Option<Vec<Envoy>> {
    let row = |row: &Value| {
        Some(Envoy {
            pool: text(row, "pool_name")?,
            slots: row.get("slots").and_then(Value::as_u64).unwrap_or(0),
            last_ping: row.get("last_ping_ts").and_then(Value::as_i64).unwrap_or(0),
            is_stopping: row.get("stop_ts").is_some_and(|ts| !ts.is_null()),
        })
    };
    Some(answer.get("envoys")?.as_array()?.iter().filter_map(row).collect())
}

/// Rows of a `/runner-configs` answer of either API; `None` when it is no such answer.
pub fn pools(answer: &Value) -> Option<Vec<Pool>> {
    let pool = |(name, config): (&String, &Value)| {
        let places: Vec<&Value> = match config.get("datacenters").and_then(Value::as_object) {
            Some(datacenters) => datacenters.values().collect(),
            None => vec![config],
        };
        let limits: Vec<u64> = places.iter().filter_map(|place| max_concurrent_actors(place)).collect();
        Pool {
            name: name.clone(),
            max_concurrent_actors: (!limits.is_empty()).then(|| limits.iter().sum()),
            error: places.iter().find_map(|place| pool_error(place)),
        }
    };
    Some(answer.get("runner_configs")?.as_object()?.iter().map(pool).collect())
}

/// Where the next page of a list begins; `None` after the last.
pub fn cursor(answer: &Value) -> Option<String> {
    text(answer.get("pagination")?, "cursor").filter(|cursor| !cursor.is_empty())
}

fn max_concurrent_actors(place: &Value) -> Option<u64> {
    let serverless = place.get("serverless")?;
    let configured = ["max_concurrent_actors", "max_runners"].iter().find_map(|key| serverless.get(key)?.as_u64());
    Some(configured.unwrap_or(u64::from(POOL_CONCURRENT_ACTORS_DEFAULT)))
}

/// The error stands as a text, or as an object whose only key names it; its details may quote a host's answer.
fn pool_error(place: &Value) -> Option<String> {
    let error = match place.get("runner_pool_error")? {
        Value::String(kind) => kind.as_str(),
        Value::Object(detailed) => detailed.keys().next()?.as_str(),
        _ => return None,
    };
    let is_kind =
        !error.is_empty() && error.len() <= 64 && error.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    Some(if is_kind { error.to_owned() } else { "unknown".to_owned() })
}

fn text(of: &Value, key: &str) -> Option<String> {
    of.get(key)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_forms_of_runner_configs_give_the_same_pools() {
        let serverless = json!({"serverless": {"url": "http://h", "headers": {"x": "s"}, "max_concurrent_actors": 50,
            "max_runners": 1000}, "protocol_version": null,
            "runner_pool_error": {"serverless_http_error": {"status_code": 429, "body": "slow down"}}});
        let normal = json!({"normal": {}, "protocol_version": 8});
        let peer = json!({"runner_configs": {"a": serverless, "b": normal}, "pagination": {"cursor": "normal:b"}});
        let public = json!({"runner_configs": {"a": {"datacenters": {"default": serverless}},
            "b": {"datacenters": {"default": normal}}}, "pagination": {"cursor": null}});
        let expected = vec![
            Pool { name: "a".into(), max_concurrent_actors: Some(50), error: Some("serverless_http_error".into()) },
            Pool { name: "b".into(), max_concurrent_actors: None, error: None },
        ];
        assert_eq!(pools(&peer).as_ref(), Some(&expected));
        assert_eq!(pools(&public), Some(expected));
        assert_eq!((cursor(&peer).as_deref(), cursor(&public)), (Some("normal:b"), None));
    }

    #[test]
    fn odd_answers_are_read_as_far_as_they_go() {
        assert_eq!(pools(&json!({"group": "api", "code": "forbidden"})), None);
        assert_eq!(envoys(&json!([1, 2])), None);
        assert_eq!(namespaces(&json!({"namespaces": [{"display_name": "x"}, {"name": "n"}]})).unwrap().len(), 1);
        let rows = envoys(&json!({"envoys": [{"pool_name": "p", "slots": 3, "last_ping_ts": 7, "stop_ts": null}, {}]}));
        assert_eq!(rows, Some(vec![Envoy { pool: "p".into(), slots: 3, last_ping: 7, is_stopping: false }]));
        let bare = json!({"runner_configs": {"p": {"serverless": {}, "runner_pool_error": "internal_error"}, "q": 1}});
        let read = pools(&bare).unwrap();
        assert_eq!((read[0].max_concurrent_actors, read[0].error.as_deref()), (Some(1000), Some("internal_error")));
        let free_text = json!({"runner_configs": {"p": {"runner_pool_error": "token=abc failed"}}});
        assert_eq!(pools(&free_text).unwrap()[0].error.as_deref(), Some("unknown"));
    }
}
