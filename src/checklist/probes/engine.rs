//! Asks the engine's own doors: is a token asked for, is it healthy, which pools and hosts are there.
//!
//! Always: the admin token goes to the public API's own address alone; pool headers, which may hold secrets, are not read.
//! Limits: 20 namespaces, 5 pages of 100 rows a list, 20 actor hosts.

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::http::{Answer, Http, NoAnswer, at, is_loopback, shown};
use crate::checklist::evidence::{
    ApiAnswer, ClientToken, EngineSeen, Fingerprint, Health, HostMetadata, HostSeen, PoolKind, PoolSeen,
};
use crate::checklist::known::{Gap, Known, unknown};

const NAMESPACES_MAX: usize = 20;
const PAGES_MAX: usize = 5;
const ACTOR_HOSTS_MAX: usize = 20;

/// Where the engine is.
#[derive(Clone, Debug)]
pub struct EngineAddress {
    /// The public API, 6420.
    pub guard: Url,
    /// The peer API, 6421; `None` where only the public one can be reached.
    pub peer: Option<Url>,
    /// The metrics page on this machine, 6430, where one is known.
    pub metrics: Option<Url>,
    pub token: Option<Known<SecretString>>,
    /// `/api/rivet` of actor hosts besides those of serverless pools.
    pub actor_hosts: Vec<Url>,
}

/// Asks everything.
pub async fn ask(http: &Http, address: &EngineAddress) -> EngineSeen {
    let namespaces = at(&address.guard, "/namespaces", &[]);
    let token = address.token.as_ref().and_then(|t| t.as_ref().ok());
    let (without_token, health) = tokio::join!(without_token(http, &namespaces), health(http, address));
    // An address that does not answer is not given the token.
    let token_taken = match (&address.token, &without_token) {
        (None, _) => None,
        (Some(Err(gap)), _) => Some(Err(gap.clone())),
        (Some(Ok(_)), Err(gap)) => Some(Err(gap.clone())),
        (Some(Ok(token)), Ok(answer)) if answer.is_engine => Some(token_taken(http, &namespaces, token).await),
        (Some(Ok(_)), Ok(_)) => Some(unknown(format!("{} is not the engine's public API", shown(&address.guard)))),
    };
    let door = match (&address.peer, token, &token_taken, &without_token) {
        (Some(peer), ..) if is_loopback(peer) => Ok((peer.clone(), None)),
        (_, Some(token), Some(Ok(true)), _) => Ok((address.guard.clone(), Some(token))),
        (_, _, _, Ok(answer)) if answer.status == 200 && answer.is_engine => Ok((address.guard.clone(), None)),
        (_, Some(_), Some(Ok(false)), _) => Err(Gap::new("the engine refuses the token that was given")),
        (_, Some(_), Some(Err(gap)), _) => Err(gap.clone()),
        (_, None, _, Err(gap)) => Err(gap.clone()),
        _ => Err(Gap::new(
            "pools and hosts are told only with `receive.engine_api.admin_token_file`, or by 6421 on loopback",
        )),
    };
    let (pools, urls, hosts) = match door {
        Ok((base, token)) => lists(http, &base, token).await,
        Err(gap) => (Err(gap.clone()), Vec::new(), Err(gap)),
    };
    let metadata = metadata(http, address, urls, &without_token, &namespaces).await;
    EngineSeen { without_token, token_taken, health, pools, hosts, metadata }
}

async fn without_token(http: &Http, url: &Url) -> Known<ApiAnswer> {
    match http.get(url.clone(), None).await {
        Ok(answer) => {
            let json = answer.json();
            let is_list = json.get("namespaces").is_some_and(Value::is_array);
            let is_error = json.get("group").is_some() && json.get("code").is_some();
            Ok(ApiAnswer { url: shown(url), status: answer.status, is_engine: is_list || is_error })
        }
        Err(why) => unknown(format!("{} gave no answer: {why}", shown(url))),
    }
}

async fn token_taken(http: &Http, url: &Url, token: &SecretString) -> Known<bool> {
    match http.get(url.clone(), Some(token)).await {
        Ok(Answer { status: 200, .. }) => Ok(true),
        Ok(Answer { status: 401 | 403, .. }) => Ok(false),
        Ok(answer) => unknown(format!("{} answered a call with the token with status {}", shown(url), answer.status)),
        Err(why) => unknown(format!("{} gave no answer to a call with the token: {why}", shown(url))),
    }
}

