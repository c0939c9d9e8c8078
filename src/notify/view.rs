//! What others may read of the notifier: alerts, groups, silences, as they are at one moment.

use super::lane::Incident;
use super::silence::Silence;
use crate::model::{Alert, Labels, TimestampMs};

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub now: TimestampMs,
    /// Alerts that fire, by labels.
    pub alerts: Vec<AlertView>,
    pub groups: Vec<GroupView>,
    pub silences: Vec<Silence>,
    pub receivers: Vec<String>,
    /// One row for each incident at each target.
    pub outbox: Vec<OutboxView>,
    /// The routing part of the configuration in Alertmanager's notation, without secrets.
    pub routing_yaml: String,
    pub resolve_timeout_ms: i64,
}

/// One alert and what holds it back.
#[derive(Clone, Debug)]
pub struct AlertView {
    pub alert: Alert,
    pub updated_at: TimestampMs,
    pub receivers: Vec<String>,
    /// Identities of silences.
    pub silenced_by: Vec<String>,
    /// Fingerprints of alerts.
    pub inhibited_by: Vec<String>,
}

/// One group with the places of its alerts in [`View::alerts`].
#[derive(Clone, Debug)]
pub struct GroupView {
    pub receiver: String,
    pub labels: Labels,
    pub alerts: Vec<usize>,
}

/// One incident at one target.
#[derive(Clone, Debug)]
pub struct OutboxView {
    pub receiver: String,
    pub integration: String,
    pub group_labels: Labels,
    pub dedup_key: String,
    pub incident: Incident,
    /// Messages that wait or are on their way.
    pub waiting: usize,
    pub attempts: u32,
}
