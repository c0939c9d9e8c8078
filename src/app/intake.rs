//! The receivers: doors for OTLP, scrapes, and the spans' counters.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::metrics::Bridge;
use super::tasks::Stage;
use crate::clock::{Clock, next_tick};
use crate::config::Config;
use crate::receive::identity::Local;
use crate::receive::otlp::{BindError, Doors, Intake, Onward, translate::Translator};
use crate::receive::redact::Redactor;
use crate::receive::scrape::{self, Keep, ScrapeStats, Scraper};
use crate::receive::spans::SpanMetrics;
use crate::storage::Append;

/// Why a receiver could not start.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error(transparent)]
    Otlp(#[from] BindError),
    #[error("failed to set up the HTTP client of the scraper")]
    Scraper(#[source] reqwest::Error),
}

/// What the receivers work with.
pub struct Settings<'a> {
    pub config: &'a Config,
    pub clock: Clock,
    pub local: Local,
    /// Where points go.
    pub store: Arc<dyn Append>,
    /// Where redacted requests go besides.
    pub onward: Option<Onward>,
    /// Families that something reads, for `receive.scrape.keep: used`.
    pub used: Keep,
    pub bridge: &'a Bridge,
}

/// What came of the start: addresses, and handles for the API.
pub struct Receivers {
    pub otlp_grpc: Option<SocketAddr>,
    pub otlp_http: Option<SocketAddr>,
    pub scrapes: Arc<ScrapeStats>,
}

/// Takes the ports and starts every receiver in `stage`.
///
/// # Errors
/// A port is busy, or the token file cannot be used.
pub async fn start(settings: Settings<'_>, stage: &mut Stage) -> Result<Receivers, IntakeError> {
    let Settings { config, clock, local, store, onward, used, bridge } = settings;
    let spans = Arc::new(Mutex::new(SpanMetrics::new(config.receive.spans.clone())));
    let redactor = Arc::new(Redactor::new([]));
    let translation = config.receive.otlp.translation(local.instance().to_owned());
    let now = clock.clone();
    let intake = Arc::new(Intake::new(
        Translator::new(translation),
        redactor,
        Arc::clone(&store),
        Arc::clone(&spans),
        onward,
        Arc::new(move || now.now()),
    ));
    let doors = Doors::bind(&config.receive.otlp, Arc::clone(&intake)).await?;
    let (otlp_grpc, otlp_http) = (doors.grpc_address(), doors.http_address());
    bridge.add(Arc::new(doors.stats()));
    let stop = stage.stop();
    stage.spawn("otlp", async move {
        if let Err(error) = doors.serve(stop.cancelled_owned()).await {
            error!(%error, "the OTLP listener failed");
        }
    });
    stage.spawn(
        "spans",
        collect_spans(spans, clock.clone(), config.rules.interval.as_ms(), Arc::clone(&store), stage.stop()),
    );

    let scrapes = Arc::new(ScrapeStats::default());
    bridge.add(scrapes.clone());
    let settings = scrape::Settings { config: config.receive.scrape.clone(), local, used, clock };
    let scraper = Scraper::new(settings, store, Arc::clone(&scrapes)).map_err(IntakeError::Scraper)?;
    let stop = stage.stop();
    stage.spawn("scrape", scraper.run(stop));
    Ok(Receivers { otlp_grpc, otlp_http, scrapes })
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
