//! The Grafana dashboards: Overview, Requests, Capacity, Internals, Checklist, Agent.
//!
//! In: nothing but code; they read the signals that the shipped rule files record.   Out: JSON files or a ConfigMap.
//! Always: the first panel says whether the recording rules are present; every selector carries `$job` and
//! `$instance`; the committed files under `dashboards/` are what this prints (a test holds them together).
//! Limits: a ConfigMap must stay under 1 MiB, or the API server refuses it.

mod agent;
mod capacity;
mod checklist;
pub mod classic;
mod internals;
pub mod model;
mod overview;
mod requests;
pub mod unit;
pub mod views;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::yaml;
use model::{Color, Dashboard, Panel, Word, select};
use unit::Unit;

const OVERVIEW: &str = "rivetwatch-overview";
const REQUESTS: &str = "rivetwatch-requests";
const CAPACITY: &str = "rivetwatch-capacity";
const INTERNALS: &str = "rivetwatch-internals";
const CHECKLIST: &str = "rivetwatch-checklist";
const AGENT: &str = "rivetwatch-agent";

/// The most a ConfigMap may hold, in bytes; etcd takes no larger request.
const CONFIG_MAP_BYTES_MAX: usize = 1 << 20;

/// Why dashboards could not be written.
#[derive(Debug, thiserror::Error)]
pub enum DashboardsError {
    #[error("failed to write dashboard `{}`", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the dashboards take {bytes} bytes in a ConfigMap, which holds at most {CONFIG_MAP_BYTES_MAX}")]
    TooLarge { bytes: usize },
}

/// Where a ConfigMap goes and how Grafana's sidecar recognises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMapSettings {
    pub name: String,
    /// Written only where given, so that `kubectl apply -n` decides otherwise.
    pub namespace: Option<String>,
    /// The label that the sidecar of the Grafana chart looks for.
    pub label: (String, String),
    /// Folder in Grafana, as the annotation `grafana_folder`.
    pub folder: String,
}

impl Default for ConfigMapSettings {
    fn default() -> Self {
        Self {
            name: "rivetwatch-dashboards".into(),
            namespace: None,
            label: ("grafana_dashboard".into(), "1".into()),
            folder: "Rivet".into(),
        }
    }
}

/// All dashboards, in the order in which to read them.
pub fn all() -> Vec<Dashboard> {
    vec![
        overview::dashboard(),
        requests::dashboard(),
        capacity::dashboard(),
        internals::dashboard(),
        checklist::dashboard(),
        agent::dashboard(),
    ]
}

/// File name and content of each dashboard as classic Grafana JSON, with a newline at the end.
pub fn files() -> Vec<(String, String)> {
    all()
        .iter()
        .map(|dashboard| {
            let text = serde_json::to_string_pretty(&classic::print(dashboard)).expect("JSON values print");
            (format!("{}.json", dashboard.uid), text + "\n")
        })
        .collect()
}

/// Writes the JSON files into `dir`, which is made if missing, and gives back their paths.
///
/// # Errors
/// The first file that cannot be written, with its path; those before it stay.
pub fn write_json(dir: &Path) -> Result<Vec<PathBuf>, DashboardsError> {
    let write = |path: PathBuf, text: &str| match fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(source) => Err(DashboardsError::Write { path, source }),
    };
    fs::create_dir_all(dir).map_err(|source| DashboardsError::Write { path: dir.to_owned(), source })?;
    files().into_iter().map(|(name, text)| write(dir.join(name), &text)).collect()
}

/// All dashboards in one ConfigMap that Grafana's sidecar picks up.
///
/// # Errors
/// The result would not fit into a ConfigMap.
pub fn config_map(settings: &ConfigMapSettings) -> Result<String, DashboardsError> {
    let data: Map<String, Value> = files().into_iter().map(|(name, text)| (name, Value::String(text))).collect();
    let mut metadata = Map::new();
    metadata.insert("name".into(), settings.name.clone().into());
    if let Some(namespace) = &settings.namespace {
        metadata.insert("namespace".into(), namespace.clone().into());
    }
    let (label, value) = &settings.label;
    let mut labels = Map::new();
    labels.insert("app.kubernetes.io/name".into(), "rivetwatch".into());
    labels.insert(label.clone(), value.clone().into());
    metadata.insert("labels".into(), labels.into());
    metadata.insert("annotations".into(), json!({ "grafana_folder": settings.folder }));
    let text = yaml::print(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data }));
    if text.len() >= CONFIG_MAP_BYTES_MAX {
        return Err(DashboardsError::TooLarge { bytes: text.len() });
    }
    Ok(text)
}

/// The first panel of every dashboard.
fn rules_present() -> Panel {
    let present = format!("(count({}) > bool 0) or vector(0)", select("rivet:engine_up:bool", ""));
    Panel::stat(
        "Recording rules",
        4,
        Unit::Plain,
        "Whether the series that every panel here reads are being recorded. Missing: load the files of \
         `rivetwatch rules export` into this Prometheus, or check that the job and instance above exist.",
    )
    .query(present, "rules")
    .steps(&[(None, Color::Red), (Some(1.0), Color::Green)])
    .words(&[
        Word { value: "0", text: "Missing", color: Color::Red },
        Word { value: "1", text: "Present", color: Color::Green },
    ])
}
