//! Scaling: the autoscaler, more than one node, and what the actor hosts can take.

use super::facts;
use crate::checklist::cluster::{Autoscaler, Container, Spread, Target, TargetOf};
use crate::checklist::evidence::{ActorHostTold, Backend, Evidence, PoolKind, PoolLoad};
use crate::checklist::known::Known;
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::{CPU_UTILIZATION_TARGET, INSTANCES_MIN, MEMORY_UTILIZATION_TARGET};
use crate::rivet::pools::entry_for;

/// Nodes of a RocksDB engine cannot be more than one, so nothing about several applies.
fn skip_on_rocksdb(e: &Evidence) -> Option<Outcome> {
    match facts::backend(e) {
        Ok((Backend::Rocksdb, by)) => Some(Outcome::skipped(format!("RocksDB allows one node only ({by})"))),
        _ => None,
    }
}

/// An autoscaler may add nodes.
pub fn autoscaler(e: &Evidence) -> Outcome {
    if let Some(skipped) = skip_on_rocksdb(e) {
        return skipped;
    }
    facts::each_engine(e, |cluster, workload, _| match cluster.autoscaler_of(workload) {
        Err(gap) => gap.into(),
        Ok(None) => Outcome::fail(format!("no HorizontalPodAutoscaler scales {}", workload.title())),
        Ok(Some(scaler)) => {
            let seen = format!("{}: {} to {}", scaler.title(), scaler.min_replicas, scaler.max_replicas);
            if scaler.min_replicas < INSTANCES_MIN {
                return Outcome::warn(format!("{seen}; below {INSTANCES_MIN} a lost node is an outage"));
            }
            if scaler.max_replicas <= scaler.min_replicas {
                return Outcome::warn(format!("{seen}: it cannot add a node"));
            }
            Outcome::pass(seen)
        }
    })
}

/// It acts at 70 % CPU at the latest.
pub fn autoscaler_cpu(e: &Evidence) -> Outcome {
    target(e, "CPU", CPU_UTILIZATION_TARGET, |s| &s.cpu, |c| c.requests.cpu)
}

/// It acts at 80 % memory at the latest.
pub fn autoscaler_memory(e: &Evidence) -> Outcome {
    target(e, "memory", MEMORY_UTILIZATION_TARGET, |s| &s.memory, |c| c.requests.memory)
}

fn target(
    e: &Evidence,
    word: &str,
    wanted: f64,
    of: impl Fn(&Autoscaler) -> &[TargetOf],
    request: impl Fn(&Container) -> Option<f64>,
) -> Outcome {
    if let Some(skipped) = skip_on_rocksdb(e) {
        return skipped;
    }
    let wanted = wanted * 100.0;
    facts::each_engine(e, |cluster, workload, container| {
        let scaler = match cluster.autoscaler_of(workload) {
            Err(gap) => return gap.into(),
            Ok(None) => return Outcome::skipped(format!("no HorizontalPodAutoscaler scales {}", workload.title())),
            Ok(Some(scaler)) => scaler,
        };
        let title = scaler.title();
        let is_own = |t: &&TargetOf| t.container.as_ref().is_none_or(|name| *name == container.name);
        let own: Vec<&TargetOf> = of(scaler).iter().filter(is_own).collect();
        if own.is_empty() {
            return Outcome::fail(match of(scaler).first().and_then(|t| t.container.as_deref()) {
                Some(other) => format!("{title} goes by {word} of container {other} alone, not by that of the engine"),
                None => format!("{title} does not scale by {word}"),
            });
        }
        // The target that wants most replicas decides, which is the one that is reached first.
        let mut lowest = f64::INFINITY;
        for TargetOf { container: measured, target } in own {
            let containers: Vec<&Container> = match measured {
                Some(_) => vec![container],
                None => workload.containers.iter().collect(),
            };
            let requests: Option<f64> = containers.iter().map(|c| request(c)).sum();
            lowest = lowest.min(match (target, requests) {
                (Target::Utilization(percent), Some(_)) => *percent,
                (Target::Utilization(percent), None) => {
                    let without = containers.iter().find(|c| request(c).is_none()).map_or("", |c| c.name.as_str());
                    return Outcome::fail(format!(
                        "{title}: {percent:.0} % {word}, but without a {word} request of container {without} there is \
                         nothing to take a share of"
                    ));
                }
                (Target::AverageValue(value), Some(request)) if request > 0.0 => value / request * 100.0,
                (Target::AverageValue(_), _) => {
                    return Outcome::unknown(format!(
                        "{title} scales by an amount of {word}, and {} has no request to hold it against",
                        workload.title()
                    ));
                }
            });
        }
        let seen = format!("{title}: {lowest:.0} % {word}");
        match lowest {
            p if p > wanted => Outcome::warn(format!("{seen}, above the recommended {wanted:.0} %: nodes come late")),
            p if p < wanted => {
                Outcome::info(format!("{seen}, below the recommended {wanted:.0} %: earlier and dearer"))
            }
            _ => Outcome::pass(seen),
        }
    })
}

