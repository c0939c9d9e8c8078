//! What was not seen is unknown with its reason: broken objects, configuration that is not read, files that are cut.

use rivetwatch::checklist::cluster::Objects;
use rivetwatch::checklist::known::{Known, Listed};
use rivetwatch::checklist::probes::manifests;
use rivetwatch::checklist::{Report, Status};
use serde_json::{Value, json};

use crate::checklist::{CONTAINER, POD, each, engine, finding, report, set, shipped, with};

/// Asserts that an item is unknown, and that its reason holds a word.
#[track_caller]
fn is_unknown(report: &Report, item: &str, word: &str) {
    let finding = finding(report, item);
    assert_eq!(finding.status, Status::Unknown, "{finding:?}");
    assert!(finding.reason.contains(word), "`{word}`: {finding:?}");
}

/// Items that are about one database or another, and so about nothing where it is not known.
const BY_DATABASE: [&str; 5] =
    ["rocksdb-one-node", "postgres-backend", "postgres-standby", "postgres-connections", "nats-in-use"];

#[test]
fn configuration_that_is_not_read_is_no_rocksdb() {
    let volume = |volume: Value| engine(&format!("{POD}/volumes/0"), volume);
    let args = |args: Value| {
        with(move |o| {
            each(&mut o.deployments, |d| {
                set(d, &format!("{CONTAINER}/args"), args.clone());
                set(d, &format!("{CONTAINER}/volumeMounts"), json!([]));
            });
        })
    };
    for (objects, word) in [
        (volume(json!({"name": "config", "secret": {"secretName": "rivet-config"}})), "Secret rivet-config"),
        (volume(json!({"name": "config", "csi": {"driver": "secrets-store.csi.k8s.io"}})), "type csi"),
        (volume(json!({"name": "config", "emptyDir": {}})), "type emptyDir"),
        (volume(json!({"name": "config", "projected": {"sources": [{"secret": {"name": "s"}}]}})), "Secret s"),
        (volume(json!({"name": "another", "configMap": {"name": "engine-config"}})), "volume config"),
        (args(json!(["start", "--config", "/app/rivet.json"])), "/app/rivet.json"),
        (args(json!(["start", "--config=/app/rivet.json"])), "/app/rivet.json"),
        (args(json!(["sh", "-c", "exec rivet-engine --config /app/rivet.json"])), "script"),
        (args(json!(["start"])), "its image"),
    ] {
        let report = report(objects);
        for item in BY_DATABASE {
            is_unknown(&report, item, word);
        }
        // What is about several nodes is judged, since nothing says that there is but one.
        assert_eq!(finding(&report, "disruption-budget").status, Status::Pass, "{word}");
        assert_ne!(finding(&report, "node-spread").status, Status::Skipped, "{word}");
    }
}

#[test]
fn configuration_is_read_from_projected_volumes_single_files_and_other_places() {
    let projected = json!({"name": "config", "projected": {"sources": [{"configMap": {"name": "engine-config"}}]}});
    let single = |o: &mut Objects| {
        each(&mut o.deployments, |d| {
            let mount = json!({"name": "config", "mountPath": "/etc/rivet/x.jsonc", "subPath": "config.jsonc"});
            set(d, &format!("{CONTAINER}/volumeMounts/0"), mount);
        });
    };
    let elsewhere = |o: &mut Objects| {
        each(&mut o.deployments, |d| {
            set(d, &format!("{CONTAINER}/args"), json!(["start", "--config=/conf/config.jsonc"]));
            set(d, &format!("{CONTAINER}/volumeMounts/0/mountPath"), json!("/conf"));
        });
    };
    for objects in [engine(&format!("{POD}/volumes/0"), projected), with(single), with(elsewhere)] {
        let report = report(objects);
        assert_eq!(finding(&report, "postgres-backend").status, Status::Info, "{report:#?}");
        assert_eq!(finding(&report, "nats-in-use").status, Status::Pass);
    }
    // A folder with certificates below it is no configuration.
    let with_certificates = with(|o| {
        each(&mut o.deployments, |d| {
            d.pointer_mut(&format!("{POD}/volumes"))
                .unwrap()
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "tls", "secret": {"secretName": "postgres-tls"}}));
            d.pointer_mut(&format!("{CONTAINER}/volumeMounts"))
                .unwrap()
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "tls", "mountPath": "/etc/rivet/tls"}));
        });
        each(&mut o.config_maps, |m| set(m, "/data/config.jsonc", json!("{}")));
    });
    assert_eq!(finding(&report(with_certificates), "rocksdb-one-node").status, Status::Fail, "all of it was read");
}

