//! What an answer means for the next attempt: one table for all HTTP targets.
//!
//! In: an [`Outcome`] of one sending.   Out: its [`Class`], and the time of the next attempt.
//! | Answer | Class |
//! |---|---|
//! | 2xx | accepted |
//! | 429 | throttled: `Retry-After` or the JSON `retry_after` is honoured |
//! | 408, 5xx, no connection, no answer | transient: exponential back-off with jitter, 5 min at most |
//! | 401, 403, 404, 407, 410, 3xx | permanent for this target |
//! | 400, 413, any other 4xx | permanent for this body: shrink once, then give up |

use crate::model::TimestampMs;

/// First pause after a failed attempt.
const BACKOFF_FIRST_MS: i64 = 1_000;
/// Longest pause between two attempts, unless the target asks for a longer one.
pub const BACKOFF_MAX_MS: i64 = 300_000;
/// Longest pause that a `Retry-After` is believed for.
const RETRY_AFTER_MAX_MS: i64 = 3_600_000;

/// What became of one sending, as the edge saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered.
    Answered {
        status: u16,
        /// The `Retry-After` header as it came.
        retry_after: Option<String>,
        /// The beginning of the body, for `retry_after` in JSON and for the log. Secrets cut out.
        body: String,
    },
    /// No answer. `may_have_arrived` is false only when not a byte of the request was sent.
    Failed { may_have_arrived: bool, what: String },
    /// The request could not even be made: a secret's file is missing, an address is not one.
    Unusable { what: String },
}

/// What to do after an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    Accepted,
    /// Try again, not before `wait_ms` where the target said so. `may_have_arrived`: it may have taken effect.
    Retry {
        wait_ms: Option<i64>,
        throttled: bool,
        may_have_arrived: bool,
    },
    /// This body will never be taken.
    BodyRejected,
    /// This target will not take anything as it is configured.
    TargetRejected,
}

impl Outcome {
    /// The class of this outcome; `now` is needed for a `Retry-After` that is a date.
    pub fn classify(&self, now: TimestampMs) -> Class {
        match self {
            Self::Unusable { .. } => Class::TargetRejected,
            Self::Failed { may_have_arrived, .. } => {
                Class::Retry { wait_ms: None, throttled: false, may_have_arrived: *may_have_arrived }
            }
            Self::Answered { status, retry_after, body } => match status {
                200..=299 => Class::Accepted,
                429 => Class::Retry {
                    wait_ms: asked_wait_ms(retry_after.as_deref(), body, now),
                    throttled: true,
                    may_have_arrived: false,
                },
                408 | 500..=599 => Class::Retry {
                    wait_ms: retry_after.as_deref().and_then(|text| header_wait_ms(text, now)),
                    throttled: false,
                    // Only a gateway in between can fail after the target has already taken the request.
                    may_have_arrived: matches!(status, 502 | 504),
                },
                401 | 403 | 404 | 407 | 410 | 300..=399 => Class::TargetRejected,
                _ => Class::BodyRejected,
            },
        }
    }

    /// A short text for a person; the edge has cut secrets out of it.
    pub fn describe(&self) -> String {
        match self {
            Self::Answered { status, body, .. } if body.is_empty() => format!("answered {status}"),
            Self::Answered { status, body, .. } => format!("answered {status}: {body}"),
            Self::Failed { what, .. } | Self::Unusable { what } => what.clone(),
        }
    }
}

/// Pause before attempt `attempts + 1`, with a fifth of jitter on top so that senders do not march in step.
pub fn backoff_ms(attempts: u32, rng: &mut fastrand::Rng) -> i64 {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << attempts.saturating_sub(1).min(20));
    let pause = doubled.min(BACKOFF_MAX_MS);
    (pause + rng.i64(0..=pause / 5)).min(BACKOFF_MAX_MS)
}

fn asked_wait_ms(header: Option<&str>, body: &str, now: TimestampMs) -> Option<i64> {
    header.and_then(|text| header_wait_ms(text, now)).or_else(|| {
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        let seconds = value.get("retry_after")?;
        seconds_to_ms(seconds.as_f64().or_else(|| seconds.as_str()?.parse().ok())?)
    })
}

/// `Retry-After` in seconds (a fraction is taken too) or as an HTTP date.
fn header_wait_ms(text: &str, now: TimestampMs) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return seconds_to_ms(seconds);
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some((date.as_millisecond() - now.0).clamp(0, RETRY_AFTER_MAX_MS))
}

fn seconds_to_ms(seconds: f64) -> Option<i64> {
    (seconds.is_finite() && seconds >= 0.0).then(|| ((seconds * 1000.0).ceil() as i64).min(RETRY_AFTER_MAX_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_795_419_468_000);

    fn answered(status: u16, retry_after: Option<&str>, body: &str) -> Class {
        Outcome::Answered { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() }.classify(NOW)
    }

    #[test]
    fn the_table_holds_for_every_status() {
        let retry = |throttled, may_have_arrived| Class::Retry { wait_ms: None, throttled, may_have_arrived };
        for (statuses, class) in [
            (vec![200, 202, 204], Class::Accepted),
            (vec![429], retry(true, false)),
            (vec![408, 500, 503], retry(false, false)),
            (vec![502, 504], retry(false, true)),
            (vec![301, 302, 401, 403, 404, 410], Class::TargetRejected),
            (vec![400, 413, 422], Class::BodyRejected),
        ] {
            for status in statuses {
                assert_eq!(answered(status, None, ""), class, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_read_in_each_of_its_forms() {
        let wait = |header, body| match answered(429, header, body) {
            Class::Retry { wait_ms, .. } => wait_ms,
            other => panic!("{other:?}"),
        };
        assert_eq!(wait(Some("7"), ""), Some(7_000));
        let date = jiff::Timestamp::from_millisecond(NOW.0 + 90_000).unwrap();
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
        assert_eq!(wait(Some(&date), ""), Some(90_000));
        assert_eq!(wait(None, r#"{"retry_after": 0.25}"#), Some(250));
        assert_eq!(wait(None, "slow down"), None);
        assert_eq!(wait(Some("1e99"), ""), Some(RETRY_AFTER_MAX_MS));
    }

    #[test]
    fn the_pause_doubles_up_to_five_minutes_and_is_never_shorter_than_its_step() {
        let mut rng = fastrand::Rng::with_seed(7);
        for (attempts, least) in [(1, 1_000), (2, 2_000), (5, 16_000), (9, 256_000), (60, 300_000)] {
            let pause = backoff_ms(attempts, &mut rng);
            assert!((least..=BACKOFF_MAX_MS.max(least)).contains(&pause), "{attempts}: {pause}");
        }
    }
}
