//! `receive.otlp`: doors, who may come in, limits, names.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::translate;
use crate::model::{ByteSize, HumanDuration, Problem};
use crate::receive::identity::Local;

/// `receive.otlp`: what comes in over OTLP.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// OTLP over gRPC.
    pub grpc: Grpc,
    /// OTLP over HTTP: `/v1/metrics`, `/v1/traces`, `/v1/logs`, protobuf or JSON.
    pub http: Http,
    /// Who may send. Default: unset, which is allowed on loopback addresses only. `none` lets everyone in.
    pub auth: Option<Auth>,
    /// TLS at both doors. Default: none, and the engine's own exporter cannot speak it.
    pub tls: Option<Tls>,
    /// Values of `service.name` that are engines, whose metric names become canonical.
    /// Default `[rivet]`; change it with `RIVET_SERVICE_NAME`.
    pub engine_services: EngineServices,
    pub limits: Limits,
    pub names: Names,
}

/// `receive.otlp.grpc`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grpc {
    /// Whether to listen. Default true.
    pub enabled: bool,
    /// Address and port. Default `127.0.0.1:4317`; port 0 takes a free one.
    pub endpoint: SocketAddr,
}

/// `receive.otlp.http`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Whether to listen. Default true.
    pub enabled: bool,
    /// Address and port. Default `127.0.0.1:4318`; port 0 takes a free one.
    pub endpoint: SocketAddr,
}

impl Default for Grpc {
    fn default() -> Self {
        Self { enabled: true, endpoint: (Ipv4Addr::LOCALHOST, 4317).into() }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { enabled: true, endpoint: (Ipv4Addr::LOCALHOST, 4318).into() }
    }
}

/// `receive.otlp.auth`: the word `none`, or where the bearer token stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Everyone may send, from everywhere.
    None,
    /// Senders carry `authorization: Bearer <the file's content>` (`OTEL_EXPORTER_OTLP_HEADERS`).
    TokenFile(PathBuf),
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            token_file: PathBuf,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Word(String),
            Fields(Fields),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Word(word)) if word == "none" => Ok(Self::None),
            Ok(Raw::Fields(fields)) => Ok(Self::TokenFile(fields.token_file)),
            _ => Err(serde::de::Error::custom("must be `none` or have the one key `token_file`")),
        }
    }
}

/// `receive.otlp.tls`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// This side's certificate chain (PEM).
    pub cert_file: PathBuf,
    /// Its private key (PEM).
    pub key_file: PathBuf,
    /// Authorities (PEM) of senders' certificates. When set, a sender without one is turned away, which
    /// is authorisation enough for addresses beyond loopback. Default none.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// The services that are engines.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct EngineServices(pub Vec<String>);

impl Default for EngineServices {
    fn default() -> Self {
        Self(vec!["rivet".to_owned()])
    }
}

/// `receive.otlp.limits`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest request, decompressed. Default 16MiB, 1KiB to 1GiB. Larger ones are refused.
    pub request_size: ByteSize,
    /// Bytes of all requests being worked on; beyond it senders are told to retry. Default 128MiB,
    /// at least `request_size`. Decoded, a request takes up to five times its size for a moment.
    pub in_flight_size: ByteSize,
    /// Time for a request's body to arrive. Default 30s, at least 1s.
    pub request_timeout: HumanDuration,
    /// Points with a longer label value are refused. Default 64KiB, at least 64 bytes.
    pub label_value_size: ByteSize,
    /// Points with more labels are refused. Default 128, at least 8.
    pub labels: usize,
    /// Points further in the future are refused. Default 10m.
    pub future: HumanDuration,
    /// Delta series that are added up at once. Default 100000.
    pub delta_series: usize,
    /// Counter series that are remembered, so that new ones count from zero. Default 1000000.
    pub counter_series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let options = translate::Options::default();
        Self {
            request_size: ByteSize::mib(16),
            in_flight_size: ByteSize::mib(128),
            request_timeout: HumanDuration::secs(30),
            label_value_size: ByteSize(options.label_value_bytes_max as u64),
            labels: options.labels_max,
            future: HumanDuration::millis(options.future_ms_max.unsigned_abs()),
            delta_series: options.delta_series_max,
            counter_series: options.counter_series_max,
        }
    }
}

/// `receive.otlp.names`: how OpenTelemetry names become Prometheus names. Engines' names are always canonical.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// Keep dots and other characters instead of underscores. Default false.
    pub utf8: bool,
    /// Append units and `_total`. Default true.
    pub suffixes: bool,
    /// Write resource attributes as `target_info`. Default true.
    pub target_info: bool,
    /// Write `otel_scope_name` and `otel_scope_version`. Default false.
    pub scope_labels: bool,
    /// Resource attributes that become labels of every series, e.g. `[deployment.environment.name]`. Default none.
    pub promote_resource_attributes: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            utf8: false,
            suffixes: true,
            target_info: true,
            scope_labels: false,
            promote_resource_attributes: Vec::new(),
        }
    }
}

