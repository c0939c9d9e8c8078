//! Monitoring: telemetry leaves, arrives, is judged, and reaches somebody.

use secrecy::ExposeSecret;

use super::facts;
use super::resources::plain;
use crate::checklist::evidence::{EngineSettings, Evidence, Setting};
use crate::checklist::outcome::Outcome;
use crate::rivet::limits::{METRICS_PORT, SAMPLER_RATIO_DEFAULT};

/// Spans that make it all but certain that a sampled one arrived: e^-5 is below 1 %.
const EXPECTED_SPANS_MIN: f64 = 5.0;
/// Seconds without a span that are no sign of anything: exports come in batches, and ages are known to the minute.
const SPAN_AGE_MAX: f64 = 300.0;
/// Seconds without a sample after which metrics do not arrive any more: PromQL's own lookback.
const METRICS_AGE_MAX: f64 = 300.0;

/// OpenTelemetry is switched on.
pub fn otel_enabled(e: &Evidence) -> Outcome {
    let arriving = facts::telemetry(e).ok().and_then(|t| t.instances.as_ref().ok()).map(|all| {
        let spans: f64 = all.iter().map(|i| i.spans).sum();
        spans
    });
    let settings = match &e.settings {
        Ok(settings) => settings,
        Err(gap) => {
            return match arriving {
                Some(spans) if spans > 0.0 => Outcome::pass(format!("{spans:.0} spans arrived within the hour")),
                _ => gap.into(),
            };
        }
    };
    let enabled = settings.environment("RIVET_OTEL_ENABLED");
    match &enabled {
        Setting::Text(..) if plain(&enabled) == Some("1") => {
            let filter = settings.environment("RUST_LOG");
            // The log filter is a global one: without info spans none are made.
            match plain(&filter).map(str::to_ascii_lowercase).as_deref() {
                Some(level @ ("warn" | "error" | "off")) => Outcome::fail(format!(
                    "`RUST_LOG` is `{level}`, which keeps spans from being made: no trace leaves"
                )),
                _ if plain(&filter).is_none()
                    && !matches!(filter, Setting::Unset)
                    && arriving.is_none_or(|n| n == 0.0) =>
                {
                    Outcome::unknown("`RUST_LOG` is not read, which may keep spans from being made")
                }
                _ => Outcome::pass(format!("`RIVET_OTEL_ENABLED` is 1, {}", spans_go_to(settings))),
            }
        }
        Setting::Text(..) => Outcome::fail("`RIVET_OTEL_ENABLED` is not exactly `1`, and any other value is off"),
        Setting::Unset => Outcome::fail(format!(
            "`RIVET_OTEL_ENABLED` is not set in {}: no trace leaves",
            settings.sources.join(", ")
        )),
        Setting::Elsewhere(from) => match arriving {
            Some(spans) if spans > 0.0 => Outcome::pass(format!("{spans:.0} spans arrived within the hour")),
            _ => Outcome::unknown(format!("its value comes from {from}, which is not read")),
        },
        Setting::Unseen(gap) => match arriving {
            Some(spans) if spans > 0.0 => Outcome::pass(format!("{spans:.0} spans arrived within the hour")),
            _ => gap.into(),
        },
    }
}

/// Where spans go: the variables of OpenTelemetry win over the engine's own.
fn spans_go_to(settings: &EngineSettings) -> String {
    const VARIABLES: [&str; 3] =
        ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "RIVET_OTEL_GRPC_ENDPOINT"];
    for name in VARIABLES {
        match settings.environment(name) {
            Setting::Text(endpoint, _) if endpoint.expose_secret().trim().is_empty() => {}
            Setting::Text(endpoint, _) => {
                let endpoint = endpoint.expose_secret().trim();
                // What stands before the host may be a password.
                let shown = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
                return format!("spans go to {shown} (`{name}`)");
            }
            Setting::Elsewhere(from) => return format!("spans go where {from} says, which is not read"),
            Setting::Unseen(gap) => return format!("where spans go is not known: {gap}"),
            Setting::Unset => {}
        }
    }
    "spans go to http://localhost:4317, the engine's default".into()
}

