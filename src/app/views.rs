//! What the API reads of the rooms, each worked out when it is asked for.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::capacity::Capacity;
use super::metrics::Bridge;
use crate::api::{CapacityView, Refused, ScalerView, View};
use crate::clock::Clock;
use crate::receive::scrape::ScrapeStats;
use crate::rules::Rules;
use crate::telemetry::Telemetry;

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
    pub capacity: CapacityView,
    pub scaler: ScalerView,
}

impl Default for Judged {
    fn default() -> Self {
        Self {
            rules: Arc::new(|| json!({ "groups": [] })),
            alerts: Arc::new(|| json!({ "alerts": [] })),
            capacity: Arc::new(|_| Err(Refused::Failed("a sidecar judges nothing; ask the gateway".into()))),
            scaler: Arc::new(|_| Err("a sidecar judges nothing; ask the gateway".into())),
        }
    }
}

impl Judged {
    /// The views of these rules and this headroom.
    pub fn new(rules: Arc<Mutex<Rules>>, capacity: Capacity) -> Self {
        let scaler = capacity.clone();
        Self {
            rules: self::rules(rules.clone()),
            alerts: alerts(rules),
            capacity: Arc::new(move |what_if| capacity.view(what_if)),
            scaler: Arc::new(move |question| scaler.scaler(question)),
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
