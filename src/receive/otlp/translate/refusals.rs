//! Why single data points are refused, counted by reason with one example each.

/// Why a data point did not become a series' point.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    #[error("the metric has no name")]
    NoName,
    #[error("the point has no value")]
    NoValue,
    #[error("the time is {ahead_ms} ms in the future, the limit is {limit_ms} ms")]
    TooNew { ahead_ms: i64, limit_ms: i64 },
    #[error("label `{name}` has {bytes} bytes, the limit is {limit}")]
    LabelTooLong { name: String, bytes: usize, limit: usize },
    #[error("the point has {count} labels, the limit is {limit}")]
    TooManyLabels { count: usize, limit: usize },
    #[error("the temporality is neither delta nor cumulative")]
    NoTemporality,
    #[error("the histogram is malformed: {why}")]
    BadHistogram { why: &'static str },
    #[error("the delta point ends at {t_ms} ms, before the series' last at {last_ms} ms")]
    DeltaOutOfOrder { t_ms: i64, last_ms: i64 },
    #[error("the memory for delta series is full: {limit} series")]
    DeltaLimit { limit: usize },
}

impl Refusal {
    /// The bounded class of the refusal, for counting.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoName => "no_name",
            Self::NoValue => "no_value",
            Self::TooNew { .. } => "too_new",
            Self::LabelTooLong { .. } => "label_too_long",
            Self::TooManyLabels { .. } => "too_many_labels",
            Self::NoTemporality => "no_temporality",
            Self::BadHistogram { .. } => "bad_histogram",
            Self::DeltaOutOfOrder { .. } => "delta_out_of_order",
            Self::DeltaLimit { .. } => "delta_limit",
        }
    }
}

/// The refusals of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Refusals {
    by_reason: Vec<(&'static str, u64)>,
    examples: Vec<String>,
}

impl Refusals {
    /// Counts `points` refused for one reason; the first of each reason becomes an example.
    pub(super) fn add(&mut self, metric: &str, refusal: &Refusal, points: u64) {
        if points == 0 {
            return;
        }
        match self.by_reason.iter_mut().find(|(reason, _)| *reason == refusal.reason()) {
            Some((_, count)) => *count += points,
            None => {
                self.by_reason.push((refusal.reason(), points));
                let name: String = metric.chars().take(200).collect();
                self.examples.push(format!("metric `{name}`: {refusal}"));
            }
        }
    }

    /// Refused points by reason.
    pub fn by_reason(&self) -> &[(&'static str, u64)] {
        &self.by_reason
    }

    /// One text for each reason.
    pub fn examples(&self) -> &[String] {
        &self.examples
    }

    /// Refused points in all.
    pub fn total(&self) -> u64 {
        self.by_reason.iter().map(|(_, n)| n).sum()
    }
}
