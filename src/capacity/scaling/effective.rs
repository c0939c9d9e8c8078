//! Which autoscaler counts for an installation, and how many replicas the database carries.
//!
//! Order: an object that was read from Kubernetes; what kube-state-metrics tells, over the configured spec; the
//! configured spec; the production checklist's targets without a maximum.

use serde::Serialize;

use crate::capacity::config::Config;
use crate::capacity::hpa::{HpaSpec, MAX_UNKNOWN, MetricSpec, Resource, Source, Target};
use crate::capacity::report::{LimitSource, measured_or_configured};
use crate::capacity::world::{Installation, World};
use crate::capacity::{Facts, Limit};
use crate::rivet::limits;

/// Who says what the autoscaler is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HpaSource {
    Kubernetes,
    Configuration,
    /// There is none that is known: the production checklist's targets.
    Checklist,
}

/// The autoscaler of one installation.
#[derive(Clone, Debug)]
pub struct Effective {
    pub spec: HpaSpec,
    pub source: HpaSource,
    pub is_max_known: bool,
    /// Metrics of the object that the agent cannot see, such as external ones.
    pub unseen: Vec<String>,
    pub database: Database,
    /// RocksDB has exactly one node.
    pub is_alone: bool,
}

/// The Postgres connections of one installation.
#[derive(Clone, Copy, Debug)]
pub struct Database {
    /// Connections that the engines may have, and who says so; `None` also where the backend is not Postgres.
    pub connections: Limit,
    /// `max_connections` itself.
    pub max_connections: Option<f64>,
    pub per_engine: f64,
    /// Whether `per_engine` counts Postgres pubsub only because nobody said otherwise.
    pub is_pubsub_assumed: bool,
}

impl Database {
    fn of(installation: &Installation, config: &Config, facts: &Facts) -> Self {
        let settings = &config.postgres;
        let seen = &installation.postgres;
        let is_postgres = facts.backend.as_deref() == Some("postgres");
        let configured = settings.max_connections.map(f64::from);
        let (max, source) = measured_or_configured(seen.max_connections, configured);
        let usable = max.filter(|_| is_postgres).map(|max| settings.usable(max));
        Self {
            connections: (usable, if usable.is_some() { source } else { LimitSource::Unknown }),
            max_connections: max.filter(|_| is_postgres),
            per_engine: settings.per_engine(seen.has_nats),
            is_pubsub_assumed: settings.pubsub.is_none() && !seen.has_nats,
        }
    }

    /// Engines that the connections are enough for.
    pub fn engines(&self) -> Option<u32> {
        self.connections.0.map(|connections| (connections / self.per_engine) as u32)
    }
}

impl Effective {
    /// The autoscaler that counts for `installation`.
    pub fn of(installation: &Installation, world: &World, config: &Config, facts: &Facts) -> Self {
        let hpa = &installation.hpa;
        let is_seen = [hpa.min, hpa.max, hpa.cpu_target, hpa.memory_target].iter().any(Option::is_some);
        let configured = config.autoscaler.spec.as_ref();
        let read = facts.autoscaler_of(&installation.labels);
        let (mut spec, source) = match (read, configured, is_seen) {
            (Some(spec), ..) => (spec.clone(), HpaSource::Kubernetes),
            (None, Some(spec), seen) => {
                (spec.clone(), if seen { HpaSource::Kubernetes } else { HpaSource::Configuration })
            }
            (None, None, true) => (HpaSpec::unbounded(), HpaSource::Kubernetes),
            (None, None, false) => (checklist(world, facts), HpaSource::Checklist),
        };
        if read.is_none() {
            let whole = |v: f64| v.round().clamp(0.0, f64::from(MAX_UNKNOWN)) as i32;
            spec.min_replicas = hpa.min.map_or(spec.min_replicas, whole);
            spec.max_replicas = hpa.max.map_or(spec.max_replicas, whole).max(1);
            for (resource, target) in [(Resource::Cpu, hpa.cpu_target), (Resource::Memory, hpa.memory_target)] {
                if let Some(target) = target {
                    set_target(&mut spec, resource, target);
                }
            }
        }
        let (seen, unseen): (Vec<_>, Vec<_>) =
            spec.metrics.into_iter().partition(|metric| matches!(metric.source, Source::Resource { .. }));
        spec.metrics = seen;
        if spec.metrics.is_empty() {
            spec.metrics = checklist(world, facts).metrics;
        }
        let is_alone = is_alone(facts);
        // What only the checklist says of a lone node is no maximum that somebody could raise.
        let is_max_known = spec.max_replicas < MAX_UNKNOWN && !(is_alone && source == HpaSource::Checklist);
        let unseen = unseen.iter().map(MetricSpec::name).collect();
        Self { spec, source, is_max_known, unseen, database: Database::of(installation, config, facts), is_alone }
    }

