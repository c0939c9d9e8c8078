//! What the API reads of the rooms, each worked out when it is asked for.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::metrics::Bridge;
use crate::api::View;
use crate::capacity::{self, Facts};
use crate::clock::{Clock, next_tick};
use crate::config::Config;
use crate::promql::Engine;
use crate::receive::scrape::ScrapeStats;
use crate::rules::Rules;
use crate::storage::{Append, Batch};
use crate::telemetry::Telemetry;
use crate::tsdb::Tsdb;

/// The page of `/metrics`, with every room's counts as they are now.
pub fn metrics_page(telemetry: Telemetry, bridge: Arc<Bridge>) -> View<Vec<u8>> {
    Arc::new(move || {
        bridge.refresh();
        telemetry.prometheus_page()
    })
}

/// What only an agent that judges has; empty in a sidecar.
pub struct Judged {
    pub rules: View<Value>,
    pub alerts: View<Value>,
    pub capacity: View<Result<Value, String>>,
    pub check: View<Result<Value, String>>,
}

impl Default for Judged {
    fn default() -> Self {
        Self {
            rules: Arc::new(|| json!({ "groups": [] })),
            alerts: Arc::new(|| json!({ "alerts": [] })),
            capacity: Arc::new(|| Err("a sidecar judges nothing; ask the gateway".into())),
            check: Arc::new(|| Err("a sidecar judges nothing; ask the gateway".into())),
        }
    }
}

impl Judged {
    /// The views of these rules, this headroom and this checklist.
    pub fn new(rules: Arc<Mutex<Rules>>, capacity: Capacity, check: View<Result<Value, String>>) -> Self {
        Self {
            rules: self::rules(rules.clone()),
            alerts: alerts(rules),
            capacity: Arc::new(move || capacity.report()),
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

pub(super) fn to_json(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| {
        error!(%error, "a view could not be written as JSON");
        Value::Null
    })
}

/// `data` of `/api/v1/targets`.
pub fn targets(scrapes: Arc<ScrapeStats>, clock: Clock) -> View<Value> {
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
                "discoveredLabels": {},
                "labels": labels,
                "scrapePool": status.identity.job,
                "scrapeUrl": status.url,
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
        json!({ "activeTargets": active, "droppedTargets": [] })
    })
}

/// Headroom, worked out for the API and written as series.
#[derive(Clone)]
pub struct Capacity(Arc<Inner>);

struct Inner {
    config: capacity::Config,
    facts: Facts,
    clock: Clock,
    store: Arc<Tsdb>,
    engine: Arc<Engine>,
}

impl Capacity {
    /// Headroom over this store.
    pub fn new(config: &Config, clock: Clock, store: Arc<Tsdb>, engine: Arc<Engine>) -> Self {
        let facts = Facts { backend: config.engine.backend.map(|b| b.as_str().to_owned()) };
        Self(Arc::new(Inner { config: config.capacity.clone(), facts, clock, store, engine }))
    }

    fn evaluate(&self) -> Result<capacity::Report, String> {
        let inner = &*self.0;
        capacity::evaluate(inner.clock.now(), &*inner.store, &inner.engine, &inner.config, &inner.facts)
            .map_err(|e| super::chain(&e))
    }

    /// The report as JSON, for the API.
    pub fn report(&self) -> Result<Value, String> {
        self.evaluate().map(to_json)
    }

    /// Writes the series until told to stop.
    pub async fn run(self, interval_ms: i64, stop: CancellationToken) {
        let clock = self.0.clock.clone();
        loop {
            // Half an interval after the ticks, so that neither waits for the other.
            let at = next_tick(clock.now(), interval_ms, interval_ms / 2);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(at) => {}
            }
            let this = self.clone();
            let work = tokio::task::spawn_blocking(move || {
                let points = capacity::points(&this.evaluate()?);
                let batch = Batch { points, ..Batch::default() };
                this.0.store.commit(batch).wait().map_err(|e| e.to_string())
            });
            match work.await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => warn!(error, "headroom could not be written"),
                Err(panic) => error!(%panic, "working out headroom ended in a panic"),
            }
        }
    }
}
