//! Security: the admin token, and the doors that ask for none.

use secrecy::ExposeSecret;

use super::facts;
use crate::checklist::cluster::{Cluster, Route, Service, ServicePort, ServiceType};
use crate::checklist::evidence::{Attempt, Door, Evidence, Fingerprint, PoolKind, Reach, Setting, Strength, strength};
use crate::checklist::known::{Known, Listed, unknown};
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::{METRICS_PORT, PEER_PORT};

/// Calls without the token are refused.
pub fn admin_token_set(e: &Evidence) -> Outcome {
    let tried = match &e.engine.without_token {
        Ok(answer) => match (answer.status, answer.is_engine) {
            (401 | 403, _) => {
                return Outcome::pass(format!("{} without a token was answered with {}", answer.url, answer.status));
            }
            (200, true) => {
                return Outcome::fail(format!("{} answers without a token: every API call is open", answer.url));
            }
            (status, _) => unknown(format!("{} answered with status {status}, which is not the engine's", answer.url)),
        },
        Err(gap) => Err::<(), _>(gap.clone()),
    };
    let tried = tried.err().map(|gap| gap.reason().to_owned()).unwrap_or_default();
    match &e.settings {
        Ok(settings) => match settings.get("auth.admin_token") {
            Setting::Text(_, from) | Setting::Elsewhere(from) => {
                Outcome::pass(format!("set by {from}; not tried: {tried}"))
            }
            Setting::Unset => Outcome::fail(format!(
                "`auth.admin_token` is set nowhere in {}: every API call is open",
                settings.sources.join(", ")
            )),
            Setting::Unseen(gap) => Outcome::unknown(format!("{tried}; {gap}")),
        },
        Err(_) => Outcome::unknown(tried),
    }
}

/// The token is long and random.
pub fn admin_token_strong(e: &Evidence) -> Outcome {
    let from_settings = e.settings.as_ref().ok().and_then(|s| match s.get("auth.admin_token") {
        Setting::Text(token, from) => Some((token, from)),
        _ => None,
    });
    let (token, from) = match (&e.told.admin_token, from_settings) {
        (Some(Err(gap)), None) => return gap.into(),
        (Some(Ok(token)), _) => (token.clone(), "the token file".to_owned()),
        (_, Some((token, from))) => (token, from),
        (None, None) => {
            return Outcome::unknown(
                "the token was not given; set `receive.engine_api.admin_token_file` to have it judged",
            );
        }
    };
    let what = format!("{} characters in {from}", token.expose_secret().trim().chars().count());
    if e.engine.token_taken == Some(Ok(false)) {
        return Outcome::unknown("the engine refuses the token that was given, so it is another one").seen(what);
    }
    match strength(&token) {
        Strength::Weak(why) => Outcome::fail(format!("the admin token is guessable: {why}")).seen(what),
        Strength::Bits(bits) if bits < 128 => {
            Outcome::warn(format!("the admin token has about {bits} bits; `openssl rand -hex 32` gives 256")).seen(what)
        }
        Strength::Bits(bits) => Outcome::pass(format!("{what}, at most {bits} bits")),
    }
}

/// No client is handed the token.
pub fn admin_token_not_public(e: &Evidence) -> Outcome {
    let admin = admin_fingerprint(e);
    let mut outcomes = Vec::new();
    for answer in &e.engine.metadata {
        let host = match answer {
            Ok(host) => host,
            Err(gap) => {
                outcomes.push(gap.into());
                continue;
            }
        };
        let place = format!("{}/metadata", host.url);
        outcomes.push(match &host.client_token {
            None => Outcome::pass(format!("{place} holds no `clientToken`")),
            Some(token) => client_token(&place, "`clientToken`", token.fingerprint, token.is_admin, admin),
        });
    }
    if let Ok(cluster) = &e.cluster {
        outcomes.extend(public_endpoints(cluster, admin));
    }
    if let Some(outcome) = Outcome::worst_of(outcomes) {
        return outcome;
    }
    match &e.engine.pools {
        Ok(pools) if !pools.is_empty() && pools.iter().all(|p| p.kind == PoolKind::Normal) => Outcome::skipped(
            "no pool is serverless, and no actor host is named in `check.actor_host_urls`: none hands out endpoints",
        ),
        Ok(_) => Outcome::unknown("no actor host was asked for its metadata; name one in `check.actor_host_urls`"),
        Err(gap) => Outcome::unknown(format!(
            "no actor host is known ({gap}); name one in `check.actor_host_urls`, such as https://app.example.com/api/rivet"
        )),
    }
}

