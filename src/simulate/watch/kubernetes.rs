//! What Kubernetes tells of the engines: pages of cAdvisor and of kube-state-metrics.
//!
//! Names and labels as kubelet 1.29 and kube-state-metrics 2.10 write them, as far as rules read them.

use std::fmt::Write;

use super::NAMESPACE;
use crate::model::TimestampMs;
use crate::simulate::cluster::{Cluster, Phase, Pod};

/// Name of the container, of the Deployment and of the autoscaler in the shipped manifests.
const ENGINE: &str = "rivet-engine";

/// cAdvisor's page, written over what `page` held.
pub fn cadvisor(page: &mut String, cluster: &Cluster, _now: TimestampMs) {
    page.clear();
    let running = || cluster.pods.iter().filter(|pod| pod.has_process());
    family(page, "container_cpu_usage_seconds_total", "counter", running(), |pod| pod.cpu_seconds);
    family(page, "container_memory_working_set_bytes", "gauge", running(), |pod| pod.memory);
}

fn family<'a>(
    page: &mut String,
    name: &str,
    kind: &str,
    pods: impl Iterator<Item = &'a Pod>,
    value: impl Fn(&Pod) -> f64,
) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(page, "# TYPE {name} {kind}");
    for pod in pods {
        let labels = format!("container=\"{ENGINE}\",namespace=\"{NAMESPACE}\",pod=\"{}\"", pod.name);
        let _ = writeln!(page, "{name}{{{labels}}} {}", value(pod));
    }
}

/// The page of kube-state-metrics, written over what `page` held.
pub fn state(page: &mut String, cluster: &Cluster) {
    page.clear();
    let plan = &cluster.plan;
    let mut line = |name: &str, labels: &str, value: f64| {
        let _ = writeln!(page, "{name}{{namespace=\"{NAMESPACE}\",{labels}}} {value}");
    };
    line("kube_deployment_spec_replicas", &format!("deployment=\"{ENGINE}\""), f64::from(cluster.deployment.replicas));
    for pod in cluster.pods.iter().filter(|pod| pod.phase != Phase::Gone) {
        let of = format!("pod=\"{}\",container=\"{ENGINE}\"", pod.name);
        for (name, cpu, memory) in [
            ("kube_pod_container_resource_requests", plan.cpu_request, plan.memory_request),
            ("kube_pod_container_resource_limits", plan.cpu_limit, plan.memory_limit),
        ] {
            line(name, &format!("{of},resource=\"cpu\",unit=\"core\""), cpu);
            line(name, &format!("{of},resource=\"memory\",unit=\"byte\""), memory);
        }
        line("kube_pod_container_status_restarts_total", &of, f64::from(pod.restarts));
        if pod.restarts > 0 {
            let reason = if pod.oom_killed { "OOMKilled" } else { "Error" };
            let labels = format!("{of},reason=\"{reason}\"");
            line("kube_pod_container_status_last_terminated_reason", &labels, 1.0);
        }
    }
    if let Some(scaler) = &cluster.deployment.autoscaler {
        let of = format!("horizontalpodautoscaler=\"{ENGINE}\"");
        for (metric, target) in [("cpu", scaler.cpu), ("memory", scaler.memory)] {
            let labels = format!("{of},metric_name=\"{metric}\",metric_target_type=\"utilization\"");
            line("kube_horizontalpodautoscaler_spec_target_metric", &labels, target * 100.0);
        }
        let current = cluster.pods.iter().filter(|pod| pod.is_wanted()).count();
        line("kube_horizontalpodautoscaler_spec_min_replicas", &of, f64::from(scaler.min));
        line("kube_horizontalpodautoscaler_spec_max_replicas", &of, f64::from(cluster.replicas_max()));
        line("kube_horizontalpodautoscaler_status_current_replicas", &of, current as f64);
        line("kube_horizontalpodautoscaler_status_desired_replicas", &of, f64::from(cluster.deployment.wanted));
    }
}
