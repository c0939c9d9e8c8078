//! The `receive.scrape` section of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, HumanDuration, Problem, is_legacy_label_name};
use crate::receive::identity::DEFAULT_JOB;
use crate::rivet::limits::METRICS_PORT;

/// What is scraped, how often, and how much of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time between two scrapes of a target. Default 15s; 1s to 1h.
    pub interval: HumanDuration,
    /// Longest time a scrape may take. Default 10s; at most the interval.
    pub timeout: HumanDuration,
    /// `all` keeps every family; `used` only those of known engines that rules, dashboards and capacity read
    /// (about a fifth). Default `all`. Pages of other software are always kept whole.
    pub keep: KeepConfig,
    /// Largest page, uncompressed. A larger one is a failed scrape. Default 32MiB; 64KiB to 1GiB.
    pub body_limit: ByteSize,
    /// Most series of one target. New ones beyond it are dropped and counted, known ones go on. Default 200000.
    pub series_limit: u32,
    /// Most labels of one series; a series with more is dropped and counted. Default 64; 1 to 1000.
    pub label_limit: u32,
    /// Longest label value; a series with a longer one is dropped and counted. Default 4KiB; 64B to 1MiB.
    pub label_value_limit: ByteSize,
    /// How often DNS names are resolved again. Default 30s; 1s to 1h.
    pub dns_refresh: HumanDuration,
    /// What is scraped. Default: the engine of this machine, `http://127.0.0.1:6430/metrics`. `[]` scrapes nothing.
    pub targets: Vec<TargetConfig>,
}

/// Which families are kept of an engine's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepConfig {
    /// Every family.
    #[default]
    All,
    /// The families that rules, dashboards and capacity read.
    Used,
}

/// One target, or one target for each address of a DNS name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetConfig {
    /// Address of the page, `http://` or `https://`. Either this or `dns`.
    pub url: Option<String>,
    /// A name whose every address is a target, such as a headless Service. Either this or `url`.
    pub dns: Option<DnsConfig>,
    /// Whether the page is a Rivet Engine's, so that its names are made canonical. Default true.
    pub engine: bool,
    /// The `job` label. Default `rivet`, the engine's own service name, so that its spans have the same job.
    pub job: String,
    /// The `instance` label instead of the one that follows from the address. Not with `dns`.
    pub instance: Option<String>,
    /// Labels for every series of the target, such as `cluster`.
    pub labels: BTreeMap<String, String>,
    /// Whether labels on the page win over the target's own; otherwise they become `exported_<name>`. Default false.
    pub honor_labels: bool,
    /// Whether times on the page are kept. Default true.
    pub honor_timestamps: bool,
    /// A file with a bearer token for the page; read at each scrape, so that it can be rotated.
    pub bearer_token_file: Option<PathBuf>,
}

/// A DNS name with one target behind each of its A and AAAA addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// The name, e.g. `rivet-engine-headless.rivet-engine.svc`.
    pub name: String,
    /// Port of the page. Default 6430.
    #[serde(default = "metrics_port")]
    pub port: u16,
    /// Path of the page. Default `/metrics`.
    #[serde(default = "metrics_path")]
    pub path: String,
}

fn metrics_port() -> u16 {
    METRICS_PORT
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: HumanDuration::secs(15),
            timeout: HumanDuration::secs(10),
            keep: KeepConfig::All,
            body_limit: ByteSize::mib(32),
            series_limit: 200_000,
            label_limit: 64,
            label_value_limit: ByteSize(4096),
            dns_refresh: HumanDuration::secs(30),
            targets: vec![TargetConfig::engine_at(format!("http://127.0.0.1:{METRICS_PORT}/metrics"))],
        }
    }
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self {
            url: None,
            dns: None,
            engine: true,
            job: DEFAULT_JOB.to_owned(),
            instance: None,
            labels: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            bearer_token_file: None,
        }
    }
}

