//! From readings to a number of replicas, for one metric.
//!
//! In:  the pods and one metric's readings.   Out: replicas that this metric asks for, or why it cannot say.
//! Always: integers where Kubernetes counts in integers (percent are cut off, not rounded), floats where it does.
//! Source: Kubernetes, "Horizontal Pod Autoscaling", algorithm details; `replica_calculator.go` of 1.34.

use std::collections::{BTreeMap, BTreeSet};

use super::spec::{Controller, MetricSpec, Resource, Source, Target, Tolerances};
use crate::model::TimestampMs;

/// What the autoscaler sees at one sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    /// `spec.replicas` of the target.
    pub spec_replicas: i32,
    /// `status.replicas` of the target.
    pub status_replicas: i32,
    /// Pods of the target's selector.
    pub pods: Vec<Pod>,
    /// One for each entry of the spec's `metrics`, in order.
    pub readings: Vec<Reading>,
}

/// A pod of the target.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    pub phase: Phase,
    /// A deletion timestamp is set.
    pub is_deleted: bool,
    pub started: Option<TimestampMs>,
    /// The condition `Ready`.
    pub ready: Option<Condition>,
    /// Containers, restartable init containers among them.
    pub containers: Vec<Container>,
    /// Requests of the pod as a whole, which win over those of its containers.
    pub pod_level: Option<Requests>,
}

/// `status.phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
    Unknown,
}

/// A condition and its last transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub status: Status,
    pub since: TimestampMs,
}

/// A condition's status; `Unknown` is not `False`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    True,
    False,
    Unknown,
}

/// A container and what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub requests: Requests,
}

/// Thousandths of a core and of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub cpu: Option<i64>,
    pub memory: Option<i64>,
}

impl Requests {
    fn of(self, resource: Resource) -> Option<i64> {
        match resource {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
        }
    }
}

/// The values of one metric, in thousandths.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// By name of the pod.
    PerPod(BTreeMap<String, PodReading>),
    /// The value of an object, or the sum over the series of an external metric.
    Total(i64),
    /// The metrics API gave no answer.
    Unavailable(String),
}

/// One pod's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodReading {
    pub value: i64,
    pub at: TimestampMs,
    /// Over how long it was measured.
    pub window_ms: i64,
}

/// What one metric asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub replicas: i32,
    /// Percent for a utilisation target, else thousandths, as the object's status shows it.
    pub current: i64,
}

/// What is the same for every metric of one sync.
#[derive(Clone, Copy)]
pub(super) struct Sync<'a> {
    pub now: TimestampMs,
    pub inputs: &'a Inputs,
    pub controller: &'a Controller,
    pub tolerances: Tolerances,
}

/// Replicas that `metric` asks for.
///
/// # Errors
/// In words: the metric is missing, no ready pod has it, a request is missing, or the target fits no such metric.
pub(super) fn propose(sync: &Sync<'_>, metric: &MetricSpec, reading: &Reading) -> Result<Proposal, String> {
    match (&metric.source, metric.target, reading) {
        (_, _, Reading::Unavailable(why)) => Err(why.clone()),
        (Source::Resource { resource, container }, Target::Utilization(percent), Reading::PerPod(values)) => {
            let requests = || requests(&sync.inputs.pods, *resource, container.as_deref());
            per_pod(sync, values, *resource == Resource::Cpu, &Goal::Utilization { percent, requests: &requests })
        }
        (Source::Resource { resource, .. }, Target::AverageValue(value), Reading::PerPod(values)) => {
            per_pod(sync, values, *resource == Resource::Cpu, &Goal::Average(value))
        }
        (Source::Pods { .. }, Target::AverageValue(value), Reading::PerPod(values)) => {
            per_pod(sync, values, false, &Goal::Average(value))
        }
        (Source::Object { .. } | Source::External { .. }, Target::Value(target), Reading::Total(value)) => {
            whole(sync, *value, target)
        }
        (Source::Object { .. } | Source::External { .. }, Target::AverageValue(target), Reading::Total(value)) => {
            Ok(shared(sync, *value, target))
        }
        _ => Err(format!("the target and the reading of {} do not fit each other", metric.name())),
    }
}

