//! `rivetwatch check` as a pipeline runs it: what it says to inputs that are none, and with which exit.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::checklist::shipped_folder;

/// Runs the command without the configuration and the clusters of this machine.
fn check(args: &[&str], stdin: &str) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
    command.arg("check").args(args).env_clear().env("HOME", home.path()).current_dir(home.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

/// Asserts that the arguments are refused with exit 2 and a reason, and that nothing is printed.
#[track_caller]
fn refused(args: &[&str], stdin: &str, word: &str) {
    let done = check(args, stdin);
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{args:?}: {stderr}");
    assert!(stderr.contains(word), "{args:?}: {stderr}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "{args:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn an_input_that_is_named_and_cannot_be_read_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, "apiVersion: v1\nkind: Config\ncontexts: []\nclusters: []\nusers: []\n").unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let shipped = shipped_folder();
    refused(&["--manifests", "/nowhere/k8s"], "", "--manifests: `/nowhere/k8s` could not be read");
    refused(&["--manifests", text(&empty)], "", "hold no Kubernetes object");
    refused(&["--manifests", "-"], "", "hold no Kubernetes object");
    refused(&["--manifests", text(&empty), "--fix", "kustomize"], "", "hold no Kubernetes object");
    refused(&["--kubeconfig", "/nowhere/config"], "", "--kubeconfig: the kubeconfig cannot be read");
    refused(&["--kubeconfig", text(&kubeconfig), "--context", "nope"], "", "nope");
    refused(&["--manifests", text(&shipped), "--engine-config", "/nowhere/rivet.json"], "", "--engine-config");
    refused(&["--manifests", text(&shipped), "--admin-token-file", "/nowhere/token"], "", "--admin-token-file");
    refused(&["--manifests", text(&shipped), "--postgres-url-file", "/nowhere/url"], "", "--postgres-url-file");
}

#[test]
fn what_cannot_go_together_is_refused() {
    let shipped = shipped_folder();
    let manifests = ["--manifests", text(&shipped)];
    refused(&[&manifests[..], &["--watch", "0s"]].concat(), "", "shorter than 1 s");
    refused(&["--manifests", "-", "--watch"], "", "standard input");
    refused(&[&manifests[..], &["--fix", "kustomize", "-o", "json"]].concat(), "", "cannot be used with");
}

#[test]
fn what_is_read_and_is_not_met_is_a_finding() {
    let shipped = shipped_folder();
    let of = |args: &[&str]| check(&[&["--manifests", text(&shipped)], args].concat(), "");
    assert_eq!(of(&["--only", "image-pinned"]).status.code(), Some(1));
    assert_eq!(of(&["--only", "tls-chain"]).status.code(), Some(0), "unknown is no failure by itself");
    assert_eq!(of(&["--only", "tls-chain", "--deny-unknown"]).status.code(), Some(1));
    // Who runs the command is told the flag and not the key alone.
    let shown = String::from_utf8(of(&["--only", "postgres-load,admin-token-strong"]).stdout).unwrap();
    let token = "`receive.engine_api.admin_token_file` (`--admin-token-file` here)";
    assert!(shown.contains("`--telemetry`") && shown.contains(token), "{shown}");
    let help = String::from_utf8(check(&["--help"], "").stdout).unwrap();
    assert!(help.contains("2 wrong usage, or a file") && help.contains("With --fix: 0 a patch was written"), "{help}");
}

#[test]
fn a_cluster_that_cannot_be_reached_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let config = "{apiVersion: v1, kind: Config, current-context: t, contexts: [{name: t, context: {cluster: c, user: u}}], \
                  clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}]}";
    std::fs::write(&kubeconfig, config).unwrap();
    let done = check(&["--kubeconfig", text(&kubeconfig), "--only", "image-pinned"], "");
    let shown = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && shown.contains("cannot be reached") && shown.contains("1 unknown"), "{shown}");
}
