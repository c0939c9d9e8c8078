//! Alerting rules as Grafana manages them itself: a provisioning file for its `alerting` folder.
//!
//! In: rule files and what is changed in them.   Out: `apiVersion: 1`, groups of rules.
//! Always: a rule fires for every element of its expression, whatever its value, as in Prometheus: the query is followed
//! by a check that there is a number. No data is well, since an expression that gives nothing is an alert that does not
//! fire; an error is told as such. Ids stay the same from one export to the next.
//! Limits: recording rules are not in it, so a Prometheus, Mimir or VictoriaMetrics that records them must be the data
//! source. Grafana writes no `ALERTS`, so a rule that reads them is never silenced by them.

use serde_json::{Map, Value, json};

use super::rules::{Changes, RuleFile, RulesError, documents};
use super::yaml;

/// Longest `uid` and `title` that Grafana takes.
const UID_CHARS_MAX: usize = 40;
const TITLE_CHARS_MAX: usize = 190;

/// Where the rules go in Grafana.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrafanaSettings {
    /// `uid` of the data source that holds the signals.
    pub datasource: String,
    pub folder: String,
    /// For groups without an interval of their own. Grafana takes multiples of its base of 10 s.
    pub interval: String,
}

impl Default for GrafanaSettings {
    fn default() -> Self {
        Self { datasource: "prometheus".into(), folder: "Rivet".into(), interval: "30s".into() }
    }
}

/// The alerting rules of the files as one provisioning file.
///
/// # Errors
/// As [`super::rules::prometheus`].
pub fn grafana(files: &[RuleFile], changes: &Changes, settings: &GrafanaSettings) -> Result<String, RulesError> {
    let mut groups = Vec::new();
    let mut uids = Vec::new();
    for document in documents(files, changes)? {
        for group in document["groups"].as_array().into_iter().flatten() {
            let alerts = group["rules"].as_array().into_iter().flatten().filter(|r| r["alert"].is_string());
            let rules: Vec<Value> = alerts.map(|alert| rule(alert, settings, &mut uids)).collect();
            if !rules.is_empty() {
                groups.push(json!({
                    "orgId": 1,
                    "name": group["name"],
                    "folder": settings.folder,
                    "interval": group["interval"].as_str().unwrap_or(&settings.interval),
                    "rules": rules,
                }));
            }
        }
    }
    Ok(yaml::print(&json!({ "apiVersion": 1, "groups": groups })))
}

fn rule(alert: &Value, settings: &GrafanaSettings, uids: &mut Vec<String>) -> Value {
    let name = alert["alert"].as_str().unwrap_or_default();
    let labels = alert["labels"].as_object().cloned().unwrap_or_default();
    // Two rules of one alert differ by their labels: by severity, or by the window of a burn rate.
    let fixed: Vec<&str> = labels.values().filter_map(Value::as_str).filter(|v| !v.contains("{{")).collect();
    let uid = unique(&format!("{name}-{}", fixed.join("-")), uids);
    let title: String = format!("{name} ({})", fixed.join(", ")).chars().take(TITLE_CHARS_MAX).collect();
    let mut out = json!({
        "uid": uid,
        "title": if fixed.is_empty() { name.to_owned() } else { title },
        "condition": "C",
        "data": data(alert["expr"].as_str().unwrap_or_default(), settings),
        "for": alert["for"].as_str().unwrap_or("0s"),
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": escaped(translated(&labels)),
        "annotations": annotations(&alert["annotations"]),
        "isPaused": false,
    });
    if let Some(keep) = alert["keep_firing_for"].as_str() {
        out["keepFiringFor"] = keep.into();
    }
    out
}

/// The query, whether it gave a number, and the condition on that.
fn data(expr: &str, settings: &GrafanaSettings) -> Value {
    let range = json!({ "from": 600, "to": 0 });
    let expression = json!({ "type": "__expr__", "uid": "__expr__" });
    json!([
        {
            "refId": "A",
            "relativeTimeRange": range,
            "datasourceUid": settings.datasource,
            "model": {
                "refId": "A",
                "datasource": { "type": "prometheus", "uid": settings.datasource },
                "expr": expr,
                "instant": true,
                "range": false,
                "intervalMs": 1000,
                "maxDataPoints": 43200,
            },
        },
        {
            "refId": "B",
            "relativeTimeRange": range,
            "datasourceUid": "__expr__",
            "model": {
                "refId": "B",
                "datasource": expression,
                "type": "math",
                "expression": "is_number($A) || is_nan($A) || is_inf($A)",
            },
        },
        {
            "refId": "C",
            "relativeTimeRange": range,
            "datasourceUid": "__expr__",
            "model": {
                "refId": "C",
                "datasource": expression,
                "type": "threshold",
                "expression": "B",
                "conditions": [{ "evaluator": { "type": "gt", "params": [0] } }],
            },
        },
    ])
}

/// Annotations in Grafana's own words: the value of the query, and its own way to link a panel.
fn annotations(written: &Value) -> Map<String, Value> {
    let mut out = translated(written.as_object().unwrap_or(&Map::new()));
    if let Some((uid, panel)) = out.shift_remove("dashboard_url").as_ref().and_then(Value::as_str).and_then(panel_of) {
        out.insert("__dashboardUid__".into(), uid.into());
        out.insert("__panelId__".into(), panel.into());
    }
    // Grafana has no address of this kind; a runbook without one is no link.
    out.retain(|_, text| !text.as_str().is_some_and(|t| t.contains("$externalURL")));
    out
}

