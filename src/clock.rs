//! The clock that tasks at the edge run on.
//!
//! In:  `app`'s notion of now, and how much faster than real time it runs (the demo).   Out: times, and sleeps until a time.
//! Always: step machines take their time as a parameter and never see this type; nothing else waits for real time.

use std::sync::Arc;
use std::time::Duration;

use crate::model::TimestampMs;

/// A source of time that may run faster than the real one; clones share it.
#[derive(Clone)]
pub struct Clock {
    now: Arc<dyn Fn() -> TimestampMs + Send + Sync>,
    speed: f64,
}

/// The longest single sleep, so that a clock that was set anew is noticed soon.
const NAP: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock that reads `now`, of which `speed` seconds pass in a real one; not above zero counts as 1.
    pub fn new(now: impl Fn() -> TimestampMs + Send + Sync + 'static, speed: f64) -> Self {
        Self { now: Arc::new(now), speed: if speed > 0.0 { speed } else { 1.0 } }
    }

    /// The present.
    pub fn now(&self) -> TimestampMs {
        (self.now)()
    }

    /// Seconds of this clock that pass in a real one.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Sleeps until `at`; returns at once when that is past.
    pub async fn sleep_until(&self, at: TimestampMs) {
        loop {
            let Ok(left_ms @ 1..) = u64::try_from(at.since(self.now())) else { return };
            let real = Duration::from_secs_f64(left_ms as f64 / 1000.0 / self.speed);
            tokio::time::sleep(real.min(NAP)).await;
        }
    }

    /// Sleeps until the next multiple of `interval_ms` that lies `offset_ms` past one.
    pub async fn sleep_until_tick(&self, interval_ms: i64, offset_ms: i64) {
        self.sleep_until(next_tick(self.now(), interval_ms, offset_ms)).await;
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clock").field("speed", &self.speed).finish_non_exhaustive()
    }
}

/// The first time after `now` that lies `offset_ms` past a multiple of `interval_ms`.
///
/// An interval below one millisecond counts as one.
pub fn next_tick(now: TimestampMs, interval_ms: i64, offset_ms: i64) -> TimestampMs {
    let interval_ms = interval_ms.max(1);
    let offset_ms = offset_ms.rem_euclid(interval_ms);
    now.plus_ms(-offset_ms).align_down(interval_ms).plus_ms(offset_ms + interval_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_aligned_and_lie_ahead() {
        assert_eq!(next_tick(TimestampMs(15_000), 15_000, 0), TimestampMs(30_000));
        assert_eq!(next_tick(TimestampMs(15_001), 15_000, 4_000), TimestampMs(19_000));
        assert_eq!(next_tick(TimestampMs(19_000), 15_000, 4_000), TimestampMs(34_000));
    }
}
