//! From the engine's answers to a batch, without clock and network.

use std::sync::Arc;
use std::time::Duration;

use super::answers::Namespace;
use super::client::ProbeFailure;
use crate::model::{LabelsBuilder, METRIC_NAME, Metadata, MetricKind, TimestampMs, Value};
use crate::receive::identity::Identity;
use crate::receive::liveness::Liveness;
use crate::receive::redact::Redactor;
use crate::storage::{Batch, Point};

/// What a call gave.
pub type Answer<T> = Result<T, ProbeFailure>;

/// What a call gave, and how long it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe<T> {
    pub took: Duration,
    pub answer: Answer<T>,
}

/// What the engine says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    /// Empty where the build does not tell.
    pub git_sha: String,
}

/// One pool of actor hosts; `None` is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolState {
    pub namespace: Namespace,
    pub name: String,
    /// Connected hosts.
    pub envoys: Option<u64>,
    /// Actors on them.
    pub running_actors: Option<u64>,
    pub max_concurrent_actors: Option<u64>,
    /// The kind of error that the engine holds the pool in.
    pub error: Option<String>,
}

/// What the slower poll brings.
#[derive(Clone, Debug, PartialEq)]
pub struct Details {
    pub metadata: Probe<EngineInfo>,
    /// `None`: not asked, because there is neither a local peer API nor a token.
    pub envoys: Option<Probe<()>>,
    pub runner_configs: Option<Probe<()>>,
    pub pools: Vec<PoolState>,
    /// Namespaces, pools and pages of lists beyond the limits.
    pub left_out: u64,
}

impl Default for Details {
    fn default() -> Self {
        let unread = Probe { took: Duration::ZERO, answer: Err(ProbeFailure::BadAnswer) };
        Self { metadata: unread, envoys: None, runner_configs: None, pools: Vec::new(), left_out: 0 }
    }
}

/// Makes batches of one engine's answers; remembers which series it brought, to mark their end.
#[derive(Debug)]
pub struct EngineApi {
    identity: Identity,
    redactor: Arc<Redactor>,
    health: Liveness,
    details: Liveness,
    has_metadata: bool,
}

impl EngineApi {
    /// For the engine with this identity; names in its answers are kept without secrets.
    pub fn new(identity: Identity, redactor: Arc<Redactor>) -> Self {
        Self { identity, redactor, health: Liveness::default(), details: Liveness::default(), has_metadata: false }
    }

    /// The batch of a health probe at `at`.
    pub fn health_batch(&mut self, probe: &Probe<Option<String>>, at: TimestampMs) -> Batch {
        let mut batch = Batch::default();
        self.add_probe(&mut batch, "health", probe, at);
        if !std::mem::replace(&mut self.has_metadata, true) {
            batch.metadata = metadata();
        }
        self.health.settle(&mut batch, at);
        batch
    }

    /// The batch of a reading of version and pools at `at`; what could not be read is absent, and ends.
    ///
    /// `health_version` stands in for the version of releases without `/metadata`.
    pub fn details_batch(&mut self, details: &Details, health_version: Option<&str>, at: TimestampMs) -> Batch {
        let mut batch = Batch::default();
        self.add_probe(&mut batch, "metadata", &details.metadata, at);
        let from_health = || EngineInfo { version: health_version.unwrap_or("").to_owned(), git_sha: String::new() };
        let info = details.metadata.answer.clone().unwrap_or_else(|_| from_health());
        if !info.version.is_empty() {
            self.add(
                &mut batch,
                "rivet_engine_info",
                &[("version", &info.version), ("git_sha", &info.git_sha)],
                1.0,
                at,
            );
        }
        for (endpoint, probe) in [("envoys", &details.envoys), ("runner_configs", &details.runner_configs)] {
            if let Some(probe) = probe {
                self.add_probe(&mut batch, endpoint, probe, at);
            }
        }
        for pool in &details.pools {
            let place = [
                ("rivet_namespace", pool.namespace.name.as_str()),
                // The engine's own metrics know namespaces by id only.
                ("namespace_id", pool.namespace.id.as_str()),
                ("pool_name", pool.name.as_str()),
            ];
            for (name, value) in [
                ("rivet_pool_envoys", pool.envoys),
                ("rivet_pool_running_actors", pool.running_actors),
                ("rivet_pool_max_concurrent_actors", pool.max_concurrent_actors),
            ] {
                if let Some(value) = value {
                    self.add(&mut batch, name, &place, value as f64, at);
                }
            }
            if let Some(error) = &pool.error {
                let with_error: Vec<(&str, &str)> = place.into_iter().chain([("error", error.as_str())]).collect();
                self.add(&mut batch, "rivet_pool_error", &with_error, 1.0, at);
            }
        }
        self.details.settle(&mut batch, at);
        batch
    }

    fn add_probe<T>(&self, batch: &mut Batch, endpoint: &str, probe: &Probe<T>, at: TimestampMs) {
        let success = f64::from(u8::from(probe.answer.is_ok()));
        self.add(batch, "rivet_probe_success", &[("endpoint", endpoint)], success, at);
        self.add(batch, "rivet_probe_duration_seconds", &[("endpoint", endpoint)], probe.took.as_secs_f64(), at);
    }

