//! The times at which an expression is evaluated, and durations resolved against the query.

use crate::promql::ast::{At, BinaryOp, Duration, DurationKind, TimeModifiers};
use crate::promql::error::QueryError;

/// Longest duration, 17,000 years. Times, and sums of durations through the deepest nest of subqueries, stay far
/// from the ends of `i64`.
const MAX_DURATION_MS: f64 = (1u64 << 49) as f64;

/// Furthest time that a query may ask for, before or after the epoch.
pub(super) const MAX_TIME_MS: i64 = 1 << 60;

/// `steps` times from `start` on, `step` milliseconds apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub start: i64,
    pub step: i64,
    pub steps: usize,
}

impl Grid {
    /// The one time `at`.
    pub(super) fn single(at: i64) -> Self {
        Self { start: at, step: 1, steps: 1 }
    }

    pub(super) fn time(&self, step: usize) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(step as i64))
    }

    pub(super) fn last(&self) -> i64 {
        self.time(self.steps.saturating_sub(1))
    }
}

/// Start, end and step of the whole query, whatever grid a subquery is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueryTimes {
    pub start: i64,
    pub end: i64,
    /// Zero for instant queries.
    pub step: i64,
}

impl QueryTimes {
    /// A duration in milliseconds; ranges and steps must be positive.
    pub(super) fn positive_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        match self.duration_ms(duration)? {
            ms if ms > 0 => Ok(ms),
            _ => Err(bad_duration(duration, "duration must be greater than 0")),
        }
    }

    /// A duration in milliseconds, of either sign.
    pub(super) fn duration_ms(&self, duration: &Duration) -> Result<i64, QueryError> {
        let ms = self.seconds(duration)? * 1000.0;
        if ms.is_nan() || ms.abs() >= MAX_DURATION_MS {
            return Err(bad_duration(duration, "duration is out of range"));
        }
        // 0.1 + 0.2 seconds are 300 ms, not 300.00000000000006 cut down; Prometheus cuts, which agrees but for noise.
        Ok((ms + ms.signum() * 1e-6).trunc() as i64)
    }

    fn seconds(&self, duration: &Duration) -> Result<f64, QueryError> {
        Ok(match &duration.kind {
            DurationKind::Literal(literal) => literal.value,
            DurationKind::Step => self.step as f64 / 1000.0,
            DurationKind::Range => (self.end - self.start) as f64 / 1000.0,
            DurationKind::Sign { negative, operand } => {
                let value = self.seconds(operand)?;
                if *negative { -value } else { value }
            }
            DurationKind::Paren(inner) => self.seconds(inner)?,
            DurationKind::MinOf(a, b) => self.seconds(a)?.min(self.seconds(b)?),
            DurationKind::MaxOf(a, b) => self.seconds(a)?.max(self.seconds(b)?),
            DurationKind::Binary { op, lhs, rhs } => {
                let (a, b) = (self.seconds(lhs)?, self.seconds(rhs)?);
                match op {
                    BinaryOp::Add => a + b,
                    BinaryOp::Sub => a - b,
                    BinaryOp::Mul => a * b,
                    BinaryOp::Div if b == 0.0 => return Err(bad_duration(duration, "division by zero")),
                    BinaryOp::Div => a / b,
                    BinaryOp::Mod if b == 0.0 => return Err(bad_duration(duration, "modulo by zero")),
                    BinaryOp::Mod => a % b,
                    BinaryOp::Pow => a.powf(b),
                    _ => return Err(bad_duration(duration, "operator is not defined for durations")),
                }
            }
        })
    }

    /// The offset of a selector, and its fixed time if it has one.
    pub(super) fn modifiers(&self, time: &TimeModifiers) -> Result<(i64, Option<i64>), QueryError> {
        let offset = time.offset.as_ref().map_or(Ok(0), |offset| self.duration_ms(offset))?;
        let at = time.at.map(|at| match at {
            // Nothing lies beyond these times either way.
            At::TimeMs(ms) => ms.clamp(-MAX_TIME_MS, MAX_TIME_MS),
            At::Start => self.start,
            At::End => self.end,
        });
        Ok((offset, at))
    }
}

fn bad_duration(duration: &Duration, reason: &str) -> QueryError {
    QueryError::BadQuery(format!("{}:{}: {reason}", duration.position.line, duration.position.column))
}
