//! PostgreSQL: fit for the load, backed up, doubled, reached directly and often enough.

use std::time::Duration;

use super::{database, facts};
use crate::checklist::evidence::{
    Archive, Backend, DatabaseAddress, Evidence, PoolerSign, PostgresSeen, Pubsub, Standby,
};
use crate::checklist::known::{Known, unknown};
use crate::checklist::outcome::Outcome;
use crate::model::format_duration_ms;
use crate::rivet::limits::{POSTGRES_ACTORS_GUIDE, POSTGRES_CONNECTIONS_PER_ENGINE};

/// Base names of images that are a pooler.
const POOLERS: [&str; 7] = ["pgbouncer", "pgcat", "supavisor", "odyssey", "pgpool", "pgbouncer-exporter", "pgdog"];

/// What PostgreSQL is upstream's recommendation for.
pub fn backend(e: &Evidence) -> Outcome {
    match facts::only_with(e, Backend::Postgres) {
        Ok(by) => Outcome::info(format!(
            "PostgreSQL ({by}) serves light to moderate load, about {POSTGRES_ACTORS_GUIDE} actors at once, and is still called experimental upstream"
        )),
        Err(outcome) => outcome,
    }
}

/// The load is one that PostgreSQL is recommended for.
pub fn load(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    let guide = f64::from(POSTGRES_ACTORS_GUIDE);
    match facts::actors_running(e) {
        Err(gap) => gap.into(),
        Ok(actors) => {
            let seen = format!("at most {actors:.0} actors at once within a day, of about {guide:.0}");
            match actors {
                a if a > guide => Outcome::warn(format!("{seen}: beyond that FoundationDB is advised")),
                a if a > 0.8 * guide => Outcome::warn(format!("{seen}: close to where FoundationDB is advised")),
                _ => Outcome::pass(seen),
            }
        }
    }
}

/// Backups are taken, and lately.
pub fn backups(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    let limit = e.told.backup_age;
    let by_marker = e.backups.marker.as_ref().map(|(name, age)| match age {
        Err(gap) => Outcome::fail(format!("the backup marker {name} shows nothing: {gap}")),
        Ok(age) if *age > limit => {
            Outcome::fail(format!("the last backup by {name} is {} old, more than {}", ago(*age), ago(limit)))
        }
        Ok(age) => Outcome::pass(format!("{name} says the last backup is {} old", ago(*age))),
    });
    let by_archive = match &e.postgres {
        Err(gap) => Outcome::from(gap),
        Ok(seen) => match &seen.archive {
            Err(gap) => gap.into(),
            Ok(archive) => judge_archive(archive, limit),
        },
    };
    match by_marker {
        // One way is enough, but an archive that is switched on and fails is a failure in any case.
        Some(marker) if by_archive.status == crate::checklist::Status::Fail && !by_archive.attestable => {
            by_archive.worst(marker)
        }
        Some(marker) => by_archive.evidence.iter().fold(marker, |marker, seen| marker.seen(seen.clone())),
        None => by_archive,
    }
}

fn judge_archive(archive: &Archive, limit: Duration) -> Outcome {
    if archive.mode == "off" {
        return Outcome::fail(
            "nothing shows a backup: `archive_mode` is off and `check.postgres.backup_marker` is not set; if backups are \
             taken where no probe sees them, attest to it",
        )
        .attestable();
    }
    match (archive.last_archived, archive.last_failed) {
        (archived, Some(failed)) if archived.is_none_or(|archived| failed < archived) => Outcome::fail(format!(
            "archiving of the write-ahead log fails: last try {} ago, last success {}",
            ago(failed),
            archived.map_or_else(|| "never".into(), |a| format!("{} ago", ago(a)))
        )),
        (None, _) => Outcome::fail(format!("`archive_mode` is {} and no segment was ever archived", archive.mode)),
        (Some(archived), _) if archived > limit => Outcome::fail(format!(
            "the last segment was archived {} ago, more than {}; `archive_timeout` bounds it on a quiet database",
            ago(archived),
            ago(limit)
        )),
        (Some(archived), _) => Outcome::pass(format!("the last segment was archived {} ago", ago(archived))),
    }
}

/// A length of time in its two largest units.
fn ago(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let unit = match seconds {
        0..=119 => 1,
        120..=7_199 => 60,
        _ => 3_600,
    };
    format_duration_ms((seconds / unit * unit) as i64 * 1_000)
}

/// A standby replays close behind.
pub fn standby(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    match standbys(e) {
        Ok(standbys) => {
            let outcomes = standbys.iter().map(|s| judge_standby(s, e.told.standby_lag));
            // One that keeps up is enough; the others are worth knowing.
            let mut outcomes: Vec<Outcome> = outcomes.collect();
            outcomes.sort_by_key(|o| std::cmp::Reverse(o.status));
            match outcomes.into_iter().next() {
                Some(best) => best,
                None => Outcome::fail("no standby is connected: with the one server the data and the service are gone")
                    .attestable(),
            }
        }
        Err(gap) => match database::server(e) {
            Ok((server, _)) if server.replicas == 1 => Outcome::fail(format!(
                "{} has one replica: without a standby the data is lost with its volume",
                server.title()
            )),
            Ok((server, _)) => Outcome::unknown(format!(
                "{} has {} replicas; whether one replays is not seen: {gap}",
                server.title(),
                server.replicas
            )),
            Err(why) => gap.and(&why).into(),
        },
    }
}

