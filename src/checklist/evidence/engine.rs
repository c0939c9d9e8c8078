//! What the engine's own HTTP doors answered.

use std::time::Duration;

use super::token::Fingerprint;
use crate::checklist::known::{Known, unknown};

/// An answer of the public API to a call that needs the admin token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiAnswer {
    /// The address that was asked.
    pub url: String,
    pub status: u16,
    /// It looked like the engine's: its list, or its error.
    pub is_engine: bool,
}

/// An answer of `/health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    pub url: String,
    /// `None`: connected, and not answered within `took`.
    pub status: Option<u16>,
    pub took: Duration,
    pub version: Option<String>,
}

/// How a pool's actors run, and with which limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolKind {
    /// Hosts connect by themselves.
    Normal,
    Serverless {
        /// Seconds one start request may last.
        request_lifespan: Option<u64>,
        /// Seconds before its end in which actors move away.
        drain_grace_period: Option<u64>,
        max_concurrent_actors: Option<u64>,
        max_runners: Option<u64>,
    },
}

/// A pool of actor hosts as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolSeen {
    pub namespace: String,
    pub name: String,
    pub kind: PoolKind,
    pub drain_on_version_upgrade: Option<bool>,
    /// Seconds.
    pub eviction_delay: Option<u64>,
    /// Seconds.
    pub eviction_period: Option<u64>,
    /// Actors a second.
    pub eviction_rate: Option<f64>,
}

/// An actor host that is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSeen {
    pub namespace: String,
    pub pool: String,
    pub version: Option<u64>,
}

/// A token that an actor host hands to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    pub fingerprint: Fingerprint,
    /// Whether the engine takes it for its admin token; `None` when that was not tried.
    pub is_admin: Option<bool>,
}

/// What an actor host tells everybody at `/api/rivet/metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostMetadata {
    /// Address without user, query and fragment.
    pub url: String,
    pub client_token: Option<ClientToken>,
    pub version: Option<u64>,
}

/// What the engine's doors answered.
#[derive(Clone, Debug)]
pub struct EngineSeen {
    /// A call without a token.
    pub without_token: Known<ApiAnswer>,
    /// The same call with the configured token: whether it was taken. `None` when there is no token to try.
    pub token_taken: Option<Known<bool>>,
    /// `/health` on 6421, else on 6420.
    pub health: Known<Health>,
    pub pools: Known<Vec<PoolSeen>>,
    pub hosts: Known<Vec<HostSeen>>,
    /// Answers of actor hosts, one for each address that was asked.
    pub metadata: Vec<Known<HostMetadata>>,
}

impl Default for EngineSeen {
    fn default() -> Self {
        const WHY: &str = "the engine was not asked";
        Self {
            without_token: unknown(WHY),
            token_taken: None,
            health: unknown(WHY),
            pools: unknown(WHY),
            hosts: unknown(WHY),
            metadata: Vec::new(),
        }
    }
}
