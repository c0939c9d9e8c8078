//! Resources: room, health probes, the image, the way out.

use secrecy::ExposeSecret;

use super::facts;
use super::tls::guard_ingresses;
use crate::checklist::cluster::{Container, Handler, HealthProbe, Image, Ingress, Resources, Service, ServiceType};
use crate::checklist::evidence::{Evidence, Setting};
use crate::checklist::known::Known;
use crate::checklist::outcome::Outcome;
use crate::model::ByteSize;
use crate::rivet::limits::{
    CPU_CORES_MIN, GUARD_PORT, GUARD_SHUTDOWN_SECS, HEALTH_TIMEOUT_SECS, IDLE_TIMEOUT_MIN_SECS, MEMORY_BYTES_MIN,
    PEER_PORT, WORKER_SHUTDOWN_SECS,
};

/// Requests of at least 1 CPU and 2 GB.
pub fn requests(e: &Evidence) -> Outcome {
    room(e, "request", |c| c.requests)
}

/// Limits of at least 1 CPU and 2 GB.
pub fn limits(e: &Evidence) -> Outcome {
    room(e, "limit", |c| c.limits)
}

fn room(e: &Evidence, word: &str, of: impl Fn(&Container) -> Resources) -> Outcome {
    let is_elsewhere = e.told.without_kubernetes.is_some() || e.cluster.is_err();
    if is_elsewhere && let Ok(seen) = facts::telemetry(e) {
        // Without Kubernetes the agent may know them from the downward API or from its configuration.
        let (cpu, memory) = match word {
            "request" => (&seen.cpu_request, &seen.memory_request),
            _ => (&seen.cpu_limit, &seen.memory_limit),
        };
        if let (Ok(cpu), Ok(memory)) = (cpu, memory) {
            return enough(&format!("by the series of {}", seen.source), word, Some(*cpu), Some(*memory));
        }
    }
    facts::each_engine(e, |_, workload, container| {
        let Resources { cpu, memory } = of(container);
        enough(&format!("{}, container {}", workload.title(), container.name), word, cpu, memory)
    })
}

fn enough(place: &str, word: &str, cpu: Option<f64>, memory: Option<f64>) -> Outcome {
    let (min_cpu, min_memory) = (CPU_CORES_MIN, MEMORY_BYTES_MIN as f64);
    let cpu_text = cpu.map_or_else(|| "no CPU".into(), |c| format!("{c} CPU"));
    let memory_text = memory.map_or_else(|| "no memory".into(), bytes);
    let seen = format!("{place}: {cpu_text} and {memory_text}");
    let missing: Vec<&str> =
        [("CPU", cpu), ("memory", memory)].iter().filter(|(_, v)| v.is_none()).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Outcome::fail(format!("{place} sets no {word} of {}", missing.join(" and "))).seen(seen);
    }
    let small = cpu.is_some_and(|c| c < min_cpu) || memory.is_some_and(|m| m < min_memory);
    match small {
        true => Outcome::fail(format!("{seen}; at least {min_cpu} CPU and 2 GB are needed")),
        false => Outcome::pass(seen),
    }
}

fn bytes(bytes: f64) -> String {
    // Sizes of memory are far below what a float holds exactly.
    let size = ByteSize(bytes as u64);
    match size.0.is_multiple_of(1 << 20) {
        true => size.to_string(),
        false => format!("{:.1} GB", bytes / 1e9),
    }
}

/// The readiness probe asks `/health` on 6421 and waits 5 s.
pub fn readiness_probe(e: &Evidence) -> Outcome {
    probe(e, "readiness", |c| c.readiness.as_ref())
}

/// The liveness probe asks `/health` on 6421 and waits 5 s.
pub fn liveness_probe(e: &Evidence) -> Outcome {
    probe(e, "liveness", |c| c.liveness.as_ref())
}

