//! Points in time, in the two units the field uses, so that they never mix silently.

use std::fmt;

/// Milliseconds since the Unix epoch, as Prometheus counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// Earlier than every sample.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every sample.
    pub const MAX: Self = Self(i64::MAX);

    /// This time moved by `ms` milliseconds, stopping at the ends of the range.
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Seconds since the epoch, as PromQL's `time()` and `timestamp()` give them.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The latest multiple of `interval_ms` that is not after this time.
    pub fn align_down(self, interval_ms: i64) -> Self {
        Self(self.0.div_euclid(interval_ms) * interval_ms)
    }

    /// RFC 3339 in UTC with milliseconds, as the Alertmanager API writes times.
    ///
    /// Times outside the years -9999 to 9999 are printed as their number of milliseconds.
    pub fn to_rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            Err(_) => self.0.to_string(),
        }
    }

    /// Reads RFC 3339 (any offset); `None` when the text is not such a time.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|t| Self(t.as_millisecond()))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_rfc3339())
    }
}

/// Nanoseconds since the Unix epoch, as OTLP counts them; zero means unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl From<UnixNanos> for TimestampMs {
    fn from(nanos: UnixNanos) -> Self {
        // u64 nanoseconds end in the year 2554, well inside i64 milliseconds.
        Self((nanos.0 / 1_000_000) as i64)
    }
}

/// A closed range of time: both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    pub from: TimestampMs,
    pub to: TimestampMs,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { from: TimestampMs::MIN, to: TimestampMs::MAX };

    /// Whether `t` lies in the range, ends included.
    pub fn contains(&self, t: TimestampMs) -> bool {
        self.from <= t && t <= self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alignment_rounds_towards_the_past_on_both_sides_of_the_epoch() {
        assert_eq!(TimestampMs(29_999).align_down(15_000), TimestampMs(15_000));
        assert_eq!(TimestampMs(-1).align_down(15_000), TimestampMs(-15_000));
    }

    #[test]
    fn rfc3339_round_trips_to_the_millisecond() {
        let t = TimestampMs(1_795_419_468_123);
        assert_eq!(TimestampMs::from_rfc3339(&t.to_rfc3339()), Some(t));
        assert_eq!(
            TimestampMs::from_rfc3339("2026-11-23T17:00:00+02:00"),
            TimestampMs::from_rfc3339("2026-11-23T15:00:00Z")
        );
    }
}
