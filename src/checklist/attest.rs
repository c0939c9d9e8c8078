//! What no probe can see and a person stands for, until a date.
//!
//! Always: an attestation speaks only where nothing was seen; it hides no failure that a probe saw, and when its time is
//! over the item fails until somebody looks again.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::items;
use super::outcome::{Outcome, Status};
use crate::model::TimestampMs;

/// An entry of `check.attest`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Id of the item.
    pub item: String,
    /// Why no probe can see it.
    pub reason: String,
    /// Where it can be seen: a ticket, a console, a document.
    pub evidence: String,
    /// The last day on which it holds (UTC), or a time.
    pub until: Until,
}

/// The end of an attestation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// The first millisecond at which it does not hold any more.
    pub ends: TimestampMs,
    is_day: bool,
}

impl Until {
    /// Reads `2027-01-31` (the whole day counts) or an RFC 3339 time.
    fn parse(text: &str) -> Option<Self> {
        if let Some(ends) = TimestampMs::from_rfc3339(text) {
            return Some(Self { ends, is_day: false });
        }
        let midnight = TimestampMs::from_rfc3339(&format!("{text}T00:00:00Z"))?;
        Some(Self { ends: midnight.plus_ms(86_400_000), is_day: true })
    }
}

impl std::fmt::Display for Until {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.is_day {
            true => f.write_str(&self.ends.plus_ms(-86_400_000).to_rfc3339()[..10]),
            false => self.ends.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for Until {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text.trim())
            .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a day such as 2027-01-31")))
    }
}

impl Serialize for Until {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Attestation {
    pub(super) fn validate(&self, at: &str, say: &mut impl FnMut(&str, String)) {
        if items::find(&self.item).is_none() {
            let rule =
                format!("must be an item of the checklist, got `{}`; `rivetwatch check --list` names them", self.item);
            say(&format!("{at}.item"), rule);
        }
        if self.reason.trim().is_empty() {
            say(&format!("{at}.reason"), "must say why no probe can see it".into());
        }
        if self.evidence.trim().is_empty() {
            say(&format!("{at}.evidence"), "must say where it can be seen".into());
        }
    }

    /// The outcome of its item, with this attestation in mind.
    pub fn apply(&self, outcome: Outcome, now: TimestampMs) -> Outcome {
        if !outcome.attestable || outcome.status >= Status::Info {
            return outcome;
        }
        let stands = format!("{} ({})", self.reason, self.evidence);
        if now >= self.ends() {
            let mut expired =
                Outcome::fail(format!("the attestation ended with {}: {stands}; {}", self.until, outcome.reason));
            expired.evidence = outcome.evidence;
            return expired;
        }
        let mut attested = outcome;
        attested.status = Status::Attested;
        let unseen = std::mem::replace(&mut attested.reason, format!("attested until {}: {stands}", self.until));
        attested.attestable = false;
        attested.seen(format!("not seen by a probe: {unseen}"))
    }

    fn ends(&self) -> TimestampMs {
        self.until.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attestation(until: &str) -> Attestation {
        let until = Until::parse(until).unwrap();
        let (item, reason, evidence) = ("postgres-backups".into(), "the provider takes them".into(), "OPS-12".into());
        Attestation { item, reason, evidence, until }
    }

    #[test]
    fn it_holds_through_its_last_day_and_fails_after() {
        let a = attestation("2027-01-31");
        assert_eq!(a.until.to_string(), "2027-01-31");
        let at = |text: &str| a.apply(Outcome::unknown("nobody asked"), TimestampMs::from_rfc3339(text).unwrap());
        let attested = at("2027-01-31T23:59:59Z");
        assert_eq!(attested.status, Status::Attested);
        assert!(attested.reason.contains("until 2027-01-31") && attested.evidence[0].contains("nobody asked"));
        let expired = at("2027-02-01T00:00:00Z");
        assert_eq!(expired.status, Status::Fail);
        assert!(expired.reason.contains("ended with 2027-01-31") && expired.reason.contains("OPS-12"));
    }

    #[test]
    fn it_hides_nothing_that_was_seen() {
        let a = attestation("2027-01-31T12:00:00Z");
        let now = TimestampMs(0);
        assert_eq!(a.apply(Outcome::fail("archiving fails"), now).status, Status::Fail);
        assert_eq!(a.apply(Outcome::fail("nothing shows it").attestable(), now).status, Status::Attested);
        assert_eq!(a.apply(Outcome::pass("seen"), now).status, Status::Pass);
        assert_eq!(a.apply(Outcome::skipped("RocksDB"), TimestampMs(i64::MAX)).status, Status::Skipped);
    }
}