fn admin_fingerprint(e: &Evidence) -> Option<Fingerprint> {
    let told = e.told.admin_token.as_ref().and_then(|token| token.as_ref().ok()).map(Fingerprint::of);
    told.or_else(|| match e.settings.as_ref().ok()?.get("auth.admin_token") {
        Setting::Text(token, _) => Some(Fingerprint::of(&token)),
        _ => None,
    })
}

fn client_token(
    place: &str,
    name: &str,
    token: Fingerprint,
    is_admin: Option<bool>,
    admin: Option<Fingerprint>,
) -> Outcome {
    match (is_admin, admin) {
        (Some(true), _) => Outcome::fail(format!("{name} in {place} opens the engine's API: it is the admin token")),
        (_, Some(admin)) if admin == token => {
            Outcome::fail(format!("{name} in {place} is the admin token, for everybody to read"))
        }
        (Some(false), _) | (None, Some(_)) => Outcome::pass(format!("{name} in {place} is not the admin token")),
        (None, None) => Outcome::unknown(format!(
            "{place} holds {name}; whether it is the admin token cannot be told without `receive.engine_api.admin_token_file`"
        )),
    }
}

/// `RIVET_PUBLIC_ENDPOINT` and `RIVET_PUBLIC_TOKEN` of every workload.
fn public_endpoints(cluster: &Cluster, admin: Option<Fingerprint>) -> Vec<Outcome> {
    let workloads = cluster.workloads.as_ref().map(|w| w.items.as_slice()).unwrap_or_default();
    let mut outcomes = Vec::new();
    for workload in workloads {
        for container in &workload.containers {
            for name in ["RIVET_PUBLIC_ENDPOINT", "RIVET_PUBLIC_TOKEN"] {
                let Some(value) = cluster.env_text(workload, container, name) else { continue };
                let value = value.expose_secret();
                let token = if name == "RIVET_PUBLIC_TOKEN" { Some(value) } else { url_password(value) };
                let place = workload.title();
                outcomes.push(match token.filter(|t| !t.is_empty()) {
                    None => Outcome::pass(format!("`{name}` of {place} holds no token")),
                    Some(token) => {
                        client_token(&place, &format!("`{name}`"), Fingerprint::of(&token.into()), None, admin)
                    }
                });
            }
        }
    }
    outcomes
}

/// The part of a URL between `user:` and `@`.
pub fn url_password(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    authority.rsplit_once('@')?.0.split_once(':').map(|(_, password)| password)
}

/// No secret came with telemetry.
pub fn admin_token_not_in_telemetry(e: &Evidence) -> Outcome {
    let seen = match facts::telemetry(e) {
        Ok(seen) => seen,
        Err(gap) => return gap.into(),
    };
    let spans: f64 = seen.instances.as_ref().map(|all| all.iter().map(|i| i.spans).sum()).unwrap_or(0.0);
    match &seen.secrets {
        Err(gap) => gap.into(),
        Ok(count) if *count > 0.0 => Outcome::fail(format!(
            "{count:.0} secrets came with telemetry within a day and were cut; whoever else receives it has them in clear"
        )),
        Ok(_) if spans == 0.0 => Outcome::unknown("no span came within the hour, so that none could be looked into"),
        Ok(_) => {
            Outcome::pass(format!("no secret among {spans:.0} spans of the last hour, nor in any other telemetry"))
        }
    }
}

/// The peer API cannot be reached from outside.
pub fn peer_port_closed(e: &Evidence) -> Outcome {
    port_closed(e, Door::Peer, PEER_PORT, "answers without a token")
}

/// The metrics page cannot be reached from outside.
pub fn metrics_port_closed(e: &Evidence) -> Outcome {
    port_closed(e, Door::Metrics, METRICS_PORT, "shows every metric to anybody")
}

fn port_closed(e: &Evidence, door: Door, port: u16, what: &str) -> Outcome {
    let mut outcomes: Vec<Outcome> = e.outside.of(door).map(|attempt| reached(attempt, port, what)).collect();
    let was_tried = !outcomes.is_empty();
    // A door that is closed where it was tried may be open on an address that only Kubernetes knows.
    let (mut gaps, mut opened) = (Vec::new(), false);
    match (&e.told.without_kubernetes, &e.cluster) {
        (None, Ok(cluster)) => match exposures(cluster, port) {
            Ok(found) => {
                opened = !found.is_empty();
                outcomes.extend(found.into_iter().map(|how| Outcome::fail(format!("{how}, which {what}"))));
                if !opened {
                    outcomes.push(Outcome::pass(format!(
                        "no Service, Ingress or host port opens {port} in {}; {}",
                        cluster.source,
                        not_looked_at(cluster)
                    )));
                }
            }
            Err(gap) => gaps.push(gap.reason().to_owned()),
        },
        (None, Err(gap)) => gaps.push(gap.reason().to_owned()),
        (Some(_), _) => {}
    }
    let on_this_machine = e.outside.on_this_machine.iter().find(|(d, _)| *d == door);
    if let (Some((_, address)), false, false) = (on_this_machine, was_tried, opened) {
        return Outcome::warn(format!(
            "{port} {what}, and listens on {address} too; whether a firewall stands before it cannot be seen from here"
        ));
    }
    if outcomes.is_empty() {
        gaps.extend(e.outside.not_tried.clone());
    }
    if outcomes.is_empty() || !gaps.is_empty() {
        outcomes.push(Outcome::unknown(gaps.join("; ")));
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown("no address was tried"))
}