impl Config {
    /// Adds what is wrong to `problems`; `at` is this section's path, `receive.otlp`.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut problem = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.{key}"), rule));
        let doors = [("grpc", self.grpc.enabled, self.grpc.endpoint), ("http", self.http.enabled, self.http.endpoint)];
        let asks_for_certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        for (door, enabled, endpoint) in doors {
            if enabled && !endpoint.ip().is_loopback() && self.auth.is_none() && !asks_for_certificates {
                let rule = format!(
                    "is `{endpoint}`, which others can reach: set `{at}.auth.token_file` or `{at}.tls.client_ca_file`, or `{at}.auth: none` to let everyone send"
                );
                problem(&format!("{door}.endpoint"), rule);
            }
        }
        if self.grpc.enabled
            && self.http.enabled
            && self.grpc.endpoint == self.http.endpoint
            && self.grpc.endpoint.port() != 0
        {
            problem(
                "http.endpoint",
                format!("must differ from `{at}.grpc.endpoint`, both are `{}`", self.http.endpoint),
            );
        }
        let limits = &self.limits;
        if !(1 << 10..=1 << 30).contains(&limits.request_size.0) {
            problem("limits.request_size", format!("must be between 1KiB and 1GiB, got {}", limits.request_size));
        }
        if limits.in_flight_size < limits.request_size {
            let rule = format!("must be at least `{at}.limits.request_size`, got {}", limits.in_flight_size);
            problem("limits.in_flight_size", rule);
        }
        if limits.request_timeout < HumanDuration::secs(1) {
            problem("limits.request_timeout", format!("must be at least 1s, got {}", limits.request_timeout));
        }
        if !(64..=1 << 30).contains(&limits.label_value_size.0) {
            problem(
                "limits.label_value_size",
                format!("must be between 64B and 1GiB, got {}", limits.label_value_size),
            );
        }
        if limits.labels < 8 {
            problem("limits.labels", format!("must be at least 8, got {}", limits.labels));
        }
    }

    /// The translation this configuration asks for; `local` says where this process runs.
    pub fn translation(&self, local: Local) -> translate::Options {
        translate::Options {
            engine_services: self.engine_services.0.clone(),
            keeps_utf8: self.names.utf8,
            adds_suffixes: self.names.suffixes,
            target_info: self.names.target_info,
            scope_labels: self.names.scope_labels,
            promote: self.names.promote_resource_attributes.clone(),
            local,
            future_ms_max: self.limits.future.as_ms(),
            label_value_bytes_max: usize::try_from(self.limits.label_value_size.0).unwrap_or(usize::MAX),
            labels_max: self.limits.labels,
            delta_series_max: self.limits.delta_series,
            counter_series_max: self.limits.counter_series,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(yaml: &str) -> Vec<String> {
        let config: Config = serde_saphyr::from_str(yaml).unwrap();
        let mut problems = Vec::new();
        config.validate("receive.otlp", &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn open_doors_need_a_decision() {
        assert_eq!(problems("{}"), [""; 0]);
        let open = "grpc: {endpoint: '0.0.0.0:4317'}";
        assert_eq!(
            problems(open),
            ["`receive.otlp.grpc.endpoint` is `0.0.0.0:4317`, which others can reach: set \
              `receive.otlp.auth.token_file` or `receive.otlp.tls.client_ca_file`, or `receive.otlp.auth: none` \
              to let everyone send"]
        );
        assert_eq!(problems(&format!("{open}\nauth: none")), [""; 0]);
        assert_eq!(problems(&format!("{open}\nauth: {{token_file: /etc/token}}")), [""; 0]);
        let tls = "tls: {cert_file: /c, key_file: /k";
        assert_eq!(problems(&format!("{open}\n{tls}, client_ca_file: /ca}}")), [""; 0]);
        assert_eq!(problems(&format!("{open}\n{tls}}}")).len(), 1, "encryption alone lets everyone in");
        assert!(serde_saphyr::from_str::<Config>("auth: maybe").is_err());
        assert!(serde_saphyr::from_str::<Config>("auth: {token: x}").is_err());
    }

    #[test]
    fn every_mistake_is_reported_in_one_pass() {
        let found = problems(
            "http: {endpoint: '127.0.0.1:4317'}\nlimits: {request_size: 10, in_flight_size: 1, request_timeout: 0, labels: 1, label_value_size: 1}",
        );
        assert_eq!(found.len(), 6, "{found:#?}");
    }
}
