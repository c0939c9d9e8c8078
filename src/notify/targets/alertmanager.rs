//! An Alertmanager, by its API v2: it gets the alerts themselves and groups them on its own.
//!
//! Always: a firing alert is sent again before its `endsAt` passes, a resolved one for fifteen minutes. So a
//! lost request heals by itself, and nothing has to be kept on disk for it.

use serde_json::{Value, json};

use crate::model::{Alert, TimestampMs};

/// Added to the address of an instance.
pub const PATH: &str = "/api/v2/alerts";
/// How long a resolved alert is repeated, as Prometheus does.
pub const RESOLVED_REPEAT_MS: i64 = 15 * 60_000;

/// The request body: firing alerts are vouched for during four resends, at least four minutes.
pub fn body<'a>(
    alerts: impl Iterator<Item = &'a Alert>,
    is_resolved: impl Fn(&Alert) -> bool,
    now: TimestampMs,
    resend_ms: i64,
) -> String {
    let vouched = now.plus_ms(4 * resend_ms.max(60_000));
    let list: Vec<Value> = alerts
        .map(|alert| {
            let ends_at = if is_resolved(alert) { alert.ends_at.min(now) } else { vouched };
            json!({
                "labels": alert.labels,
                "annotations": alert.annotations,
                "startsAt": alert.starts_at.to_rfc3339(),
                "endsAt": ends_at.to_rfc3339(),
                "generatorURL": alert.generator_url,
            })
        })
        .collect();
    Value::Array(list).to_string()
}
