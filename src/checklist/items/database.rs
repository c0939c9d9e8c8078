//! The engine's PostgreSQL among the objects: the workload that the engine's own address leads to, and no other.

use secrecy::ExposeSecret;

use super::facts;
use crate::checklist::cluster::{Container, EnvValue, Image, Workload};
use crate::checklist::evidence::{DatabaseAddress, Evidence, Setting};
use crate::checklist::known::{Gap, Known, unknown};

/// Base names of images that are a PostgreSQL server.
pub const SERVERS: [&str; 6] = ["postgres", "postgresql", "postgis", "timescaledb", "spilo", "pgvector"];
/// Those among them that keep PostgreSQL's own default where nothing says otherwise.
const PLAIN_SERVERS: [&str; 3] = ["postgres", "postgis", "pgvector"];
/// What PostgreSQL keeps for superusers when nothing is said.
const RESERVED_DEFAULT: u32 = 3;
/// Connections that PostgreSQL takes when nothing is said.
const CONNECTIONS_DEFAULT: u32 = 100;

/// The database's address in the engine's configuration, and where it stands.
///
/// # Errors
/// It stands where it is not read, or is none.
pub fn address(e: &Evidence) -> Known<(DatabaseAddress, String)> {
    match e.settings.as_ref().map_err(Clone::clone)?.get("postgres.url") {
        Setting::Text(url, from) => match DatabaseAddress::parse(url.expose_secret()) {
            Some(address) => Ok((address, from)),
            None => unknown(format!("`postgres.url` in {from} is no address of PostgreSQL")),
        },
        Setting::Elsewhere(from) => {
            unknown(format!("the engine's database address comes from {from}, which is not read"))
        }
        Setting::Unset => unknown("the engine's database address is not known"),
        Setting::Unseen(gap) => Err(gap),
    }
}

/// The server that the engine's own address leads to.
///
/// # Errors
/// The address is not known, or leads to no server among the objects: a managed one, or one of another folder.
pub fn server(e: &Evidence) -> Known<(&Workload, &Container)> {
    let cluster = facts::known_cluster(e)?;
    let engines = cluster.engines()?;
    let (address, from) = address(e)?;
    let engine = engines.first().map(|(workload, _)| *workload).ok_or_else(|| Gap::new("there is no engine"))?;
    let found = address.hosts.iter().find_map(|(host, _)| cluster.workload_at(host, engine, &SERVERS));
    found.ok_or_else(|| {
        let hosts: Vec<&str> = address.hosts.iter().map(|(host, _)| host.as_str()).collect();
        Gap::new(format!(
            "the engine's database `{}` ({from}) is none of the servers in {}",
            hosts.join(","),
            cluster.source
        ))
    })
}

/// What a server is told to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    pub limit: u32,
    /// Of them for superusers.
    pub reserved: u32,
    /// Who says so.
    pub by: String,
}

/// The connections of a server by its own arguments, which win over its files.
///
/// # Errors
/// It may be set where it is not read.
pub fn planned_connections(workload: &Workload, container: &Container) -> Known<Connections> {
    let title = workload.title();
    let variable = match container.env("POSTGRESQL_MAX_CONNECTIONS") {
        Some(EnvValue::Text(text)) => Some(text.expose_secret().to_owned()),
        _ => None,
    };
    let reserved = setting(&container.args, "superuser_reserved_connections");
    let reserved = reserved.and_then(|text| text.parse().ok()).unwrap_or(RESERVED_DEFAULT);
    if let Some(text) = setting(&container.args, "max_connections").or(variable) {
        let Ok(limit) = text.parse() else {
            return unknown(format!("{title} sets `max_connections` to `{text}`, which is no number"));
        };
        return Ok(Connections { limit, reserved, by: format!("{title} (`max_connections` {limit})") });
    }
    match elsewhere(workload, container) {
        Some(why) => {
            unknown(format!("`max_connections` of {title} is not known: {why}; set `check.postgres.url_file`"))
        }
        None => Ok(Connections {
            limit: CONNECTIONS_DEFAULT,
            reserved,
            by: format!("{title} (the default `max_connections` of {CONNECTIONS_DEFAULT})"),
        }),
    }
}

/// Where else it may be set.
fn elsewhere(workload: &Workload, container: &Container) -> Option<String> {
    if let Some(file) = setting(&container.args, "config_file") {
        return Some(format!("`{file}` is not read"));
    }
    if container.args.iter().any(|word| word.contains(char::is_whitespace)) {
        return Some("its command is a script".into());
    }
    let base = Image::parse(&container.image).base();
    if !PLAIN_SERVERS.contains(&base) {
        return Some(format!("the image `{base}` has settings of its own"));
    }
    if let Some(variable) = ["POSTGRES_INITDB_ARGS", "PGOPTIONS"].iter().find(|name| container.env(name).is_some()) {
        return Some(format!("variable {variable} may set it"));
    }
    const PLACES: [&str; 4] = ["postgresql.conf", "conf.d", "/etc/postgresql", "initdb.d"];
    let own = workload.mounts.iter().filter(|m| m.container == container.name);
    let mut mounted = own.filter(|m| PLACES.iter().any(|place| m.path.contains(place)));
    mounted.next().map(|mount| format!("what is mounted at {} may set it", mount.path))
}

/// A setting on PostgreSQL's command line: `-c name=value`, `--name=value`, and `-N n` for connections. The last counts.
fn setting(args: &[String], name: &str) -> Option<String> {
    let mut found = None;
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let pair = match word.as_str() {
            "-N" if name == "max_connections" => {
                found = words.next().cloned().or(found);
                continue;
            }
            "-c" => words.next().map(String::as_str),
            other if other.starts_with("--") => other.strip_prefix("--"),
            other if other.starts_with("-N") && name == "max_connections" => {
                found = Some(other[2..].to_owned());
                continue;
            }
            other => other.strip_prefix("-c"),
        };
        if let Some((key, value)) = pair.and_then(|pair| pair.split_once('='))
            && key.trim().replace('-', "_").eq_ignore_ascii_case(name)
        {
            found = Some(value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_of_postgres_is_read_as_it_reads_it() {
        let of = |args: &[&str]| {
            let args = args.iter().map(|a| (*a).to_owned()).collect();
            let container = Container { image: "postgres:17".into(), args, ..Container::default() };
            planned_connections(&Workload::default(), &container).map(|c| c.limit).map_err(|gap| gap.to_string())
        };
        for args in [
            &["-c", "max_connections=1000"][..],
            &["-cmax_connections=1000"],
            &["--max_connections=1000"],
            &["--max-connections=1000"],
            &["-N", "1000"],
            &["-N1000"],
            &["postgres", "-c", "max_connections=5", "-c", "MAX_CONNECTIONS = 1000"],
            &["-c", "config_file=/x", "-N", "1000"],
        ] {
            assert_eq!(of(args), Ok(1000), "{args:?}");
        }
        assert_eq!(of(&["-c", "shared_buffers=1GB"]), Ok(100));
        for (args, word) in [
            (&["-c", "config_file=/etc/x.conf"][..], "`/etc/x.conf` is not read"),
            (&["--config_file=/etc/x.conf"], "`/etc/x.conf` is not read"),
            (&["sh", "-c", "exec postgres -c max_connections=300"], "script"),
            (&["-c", "max_connections=many"], "`many`"),
        ] {
            let error = of(args).unwrap_err();
            assert!(error.contains(word), "{args:?}: {error}");
        }
    }
}
