//! What PostgreSQL and NATS said of themselves.

use std::time::Duration;

use crate::checklist::known::Known;

/// A standby as the primary sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Standby {
    pub name: String,
    /// `streaming`, `catchup` and the like.
    pub state: String,
    /// Bytes of log that it has not replayed.
    pub lag_bytes: Option<u64>,
    /// Time between the commit here and the replay there, for recent commits.
    pub lag: Option<Duration>,
}

/// Archiving of the write-ahead log.
#[derive(Clone, Debug, PartialEq)]
pub struct Archive {
    /// `off`, `on`, `always`.
    pub mode: String,
    /// Time since the last segment was archived.
    pub last_archived: Option<Duration>,
    /// Time since archiving last failed.
    pub last_failed: Option<Duration>,
}

/// Whether something stands between the engine and PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolerSign {
    /// Each connection has a backend of its own.
    Direct(String),
    /// One backend served two connections, or the address belongs to a pooler.
    Pooler(String),
}

/// A PostgreSQL that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresSeen {
    /// `host:port`.
    pub address: String,
    pub version: String,
    /// The address leads to a standby, which knows nothing of other standbys.
    pub is_standby: bool,
    /// Whether the role may read the statistics (`pg_monitor`).
    pub sees_statistics: bool,
    pub max_connections: u32,
    /// Connections kept for superusers and reserved roles.
    pub reserved_connections: u32,
    pub used_connections: Option<u32>,
    pub archive: Known<Archive>,
    pub standbys: Known<Vec<Standby>>,
    pub pooler: Known<PoolerSign>,
}

/// Traces of backups besides archiving.
#[derive(Clone, Debug, Default)]
pub struct Backups {
    /// The file that a successful backup touches, and its age; `None` when none is configured.
    pub marker: Option<(String, Known<Duration>)>,
}

/// What the monitoring port of a NATS server tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsMonitor {
    pub slow_consumers: u64,
    /// Names or ids of the servers it has routes to.
    pub routes: Vec<String>,
    pub has_jetstream: bool,
}

/// A NATS server.
#[derive(Clone, Debug)]
pub struct NatsServer {
    /// `host:port` that was asked.
    pub address: String,
    pub id: String,
    pub name: String,
    pub version: String,
    pub cluster: Option<String>,
    pub has_jetstream: bool,
    /// Further servers it tells its clients of.
    pub others: Vec<String>,
    pub monitor: Known<NatsMonitor>,
}

/// All NATS servers that were asked.
#[derive(Clone, Debug, Default)]
pub struct NatsSeen {
    pub servers: Vec<NatsServer>,
    /// Addresses that gave no answer, with the reason.
    pub silent: Vec<(String, String)>,
}
