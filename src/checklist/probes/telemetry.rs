//! Asks an agent's series what they tell of the engine and of the watching: over HTTP, or in the agent's own store.

use std::collections::BTreeMap;
use std::pin::Pin;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::http::{Http, at, shown};
use crate::checklist::evidence::{InstanceSeen, PoolLoad, TargetSeen, TelemetrySeen};
use crate::checklist::known::{Known, unknown};

/// A series with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// The answer to a query, which comes later.
pub type Rows<'a> = Pin<Box<dyn Future<Output = Known<Vec<Row>>> + Send + 'a>>;

/// Something that evaluates PromQL now.
pub trait Series: Send + Sync {
    /// Evaluates an expression that gives a vector.
    fn query<'a>(&'a self, expr: &'a str) -> Rows<'a>;

    /// Where it asks, for people.
    fn source(&self) -> String;
}

/// Series of an agent elsewhere.
pub struct HttpSeries {
    pub http: Http,
    pub agent: Url,
    pub token: Option<SecretString>,
}

impl Series for HttpSeries {
    fn query<'a>(&'a self, expr: &'a str) -> Rows<'a> {
        Box::pin(async move {
            let url = at(&self.agent, "/api/v1/query", &[("query", expr)]);
            let place = shown(&self.agent);
            let answer = match self.http.get(url, self.token.as_ref()).await {
                Ok(answer) => answer,
                Err(why) => return unknown(format!("no agent at {place}: {why}")),
            };
            if answer.status == 401 || answer.status == 403 {
                return unknown(format!("the agent at {place} wants a token; give it with `--token-file`"));
            }
            let json = answer.json();
            let rows = json.pointer("/data/result").and_then(Value::as_array);
            match rows {
                Some(rows) if answer.status == 200 => Ok(rows.iter().filter_map(row).collect()),
                _ => {
                    let error = json.get("error").and_then(Value::as_str).unwrap_or("no answer of the Prometheus API");
                    unknown(format!("the agent at {place} answered with status {}: {error}", answer.status))
                }
            }
        })
    }

    fn source(&self) -> String {
        format!("the agent at {}", shown(&self.agent))
    }
}

fn row(row: &Value) -> Option<Row> {
    let labels = row.get("metric")?.as_object()?;
    let labels = labels.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
    let value = row.get("value")?.get(1)?.as_str()?.parse().ok()?;
    Some(Row { labels, value })
}

/// What is asked. Signals where there are some; the checklist is about what may be missing beneath them, too.
mod queries {
    pub const UP: &str = "max by (cluster, namespace, job, instance, pod) (rivet:engine_up:bool)";
    pub const AGE: &str = "time() - max by (cluster, namespace, job, instance) \
                           (timestamp(up) and on (cluster, namespace, job, instance) rivet:engine_up:bool)";
    pub const CONNECTIONS: &str =
        "sum by (cluster, namespace, job, instance) (increase(rivet_guard_tcp_connection_total[1h]))";
    pub const SPANS: &str = "sum by (cluster, namespace, job, instance) (increase(rivet_span_observed_total[1h]))";
    pub const SPAN_AGE: &str = "time() - max_over_time(((sum by (cluster, namespace, job, instance) \
                                (increase(rivet_span_observed_total[1m])) > 0) * 0 + time())[1h:1m])";
    pub const SPAN_REQUESTS: &str = "sum(increase(rivet_span_observed_total{span=\"guard_request\"}[1h]))";
    pub const REQUESTS: &str = "sum(increase(rivet_guard_proxy_request_total[1h]))";
    pub const ACTORS: &str = "max(max_over_time(rivet:actors_running:count[1d]))";
    pub const VERSIONS: &str = "count by (version) (rivet_engine_info)";
    pub const STARTS: &str = "max by (rivet_namespace, pool_name) (max_over_time(sum by (rivet_namespace, pool_name) \
                              (rivet:actor_start_request:rate)[1d:1m]))";
    pub const REFUSED: &str = "max by (rivet_namespace, pool_name) (max_over_time(sum by (rivet_namespace, pool_name) \
                               (rivet:host_rate_limited:rate)[1d:1m]))";
    pub const RUNNING: &str = "max by (rivet_namespace, pool_name) (max_over_time(rivet_pool_running_actors[1d]))";
    pub const CONCURRENCY: &str =
        "max by (rivet_namespace, pool_name) (max_over_time(rivet:pool_concurrency:ratio[1d]))";
    pub const SECRETS: &str = "sum(increase(rivetwatch_secrets_redacted_total[1d]))";
    pub const BROKEN: &str = "max by (receiver, integration) (rivetwatch_notification_target_broken_bool)";
    pub const SINCE: &str =
        "time() - max by (receiver, integration) (rivetwatch_notification_last_success_timestamp_seconds > 0)";
    pub const AGENT: &str = "count(rivetwatch_rule_tick_duration_seconds)";
    pub const BACKEND: &str = "count by (backend) (rivet:config_backend:info)";
    pub const NATS: &str = "sum(increase(rivet_nats_slow_consumer_total[1h]))";
    pub const CPU_REQUEST: &str = "min(rivet:cpu_request:cores)";
    pub const MEMORY_REQUEST: &str = "min(rivet:memory_request:bytes)";
    pub const CPU_LIMIT: &str = "min(rivet:cpu_limit:cores)";
    pub const MEMORY_LIMIT: &str = "min(rivet:memory_limit:bytes)";
}

