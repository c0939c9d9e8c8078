//! The embedded inventory and the name map against the lists of all three known releases.
//!
//! The lists lie in the shared folder (`RIVETWATCH_SHARED`); where it is absent, the tests pass over.

use std::io::Read;
use std::path::PathBuf;

use rivetwatch::model::{LabelsBuilder, MetricKind};
use rivetwatch::rivet::errors;
use rivetwatch::rivet::inventory::{Family, families};
use rivetwatch::rivet::names::{self, CutRule, HISTOGRAM_SUFFIXES};
use serde_json::Value;

pub fn shared(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("RIVETWATCH_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let file = root.join(path);
    if !file.exists() {
        println!("passing over: no {}", file.display());
        return None;
    }
    Some(file)
}

fn json(path: &str) -> Option<Value> {
    let text = std::fs::read_to_string(shared(path)?).expect("a list can be read");
    Some(serde_json::from_str(&text).expect("a list is JSON"))
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_else(|| panic!("{key} of {of}"))
}

fn strings(of: &Value, key: &str) -> Vec<String> {
    of[key].as_array().map_or(Vec::new(), |a| a.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Looks a raw family up and checks that its series get the canonical name with the same suffix.
fn known(raw: &str, kind: &str) -> &'static Family {
    let found = names::lookup(raw).unwrap_or_else(|| panic!("`{raw}` is not known"));
    assert!(found.name.starts_with("rivet_"), "{raw} → {}", found.name);
    if kind == "histogram" {
        for suffix in HISTOGRAM_SUFFIXES {
            let part = names::lookup(&format!("{raw}{suffix}")).expect("a part of a known histogram");
            assert_eq!(part.name, format!("{}{suffix}", found.name));
        }
    }
    if kind == "counter" {
        assert!(found.name.ends_with("_total"), "{raw} → {}", found.name);
    }
    found.family
}

/// The families of one list are known with their type and labels, each under a canonical name of its own.
fn holds(list: &[Value], raw_of: fn(&Family) -> Option<&str>) {
    let mut canonical: Vec<&str> = Vec::new();
    for entry in list {
        let (raw, kind) = (text(entry, "name"), text(entry, "type"));
        let family = known(raw, kind);
        assert_eq!(raw_of(family), Some(raw), "the inventory spells the release's name");
        // 2.3.7 exposes this counter as a gauge.
        if raw != "guard_route_total" {
            assert_eq!(family.kind.as_str(), kind, "{raw}");
        }
        let labels = strings(entry, "labels");
        let mut builder = LabelsBuilder::default();
        for label in &labels {
            builder.set(label.as_str(), "v");
        }
        names::translate(raw, &mut builder).expect("known above");
        for (label, _) in builder.build().iter() {
            assert!(family.labels.iter().any(|l| l == label), "{raw} has an unknown label `{label}`");
        }
        canonical.push(&family.name);
    }
    let with_shape = families().iter().filter(|f| raw_of(f).is_some()).count();
    canonical.sort_unstable();
    canonical.dedup();
    assert_eq!(canonical.len(), list.len(), "two raw families share a canonical name");
    assert_eq!(with_shape, list.len(), "the inventory claims families that the release's list does not have");
}

#[test]
fn every_family_of_2_3_7_is_known() {
    let Some(list) = json("engine/metrics.json") else { return };
    let list = list.as_array().expect("a list");
    holds(list, |f| f.scraped_2_3_7.as_deref());
    for entry in list {
        let family = known(text(entry, "name"), "");
        assert_eq!(family.about, text(entry, "about"));
        assert_eq!(family.unit, text(entry, "unit"));
        if entry["recorded"] == Value::Bool(true) {
            assert!(family.is_recorded, "{}", family.name);
        }
    }
}

#[test]
fn every_family_seen_on_2_3_19_is_known_with_its_bounds() {
    let Some(list) = json("engine/metrics-2.3.19-seen.json") else { return };
    let list = list.as_array().expect("a list");
    holds(list, |f| f.scraped_2_3_19.as_deref());
    for entry in list {
        let family = known(text(entry, "name"), "");
        let bounds: Vec<f64> = strings(entry, "bounds").iter().map(|b| b.parse().expect("a bound")).collect();
        assert_eq!(family.bounds, bounds, "{}", family.name);
    }
}

#[test]
fn every_instrument_of_25_7_is_known_also_behind_a_bridge() {
    let Some(file) = json("engine/metrics-25.7-otlp.json") else { return };
    let list = file["metrics"].as_array().expect("a list");
    holds(list, |f| f.otlp_25_7.as_deref());
    for entry in list {
        let raw = text(entry, "name");
        let family = known(raw, text(entry, "type"));
        if family.kind == MetricKind::Counter {
            let bridged = if raw.ends_with("_total") { raw.to_owned() } else { format!("{raw}_total") };
            assert_eq!(known(&bridged, "counter").name, family.name);
        }
    }
}

#[test]
fn the_error_codes_of_the_recordings_have_a_cause() {
    let mut seen = Vec::new();
    for folder in ["", "-host-lost", "-pool-in-error", "-rate-limited"] {
        let Some(dir) = shared(&format!("engine/capture-2.3.19{folder}")) else { return };
        let mut pages: Vec<PathBuf> =
            std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("a file").path()).collect();
        pages.retain(|page| page.to_string_lossy().ends_with(".prom.gz"));
        pages.sort();
        let file = std::fs::File::open(pages.last().expect("a page")).expect("a page can be opened");
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("gzip");
        let errors = text.lines().filter_map(|l| l.strip_prefix("rivet_guard_proxy_request_errors_total{error=\""));
        seen.extend(errors.filter_map(|l| Some(l.split_once('"')?.0.to_owned())));
    }
    assert!(seen.len() >= 4, "{seen:?}");
    let unknown: Vec<&String> =
        seen.iter().filter(|code| errors::lookup(&CutRule::Code.apply(code)).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
