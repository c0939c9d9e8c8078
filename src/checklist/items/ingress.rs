//! What stands in front of the engine: how long it keeps quiet connections.

use super::facts;
use super::tls::{guard_ingresses, guard_services};
use crate::checklist::cluster::{Ingress, Service, ServiceType};
use crate::checklist::evidence::Evidence;
use crate::checklist::known::Listed;
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::IDLE_TIMEOUT_MIN_SECS;

/// Nothing in front of the engine cuts quiet connections within the hour.
pub fn timeout(e: &Evidence) -> Outcome {
    let cluster = match facts::cluster(e) {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let mut outcomes = Vec::new();
    match guard_ingresses(cluster) {
        Ok(found) => outcomes.extend(found.into_iter().map(idle_timeout_of_ingress)),
        Err(gap) => return gap.into(),
    }
    match guard_services(cluster) {
        Ok(found) => {
            let balancers = found.into_iter().filter(|s| s.kind == ServiceType::LoadBalancer);
            outcomes.extend(balancers.map(idle_timeout_of_balancer));
        }
        Err(gap) => return gap.into(),
    }
    // One that could not be read may be the one that cuts.
    let unread = [cluster.ingresses.as_ref().map(Listed::is_whole), cluster.services.as_ref().map(Listed::is_whole)];
    outcomes.extend(unread.into_iter().flatten().filter_map(Result::err).map(Outcome::from));
    Outcome::worst_of(outcomes).unwrap_or_else(|| {
        Outcome::unknown(format!(
            "no Ingress and no load balancer in {} leads to the engine, so that what stands in front of it is not seen",
            cluster.source
        ))
    })
}

/// Annotations of other controllers with a time.
const TIMEOUTS: [&str; 3] = [
    "haproxy.org/timeout-tunnel",
    "haproxy-ingress.github.io/timeout-tunnel",
    "appgw.ingress.kubernetes.io/request-timeout",
];

/// The two controllers that are called nginx, which read annotations of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nginx {
    /// That of the Kubernetes project: `nginx.ingress.kubernetes.io/…`, bare numbers of seconds.
    Community,
    /// F5's own: `nginx.org/…`, times as nginx writes them.
    F5,
}

impl Nginx {
    /// Which of the two an Ingress is for: by its annotations, else by its class, which both may use.
    pub fn of(ingress: &Ingress) -> Option<Self> {
        let has = |prefix: &str| ingress.annotations.keys().any(|key| key.starts_with(prefix));
        if has("nginx.ingress.kubernetes.io/") {
            return Some(Self::Community);
        }
        if has("nginx.org/") {
            return Some(Self::F5);
        }
        ingress.class.as_deref().is_some_and(|class| class.contains("nginx")).then_some(Self::Community)
    }

    /// The name of an annotation that both have.
    pub fn annotation(self, name: &str) -> String {
        match self {
            Self::Community => format!("nginx.ingress.kubernetes.io/{name}"),
            Self::F5 => format!("nginx.org/{name}"),
        }
    }

    /// A time as this controller takes it.
    pub fn write_seconds(self, seconds: u64) -> String {
        match self {
            Self::Community => seconds.to_string(),
            Self::F5 => format!("{seconds}s"),
        }
    }

    /// A time as this controller reads it; what it cannot read it passes over, so that it is no time here either.
    fn seconds(self, text: &str) -> Option<f64> {
        match self {
            Self::Community => text.trim().parse::<u32>().ok().map(f64::from),
            Self::F5 => seconds(text),
        }
    }
}

fn idle_timeout_of_ingress(ingress: &Ingress) -> Outcome {
    let class = ingress.class.clone().unwrap_or_default();
    let name = &ingress.name;
    let unread = |annotation: &str, text: &str| {
        Outcome::unknown(format!("Ingress {name} sets `{annotation}` to `{text}`, which is no time"))
    };
    if class.contains("alb") || ingress.annotations.keys().any(|k| k.starts_with("alb.ingress.kubernetes.io/")) {
        const KEY: &str = "idle_timeout.timeout_seconds";
        let attributes = ingress.annotations.get("alb.ingress.kubernetes.io/load-balancer-attributes");
        let pairs = attributes.into_iter().flat_map(|a| a.split(',')).filter_map(|pair| pair.trim().split_once('='));
        let value = pairs.filter(|(key, _)| key.trim() == KEY).map(|(_, value)| value.trim()).next_back();
        // An ALB waits 60 s when nothing is said.
        return match value.map(|text| (text, text.parse::<f64>().ok())) {
            Some((text, None)) => unread(KEY, text),
            Some((_, Some(seconds))) => judge_timeout(&format!("Ingress {name} (ALB idle timeout)"), seconds),
            None => judge_timeout(&format!("Ingress {name} (ALB idle timeout)"), 60.0),
        };
    }
    if let Some(nginx) = Nginx::of(ingress) {
        // Both are 60 s when nothing is said.
        let mut shortest = f64::INFINITY;
        for which in ["proxy-read-timeout", "proxy-send-timeout"] {
            let annotation = nginx.annotation(which);
            shortest = shortest.min(match ingress.annotations.get(&annotation) {
                None => 60.0,
                Some(text) => match nginx.seconds(text) {
                    None => return unread(&annotation, text),
                    Some(seconds) => seconds,
                },
            });
        }
        return judge_timeout(&format!("Ingress {name} (nginx read and send timeout)"), shortest);
    }
    let mut shortest = None;
    for (annotation, text) in TIMEOUTS.iter().filter_map(|a| Some((*a, ingress.annotations.get(*a)?))) {
        match seconds(text) {
            None => return unread(annotation, text),
            Some(s) => shortest = Some(shortest.map_or(s, |before: f64| before.min(s))),
        }
    }
    match shortest {
        Some(shortest) => judge_timeout(&format!("Ingress {name}"), shortest),
        None => Outcome::unknown(format!(
            "Ingress {name} of class `{class}` does not show its idle timeout; at least {IDLE_TIMEOUT_MIN_SECS} s are needed"
        )),
    }
}

fn idle_timeout_of_balancer(service: &Service) -> Outcome {
    let place = format!("the load balancer of Service {}", service.name);
    for (annotation, factor) in [
        ("service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout", 1.0),
        ("service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout", 60.0),
    ] {
        if let Some(text) = service.annotations.get(annotation) {
            return match seconds(text) {
                Some(time) => judge_timeout(&place, time * factor),
                None => Outcome::unknown(format!("{place} sets `{annotation}` to `{text}`, which is no time")),
            };
        }
    }
    Outcome::unknown(format!("{place} does not show its idle timeout; at least {IDLE_TIMEOUT_MIN_SECS} s are needed"))
}

/// A time in an annotation: a bare number, or one with `s`, `m` or `h`.
fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: f64 = text[..split].trim().parse().ok()?;
    let factor = match &text[split..] {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Some(number * factor)
}

fn judge_timeout(place: &str, seconds: f64) -> Outcome {
    match seconds >= IDLE_TIMEOUT_MIN_SECS as f64 {
        true => Outcome::pass(format!("{place}: {seconds:.0} s")),
        false => Outcome::fail(format!(
            "{place} ends quiet connections after {seconds:.0} s; below {IDLE_TIMEOUT_MIN_SECS} s hosts and sockets reconnect in storms"
        )),
    }
}
