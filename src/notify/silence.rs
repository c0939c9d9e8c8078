//! Silences: people's word that certain alerts shall not notify for a while.
//!
//! Always: a silence is never changed in what it matches; it ends, and is forgotten five days later.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::matchers::Matchers;
use crate::model::{Labels, MatchOp, Matcher, TimestampMs};

/// How long a silence that has ended is still listed.
pub const RETENTION_MS: i64 = 5 * 86_400_000;

/// One silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    pub id: String,
    #[serde(with = "as_parts")]
    pub matchers: Matchers,
    pub starts_at: TimestampMs,
    pub ends_at: TimestampMs,
    pub updated_at: TimestampMs,
    pub created_by: String,
    pub comment: String,
}

/// Where a silence stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilenceState {
    Pending,
    Active,
    Expired,
}

impl SilenceState {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Expired => "expired",
        }
    }
}

/// Why a silence is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SilenceError {
    #[error("a silence needs at least one matcher that does not match the empty value")]
    MatchesEverything,
    #[error("the silence ends at `{ends_at}`, which is not after its start `{starts_at}`")]
    EndsBeforeStart { starts_at: TimestampMs, ends_at: TimestampMs },
    #[error("the silence ends at `{ends_at}`, which is past")]
    EndsInThePast { ends_at: TimestampMs },
}

impl Silence {
    /// Checks what Alertmanager checks of a new silence.
    ///
    /// # Errors
    /// It would match everything, or it has no time left.
    pub fn check(&self, now: TimestampMs) -> Result<(), SilenceError> {
        let (starts_at, ends_at) = (self.starts_at, self.ends_at);
        if self.matchers.0.iter().all(Matcher::matches_empty) {
            return Err(SilenceError::MatchesEverything);
        }
        if ends_at <= starts_at {
            return Err(SilenceError::EndsBeforeStart { starts_at, ends_at });
        }
        if ends_at <= now {
            return Err(SilenceError::EndsInThePast { ends_at });
        }
        Ok(())
    }

    /// Where it stands at `now`.
    pub fn state(&self, now: TimestampMs) -> SilenceState {
        if now < self.starts_at {
            SilenceState::Pending
        } else if now < self.ends_at {
            SilenceState::Active
        } else {
            SilenceState::Expired
        }
    }

    /// Whether it silences an alert with these labels at `now`.
    pub fn silences(&self, labels: &Labels, now: TimestampMs) -> bool {
        self.state(now) == SilenceState::Active && self.matchers.matches(labels)
    }

    /// Ends it now; one that had not begun never begins.
    pub fn expire(&mut self, now: TimestampMs) {
        if self.state(now) != SilenceState::Expired {
            self.starts_at = self.starts_at.min(now);
            self.ends_at = now;
            self.updated_at = now;
        }
    }
}

/// A fresh identity in the form of a random UUID, which `amtool` expects.
pub fn new_id(rng: &mut fastrand::Rng) -> String {
    let random = (rng.u128(..) & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{random:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Matchers as name, operator and value, so that no text has to be parsed again.
mod as_parts {
    use super::{Deserialize, Deserializer, MatchOp, Matcher, Matchers, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Part(String, String, String);

    pub fn serialize<S: Serializer>(matchers: &Matchers, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(matchers.0.iter().map(|m| Part(m.name.clone(), m.op.as_str().into(), m.value.clone())))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Matchers, D::Error> {
        let parts = Vec::<Part>::deserialize(deserializer)?;
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Matches, MatchOp::NotMatches];
        let matchers = parts.into_iter().map(|Part(name, op, value)| {
            let op = ops.into_iter().find(|o| o.as_str() == op).ok_or_else(|| format!("`{op}` is not an operator"))?;
            Matcher::new(name, op, value).map_err(|e| e.to_string())
        });
        matchers.collect::<Result<_, _>>().map(Matchers).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::matchers::parse_matchers;

    fn silence(matchers: &str) -> Silence {
        Silence {
            id: new_id(&mut fastrand::Rng::with_seed(1)),
            matchers: Matchers(parse_matchers(matchers).unwrap()),
            starts_at: TimestampMs(1_000),
            ends_at: TimestampMs(2_000),
            updated_at: TimestampMs(1_000),
            created_by: "me".into(),
            comment: "why".into(),
        }
    }

    #[test]
    fn it_holds_from_its_start_until_just_before_its_end() {
        let s = silence(r#"job="rivet""#);
        let labels = Labels::from_pairs([("job", "rivet")]);
        let holds: Vec<bool> = [999, 1_000, 1_999, 2_000].map(|t| s.silences(&labels, TimestampMs(t))).into();
        assert_eq!(holds, [false, true, true, false]);
        assert!(!s.silences(&Labels::from_pairs([("job", "other")]), TimestampMs(1_500)));
    }

    #[test]
    fn what_would_silence_everything_or_nothing_is_refused() {
        assert_eq!(silence(r#"job=~".*""#).check(TimestampMs(0)), Err(SilenceError::MatchesEverything));
        assert_eq!(silence("").check(TimestampMs(0)), Err(SilenceError::MatchesEverything));
        assert!(matches!(silence("a=b").check(TimestampMs(2_000)), Err(SilenceError::EndsInThePast { .. })));
        let mut reversed = silence("a=b");
        reversed.ends_at = TimestampMs(1_000);
        assert!(matches!(reversed.check(TimestampMs(0)), Err(SilenceError::EndsBeforeStart { .. })));
    }

    #[test]
    fn the_stored_form_reads_back() {
        let s = silence(r#"job=~"a|b",x!="1""#);
        let stored = serde_json::to_string(&s).unwrap();
        assert_eq!(serde_json::from_str::<Silence>(&stored).unwrap(), s);
        assert_eq!(s.id.len(), 36);
        assert_eq!(s.id.as_bytes()[14], b'4');
    }
}
