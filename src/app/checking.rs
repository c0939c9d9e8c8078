//! The production checklist: what of the configuration it is run with, and the runs of a judging agent.
//!
//! In:  the configuration, and the series of the agent's own store or of another.   Out: a report, as JSON for the API
//! and as own metrics.   Always: a run that hangs in a probe ends with that probe's deadline, and judging goes on beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::capacity::Capacity;
use super::metrics::Bridge;
use super::tasks::Stage;
use super::views::to_json;
use crate::api::View;
use crate::capacity::SeenAutoscaler;
use crate::capacity::hpa::HpaSpec;
use crate::checklist::cluster::Cluster;
use crate::checklist::evidence::{ActorHostTold, Backend, Evidence, Told};
use crate::checklist::known::{Known, unknown};
use crate::checklist::probes::{
    self, Access, ClusterSource, EngineAddress, NatsSource, Row, Rows, Series, Sources, kubernetes, postgres,
};
use crate::checklist::{CheckStats, Choice, KubernetesMode, Report, Status, judge};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::model::{self, TimestampMs};
use crate::promql::{self, Engine, QueryValue};
use crate::tsdb::Tsdb;

/// The runbook that has a section for each item.
const RUNBOOK: &str = "RivetCheckFailing";
/// Since when items have had their status, by what this agent wrote before it was restarted.
const STATUS_BEFORE: &str = "\
    max by (item, status) (last_over_time(rivetwatch_check_item_bool[1h]) == 1) \
    * on (item) group_left () \
    max by (item) (last_over_time(rivetwatch_check_item_since_timestamp_seconds[1h]))";
/// Time after the start before the first run, so that received data and rules are there.
const FIRST_RUN_MS: i64 = 60_000;

/// Who runs the checklist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vantage {
    /// A running agent: it uses the service account of its pod, and no kubeconfig that happens to lie around.
    Agent,
    /// A person at a terminal.
    Command,
}

/// Everything a run needs besides the time and the series.
pub struct Plan {
    pub told: Told,
    pub choice: Choice,
    pub engine: Known<EngineAddress>,
    pub cluster: ClusterSource,
    pub engine_config: Vec<PathBuf>,
    pub postgres: Known<SecretString>,
    pub nats: NatsSource,
    pub grafana: Known<(Url, Option<SecretString>)>,
    pub tries_outside: bool,
    /// The rest of the `check` section, as it is configured.
    pub config: crate::checklist::Config,
}

impl Plan {
    /// What the configuration says.
    pub fn of(config: &Config, vantage: Vantage) -> Self {
        let check = config.check.clone();
        let admin_token = config.receive.engine_api.admin_token_file.as_deref();
        let admin_token = admin_token.map(|path| secret_file(path, "receive.engine_api.admin_token_file"));
        let told = Told {
            backend: config.engine.backend.map(backend),
            expected_instances: config.engine.expected_instances,
            public_url: config.engine.public_url.clone(),
            admin_token: admin_token.clone(),
            sampler_ratio: config.receive.spans.sampler_ratio,
            actor_hosts: actor_hosts(&config.capacity.actor_hosts),
            certificate_expiry: check.tls.expiry.0,
            standby_lag: check.postgres.standby_lag.0,
            backup_age: check.postgres.backup_age.0,
            alert_age: check.alert_age.0,
            without_kubernetes: (check.kubernetes.mode == KubernetesMode::Off)
                .then(|| "`check.kubernetes.mode` is `off`".to_owned()),
        };
        let engine = match config.receive.engine_api.enabled {
            true => address(config, admin_token),
            false => unknown("`receive.engine_api` is off, so that the engine's doors are not tried"),
        };
        let postgres = match &check.postgres.url_file {
            Some(file) => postgres::url_of(file),
            None => unknown("PostgreSQL was not asked; set `check.postgres.url_file`"),
        };
        let grafana = match &check.grafana.url {
            None => unknown("no Grafana was asked; set `check.grafana.url`"),
            Some(url) => grafana(url, check.grafana.token_file.as_deref()),
        };
        let nats = match check.nats.servers.is_empty() {
            true => NatsSource::Configured,
            false => NatsSource::Servers(check.nats.servers.clone()),
        };
        Self {
            told,
            choice: Choice {
                only: Vec::new(),
                skip: check.skip.clone(),
                attest: check.attest.clone(),
                runbook: runbook(config.external_url.as_deref()),
            },
            engine,
            cluster: cluster(config, vantage),
            engine_config: check.engine_config.clone(),
            postgres,
            nats,
            grafana,
            tries_outside: true,
            config: check,
        }
    }

    /// Asks everything.
    pub async fn evidence(&self, now: TimestampMs, series: Known<&dyn Series>) -> Evidence {
        let urls = self.config.nats.monitor_urls.iter().filter_map(|url| Url::parse(url).ok());
        let sources = Sources {
            timeout: self.config.timeout.0,
            engine: self.engine.clone(),
            cluster: self.cluster.clone(),
            engine_config: self.engine_config.clone(),
            node_hosts: self.config.node_hosts.clone(),
            postgres: self.postgres.clone(),
            backup_marker: self.config.postgres.backup_marker.clone(),
            nats: self.nats.clone(),
            nats_monitor_port: self.config.nats.monitor_port,
            nats_monitor_urls: urls.collect(),
            grafana: self.grafana.clone(),
            ca_file: self.config.tls.ca_file.clone(),
            series,
            tries_outside: self.tries_outside,
        };
        probes::collect(now, self.told.clone(), &sources).await
    }
}

