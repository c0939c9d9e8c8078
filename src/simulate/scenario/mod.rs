//! What is rehearsed: a cluster, its load, what happens to it, and whom that must and must not wake.
//!
//! In:  the YAML that people write (docs/simulate.md).   Out: [`Scenario`], checked; after this no code asks again.
//! Always: times are milliseconds since the start of the scenario.

mod cluster;
mod event;
mod expect;
mod load;
mod named;
pub mod random;
mod tree;

use crate::model::TimestampMs;

pub use cluster::{Autoscaler, Backend, ClusterPlan, Platform, PoolPlan, Pubsub};
pub use event::{Action, EVENTS, Event, Pods, Source};
pub use expect::Expectation;
pub use load::{Burst, Daily, Load};
pub use named::Named;
pub use tree::Mistake;

use tree::Fields;

/// A scenario begins on a Monday at midnight, unless it says otherwise.
const DEFAULT_START: &str = "2026-11-02T00:00:00Z";
/// Longest scenario.
const DURATION_MAX_MS: i64 = 366 * 86_400_000;

/// A checked scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    pub seed: u64,
    pub start: TimestampMs,
    pub duration_ms: i64,
    pub cluster: ClusterPlan,
    pub load: Load,
    /// In order of their times.
    pub events: Vec<Event>,
    pub expect: Vec<Expectation>,
    /// Pages that may come and need not; `*` at the end stands for any rest.
    pub may: Vec<String>,
    /// Pages that must not come, whatever `may` says.
    pub never: Vec<String>,
    /// Every alert and severity that it names.
    pub named: Named,
}

impl Scenario {
    /// Reads a scenario; `name` is what it is called when it does not say.
    ///
    /// # Errors
    /// Every mistake in the file, in order of lines.
    pub fn parse(text: &str, name: &str) -> Result<Self, Vec<Mistake>> {
        let spot = tree::parse(text).map_err(|mistake| vec![mistake])?;
        let mut fields = Fields::of(&spot, "");
        let scenario = Self::read(&mut fields, name);
        let mut mistakes = fields.finish();
        mistakes.sort();
        if mistakes.is_empty() { Ok(scenario) } else { Err(mistakes) }
    }

    fn read(fields: &mut Fields<'_>, name: &str) -> Self {
        let name = fields.text("name").unwrap_or(name).to_owned();
        let about = fields.text("about").unwrap_or("").trim().to_owned();
        let seed = fields.whole("seed", 0, u64::MAX).unwrap_or(1);
        let start = fields.read("start", "a time such as 2026-11-02T08:00:00Z", TimestampMs::from_rfc3339);
        let start = start.or_else(|| TimestampMs::from_rfc3339(DEFAULT_START)).unwrap_or_default();
        if !fields.has("duration") {
            fields.wrong("duration", "must say how long the scenario lasts, e.g. 45m");
        }
        let duration_ms = fields.duration("duration").unwrap_or(60_000);
        if !(60_000..=DURATION_MAX_MS).contains(&duration_ms) {
            fields.wrong("duration", "must be from 1m to 366d");
        }
        let cluster = section(fields, "cluster", ClusterPlan::read);
        let load = section(fields, "load", Load::read);
        let mut events: Vec<Event> = section_list(fields, "events", |item| Event::read(item, duration_ms, &cluster));
        events.sort_by_key(|event| event.at_ms);
        let sign = fields.duration("sign").or_else(|| events.first().map(|event| event.at_ms));
        if let Some(why) = event::out_of_order(&events) {
            fields.wrong("events", why);
        }
        let mut named = Named::default();
        let expect = section_list(fields, "expect", |item| Expectation::read(item, duration_ms, sign, &mut named));
        let (may, never) = (named.alerts(fields, "may"), named.alerts(fields, "never"));
        Self { name, about, seed, start, duration_ms, cluster, load, events, expect, may, never, named }
    }

    /// Whether the scenario expects to wake nobody.
    pub fn is_quiet(&self) -> bool {
        self.expect.iter().all(|expectation| !expectation.is_page)
    }

    /// Length in weeks, for figures.
    pub fn weeks(&self) -> f64 {
        self.duration_ms as f64 / (7.0 * 86_400_000.0)
    }
}

/// Reads the mapping at `key`; an absent one reads as empty.
fn section<T>(fields: &mut Fields<'_>, key: &'static str, read: impl FnOnce(&mut Fields<'_>) -> T) -> T {
    let empty = tree::Spot { line: fields.line, node: tree::Node::Null };
    let path = fields.path_of(key);
    let spot = fields.spot(key).unwrap_or(&empty);
    let mut inner = Fields::of(spot, &path);
    let value = read(&mut inner);
    let mistakes = inner.finish();
    fields.take(mistakes);
    value
}

/// Reads each item of the list at `key`.
fn section_list<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    mut read: impl FnMut(&mut Fields<'_>) -> Option<T>,
) -> Vec<T> {
    let mut values = Vec::new();
    for (i, item) in fields.items(key).into_iter().enumerate() {
        let mut inner = Fields::of(item, &format!("{}[{i}]", fields.path_of(key)));
        values.extend(read(&mut inner));
        let mistakes = inner.finish();
        fields.take(mistakes);
    }
    values
}

#[cfg(test)]
mod tests;
