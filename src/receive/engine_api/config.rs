//! The `receive.engine_api` section of the configuration.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{HumanDuration, Problem};
use crate::receive::identity::is_loopback;
use crate::receive::scrape::check_url;
use crate::rivet::limits::{GUARD_PORT, PEER_PORT};

/// Where the engine's own API is, and how often it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether the engine is asked at all. Default true.
    pub enabled: bool,
    /// Address of the peer API, which has `/health`. Default `http://127.0.0.1:6421`.
    pub peer_url: String,
    /// Address of the public API. Default `http://127.0.0.1:6420`.
    pub public_url: String,
    /// A file with the engine's admin token, sent to `public_url` alone. Needed only where 6421 is not on loopback.
    pub admin_token_file: Option<PathBuf>,
    /// Time between two health probes. Default 15s; 1s to 1h.
    pub interval: HumanDuration,
    /// Time between two readings of version, actor hosts and pools. Default 30s; at least the interval, at most 1h.
    pub detail_interval: HumanDuration,
    /// Longest time one answer may take. Default 5s, as the production checklist has it; above 0, at most 1m.
    pub timeout: HumanDuration,
    /// Names of the namespaces whose pools are read. Default: all.
    pub namespaces: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            peer_url: format!("http://127.0.0.1:{PEER_PORT}"),
            public_url: format!("http://127.0.0.1:{GUARD_PORT}"),
            admin_token_file: None,
            interval: HumanDuration::secs(15),
            detail_interval: HumanDuration::secs(30),
            timeout: HumanDuration::secs(5),
            namespaces: Vec::new(),
        }
    }
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut say = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.{key}"), rule));
        for (key, url) in [("peer_url", &self.peer_url), ("public_url", &self.public_url)] {
            match check_url(url) {
                Err(rule) => say(key, rule),
                Ok(url) if url.path() != "/" || url.query().is_some() => {
                    say(key, format!("must be an address without a path, got `{url}`"));
                }
                Ok(_) => {}
            }
        }
        let hour = HumanDuration::secs(3600);
        if !(HumanDuration::secs(1)..=hour).contains(&self.interval) {
            say("interval", format!("must be between 1s and 1h, got {}", self.interval));
        }
        if self.detail_interval < self.interval || self.detail_interval > hour {
            let rule =
                format!("must be between the interval of {} and 1h, got {}", self.interval, self.detail_interval);
            say("detail_interval", rule);
        }
        if self.timeout == HumanDuration::default() || self.timeout > HumanDuration::secs(60) {
            say("timeout", format!("must be above 0 and at most 1m, got {}", self.timeout));
        }
        if self.namespaces.iter().any(String::is_empty) {
            say("namespaces", "must not hold an empty name".to_owned());
        }
    }

    /// Whether the peer API, which asks for no token, is on this machine.
    pub fn has_local_peer(&self) -> bool {
        let Ok(url) = check_url(&self.peer_url) else { return false };
        let host = url.host_str().unwrap_or_default();
        let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        host == "localhost" || address.is_some_and(is_loopback)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_their_key() {
        let text = "{peer_url: 'http://a:1/x', public_url: nonsense, interval: 1ms, timeout: 0}";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let mut problems = Vec::new();
        config.validate("receive.engine_api", &mut problems);
        let keys: Vec<&str> = problems.iter().map(|p| p.key.trim_start_matches("receive.engine_api.")).collect();
        assert_eq!(keys, ["peer_url", "public_url", "interval", "timeout"]);
        problems.clear();
        Config::default().validate("x", &mut problems);
        assert_eq!(problems, []);
    }

    #[test]
    fn only_loopback_is_local() {
        let at = |peer_url: &str| Config { peer_url: peer_url.into(), ..Config::default() }.has_local_peer();
        assert!(at("http://127.0.0.1:6421") && at("http://[::1]:6421") && at("http://localhost:6421"));
        assert!(!at("http://10.0.0.5:6421") && !at("http://localhost.example:6421"));
    }
}