/// At least two nodes serve.
pub fn ready_nodes(e: &Evidence) -> Outcome {
    if let Some(skipped) = skip_on_rocksdb(e) {
        return skipped;
    }
    match facts::nodes(e) {
        Err(gap) => gap.into(),
        Ok(nodes) => {
            let seen = format!("{} engine nodes {}", nodes.count, nodes.by);
            match nodes.count >= INSTANCES_MIN {
                true if nodes.is_live => Outcome::pass(seen),
                true => Outcome::unknown(format!("{seen}; whether they are ready is seen only where they run")),
                false => Outcome::fail(format!("{seen}; with fewer than {INSTANCES_MIN} every restart is an outage")),
            }
        }
    }
}

/// Two of them do not share a host.
pub fn node_spread(e: &Evidence) -> Outcome {
    if let Some(skipped) = skip_on_rocksdb(e) {
        return skipped;
    }
    facts::each_engine(e, |cluster, workload, _| {
        let rule = match workload.spread {
            Spread::Required => "kept apart by a rule",
            Spread::Zones => "kept apart by a rule about zones",
            Spread::Soft => "kept apart where there is room",
            Spread::None => "kept apart by nothing",
        };
        if cluster.is_live {
            let pods = match &cluster.pods {
                Ok(pods) => pods,
                Err(gap) => return gap.into(),
            };
            let ready = pods.items.iter().filter(|p| p.is_ready == Some(true) && !p.is_deleted);
            let ready: Vec<_> = ready.filter(|p| workload_picks(workload, p)).collect();
            let mut hosts: Vec<&str> = ready.iter().filter_map(|p| p.node.as_deref()).collect();
            hosts.sort_unstable();
            hosts.dedup();
            let seen = format!("{} ready pods on {} hosts, {rule}", ready.len(), hosts.len());
            return match (ready.len(), hosts.len()) {
                (0 | 1, _) => Outcome::skipped(format!("{} has {} ready pods", workload.title(), ready.len())),
                (_, 0) => Outcome::unknown("the pods do not tell their hosts"),
                (_, 1) => Outcome::fail(format!(
                    "all {} ready pods of {} run on one host, {rule}",
                    ready.len(),
                    workload.title()
                )),
                _ => Outcome::pass(seen),
            };
        }
        match workload.spread {
            Spread::Required | Spread::Zones | Spread::Soft => {
                Outcome::pass(format!("pods of {} are {rule}", workload.title()))
            }
            Spread::None => Outcome::warn(format!(
                "nothing keeps two pods of {} off one host: no anti-affinity and no topology spread that picks them",
                workload.title()
            )),
        }
    })
}

fn workload_picks(workload: &crate::checklist::cluster::Workload, pod: &crate::checklist::cluster::Pod) -> bool {
    workload.selector.iter().all(|(name, value)| pod.labels.get(name) == Some(value))
}

/// A drain takes one node at a time.
pub fn disruption_budget(e: &Evidence) -> Outcome {
    if let Some(skipped) = skip_on_rocksdb(e) {
        return skipped;
    }
    facts::each_engine(e, |cluster, workload, _| {
        let budgets = match cluster.budgets_of(workload) {
            Ok(budgets) => budgets,
            Err(gap) => return gap.into(),
        };
        let Some(budget) = budgets.first() else {
            return Outcome::fail(format!(
                "no PodDisruptionBudget holds for {}: a drain may take all nodes at once",
                workload.title()
            ));
        };
        let replicas = cluster.autoscaler_of(workload).ok().flatten().map_or(workload.replicas, |a| a.min_replicas);
        let allowed = match (budget.max_unavailable, budget.min_available) {
            (Some(max), _) => max.of(replicas),
            (None, Some(min)) => replicas.saturating_sub(min.of(replicas)),
            (None, None) => 0,
        };
        let seen = format!("PodDisruptionBudget {}: {allowed} of {replicas} may go at once", budget.name);
        match allowed {
            0 => Outcome::warn(format!("{seen}: a drain of a node waits for ever")),
            n if n >= replicas => Outcome::warn(format!("{seen}: a drain may take all nodes")),
            _ => Outcome::pass(seen),
        }
    })
}

/// RocksDB has exactly one node.
pub fn rocksdb_one_node(e: &Evidence) -> Outcome {
    let by = match facts::only_with(e, Backend::Rocksdb) {
        Ok(by) => by,
        Err(outcome) => return outcome,
    };
    match facts::nodes_max(e) {
        Err(gap) => gap.into(),
        Ok(nodes) if nodes.count == 1 => Outcome::pass(format!("one node, {}", nodes.by)),
        Ok(nodes) if nodes.count == 0 => Outcome::unknown(format!("no node is there ({})", nodes.by)),
        Ok(nodes) => Outcome::fail(format!(
            "RocksDB ({by}) with up to {} nodes ({}): each would have data of its own",
            nodes.count, nodes.by
        )),
    }
}

