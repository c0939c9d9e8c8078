//! The twin on the live signals: the last minutes are replayed sync by sync, so that it remembers what the controller does.
//!
//! In:  usage, requests and pods as signals.   Out: what the autoscaler sets now.
//! Always: nothing is kept between reports, so a restart of the agent changes nothing.
//! Limits: where metrics.k8s.io tells nothing, usage is the engine's alone, by the signals over two minutes, and pods without
//! kube-state-metrics count as ready: the result is approximate then, and says so. [`POD_STEPS_MAX`] bounds the work;
//! beyond it syncs are further apart.

use std::collections::BTreeMap;

use super::effective::Effective;
use super::served::Served;
use crate::capacity::CapacityError;
use crate::capacity::hpa::{
    Condition, Container, Controller, HpaSpec, Inputs, MetricSpec, Phase, Pod, PodReading, Reading, Recommendation,
    Requests, Resource, Source, Status, Twin,
};
use crate::capacity::reader::Reader;
use crate::capacity::world::Installation;
use crate::model::{Labels, Matcher, Sample, TimestampMs};
use crate::rivet::limits::ENGINE_CONTAINERS;

/// Pods times syncs that are replayed at most.
const POD_STEPS_MAX: i64 = 200_000;
/// How far back the replay reaches at least, so that a wish or two come before the last.
const WINDOW_MS_MIN: i64 = 60_000;
/// Over how long the signals measure usage: until so long after its start a reading holds the start itself.
const USAGE_WINDOW_MS: i64 = 120_000;

/// What the replay ended with.
#[derive(Clone, Debug)]
pub struct Live {
    pub recommendation: Recommendation,
    /// Pods and their readiness are Kubernetes' own.
    pub knows_pods: bool,
    /// Usage at the last sync is that of metrics.k8s.io.
    pub is_served: bool,
}

/// One signal's values: by pod, then by time.
pub(super) type ByPod = BTreeMap<String, BTreeMap<i64, f64>>;

/// Replays the last minutes of `installation`.
///
/// # Errors
/// A query could not be evaluated.
pub fn replay(
    reader: &Reader<'_>,
    installation: &Installation,
    effective: &Effective,
    controller: &Controller,
) -> Result<Option<Live>, CapacityError> {
    let (from, step_ms) = window(reader.now, installation.engines.len() as i64, effective, controller);
    let replay = Replay { reader, labels: &installation.labels, from, step_ms };
    let seen = Seen::read(&replay, &effective.spec)?;
    if seen.cpu.is_empty() && seen.memory.is_empty() && seen.served.is_empty() {
        return Ok(None);
    }
    let mut twin = Twin::new(effective.spec.clone(), *controller);
    let (mut last, mut previous) = (None, None);
    let mut now = from;
    while now <= reader.now {
        let pods = seen.pods(now, step_ms);
        let alive = pods.iter().filter(|pod| !pod.is_deleted && pod.phase != Phase::Failed).count() as i32;
        let replicas = seen.replicas.get(&now.0).map_or(alive, |v| v.round() as i32);
        if replicas > 0 {
            if let Some(before) = previous.filter(|before| *before != replicas) {
                twin.applied(now, before, replicas);
            }
            previous = Some(replicas);
            let readings = effective.spec.metrics.iter().map(|metric| seen.reading(metric, now)).collect();
            let inputs = Inputs { spec_replicas: replicas, status_replicas: alive, pods, readings };
            last = Some(twin.step(now, &inputs));
        }
        now = now.plus_ms(step_ms);
    }
    let knows_pods = !seen.phases.is_empty();
    let is_served = seen.is_served(reader.now);
    Ok(last.map(|recommendation| Live { recommendation, knows_pods, is_served }))
}

/// Where the replay begins, and how far its syncs are apart; it ends just now.
fn window(now: TimestampMs, engines: i64, effective: &Effective, controller: &Controller) -> (TimestampMs, i64) {
    let mut reach = controller.downscale_stabilization_ms;
    if let Some(behavior) = &effective.spec.behavior {
        for rules in [&behavior.scale_up, &behavior.scale_down] {
            let window = rules.stabilization_window_secs.map_or(0, |secs| i64::from(secs) * 1000);
            let period = rules.policies.iter().map(|p| i64::from(p.period_secs) * 1000).max().unwrap_or(0);
            reach = reach.max(window).max(period);
        }
    }
    let reach = reach.max(WINDOW_MS_MIN) + 2 * controller.sync_period_ms;
    let steps_max = (POD_STEPS_MAX / engines.max(1)).max(2);
    let step_ms = controller.sync_period_ms.max(reach / steps_max);
    (now.plus_ms(-(reach / step_ms) * step_ms), step_ms)
}

pub(super) struct Replay<'a> {
    reader: &'a Reader<'a>,
    labels: &'a Labels,
    from: TimestampMs,
    step_ms: i64,
}

