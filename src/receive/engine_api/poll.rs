//! The loop that asks the engine: health often, the rest more rarely.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::{Client, ProbeFailure};
use super::config::Config;
use super::stats::EngineApiStats;
use super::step::{Details, EngineApi};
use crate::model::TimestampMs;
use crate::receive::clock::Clock;
use crate::receive::identity::Identity;
use crate::receive::redact::Redactor;
use crate::storage::{Append, Batch};

/// What the loop needs beside its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Validated.
    pub config: Config,
    /// The engine's, the same as its scrape target has.
    pub identity: Identity,
    pub clock: Clock,
    /// Takes secrets out of what the engine answers.
    pub redactor: Arc<Redactor>,
}

/// Asks one engine until it is told to stop.
pub struct Poller {
    client: Client,
    settings: Settings,
    store: Arc<dyn Append>,
    stats: Arc<EngineApiStats>,
}

impl Poller {
    /// A poller that has not begun; `None` when an address of the configuration does not parse.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be set up.
    pub fn new(
        settings: Settings,
        store: Arc<dyn Append>,
        stats: Arc<EngineApiStats>,
    ) -> Result<Option<Self>, reqwest::Error> {
        let client = Client::new(settings.config.clone())?;
        Ok(client.map(|client| Self { client, settings, store, stats }))
    }

    /// Asks until `stop`; a call under way is given up.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.poll() => {}
        }
    }

    async fn poll(&self) {
        let Settings { config, identity, clock, redactor } = &self.settings;
        let mut step = EngineApi::new(identity.clone(), Arc::clone(redactor));
        let mut logged = None;
        let mut details_at = TimestampMs::MIN;
        loop {
            let at = clock.now();
            let health = self.client.health().await;
            self.stats.observe("health", health.answer.as_ref().err());
            log_change(&config.peer_url, &mut logged, health.answer.as_ref().err());
            self.commit(step.health_batch(&health, at)).await;
            if details_at <= at {
                details_at = at.plus_ms(config.detail_interval.as_ms());
                let details = self.client.details(at).await;
                self.count(&details);
                let version = health.answer.ok().flatten();
                self.commit(step.details_batch(&details, version.as_deref(), at)).await;
            }
            clock.sleep_until_tick(config.interval.as_ms(), 0).await;
        }
    }

    fn count(&self, details: &Details) {
        self.stats.left_out.add(details.left_out);
        self.stats.observe("metadata", details.metadata.answer.as_ref().err());
        for (endpoint, probe) in [("envoys", &details.envoys), ("runner_configs", &details.runner_configs)] {
            if let Some(probe) = probe {
                self.stats.observe(endpoint, probe.answer.as_ref().err());
            }
        }
    }

    async fn commit(&self, batch: Batch) {
        if let Err(error) = self.store.commit(batch).await {
            self.stats.commits_refused.inc();
            warn!(%error, "the store did not take a reading of the engine's API");
        }
    }
}

/// Says once when the engine stops answering, and once when it answers again.
fn log_change(url: &str, logged: &mut Option<&'static str>, failure: Option<&ProbeFailure>) {
    match (failure, *logged) {
        (Some(failure), before) if before != Some(failure.reason()) => {
            warn!(url, error = %failure, "the engine's health probe failed");
        }
        (None, Some(_)) => info!(url, "the engine answers its health probe again"),
        _ => {}
    }
    *logged = failure.map(ProbeFailure::reason);
}
