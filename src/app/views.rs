//! What the API reads of the rooms, each worked out when it is asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tracing::error;

use super::capacity::Capacity;
use super::instances::Instances;
use super::metrics::Bridge;
use super::reload::ReloadStats;
use crate::api::{Ask, AskRetire, CapacityView, Health, Refused, ScalerView, View};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{InstanceKey, TimestampMs};
use crate::promql::Engine;
use crate::receive::scrape::ScrapeStats;
use crate::rules::{self, AlertView, Rule, RuleView, Rules};
use crate::telemetry::Telemetry;
use crate::tsdb::Tsdb;

/// The page of `/metrics`, with every room's counts as they are now.
pub fn metrics_page(telemetry: Telemetry, bridge: Arc<Bridge>) -> View<Vec<u8>> {
    Arc::new(move || {
        bridge.refresh();
        telemetry.prometheus_page()
    })
}

const JUDGES_NOTHING: &str = "a sidecar judges nothing; ask the gateway";

/// What only an agent that judges has; empty in a sidecar.
pub struct Judged {
    pub rules: View<Value>,
    pub alerts: View<Value>,
    pub capacity: CapacityView,
    pub scaler: ScalerView,
    pub why: Ask,
    pub instances: View<Value>,
    pub retire: AskRetire,
    pub check: View<Result<Value, String>>,
}

impl Default for Judged {
    fn default() -> Self {
        Self {
            rules: Arc::new(|| json!({ "groups": [] })),
            alerts: Arc::new(|| json!({ "alerts": [] })),
            capacity: Arc::new(|_| Err(Refused::Failed(JUDGES_NOTHING.into()))),
            scaler: Arc::new(|_| Err(JUDGES_NOTHING.into())),
            why: Arc::new(|_| Err(Refused::NotFound(JUDGES_NOTHING.into()))),
            instances: Arc::new(|| json!([])),
            retire: Arc::new(|_| Err(Refused::NotFound(JUDGES_NOTHING.into()))),
            check: Arc::new(|| Err(JUDGES_NOTHING.into())),
        }
    }
}

impl Judged {
    /// The views of these rules, this headroom, these reasons, these instances and this checklist.
    pub fn new(
        rules: Arc<Mutex<Rules>>,
        capacity: Capacity,
        why: Ask,
        instances: &Instances,
        check: View<Result<Value, String>>,
    ) -> Self {
        let scaler = capacity.clone();
        Self {
            rules: self::rules(rules.clone()),
            alerts: alerts(rules),
            capacity: Arc::new(move |what_if| capacity.view(what_if)),
            scaler: Arc::new(move |question| scaler.scaler(question)),
            why,
            instances: instances.view(),
            retire: instances.retire_view(),
            check,
        }
    }
}

/// `data` of `/api/v1/rules`.
fn rules(rules: Arc<Mutex<Rules>>) -> View<Value> {
    Arc::new(move || {
        let view = rules.lock().view();
        json!({ "groups": view.groups(|_, _| true) })
    })
}

/// `data` of `/api/v1/alerts`.
fn alerts(rules: Arc<Mutex<Rules>>) -> View<Value> {
    Arc::new(move || {
        let view = rules.lock().view();
        let alerts: Vec<_> = view.alerts().map(|(_, alert)| alert).collect();
        json!({ "alerts": alerts })
    })
}

/// Why the rules behind an alert's name stand where they stand; the store is read while the rules go on.
pub fn why(rules: Arc<Mutex<Rules>>, store: Arc<Tsdb>, engine: Arc<Engine>, clock: Clock, interval_ms: i64) -> Ask {
    Arc::new(move |name| {
        let (view, retired) = {
            let rules = rules.lock();
            let retired =
                |(instance, at): (&InstanceKey, TimestampMs)| json!({"instance": instance, "at": at.to_rfc3339()});
            (rules.view(), rules.retired().map(retired).collect::<Vec<_>>())
        };
        let alerting = || view.set.rules.iter().zip(&view.rules).filter(|(rule, _)| rule.alerting().is_some());
        let now = clock.now();
        let explain = |(rule, at): (&Rule, &RuleView)| {
            let offset_ms = view.offset_of(rule);
            // A rule that fails still has its alerts, which are held, and others of its name do not fail.
            let (part, error) = match rules::explain(rule, &engine, &*store, now, offset_ms, interval_ms) {
                Ok(part) => (Some(part), None),
                Err(error) => (None, Some(crate::model::chain(&error))),
            };
            let group = view.set.group_of(rule);
            let alerting = rule.alerting();
            let for_ms = alerting.map_or(0, |a| a.for_ms);
            let alert = |alert: &AlertView| {
                let mut json = to_json(alert);
                if alert.state == rules::State::Pending {
                    json["firesAt"] = alert.active_at.plus_ms(for_ms).to_rfc3339().into();
                }
                json
            };
            json!({
                "name": rule.name,
                "labels": rule.fixed_labels().into_iter().filter(|(n, _)| *n != "alertname").collect::<BTreeMap<_, _>>(),
                "group": group.name, "file": group.file, "line": rule.line, "query": rule.query,
                "state": at.state().as_str(),
                "forSeconds": for_ms as f64 / 1000.0,
                "queryOffsetSeconds": offset_ms as f64 / 1000.0,
                "health": at.health_name(),
                "isBlind": at.blind,
                "alerts": at.alerts.iter().map(alert).collect::<Vec<_>>(),
                "why": part,
                "error": error,
                "retired": retired,
            })
        };
        let found: Vec<Value> = alerting().filter(|(rule, _)| rule.name == name).map(explain).collect();
        if !found.is_empty() {
            return Ok(found.into());
        }
        let wanted = name.to_ascii_lowercase();
        let mut similar: Vec<&str> = alerting().map(|(rule, _)| rule.name.as_str()).collect();
        similar.retain(|known| known.to_ascii_lowercase().contains(&wanted));
        similar.dedup();
        let hint = if similar.is_empty() { String::new() } else { format!("; there is {}", similar.join(", ")) };
        Err(Refused::NotFound(format!("no alerting rule is named `{name}`{hint}")))
    })
}

