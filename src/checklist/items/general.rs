//! Enterprise, and what of the general checklist can be seen from outside the application.

use super::facts;
use super::ingress::Nginx;
use super::postgres::CONTACT;
use crate::checklist::cluster::Ingress;
use crate::checklist::evidence::{Evidence, PoolKind, PoolSeen};
use crate::checklist::known::Known;
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::{
    DRAIN_GRACE_SECS_DEFAULT, HOST_VERSION_DEFAULT, POOL_CONCURRENT_ACTORS_DEFAULT, POSTGRES_ACTORS_GUIDE,
    START_BODY_BYTES_MIN,
};

/// The load is one that needs no help from upstream.
pub fn enterprise(e: &Evidence) -> Outcome {
    let guide = f64::from(POSTGRES_ACTORS_GUIDE);
    match facts::actors_running(e) {
        Err(gap) => gap.into(),
        Ok(actors) if actors > guide => Outcome::info(format!(
            "{actors:.0} actors at once within a day: for review, scaling and FoundationDB see {CONTACT}"
        )),
        Ok(actors) => Outcome::pass(format!("{actors:.0} actors at once within a day, at most; help is at {CONTACT}")),
    }
}

/// A version is set on actor hosts, so that an upgrade drains the old ones.
pub fn runner_version(e: &Evidence) -> Outcome {
    let mut places: Vec<(String, u64)> = Vec::new();
    let mut gaps = Vec::new();
    match &e.engine.hosts {
        Ok(hosts) => {
            for host in hosts {
                if let Some(version) = host.version {
                    places.push((format!("hosts of pool `{}`", host.pool), version));
                }
            }
            if hosts.is_empty() {
                gaps.push("no actor host is connected".to_owned());
            }
        }
        Err(gap) => gaps.push(gap.reason().to_owned()),
    }
    for host in e.engine.metadata.iter().flatten() {
        if let Some(version) = host.version {
            places.push((host.url.clone(), version));
        }
    }
    places.sort();
    places.dedup();
    let outcomes = places.iter().map(|(place, version)| match *version <= HOST_VERSION_DEFAULT {
        true => Outcome::warn(format!(
            "{place} run version {version}, which is what RivetKit uses when none is set; without `RIVET_ENVOY_VERSION` no upgrade drains old hosts"
        )),
        false => Outcome::pass(format!("{place} run version {version}")),
    });
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown(gaps.join("; ")))
}

fn pools(e: &Evidence) -> Known<&Vec<PoolSeen>> {
    e.engine.pools.as_ref().map_err(Clone::clone)
}

/// Judges each pool and names it.
fn each_pool(e: &Evidence, judge: impl Fn(&str, &PoolSeen) -> Option<Outcome>, none: &str) -> Outcome {
    let pools = match pools(e) {
        Ok(pools) => pools,
        Err(gap) => return gap.into(),
    };
    if pools.is_empty() {
        return Outcome::unknown("no pool is configured yet");
    }
    let outcomes = pools.iter().filter_map(|p| judge(&format!("pool `{}` of namespace `{}`", p.name, p.namespace), p));
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::skipped(none))
}

/// An upgrade moves actors away, and not all at once.
pub fn actor_eviction(e: &Evidence) -> Outcome {
    each_pool(
        e,
        |name, pool| {
            Some(match (pool.drain_on_version_upgrade, pool.eviction_period) {
                (Some(false), _) => {
                    Outcome::warn(format!("{name} does not drain on an upgrade: old hosts go on with old code"))
                }
                (_, Some(0)) => Outcome::info(format!(
                    "{name} evicts all its actors at once on an upgrade (`actor_eviction_period` is 0): each is woken again at that moment"
                )),
                (_, Some(seconds)) => Outcome::pass(format!("{name} spreads evictions over {seconds} s")),
                (_, None) => Outcome::unknown(format!("{name} does not tell how it evicts")),
            })
        },
        "no pool is configured yet",
    )
}

