//! `up` and its companions: what is known of a scrape whatever its page says.
//!
//! In:  the figures of a scrape.   Out: five series, named as Prometheus names them. Always: in every batch.

use std::time::Duration;

use super::target::Report;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, TimestampMs, Value, stale_nan};
use crate::receive::identity::Identity;
use crate::storage::{Batch, Point};

/// The series a target has whatever its page says, as Prometheus names them.
#[derive(Debug)]
pub struct OwnSeries {
    up: Labels,
    duration: Labels,
    samples: Labels,
    kept: Labels,
    added: Labels,
}

impl OwnSeries {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// Those of a target.
    pub fn new(identity: &Identity) -> Self {
        let named = |name: &str| {
            let mut labels = LabelsBuilder::default();
            identity.stamp(&mut labels);
            labels.set(METRIC_NAME, name).build()
        };
        Self {
            up: named("up"),
            duration: named("scrape_duration_seconds"),
            samples: named("scrape_samples_scraped"),
            kept: named("scrape_samples_post_metric_relabeling"),
            added: named("scrape_series_added"),
        }
    }

    /// Adds them to the batch of a scrape.
    pub fn append(&self, batch: &mut Batch, at: TimestampMs, took: Duration, report: &Report) {
        let dropped = report.duplicates + report.filtered + report.over_series_limit + report.over_label_limit;
        for (labels, value) in [
            (&self.up, if report.failure.is_none() { 1.0 } else { 0.0 }),
            (&self.duration, took.as_secs_f64()),
            (&self.samples, report.samples as f64),
            (&self.kept, report.samples.saturating_sub(dropped) as f64),
            (&self.added, report.series_added as f64),
        ] {
            batch.points.push(Point { labels: labels.clone(), t: at, value: Value::Float(value) });
        }
    }

    /// Marks their end.
    pub fn stale(&self, at: TimestampMs) -> impl Iterator<Item = Point> {
        let all = [&self.up, &self.duration, &self.samples, &self.kept, &self.added];
        let value = Value::Float(stale_nan());
        all.into_iter().map(move |labels| Point { labels: labels.clone(), t: at, value: value.clone() })
    }
}
