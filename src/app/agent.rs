//! The running agent: which tasks there are in which role, and in which order they stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::arrivals::Announced;
use super::disk::Disk;
use super::intake::{self, IntakeError};
use super::judging::{self, Judging};
use super::metrics::Bridge;
use super::onward::{self, KeepAndForward};
use super::origin::Origin;
use super::own_series::{OwnSeries, own_instance};
use super::pod_metrics;
use super::reload::ReloadStats;
use super::tasks::{Stage, Stages};
use super::views;
use crate::api::{self, Auth, Health};
use crate::clock::Clock;
use crate::config::{Config, Role};
use crate::forward::{ForwardError, Forwarder, PointForwarder};
use crate::model::{Labels, METRIC_NAME, MatchOp, TimestampMs};
use crate::promql::Engine;
use crate::receive::identity::Local;
use crate::receive::otlp::Onward;
use crate::receive::remote_write::{self, RemoteWriteStats};
use crate::receive::scrape::Keep;
use crate::rules;
use crate::storage::{Append, Select};
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tsdb::{self, Tsdb};

/// What no receiver lets through: theirs is 10 minutes, and the store is told the time once a minute.
const FUTURE_MS_MAX: i64 = 15 * 60_000;
/// How often the store drops what is older than its retention.
const MAINTENANCE_MS: i64 = 60_000;

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("failed to open the store in `{}` (`storage.path`)", path.display())]
    Store { path: std::path::PathBuf, source: tsdb::OpenError },
    #[error("failed to create the folder `{}` (`storage.path`)", path.display())]
    Folder { path: std::path::PathBuf, source: std::io::Error },
    #[error("the rules cannot be used")]
    Rules(#[from] rules::LoadError),
    #[error("the routes cannot be used:\n{0}")]
    Routes(String),
    #[error(transparent)]
    Intake(#[from] IntakeError),
    #[error("failed to open the outbox `{}` (in `storage.path`)", path.display())]
    Outbox { path: std::path::PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(transparent)]
    Forward(#[from] ForwardError),
    #[error("failed to listen on `{endpoint}` (`{key}`)")]
    Listen { key: &'static str, endpoint: SocketAddr, source: std::io::Error },
    #[error("{0}")]
    Auth(String),
    #[error(transparent)]
    Scaler(#[from] api::ScalerError),
}

/// Addresses that were really bound; port 0 in the configuration takes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    pub api: SocketAddr,
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
    pub external_scaler: Option<SocketAddr>,
}

/// A running agent.
pub struct App {
    stages: Stages,
    addresses: Addresses,
    store: Arc<Tsdb>,
    telemetry: Telemetry,
}

impl App {
    /// Opens the store, takes every port and starts the tasks of the configured role.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub async fn start(config: Config, origin: Origin, clock: Clock) -> Result<Self, StartError> {
        let local = Local::from_env(host_name(), |name| std::env::var(name).ok());
        let telemetry = Telemetry::start(&config.telemetry, &own_instance(&local, config.api.listen.port()))?;
        let bridge = Arc::new(Bridge::new(telemetry.meter()));
        let store = open_store(&config, clock.now()).await?;
        bridge.add(store.clone());
        bridge.add(Arc::new(Disk(config.storage.path.clone())));
        let health = Arc::new(Health::default());
        let engine = Arc::new(Engine::new(config.api.query.engine_options()));
        let set = config.rules.load(origin.base(), &config.thresholds)?;
        let reload_stats = Arc::new(ReloadStats::default());
        bridge.add(reload_stats.clone());
        let reloads = reload_stats.clone();

        let arrivals = Announced::new(store.clone() as Arc<dyn Append>, clock.clone());
        let mut forwarding = Stage::new("forward");
        let Ways { points, gathered, onward } = ways(&config, &clock, &arrivals, &bridge, &mut forwarding)?;
        let redactor = Arc::new(intake::redactor(&config)?);
        let written = Arc::new(RemoteWriteStats::default());
        bridge.add(written.clone());
        let remote_write = remote_write::router(remote_write::Settings {
            config: config.receive.remote_write.clone(),
            clock: clock.clone(),
            store: points.clone(),
            redactor: redactor.clone(),
            stats: written,
        });
        let mut receivers = Stage::new("receivers");
        let intake = intake::Settings {
            config: &config,
            clock: clock.clone(),
            local: local.clone(),
            store: points,
            gathered: gathered.clone(),
            onward,
            used: Keep::used(families_read(&set)),
            redactor,
            bridge: &bridge,
        };
        let received = intake::start(intake, &mut receivers).await?;
        if config.role != Role::Sidecar {
            // One process asks for all pods of the installation: the one that judges.
            pod_metrics::start(&config, &local, clock.clone(), gathered.clone(), &bridge, &mut receivers);
        }

        let own = OwnSeries::new(&config, &local, bridge.clone(), &received.engine);
        let Judging { judge, notify, views, router } = match config.role {
            Role::Sidecar => {
                // Nothing is judged here, so the agent's own numbers go to whoever judges.
                reload_stats.invalid.set(f64::from(u8::from(origin.load().is_err())));
                let mut sending = Stage::new("own series");
                let stop = sending.stop();
                sending.spawn("own series", own.send(gathered, clock.clone(), config.rules.interval.as_ms(), stop));
                let views = views::Judged::default();
                Judging { judge: sending, notify: Stage::new("notify"), views, router: axum::Router::new() }
            }
            Role::All | Role::Gateway => judging::start(judging::Settings {
                config: &config,
                origin,
                clock: clock.clone(),
                store: store.clone(),
                engine: engine.clone(),
                set,
                arrivals,
                own,
                health: health.clone(),
                reload_stats,
                bridge: &bridge,
            })?,
        };

        let scaler_stats = Arc::new(api::ScalerStats::default());
        bridge.add(scaler_stats.clone());
        let state = api::State::new(api::Shared {
            storage: store.clone() as Arc<dyn Select>,
            engine,
            clock: clock.clone(),
            query: config.api.query.clone(),
            interval_ms: config.rules.interval.as_ms(),
            scrape_interval_ms: config.receive.scrape.interval.as_ms(),
            scrape_timeout_ms: config.receive.scrape.timeout.as_ms(),
            cors_origins: config.api.cors_origins.clone(),
            external_labels: Labels::from_pairs(config.rules.external_labels.clone()),
            query_slots: Arc::new(Semaphore::new(config.api.query.max_concurrency)),
            health: health.clone(),
            metrics_page: views::metrics_page(telemetry.clone(), bridge),
            rules: views.rules,
            alerts: views.alerts,
            targets: views::targets(received.scrapes, clock.clone(), &config.receive.scrape),
            capacity: views.capacity,
            why: views.why,
            instances: views.instances,
            retire: views.retire,
            runtime: views::runtime(&config, clock.clone(), store.clone(), health.clone(), reloads),
            head: views::head(store.clone()),
            check: views.check,
        });
        let mut serving = Stage::new("api");
        let auth = Auth::load(&config.api.auth).map_err(StartError::Auth)?;
        let router = api::router(state.clone(), auth, router.merge(remote_write));
        let api = serve("api.listen", config.api.listen, router, &mut serving).await?;
        if let Some(listen) = config.probe.listen {
            serve("probe.listen", listen, api::probe_router(state), &mut serving).await?;
        }
        let scaler = api::ScalerSettings {
            config: config.api.external_scaler.clone(),
            view: views.scaler,
            clock: clock.clone(),
            stats: scaler_stats,
        };
        let external_scaler = match api::ScalerDoor::bind(scaler, serving.stop()).await? {
            None => None,
            Some(door) => {
                let address = door.address();
                serving.spawn("external scaler", async move {
                    if let Err(error) = door.serve().await {
                        error!(error = %crate::model::chain(&error), "the external scaler's listener failed");
                    }
                });
                Some(address)
            }
        };
        let stop = serving.stop();
        serving.spawn("maintenance", maintain(store.clone(), clock, stop));
        health.set_ready(true);

        let mut stages = Stages::default();
        for stage in [receivers, judge, notify, forwarding, serving] {
            stages.push(stage);
        }
        let (otlp_grpc, otlp_http) = (received.otlp_grpc, received.otlp_http);
        let addresses = Addresses { api, otlp_grpc, otlp_http, external_scaler };
        info!(role = ?config.role, %api, ?otlp_grpc, ?otlp_http, ?external_scaler, "ready");
        Ok(Self { stages, addresses, store, telemetry })
    }

    /// The addresses that were really bound.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The store, for reading its counts.
    pub fn store(&self) -> &Arc<Tsdb> {
        &self.store
    }

    /// Completes with the name of a task that ended although nobody asked it to.
    pub async fn failed(&mut self) -> &'static str {
        self.stages.first_unexpected_end().await
    }

    /// Stops receiving, finishes what was accepted, and closes the store; returns the tasks that ran past `grace`.
    pub async fn stop(self, grace: Duration) -> Vec<&'static str> {
        let unfinished = self.stages.stop(grace).await;
        let (store, telemetry) = (self.store, self.telemetry);
        let closing = tokio::task::spawn_blocking(move || {
            store.flush_and_close();
            telemetry.shutdown();
        });
        if let Err(error) = closing.await {
            error!(%error, "closing the store ended in a panic");
        }
        unfinished
    }
}

