//! How long after a start each source that was known before has had its say.
//!
//! In:  the store, as the last process left it.   Out: a time to wait before absence means anything.
//! Always: two intervals of the slowest source that sent until the end; of those nobody knows, two of the slowest there
//! is by default.
//! Limits: at most `SOURCES_MAX` sources are asked, and nobody is waited for longer than `WAIT_MS_MAX`.

use std::collections::BTreeMap;

use crate::model::{Labels, METRIC_NAME, Matcher, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{Select, SelectError, SeriesData};

/// 25.7 engines export every 30 s, the slowest source there is by default.
const SLOWEST_BY_DEFAULT_MS: i64 = 30_000;
/// What a source sent so long before the end is no longer taken for living.
const LIVING_MS: i64 = 10 * 60_000;
/// Longer intervals are gaps.
pub const WAIT_MS_MAX: i64 = 10 * 60_000;
const SOURCES_MAX: usize = 1_000;
/// Gaps between samples that the interval is found from.
const GAPS_MAX: usize = 7;

/// How long absence rules wait after a start at `now`, in milliseconds.
///
/// # Errors
/// The store could not be read.
pub fn patience_ms(store: &dyn Select, now: TimestampMs, scrape_interval_ms: i64) -> Result<i64, SelectError> {
    let slowest = slowest_ms(store, now)?.unwrap_or(SLOWEST_BY_DEFAULT_MS);
    Ok((2 * slowest.max(scrape_interval_ms)).min(WAIT_MS_MAX))
}

/// The longest interval of any source that sent until the end; `None` where none is known.
fn slowest_ms(store: &dyn Select, now: TimestampMs) -> Result<Option<i64>, SelectError> {
    let Some(end) = last_sample(store, now)? else { return Ok(None) };
    let range = TimeRange { from: end.plus_ms(-LIVING_MS), to: end };
    let mut one_of_each: BTreeMap<(String, String), Labels> = BTreeMap::new();
    for labels in store.series(&[], range)? {
        let name = labels.metric_name();
        // What the agent itself makes comes at its own pace.
        let is_own = name.contains(':') || name.starts_with("ALERTS") || name.starts_with("rivetwatch_");
        let source = |name| labels.get(name).unwrap_or_default().to_owned();
        let key = (source("job"), source("instance"));
        let has_room = one_of_each.len() < SOURCES_MAX || one_of_each.contains_key(&key);
        if is_own || key.1.is_empty() || !has_room {
            continue;
        }
        // `up` comes with each scrape and `target_info` with each push; others may come seldom.
        let is_sure = matches!(name, "up" | "target_info");
        let known = one_of_each.get(&key);
        if known.is_none() || is_sure && known.is_some_and(|labels| labels.metric_name() != "up") {
            one_of_each.insert(key, labels);
        }
    }
    let mut slowest = None;
    for labels in one_of_each.values() {
        slowest = slowest.max(interval_ms(store, labels, range)?);
    }
    Ok(slowest)
}

/// When anything was last received; scrapes and pushes are told by `up` and `target_info`.
fn last_sample(store: &dyn Select, now: TimestampMs) -> Result<Option<TimestampMs>, SelectError> {
    let mut last = None;
    for name in ["up", "target_info"] {
        let range = TimeRange { from: TimestampMs::MIN, to: now };
        let mut set = store.select(&[Matcher::equal(METRIC_NAME, name)], range)?;
        let mut data = SeriesData::for_latest();
        while set.next_into(&mut data)?.is_some() {
            last = last.max(data.floats.last().map(|sample| sample.t));
        }
    }
    Ok(last)
}

/// The median of the last gaps between the samples of a series.
fn interval_ms(store: &dyn Select, labels: &Labels, range: TimeRange) -> Result<Option<i64>, SelectError> {
    let matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let mut set = store.select(&matchers, range)?;
    let mut data = SeriesData::default();
    while let Some(found) = set.next_into(&mut data)? {
        if found != *labels {
            continue;
        }
        let floats: Vec<TimestampMs> = data.floats.iter().filter(|s| !is_stale_nan(s.v)).map(|s| s.t).collect();
        let mut gaps: Vec<i64> = floats.windows(2).rev().take(GAPS_MAX).map(|two| two[1].since(two[0])).collect();
        gaps.sort_unstable();
        return Ok(gaps.get(gaps.len() / 2).copied());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value;
    use crate::storage::{Append, Batch, Point};
    use crate::tsdb::{Settings, Tsdb};

    /// Patience after a start a minute after the newest sample; sources are series, interval and last sample in seconds.
    fn patience(sources: &[(&str, i64, i64)]) -> i64 {
        let store = Tsdb::open(Settings::default()).unwrap();
        let newest = 10_000;
        for (series, interval, last) in sources {
            let labels = crate::promql::parse_series_labels(series).unwrap();
            for n in (0..6).rev() {
                let t = TimestampMs((newest - last - n * interval) * 1_000);
                let points = vec![Point { labels: labels.clone(), t, value: Value::Float(1.0) }];
                store.commit(Batch { points, ..Batch::default() }).wait().unwrap();
            }
        }
        patience_ms(&store, TimestampMs((newest + 60) * 1_000), 15_000).unwrap() / 1_000
    }

    #[test]
    fn the_slowest_living_source_is_waited_for_twice() {
        assert_eq!(patience(&[]), 60, "nobody is known");
        assert_eq!(patience(&[("up{job=\"rivet\",instance=\"a\"}", 15, 0)]), 30);
        let pushing = ("target_info{job=\"rivet\",instance=\"b\"}", 80, 0);
        assert_eq!(patience(&[("up{job=\"rivet\",instance=\"a\"}", 15, 0), pushing]), 160);
        let written = ("remote{job=\"other\",instance=\"c\"}", 60, 0);
        assert_eq!(patience(&[("up{job=\"rivet\",instance=\"a\"}", 15, 0), written]), 120);
    }

    #[test]
    fn who_is_gone_who_is_the_agent_and_who_is_very_slow_is_not_waited_for_long() {
        let scraped = ("up{job=\"rivet\",instance=\"a\"}", 15, 0);
        assert_eq!(patience(&[scraped, ("target_info{job=\"rivet\",instance=\"b\"}", 80, 3_000)]), 30);
        assert_eq!(patience(&[scraped, ("rivet:up:bool{job=\"rivet\",instance=\"c\"}", 80, 0)]), 30);
        assert_eq!(patience(&[scraped, ("target_info{job=\"rivet\",instance=\"b\"}", 500, 0)]), 600);
    }
}
