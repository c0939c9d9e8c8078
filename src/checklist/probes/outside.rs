//! Tries the engine's doors where outsiders would: at the public name, on node ports, and on this machine's own address.
//!
//! Always: no token is sent, and nothing but GET.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use reqwest::Url;
use serde_json::Value;

use super::engine::EngineAddress;
use super::http::{Answer, Http, NoAnswer, is_loopback, shown};
use crate::checklist::cluster::{Cluster, ServiceType};
use crate::checklist::evidence::{Attempt, Door, OutsideSeen, Reach};
use crate::checklist::known::Known;
use crate::rivet::limits::{METRICS_PORT, PEER_PORT};

/// Addresses that are tried at most.
const ATTEMPTS_MAX: usize = 24;

/// Tries every door at the public address; `nodes` are hosts of node ports.
pub async fn try_doors(
    http: &Http,
    public: Option<&Url>,
    nodes: &[String],
    cluster: &Known<Cluster>,
    engine: Option<&EngineAddress>,
) -> OutsideSeen {
    let mut seen = OutsideSeen::default();
    let public = public.filter(|url| !is_loopback(url));
    let mut tries: Vec<(Door, String)> = Vec::new();
    match public.and_then(|url| url.host_str().map(|host| (url, host))) {
        Some((url, host)) => {
            tries.push((Door::Peer, format!("http://{host}:{PEER_PORT}/health")));
            tries.push((Door::Metrics, format!("http://{host}:{METRICS_PORT}/metrics")));
            let plain =
                if url.scheme() == "https" { format!("http://{host}/health") } else { with_path(url, "/health") };
            tries.push((Door::PlainHttp, plain));
        }
        None => seen.not_tried = Some("no address of outsiders is known; set `engine.public_url`".into()),
    }
    let own_host = public.and_then(|url| url.host_str().map(str::to_owned));
    let hosts: Vec<String> = if nodes.is_empty() { own_host.into_iter().collect() } else { nodes.to_vec() };
    for (door, node_port) in node_ports(cluster) {
        for host in &hosts {
            let path = if door == Door::Metrics { "/metrics" } else { "/health" };
            tries.push((door, format!("http://{}:{node_port}{path}", bracketed(host))));
        }
    }
    tries.truncate(ATTEMPTS_MAX);
    let one = |(door, url): (Door, String)| async move {
        let reach = match Url::parse(&url) {
            Ok(parsed) => reach(door, http.get(parsed, None).await),
            Err(e) => Reach::Undecided(format!("`{url}` is no address: {e}")),
        };
        Attempt { door, url, reach }
    };
    seen.attempts = futures_util::future::join_all(tries.into_iter().map(one)).await;
    if let Some(engine) = engine {
        seen.on_this_machine = on_this_machine(http, engine).await;
    }
    seen
}

fn with_path(url: &Url, path: &str) -> String {
    let mut url = url.clone();
    url.set_path(path);
    shown(&url)
}

/// An IPv6 address in brackets.
fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    }
}

/// Node ports that lead to a door which should stay closed.
fn node_ports(cluster: &Known<Cluster>) -> Vec<(Door, u16)> {
    let Ok(cluster) = cluster else { return Vec::new() };
    let mut found = Vec::new();
    for (workload, container) in cluster.engines().unwrap_or_default() {
        for service in cluster.services_of(workload).unwrap_or_default() {
            if !matches!(service.kind, ServiceType::NodePort | ServiceType::LoadBalancer) {
                continue;
            }
            for port in &service.ports {
                let door = match container.port_number(&port.target) {
                    Some(PEER_PORT) => Door::Peer,
                    Some(METRICS_PORT) => Door::Metrics,
                    _ => continue,
                };
                found.extend(port.node_port.map(|node_port| (door, node_port)));
            }
        }
    }
    found
}

