//! Manifests as people write them: several namespaces, KEDA, the Gateway API, sidecars, controllers of other makers.

use rivetwatch::checklist::cluster::Objects;
use rivetwatch::checklist::known::{Listed, unknown};
use rivetwatch::checklist::probes::manifests;
use rivetwatch::checklist::{Choice, Status, judge};
use rivetwatch::export::autoscaler::{AutoscalerSettings, ResourceTarget, ScalerSettings, keda};
use serde_json::{Value, json};

use crate::checklist::{CONTAINER, POD, each, engine, evidence, finding, report, set, shipped, status, with};

/// The objects of a text, read as a file is.
fn read(text: &str) -> Objects {
    manifests::read_text("x.yaml", text, None, None).unwrap()
}

/// The shipped manifests with an object more.
fn and(object: Value) -> Objects {
    let more = read(&object.to_string());
    with(|o| {
        for (list, new) in [
            (&mut o.services, &more.services),
            (&mut o.ingresses, &more.ingresses),
            (&mut o.routes, &more.routes),
            (&mut o.autoscalers, &more.autoscalers),
        ] {
            list.as_mut().unwrap().items.extend(new.as_ref().unwrap().items.iter().cloned());
        }
    })
}

#[test]
fn the_exported_scaled_object_is_an_autoscaler() {
    let settings = AutoscalerSettings {
        name: "rivet-engine".into(),
        namespace: Some("rivet-engine".into()),
        target_api_version: "apps/v1".into(),
        target_kind: "Deployment".into(),
        target_name: "rivet-engine".into(),
        container: "rivet-engine".into(),
        min_replicas: 2,
        max_replicas: 9,
        cpu: ResourceTarget::Utilization(70),
        memory: ResourceTarget::Utilization(85),
        behavior: None,
    };
    let scaler = ScalerSettings { address: "rivetwatch:6442".into(), token_env: None, authentication: None };
    let exported = read(&keda(&settings, &scaler));
    let objects = with(|o| o.autoscalers = exported.autoscalers.clone());
    let report = report(objects);
    assert_eq!(finding(&report, "autoscaler").status, Status::Pass);
    assert_eq!(finding(&report, "autoscaler-cpu").status, Status::Pass);
    let memory = finding(&report, "autoscaler-memory");
    assert!(memory.status == Status::Warn && memory.reason.contains("ScaledObject rivet-engine: 85 %"), "{memory:?}");
    let connections = finding(&report, "postgres-connections");
    assert_eq!(connections.status, Status::Fail, "{connections:?}");
    assert!(connections.reason.contains("`maxReplicaCount` 9 of ScaledObject rivet-engine"), "{connections:?}");
    // KEDA takes away everything when the minimum is not said.
    let mut to_zero = shipped();
    to_zero.autoscalers = exported.autoscalers.clone();
    each(&mut to_zero.autoscalers, |a| set(a, "/spec/minReplicaCount", Value::Null));
    assert_eq!(status(to_zero, "autoscaler"), Status::Warn);
}

#[test]
fn objects_of_another_namespace_are_not_the_engines() {
    type Change = fn(&mut Objects);
    fn moved(list: &mut rivetwatch::checklist::known::Known<Listed<Value>>) {
        each(list, |object| set(object, "/metadata/namespace", json!("staging")));
    }
    let cases: [(&str, Status, Change); 5] = [
        ("autoscaler", Status::Fail, |o| moved(&mut o.autoscalers)),
        ("disruption-budget", Status::Fail, |o| moved(&mut o.budgets)),
        ("peer-port-closed", Status::Pass, |o| moved(&mut o.services)),
        ("postgres-backend", Status::Unknown, |o| moved(&mut o.config_maps)),
        // One that says nothing of its namespace goes where it is applied.
        ("autoscaler", Status::Pass, |o| each(&mut o.autoscalers, |a| set(a, "/metadata/namespace", Value::Null))),
    ];
    for (item, expected, change) in cases {
        let report = report(with(change));
        assert_eq!(finding(&report, item).status, expected, "{:?}", finding(&report, item));
    }
    // Two engines are two installations, each with a configuration of its own.
    let both = with(|o| {
        let mut other = o.deployments.as_ref().unwrap().items[0].clone();
        set(&mut other, "/metadata/namespace", json!("staging"));
        o.deployments.as_mut().unwrap().items.push(other);
    });
    let report = report(both);
    for item in ["disruption-budget", "node-spread", "image-pinned"] {
        let finding = finding(&report, item);
        assert!(finding.status == Status::Unknown && finding.reason.contains("rivet-engine, staging"), "{finding:?}");
    }
}

