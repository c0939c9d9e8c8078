//! What a query holds at a moment, against its limits of samples and of memory.
//!
//! Samples are counted as Prometheus counts them. Memory is what vectors, their labels and the sums in the making take;
//! it is what keeps a query small that has few samples but long labels, or many series of one sample each.

use std::ops::{Add, AddAssign};

use super::points::Series;
use super::{Evaluated, Evaluator};
use crate::promql::error::QueryError;
use crate::promql::eval::points::Scalar;

/// Samples, and bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub samples: usize,
    pub bytes: usize,
}

impl Held {
    /// Memory that holds no samples.
    pub(super) fn bytes(bytes: usize) -> Self {
        Self { samples: 0, bytes }
    }

    pub(super) fn of(value: &Evaluated) -> Self {
        match value {
            Evaluated::Scalar(Scalar::Steps(values)) => {
                Self { samples: values.len(), bytes: size_of_val(values.as_slice()) }
            }
            Evaluated::Scalar(Scalar::Constant(_)) => Self { samples: 1, bytes: size_of::<f64>() },
            Evaluated::String(text) => Self { samples: 1, bytes: text.len() },
            Evaluated::Vector(series) => series.iter().map(Self::of_series).fold(Self::default(), Self::add),
        }
    }

    pub(super) fn of_series(series: &Series) -> Self {
        let bytes = size_of::<Series>() + series.labels.size_bytes() + series.points.size_bytes();
        Self { samples: series.points.weight(), bytes }
    }
}

impl Add for Held {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { samples: self.samples.saturating_add(other.samples), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Evaluator<'_> {
    /// Refuses when `more` beside what is held would be too much.
    pub(super) fn check_held(&self, more: Held) -> Result<(), QueryError> {
        let all = self.held + more;
        let (samples, bytes) = (self.options.max_samples, self.options.max_memory_bytes());
        if all.samples > samples {
            return Err(QueryError::TooManySamples { limit: samples });
        }
        if all.bytes > bytes {
            return Err(QueryError::TooMuchMemory { limit: bytes });
        }
        Ok(())
    }

    /// As [`Evaluator::check_held`] for samples in the form in which the store gives them.
    pub(super) fn check_samples(&self, samples: usize) -> Result<(), QueryError> {
        self.check_held(Held { samples, bytes: samples.saturating_mul(SAMPLE_BYTES) })
    }
}

/// Memory of a sample with its time.
pub(super) const SAMPLE_BYTES: usize = size_of::<crate::model::Sample>();