/// Every expression that is asked, for a test that their names exist.
pub const QUERIES: &[&str] = &[
    queries::UP,
    queries::AGE,
    queries::CONNECTIONS,
    queries::SPANS,
    queries::SPAN_AGE,
    queries::SPAN_REQUESTS,
    queries::REQUESTS,
    queries::ACTORS,
    queries::VERSIONS,
    queries::STARTS,
    queries::REFUSED,
    queries::RUNNING,
    queries::CONCURRENCY,
    queries::SECRETS,
    queries::BROKEN,
    queries::SINCE,
    queries::AGENT,
    queries::BACKEND,
    queries::NATS,
    queries::CPU_REQUEST,
    queries::MEMORY_REQUEST,
    queries::CPU_LIMIT,
    queries::MEMORY_LIMIT,
];

/// Asks everything.
///
/// # Errors
/// The agent does not answer at all.
pub async fn ask(series: &dyn Series) -> Known<TelemetrySeen> {
    // The first question shows whether there is anybody to ask.
    let up = series.query(queries::UP).await?;
    let one = async |expr: &str, what: &str| -> Known<f64> {
        match series.query(expr).await?.first() {
            Some(row) => Ok(row.value),
            None => unknown(format!("{} has no series of {what}", series.source())),
        }
    };
    let sampled = match (one(queries::SPAN_REQUESTS, "spans").await, one(queries::REQUESTS, "requests").await) {
        (Ok(spans), Ok(requests)) => Ok((spans, requests)),
        (Err(gap), _) | (_, Err(gap)) => Err(gap),
    };
    let versions = series.query(queries::VERSIONS).await.and_then(|rows| {
        let versions: Vec<String> = rows.iter().filter_map(|row| row.labels.get("version").cloned()).collect();
        if versions.is_empty() {
            unknown(format!("{} knows no engine's version", series.source()))
        } else {
            Ok(versions)
        }
    });
    let backend = series.query(queries::BACKEND).await.and_then(|rows| {
        let backend = rows.first().and_then(|row| row.labels.get("backend").cloned());
        backend.map_or_else(|| unknown(format!("{} was not told the engine's database", series.source())), Ok)
    });
    Ok(TelemetrySeen {
        source: series.source(),
        instances: instances(series, &up).await,
        actors_running: one(queries::ACTORS, "running actors").await,
        versions,
        pools: pools(series).await,
        secrets: one(queries::SECRETS, "redacted secrets").await,
        sampled,
        targets: targets(series).await,
        backend,
        nats_slow_consumers: one(queries::NATS, "slow consumers of NATS").await,
        cpu_request: one(queries::CPU_REQUEST, "CPU requests").await,
        memory_request: one(queries::MEMORY_REQUEST, "memory requests").await,
        cpu_limit: one(queries::CPU_LIMIT, "CPU limits").await,
        memory_limit: one(queries::MEMORY_LIMIT, "memory limits").await,
    })
}