#[test]
fn targets_of_a_sidecar_do_not_scale_the_engine() {
    let of = |name: &str, container: &str, percent: u32| {
        let target = json!({"type": "Utilization", "averageUtilization": percent});
        let resource = json!({"name": name, "container": container, "target": target});
        json!({"type": "ContainerResource", "containerResource": resource})
    };
    let metrics =
        |metrics: Value| with(move |o| each(&mut o.autoscalers, |a| set(a, "/spec/metrics", metrics.clone())));
    let sidecar = report(metrics(json!([of("cpu", "sidecar", 60), of("memory", "sidecar", 80)])));
    for item in ["autoscaler-cpu", "autoscaler-memory"] {
        let finding = finding(&sidecar, item);
        assert!(finding.status == Status::Fail && finding.reason.contains("container sidecar alone"), "{finding:?}");
    }
    // Whichever is reached first decides, in whatever order they stand.
    let both = [of("cpu", "rivet-engine", 70), of("cpu", "sidecar", 95)];
    assert_eq!(status(metrics(json!([both[0], both[1]])), "autoscaler-cpu"), Status::Pass);
    assert_eq!(status(metrics(json!([both[1], both[0]])), "autoscaler-cpu"), Status::Pass);
    // The pod as a whole is measured against the requests of all its containers.
    let sidecar = json!({"name": "sidecar", "image": "proxy:1.0.0"});
    let with_sidecar = with(|o| {
        each(&mut o.deployments, |d| {
            d.pointer_mut(POD).unwrap()["containers"].as_array_mut().unwrap().push(sidecar.clone());
        });
    });
    let report = report(with_sidecar);
    let cpu = finding(&report, "autoscaler-cpu");
    assert!(cpu.status == Status::Fail && cpu.reason.contains("request of container sidecar"), "{cpu:?}");
}

#[test]
fn routes_of_the_gateway_api_open_ports_too() {
    let route = |kind: &str, port: Value| {
        let backends = json!([{"name": "rivet-engine", "port": port}]);
        let route = json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": kind,
            "metadata": {"name": "peer", "namespace": "rivet-engine"}, "spec": {"rules": [{"backendRefs": backends}]},
        });
        let mut objects = and(route);
        each(&mut objects.services, |s| set(s, "/spec/type", json!("ClusterIP")));
        objects
    };
    let report_of = |objects: Objects| judge(&evidence(objects), &Choice::default());
    for kind in ["HTTPRoute", "TCPRoute"] {
        let report = report_of(route(kind, json!(6421)));
        let peer = finding(&report, "peer-port-closed");
        assert!(peer.status == Status::Fail && peer.reason.contains(&format!("{kind} peer leads to")), "{peer:?}");
    }
    assert_eq!(status(route("HTTPRoute", json!(6420)), "peer-port-closed"), Status::Pass);
    assert_eq!(status(route("HTTPRoute", json!("6421")), "peer-port-closed"), Status::Unknown, "a broken route");
    // Without a right to list them, the pass says that they were not looked at.
    let mut unlisted = route("HTTPRoute", json!(6420));
    unlisted.routes = unknown("no right to list httproutes");
    let report = report_of(unlisted);
    let peer = finding(&report, "peer-port-closed");
    assert_eq!(peer.status, Status::Pass);
    assert!(peer.evidence[0].contains("not looked at (no right to list httproutes)"), "{peer:?}");
}

#[test]
fn annotations_are_those_of_the_controller_that_reads_them() {
    let ingress = |annotations: Value| {
        let backend = json!({"service": {"name": "rivet-engine", "port": {"number": 6420}}});
        and(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "r", "annotations": annotations},
            "spec": {"ingressClassName": "nginx", "rules": [{"http": {"paths": [{"path": "/", "backend": backend}]}}]},
        }))
    };
    let both = |prefix: &str, time: &str| json!({format!("{prefix}/proxy-read-timeout"): time, format!("{prefix}/proxy-send-timeout"): time});
    for (annotations, expected) in [
        (both("nginx.org", "3600s"), Status::Pass),
        (both("nginx.org", "1h"), Status::Pass),
        (both("nginx.org", "60s"), Status::Fail),
        (both("nginx.org", "1h 1m"), Status::Unknown),
        (json!({"nginx.org/proxy-read-timeout": "3600s"}), Status::Fail),
        (both("nginx.ingress.kubernetes.io", "3600"), Status::Pass),
        // The community's controller takes bare numbers and passes over everything else.
        (both("nginx.ingress.kubernetes.io", "3600s"), Status::Unknown),
    ] {
        let report = report(ingress(annotations.clone()));
        let finding = finding(&report, "ingress-timeout");
        assert_eq!(finding.status, expected, "{annotations}: {finding:?}");
    }
}

