//! The targets of notifications, one file each.
//!
//! In:  a [`Page`] and the [`Style`] of a target.   Out: the body of one message, without secrets, as it is
//!      kept in the outbox; and later that body as an HTTP [`Request`], with its secrets.

pub mod alertmanager;
pub mod heartbeat;
pub mod pagerduty;
pub mod terminal;
pub mod webhook;

use super::page::Page;
use super::settings::{Integration, Style};

/// Whether a message opens or updates an incident, or ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    Trigger,
    Resolve,
}

/// The body of one message as the outbox keeps it.
pub fn body(integration: &Integration, style: &Style, kind: MessageKind, page: &Page) -> String {
    match (integration, style) {
        (Integration::Pagerduty, Style::Pagerduty { config, templates }) if kind == MessageKind::Trigger => {
            pagerduty::trigger(config, templates, page)
        }
        (Integration::Pagerduty, _) => pagerduty::resolve(&page.dedup_key),
        (Integration::Webhook, Style::Webhook { max_alerts }) => webhook::message(page, *max_alerts),
        (Integration::Webhook, _) => webhook::message(page, 0),
        _ => terminal::text(page),
    }
}

/// A smaller body that says the same; `None` when there is nothing left to drop.
pub fn shrink(integration: &Integration, body: &str) -> Option<String> {
    match integration {
        Integration::Pagerduty => pagerduty::without_details(body),
        Integration::Webhook => webhook::shortened(body),
        _ => None,
    }
}

/// What goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Appended to the target's address.
    pub path: &'static str,
    pub content_type: &'static str,
    pub body: String,
}

/// The request for a stored body; `key` is PagerDuty's routing key.
///
/// # Errors
/// A text for the operator: the stored body cannot be read, or the key is missing.
pub fn request(integration: &Integration, body: &str, key: Option<&str>) -> Result<Request, String> {
    let json = "application/json";
    match integration {
        Integration::Pagerduty => {
            let key = key.filter(|k| !k.is_empty()).ok_or("the routing key is empty")?;
            Ok(Request { path: "", content_type: json, body: pagerduty::with_key(body, key)? })
        }
        Integration::Webhook => Ok(Request { path: "", content_type: json, body: body.to_owned() }),
        Integration::Alertmanager => {
            Ok(Request { path: alertmanager::PATH, content_type: json, body: body.to_owned() })
        }
        Integration::Heartbeat => Ok(Request { path: "", content_type: "text/plain", body: body.to_owned() }),
        Integration::Terminal | Integration::Unsupported(_) => {
            Err(format!("{} is not reached over HTTP", integration.as_str()))
        }
    }
}