/// Each instance's spans arrive.
pub fn traces_arriving(e: &Evidence) -> Outcome {
    let seen = match facts::telemetry(e) {
        Ok(seen) => seen,
        Err(gap) => return gap.into(),
    };
    let instances = match &seen.instances {
        Ok(instances) => instances,
        Err(gap) => return gap.into(),
    };
    let ratio = e.told.sampler_ratio;
    let outcomes = instances.iter().filter(|i| i.is_up).map(|instance| {
        let name = &instance.name;
        if instance.spans > 0.0 {
            let age = instance.span_age.unwrap_or(0.0);
            // Connections come evenly enough over an hour to say how many were due since the last span.
            let due = instance.connections.map(|c| c * ratio * age / 3_600.0);
            return match due {
                Some(due) if due >= EXPECTED_SPANS_MIN && age > SPAN_AGE_MAX => Outcome::fail(format!(
                    "the last span of {name} came {:.0} minutes ago, and about {due:.0} were due since",
                    age / 60.0
                )),
                _ => Outcome::pass(format!("{name}: {:.0} spans within the hour, the last {age:.0} s ago", instance.spans)),
            };
        }
        match instance.connections {
            None => Outcome::unknown(format!("no span of {name} arrived, and how many connections it took is not known")),
            Some(connections) if connections * ratio < EXPECTED_SPANS_MIN => Outcome::unknown(format!(
                "no span of {name} arrived within the hour, which {connections:.0} connections at a sampler ratio of {ratio} do not make unlikely"
            )),
            Some(connections) => Outcome::fail(format!(
                "no span of {name} arrived within the hour, although {connections:.0} connections at a sampler ratio of {ratio} should have given some"
            )),
        }
    });
    Outcome::worst_of(outcomes)
        .unwrap_or_else(|| Outcome::unknown(format!("{} knows of no engine that is up", seen.source)))
}

/// The ratio is the one that the agent counts by.
pub fn sampler_ratio(e: &Evidence) -> Outcome {
    let told = e.told.sampler_ratio;
    let measured = facts::telemetry(e).and_then(|t| t.sampled.clone());
    let configured = e.settings.as_ref().ok().map(|s| s.environment("RIVET_OTEL_SAMPLER_RATIO"));
    let configured = match configured.as_ref() {
        Some(setting @ Setting::Text(..)) => match plain(setting).and_then(|t| t.parse::<f64>().ok()) {
            Some(ratio) => Some(ratio),
            None => return Outcome::fail("`RIVET_OTEL_SAMPLER_RATIO` is not a number"),
        },
        // Nothing sets it, so that the engine's default holds, but only where spans leave at all.
        Some(Setting::Unset) => {
            let on = e.settings.as_ref().ok().map(|s| s.environment("RIVET_OTEL_ENABLED"));
            match on.as_ref().and_then(plain) {
                Some("1") => Some(SAMPLER_RATIO_DEFAULT),
                _ => return Outcome::skipped("OpenTelemetry is not switched on"),
            }
        }
        _ => None,
    };
    if let Some(ratio) = configured {
        return match (ratio / told - 1.0).abs() < 1e-6 {
            true => Outcome::pass(format!("the engine samples {ratio} of its traces, and the agent counts by that")),
            false => Outcome::warn(format!(
                "the engine samples {ratio} and the agent counts by {told} (`receive.spans.sampler_ratio`): its counts from spans are wrong by that factor"
            )),
        };
    }
    match measured {
        Err(gap) => gap.into(),
        Ok((spans, requests)) => {
            let expected = requests * told;
            // Below some tens, chance alone moves the count by more than what is looked for.
            if expected.max(spans) < 30.0 {
                return Outcome::unknown(format!(
                    "{spans:.0} spans of {requests:.0} requests are too few to tell the ratio"
                ));
            }
            let factor = spans / expected.max(f64::MIN_POSITIVE);
            let seen =
                format!("{spans:.0} spans of {requests:.0} requests within the hour, {expected:.0} expected at {told}");
            match (0.5..=2.0).contains(&factor) {
                true => Outcome::pass(seen),
                false => Outcome::warn(format!(
                    "{seen}: the ratio that is told (`receive.spans.sampler_ratio`) is not the engine's"
                )),
            }
        }
    }
}

/// The pods declare their metrics port.
pub fn metrics_port_declared(e: &Evidence) -> Outcome {
    facts::each_engine(e, |cluster, workload, container| {
        if container.ports.iter().any(|p| p.number == METRICS_PORT) {
            return Outcome::pass(format!("{} declares {METRICS_PORT}", workload.title()));
        }
        let by_service = cluster.services_of(workload).unwrap_or_default();
        let by_service =
            by_service.iter().find(|s| s.ports.iter().any(|p| container.port_number(&p.target) == Some(METRICS_PORT)));
        match by_service {
            Some(service) => Outcome::pass(format!("Service {} names {METRICS_PORT}", service.name)),
            None => Outcome::warn(format!(
                "{METRICS_PORT} is declared neither on {} nor on a Service, so that monitors that go by port names find no metrics",
                workload.title()
            )),
        }
    })
}

/// Each instance's metrics arrive.
pub fn metrics_arriving(e: &Evidence) -> Outcome {
    let seen = match facts::telemetry(e) {
        Ok(seen) => seen,
        Err(gap) => return gap.into(),
    };
    let instances = match &seen.instances {
        Ok(instances) => instances,
        Err(gap) => return gap.into(),
    };
    let mut outcomes: Vec<Outcome> = instances
        .iter()
        .map(|instance| {
            let age = instance.age.map(|a| format!(", {a:.0} s old")).unwrap_or_default();
            let name = &instance.name;
            match (instance.is_up, instance.age) {
                (true, Some(age)) if age > METRICS_AGE_MAX => {
                    Outcome::fail(format!("the last metrics of {name} are {age:.0} s old"))
                }
                (true, _) => Outcome::pass(format!("{name} is up{age}")),
                (false, _) => Outcome::fail(format!("{name} is not scraped (`up` is 0)")),
            }
        })
        .collect();
    outcomes.extend(missing_pods(e, instances));
    Outcome::worst_of(outcomes)
        .unwrap_or_else(|| Outcome::fail(format!("{} receives metrics of no engine", seen.source)))
}

