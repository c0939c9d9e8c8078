//! The probes: each asks one thing, reads only, and gives plain data or the reason why there is none.
//!
//! In:  [`Sources`].   Out: [`Evidence`].
//! Always: they run side by side, each within its own deadline, so that one that hangs costs nobody else.

pub mod engine;
pub mod grafana;
pub mod http;
pub mod kubernetes;
pub mod manifests;
pub mod nats;
mod outside;
pub mod postgres;
pub mod telemetry;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;
use secrecy::SecretString;

use super::cluster::Cluster;
use super::config::host_and_port;
use super::evidence::{Backups, EngineSettings, Evidence, Told};
use super::known::{Known, unknown};
use crate::model::TimestampMs;

pub use engine::EngineAddress;
pub use kubernetes::Access;
pub use telemetry::{HttpSeries, Row, Rows, Series};

/// Where the Kubernetes objects come from.
#[derive(Clone, Debug)]
pub enum ClusterSource {
    Api(Access),
    Manifests {
        path: PathBuf,
        namespace: Option<String>,
        engine: Option<String>,
    },
    /// Nothing is asked, and why.
    None(String),
}

/// NATS servers to ask.
#[derive(Clone, Debug)]
pub enum NatsSource {
    Servers(Vec<String>),
    /// Those that the engine's configuration names.
    Configured,
    /// Nothing is asked, and why.
    None(String),
}

/// Everything that is asked.
pub struct Sources<'a> {
    pub timeout: Duration,
    /// The engine's doors, or why they are not asked.
    pub engine: Known<EngineAddress>,
    pub cluster: ClusterSource,
    /// Files and folders of the engine's configuration.
    pub engine_config: Vec<PathBuf>,
    pub node_hosts: Vec<String>,
    /// The URL of PostgreSQL, or why it is not asked.
    pub postgres: Known<SecretString>,
    pub backup_marker: Option<PathBuf>,
    pub nats: NatsSource,
    pub nats_monitor_port: u16,
    pub nats_monitor_urls: Vec<Url>,
    /// Grafana and its token, or why it is not asked.
    pub grafana: Known<(Url, Option<SecretString>)>,
    pub ca_file: Option<PathBuf>,
    /// Where series are, or why they are not asked.
    pub series: Known<&'a dyn Series>,
    /// Whether outsiders' addresses are tried at all; not where only files are looked at.
    pub tries_outside: bool,
}

/// Asks everything at once. `now` is the time certificates and attestations are held against.
pub async fn collect(now: TimestampMs, told: Told, sources: &Sources<'_>) -> Evidence {
    let cluster = cluster(&sources.cluster).await;
    let files = manifests::engine_config(&sources.engine_config);
    let settings = match (&files, &told.without_kubernetes) {
        (Err(gap), Some(_)) => Err(gap.clone()),
        _ => EngineSettings::of(&files, &cluster),
    };
    let http = match http::Http::new(sources.timeout, sources.ca_file.as_deref()) {
        Ok(http) => http,
        Err(gap) => {
            // Without a client nothing can be asked over HTTP, and everything else still can.
            let mut evidence = Evidence::nothing(now, told);
            (evidence.cluster, evidence.engine_files, evidence.settings) = (cluster, files, settings);
            evidence.engine.without_token = Err(gap.clone());
            evidence.engine.health = Err(gap.clone());
            (evidence.telemetry, evidence.tls) = (Err(gap.clone()), Err(gap));
            return evidence;
        }
    };
    let public = public_url(&told, &settings);
    let mut told = told;
    told.public_url = public.as_ref().ok().filter(|url| !http::is_loopback(url)).map(http::shown);

    let engine = async {
        match &sources.engine {
            Ok(address) => engine::ask(&http, address).await,
            Err(gap) => super::evidence::EngineSeen {
                without_token: Err(gap.clone()),
                health: Err(gap.clone()),
                pools: Err(gap.clone()),
                hosts: Err(gap.clone()),
                ..super::evidence::EngineSeen::default()
            },
        }
    };
    let outside = async {
        if !sources.tries_outside {
            let not_tried = Some("only files are looked at, and no address was tried".to_owned());
            return super::evidence::OutsideSeen { not_tried, ..Default::default() };
        }
        let engine = sources.engine.as_ref().ok();
        outside::try_doors(&http, public.as_ref().ok(), &sources.node_hosts, &cluster, engine).await
    };
    let tls = async {
        let url = public.clone()?;
        if !sources.tries_outside {
            return unknown("only files are looked at, and no address was tried");
        }
        match (http::is_loopback(&url), url.scheme()) {
            (_, "https") => tls::shake_hands(&url, sources.ca_file.as_deref(), sources.timeout, now).await,
            (true, _) => unknown(format!("{url} is this machine; set `engine.public_url` to what clients use")),
            (false, _) => unknown("the public address has no TLS"),
        }
    };
    let postgres = async {
        let url = sources.postgres.clone()?;
        postgres::ask(&url, sources.ca_file.as_deref(), sources.timeout).await
    };
    let nats = async {
        let servers = nats_servers(&sources.nats, &settings)?;
        let (monitor_port, monitor_urls) = (sources.nats_monitor_port, sources.nats_monitor_urls.clone());
        nats::ask(&http, &nats::NatsAddresses { servers, monitor_port, monitor_urls }, sources.timeout).await
    };
    let telemetry = async {
        match &sources.series {
            Ok(series) => telemetry::ask(*series).await,
            Err(gap) => Err(gap.clone()),
        }
    };
    let grafana = async {
        let (url, token) = sources.grafana.clone()?;
        grafana::ask(&http, &url, token.as_ref()).await
    };
    let (engine, outside, tls, postgres, nats, telemetry, dashboards) =
        tokio::join!(engine, outside, tls, postgres, nats, telemetry, grafana);
    let backups = Backups { marker: sources.backup_marker.as_ref().map(|path| marker(path, now)) };
    Evidence {
        now,
        told,
        engine,
        outside,
        tls,
        cluster,
        engine_files: files,
        settings,
        postgres,
        backups,
        nats,
        telemetry,
        dashboards,
    }
}

