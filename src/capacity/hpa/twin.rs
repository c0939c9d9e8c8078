//! The autoscaler as a step machine.
//!
//! In:  what the controller sees at one sync.   Out: the replicas it would set, and why.
//! Always: time is a parameter; [`Twin::step`] changes only the memory of recommendations, and a change of replicas is
//! remembered when the caller says that it took place ([`Twin::applied`]).
//! Source: `horizontal.go` of Kubernetes 1.34, `reconcileAutoscaler` and below.

use serde::Serialize;

use super::pods::{Inputs, Proposal, Reading, Sync, propose};
use super::rates::{Events, down_limit, up_limit, up_limit_without_behavior};
use super::spec::{Behavior, Controller, HpaSpec};
use crate::model::TimestampMs;

/// An autoscaler that watches and sets nothing.
#[derive(Clone, Debug)]
pub struct Twin {
    spec: HpaSpec,
    controller: Controller,
    /// What the metrics asked for at earlier syncs, oldest first.
    recommendations: Vec<(TimestampMs, i32)>,
    events: Events,
}

/// What the autoscaler does at one sync.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    pub current: i32,
    /// Replicas it sets; `current` where it leaves them alone.
    pub desired: i32,
    /// What the metrics ask for before patience, rates and bounds; `None` where they were not asked or cannot say.
    pub wanted: Option<i32>,
    /// What patience made of it.
    pub stabilized: Option<i32>,
    /// What held the change back, or that nothing did.
    pub reason: Reason,
    /// One for each metric of the spec, in order.
    pub metrics: Vec<Result<Proposal, String>>,
}

impl Recommendation {
    /// The metric that asks for the most, by its place in the spec.
    pub fn deciding(&self) -> Option<usize> {
        let asked = self.metrics.iter().enumerate().filter_map(|(at, m)| m.as_ref().ok().map(|p| (at, p.replicas)));
        // The first of equals, as the controller keeps the first it met.
        asked.reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(at, _)| at)
    }
}

/// Why the replicas are what they are; the names are those of the object's conditions where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The metrics have what they ask for.
    DesiredWithinRange,
    /// Growing faster than the rules allow.
    ScaleUpLimit,
    /// `maxReplicas`.
    TooManyReplicas,
    /// Shrinking faster than the rules allow.
    ScaleDownLimit,
    /// `minReplicas`.
    TooFewReplicas,
    /// There were more replicas than `maxReplicas`; metrics are not asked.
    AboveMaximum,
    /// There were fewer replicas than `minReplicas`; metrics are not asked.
    BelowMinimum,
    /// The target was set to zero by hand, which turns autoscaling off.
    ScalingDisabled,
    /// No metric can be read, or one of several cannot and the others would scale down.
    MetricsMissing,
}

impl Twin {
    /// A twin that has seen nothing yet.
    pub fn new(spec: HpaSpec, controller: Controller) -> Self {
        Self { spec, controller, recommendations: Vec::new(), events: Events::default() }
    }

    /// The object it follows.
    pub fn spec(&self) -> &HpaSpec {
        &self.spec
    }

    /// What the autoscaler would set at `now`. Steps are in order of time.
    pub fn step(&mut self, now: TimestampMs, inputs: &Inputs) -> Recommendation {
        let current = inputs.spec_replicas;
        if self.recommendations.is_empty() {
            // A controller that has just begun takes what it finds for an earlier wish, so that it does not shrink at once.
            self.recommendations.push((now, current));
        }
        let forced = |desired: i32, reason: Reason| Recommendation {
            current,
            desired,
            wanted: None,
            stabilized: None,
            reason,
            metrics: Vec::new(),
        };
        if current == 0 && self.spec.min_replicas != 0 {
            return forced(0, Reason::ScalingDisabled);
        }
        if current > self.spec.max_replicas {
            return forced(self.spec.max_replicas, Reason::AboveMaximum);
        }
        if current < self.spec.min_replicas {
            return forced(self.spec.min_replicas, Reason::BelowMinimum);
        }
        let metrics = self.proposals(now, inputs);
        let failed = metrics.iter().filter(|m| m.is_err()).count();
        let most = metrics.iter().flatten().map(|proposal| proposal.replicas).max();
        match most {
            // A metric that is missing might want more than the others, so that it forbids to shrink.
            Some(wanted) if failed == 0 || wanted >= current => {
                let stabilized = self.stabilize(now, current, wanted);
                let (desired, reason) = self.bounded(now, current, stabilized);
                Recommendation { current, desired, wanted: Some(wanted), stabilized: Some(stabilized), reason, metrics }
            }
            _ => Recommendation { metrics, ..forced(current, Reason::MetricsMissing) },
        }
    }

