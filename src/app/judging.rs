//! The part of the agent that only a judging role has: rules, notifier, capacity, checklist, reload.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::agent::StartError;
use super::arrivals::Announced;
use super::capacity::Capacity;
use super::checking;
use super::instances::Instances;
use super::judge::{Judge, JudgeStats};
use super::metrics::Bridge;
use super::origin::Origin;
use super::own_series::OwnSeries;
use super::reload::{Reload, ReloadStats};
use super::routes::notify_settings;
use super::sources;
use super::tasks::Stage;
use super::views;
use crate::api::{self, Health};
use crate::clock::Clock;
use crate::config::Config;
use crate::notify::runner::{Runner, Terminal};
use crate::promql::Engine;
use crate::rules::{RuleSet, Rules};
use crate::tsdb::Tsdb;

/// Batches of alerts that may wait for the notifier.
const ALERTS_QUEUE: usize = 64;
/// How often headroom is written as series.
const CAPACITY_MS: i64 = 60_000;

/// What judging works with.
pub struct Settings<'a> {
    pub config: &'a Config,
    pub origin: Origin,
    pub clock: Clock,
    pub store: Arc<Tsdb>,
    pub engine: Arc<Engine>,
    pub set: RuleSet,
    pub arrivals: Announced,
    pub own: OwnSeries,
    pub health: Arc<Health>,
    pub reload_stats: Arc<ReloadStats>,
    pub bridge: &'a Bridge,
}

/// What came of the start: two stages, and what the API shows.
pub struct Judging {
    /// Stops after the receivers.
    pub judge: Stage,
    /// Stops after the judge, so that its last alerts are sent.
    pub notify: Stage,
    pub views: views::Judged,
    /// The Alertmanager API.
    pub router: axum::Router,
}

/// Takes up what was open before a restart, and starts to judge and to notify.
///
/// # Errors
/// The routes or the outbox cannot be used.
pub fn start(settings: Settings<'_>) -> Result<Judging, StartError> {
    let Settings { config, origin, clock, store, engine, set, arrivals, own, health, reload_stats, bridge } = settings;
    let mut judging = Stage::new("judge");
    let mut notifying = Stage::new("notify");

    let routes = Arc::new(notify_settings(config).map_err(StartError::Routes)?);
    for file in routes.unreadable_files() {
        warn!(file, "a receiver cannot be reached: its key or address cannot be read");
    }
    let outbox = config.storage.path.join("notify.redb");
    let terminal: Terminal = Arc::new(Mutex::new(std::io::stdout()));
    let (runner, notify) = Runner::open(routes, Some(&outbox), clock.clone(), terminal, fastrand::u64(..))
        .map_err(|source| StartError::Outbox { path: outbox, source: Box::new(source) })?;
    bridge.add(runner.stats());
    let (alerts, alerts_out) = mpsc::channel(ALERTS_QUEUE);
    let stop = notifying.stop();
    notifying.spawn("notify", runner.run(alerts_out, stop));

    let external_url = config.external_url.clone().unwrap_or_default();
    let rule_settings = config.rules.settings(&external_url, engine.options().lookback_ms);
    let interval_ms = rule_settings.interval_ms;
    let mut rules = Rules::new(set, rule_settings, engine.clone());
    match rules.restore(clock.now(), &*store) {
        Ok(0) => {}
        Ok(alerts) => info!(alerts, "took up the alerts from before the restart"),
        Err(error) => warn!(%error, "the alerts from before the restart could not be read"),
    }
    bridge.add(rules.stats());
    let rules = Arc::new(Mutex::new(rules));

    let instances = Instances::new(clock.clone(), store.clone(), engine.clone(), rules.clone(), alerts.clone());
    let stop = judging.stop();
    judging.spawn("instances", instances.clone().run(stop));

    let stats = Arc::new(JudgeStats::default());
    bridge.add(stats.clone());
    let patience_ms = sources::patience_ms(&*store, clock.now(), config.receive.scrape.interval.as_ms())
        .unwrap_or_else(|error| {
            warn!(%error, "how often sources send could not be read; absence rules wait for the longest");
            sources::WAIT_MS_MAX
        });
    let judge = Judge {
        clock: clock.clone(),
        rules: rules.clone(),
        store: store.clone(),
        arrivals,
        own,
        instances: instances.clone(),
        alerts,
        notify: notify.clone(),
        health,
        stats,
        interval_ms,
        sources_ready_at: clock.now().plus_ms(patience_ms),
        failing: Mutex::default(),
    };
    let stop = judging.stop();
    judging.spawn("rules", judge.run(stop));

    let why = views::why(rules.clone(), store.clone(), engine.clone(), clock.clone(), interval_ms);
    let capacity = Capacity::new(config, clock.clone(), store.clone(), engine.clone());
    bridge.add(Arc::new(capacity.clone()));
    let stop = judging.stop();
    judging.spawn("capacity", capacity.clone().run(CAPACITY_MS, stop));

    let check = checking::start(config, clock.clone(), store, engine, &capacity, bridge, &mut judging);
    let views = views::Judged::new(rules.clone(), capacity, why, &instances, check);
    let router = api::alertmanager::router(notify.clone());
    let reload = Reload { origin, config: config.clone(), rules, notify, clock, stats: reload_stats };
    let stop = judging.stop();
    judging.spawn("reload", reload.run(stop));
    Ok(Judging { judge: judging, notify: notifying, views, router })
}
