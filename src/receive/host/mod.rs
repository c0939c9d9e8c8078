//! Reads CPU, memory and disk of the engine from the host, because the engine exports no memory and no CPU counter.
//!
//! In:  `/proc` of the same host or of a shared PID namespace, cgroup v2, the downward API's variables, `statvfs`.
//! Out: a batch a reading, in OpenTelemetry's names as Prometheus writes them, under the engine's identity.
//! Always: what cannot be read is absent and said so (`rivetwatch_host_source_readable`, [`SourceStatus`]); a value is
//! never guessed. Limits: 100,000 processes are looked at to find the engine.
//!
//! A hardened sidecar of another user can read `/proc/PID/stat` and `status`, but not the engine's cgroup.

mod cgroup;
mod config;
mod poll;
mod process;
mod reader;
mod stats;

pub use config::{Config, Resources};
pub use poll::{Poller, Settings};
pub use reader::{HostReader, Reading, Roots, Source, SourceStatus};
pub use stats::HostStats;
