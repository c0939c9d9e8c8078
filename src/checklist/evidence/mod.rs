//! Everything the items are judged by: plain data, gathered by the probes, told by the operator, or missing with a reason.
//!
//! Always: nothing here reads a clock, a socket or a file, so that every item can be tested on data alone; what may be a
//! secret is wrapped, and `Debug` shows none of it.

mod config_file;
mod database;
mod engine;
mod outside;
mod postgres;
mod settings;
mod telemetry;
mod tls;
mod token;

pub use config_file::{ConfigFile, is_config_name, parse_config};
pub use database::DatabaseAddress;
pub use engine::{ApiAnswer, ClientToken, EngineSeen, Health, HostMetadata, HostSeen, PoolKind, PoolSeen};
pub use outside::{Attempt, Door, OutsideSeen, Reach};
pub use postgres::{Archive, Backups, NatsMonitor, NatsSeen, NatsServer, PoolerSign, PostgresSeen, Standby};
pub use settings::{Backend, EngineSettings, Pubsub, Setting};
pub use telemetry::{InstanceSeen, PoolLoad, TargetSeen, TelemetrySeen};
pub use tls::{Certificate, TlsSeen};
pub use token::{Fingerprint, Strength, strength};

use std::time::Duration;

use secrecy::SecretString;

use super::cluster::Cluster;
use super::known::{Known, unknown};
use crate::model::TimestampMs;

/// What the operator told, in the configuration or on the command line.
#[derive(Clone, Debug)]
pub struct Told {
    pub backend: Option<Backend>,
    /// Engine nodes there should be.
    pub expected_instances: Option<u32>,
    /// Where clients reach the engine.
    pub public_url: Option<String>,
    /// The admin token, where the checklist may use it; `None` when none was given.
    pub admin_token: Option<Known<SecretString>>,
    /// The sampler ratio the agent counts spans by.
    pub sampler_ratio: f64,
    pub actor_hosts: Vec<ActorHostTold>,
    /// A certificate that expires within this time is a warning.
    pub certificate_expiry: Duration,
    /// A standby that is further behind than this is a warning.
    pub standby_lag: Duration,
    /// An archived segment or a backup older than this is a failure.
    pub backup_age: Duration,
    /// A page or heartbeat that was accepted longer ago than this proves nothing any more.
    pub alert_age: Duration,
    /// Why the items about Kubernetes do not apply, where the operator says so.
    pub without_kubernetes: Option<String>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            backend: None,
            expected_instances: None,
            public_url: None,
            admin_token: None,
            sampler_ratio: crate::rivet::limits::SAMPLER_RATIO_DEFAULT,
            actor_hosts: Vec::new(),
            certificate_expiry: Duration::from_secs(14 * 86_400),
            standby_lag: Duration::from_secs(30),
            backup_age: Duration::from_secs(26 * 3_600),
            alert_age: Duration::from_secs(7 * 86_400),
            without_kubernetes: None,
        }
    }
}

/// The limits of the platform behind one pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActorHostTold {
    pub pool: String,
    /// Where it is for one Rivet namespace alone.
    pub rivet_namespace: Option<String>,
    /// Start requests a second that it takes in all.
    pub start_rate: Option<f64>,
    /// Actors it runs at once.
    pub concurrency: Option<u64>,
}

/// What is known of dashboards in a Grafana.
#[derive(Clone, Debug)]
pub struct DashboardsSeen {
    /// Address of the Grafana, or the cluster.
    pub source: String,
    /// Those about the engine.
    pub titles: Vec<String>,
}

/// Everything, at one time.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub now: TimestampMs,
    pub told: Told,
    pub engine: EngineSeen,
    pub outside: OutsideSeen,
    pub tls: Known<TlsSeen>,
    pub cluster: Known<Cluster>,
    /// Files of the engine's configuration, from which `settings` come.
    pub engine_files: Known<Vec<ConfigFile>>,
    pub settings: Known<EngineSettings>,
    pub postgres: Known<PostgresSeen>,
    pub backups: Backups,
    pub nats: Known<NatsSeen>,
    pub telemetry: Known<TelemetrySeen>,
    pub dashboards: Known<DashboardsSeen>,
}

impl Evidence {
    /// Nothing is known yet, because nothing was asked.
    pub fn nothing(now: TimestampMs, told: Told) -> Self {
        Self {
            now,
            told,
            engine: EngineSeen::default(),
            outside: OutsideSeen::default(),
            tls: unknown("no public address is known; set `engine.public_url`"),
            cluster: unknown("no Kubernetes is known; give a kubeconfig or `--manifests`"),
            engine_files: unknown("the engine's configuration was not read; set `check.engine_config`"),
            settings: unknown("the engine's configuration was not read; set `check.engine_config`"),
            postgres: unknown("PostgreSQL was not asked; set `check.postgres.url_file`"),
            backups: Backups::default(),
            nats: unknown("NATS was not asked; set `check.nats.servers`"),
            telemetry: unknown("no agent was asked"),
            dashboards: unknown("no Grafana was asked; set `check.grafana.url`"),
        }
    }
}
