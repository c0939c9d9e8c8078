//! The `api:` and `probe:` sections.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Deserialize;

use super::auth::{AuthConfig, check_exposure};
use super::scaler::ScalerConfig;
use crate::model::{HumanDuration, Problem};
use crate::promql;

/// The listener with the page and the APIs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address to listen on; default `127.0.0.1:6440`. An address beyond loopback needs `auth`.
    pub listen: SocketAddr,
    pub auth: AuthConfig,
    pub query: QueryConfig,
    pub external_scaler: ScalerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 6440).into(),
            auth: AuthConfig::default(),
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

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            timeout: HumanDuration::secs(30),
            max_concurrency: 4,
            max_samples: 20_000_000,
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
        ];
        for (key, _) in zero.iter().filter(|(_, is_zero)| *is_zero) {
            problems.push(Problem::new(format!("{at}.{key}"), "must be greater than zero"));
        }
    }
}
