//! The receivers: doors for OTLP, scrapes, the host, the engine's own API, and the spans' counters.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::metrics::Bridge;
use super::tasks::Stage;
use crate::clock::{Clock, next_tick};
use crate::config::{Config, Role};
use crate::model::Problem;
use crate::receive::engine_api::{self, EngineApiStats};
use crate::receive::host::{self, HostStats, Roots};
use crate::receive::identity::{DEFAULT_JOB, Identity, Local};
use crate::receive::otlp::{BindError, Doors, Intake, Onward, translate::Translator};
use crate::receive::redact::Redactor;
use crate::receive::scrape::{self, Keep, PlannedTarget, ScrapeStats, Scraper};
use crate::receive::spans::SpanMetrics;
use crate::storage::Append;

/// Why a receiver could not start.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Otlp(#[from] BindError),
    #[error("failed to set up the HTTP client of the {what}")]
    Client { what: &'static str, source: reqwest::Error },
    #[error("failed to read the admin token `{}` (`receive.engine_api.admin_token_file`)", path.display())]
    Token { path: std::path::PathBuf, source: std::io::Error },
    #[error("the environment sets unusable requests or limits:\n{0}")]
    Resources(String),
}

/// What the receivers work with.
pub struct Settings<'a> {
    pub config: &'a Config,
    pub clock: Clock,
    pub local: Local,
    /// Where points of OTLP requests go.
    pub store: Arc<dyn Append>,
    /// Where the points that this process gathers itself go.
    pub gathered: Arc<dyn Append>,
    /// Where redacted requests go besides.
    pub onward: Option<Onward>,
    /// Families that something reads, for `receive.scrape.keep: used`.
    pub used: Keep,
    pub redactor: Arc<Redactor>,
    pub bridge: &'a Bridge,
}

/// What came of the start: addresses, and handles for the API.
pub struct Receivers {
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
    pub scrapes: Arc<ScrapeStats>,
    /// The engine beside this process.
    pub engine: Identity,
}

/// Takes the ports and starts every receiver in `stage`.
///
/// # Errors
/// A port is busy, or a token file cannot be used.
pub async fn start(settings: Settings<'_>, stage: &mut Stage) -> Result<Receivers, IntakeError> {
    let Settings { config, clock, local, store, gathered, onward, used, redactor, bridge } = settings;
    let is_sidecar = config.role == Role::Sidecar;
    let spans = Arc::new(Mutex::new(SpanMetrics::new(config.receive.spans.clone())));
    let translator = Translator::new(config.receive.otlp.translation(local.clone()));
    let mut intake = Intake::new(translator, Arc::clone(&redactor), store, Arc::clone(&spans), onward, clock.clone());
    if is_sidecar {
        intake = intake.stamping_identity();
    }
    let doors = Doors::bind(&config.receive.otlp, Arc::new(intake)).await?;
    let (otlp_grpc, otlp_http) = (doors.grpc_address(), doors.http_address());
    bridge.add(Arc::new(doors.stats()));
    let stop = stage.stop();
    stage.spawn("otlp", async move {
        if let Err(error) = doors.serve(stop.cancelled_owned()).await {
            error!(%error, "the OTLP listener failed");
        }
    });
    if !is_sidecar {
        // A sidecar sends the spans themselves on, and the gateway counts them.
        let interval_ms = config.rules.interval.as_ms();
        stage.spawn("spans", collect_spans(spans, clock.clone(), interval_ms, Arc::clone(&gathered), stage.stop()));
    }

    let scrapes = Arc::new(ScrapeStats::default());
    bridge.add(scrapes.clone());
    let scraping = scrape::Settings {
        config: config.receive.scrape.clone(),
        local: local.clone(),
        used,
        clock: clock.clone(),
        redactor: Arc::clone(&redactor),
    };
    let scraping_targets = scrape::static_targets(&scraping);
    let engine = engine_identity(&scraping_targets, &local);
    let identity = engine.clone();
    let scraper = Scraper::new(scraping, Arc::clone(&gathered), Arc::clone(&scrapes))
        .map_err(|source| IntakeError::Client { what: "scraper", source })?;
    let stop = stage.stop();
    stage.spawn("scrape", scraper.run(stop));

    if config.receive.host.enabled {
        let mut problems: Vec<Problem> = Vec::new();
        let resources = config.receive.host.resources(|name| std::env::var(name).ok(), &mut problems);
        if !problems.is_empty() {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Err(IntakeError::Resources(lines.join("\n")));
        }
        let stats = Arc::new(HostStats::default());
        bridge.add(stats.clone());
        let settings = host::Settings {
            config: config.receive.host.clone(),
            resources,
            identity: identity.clone(),
            port: engine_port(&scraping_targets),
            roots: Roots::system(),
            clock: clock.clone(),
        };
        let (poller, stop) = (host::Poller::new(settings, Arc::clone(&gathered), stats), stage.stop());
        stage.spawn("host", poller.run(stop));
    }

    if config.receive.engine_api.enabled {
        let stats = Arc::new(EngineApiStats::default());
        let asking = engine_api::Settings { config: config.receive.engine_api.clone(), identity, clock, redactor };
        let poller = engine_api::Poller::new(asking, gathered, stats.clone())
            .map_err(|source| IntakeError::Client { what: "engine API", source })?;
        if let Some(poller) = poller {
            bridge.add(stats);
            let stop = stage.stop();
            stage.spawn("engine_api", poller.run(stop));
        }
    }
    Ok(Receivers { otlp_grpc, otlp_http, scrapes, engine })
}

/// The identity of the engine beside this process: that of its scrape target, so that all its series join.
fn engine_identity(targets: &[PlannedTarget], local: &Local) -> Identity {
    let engine = targets.iter().find(|target| target.settings.is_engine);
    engine.map_or_else(
        || Identity::of_target(DEFAULT_JOB, "localhost", crate::rivet::limits::METRICS_PORT, false, local),
        |target| target.settings.identity.clone(),
    )
}

/// The port of the engine that is scraped on this machine.
fn engine_port(targets: &[PlannedTarget]) -> Option<u16> {
    let on_loopback = |target: &&PlannedTarget| target.settings.is_engine && scrape::is_local(&target.url);
    targets.iter().find(on_loopback)?.url.port_or_known_default()
}

/// What takes secrets out of everything received; the engine's admin token is looked for word for word.
///
/// # Errors
/// The file of the token cannot be read.
pub fn redactor(config: &Config) -> Result<Redactor, IntakeError> {
    Ok(Redactor::new(admin_token(config)?))
}

fn admin_token(config: &Config) -> Result<Option<SecretString>, IntakeError> {
    let Some(path) = &config.receive.engine_api.admin_token_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|source| IntakeError::Token { path: path.clone(), source })?;
    Ok(Some(SecretString::from(text.trim())))
}

/// Writes the spans' counters a second before each tick, so that the tick sees them.
async fn collect_spans(
    spans: Arc<Mutex<SpanMetrics>>,
    clock: Clock,
    interval_ms: i64,
    store: Arc<dyn Append>,
    stop: CancellationToken,
) {
    loop {
        let at = next_tick(clock.now(), interval_ms, interval_ms - interval_ms.min(1_000));
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep_until(at) => {}
        }
        let batch = spans.lock().collect(at);
        if !batch.points.is_empty()
            && let Err(error) = store.commit(batch).await
        {
            warn!(%error, "the store refused what was counted from spans");
        }
    }
}
