//! The `receive.pod_metrics` section of the configuration.

use serde::{Deserialize, Serialize};

use crate::model::{HumanDuration, Problem};

/// Whether and how often metrics.k8s.io is read. How Kubernetes is reached stands in `check.kubernetes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether it is read, where Kubernetes is known at all. Default true; a sidecar never does.
    pub enabled: bool,
    /// Time between two readings. Default 30s; 5s to 1m, within which metrics-server measures anew.
    pub interval: HumanDuration,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: true, interval: HumanDuration::secs(30) }
    }
}

impl Config {
    /// Adds a problem for every rule that a key breaks; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if !(HumanDuration::secs(5)..=HumanDuration::secs(60)).contains(&self.interval) {
            let rule = format!("must be between 5s and 1m, got {}", self.interval);
            problems.push(Problem::new(format!("{at}.interval"), rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_name_their_key() {
        for (interval, count) in [("5s", 0), ("1m", 0), ("4s", 1), ("61s", 1), ("0", 1)] {
            let config: Config = serde_saphyr::from_str(&format!("{{interval: {interval}}}")).unwrap();
            let mut problems = Vec::new();
            config.validate("receive.pod_metrics", &mut problems);
            assert_eq!(problems.len(), count, "{interval}: {problems:?}");
            assert!(problems.iter().all(|p| p.to_string().starts_with("`receive.pod_metrics.interval` must be")));
        }
    }
}
