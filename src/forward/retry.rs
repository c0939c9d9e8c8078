//! What to do with the answer to a request: done, again later, or never.
//!
//! In:  the outcome of one attempt, and the time.   Out: a [`Decision`].
//! Always: a step machine; it reads no clock and draws no random number, both are given.
//! Source: OpenTelemetry protocol specification, "Failures" (which gRPC codes may be retried).

use std::time::Duration;

use crate::model::TimestampMs;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered that it has the request, but for `rejected` items.
    Taken { rejected: u64 },
    /// The endpoint answered with an error; `wait` is its `RetryInfo`.
    Failed { code: tonic::Code, wait: Option<Duration> },
    /// There was no answer: no connection, or it broke.
    Unreachable,
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The request is settled.
    Settle { rejected: u64 },
    /// The same request again, not before `at`.
    Retry { at: TimestampMs },
    /// The endpoint will never take this request.
    GiveUp,
}

/// Waits between attempts: doubling, with jitter, started anew by every success.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

impl RetryPolicy {
    /// Waits of `first`, doubling up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Decides about an attempt that ended at `now`; `jitter` is between 0 and 1 and spreads waits over ±25 %.
    ///
    /// The endpoint's own wait is honoured up to five minutes and never shortened by jitter.
    pub fn decide(&mut self, now: TimestampMs, outcome: &Outcome, jitter: f64) -> Decision {
        let asked = match outcome {
            Outcome::Taken { rejected } => {
                self.failures = 0;
                return Decision::Settle { rejected: *rejected };
            }
            Outcome::Failed { code, wait } if !may_retry(*code, wait.is_some()) => {
                // The endpoint is well; the next request need not wait for this one's fault.
                self.failures = 0;
                return Decision::GiveUp;
            }
            Outcome::Failed { wait, .. } => *wait,
            Outcome::Unreachable => None,
        };
        let doubled = self.first.saturating_mul(1u32 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let spread = doubled.min(self.longest).mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0));
        let wait = asked.map_or(spread, |asked| asked.min(Duration::from_secs(300)).max(Duration::from_millis(1)));
        Decision::Retry { at: TimestampMs(now.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))) }
    }
}

fn may_retry(code: tonic::Code, has_retry_info: bool) -> bool {
    use tonic::Code::{Aborted, Cancelled, DataLoss, DeadlineExceeded, OutOfRange, ResourceExhausted, Unavailable};
    match code {
        Cancelled | DeadlineExceeded | Aborted | OutOfRange | Unavailable | DataLoss => true,
        // Without advice it means a limit that will not move, such as the size of messages.
        ResourceExhausted => has_retry_info,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: TimestampMs = TimestampMs(1_000_000);

    fn wait(policy: &mut RetryPolicy, outcome: &Outcome, jitter: f64) -> i64 {
        match policy.decide(START, outcome, jitter) {
            Decision::Retry { at } => at.0 - START.0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn waits_double_to_the_longest_and_begin_anew_after_a_success() {
        let mut policy = RetryPolicy::default();
        let waits: Vec<i64> = (0..8).map(|_| wait(&mut policy, &Outcome::Unreachable, 0.5)).collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(policy.decide(START, &Outcome::Taken { rejected: 3 }, 0.5), Decision::Settle { rejected: 3 });
        assert_eq!(wait(&mut policy, &Outcome::Unreachable, 0.0), 375);
        assert_eq!(wait(&mut policy, &Outcome::Unreachable, 1.0), 1_250);
    }

    #[test]
    fn the_endpoints_own_wait_is_honoured() {
        let busy = |seconds| Outcome::Failed {
            code: tonic::Code::ResourceExhausted,
            wait: Some(Duration::from_secs(seconds)),
        };
        let mut policy = RetryPolicy::default();
        assert_eq!(wait(&mut policy, &busy(7), 0.0), 7_000);
        assert_eq!(wait(&mut policy, &busy(86_400), 0.0), 300_000);
        assert_eq!(wait(&mut policy, &busy(0), 0.0), 1);
    }

    #[test]
    fn only_what_may_succeed_later_is_retried() {
        use tonic::Code::{DataLoss, DeadlineExceeded, Internal, InvalidArgument, PermissionDenied, ResourceExhausted};
        use tonic::Code::{Unauthenticated, Unavailable, Unimplemented};
        let mut policy = RetryPolicy::default();
        for code in [InvalidArgument, Unauthenticated, PermissionDenied, Unimplemented, Internal, ResourceExhausted] {
            assert_eq!(policy.decide(START, &Outcome::Failed { code, wait: None }, 0.5), Decision::GiveUp, "{code}");
        }
        for code in [Unavailable, DeadlineExceeded, DataLoss] {
            let decision = policy.decide(START, &Outcome::Failed { code, wait: None }, 0.5);
            assert!(matches!(decision, Decision::Retry { .. }), "{code}");
        }
    }
}
