//! The production checklist: is the engine set up right, by everything that can be seen of it.
//!
//! In:  answers of the engine, Kubernetes (the API or files), the engine's configuration, PostgreSQL, NATS, TLS, and the
//!      series of an agent.   Out: a [`Report`], a status an item with its reason and evidence.
//! Always: probes only read; each gives plain data or the reason why there is none, and the items are pure functions of
//! that. What is not known is `unknown`, never a pass. The admin token goes to the engine's own address alone, over no
//! redirect and no proxy, and is compared by its SHA-256.
//! Limits: one deadline a probe, 10,000 objects a kind, 4 MiB an answer.

mod attest;
pub mod cluster;
mod config;
pub mod evidence;
pub mod fix;
mod items;
pub mod known;
mod outcome;
pub mod probes;
pub mod render;
mod report;
mod stats;

pub use attest::{Attestation, Until};
pub use config::{Config, GrafanaConfig, KubernetesConfig, KubernetesMode, NatsConfig, PostgresConfig, TlsConfig};
pub use items::{Category, ITEMS, Item, find as find_item};
pub use outcome::{Outcome, Status};
pub use report::{Choice, Finding, Report, Source, judge};
pub use stats::CheckStats;
