//! What can be set on the store.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, HumanDuration, METRIC_NAME, MatchOp, Matcher, Problem};

/// How long points are kept, and how many may wait.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long points stay in memory and in the log. Default 2h, at least 10m. Longer windows in rules need more.
    pub retention: HumanDuration,
    /// How long the series with `long_names` are kept, where that is longer than `retention`. Default 8d, 10m to 90d.
    pub long_retention: HumanDuration,
    /// The names, as an anchored regular expression, of the few series that are kept for `long_retention`: what
    /// burn rates and daily peaks are read from. Default `rivet:(slo|capacity):.+`. Those of alerts, which a
    /// restart is taken up from, are among them in any case.
    pub long_names: String,
    /// Batches that may wait for the writer before more are refused as retryable. Default 256, 1 to 65536.
    pub queue_batches: usize,
    /// Points that may wait for the writer before more are refused as retryable. Default 500000, at least 1000.
    pub queue_points: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention: HumanDuration::secs(2 * 3600),
            long_retention: HumanDuration::secs(8 * 86_400),
            long_names: "rivet:(slo|capacity):.+".to_owned(),
            queue_batches: 256,
            queue_points: 500_000,
        }
    }
}

impl Config {
    /// Adds a problem for each key that breaks its rule; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if self.retention < HumanDuration::secs(600) {
            problems
                .push(Problem::new(format!("{at}.retention"), format!("must be at least 10m, got {}", self.retention)));
        }
        if !(HumanDuration::secs(600)..=HumanDuration::secs(90 * 86_400)).contains(&self.long_retention) {
            let rule = format!("must be from 10m to 90d, got {}", self.long_retention);
            problems.push(Problem::new(format!("{at}.long_retention"), rule));
        }
        if let Err(error) = Matcher::new(METRIC_NAME, MatchOp::Matches, self.long_names.as_str()) {
            problems.push(Problem::new(format!("{at}.long_names"), format!("must be a regular expression: {error}")));
        }
        if !(1..=65_536).contains(&self.queue_batches) {
            let rule = format!("must be 1 to 65536, got {}", self.queue_batches);
            problems.push(Problem::new(format!("{at}.queue_batches"), rule));
        }
        if self.queue_points < 1_000 {
            let rule = format!("must be at least 1000, got {}", self.queue_points);
            problems.push(Problem::new(format!("{at}.queue_points"), rule));
        }
    }
}

/// When the log is forced to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WalSync {
    /// Every `wal.sync_interval`: a dead process loses nothing, a power cut what the interval holds.
    #[default]
    Interval,
    /// Before each answer: a power cut loses nothing that was answered.
    Always,
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WalConfig {
    /// Whether there is a log. Default true; without one a restart begins empty.
    pub enabled: bool,
    /// When the log is forced to disk: `interval` (default) or `always`.
    pub sync: WalSync,
    /// Time between two forced writes with `sync: interval`. Default 1s, 10ms to 1m.
    pub sync_interval: HumanDuration,
    /// Size at which the log begins a new file. Default 16MiB, 64KiB to 1GiB.
    pub segment_size: ByteSize,
    /// Size of the log since the last checkpoint at which the next one is written. Default 16MiB, at least
    /// `segment_size`; larger means fewer writes and a slower start.
    pub checkpoint_after: ByteSize,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            sync: WalSync::Interval,
            sync_interval: HumanDuration::secs(1),
            segment_size: ByteSize(16 << 20),
            checkpoint_after: ByteSize(16 << 20),
        }
    }
}

impl WalConfig {
    /// Adds a problem for each key that breaks its rule; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let interval = self.sync_interval;
        if interval < HumanDuration::millis(10) || interval > HumanDuration::secs(60) {
            problems.push(Problem::new(format!("{at}.sync_interval"), format!("must be 10ms to 1m, got {interval}")));
        }
        if !(64 << 10..=1 << 30).contains(&self.segment_size.0) {
            let rule = format!("must be 64KiB to 1GiB, got {}", self.segment_size);
            problems.push(Problem::new(format!("{at}.segment_size"), rule));
        }
        if self.checkpoint_after.0 < self.segment_size.0 {
            let rule =
                format!("must be at least `{at}.segment_size` ({}), got {}", self.segment_size, self.checkpoint_after);
            problems.push(Problem::new(format!("{at}.checkpoint_after"), rule));
        }
    }
}

/// What the store may take at most.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Series in memory; points of further new series are refused. Default 500000, at least 1.
    pub series: usize,
    /// Series of one `job`; points of further new series of that job are refused. Default 200000, at least 1.
    pub series_per_job: usize,
    /// Memory of the store; whole batches beyond it are refused as retryable. Default 512MiB, at least 8MiB.
    pub memory: ByteSize,
    /// Exemplars in memory; the oldest give way. Default 10000, at most 1000000, 0 for none.
    pub exemplars: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { series: 500_000, series_per_job: 200_000, memory: ByteSize(512 << 20), exemplars: 10_000 }
    }
}

