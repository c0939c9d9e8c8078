//! The capacity report: what is used, what the limit is, who says so, when it is reached, and what to do.

use serde::{Serialize, Serializer};

use super::forecast::{NoOutlook, Outlook};
use super::kind::Kind;
use super::scaling::Autoscaler;
use crate::model::{Labels, TimestampMs};

/// Who says what the limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitSource {
    /// Read from the engine, Kubernetes, the host, or sent by the platform.
    Measured,
    /// Written in the configuration.
    Configured,
    /// Built into the engine.
    Fixed,
    /// Upstream's guidance.
    Guide,
    /// Nobody does.
    Unknown,
}

/// A limit and who says so.
pub(super) type Limit = (Option<f64>, LimitSource);

/// The limit as measured, or nobody's.
pub(super) fn measured(limit: Option<f64>) -> Limit {
    (limit, if limit.is_some() { LimitSource::Measured } else { LimitSource::Unknown })
}

/// The first that is known: measured, then configured.
pub(super) fn measured_or_configured(measured: Option<f64>, configured: Option<f64>) -> Limit {
    match (measured, configured) {
        (Some(limit), _) => (Some(limit), LimitSource::Measured),
        (None, Some(limit)) => (Some(limit), LimitSource::Configured),
        (None, None) => (None, LimitSource::Unknown),
    }
}

/// Highest use of the last minute, ten minutes and day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Peaks {
    #[serde(rename = "1m", serialize_with = "number_or_unknown")]
    pub minute: Option<f64>,
    #[serde(rename = "10m", serialize_with = "number_or_unknown")]
    pub ten_minutes: Option<f64>,
    #[serde(rename = "1d", serialize_with = "number_or_unknown")]
    pub day: Option<f64>,
    /// When the history began, if that is less than a day ago: the day's peak is of so much only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<TimestampMs>,
}

/// One thing that can run out.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub kind: Kind,
    /// What is used up, in words: `cpu to 70 % of request`.
    pub resource: String,
    /// The instance, installation or pool; `NAMESPACE/POOL` where pools of several Rivet namespaces are known.
    pub subject: String,
    /// Rivet's namespace of a pool, where any source tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rivet_namespace: Option<String>,
    pub unit: &'static str,
    #[serde(serialize_with = "number_or_unknown")]
    pub used: Option<f64>,
    #[serde(serialize_with = "number_or_unknown")]
    pub limit: Option<f64>,
    pub limit_source: LimitSource,
    /// Share of the limit that is free now; negative when it is passed.
    #[serde(serialize_with = "number_or_unknown")]
    pub headroom_ratio: Option<f64>,
    pub peaks: Peaks,
    /// Share of the limit that was free at the day's peak.
    #[serde(serialize_with = "number_or_unknown")]
    pub headroom_at_peak_ratio: Option<f64>,
    /// Seconds until the limit; absent where the data supports no word on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_full_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlook: Option<Outlook>,
    /// Why there is no outlook, where a limit is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_outlook: Option<NoOutlook>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Identity of the subject, for the series.
    #[serde(skip)]
    pub labels: Labels,
    /// Whether it can be the limit that is named first.
    #[serde(skip)]
    pub binds: bool,
    /// What the recorded history is to be multiplied by: more than once only where something else is assumed.
    #[serde(skip)]
    pub history_factor: f64,
}

/// With less than this share left a disk counts as a limit even if it does not fill.
const DISK_LEFT_MIN: f64 = 0.05;

/// Labels by which subjects are told apart in series.
fn is_identity(name: &str) -> bool {
    matches!(name, "job" | "instance" | "cluster" | "namespace" | "pod" | "rivet_namespace" | "pool_name")
}

impl Row {
    pub(super) fn new(
        kind: Kind,
        resource: impl Into<String>,
        unit: &'static str,
        labels: &Labels,
        subject: &str,
        used: Option<f64>,
        (limit, limit_source): Limit,
    ) -> Self {
        let mut row = Self {
            kind,
            resource: resource.into(),
            subject: subject.to_owned(),
            rivet_namespace: super::pools::tenant(labels).map(str::to_owned),
            unit,
            used,
            limit: limit.filter(|l| *l > 0.0),
            limit_source,
            headroom_ratio: None,
            peaks: Peaks::default(),
            headroom_at_peak_ratio: None,
            time_to_full_seconds: None,
            outlook: None,
            no_outlook: None,
            note: String::new(),
            labels: labels.keep(is_identity),
            binds: true,
            history_factor: 1.0,
        };
        row.headroom_ratio = row.left(row.used);
        row
    }

