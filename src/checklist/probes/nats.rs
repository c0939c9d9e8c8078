//! Asks NATS servers: the `INFO` line that every client is greeted with, and the monitoring port over HTTP.
//!
//! Always: nothing is sent on the client port, not even `CONNECT`.   Limits: 32 servers, an `INFO` line of 64 KiB.

use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::http::{Http, at, shown};
use crate::checklist::evidence::{NatsMonitor, NatsSeen, NatsServer};
use crate::checklist::known::{Known, unknown};

const SERVERS_MAX: usize = 32;
const INFO_BYTES_MAX: usize = 64 << 10;

/// What is asked.
#[derive(Clone, Debug)]
pub struct NatsAddresses {
    pub servers: Vec<(String, u16)>,
    /// The monitoring port beside each; 0 leaves it out.
    pub monitor_port: u16,
    /// Monitoring ports elsewhere; the first belongs to the first server, and so on.
    pub monitor_urls: Vec<Url>,
}

/// Asks every server, and those that a headless Service's name resolves to.
///
/// # Errors
/// No server answered.
pub async fn ask(http: &Http, addresses: &NatsAddresses, timeout: Duration) -> Known<NatsSeen> {
    let mut seen = NatsSeen::default();
    let mut places = Vec::new();
    for (i, (host, port)) in addresses.servers.iter().enumerate() {
        match tokio::time::timeout(timeout, tokio::net::lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => {
                let monitor = addresses.monitor_urls.get(i).cloned();
                let all: Vec<_> = found.collect();
                let is_name = all.len() > 1 && monitor.is_none();
                let each = if is_name { all.as_slice() } else { &all[..all.len().min(1)] };
                places.extend(each.iter().map(|address| (*address, monitor.clone())));
            }
            Ok(Err(e)) => seen.silent.push((format!("{host}:{port}"), e.to_string())),
            Err(_) => seen.silent.push((format!("{host}:{port}"), "the name does not resolve in time".into())),
        }
    }
    places.truncate(SERVERS_MAX);
    let one = |(address, monitor): (std::net::SocketAddr, Option<Url>)| async move {
        let info = match tokio::time::timeout(timeout, info(address)).await {
            Ok(info) => info,
            Err(_) => Err(format!("no greeting within {} ms", timeout.as_millis())),
        };
        let info = info.map_err(|why| (address.to_string(), why))?;
        let beside =
            || Url::parse(&format!("http://{}", std::net::SocketAddr::new(address.ip(), addresses.monitor_port))).ok();
        let base = monitor.or_else(|| (addresses.monitor_port != 0).then(beside).flatten());
        let monitor = match base {
            Some(base) => monitor_of(http, &base).await,
            None => unknown("the monitoring port is left out (`check.nats.monitor_port: 0`)"),
        };
        Ok(server(address.to_string(), &info, monitor))
    };
    for answer in futures_util::future::join_all(places.into_iter().map(one)).await {
        match answer {
            // Two names of one server are one server.
            Ok(server) if !seen.servers.iter().any(|s: &NatsServer| s.id == server.id) => seen.servers.push(server),
            Ok(_) => {}
            Err(silent) => seen.silent.push(silent),
        }
    }
    match (seen.servers.is_empty(), seen.silent.first()) {
        (false, _) => Ok(seen),
        (true, Some((address, why))) => unknown(format!("no NATS server answered: {address}: {why}")),
        (true, None) => unknown("no NATS server is known"),
    }
}

/// The JSON of the greeting.
async fn info(address: std::net::SocketAddr) -> Result<Value, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
    let mut text = Vec::new();
    while !text.contains(&b'\n') {
        if text.len() >= INFO_BYTES_MAX {
            return Err("the greeting is no line".into());
        }
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.map_err(|e| e.to_string())?;
        if read == 0 {
            return Err("the connection was closed before a greeting".into());
        }
        text.extend_from_slice(&part[..read]);
    }
    let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
    let json = line.strip_prefix(b"INFO ").ok_or("it does not greet as a NATS server does")?;
    serde_json::from_slice(json).map_err(|_| "the greeting holds no JSON".into())
}

fn server(address: String, info: &Value, monitor: Known<NatsMonitor>) -> NatsServer {
    let text = |key: &str| info.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let others = info.get("connect_urls").and_then(Value::as_array).into_iter().flatten();
    NatsServer {
        address,
        id: text("server_id"),
        name: Some(text("server_name")).filter(|n| !n.is_empty()).unwrap_or_else(|| text("server_id")),
        version: text("version"),
        cluster: Some(text("cluster")).filter(|c| !c.is_empty()),
        has_jetstream: info.get("jetstream").and_then(Value::as_bool).unwrap_or(false),
        others: others.filter_map(Value::as_str).map(str::to_owned).collect(),
        monitor,
    }
}

async fn monitor_of(http: &Http, base: &Url) -> Known<NatsMonitor> {
    let get = async |path: &str| -> Known<Value> {
        let url = at(base, path, &[]);
        match http.get(url.clone(), None).await {
            Ok(answer) if answer.status == 200 => Ok(answer.json()),
            Ok(answer) => unknown(format!("{} answered with status {}", shown(&url), answer.status)),
            Err(why) => unknown(format!("{} gave no answer: {why}", shown(&url))),
        }
    };
    let (varz, routez) = (get("/varz").await?, get("/routez").await?);
    let Some(slow_consumers) = varz.get("slow_consumers").and_then(Value::as_u64) else {
        return unknown(format!("{} does not tell of slow consumers", shown(base)));
    };
    let routes = routez.get("routes").and_then(Value::as_array).into_iter().flatten();
    let id = |route: &Value| route.get("remote_id").and_then(Value::as_str).map(str::to_owned);
    let has_jetstream = varz.get("jetstream").and_then(Value::as_object).is_some_and(|j| !j.is_empty());
    Ok(NatsMonitor { slow_consumers, routes: routes.filter_map(id).collect(), has_jetstream })
}
