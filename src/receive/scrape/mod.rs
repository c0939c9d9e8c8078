//! Scrapes Prometheus text pages: the engine's own on 6430, and whatever else is listed.
//!
//! In:  pages over HTTP from static targets and from the addresses of a DNS name.
//! Out: one [`Batch`](crate::storage::Batch) a scrape, with canonical names where the target is an engine, `up` and
//! its companions, staleness markers, and the zeros that counters are born with.
//! Always: one page is one commit; a bad line costs itself alone; a truncated page is a failed scrape.
//! [`Target`] is the step without clock and network, which the replay of recordings uses as well; [`Scraper`] is
//! the loop around it. Limits: bytes a page, series a target, labels a series; each is counted.

mod balance;
mod cache;
mod config;
mod fetch;
mod own;
mod page;
mod schedule;
mod stats;
mod target;
#[cfg(test)]
mod tests;
pub mod text;

pub(crate) use config::check_url;
pub use config::{Config, DnsConfig, KeepConfig, TargetConfig};
pub(crate) use fetch::plain_client;
pub use fetch::{Failure, Fetched, Fetcher, Page};
pub use schedule::{PlannedTarget, Scraper, Settings, TargetStatus, is_local, static_targets};
pub use stats::ScrapeStats;
pub use target::{Keep, Limits, Report, Target, TargetSettings};