impl Replay<'_> {
    fn matchers(&self, names: &[&str]) -> String {
        let of = |name: &&str| Matcher::equal(*name, self.labels.get(name).unwrap_or("")).to_string();
        names.iter().map(of).collect::<Vec<_>>().join(",")
    }

    pub fn series(&self, signal: &str, names: &[&str]) -> Result<Vec<(Labels, Vec<Sample>)>, CapacityError> {
        let query = format!("{signal}{{{}}}", self.matchers(names));
        self.reader.range(&query, self.from, self.reader.now, self.step_ms)
    }

    /// A signal of engines, by pod, or by instance where there is none.
    fn of_engines(&self, signal: &str) -> Result<ByPod, CapacityError> {
        let series = self.series(signal, &["cluster", "namespace", "job"])?;
        Ok(collect(series, |labels| labels.get("pod").filter(|p| !p.is_empty()).or(labels.get("instance"))))
    }

    /// A signal of pods.
    pub fn of_pods(&self, signal: &str) -> Result<ByPod, CapacityError> {
        Ok(collect(self.series(signal, &["cluster", "namespace"])?, |labels| labels.get("pod")))
    }
}

fn collect(series: Vec<(Labels, Vec<Sample>)>, name: fn(&Labels) -> Option<&str>) -> ByPod {
    let mut out = ByPod::new();
    for (labels, samples) in series {
        let Some(name) = name(&labels) else { continue };
        out.entry(name.to_owned()).or_default().extend(samples.iter().map(|s| (s.t.0, s.v)));
    }
    out
}

pub(super) fn at(values: &ByPod, pod: &str, now: TimestampMs) -> Option<f64> {
    values.get(pod)?.get(&now.0).copied()
}

/// Everything the replay reads, by pod and time.
struct Seen {
    up: ByPod,
    cpu: ByPod,
    memory: ByPod,
    cpu_request: ByPod,
    memory_request: ByPod,
    /// By pod and phase; empty without kube-state-metrics.
    phases: BTreeMap<String, BTreeMap<i64, Phase>>,
    ready: ByPod,
    ready_time: ByPod,
    start_time: ByPod,
    deleted: ByPod,
    replicas: BTreeMap<i64, f64>,
    served: Served,
    /// Name of the engine's container: that of the object's metrics, where they name it.
    engine: String,
    /// When the replay begins.
    from: TimestampMs,
}

impl Seen {
    fn read(replay: &Replay<'_>, spec: &HpaSpec) -> Result<Self, CapacityError> {
        let mut phases: BTreeMap<String, BTreeMap<i64, Phase>> = BTreeMap::new();
        for (labels, samples) in replay.series("rivet:engine_pod_phase:info", &["cluster", "namespace"])? {
            let phase = match labels.get("phase") {
                Some("Running") => Phase::Running,
                Some("Pending") => Phase::Pending,
                Some("Succeeded") => Phase::Succeeded,
                Some("Failed") => Phase::Failed,
                _ => Phase::Unknown,
            };
            let pod = labels.get("pod").unwrap_or("").to_owned();
            phases.entry(pod).or_default().extend(samples.iter().map(|s| (s.t.0, phase)));
        }
        let replicas = replay.series("rivet:autoscaler_replicas:count", &["cluster", "namespace"])?;
        let replicas = replicas.into_iter().flat_map(|(_, samples)| samples).map(|s| (s.t.0, s.v)).collect();
        Ok(Self {
            up: replay.of_engines("rivet:engine_up:bool")?,
            cpu: replay.of_engines("rivet:cpu_usage:cores")?,
            memory: replay.of_engines("rivet:memory_usage:bytes")?,
            cpu_request: replay.of_engines("rivet:cpu_request:cores")?,
            memory_request: replay.of_engines("rivet:memory_request:bytes")?,
            phases,
            ready: replay.of_pods("rivet:engine_pod_ready:bool")?,
            ready_time: replay.of_pods("rivet:engine_pod_ready_time:seconds")?,
            start_time: replay.of_pods("rivet:engine_pod_start_time:seconds")?,
            deleted: replay.of_pods("rivet:engine_pod_deleted:bool")?,
            replicas,
            served: Served::read(replay)?,
            engine: engine_container(spec),
            from: replay.from,
        })
    }

    /// Whether the usage of a sync is that of metrics.k8s.io.
    fn is_served(&self, now: TimestampMs) -> bool {
        self.served.is_told(now)
    }

