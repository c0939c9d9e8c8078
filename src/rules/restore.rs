//! Alerts from before a restart, read back from the series that ticks wrote.
//!
//! In:  the store.   Out: what each alert was, by its labels.
//! Besides Prometheus' `ALERTS` and `ALERTS_FOR_STATE` four series of our own tell what those cannot:
//! when an alert began to fire, since when `keep_firing_for` carries it, since when its data is missing, and its value.
//! Always: an alert whose series ended with a staleness marker is not restored, except to repeat its end.

use std::collections::HashMap;

use crate::model::{Labels, METRIC_NAME, Matcher, Sample, TimeRange, TimestampMs, is_stale_nan};
use crate::storage::{Select, SelectError, SeriesData};

/// When an alert that fires outside began to, in seconds since the epoch.
pub const FIRED_METRIC: &str = "rivetwatch_alert_fired_timestamp_seconds";
/// Since when `keep_firing_for` carries an alert.
pub const KEEP_METRIC: &str = "rivetwatch_alert_keep_firing_timestamp_seconds";
/// Since when an alert is held because its data vanished.
pub const NO_DATA_METRIC: &str = "rivetwatch_alert_no_data_timestamp_seconds";

/// The last value of an alert that fires outside, for its texts.
pub const VALUE_METRIC: &str = "rivetwatch_alert_value";

/// How far back alerts are looked for; the agent may have been down for as long.
const WINDOW_MS: i64 = 7 * 86_400_000;

/// One alert as the series tell it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// Start of the condition, while it was pending or firing.
    pub active_at: Option<TimestampMs>,
    /// Start of the condition, though its series may have ended since, as that of a held alert has.
    pub began_at: Option<TimestampMs>,
    /// Whether Prometheus' state was firing.
    pub was_firing: bool,
    /// Start of firing, where it fired or was held.
    pub fired_at: Option<TimestampMs>,
    /// The last value, of an alert that fired.
    pub value: Option<f64>,
    pub keep_firing_since: Option<TimestampMs>,
    pub no_data_since: Option<TimestampMs>,
    /// End, of an alert that had fired and was resolved.
    pub resolved_at: Option<TimestampMs>,
    /// The latest sample of any of its series.
    pub last_seen: Option<TimestampMs>,
    /// Series that go on, so that they can be ended.
    pub series: Vec<Labels>,
}

/// Reads every alert that the store knows, by labels including `alertname`.
///
/// # Errors
/// The store could not be read.
pub fn remembered(storage: &dyn Select, now: TimestampMs) -> Result<HashMap<Labels, Remembered>, SelectError> {
    let mut all: HashMap<Labels, Remembered> = HashMap::new();
    read(storage, "ALERTS_FOR_STATE", now, &mut all, |r, labels, floats| {
        r.began_at = floats.iter().rfind(|s| !is_stale_nan(s.v)).map(|s| seconds(s.v));
        if let Some(v) = r.go_on(labels, floats) {
            r.active_at = Some(seconds(v));
        }
    })?;
    read(storage, "ALERTS", now, &mut all, |r, labels, floats| {
        let firing = labels.get("alertstate") == Some("firing");
        if r.go_on(labels, floats).is_some() && firing {
            r.was_firing = true;
            r.fired_at = Some(run_start(floats));
        }
    })?;
    read(storage, FIRED_METRIC, now, &mut all, |r, labels, floats| match r.go_on(labels, floats) {
        Some(v) => r.fired_at = Some(seconds(v)),
        None => {
            let before = floats.iter().rev().find(|s| !is_stale_nan(s.v));
            r.fired_at = before.map(|s| seconds(s.v)).or(r.fired_at);
            r.resolved_at = floats.last().map(|s| s.t);
        }
    })?;
    read(storage, VALUE_METRIC, now, &mut all, |r, labels, floats| {
        r.value = floats.iter().rfind(|s| !is_stale_nan(s.v)).map(|s| s.v);
        r.go_on(labels, floats);
    })?;
    read(storage, KEEP_METRIC, now, &mut all, |r, labels, floats| {
        r.keep_firing_since = r.go_on(labels, floats).map(seconds);
    })?;
    read(storage, NO_DATA_METRIC, now, &mut all, |r, labels, floats| {
        r.no_data_since = r.go_on(labels, floats).map(seconds);
    })?;
    Ok(all)
}

impl Remembered {
    /// The last value of a series that goes on; `None` when it has ended.
    fn go_on(&mut self, labels: &Labels, floats: &[Sample]) -> Option<f64> {
        let last = floats.last()?;
        if is_stale_nan(last.v) {
            return None;
        }
        self.last_seen = self.last_seen.max(Some(last.t));
        self.series.push(labels.clone());
        Some(last.v)
    }
}

fn read(
    storage: &dyn Select,
    metric: &str,
    now: TimestampMs,
    all: &mut HashMap<Labels, Remembered>,
    mut take: impl FnMut(&mut Remembered, &Labels, &[Sample]),
) -> Result<(), SelectError> {
    let range = TimeRange { from: now.plus_ms(-WINDOW_MS), to: now };
    let matchers = [Matcher::equal(METRIC_NAME, metric)];
    let mut set = storage.select(&matchers, range)?;
    let mut data = SeriesData::default();
    while let Some(labels) = set.next_into(&mut data)? {
        if !data.floats.is_empty() && labels.get("alertname").is_some() {
            let alert = labels.keep(|name| name != METRIC_NAME && name != "alertstate");
            take(all.entry(alert).or_default(), &labels, &data.floats);
        }
    }
    Ok(())
}

/// The first sample after the last staleness marker.
fn run_start(floats: &[Sample]) -> TimestampMs {
    let after = floats.iter().rposition(|s| is_stale_nan(s.v)).map_or(0, |at| at + 1);
    floats.get(after).map_or(TimestampMs::MIN, |s| s.t)
}

fn seconds(v: f64) -> TimestampMs {
    TimestampMs((v * 1000.0).round() as i64)
}
