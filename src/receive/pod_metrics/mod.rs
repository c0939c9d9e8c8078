//! What the engine's pods use, as metrics.k8s.io tells it: the figures that the autoscaler itself goes by.
//!
//! In:  objects of kind `PodMetrics`, and the requests and limits of their workload's containers.
//! Out: a batch a reading, under the pods' own names and at the times at which the kubelets measured.
//! Always: a pod that cannot be read is absent and counted, never zero; one that is gone is marked stale at once, and all
//! are once nothing could be read for [`AGE_MS_MAX`].   Limits: [`PODS_MAX`] pods, [`CONTAINERS_MAX`] containers each.
//!
//! Names follow those that OpenTelemetry has for containers of Kubernetes (`k8s_container_cpu_usage`).

mod config;
mod object;
mod stats;
mod step;

pub use config::Config;
pub use object::{CONTAINERS_MAX, ContainerUsage, PodUsage, Unreadable};
pub use stats::PodMetricsStats;
pub use step::{AGE_MS_MAX, AHEAD_MS_MAX, JOB, PODS_MAX, PodMetrics, Reading, Workload};
