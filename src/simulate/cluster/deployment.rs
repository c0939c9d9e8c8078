//! The Deployment and its autoscaler: how many pods there are to be, and which are replaced.

use std::collections::VecDeque;

use super::pod::{Phase, Pod};
use crate::model::TimestampMs;
use crate::simulate::engine::Release;
use crate::simulate::scenario::Autoscaler;

/// How often the autoscaler looks.
const AUTOSCALER_MS: i64 = 15_000;
/// It scales down only to the most that it wanted within this time.
const STABILISATION_MS: i64 = 5 * 60_000;

/// Within this share of the target the autoscaler leaves the replicas alone (kube-controller-manager's default).
const TOLERANCE: f64 = 0.1;

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
    recommendations: VecDeque<(TimestampMs, u32)>,
    looked_at: Option<TimestampMs>,
}

impl Deployment {
    /// As it is when the scenario begins.
    pub fn new(replicas: u32, release: Release, autoscaler: Option<Autoscaler>) -> Self {
        Self {
            replicas,
            release,
            template: 0,
            autoscaler,
            wanted: replicas,
            recommendations: VecDeque::new(),
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
        let Some(scaler) = self.autoscaler else { return };
        if self.looked_at.is_some_and(|last| now.since(last) < AUTOSCALER_MS) {
            return;
        }
        self.looked_at = Some(now);
        let ready: Vec<&Pod> = pods.iter().filter(|pod| pod.is_ready()).collect();
        if ready.is_empty() {
            return;
        }
        let wanted = |of: fn(&Pod) -> f64, request: f64, target: f64| {
            let sum = ready.iter().map(|pod| of(pod)).sum::<f64>() / request;
            // Pods that are not ready yet count as idle when it would scale up, and not at all otherwise.
            let up = wanted_replicas(self.replicas, sum / f64::from(self.replicas.max(1)), target);
            let down = wanted_replicas(self.replicas, sum / ready.len() as f64, target);
            if up > self.replicas { up } else { down.min(self.replicas) }
        };
        let cpu = wanted(|pod| pod.cpu_cores, cpu_request, scaler.cpu);
        let memory = wanted(|pod| pod.memory, memory_request, scaler.memory);
        // Kubernetes' default policy: at most the double, or four more, at a time.
        let step_up = (self.replicas * 2).max(self.replicas + 4);
        let most = most.min(scaler.max).max(scaler.min);
        self.wanted = cpu.max(memory).min(step_up).clamp(scaler.min, most);
        self.recommendations.push_back((now, self.wanted));
        while self.recommendations.front().is_some_and(|(at, _)| now.since(*at) > STABILISATION_MS) {
            self.recommendations.pop_front();
        }
        let recent = self.recommendations.iter().map(|(_, n)| *n).max().unwrap_or(self.wanted);
        self.replicas = if self.wanted >= self.replicas { self.wanted } else { recent.min(self.replicas) };
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

/// Replicas for `current` at `utilization` of their requests: `ceil(current × utilization / target)`, and `current` within
/// the tolerance.
///
/// Not capacity's twin, so that the twin is judged by something else than itself.
fn wanted_replicas(current: u32, utilization: f64, target: f64) -> u32 {
    let ratio = utilization / target;
    if (ratio - 1.0).abs() <= TOLERANCE {
        return current;
    }
    // A rounding error of the division must not add a replica.
    (f64::from(current) * ratio * (1.0 - 1e-12)).ceil().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// How long a new pod waits for its place and its image.
pub fn pending(now: TimestampMs, seconds: f64) -> Phase {
    Phase::Pending { until: now.plus_ms((seconds * 1000.0) as i64) }
}
