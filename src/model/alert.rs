//! An alert on its way from the rules, or from another sender, to the people it concerns.

use std::collections::BTreeMap;

use super::{Labels, TimestampMs};

/// What is known of an alert's cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition holds.
    Firing,
    /// The condition was seen not to hold any more.
    Resolved,
}

/// One alert. Its identity is the full label set, so values, counts and times belong in annotations.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Alert {
    /// Includes `alertname`; the identity.
    pub labels: Labels,
    /// Rendered texts such as `summary`, `description`, `runbook_url`.
    pub annotations: BTreeMap<String, String>,
    pub state: AlertState,
    /// When the condition began to hold for long enough (the start of firing).
    pub starts_at: TimestampMs,
    /// When it ended (resolved), or until when the sender vouches for it (firing).
    pub ends_at: TimestampMs,
    /// Where the expression can be seen; empty without an `external_url`.
    pub generator_url: String,
}

impl Alert {
    /// The value of the `alertname` label.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or("")
    }
}
