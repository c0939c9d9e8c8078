//! Asks a Grafana for dashboards of the engine.

use reqwest::Url;
use secrecy::SecretString;
use serde_json::Value;

use super::http::{Http, at, shown};
use crate::checklist::evidence::DashboardsSeen;
use crate::checklist::known::{Known, unknown};

/// Searches for dashboards whose title or tag names Rivet.
///
/// # Errors
/// Grafana gives no answer, or wants a token.
pub async fn ask(http: &Http, base: &Url, token: Option<&SecretString>) -> Known<DashboardsSeen> {
    let source = format!("Grafana at {}", shown(base));
    let path = format!("{}/api/search", base.path().trim_end_matches('/'));
    let answer = match http.get(at(base, &path, &[("type", "dash-db"), ("limit", "1000")]), token).await {
        Ok(answer) => answer,
        Err(why) => return unknown(format!("{source} gave no answer: {why}")),
    };
    let json = answer.json();
    match (answer.status, json.as_array()) {
        (200, Some(found)) => {
            let is_ours = |d: &&Value| {
                let tags = d.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
                let title = d.get("title").and_then(Value::as_str);
                title.into_iter().chain(tags).any(|text| text.to_ascii_lowercase().contains("rivet"))
            };
            let titles = found.iter().filter(is_ours).filter_map(|d| d.get("title")?.as_str().map(str::to_owned));
            Ok(DashboardsSeen { source, titles: titles.collect() })
        }
        (401 | 403, _) => unknown(format!("{source} wants a token; set `check.grafana.token_file`")),
        (status, _) => unknown(format!("{source} answered with status {status}")),
    }
}
