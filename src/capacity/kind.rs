//! The things that can run out, each with a stable name for series, alerts and programs.

use serde::{Serialize, Serializer};

use super::forecast::Nature;

/// What is used up. [`Kind::as_str`] is the label `kind` of the series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CPU of all engines to the autoscaler's (or the checklist's) target.
    CpuTarget,
    /// CPU of all engines to the target at the most replicas there may be.
    CpuMaximum,
    /// CPU of one engine to where it begins to shed load.
    CpuShedding,
    /// CPU of one engine to its limit.
    CpuLimit,
    MemoryTarget,
    MemoryMaximum,
    /// Memory of one engine to where the kernel kills it.
    MemoryLimit,
    /// Creates and wakes of actors to the rate limit of their platform.
    ActorDemand,
    /// Start requests with the engine's retries to the same limit.
    ActorLoad,
    /// Running actors to the pool's `max_concurrent_actors`.
    PoolConcurrency,
    /// Running actors to what the platform runs at once.
    PlatformConcurrency,
    /// Running actors to what the database is recommended for.
    BackendActors,
    /// Requests of one client address to the guard's limit.
    GuardRequests,
    /// Requests in flight of one client address to the guard's limit.
    GuardInFlight,
    /// Connections that the running engines may open.
    PostgresConnections,
    /// Connections at the autoscaler's maximum.
    PostgresConnectionsMaximum,
    /// Disk of the engine's own data (RocksDB).
    DataDisk,
    PostgresDisk,
    /// Disk of this agent's data.
    AgentDisk,
}

impl Kind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 19] = [
        Self::CpuTarget,
        Self::CpuMaximum,
        Self::CpuShedding,
        Self::CpuLimit,
        Self::MemoryTarget,
        Self::MemoryMaximum,
        Self::MemoryLimit,
        Self::ActorDemand,
        Self::ActorLoad,
        Self::PoolConcurrency,
        Self::PlatformConcurrency,
        Self::BackendActors,
        Self::GuardRequests,
        Self::GuardInFlight,
        Self::PostgresConnections,
        Self::PostgresConnectionsMaximum,
        Self::DataDisk,
        Self::PostgresDisk,
        Self::AgentDisk,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuTarget => "cpu_target",
            Self::CpuMaximum => "cpu_maximum",
            Self::CpuShedding => "cpu_shedding",
            Self::CpuLimit => "cpu_limit",
            Self::MemoryTarget => "memory_target",
            Self::MemoryMaximum => "memory_maximum",
            Self::MemoryLimit => "memory_limit",
            Self::ActorDemand => "actor_demand",
            Self::ActorLoad => "actor_load",
            Self::PoolConcurrency => "pool_concurrency",
            Self::PlatformConcurrency => "platform_concurrency",
            Self::BackendActors => "backend_actors",
            Self::GuardRequests => "guard_requests",
            Self::GuardInFlight => "guard_in_flight",
            Self::PostgresConnections => "postgres_connections",
            Self::PostgresConnectionsMaximum => "postgres_connections_maximum",
            Self::DataDisk => "data_disk",
            Self::PostgresDisk => "postgres_disk",
            Self::AgentDisk => "agent_disk",
        }
    }

    /// How it grows.
    pub fn nature(self) -> Nature {
        match self {
            Self::MemoryLimit | Self::DataDisk | Self::PostgresDisk | Self::AgentDisk => Nature::Fill,
            _ => Nature::Load,
        }
    }

    /// Whether more engine replicas give more room.
    pub fn is_relieved_by_replicas(self) -> bool {
        matches!(
            self,
            Self::CpuTarget
                | Self::CpuShedding
                | Self::CpuLimit
                | Self::MemoryTarget
                | Self::MemoryLimit
                | Self::GuardRequests
                | Self::GuardInFlight
        )
    }

    /// Whether it is a disk, which others may fill too.
    pub fn is_disk(self) -> bool {
        matches!(self, Self::DataDisk | Self::PostgresDisk | Self::AgentDisk)
    }

    /// Whether its history is kept and followed. Steps of whole engines follow no trend of their own.
    pub fn has_history(self) -> bool {
        !matches!(self, Self::PostgresConnections | Self::PostgresConnectionsMaximum)
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_fit_for_labels() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
