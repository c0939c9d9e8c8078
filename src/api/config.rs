//! The `api:` and `probe:` sections.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::HeaderValue;
use serde::Deserialize;

use super::auth::{AuthConfig, check_exposure};
use super::scaler::ScalerConfig;
use crate::model::{HumanDuration, Problem};
use crate::promql;

/// The port of the page and the APIs.
pub const DEFAULT_PORT: u16 = 6440;

/// The listener with the page and the APIs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on; default `127.0.0.1:6440`. An address beyond loopback needs `auth`.
    pub listen: SocketAddr,
    pub auth: AuthConfig,
    /// Web origins whose pages may ask the APIs, such as `https://grafana.example.com`; default none.
    pub cors_origins: Vec<String>,
    pub query: QueryConfig,
    pub external_scaler: ScalerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into(),
            auth: AuthConfig::default(),
            cors_origins: Vec::new(),
            query: QueryConfig::default(),
            external_scaler: ScalerConfig::default(),
        }
    }
}

/// Limits of PromQL queries that come in over HTTP.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// A query is ended after this time; default 30s. A smaller `timeout` parameter wins.
    pub timeout: HumanDuration,
    /// Queries that run at once; default 4. Others wait for their timeout at most.
    pub max_concurrency: usize,
    /// Samples a query may load; default 20 million.
    pub max_samples: usize,
    /// Series that one selector may return; default 500,000.
    pub max_series: usize,
    /// How far back a selector looks for the current sample, in rules, too; default 5m, from 1s to 1h. Should be
    /// more than twice the longest scrape or export interval.
    pub lookback_delta: HumanDuration,
    /// Step of subqueries that name none; default 1m.
    pub subquery_step: HumanDuration,
    /// Whether functions and modifiers that Prometheus keeps behind feature flags may be used; default false.
    pub experimental: bool,
    /// For tests only, where answers are compared with Prometheus 2: `closed` windows hold the sample on their left
    /// edge, too. Default `half_open`, as in Prometheus 3; the rules count on it.
    pub window_edges: WindowEdges,
}

/// `api.query.window_edges`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowEdges {
    #[default]
    HalfOpen,
    Closed,
}

impl From<WindowEdges> for promql::WindowEdges {
    fn from(edges: WindowEdges) -> Self {
        match edges {
            WindowEdges::HalfOpen => Self::HalfOpen,
            WindowEdges::Closed => Self::Closed,
        }
    }
}

impl QueryConfig {
    /// What the engine is set to; `timeout` is for the caller, who sets [`promql::Cancel`] when it is over.
    pub fn engine_options(&self) -> promql::EngineOptions {
        promql::EngineOptions {
            lookback_ms: self.lookback_delta.as_ms(),
            max_samples: self.max_samples,
            max_series: self.max_series,
            default_subquery_step_ms: self.subquery_step.as_ms(),
            window_edges: self.window_edges.into(),
            experimental: self.experimental,
        }
    }
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            timeout: HumanDuration::secs(30),
            max_concurrency: 4,
            max_samples: 20_000_000,
            max_series: 500_000,
            lookback_delta: HumanDuration::secs(5 * 60),
            subquery_step: HumanDuration::secs(60),
            experimental: false,
            window_edges: WindowEdges::HalfOpen,
        }
    }
}

/// A second listener for kubelet probes and a scraper: `/livez`, `/readyz`, `/metrics`, without authentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeConfig {
    /// Address to listen on; off by default.
    pub listen: Option<SocketAddr>,
}

impl Config {
    /// Refuses an open door, and limits of zero.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        check_exposure(&format!("{at}.listen"), self.listen, &self.auth, problems);
        self.external_scaler.validate(&format!("{at}.external_scaler"), problems);
        let zero = [
            ("query.timeout", self.query.timeout.as_ms() == 0),
            ("query.max_concurrency", self.query.max_concurrency == 0),
            ("query.max_samples", self.query.max_samples == 0),
            ("query.max_series", self.query.max_series == 0),
            ("query.subquery_step", self.query.subquery_step.as_ms() == 0),
        ];
        for (key, _) in zero.iter().filter(|(_, is_zero)| *is_zero) {
            problems.push(Problem::new(format!("{at}.{key}"), "must be greater than zero"));
        }
        let lookback = self.query.lookback_delta;
        if !(1_000..=3_600_000).contains(&lookback.as_ms()) {
            let rule = format!("must be from 1s to 1h, got {lookback}");
            problems.push(Problem::new(format!("{at}.query.lookback_delta"), rule));
        }
        for (i, origin) in self.cors_origins.iter().enumerate() {
            let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.contains('/')) || HeaderValue::from_str(origin).is_err() {
                let rule = format!("must be an origin such as https://grafana.example.com, got `{origin}`");
                problems.push(Problem::new(format!("{at}.cors_origins[{i}]"), rule));
            }
        }
    }
}