pub(super) fn to_json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| {
        error!(%error, "a view could not be written as JSON");
        Value::Null
    })
}

/// `data` of `/api/v1/targets`.
pub fn targets(scrapes: Arc<ScrapeStats>, clock: Clock, config: &crate::receive::scrape::Config) -> View<Value> {
    let (interval, timeout) = (config.interval.to_string(), config.timeout.to_string());
    Arc::new(move || {
        let target = |status: &crate::receive::scrape::TargetStatus| {
            let mut labels = serde_json::Map::new();
            labels.insert("job".into(), status.identity.job.clone().into());
            labels.insert("instance".into(), status.identity.instance.clone().into());
            for (name, value) in &status.identity.extra {
                labels.insert(name.clone(), value.clone().into());
            }
            let error = status.report.failure.as_ref().map(ToString::to_string).unwrap_or_default();
            json!({
                "discoveredLabels": discovered(&status.url, &status.identity.job, &interval, &timeout),
                "labels": labels,
                "scrapePool": status.identity.job,
                "scrapeUrl": status.url,
                "scrapeInterval": interval,
                "scrapeTimeout": timeout,
                "globalUrl": status.url,
                "lastError": error,
                "lastScrape": status.last_scrape.to_rfc3339(),
                "lastScrapeDuration": status.took.as_secs_f64(),
                "health": if status.report.failure.is_none() { "up" } else { "down" },
                "secondsSinceScrape": clock.now().since(status.last_scrape) as f64 / 1000.0,
                "samples": status.report.samples,
            })
        };
        let active: Vec<Value> = scrapes.targets().iter().map(target).collect();
        // Every target that is configured is scraped, so that none is dropped.
        json!({ "activeTargets": active, "droppedTargets": [], "droppedTargetCounts": {} })
    })
}

/// What Prometheus knows of a target before relabelling: the parts of its address, and how it is scraped.
fn discovered(url: &str, job: &str, interval: &str, timeout: &str) -> Value {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (address, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    json!({
        "__address__": address, "__metrics_path__": path, "__scheme__": scheme, "__scrape_interval__": interval,
        "__scrape_timeout__": timeout, "job": job,
    })
}

/// `data` of `/api/v1/status/runtimeinfo`, under Prometheus' names.
pub fn runtime(
    config: &Config,
    clock: Clock,
    store: Arc<Tsdb>,
    health: Arc<Health>,
    reloads: Arc<ReloadStats>,
) -> View<Value> {
    let (started, retention) = (clock.now(), config.storage.tsdb.retention);
    let memory_max = config.storage.limits.memory.0;
    let host_name = super::agent::host_name();
    Arc::new(move || {
        let folder = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
        json!({
            "startTime": started.to_rfc3339(),
            "serverTime": clock.now().to_rfc3339(),
            "hostname": host_name,
            "CWD": folder,
            "reloadConfigSuccess": reloads.is_successful(),
            "lastConfigTime": reloads.last().unwrap_or(started).to_rfc3339(),
            "corruptionCount": store.replay_report().damages,
            // The agent's counterparts of what Prometheus tells of its runtime; the two texts are switches of Go alone.
            "goroutineCount": tokio::runtime::Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks()),
            "GOMEMLIMIT": memory_max,
            "GOGC": "",
            "GODEBUG": "",
            "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
            "storageRetention": retention.to_string(),
            "ready": health.is_ready(),
        })
    })
}

/// `headStats` of `/api/v1/status/tsdb`, apart from what is counted there; times in milliseconds.
pub fn head(store: Arc<Tsdb>) -> View<Value> {
    Arc::new(move || {
        let range = store.time_range();
        json!({
            "chunkCount": store.chunks(),
            "minTime": range.map_or(0, |range| range.from.0),
            "maxTime": range.map_or(0, |range| range.to.0),
        })
    })
}
