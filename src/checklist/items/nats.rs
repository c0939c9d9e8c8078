//! NATS: used where several nodes talk, doubled, and not held up.

use super::facts;
use super::nats_plan::NatsPlan;
use crate::checklist::evidence::{Backend, Evidence, NatsSeen, Pubsub};
use crate::checklist::known::{Known, unknown};
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::NATS_SERVERS_MIN;

/// NATS carries the messages of several nodes.
pub fn in_use(e: &Evidence) -> Outcome {
    if let Ok((Backend::Rocksdb, by)) = facts::backend(e) {
        return Outcome::skipped(format!("one node on RocksDB ({by}) needs no messages between nodes"));
    }
    let pubsub = match facts::pubsub(e) {
        Ok(pubsub) => pubsub,
        Err(gap) => return gap.into(),
    };
    if pubsub == Pubsub::Nats {
        return Outcome::pass("the engine's configuration names NATS");
    }
    match (pubsub, facts::nodes_max(e)) {
        (_, Err(gap)) => gap.into(),
        (_, Ok(nodes)) if nodes.count <= 1 => {
            Outcome::skipped(format!("one node ({}) needs no messages between nodes", nodes.by))
        }
        (Pubsub::Memory, Ok(nodes)) => Outcome::fail(format!(
            "{} nodes ({}) with messages in the memory of each: they do not hear of each other",
            nodes.count, nodes.by
        )),
        (_, Ok(nodes)) => Outcome::warn(format!(
            "{} nodes ({}) talk through PostgreSQL LISTEN/NOTIFY, which takes little; NATS is recommended",
            nodes.count, nodes.by
        )),
    }
}

/// Why nothing about NATS servers applies, if nothing does.
fn not_used(e: &Evidence) -> Option<Outcome> {
    match facts::pubsub(e) {
        Ok(Pubsub::Nats) => None,
        Err(_) if e.nats.is_ok() => None,
        pubsub => match (facts::backend(e), pubsub) {
            (Ok((Backend::Rocksdb, _)), _) => Some(Outcome::skipped("NATS is not needed with RocksDB")),
            (_, Ok(_)) => Some(Outcome::skipped("NATS is not in use")),
            (_, Err(_)) => None,
        },
    }
}

/// At least two servers stand in one cluster.
pub fn servers(e: &Evidence) -> Outcome {
    if let Some(outcome) = not_used(e) {
        return outcome;
    }
    match &e.nats {
        Ok(seen) => live_servers(seen),
        Err(gap) => match planned(e) {
            Ok(plan) if plan.workload.replicas < NATS_SERVERS_MIN => Outcome::fail(format!(
                "{} has {} replica: with it the nodes lose each other",
                plan.workload.title(),
                plan.workload.replicas
            )),
            Ok(plan) => {
                let (title, n) = (plan.workload.title(), plan.workload.replicas);
                match plan.is_clustered() {
                    Ok(how) => Outcome::pass(format!("{title} has {n} replicas, {how}; not asked: {gap}")),
                    Err(why) => Outcome::unknown(format!(
                        "{title} has {n} replicas; whether they stand in a cluster is not seen: {why}; {gap}"
                    )),
                }
            }
            Err(why) => gap.clone().and(&why).into(),
        },
    }
}

fn live_servers(seen: &NatsSeen) -> Outcome {
    let mut ids: Vec<&str> = seen.servers.iter().map(|s| s.id.as_str()).collect();
    let mut routed: Vec<&str> = Vec::new();
    for server in &seen.servers {
        if let Ok(monitor) = &server.monitor {
            routed.extend(monitor.routes.iter().map(String::as_str));
        }
    }
    ids.extend(routed.iter().filter(|r| !r.is_empty()));
    ids.sort_unstable();
    ids.dedup();
    // A server tells its clients the addresses of all; its own is among them.
    let told = seen.servers.iter().map(|s| s.others.len()).max().unwrap_or(0);
    let count = ids.len().max(told);
    let names: Vec<&str> = seen.servers.iter().map(|s| s.name.as_str()).collect();
    let silent: Vec<String> = seen.silent.iter().map(|(address, why)| format!("{address}: {why}")).collect();
    let outcome = match (count, seen.servers.len()) {
        (0, _) => return Outcome::unknown(format!("no NATS server answered ({})", silent.join("; "))),
        (1, _) => Outcome::fail(format!("one NATS server ({}): with it the nodes lose each other", names.join(", "))),
        (n, asked) if asked > 1 && !seen.servers.iter().all(|s| s.cluster.is_some()) => {
            Outcome::warn(format!("{n} NATS servers, but not all in a cluster: what one hears the others do not"))
        }
        (n, _) => Outcome::pass(format!(
            "{n} NATS servers in cluster `{}`",
            seen.servers[0].cluster.as_deref().unwrap_or("?")
        )),
    };
    match silent.is_empty() {
        true => outcome,
        false => outcome.worst(Outcome::warn(format!("NATS servers give no answer: {}", silent.join("; ")))),
    }
}