/// Ways in that no list shows.
fn not_looked_at(cluster: &Cluster) -> String {
    const OTHERS: &str = "objects of other proxies, such as an IngressRoute or a VirtualService, are not looked at";
    match &cluster.routes {
        Ok(_) => OTHERS.to_owned(),
        Err(gap) => format!("routes of the Gateway API were not looked at ({gap}), and {OTHERS}"),
    }
}

fn reached(attempt: &Attempt, port: u16, what: &str) -> Outcome {
    match &attempt.reach {
        Reach::Engine { status } => {
            Outcome::fail(format!("{} is reachable (status {status}): {port} {what}", attempt.url))
        }
        Reach::Other { status, .. } => Outcome::pass(format!("{} is not the engine (status {status})", attempt.url)),
        Reach::Closed(why) => Outcome::pass(format!("{}: {why}", attempt.url)),
        Reach::Undecided(why) => Outcome::unknown(format!("{}: {why}", attempt.url)),
    }
}

/// How `port` of the engine is opened beyond the cluster, one sentence each.
fn exposures(cluster: &Cluster, port: u16) -> Known<Vec<String>> {
    let mut found = Vec::new();
    for (workload, container) in cluster.engines()? {
        if workload.host_network {
            found.push(format!("{} uses the node's network and opens {port} on every node", workload.title()));
        }
        for declared in container.ports.iter().filter(|p| p.number == port) {
            if let Some(host_port) = declared.host_port {
                found.push(format!("{} opens {port} on port {host_port} of its node", workload.title()));
            }
        }
        for service in cluster.services_of(workload)? {
            let ports = service.ports.iter().filter(|p| container.port_number(&p.target) == Some(port));
            for p in ports {
                found.extend(opens(service, p.port, p.node_port, port));
                found.extend(ingresses(cluster, service, p)?);
                let routes = cluster.routes.as_ref().map(|r| r.items.as_slice()).unwrap_or_default();
                let leads = |route: &&Route| route.backends.iter().any(|b| b.leads_to_port(service, p));
                let title =
                    |route: &Route| format!("{} leads to port {} of Service {}", route.title, p.port, service.name);
                found.extend(routes.iter().filter(leads).map(title));
            }
        }
    }
    if found.is_empty() {
        // Nothing follows from a list that was not read as a whole.
        cluster.services.as_ref().map_err(Clone::clone)?.is_whole()?;
        cluster.ingresses.as_ref().map_err(Clone::clone)?.is_whole()?;
        cluster.routes.as_ref().map_or(Ok(()), Listed::is_whole)?;
    }
    Ok(found)
}

fn opens(service: &Service, port: u16, node_port: Option<u16>, target: u16) -> Option<String> {
    let name = &service.name;
    match (service.kind, node_port) {
        (ServiceType::NodePort, Some(node)) => Some(format!("Service {name} opens {target} on node port {node}")),
        (ServiceType::NodePort, None) => Some(format!("Service {name} opens {target} on a node port")),
        (ServiceType::LoadBalancer, _) => {
            Some(format!("Service {name} opens {target} on port {port} of a load balancer"))
        }
        (ServiceType::ClusterIp, _) if service.has_external_ips => {
            Some(format!("Service {name} opens {target} on external addresses"))
        }
        (ServiceType::ClusterIp | ServiceType::ExternalName, _) => None,
    }
}

/// Ingresses that lead to a port of a Service.
fn ingresses(cluster: &Cluster, service: &Service, port: &ServicePort) -> Known<Vec<String>> {
    let list = cluster.ingresses.as_ref().map_err(Clone::clone)?;
    let found = list.items.iter().filter(|i| i.backends.iter().any(|b| b.leads_to_port(service, port)));
    Ok(found.map(|i| format!("Ingress {} leads to port {} of Service {}", i.name, port.port, service.name)).collect())
}
