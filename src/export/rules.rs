//! Rule files for other systems: Prometheus or vmalert as they are, or the operator.
//!
//! In: rule files as text, and what is changed in them: by the configuration, for a loader that is older, for links that
//! lead somewhere, and for rules that are there already.   Out: files, or `PrometheusRule` objects.
//! Always: without changes a file comes out byte for byte, comments too; a change that fits no rule is reported.
//! Limits: a changed file loses its comments, since it is read and printed again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::loader::{self, Loader};
use super::{document, yaml};

/// A rule file: its name (`10-signals.yaml`) and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFile {
    pub name: String,
    pub text: String,
}

/// What an alert gets instead of what its file says; every rule of that name, so both severities where it has two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// How long the condition must hold: a Prometheus duration.
    pub hold: Option<String>,
    /// How long it goes on firing afterwards: a Prometheus duration.
    pub keep_firing_for: Option<String>,
    pub severity: Option<String>,
    /// Set or replaced.
    pub labels: BTreeMap<String, String>,
    /// Set or replaced; templates as in rule files.
    pub annotations: BTreeMap<String, String>,
}

/// What the configuration changes in the rule files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Names of alerts and recording rules to leave out.
    pub disable: BTreeSet<String>,
    /// By name of the alert.
    pub overrides: BTreeMap<String, Override>,
    /// Added to every alert, without replacing a label it has.
    pub labels: BTreeMap<String, String>,
    /// By signal, then severity: the value of `rivet:threshold`.
    pub thresholds: BTreeMap<String, BTreeMap<String, f64>>,
    /// Names of alerts to leave out where they are; unlike `disable`, none has to be there.
    pub covered: BTreeSet<String>,
    /// The oldest loader that shall read the files.
    pub oldest: Option<Loader>,
    pub links: Links,
}

/// Where links in annotations lead; `None` leaves them as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// Address of Grafana, put before `dashboard_url` annotations that begin with `/`.
    pub grafana: Option<String>,
    /// Folder of the runbooks: `runbook_url` becomes `FOLDER/NAME`, of the shipped alerts and of no others.
    pub runbooks: Option<String>,
}

impl Changes {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why rules could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("failed to read rule file `{file}`")]
    Parse { file: String, source: Box<serde_saphyr::Error> },
    #[error("rule file `{file}` has no list of groups")]
    NoGroups { file: String },
    #[error("{what} `{name}` is in no rule file")]
    NoSuchRule { what: &'static str, name: String },
}

/// How the operator finds the objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusRuleSettings {
    /// Object names begin with it: `rivetwatch` gives `rivetwatch-10-signals`.
    pub name: String,
    /// Written only where given.
    pub namespace: Option<String>,
    /// What the operator's `ruleSelector` asks for, e.g. `release: kube-prometheus-stack`.
    pub labels: BTreeMap<String, String>,
}

impl Default for PrometheusRuleSettings {
    fn default() -> Self {
        Self { name: "rivetwatch".into(), namespace: None, labels: BTreeMap::new() }
    }
}

/// The files with `changes` in them, for `rule_files:` of Prometheus; files without a change keep their bytes.
///
/// # Errors
/// A file that is no rule file; a change that names no rule of any file.
pub fn prometheus(files: &[RuleFile], changes: &Changes) -> Result<Vec<RuleFile>, RulesError> {
    if changes.is_empty() {
        return Ok(files.to_vec());
    }
    let mut out = Vec::with_capacity(files.len());
    for (file, document) in files.iter().zip(documents(files, changes)?) {
        if document == read(file)? {
            out.push(file.clone());
        } else if document["groups"].as_array().is_some_and(|groups| !groups.is_empty()) {
            out.push(RuleFile { name: file.name.clone(), text: yaml::print(&document) });
        }
        // Else all that it held was left out.
    }
    Ok(out)
}

/// The files with `changes` in them, before they are printed.
///
/// # Errors
/// As [`prometheus`].
pub fn documents(files: &[RuleFile], changes: &Changes) -> Result<Vec<Value>, RulesError> {
    let mut used = BTreeSet::new();
    let mut out = Vec::with_capacity(files.len());
    for file in files {
        let mut document = read(file)?;
        apply(&mut document, changes, &mut used);
        out.push(document);
    }
    every_change_was_used(changes, &used)?;
    Ok(out)
}

/// How many fields of which name `changes.oldest` makes the files lose.
///
/// # Errors
/// A file that is no rule file.
pub fn left_out(files: &[RuleFile], changes: &Changes) -> Result<BTreeMap<&'static str, usize>, RulesError> {
    let mut counts = BTreeMap::new();
    if let Some(oldest) = changes.oldest {
        for file in files {
            for (field, n) in loader::leave_out(&mut read(file)?, oldest) {
                *counts.entry(field).or_default() += n;
            }
        }
    }
    Ok(counts)
}

