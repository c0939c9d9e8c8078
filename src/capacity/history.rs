//! What capacity remembers: uses and limits as `rivet:capacity:*` series, read back as peaks and grids.
//!
//! Out: one series a kind and installation (or pool), written about once a minute. Engines come and go with every rollout,
//! so that of several the fullest is kept.   In: the same, as far back as the store has them.
//! Limits: [`HISTORY_MS`] are read; what the store has dropped earlier is no history, and the report says since when it is.

use std::collections::HashMap;

use super::CapacityError;
use super::forecast::{DAY, Grid, SLOT_MS, time_to_limit};
use super::kind::Kind;
use super::reader::Reader;
use super::report::{Report, Row};
use crate::model::{Labels, Sample, TimestampMs};

/// Highest use of the last minute, by `kind` and installation or pool.
pub const USED: &str = "rivet:capacity:used:max";
/// The limit it was held against.
pub const LIMIT: &str = "rivet:capacity:limit:min";
/// So much of the history is read.
const HISTORY_MS: i64 = 8 * 86_400_000;

/// Recorded uses by key.
#[derive(Default)]
pub(super) struct History {
    grids: HashMap<Labels, Grid>,
    ten_minutes: HashMap<Labels, f64>,
    since: Option<TimestampMs>,
}

/// Labels under which a row's use is recorded.
pub(super) fn key(row: &Row) -> Labels {
    key_of(row.kind, &row.labels)
}

/// The same for a kind and its subject.
pub(super) fn key_of(kind: Kind, labels: &Labels) -> Labels {
    let mut out = labels.keep(|name| matches!(name, "cluster" | "namespace" | "job" | "pool_name")).builder();
    out.set("kind", kind.as_str());
    out.build()
}

fn identity(labels: &Labels) -> Labels {
    labels.keep(|name| matches!(name, "cluster" | "namespace" | "job" | "pool_name" | "kind"))
}

impl History {
    /// Reads what was recorded.
    pub fn read(reader: &Reader<'_>) -> Result<Self, CapacityError> {
        let end = reader.now.align_down(SLOT_MS);
        let query = format!("max_over_time({USED}[10m])");
        let mut grids = HashMap::new();
        for (labels, points) in reader.range(&query, end.plus_ms(-HISTORY_MS), end, SLOT_MS)? {
            // A point tells of the ten minutes before it.
            let samples: Vec<Sample> = points.iter().map(|s| Sample { t: s.t.plus_ms(-SLOT_MS), v: s.v }).collect();
            grids.insert(identity(&labels), Grid::of(&samples));
        }
        let since = grids.values().filter(|grid| !grid.is_empty()).map(Grid::since).min();
        Ok(Self { grids, ten_minutes: reader.by(&query, identity)?, since })
    }

    /// The grid of a kind and its subject.
    pub fn grid(&self, kind: Kind, labels: &Labels) -> Option<&Grid> {
        self.grids.get(&key_of(kind, labels)).filter(|grid| !grid.is_empty())
    }

    /// Adds peaks and outlook to every row.
    pub fn tell(&self, now: TimestampMs, report: &mut Report) {
        report.history_since = self.since;
        let fullest = fullest(&report.rows);
        for (at, row) in report.rows.iter_mut().enumerate() {
            if !row.kind.has_history() {
                continue;
            }
            let key = key(row);
            let factor = row.history_factor;
            let grid = self.grids.get(&key).map(|grid| grid.scaled(factor));
            let most = |values: &[Option<f64>]| values.iter().flatten().copied().reduce(f64::max);
            let minute = most(&[row.peaks.minute, row.used]);
            // The history is that of the fullest engine.
            let is_fullest = fullest.get(&key) == Some(&at);
            let recorded = if is_fullest { self.ten_minutes.get(&key).map(|v| v * factor) } else { None };
            let ten_minutes = most(&[minute, recorded]);
            row.peaks.minute = minute;
            row.peaks.ten_minutes = ten_minutes;
            let is_full = row.used.zip(row.limit).is_some_and(|(used, limit)| used >= limit);
            row.time_to_full_seconds = is_full.then_some(0.0);
            let Some(grid) = grid.filter(|_| is_fullest) else {
                row.peaks.since = row.used.map(|_| now);
                continue;
            };
            row.peaks.day = most(&[grid.peak(DAY), ten_minutes]);
            row.peaks.since = (now.since(grid.since()) < 86_400_000).then(|| grid.since());
            row.headroom_at_peak_ratio = row.left(row.peaks.day);
            let Some(limit) = row.limit.filter(|_| !is_full) else { continue };
            match time_to_limit(&grid, limit, row.kind.nature()) {
                Ok(outlook) => {
                    row.time_to_full_seconds = Some(outlook.seconds);
                    row.outlook = Some(outlook);
                }
                Err(why) => row.no_outlook = Some(why),
            }
        }
    }
}

/// The row of each key that uses most of its limit, or most of all where limits are unknown.
fn fullest(rows: &[Row]) -> HashMap<Labels, usize> {
    let mut out: HashMap<Labels, usize> = HashMap::new();
    let share = |row: &Row| (row.headroom_ratio.map_or(0.0, |h| 1.0 - h), row.used.unwrap_or(0.0));
    for (at, row) in rows.iter().enumerate() {
        let best = out.entry(key(row)).or_insert(at);
        if share(row) > share(&rows[*best]) {
            *best = at;
        }
    }
    out
}
