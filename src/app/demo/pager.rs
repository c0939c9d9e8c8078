//! A pager on loopback that takes PagerDuty's Events API v2 and remembers what it was sent.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::model::TimestampMs;

/// One event that the pager accepted.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    pub alertname: String,
    pub severity: String,
    /// `firing` or `resolved`.
    pub status: &'static str,
    /// Demo time since the demo began.
    pub after_seconds: f64,
    /// What the page says first.
    pub summary: String,
    #[serde(skip)]
    pub body: Value,
}

struct Inner {
    clock: Clock,
    began: TimestampMs,
    pages: Mutex<Vec<Page>>,
    tell: mpsc::UnboundedSender<Page>,
}

/// The pager and its memory.
#[derive(Clone)]
pub struct Pager(Arc<Inner>);

impl Pager {
    /// A pager, and the pages as they arrive.
    pub fn new(clock: Clock) -> (Self, mpsc::UnboundedReceiver<Page>) {
        let (tell, pages) = mpsc::unbounded_channel();
        let began = clock.now();
        (Self(Arc::new(Inner { clock, began, pages: Mutex::default(), tell })), pages)
    }

    /// Everything that arrived.
    pub fn pages(&self) -> Vec<Page> {
        self.0.pages.lock().clone()
    }

    /// The HTTP side.
    pub fn router(&self) -> Router {
        Router::new().route("/v2/enqueue", post(enqueue)).with_state(self.clone())
    }

    fn accept(&self, body: Value) -> Page {
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        let key = &body["dedup_key"];
        let mut pages = self.0.pages.lock();
        // A resolve carries only its key; the rest stands in the page it resolves.
        let opened = pages.iter().find(|page| page.body["dedup_key"] == *key);
        let (alertname, severity, summary, status) = match (body["event_action"].as_str(), opened) {
            (Some("resolve"), Some(page)) => {
                (page.alertname.clone(), page.severity.clone(), page.summary.clone(), "resolved")
            }
            (Some("resolve"), None) => (String::new(), String::new(), String::new(), "resolved"),
            _ => {
                let payload = &body["payload"];
                let details = &payload["custom_details"];
                let name = [&payload["class"], &details["alertname"], &details["common_labels"]["alertname"]]
                    .into_iter()
                    .map(text)
                    .find(|name| !name.is_empty());
                (name.unwrap_or_default(), text(&payload["severity"]), text(&payload["summary"]), "firing")
            }
        };
        let after_seconds = self.0.clock.now().since(self.0.began) as f64 / 1000.0;
        let page = Page { alertname, severity, status, after_seconds, summary, body };
        pages.push(page.clone());
        page
    }
}

async fn enqueue(State(pager): State<Pager>, Json(body): Json<Value>) -> (StatusCode, Json<Value>) {
    let key = body["dedup_key"].clone();
    let page = pager.accept(body);
    // Nobody may be listening any more once the demo ends.
    let _ = pager.0.tell.send(page);
    (StatusCode::ACCEPTED, Json(json!({ "status": "success", "message": "Event processed", "dedup_key": key })))
}