/// The labels by which the series of one instance find each other.
fn key(row: &Row) -> Vec<&str> {
    ["cluster", "namespace", "job", "instance"]
        .iter()
        .map(|name| row.labels.get(*name).map(String::as_str).unwrap_or_default())
        .collect()
}

async fn instances(series: &dyn Series, up: &[Row]) -> Known<Vec<InstanceSeen>> {
    let ages = series.query(queries::AGE).await?;
    let connections = series.query(queries::CONNECTIONS).await?;
    let spans = series.query(queries::SPANS).await?;
    let span_ages = series.query(queries::SPAN_AGE).await?;
    let of = |rows: &[Row], wanted: &Row| rows.iter().find(|row| key(row) == key(wanted)).map(|row| row.value);
    let instance = |row: &Row| {
        let label = |name: &str| row.labels.get(name).filter(|v| !v.is_empty()).cloned();
        let place: Vec<String> = ["cluster", "namespace", "instance"].iter().filter_map(|name| label(name)).collect();
        InstanceSeen {
            name: place.join("/"),
            pod: label("pod"),
            is_up: row.value > 0.0,
            age: of(&ages, row),
            connections: of(&connections, row),
            spans: of(&spans, row).unwrap_or(0.0),
            span_age: of(&span_ages, row),
        }
    };
    Ok(up.iter().map(instance).collect())
}

async fn pools(series: &dyn Series) -> Known<Vec<PoolLoad>> {
    let mut pools: BTreeMap<(String, Option<String>), PoolLoad> = BTreeMap::new();
    for (expr, set) in [
        (queries::STARTS, (|p: &mut PoolLoad, v| p.starts = Some(v)) as fn(&mut PoolLoad, f64)),
        (queries::REFUSED, |p, v| p.refused = Some(v)),
        (queries::RUNNING, |p, v| p.running = Some(v)),
        (queries::CONCURRENCY, |p, v| p.concurrency = Some(v)),
    ] {
        for row in series.query(expr).await? {
            // The engine pre-registers rows without a pool.
            let Some(name) = row.labels.get("pool_name").filter(|n| !n.is_empty()) else { continue };
            let rivet_namespace = row.labels.get("rivet_namespace").filter(|n| !n.is_empty()).cloned();
            let new = PoolLoad { pool: name.clone(), rivet_namespace: rivet_namespace.clone(), ..PoolLoad::default() };
            let pool = pools.entry((name.clone(), rivet_namespace)).or_insert(new);
            set(pool, row.value);
        }
    }
    Ok(pools.into_values().collect())
}

async fn targets(series: &dyn Series) -> Known<Vec<TargetSeen>> {
    if series.query(queries::AGENT).await?.is_empty() {
        // A Prometheus beside us routes by itself; its own series would have to be asked.
        return unknown(format!("{} judges no alert itself; attest to where its alerts go", series.source()));
    }
    let broken = series.query(queries::BROKEN).await?;
    let since = series.query(queries::SINCE).await?;
    let label = |row: &Row, name: &str| row.labels.get(name).cloned().unwrap_or_default();
    let same = |a: &Row, b: &Row| {
        label(a, "receiver") == label(b, "receiver") && label(a, "integration") == label(b, "integration")
    };
    let target = |row: &Row| TargetSeen {
        receiver: label(row, "receiver"),
        integration: label(row, "integration"),
        is_broken: row.value > 0.0,
        last_success: since.iter().find(|other| same(row, other)).map(|other| other.value),
    };
    Ok(broken.iter().map(target).collect())
}
