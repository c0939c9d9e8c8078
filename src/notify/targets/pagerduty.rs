//! PagerDuty, Events API v2.
//!
//! Limits: summary 1024 characters, dedup key 255, the whole event 512 KB; over it the details give way to a
//! notice. A resolve is just the three key fields. Links stand only where people can reach them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::notify::config::PagerdutyConfig;
use crate::notify::page::{Page, WORST_MAX, cut, instance_line, one_line, place};
use crate::notify::template::Templates;

const SUMMARY_MAX: usize = 1_024;
/// For the other one-line fields, whose limits the document does not give.
const FIELD_MAX: usize = 255;
/// 512 KB less some room for the routing key and its name.
const EVENT_MAX_BYTES: usize = 512_000 - 200;
/// Longest single text among the details.
const DETAIL_MAX: usize = 10_000;
const TOO_LARGE: &str = "the details were dropped: the event was larger than PagerDuty takes";

/// The event that opens an incident or updates it, without its routing key.
pub fn trigger(config: &PagerdutyConfig, templates: &Templates, page: &Page) -> String {
    let text =
        |field: &Option<String>| field.as_deref().map(|t| templates.render(t, page)).filter(|t| !t.trim().is_empty());
    let worst = page.worst(1).first().copied();
    let source = text(&config.source)
        .or_else(|| worst.map(place).filter(|p| !p.is_empty()))
        .unwrap_or_else(|| page.deployment.clone());
    let summary = text(&config.description).unwrap_or_else(|| page.summary());
    let mut payload = json!({
        "summary": cut(&one_line(&summary), SUMMARY_MAX),
        "source": cut(&one_line(&source), FIELD_MAX),
        "severity": severity(&text(&config.severity).unwrap_or_else(|| page.severity().to_owned())),
        "timestamp": page.since().to_rfc3339(),
        "custom_details": details(config, templates, page),
    });
    let group = text(&config.group).or_else(|| worst.and_then(|a| a.labels.get("cluster")).map(str::to_owned));
    let component = text(&config.component).or_else(|| worst.and_then(|a| a.labels.get("job")).map(str::to_owned));
    let class = text(&config.class).or_else(|| worst.map(|a| a.name().to_owned()).filter(|n| !n.is_empty()));
    for (name, value) in [("group", group), ("component", component), ("class", class)] {
        if let Some(value) = value {
            payload[name] = Value::String(cut(&one_line(&value), FIELD_MAX));
        }
    }
    let mut event = json!({
        "event_action": "trigger",
        "dedup_key": page.dedup_key,
        "payload": payload,
        "client": text(&config.client).unwrap_or_else(|| "rivetwatch".into()),
    });
    if let Some(url) = text(&config.client_url).or_else(|| page.external_url.clone()) {
        event["client_url"] = Value::String(url);
    }
    let links = links(config, templates, page);
    if !links.is_empty() {
        event["links"] = Value::Array(links);
    }
    let images: Vec<Value> = config
        .images
        .iter()
        .map(|image| {
            image.iter().map(|(k, v)| (k.clone(), Value::String(templates.render(v, page)))).collect::<Map<_, _>>()
        })
        .map(Value::Object)
        .collect();
    if !images.is_empty() {
        event["images"] = Value::Array(images);
    }
    let body = event.to_string();
    if body.len() <= EVENT_MAX_BYTES { body } else { without_details(&body).unwrap_or(body) }
}

/// The event that ends an incident, without its routing key.
pub fn resolve(dedup_key: &str) -> String {
    json!({"event_action": "resolve", "dedup_key": dedup_key}).to_string()
}

/// The event with a notice in place of its details; `None` when they are gone already.
pub fn without_details(body: &str) -> Option<String> {
    let mut event: Value = serde_json::from_str(body).ok()?;
    let payload = event.get_mut("payload")?.as_object_mut()?;
    let notice = json!({"notice": TOO_LARGE});
    if payload.get("custom_details") == Some(&notice) {
        return None;
    }
    payload.insert("custom_details".into(), notice);
    event.as_object_mut()?.remove("images");
    Some(event.to_string())
}

/// The event as it is sent.
///
/// # Errors
/// The stored body is not a JSON object.
pub fn with_key(body: &str, key: &str) -> Result<String, String> {
    let stored: Map<String, Value> =
        serde_json::from_str(body).map_err(|e| format!("the stored event cannot be read: {e}"))?;
    let mut event = Map::new();
    event.insert("routing_key".into(), Value::String(key.to_owned()));
    event.extend(stored);
    Ok(Value::Object(event).to_string())
}

/// PagerDuty knows exactly four severities; anything else must not be lost as an invalid event.
fn severity(text: &str) -> &'static str {
    match text.trim().to_lowercase().as_str() {
        "warning" | "warn" => "warning",
        "info" | "informational" | "none" | "notice" => "info",
        "error" | "high" => "error",
        _ => "critical",
    }
}

