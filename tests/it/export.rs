//! What the export writes for Prometheus and Kubernetes: the committed copies under `deploy/`, and the shipped rules.

use std::fs;
use std::path::{Path, PathBuf};

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
