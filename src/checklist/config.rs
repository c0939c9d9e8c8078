//! The `check:` section: what the checklist may ask beyond the engine, and what people stand for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::attest::Attestation;
use super::items;
use crate::model::{HumanDuration, Problem};

/// How the production checklist is run, by the command and by a judging agent alike.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether a running agent goes through the checklist. Default true.
    pub enabled: bool,
    /// Time between two runs of a running agent. Default 5m; 1m to 1d.
    pub interval: HumanDuration,
    /// Longest time one probe may take. Default 5s, the time the checklist gives `/health`; above 0, at most 1m.
    pub timeout: HumanDuration,
    /// Files or folders of the engine's own configuration (json, json5, jsonc, yaml), merged in order. Default: none.
    pub engine_config: Vec<PathBuf>,
    /// Addresses of `/api/rivet` of actor hosts, whose metadata clients are given. Default: those of serverless pools.
    pub actor_host_urls: Vec<String>,
    /// Hosts or addresses at which outsiders would try node ports. Default: the host of `engine.public_url`.
    pub node_hosts: Vec<String>,
    pub kubernetes: KubernetesConfig,
    pub postgres: PostgresConfig,
    pub nats: NatsConfig,
    pub grafana: GrafanaConfig,
    pub tls: TlsConfig,
    /// A page or heartbeat accepted longer ago than this does not show that alerts reach somebody. Default 7d; at least 1h.
    pub alert_age: HumanDuration,
    /// What no probe can see and a person stands for, until a date.
    pub attest: Vec<Attestation>,
    /// Items that are passed over, as `id: reason`.
    pub skip: std::collections::BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: HumanDuration::secs(300),
            timeout: HumanDuration::secs(5),
            engine_config: Vec::new(),
            actor_host_urls: Vec::new(),
            node_hosts: Vec::new(),
            kubernetes: KubernetesConfig::default(),
            postgres: PostgresConfig::default(),
            nats: NatsConfig::default(),
            grafana: GrafanaConfig::default(),
            tls: TlsConfig::default(),
            alert_age: HumanDuration::secs(7 * 86_400),
            attest: Vec::new(),
            skip: std::collections::BTreeMap::new(),
        }
    }
}

/// The Kubernetes API, read only; `receive.pod_metrics` goes the same way.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// `auto` (default) asks where there is a service account, or for the command a kubeconfig; `off` says that the
    /// engine does not run in Kubernetes, so that its items are skipped; `on` asks, and says when it cannot.
    pub mode: KubernetesMode,
    /// A kubeconfig. Default: that of the environment, for the command alone.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it. Default: the current one.
    pub context: Option<String>,
    /// The engine's namespace. Default: that of the pod or of the context, else `rivet-engine`.
    pub namespace: Option<String>,
    /// The engine's Deployment or StatefulSet. Default: found by its image, then by its labels.
    pub engine: Option<String>,
    /// Most objects of one kind that are read. Default 10000; at least 100.
    pub objects_max: usize,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            mode: KubernetesMode::Auto,
            kubeconfig: None,
            context: None,
            namespace: None,
            engine: None,
            objects_max: 10_000,
        }
    }
}

/// Whether Kubernetes is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KubernetesMode {
    #[default]
    Auto,
    On,
    Off,
}

/// The engine's PostgreSQL, asked with a role that has `pg_monitor` and nothing else.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// A file with a URL such as `postgres://rivetwatch:PASSWORD@db:5432/postgres`. Default: PostgreSQL is not asked.
    pub url_file: Option<PathBuf>,
    /// A file whose time of change is that of the last successful backup. Default: none.
    pub backup_marker: Option<PathBuf>,
    /// An archived segment or a backup older than this is a failure. Default 26h; at least 1m.
    pub backup_age: HumanDuration,
    /// A standby further behind than this is a warning. Default 30s; above 0.
    pub standby_lag: HumanDuration,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self {
            url_file: None,
            backup_marker: None,
            backup_age: HumanDuration::secs(26 * 3_600),
            standby_lag: HumanDuration::secs(30),
        }
    }
}

/// The NATS servers, asked for their `INFO` line and on their monitoring port.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsConfig {
    /// `host:port` of servers. Default: `nats.addresses` of the engine's configuration, where it was read.
    pub servers: Vec<String>,
    /// The monitoring port beside each; 0 leaves it out. Default 8222.
    pub monitor_port: u16,
    /// Addresses of monitoring ports in place of `monitor_port`, such as `http://nats-0:8222`. Default: none.
    pub monitor_urls: Vec<String>,
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self { servers: Vec::new(), monitor_port: 8222, monitor_urls: Vec::new() }
    }
}

/// A Grafana that should have dashboards of the engine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrafanaConfig {
    /// Its address. Default: Grafana is not asked.
    pub url: Option<String>,
    /// A file with a token of a viewer. Default: none is sent.
    pub token_file: Option<PathBuf>,
}

