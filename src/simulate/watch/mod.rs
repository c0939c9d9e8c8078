//! The receiving half of an agent in virtual time: what it sees of a cluster, and when.
//!
//! In:  a cluster at one time.   Out: batches, made by the real scrape target, OTLP translation and engine API step.
//! Always: an instance is known from the first turn after its process began until the first turn after it is gone, as
//! with any discovery; what cannot be reached is a failed scrape.

mod host;
mod kubernetes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cluster::{Cluster, Phase, Pod};
use super::engine::PoolKind;
use super::scenario::{Platform, Source};
use crate::model::TimestampMs;
use crate::receive::engine_api::{Details, EngineApi, EngineInfo, Namespace, PoolState, Probe, ProbeFailure};
use crate::receive::identity::{DEFAULT_JOB, Identity, Local};
use crate::receive::otlp::translate::{Options, Translator};
use crate::receive::scrape::{Failure, Page, Target, TargetSettings};
use crate::rivet::limits::OTLP_METRIC_INTERVAL_SECS;
use crate::storage::Batch;

/// The Kubernetes namespace of the shipped manifests.
pub const NAMESPACE: &str = "rivet-engine";
/// Longest time a scrape may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often version and pools are asked for.
const DETAILS_MS: i64 = 30_000;

/// Everything that is watched.
pub struct Watch {
    instances: BTreeMap<u32, Instance>,
    cadvisor: Target,
    kube_state: Target,
    translator: Translator,
    platform: Platform,
    /// Whether the engine's API is asked.
    asks_api: bool,
    page: String,
}

/// One known engine instance.
struct Instance {
    target: Target,
    api: EngineApi,
    host: host::HostSeries,
    identity: Identity,
    details_at: Option<TimestampMs>,
    /// Of the last answer, as the agent remembers it.
    version: Option<String>,
    exported_at: Option<TimestampMs>,
}

impl Watch {
    /// Watches the cluster of a scenario.
    pub fn new(platform: Platform, asks_api: bool) -> Self {
        let other = |job: &str| TargetSettings {
            is_engine: false,
            honor_labels: true,
            ..TargetSettings::engine(Identity { job: job.into(), instance: job.into(), extra: Vec::new() })
        };
        Self {
            instances: BTreeMap::new(),
            cadvisor: Target::new(other("kubelet")),
            kube_state: Target::new(other("kube-state-metrics")),
            translator: Translator::new(Options { target_info: false, ..Options::default() }),
            platform,
            asks_api,
            page: String::new(),
        }
    }

    /// One turn: everything that is known is scraped or asked at `now`.
    pub fn turn(&mut self, cluster: &Cluster, now: TimestampMs) -> Vec<Batch> {
        let mut batches = Vec::new();
        let known: Vec<u32> = self.instances.keys().copied().collect();
        for number in known {
            let pod = cluster.pods.iter().find(|pod| pod.number == number);
            self.instance_turn(number, pod, cluster, now, &mut batches);
        }
        if self.platform == Platform::Kubernetes {
            kubernetes::cadvisor(&mut self.page, cluster, now);
            batches.push(scrape(&mut self.cadvisor, &self.page, !cluster.has_lost(Source::Cadvisor), now));
            kubernetes::state(&mut self.page, cluster);
            batches.push(scrape(&mut self.kube_state, &self.page, !cluster.has_lost(Source::KubeState), now));
        }
        // What is discovered now is scraped from the next turn on.
        for pod in cluster.pods.iter().filter(|pod| !matches!(pod.phase, Phase::Pending { .. })) {
            let platform = self.platform;
            self.instances.entry(pod.number).or_insert_with(|| Instance::new(pod, platform));
        }
        batches
    }

    fn instance_turn(
        &mut self,
        number: u32,
        pod: Option<&Pod>,
        cluster: &Cluster,
        now: TimestampMs,
        batches: &mut Vec<Batch>,
    ) {
        let Some(instance) = self.instances.get_mut(&number) else { return };
        let Some(pod) = pod else {
            // Gone from discovery; an engine that only sends has no target to end.
            if let Some(mut instance) = self.instances.remove(&number) {
                batches.push(instance.target.end(now));
            }
            return;
        };
        let reaches = !cluster.is_out_of_reach(pod);
        if pod.release().is_scraped() {
            let answer = match (pod.answers(now), reaches) {
                (true, true) => {
                    pod.engine.page_into(&mut self.page);
                    Ok(Page::text(self.page.as_bytes()))
                }
                (_, false) => Err(Failure::Timeout { timeout: TIMEOUT }),
                (false, true) => Err(Failure::Connect { cause: "connection refused".into() }),
            };
            batches.push(instance.target.page_to_batch(answer, now, Duration::from_millis(20)).0);
        } else if pod.has_process() && reaches && instance.is_export_due(pod, now) {
            let resource: Vec<(&str, &str)> = match self.platform {
                Platform::Kubernetes => vec![("k8s.pod.name", &pod.name), ("k8s.namespace.name", NAMESPACE)],
                Platform::Host => Vec::new(),
            };
            if let Some(request) = pod.engine.metrics_request(now.plus_ms(pod.clock_skew_ms), &resource) {
                batches.push(self.translator.metrics(&request, None, now).batch);
            }
        }
        if self.platform == Platform::Host && reaches {
            batches.push(instance.host.batch(&instance.identity, pod, cluster, now));
        }
        if self.asks_api && !cluster.has_lost(Source::EngineApi) {
            instance.ask(pod, cluster, reaches, now, batches);
        }
    }
}

