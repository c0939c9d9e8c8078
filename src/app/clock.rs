//! The wall clock, and the demo's clock that runs a whole factor faster.

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::model::TimestampMs;

/// The system's clock; follows its steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

/// Sleeping is cut into pieces of this length, so that a step of the system clock is noticed.
const LONGEST_NAP: Duration = Duration::from_secs(1);

impl Clock for WallClock {
    fn now(&self) -> TimestampMs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn sleep_until(&self, at: TimestampMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left <= 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(left.unsigned_abs()).min(LONGEST_NAP)).await;
            }
        })
    }
}

/// A clock that starts at the wall clock's time and runs `speed` times as fast.
#[derive(Clone, Copy, Debug)]
pub struct FastClock {
    started: Instant,
    base: TimestampMs,
    speed: f64,
}

impl FastClock {
    /// A clock with `speed` seconds for every real one; `speed` must be positive.
    pub fn new(speed: f64) -> Self {
        assert!(speed > 0.0, "a clock that stands or runs back wakes nobody");
        Self { started: Instant::now(), base: WallClock.now(), speed }
    }

    /// When the clock was started, on its own scale.
    pub fn base(&self) -> TimestampMs {
        self.base
    }
}

impl Clock for FastClock {
    fn now(&self) -> TimestampMs {
        self.base.plus_ms((self.started.elapsed().as_secs_f64() * self.speed * 1000.0) as i64)
    }

    fn sleep_until(&self, at: TimestampMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left <= 0 {
                    return;
                }
                // Round up, so that the clock has passed `at` when the timer ends.
                tokio::time::sleep(
                    Duration::from_secs_f64(left as f64 / 1000.0 / self.speed) + Duration::from_millis(1),
                )
                .await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fast_clock_reaches_its_deadline_early() {
        let clock = FastClock::new(1000.0);
        let start = clock.now();
        clock.sleep_until(start.plus_ms(2_000)).await;
        assert!(clock.now().since(start) >= 2_000);
    }
}