    fn add(&self, batch: &mut Batch, name: &str, labels: &[(&str, &str)], value: f64, at: TimestampMs) {
        let mut builder = LabelsBuilder::default();
        for (label, text) in labels {
            let clean = self.redactor.scrub(label, text);
            builder.set(*label, clean.as_deref().unwrap_or(text));
        }
        self.identity.stamp(&mut builder);
        let labels = builder.set(METRIC_NAME, name).build();
        batch.points.push(Point { labels, t: at, value: Value::Float(value) });
    }
}

fn metadata() -> Vec<(String, Metadata)> {
    let families = [
        ("rivet_probe_success", "", "Whether the engine answered a call of its API."),
        ("rivet_probe_duration_seconds", "seconds", "How long the engine took to answer a call of its API."),
        ("rivet_engine_info", "", "Version and commit of the engine."),
        ("rivet_pool_envoys", "", "Connected actor hosts of the pool, by the engine's API."),
        ("rivet_pool_running_actors", "", "Actors on the pool's connected hosts, by the engine's API."),
        ("rivet_pool_max_concurrent_actors", "", "Most actors that a serverless pool may run at once."),
        ("rivet_pool_error", "", "1 while the engine holds the pool in this error and refuses its calls."),
    ];
    let family = |(name, unit, help): (&str, &str, &str)| {
        let kind = if name == "rivet_engine_info" { MetricKind::Info } else { MetricKind::Gauge };
        (name.to_owned(), Metadata { kind, unit: unit.to_owned(), help: help.to_owned() })
    };
    families.into_iter().map(family).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::is_stale_nan;

    fn identity() -> Identity {
        Identity { job: "rivet".into(), instance: "e0".into(), extra: Vec::new() }
    }

    fn ok<T>(answer: T) -> Probe<T> {
        Probe { took: Duration::from_millis(250), answer: Ok(answer) }
    }

    fn lines(batch: &Batch) -> Vec<String> {
        let line = |p: &Point| {
            let labels = p.labels.keep(|n| n != "job" && n != "instance");
            match p.value {
                Value::Float(v) if is_stale_nan(v) => format!("{labels} stale"),
                Value::Float(v) => format!("{labels} {v}"),
                Value::Histogram(_) => format!("{labels} histogram"),
            }
        };
        batch.points.iter().map(line).collect()
    }

    fn details(pools: Vec<PoolState>) -> Details {
        Details {
            metadata: ok(EngineInfo { version: "2.3.19".into(), git_sha: String::new() }),
            envoys: Some(ok(())),
            runner_configs: Some(ok(())),
            pools,
            left_out: 0,
        }
    }

    #[test]
    fn health_is_a_success_and_a_duration() {
        let mut api = EngineApi::new(identity(), Arc::default());
        let batch = api.health_batch(&ok(None), TimestampMs(1));
        let expected =
            [r#"rivet_probe_success{endpoint="health"} 1"#, r#"rivet_probe_duration_seconds{endpoint="health"} 0.25"#];
        assert_eq!(lines(&batch), expected);
        assert_eq!(batch.points[0].labels.get("instance"), Some("e0"));
        let refused = Probe { took: Duration::ZERO, answer: Err(ProbeFailure::Connect) };
        assert_eq!(
            lines(&api.health_batch(&refused, TimestampMs(2)))[0],
            r#"rivet_probe_success{endpoint="health"} 0"#
        );
    }

    #[test]
    fn an_error_of_a_pool_ends_when_it_is_cleared() {
        let pool = |error: Option<&str>| PoolState {
            namespace: Namespace { id: "n1".into(), name: "default".into() },
            name: "p".into(),
            envoys: Some(0),
            running_actors: Some(0),
            max_concurrent_actors: Some(50),
            error: error.map(str::to_owned),
        };
        let mut api = EngineApi::new(identity(), Arc::default());
        let batch = api.details_batch(&details(vec![pool(Some("serverless_http_error"))]), None, TimestampMs(1));
        let place = r#"namespace_id="n1", pool_name="p", rivet_namespace="default""#;
        let error = format!(r#"rivet_pool_error{{error="serverless_http_error", {place}}}"#);
        assert!(lines(&batch).contains(&format!("{error} 1")), "{:?}", lines(&batch));
        assert!(lines(&batch).contains(&format!("rivet_pool_max_concurrent_actors{{{place}}} 50")));
        let batch = api.details_batch(&details(vec![pool(None)]), None, TimestampMs(2));
        assert!(lines(&batch).contains(&format!("{error} stale")));
    }

    #[test]
    fn releases_without_metadata_have_the_version_of_their_health_answer() {
        let mut api = EngineApi::new(identity(), Arc::default());
        let old = Details {
            metadata: Probe { took: Duration::ZERO, answer: Err(ProbeFailure::NotFound) },
            ..details(vec![])
        };
        let batch = api.details_batch(&old, Some("2.3.0"), TimestampMs(1));
        assert_eq!(lines(&batch)[0], r#"rivet_probe_success{endpoint="metadata"} 0"#);
        assert!(lines(&batch).contains(&r#"rivet_engine_info{version="2.3.0"} 1"#.to_owned()));
        let nothing = Details::default();
        assert!(!lines(&api.details_batch(&nothing, None, TimestampMs(2))).iter().any(|l| l.contains("envoys\"} 1")));
    }
}
