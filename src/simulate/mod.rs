//! Incidents in virtual time: engines and what is around them, watched and judged by the real code.
//!
//! In:  a scenario that people write (`scenario`), or a folder of recorded scrapes (`replay`).
//! Out: whom that would have woken, held against whom it should have.
//! Always: no clock, no socket; the same input gives the same pages.
//!
//! The way of a scenario: `cluster` lives and its `engine`s record what happens to them; `watch` scrapes, translates and
//! asks as the agent's receivers do; `judge` is the agent's store, rules, capacity and notifier; `play` moves time and
//! `verdict` compares. `promtool` writes a history down as a unit test for Prometheus' own tool.

mod chance;
mod cluster;
pub mod engine;
mod families;
pub mod judge;
pub mod log;
pub mod play;
pub mod promtool;
pub mod replay;
pub mod scenario;
pub mod scores;
pub mod verdict;
mod watch;

pub use chance::{Chance, Latency};
pub use cluster::Cluster;
pub use families::{Families, Wanted};
pub use watch::NAMESPACE;
