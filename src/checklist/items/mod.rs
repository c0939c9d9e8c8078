//! The items of the production checklist: each a sentence that is true when it is met, and a function of the evidence.
//!
//! In:  [`Evidence`].   Out: an [`Outcome`] an item.
//! Always: pure, no clock, no I/O; what is not known is `unknown`, and what does not apply `skipped` with its reason.
//! Source: upstream's production checklists for the engine and for actors, with the figures of `rivet::limits`.

mod database;
mod facts;
mod general;
mod ingress;
mod monitoring;
mod nats;
mod nats_plan;
mod postgres;
mod resources;
mod scaling;
mod secrets;
mod security;
mod tls;

use serde::Serialize;

use super::evidence::Evidence;
use super::outcome::Outcome;

/// A heading of the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Security,
    Resources,
    Scaling,
    Postgresql,
    Nats,
    Monitoring,
    Enterprise,
    /// Items of the general checklist, which is about applications, as far as they can be seen from outside.
    General,
}

impl Category {
    /// Every category, in order.
    pub const ALL: [Self; 8] = [
        Self::Security,
        Self::Resources,
        Self::Scaling,
        Self::Postgresql,
        Self::Nats,
        Self::Monitoring,
        Self::Enterprise,
        Self::General,
    ];

    /// The word for labels and for the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Resources => "resources",
            Self::Scaling => "scaling",
            Self::Postgresql => "postgresql",
            Self::Nats => "nats",
            Self::Monitoring => "monitoring",
            Self::Enterprise => "enterprise",
            Self::General => "general",
        }
    }

    /// The heading for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::General => "general (what of the general checklist is visible from outside)",
            other => other.as_str(),
        }
    }
}

/// An item.
#[derive(Clone, Copy)]
pub struct Item {
    /// Stable: in series, in the configuration, in the runbook.
    pub id: &'static str,
    pub category: Category,
    /// Worded as the success.
    pub title: &'static str,
    pub judge: fn(&Evidence) -> Outcome,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.id)
    }
}

const fn item(category: Category, id: &'static str, title: &'static str, judge: fn(&Evidence) -> Outcome) -> Item {
    Item { id, category, title, judge }
}

pub use ingress::Nginx;
pub use postgres::nodes_that_fit;

use Category::{Enterprise, General, Monitoring, Nats, Postgresql, Resources, Scaling, Security};

