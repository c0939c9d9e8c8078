//! The wall clock, and the demo's clock that runs a whole factor faster.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::clock::Clock;
use crate::model::TimestampMs;

/// The system's clock; follows its steps.
pub fn wall() -> Clock {
    Clock::new(wall_now, 1.0)
}

/// A clock that starts at the wall clock's time and runs `speed` times as fast.
pub fn fast(speed: f64) -> Clock {
    let (started, base) = (Instant::now(), wall_now());
    Clock::new(move || base.plus_ms((started.elapsed().as_secs_f64() * speed * 1000.0) as i64), speed)
}

fn wall_now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fast_clock_reaches_its_deadline_early() {
        let clock = fast(1000.0);
        let start = clock.now();
        clock.sleep_until(start.plus_ms(2_000)).await;
        assert!(clock.now().since(start) >= 2_000);
    }
}