fn standbys(e: &Evidence) -> Known<Vec<Standby>> {
    let seen = e.postgres.as_ref().map_err(Clone::clone)?;
    if seen.is_standby {
        return unknown(format!("{} is itself a standby; ask the primary", seen.address));
    }
    seen.standbys.clone()
}

fn judge_standby(standby: &Standby, limit: Duration) -> Outcome {
    let lag = match (standby.lag, standby.lag_bytes) {
        (Some(lag), _) => format!("{:.1} s behind", lag.as_secs_f64()),
        (None, Some(bytes)) => format!("{bytes} bytes behind"),
        (None, None) => "its lag unknown".into(),
    };
    let seen = format!("standby `{}` is {}, {lag}", standby.name, standby.state);
    // After a quiet time there is no time lag to tell; a standby without missing bytes has replayed everything.
    let is_close = standby.lag.is_some_and(|lag| lag <= limit) || standby.lag_bytes == Some(0);
    match standby.state.as_str() {
        "streaming" if is_close => Outcome::pass(seen),
        "streaming" if standby.lag.is_none() && standby.lag_bytes.is_some_and(|b| b < 16 << 20) => Outcome::pass(seen),
        "streaming" if standby.lag.is_none() && standby.lag_bytes.is_none() => Outcome::unknown(seen),
        "streaming" => Outcome::warn(format!("{seen}: more than {} would be lost", ago(limit))),
        _ => Outcome::warn(format!("{seen}: it does not stream")),
    }
}

/// Somebody promotes the standby when the primary is gone.
pub fn failover(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    if let Some(manager) = failover_manager(e) {
        return Outcome::pass(manager);
    }
    match standbys(e) {
        Ok(standbys) if standbys.is_empty() => Outcome::skipped("there is no standby to fail over to"),
        Ok(standbys) => {
            let managed = standbys.iter().find(|s| s.name.contains("patroni") || s.name.contains("pg_auto_failover"));
            match managed {
                Some(standby) => Outcome::pass(format!("standby `{}` belongs to a failover manager", standby.name)),
                None => Outcome::unknown(
                    "a standby is there; whether something promotes it cannot be seen from the database; attest to it",
                ),
            }
        }
        Err(gap) => match database::server(e) {
            Ok((server, _)) if server.replicas == 1 => Outcome::skipped("there is no standby to fail over to"),
            _ => gap.into(),
        },
    }
}

/// A failover manager by its traces in Kubernetes, at the engine's own database.
fn failover_manager(e: &Evidence) -> Option<String> {
    let cluster = e.cluster.as_ref().ok()?;
    let engine = cluster.engines().ok()?.first()?.0;
    let (address, _) = database::address(e).ok()?;
    for (host, _) in &address.hosts {
        let Some(service) = cluster.service_at(host, engine) else { continue };
        let is_followed = service.selector.contains_key("cnpg.io/cluster")
            || service.selector.get("application").is_some_and(|a| a == "spilo" || a == "patroni");
        if is_followed {
            return Some(format!("Service {} follows the primary of a failover manager", service.name));
        }
        let managed = cluster.workload_at(host, engine, &["spilo", "postgresql-repmgr", "pg_auto_failover"]);
        if let Some((workload, container)) = managed {
            return Some(format!("{} runs {}", workload.title(), container.image));
        }
    }
    None
}

/// Every node that may run finds its connections.
pub fn connections(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    let room = match connection_room(e) {
        Ok(room) => room,
        Err(gap) => return gap.into(),
    };
    let nodes = match facts::nodes_max(e) {
        Ok(nodes) => nodes,
        Err(gap) => return gap.into(),
    };
    let ConnectionRoom { usable, per_node, by } = room;
    let needed = nodes.count.saturating_mul(per_node);
    let sum = format!("{} nodes ({}) x {per_node} connections = {needed}, {by} allows {usable}", nodes.count, nodes.by);
    let used = e.postgres.as_ref().ok().and_then(|seen| seen.used_connections);
    let outcome = match (needed > usable, facts::pubsub(e)) {
        (true, _) => Outcome::fail(format!("{sum}: {} nodes at most", usable / per_node)),
        (false, Err(gap)) if nodes.count.saturating_mul(2 * POSTGRES_CONNECTIONS_PER_ENGINE) > usable => {
            Outcome::unknown(format!(
                "{sum}, but twice as many are needed where PostgreSQL carries the messages, which is not known: {gap}"
            ))
        }
        (false, _) => Outcome::pass(sum),
    };
    match used {
        Some(used) => outcome.seen(format!("{used} connections are open now")),
        None => outcome,
    }
}

/// What PostgreSQL has room for.
struct ConnectionRoom {
    /// Connections for ordinary roles.
    usable: u32,
    /// Connections that one engine may hold.
    per_node: u32,
    /// Who says so.
    by: String,
}