/// One scrape of other software.
fn scrape(target: &mut Target, page: &str, answers: bool, now: TimestampMs) -> Batch {
    let answer = match answers {
        true => Ok(Page::text(page.as_bytes())),
        false => Err(Failure::Connect { cause: "connection refused".into() }),
    };
    target.page_to_batch(answer, now, Duration::from_millis(5)).0
}

impl Instance {
    fn new(pod: &Pod, platform: Platform) -> Self {
        let local = match platform {
            Platform::Kubernetes => Local {
                host_name: pod.name.clone(),
                pod: Some(pod.name.clone()),
                namespace: Some(NAMESPACE.to_owned()),
                cluster: None,
            },
            Platform::Host => Local { host_name: pod.name.clone(), ..Local::default() },
        };
        let identity = Identity::of_target(DEFAULT_JOB, "localhost", 6430, false, &local);
        Self {
            target: Target::new(TargetSettings::engine(identity.clone())),
            api: EngineApi::new(identity.clone(), Arc::default()),
            host: host::HostSeries::default(),
            identity,
            details_at: None,
            version: None,
            exported_at: None,
        }
    }

    /// 25.7 exports every 30 s, from the start of its process on.
    fn is_export_due(&mut self, pod: &Pod, now: TimestampMs) -> bool {
        let every = i64::from(OTLP_METRIC_INTERVAL_SECS) * 1000;
        let since_start = now.since(pod.engine.started());
        let is_due = since_start >= 0 && self.exported_at.is_none_or(|last| now.since(last) >= every);
        if is_due {
            self.exported_at = Some(now);
        }
        is_due
    }

    fn ask(&mut self, pod: &Pod, cluster: &Cluster, reaches: bool, now: TimestampMs, batches: &mut Vec<Batch>) {
        let answers = reaches && cluster.is_healthy(pod);
        let failure = || if reaches { ProbeFailure::Connect } else { ProbeFailure::Timeout(TIMEOUT) };
        let version = pod.release().version().to_owned();
        let health = match answers {
            true => Probe { took: Duration::from_millis(3), answer: Ok(Some(version.clone())) },
            false => Probe { took: Duration::from_secs(5), answer: Err(failure()) },
        };
        self.version = health.answer.clone().ok().flatten().or(self.version.take());
        batches.push(self.api.health_batch(&health, now));
        if self.details_at.is_some_and(|last| now.since(last) < DETAILS_MS) {
            return;
        }
        self.details_at = Some(now);
        let took = Duration::from_millis(4);
        let details = match answers {
            true => Details {
                metadata: Probe { took, answer: Ok(EngineInfo { version, git_sha: String::new() }) },
                envoys: Some(Probe { took, answer: Ok(()) }),
                runner_configs: Some(Probe { took, answer: Ok(()) }),
                pools: pools(cluster),
                left_out: 0,
            },
            false => Details {
                metadata: Probe { took, answer: Err(failure()) },
                envoys: Some(Probe { took, answer: Err(failure()) }),
                runner_configs: Some(Probe { took, answer: Err(failure()) }),
                ..Details::default()
            },
        };
        batches.push(self.api.details_batch(&details, self.version.as_deref(), now));
    }
}

/// What the engine's API says of the pools.
fn pools(cluster: &Cluster) -> Vec<PoolState> {
    let pool = |(p, pool): (usize, &super::cluster::Pool)| {
        let is_serverless = pool.plan.kind == PoolKind::Serverless;
        PoolState {
            namespace: Namespace { id: pool.namespace_id.clone(), name: "default".into() },
            name: pool.plan.name.clone(),
            // A serverless actor is a host of its own for as long as it runs.
            envoys: (!is_serverless).then(|| cluster.connected(p)),
            running_actors: Some(pool.running.round() as u64),
            max_concurrent_actors: is_serverless.then_some(pool.plan.max_concurrent),
            error: cluster.is_in_error(pool).then(|| "serverless_http_error".to_owned()),
        }
    };
    cluster.pools.iter().enumerate().map(pool).collect()
}

#[cfg(test)]
mod tests;