impl TargetConfig {
    /// An engine with its page at `url`.
    pub fn engine_at(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::default() }
    }
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut check = |key: &str, holds: bool, rule: String| {
            if !holds {
                problems.push(Problem::new(format!("{at}.{key}"), rule));
            }
        };
        let (second, hour) = (HumanDuration::secs(1), HumanDuration::secs(3600));
        let is_period = |d: HumanDuration| (second..=hour).contains(&d);
        check("interval", is_period(self.interval), format!("must be between 1s and 1h, got {}", self.interval));
        check(
            "timeout",
            self.timeout > HumanDuration::default() && self.timeout <= self.interval,
            format!("must be above 0 and at most the interval of {}, got {}", self.interval, self.timeout),
        );
        let body_range = ByteSize(64 << 10)..=ByteSize(1 << 30);
        check(
            "body_limit",
            body_range.contains(&self.body_limit),
            format!("must be between 64KiB and 1GiB, got {}", self.body_limit),
        );
        check("series_limit", self.series_limit > 0, "must be at least 1, got 0".to_owned());
        check(
            "label_limit",
            (1..=1000).contains(&self.label_limit),
            format!("must be between 1 and 1000, got {}", self.label_limit),
        );
        check(
            "label_value_limit",
            (ByteSize(64)..=ByteSize::mib(1)).contains(&self.label_value_limit),
            format!("must be between 64B and 1MiB, got {}", self.label_value_limit),
        );
        check(
            "dns_refresh",
            is_period(self.dns_refresh),
            format!("must be between 1s and 1h, got {}", self.dns_refresh),
        );
        let mut urls = Vec::new();
        for (n, target) in self.targets.iter().enumerate() {
            target.validate(&format!("{at}.targets[{n}]"), problems);
            match &target.url {
                Some(url) if urls.contains(&url) => {
                    let rule = format!("must differ from the other targets, `{url}` stands twice");
                    problems.push(Problem::new(format!("{at}.targets[{n}].url"), rule));
                }
                Some(url) => urls.push(url),
                None => {}
            }
        }
    }
}

impl TargetConfig {
    fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut say = |key: &str, rule: String| problems.push(Problem::new(format!("{at}{key}"), rule));
        match (&self.url, &self.dns) {
            (Some(url), None) => {
                if let Err(rule) = check_url(url) {
                    say(".url", rule);
                }
            }
            (None, Some(dns)) => {
                let is_name = !dns.name.is_empty() && !dns.name.contains(['/', ':', ' ', '@']);
                if !is_name {
                    say(".dns.name", format!("must be a bare DNS name, got `{}`", dns.name));
                }
                if dns.port == 0 {
                    say(".dns.port", "must be at least 1, got 0".to_owned());
                }
                if !dns.path.starts_with('/') {
                    say(".dns.path", format!("must begin with `/`, got `{}`", dns.path));
                }
                if self.instance.is_some() {
                    say(".instance", "cannot be set with `dns`: the addresses would share it".to_owned());
                }
            }
            _ => say("", "must have exactly one of `url` and `dns`".to_owned()),
        }
        if self.job.is_empty() {
            say(".job", "must not be empty".to_owned());
        }
        for name in self.labels.keys() {
            if !is_legacy_label_name(name) || name.starts_with("__") {
                say(".labels", format!("must have label names such as `cluster`, got `{name}`"));
            } else if name == "job" || name == "instance" {
                say(".labels", format!("cannot hold `{name}`, which has a key of its own"));
            }
        }
    }
}

/// Checks the address of a page; the error completes a sentence that begins with the key. Secrets are not repeated.
pub(crate) fn check_url(url: &str) -> Result<reqwest::Url, String> {
    let parsed = reqwest::Url::parse(url).map_err(|e| format!("must be a URL, got `{url}` ({e})"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("must not hold a user name or password".to_owned());
    }
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err(format!("must begin with `http://` or `https://` and a host, got `{url}`"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(config: &Config) -> Vec<String> {
        let mut problems = Vec::new();
        config.validate("receive.scrape", &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_is_the_engine_of_this_machine() {
        let config: Config = serde_saphyr::from_str("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.targets[0].url.as_deref(), Some("http://127.0.0.1:6430/metrics"));
        assert!(config.targets[0].engine);
        assert!(problems(&config).is_empty());
    }

    #[test]
    fn every_mistake_is_reported_in_one_pass() {
        let text = "
interval: 10ms
timeout: 1m
series_limit: 0
targets:
  - url: ftp://x
  - {}
  - dns: { name: 'a/b' }
    instance: one
  - url: http://user:secret@host/metrics
    labels: { job: x, 9: y }
";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let found = problems(&config);
        assert_eq!(found.len(), 10, "{found:#?}");
        assert!(found.contains(&"`receive.scrape.interval` must be between 1s and 1h, got 10ms".to_owned()));
        assert!(found.contains(&"`receive.scrape.targets[1]` must have exactly one of `url` and `dns`".to_owned()));
        assert!(!found.join("\n").contains("secret"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_saphyr::from_str::<Config>("intervall: 15s").is_err());
        assert!(serde_saphyr::from_str::<Config>("targets: [{ur: x}]").is_err());
    }
}