/// The shipped engine with this configuration.
fn config(text: &str) -> Objects {
    with(|o| each(&mut o.config_maps, |m| set(m, "/data/config.jsonc", json!(text))))
}

const NO_SECRETS: &str = r#"{"postgres": {"url": "postgres://u@postgres/x"}, "nats": {"addresses": ["nats:4222"]}}"#;

/// The shipped engine without a secret in the wrong place, and with a change of its pod.
fn pod(change: impl Fn(&mut Value)) -> Objects {
    let mut objects = config(NO_SECRETS);
    each(&mut objects.deployments, |d| change(d.pointer_mut(POD).unwrap()));
    objects
}

#[test]
fn secrets_are_found_by_their_names_wherever_they_stand() {
    let secret = "hunter2-hunter2";
    let env = |name: &str, value: &str| {
        let variable = json!({"name": name, "value": value});
        pod(move |p| p["containers"][0]["env"].as_array_mut().unwrap().push(variable.clone()))
    };
    let args = |args: Value| pod(move |p| p["containers"][0]["args"] = args.clone());
    let init = |container: Value| pod(move |p| p["initContainers"] = json!([container]));
    let of_config = |more: &str| config(&NO_SECRETS.replacen('{', &format!("{{{more}, "), 1));
    let key = |key: &str, value: &str| {
        let mut objects = config(NO_SECRETS);
        each(&mut objects.config_maps, |m| m["data"][key] = json!(value));
        objects
    };
    for (objects, expected) in [
        (config(NO_SECRETS), Status::Pass),
        (
            config(&NO_SECRETS.replace("\"addresses\"", &format!("\"password\": \"{secret}\", \"addresses\""))),
            Status::Warn,
        ),
        (of_config(&format!("\"postgres_notify\": {{\"url\": \"postgres://u:{secret}@db/x\"}}")), Status::Warn),
        (of_config(&format!("\"auth\": {{\"admin_token\": \"{secret}\"}}")), Status::Fail),
        (key("POSTGRES_PASSWORD", secret), Status::Warn),
        (key("settings.env", &format!("REDIS=redis://:{secret}@r/0")), Status::Warn),
        (key("tls.key", "-----BEGIN EC PRIVATE KEY-----\nhunter2-hunter2"), Status::Warn),
        (env("RIVET__NATS__PASSWORD", secret), Status::Warn),
        (env("POSTGRES_PASSWORD", secret), Status::Warn),
        (env("REDIS_URL", &format!("redis://:{secret}@redis/0")), Status::Warn),
        (env("POSTGRES_PASSWORD_FILE", "/run/secrets/x"), Status::Pass),
        (env("DATABASE_URL", "postgres://u:$(PG_PASSWORD)@db/x"), Status::Pass),
        (env("RIVET_PUBLIC_ENDPOINT", "https://default:pk_abcdef@rivet.example.com"), Status::Pass),
        (args(json!(["start", "--admin-token", secret])), Status::Fail),
        (args(json!(["start", format!("--admin-token={secret}")])), Status::Fail),
        (args(json!(["sh", "-c", format!("PGPASSWORD={secret} exec rivet-engine start")])), Status::Warn),
        (args(json!(["start", "--token-file", "/run/token"])), Status::Pass),
        (
            init(json!({"name": "i", "image": "i:1.0.0", "env": [{"name": "RIVET_TOKEN", "value": secret}]})),
            Status::Fail,
        ),
        (init(json!({"name": "i", "image": "i:1.0.0", "args": ["--password", secret]})), Status::Warn),
    ] {
        let report = report(objects);
        let finding = finding(&report, "secrets-in-secrets");
        assert_eq!(finding.status, expected, "{finding:?}");
        assert!(!format!("{report:?}").contains("hunter2"), "{finding:?}");
    }
}

