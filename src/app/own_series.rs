//! Series that nobody sends: the agent's own counts and what the operator configured, so that rules can read them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::metrics::Bridge;
use crate::capacity::ActorHost;
use crate::clock::{Clock, next_tick};
use crate::config::Config;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, TimestampMs, Value};
use crate::receive::identity::{DEFAULT_JOB, Local};
use crate::storage::{Append, Batch, Point};

/// Writes the own and the configured series once a tick.
pub struct OwnSeries {
    bridge: Arc<Bridge>,
    /// Name, labels and value of what was configured.
    configured: Vec<(Labels, f64)>,
    agent: LabelsBuilder,
}

impl OwnSeries {
    /// Series of the agent that `local` names, about the installation it watches.
    pub fn new(config: &Config, local: &Local, bridge: Arc<Bridge>) -> Self {
        let mut agent = installation(local);
        agent.set("job", "rivetwatch").set("instance", local.instance());
        Self { bridge, configured: configured(config, local), agent }
    }

    /// Commits them on every interval until told to stop: for a role without ticks.
    pub async fn send(self, to: Arc<dyn Append>, clock: Clock, interval_ms: i64, stop: CancellationToken) {
        loop {
            let at = next_tick(clock.now(), interval_ms, 0);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(at) => {}
            }
            if let Err(error) = to.commit(self.batch(at)).await {
                warn!(%error, "the agent's own series could not be handed over");
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
        if let Some(rate) = host.allowed_rate() {
            push("rivet_config_actor_host_rate_limit", &[pool, ("per", host.per.as_str())], rate);
        }
        if let ActorHost { concurrency: Some(n), .. } = host {
            push("rivet_config_actor_host_concurrency", &[pool], *n as f64);
        }
    }
    series
}
