//! Actors: starts against the rate limits of their platforms, running ones against what may run at once.
//!
//! Demand is what users want, creates and wakes; load is what the engine sends for it, retries included. A limit a little too
//! small makes a storm of retries that keeps it full, so that only demand says how large it has to be.

use std::collections::BTreeSet;

use super::{Known, fullest};
use crate::capacity::config::{ActorHost, RateScope};
use crate::capacity::kind::Kind;
use crate::capacity::pools::Pool;
use crate::capacity::report::{LimitSource, Row, measured, measured_or_configured};
use crate::capacity::world::{Installation, World};
use crate::model::Labels;
use crate::rivet::limits;

pub(super) fn rows(known: Known<'_>, out: &mut Vec<Row>) {
    let mut of_kind: [Vec<Row>; 4] = Default::default();
    let pools = pools(known);
    let tenants: BTreeSet<_> = pools.iter().filter_map(Pool::tenant).collect();
    for pool in &pools {
        let host = known.config.actor_host(&pool.name, pool.tenant());
        // With one tenant the name says it all.
        let subject = match pool.tenant() {
            Some(tenant) if tenants.len() > 1 => format!("{tenant}/{}", pool.name),
            _ => pool.name.clone(),
        };
        rates(known.world, pool, &subject, host, &mut of_kind);
        concurrency(known.world, pool, &subject, host, &mut of_kind);
    }
    out.extend(of_kind.into_iter().flat_map(fullest));
    for installation in &known.world.installations {
        backend(known, installation, out);
    }
}

/// The pools that are seen, and those that are only configured.
fn pools(known: Known<'_>) -> Vec<Pool> {
    let mut pools = known.world.pools.clone();
    for host in &known.config.actor_hosts {
        let told = host.rivet_namespace.as_deref();
        // A pool whose namespace nobody tells may be the one that is meant.
        let is_seen = |pool: &Pool| pool.tenant().is_none() || told.is_none() || pool.tenant() == told;
        if !pools.iter().any(|pool| pool.name == host.pool && is_seen(pool)) {
            // It belongs to the only installation, where there is only one.
            let installation = match known.world.installations.as_slice() {
                [only] => only.labels.clone(),
                _ => Labels::empty(),
            };
            let mut labels = installation.builder();
            labels.set("pool_name", host.pool.as_str()).set("rivet_namespace", told.unwrap_or_default());
            pools.push(Pool { labels: labels.build(), name: host.pool.clone(), ..Pool::default() });
        }
    }
    pools
}

/// Pools of the same installation, of whichever tenant.
fn siblings<'a>(world: &'a World, pool: &Pool) -> Vec<&'a Pool> {
    let at = |name: &str| pool.labels.get(name);
    let same = |other: &&Pool| ["cluster", "namespace", "job"].iter().all(|name| other.labels.get(name) == at(name));
    world.pools.iter().filter(same).collect()
}

/// Share of its installation's demand that is taken for this pool's, and whether it is a guess.
///
/// Creates and wakes carry no pool, so that several pools share them as they share the start requests.
fn share(world: &World, pool: &Pool) -> (Option<f64>, bool) {
    let siblings = siblings(world, pool);
    if siblings.len() <= 1 {
        return (Some(1.0), false);
    }
    let all: f64 = siblings.iter().filter_map(|p| p.load).sum();
    (pool.load.filter(|_| all > 0.0).map(|load| load / all), true)
}

fn rates(world: &World, pool: &Pool, subject: &str, host: Option<&ActorHost>, out: &mut [Vec<Row>; 4]) {
    let limit = measured_or_configured(pool.rate_limit, host.and_then(ActorHost::allowed_rate));
    let installation = installation_of(world, pool);
    let (share, is_guess) = share(world, pool);
    let part = |all: Option<f64>| all.zip(share).map(|(all, share)| all * share);
    let mut notes = Vec::new();
    if limit.1 == LimitSource::Unknown {
        notes.push("set `capacity.actor_hosts[].rate_limit`".to_owned());
    }
    if let (LimitSource::Configured, Some(host)) = (limit.1, host) {
        let (n, per) = (host.counted().unwrap_or(1), host.per);
        let what = match per {
            RateScope::Ip => "address",
            RateScope::Instance => "instance",
            RateScope::Pool => "pool",
        };
        notes.push(format!("counted per {what}, {n} of them"));
    }
    if is_guess {
        notes.push("apportioned by start requests".to_owned());
    }
    let row = |kind: Kind, what: &str, used: Option<f64>, peak: Option<f64>| {
        Row::new(kind, what, "per second", &pool.labels, subject, used, limit).with_minute_peak(peak)
    };
    let demand = part(installation.and_then(|i| i.demand));
    let peak = part(installation.and_then(|i| i.demand_peak));
    out[0].push(row(Kind::ActorDemand, "actor demand (creates + wakes)", demand, peak).with_note(notes.join("; ")));
    let retries = pool.load.zip(demand).map(|(load, demand)| load - demand).filter(|retries| *retries > 0.5);
    let note = retries.map_or(String::new(), |n| format!("{n:.1} a second more than is wanted: retries"));
    let load = row(Kind::ActorLoad, "actor start requests (load, with retries)", pool.load, pool.load_peak);
    out[1].push(load.with_note(note).binding_if(false));
}

fn installation_of<'a>(world: &'a World, pool: &Pool) -> Option<&'a Installation> {
    world.installation_of(&pool.labels).or(match world.installations.as_slice() {
        [only] => Some(only),
        _ => None,
    })
}

fn concurrency(world: &World, pool: &Pool, subject: &str, host: Option<&ActorHost>, out: &mut [Vec<Row>; 4]) {
    // An installation counts running actors over all its pools; with one pool that is its own.
    let alone = siblings(world, pool).len() <= 1;
    let of_installation = || installation_of(world, pool).and_then(|i| i.running_actors).filter(|_| alone);
    let used = pool.running.or_else(of_installation);
    let row = |kind: Kind, what: &str, limit| Row::new(kind, what, "actors", &pool.labels, subject, used, limit);
    let engine = row(Kind::PoolConcurrency, "running actors", measured(pool.max_concurrent));
    let note = if pool.max_concurrent.is_none() {
        "`max_concurrent_actors` is not seen (serverless pools have it)"
    } else {
        ""
    };
    out[2].push(engine.with_note(note));
    let configured = host.and_then(|h| h.concurrency).map(|n| n as f64);
    let limit = measured_or_configured(pool.concurrency, configured);
    let note = if limit.1 == LimitSource::Unknown { "set `capacity.actor_hosts[].concurrency`" } else { "" };
    out[3].push(row(Kind::PlatformConcurrency, "running actors on the platform", limit).with_note(note));
}

/// Upstream calls Postgres fit for about a thousand concurrent actors.
fn backend(known: Known<'_>, installation: &Installation, out: &mut Vec<Row>) {
    let (limit, note) = match known.facts.backend.as_deref() {
        Some("postgres") => {
            let guide = f64::from(limits::POSTGRES_ACTORS_GUIDE);
            ((Some(guide), LimitSource::Guide), "FoundationDB is advised beyond it")
        }
        Some(_) => return,
        None => ((None, LimitSource::Unknown), "set `engine.backend`"),
    };
    let used = installation.running_actors;
    let subject = installation.name();
    let what = "running actors for the backend";
    let row = Row::new(Kind::BackendActors, what, "actors", &installation.labels, &subject, used, limit);
    // A guide is no wall.
    out.push(row.with_note(note).binding_if(false));
}
