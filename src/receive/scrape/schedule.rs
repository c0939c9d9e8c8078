//! The loop around the targets: when which is scraped, and which there are.
//!
//! In:  the configuration, the store's door.   Out: one commit a scrape.
//! Always: a target is scraped at its own offset within the interval, never twice at once; a slow scrape makes it
//! miss its next turn. A target that DNS no longer names ends with staleness markers; a stop of the process does not
//! mark anything, so that a restart leaves no gap.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use xxhash_rust::xxh3::xxh3_64;

use super::config::{Config, DnsConfig, TargetConfig, check_url};
use super::fetch::{Failure, Fetcher};
use super::stats::ScrapeStats;
use super::target::{Keep, Limits, Report, Target, TargetSettings};
use crate::model::{TimestampMs, is_legacy_label_name};
use crate::receive::clock::Clock;
use crate::receive::identity::{Identity, Local, is_loopback};
use crate::receive::redact::Redactor;
use crate::storage::{Append, Batch};

/// What the loop needs beside its configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Validated.
    pub config: Config,
    pub local: Local,
    /// What `keep: used` means: the families that something reads. Not used with `keep: all`.
    pub used: Keep,
    pub clock: Clock,
    /// Takes secrets out of what the pages say.
    pub redactor: Arc<Redactor>,
}

/// The state of one target, for the API and the status page.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetStatus {
    pub url: String,
    pub identity: Identity,
    pub last_scrape: TimestampMs,
    pub took: Duration,
    /// Of the last scrape.
    pub report: Report,
}

/// A target that is to be scraped.
#[derive(Clone, Debug)]
pub struct PlannedTarget {
    pub url: Url,
    pub settings: TargetSettings,
    bearer_token_file: Option<std::path::PathBuf>,
}

/// Scrapes every target until it is told to stop.
pub struct Scraper {
    settings: Settings,
    store: Arc<dyn Append>,
    stats: Arc<ScrapeStats>,
    fetcher: Fetcher,
}

impl Scraper {
    /// A scraper that has not begun; it counts into `stats`.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be set up.
    pub fn new(settings: Settings, store: Arc<dyn Append>, stats: Arc<ScrapeStats>) -> Result<Self, reqwest::Error> {
        let fetcher = Fetcher::new(settings.config.body_limit)?;
        Ok(Self { settings, store, stats, fetcher })
    }