#[test]
fn a_config_map_that_cannot_be_read_hides_what_it_holds() {
    let data = |data: Value| with(move |o| each(&mut o.config_maps, |m| set(m, "/data", data.clone())));
    let cut = "{\"postgres\": {\"url\": \"postgresql://postgres:post";
    let mut absent = shipped();
    absent.config_maps.as_mut().unwrap().items.clear();
    let mut binary = shipped();
    each(&mut binary.config_maps, |m| {
        m["binaryData"] = json!({"config.jsonc": "e30="});
        m["data"] = json!({});
    });
    for objects in [
        data(json!("x")),
        data(Value::Null),
        data(json!({"notes.txt": "x"})),
        data(json!({"config.jsonc": [1, 2]})),
        data(json!({"config.jsonc": true})),
        data(json!({"config.jsonc": -1})),
        data(json!({"config.jsonc": cut})),
        absent,
        binary,
    ] {
        let report = report(objects);
        for item in BY_DATABASE.into_iter().chain(["secrets-in-secrets"]) {
            is_unknown(&report, item, "ConfigMap engine-config");
        }
    }
    // Another workload's may hold a password just as well.
    let of_postgres = with(|o| {
        each(&mut o.stateful_sets, |s| {
            let from = json!([{"configMapRef": {"name": "postgres-settings"}}]);
            s.pointer_mut(CONTAINER).unwrap()["envFrom"] = from;
        });
        each(&mut o.config_maps, |m| set(m, "/data/config.jsonc", json!("{}")));
    });
    is_unknown(&report(of_postgres), "secrets-in-secrets", "postgres-settings");
}

/// What may be in the hands of a person with a keyboard: the value at a place turned into one of another type.
fn broken(value: &Value, at: usize, variant: usize) -> Option<Value> {
    fn walk(value: &mut Value, left: &mut usize, variant: usize) -> bool {
        if *left == 0 {
            let first = variant == 0;
            *value = match value {
                Value::String(_) if first => json!(17),
                Value::String(_) => json!(["x"]),
                Value::Number(_) if first => json!("many"),
                Value::Number(_) => json!(-1),
                Value::Object(_) if first => json!([]),
                Value::Object(_) => json!("x"),
                Value::Array(_) if first => json!({}),
                Value::Array(_) => json!(true),
                _ => json!("what"),
            };
            return true;
        }
        *left -= 1;
        match value {
            Value::Object(map) => map.values_mut().any(|v| walk(v, left, variant)),
            Value::Array(items) => items.iter_mut().any(|v| walk(v, left, variant)),
            _ => false,
        }
    }
    let mut copy = value.clone();
    let mut left = at;
    walk(&mut copy, &mut left, variant).then_some(copy)
}

/// The shipped objects, and with them what they lack: Ingresses, a spread, secrets in the wrong places.
fn unmet_in_every_way() -> Objects {
    with(|o| {
        for (name, port) in [("rivet", 6420), ("peer", 6421)] {
            let service = json!({"service": {"name": "rivet-engine", "port": {"number": port}}});
            o.ingresses.as_mut().unwrap().items.push(json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": name, "namespace": "rivet-engine",
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "60"}},
                "spec": {"ingressClassName": "nginx", "rules": [{"host": "r.example.com",
                    "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}]},
            }));
        }
        each(&mut o.deployments, |d| {
            let pod = d.pointer_mut(POD).unwrap();
            pod["topologySpreadConstraints"] = json!([{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "another"}}}]);
            pod["initContainers"] = json!([{"name": "migrate", "image": "migrate:1.0.0", "args": ["--verbose"],
                "env": [{"name": "MODE", "value": "up"}], "envFrom": [{"configMapRef": {"name": "engine-config"}}]}]);
        });
        each(&mut o.autoscalers, |a| {
            let metrics = a["spec"]["metrics"].as_array_mut().unwrap();
            metrics[0]["resource"]["target"]["averageUtilization"] = json!(75);
            metrics[1]["resource"]["target"]["averageUtilization"] = json!(90);
        });
        each(&mut o.budgets, |b| {
            if b["metadata"]["name"] == "rivet-engine" {
                b["spec"]["maxUnavailable"] = json!(0);
            }
        });
    })
}

