//! The exported autoscalers: what they say, and when the command refuses.

use std::path::Path;
use std::process::{Command, Output};

use rivetwatch::capacity::hpa::{HpaSpec, MetricSpec, PolicyKind, Resource, Source, Target};
use rivetwatch::export::autoscaler::{self, AutoscalerSettings, ResourceTarget, ScalerSettings};
use serde_json::{Value, json};

fn settings() -> AutoscalerSettings {
    AutoscalerSettings {
        name: "rivet-engine".into(),
        namespace: Some("rivet".into()),
        target_api_version: "apps/v1".into(),
        target_kind: "Deployment".into(),
        target_name: "rivet-engine".into(),
        container: "engine".into(),
        min_replicas: 2,
        max_replicas: 7,
        cpu: ResourceTarget::Utilization(70),
        memory: ResourceTarget::Utilization(80),
        behavior: None,
    }
}

#[test]
fn the_autoscaler_is_one_that_the_twin_can_run() {
    let object: Value = serde_saphyr::from_str(&autoscaler::hpa(&settings())).unwrap();
    let spec = HpaSpec::from_manifest(&object).unwrap();
    assert_eq!((spec.min_replicas, spec.max_replicas), (2, 7));
    let of = |resource, percent| MetricSpec {
        source: Source::Resource { resource, container: Some("engine".into()) },
        target: Target::Utilization(percent),
    };
    assert_eq!(spec.metrics, [of(Resource::Cpu, 70), of(Resource::Memory, 80)], "a sidecar does not count");
    let down = spec.behavior.unwrap().scale_down;
    assert_eq!(down.stabilization_window_secs, Some(600));
    assert_eq!(
        (down.policies[0].kind, down.policies[0].value, down.policies[0].period_secs),
        (PolicyKind::Pods, 1, 600)
    );
    assert_eq!(object["metadata"]["namespace"], "rivet");
}

#[test]
fn the_scaled_object_asks_the_agent_by_value() {
    let scaler = ScalerSettings {
        address: "rivetwatch.monitoring:6442".into(),
        token_env: Some("SCALER_TOKEN".into()),
        authentication: Some("rivetwatch".into()),
    };
    let object: Value = serde_saphyr::from_str(&autoscaler::keda(&settings(), &scaler)).unwrap();
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("keda.sh/v1alpha1"), &json!("ScaledObject")));
    let triggers = object["spec"]["triggers"].as_array().unwrap();
    assert_eq!(triggers[0]["metadata"], json!({"value": "70", "containerName": "engine"}));
    let external = &triggers[2];
    assert_eq!(external["metricType"], "Value", "KEDA's default would divide the figure by the replicas");
    let metadata = json!({"scalerAddress": "rivetwatch.monitoring:6442", "metric": "binding", "target": "100", "tokenFromEnv": "SCALER_TOKEN"});
    assert_eq!(external["metadata"], metadata);
    assert_eq!(external["authenticationRef"]["name"], "rivetwatch");
    assert!(
        triggers.iter().all(|t| t["metadata"].as_object().unwrap().values().all(Value::is_string)),
        "KEDA takes texts only"
    );
    let bare = ScalerSettings { token_env: None, authentication: None, ..scaler };
    let object: Value = serde_saphyr::from_str(&autoscaler::keda(&settings(), &bare)).unwrap();
    assert!(object["spec"]["triggers"][2].get("authenticationRef").is_none());
}

fn export(folder: &Path, config: &str, arguments: &[&str]) -> Output {
    let file = folder.join("rivetwatch.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rivetwatch"));
    command.args(["capacity", "export"]).args(arguments).arg("--config").arg(file);
    command.output().unwrap()
}