    /// Scrapes until `stop`; a scrape under way is given up, a commit under way is not.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut tasks = JoinSet::new();
        for target in static_targets(&this.settings) {
            tasks.spawn(this.clone().scrape_target(target, stop.clone(), CancellationToken::new()));
        }
        for target in &this.settings.config.targets {
            if let Some(dns) = &target.dns {
                tasks.spawn(this.clone().follow_dns(dns.clone(), target.clone(), stop.clone()));
            }
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a scrape task ended unexpectedly");
            }
        }
        // Without targets nothing ran above; ending early would look like a failure to whoever started this.
        stop.cancelled().await;
    }

    /// Keeps one scrape loop for each address of a name.
    async fn follow_dns(self: Arc<Self>, dns: DnsConfig, target: TargetConfig, stop: CancellationToken) {
        let mut running: HashMap<IpAddr, CancellationToken> = HashMap::new();
        let mut tasks = JoinSet::new();
        while !stop.is_cancelled() {
            let resolved = tokio::select! {
                () = stop.cancelled() => break,
                resolved = tokio::net::lookup_host((dns.name.as_str(), dns.port)) => resolved,
            };
            match resolved {
                Ok(addresses) => {
                    let found: Vec<IpAddr> = addresses.map(|a| a.ip()).collect();
                    running.retain(|ip, gone| {
                        let stays = found.contains(ip);
                        if !stays {
                            gone.cancel();
                        }
                        stays
                    });
                    for ip in found {
                        let Some(planned) = dns_target(&self.settings, &dns, &target, ip) else { continue };
                        running.entry(ip).or_insert_with(|| {
                            let gone = CancellationToken::new();
                            tasks.spawn(self.clone().scrape_target(planned, stop.clone(), gone.clone()));
                            gone
                        });
                    }
                }
                Err(error) => {
                    // The targets known before go on: a name server may be away for a while.
                    self.stats.dns_failures.inc();
                    warn!(name = dns.name, %error, "failed to resolve the targets' name");
                }
            }
            let next = self.settings.clock.now().plus_ms(self.settings.config.dns_refresh.as_ms());
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.settings.clock.sleep_until(next) => {}
            }
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Scrapes one target, at once and then at its turns, until it is gone or all stops.
    async fn scrape_target(self: Arc<Self>, planned: PlannedTarget, stop: CancellationToken, gone: CancellationToken) {
        let url = planned.url.to_string();
        let interval_ms = self.settings.config.interval.as_ms();
        let offset_ms = i64::try_from(xxh3_64(url.as_bytes()) % interval_ms.max(1).unsigned_abs()).unwrap_or(0);
        let mut target = Target::new(planned.settings.clone());
        let mut logged = Logged::default();
        loop {
            let at = self.settings.clock.now();
            let (page, took) = tokio::select! {
                () = stop.cancelled() => return,
                fetched = self.fetch(&planned) => fetched,
            };
            let (batch, report) = match &page {
                Ok(fetched) => target.page_to_batch(Ok(fetched.page()), at, took),
                Err(failure) => target.page_to_batch(Err(failure.clone()), at, took),
            };
            self.stats.observe(&report);
            logged.tell(&url, &report);
            self.stats.set_status(TargetStatus {
                url: url.clone(),
                identity: target.identity().clone(),
                last_scrape: at,
                took,
                report,
            });
            self.commit(batch, &url).await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = gone.cancelled() => break,
                () = self.settings.clock.sleep_until_tick(interval_ms, offset_ms) => {}
            }
        }
        let end = target.end(self.settings.clock.now());
        self.commit(end, &url).await;
        self.stats.forget(&url);
        info!(target = url, "the target is gone");
    }

    async fn fetch(&self, planned: &PlannedTarget) -> (Result<super::fetch::Fetched, Failure>, Duration) {
        let token = match &planned.bearer_token_file {
            None => None,
            Some(path) => match tokio::fs::read_to_string(path).await {
                Ok(token) => Some(token),
                Err(error) => return (Err(Failure::Token { cause: error.to_string() }), Duration::ZERO),
            },
        };
        let timeout = self.settings.config.timeout.0;
        self.fetcher.timed_fetch(planned.url.clone(), timeout, token.as_deref().map(str::trim)).await
    }

    async fn commit(&self, batch: Batch, url: &str) {
        match self.store.commit(batch).await {
            Ok(receipt) => {
                if let Some(example) = receipt.examples.first() {
                    tracing::debug!(target = url, example, "the store refused samples of a scrape");
                }
            }
            Err(error) => {
                self.stats.commits_refused.inc();
                warn!(target = url, %error, "the store did not take a scrape");
            }
        }
    }
}

/// What was said of a target already, so that each change is said once.
#[derive(Debug, Default)]
struct Logged {
    reason: Option<&'static str>,
    balanced: bool,
    bad_lines: bool,
    limits: bool,
}

impl Logged {
    fn tell(&mut self, url: &str, report: &Report) {
        let reason = report.failure.as_ref().map(Failure::reason);
        match (&report.failure, self.reason) {
            (Some(failure), before) if before != reason => warn!(target = url, error = %failure, "the scrape failed"),
            (None, Some(_)) => info!(target = url, "the target can be scraped again"),
            _ => {}
        }
        self.reason = reason;
        if report.is_load_balanced && !std::mem::replace(&mut self.balanced, true) {
            warn!(target = url, "the target's counters jump back and forth: several instances answer at this address");
        }
        if let Some(example) = &report.bad_example
            && !std::mem::replace(&mut self.bad_lines, true)
        {
            warn!(target = url, lines = report.bad_lines, example, "the page has lines that cannot be read");
        }
        if let Some(example) = &report.limit_example
            && !std::mem::replace(&mut self.limits, true)
        {
            let (series, labels) = (report.over_series_limit, report.over_label_limit);
            warn!(target = url, series, labels, example, "the page has series over a limit");
        }
    }
}

