//! What capacity remembers: uses and limits as `rivet:capacity:*` series, read back as peaks and grids.
//!
//! Out: one series a kind and installation (or pool), written about once a minute. Engines come and go with every rollout,
//! so that of several the fullest is kept.   In: the same, as far back as the store has them.
//! Limits: [`HISTORY_MS`] are read; what the store has dropped earlier is no history, and the report says since when it is.

use std::collections::{BTreeSet, HashMap};

use super::CapacityError;
use super::forecast::{DAY, Grid, SLOT_MS, time_to_limit};
use super::kind::Kind;
use super::pools::{tenant, without_tenant};
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
    recorded: HashMap<Labels, Recorded>,
}

/// What was recorded of one use.
#[derive(Clone, Debug, Default)]
struct Recorded {
    grid: Grid,
    ten_minutes: Option<f64>,
    /// Since when there is something, the last minutes included that fill no slot yet.
    since: Option<TimestampMs>,
}

impl Recorded {
    fn and(&self, other: &Self) -> Self {
        let most = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        Self {
            grid: self.grid.and(&other.grid),
            ten_minutes: most(self.ten_minutes, other.ten_minutes),
            since: self.since.into_iter().chain(other.since).min(),
        }
    }
}

/// Labels under which a row's use is recorded.
pub(super) fn key(row: &Row) -> Labels {
    key_of(row.kind, &row.labels)
}

/// The same for a kind and its subject.
pub(super) fn key_of(kind: Kind, labels: &Labels) -> Labels {
    let is_subject = |n: &str| matches!(n, "cluster" | "namespace" | "job" | "rivet_namespace" | "pool_name");
    let mut out = labels.keep(is_subject).builder();
    out.set("kind", kind.as_str());
    out.build()
}

/// The key of a recorded series. What belongs to no job is written as that of `all`, for the dashboards' sake.
fn identity(labels: &Labels) -> Labels {
    let of_no_job = labels.get("job") == Some("all");
    labels.keep(|n| {
        matches!(n, "cluster" | "namespace" | "rivet_namespace" | "pool_name" | "kind") || n == "job" && !of_no_job
    })
}

impl History {
    /// Reads what was recorded.
    pub fn read(reader: &Reader<'_>) -> Result<Self, CapacityError> {
        let end = reader.now.align_down(SLOT_MS);
        let query = format!("max_over_time({USED}[10m])");
        let mut recorded: HashMap<Labels, Recorded> = HashMap::new();
        for (labels, points) in reader.range(&query, end.plus_ms(-HISTORY_MS), end, SLOT_MS)? {
            // A point tells of the ten minutes before it.
            let samples: Vec<Sample> = points.iter().map(|s| Sample { t: s.t.plus_ms(-SLOT_MS), v: s.v }).collect();
            let grid = Grid::of(&samples);
            let since = (!grid.is_empty()).then(|| grid.since());
            recorded.insert(identity(&labels), Recorded { grid, ten_minutes: None, since });
        }
        // One a minute is written, so that their number says how long that has been.
        for (of, n) in reader.by(&format!("count_over_time({USED}[10m])"), identity)? {
            let recent = reader.now.plus_ms(-(n as i64 - 1).max(0) * 60_000);
            let since = &mut recorded.entry(of).or_default().since;
            *since = Some(since.map_or(recent, |t| t.min(recent)));
        }
        for (of, v) in reader.by(&query, identity)? {
            recorded.entry(of).or_default().ten_minutes = Some(v);
        }
        Ok(Self { recorded })
    }

    /// What was recorded of each row's use, by its key.
    ///
    /// A source may tell a pool's Rivet namespace at one time and not at another, and once no agent recorded any:
    /// while no more than one namespace is known of a pool, what was recorded with and without it is all its own.
    fn of_rows(&self, rows: &[Row]) -> HashMap<Labels, Recorded> {
        let keys: Vec<Labels> = rows.iter().filter(|row| row.kind.has_history()).map(key).collect();
        let mut of_name: HashMap<Labels, BTreeSet<&Labels>> = HashMap::new();
        for key in self.recorded.keys().chain(&keys).filter(|key| key.get("pool_name").is_some()) {
            of_name.entry(without_tenant(key)).or_default().insert(key);
        }
        let recorded = |key: &Labels| {
            let related = of_name.get(&without_tenant(key));
            let related = related.filter(|all| all.iter().filter(|key| tenant(key).is_some()).count() <= 1);
            let found = related.into_iter().flatten().copied().filter_map(|key| self.recorded.get(key));
            let joined = found.cloned().reduce(|a, b| a.and(&b));
            joined.or_else(|| self.recorded.get(key).cloned())
        };
        keys.iter().filter_map(|key| Some((key.clone(), recorded(key)?))).collect()
    }

    /// The grid of a kind and its subject.
    pub fn grid(&self, kind: Kind, labels: &Labels) -> Option<&Grid> {
        self.recorded.get(&key_of(kind, labels)).map(|recorded| &recorded.grid).filter(|grid| !grid.is_empty())
    }

    /// Adds peaks and outlook to every row.
    pub fn tell(&self, now: TimestampMs, report: &mut Report) {
        report.history_since = self.recorded.values().filter_map(|recorded| recorded.since).min();
        let fullest = fullest(&report.rows);
        let of_rows = self.of_rows(&report.rows);
        for (at, row) in report.rows.iter_mut().enumerate() {
            if !row.kind.has_history() {
                continue;
            }
            let key = key(row);
            let factor = row.history_factor;
            let recorded = of_rows.get(&key);
            let grid = recorded.map(|recorded| recorded.grid.scaled(factor)).filter(|grid| !grid.is_empty());
            let most = |values: &[Option<f64>]| values.iter().flatten().copied().reduce(f64::max);
            let minute = most(&[row.peaks.minute, row.used]);
            // The history is that of the fullest engine.
            let is_fullest = fullest.get(&key) == Some(&at);
            let since = recorded.and_then(|recorded| recorded.since).filter(|_| is_fullest);
            let recorded = recorded.and_then(|recorded| recorded.ten_minutes).filter(|_| is_fullest);
            let ten_minutes = most(&[minute, recorded.map(|v| v * factor)]);
            row.peaks.minute = minute;
            row.peaks.ten_minutes = ten_minutes;
            let is_full = row.used.zip(row.limit).is_some_and(|(used, limit)| used >= limit);
            row.time_to_full_seconds = is_full.then_some(0.0);
            let Some(since) = since else {
                row.peaks.since = row.used.map(|_| now);
                continue;
            };
            row.peaks.day = most(&[grid.as_ref().and_then(|grid| grid.peak(DAY)), ten_minutes]);
            row.peaks.since = (now.since(since) < 86_400_000).then_some(since);
            row.headroom_at_peak_ratio = row.left(row.peaks.day);
            let Some(limit) = row.limit.filter(|_| !is_full) else { continue };
            let grid = grid.unwrap_or_default();
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
