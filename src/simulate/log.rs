//! Who would have been woken, and what fired: read off what the notifier sends and what the rules say.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::model::{Alert, AlertState, TimestampMs};
use crate::notify::{Integration, MessageKind, Send};

/// One page and its resolve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PagedIncident {
    pub alertname: String,
    pub severity: String,
    /// What the page says first.
    pub summary: String,
    /// Who was paged.
    pub receiver: String,
    /// Seconds after the beginning.
    pub at_seconds: f64,
    /// `None` when the recording or the scenario ended before.
    pub resolved_at_seconds: Option<f64>,
}

/// One alert that fired, whether it was sent or held back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fired {
    pub alertname: String,
    pub severity: String,
    pub labels: BTreeMap<String, String>,
    pub from_seconds: f64,
    pub to_seconds: Option<f64>,
}

/// Everything that was sent and fired.
#[derive(Debug)]
pub struct Log {
    start: TimestampMs,
    pub pages: Vec<PagedIncident>,
    pub alerts: Vec<Fired>,
    /// Pages that wait for their resolve, by receiver and incident.
    open: BTreeMap<String, usize>,
    /// Alerts that fire, by their labels.
    firing: BTreeMap<BTreeMap<String, String>, usize>,
}

impl Log {
    /// An empty one whose seconds count from `start`.
    pub fn new(start: TimestampMs) -> Self {
        Self { start, pages: Vec::new(), alerts: Vec::new(), open: BTreeMap::new(), firing: BTreeMap::new() }
    }

    fn seconds(&self, at: TimestampMs) -> f64 {
        at.since(self.start) as f64 / 1000.0
    }

    /// Notes a message to a target.
    pub fn sent(&mut self, at: TimestampMs, send: &Send) {
        let seconds = self.seconds(at);
        let Some(message) = Message::of(send) else { return };
        match send.kind {
            MessageKind::Trigger if !self.open.contains_key(&message.key) => {
                self.open.insert(message.key, self.pages.len());
                self.pages.push(PagedIncident {
                    alertname: message.alertname,
                    severity: message.severity,
                    summary: message.summary,
                    receiver: send.target.receiver.clone(),
                    at_seconds: seconds,
                    resolved_at_seconds: None,
                });
            }
            MessageKind::Trigger => {}
            MessageKind::Resolve => {
                if let Some(page) = self.open.remove(&message.key) {
                    self.pages[page].resolved_at_seconds = Some(seconds);
                }
            }
        }
    }

    /// Notes what the rules said of an alert.
    pub fn alert(&mut self, at: TimestampMs, alert: &Alert) {
        let seconds = self.seconds(at);
        let labels: BTreeMap<String, String> = alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        match (alert.state, self.firing.get(&labels)) {
            (AlertState::Firing, None) => {
                self.firing.insert(labels.clone(), self.alerts.len());
                self.alerts.push(Fired {
                    alertname: alert.name().to_owned(),
                    severity: alert.labels.get("severity").unwrap_or("").to_owned(),
                    labels,
                    from_seconds: seconds,
                    to_seconds: None,
                });
            }
            (AlertState::Resolved, Some(fired)) => {
                self.alerts[*fired].to_seconds = Some(seconds);
                self.firing.remove(&labels);
            }
            (AlertState::Firing, Some(_)) | (AlertState::Resolved, None) => {}
        }
    }
}

/// What a message is about.
struct Message {
    /// The same for the trigger and the resolve of one incident at one receiver.
    key: String,
    alertname: String,
    severity: String,
    summary: String,
}

impl Message {
    /// `None` for what wakes nobody by itself: heartbeats, and alerts handed to an Alertmanager.
    fn of(send: &Send) -> Option<Self> {
        let receiver = &send.target.receiver;
        let body: Value = serde_json::from_str(&send.body).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
        let message = match send.target.integration {
            Integration::Pagerduty => {
                let payload = &body["payload"];
                let named = text(&payload["custom_details"]["labels"]["alertname"]);
                Self {
                    key: format!("{receiver}/{}", text(&body["dedup_key"])),
                    alertname: if named.is_empty() { text(&payload["class"]) } else { named },
                    severity: text(&payload["severity"]),
                    summary: text(&payload["summary"]),
                }
            }
            Integration::Webhook => {
                let common = &body["commonLabels"];
                Self {
                    key: format!("{receiver}/{}", text(&body["groupKey"])),
                    alertname: text(&common["alertname"]),
                    severity: text(&common["severity"]),
                    summary: text(&body["commonAnnotations"]["summary"]),
                }
            }
            Integration::Terminal => {
                // `[CRITICAL] What is wrong.  (AlertName)`
                let head = send.body.lines().next().unwrap_or("");
                let (severity, rest) = head.trim_start_matches('[').split_once("] ").unwrap_or(("", head));
                let (summary, name) = rest.rsplit_once("  (").unwrap_or((rest, ""));
                let alertname = name.trim_end_matches(')').to_owned();
                Self {
                    key: format!("{receiver}/{alertname}"),
                    alertname,
                    severity: severity.to_lowercase(),
                    summary: summary.to_owned(),
                }
            }
            Integration::Alertmanager | Integration::Heartbeat | Integration::Unsupported(_) => return None,
        };
        Some(message)
    }
}
