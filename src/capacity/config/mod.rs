//! The `capacity:` section: what no telemetry tells is asked for, and what is not given is unknown.

mod autoscaler;
mod host;
mod postgres;

use serde::Deserialize;

use crate::model::Problem;
use crate::rivet::pools::entry_for;

pub use autoscaler::{AutoscalerConfig, ControllerConfig};
pub use host::{ActorHost, Rate, RateScope};
pub use postgres::PostgresConfig;

/// What the operator knows of the places where engines and actors run.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One entry a pool, or a pool and Rivet namespace; a pool without an entry has unknown limits.
    pub actor_hosts: Vec<ActorHost>,
    pub autoscaler: AutoscalerConfig,
    pub postgres: PostgresConfig,
    /// Client addresses that the engines see: 1 behind a proxy that sets no `x-forwarded-for`. The guard counts its
    /// 10,000 requests a minute and 2,000 in flight by address. Default unknown; then the mean over the addresses that
    /// the guard has counted is shown.
    pub client_addresses: Option<u32>,
}

impl Config {
    /// What is told of the platform behind a pool, whose Rivet namespace may not be known.
    pub fn actor_host(&self, pool: &str, rivet_namespace: Option<&str>) -> Option<&ActorHost> {
        entry_for(&self.actor_hosts, |host| (&host.pool, host.rivet_namespace.as_deref()), pool, rivet_namespace)
    }

    /// Reports what contradicts itself or cannot be.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        host::validate(&self.actor_hosts, &format!("{at}.actor_hosts"), problems);
        self.autoscaler.validate(&format!("{at}.autoscaler"), problems);
        self.postgres.validate(&format!("{at}.postgres"), problems);
        if self.client_addresses == Some(0) {
            problems.push(Problem::new(format!("{at}.client_addresses"), "must be at least 1, got 0"));
        }
    }
}
