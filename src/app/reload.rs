//! Rules, routes and thresholds are read again when a file changed or SIGHUP came.
//!
//! Always: a configuration with a mistake leaves the old rules and routes in place, says why once, and shows in
//! `rivetwatch_config_last_reload_successful`. Ports, storage and receivers need a restart; a change of them is said.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::origin::Origin;
use super::routes::notify_settings;
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{Counter, Gauge, StatRow, Stats, TimestampMs};
use crate::notify::runner::Handle;
use crate::notify::{self, Input};
use crate::rules::{RuleSet, Rules};

/// How often the files are looked at.
const LOOK_MS: i64 = 5_000;

/// What became of reloads.
#[derive(Debug)]
pub struct ReloadStats {
    successful: Gauge,
    reloads: Counter,
    /// Mistakes in the configuration that a sidecar runs without.
    pub invalid: Gauge,
    /// Milliseconds of the last reload that took effect; zero before the first.
    last_ms: AtomicI64,
}

impl Default for ReloadStats {
    fn default() -> Self {
        let stats = Self {
            successful: Gauge::default(),
            reloads: Counter::default(),
            invalid: Gauge::default(),
            last_ms: AtomicI64::new(0),
        };
        stats.successful.set(1.0);
        stats
    }
}

impl ReloadStats {
    /// Whether the configuration in use is the one in the files.
    pub fn is_successful(&self) -> bool {
        self.successful.get() > 0.0
    }

    /// When a reload last took effect; `None` before the first.
    pub fn last(&self) -> Option<TimestampMs> {
        Some(TimestampMs(self.last_ms.load(Ordering::Relaxed))).filter(|last| last.0 != 0)
    }
}

impl Stats for ReloadStats {
    fn rows(&self) -> Vec<StatRow> {
        vec![
            StatRow::gauge(
                "rivetwatch_config_last_reload_successful",
                "1 while the configuration in use is the one in the files.",
                self.successful.get(),
            ),
            StatRow::counter("rivetwatch_config_reloads_total", "Reloads tried since the start.", self.reloads.get()),
            StatRow::gauge(
                "rivetwatch_config_invalid",
                "1 while the agent runs on defaults because its configuration is invalid.",
                self.invalid.get(),
            ),
        ]
    }
}

/// What is replaced.
pub struct Reload {
    pub origin: Origin,
    pub config: Config,
    pub rules: Arc<Mutex<Rules>>,
    pub notify: Handle,
    pub clock: Clock,
    pub stats: Arc<ReloadStats>,
}

/// When a file was last changed and how long it is; `None` when it is not there.
type Seen = Vec<(PathBuf, Option<(SystemTime, u64)>)>;

impl Reload {
    /// Looks and listens until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return error!(%error, "SIGHUP cannot be listened to"),
        };
        let mut seen = self.look();
        loop {
            let next = self.clock.now().plus_ms(LOOK_MS);
            let by_signal = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => true,
                () = self.clock.sleep_until(next) => false,
            };
            let now = self.look();
            if by_signal || now != seen {
                seen = now;
                self.reload().await;
            }
        }
    }

    /// The files that decide rules and routes, as they are now.
    fn look(&self) -> Seen {
        let config = self.origin.path.iter().cloned();
        let rules = self.config.rules.watched_files(self.origin.base());
        let routes = self.config.notify.config_file.iter().cloned();
        let state = |path: &PathBuf| std::fs::metadata(path).ok().and_then(|m| Some((m.modified().ok()?, m.len())));
        config.chain(rules).chain(routes).map(|path| (path.clone(), state(&path))).collect()
    }

    async fn reload(&self) {
        self.stats.reloads.inc();
        match self.read() {
            Ok((rules, routes)) => {
                let (count, receivers) = (rules.rules.len(), routes.receivers.len());
                self.rules.lock().replace(rules, self.clock.now());
                if self.notify.input(Input::ConfigReplaced(Arc::new(routes))).await.is_err() {
                    return; // The agent is stopping.
                }
                self.stats.successful.set(1.0);
                self.stats.last_ms.store(self.clock.now().0, Ordering::Relaxed);
                info!(rules = count, receivers, "rules and routes were read again");
            }
            Err(reason) => {
                self.stats.successful.set(0.0);
                error!(reason, "the changed configuration is not usable; the old rules and routes stay");
            }
        }
    }

    fn read(&self) -> Result<(RuleSet, notify::Settings), String> {
        let config = self.origin.load().map_err(|e| crate::model::chain(&e))?;
        let rules = config.rules.load(self.origin.base(), &config.thresholds).map_err(|e| crate::model::chain(&e))?;
        let routes = notify_settings(&config)?;
        if config.needs_restart(&self.config) {
            warn!("ports, storage, receivers or forwarding changed too; they take effect after a restart");
        }
        Ok((rules, routes))
    }
}
