//! What becomes of one item: a status, the reason, and what it was seen by.

use serde::{Deserialize, Serialize};

use super::known::Gap;

/// The result of an item, from worst to nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The checklist is not met.
    Fail,
    /// Met by half, or met at a risk.
    Warn,
    /// It applies, and could not be seen.
    Unknown,
    /// Met; something is worth knowing.
    Info,
    /// No probe can see it, and a person stands for it until a date.
    Attested,
    /// Met.
    Pass,
    /// It does not apply here.
    Skipped,
}

impl Status {
    /// Every status, worst first.
    pub const ALL: [Self; 7] =
        [Self::Fail, Self::Warn, Self::Unknown, Self::Info, Self::Attested, Self::Pass, Self::Skipped];

    /// The status as series, JSON and the command line name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Info => "info",
            Self::Attested => "attested",
            Self::Pass => "pass",
            Self::Skipped => "skipped",
        }
    }
}

/// What an item came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    /// Why, for everything but a pass.
    pub reason: String,
    /// What was seen, and where.
    pub evidence: Vec<String>,
    /// Nothing shows that it is met, and something that no probe sees may: an attestation may stand for it.
    pub attestable: bool,
}

impl Outcome {
    fn new(status: Status, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), evidence: Vec::new(), attestable: status == Status::Unknown }
    }

    /// Met, as `evidence` shows.
    pub fn pass(evidence: impl Into<String>) -> Self {
        Self::new(Status::Pass, "").seen(evidence)
    }

    /// Met; `note` is worth knowing.
    pub fn info(note: impl Into<String>) -> Self {
        Self::new(Status::Info, note)
    }

    /// Met by half, or met at a risk.
    pub fn warn(reason: impl Into<String>) -> Self {
        Self::new(Status::Warn, reason)
    }

    /// Not met.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::new(Status::Fail, reason)
    }

    /// Could not be seen.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::new(Status::Unknown, reason)
    }

    /// Does not apply here.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self::new(Status::Skipped, reason)
    }

    /// The same with one more thing that was seen.
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        let evidence = evidence.into();
        if !evidence.is_empty() && !self.evidence.contains(&evidence) {
            self.evidence.push(evidence);
        }
        self
    }

    /// The same, open to an attestation: nothing was found, which is not the same as nothing there.
    pub fn attestable(mut self) -> Self {
        self.attestable = true;
        self
    }

    /// The worse of two, with the reasons of equally bad ones and the evidence of both.
    pub fn worst(self, other: Self) -> Self {
        let (mut worse, better) = if other.status < self.status { (other, self) } else { (self, other) };
        if worse.status == better.status && !better.reason.is_empty() && !worse.reason.contains(&better.reason) {
            worse.reason = match worse.reason.is_empty() {
                true => better.reason,
                false => format!("{}; {}", worse.reason, better.reason),
            };
        }
        worse.attestable &= better.attestable || better.status > Status::Unknown;
        for evidence in better.evidence {
            worse = worse.seen(evidence);
        }
        worse
    }

    /// The worst of several; `None` of none.
    pub fn worst_of(outcomes: impl IntoIterator<Item = Self>) -> Option<Self> {
        outcomes.into_iter().reduce(Self::worst)
    }
}

impl From<Gap> for Outcome {
    fn from(gap: Gap) -> Self {
        Self::unknown(gap.reason())
    }
}

impl From<&Gap> for Outcome {
    fn from(gap: &Gap) -> Self {
        Self::unknown(gap.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_outcome_wins_and_equals_are_told_together() {
        let both = Outcome::fail("a").seen("x").worst(Outcome::pass("y")).worst(Outcome::fail("b"));
        assert_eq!((both.status, both.reason.as_str()), (Status::Fail, "a; b"));
        assert_eq!(both.evidence, ["x", "y"]);
        assert_eq!(Outcome::unknown("u").worst(Outcome::warn("w")).status, Status::Warn);
        assert_eq!(Outcome::pass("p").worst(Outcome::skipped("s")).status, Status::Pass);
    }

    #[test]
    fn a_seen_failure_is_not_open_to_attestation() {
        assert!(Outcome::unknown("u").attestable && !Outcome::fail("f").attestable);
        assert!(Outcome::fail("nothing shows it").attestable().worst(Outcome::pass("p")).attestable);
        assert!(!Outcome::fail("seen").worst(Outcome::unknown("u")).attestable);
    }
}
