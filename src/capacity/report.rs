//! The capacity report: what is used, what the limit is, who says so, and when it is reached.

use serde::{Serialize, Serializer};

use super::trend::time_to_full;
use crate::model::{Labels, Sample, TimestampMs};

/// Who says what the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitSource {
    /// Read from the engine, Kubernetes or the host.
    Measured,
    /// Written in the configuration.
    Configured,
    /// Upstream's guidance.
    Guide,
    /// Nobody does.
    Unknown,
}

impl LimitSource {
    pub(super) fn of(measured: Option<f64>) -> Self {
        if measured.is_some() { Self::Measured } else { Self::Unknown }
    }
}

/// One thing that can run out.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is used up, in words: `cpu to 70 % of request`.
    pub resource: String,
    /// The instance or pool.
    pub subject: String,
    pub unit: &'static str,
    #[serde(serialize_with = "number_or_unknown")]
    pub used: Option<f64>,
    #[serde(serialize_with = "number_or_unknown")]
    pub limit: Option<f64>,
    pub limit_source: LimitSource,
    /// Share of the limit that is free; negative when it is passed.
    #[serde(serialize_with = "number_or_unknown")]
    pub headroom_ratio: Option<f64>,
    /// Seconds until the limit by trend; absent where the data supports no trend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_full_seconds: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Identity of the subject, for the series.
    #[serde(skip)]
    pub labels: Labels,
}

impl Row {
    pub(super) fn new(
        resource: String,
        unit: &'static str,
        labels: &Labels,
        subject: &str,
        used: Option<f64>,
        limit: Option<f64>,
        limit_source: LimitSource,
    ) -> Self {
        let limit = limit.filter(|l| *l > 0.0);
        let headroom_ratio = used.zip(limit).map(|(used, limit)| 1.0 - used / limit);
        Self {
            resource,
            subject: subject.to_owned(),
            unit,
            used,
            limit,
            limit_source,
            headroom_ratio,
            time_to_full_seconds: None,
            note: String::new(),
            labels: labels
                .keep(|name| matches!(name, "job" | "instance" | "cluster" | "namespace" | "pod" | "pool_name")),
        }
    }

    pub(super) fn with_trend(mut self, history: &[Sample]) -> Self {
        if let Some(limit) = self.limit {
            self.time_to_full_seconds = time_to_full(history, limit).ok().flatten().map(|d| d.as_secs_f64());
        }
        self
    }

    pub(super) fn with_note(mut self, note: &str) -> Self {
        self.note = note.to_owned();
        self
    }
}

/// What the HorizontalPodAutoscaler's formula says of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Autoscaling {
    pub resource: &'static str,
    /// Target utilisation of the request.
    pub target: f64,
    /// Usage over request, all replicas together.
    pub utilization: f64,
    /// Replicas with both a usage and a request.
    pub replicas: u32,
    pub wanted_replicas: u32,
}

/// The limit that is nearest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Binding {
    pub resource: String,
    pub subject: String,
    pub headroom_ratio: f64,
}

/// All headroom at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub at: TimestampMs,
    /// The limit that is nearest; absent while no limit is known.
    pub binding: Option<Binding>,
    pub autoscaling: Vec<Autoscaling>,
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(at: TimestampMs) -> Self {
        Self { at, binding: None, autoscaling: Vec::new(), rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn find_binding(&mut self) {
        let known = self.rows.iter().filter_map(|r| r.headroom_ratio.map(|h| (r, h)));
        let nearest = known.min_by(|(_, a), (_, b)| a.total_cmp(b));
        self.binding = nearest.map(|(row, headroom_ratio)| Binding {
            resource: row.resource.clone(),
            subject: row.subject.clone(),
            headroom_ratio,
        });
    }
}

fn number_or_unknown<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(v) => serializer.serialize_f64(*v),
        None => serializer.serialize_str("unknown"),
    }
}
