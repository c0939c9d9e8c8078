//! From file and environment to one validated configuration.
//!
//! In:  `rivetwatch.yaml` (every key optional) and `RIVETWATCH__SECTION__KEY` variables, which win.
//! Out: [`Config`], composed of each room's own; after [`load`] nobody checks again.
//! Always: every mistake is reported in one pass, by key; secrets are never printed, so errors show no snippet of the file.

mod engine;
mod environment;
mod mistakes;
mod show;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::Problem;
use crate::{api, capacity, checklist, forward, notify, receive, rules, telemetry, tsdb};

pub use engine::{Backend, EngineConfig};
pub use show::shown;

/// What the process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything, for one machine or one engine.
    #[default]
    All,
    /// Receives, redacts and forwards beside an engine; never judges or pages.
    Sidecar,
    /// The central collector: receives over OTLP, judges, pages, forwards.
    Gateway,
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `all` (default), `sidecar` or `gateway`.
    pub role: Role,
    /// Names this installation in the keys of pages; default `default`. Never a host name: pages would split.
    pub deployment: String,
    /// Where people reach this agent, such as `https://rivetwatch.example.com`; without it pages carry no links.
    pub external_url: Option<String>,
    pub engine: EngineConfig,
    pub receive: ReceiveConfig,
    pub storage: StorageConfig,
    pub rules: rules::Config,
    /// Values by signal and severity in place of the shipped ones: `cpu_utilization: {warning: 0.6}`.
    pub thresholds: rules::Thresholds,
    pub capacity: capacity::Config,
    pub check: checklist::Config,
    pub notify: notify::Config,
    pub forward: forward::Config,
    pub api: api::Config,
    pub probe: api::ProbeConfig,
    pub telemetry: telemetry::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            role: Role::All,
            deployment: "default".into(),
            external_url: None,
            engine: EngineConfig::default(),
            receive: ReceiveConfig::default(),
            storage: StorageConfig::default(),
            rules: rules::Config::default(),
            thresholds: rules::Thresholds::new(),
            capacity: capacity::Config::default(),
            check: checklist::Config::default(),
            notify: notify::Config::default(),
            forward: forward::Config::default(),
            api: api::Config::default(),
            probe: api::ProbeConfig::default(),
            telemetry: telemetry::Config::default(),
        }
    }
}

/// The `receive:` section: how telemetry comes in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReceiveConfig {
    pub otlp: receive::otlp::Config,
    pub scrape: receive::scrape::Config,
    pub host: receive::host::Config,
    pub engine_api: receive::engine_api::Config,
    pub pod_metrics: receive::pod_metrics::Config,
    pub spans: receive::spans::Config,
    pub remote_write: receive::remote_write::Config,
    /// Whether a sidecar that is asked to stop tells the gateway that its engine's instance is gone for good, so that
    /// its alerts resolve at once. Default false; for pods that never come back under the same name (Deployments).
    pub retire_on_stop: bool,
}

/// The `storage:` section: where points are kept, how long, and how many.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Folder of the write-ahead log and of the notifier's state; default `./rivetwatch-data`.
    pub path: PathBuf,
    #[serde(flatten)]
    pub tsdb: tsdb::Config,
    pub wal: tsdb::WalConfig,
    pub limits: tsdb::LimitsConfig,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: "rivetwatch-data".into(),
            tsdb: tsdb::Config::default(),
            wal: tsdb::WalConfig::default(),
            limits: tsdb::LimitsConfig::default(),
        }
    }
}

/// What a sidecar cannot do without.
const FORWARD_ENDPOINT: &str = "forward.otlp.endpoint";

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the configuration `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` is not a valid configuration: {reason}", path.display())]
    Parse { path: PathBuf, reason: String },
    #[error("environment variable `{name}`: {reason}")]
    Environment { name: String, reason: String },
    #[error(
        "the configuration `{}` has {} problem{}:\n{}",
        path.display(),
        problems.len(),
        if problems.len() == 1 { "" } else { "s" },
        list(problems)
    )]
    Invalid { path: PathBuf, problems: Vec<Problem> },
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("  {p}")).collect::<Vec<_>>().join("\n")
}

/// Reads the file (or nothing but defaults), lays the environment over it, and validates.
///
/// # Errors
/// The file cannot be read or parsed, or a value breaks its rule; all broken rules are reported together.
pub fn load(path: Option<&Path>, env: &[(String, String)]) -> Result<Config, ConfigError> {
    let text = match path {
        Some(path) => {
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?
        }
        None => String::new(),
    };
    let shown = path.unwrap_or(Path::new("(no file)"));
    let config = parse(&text, shown)?;
    let config = match environment::overrides(env) {
        overrides if overrides.is_empty() => config,
        overrides => environment::apply(&text, shown, &overrides)?,
    };
    config.checked(shown)
}

/// Reads and validates a configuration that was made in code, such as the demo's.
///
/// # Errors
/// As [`load`].
pub fn from_value(value: serde_json::Value) -> Result<Config, ConfigError> {
    let shown = Path::new("(made in code)");
    let config: Config = serde_json::from_value(value)
        .map_err(|e| ConfigError::Parse { path: shown.to_owned(), reason: e.to_string() })?;
    config.checked(shown)
}

