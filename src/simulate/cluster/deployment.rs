//! The Deployment and its autoscaler, which is capacity's twin: how many pods there are to be, and which are replaced.

use super::pod::{Phase, Pod};
use crate::capacity::hpa::{
    self, Condition, Container, Controller, HpaSpec, Inputs, MetricSpec, PodReading, Reading, Requests, Resource,
    Status, Twin,
};
use crate::model::TimestampMs;
use crate::simulate::engine::Release;
use crate::simulate::scenario::Autoscaler;

/// How long a reading of the metrics server covers.
const METRICS_WINDOW_MS: i64 = 30_000;

/// What the Deployment asks for.
#[derive(Debug)]
pub struct Deployment {
    pub replicas: u32,
    pub release: Release,
    /// Number of the rollout.
    pub template: u32,
    pub autoscaler: Option<Autoscaler>,
    /// What the autoscaler wants now.
    pub wanted: u32,
    twin: Option<Twin>,
    looked_at: Option<TimestampMs>,
}

impl Deployment {
    /// As it is when the scenario begins.
    pub fn new(replicas: u32, release: Release, autoscaler: Option<Autoscaler>) -> Self {
        let twin = |scaler: Autoscaler| {
            let percent = |share: f64| (share * 100.0).round() as i32;
            let metrics = vec![
                MetricSpec::utilization(Resource::Cpu, percent(scaler.cpu)),
                MetricSpec::utilization(Resource::Memory, percent(scaler.memory)),
            ];
            let (min_replicas, max_replicas) = (scaler.min as i32, scaler.max as i32);
            Twin::new(HpaSpec { min_replicas, max_replicas, metrics, behavior: None }, Controller::default())
        };
        Self {
            replicas,
            release,
            template: 0,
            autoscaler,
            wanted: replicas,
            twin: autoscaler.map(twin),
            looked_at: None,
        }
    }

    /// Replaces every pod, by pods of `release` where one is given.
    pub fn roll_out(&mut self, release: Option<Release>) {
        self.template += 1;
        self.release = release.unwrap_or(self.release);
    }

    /// Lets the autoscaler look; `most` is the most replicas that it may ask for now.
    pub fn autoscale(&mut self, now: TimestampMs, pods: &[Pod], cpu_request: f64, memory_request: f64, most: u32) {
        let Some(twin) = &mut self.twin else { return };
        if self.looked_at.is_some_and(|last| now.since(last) < Controller::default().sync_period_ms) {
            return;
        }
        self.looked_at = Some(now);
        let milli = |amount: f64| (amount * 1000.0) as i64;
        let requests = Requests { cpu: Some(milli(cpu_request)), memory: Some(milli(memory_request)) };
        let readings = |of: fn(&Pod) -> f64| {
            let reading = |pod: &Pod| PodReading { value: milli(of(pod)), at: now, window_ms: METRICS_WINDOW_MS };
            let measured = pods.iter().filter(|pod| pod.has_process());
            Reading::PerPod(measured.map(|pod| (pod.name.clone(), reading(pod))).collect())
        };
        let inputs = Inputs {
            spec_replicas: self.replicas as i32,
            status_replicas: pods.iter().filter(|pod| pod.is_wanted()).count() as i32,
            pods: pods.iter().map(|pod| seen(pod, requests)).collect(),
            readings: vec![readings(|pod| pod.cpu_cores), readings(|pod| pod.memory)],
        };
        let desired = twin.step(now, &inputs).desired.max(0) as u32;
        self.wanted = desired.min(most.max(1));
        twin.applied(now, self.replicas as i32, self.wanted as i32);
        self.replicas = self.wanted;
    }

    /// The pods to create now: as many as are missing, one more than there are to be while some are replaced.
    pub fn missing(&self, pods: &[Pod]) -> u32 {
        let alive = pods.iter().filter(|pod| pod.is_wanted()).count() as u32;
        let new = pods.iter().filter(|pod| pod.is_wanted() && pod.template == self.template).count() as u32;
        let surge = u32::from(new < alive);
        (self.replicas + surge).saturating_sub(alive).min(self.replicas.saturating_sub(new))
    }

    /// The index of a pod to end now: an old one once enough are ready, else the youngest of too many.
    pub fn surplus(&self, pods: &[Pod]) -> Option<usize> {
        let wanted = |pod: &&Pod| pod.is_wanted();
        let alive = pods.iter().filter(wanted).count() as u32;
        let ready = pods.iter().filter(|pod| pod.is_ready()).count() as u32;
        let old = pods.iter().position(|pod| pod.is_wanted() && pod.template != self.template);
        match old {
            Some(old) if ready > self.replicas || !pods[old].is_ready() && alive > self.replicas => Some(old),
            Some(_) => None,
            None if alive > self.replicas => {
                // Those that are not ready go first, then the youngest.
                let rank = |(_, pod): &(usize, &Pod)| (!pod.is_ready(), pod.number);
                let among = pods.iter().enumerate().filter(|(_, pod)| pod.is_wanted());
                among.max_by_key(rank).map(|(i, _)| i)
            }
            None => None,
        }
    }
}

/// A pod as the autoscaler sees it.
fn seen(pod: &Pod, requests: Requests) -> hpa::Pod {
    let status = if pod.is_ready() { Status::True } else { Status::False };
    hpa::Pod {
        name: pod.name.clone(),
        phase: match pod.phase {
            Phase::Pending { .. } => hpa::Phase::Pending,
            _ => hpa::Phase::Running,
        },
        is_deleted: !pod.is_wanted(),
        started: Some(pod.created),
        ready: Some(Condition { status, since: pod.ready_since.unwrap_or(pod.created) }),
        containers: vec![Container { name: "rivet-engine".into(), requests }],
        pod_level: None,
    }
}

/// How long a new pod waits for its place and its image.
pub fn pending(now: TimestampMs, seconds: f64) -> Phase {
    Phase::Pending { until: now.plus_ms((seconds * 1000.0) as i64) }
}