fn connection_room(e: &Evidence) -> Known<ConnectionRoom> {
    let (limit, reserved, by) = max_connections(e)?;
    let pools = match facts::pubsub(e) {
        Ok(Pubsub::Postgres) => 2,
        _ => 1,
    };
    let per_node = POSTGRES_CONNECTIONS_PER_ENGINE * pools;
    Ok(ConnectionRoom { usable: limit.saturating_sub(reserved), per_node, by })
}

/// Engine nodes that PostgreSQL has connections for.
///
/// # Errors
/// Its limit is not known.
pub fn nodes_that_fit(e: &Evidence) -> Known<u32> {
    connection_room(e).map(|room| room.usable / room.per_node)
}

/// Limit, what of it is reserved, and who says so.
fn max_connections(e: &Evidence) -> Known<(u32, u32, String)> {
    if let Ok(seen) = &e.postgres {
        return Ok((seen.max_connections, seen.reserved_connections, format!("PostgreSQL at {}", seen.address)));
    }
    let gap = e.postgres.as_ref().map(|_| ()).map_err(Clone::clone);
    let planned =
        database::server(e).and_then(|(workload, container)| database::planned_connections(workload, container));
    match (gap, planned) {
        (_, Ok(planned)) => Ok((planned.limit, planned.reserved, planned.by)),
        (Err(gap), Err(why)) => Err(gap.and(&why)),
        (Ok(()), Err(why)) => Err(why),
    }
}

/// Nothing pools connections in between.
pub fn no_pooler(e: &Evidence) -> Outcome {
    if let Err(outcome) = facts::only_with(e, Backend::Postgres) {
        return outcome;
    }
    let mut outcomes = Vec::new();
    if let Ok((address, from)) = database::address(e) {
        outcomes.push(by_address(e, &address, &from));
    }
    if let Ok(PostgresSeen { pooler, address, .. }) = &e.postgres {
        outcomes.push(match pooler {
            Err(gap) => gap.into(),
            Ok(PoolerSign::Pooler(why)) => {
                Outcome::fail(format!("{address} is a pooler: {why}; the engine needs PostgreSQL itself"))
            }
            Ok(PoolerSign::Direct(why)) => Outcome::pass(format!("{address}: {why}")),
        });
    }
    if let Some(worst) = outcomes.iter().find(|o| o.status == crate::checklist::Status::Fail) {
        return worst.clone();
    }
    // One of the two that shows a direct way is enough.
    outcomes.sort_by_key(|o| std::cmp::Reverse(o.status));
    outcomes.into_iter().next().unwrap_or_else(|| match &e.postgres {
        Err(gap) => gap.into(),
        Ok(_) => Outcome::unknown("the engine's own database address is not known"),
    })
}

/// What the engine's own address tells: the workload behind its Service, or words that only poolers have.
fn by_address(e: &Evidence, address: &DatabaseAddress, from: &str) -> Outcome {
    const WORDS: [&str; 5] = ["pgbouncer", "pooler", "supavisor", "pgcat", ".proxy-"];
    for (host, port) in &address.hosts {
        let by_name = WORDS.iter().any(|word| host.contains(word));
        if by_name || *port == 6432 || *port == 6543 {
            return Outcome::fail(format!(
                "the engine's database address `{host}:{port}` ({from}) is that of a pooler"
            ));
        }
        let Ok(cluster) = &e.cluster else { continue };
        let Some(engine) = cluster.engines().ok().and_then(|found| Some(found.first()?.0)) else { continue };
        let behind = |images: &[&str]| cluster.workload_at(host, engine, images).map(|(workload, _)| workload.title());
        if let Some(pooler) = behind(&POOLERS) {
            return Outcome::fail(format!(
                "the engine's database address `{host}` ({from}) leads to the pooler {pooler}"
            ));
        }
        if let Some(server) = behind(&database::SERVERS) {
            return Outcome::pass(format!("the engine's database address `{host}` leads to {server} itself"));
        }
    }
    Outcome::unknown(
        "the engine's database address shows no pooler by its name; whether one stands behind it was not tried",
    )
}

/// FoundationDB is there where load asks for it.
pub fn foundationdb(e: &Evidence) -> Outcome {
    let guide = f64::from(POSTGRES_ACTORS_GUIDE);
    match (facts::backend(e), facts::actors_running(e)) {
        (Ok((Backend::Foundationdb, by)), _) => Outcome::pass(format!("the engine's database is FoundationDB, {by}")),
        (_, Ok(actors)) if actors > guide => Outcome::info(format!(
            "{actors:.0} actors at once within a day: beyond about {guide:.0} FoundationDB (Enterprise) is advised, {CONTACT}"
        )),
        (Ok(_), Ok(actors)) => Outcome::pass(format!("not needed for {actors:.0} actors at once")),
        (Err(gap), _) | (_, Err(gap)) => gap.into(),
    }
}

/// Where upstream sells what is not in the open engine.
pub const CONTACT: &str = "https://rivet.dev/sales";
