//! Adds up delta points, so that only cumulative series are kept.
//!
//! In:  delta points by series.   Out: the running total at the point's time.
//! Always: a repeated point (same end time) gives the same total again; one from before it is refused.
//! Limits: `series_max` series; a series idle for an hour is forgotten and begins again from zero.

use hashbrown::HashMap;

use super::exponential::Exponential;
use super::refusals::Refusal;
use crate::model::{Labels, TimestampMs};

const IDLE_MS: i64 = 60 * 60_000;

/// What is added up for one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Total {
    Number(f64),
    Classic(Classic),
    Exponential(Exponential),
}

/// A classic histogram: counts per bucket (not cumulated), the last one being +Inf.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Classic {
    pub bounds: Vec<f64>,
    pub counts: Vec<u64>,
    pub count: u64,
    pub sum: Option<f64>,
}

#[derive(Debug)]
struct Running {
    labels: Labels,
    total: Total,
    ended_at: TimestampMs,
    seen_at: TimestampMs,
}

/// The totals of all delta series.
#[derive(Debug)]
pub(super) struct Deltas {
    series_max: usize,
    series: HashMap<u64, Running>,
}

/// A total after a delta was added.
pub(super) struct Added {
    pub total: Total,
    /// Whether the series began with this point.
    pub is_first: bool,
}

impl Deltas {
    pub(super) fn new(series_max: usize) -> Self {
        Self { series_max, series: HashMap::new() }
    }

    /// Adds `delta`, which ended at `t`, to the series `labels`.
    pub(super) fn add(
        &mut self,
        labels: &Labels,
        delta: Total,
        t: TimestampMs,
        now: TimestampMs,
    ) -> Result<Added, Refusal> {
        let key = labels.hash64();
        if let Some(running) = self.series.get_mut(&key)
            && running.labels == *labels
        {
            running.seen_at = now;
            if t < running.ended_at {
                return Err(Refusal::DeltaOutOfOrder { t_ms: t.0, last_ms: running.ended_at.0 });
            }
            if t > running.ended_at {
                running.ended_at = t;
                running.total.add(delta);
            }
            return Ok(Added { total: running.total.clone(), is_first: false });
        }
        if self.series.len() >= self.series_max {
            self.series.retain(|_, running| now.0 - running.seen_at.0 < IDLE_MS);
            if self.series.len() >= self.series_max {
                return Err(Refusal::DeltaLimit { limit: self.series_max });
            }
        }
        let running = Running { labels: labels.clone(), total: delta.clone(), ended_at: t, seen_at: now };
        self.series.insert(key, running);
        Ok(Added { total: delta, is_first: true })
    }

    /// Series added up now.
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
}

impl Total {
    /// A delta of another type or with other bounds begins a new total, as a restarted counter does.
    fn add(&mut self, delta: Total) {
        match (&mut *self, delta) {
            (Self::Number(total), Self::Number(delta)) => *total += delta,
            (Self::Classic(total), Self::Classic(delta))
                if total.bounds == delta.bounds && total.counts.len() == delta.counts.len() =>
            {
                for (total, delta) in total.counts.iter_mut().zip(&delta.counts) {
                    *total = total.saturating_add(*delta);
                }
                total.count = total.count.saturating_add(delta.count);
                total.sum = total.sum.zip(delta.sum).map(|(a, b)| a + b);
            }
            (Self::Exponential(total), Self::Exponential(delta)) => total.add(&delta),
            (total, delta) => *total = delta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(deltas: &mut Deltas, series: &str, v: f64, t: i64) -> Result<f64, &'static str> {
        let labels = Labels::from_pairs([("__name__", series)]);
        match deltas.add(&labels, Total::Number(v), TimestampMs(t), TimestampMs(t)) {
            Ok(Added { total: Total::Number(total), .. }) => Ok(total),
            Ok(_) => Err("another type"),
            Err(refusal) => Err(refusal.reason()),
        }
    }

    #[test]
    fn deltas_add_up_repeats_do_not_and_the_past_is_refused() {
        let mut deltas = Deltas::new(10);
        assert_eq!(add(&mut deltas, "a", 5.0, 1_000), Ok(5.0));
        assert_eq!(add(&mut deltas, "a", 2.0, 2_000), Ok(7.0));
        assert_eq!(add(&mut deltas, "a", 2.0, 2_000), Ok(7.0), "a retry");
        assert_eq!(add(&mut deltas, "a", 9.0, 1_500), Err("delta_out_of_order"));
        assert_eq!(add(&mut deltas, "b", 1.0, 1_500), Ok(1.0));
    }

    #[test]
    fn full_memory_refuses_until_idle_series_are_forgotten() {
        let mut deltas = Deltas::new(1);
        assert_eq!(add(&mut deltas, "a", 1.0, 0), Ok(1.0));
        assert_eq!(add(&mut deltas, "b", 1.0, 10), Err("delta_limit"));
        assert_eq!(add(&mut deltas, "b", 1.0, IDLE_MS), Ok(1.0));
        assert_eq!(deltas.len(), 1);
    }

    #[test]
    fn histograms_add_bucket_by_bucket_and_begin_again_with_new_bounds() {
        let classic = |bounds: &[f64], counts: &[u64]| {
            let (bounds, counts) = (bounds.to_vec(), counts.to_vec());
            Classic { bounds, count: counts.iter().sum(), counts, sum: Some(1.0) }
        };
        let mut total = Total::Classic(classic(&[1.0], &[1, 2]));
        total.add(Total::Classic(classic(&[1.0], &[3, 4])));
        let Total::Classic(sum) = &total else { panic!("still classic") };
        assert_eq!((sum.counts.as_slice(), sum.count, sum.sum), (&[4, 6][..], 10, Some(2.0)));
        total.add(Total::Classic(classic(&[2.0], &[1, 1])));
        assert_eq!(total, Total::Classic(classic(&[2.0], &[1, 1])));
    }
}
