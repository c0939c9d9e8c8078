//! TLS in front of the engine, which has none of its own.

use super::facts;
use crate::checklist::cluster::{Cluster, Ingress, Service, ServiceType};
use crate::checklist::evidence::{Door, Evidence, Reach};
use crate::checklist::known::{Known, unknown};
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::GUARD_PORT;

/// The public address speaks TLS.
pub fn handshake(e: &Evidence) -> Outcome {
    if let Some(url) = e.told.public_url.as_deref().filter(|url| url.starts_with("http://")) {
        return Outcome::fail(format!("the public address {url} is plain HTTP"));
    }
    match &e.tls {
        Ok(seen) => match &seen.handshake {
            Ok(protocol) => Outcome::pass(format!("{} speaks {protocol}", seen.address)),
            Err(why) => Outcome::fail(format!("the handshake with {} failed: {why}", seen.address)),
        },
        Err(gap) => match planned(e) {
            Some(Ok(ingress)) => Outcome::pass(format!("Ingress {} ends TLS; not tried: {gap}", ingress.name)),
            Some(Err(why)) => Outcome::unknown(format!("{}; {gap}", why.reason())),
            None => gap.into(),
        },
    }
}

/// The Ingress that ends TLS before the guard, by the objects.
fn planned(e: &Evidence) -> Option<Known<&Ingress>> {
    let cluster = facts::cluster(e).ok()?;
    let found = guard_ingresses(cluster);
    Some(match found {
        Err(gap) => Err(gap),
        Ok(found) => match found.into_iter().find(|i| i.has_tls) {
            Some(ingress) => Ok(ingress),
            None => unknown(format!("no Ingress in {} ends TLS before the engine", cluster.source)),
        },
    })
}

/// Services that lead to the guard.
pub fn guard_services(cluster: &Cluster) -> Known<Vec<&Service>> {
    let mut found = Vec::new();
    for (workload, container) in cluster.engines()? {
        let leads = |s: &&Service| s.ports.iter().any(|p| container.port_number(&p.target) == Some(GUARD_PORT));
        found.extend(cluster.services_of(workload)?.into_iter().filter(leads));
    }
    Ok(found)
}

/// Ingresses that lead to the guard.
pub fn guard_ingresses(cluster: &Cluster) -> Known<Vec<&Ingress>> {
    let list = cluster.ingresses.as_ref().map_err(Clone::clone)?;
    let doors = guard_services(cluster)?;
    let leads = |i: &&Ingress| i.backends.iter().any(|b| doors.iter().any(|service| b.leads_to(service)));
    Ok(list.items.iter().filter(leads).collect())
}

/// The chain is trusted and names the host.
pub fn chain(e: &Evidence) -> Outcome {
    match seen(e) {
        Err(outcome) => outcome,
        Ok(seen) => match &seen.verification {
            Ok(()) => {
                let issuer = seen.chain.first().map(|c| c.issuer.as_str()).unwrap_or_default();
                Outcome::pass(format!("{}: issued by {issuer}, {} certificates", seen.address, seen.chain.len()))
            }
            Err(why) => {
                let own = seen.chain.first();
                let by_itself = own.is_some_and(|c| c.issuer == c.subject);
                let hint = if by_itself { " (it signed itself)" } else { "" };
                Outcome::fail(format!("the certificate of {} is not trusted: {why}{hint}", seen.address))
            }
        },
    }
}

/// No certificate of the chain expires soon.
pub fn expiry(e: &Evidence) -> Outcome {
    let seen = match seen(e) {
        Ok(seen) => seen,
        Err(outcome) => return outcome,
    };
    let Some(first) = seen.chain.iter().min_by_key(|c| c.not_after) else {
        return Outcome::unknown(format!("{} sent no certificate that can be read", seen.address));
    };
    let left_ms = first.not_after.since(e.now);
    let on = first.not_after.to_rfc3339();
    let day = on.get(..10).unwrap_or_default();
    let days = left_ms.div_euclid(86_400_000);
    match left_ms {
        left if left <= 0 => Outcome::fail(format!("the certificate of {} expired on {day}", first.subject)),
        left if left.unsigned_abs() < e.told.certificate_expiry.as_millis() as u64 => {
            Outcome::warn(format!("the certificate of {} expires in {days} days, on {day}", first.subject))
        }
        _ => Outcome::pass(format!("valid until {day}, {days} days from now")),
    }
}