/// A startup probe lets an engine start without being killed for it.
pub fn startup_probe(e: &Evidence) -> Outcome {
    facts::each_engine(e, |_, workload, container| match &container.startup {
        None => Outcome::info(format!(
            "{} has no startup probe: a slow start counts against the liveness probe",
            workload.title()
        )),
        Some(probe) => judge_probe(&workload.title(), "startup", container, probe),
    })
}

fn probe(e: &Evidence, name: &str, of: impl Fn(&Container) -> Option<&HealthProbe>) -> Outcome {
    facts::each_engine(e, |_, workload, container| match of(container) {
        None => Outcome::fail(format!("{} has no {name} probe", workload.title())),
        Some(probe) => judge_probe(&workload.title(), name, container, probe),
    })
}

fn judge_probe(place: &str, name: &str, container: &Container, probe: &HealthProbe) -> Outcome {
    let seconds = probe.timeout_seconds;
    let (path, port) = match &probe.handler {
        Handler::Http { path, port } => (path, container.port_number(port)),
        Handler::Tcp => {
            return Outcome::warn(format!(
                "the {name} probe of {place} only opens a connection; ask `/health` on {PEER_PORT}"
            ));
        }
        Handler::Other => {
            return Outcome::warn(format!(
                "the {name} probe of {place} is no HTTP request; ask `/health` on {PEER_PORT}"
            ));
        }
    };
    let shown = port.map_or_else(|| "an undeclared port".into(), |p| p.to_string());
    let seen = format!("{place}: {name} asks `{path}` on {shown}, timeout {seconds} s");
    // The guard answers `/health` as well.
    if path != "/health" || !port.is_some_and(|p| p == PEER_PORT || p == GUARD_PORT) {
        return Outcome::warn(format!(
            "the {name} probe of {place} asks `{path}` on {shown} instead of `/health` on {PEER_PORT}"
        ));
    }
    if seconds < HEALTH_TIMEOUT_SECS {
        let reason = format!("the {name} probe of {place} waits {seconds} s, {HEALTH_TIMEOUT_SECS} s are recommended");
        return Outcome::warn(reason).seen(seen);
    }
    Outcome::pass(seen)
}

/// The engine answers `/health` in time.
pub fn health_answers(e: &Evidence) -> Outcome {
    match &e.engine.health {
        Err(gap) => gap.into(),
        Ok(health) => {
            let seconds = health.took.as_secs_f64();
            let limit = HEALTH_TIMEOUT_SECS as f64;
            let version = health.version.as_deref().map(|v| format!(", version {v}")).unwrap_or_default();
            match health.status {
                Some(200) if seconds <= limit => {
                    Outcome::pass(format!("{} answered in {:.0} ms{version}", health.url, seconds * 1e3))
                }
                Some(200) => Outcome::fail(format!("{} took {seconds:.1} s, more than {limit} s", health.url)),
                Some(status) => Outcome::fail(format!("{} answered with status {status}", health.url)),
                None if seconds >= limit => Outcome::fail(format!("{} gave no answer within {seconds} s", health.url)),
                None => Outcome::unknown(format!(
                    "{} gave no answer within {seconds} s, and `check.timeout` waits no longer",
                    health.url
                )),
            }
        }
    }
}

/// The image names one release.
pub fn image_pinned(e: &Evidence) -> Outcome {
    facts::each_engine(e, |_, workload, container| {
        let image = Image::parse(&container.image);
        let what = format!("{} runs `{}`", workload.title(), container.image);
        const WHY: &str =
            "two pods may run different releases, and data that a newer one wrote keeps an older one from starting";
        match (image.tag, image.digest) {
            (_, Some(_)) => Outcome::pass(what),
            (Some("latest"), None) => Outcome::fail(format!("{what}, which is not pinned: {WHY}")),
            (None, None) if container.image.is_empty() => {
                Outcome::unknown(format!("{} names no image", workload.title()))
            }
            (None, None) => Outcome::fail(format!("{what}, without a tag: {WHY}")),
            (Some(tag), None) if !tag.contains(|c: char| c.is_ascii_digit()) => {
                Outcome::warn(format!("{what}, whose tag is no release and may move"))
            }
            (Some(_), None) => Outcome::pass(what),
        }
    })
}