fn details(config: &PagerdutyConfig, templates: &Templates, page: &Page) -> Value {
    let mut details: BTreeMap<String, Value> = BTreeMap::new();
    let worst = page.worst(WORST_MAX);
    if let Some(first) = worst.first() {
        for name in ["description", "value"] {
            if let Some(text) = first.annotations.get(name) {
                details.insert(name.into(), Value::String(cut(text.trim(), DETAIL_MAX)));
            }
        }
    }
    details.insert("deployment".into(), Value::String(page.deployment.clone()));
    details.insert("since".into(), Value::String(page.since().to_rfc3339()));
    details.insert("num_firing".into(), json!(page.firing.len()));
    details.insert("num_resolved".into(), json!(page.resolved.len()));
    if let Some(url) = page.runbook() {
        details.insert("runbook".into(), Value::String(url));
    }
    if page.leading().len() > 1 {
        let lines: Vec<Value> = worst.iter().map(|a| Value::String(cut(&instance_line(a), 1_000))).collect();
        details.insert("worst".into(), Value::Array(lines));
    }
    let labels: Map<String, Value> =
        page.common_labels().iter().map(|(n, v)| (n.to_owned(), Value::String(cut(v, 1_000)))).collect();
    details.insert("labels".into(), Value::Object(labels));
    for (name, text) in &config.details {
        details.insert(name.clone(), Value::String(cut(&templates.render(text, page), DETAIL_MAX)));
    }
    serde_json::to_value(details).unwrap_or(Value::Null)
}

fn links(config: &PagerdutyConfig, templates: &Templates, page: &Page) -> Vec<Value> {
    let mut links: Vec<Value> = config
        .links
        .iter()
        .map(|l| json!({"href": templates.render(&l.href, page), "text": templates.render(&l.text, page)}))
        .collect();
    links.extend(page.runbook().map(|url| json!({"href": url, "text": "Runbook"})));
    links.extend(page.external_url.as_ref().map(|url| json!({"href": url, "text": "rivetwatch"})));
    links
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::page::tests::page;

    fn event(page: &Page) -> Value {
        let body = trigger(&PagerdutyConfig::default(), &Templates::default(), page);
        serde_json::from_str(&with_key(&body, "the-key").unwrap()).unwrap()
    }

    #[test]
    fn a_trigger_has_the_required_fields_and_the_worst_five() {
        let event = event(&page(25));
        assert_eq!(event["routing_key"], "the-key");
        assert_eq!(event["event_action"], "trigger");
        assert_eq!(event["payload"]["severity"], "critical");
        assert_eq!(event["payload"]["summary"], "CPU of engine-25 at 25% (and 24 more)");
        assert_eq!(event["payload"]["custom_details"]["worst"].as_array().unwrap().len(), WORST_MAX);
        assert!(event.get("links").is_none() && event.get("client_url").is_none(), "no external_url, no link");
    }

    #[test]
    fn a_resolve_is_just_the_three_key_fields() {
        let event: Map<String, Value> = serde_json::from_str(&with_key(&resolve("d"), "k").unwrap()).unwrap();
        assert_eq!(event.keys().collect::<Vec<_>>(), ["routing_key", "event_action", "dedup_key"]);
    }

    #[test]
    fn long_labels_emoji_and_markup_stay_within_every_limit() {
        let mut page = page(3);
        for alert in &mut page.firing {
            let labels = (0..400).map(|i| (format!("l{i}"), "🔥<&>".repeat(1_250)));
            let mut builder = alert.labels.builder();
            labels.for_each(|(n, v)| {
                builder.set(n, v);
            });
            alert.labels = builder.build();
            alert.annotations.insert("summary".into(), "🔥<&> ".repeat(1_000));
            alert.annotations.insert("description".into(), "d".repeat(600_000));
        }
        let body = trigger(&PagerdutyConfig::default(), &Templates::default(), &page);
        assert!(body.len() <= EVENT_MAX_BYTES, "{}", body.len());
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["payload"]["custom_details"]["notice"], TOO_LARGE);
        let summary = event["payload"]["summary"].as_str().unwrap();
        assert!(summary.chars().count() <= SUMMARY_MAX && summary.ends_with('…'));
        assert_eq!(without_details(&body), None, "there is nothing left to drop");
    }

    #[test]
    fn texts_of_the_configuration_are_templates() {
        let config = PagerdutyConfig {
            description: Some("{{ .CommonLabels.alertname }}: {{ .Alerts.Firing | len }} firing".into()),
            severity: Some("{{ if eq .Status \"firing\" }}warning{{ end }}".into()),
            details: [("first".to_owned(), "{{ (index .Alerts 0).Labels.instance }}".to_owned())].into(),
            ..Default::default()
        };
        let body = trigger(&config, &Templates::default(), &page(2));
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(event["payload"]["summary"], "HighCpu: 2 firing");
        assert_eq!(event["payload"]["severity"], "warning");
        assert_eq!(event["payload"]["custom_details"]["first"], "engine-1");
    }
}