/// 6421 where it can be reached, else 6420, which answers `/health` as well.
async fn health(http: &Http, address: &EngineAddress) -> Known<Health> {
    let mut gap = None;
    for base in address.peer.iter().chain([&address.guard]) {
        let url = at(base, "/health", &[]);
        match http.get(url.clone(), None).await {
            Ok(answer) => {
                let version = answer.json().get("version").and_then(Value::as_str).map(str::to_owned);
                return Ok(Health { url: shown(&url), status: Some(answer.status), took: answer.took, version });
            }
            // A connection without an answer is the very failure that is looked for.
            Err(NoAnswer::Timeout(took)) => {
                return Ok(Health { url: shown(&url), status: None, took, version: None });
            }
            Err(why) => gap = Some(format!("{} gave no answer: {why}", shown(&url))),
        }
    }
    unknown(gap.unwrap_or_else(|| "the engine's address is not known".into()))
}

/// Pools, the addresses of serverless ones, and hosts, of every namespace.
async fn lists(
    http: &Http,
    base: &Url,
    token: Option<&SecretString>,
) -> (Known<Vec<PoolSeen>>, Vec<Url>, Known<Vec<HostSeen>>) {
    let namespaces = list(http, base, token, "/namespaces", "", |json| {
        let rows = json.get("namespaces")?.as_array()?;
        Some(rows.iter().filter_map(|row| Some(row.get("name")?.as_str()?.to_owned())).collect())
    });
    let mut namespaces: Vec<String> = match namespaces.await {
        Ok(namespaces) => namespaces,
        Err(gap) => return (Err(gap.clone()), Vec::new(), Err(gap)),
    };
    namespaces.truncate(NAMESPACES_MAX);
    let (mut pools, mut urls, mut hosts) = (Ok(Vec::new()), Vec::new(), Ok(Vec::new()));
    for namespace in &namespaces {
        let found = list(http, base, token, "/runner-configs", namespace, |json| pool_rows(namespace, json)).await;
        match (found, &mut pools) {
            (Ok(found), Ok(pools)) => {
                for (pool, url) in found {
                    pools.push(pool);
                    urls.extend(url);
                }
            }
            (Err(gap), pools) => *pools = Err(gap),
            (Ok(_), Err(_)) => {}
        }
        let found = list(http, base, token, "/envoys", namespace, |json| host_rows(namespace, json)).await;
        match (found, &mut hosts) {
            (Ok(found), Ok(hosts)) => hosts.extend(found),
            (Err(gap), hosts) => *hosts = Err(gap),
            (Ok(_), Err(_)) => {}
        }
    }
    (pools, urls, hosts)
}

async fn list<T>(
    http: &Http,
    base: &Url,
    token: Option<&SecretString>,
    path: &str,
    namespace: &str,
    rows: impl Fn(&Value) -> Option<Vec<T>>,
) -> Known<Vec<T>> {
    let (mut all, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let mut query = vec![("limit", "100")];
        if !namespace.is_empty() {
            query.push(("namespace", namespace));
        }
        if let Some(cursor) = &cursor {
            query.push(("cursor", cursor));
        }
        let url = at(base, path, &query);
        let answer = match http.get(url.clone(), token).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return unknown(format!("{} answered with status {}", shown(&url), answer.status)),
            Err(why) => return unknown(format!("{} gave no answer: {why}", shown(&url))),
        };
        let json = answer.json();
        let Some(page) = rows(&json) else {
            return unknown(format!("{} did not answer with the list that was expected", shown(&url)));
        };
        let next = json.pointer("/pagination/cursor").and_then(Value::as_str).filter(|c| !c.is_empty());
        let is_last = page.len() < 100 || next.is_none() || next == cursor.as_deref();
        all.extend(page);
        if is_last {
            break;
        }
        cursor = next.map(str::to_owned);
    }
    Ok(all)
}

/// Rows of either API: the public one has a level of datacenters more.
fn pool_rows(namespace: &str, json: &Value) -> Option<Vec<(PoolSeen, Option<Url>)>> {
    let mut rows = Vec::new();
    for (name, config) in json.get("runner_configs")?.as_object()? {
        let places: Vec<&Value> = match config.get("datacenters").and_then(Value::as_object) {
            Some(datacenters) => datacenters.values().collect(),
            None => vec![config],
        };
        for place in places {
            let Some((kind, settings)) =
                place.get("serverless").map(|s| (true, s)).or(place.get("normal").map(|s| (false, s)))
            else {
                continue;
            };
            let number = |key: &str| settings.get(key).and_then(Value::as_u64);
            let pool = PoolSeen {
                namespace: namespace.to_owned(),
                name: name.clone(),
                kind: match kind {
                    false => PoolKind::Normal,
                    true => PoolKind::Serverless {
                        request_lifespan: number("request_lifespan"),
                        drain_grace_period: number("drain_grace_period"),
                        max_concurrent_actors: number("max_concurrent_actors"),
                        max_runners: number("max_runners"),
                    },
                },
                drain_on_version_upgrade: settings.get("drain_on_version_upgrade").and_then(Value::as_bool),
                eviction_delay: number("actor_eviction_delay"),
                eviction_period: number("actor_eviction_period"),
                eviction_rate: settings.get("actor_eviction_rate").and_then(Value::as_f64),
            };
            let url = settings.get("url").and_then(Value::as_str).and_then(|url| Url::parse(url).ok());
            rows.push((pool, url.filter(|_| kind)));
        }
    }
    Some(rows)
}

