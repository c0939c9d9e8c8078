//! What the agent's own reading of the host tells of an engine, under the names of `receive::host`.
//!
//! The reading itself reads files; this is the same batch without them. A test holds the names against a real reading.

use crate::model::{LabelsBuilder, METRIC_NAME, TimestampMs, Value, stale_nan};
use crate::receive::identity::Identity;
use crate::simulate::cluster::{Cluster, Pod};
use crate::simulate::scenario::Backend;
use crate::storage::{Batch, Point};

/// The machine: as many CPUs as the limit of the plan, twice its memory.
const MEMORY_OF_LIMIT: f64 = 2.0;
/// Where RocksDB keeps its data.
const DATA_DIRECTORY: &str = "/var/lib/rivet";

/// The host series of one engine.
#[derive(Debug, Default)]
pub struct HostSeries {
    last: Vec<Point>,
}

impl HostSeries {
    /// One reading.
    pub fn batch(&mut self, identity: &Identity, pod: &Pod, cluster: &Cluster, now: TimestampMs) -> Batch {
        let plan = &cluster.plan;
        let mut points = Vec::new();
        let mut add = |name: &str, more: &[(&str, &str)], value: f64| {
            let mut labels = LabelsBuilder::default();
            for (name, value) in more {
                labels.set(*name, *value);
            }
            identity.stamp(&mut labels);
            let labels = labels.set(METRIC_NAME, name).build();
            points.push(Point { labels, t: now, value: Value::Float(value) });
        };
        add("system_cpu_logical_count", &[], plan.cpu_limit.ceil());
        add("system_memory_limit_bytes", &[], plan.memory_limit * MEMORY_OF_LIMIT);
        add("system_memory_usage_bytes", &[], pod.memory + 0.2 * plan.memory_limit);
        if pod.has_process() {
            for (mode, share) in [("user", 0.8), ("system", 0.2)] {
                add("process_cpu_time_seconds_total", &[("cpu_mode", mode)], pod.cpu_seconds * share);
            }
            add("process_memory_usage_bytes", &[], pod.memory);
            add("process_start_time_seconds", &[], pod.engine.started().as_secs_f64());
            add("k8s_container_restart_count", &[], f64::from(pod.restarts));
        }
        add("k8s_container_cpu_request", &[], plan.cpu_request);
        add("k8s_container_cpu_limit", &[], plan.cpu_limit);
        add("k8s_container_memory_request_bytes", &[], plan.memory_request);
        add("k8s_container_memory_limit_bytes", &[], plan.memory_limit);
        if plan.backend == Backend::RocksDb {
            let mount = ("mountpoint", DATA_DIRECTORY);
            let free = cluster.disk_free;
            for (state, bytes) in [("free", free), ("used", plan.disk - free)] {
                add("system_filesystem_usage_bytes", &[("state", state), mount], bytes);
            }
            add("system_filesystem_limit_bytes", &[mount], plan.disk);
        }
        let gone = self.last.iter().filter(|last| !points.iter().any(|p: &Point| p.labels == last.labels));
        let stale: Vec<Point> =
            gone.map(|p| Point { labels: p.labels.clone(), t: now, value: Value::Float(stale_nan()) }).collect();
        self.last = points.clone();
        points.extend(stale);
        Batch { points, ..Batch::default() }
    }
}