/// Where points go, by how they came.
struct Ways {
    /// Points of requests that others sent.
    points: Arc<dyn Append>,
    /// Points that this process gathers itself.
    gathered: Arc<dyn Append>,
    /// Redacted requests besides.
    onward: Option<Onward>,
}

/// Keeps, forwards, or both, as the role and the configuration have it.
fn ways(
    config: &Config,
    clock: &Clock,
    arrivals: &Announced,
    bridge: &Bridge,
    stage: &mut Stage,
) -> Result<Ways, StartError> {
    let kept: Arc<dyn Append> = Arc::new(arrivals.clone());
    let Some(otlp) = &config.forward.otlp else {
        return Ok(Ways { points: kept.clone(), gathered: kept, onward: None });
    };
    let forwarder = Forwarder::new(otlp)?;
    bridge.add(Arc::new(forwarder.clone()));
    let (task, stop, clock) = (forwarder.clone(), stage.stop(), clock.clone());
    stage.spawn("forward", async move { task.run(stop.cancelled_owned(), || clock.now()).await });
    let sent = PointForwarder(forwarder.clone());
    Ok(match config.role {
        Role::Sidecar => {
            let points: Arc<dyn Append> = Arc::new(sent);
            let onward = Some(onward::requests_without_metrics(&forwarder));
            Ways { points: points.clone(), gathered: points, onward }
        }
        Role::All | Role::Gateway => {
            let both = KeepAndForward { store: kept.clone(), forwarder: sent };
            Ways { points: kept, gathered: Arc::new(both), onward: Some(onward::requests(&forwarder)) }
        }
    })
}