async fn cluster(source: &ClusterSource) -> Known<Cluster> {
    let objects = match source {
        ClusterSource::Api(access) => kubernetes::read(access).await?,
        ClusterSource::Manifests { path, namespace, engine } => {
            manifests::read(path, namespace.as_deref(), engine.as_deref())?
        }
        ClusterSource::None(why) => return unknown(why.clone()),
    };
    Ok(Cluster::read(objects))
}

/// Where clients reach the engine: as told, else as the engine's own topology has it.
fn public_url(told: &Told, settings: &Known<EngineSettings>) -> Known<Url> {
    let from_topology = || {
        let settings = settings.as_ref().ok()?;
        let datacenters = settings.tree("/topology/datacenters")?;
        // A list in some releases, a map by name in others.
        let first = match datacenters {
            serde_json::Value::Array(all) => all.first(),
            serde_json::Value::Object(all) => all.values().next(),
            _ => None,
        };
        first?.get("public_url")?.as_str().map(str::to_owned)
    };
    match told.public_url.clone().or_else(from_topology) {
        Some(url) => match Url::parse(&url) {
            Ok(url) => Ok(url),
            Err(_) => unknown("the public address is no URL; set `engine.public_url`"),
        },
        None => unknown("no public address is known; set `engine.public_url`"),
    }
}

fn nats_servers(source: &NatsSource, settings: &Known<EngineSettings>) -> Known<Vec<(String, u16)>> {
    let (names, from) = match source {
        NatsSource::None(why) => return unknown(why.clone()),
        NatsSource::Servers(servers) => (servers.clone(), "check.nats.servers"),
        NatsSource::Configured => {
            let settings = settings.as_ref().map_err(Clone::clone)?;
            let list = settings.tree("/nats/addresses").and_then(serde_json::Value::as_array);
            let names = list.into_iter().flatten().filter_map(serde_json::Value::as_str).map(str::to_owned).collect();
            (names, "nats.addresses")
        }
    };
    if names.is_empty() {
        return unknown("no NATS server is known; set `check.nats.servers`");
    }
    let servers: Option<Vec<_>> = names
        .iter()
        .map(|name| {
            let name = name.trim_start_matches("nats://");
            host_and_port(name).or_else(|| (!name.contains(':')).then(|| (name.to_owned(), 4222)))
        })
        .collect();
    servers.map_or_else(|| unknown(format!("`{from}` holds an address that is none")), Ok)
}

/// The age of the file that a successful backup touches.
fn marker(path: &std::path::Path, now: TimestampMs) -> (String, Known<Duration>) {
    let name = format!("`{}`", path.display());
    let modified = match std::fs::metadata(path).and_then(|m| m.modified()) {
        Ok(modified) => modified,
        Err(e) => return (name, unknown(e.to_string())),
    };
    let at = modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Duration::from_millis(now.0.max(0).unsigned_abs());
    // A file from the future is fresh, as far as two clocks can tell.
    (name, Ok(now.saturating_sub(at)))
}