    pub(super) fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Sets the highest use of the last minute, where the signals show it.
    pub(super) fn with_minute_peak(mut self, peak: Option<f64>) -> Self {
        self.peaks.minute = peak;
        self
    }

    pub(super) fn binding_if(mut self, binds: bool) -> Self {
        self.binds = binds;
        self
    }

    pub(super) fn left(&self, used: Option<f64>) -> Option<f64> {
        used.zip(self.limit).map(|(used, limit)| 1.0 - used / limit)
    }

    /// A disk that does not fill is no limit, however full it is, until next to nothing is left.
    fn is_filling(&self) -> bool {
        self.outlook.is_some() || self.headroom_ratio.is_some_and(|left| left < DISK_LEFT_MIN)
    }

    /// Whether it can be the limit that is reached first.
    fn may_bind(&self) -> bool {
        self.binds && (!self.kind.is_disk() || self.is_filling())
    }

    /// The nearest it came to its limit, now or at the day's peak.
    pub(super) fn nearness(&self) -> Option<f64> {
        match (self.headroom_ratio, self.headroom_at_peak_ratio) {
            (Some(now), Some(peak)) => Some(now.min(peak)),
            (now, peak) => now.or(peak),
        }
    }
}

/// What one metric of the autoscaler says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Autoscaling {
    pub resource: &'static str,
    /// Target utilisation of the request.
    pub target: f64,
    /// Usage over request, all replicas together: by metrics.k8s.io in whole percent, as the autoscaler's own status has it.
    pub utilization: f64,
    /// Replicas with both a usage and a request.
    pub replicas: u32,
    pub wanted_replicas: u32,
    #[serde(skip)]
    pub labels: Labels,
}

/// The limit that is nearest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Binding {
    pub kind: Kind,
    pub resource: String,
    pub subject: String,
    /// Share that is free now.
    pub headroom_ratio: f64,
    /// Share that was free at the day's peak, by which it is the nearest.
    pub headroom_at_peak_ratio: f64,
}

/// Something to do, with the arithmetic that says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Advice {
    pub kind: Kind,
    pub subject: String,
    pub advice: String,
    pub arithmetic: String,
}

/// All headroom at one time.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub at: TimestampMs,
    /// The limit that is nearest; absent while no limit is known.
    pub binding: Option<Binding>,
    pub autoscaling: Vec<Autoscaling>,
    pub autoscalers: Vec<Autoscaler>,
    pub advice: Vec<Advice>,
    pub rows: Vec<Row>,
    /// Engine processes of which any figure is seen.
    pub engines: usize,
    /// When the recorded history begins; absent while there is none.
    pub history_since: Option<TimestampMs>,
    /// Age of the newest figure of any engine; absent while none sends.
    pub newest_sample_age_seconds: Option<f64>,
    /// The same by installation.
    #[serde(skip)]
    pub sample_ages: Vec<(Labels, f64)>,
    /// The same with something else assumed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_if: Option<Box<WhatIf>>,
}

/// A report under assumptions.
#[derive(Clone, Debug, Serialize)]
pub struct WhatIf {
    /// What is assumed, in words.
    pub assumed: Vec<String>,
    #[serde(flatten)]
    pub report: Report,
}

impl Report {
    pub(super) fn new(at: TimestampMs) -> Self {
        Self {
            at,
            binding: None,
            autoscaling: Vec::new(),
            autoscalers: Vec::new(),
            advice: Vec::new(),
            rows: Vec::new(),
            engines: 0,
            history_since: None,
            newest_sample_age_seconds: None,
            sample_ages: Vec::new(),
            what_if: None,
        }
    }

    /// Puts the nearest limits first, by the day's peak, and names the first of those that bind; unknown ones come last.
    pub(super) fn put_nearest_first(&mut self) {
        let rank = |row: &Row| match row.nearness() {
            Some(nearness) if row.may_bind() => (0, nearness),
            Some(nearness) => (1, nearness),
            None => (2, 0.0),
        };
        self.rows.sort_by(|a, b| {
            let ((a, near_a), (b, near_b)) = (rank(a), rank(b));
            a.cmp(&b).then(near_a.total_cmp(&near_b))
        });
        let nearest = self.rows.first().filter(|row| row.may_bind());
        self.binding = nearest.and_then(|row| {
            let nearness = row.nearness()?;
            Some(Binding {
                kind: row.kind,
                resource: row.resource.clone(),
                subject: row.subject.clone(),
                headroom_ratio: row.headroom_ratio.unwrap_or(nearness),
                headroom_at_peak_ratio: nearness,
            })
        });
    }
}

fn number_or_unknown<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(v) => serializer.serialize_f64(*v),
        None => serializer.serialize_str("unknown"),
    }
}
