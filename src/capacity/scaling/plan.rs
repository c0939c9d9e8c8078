//! The twin on a load that is only expected.

use crate::capacity::hpa::{
    Condition, Container, Controller, HpaSpec, Inputs, MetricSpec, Phase, Pod, PodReading, Reading, Requests, Resource,
    Source, Status, Twin,
};
use crate::model::TimestampMs;

/// Syncs of a plan are a minute apart: fine enough for hours ahead.
const STEP_MS: i64 = 60_000;
/// So long a steady load is left alone, so that windows are over.
const STEADY_MS: i64 = 2 * 3_600_000;
/// For every so many replicas the steps are a minute longer, so that the work stays bounded.
const REPLICAS_A_MINUTE: i64 = 100;

/// What all replicas use together; `None` where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<f64>,
}

/// What one replica requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Shape {
    pub cpu_cores: Option<f64>,
    pub memory_bytes: Option<f64>,
}

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    pub at: TimestampMs,
    /// Replicas set.
    pub replicas: i32,
    /// Replicas that the metrics ask for, bounds aside.
    pub wanted: i32,
}

/// What is planned with.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    pub spec: &'a HpaSpec,
    pub controller: &'a Controller,
    pub shape: Shape,
}

impl Plan<'_> {
    /// Lets the twin run from `replicas` at `from` until `until` under `demand`; every replica takes the same share
    /// and is ready at once.
    pub fn run(
        &self,
        replicas: i32,
        from: TimestampMs,
        until: TimestampMs,
        demand: impl Fn(TimestampMs) -> Demand,
    ) -> Vec<Planned> {
        let mut twin = Twin::new(self.spec.clone(), *self.controller);
        let mut replicas = replicas;
        let mut out = Vec::new();
        let mut now = from;
        while now <= until {
            let got = twin.step(now, &self.inputs(replicas, now, demand(now)));
            if got.desired != replicas {
                twin.applied(now, replicas, got.desired);
                replicas = got.desired;
            }
            out.push(Planned { at: now, replicas, wanted: got.wanted.unwrap_or(replicas) });
            now = now.plus_ms(STEP_MS * (1 + i64::from(replicas) / REPLICAS_A_MINUTE));
        }
        out
    }

    /// Where a steady load ends, and what it asks for there.
    pub fn steady(&self, replicas: i32, demand: Demand) -> Option<Planned> {
        let from = TimestampMs(0);
        self.run(replicas, from, from.plus_ms(STEADY_MS), |_| demand).last().copied()
    }

    fn inputs(&self, replicas: i32, now: TimestampMs, demand: Demand) -> Inputs {
        let milli = |v: f64| (v * 1000.0).ceil() as i64;
        let requests = Requests { cpu: self.shape.cpu_cores.map(milli), memory: self.shape.memory_bytes.map(milli) };
        let long_ago = now.plus_ms(-86_400_000);
        let name = |at: i32| format!("engine-{at}");
        let pod = |at: i32| Pod {
            name: name(at),
            phase: Phase::Running,
            is_deleted: false,
            started: Some(long_ago),
            ready: Some(Condition { status: Status::True, since: long_ago }),
            containers: vec![Container { name: "engine".into(), requests }],
            pod_level: None,
        };
        let reading = |metric: &MetricSpec| {
            let all = match &metric.source {
                Source::Resource { resource: Resource::Cpu, .. } => demand.cpu_cores,
                Source::Resource { resource: Resource::Memory, .. } => demand.memory_bytes,
                _ => None,
            };
            let Some(all) = all else { return Reading::Unavailable("not expected".into()) };
            let value = milli(all / f64::from(replicas.max(1)));
            let of = |at: i32| (name(at), PodReading { value, at: now, window_ms: 0 });
            Reading::PerPod((0..replicas).map(of).collect())
        };
        Inputs {
            spec_replicas: replicas,
            status_replicas: replicas,
            pods: (0..replicas).map(pod).collect(),
            readings: self.spec.metrics.iter().map(reading).collect(),
        }
    }
}