impl LimitsConfig {
    /// Adds a problem for each key that breaks its rule; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        for (key, value) in [("series", self.series), ("series_per_job", self.series_per_job)] {
            if value == 0 {
                problems.push(Problem::new(format!("{at}.{key}"), "must be at least 1, got 0"));
            }
        }
        if self.exemplars > 1_000_000 {
            let rule = format!("must be at most 1000000, got {}", self.exemplars);
            problems.push(Problem::new(format!("{at}.exemplars"), rule));
        }
        if self.memory.0 < 8 << 20 {
            problems.push(Problem::new(format!("{at}.memory"), format!("must be at least 8MiB, got {}", self.memory)));
        }
    }
}

/// What the code is given: the three sections, checked, and the directory of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Directory of the log, created where absent; `None` keeps everything in memory only.
    pub dir: Option<PathBuf>,
    pub retention_ms: i64,
    /// For the series whose name matches `long_names`; never below `retention_ms`.
    pub long_retention_ms: i64,
    /// An anchored regular expression; empty for none.
    pub long_names: String,
    /// Points later than the last `maintain(now)` by more than this are refused; `None` leaves that to the receivers.
    pub future_ms_max: Option<i64>,
    pub queue_batches: usize,
    pub queue_points: usize,
    pub series_max: usize,
    pub series_per_job_max: usize,
    pub memory_bytes_max: usize,
    pub exemplars_max: usize,
    pub sync: WalSync,
    pub sync_interval: Duration,
    pub segment_bytes: u64,
    pub checkpoint_after_bytes: u64,
}

impl Settings {
    /// The settings of the three sections; a log that is not enabled has no directory.
    pub fn new(dir: Option<PathBuf>, tsdb: &Config, wal: &WalConfig, limits: &LimitsConfig) -> Self {
        Self {
            dir: dir.filter(|_| wal.enabled),
            retention_ms: tsdb.retention.as_ms(),
            long_retention_ms: tsdb.long_retention.as_ms(),
            long_names: tsdb.long_names.clone(),
            future_ms_max: None,
            queue_batches: tsdb.queue_batches,
            queue_points: tsdb.queue_points,
            series_max: limits.series,
            series_per_job_max: limits.series_per_job,
            memory_bytes_max: usize::try_from(limits.memory.0).unwrap_or(usize::MAX),
            exemplars_max: limits.exemplars,
            sync: wal.sync,
            sync_interval: wal.sync_interval.0,
            segment_bytes: wal.segment_size.0,
            checkpoint_after_bytes: wal.checkpoint_after.0,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(None, &Config::default(), &WalConfig::default(), &LimitsConfig::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_every_broken_rule_is_named() {
        let mut problems = Vec::new();
        Config::default().validate("tsdb", &mut problems);
        WalConfig::default().validate("wal", &mut problems);
        LimitsConfig::default().validate("limits", &mut problems);
        // Who keeps everything for longer has not asked for less of the few.
        let longer = Config { retention: HumanDuration::secs(365 * 86_400), ..Config::default() };
        longer.validate("tsdb", &mut problems);
        assert_eq!(problems, []);

        let config = Config {
            retention: HumanDuration::secs(1),
            long_retention: HumanDuration::millis(1),
            long_names: "(".to_owned(),
            queue_batches: 0,
            queue_points: 0,
        };
        config.validate("tsdb", &mut problems);
        let wal = WalConfig {
            sync_interval: HumanDuration::secs(0),
            segment_size: ByteSize(1),
            checkpoint_after: ByteSize(0),
            ..WalConfig::default()
        };
        wal.validate("wal", &mut problems);
        LimitsConfig { series: 0, series_per_job: 0, memory: ByteSize(1), exemplars: usize::MAX }
            .validate("limits", &mut problems);
        let keys: Vec<_> = problems.iter().map(|p| p.key.as_str()).collect();
        let want = [
            "tsdb.retention",
            "tsdb.long_retention",
            "tsdb.long_names",
            "tsdb.queue_batches",
            "tsdb.queue_points",
            "wal.sync_interval",
            "wal.segment_size",
            "wal.checkpoint_after",
            "limits.series",
            "limits.series_per_job",
            "limits.exemplars",
            "limits.memory",
        ];
        assert_eq!(keys, want);
        assert_eq!(problems[0].to_string(), "`tsdb.retention` must be at least 10m, got 1s");
    }
}