#[test]
fn bounds_and_targets_come_from_the_configuration_and_what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let spec = |output: &Output| {
        let object: Value = serde_saphyr::from_str(&text(&output.stdout)).unwrap();
        HpaSpec::from_manifest(&object).unwrap()
    };
    // As many as the database carries: (500 - 3) / 64.
    let database = "engine: {backend: postgres}\ncapacity: {postgres: {max_connections: 500, pubsub: false}}\n";
    let out = export(dir.path(), database, &["hpa"]);
    assert_eq!((spec(&out).min_replicas, spec(&out).max_replicas), (2, 7));
    // More is what is asked for, and told.
    let out = export(dir.path(), database, &["hpa", "--max", "10"]);
    assert_eq!(spec(&out).max_replicas, 10);
    assert!(text(&out.stderr).contains("10 replicas need 640 Postgres connections"), "{}", text(&out.stderr));
    let configured = "thresholds: {memory_utilization: {warning: 0.75}}\ncapacity: {autoscaler: {spec: {minReplicas: 3, maxReplicas: 9, metrics: [{type: Resource, resource: {name: cpu, target: {averageUtilization: 65}}}]}}}\n";
    let out = export(dir.path(), configured, &["hpa"]);
    let of = spec(&out);
    assert_eq!((of.min_replicas, of.max_replicas), (3, 9));
    assert_eq!([of.metrics[0].target, of.metrics[1].target], [Target::Utilization(65), Target::Utilization(75)]);
    for (config, arguments, says) in [
        ("", &["hpa"][..], "--max"),
        ("engine: {backend: rocksdb}", &["hpa", "--max", "3"], "exactly one engine"),
        ("", &["keda", "--min", "4", "--max", "3"], "at most the maximum"),
        ("capacity: {autoscaler: {spec: {maxReplicas: 0}}}", &["hpa"], "maxReplicas"),
        // What `kubectl apply` would refuse, or KEDA could not call.
        ("", &["hpa", "--max", "3", "--name", "Bad_Name!"], "--name"),
        ("", &["hpa", "--max", "3", "--namespace", "a: b"], "--namespace"),
        ("", &["hpa", "--max", "3", "--namespace", "a.b"], "--namespace"),
        ("", &["hpa", "--max", "3", "--target-name", "x-"], "--target-name"),
        ("", &["hpa", "--max", "3", "--container", ""], "--container"),
        ("", &["keda", "--max", "3", "--scaler-address", "foo"], "host:port"),
        ("", &["keda", "--max", "3", "--scaler-address", "foo:0"], "host:port"),
        ("", &["keda", "--max", "3", "--scaler-address", "http://foo:1"], "host:port"),
        ("", &["keda", "--max", "3", "--scaler-token-env", "a b"], "--scaler-token-env"),
        ("", &["keda", "--max", "3", "--scaler-authentication", "A"], "--scaler-authentication"),
    ] {
        let out = export(dir.path(), config, arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains(says) && out.stdout.is_empty(), "{says}: {}", text(&out.stderr));
    }
}

/// All of a configured object counts, not only its bounds and percents.
#[test]
fn behavior_target_and_average_values_of_the_configured_object_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = r#"
capacity:
  autoscaler:
    spec:
      scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: my-engine}
      minReplicas: 2
      maxReplicas: 6
      metrics:
        - {type: ContainerResource, containerResource: {name: cpu, container: main, target: {type: Utilization, averageUtilization: 55}}}
        - {type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 3Gi}}}
        - {type: External, external: {metric: {name: queue}, target: {type: Value, value: "30"}}}
      behavior:
        scaleDown: {stabilizationWindowSeconds: 900, policies: [{type: Percent, value: 10, periodSeconds: 60}]}
"#;
    let object = |arguments: &[&str]| -> (Value, String) {
        let out = export(dir.path(), config, arguments);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        (serde_saphyr::from_str(&String::from_utf8_lossy(&out.stdout)).unwrap(), stderr)
    };
    let (hpa, stderr) = object(&["hpa"]);
    assert_eq!(
        hpa["spec"]["scaleTargetRef"],
        json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "my-engine"})
    );
    let down = &hpa["spec"]["behavior"]["scaleDown"];
    assert_eq!(down["stabilizationWindowSeconds"], 900, "{down}");
    assert_eq!(down["policies"], json!([{"type": "Percent", "value": 10, "periodSeconds": 60}]));
    let of = |at: usize| &hpa["spec"]["metrics"][at]["containerResource"];
    assert_eq!((&of(0)["container"], &of(0)["target"]["averageUtilization"]), (&json!("main"), &json!(55)));
    assert_eq!(of(1)["target"], json!({"type": "AverageValue", "averageValue": "3221225472"}));
    assert!(stderr.contains("external metric queue"), "{stderr}");
    let (keda, _) = object(&["keda"]);
    assert_eq!(keda["spec"]["triggers"][1]["metricType"], "AverageValue");
    assert_eq!(keda["spec"]["triggers"][1]["metadata"], json!({"value": "3221225472", "containerName": "main"}));
    // Flags win.
    let (flags, _) = object(&["hpa", "--target-name", "other", "--memory", "75", "--container", "c"]);
    assert_eq!(flags["spec"]["scaleTargetRef"]["name"], "other");
    assert_eq!(flags["spec"]["metrics"][1]["containerResource"]["target"]["averageUtilization"], 75);
    assert_eq!(flags["spec"]["metrics"][0]["containerResource"]["container"], "c");
}
