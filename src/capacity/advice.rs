//! What to do, with the arithmetic that says so.
//!
//! Always: advice on rates comes from demand, never from load: a storm of retries is what a limit too small looks like.
//! None where the data cannot carry it: a rate needs a whole day of history, or a peak that is over the limit already.

use super::config::{ActorHost, Config, Rate, RateScope};
use super::history::{key, key_of};
use super::kind::Kind;
use super::pools::tenant;
use super::report::{Advice, Row};
use super::scaling::{Autoscaler, Effective};
use super::world::World;

/// Room over the highest demand of the day: two thirds of a limit are used at the peak, so that a retry finds room too.
pub const MARGIN: f64 = 1.5;

/// Everything to do, by what the rows, autoscalers and database say.
pub(super) fn advice(
    rows: &[Row],
    world: &World,
    config: &Config,
    effective: &[Effective],
    autoscalers: &[Autoscaler],
) -> Vec<Advice> {
    let mut out = Vec::new();
    for row in rows {
        match row.kind {
            Kind::ActorDemand => {
                let pool = world.pools.iter().find(|pool| key_of(row.kind, &pool.labels) == key(row));
                out.extend(rate(row, config, pool.and_then(|pool| pool.refused).is_some_and(|refused| refused > 0.0)));
            }
            Kind::PlatformConcurrency => out.extend(concurrency(row, rows)),
            Kind::GuardRequests if row.used == row.limit => out.push(guard(row)),
            _ => {}
        }
    }
    for (installation, effective) in world.installations.iter().zip(effective) {
        let subject = installation.name();
        let found = autoscalers.iter().find(|a| a.labels == installation.labels);
        out.extend(database(effective, &subject));
        out.extend(found.and_then(|autoscaler| maximum(autoscaler, effective)));
        out.extend(shedding(effective, world, installation, &subject));
    }
    out
}