    /// The pods at one sync: Kubernetes' own, else those that are measured or seen, which count as ready since they are.
    fn pods(&self, now: TimestampMs, step_ms: i64) -> Vec<Pod> {
        let of_kubernetes: Vec<(&String, Phase)> =
            self.phases.iter().filter_map(|(pod, by_time)| by_time.get(&now.0).map(|phase| (pod, *phase))).collect();
        if !of_kubernetes.is_empty() {
            return of_kubernetes.into_iter().map(|(name, phase)| self.pod(name, phase, now)).collect();
        }
        let mut names: Vec<&String> = self.served.pods(now).collect();
        if names.is_empty() {
            names = [&self.up, &self.cpu, &self.memory]
                .into_iter()
                .flat_map(|values| values.iter().filter(|(_, by_time)| by_time.get(&now.0).is_some_and(|v| *v >= 0.0)))
                .map(|(name, _)| name)
                .collect();
            names.sort();
            names.dedup();
        }
        let pod = |name: &&String| {
            let since = self.up_since(name, now, step_ms);
            let ready = Some(Condition { status: Status::True, since });
            Pod { started: Some(since), ready, ..self.pod(name, Phase::Running, now) }
        };
        // An engine that is down is a pod without metrics, if it is one at all; it is not counted.
        names.iter().filter(|name| at(&self.up, name, now) != Some(0.0)).map(pod).collect()
    }

    /// Since when an engine has been up without a break; long ago where that is before the replay, or not known.
    fn up_since(&self, name: &str, now: TimestampMs, step_ms: i64) -> TimestampMs {
        let long_ago = now.plus_ms(-86_400_000);
        let Some(by_time) = self.up.get(name) else { return long_ago };
        let mut since = now.0;
        for (at, up) in by_time.range(..=now.0).rev() {
            if *up <= 0.0 || since - at > step_ms {
                return TimestampMs(since);
            }
            since = *at;
        }
        if since == self.from.0 { long_ago } else { TimestampMs(since) }
    }

    fn pod(&self, name: &str, phase: Phase, now: TimestampMs) -> Pod {
        let time = |values: &ByPod| at(values, name, now).map(|secs| TimestampMs((secs * 1000.0) as i64));
        let status = match at(&self.ready, name, now) {
            Some(v) if v > 0.0 => Some(Status::True),
            Some(_) => Some(Status::False),
            None => None,
        };
        let started = time(&self.start_time);
        // kube-state-metrics tells the time only of pods that are ready, Kubernetes' API of all.
        let since = time(&self.ready_time).or(started).unwrap_or(now);
        let containers = match self.is_served(now) {
            true => self.served.containers(name, now),
            // The signals tell of the engine's container alone.
            false => {
                let cpu = self.request(&self.cpu_request, name, now);
                let requests = Requests { cpu, memory: self.request(&self.memory_request, name, now) };
                vec![Container { name: self.engine.clone(), requests }]
            }
        };
        Pod {
            name: name.to_owned(),
            phase,
            is_deleted: at(&self.deleted, name, now).is_some_and(|v| v > 0.0),
            started,
            ready: status.map(|status| Condition { status, since }),
            containers,
            pod_level: None,
        }
    }

    /// A pod's request; of one that has not been seen yet, that of any other, since all come from one template.
    fn request(&self, requests: &ByPod, pod: &str, now: TimestampMs) -> Option<i64> {
        let any = || requests.keys().find_map(|other| at(requests, other, now));
        at(requests, pod, now).or_else(any).map(milli)
    }

    fn reading(&self, metric: &MetricSpec, now: TimestampMs) -> Reading {
        let Source::Resource { resource, container } = &metric.source else {
            return Reading::Unavailable(format!("{} is not seen by the agent", metric.name()));
        };
        if self.is_served(now) {
            return Reading::PerPod(self.served.readings(*resource, container.as_deref(), now));
        }
        if container.as_ref().is_some_and(|container| *container != self.engine) {
            return Reading::Unavailable(format!("{} is not seen without metrics.k8s.io", metric.name()));
        }
        let values = match resource {
            Resource::Cpu => &self.cpu,
            Resource::Memory => &self.memory,
        };
        let reading = |v: f64| PodReading { value: milli(v), at: now, window_ms: USAGE_WINDOW_MS };
        let of = |pod: &String| at(values, pod, now).map(|v| (pod.clone(), reading(v)));
        Reading::PerPod(values.keys().filter_map(of).collect())
    }
}

/// The name by which the object's metrics call the engine's container.
fn engine_container(spec: &HpaSpec) -> String {
    let named = spec.metrics.iter().find_map(|metric| match &metric.source {
        Source::Resource { container: Some(name), .. } if ENGINE_CONTAINERS.contains(&name.as_str()) => {
            Some(name.clone())
        }
        _ => None,
    });
    named.unwrap_or_else(|| ENGINE_CONTAINERS[0].to_owned())
}

/// Thousandths, rounded up as Kubernetes rounds quantities: of cores they are told in billionths, so that less than one of
/// those is the error of a float.
pub(super) fn milli(value: f64) -> i64 {
    (value * 1000.0 - 1e-7).ceil() as i64
}
