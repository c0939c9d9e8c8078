//! Asks the engine what no metric tells: health, version, actor hosts, pools.
//!
//! In:  JSON answers of the peer API (6421, without a token) and the public API (6420).
//! Out: a batch a poll: `rivet_probe_*`, `rivet_engine_info`, `rivet_pool_*`.
//! Always: the admin token goes to the configured public address alone, over no redirect and no proxy, and into no
//! log; pool addresses and headers, which may hold secrets, are never read out of an answer.
//! Limits: 4 MiB an answer, 20 pages a list, 50 namespaces, 1,000 pools; what is beyond is left out and counted.
//!
//! Lists are asked of 6421 when it is on loopback, else of 6420 when there is a token. A refusal (403) or a route that
//! the release does not have (404) is `rivet_probe_success 0`, with a reason in the stats.

mod answers;
mod client;
mod config;
mod poll;
mod stats;
mod step;

pub use answers::{Envoy, Namespace, Pool};
pub use client::{Client, ProbeFailure};
pub use config::Config;
pub use poll::{Poller, Settings};
pub use stats::EngineApiStats;
pub use step::{Answer, Details, EngineApi, EngineInfo, PoolState, Probe};
