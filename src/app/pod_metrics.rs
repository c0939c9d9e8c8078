//! What the engine's pods use and in what state they are, read from metrics.k8s.io and Kubernetes' API while the agent runs.
//!
//! In:  the Kubernetes API, reached as the checklist reaches it.   Out: points, through the receive room.
//! Always: what goes wrong is said once, counted each time, and never a figure.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::checking::{self, Vantage};
use super::metrics::Bridge;
use super::tasks::Stage;
use crate::checklist::cluster::Resources;
use crate::checklist::probes::ClusterSource;
use crate::checklist::probes::kubernetes::{self, Refused, UsageReader};
use crate::clock::Clock;
use crate::config::Config;
use crate::receive::host;
use crate::receive::identity::Local;
use crate::receive::pod_metrics::{PodMetrics, PodMetricsStats, Reading, Whole, Workload};
use crate::storage::{Append, Batch};

/// Starts the readings, where Kubernetes is known.
pub(super) fn start(
    config: &Config,
    local: &Local,
    clock: Clock,
    store: Arc<dyn Append>,
    bridge: &Bridge,
    stage: &mut Stage,
) {
    if !config.receive.pod_metrics.enabled {
        return;
    }
    let access = match checking::cluster(config, Vantage::Agent) {
        ClusterSource::Api(access) => access,
        ClusterSource::None(reason) => return debug!(reason, "metrics.k8s.io is not read"),
        ClusterSource::Manifests { .. } => return,
    };
    let stats = Arc::new(PodMetricsStats::new(&Refused::CLASSES));
    bridge.add(stats.clone());
    let poller = Poller {
        reader: UsageReader::new(access),
        step: PodMetrics::new(local.cluster.clone()),
        interval_ms: config.receive.pod_metrics.interval.as_ms(),
        clock,
        store,
        stats,
        said: Said::default(),
    };
    let stop = stage.stop();
    stage.spawn("pod metrics", poller.run(stop));
}

struct Poller {
    reader: UsageReader,
    step: PodMetrics,
    interval_ms: i64,
    clock: Clock,
    store: Arc<dyn Append>,
    stats: Arc<PodMetricsStats>,
    said: Said,
}

impl Poller {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = self.reader.read() => read,
            };
            let batch = self.batch(read);
            if !batch.points.is_empty()
                && let Err(error) = self.store.commit(batch).await
            {
                self.stats.commits_refused.inc();
                warn!(%error, "the store did not take a reading of metrics.k8s.io");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep_until_tick(self.interval_ms, 0) => {}
            }
        }
    }

    fn batch(&mut self, read: Result<kubernetes::PodMetrics, Refused>) -> Batch {
        let now = self.clock.now();
        match read {
            Ok(metrics) => {
                let workloads: Vec<Workload> = metrics.workloads.into_iter().map(workload).collect();
                let whole = Whole { usage: metrics.unread.is_empty(), states: metrics.states_unread.is_empty() };
                let reading = self.step.read(&metrics.namespace, &workloads, whole, now);
                self.stats.read(&reading);
                self.said.read(&reading, &metrics.unread, &metrics.states_unread);
                reading.batch
            }
            Err(refused) => {
                self.stats.failed(refused.class);
                self.said.failed(&refused);
                self.step.without_reading(now)
            }
        }
    }
}

fn workload(measured: kubernetes::MeasuredWorkload) -> Workload {
    let resources = |(name, requests, limits): (String, Resources, Resources)| {
        let resources = host::Resources {
            cpu_request: requests.cpu,
            cpu_limit: limits.cpu,
            memory_request: requests.memory,
            memory_limit: limits.memory,
        };
        (name, resources)
    };
    let containers = measured.containers.into_iter().map(resources).collect();
    Workload { containers, pods: measured.pods, states: measured.states }
}

/// What was said already.
#[derive(Default)]
struct Said {
    /// The class of the failure that goes on; nothing before the first reading.
    failure: Option<Option<&'static str>>,
    skipped: BTreeSet<&'static str>,
    unread: bool,
    states_unread: bool,
}

impl Said {
    fn failed(&mut self, refused: &Refused) {
        if self.failure.replace(Some(refused.class)) != Some(Some(refused.class)) {
            info!(reason = refused.gap.reason(), "metrics.k8s.io cannot be read; usage is taken from other sources");
        }
    }

    fn read(&mut self, reading: &Reading, unread: &[String], states_unread: &[String]) {
        if self.failure.replace(None) != Some(None) {
            info!(pods = reading.pods, "metrics.k8s.io is read");
        }
        for (reason, (pods, why)) in &reading.skipped {
            if self.skipped.insert(reason) {
                warn!(reason, pods, why, "metrics.k8s.io tells of pods that cannot be used");
            }
        }
        self.skipped.retain(|reason| reading.skipped.contains_key(reason));
        if let Some(reason) = unread.first().filter(|_| !self.unread) {
            warn!(reason, "the list of metrics.k8s.io is not whole");
        }
        self.unread = !unread.is_empty();
        if let Some(reason) = states_unread.first().filter(|_| !self.states_unread) {
            warn!(reason, "the engine's pods are not all known; without kube-state-metrics they count as ready");
        }
        self.states_unread = !states_unread.is_empty();
    }
}
