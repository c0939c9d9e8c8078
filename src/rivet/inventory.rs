//! The metric families of the engine: type, labels, bounds, and the raw name in each release.
//!
//! In:  `inventory.json`, embedded: one line a family, in order of canonical name.
//! Out: [`families`], [`family`]. Always: canonical names are unique and begin with `rivet_`; counters end in `_total`.
//! Source: release 25.7.1 and 2.3.7 by reading, 2.3.19 by recording (a family missing from `scraped_2_3_19`
//! was not seen there, which does not prove that it is gone: families appear on first use).

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::model::{Metadata, MetricKind};

/// One metric family of the engine.
#[derive(Clone, Debug)]
pub struct Family {
    /// Canonical name: `rivet_` and the stem, counters with `_total`.
    pub name: String,
    pub kind: MetricKind,
    /// `seconds`, `bytes`, `count`, `ratio`, `cores`, `unix_ms`, ...; most histograms do not name it themselves.
    pub unit: String,
    /// The part of the engine that records it, e.g. `gasoline`, `guard`, `universaldb`.
    pub subsystem: String,
    /// Canonical label names over all releases, the newest release's order first.
    pub labels: Vec<String>,
    /// Upper bounds of a histogram's buckets in the newest release that is known, without +Inf; empty otherwise.
    pub bounds: Vec<f64>,
    /// Instrument name in 25.7, which sends it over OTLP; `None` where that release lacks it.
    pub otlp_25_7: Option<String>,
    /// Name on the page of 2.3.0 to 2.3.7.
    pub scraped_2_3_7: Option<String>,
    /// Name on the page of 2.3.19, where the recordings hold it.
    pub scraped_2_3_19: Option<String>,
    /// Whether some known release really records it; the others only declare it.
    pub is_recorded: bool,
    /// The value describes the whole cluster, is written by one instance in turn, and is stale on the others:
    /// read it from the instance with the greatest `rivet_gasoline_worker_last_metrics_publish`, never as a sum.
    pub is_cluster_wide: bool,
    /// The gauge drifts upward when a caller drops its request, so only its changes mean anything.
    pub drifts: bool,
    /// What it says, in a sentence or two.
    pub about: String,
}

impl Family {
    /// Type, unit and help as the metadata API shows them.
    pub fn metadata(&self) -> Metadata {
        let unit = if self.unit == "count" { String::new() } else { self.unit.clone() };
        Metadata { kind: self.kind, help: self.about.clone(), unit }
    }

    /// The name without `rivet_`, and for counters without `_total`.
    pub fn stem(&self) -> &str {
        let stem = self.name.strip_prefix(super::names::PREFIX).unwrap_or(&self.name);
        match self.kind {
            MetricKind::Counter => stem.strip_suffix("_total").unwrap_or(stem),
            _ => stem,
        }
    }
}

/// Every known family, in order of name.
pub fn families() -> &'static [Family] {
    &INVENTORY.families
}

/// The family with this canonical name.
pub fn family(canonical: &str) -> Option<&'static Family> {
    INVENTORY.by_name.get(canonical).map(|&at| &INVENTORY.families[at])
}

struct Inventory {
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

static INVENTORY: LazyLock<Inventory> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("inventory.json")).expect("a test reads the embedded inventory");
    let families: Vec<Family> = file.families.into_iter().map(|line| line.resolve(&file.bounds)).collect();
    let by_name = families.iter().enumerate().map(|(at, f)| (f.name.clone(), at)).collect();
    Inventory { families, by_name }
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bounds: HashMap<String, Vec<f64>>,
    families: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    name: String,
    #[serde(rename = "type")]
    kind: MetricKind,
    unit: String,
    subsystem: String,
    labels: Vec<String>,
    bounds: Option<Bounds>,
    /// Only where an older release had other bounds; kept for the record.
    #[serde(rename = "bounds_2_3_7")]
    _bounds_2_3_7: Option<Bounds>,
    otlp_25_7: Option<String>,
    scraped_2_3_7: Option<String>,
    scraped_2_3_19: Option<String>,
    recorded_25_7: Option<bool>,
    recorded_2_3_7: Option<bool>,
    #[serde(default)]
    cluster_wide: bool,
    #[serde(default)]
    drifts: bool,
    about: String,
}

/// A list of bounds, or the name of one that many families share.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bounds {
    Named(String),
    Listed(Vec<f64>),
}

impl Line {
    fn resolve(self, named: &HashMap<String, Vec<f64>>) -> Family {
        let bounds = match self.bounds {
            Some(Bounds::Listed(bounds)) => bounds,
            Some(Bounds::Named(name)) => named.get(&name).cloned().unwrap_or_default(),
            None => Vec::new(),
        };
        let is_recorded =
            self.scraped_2_3_19.is_some() || self.recorded_2_3_7 == Some(true) || self.recorded_25_7 == Some(true);
        Family {
            name: self.name,
            kind: self.kind,
            unit: self.unit,
            subsystem: self.subsystem,
            labels: self.labels,
            bounds,
            otlp_25_7: self.otlp_25_7,
            scraped_2_3_7: self.scraped_2_3_7,
            scraped_2_3_19: self.scraped_2_3_19,
            is_recorded,
            is_cluster_wide: self.cluster_wide,
            drifts: self.drifts,
            about: self.about,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_inventory_keeps_its_own_rules() {
        let families = families();
        assert!(families.len() > 250);
        assert!(families.is_sorted_by(|a, b| a.name < b.name), "sorted by canonical name, each once");
        for f in families {
            assert!(f.name.starts_with("rivet_"), "{}", f.name);
            assert!(f.kind != MetricKind::Counter || f.name.ends_with("_total"), "{}", f.name);
            assert_eq!(f.kind == MetricKind::Histogram, !f.bounds.is_empty(), "{}", f.name);
            assert!(f.bounds.is_sorted_by(|a, b| a < b), "{}", f.name);
            assert!(f.otlp_25_7.is_some() || f.scraped_2_3_7.is_some() || f.scraped_2_3_19.is_some(), "{}", f.name);
            assert!(!f.about.is_empty() && !f.unit.is_empty() && !f.subsystem.is_empty(), "{}", f.name);
        }
    }

    #[test]
    fn what_is_declared_but_never_recorded_is_marked() {
        assert!(!family("rivet_sql_query_total").unwrap().is_recorded);
        assert!(!family("rivet_pegboard_actor_active").unwrap().is_recorded);
        assert!(family("rivet_guard_route_total").unwrap().is_recorded);
        assert_eq!(family("rivet_guard_route_total").unwrap().kind, MetricKind::Counter, "2.3.7 exposes it as a gauge");
        assert_eq!(families().iter().filter(|f| f.is_cluster_wide).count(), 7);
    }
}