/// Every item, in the order in which it is shown.
pub const ITEMS: &[Item] = &[
    item(Security, "admin-token-set", "API calls without the admin token are refused", security::admin_token_set),
    item(Security, "admin-token-strong", "the admin token is hard to guess", security::admin_token_strong),
    item(
        Security,
        "admin-token-not-public",
        "clients are not handed the admin token",
        security::admin_token_not_public,
    ),
    item(
        Security,
        "admin-token-not-in-telemetry",
        "no token leaves with telemetry",
        security::admin_token_not_in_telemetry,
    ),
    item(
        Security,
        "secrets-in-secrets",
        "tokens and passwords stand in Secrets, not in config maps, variables or URLs",
        secrets::in_secrets,
    ),
    item(Security, "peer-port-closed", "the peer API (6421) is not reachable from outside", security::peer_port_closed),
    item(
        Security,
        "metrics-port-closed",
        "the metrics page (6430) is not reachable from outside",
        security::metrics_port_closed,
    ),
    item(Security, "tls-handshake", "the public address speaks TLS", tls::handshake),
    item(Security, "tls-chain", "its certificate is trusted and names the host", tls::chain),
    item(Security, "tls-expiry", "its certificate does not expire soon", tls::expiry),
    item(Security, "plain-http-closed", "the engine is not served without TLS", tls::plain_http),
    item(Resources, "requests", "at least 1 CPU and 2 GB are requested for each engine", resources::requests),
    item(Resources, "limits", "limits of at least 1 CPU and 2 GB are set", resources::limits),
    item(
        Resources,
        "readiness-probe",
        "the readiness probe asks /health on 6421 and waits 5 s",
        resources::readiness_probe,
    ),
    item(
        Resources,
        "liveness-probe",
        "the liveness probe asks /health on 6421 and waits 5 s",
        resources::liveness_probe,
    ),
    item(Resources, "startup-probe", "a startup probe gives a slow start its time", resources::startup_probe),
    item(Resources, "health-answers", "the engine answers /health within 5 s", resources::health_answers),
    item(Resources, "image-pinned", "the engine's image names one release", resources::image_pinned),
    item(Resources, "one-version", "all engine nodes run the same release", resources::one_version),
    item(Resources, "grace-period", "pods may take as long to end as the engine drains", resources::grace_period),
    item(Resources, "ingress-timeout", "what stands in front keeps quiet connections for an hour", ingress::timeout),
    item(Scaling, "autoscaler", "an autoscaler adds engine nodes", scaling::autoscaler),
    item(Scaling, "autoscaler-cpu", "it acts at 70 % CPU at the latest", scaling::autoscaler_cpu),
    item(Scaling, "autoscaler-memory", "it acts at 80 % memory at the latest", scaling::autoscaler_memory),
    item(Scaling, "ready-nodes", "at least two engine nodes are ready", scaling::ready_nodes),
    item(Scaling, "node-spread", "engine nodes run on different hosts", scaling::node_spread),
    item(Scaling, "disruption-budget", "a drain takes one engine node at a time", scaling::disruption_budget),
    item(Scaling, "rocksdb-one-node", "RocksDB has exactly one node", scaling::rocksdb_one_node),
    item(
        Scaling,
        "host-rate-limit",
        "actor hosts take start requests as fast as the peak needs",
        scaling::host_rate_limit,
    ),
    item(Scaling, "host-concurrency", "actor hosts run as many actors as the peak needs", scaling::host_concurrency),
    item(Postgresql, "postgres-backend", "the database is one for the load to come", postgres::backend),
    item(Postgresql, "postgres-load", "the load is one that PostgreSQL is recommended for", postgres::load),
    item(Postgresql, "postgres-backups", "backups are recent", postgres::backups),
    item(Postgresql, "postgres-standby", "a standby replays close behind", postgres::standby),
    item(Postgresql, "postgres-failover", "something promotes the standby", postgres::failover),
    item(Postgresql, "postgres-connections", "every node finds its connections", postgres::connections),
    item(Postgresql, "postgres-no-pooler", "no pooler stands before PostgreSQL", postgres::no_pooler),
    item(Postgresql, "foundationdb", "FoundationDB is there where load asks for it", postgres::foundationdb),
    item(Nats, "nats-in-use", "NATS carries the messages of several nodes", nats::in_use),
    item(Nats, "nats-servers", "at least two NATS servers stand in a cluster", nats::servers),
    item(Nats, "nats-slow-consumers", "NATS cuts off no slow consumer", nats::slow_consumers),
    item(Nats, "nats-jetstream", "JetStream, which the engine does not need, is off", nats::jetstream),
    item(Monitoring, "otel-enabled", "OpenTelemetry is switched on", monitoring::otel_enabled),
    item(Monitoring, "traces-arriving", "spans of each engine arrive", monitoring::traces_arriving),
    item(Monitoring, "sampler-ratio", "the sampler ratio is the one counted by", monitoring::sampler_ratio),
    item(Monitoring, "metrics-port-declared", "the metrics port (6430) is declared", monitoring::metrics_port_declared),
    item(Monitoring, "metrics-arriving", "metrics of each engine arrive", monitoring::metrics_arriving),
    item(
        Monitoring,
        "alerts-reach-somebody",
        "alerts reach somebody, and did so lately",
        monitoring::alerts_reach_somebody,
    ),
    item(Monitoring, "dashboards", "dashboards of the engine are there", monitoring::dashboards),
    item(Enterprise, "enterprise-support", "the load needs no help from upstream", general::enterprise),
    item(
        General,
        "runner-version",
        "actor hosts have a version, so that upgrades drain old ones",
        general::runner_version,
    ),
    item(General, "actor-eviction", "an upgrade moves actors, and not all at once", general::actor_eviction),
    item(General, "max-runners", "the cap on actors was chosen", general::max_runners),
    item(General, "request-lifespan", "start requests live longer than they drain", general::request_lifespan),
    item(General, "start-body-limit", "start requests of 16 MiB get through", general::start_body_limit),
];

/// An item by its id.
pub fn find(id: &str) -> Option<&'static Item> {
    ITEMS.iter().find(|item| item.id == id)
}

#[cfg(test)]
mod tests;
