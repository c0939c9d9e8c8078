//! Alerting rules as Grafana manages them itself: a provisioning file for its `alerting` folder.
//!
//! In: rule files and what is changed in them.   Out: `apiVersion: 1`, groups of rules.
//! Always: a rule fires for every element of its expression, whatever its value, as in Prometheus: the query is followed
//! by a check that there is a number. No data is well, since an expression that gives nothing is an alert that does not
//! fire; an error is told as such. Ids stay the same from one export to the next. What Grafana has no place for is noted, and
//! labels of a group, which its groups do not have, are given to its rules.
//! Limits: recording rules are not in it, so a Prometheus, Mimir or VictoriaMetrics that records them must be the data
//! source. Grafana writes no `ALERTS`, so a rule that reads them is never silenced by them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::merge::unique;
use super::rules::{Changes, RuleFile, RulesError, documents};
use super::{loader, yaml};
use crate::model::{format_duration_ms, parse_duration_ms};

/// Longest `uid` and `title` that Grafana takes.
const UID_CHARS_MAX: usize = 40;
const TITLE_CHARS_MAX: usize = 190;

/// Grafana evaluates no group at other times than multiples of this, and refuses such a group.
const INTERVAL_BASE_MS: i64 = 10_000;

/// Where the rules go in Grafana.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrafanaSettings {
    /// `uid` of the data source that holds the signals.
    pub datasource: String,
    pub folder: String,
    /// For groups without an interval of their own; a multiple of 10 s.
    pub interval: String,
}

impl Default for GrafanaSettings {
    fn default() -> Self {
        Self { datasource: "prometheus".into(), folder: "Rivet".into(), interval: "30s".into() }
    }
}

/// A provisioning file, and what is otherwise in it than in the rule files: a sentence each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioning {
    pub text: String,
    pub notes: Vec<String>,
}

/// The alerting rules of the files as one provisioning file.
///
/// # Errors
/// As [`super::rules::prometheus`].
pub fn grafana(files: &[RuleFile], changes: &Changes, settings: &GrafanaSettings) -> Result<Provisioning, RulesError> {
    let mut groups = Vec::new();
    let mut printer = Printer { settings, uids: Vec::new(), titles: BTreeSet::new(), notes: Vec::new() };
    let mut names = BTreeSet::new();
    for mut document in documents(files, changes)? {
        for group in document["groups"].as_array_mut().into_iter().flatten() {
            if let Some(labels) = group.as_object_mut().and_then(|group| group.shift_remove("labels")) {
                loader::give_to_rules(group, &labels);
            }
            let alerts = group["rules"].as_array().into_iter().flatten().filter(|r| r["alert"].is_string());
            let rules: Vec<Value> = alerts.map(|alert| printer.rule(alert)).collect();
            if !rules.is_empty() {
                let written = group["name"].as_str().unwrap_or_default();
                // Of two groups of one name in a folder, the second would take the place of the first.
                let name = unique(written, &mut names);
                if name != written {
                    printer.notes.push(format!("a second group `{written}` is named `{name}`"));
                }
                groups.push(json!({
                    "orgId": 1,
                    "name": name,
                    "folder": settings.folder,
                    "interval": printer.interval(&name, group["interval"].as_str()),
                    "rules": rules,
                }));
            }
        }
    }
    let text = yaml::print(&json!({ "apiVersion": 1, "groups": groups }));
    Ok(Provisioning { text, notes: printer.notes })
}

/// What is known of the rules before.
struct Printer<'a> {
    settings: &'a GrafanaSettings,
    uids: Vec<String>,
    titles: BTreeSet<String>,
    notes: Vec<String>,
}