/// `$value` is a text about all queries in Grafana; the number of query A has another name.
fn translated(texts: &Map<String, Value>) -> Map<String, Value> {
    let text = |v: &Value| {
        let mut out = String::new();
        let mut rest = v.as_str().unwrap_or_default();
        while let Some(at) = rest.find("$value") {
            let (before, found) = rest.split_at(at);
            let after = &found["$value".len()..];
            let is_longer = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
            out.push_str(before);
            out.push_str(if is_longer { "$value" } else { "$values.A.Value" });
            rest = after;
        }
        out + rest
    };
    texts.iter().map(|(name, value)| (name.clone(), Value::String(text(value)))).collect()
}

/// Grafana takes `$name` in labels for a variable of its environment, unless the sign is doubled; not so in annotations.
fn escaped(labels: Map<String, Value>) -> Map<String, Value> {
    let text = |v: &Value| v.as_str().unwrap_or_default().replace('$', "$$");
    labels.iter().map(|(name, value)| (name.clone(), text(value).into())).collect()
}

/// Dashboard and panel of a link such as `/d/UID?viewPanel=7{{ … }}`; `None` for a link without a panel.
fn panel_of(url: &str) -> Option<(String, String)> {
    let (uid, rest) = url.split("/d/").nth(1)?.split_once("?viewPanel=")?;
    let panel: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!panel.is_empty()).then(|| (uid.to_owned(), panel))
}

/// An id that Grafana takes: letters, digits and dashes, at most 40, and used once.
fn unique(text: &str, uids: &mut Vec<String>) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let whole: String = text.chars().map(clean).collect::<String>().trim_matches('-').to_owned();
    let mut uid: String = whole.chars().take(UID_CHARS_MAX).collect();
    let mut n = 1;
    while uids.contains(&uid) {
        n += 1;
        let end = format!("-{n}");
        uid = whole.chars().take(UID_CHARS_MAX - end.len()).collect::<String>() + &end;
    }
    uids.push(uid.clone());
    uid
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"groups:
  - name: signals
    rules: [{record: 'job:x:sum', expr: sum(x)}]
  - name: alerts
    interval: 1m
    rules:
      - alert: Hot
        expr: job:x:sum > 1
        for: 5m
        keep_firing_for: 2m
        labels: {severity: warning, value: '{{ $value }}'}
        annotations:
          description: '{{ $value | humanize }} of {{ $values.B }} and {{ $valued }}'
          dashboard_url: '/d/rivetwatch-overview?viewPanel=42{{ with $labels.job }}&var-job={{ . }}{{ end }}'
          runbook_url: '{{ with $externalURL }}{{ . }}/runbooks/Hot{{ end }}'
      - alert: Hot
        expr: job:x:sum > 2
        labels: {severity: warning}
"#;

    fn exported() -> Value {
        let file = RuleFile { name: "a.yaml".into(), text: TEXT.into() };
        let text = grafana(&[file], &Changes::default(), &GrafanaSettings::default()).unwrap();
        serde_saphyr::from_str(&text).unwrap()
    }

    #[test]
    fn alerts_become_a_query_a_check_and_a_condition() {
        let document = exported();
        assert_eq!(document["groups"].as_array().unwrap().len(), 1, "a group of recording rules has nothing to say");
        let group = &document["groups"][0];
        assert_eq!((&group["interval"], &group["folder"]), (&"1m".into(), &"Rivet".into()));
        let rule = &group["rules"][0];
        assert_eq!((&rule["for"], &rule["keepFiringFor"]), (&"5m".into(), &"2m".into()));
        assert_eq!((&rule["noDataState"], &rule["execErrState"]), (&"OK".into(), &"Error".into()));
        assert_eq!(rule["condition"], "C");
        assert_eq!(rule["data"][0]["model"]["expr"], "job:x:sum > 1");
        assert_eq!(rule["data"][2]["model"]["expression"], "B");
        assert_eq!(group["rules"][1]["for"], "0s");
    }

    #[test]
    fn templates_and_links_are_grafanas() {
        let document = exported();
        let rule = &document["groups"][0]["rules"][0];
        assert_eq!(
            rule["annotations"]["description"],
            "{{ $values.A.Value | humanize }} of {{ $values.B }} and {{ $valued }}"
        );
        assert_eq!(rule["labels"]["value"], "{{ $$values.A.Value }}", "a label's sign is doubled");
        assert_eq!(rule["annotations"]["__dashboardUid__"], "rivetwatch-overview");
        assert_eq!(rule["annotations"]["__panelId__"], "42");
        assert!(rule["annotations"].get("dashboard_url").is_none() && rule["annotations"].get("runbook_url").is_none());
    }

    #[test]
    fn ids_are_unique_and_short_enough() {
        let document = exported();
        let rules = &document["groups"][0]["rules"];
        assert_eq!((&rules[0]["uid"], &rules[1]["uid"]), (&"hot-warning".into(), &"hot-warning-2".into()));
        let mut uids = Vec::new();
        for _ in 0..12 {
            assert!(unique(&"Very Long ".repeat(9), &mut uids).len() <= UID_CHARS_MAX);
        }
    }
}
