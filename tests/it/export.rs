//! What the export writes for Prometheus and Kubernetes: the committed copies under `deploy/`, and the shipped rules.

use std::fs;
use std::path::{Path, PathBuf};

use rivetwatch::export::covered::Covering;
use rivetwatch::export::grafana::{GrafanaSettings, grafana};
use rivetwatch::export::loader::Loader;
use rivetwatch::export::merge::merged;
use rivetwatch::export::relabel::{self, Reader};
use rivetwatch::export::rules::{self, Changes, PrometheusRuleSettings, RuleFile};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rule files under `alerts/`, in order of name; other YAML there (inhibition rules) begins with no number.
pub fn shipped() -> Vec<RuleFile> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join("alerts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .filter(|path| {
            path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
        })
        .collect();
    paths.sort();
    let file = |path: PathBuf| RuleFile {
        name: path.file_name().unwrap().to_str().unwrap().to_owned(),
        text: fs::read_to_string(&path).unwrap(),
    };
    paths.into_iter().map(file).collect()
}

#[test]
fn committed_relabelling_is_what_the_export_prints() {
    for (path, reader) in [
        ("deploy/prometheus/relabel.yaml", Reader::Prometheus),
        ("deploy/prometheus/relabel-operator.yaml", Reader::Operator),
    ] {
        let path = root().join(path);
        let text = relabel::print(reader);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "`{}` is not what the export prints: run with UPDATE=1", path.display());
    }
}

#[test]
fn shipped_rules_come_out_unchanged_and_fit_the_operator() {
    let files = shipped();
    assert!(!files.is_empty());
    assert_eq!(rules::prometheus(&files, &Changes::default()).unwrap(), files);
    let text = rules::prometheus_rule(&files, &Changes::default(), &PrometheusRuleSettings::default()).unwrap();
    let objects: Vec<Value> =
        text.split("---\n").filter(|part| !part.is_empty()).map(|part| serde_saphyr::from_str(part).unwrap()).collect();
    assert_eq!(objects.len(), files.len());
    for (object, file) in objects.iter().zip(&files) {
        let original: Value = serde_saphyr::from_str(&file.text).unwrap();
        assert_eq!(object["spec"]["groups"], original["groups"], "{}", file.name);
    }
}

fn alerts_in(files: &[RuleFile]) -> usize {
    files.iter().map(|file| file.text.matches("- alert: ").count()).sum()
}

#[test]
fn shipped_rules_merge_into_one_file_of_all_their_groups() {
    let files = shipped();
    let merged = merged(&files).unwrap();
    assert_eq!(merged.renamed, []);
    let document: Value = serde_saphyr::from_str(&merged.text).unwrap();
    let groups = |text: &str| serde_saphyr::from_str::<Value>(text).unwrap()["groups"].as_array().unwrap().clone();
    assert!(files.iter().all(|file| merged.text.contains(file.text.lines().next().unwrap())), "comments are kept");
    let each: Vec<Value> = files.iter().flat_map(|file| groups(&file.text)).collect();
    assert_eq!(document["groups"].as_array().unwrap(), &each);
}

#[test]
fn older_loaders_and_covered_alerts_take_away_just_that() {
    let files = shipped();
    let older = Changes { oldest: Some(Loader::Prometheus("2.41".parse().unwrap())), ..Changes::default() };
    let out = rules::prometheus(&files, &older).unwrap();
    assert_eq!(alerts_in(&out), alerts_in(&files));
    assert!(out.iter().all(|file| !file.text.contains("keep_firing_for")));
    // 2.42 knows all that the shipped files say.
    let floor = Changes { oldest: Some(Loader::Prometheus("2.42".parse().unwrap())), ..Changes::default() };
    assert_eq!(rules::prometheus(&files, &floor).unwrap(), files);
    let covered = Changes { covered: Covering::KubePrometheus.alerts(), ..Changes::default() };
    let out = rules::prometheus(&files, &covered).unwrap();
    let text: String = out.iter().map(|file| file.text.as_str()).collect();
    for (ours, _) in Covering::KubePrometheus.pairs() {
        assert!(!text.contains(&format!("- alert: {ours}\n")), "{ours}");
    }
    assert!(alerts_in(&out) > 80);
}

#[test]
fn grafana_gets_every_alert_with_an_id_and_a_panel() {
    let files = shipped();
    let out = grafana(&files, &Changes::default(), &GrafanaSettings::default()).unwrap();
    assert_eq!(out.notes, [""; 0], "what ships fits Grafana");
    let document: Value = serde_saphyr::from_str(&out.text).unwrap();
    assert_eq!(document["apiVersion"], 1);
    let mut uids = std::collections::BTreeSet::new();
    let (mut rules, mut panels) = (0, 0);
    for group in document["groups"].as_array().unwrap() {
        let mut titles = std::collections::BTreeSet::new();
        assert_eq!((&group["orgId"], &group["folder"]), (&1.into(), &"Rivet".into()));
        for rule in group["rules"].as_array().unwrap() {
            let uid = rule["uid"].as_str().unwrap();
            assert!(uid.len() <= 40 && uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{uid}");
            assert!(uids.insert(uid.to_owned()), "{uid} twice");
            let title = rule["title"].as_str().unwrap();
            assert!(titles.insert(title.to_owned()) && title.len() <= 190, "{title} twice in {}", group["name"]);
            let refs: Vec<_> = rule["data"].as_array().unwrap().iter().map(|d| d["refId"].clone()).collect();
            assert_eq!(refs, ["A", "B", "C"]);
            let annotations = rule["annotations"].to_string();
            assert!(!annotations.contains("$value ") && !annotations.contains("$externalURL"), "{uid}: {annotations}");
            panels += usize::from(rule["annotations"]["__panelId__"].is_string());
            rules += 1;
        }
    }
    assert_eq!(rules, alerts_in(&files));
    assert!(panels > 70, "{panels}");
}