fn reach(door: Door, answer: Result<Answer, NoAnswer>) -> Reach {
    match answer {
        Ok(answer) => match is_engine(door, &answer) {
            true => Reach::Engine { status: answer.status },
            false => Reach::Other { status: answer.status, location: answer.location },
        },
        Err(NoAnswer::Closed(why)) => Reach::Closed(why),
        // A packet that is dropped on the way, as by a firewall.
        Err(why @ NoAnswer::Silent(_)) => Reach::Closed(why.to_string()),
        // Something took the connection, and may be the engine when it is busy.
        Err(why @ NoAnswer::Timeout(_)) => Reach::Undecided(format!("it takes connections, and gives {why}")),
        Err(NoAnswer::Other(why)) => Reach::Undecided(why),
    }
}

/// Whether it is the engine that answers: by what its health or its metrics look like.
fn is_engine(door: Door, answer: &Answer) -> bool {
    match door {
        Door::Peer | Door::PlainHttp => {
            let json = answer.json();
            let text = |key: &str| json.get(key).and_then(Value::as_str);
            // 25.7 tells no runtime, only a status and its time.
            text("runtime") == Some("engine") || (text("status") == Some("ok") && json.get("timestamp").is_some())
        }
        Door::Metrics => {
            let start = String::from_utf8_lossy(&answer.body[..answer.body.len().min(1 << 16)]);
            answer.status == 200 && ["gasoline_", "rivet_", "guard_"].iter().any(|name| start.contains(name))
        }
    }
}

/// Tries the doors that have no token on this machine's own address, which others may reach, where the engine is here.
async fn on_this_machine(http: &Http, engine: &EngineAddress) -> Vec<(Door, String)> {
    let Some(address) = own_address() else { return Vec::new() };
    let host = bracketed(&address.to_string());
    let mut found = Vec::new();
    for (door, local, path) in [(Door::Peer, &engine.peer, "/health"), (Door::Metrics, &engine.metrics, "/metrics")] {
        let Some(port) = local.as_ref().filter(|url| is_loopback(url)).and_then(Url::port_or_known_default) else {
            continue;
        };
        let Ok(url) = Url::parse(&format!("http://{host}:{port}{path}")) else { continue };
        if matches!(reach(door, http.get(url, None).await), Reach::Engine { .. }) {
            found.push((door, format!("{host}:{port}")));
        }
    }
    found
}

/// The address this machine would use towards others; nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // Documentation addresses (RFC 5737): a route is looked up, no packet leaves.
    socket.connect(SocketAddr::from(([192, 0, 2, 1], 9))).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, location: None, body: body.as_bytes().to_vec(), took: Duration::ZERO }
    }

    #[test]
    fn the_engine_is_told_from_other_servers() {
        let ours = answer(200, r#"{"runtime":"engine","status":"ok","version":"2.3.19"}"#);
        assert!(is_engine(Door::Peer, &ours) && is_engine(Door::PlainHttp, &ours));
        assert!(is_engine(Door::Peer, &answer(200, r#"{"status":"ok","timestamp":1}"#)));
        assert!(!is_engine(Door::Peer, &answer(200, r#"{"status":"ok"}"#)), "anybody's health");
        assert!(is_engine(Door::Metrics, &answer(200, "# TYPE rivet_api_request_total counter\n")));
        assert!(!is_engine(Door::Metrics, &answer(200, "<html>")));
        assert_eq!(
            reach(Door::Peer, Err(NoAnswer::Silent(Duration::from_secs(5)))),
            Reach::Closed("no connection within 5000 ms".into())
        );
        assert!(matches!(reach(Door::Peer, Err(NoAnswer::Other("dns error".into()))), Reach::Undecided(_)));
        // It was reached, and says nothing: that it is the engine is as likely as not.
        assert!(matches!(reach(Door::Peer, Err(NoAnswer::Timeout(Duration::from_secs(5)))), Reach::Undecided(_)));
    }
}