#[test]
fn a_database_elsewhere_is_not_judged_by_a_server_that_stands_around() {
    for url in ["postgres://u@mydb.rds.amazonaws.com/x", "postgres://u@postgres.other-namespace/x"] {
        let report = report(config(&NO_SECRETS.replace("postgres://u@postgres/x", url)));
        for item in ["postgres-standby", "postgres-connections", "postgres-failover"] {
            let finding = finding(&report, item);
            assert_eq!(finding.status, Status::Unknown, "{url}: {finding:?}");
        }
    }
    // Its own, by every name that Kubernetes gives it.
    for host in ["postgres", "postgres.rivet-engine", "postgres-0.postgres.rivet-engine.svc.cluster.local:5432"] {
        let url = format!("postgres://u@{host}/x");
        let report = report(config(&NO_SECRETS.replace("postgres://u@postgres/x", &url)));
        assert_eq!(finding(&report, "postgres-standby").status, Status::Fail, "{host}");
        assert_eq!(finding(&report, "postgres-connections").status, Status::Fail, "{host}");
    }
    // Where the address is a secret, whose server it is cannot be seen.
    let hidden = with(|o| {
        each(&mut o.config_maps, |m| set(m, "/data/config.jsonc", json!("{}")));
        each(&mut o.deployments, |d| {
            let from = json!({"secretKeyRef": {"name": "rivet-secrets", "key": "url"}});
            set(d, &format!("{CONTAINER}/env/0"), json!({"name": "RIVET__POSTGRES__URL", "valueFrom": from}));
        });
    });
    let hidden = report(hidden);
    for item in ["postgres-standby", "postgres-connections"] {
        let finding = finding(&hidden, item);
        assert!(finding.status == Status::Unknown && finding.reason.contains("rivet-secrets"), "{finding:?}");
    }
    // A failover manager of somebody else promotes nothing of ours.
    let mut of_others = config(&NO_SECRETS.replace("@postgres/", "@mydb.rds.amazonaws.com/"));
    of_others.services.as_mut().unwrap().items.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "other-rw", "namespace": "rivet-engine"},
        "spec": {"selector": {"cnpg.io/cluster": "other"}, "ports": [{"port": 5432}]},
    }));
    assert_eq!(status(of_others.clone(), "postgres-failover"), Status::Unknown);
    let own = NO_SECRETS.replace("@postgres/", "@other-rw/");
    each(&mut of_others.config_maps, |m| set(m, "/data/config.jsonc", json!(own)));
    assert_eq!(status(of_others, "postgres-failover"), Status::Pass);
}

#[test]
fn a_limit_of_connections_that_is_not_read_fails_nothing() {
    let postgres = |args: Value| {
        with(move |o| {
            each(&mut o.stateful_sets, |s| {
                if s["metadata"]["name"] == "postgres" {
                    set(s, &format!("{CONTAINER}/args"), args.clone());
                }
            });
        })
    };
    for (args, expected) in [
        (json!(["--max_connections=1000"]), Status::Pass),
        (json!(["-N", "1000"]), Status::Pass),
        // 640 are needed, and three are kept for superusers.
        (json!(["-N", "643"]), Status::Pass),
        (json!(["-N", "642"]), Status::Fail),
        (json!(["-c", "config_file=/etc/postgresql.conf"]), Status::Unknown),
        (json!([]), Status::Fail),
    ] {
        let report = report(postgres(args.clone()));
        let finding = finding(&report, "postgres-connections");
        assert_eq!(finding.status, expected, "{args}: {finding:?}");
    }
}

#[test]
fn an_empty_selector_of_a_budget_holds_for_every_pod() {
    let selector =
        |selector: Value| with(move |o| each(&mut o.budgets, |b| set(b, "/spec/selector", selector.clone())));
    assert_eq!(status(selector(json!({})), "disruption-budget"), Status::Pass);
    assert_eq!(status(selector(Value::Null), "disruption-budget"), Status::Fail);
    assert_eq!(status(selector(json!([])), "disruption-budget"), Status::Unknown);
}

#[test]
fn limits_alone_are_requests_too() {
    let limited = report(engine(&format!("{CONTAINER}/resources/requests"), Value::Null));
    for (item, expected) in
        [("requests", Status::Pass), ("autoscaler-cpu", Status::Info), ("autoscaler-memory", Status::Pass)]
    {
        assert_eq!(finding(&limited, item).status, expected, "{:?}", finding(&limited, item));
    }
    let bare = report(engine(&format!("{CONTAINER}/resources"), Value::Null));
    assert_eq!(finding(&bare, "requests").status, Status::Fail);
}