/// TLS at `engine.public_url`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A certificate that expires within this time is a warning. Default 14d.
    pub expiry: HumanDuration,
    /// A file with roots (PEM) that are trusted besides the system's. Default: none.
    pub ca_file: Option<PathBuf>,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self { expiry: HumanDuration::secs(14 * 86_400), ca_file: None }
    }
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut say = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.{key}"), rule));
        let (minute, day) = (HumanDuration::secs(60), HumanDuration::secs(86_400));
        if !(minute..=day).contains(&self.interval) {
            say("interval", format!("must be between 1m and 1d, got {}", self.interval));
        }
        if self.timeout == HumanDuration::default() || self.timeout > minute {
            say("timeout", format!("must be above 0 and at most 1m, got {}", self.timeout));
        }
        if self.alert_age < HumanDuration::secs(3_600) {
            say("alert_age", format!("must be at least 1h, got {}", self.alert_age));
        }
        if self.postgres.backup_age < minute {
            say("postgres.backup_age", format!("must be at least 1m, got {}", self.postgres.backup_age));
        }
        if self.postgres.standby_lag == HumanDuration::default() {
            say("postgres.standby_lag", "must be above 0".into());
        }
        if self.kubernetes.objects_max < 100 {
            say("kubernetes.objects_max", format!("must be at least 100, got {}", self.kubernetes.objects_max));
        }
        if self.kubernetes.mode == KubernetesMode::Off && self.kubernetes.kubeconfig.is_some() {
            say("kubernetes.kubeconfig", "must not be set where `mode` is `off`".into());
        }
        for (i, url) in self.actor_host_urls.iter().enumerate() {
            check_http(&mut say, &format!("actor_host_urls[{i}]"), url);
        }
        for (i, url) in self.nats.monitor_urls.iter().enumerate() {
            check_http(&mut say, &format!("nats.monitor_urls[{i}]"), url);
        }
        for (i, server) in self.nats.servers.iter().enumerate() {
            if host_and_port(server).is_none() {
                say(&format!("nats.servers[{i}]"), format!("must be `host:port`, got `{server}`"));
            }
        }
        for (i, host) in self.node_hosts.iter().enumerate() {
            if host.is_empty() || host.contains("://") || host.contains('/') {
                say(&format!("node_hosts[{i}]"), format!("must be a host without scheme and path, got `{host}`"));
            }
        }
        if let Some(url) = &self.grafana.url {
            check_http(&mut say, "grafana.url", url);
        }
        for (id, reason) in &self.skip {
            if items::find(id).is_none() {
                say(&format!("skip.{id}"), "is no item of the checklist; `rivetwatch check --list` names them".into());
            }
            if reason.trim().is_empty() {
                say(&format!("skip.{id}"), "must give the reason".into());
            }
        }
        for (i, attestation) in self.attest.iter().enumerate() {
            attestation.validate(&format!("attest[{i}]"), &mut say);
            if self.attest[..i].iter().any(|other| other.item == attestation.item) {
                say(&format!("attest[{i}].item"), format!("must be unique, got `{}` a second time", attestation.item));
            }
        }
    }
}

fn check_http(say: &mut impl FnMut(&str, String), key: &str, text: &str) {
    let url = reqwest::Url::parse(text).ok().filter(|u| matches!(u.scheme(), "http" | "https"));
    match url {
        None => say(key, format!("must be an http or https URL, got `{text}`")),
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            say(key, "must not hold a user or a password".into());
        }
        Some(_) => {}
    }
}

/// Takes `host:port` apart; an IPv6 address stands in brackets.
pub(super) fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty() && !host.contains('/')).then_some((host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_their_key() {
        let text = "{interval: 5s, timeout: 0, nats: {servers: [nats]}, skip: {no-such-item: x, dashboards: ''}, \
                    attest: [{item: postgres-backups, reason: r, evidence: e, until: 2027-01-31}, \
                    {item: postgres-backups, reason: '', evidence: '', until: 2027-01-31}, \
                    {item: nonsense, reason: r, evidence: e, until: 2027-01-31}], \
                    actor_host_urls: ['ftp://x', 'http://u:p@h/api/rivet']}";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let mut problems = Vec::new();
        config.validate("check", &mut problems);
        let keys: Vec<&str> = problems.iter().map(|p| p.key.trim_start_matches("check.")).collect();
        let expected = [
            "interval",
            "timeout",
            "actor_host_urls[0]",
            "actor_host_urls[1]",
            "nats.servers[0]",
            "skip.dashboards",
            "skip.no-such-item",
            "attest[1].reason",
            "attest[1].evidence",
            "attest[1].item",
            "attest[2].item",
        ];
        assert_eq!(keys, expected);
        assert!(!problems.iter().any(|p| p.rule.contains("u:p")), "{problems:?}");
        problems.clear();
        Config::default().validate("check", &mut problems);
        assert_eq!(problems, []);
    }

    #[test]
    fn dates_that_are_none_are_named() {
        let error = serde_saphyr::from_str::<Config>("attest: [{item: a, reason: b, evidence: c, until: someday}]");
        assert!(error.unwrap_err().to_string().contains("someday"));
    }
}