/// The servers that the engine's own addresses lead to.
///
/// # Errors
/// The addresses are not known, or lead to no server among the objects.
fn planned(e: &Evidence) -> Known<NatsPlan<'_>> {
    let cluster = facts::known_cluster(e)?;
    let engines = cluster.engines()?;
    let settings = e.settings.as_ref().map_err(Clone::clone)?;
    let Some((engine, _)) = engines.first() else { return unknown("there is no engine") };
    let addresses = settings.tree("/nats/addresses").and_then(serde_json::Value::as_array);
    let addresses: Vec<&str> = addresses.into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
    if addresses.is_empty() {
        return unknown("the addresses of NATS are not known");
    }
    let host = |address: &&str| {
        let address = address.split_once("://").map_or(*address, |(_, rest)| rest);
        let address = address.rsplit_once('@').map_or(address, |(_, rest)| rest);
        address.split(':').next().unwrap_or_default().to_owned()
    };
    let mut hosts = addresses.iter().map(host);
    match hosts.find_map(|host| cluster.workload_at(&host, engine, &["nats", "nats-server"])) {
        Some((workload, container)) => Ok(NatsPlan { cluster, workload, container }),
        None => unknown(format!("NATS at {} is no workload of {}", addresses.join(", "), cluster.source)),
    }
}

/// No client is cut off for reading too slowly.
pub fn slow_consumers(e: &Evidence) -> Outcome {
    if let Some(outcome) = not_used(e) {
        return outcome;
    }
    let mut outcomes = Vec::new();
    let mut gaps = Vec::new();
    match &e.nats {
        Err(gap) => gaps.push(gap.reason().to_owned()),
        Ok(seen) => {
            for server in &seen.servers {
                match &server.monitor {
                    Ok(m) if m.slow_consumers > 0 => outcomes.push(Outcome::warn(format!(
                        "NATS server {} cut off {} slow consumers since it started: messages were lost",
                        server.name, m.slow_consumers
                    ))),
                    Ok(_) => outcomes.push(Outcome::pass(format!("{} counts none", server.name))),
                    Err(gap) => gaps.push(format!("{}: {gap}", server.name)),
                }
            }
        }
    }
    match facts::telemetry(e).and_then(|t| t.nats_slow_consumers.clone()) {
        Ok(n) if n > 0.0 => {
            outcomes.push(Outcome::warn(format!("engines were slow consumers {n:.0} times within the hour")));
        }
        Ok(_) => outcomes.push(Outcome::pass("engines report none within the hour")),
        Err(gap) => gaps.push(gap.reason().to_owned()),
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown(gaps.join("; ")))
}

/// The engine needs no JetStream.
pub fn jetstream(e: &Evidence) -> Outcome {
    if let Some(outcome) = not_used(e) {
        return outcome;
    }
    match &e.nats {
        Ok(seen) if seen.servers.is_empty() => Outcome::unknown("no NATS server answered"),
        Ok(seen) => {
            let with: Vec<&str> = seen.servers.iter().filter(|s| s.has_jetstream).map(|s| s.name.as_str()).collect();
            match with.is_empty() {
                true => Outcome::pass("JetStream is off"),
                false => Outcome::info(format!("JetStream is on at {}; the engine does not use it", with.join(", "))),
            }
        }
        Err(gap) => match planned(e) {
            Ok(plan) => {
                let title = plan.workload.title();
                match plan.has_jetstream() {
                    Ok(true) => Outcome::info(format!("{title} turns JetStream on; the engine does not use it")),
                    Ok(false) => Outcome::pass(format!("{title} does not turn JetStream on")),
                    Err(why) => Outcome::unknown(format!("{title} may turn it on: {why}; {gap}")),
                }
            }
            Err(why) => gap.clone().and(&why).into(),
        },
    }
}