/// Where each pod is wanted.
enum Goal<'a> {
    Utilization { percent: i32, requests: &'a dyn Fn() -> Result<BTreeMap<String, i64>, String> },
    Average(i64),
}

fn per_pod(
    sync: &Sync<'_>,
    readings: &BTreeMap<String, PodReading>,
    is_cpu: bool,
    goal: &Goal<'_>,
) -> Result<Proposal, String> {
    let groups = Groups::of(sync, readings, is_cpu);
    let mut values: BTreeMap<&str, i64> = readings.iter().map(|(name, r)| (name.as_str(), r.value)).collect();
    values.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if values.is_empty() {
        return Err("no metrics of ready pods".into());
    }
    let requests = match goal {
        Goal::Utilization { requests, .. } => requests()?,
        Goal::Average(_) => BTreeMap::new(),
    };
    let ratio = |values: &BTreeMap<&str, i64>| match goal {
        Goal::Utilization { percent, .. } => utilization(values, &requests, *percent),
        Goal::Average(target) => {
            let sum: i128 = values.values().map(|v| i128::from(*v)).sum();
            let mean = (sum / values.len() as i128) as i64;
            Ok((mean as f64 / *target as f64, mean))
        }
    };
    let (first, current) = ratio(&values)?;
    let keep = Proposal { replicas: sync.inputs.spec_replicas, current };
    let with_unready = !groups.unready.is_empty() && first > 1.0;
    if !with_unready && groups.missing.is_empty() {
        if sync.tolerances.hold(first) {
            return Ok(keep);
        }
        return Ok(Proposal { replicas: ceil(first * f64::from(groups.ready)), current });
    }
    // Who is not measured is assumed to be where it holds the change back: full on the way down, idle on the way up.
    for name in &groups.missing {
        let assumed = match goal {
            _ if first > 1.0 => 0,
            _ if first == 1.0 => continue,
            Goal::Utilization { percent, .. } => {
                requests.get(*name).copied().unwrap_or(0) * i64::from((*percent).max(100)) / 100
            }
            Goal::Average(target) => *target,
        };
        values.insert(name, assumed);
    }
    if with_unready {
        values.extend(groups.unready.iter().map(|name| (*name, 0)));
    }
    let (second, _) = ratio(&values)?;
    let turned = (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0);
    if sync.tolerances.hold(second) || turned {
        return Ok(keep);
    }
    let replicas = ceil(second * values.len() as f64);
    let spec_replicas = sync.inputs.spec_replicas;
    // The pods that were added to the count may turn the direction once more.
    if (second < 1.0 && replicas > spec_replicas) || (second > 1.0 && replicas < spec_replicas) {
        return Ok(keep);
    }
    Ok(Proposal { replicas, current })
}

/// Ratio to the target, and the utilisation in whole percent, cut off.
fn utilization(
    values: &BTreeMap<&str, i64>,
    requests: &BTreeMap<String, i64>,
    target: i32,
) -> Result<(f64, i64), String> {
    let known = values.iter().filter_map(|(name, value)| requests.get(*name).map(|request| (*value, *request)));
    let (used, asked) =
        known.fold((0i128, 0i128), |(u, a), (value, request)| (u + i128::from(value), a + i128::from(request)));
    if asked == 0 {
        return Err("no metrics of pods with a request".into());
    }
    let percent = i32::try_from(used * 100 / asked).unwrap_or(i32::MAX);
    Ok((f64::from(percent) / f64::from(target), i64::from(percent)))
}

