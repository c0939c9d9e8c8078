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
type ByContainer = BTreeMap<String, ByName>;
/// One signal's values of one pod: by container and time.
type ByName = BTreeMap<String, BTreeMap<i64, f64>>;

/// Everything that metrics.k8s.io tells, with requests by container.
pub(super) struct Served {
    cpu: ByContainer,
    memory: ByContainer,
    cpu_request: ByContainer,
    memory_request: ByContainer,
    /// What a container of any pod asks for, since all pods come from one template.
    cpu_template: ByName,
    memory_template: ByName,
    /// When each pod was measured, in seconds since the epoch, and over how many seconds.
    time: ByPod,
    window: ByPod,
    /// The times at which any pod was told of.
    told: BTreeSet<i64>,
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
        let cpu_request = by_container("rivet:engine_container_cpu_request:cores")?;
        let memory_request = by_container("rivet:engine_container_memory_request:bytes")?;
        let time = replay.of_pods("rivet:engine_pod_usage_time:seconds")?;
        Ok(Self {
            cpu: by_container("rivet:engine_container_cpu_usage:cores")?,
            memory: by_container("rivet:engine_container_memory_usage:bytes")?,
            cpu_template: template(&cpu_request),
            memory_template: template(&memory_request),
            cpu_request,
            memory_request,
            told: time.values().flat_map(BTreeMap::keys).copied().collect(),
            time,
            window: replay.of_pods("rivet:engine_pod_usage_window:seconds")?,
        })
    }

    /// Whether anything was told at all.
    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Whether any pod was told of at `now`.
    pub fn is_told(&self, now: TimestampMs) -> bool {
        self.told.contains(&now.0)
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
            names = told_of([&self.cpu_template, &self.memory_template], now);
        }
        let container = |name: &str| Container {
            name: name.to_owned(),
            requests: Requests {
                cpu: request(&self.cpu_request, &self.cpu_template, pod, name, now),
                memory: request(&self.memory_request, &self.memory_template, pod, name, now),
            },
        };
        names.into_iter().map(container).collect()
    }
}

/// The values of the first pod that has any, by container and time.
fn template(values: &ByContainer) -> ByName {
    let mut out = ByName::new();
    for (container, by_time) in values.values().flatten() {
        let known = out.entry(container.clone()).or_default();
        for (at, value) in by_time {
            known.entry(*at).or_insert(*value);
        }
    }
    out
}

/// Names of the containers of a pod of which any of the signals tells at `now`.
fn containers_of<'a, const N: usize>(signals: [&'a ByContainer; N], pod: &str, now: TimestampMs) -> BTreeSet<&'a str> {
    told_of(signals.into_iter().filter_map(|signal| signal.get(pod)), now)
}

fn told_of<'a>(signals: impl IntoIterator<Item = &'a ByName>, now: TimestampMs) -> BTreeSet<&'a str> {
    let told =
        |(name, by_time): (&'a String, &BTreeMap<i64, f64>)| by_time.contains_key(&now.0).then_some(name.as_str());
    signals.into_iter().flatten().filter_map(told).collect()
}

fn of_container(values: &ByContainer, pod: &str, container: &str, now: TimestampMs) -> Option<f64> {
    values.get(pod)?.get(container)?.get(&now.0).copied()
}

fn request(values: &ByContainer, template: &ByName, pod: &str, container: &str, now: TimestampMs) -> Option<i64> {
    let of_any = || template.get(container)?.get(&now.0).copied();
    of_container(values, pod, container, now).or_else(of_any).map(milli)
}
