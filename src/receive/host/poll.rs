//! The loop that reads the host.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::config::{Config, Resources};
use super::reader::{HostReader, Roots, SourceStatus};
use super::stats::HostStats;
use crate::receive::clock::Clock;
use crate::receive::identity::Identity;
use crate::storage::Append;

/// What the loop needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Validated.
    pub config: Config,
    /// From [`Config::resources`].
    pub resources: Resources,
    /// The engine's, the same as its scrape target has.
    pub identity: Identity,
    /// Its metrics port, where it is scraped on this machine.
    pub port: Option<u16>,
    pub roots: Roots,
    pub clock: Clock,
}

/// Reads the host of one engine until it is told to stop.
pub struct Poller {
    settings: Settings,
    store: Arc<dyn Append>,
    stats: Arc<HostStats>,
}

impl Poller {
    /// A poller that has not begun.
    pub fn new(settings: Settings, store: Arc<dyn Append>, stats: Arc<HostStats>) -> Self {
        Self { settings, store, stats }
    }

    /// Reads until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let Settings { config, resources, identity, port, roots, clock } = self.settings;
        let interval_ms = config.interval.as_ms();
        let mut reader = HostReader::new(config, resources, identity, roots).listening_on(port);
        let mut logged: Vec<SourceStatus> = Vec::new();
        loop {
            let at = clock.now();
            // A network file system may hold `statvfs` for long.
            let read = tokio::task::spawn_blocking(move || {
                let reading = reader.read(at);
                (reader, reading)
            });
            let reading = match read.await {
                Ok((back, reading)) => {
                    reader = back;
                    reading
                }
                Err(error) => return error!(%error, "reading the host ended unexpectedly"),
            };
            self.stats.observe(&reading.sources);
            log_changes(&logged, &reading.sources);
            logged = reading.sources;
            if let Err(error) = self.store.commit(reading.batch).await {
                self.stats.commits_refused.inc();
                warn!(%error, "the store did not take a reading of the host");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until_tick(interval_ms, 0) => {}
            }
        }
    }
}

/// Says each change of a source once.
fn log_changes(before: &[SourceStatus], now: &[SourceStatus]) {
    for status in now.iter().filter(|status| !before.contains(status)) {
        let source = status.source.as_str();
        match &status.reason {
            Some(reason) => info!(source, reason, "a source of the host cannot be read"),
            None => info!(source, "a source of the host is read"),
        }
    }
}