/// The peer port opened by one Ingress alone, and no password to be found, so that one broken value would hide each.
fn unmet_by_one_thing_each() -> Objects {
    let mut objects = unmet_in_every_way();
    each(&mut objects.services, |s| set(s, "/spec/type", json!("ClusterIP")));
    let config = "{\"postgres\": {\"url\": \"postgres://u@postgres/x\"}, \"nats\": {\"addresses\": [\"nats:4222\"]}}";
    each(&mut objects.config_maps, |m| set(m, "/data/config.jsonc", json!(config)));
    each(&mut objects.deployments, |d| {
        set(d, &format!("{POD}/initContainers/0/env/0"), json!({"name": "RIVET_TOKEN", "value": "s3cret-t0ken"}));
    });
    objects
}

/// The lists of every kind.
fn lists(objects: &mut Objects) -> [&mut Known<Listed<Value>>; 7] {
    [
        &mut objects.deployments,
        &mut objects.stateful_sets,
        &mut objects.services,
        &mut objects.ingresses,
        &mut objects.autoscalers,
        &mut objects.budgets,
        &mut objects.config_maps,
    ]
}

/// An object as it is read from a file, so that what says of which kind it is may be broken too.
fn read_alone(object: &Value) -> Objects {
    let beside = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rivet-engine"}});
    let text = json!({"apiVersion": "v1", "kind": "List", "items": [beside, object]}).to_string();
    manifests::read_text("broken", &text, None, None).unwrap()
}

/// No broken value makes an item pass that does not pass without it, or fail that does not fail; none makes it crash.
#[test]
fn half_broken_objects_never_make_an_item_pass_or_fail() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for base in [shipped(), unmet_in_every_way(), unmet_by_one_thing_each()] {
        let before = report(base.clone());
        let before: Vec<(&str, Status)> = before.findings.iter().map(|f| (f.item.as_str(), f.status)).collect();
        let mut whole = base.clone();
        let places = lists(&mut whole).into_iter().enumerate().flat_map(|(kind, list)| {
            let objects = list.as_ref().unwrap().items.clone().into_iter().enumerate();
            objects.map(move |(i, object)| (kind, i, object)).collect::<Vec<_>>()
        });
        for (kind, i, object) in places {
            let mut others = base.clone();
            lists(&mut others)[kind].as_mut().unwrap().items.remove(i);
            for (at, variant) in (0..).flat_map(|at| [(at, 0), (at, 1)]) {
                let Some(broken) = broken(&object, at, variant) else { break };
                let mut changed = others.clone();
                for (list, more) in lists(&mut changed).into_iter().zip(lists(&mut read_alone(&broken))) {
                    let (list, more) = (list.as_mut().unwrap(), more.as_mut().unwrap());
                    list.items.append(&mut more.items);
                    list.unread.append(&mut more.unread);
                }
                let after = report(changed);
                tried += 1;
                for (item, was) in &before {
                    let finding = finding(&after, item);
                    let is_wrong = match (was, finding.status) {
                        // What does not apply is no pass either, and must not become one.
                        (Status::Pass | Status::Info, Status::Pass) => false,
                        (_, Status::Pass) => true,
                        // Nor does an unmet item stop to apply because its object is broken.
                        (Status::Fail | Status::Warn, Status::Skipped) => true,
                        (Status::Pass | Status::Info | Status::Unknown | Status::Skipped, Status::Fail) => true,
                        _ => false,
                    };
                    if is_wrong && !is_a_readable_change(item, &broken) {
                        wrong.push(format!("{kind}[{i}] at {at}: {was:?} -> {finding:?}\n  {broken}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
    assert!(tried > 1_000, "only {tried} breaks were tried");
}

/// Breaks that leave an object readable and another than it was, so that another answer is right.
fn is_a_readable_change(item: &str, broken: &Value) -> bool {
    let text = broken.to_string();
    match item {
        // A name that no container gives to a port leads nowhere.
        "peer-port-closed" | "plain-http-closed" => text.contains("\"targetPort\":\"many\""),
        // A bare number is a quantity: of bytes, and of few.
        "requests" | "limits" => text.contains("\"memory\":17"),
        _ => false,
    }
}
