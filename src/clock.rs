//! The one door to time for the tasks at the edge: what time is it, and wake me at a time.
//!
//! Step machines take their time as a parameter and never see this trait. `app` implements it for the
//! wall clock and, for the demo, for a clock that runs faster.

use std::pin::Pin;
use std::sync::Arc;

use crate::model::TimestampMs;

/// A source of time that tasks wait on.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> TimestampMs;

    /// Completes when the clock shows `at` or later; at once when that is past.
    fn sleep_until(&self, at: TimestampMs) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A clock shared by tasks.
pub type SharedClock = Arc<dyn Clock>;