#[test]
fn nats_servers_are_a_cluster_where_something_connects_them() {
    let nats = |args: Value, file: Option<&str>| {
        with(|o| {
            each(&mut o.stateful_sets, |s| {
                if s["metadata"]["name"] == "nats" {
                    set(s, &format!("{CONTAINER}/args"), args.clone());
                    let pod = s.pointer_mut(POD).unwrap();
                    pod["volumes"] = json!([{"name": "c", "configMap": {"name": "nats-config"}}]);
                    pod["containers"][0]["volumeMounts"] = json!([{"name": "c", "mountPath": "/etc/nats"}]);
                }
            });
            if let Some(text) = file {
                o.config_maps.as_mut().unwrap().items.push(json!({
                    "metadata": {"name": "nats-config", "namespace": "rivet-engine"}, "data": {"nats.conf": text},
                }));
            }
        })
    };
    let by_file = json!(["-c", "/etc/nats/nats.conf"]);
    let routes = "cluster {\n  name: rivet\n  routes = [nats-route://nats-0.nats:6222]\n}\n";
    for (args, file, servers, jetstream) in [
        (json!([]), None, Status::Unknown, Status::Unknown),
        (by_file.clone(), None, Status::Unknown, Status::Unknown),
        (by_file.clone(), Some(routes), Status::Pass, Status::Pass),
        (by_file.clone(), Some("port: 4222\ncluster { routes: [] }"), Status::Unknown, Status::Pass),
        (by_file.clone(), Some("# cluster { routes = [nats://a] }\njetstream {}"), Status::Unknown, Status::Info),
        (by_file.clone(), Some("jetstream: false"), Status::Unknown, Status::Pass),
        (by_file, Some("include other.conf"), Status::Unknown, Status::Unknown),
        (
            json!(["--cluster", "nats://0.0.0.0:6222", "-routes=nats://nats-0.nats:6222"]),
            None,
            Status::Pass,
            Status::Unknown,
        ),
        (json!(["--config=/x", "--jetstream=true"]), None, Status::Unknown, Status::Info),
        (json!(["-js"]), None, Status::Unknown, Status::Info),
    ] {
        let report = report(nats(args.clone(), file));
        let seen = |item: &str| finding(&report, item).clone();
        assert_eq!(seen("nats-servers").status, servers, "{args} {file:?}: {:?}", seen("nats-servers"));
        assert_eq!(seen("nats-jetstream").status, jetstream, "{args} {file:?}: {:?}", seen("nats-jetstream"));
    }
    // A NATS that the engine does not go to says nothing of its own.
    let elsewhere = config(&NO_SECRETS.replace("nats:4222", "nats.example.com:4222"));
    assert_eq!(status(elsewhere, "nats-servers"), Status::Unknown);
}

#[test]
fn only_rules_about_the_pods_themselves_keep_them_apart() {
    let constraint = |key: &str, when: &str, skew: u32, selector: Value| {
        let constraint =
            json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": selector});
        pod(move |p| p["topologySpreadConstraints"] = json!([constraint]))
    };
    let affinity = |selector: Value| {
        let term = json!({"topologyKey": "kubernetes.io/hostname", "labelSelector": selector});
        let rule = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
        pod(move |p| p["affinity"] = rule.clone())
    };
    const HOST: &str = "kubernetes.io/hostname";
    let own = || json!({"matchLabels": {"app": "rivet-engine"}});
    let other = || json!({"matchLabels": {"app": "another"}});
    let by_expression =
        |value: &str| json!({"matchExpressions": [{"key": "app", "operator": "In", "values": [value]}]});
    for (objects, expected, word) in [
        (constraint(HOST, "DoNotSchedule", 1, own()), Status::Pass, "by a rule"),
        (constraint(HOST, "ScheduleAnyway", 1, own()), Status::Pass, "where there is room"),
        (constraint(HOST, "DoNotSchedule", 1, other()), Status::Warn, "that picks them"),
        (constraint(HOST, "DoNotSchedule", 2, own()), Status::Warn, "that picks them"),
        (constraint(HOST, "DoNotSchedule", 1, by_expression("rivet-engine")), Status::Pass, "by a rule"),
        (constraint(HOST, "DoNotSchedule", 1, by_expression("another")), Status::Warn, "that picks them"),
        (constraint("topology.kubernetes.io/zone", "DoNotSchedule", 1, own()), Status::Pass, "zones"),
        (constraint("topology.kubernetes.io/zone", "ScheduleAnyway", 1, own()), Status::Warn, "that picks them"),
        (affinity(own()), Status::Pass, "by a rule"),
        (affinity(other()), Status::Warn, "that picks them"),
    ] {
        let report = report(objects);
        let finding = finding(&report, "node-spread");
        assert_eq!(finding.status, expected, "{finding:?}");
        assert!(format!("{finding:?}").contains(word), "`{word}`: {finding:?}");
    }
}