async fn open_store(config: &Config, now: TimestampMs) -> Result<Arc<Tsdb>, StartError> {
    let s = config.storage.clone();
    // A sidecar forwards; what it keeps for a moment needs no log.
    let dir = (config.role != Role::Sidecar).then(|| s.path.join("wal"));
    if dir.is_some() {
        std::fs::create_dir_all(&s.path).map_err(|source| StartError::Folder { path: s.path.clone(), source })?;
    }
    let settings =
        tsdb::Settings { future_ms_max: Some(FUTURE_MS_MAX), ..tsdb::Settings::new(dir, &s.tsdb, &s.wal, &s.limits) };
    let open = move || {
        let store = Tsdb::open(settings)?;
        // Before the first batch, so that no time in the log is taken for the present.
        store.maintain(now);
        Ok(store)
    };
    let opened = tokio::task::spawn_blocking(open).await;
    match opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
        Ok(store) => Ok(Arc::new(store)),
        Err(source) => Err(StartError::Store { path: s.path, source }),
    }
}

/// Names of the metrics that the rules read.
fn families_read(set: &rules::RuleSet) -> Vec<String> {
    let matchers = set.rules.iter().flat_map(|rule| &rule.selectors).flat_map(|reads| &reads.matchers);
    matchers.filter(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal).map(|m| m.value.clone()).collect()
}

/// The host's name; in a pod that is the pod's name too.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn serve(
    key: &'static str,
    endpoint: SocketAddr,
    router: axum::Router,
    stage: &mut Stage,
) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { key, endpoint, source };
    let listener = TcpListener::bind(endpoint).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let stop = stage.stop();
    stage.spawn(key, async move {
        let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            error!(key, %error, "a listener failed");
        }
    });
    Ok(bound)
}

async fn maintain(store: Arc<Tsdb>, clock: Clock, stop: CancellationToken) {
    loop {
        let at = clock.now().plus_ms(MAINTENANCE_MS);
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(at) => {}
        }
        let (store, now) = (store.clone(), clock.now());
        if let Err(error) = tokio::task::spawn_blocking(move || store.maintain(now)).await {
            error!(%error, "maintenance of the store ended in a panic");
        }
    }
}