fn parse(text: &str, shown: &Path) -> Result<Config, ConfigError> {
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    let path = shown.to_owned();
    yaml(text).map_err(|reason| match mistakes::find(text) {
        problems if problems.is_empty() => ConfigError::Parse { path, reason },
        problems => ConfigError::Invalid { path, problems },
    })
}

/// Reads YAML without showing any of it in errors, since it may hold secrets.
fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
}

impl Config {
    /// The configuration with the defaults of its role, if no value breaks its rule.
    fn checked(mut self, shown: &Path) -> Result<Self, ConfigError> {
        self.take_role_defaults();
        let problems = self.problems();
        if problems.is_empty() { Ok(self) } else { Err(ConfigError::Invalid { path: shown.to_owned(), problems }) }
    }

    /// What is not set follows the role: a gateway has no engine beside it, a sidecar keeps only what is read.
    fn take_role_defaults(&mut self) {
        match self.role {
            Role::All => {}
            Role::Sidecar => {
                if self.receive.scrape == receive::scrape::Config::default() {
                    self.receive.scrape.keep = receive::scrape::KeepConfig::Used;
                }
            }
            Role::Gateway => {
                if self.receive.scrape.targets == receive::scrape::Config::default().targets {
                    self.receive.scrape.targets.clear();
                }
                if self.receive.host == receive::host::Config::default() {
                    self.receive.host.enabled = false;
                }
                if self.receive.engine_api == receive::engine_api::Config::default() {
                    self.receive.engine_api.enabled = false;
                }
            }
        }
    }

    /// What a sidecar runs with while its own configuration is invalid: the defaults, and every section of the file and
    /// variable of the environment that is valid by itself, so that its engine is not held back and the gateway hears
    /// of it.
    pub fn of_broken_sidecar(text: &str, env: &[(String, String)]) -> Self {
        let usable = |tree: &serde_json::Value| -> Option<Self> {
            let mut config: Self = serde_json::from_value(tree.clone()).ok()?;
            config.take_role_defaults();
            // Without a way on it still receives, and its own page tells why.
            config.problems().iter().all(|problem| problem.key == FORWARD_ENDPOINT).then_some(config)
        };
        let file: serde_json::Value = yaml(text).unwrap_or_default();
        let mut kept = serde_json::json!({ "role": "sidecar" });
        for (section, value) in file.as_object().into_iter().flatten().filter(|(section, _)| *section != "role") {
            let mut tried = kept.clone();
            tried[section] = value.clone();
            if usable(&tried).is_some() {
                kept = tried;
            }
        }
        for variable in environment::overrides(env) {
            let mut tried = kept.clone();
            if variable.set_in(&mut tried).is_ok() && usable(&tried).is_some() {
                kept = tried;
            }
        }
        usable(&kept).unwrap_or_else(|| Self { role: Role::Sidecar, ..Self::default() })
    }

    /// Whether something other than rules, thresholds and routes differs, which a running agent cannot take over.
    pub fn needs_restart(&self, running: &Self) -> bool {
        let rest = |config: &Self| {
            let mut rest = config.clone();
            rest.rules = rules::Config::default();
            rest.thresholds = rules::Thresholds::new();
            rest.notify = notify::Config::default();
            format!("{rest:?}")
        };
        rest(self) != rest(running)
    }

    /// Every value that breaks its rule.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let p = &mut problems;
        if self.deployment.is_empty() || self.deployment.len() > 64 {
            p.push(Problem::new("deployment", format!("must be 1 to 64 characters, got `{}`", self.deployment)));
        }
        if let Some(url) = &self.external_url {
            let is_http = url.starts_with("http://") || url.starts_with("https://");
            if !is_http || reqwest::Url::parse(url).is_err() {
                p.push(Problem::new("external_url", format!("must be an http or https URL, got `{url}`")));
            }
        }
        self.engine.validate("engine", p);
        self.receive.otlp.validate("receive.otlp", p);
        self.receive.scrape.validate("receive.scrape", p);
        self.receive.host.validate("receive.host", p);
        self.receive.engine_api.validate("receive.engine_api", p);
        self.receive.pod_metrics.validate("receive.pod_metrics", p);
        self.receive.spans.validate("receive.spans", p);
        self.receive.remote_write.validate("receive.remote_write", p);
        self.storage.tsdb.validate("storage", p);
        self.storage.wal.validate("storage.wal", p);
        self.storage.limits.validate("storage.limits", p);
        self.rules.validate("rules", p);
        self.capacity.validate("capacity", p);
        self.check.validate("check", p);
        self.notify.validate("notify", p);
        self.forward.validate("forward", p);
        self.api.validate("api", p);
        self.telemetry.validate("telemetry", p);
        if self.role == Role::Sidecar && self.api.external_scaler.listen.is_some() {
            let rule = "must not be set where `role` is `sidecar`: it judges nothing; set it where the gateway runs";
            p.push(Problem::new("api.external_scaler.listen", rule));
        }
        if self.role == Role::Sidecar && self.forward.otlp.is_none() {
            p.push(Problem::new(FORWARD_ENDPOINT, "must be set where `role` is `sidecar`: it keeps nothing itself"));
        }
        problems
    }
}
