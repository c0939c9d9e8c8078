//! Resources: room, health probes, the image, the way out.

use secrecy::ExposeSecret;

use super::facts;
use crate::checklist::cluster::{Container, Handler, HealthProbe, Image, Resources};
use crate::checklist::evidence::{Evidence, Setting};
use crate::checklist::known::Known;
use crate::checklist::outcome::Outcome;
use crate::model::ByteSize;
use crate::rivet::limits::{
    CPU_CORES_MIN, GUARD_PORT, GUARD_SHUTDOWN_SECS, HEALTH_TIMEOUT_SECS, MEMORY_BYTES_MIN, PEER_PORT,
    WORKER_SHUTDOWN_SECS,
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
        // What is a little less than a limit must not read as the limit.
        false => format!("{} GB", (bytes / 1e7).floor() / 100.0),
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
    if port == Some(GUARD_PORT) {
        return Outcome::info(format!(
            "the {name} probe of {place} asks {GUARD_PORT}, which answers `/health` as well; the checklist names {PEER_PORT}"
        ))
        .seen(seen);
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
            (Some(tag), None) if !names_one_build(tag) => {
                Outcome::warn(format!("{what}, whose tag is no whole release and may move to another: {WHY}"))
            }
            (Some(_), None) => Outcome::pass(what),
        }
    })
}

/// Whether a tag names one release (`2.3.19`, `v2.3.19-slim`) or one build (a commit, a date), and not a line of them.
fn names_one_build(tag: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let is_release = tag.split(['-', '_', '+']).any(|word| {
        let parts: Vec<&str> = word.trim_start_matches('v').split('.').collect();
        parts.len() >= 3 && parts[..3].iter().all(|part| is_number(part))
    });
    let is_build = tag.split(['-', '_', '.', '+']).any(|word| {
        let is_hex = word.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
        word.len() >= 7 && is_hex && word.contains(|c: char| c.is_ascii_digit())
    });
    is_release || is_build
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

/// The text of a setting that is no secret.
pub fn plain(setting: &Setting) -> Option<&str> {
    match setting {
        Setting::Text(text, _) => Some(text.expose_secret().trim()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_one_build_or_a_line_of_them() {
        for tag in ["2.3.19", "v2.3.19", "2.3.19-slim", "slim-25.7.1", "sha-1a2b3c4", "20261102", "2.3.19-rc.1"] {
            assert!(names_one_build(tag), "{tag}");
        }
        for tag in ["2", "2.3", "v2", "slim2", "main", "stable", "latest-arm64", "2.3-slim", "2.x.1", "deadbeefs"] {
            assert!(!names_one_build(tag), "{tag}");
        }
    }
}
