//! How long which series are kept: most of them for a few hours, the few that long windows read for days.
//!
//! In: a series' name.   Out: its class, and what follows from it: an age, and the time that one chunk covers.
//! Always: the class of a series is found once, when the series is new; a chunk covers at most a quarter of what its
//! class is kept, since chunks are dropped whole.

use super::config::Settings;
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher, TimestampMs};

/// What a restart reads of the alerts from before it, however long it was away.
const NAMES_OF_ALERTS: &str = "ALERTS|ALERTS_FOR_STATE|rivetwatch_alert_.+";

/// The two classes of series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keep {
    /// As long as `storage.retention` says.
    #[default]
    Short,
    /// As long as `storage.long_retention` says.
    Long,
}

/// What the two classes mean.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    short_ms: i64,
    long_ms: i64,
    /// Passes the names of the long class.
    long_names: Option<Matcher>,
}

impl Retention {
    /// As the settings have it; names that do not compile, which validation refuses, are kept short.
    pub fn new(settings: &Settings) -> Self {
        let matcher = |names: &str| Matcher::new(METRIC_NAME, MatchOp::Matches, names).ok();
        let all = Some(&settings.long_names).filter(|names| !names.is_empty());
        let all = all.map(|names| format!("{NAMES_OF_ALERTS}|(?:{names})"));
        Self {
            short_ms: settings.retention_ms,
            long_ms: settings.long_retention_ms.max(settings.retention_ms),
            long_names: all.and_then(|names| matcher(&names)).or_else(|| matcher(NAMES_OF_ALERTS)),
        }
    }

    /// The class of a series.
    pub fn keep(&self, labels: &Labels) -> Keep {
        let is_long = self.long_names.as_ref().is_some_and(|names| names.matches_value(labels.metric_name()));
        if is_long { Keep::Long } else { Keep::Short }
    }

    /// The time before which samples of the class are dropped.
    pub fn cutoff(&self, keep: Keep, now: TimestampMs) -> TimestampMs {
        now.plus_ms(-self.ms(keep))
    }

    /// The time that one chunk of the class covers at most.
    pub fn chunk_span_ms(&self, keep: Keep) -> i64 {
        (self.ms(keep) / 4).max(1)
    }

    fn ms(&self, keep: Keep) -> i64 {
        match keep {
            Keep::Short => self.short_ms,
            Keep::Long => self.long_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(long_names: &str) -> Retention {
        let settings = Settings {
            retention_ms: 100,
            long_retention_ms: 1_000,
            long_names: long_names.to_owned(),
            ..Settings::default()
        };
        Retention::new(&settings)
    }

    #[test]
    fn whole_names_decide() {
        let retention = retention("rivet:slo:.+|peak");
        let class = |name: &str| retention.keep(&Labels::from_pairs([(METRIC_NAME, name)]));
        assert_eq!(class("rivet:slo:ratio"), Keep::Long);
        assert_eq!(class("peak"), Keep::Long);
        assert_eq!(class("peaks"), Keep::Short);
        assert_eq!(class("my_rivet:slo:ratio"), Keep::Short);
        assert_eq!(retention.cutoff(Keep::Long, TimestampMs(5_000)), TimestampMs(4_000));
        assert_eq!(retention.cutoff(Keep::Short, TimestampMs(5_000)), TimestampMs(4_900));
        assert_eq!(retention.chunk_span_ms(Keep::Long), 250);
    }

    #[test]
    fn without_names_the_alerts_alone_are_kept_long() {
        for retention in [retention(""), retention("peak")] {
            let class = |name: &str| retention.keep(&Labels::from_pairs([(METRIC_NAME, name)]));
            assert_eq!(class("up"), Keep::Short);
            let alerts = ["ALERTS", "ALERTS_FOR_STATE", "rivetwatch_alert_fired_timestamp_seconds"];
            assert_eq!(alerts.map(class), [Keep::Long; 3]);
        }
        assert_eq!(retention("").keep(&Labels::empty()), Keep::Short);
    }
}
