//! The `query:` section of the configuration file.

use serde::{Deserialize, Serialize};

use super::engine::{EngineOptions, WindowEdges};
use crate::model::{HumanDuration, Problem};

/// Limits and switches of queries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How far back a selector looks for the current sample. Default 5m, from 1s to 1h. Should be more than twice
    /// the longest scrape or export interval.
    pub lookback_delta: HumanDuration,
    /// How long one query may run before it is ended. Default 2m, at least 1ms.
    pub timeout: HumanDuration,
    /// Most samples that one query may hold in memory, 16 bytes each. Default 50,000,000, at least 1,000.
    pub max_samples: usize,
    /// Most series that one selector may return. Default 500,000, at least 1.
    pub max_series: usize,
    /// Step of subqueries that name none. Default 1m, at least 1ms.
    pub subquery_step: HumanDuration,
    /// Whether functions and modifiers that Prometheus keeps behind feature flags may be used. Default false.
    pub experimental: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lookback_delta: HumanDuration::secs(5 * 60),
            timeout: HumanDuration::secs(2 * 60),
            max_samples: 50_000_000,
            max_series: 500_000,
            subquery_step: HumanDuration::secs(60),
            experimental: false,
        }
    }
}

impl Config {
    /// Adds what is wrong with the section, which stands at the key `at`.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let mut refuse = |is_wrong: bool, key: &str, rule: String| {
            if is_wrong {
                problems.push(Problem::new(format!("{at}.{key}"), rule));
            }
        };
        let lookback = self.lookback_delta.as_ms();
        refuse(
            !(1_000..=3_600_000).contains(&lookback),
            "lookback_delta",
            format!("must be from 1s to 1h, got {}", self.lookback_delta),
        );
        for (key, duration) in [("timeout", self.timeout), ("subquery_step", self.subquery_step)] {
            refuse(duration.as_ms() < 1, key, format!("must be at least 1ms, got {duration}"));
        }
        refuse(self.max_samples < 1_000, "max_samples", format!("must be at least 1000, got {}", self.max_samples));
        refuse(self.max_series < 1, "max_series", format!("must be at least 1, got {}", self.max_series));
    }

    /// The engine's options; `timeout` is for the caller, who sets [`super::Cancel`] when it is over.
    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            lookback_ms: self.lookback_delta.as_ms(),
            max_samples: self.max_samples,
            max_series: self.max_series,
            default_subquery_step_ms: self.subquery_step.as_ms(),
            window_edges: WindowEdges::HalfOpen,
            experimental: self.experimental,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_those_of_the_engine() {
        let mut problems = Vec::new();
        Config::default().validate("query", &mut problems);
        assert!(problems.is_empty());
        assert_eq!(format!("{:?}", Config::default().engine_options()), format!("{:?}", EngineOptions::default()));
    }

    #[test]
    fn every_mistake_is_reported_with_its_key() {
        let config = Config {
            lookback_delta: HumanDuration::millis(1),
            timeout: HumanDuration::millis(0),
            max_samples: 1,
            max_series: 0,
            ..Config::default()
        };
        let mut problems = Vec::new();
        config.validate("query", &mut problems);
        assert_eq!(problems.len(), 4);
    }
}