fn host_rows(namespace: &str, json: &Value) -> Option<Vec<HostSeen>> {
    let row = |row: &Value| {
        let is_leaving = row.get("stop_ts").is_some_and(|ts| !ts.is_null());
        let host = HostSeen {
            namespace: namespace.to_owned(),
            pool: row.get("pool_name")?.as_str()?.to_owned(),
            version: row.get("version").and_then(Value::as_u64),
        };
        (!is_leaving).then_some(host)
    };
    Some(json.get("envoys")?.as_array()?.iter().filter_map(row).collect())
}

/// What actor hosts tell everybody. A token among it is tried on the engine, which is the only one that may have it.
async fn metadata(
    http: &Http,
    address: &EngineAddress,
    urls: Vec<Url>,
    without_token: &Known<ApiAnswer>,
    namespaces: &Url,
) -> Vec<Known<HostMetadata>> {
    let mut seen: Vec<Url> = Vec::new();
    for url in address.actor_hosts.iter().cloned().chain(urls) {
        if matches!(url.scheme(), "http" | "https") && !seen.contains(&url) && seen.len() < ACTOR_HOSTS_MAX {
            seen.push(url);
        }
    }
    // Only an engine that was seen to ask for a token is given one.
    let asks_for_token = without_token.as_ref().is_ok_and(|a| a.is_engine && matches!(a.status, 401 | 403));
    let one = async |url: Url| -> Known<HostMetadata> {
        let place = shown(&url);
        let path = format!("{}/metadata", url.path().trim_end_matches('/'));
        let answer = match http.get(at(&url, &path, &[]), None).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(answer) => return unknown(format!("{place}/metadata answered with status {}", answer.status)),
            Err(why) => return unknown(format!("{place}/metadata gave no answer: {why}")),
        };
        let json = answer.json();
        if json.get("runtime").and_then(Value::as_str) != Some("rivetkit") {
            return unknown(format!("{place}/metadata is not the answer of an actor host"));
        }
        let token = json.get("clientToken").and_then(Value::as_str).filter(|t| !t.is_empty()).map(SecretString::from);
        let client_token = match token {
            None => None,
            Some(token) => {
                let is_admin = match asks_for_token {
                    true => token_taken(http, namespaces, &token).await.ok(),
                    false => None,
                };
                Some(ClientToken { fingerprint: Fingerprint::of(&token), is_admin })
            }
        };
        let version = json.pointer("/envoy/version").and_then(Value::as_u64);
        Ok(HostMetadata { url: place, client_token, version })
    };
    let mut answers = Vec::new();
    for url in seen {
        answers.push(one(url).await);
    }
    answers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pools_of_both_apis_are_read_alike() {
        // As 2.3.19 answers.
        let serverless = json!({"serverless": {"url": "http://h:1/api/rivet", "headers": {"x": "s"}, "request_lifespan": 600,
            "max_concurrent_actors": 1000, "drain_grace_period": 60, "max_runners": 1000, "drain_on_version_upgrade": true,
            "actor_eviction_delay": 0, "actor_eviction_period": 0, "actor_eviction_rate": 1.0}, "protocol_version": 8});
        let normal = json!({"normal": {"drain_on_version_upgrade": true, "actor_eviction_period": 30}});
        let peer = json!({"runner_configs": {"sl": serverless, "default": normal}});
        let public = json!({"runner_configs": {"sl": {"datacenters": {"default": serverless}},
            "default": {"datacenters": {"default": normal}}}});
        let rows = pool_rows("n", &peer).unwrap();
        assert_eq!(rows, pool_rows("n", &public).unwrap());
        assert_eq!(rows[0].1.as_ref().map(Url::as_str), Some("http://h:1/api/rivet"));
        assert_eq!((&rows[1].0.kind, rows[1].0.eviction_period), (&PoolKind::Normal, Some(30)));
        assert!(matches!(rows[0].0.kind, PoolKind::Serverless { request_lifespan: Some(600), .. }));
        assert!(!format!("{rows:?}").contains("headers"));
        assert_eq!(pool_rows("n", &json!({"group": "api"})), None);
    }
}