/// Load of the pools of which `is_told` is, each with its name: with that of Rivet's namespace, where several have a pool of it.
fn pools(e: &Evidence, is_told: impl Fn(&PoolLoad) -> bool) -> Known<Vec<(String, PoolLoad)>> {
    let pools: Vec<PoolLoad> = facts::telemetry(e)?.pools.clone()?.into_iter().filter(is_told).collect();
    let title = |pool: &PoolLoad| match &pool.rivet_namespace {
        Some(namespace) if pools.iter().filter(|other| other.pool == pool.pool).count() > 1 => {
            format!("pool `{}` of Rivet namespace `{namespace}`", pool.pool)
        }
        _ => format!("pool `{}`", pool.pool),
    };
    Ok(pools.iter().map(|pool| (title(pool), pool.clone())).collect())
}

/// What the operator told of a pool's host.
fn host_of<'a>(e: &'a Evidence, pool: &PoolLoad) -> Option<&'a ActorHostTold> {
    let namespace = pool.rivet_namespace.as_deref();
    entry_for(&e.told.actor_hosts, |host| (&host.pool, host.rivet_namespace.as_deref()), &pool.pool, namespace)
}

/// Whether every pool is known to have hosts that connect by themselves.
fn only_normal_pools(e: &Evidence) -> bool {
    e.engine.pools.as_ref().is_ok_and(|pools| !pools.is_empty() && pools.iter().all(|p| p.kind == PoolKind::Normal))
}

/// The platform takes as many starts a second as the peak needs.
pub fn host_rate_limit(e: &Evidence) -> Outcome {
    if only_normal_pools(e) {
        return Outcome::skipped("no pool is serverless: hosts connect by themselves and get no start requests");
    }
    let pools = match pools(e, |pool| pool.starts.is_some()) {
        Ok(pools) => pools,
        Err(gap) => return gap.into(),
    };
    let mut outcomes = Vec::new();
    for (name, pool) in &pools {
        let Some(starts) = pool.starts else { continue };
        let refused = pool.refused.unwrap_or(0.0);
        let told = host_of(e, pool).and_then(|h| h.start_rate);
        outcomes.push(match told {
            _ if refused > 0.0 => Outcome::fail(format!(
                "the host of {name} refused up to {refused:.2} of {starts:.2} start requests a second with 429 within a day"
            )),
            None => Outcome::unknown(format!(
                "the rate limit of {name} is not known (peak {starts:.2} starts a second); set `capacity.actor_hosts`"
            )),
            Some(limit) if starts > limit => Outcome::fail(format!(
                "{name} needs {starts:.2} starts a second at its peak and its platform takes {limit:.2}"
            )),
            Some(limit) if starts > 0.7 * limit => Outcome::warn(format!(
                "{name} needs {starts:.2} starts a second at its peak, {:.0} % of the {limit:.2} its platform takes",
                starts / limit * 100.0
            )),
            Some(limit) => Outcome::pass(format!("{name}: peak {starts:.2} of {limit:.2} starts a second")),
        });
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown("no start request was seen within a day"))
}

/// Pools and platforms run as many actors as the peak needs.
pub fn host_concurrency(e: &Evidence) -> Outcome {
    let pools = match pools(e, |pool| pool.running.is_some() || pool.concurrency.is_some()) {
        Ok(pools) => pools,
        Err(gap) => return gap.into(),
    };
    let mut outcomes = Vec::new();
    for (name, pool) in &pools {
        let told = host_of(e, pool).and_then(|h| h.concurrency);
        if let Some(ratio) = pool.concurrency {
            let seen = format!("{name}: {:.0} % of `max_concurrent_actors` at the peak", ratio * 100.0);
            outcomes.push(if ratio > 0.9 { Outcome::warn(seen) } else { Outcome::pass(seen) });
        }
        match (pool.running, told) {
            (Some(running), Some(limit)) => {
                let seen = format!("{name}: {running:.0} of the {limit} actors its platform runs at once");
                outcomes.push(match running / limit as f64 {
                    share if share >= 1.0 => Outcome::fail(seen),
                    share if share > 0.9 => Outcome::warn(seen),
                    _ => Outcome::pass(seen),
                });
            }
            (Some(running), None) if pool.concurrency.is_some() => outcomes.push(Outcome::unknown(format!(
                "how many actors the platform of {name} runs at once is not known (peak {running:.0}); set `capacity.actor_hosts`"
            ))),
            _ => {}
        }
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| match only_normal_pools(e) {
        true => Outcome::skipped("no pool is serverless, and no host is described in `capacity.actor_hosts`"),
        false => Outcome::unknown("no running actor was seen within a day"),
    })
}