/// The runbook's address: on the agent where people reach it, else with the source.
pub fn runbook(external_url: Option<&str>) -> String {
    match external_url {
        Some(url) => format!("{}/runbooks/{RUNBOOK}", url.trim_end_matches('/')),
        None => format!("{}/blob/main/alerts/runbooks/{RUNBOOK}.md", env!("CARGO_PKG_REPOSITORY")),
    }
}

/// Reads a file that holds one secret.
///
/// # Errors
/// It cannot be read, or is empty.
pub fn secret_file(path: &Path, key: &str) -> Known<SecretString> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => unknown(format!("`{}` (`{key}`) is empty", path.display())),
        Ok(text) => Ok(SecretString::from(text.trim())),
        Err(e) => unknown(format!("`{}` (`{key}`) could not be read: {e}", path.display())),
    }
}

fn backend(backend: config::Backend) -> Backend {
    match backend {
        config::Backend::Postgres => Backend::Postgres,
        config::Backend::Rocksdb => Backend::Rocksdb,
        config::Backend::Foundationdb => Backend::Foundationdb,
    }
}

/// The checklist knows pools by name alone: where entries for several Rivet namespaces differ, the limit is unknown to it.
fn actor_hosts(hosts: &[crate::capacity::ActorHost]) -> Vec<ActorHostTold> {
    let mut out: Vec<ActorHostTold> = Vec::new();
    for host in hosts {
        let (start_rate, concurrency) = (host.allowed_rate(), host.concurrency);
        let of = (&host.pool, &host.rivet_namespace);
        match out.iter_mut().find(|told| (&told.pool, &told.rivet_namespace) == of) {
            None => {
                let (pool, rivet_namespace) = (host.pool.clone(), host.rivet_namespace.clone());
                out.push(ActorHostTold { pool, rivet_namespace, start_rate, concurrency });
            }
            Some(told) => {
                told.start_rate = told.start_rate.filter(|rate| start_rate == Some(*rate));
                told.concurrency = told.concurrency.filter(|n| concurrency == Some(*n));
            }
        }
    }
    out
}

fn address(config: &Config, token: Option<Known<SecretString>>) -> Known<EngineAddress> {
    let api = &config.receive.engine_api;
    let (Ok(guard), Ok(peer)) = (Url::parse(&api.public_url), Url::parse(&api.peer_url)) else {
        return unknown("the engine's addresses in `receive.engine_api` are no URLs");
    };
    let actor_hosts = config.check.actor_host_urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
    let targets = &config.receive.scrape.targets;
    let metrics = targets.iter().find(|t| t.engine).and_then(|t| Url::parse(t.url.as_deref()?).ok());
    Ok(EngineAddress { guard, peer: Some(peer), metrics, token, actor_hosts })
}

fn grafana(url: &str, token_file: Option<&Path>) -> Known<(Url, Option<SecretString>)> {
    let Ok(url) = Url::parse(url) else { return unknown("`check.grafana.url` is no URL") };
    let token = token_file.map(|path| secret_file(path, "check.grafana.token_file")).transpose()?;
    Ok((url, token))
}

/// The way to Kubernetes, as the configuration and the environment have it.
pub(super) fn cluster(config: &Config, vantage: Vantage) -> ClusterSource {
    let kubernetes = &config.check.kubernetes;
    let access = Access {
        kubeconfig: kubernetes.kubeconfig.clone(),
        context: kubernetes.context.clone(),
        namespace: kubernetes.namespace.clone(),
        engine: kubernetes.engine.clone(),
        may_infer: vantage == Vantage::Command || kubernetes.mode == KubernetesMode::On,
        timeout: config.check.timeout.0,
        objects_max: kubernetes.objects_max,
    };
    let is_known = kubernetes.kubeconfig.is_some()
        || kubernetes::has_service_account()
        || (vantage == Vantage::Command && kubernetes::has_kubeconfig());
    match kubernetes.mode {
        KubernetesMode::Off => ClusterSource::None("`check.kubernetes.mode` is `off`".into()),
        KubernetesMode::Auto if !is_known => ClusterSource::None(
            "no Kubernetes is known: neither a kubeconfig nor a service account; if there is none, set \
             `check.kubernetes.mode: off`"
                .into(),
        ),
        KubernetesMode::Auto | KubernetesMode::On => ClusterSource::Api(access),
    }
}

/// The series of the agent's own store.
struct StoreSeries {
    store: Arc<Tsdb>,
    engine: Arc<Engine>,
    clock: Clock,
}

