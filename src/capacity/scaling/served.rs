//! What metrics.k8s.io told of the engine's pods, by time: the readings that the autoscaler itself goes by.
//!
//! In:  signals by pod and container.   Out: readings as the controller makes them, and containers with their requests.
//! Always: a pod of which a container lacks a figure has none, as for Kubernetes; what is absent is never zero.
//! Source: `rest_metrics_client.go` of Kubernetes 1.34, `GetResourceMetric`.

use std::collections::{BTreeMap, BTreeSet};

use super::live::{ByPod, Replay, at, milli};
use crate::capacity::CapacityError;
use crate::capacity::hpa::{Container, PodReading, Requests, Resource};
use crate::model::TimestampMs;

/// One signal's values: by pod, container, and time.
type ByContainer = BTreeMap<String, BTreeMap<String, BTreeMap<i64, f64>>>;

/// Everything that metrics.k8s.io tells, with requests by container.
pub(super) struct Served {
    cpu: ByContainer,
    memory: ByContainer,
    cpu_request: ByContainer,
    memory_request: ByContainer,
    /// When each pod was measured, in seconds since the epoch, and over how many seconds.
    time: ByPod,
    window: ByPod,
}

impl Served {
    pub fn read(replay: &Replay<'_>) -> Result<Self, CapacityError> {
        let by_container = |signal: &str| -> Result<ByContainer, CapacityError> {
            let mut out = ByContainer::new();
            for (labels, samples) in replay.series(signal, &["cluster", "namespace"])? {
                let name = |label: &str| labels.get(label).unwrap_or("").to_owned();
                let values = out.entry(name("pod")).or_default().entry(name("container")).or_default();
                values.extend(samples.iter().map(|s| (s.t.0, s.v)));
            }
            Ok(out)
        };
        Ok(Self {
            cpu: by_container("rivet:engine_container_cpu_usage:cores")?,
            memory: by_container("rivet:engine_container_memory_usage:bytes")?,
            cpu_request: by_container("rivet:engine_container_cpu_request:cores")?,
            memory_request: by_container("rivet:engine_container_memory_request:bytes")?,
            time: replay.of_pods("rivet:engine_pod_usage_time:seconds")?,
            window: replay.of_pods("rivet:engine_pod_usage_window:seconds")?,
        })
    }

    /// Whether anything was told at all.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// The pods that were told of at `now`.
    pub fn pods(&self, now: TimestampMs) -> impl Iterator<Item = &String> {
        self.time.iter().filter(move |(_, by_time)| by_time.contains_key(&now.0)).map(|(pod, _)| pod)
    }

    /// A metric's readings at `now`: of one container, else of all containers together.
    pub fn readings(
        &self,
        resource: Resource,
        container: Option<&str>,
        now: TimestampMs,
    ) -> BTreeMap<String, PodReading> {
        let of = |pod: &String| {
            let value = self.usage(resource, pod, container, now)?;
            let at_ms = |values: &ByPod| at(values, pod, now).map(|secs| (secs * 1000.0).round() as i64);
            let window_ms = at_ms(&self.window)?;
            Some((pod.clone(), PodReading { value, at: TimestampMs(at_ms(&self.time)?), window_ms }))
        };
        self.pods(now).filter_map(of).collect()
    }

    /// Each container's thousandths are rounded before they are added up, as quantities are.
    fn usage(&self, resource: Resource, pod: &str, container: Option<&str>, now: TimestampMs) -> Option<i64> {
        let values = match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        };
        match container {
            Some(container) => of_container(values, pod, container, now).map(milli),
            None => {
                let measured = containers_of([&self.cpu, &self.memory], pod, now);
                let of = |container: &str| of_container(values, pod, container, now).map(milli);
                // Nothing adds up to zero, which no pod uses.
                if measured.is_empty() { None } else { measured.into_iter().map(of).sum() }
            }
        }
    }

    /// The containers of a pod, those that are measured and those that ask for something. A pod of which nothing is known
    /// yet has those of the others, since all come from one template.
    pub fn containers(&self, pod: &str, now: TimestampMs) -> Vec<Container> {
        let mut names = containers_of([&self.cpu, &self.memory, &self.cpu_request, &self.memory_request], pod, now);
        if names.is_empty() {
            let requests = [&self.cpu_request, &self.memory_request];
            let pods = requests.into_iter().flat_map(BTreeMap::keys);
            names = pods.flat_map(|other| containers_of(requests, other, now)).collect();
        }
        let container = |name: &str| Container {
            name: name.to_owned(),
            requests: Requests {
                cpu: request(&self.cpu_request, pod, name, now),
                memory: request(&self.memory_request, pod, name, now),
            },
        };
        names.into_iter().map(container).collect()
    }
}

/// Names of the containers of a pod of which any of the signals tells at `now`.
fn containers_of<'a, const N: usize>(signals: [&'a ByContainer; N], pod: &str, now: TimestampMs) -> BTreeSet<&'a str> {
    let of = |signal: &'a ByContainer| signal.get(pod).into_iter().flatten();
    let told =
        |(name, by_time): (&'a String, &BTreeMap<i64, f64>)| by_time.contains_key(&now.0).then_some(name.as_str());
    signals.into_iter().flat_map(of).filter_map(told).collect()
}

fn of_container(values: &ByContainer, pod: &str, container: &str, now: TimestampMs) -> Option<f64> {
    values.get(pod)?.get(container)?.get(&now.0).copied()
}

fn request(values: &ByContainer, pod: &str, container: &str, now: TimestampMs) -> Option<i64> {
    let any = || values.keys().find_map(|other| of_container(values, other, container, now));
    of_container(values, pod, container, now).or_else(any).map(milli)
}