/// The files as `PrometheusRule` objects, one a file, in one YAML stream.
///
/// # Errors
/// As [`prometheus`].
pub fn prometheus_rule(
    files: &[RuleFile],
    changes: &Changes,
    settings: &PrometheusRuleSettings,
) -> Result<String, RulesError> {
    let object = |file: &RuleFile| -> Result<Option<Value>, RulesError> {
        let groups = read(file)?["groups"].take();
        if groups.as_array().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let stem = file.name.rsplit('/').next().unwrap_or_default();
        let stem = stem.strip_suffix(".yaml").or_else(|| stem.strip_suffix(".yml")).unwrap_or(stem);
        let mut metadata = Map::new();
        metadata.insert("name".into(), format!("{}-{}", settings.name, object_name(stem)).into());
        if let Some(namespace) = &settings.namespace {
            metadata.insert("namespace".into(), namespace.clone().into());
        }
        let mut labels: Map<String, Value> = Map::new();
        labels.insert("app.kubernetes.io/name".into(), "rivetwatch".into());
        labels.extend(settings.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())));
        metadata.insert("labels".into(), labels.into());
        Ok(Some(json!({
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata,
            "spec": { "groups": groups },
        })))
    };
    let objects: Result<Vec<Value>, RulesError> =
        prometheus(files, changes)?.iter().filter_map(|file| object(file).transpose()).collect();
    Ok(yaml::print_all(&objects?))
}

/// A file without a word in it is one without groups, as for Prometheus.
pub(super) fn read(file: &RuleFile) -> Result<Value, RulesError> {
    let document =
        document::read(&file.text).map_err(|source| RulesError::Parse { file: file.name.clone(), source })?;
    if document.is_null() {
        return Ok(json!({ "groups": [] }));
    }
    if !document["groups"].is_array() {
        return Err(RulesError::NoGroups { file: file.name.clone() });
    }
    Ok(document)
}

/// A name that Kubernetes takes: lower case, digits, dashes and dots.
fn object_name(stem: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c.to_ascii_lowercase() } else { '-' };
    stem.chars().map(clean).collect::<String>().trim_matches(['-', '.']).to_owned()
}

