//! When a level that rises will be full.

use std::time::Duration;

use crate::model::Sample;

/// Why no line could be drawn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForecastError {
    #[error("two samples at different times are needed, got {got}")]
    TooFew { got: usize },
    #[error("a sample is not a finite number")]
    NotFinite,
}

/// Fewer samples than this support no advice.
const MIN_SAMPLES: usize = 10;
/// Samples spread over less time than this support no advice.
const MIN_SPAN_MS: i64 = 10 * 60_000;
/// Share of the variation that the line must explain (R²).
const MIN_FIT: f64 = 0.5;
/// Trends are not followed further than this.
const HORIZON: Duration = Duration::from_secs(30 * 86_400);

/// Time until `used` reaches `limit`, along the least-squares line through `used`.
///
/// `used` is one gauge series, oldest first, in the unit of `limit`; time counts from its last sample.
/// A level already at the limit gives zero. `None` when it does not rise, when the line explains less than
/// half of the variation, when there are fewer than 10 samples over 10 minutes, or when it lies beyond 30 days.
/// Same slope as PromQL's `predict_linear`.
///
/// # Errors
/// Fewer than two distinct timestamps, or any value that is NaN or infinite.
pub fn time_to_full(used: &[Sample], limit: f64) -> Result<Option<Duration>, ForecastError> {
    if used.iter().any(|s| !s.v.is_finite()) || !limit.is_finite() {
        return Err(ForecastError::NotFinite);
    }
    let (Some(first), Some(last)) = (used.first(), used.last()) else {
        return Err(ForecastError::TooFew { got: 0 });
    };
    let span = last.t.since(first.t);
    if span <= 0 {
        return Err(ForecastError::TooFew { got: used.len() });
    }
    if last.v >= limit {
        return Ok(Some(Duration::ZERO));
    }
    if used.len() < MIN_SAMPLES || span < MIN_SPAN_MS {
        return Ok(None);
    }
    let line = Line::through(used);
    if line.slope <= 0.0 || line.fit < MIN_FIT {
        return Ok(None);
    }
    let seconds = (limit - line.at_last) / line.slope;
    Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok().filter(|d| *d <= HORIZON))
}

struct Line {
    /// Units a second.
    slope: f64,
    /// The line's value at the last sample.
    at_last: f64,
    /// R²: 1 when the line explains every sample, 0 when it explains nothing.
    fit: f64,
}

impl Line {
    fn through(samples: &[Sample]) -> Self {
        let last = samples[samples.len() - 1].t;
        let n = samples.len() as f64;
        let x = |s: &Sample| s.t.since(last) as f64 / 1000.0;
        let (mean_x, mean_y) = (samples.iter().map(x).sum::<f64>() / n, samples.iter().map(|s| s.v).sum::<f64>() / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for s in samples {
            let (dx, dy) = (x(s) - mean_x, s.v - mean_y);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
        let slope = xy / xx;
        Self { slope, at_last: mean_y - slope * mean_x, fit: if yy > 0.0 { xy * xy / (xx * yy) } else { 0.0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TimestampMs;

    fn series(values: impl IntoIterator<Item = f64>) -> Vec<Sample> {
        values.into_iter().enumerate().map(|(i, v)| Sample { t: TimestampMs(i as i64 * 60_000), v }).collect()
    }

    #[test]
    fn a_straight_rise_meets_its_limit_on_time() {
        let used = series((0..20).map(f64::from));
        let left = time_to_full(&used, 29.0).unwrap().unwrap();
        assert!((left.as_secs_f64() - 600.0).abs() < 1e-6, "{left:?}");
    }

    #[test]
    fn no_advice_without_support() {
        assert_eq!(time_to_full(&series([5.0; 20]), 10.0), Ok(None), "flat");
        assert_eq!(time_to_full(&series((0..20).map(|i| 20.0 - f64::from(i))), 100.0), Ok(None), "falling");
        assert_eq!(time_to_full(&series([1.0, 2.0, 3.0]), 10.0), Ok(None), "three samples");
        let noise = series((0..20).map(|i| f64::from((i * 7) % 5)));
        assert_eq!(time_to_full(&noise, 100.0), Ok(None), "noise");
        assert_eq!(time_to_full(&series((0..20).map(|i| 1e-9 * f64::from(i))), 1e9), Ok(None), "beyond the horizon");
    }

    #[test]
    fn what_is_full_is_full_now() {
        assert_eq!(time_to_full(&series([9.0, 10.0]), 10.0), Ok(Some(Duration::ZERO)));
        assert_eq!(time_to_full(&series([1.0]), 10.0), Err(ForecastError::TooFew { got: 1 }));
        assert_eq!(time_to_full(&series([1.0, f64::NAN]), 10.0), Err(ForecastError::NotFinite));
    }
}