/// A number as short as it can be said: two decimals below ten, none from a hundred on.
fn short(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The rate limit to ask the platform for; `was_refused` where starts were within the day.
fn rate(row: &Row, config: &Config, was_refused: bool) -> Option<Advice> {
    let peak = row.peaks.day.or(row.peaks.minute)?;
    let is_over = row.limit.is_some_and(|limit| peak >= limit);
    let is_supported = row.peaks.day.is_some() && row.peaks.since.is_none();
    if peak <= 0.0 || !(is_supported || is_over) {
        return None;
    }
    let host = row.labels.get("pool_name").and_then(|pool| config.actor_host(pool, tenant(&row.labels)));
    let counted = host.and_then(ActorHost::counted).unwrap_or(1);
    let per = host.map_or(RateScope::Ip, |host| host.per);
    let each = peak * MARGIN / f64::from(counted);
    // Rounding of the product must not ask for one more.
    let a_minute = (each * 60.0 - 1e-6).ceil();
    if row.limit.is_some_and(|limit| limit / f64::from(counted) >= each) {
        return None;
    }
    let (unit, divisor) = match per {
        RateScope::Ip => ("address", "addresses"),
        RateScope::Instance => ("instance", "instances"),
        RateScope::Pool => ("pool", "pool"),
    };
    let over = if counted == 1 { String::new() } else { format!(" ÷ {counted} {divisor}") };
    let now = match (host.and_then(|h| h.rate_limit), row.limit) {
        (Some(Rate { per_second }), _) => format!("; now {} a minute", short(per_second * 60.0)),
        (None, Some(limit)) => format!("; now {} a minute in all", short(limit * 60.0)),
        (None, None) => "; the limit now is unknown".to_owned(),
    };
    let span = if is_supported { "the last day" } else { "what was seen so far" };
    let (most, caveat) = match was_refused {
        true => (
            "up to ",
            "; starts were refused within the day, and callers who tried again are in that peak: less may do",
        ),
        false => ("", ""),
    };
    Some(Advice {
        kind: row.kind,
        subject: row.subject.clone(),
        advice: format!(
            "ask the platform of pool {} for {most}{} starts a minute per {unit}",
            row.subject,
            short(a_minute)
        ),
        arithmetic: format!(
            "peak demand of {span} {} a second × {MARGIN}{over} = {} a second × 60 = {} a minute{now}{caveat}",
            short(peak),
            short(each),
            short(a_minute)
        ),
    })
}

/// A platform that runs fewer actors than the engine would place.
fn concurrency(row: &Row, rows: &[Row]) -> Option<Advice> {
    let platform = row.limit?;
    let engine = rows.iter().find(|r| r.kind == Kind::PoolConcurrency && r.labels == row.labels)?.limit?;
    (platform < engine).then(|| Advice {
        kind: row.kind,
        subject: row.subject.clone(),
        advice: format!(
            "let the platform of pool {} run {} actors at once, or set `max_concurrent_actors` to {}",
            row.subject,
            short(engine),
            short(platform)
        ),
        arithmetic: format!("the engine places up to {}, the platform runs {}", short(engine), short(platform)),
    })
}

fn guard(row: &Row) -> Advice {
    Advice {
        kind: row.kind,
        subject: row.subject.clone(),
        advice:
            "let the proxy in front set `x-forwarded-for`, so that each client has an allowance of its own; else add \
                 engines, each of which counts for itself"
                .to_owned(),
        arithmetic: format!("{}; the guard's limit of 10,000 a minute and 2,000 in flight cannot be changed", row.note),
    }
}

/// A maximum that the database cannot carry: the shipped manifests break at 8 replicas.
fn database(effective: &Effective, subject: &str) -> Option<Advice> {
    let database = &effective.database;
    let (max, enough) = (effective.max()?, database.engines()?);
    let (connections, all) = (database.connections.0?, database.max_connections?);
    if enough >= max {
        return None;
    }
    let need = f64::from(max) * database.per_engine;
    Some(Advice {
        kind: Kind::PostgresConnectionsMaximum,
        subject: subject.to_owned(),
        advice: format!(
            "set `maxReplicas` to {enough}, or `max_connections` of Postgres to {:.0}",
            need + all - connections
        ),
        arithmetic: format!(
            "{max} replicas × {:.0} connections = {need:.0}; {all:.0} − {:.0} reserved or taken by others = {connections:.0}; {connections:.0} ÷ {:.0} = {}, so {enough} engines",
            database.per_engine,
            all - connections,
            database.per_engine,
            short((connections / database.per_engine * 100.0).floor() / 100.0),
        ),
    })
}

const LONE_NODE: &str =
    "give the engine more CPU or memory, or move to PostgreSQL or FoundationDB: RocksDB has exactly one node";

/// A maximum that the day's peak, or the next day, is above.
fn maximum(autoscaler: &Autoscaler, effective: &Effective) -> Option<Advice> {
    let most = if effective.is_alone { 1 } else { autoscaler.most_replicas? };
    let ahead = autoscaler.ahead.iter().filter_map(|a| a.unbounded_replicas.or(a.replicas)).max();
    let (peak, when) = match (autoscaler.peak_replicas, ahead) {
        (Some(peak), _) if peak > most => (peak, "the day's highest use asks for"),
        (_, Some(ahead)) if ahead > most => (ahead, "the next day's pattern asks for"),
        _ => return None,
    };
    let database = effective.database.engines().filter(|engines| *engines < peak);
    let advice = match database {
        _ if effective.is_alone => LONE_NODE.to_owned(),
        Some(engines) => format!(
            "give each replica more CPU or memory: the database carries {engines} engines, and {peak} are asked for"
        ),
        None => format!("set `maxReplicas` to {peak}, or give each replica more CPU or memory"),
    };
    Some(Advice {
        kind: Kind::CpuMaximum,
        subject: autoscaler.subject.clone(),
        advice,
        arithmetic: format!("{when} {peak} replicas, {most} are possible"),
    })
}

/// A target that is reached only after load shedding has begun.
fn shedding(
    effective: &Effective,
    world: &World,
    installation: &super::world::Installation,
    subject: &str,
) -> Option<Advice> {
    let engine = installation.engines.iter().find(|e| e.cpu.request.is_some() && e.cpu.limit.is_some())?;
    let (request, limit) = (engine.cpu.request?, engine.cpu.limit?);
    let target = effective.level(super::hpa::Resource::Cpu, Some(request), world)?;
    let start = limit * crate::rivet::limits::LOAD_SHEDDING_START;
    (target >= start).then(|| Advice {
        kind: Kind::CpuShedding,
        subject: subject.to_owned(),
        advice: format!(
            "raise the CPU limit above {} cores, or lower the CPU target",
            short(target / crate::rivet::limits::LOAD_SHEDDING_START)
        ),
        arithmetic: format!(
            "a replica is added at {} cores, but work is shed from {} on (70 % of the limit {})",
            short(target),
            short(start),
            short(limit)
        ),
    })
}