#[test]
fn a_probe_of_the_guard_is_a_note_and_replicas_are_not_ready_nodes() {
    let probe = json!({"httpGet": {"path": "/health", "port": 6420}, "timeoutSeconds": 5});
    assert_eq!(status(engine(&format!("{CONTAINER}/readinessProbe"), probe), "readiness-probe"), Status::Info);
    let report = report(shipped());
    let ready = finding(&report, "ready-nodes");
    assert!(ready.status == Status::Unknown && ready.reason.contains("2 engine nodes asked for"), "{ready:?}");
}

#[test]
fn variables_are_read_out_of_config_maps_and_the_one_that_wins_is_named() {
    let with_env = |variables: Value, from: Option<Value>| {
        let mut objects = pod(move |p| {
            let container = &mut p["containers"][0];
            container["env"].as_array_mut().unwrap().extend(variables.as_array().unwrap().iter().cloned());
            if let Some(from) = &from {
                container["envFrom"] = from.clone();
            }
        });
        objects.config_maps.as_mut().unwrap().items.push(json!({
            "metadata": {"name": "env", "namespace": "rivet-engine"},
            "data": {"OTEL_ENABLED": "1", "OTEL_GRPC_ENDPOINT": "http://from-map:4317"},
        }));
        objects
    };
    let on = json!({"name": "RIVET_OTEL_ENABLED", "value": "1"});
    let own = json!({"name": "RIVET_OTEL_GRPC_ENDPOINT", "value": "http://own:4317"});
    let general = json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://user:pw@general:4317"});
    let traces = json!({"name": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "value": "http://traces:4317"});
    let map = json!([{"prefix": "RIVET_", "configMapRef": {"name": "env"}}]);
    for (objects, expected, word) in [
        (with_env(json!([on]), None), Status::Pass, "http://localhost:4317"),
        (with_env(json!([on, own]), None), Status::Pass, "http://own:4317"),
        (with_env(json!([on, own, general]), None), Status::Pass, "spans go to general:4317"),
        (with_env(json!([on, own, general, traces]), None), Status::Pass, "http://traces:4317"),
        (with_env(json!([]), Some(map.clone())), Status::Pass, "http://from-map:4317"),
        (with_env(json!([own]), Some(map.clone())), Status::Pass, "http://own:4317"),
        // A Secret behind it may say otherwise.
        (with_env(json!([]), Some(json!([map[0], {"secretRef": {"name": "s"}}]))), Status::Unknown, "Secret s"),
        (
            with_env(json!([]), Some(json!([{"secretRef": {"name": "s"}}, map[0]]))),
            Status::Unknown,
            "`RUST_LOG` is not read",
        ),
        (with_env(json!([]), Some(json!([{"configMapRef": {"name": "gone"}}]))), Status::Unknown, "ConfigMap gone"),
        (with_env(json!([]), Some(json!([{"secretRef": {"name": "s"}}]))), Status::Unknown, "Secret s"),
    ] {
        let report = report(objects);
        let finding = finding(&report, "otel-enabled");
        assert_eq!(finding.status, expected, "{finding:?}");
        assert!(
            format!("{finding:?}").contains(word) && !format!("{finding:?}").contains("pw"),
            "`{word}`: {finding:?}"
        );
    }
}

#[test]
fn external_addresses_of_a_service_serve_without_tls_as_node_ports_do() {
    let mut objects = shipped();
    for service in &mut objects.services.as_mut().unwrap().items {
        service["spec"]["type"] = json!("ClusterIP");
        service["spec"]["externalIPs"] = json!(["203.0.113.7"]);
    }
    let report = report(objects);
    for (item, status) in [("plain-http-closed", Status::Warn), ("peer-port-closed", Status::Fail)] {
        let finding = finding(&report, item);
        assert!(finding.status == status && finding.reason.contains("external addresses"), "{item}: {finding:?}");
    }
}