/// An object's or external value against a target for the whole.
fn whole(sync: &Sync<'_>, value: i64, target: i64) -> Result<Proposal, String> {
    let ratio = value as f64 / target as f64;
    let spec_replicas = sync.inputs.spec_replicas;
    let replicas = if spec_replicas == 0 {
        ceil(ratio)
    } else if sync.tolerances.hold(ratio) {
        spec_replicas
    } else {
        if sync.inputs.pods.is_empty() {
            return Err("the target has no pods".into());
        }
        let is_ready = |pod: &&Pod| {
            pod.phase == Phase::Running && pod.ready.is_some_and(|condition| condition.status == Status::True)
        };
        let ready = sync.inputs.pods.iter().filter(is_ready).count();
        ceil(ratio * ready as f64)
    };
    Ok(Proposal { replicas, current: value })
}

/// An object's or external value against a target for each replica.
fn shared(sync: &Sync<'_>, value: i64, target: i64) -> Proposal {
    let count = sync.inputs.status_replicas;
    let ratio = value as f64 / (target as f64 * f64::from(count));
    let replicas = if sync.tolerances.hold(ratio) { count } else { ceil(value as f64 / target as f64) };
    let current = (value as f64 / f64::from(count)).ceil() as i64;
    Proposal { replicas, current }
}

/// Rounds up; what does not fit is the largest number.
fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

/// Requests by pod.
fn requests(pods: &[Pod], resource: Resource, container: Option<&str>) -> Result<BTreeMap<String, i64>, String> {
    let mut out = BTreeMap::new();
    for pod in pods {
        let request = match (container, &pod.pod_level) {
            (None, Some(level)) => level.of(resource).ok_or_else(|| missing_request(resource, "", &pod.name))?,
            (None, None) => {
                let of = |c: &Container| {
                    c.requests.of(resource).ok_or_else(|| missing_request(resource, &c.name, &pod.name))
                };
                pod.containers.iter().map(of).sum::<Result<i64, String>>()?
            }
            (Some(name), _) => {
                let found = pod.containers.iter().find(|c| c.name == name);
                let found = found.ok_or_else(|| format!("container {name} is not in pod {}", pod.name))?;
                found.requests.of(resource).ok_or_else(|| missing_request(resource, name, &pod.name))?
            }
        };
        out.insert(pod.name.clone(), request);
    }
    Ok(out)
}

fn missing_request(resource: Resource, container: &str, pod: &str) -> String {
    let of = if container.is_empty() { String::new() } else { format!("container {container} of ") };
    format!("no request for {} in {of}pod {pod}", resource.as_str())
}

/// The pods by how they count.
struct Groups<'a> {
    ready: i32,
    /// Pending, or by its CPU not to be trusted yet.
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    /// Being deleted, or failed.
    ignored: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    fn of(sync: &Sync<'a>, readings: &BTreeMap<String, PodReading>, is_cpu: bool) -> Self {
        let mut groups =
            Self { ready: 0, unready: BTreeSet::new(), missing: BTreeSet::new(), ignored: BTreeSet::new() };
        for pod in &sync.inputs.pods {
            let name = pod.name.as_str();
            let group = match readings.get(name) {
                _ if pod.is_deleted || pod.phase == Phase::Failed => &mut groups.ignored,
                _ if pod.phase == Phase::Pending => &mut groups.unready,
                None => &mut groups.missing,
                Some(reading) if is_cpu && is_unready(sync, pod, reading) => &mut groups.unready,
                Some(_) => {
                    groups.ready += 1;
                    continue;
                }
            };
            group.insert(name);
        }
        groups
    }
}

/// Whether a pod's CPU is not to be trusted: it starts up, or has never been ready.
fn is_unready(sync: &Sync<'_>, pod: &Pod, reading: &PodReading) -> bool {
    let (Some(started), Some(ready)) = (pod.started, pod.ready) else { return true };
    let is_false = ready.status == Status::False;
    if started.plus_ms(sync.controller.cpu_initialization_ms) > sync.now {
        // One whole window must lie after the last change of readiness.
        is_false || reading.at < ready.since.plus_ms(reading.window_ms)
    } else {
        is_false && started.plus_ms(sync.controller.initial_readiness_delay_ms) > ready.since
    }
}