impl Series for StoreSeries {
    fn query<'a>(&'a self, expr: &'a str) -> Rows<'a> {
        let (store, engine, now) = (self.store.clone(), self.engine.clone(), self.clock.now());
        let expr = expr.to_owned();
        Box::pin(async move {
            let work = tokio::task::spawn_blocking(move || {
                let parsed = promql::parse(&expr).map_err(|e| e.to_string())?;
                engine.instant(&*store, &parsed, now).map(|answer| answer.value).map_err(|e| e.to_string())
            });
            match work.await {
                Ok(Ok(QueryValue::Vector(samples))) => Ok(samples.iter().filter_map(row).collect()),
                Ok(Ok(_)) => unknown("the own store gave no vector"),
                Ok(Err(error)) => unknown(format!("the own store could not be asked: {error}")),
                Err(panic) => unknown(format!("the own store could not be asked: {panic}")),
            }
        })
    }

    fn source(&self) -> String {
        "the agent itself".into()
    }
}

fn row(sample: &promql::VectorSample) -> Option<Row> {
    let model::Value::Float(value) = sample.value else { return None };
    let labels = sample.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Some(Row { labels, value })
}

/// Starts the runs, and gives what the API shows of them.
pub(super) fn start(
    config: &Config,
    clock: Clock,
    store: Arc<Tsdb>,
    engine: Arc<Engine>,
    capacity: &Capacity,
    bridge: &Bridge,
    stage: &mut Stage,
) -> View<Result<Value, String>> {
    if !config.check.enabled {
        return Arc::new(|| Err("the checklist is off (`check.enabled`)".into()));
    }
    let stats = Arc::new(CheckStats::new(config.check.interval.0.as_secs_f64()));
    bridge.add(stats.clone());
    let series = StoreSeries { store, engine, clock: clock.clone() };
    stage.spawn("checklist", run(config.clone(), series, capacity.clone(), clock, stats.clone(), stage.stop()));
    Arc::new(move || match stats.report() {
        Some(report) => Ok(to_json(report)),
        None => Err("the first run of the checklist has not ended yet".into()),
    })
}

async fn run(
    config: Config,
    series: StoreSeries,
    capacity: Capacity,
    clock: Clock,
    stats: Arc<CheckStats>,
    stop: CancellationToken,
) {
    match series.query(STATUS_BEFORE).await {
        Ok(rows) => stats.resume(rows.iter().filter_map(status_before)),
        Err(gap) => warn!(reason = gap.reason(), "since when items have had their status could not be read"),
    }
    let interval_ms = config.check.interval.as_ms();
    let mut at = clock.now().plus_ms(FIRST_RUN_MS.min(interval_ms));
    let mut before: Option<Report> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(at) => {}
        }
        let begun = Instant::now();
        // Anew each time, so that a token or URL that was replaced in its file is the one that is used.
        let plan = Plan::of(&config, Vantage::Agent);
        let evidence = tokio::select! {
            () = stop.cancelled() => return,
            evidence = plan.evidence(clock.now(), Ok(&series)) => evidence,
        };
        tell(&evidence, &capacity);
        let report = judge(&evidence, &plan.choice);
        log_changes(before.as_ref(), &report);
        stats.finished(report.clone(), clock.now(), begun.elapsed().as_secs_f64());
        before = Some(report);
        at = clock.now().plus_ms(interval_ms);
    }
}

/// An item with the status that it had before a restart, and since when.
fn status_before(row: &Row) -> Option<(String, Status, TimestampMs)> {
    let status = row.labels.get("status")?;
    let status = Status::ALL.into_iter().find(|known| known.as_str() == status)?;
    Some((row.labels.get("item")?.clone(), status, TimestampMs((row.value * 1000.0) as i64)))
}

/// Tells capacity of the engine's autoscaler. What could not be read this time is as it was.
fn tell(evidence: &Evidence, capacity: &Capacity) {
    let object = match evidence.cluster.as_ref().map(Cluster::engine_autoscaler) {
        Ok(Ok(object)) => object,
        _ => return,
    };
    let Some(object) = object else { return capacity.know_autoscaler(None) };
    // The items of a list do not say what kind they are.
    match HpaSpec::from_manifest(&object["spec"]) {
        Ok(spec) => {
            let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default();
            capacity.know_autoscaler(Some(SeenAutoscaler { namespace: namespace.to_owned(), spec }));
        }
        Err(error) => warn!(%error, "the engine's HorizontalPodAutoscaler could not be read"),
    }
}

/// Says once that an item began to fail, and once that it is met again.
fn log_changes(before: Option<&Report>, now: &Report) {
    let status_before = |item: &str| before.and_then(|r| r.findings.iter().find(|f| f.item == item)).map(|f| f.status);
    for finding in &now.findings {
        match (status_before(&finding.item), finding.status) {
            (Some(Status::Fail), Status::Fail) => {}
            (_, Status::Fail) => warn!(item = finding.item, reason = finding.reason, "an item of the checklist fails"),
            (Some(Status::Fail), status) => {
                info!(item = finding.item, status = status.as_str(), "an item of the checklist fails no more");
            }
            _ => {}
        }
    }
}