/// All nodes run one release.
pub fn one_version(e: &Evidence) -> Outcome {
    let mut outcomes = Vec::new();
    let mut gaps = Vec::new();
    match &e.cluster {
        Ok(cluster) if cluster.is_live => match (&cluster.pods, cluster.engines()) {
            (Ok(pods), Ok(engines)) => {
                let names: Vec<&str> = engines.iter().map(|(_, c)| c.name.as_str()).collect();
                let mut images: Vec<&str> = pods
                    .items
                    .iter()
                    .filter(|p| !p.is_deleted)
                    .flat_map(|p| &p.images)
                    .filter(|(name, _)| names.contains(&name.as_str()))
                    .map(|(_, image)| image.as_str())
                    .collect();
                images.sort_unstable();
                images.dedup();
                match images.as_slice() {
                    [] => gaps.push("no engine pod tells its image".to_owned()),
                    [one] => outcomes.push(Outcome::pass(format!("all pods run {one}"))),
                    several => outcomes.push(Outcome::warn(format!(
                        "{} images run side by side: {}; outside of a rollout an older node takes up no more work",
                        several.len(),
                        several.join(", ")
                    ))),
                }
            }
            (Err(gap), _) => gaps.push(gap.reason().to_owned()),
            (_, Err(gap)) => gaps.push(gap.reason().to_owned()),
        },
        Ok(cluster) => gaps.push(format!("no running pod is in {}", cluster.source)),
        Err(_) => gaps.extend(facts::cluster_gap(e).map(|gap| gap.reason().to_owned())),
    }
    match facts::telemetry(e).and_then(|t| t.versions.clone()) {
        Ok(versions) => outcomes.push(match versions.as_slice() {
            [one] => Outcome::pass(format!("all instances report version {one}")),
            several => Outcome::warn(format!("versions {} run side by side", several.join(", "))),
        }),
        Err(gap) => gaps.push(gap.reason().to_owned()),
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown(gaps.join("; ")))
}

/// A pod may take as long to end as its engine takes to drain.
pub fn grace_period(e: &Evidence) -> Outcome {
    let duration = |path: &str, default: u64| -> Known<(u64, String)> {
        e.settings.as_ref().map_err(Clone::clone)?.seconds(path, default)
    };
    facts::each_engine(e, |_, workload, container| {
        let guard = duration("runtime.guard_shutdown_duration", GUARD_SHUTDOWN_SECS);
        let worker = duration("runtime.worker_shutdown_duration", WORKER_SHUTDOWN_SECS);
        let ((guard, by), (worker, _)) = match (guard, worker) {
            (Ok(guard), Ok(worker)) => (guard, worker),
            (Err(gap), _) | (_, Err(gap)) => return gap.into(),
        };
        let grace = workload.grace_seconds;
        let sleep = container.pre_stop_seconds.unwrap_or(0);
        let left = grace.saturating_sub(sleep);
        let asleep = if sleep > 0 { format!(", of which the pre-stop hook sleeps {sleep} s") } else { String::new() };
        let seen = format!(
            "{}: {grace} s{asleep}; draining takes up to {guard} s ({by}), workers {worker} s",
            workload.title()
        );
        if left < worker {
            return Outcome::fail(format!(
                "{} gives {grace} s to end{asleep}: workers need {worker} s and open requests up to {guard} s, so a rollout cuts both",
                workload.title()
            ))
            .seen(seen);
        }
        if left < guard {
            return Outcome::warn(format!(
                "{} gives {grace} s to end{asleep}: requests may take up to {guard} s, and a rollout cuts longer ones",
                workload.title()
            ))
            .seen(seen);
        }
        Outcome::pass(seen)
    })
}

