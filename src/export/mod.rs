//! Rule files, inhibition rules, relabelling, dashboards and autoscalers for other systems.
//!
//! In: what the binary carries (rule files, the engine's names, the dashboard builder).   Out: text that Prometheus,
//! its operator, Grafana and Kubernetes load.
//! Always: the same input gives the same bytes, and nothing is read from the network or a clock.

pub mod autoscaler;
pub mod covered;
pub mod dashboards;
pub mod document;
pub mod grafana;
pub mod loader;
pub mod merge;
pub mod relabel;
pub mod rules;
pub mod yaml;
