//! Any HTTP address, with the JSON that Alertmanager's webhook sends (version 4).

use serde_json::{Value, json};

use crate::model::Alert;
use crate::notify::page::Page;

/// Alerts that a message keeps when the whole of it was refused.
const SHORTENED_ALERTS: usize = 5;
/// When a firing alert ends is not known; Go writes its zero time.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The message; `max_alerts` of 0 is no limit.
pub fn message(page: &Page, max_alerts: usize) -> String {
    let all: Vec<Value> =
        page.firing.iter().map(|a| alert(a, false)).chain(page.resolved.iter().map(|a| alert(a, true))).collect();
    let kept = if max_alerts == 0 { all.len() } else { all.len().min(max_alerts) };
    let truncated = all.len() - kept;
    json!({
        "version": "4",
        "groupKey": format!("{}:{}", page.receiver, page.group_labels),
        "truncatedAlerts": truncated,
        "status": page.status(),
        "receiver": page.receiver,
        "groupLabels": page.group_labels,
        "commonLabels": page.common_labels(),
        "commonAnnotations": page.common_annotations(),
        "externalURL": page.external_url.as_deref().unwrap_or(""),
        "alerts": all.into_iter().take(kept).collect::<Vec<_>>(),
    })
    .to_string()
}

/// The message with the first alerts only; `None` when it has no more than those.
pub fn shortened(body: &str) -> Option<String> {
    let mut message: Value = serde_json::from_str(body).ok()?;
    let alerts = message.get_mut("alerts")?.as_array_mut()?;
    let dropped = alerts.len().checked_sub(SHORTENED_ALERTS).filter(|n| *n > 0)?;
    alerts.truncate(SHORTENED_ALERTS);
    let before = message.get("truncatedAlerts").and_then(Value::as_u64).unwrap_or(0);
    message["truncatedAlerts"] = json!(before + dropped as u64);
    Some(message.to_string())
}

fn alert(alert: &Alert, is_resolved: bool) -> Value {
    json!({
        "status": if is_resolved { "resolved" } else { "firing" },
        "labels": alert.labels,
        "annotations": alert.annotations,
        "startsAt": alert.starts_at.to_rfc3339(),
        "endsAt": if is_resolved { alert.ends_at.to_rfc3339() } else { NO_TIME.to_owned() },
        "generatorURL": alert.generator_url,
        "fingerprint": format!("{:016x}", alert.labels.hash64()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::page::tests::page;

    #[test]
    fn the_message_has_every_field_of_version_4() {
        let message: Value = serde_json::from_str(&message(&page(3), 2)).unwrap();
        for (field, value) in [
            ("version", json!("4")),
            ("status", json!("firing")),
            ("receiver", json!("pager")),
            ("truncatedAlerts", json!(1)),
            ("groupLabels", json!({"alertname": "HighCpu"})),
            ("externalURL", json!("")),
        ] {
            assert_eq!(message[field], value, "{field}");
        }
        assert_eq!(message["alerts"].as_array().unwrap().len(), 2);
        assert_eq!(message["alerts"][0]["endsAt"], NO_TIME);
    }

    #[test]
    fn a_refused_message_is_shortened_once() {
        let short = shortened(&message(&page(25), 0)).unwrap();
        let read: Value = serde_json::from_str(&short).unwrap();
        assert_eq!((read["alerts"].as_array().unwrap().len(), &read["truncatedAlerts"]), (5, &json!(20)));
        assert_eq!(shortened(&short), None);
    }
}