/// Names of changes that found their rule, as they stand in the configuration.
type Used = BTreeSet<(&'static str, String)>;

const DISABLED: &str = "disabled rule";
const OVERRIDDEN: &str = "overridden alert";
const THRESHOLD: &str = "threshold";

fn apply(document: &mut Value, changes: &Changes, used: &mut Used) {
    let groups = document["groups"].as_array_mut().expect("`read` takes only files with groups");
    for group in groups.iter_mut() {
        let Some(rules) = group.get_mut("rules").and_then(Value::as_array_mut) else { continue };
        rules.retain(|rule| {
            let name = rule["alert"].as_str().or(rule["record"].as_str()).unwrap_or_default();
            let disabled = changes.disable.contains(name);
            if disabled {
                used.insert((DISABLED, name.to_owned()));
            }
            let covered = rule["alert"].is_string() && changes.covered.contains(name);
            !disabled && !covered
        });
        for rule in rules {
            if let Some(name) = rule["alert"].as_str().map(str::to_owned) {
                change_alert(rule, &name, changes, used);
            } else if rule["record"] == "rivet:threshold" {
                change_threshold(rule, changes, used);
            }
        }
    }
    // Prometheus takes an empty group, but nobody wants to read one.
    groups.retain(|group| group["rules"].as_array().is_none_or(|rules| !rules.is_empty()));
    if let Some(oldest) = changes.oldest {
        loader::leave_out(document, oldest);
    }
}

fn change_alert(rule: &mut Value, name: &str, changes: &Changes, used: &mut Used) {
    if let Some(change) = changes.overrides.get(name) {
        used.insert((OVERRIDDEN, name.to_owned()));
        let fields = [("for", &change.hold), ("keep_firing_for", &change.keep_firing_for)];
        for (field, value) in fields.into_iter().filter_map(|(field, value)| Some((field, value.as_ref()?))) {
            rule[field] = value.clone().into();
        }
        let severity = change.severity.iter().map(|severity| ("severity", severity));
        for (label, value) in severity.chain(change.labels.iter().map(|(label, value)| (label.as_str(), value))) {
            rule["labels"][label] = value.clone().into();
        }
        for (annotation, text) in &change.annotations {
            rule["annotations"][annotation] = text.clone().into();
        }
    }
    for (label, value) in &changes.labels {
        if rule["labels"].get(label).is_none() {
            rule["labels"][label] = value.clone().into();
        }
    }
    change_links(rule, name, &changes.links);
}

fn change_links(rule: &mut Value, name: &str, links: &Links) {
    let text = |rule: &Value, annotation: &str| rule["annotations"][annotation].as_str().map(str::to_owned);
    if let (Some(base), Some(url)) = (&links.grafana, text(rule, "dashboard_url"))
        && url.starts_with('/')
    {
        rule["annotations"]["dashboard_url"] = format!("{}{url}", base.trim_end_matches('/')).into();
    }
    if let (Some(folder), Some(url)) = (&links.runbooks, text(rule, "runbook_url"))
        && url.contains("$externalURL")
    {
        rule["annotations"]["runbook_url"] = format!("{}/{name}", folder.trim_end_matches('/')).into();
    }
}

fn change_threshold(rule: &mut Value, changes: &Changes, used: &mut Used) {
    let text = |label: &str| rule["labels"][label].as_str().unwrap_or_default();
    let (signal, severity) = (text("signal"), text("severity"));
    if let Some(value) = changes.thresholds.get(signal).and_then(|of| of.get(severity)) {
        used.insert((THRESHOLD, format!("{signal}.{severity}")));
        rule["expr"] = format!("vector({value})").into();
    }
}

fn every_change_was_used(changes: &Changes, used: &Used) -> Result<(), RulesError> {
    let disabled = changes.disable.iter().map(|name| (DISABLED, name.clone()));
    let overridden = changes.overrides.keys().map(|name| (OVERRIDDEN, name.clone()));
    let thresholds = changes
        .thresholds
        .iter()
        .flat_map(|(signal, of)| of.keys().map(move |severity| (THRESHOLD, format!("{signal}.{severity}"))));
    match disabled.chain(overridden).chain(thresholds).find(|change| !used.contains(change)) {
        Some((what, name)) => Err(RulesError::NoSuchRule { what, name }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# kept
groups:
  - name: thresholds
    rules:
      - record: rivet:threshold
        expr: vector(0.7)
        labels: {signal: cpu_utilization, severity: warning}
  - name: alerts
    interval: 30s
    rules:
      - alert: RivetCpuHigh
        expr: |
          rivet:cpu_utilization:ratio
            > 0.7
        for: 10m
        labels: {severity: warning}
        annotations: {summary: CPU is high.}
      - alert: Watchdog
        expr: vector(1)
"#;

    fn files() -> Vec<RuleFile> {
        vec![RuleFile { name: "20_All.yaml".into(), text: TEXT.into() }]
    }

    fn changed(changes: &Changes) -> Value {
        let out = prometheus(&files(), changes).unwrap();
        serde_saphyr::from_str(&out[0].text).unwrap()
    }

    #[test]
    fn files_without_changes_keep_their_bytes() {
        assert_eq!(prometheus(&files(), &Changes::default()).unwrap(), files());
        let elsewhere = RuleFile { name: "other.yaml".into(), text: "# only a comment\ngroups: []\n".into() };
        let both = [files(), vec![elsewhere.clone()]].concat();
        let changes = Changes { disable: ["Watchdog".to_owned()].into(), ..Changes::default() };
        assert_eq!(prometheus(&both, &changes).unwrap()[1], elsewhere);
    }

    #[test]
    fn each_kind_of_change_arrives_where_it_belongs() {
        let over = Override {
            hold: Some("5m".into()),
            keep_firing_for: Some("1m".into()),
            severity: Some("critical".into()),
            labels: [("page".to_owned(), "yes".to_owned())].into(),
            annotations: [("summary".to_owned(), "Hot.".to_owned())].into(),
        };
        let document = changed(&Changes {
            disable: ["Watchdog".to_owned()].into(),
            overrides: [("RivetCpuHigh".to_owned(), over)].into(),
            labels: [("team".to_owned(), "infra".to_owned()), ("severity".to_owned(), "none".to_owned())].into(),
            thresholds: [("cpu_utilization".to_owned(), [("warning".to_owned(), 0.5)].into())].into(),
            ..Changes::default()
        });
        let groups = &document["groups"];
        assert_eq!(groups[0]["rules"][0]["expr"], "vector(0.5)");
        assert_eq!(groups[1]["rules"].as_array().unwrap().len(), 1);
        let alert = &groups[1]["rules"][0];
        assert_eq!((&alert["for"], &alert["labels"]["severity"]), (&"5m".into(), &"critical".into()));
        assert_eq!((&alert["keep_firing_for"], &alert["labels"]["page"]), (&"1m".into(), &"yes".into()));
        assert_eq!(alert["labels"]["team"], "infra");
        assert_eq!(alert["annotations"]["summary"], "Hot.");
        assert_eq!(alert["expr"], "rivet:cpu_utilization:ratio\n  > 0.7\n");
        assert_eq!(groups[1]["interval"], "30s");
    }

    #[test]
    fn unquoted_texts_come_out_as_they_stand() {
        let file = RuleFile {
            name: "own.yaml".into(),
            text:
                "groups: [{name: a, rules: [{alert: A, expr: up, labels: {b: 1.10, c: 007, d: true, e: 1e3, i: null}, \
                   annotations: {version: 2.30}}]}]"
                    .into(),
        };
        let changes = Changes { labels: [("team".to_owned(), "infra".to_owned())].into(), ..Changes::default() };
        let text = &prometheus(std::slice::from_ref(&file), &changes).unwrap()[0].text;
        for line in ["b: \"1.10\"", "c: \"007\"", "d: \"true\"", "e: \"1e3\"", "i: \"\"", "version: \"2.30\""] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let object = prometheus_rule(&[file], &Changes::default(), &PrometheusRuleSettings::default()).unwrap();
        assert!(object.contains("d: \"true\""), "the operator takes texts alone\n{object}");
    }

    #[test]
    fn a_change_of_nothing_is_named() {
        let changes = [
            (Changes { disable: ["Nope".to_owned()].into(), ..Changes::default() }, "disabled rule `Nope`"),
            (
                Changes { overrides: [("Watchdo".to_owned(), Override::default())].into(), ..Changes::default() },
                "overridden alert `Watchdo`",
            ),
            (
                Changes {
                    thresholds: [("cpu_utilization".to_owned(), [("critical".to_owned(), 1.0)].into())].into(),
                    ..Changes::default()
                },
                "threshold `cpu_utilization.critical`",
            ),
        ];
        for (changes, named) in changes {
            let error = prometheus(&files(), &changes).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn links_lead_where_they_are_told_and_covered_alerts_are_left_out() {
        let text = "groups:
- name: g
  rules:
  - alert: A
    expr: up
    annotations: {dashboard_url: '/d/x?var-job={{ $labels.job }}', runbook_url: '{{ with $externalURL }}{{ . }}/runbooks/A{{ end }}'}
  - {alert: B, expr: up, annotations: {dashboard_url: 'https://own/d/x', runbook_url: 'https://own/B'}}
  - {alert: C, expr: up}
";
        let file = RuleFile { name: "f.yaml".into(), text: text.into() };
        let changes = Changes {
            links: Links { grafana: Some("https://grafana/".into()), runbooks: Some("https://wiki/".into()) },
            covered: ["C".to_owned(), "NotThere".to_owned()].into(),
            ..Changes::default()
        };
        let documents = documents(&[file], &changes).unwrap();
        let rules = &documents[0]["groups"][0]["rules"];
        assert_eq!(rules.as_array().unwrap().len(), 2);
        assert_eq!(rules[0]["annotations"]["dashboard_url"], "https://grafana/d/x?var-job={{ $labels.job }}");
        assert_eq!(rules[0]["annotations"]["runbook_url"], "https://wiki/A");
        assert_eq!(rules[1]["annotations"]["runbook_url"], "https://own/B");
        assert_eq!(rules[1]["annotations"]["dashboard_url"], "https://own/d/x");
    }

    #[test]
    fn an_older_loader_gets_what_it_knows_and_is_told_what_is_missing() {
        let file = RuleFile {
            name: "f.yaml".into(),
            text: "groups: [{name: g, rules: [{alert: A, expr: up, keep_firing_for: 1m}]}]".into(),
        };
        let changes = Changes { oldest: Some(Loader::Prometheus("2.41".parse().unwrap())), ..Changes::default() };
        assert_eq!(left_out(std::slice::from_ref(&file), &changes).unwrap(), [("keep_firing_for", 1)].into());
        assert!(!prometheus(&[file], &changes).unwrap()[0].text.contains("keep_firing_for"));
    }

    #[test]
    fn operator_objects_hold_the_groups_and_the_labels() {
        let settings = PrometheusRuleSettings {
            namespace: Some("monitoring".into()),
            labels: [("release".to_owned(), "stack".to_owned())].into(),
            ..PrometheusRuleSettings::default()
        };
        let text = prometheus_rule(&files(), &Changes::default(), &settings).unwrap();
        let object: Value = serde_saphyr::from_str(text.strip_prefix("---\n").unwrap()).unwrap();
        assert_eq!(object["kind"], "PrometheusRule");
        assert_eq!(object["metadata"]["name"], "rivetwatch-20-all");
        assert_eq!(object["metadata"]["labels"]["release"], "stack");
        let groups: Value = serde_saphyr::from_str::<Value>(TEXT).unwrap()["groups"].take();
        assert_eq!(object["spec"]["groups"], groups);
    }

    #[test]
    fn files_that_are_no_rule_files_are_named() {
        for text in ["- a", "groups: {}", "groups: [", "rules: []"] {
            let file = RuleFile { name: "bad.yaml".into(), text: text.into() };
            let error = prometheus_rule(&[file], &Changes::default(), &PrometheusRuleSettings::default()).unwrap_err();
            assert!(error.to_string().contains("`bad.yaml`"), "{error}");
        }
    }
}