impl Printer<'_> {
    /// The interval of a group, rounded up to what Grafana takes.
    fn interval(&mut self, group: &str, written: Option<&str>) -> String {
        let Some(written) = written else { return self.settings.interval.clone() };
        match parse_duration_ms(written) {
            Some(ms) if ms % INTERVAL_BASE_MS != 0 => {
                let rounded = format_duration_ms((ms / INTERVAL_BASE_MS + 1) * INTERVAL_BASE_MS);
                let note =
                    format!("`interval: {written}` of group `{group}` is {rounded}: Grafana takes multiples of 10s");
                self.notes.push(note);
                rounded
            }
            _ => written.to_owned(),
        }
    }

    fn rule(&mut self, alert: &Value) -> Value {
        let name = alert["alert"].as_str().unwrap_or_default();
        let labels = self.without_queries(name, alert["labels"].as_object());
        // Two rules of one alert differ by their labels: by severity, or by the window of a burn rate.
        let fixed: Vec<&str> = labels.values().filter_map(Value::as_str).filter(|v| !v.contains("{{")).collect();
        let uid = unique_uid(&format!("{name}-{}", fixed.join("-")), &mut self.uids);
        let title = if fixed.is_empty() { name.to_owned() } else { format!("{name} ({})", fixed.join(", ")) };
        let mut out = json!({
            "uid": uid,
            "title": self.title(&title),
            "condition": "C",
            "data": data(alert["expr"].as_str().unwrap_or_default(), self.settings),
            "for": alert["for"].as_str().unwrap_or("0s"),
            "noDataState": "OK",
            "execErrState": "Error",
            "labels": escaped(translated(&labels)),
            "annotations": annotations(&self.without_queries(name, alert["annotations"].as_object())),
            "isPaused": false,
        });
        if let Some(keep) = alert["keep_firing_for"].as_str() {
            out["keepFiringFor"] = keep.into();
        }
        out
    }

    /// A title that no rule before has: Grafana refuses a second one in a folder.
    fn title(&mut self, wanted: &str) -> String {
        let cut =
            |end: &str| -> String { wanted.chars().take(TITLE_CHARS_MAX - end.len()).chain(end.chars()).collect() };
        let mut title = cut("");
        let mut n = 1;
        while !self.titles.insert(title.clone()) {
            n += 1;
            title = cut(&format!(" ({n})"));
        }
        title
    }

    /// The texts but for those that fail in Grafana, where `query` finds nothing and `first` of nothing is an error: it would
    /// show the template itself.
    fn without_queries(&mut self, alert: &str, texts: Option<&Map<String, Value>>) -> Map<String, Value> {
        let mut texts = texts.cloned().unwrap_or_default();
        texts.retain(|name, text| {
            let fails = text.as_str().is_some_and(takes_first_of_query);
            if fails {
                self.notes.push(format!("`{name}` of `{alert}` is left out: `query` finds nothing in Grafana"));
            }
            !fails
        });
        texts
    }
}

/// Whether an action of the template takes the first of what a query gives, without asking whether there is one.
fn takes_first_of_query(template: &str) -> bool {
    let words = |action: &str| -> Vec<String> {
        action.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
    };
    template.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()).any(|action| {
        let words = words(action);
        ["query", "first"].iter().all(|wanted| words.iter().any(|word| word == wanted))
    })
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
fn annotations(written: &Map<String, Value>) -> Map<String, Value> {
    let mut out = translated(written);
    // A link that leads elsewhere stays one.
    if let Some((uid, panel)) = out.get("dashboard_url").and_then(Value::as_str).and_then(panel_of) {
        out.shift_remove("dashboard_url");
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
fn unique_uid(text: &str, uids: &mut Vec<String>) -> String {
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
        let out = grafana(&[file], &Changes::default(), &GrafanaSettings::default()).unwrap();
        assert_eq!(out.notes, [""; 0]);
        serde_saphyr::from_str(&out.text).unwrap()
    }

    #[test]
    fn what_only_prometheus_has_is_put_elsewhere_or_noted() {
        let text = r#"groups:
- name: own
  interval: 15s
  labels: {severity: warning, team: a}
  rules:
  - {alert: Burn, expr: x > 1, labels: {team: b}, annotations: {version: 2.30}}
  - alert: Burn
    expr: x > 2
    labels: {team: b}
    annotations:
      dashboard_url: https://wiki/burn
      first: '{{ query "up" | first | value }}'
      guarded: '{{ with query "up" }}{{ . | first | value }}{{ end }}'
"#;
        let files = ["a.yaml", "b.yaml"].map(|name| RuleFile { name: name.into(), text: text.into() });
        let out = grafana(&files, &Changes::default(), &GrafanaSettings::default()).unwrap();
        let document: Value = serde_saphyr::from_str(&out.text).unwrap();
        let groups = &document["groups"];
        assert_eq!((&groups[0]["name"], &groups[1]["name"]), (&"own".into(), &"own-2".into()));
        assert_eq!(groups[0]["interval"], "20s");
        let rules = &groups[0]["rules"];
        assert_eq!(rules[0]["labels"], json!({"severity": "warning", "team": "b"}));
        assert_eq!(rules[0]["annotations"]["version"], "2.30");
        let titles: Vec<_> = [&groups[0], &groups[1]].iter().flat_map(|g| g["rules"].as_array().unwrap()).collect();
        let titles: BTreeSet<_> = titles.iter().map(|rule| rule["title"].as_str().unwrap()).collect();
        assert_eq!(titles.len(), 4, "{titles:?}");
        let annotations = &rules[1]["annotations"];
        assert_eq!(annotations["dashboard_url"], "https://wiki/burn");
        assert!(annotations.get("first").is_none() && annotations.get("guarded").is_some(), "{annotations}");
        assert_eq!(
            out.notes[..2],
            [
                "`first` of `Burn` is left out: `query` finds nothing in Grafana",
                "`interval: 15s` of group `own` is 20s: Grafana takes multiples of 10s",
            ]
        );
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
            assert!(unique_uid(&"Very Long ".repeat(9), &mut uids).len() <= UID_CHARS_MAX);
        }
    }
}