/// Nothing in front of the engine cuts quiet connections within the hour.
pub fn ingress_timeout(e: &Evidence) -> Outcome {
    let cluster = match facts::cluster(e) {
        Ok(cluster) => cluster,
        Err(outcome) => return outcome,
    };
    let mut outcomes = Vec::new();
    match guard_ingresses(cluster) {
        Ok(found) => outcomes.extend(found.into_iter().map(idle_timeout_of_ingress)),
        Err(gap) => return gap.into(),
    }
    for (workload, container) in cluster.engines().into_iter().flatten() {
        for service in cluster.services_of(workload).into_iter().flatten() {
            let is_guard = service.ports.iter().any(|p| container.port_number(&p.target) == Some(GUARD_PORT));
            if is_guard && service.kind == ServiceType::LoadBalancer {
                outcomes.push(idle_timeout_of_balancer(service));
            }
        }
    }
    Outcome::worst_of(outcomes).unwrap_or_else(|| {
        Outcome::unknown(format!(
            "no Ingress and no load balancer in {} leads to the engine, so that what stands in front of it is not seen",
            cluster.source
        ))
    })
}

/// Annotations with a time, and the factor that makes it seconds.
const INGRESS_TIMEOUTS: [(&str, &str, f64); 5] = [
    ("nginx", "nginx.ingress.kubernetes.io/proxy-read-timeout", 1.0),
    ("nginx", "nginx.ingress.kubernetes.io/proxy-send-timeout", 1.0),
    ("haproxy", "haproxy.org/timeout-tunnel", 1.0),
    ("haproxy", "haproxy-ingress.github.io/timeout-tunnel", 1.0),
    ("azure", "appgw.ingress.kubernetes.io/request-timeout", 1.0),
];

fn idle_timeout_of_ingress(ingress: &Ingress) -> Outcome {
    let class = ingress.class.clone().unwrap_or_default();
    let name = &ingress.name;
    if class.contains("alb") || ingress.annotations.keys().any(|k| k.starts_with("alb.ingress.kubernetes.io/")) {
        let attributes = ingress.annotations.get("alb.ingress.kubernetes.io/load-balancer-attributes");
        let seconds = attributes.and_then(|a| {
            let value = a.split(',').find_map(|pair| pair.trim().strip_prefix("idle_timeout.timeout_seconds="))?;
            value.trim().parse::<f64>().ok()
        });
        // An ALB waits 60 s when nothing is said.
        return judge_timeout(&format!("Ingress {name} (ALB idle timeout)"), seconds.unwrap_or(60.0));
    }
    let found: Vec<(&str, f64)> = INGRESS_TIMEOUTS
        .iter()
        .filter_map(|(_, annotation, factor)| {
            Some((*annotation, seconds(ingress.annotations.get(*annotation)?)? * factor))
        })
        .collect();
    let is_nginx = class.contains("nginx") || found.iter().any(|(a, _)| a.starts_with("nginx."));
    if is_nginx {
        let of = |which: &str| found.iter().find(|(a, _)| a.ends_with(which)).map_or(60.0, |(_, s)| *s);
        // Both are 60 s when nothing is said.
        let shortest = of("proxy-read-timeout").min(of("proxy-send-timeout"));
        return judge_timeout(&format!("Ingress {name} (nginx read and send timeout)"), shortest);
    }
    match found.iter().map(|(_, s)| *s).reduce(f64::min) {
        Some(shortest) => judge_timeout(&format!("Ingress {name}"), shortest),
        None => Outcome::unknown(format!(
            "Ingress {name} of class `{class}` does not show its idle timeout; at least {IDLE_TIMEOUT_MIN_SECS} s are needed"
        )),
    }
}

fn idle_timeout_of_balancer(service: &Service) -> Outcome {
    let place = format!("the load balancer of Service {}", service.name);
    let annotation = |name: &str| service.annotations.get(name).and_then(|v| seconds(v));
    if let Some(s) = annotation("service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout") {
        return judge_timeout(&place, s);
    }
    if let Some(minutes) = annotation("service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout") {
        return judge_timeout(&place, minutes * 60.0);
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

/// The text of a setting that is no secret.
pub fn plain(setting: &Setting) -> Option<&str> {
    match setting {
        Setting::Text(text, _) => Some(text.expose_secret().trim()),
        _ => None,
    }
}