/// The cap on actors was chosen, not left.
pub fn max_runners(e: &Evidence) -> Outcome {
    each_pool(
        e,
        |name, pool| {
            let PoolKind::Serverless { max_concurrent_actors, max_runners, .. } = &pool.kind else { return None };
            let cap = max_concurrent_actors.or(*max_runners).unwrap_or(u64::from(POOL_CONCURRENT_ACTORS_DEFAULT));
            Some(match cap == u64::from(POOL_CONCURRENT_ACTORS_DEFAULT) {
                true => Outcome::info(format!(
                    "{name} is capped at {cap} actors, the default: is that the number you want?"
                )),
                false => Outcome::pass(format!("{name} is capped at {cap} actors")),
            })
        },
        "no pool is serverless; long-lived hosts have no such cap",
    )
}

/// Actors have time to move before their request ends.
pub fn request_lifespan(e: &Evidence) -> Outcome {
    each_pool(
        e,
        |name, pool| {
            let PoolKind::Serverless { request_lifespan, drain_grace_period, .. } = &pool.kind else { return None };
            let drain = drain_grace_period.unwrap_or(DRAIN_GRACE_SECS_DEFAULT);
            Some(match request_lifespan {
                None => Outcome::unknown(format!("{name} does not tell its request lifespan")),
                Some(lifespan) if *lifespan <= drain => Outcome::fail(format!(
                    "{name}: requests live {lifespan} s and drain for {drain} s of them, so that nothing is left to work in"
                )),
                Some(lifespan) if *lifespan < 2 * drain => Outcome::warn(format!(
                    "{name}: of {lifespan} s that a request lives, {drain} s are for draining; actors move all the time"
                )),
                Some(lifespan) => Outcome::pass(format!("{name}: requests live {lifespan} s and drain for {drain} s")),
            })
        },
        "no pool is serverless; long-lived hosts get no start requests",
    )
}

/// What stands before the actor host takes start requests of 16 MiB.
pub fn start_body_limit(e: &Evidence) -> Outcome {
    if let Ok(pools) = pools(e)
        && !pools.is_empty()
        && pools.iter().all(|p| p.kind == PoolKind::Normal)
    {
        return Outcome::skipped("no pool is serverless; long-lived hosts get no start requests");
    }
    let Ok(cluster) = facts::cluster(e) else {
        return Outcome::unknown("the body limit of the actor host's platform cannot be seen from outside");
    };
    // Workloads that are told of an engine are actor hosts.
    let workloads = cluster.workloads.as_ref().map(|w| w.items.as_slice()).unwrap_or_default();
    let hosts = workloads.iter().filter(|w| w.containers.iter().any(|c| c.env("RIVET_ENDPOINT").is_some()));
    let mut outcomes = Vec::new();
    for host in hosts {
        let services = cluster.services_of(host).unwrap_or_default();
        for ingress in cluster.ingresses.as_ref().map(|i| i.items.as_slice()).unwrap_or_default() {
            if ingress.backends.iter().any(|b| services.iter().any(|s| b.leads_to(s))) {
                outcomes.extend(body_limit(ingress));
            }
        }
    }
    Outcome::worst_of(outcomes)
        .unwrap_or_else(|| Outcome::unknown("the body limit of the actor host's platform cannot be seen from outside"))
}

fn body_limit(ingress: &Ingress) -> Option<Outcome> {
    let name = match Nginx::of(ingress)? {
        Nginx::Community => "nginx.ingress.kubernetes.io/proxy-body-size",
        Nginx::F5 => "nginx.org/client-max-body-size",
    };
    // nginx takes 1 MiB when nothing is said, and everything at 0.
    let bytes = match ingress.annotations.get(name).map(|t| t.trim().to_ascii_lowercase()) {
        None => 1 << 20,
        Some(text) => match size(&text) {
            Some(bytes) => bytes,
            None => {
                let reason = format!("Ingress {} sets `{name}` to `{text}`, which is no size", ingress.name);
                return Some(Outcome::unknown(reason));
            }
        },
    };
    Some(match bytes == 0 || bytes >= START_BODY_BYTES_MIN {
        true => Outcome::pass(format!("Ingress {} takes bodies of {bytes} bytes", ingress.name)),
        false => Outcome::fail(format!(
            "Ingress {} takes bodies of {bytes} bytes; start requests need {START_BODY_BYTES_MIN}",
            ingress.name
        )),
    })
}

/// A size as nginx writes it.
fn size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: u64 = text[..split].trim().parse().ok()?;
    let factor = match &text[split..] {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    Some(number.saturating_mul(factor))
}
