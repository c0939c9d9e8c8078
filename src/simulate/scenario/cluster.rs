//! The `cluster:` of a scenario.

use super::tree::Fields;
use super::{section, section_list};
use crate::rivet::limits::POOL_CONCURRENT_ACTORS_DEFAULT;
use crate::simulate::engine::{PoolKind, Release};

/// Most engine instances and pools of a scenario.
const PODS_MAX: u64 = 100;

/// The database behind the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    RocksDb,
    FoundationDb,
}

impl Backend {
    /// As `engine.backend` writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::RocksDb => "rocksdb",
            Self::FoundationDb => "foundationdb",
        }
    }
}

/// What carries messages between the engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pubsub {
    Nats,
    Postgres,
    Memory,
}

/// What the engines run on, which decides who tells of CPU, memory and restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// cAdvisor and kube-state-metrics.
    Kubernetes,
    /// The agent's own reading of the host.
    Host,
}

/// The HorizontalPodAutoscaler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Autoscaler {
    pub min: u32,
    pub max: u32,
    /// Targets as shares of the request.
    pub cpu: f64,
    pub memory: f64,
}

/// A pool of actor hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolPlan {
    pub name: String,
    pub kind: PoolKind,
    /// Long-lived hosts that connect.
    pub hosts: u32,
    /// Start requests a second that the platform takes; `None` is any number.
    pub rate_limit: Option<f64>,
    /// Actors that a serverless pool may run at once.
    pub max_concurrent: u64,
}

/// The cluster as it is when the scenario begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterPlan {
    pub pods: u32,
    /// At least one; the pods take turns.
    pub releases: Vec<Release>,
    pub backend: Backend,
    pub pubsub: Pubsub,
    pub platform: Platform,
    pub cpu_request: f64,
    pub cpu_limit: f64,
    pub memory_request: f64,
    pub memory_limit: f64,
    pub autoscaler: Option<Autoscaler>,
    /// `engine.expected_instances`; on Kubernetes the Deployment tells.
    pub expected: Option<u32>,
    /// Whether the agent may ask the engine's API.
    pub engine_api: bool,
    pub pools: Vec<PoolPlan>,
    /// Size of the data directory's file system, and how much of it is free (RocksDB).
    pub disk: f64,
    pub disk_free: f64,
}

impl ClusterPlan {
    pub(super) fn read(fields: &mut Fields<'_>) -> Self {
        let releases = releases(fields);
        let platforms = [("kubernetes", Platform::Kubernetes), ("host", Platform::Host)];
        let pubsubs = [("nats", Pubsub::Nats), ("postgres", Pubsub::Postgres), ("memory", Pubsub::Memory)];
        let backends = [Backend::Postgres, Backend::RocksDb, Backend::FoundationDb].map(|b| (b.as_str(), b));
        let backend = fields.choice("backend", &backends).unwrap_or(Backend::Postgres);
        let is_single = backend == Backend::RocksDb;
        let platform = fields.choice("platform", &platforms);
        let platform = platform.unwrap_or(if is_single { Platform::Host } else { Platform::Kubernetes });
        let pods = fields.whole("pods", 0, PODS_MAX).unwrap_or(if is_single { 1 } else { 2 }) as u32;
        let pubsub = fields.choice("pubsub", &pubsubs);
        // Requests and limits of the shipped manifest.
        let (cpu_request, cpu_limit) = section(fields, "cpu", |f| {
            (f.number("request", 0.01, 256.0).unwrap_or(2.0), f.number("limit", 0.01, 256.0).unwrap_or(3.0))
        });
        let (memory_request, memory_limit) = section(fields, "memory", |f| {
            let gib = |n: f64| n * f64::from(1 << 30);
            (f.bytes("request").unwrap_or(gib(2.0)), f.bytes("limit").unwrap_or(gib(4.0)))
        });
        let has_autoscaler = fields.has("autoscaler");
        let autoscaler = section(fields, "autoscaler", |f| Autoscaler {
            min: f.whole("min", 1, PODS_MAX).unwrap_or(2) as u32,
            max: f.whole("max", 1, PODS_MAX).unwrap_or(10) as u32,
            cpu: f.share("cpu").unwrap_or(0.6),
            memory: f.share("memory").unwrap_or(0.8),
        });
        if has_autoscaler && platform == Platform::Host {
            fields.wrong("autoscaler", "needs `platform: kubernetes`");
        }
        if has_autoscaler && autoscaler.min > autoscaler.max {
            fields.wrong("autoscaler", format!("must have min <= max, got {} and {}", autoscaler.min, autoscaler.max));
        }
        let (disk, disk_free) =
            section(fields, "disk", |f| (f.bytes("size").unwrap_or(100e9), f.share("free").unwrap_or(0.7)));
        let mut pools = section_list(fields, "pools", PoolPlan::read);
        if pools.is_empty() {
            pools.push(PoolPlan::named("default"));
        }
        for (i, pool) in pools.iter().enumerate() {
            if pools[..i].iter().any(|other| other.name == pool.name) {
                fields.wrong("pools", format!("must have one pool of each name, `{}` stands twice", pool.name));
            }
        }
        Self {
            pods,
            releases,
            backend,
            pubsub: pubsub.unwrap_or(if is_single { Pubsub::Memory } else { Pubsub::Nats }),
            platform,
            cpu_request,
            cpu_limit,
            memory_request,
            memory_limit,
            autoscaler: has_autoscaler.then_some(autoscaler),
            expected: fields.whole("expected", 0, PODS_MAX).map(|n| n as u32),
            engine_api: fields.flag("engine_api").unwrap_or(true),
            pools,
            disk,
            disk_free,
        }
    }
}

/// One release, or several.
fn releases(fields: &mut Fields<'_>) -> Vec<Release> {
    let mut releases = Vec::new();
    for name in fields.words("release") {
        match Release::ALL.into_iter().find(|release| release.as_str() == name) {
            Some(release) => releases.push(release),
            None => {
                let known = Release::ALL.map(Release::as_str).join(", ");
                fields.wrong("release", format!("must be one of {known}, got `{name}`"));
            }
        }
    }
    if releases.is_empty() { vec![Release::V2_3_19] } else { releases }
}

impl PoolPlan {
    fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: PoolKind::Serverless,
            hosts: 2,
            rate_limit: None,
            max_concurrent: u64::from(POOL_CONCURRENT_ACTORS_DEFAULT),
        }
    }

    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let kinds = [PoolKind::Serverless, PoolKind::Serverful].map(|kind| (kind.as_str(), kind));
        let plan = Self::named(fields.text("name").unwrap_or("default"));
        let kind = fields.choice("kind", &kinds).unwrap_or(plan.kind);
        if kind == PoolKind::Serverless && fields.has("hosts") {
            fields.wrong("hosts", "is of `kind: serverful`; a serverless host is a URL");
        }
        if kind == PoolKind::Serverful {
            for key in ["rate_limit", "max_concurrent"] {
                if fields.has(key) {
                    fields.wrong(key, "is of `kind: serverless`; a connected host has neither");
                }
            }
        }
        Some(Self {
            kind,
            hosts: fields.whole("hosts", 0, 1_000).unwrap_or(u64::from(plan.hosts)) as u32,
            rate_limit: fields.rate("rate_limit"),
            max_concurrent: fields.whole("max_concurrent", 1, 1_000_000).unwrap_or(plan.max_concurrent),
            ..plan
        })
    }
}
