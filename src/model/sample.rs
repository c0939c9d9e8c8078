//! One measured value at one time, and the marker that says a series has ended.

use std::sync::Arc;

use super::{FloatHistogram, TimestampMs};

/// The bits of the NaN that marks a series as stale (Prometheus `model/value.StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a float.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether `v` is the staleness marker; an ordinary NaN is not.
pub fn is_stale_nan(v: f64) -> bool {
    v.to_bits() == STALE_NAN_BITS
}

/// A float at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub t: TimestampMs,
    pub v: f64,
}

/// What a point holds: a float, or a whole native histogram.
///
/// The end of a series is `Float(stale_nan())` for floats and histograms alike.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Float(f64),
    Histogram(Arc<FloatHistogram>),
}