    /// Remembers that the replicas were changed, for the policies that count changes within a period.
    pub fn applied(&mut self, now: TimestampMs, from: i32, to: i32) {
        if let Some(Behavior { scale_up, scale_down }) = &self.spec.behavior {
            self.events.store(now, from, to, scale_up, scale_down);
        }
    }

    fn proposals(&self, now: TimestampMs, inputs: &Inputs) -> Vec<Result<Proposal, String>> {
        let tolerances = self.controller.tolerances(&self.spec);
        let sync = Sync { now, inputs, controller: &self.controller, tolerances };
        let missing = Reading::Unavailable("no reading".into());
        let reading = |at: usize| inputs.readings.get(at).unwrap_or(&missing);
        self.spec.metrics.iter().enumerate().map(|(at, metric)| propose(&sync, metric, reading(at))).collect()
    }

    /// Applies the stabilisation windows, and remembers what was wanted.
    fn stabilize(&mut self, now: TimestampMs, current: i32, wanted: i32) -> i32 {
        let (up_ms, down_ms) = self.windows();
        let (up_cutoff, down_cutoff) = (now.plus_ms(-up_ms), now.plus_ms(-down_ms));
        let recent = |keeps: &dyn Fn(TimestampMs) -> bool| {
            self.recommendations.iter().filter(|(at, _)| keeps(*at)).map(|(_, r)| *r).collect::<Vec<_>>()
        };
        let stabilized = match self.spec.behavior {
            // The older rules know the way down only, and count a wish that is just as old as the window.
            None => recent(&|at| at >= down_cutoff).into_iter().fold(wanted, i32::max),
            Some(_) => {
                let lowest = recent(&|at| at > up_cutoff).into_iter().fold(wanted, i32::min);
                let highest = recent(&|at| at > down_cutoff).into_iter().fold(wanted, i32::max);
                // Up only as far as every wish of the one window, down only as far as every wish of the other.
                current.max(lowest).min(highest)
            }
        };
        let oldest = up_cutoff.min(down_cutoff);
        self.recommendations.retain(|(at, _)| *at >= oldest);
        self.recommendations.push((now, wanted));
        stabilized
    }

    /// Stabilisation windows up and down, in milliseconds.
    fn windows(&self) -> (i64, i64) {
        let controller = self.controller.downscale_stabilization_ms;
        match &self.spec.behavior {
            None => (0, controller),
            Some(behavior) => {
                let secs = |window: Option<i32>| window.map(|secs| i64::from(secs) * 1000);
                (
                    secs(behavior.scale_up.stabilization_window_secs).unwrap_or(0),
                    secs(behavior.scale_down.stabilization_window_secs).unwrap_or(controller),
                )
            }
        }
    }

    /// Applies rates, minimum and maximum.
    fn bounded(&self, now: TimestampMs, current: i32, wanted: i32) -> (i32, Reason) {
        let (min, max) = (self.spec.min_replicas, self.spec.max_replicas);
        let up = match &self.spec.behavior {
            None => up_limit_without_behavior(current),
            Some(behavior) => up_limit(now, current, &self.events, &behavior.scale_up),
        };
        let down = match &self.spec.behavior {
            None => i32::MIN,
            Some(behavior) => down_limit(now, current, &self.events, &behavior.scale_down),
        };
        let most = if max > up { (up, Reason::ScaleUpLimit) } else { (max, Reason::TooManyReplicas) };
        let least = if min < down { (down, Reason::ScaleDownLimit) } else { (min, Reason::TooFewReplicas) };
        if wanted > most.0 && wanted > current {
            most
        } else if wanted < least.0 && wanted < current {
            least
        } else {
            (wanted, Reason::DesiredWithinRange)
        }
    }
}