/// The targets with a URL, each with its identity.
pub fn static_targets(settings: &Settings) -> Vec<PlannedTarget> {
    let config = &settings.config;
    let parsed: Vec<(Url, &TargetConfig)> =
        config.targets.iter().filter_map(|target| Some((check_url(target.url.as_deref()?).ok()?, target))).collect();
    let places: Vec<(String, &str)> = parsed.iter().map(|(url, target)| (place(url), target.job.as_str())).collect();
    let planned = parsed.iter().zip(&places).map(|((url, target), place)| {
        let shares_host = places.iter().filter(|other| *other == place).count() > 1;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(0);
        let identity = Identity::of_target(&target.job, host, port, shares_host, &settings.local);
        plan(settings, target, url.clone(), identity)
    });
    planned.collect()
}

/// The target at one address of a name.
fn dns_target(settings: &Settings, dns: &DnsConfig, target: &TargetConfig, ip: IpAddr) -> Option<PlannedTarget> {
    let address = SocketAddr::new(ip, dns.port);
    let url = Url::parse(&format!("http://{address}{}", dns.path)).ok()?;
    let identity = Identity::of_target(&target.job, &ip.to_string(), dns.port, false, &settings.local);
    Some(plan(settings, target, url, identity))
}

fn plan(settings: &Settings, target: &TargetConfig, url: Url, mut identity: Identity) -> PlannedTarget {
    let config = &settings.config;
    if let Some(instance) = &target.instance {
        identity.instance.clone_from(instance);
    }
    for (name, value) in &target.labels {
        debug_assert!(is_legacy_label_name(name), "validated");
        identity.extra.retain(|(n, _)| n != name);
        identity.extra.push((name.clone(), value.clone()));
    }
    let settings = TargetSettings {
        identity,
        is_engine: target.engine,
        honor_labels: target.honor_labels,
        honor_timestamps: target.honor_timestamps,
        keep: match config.keep {
            super::config::KeepConfig::All => Keep::All,
            super::config::KeepConfig::Used => settings.used.clone(),
        },
        limits: Limits {
            series: config.series_limit as usize,
            labels: config.label_limit as usize,
            label_bytes: usize::try_from(config.label_value_limit.0).unwrap_or(usize::MAX),
        },
        redactor: Arc::clone(&settings.redactor),
    };
    PlannedTarget { url, settings, bearer_token_file: target.bearer_token_file.clone() }
}

/// Whether a target is on this machine.
pub fn is_local(url: &Url) -> bool {
    place(url) == "localhost"
}

/// The host of a target, all names of this machine being one.
fn place(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    if host == "localhost" || address.is_some_and(is_loopback) { "localhost".to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(targets: Vec<TargetConfig>) -> Settings {
        Settings {
            config: Config { targets, ..Config::default() },
            local: Local { host_name: "node-a".into(), ..Local::default() },
            used: Keep::All,
            clock: Clock::new(|| TimestampMs(0), 1.0),
            redactor: Arc::default(),
        }
    }

    #[test]
    fn engines_on_one_machine_get_their_port_as_part_of_the_name() {
        let targets =
            ["http://127.0.0.1:6430/metrics", "http://localhost:6431/metrics", "http://10.0.0.5:6430/metrics"];
        let planned = static_targets(&settings(targets.map(TargetConfig::engine_at).into()));
        let names: Vec<&str> = planned.iter().map(|t| t.settings.identity.instance.as_str()).collect();
        assert_eq!(names, ["node-a:6430", "node-a:6431", "10.0.0.5"]);
    }

    #[test]
    fn configured_names_and_labels_win() {
        let target = TargetConfig {
            instance: Some("one".into()),
            labels: [("cluster".to_owned(), "eu".to_owned())].into(),
            ..TargetConfig::engine_at("http://127.0.0.1:6430/metrics")
        };
        let planned = static_targets(&settings(vec![target]));
        assert_eq!(planned[0].settings.identity.instance, "one");
        assert_eq!(planned[0].settings.identity.extra, [("cluster".to_owned(), "eu".to_owned())]);
    }

    #[test]
    fn each_address_of_a_name_is_a_target() {
        let target = TargetConfig::default();
        let dns = DnsConfig { name: "engine".into(), port: 6430, path: "/metrics".into() };
        let planned = dns_target(&settings(vec![]), &dns, &target, "fd00::7".parse().unwrap()).unwrap();
        assert_eq!(planned.url.as_str(), "http://[fd00::7]:6430/metrics");
        assert_eq!(planned.settings.identity.instance, "fd00::7");
    }
}
