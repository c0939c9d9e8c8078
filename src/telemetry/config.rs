//! The `telemetry:` section: how the agent speaks of itself.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tonic::metadata::MetadataMap;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::TelemetryError;
use crate::model::{HumanDuration, Problem};

/// The agent's own logs, and where its metrics, traces and logs go besides `/metrics`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub logs: LogConfig,
    /// OTLP/gRPC export of own metrics, traces and logs; off by default.
    pub otlp: Option<OtlpConfig>,
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let level = &self.logs.level;
        // A bare word that is no level would name a target, and mute everything else.
        let is_level = |word: &str| {
            let is_named = word.parse::<LevelFilter>().is_ok() && !word.is_empty();
            is_named || word.contains(['=', '[']) || word.contains("::")
        };
        if !level.split(',').all(|word| is_level(word.trim())) || EnvFilter::builder().parse(level).is_err() {
            let rule = format!("must be a filter such as `info` or `info,rivetwatch::notify=debug`, got `{level}`");
            problems.push(Problem::new(format!("{at}.logs.level"), rule));
        }
    }
}

/// What is logged to standard error, and how.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `text` (default) or `json`, one object a line.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` (default) or `info,rivetwatch::notify=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// An OTLP/gRPC endpoint for the agent's own telemetry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtlpConfig {
    /// `http://host:4317` or `https://…`.
    pub endpoint: String,
    /// Time between metric exports; default 15s.
    #[serde(default = "default_interval")]
    pub interval: HumanDuration,
    /// Time after which one export is given up; default 10s.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// Request metadata such as `authorization`; the values are never printed.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
}

fn default_interval() -> HumanDuration {
    HumanDuration::secs(15)
}

fn default_timeout() -> HumanDuration {
    HumanDuration::secs(10)
}

impl OtlpConfig {
    pub(super) fn metadata(&self) -> Result<MetadataMap, TelemetryError> {
        let mut map = http::HeaderMap::new();
        for (name, value) in &self.headers {
            let bad = || TelemetryError::Header { name: name.clone() };
            let key = http::HeaderName::try_from(name).map_err(|_| bad())?;
            let mut value = http::HeaderValue::try_from(value.expose_secret()).map_err(|_| bad())?;
            value.set_sensitive(true);
            map.insert(key, value);
        }
        Ok(MetadataMap::from_headers(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_would_mute_everything_is_refused() {
        let problems = |level: &str| {
            let config = Config { logs: LogConfig { level: level.into(), ..LogConfig::default() }, otlp: None };
            let mut problems = Vec::new();
            config.validate("telemetry", &mut problems);
            problems.len()
        };
        for fine in ["info", "WARN", "off", "info,rivetwatch::notify=debug", "rivetwatch=trace, warn"] {
            assert_eq!(problems(fine), 0, "{fine}");
        }
        for bad in ["loud", "info,loud", "rivetwatch=loud", ""] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }
}