    /// Level that one replica is wanted at, given its request; `None` where the object has no such metric and the
    /// checklist's target has nothing to be a share of.
    pub fn level(&self, resource: Resource, request: Option<f64>, world: &World) -> Option<f64> {
        match self.target(resource) {
            Some(Target::AverageValue(value)) => Some(value as f64 / 1000.0),
            _ => request.map(|request| request * self.share(resource, world)),
        }
    }

    /// Target share of the request.
    pub fn share(&self, resource: Resource, world: &World) -> f64 {
        match self.target(resource) {
            Some(Target::Utilization(percent)) => f64::from(percent) / 100.0,
            _ => f64::from(checklist_percent(resource, world)) / 100.0,
        }
    }

    fn target(&self, resource: Resource) -> Option<Target> {
        let of =
            |metric: &&MetricSpec| matches!(&metric.source, Source::Resource { resource: r, .. } if *r == resource);
        self.spec.metrics.iter().find(of).map(|metric| metric.target)
    }

    /// `maxReplicas`, where it is known.
    pub fn max(&self) -> Option<u32> {
        self.is_max_known.then_some(self.spec.max_replicas.unsigned_abs())
    }

    /// The most replicas that can work, and what says so: the autoscaler's maximum or the database's connections.
    pub fn most_replicas(&self) -> Option<(u32, &'static str)> {
        match (self.max(), self.database.engines()) {
            (Some(max), Some(engines)) if engines < max => Some((engines, "Postgres connections")),
            (Some(max), _) => Some((max, "maxReplicas")),
            // Without an autoscaler nobody adds replicas, however many the database carries.
            (None, _) => None,
        }
    }
}

fn checklist_percent(resource: Resource, world: &World) -> i32 {
    let (threshold, default) = match resource {
        Resource::Cpu => (world.cpu_threshold, limits::CPU_UTILIZATION_TARGET),
        Resource::Memory => (world.memory_threshold, limits::MEMORY_UTILIZATION_TARGET),
    };
    (threshold.unwrap_or(default) * 100.0).round().clamp(1.0, 1000.0) as i32
}

fn is_alone(facts: &Facts) -> bool {
    facts.backend.as_deref() == Some("rocksdb")
}

/// The production checklist's targets and at least two engines; RocksDB has exactly one.
fn checklist(world: &World, facts: &Facts) -> HpaSpec {
    let metric = |resource| MetricSpec::utilization(resource, checklist_percent(resource, world));
    let is_alone = is_alone(facts);
    HpaSpec {
        min_replicas: if is_alone { 1 } else { limits::INSTANCES_MIN as i32 },
        max_replicas: if is_alone { 1 } else { MAX_UNKNOWN },
        metrics: vec![metric(Resource::Cpu), metric(Resource::Memory)],
        ..HpaSpec::unbounded()
    }
}

/// Puts a target in place of that of the same resource, or adds it.
pub(in crate::capacity) fn set_target(spec: &mut HpaSpec, resource: Resource, share: f64) {
    let target = Target::Utilization((share * 100.0).round().max(1.0) as i32);
    let of =
        |metric: &&mut MetricSpec| matches!(&metric.source, Source::Resource { resource: r, .. } if *r == resource);
    match spec.metrics.iter_mut().find(of) {
        Some(metric) => metric.target = target,
        None => {
            let source = Source::Resource { resource, container: None };
            spec.metrics.push(MetricSpec { source, target });
        }
    }
}