/// The handshake, if there was one to judge.
fn seen(e: &Evidence) -> Result<&crate::checklist::evidence::TlsSeen, Outcome> {
    let is_plain = e.told.public_url.as_deref().is_some_and(|url| url.starts_with("http://"));
    match &e.tls {
        _ if is_plain => Err(Outcome::skipped("the public address has no TLS")),
        Err(gap) => Err(gap.into()),
        Ok(seen) if seen.handshake.is_err() => Err(Outcome::skipped("there was no handshake")),
        Ok(seen) => Ok(seen),
    }
}

/// The public name does not serve the engine without TLS.
pub fn plain_http(e: &Evidence) -> Outcome {
    let mut outcomes = Vec::new();
    for attempt in e.outside.of(Door::PlainHttp) {
        let url = &attempt.url;
        outcomes.push(match &attempt.reach {
            Reach::Engine { status } => Outcome::fail(format!("{url} serves the engine without TLS (status {status})")),
            Reach::Other { status, location: Some(to) } if to.starts_with("https://") => {
                Outcome::pass(format!("{url} redirects to HTTPS (status {status})"))
            }
            Reach::Other { status, location } => {
                let to = location.as_deref().map(|to| format!(", to {to}")).unwrap_or_default();
                Outcome::pass(format!("{url} does not serve the engine (status {status}{to})"))
            }
            Reach::Closed(why) => Outcome::pass(format!("{url}: {why}")),
            Reach::Undecided(why) => Outcome::unknown(format!("{url}: {why}")),
        });
    }
    match (&e.told.without_kubernetes, &e.cluster) {
        (None, Ok(cluster)) => match plain_doors(cluster) {
            Ok(open) => outcomes.extend(open.into_iter().map(Outcome::warn)),
            Err(gap) => outcomes.push(gap.into()),
        },
        // A name that redirects says nothing of addresses that only Kubernetes knows.
        (None, Err(gap)) if !outcomes.is_empty() => outcomes.push(gap.into()),
        _ => {}
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| {
        Outcome::unknown(e.outside.not_tried.clone().unwrap_or_else(|| "no public address was tried".into()))
    })
}

/// How the guard is opened beyond the cluster without TLS before it.
fn plain_doors(cluster: &Cluster) -> Known<Vec<String>> {
    let mut found = Vec::new();
    for (workload, container) in cluster.engines()? {
        for service in cluster.services_of(workload)? {
            for port in service.ports.iter().filter(|p| container.port_number(&p.target) == Some(GUARD_PORT)) {
                let name = &service.name;
                match (service.kind, port.node_port) {
                    (ServiceType::NodePort, Some(node)) => {
                        found.push(format!("Service {name} opens {GUARD_PORT} without TLS on node port {node}"));
                    }
                    (ServiceType::NodePort, None) => {
                        found.push(format!("Service {name} opens {GUARD_PORT} without TLS on a node port"));
                    }
                    (ServiceType::LoadBalancer, _) if !ends_tls(service) => {
                        found.push(format!(
                            "Service {name} opens {GUARD_PORT} on port {} of a load balancer that shows no sign of TLS",
                            port.port
                        ));
                    }
                    (ServiceType::ClusterIp, _) if service.has_external_ips => {
                        found.push(format!("Service {name} opens {GUARD_PORT} without TLS on external addresses"));
                    }
                    _ => {}
                }
            }
        }
    }
    if found.is_empty() {
        // Nothing follows from a list that was not read as a whole.
        cluster.services.as_ref().map_err(Clone::clone)?.is_whole()?;
    }
    Ok(found)
}

/// Whether annotations say that the load balancer ends TLS.
fn ends_tls(service: &Service) -> bool {
    [
        "service.beta.kubernetes.io/aws-load-balancer-ssl-cert",
        "service.beta.kubernetes.io/do-loadbalancer-certificate-id",
    ]
    .iter()
    .any(|name| service.annotations.contains_key(*name))
}
