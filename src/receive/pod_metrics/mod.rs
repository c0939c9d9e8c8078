//! What the engine's pods use, as metrics.k8s.io tells it, and in what state they are: what the autoscaler itself goes by.
//!
//! In:  objects of kind `PodMetrics` and `Pod`, and the requests and limits of their workload's containers.
//! Out: a batch a reading, under the pods' own names: usage at the times at which the kubelets measured, states as read now.
//! Always: a pod that cannot be read is absent and counted, never zero; one that is gone is marked stale at once, and all
//! are once nothing could be read for [`AGE_MS_MAX`].   Limits: [`PODS_MAX`] pods, [`CONTAINERS_MAX`] containers each.
//!
//! Names follow those that OpenTelemetry has for containers of Kubernetes (`k8s_container_cpu_usage`).

mod config;
mod live;
mod object;
mod state;
mod stats;
mod step;

pub use config::Config;
pub use object::{CONTAINERS_MAX, ContainerUsage, PodUsage, Unreadable};
pub use state::PodState;
pub use stats::PodMetricsStats;
pub use step::{AGE_MS_MAX, AHEAD_MS_MAX, JOB, PODS_MAX, PodMetrics, Reading, Whole, Workload};
