//! Series that nobody sends: the agent's own counts and what the operator configured, so that rules can read them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::instances::RETIRED_METRIC;
use super::metrics::Bridge;
use crate::api;
use crate::capacity::ActorHost;
use crate::clock::{Clock, next_tick};
use crate::config::Config;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, TimestampMs, Value};
use crate::receive::identity::{DEFAULT_JOB, Identity, Local};
use crate::storage::{Append, Batch, Point};

/// Writes the own and the configured series once a tick.
pub struct OwnSeries {
    bridge: Arc<Bridge>,
    /// Name, labels and value of what was configured.
    configured: Vec<(Labels, f64)>,
    agent: LabelsBuilder,
    /// What is said last, where the end of this process is the end of the engine's instance.
    last_word: Option<Labels>,
}

impl OwnSeries {
    /// Series of the agent that `local` names, about the installation it watches and the engine beside it.
    pub fn new(config: &Config, local: &Local, bridge: Arc<Bridge>, engine: &Identity) -> Self {
        let mut agent = installation(local);
        agent.set("job", "rivetwatch").set("instance", own_instance(local, config.api.listen.port()));
        let last_word = config.receive.retire_on_stop.then(|| {
            let mut labels = LabelsBuilder::default();
            engine.stamp(&mut labels);
            labels.set(METRIC_NAME, RETIRED_METRIC).build()
        });
        Self { bridge, configured: configured(config, local), agent, last_word }
    }

    /// Commits them on every interval until told to stop, and then the last word: for a role without ticks.
    pub async fn send(self, to: Arc<dyn Append>, clock: Clock, interval_ms: i64, stop: CancellationToken) {
        loop {
            let at = next_tick(clock.now(), interval_ms, 0);
            tokio::select! {
                () = stop.cancelled() => break,
                () = clock.sleep_until(at) => {}
            }
            if let Err(error) = to.commit(self.batch(at)).await {
                warn!(%error, "the agent's own series could not be handed over");
            }
        }
        if let Some(labels) = self.last_word {
            let point = Point { labels, t: clock.now(), value: Value::Float(1.0) };
            if let Err(error) = to.commit(Batch { points: vec![point], ..Batch::default() }).await {
                warn!(%error, "that the instance is gone could not be handed over");
            }
        }
    }

    /// All of them at `at`.
    pub fn batch(&self, at: TimestampMs) -> Batch {
        self.bridge.refresh();
        let point = |labels: Labels, value: f64| Point { labels, t: at, value: Value::Float(value) };
        let mut points: Vec<Point> =
            self.configured.iter().map(|(labels, value)| point(labels.clone(), *value)).collect();
        for row in self.bridge.rows() {
            let mut labels = self.agent.clone();
            labels.set(METRIC_NAME, row.name);
            for (name, value) in &row.labels {
                // An engine or target that a row speaks of must not take the place of the agent itself.
                let name =
                    if matches!(*name, "job" | "instance") { format!("exported_{name}") } else { (*name).to_owned() };
                labels.set(name, value.as_str());
            }
            points.push(point(labels.build(), row.value));
        }
        Batch { points, ..Batch::default() }
    }
}

/// The name of this agent among others: its pod's, else its host's, with the port of its API where that is not the
/// usual one, since several agents of one host have different ports.
pub fn own_instance(local: &Local, api_port: u16) -> String {
    match api_port {
        api::DEFAULT_PORT | 0 => local.instance().to_owned(),
        _ if local.pod.is_some() => local.instance().to_owned(),
        port => format!("{}:{port}", local.instance()),
    }
}

fn installation(local: &Local) -> LabelsBuilder {
    let mut labels = LabelsBuilder::default();
    for (name, value) in [("cluster", &local.cluster), ("namespace", &local.namespace)] {
        if let Some(value) = value {
            labels.set(name, value.as_str());
        }
    }
    labels
}

/// The series of what the operator configured, as the agent that `local` names writes them.
pub(super) fn configured(config: &Config, local: &Local) -> Vec<(Labels, f64)> {
    let mut series = Vec::new();
    let mut push = |name: &str, more: &[(&str, &str)], value: f64| {
        let mut labels = installation(local);
        labels.set("job", DEFAULT_JOB).set(METRIC_NAME, name);
        for (name, value) in more {
            labels.set(*name, *value);
        }
        series.push((labels.build(), value));
    };
    if let Some(backend) = config.engine.backend {
        push("rivet_config_backend", &[("backend", backend.as_str())], 1.0);
    }
    if let Some(n) = config.engine.expected_instances {
        push("rivet_config_expected_instances", &[], f64::from(n));
    }
    push("rivet_config_sampler_ratio", &[], config.receive.spans.sampler_ratio);
    for host in &config.capacity.actor_hosts {
        let pool = ("pool_name", host.pool.as_str());
        // An empty label is none.
        let tenant = ("rivet_namespace", host.rivet_namespace.as_deref().unwrap_or_default());
        if let Some(rate) = host.allowed_rate() {
            push("rivet_config_actor_host_rate_limit", &[pool, tenant, ("per", host.per.as_str())], rate);
        }
        if let ActorHost { concurrency: Some(n), .. } = host {
            push("rivet_config_actor_host_concurrency", &[pool, tenant], *n as f64);
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_of_one_host_are_told_apart_by_their_ports() {
        let host = Local { host_name: "node-a".into(), ..Local::default() };
        let pod = Local { pod: Some("engine-0".into()), ..host.clone() };
        assert_eq!(own_instance(&host, 6440), "node-a");
        assert_eq!(own_instance(&host, 6450), "node-a:6450");
        assert_eq!(own_instance(&pod, 6450), "engine-0");
    }
}
