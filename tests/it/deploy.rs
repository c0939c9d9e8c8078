//! What stands in `deploy/` keeps its promises: hardening, the sidecar that never holds its engine back, least rights.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// The YAML documents of a file.
fn documents(file: &str) -> Vec<Value> {
    let text = read(file);
    let parts =
        text.split("\n---\n").map(|part| serde_saphyr::from_str(part).unwrap_or_else(|e| panic!("{file}: {e}")));
    parts.collect()
}

fn document(file: &str) -> Value {
    let mut all = documents(file);
    assert_eq!(all.len(), 1, "{file}");
    all.remove(0)
}

/// Every YAML file below `deploy/`.
fn yaml_files() -> Vec<PathBuf> {
    let (mut waiting, mut out) = (vec![folder()], Vec::new());
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|e| e == "yaml") {
            out.push(path);
        }
    }
    out
}

#[test]
fn every_file_is_yaml_and_says_what_it_is() {
    let files = yaml_files();
    assert!(files.len() > 12, "{files:?}");
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "`{}` begins without a word on what it is", path.display());
        for part in text.split("\n---\n") {
            serde_saphyr::from_str::<Value>(part).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

fn sidecar() -> Value {
    document("kubernetes/sidecar/sidecar.yaml")["spec"]["template"]["spec"].take()
}

#[test]
fn sidecar_never_holds_its_engine_back() {
    let pod = sidecar();
    let agent = &pod["initContainers"][0];
    assert_eq!(agent["restartPolicy"], "Always", "a native sidecar");
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert!(agent.get(probe).is_none(), "{probe}");
    }
    for kind in ["requests", "limits"] {
        for resource in ["cpu", "memory"] {
            assert!(agent["resources"][kind][resource].is_string(), "{kind}.{resource}");
        }
    }
    // What may be missing must not keep the pod from starting.
    let secret = pod["volumes"].as_array().unwrap().iter().find(|v| v.get("secret").is_some()).unwrap();
    assert_eq!(secret["secret"]["optional"], true);
    let config = document("kubernetes/sidecar/rivetwatch.yaml");
    assert_eq!(config["role"], "sidecar");
    assert!(config["receive"]["otlp"]["grpc"]["endpoint"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(config.get("notify").is_none() && config.get("rules").is_none(), "a sidecar judges nothing");
}

#[test]
fn sidecar_sees_the_engine_and_its_limits() {
    let pod = sidecar();
    assert_eq!(pod["shareProcessNamespace"], true);
    let engine = &pod["containers"][0];
    assert_eq!(engine["ports"][0]["containerPort"], 6430);
    let env = pod["initContainers"][0]["env"].as_array().unwrap();
    let source = |name: &str| &env.iter().find(|e| e["name"] == name).unwrap_or_else(|| panic!("{name}"))["valueFrom"];
    assert_eq!(source("POD_NAME")["fieldRef"]["fieldPath"], "metadata.name");
    assert_eq!(source("POD_NAMESPACE")["fieldRef"]["fieldPath"], "metadata.namespace");
    let mut resources: Vec<&str> = Vec::new();
    for reference in env.iter().filter_map(|e| e["valueFrom"].get("resourceFieldRef")) {
        assert_eq!(reference["containerName"], engine["name"], "the engine's resources, not the agent's own");
        resources.push(reference["resource"].as_str().unwrap());
    }
    assert_eq!(resources, ["requests.cpu", "limits.cpu", "requests.memory", "limits.memory"]);
}

#[test]
fn containers_are_hardened() {
    let gateway = document("kubernetes/gateway/statefulset.yaml")["spec"]["template"]["spec"].take();
    assert_eq!(gateway["securityContext"]["runAsNonRoot"], true);
    assert_eq!(gateway["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let agent = sidecar()["initContainers"][0].take();
    assert_eq!(agent["securityContext"]["runAsNonRoot"], true);
    assert_eq!(agent["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in [&gateway["containers"][0], &agent] {
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"][0], "ALL");
    }
    let image = read("Dockerfile");
    assert!(image.contains("FROM scratch") && image.contains("USER 65532:65532"));
}

#[test]
fn gateway_is_one_judge_with_a_volume_and_probes_of_its_own() {
    let set = document("kubernetes/gateway/statefulset.yaml");
    assert_eq!(set["spec"]["replicas"], 1);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let port = |name: &str| {
        let ports = container["ports"].as_array().unwrap();
        ports.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("{name}"))["containerPort"].as_u64().unwrap()
    };
    assert_eq!(port("probe"), 6441);
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "probe", "{probe}");
    }
    let config = document("kubernetes/gateway/rivetwatch.yaml");
    let listens = |value: &Value, name: &str| assert!(value.as_str().unwrap().ends_with(&format!(":{}", port(name))));
    listens(&config["receive"]["otlp"]["grpc"]["endpoint"], "otlp-grpc");
    listens(&config["receive"]["otlp"]["http"]["endpoint"], "otlp-http");
    listens(&config["api"]["listen"], "http");
    listens(&config["probe"]["listen"], "probe");
    // Beyond loopback nothing is open without a token.
    assert!(
        config["api"]["auth"]["token_file"].is_string() && config["receive"]["otlp"]["auth"]["token_file"].is_string()
    );
    assert_eq!(document("kubernetes/gateway/service.yaml")["spec"]["clusterIP"], "None");
    let labels = &set["spec"]["selector"]["matchLabels"];
    assert_eq!(labels, &document("kubernetes/gateway/service.yaml")["spec"]["selector"]);
    assert_eq!(labels, &document("kubernetes/gateway/networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"]);
    assert_eq!(labels, &document("kubernetes/gateway/poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"]);
}

#[test]
fn role_is_read_only_and_namespaced() {
    let documents = documents("kubernetes/gateway/rbac.yaml");
    assert!(documents.iter().all(|d| !d["kind"].as_str().unwrap().starts_with("Cluster")));
    let role = documents.iter().find(|d| d["kind"] == "Role").unwrap();
    for rule in role["rules"].as_array().unwrap() {
        for verb in rule["verbs"].as_array().unwrap() {
            assert!(["get", "list", "watch"].iter().any(|v| verb == v), "{rule}");
        }
        for resource in rule["resources"].as_array().unwrap() {
            let resource = resource.as_str().unwrap();
            assert!(!["secrets", "nodes", "configmaps", "*"].contains(&resource) && !resource.contains('/'), "{rule}");
        }
    }
}

#[test]
fn unit_drops_every_privilege() {
    let unit = read("systemd/rivetwatch.service");
    for line in [
        "DynamicUser=yes",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "StateDirectory=rivetwatch",
    ] {
        assert!(unit.lines().any(|l| l == line), "{line}");
    }
    // With it the agent could not see the engine's process.
    assert!(!unit.contains("ProtectProc=invisible"));
}

#[test]
fn each_recipe_has_one_judge_and_one_pager() {
    let receivers = |file: &str| document(file)["notify"]["receivers"].as_array().unwrap().clone();
    assert!(receivers("examples/agent-alone.yaml").iter().any(|r| r.get("pagerduty_configs").is_some()));
    assert!(receivers("examples/existing-prometheus.yaml").is_empty());
    let handed_on = receivers("examples/existing-alertmanager.yaml");
    assert_eq!(handed_on.len(), 1, "nobody else is told");
    assert!(handed_on[0]["alertmanager_configs"][0]["urls"].as_array().unwrap().len() > 1, "every instance");
}

#[test]
fn overridden_alerts_of_the_examples_exist() {
    let alerts: String = crate::export::shipped().into_iter().map(|file| file.text).collect();
    let example = document("examples/agent-alone.yaml");
    let names = example["rules"]["override"].as_object().unwrap().keys();
    for name in names {
        assert!(alerts.contains(&format!("alert: {name}\n")), "`{name}`");
    }
}
