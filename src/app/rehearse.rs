//! What a rehearsal in virtual time judges by: the rules, thresholds and routes of a configuration.
//!
//! In:  a configuration, or the defaults.   Out: [`judge::Settings`] for recordings and for scenarios.
//! Always: what the operator configured stands; a scenario only fills in what the configuration leaves open.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::own_series::configured;
use super::routes::replay_routes;
use crate::capacity::{self, Facts};
use crate::config::{Backend, Config};
use crate::notify::{self, Integration};
use crate::promql::EngineOptions;
use crate::receive::identity::Local;
use crate::rivet::names;
use crate::rules::RuleSet;
use crate::simulate::Wanted;
use crate::simulate::engine::PoolKind;
use crate::simulate::judge;
use crate::simulate::scenario::{self, Platform, Scenario};
use crate::tsdb;

/// The loaded rules and routes of a configuration.
pub struct Rehearsal {
    config: Config,
    rules: Arc<RuleSet>,
    notify: Arc<notify::Settings>,
}

impl Rehearsal {
    /// Loads what the configuration names; relative paths of rule files start at `base`.
    ///
    /// # Errors
    /// Every mistake in rules or routes, or routes that page nobody.
    pub fn new(config: Config, base: &Path) -> Result<Self, String> {
        let rules = config.rules.load(base, &config.thresholds).map_err(|e| crate::model::chain(&e))?;
        let notify = replay_routes(&config)?;
        let reaches_people = |target: &notify::settings::TargetSettings| {
            matches!(target.target.integration, Integration::Pagerduty | Integration::Webhook | Integration::Terminal)
        };
        if !notify.receivers.values().flat_map(|r| &r.targets).any(reaches_people) {
            return Err("nobody is paged by these routes: alerts go to an Alertmanager or a heartbeat alone; \
                        name its alertmanager.yml under `notify.config_file` to rehearse with its routes"
                .to_owned());
        }
        Ok(Self { config, rules: Arc::new(rules), notify: Arc::new(notify) })
    }

    /// The rules.
    pub fn rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// The families that the rules read, or all of them.
    pub fn wanted(&self, full: bool) -> Wanted {
        if full {
            return Wanted::All;
        }
        let selectors = self.rules.rules.iter().flat_map(|rule| &rule.selectors);
        let named = selectors.flat_map(|s| &s.matchers).filter(|m| m.name == crate::model::METRIC_NAME);
        let family = |name: &str| names::lookup(name).map(|c| c.family.name.clone());
        let wanted: HashSet<String> = named.filter_map(|m| family(&m.value)).collect();
        Wanted::Only(Arc::new(wanted))
    }

    /// For recorded scrapes.
    pub fn replay(&self) -> judge::Settings {
        let interval_ms = self.config.rules.interval.as_ms();
        self.settings(&self.config, &Local::default(), 2 * interval_ms)
    }

    /// For a scenario: its cluster stands in for what the configuration does not say.
    pub fn scenario(&self, scenario: &Scenario) -> judge::Settings {
        let mut config = self.config.clone();
        let plan = &scenario.cluster;
        config.engine.backend = config.engine.backend.or(Some(match plan.backend {
            scenario::Backend::Postgres => Backend::Postgres,
            scenario::Backend::RocksDb => Backend::Rocksdb,
            scenario::Backend::FoundationDb => Backend::Foundationdb,
        }));
        config.engine.expected_instances = config.engine.expected_instances.or(plan.expected);
        if config.capacity.actor_hosts.is_empty() {
            config.capacity = actor_hosts(scenario);
        }
        let local = match plan.platform {
            Platform::Kubernetes => {
                Local { namespace: Some(crate::simulate::NAMESPACE.to_owned()), ..Local::default() }
            }
            Platform::Host => Local::default(),
        };
        // As after a start: two intervals of the slowest source, 25.7's exports every 30 s.
        self.settings(&config, &local, 60_000)
    }

    fn settings(&self, config: &Config, local: &Local, patience_ms: i64) -> judge::Settings {
        let external_url = config.external_url.clone().unwrap_or_default();
        let lookback_ms = EngineOptions::default().lookback_ms;
        judge::Settings {
            rules: self.rules.clone(),
            evaluation: config.rules.settings(&external_url, lookback_ms),
            notify: self.notify.clone(),
            store: tsdb::Settings::new(None, &config.storage.tsdb, &config.storage.wal, &config.storage.limits),
            capacity: config.capacity.clone(),
            facts: Facts { backend: config.engine.backend.map(|b| b.as_str().to_owned()), ..Facts::default() },
            configured: configured(config, local),
            patience_ms,
        }
    }
}

/// What an operator would have written of the scenario's pools.
fn actor_hosts(scenario: &Scenario) -> capacity::Config {
    let pools = scenario.cluster.pools.iter().filter(|pool| pool.kind == PoolKind::Serverless);
    let host = |pool: &scenario::PoolPlan| {
        json!({
            "pool": pool.name,
            "rate_limit": pool.rate_limit.map(|rate| rate.to_string()),
            "concurrency": pool.max_concurrent,
        })
    };
    let hosts: Vec<_> = pools.map(host).collect();
    // A rate of zero is no limit that anybody would write down.
    serde_json::from_value(json!({ "actor_hosts": hosts })).unwrap_or_default()
}