/// Ready pods of which no series came.
fn missing_pods(e: &Evidence, instances: &[crate::checklist::evidence::InstanceSeen]) -> Vec<Outcome> {
    let Some(cluster) = e.cluster.as_ref().ok().filter(|c| c.is_live) else { return Vec::new() };
    let Ok(pods) = &cluster.pods else { return Vec::new() };
    let ready = pods.items.iter().filter(|p| p.is_ready == Some(true) && !p.is_deleted);
    let is_known = |name: &str| instances.iter().any(|i| i.pod.as_deref() == Some(name) || i.name.contains(name));
    // Where no instance tells its pod, the two cannot be matched.
    if instances.iter().all(|i| i.pod.is_none()) && !pods.items.iter().any(|p| is_known(&p.name)) {
        let ready = ready.count();
        let up = instances.iter().filter(|i| i.is_up).count();
        let fewer =
            (up < ready).then(|| Outcome::warn(format!("{ready} pods are ready and metrics of {up} instances arrive")));
        return fewer.into_iter().collect();
    }
    ready
        .filter(|p| !is_known(&p.name))
        .map(|p| Outcome::fail(format!("no metrics of pod {} arrive", p.name)))
        .collect()
}

/// Alerts go to somebody, and did so lately.
pub fn alerts_reach_somebody(e: &Evidence) -> Outcome {
    let seen = match facts::telemetry(e) {
        Ok(seen) => seen,
        Err(gap) => return gap.into(),
    };
    let targets = match &seen.targets {
        Ok(targets) => targets,
        Err(gap) => return gap.into(),
    };
    // A terminal is nobody, and a heartbeat shows the way out, not that somebody is at its end.
    let real: Vec<_> = targets.iter().filter(|t| t.integration != "terminal").collect();
    if real.is_empty() {
        return Outcome::fail(match targets.is_empty() {
            true => "no receiver is configured: alerts reach nobody",
            false => "alerts go to a terminal alone, which is nobody",
        });
    }
    let mut outcomes: Vec<Outcome> = Vec::new();
    let broken: Vec<String> =
        real.iter().filter(|t| t.is_broken).map(|t| format!("{} ({})", t.receiver, t.integration)).collect();
    if !broken.is_empty() {
        outcomes.push(Outcome::fail(format!("{} refuse notifications", broken.join(", "))));
    }
    let best = real
        .iter()
        .filter(|t| !t.is_broken)
        .filter_map(|t| Some((t.last_success?, *t)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    outcomes.push(match best {
        None => Outcome::unknown("no notification was accepted yet; `rivetwatch notify test` tries the way"),
        Some((age, target)) if age > e.told.alert_age.as_secs_f64() => Outcome::warn(format!(
            "the last notification was accepted {:.0} days ago, by {}; `rivetwatch notify test` tries the way",
            age / 86_400.0,
            target.receiver
        )),
        Some((age, target)) => {
            Outcome::pass(format!("{} ({}) accepted one {:.0} s ago", target.receiver, target.integration, age))
        }
    });
    Outcome::worst_of(outcomes).unwrap_or_else(|| Outcome::unknown("no receiver is known"))
}

/// Somebody can look at the engine.
pub fn dashboards(e: &Evidence) -> Outcome {
    let mut gaps = Vec::new();
    match &e.dashboards {
        Ok(seen) if !seen.titles.is_empty() => {
            return Outcome::pass(format!("{}: {}", seen.source, seen.titles.join(", ")));
        }
        Ok(seen) => {
            return Outcome::fail(format!(
                "{} has no dashboard of the engine; `rivetwatch dashboards export` writes them",
                seen.source
            ));
        }
        Err(gap) => gaps.push(gap.reason().to_owned()),
    }
    match e.cluster.as_ref().map(|c| &c.config_maps) {
        Ok(Ok(maps)) => {
            let is_dashboard = |m: &&crate::checklist::cluster::ConfigMap| {
                m.labels.contains_key("grafana_dashboard") && m.data.values().any(about_rivet)
            };
            let found: Vec<&str> = maps.items.iter().filter(is_dashboard).map(|m| m.name.as_str()).collect();
            if !found.is_empty() {
                return Outcome::pass(format!("ConfigMap {} is picked up by Grafana", found.join(", ")));
            }
        }
        Ok(Err(gap)) => gaps.push(gap.reason().to_owned()),
        Err(_) => gaps.extend(facts::cluster_gap(e).map(|gap| gap.reason().to_owned())),
    }
    Outcome::unknown(gaps.join("; "))
}

fn about_rivet(text: &secrecy::SecretString) -> bool {
    text.expose_secret().contains("rivet")
}
