//! What several items need, worked out of whichever source has it.

use crate::checklist::cluster::{Cluster, Container, Workload};
use crate::checklist::evidence::{Backend, Evidence, Pubsub, TelemetrySeen};
use crate::checklist::known::{Gap, Known, unknown};
use crate::checklist::outcome::Outcome;

/// The Kubernetes objects; an outcome where they do not apply or are not known.
pub fn cluster(e: &Evidence) -> Result<&Cluster, Outcome> {
    if let Some(why) = &e.told.without_kubernetes {
        return Err(Outcome::skipped(why.clone()));
    }
    e.cluster.as_ref().map_err(Outcome::from)
}

/// The Kubernetes objects, where they are known.
pub fn known_cluster(e: &Evidence) -> Known<&Cluster> {
    e.cluster.as_ref().map_err(Clone::clone)
}

/// The worst of what `judge` says of each engine workload; an outcome where there is none to judge.
pub fn each_engine(e: &Evidence, judge: impl Fn(&Cluster, &Workload, &Container) -> Outcome) -> Outcome {
    let cluster = match cluster(e) {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let engines = match cluster.engines() {
        Ok(engines) => engines,
        Err(gap) => return gap.into(),
    };
    let outcomes = engines.iter().map(|(workload, container)| judge(cluster, workload, container));
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown("there is no engine to look at"))
}

/// Why the Kubernetes objects are not known; `None` where they are, and where they do not apply.
pub fn cluster_gap(e: &Evidence) -> Option<&Gap> {
    e.cluster.as_ref().err().filter(|_| e.told.without_kubernetes.is_none())
}

/// The series of an agent.
pub fn telemetry(e: &Evidence) -> Known<&TelemetrySeen> {
    e.telemetry.as_ref().map_err(Clone::clone)
}

/// The engine's database and where it says so.
pub fn backend(e: &Evidence) -> Known<(Backend, String)> {
    let from_settings = e.settings.as_ref().map_err(Clone::clone).and_then(|settings| {
        let backend = settings.backend()?;
        let section = match backend {
            Backend::Postgres => "postgres",
            Backend::Rocksdb => "file_system",
            Backend::Foundationdb => "foundationdb",
        };
        Ok((backend, format!("by {}", settings.place(section))))
    });
    let gap = match from_settings {
        Ok(found) => return Ok(found),
        Err(gap) => gap,
    };
    if let Some(backend) = e.told.backend {
        return Ok((backend, "by `engine.backend`".into()));
    }
    let told_to_agent = telemetry(e).and_then(|t| t.backend.clone()).ok();
    match told_to_agent.as_deref() {
        Some("postgres") => Ok((Backend::Postgres, "by the agent's `engine.backend`".into())),
        Some("rocksdb" | "file_system") => Ok((Backend::Rocksdb, "by the agent's `engine.backend`".into())),
        Some("foundationdb") => Ok((Backend::Foundationdb, "by the agent's `engine.backend`".into())),
        // Where something was read and is not whole, that is the reason; else there is nothing to read.
        _ if e.settings.is_ok() => Err(gap),
        _ => unknown(
            "the engine's database is not known; set `engine.backend`, or `check.engine_config` to have it read",
        ),
    }
}

/// The engine's database if it is `wanted`; otherwise the outcome of an item that is about it.
pub fn only_with(e: &Evidence, wanted: Backend) -> Result<String, Outcome> {
    match backend(e) {
        Ok((found, by)) if found == wanted => Ok(by),
        Ok((found, by)) => Err(Outcome::skipped(format!("the engine's database is {}, {by}", found.title()))),
        Err(gap) => Err(gap.into()),
    }
}

/// What carries messages between the nodes.
pub fn pubsub(e: &Evidence) -> Known<Pubsub> {
    e.settings.as_ref().map_err(Clone::clone)?.pubsub()
}

/// A number of engine nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    pub count: u32,
    pub by: String,
    /// They were seen running, not merely asked for.
    pub is_live: bool,
}

/// Engine nodes that serve: ready pods, else replicas asked for, else instances by their series.
pub fn nodes(e: &Evidence) -> Known<Nodes> {
    let from_cluster = || -> Known<Nodes> {
        let cluster = e.cluster.as_ref().map_err(Clone::clone)?;
        let engines = cluster.engines()?;
        let ready: Option<u32> = engines.iter().map(|(w, _)| w.ready_replicas).sum();
        let floor = |w: &Workload| {
            let scaled = cluster.autoscaler_of(w).ok().flatten().map(|a| a.min_replicas);
            // The autoscaler's minimum is what is kept, whatever the manifest begins with.
            scaled.unwrap_or(w.replicas)
        };
        Ok(match ready.filter(|_| cluster.is_live) {
            Some(count) => Nodes { count, by: format!("ready in {}", cluster.source), is_live: true },
            None => Nodes {
                count: engines.iter().map(|(w, _)| floor(w)).sum(),
                by: format!("asked for in {}", cluster.source),
                is_live: false,
            },
        })
    };
    let from_series = || -> Known<Nodes> {
        let seen = telemetry(e)?;
        let instances = seen.instances.as_ref().map_err(Clone::clone)?;
        let up = instances.iter().filter(|i| i.is_up).count();
        let count = u32::try_from(up).unwrap_or(u32::MAX);
        Ok(Nodes { count, by: format!("by the series of {}", seen.source), is_live: true })
    };
    match (from_cluster(), from_series()) {
        // What runs says more than what is asked for.
        (Ok(asked), Ok(running)) if !asked.is_live => Ok(running),
        (Ok(nodes), _) | (Err(_), Ok(nodes)) => Ok(nodes),
        (Err(a), Err(b)) => match e.told.expected_instances {
            Some(count) => Ok(Nodes { count, by: "by `engine.expected_instances`".into(), is_live: false }),
            None if e.told.without_kubernetes.is_some() => Err(b),
            None => Err(a.and(&b)),
        },
    }
}

/// The most engine nodes there can be: the autoscaler's maximum, else the replicas.
pub fn nodes_max(e: &Evidence) -> Known<Nodes> {
    let from_cluster = || -> Known<Nodes> {
        let cluster = e.cluster.as_ref().map_err(Clone::clone)?;
        let (mut count, mut by) = (0, Vec::new());
        for (workload, _) in cluster.engines()? {
            match cluster.autoscaler_of(workload) {
                Ok(Some(scaler)) => {
                    count += scaler.max_replicas.max(workload.replicas);
                    let key = if scaler.kind == "ScaledObject" { "maxReplicaCount" } else { "maxReplicas" };
                    by.push(format!("`{key}` {} of {}", scaler.max_replicas, scaler.title()));
                }
                Ok(None) => {
                    count += workload.replicas;
                    by.push(format!("{} replicas of {}", workload.replicas, workload.title()));
                }
                Err(gap) => return Err(gap),
            }
        }
        Ok(Nodes { count, by: by.join(", "), is_live: cluster.is_live })
    };
    match from_cluster() {
        Ok(nodes) => Ok(nodes),
        // Where there are objects, only they tell the most there can be.
        Err(gap) if e.cluster.is_ok() => Err(gap),
        Err(gap) => match e.told.expected_instances {
            Some(count) => Ok(Nodes { count, by: "`engine.expected_instances`".into(), is_live: false }),
            None => nodes(e).map_err(|seen| if e.told.without_kubernetes.is_some() { seen } else { gap }),
        },
    }
}

/// Actors that run, at their most within a day.
pub fn actors_running(e: &Evidence) -> Known<f64> {
    telemetry(e)?.actors_running.clone()
}
