//! `forward`: where received telemetry goes on to.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use super::queue::Signal;
use crate::model::{ByteSize, HumanDuration, Problem};

/// `forward`: the next collector. Without `otlp` nothing goes on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// An OTLP/gRPC endpoint. Default: none.
    pub otlp: Option<Otlp>,
}

/// `forward.otlp`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Otlp {
    /// `http://host:4317`, or `https://host:4317` for TLS.
    pub endpoint: String,
    /// Headers sent with every request, e.g. `authorization: Bearer …`. Values are secret. Default none.
    #[serde(default)]
    pub headers: Headers,
    /// Files of header values by header name, read at start: `authorization: /etc/rivetwatch/token`. Default none.
    #[serde(default)]
    pub header_files: BTreeMap<String, PathBuf>,
    /// For `https` endpoints. Default: the system's certificate authorities.
    #[serde(default)]
    pub tls: Tls,
    /// `gzip` or `none`. Default gzip.
    #[serde(default)]
    pub compression: Compression,
    /// Time for one request. Default 10s, 100ms to 5m.
    #[serde(default = "default_timeout")]
    pub timeout: HumanDuration,
    /// Time to empty the queue when the process stops. Default 5s, at most 5m.
    #[serde(default = "default_grace")]
    pub grace: HumanDuration,
    #[serde(default)]
    pub queue: Queue,
    /// What goes on. Default all of `[metrics, traces, logs]`.
    #[serde(default = "all_signals")]
    pub signals: Vec<Signal>,
}

/// Header values, never printed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, SecretString>);

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, "REDACTED")))
    }
}

/// `forward.otlp.tls`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// This side's certificate (PEM), for endpoints that ask for one; needs `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Its private key (PEM).
    pub key_file: Option<PathBuf>,
    /// The name the endpoint's certificate must have. Default: the endpoint's host.
    pub server_name: Option<String>,
}

/// `forward.otlp.compression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    #[default]
    Gzip,
    None,
}

/// `forward.otlp.queue`: what is kept while the endpoint is away. When it is full, the oldest go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Queue {
    /// Most bytes, as they are sent before compression. Default 64MiB, at least 64KiB.
    pub max_bytes: ByteSize,
    /// Most data points, spans and log records together. Default 1000000, at least 1000.
    pub max_items: u64,
}

impl Default for Queue {
    fn default() -> Self {
        Self { max_bytes: ByteSize::mib(64), max_items: 1_000_000 }
    }
}

fn default_timeout() -> HumanDuration {
    HumanDuration::secs(10)
}

fn default_grace() -> HumanDuration {
    HumanDuration::secs(5)
}

fn all_signals() -> Vec<Signal> {
    Signal::ALL.to_vec()
}

impl Otlp {
    /// An endpoint with everything else at its default.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            headers: Headers::default(),
            header_files: BTreeMap::new(),
            tls: Tls::default(),
            compression: Compression::default(),
            timeout: default_timeout(),
            grace: default_grace(),
            queue: Queue::default(),
            signals: all_signals(),
        }
    }
}

impl Config {
    /// Adds what is wrong to `problems`; `at` is this section's path, `forward`.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let Some(otlp) = &self.otlp else { return };
        let mut problem = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.otlp.{key}"), rule));
        let uri: Option<http::Uri> = otlp.endpoint.parse().ok();
        let scheme = uri.as_ref().filter(|u| u.authority().is_some()).and_then(|u| u.scheme_str());
        if !matches!(scheme, Some("http" | "https")) {
            problem("endpoint", format!("must be `http://host:port` or `https://host:port`, got `{}`", otlp.endpoint));
        }
        if otlp.endpoint.contains('@') {
            problem("endpoint", "must not hold a user or password: use `headers` or `header_files`".to_owned());
        }
        if scheme == Some("http") && otlp.tls != Tls::default() {
            problem("tls", format!("needs an `https` endpoint, got `{}`", otlp.endpoint));
        }
        if otlp.tls.cert_file.is_some() != otlp.tls.key_file.is_some() {
            problem("tls", "must have both `cert_file` and `key_file`, or neither".to_owned());
        }
        for name in otlp.headers.0.keys().chain(otlp.header_files.keys()) {
            if tonic::metadata::AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).is_err() {
                problem("headers", format!("must be header names, got `{name}`"));
            }
        }
        let timeout = otlp.timeout.as_ms();
        if !(100..=300_000).contains(&timeout) {
            problem("timeout", format!("must be between 100ms and 5m, got {}", otlp.timeout));
        }
        if otlp.grace.as_ms() > 300_000 {
            problem("grace", format!("must be at most 5m, got {}", otlp.grace));
        }
        if otlp.queue.max_bytes.0 < 64 << 10 {
            problem("queue.max_bytes", format!("must be at least 64KiB, got {}", otlp.queue.max_bytes));
        }
        if otlp.queue.max_items < 1_000 {
            problem("queue.max_items", format!("must be at least 1000, got {}", otlp.queue.max_items));
        }
        if otlp.signals.is_empty() {
            problem("signals", "must name at least one of metrics, traces, logs".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(yaml: &str) -> Vec<String> {
        let config: Config = serde_saphyr::from_str(yaml).unwrap();
        let mut problems = Vec::new();
        config.validate("forward", &mut problems);
        problems.into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(problems("{}"), [""; 0]);
        assert_eq!(problems("otlp: {endpoint: 'http://next:4317', headers: {Authorization: x}}"), [""; 0]);
        assert_eq!(problems("otlp: {endpoint: 'next:4317'}"), ["forward.otlp.endpoint"]);
        assert_eq!(problems("otlp: {endpoint: 'http://a:b@next:4317'}"), ["forward.otlp.endpoint"]);
        assert_eq!(problems("otlp: {endpoint: 'http://next:4317', tls: {cert_file: /c}}").len(), 2);
        let all = "otlp: {endpoint: 'https://n', headers: {'a b': x}, timeout: 1ms, grace: 1h, queue: {max_bytes: 1, max_items: 1}, signals: []}";
        assert_eq!(problems(all).len(), 6);
        assert!(serde_saphyr::from_str::<Config>("otlp: {endpoint: 'http://n', compression: zstd}").is_err());
    }

    #[test]
    fn header_values_are_not_printed() {
        let config: Config = serde_saphyr::from_str("otlp: {endpoint: 'http://n', headers: {a: s3cret}}").unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
        assert!(!serde_json::to_string(&config).unwrap().contains("s3cret"));
    }
}
