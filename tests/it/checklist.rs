//! The checklist over manifests: the shipped ones give exactly their findings, and every figure has two sides.

use std::path::{Path, PathBuf};

use rivetwatch::checklist::cluster::{Cluster, Objects};
use rivetwatch::checklist::evidence::{EngineSettings, Evidence, Told};
use rivetwatch::checklist::known::{Known, Listed, unknown};
use rivetwatch::checklist::probes::manifests;
use rivetwatch::checklist::{Choice, Finding, ITEMS, Report, Status, judge};
use rivetwatch::model::TimestampMs;
use serde_json::{Value, json};

pub const NOW: TimestampMs = TimestampMs(1_795_456_580_200);

pub fn shipped_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checklist/shipped")
}

pub fn shipped() -> Objects {
    static READ: std::sync::OnceLock<Objects> = std::sync::OnceLock::new();
    let read = || {
        let mut objects = manifests::read(&shipped_folder(), None, None).unwrap();
        objects.source = "the shipped manifests".into();
        objects
    };
    READ.get_or_init(read).clone()
}

/// Evidence of objects alone.
pub fn evidence(objects: Objects) -> Evidence {
    let mut evidence = Evidence::nothing(NOW, Told::default());
    evidence.cluster = Ok(Cluster::read(objects));
    evidence.settings = EngineSettings::of(&unknown("no file was given"), &evidence.cluster);
    evidence
}

pub fn report(objects: Objects) -> Report {
    judge(&evidence(objects), &Choice { runbook: "runbook".into(), ..Choice::default() })
}

pub fn finding<'a>(report: &'a Report, item: &str) -> &'a Finding {
    report.findings.iter().find(|f| f.item == item).unwrap_or_else(|| panic!("no item {item}"))
}

pub fn status(objects: Objects, item: &str) -> Status {
    finding(&report(objects), item).status
}

/// The shipped manifests with one list changed.
pub fn with(change: impl Fn(&mut Objects)) -> Objects {
    let mut objects = shipped();
    change(&mut objects);
    objects
}

/// Changes each object of a list.
pub fn each(list: &mut Known<Listed<Value>>, change: impl Fn(&mut Value)) {
    list.as_mut().unwrap().items.iter_mut().for_each(change);
}

pub fn set(object: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap_or_else(|| panic!("no {pointer}"));
    match parent.as_array_mut() {
        Some(items) => items[key.parse::<usize>().unwrap()] = value,
        None => parent[key] = value,
    }
}

pub const POD: &str = "/spec/template/spec";
pub const CONTAINER: &str = "/spec/template/spec/containers/0";

/// The shipped engine with one value changed.
pub fn engine(pointer: &str, value: Value) -> Objects {
    with(|o| each(&mut o.deployments, |d| set(d, pointer, value.clone())))
}

#[test]
fn the_shipped_manifests_have_exactly_their_findings() {
    let report = report(shipped());
    let mut shown = String::new();
    for finding in report.findings.iter().filter(|f| !matches!(f.status, Status::Unknown)) {
        shown.push_str(&format!("{} {}: {}\n", finding.status.as_str(), finding.item, finding.reason));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checklist/shipped.findings");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&golden, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&golden).unwrap(), "run with UPDATE=1 and read the diff");
    // What the issue names, whatever the words.
    for (item, status, word) in [
        ("peer-port-closed", Status::Fail, "30421"),
        ("readiness-probe", Status::Warn, "waits 3 s"),
        ("image-pinned", Status::Fail, "latest"),
        ("grace-period", Status::Fail, "25 s"),
        ("autoscaler-cpu", Status::Info, "60 %"),
        ("postgres-standby", Status::Fail, "one replica"),
        ("postgres-connections", Status::Fail, "10 nodes"),
        ("metrics-port-declared", Status::Warn, "6430"),
        ("otel-enabled", Status::Fail, "RIVET_OTEL_ENABLED"),
        ("postgres-backend", Status::Info, "light to moderate"),
    ] {
        let finding = finding(&report, item);
        assert_eq!(finding.status, status, "{finding:?}");
        assert!(finding.reason.contains(word), "{finding:?}");
    }
}

#[test]
fn every_figure_has_two_sides() {
    let probe = |seconds: u64| json!({"httpGet": {"path": "/health", "port": 6421}, "timeoutSeconds": seconds});
    let cases: Vec<(&str, Objects, Status)> = vec![
        ("readiness-probe", engine(&format!("{CONTAINER}/readinessProbe"), probe(5)), Status::Pass),
        ("readiness-probe", engine(&format!("{CONTAINER}/readinessProbe"), Value::Null), Status::Fail),
        (
            "readiness-probe",
            engine(&format!("{CONTAINER}/readinessProbe"), json!({"tcpSocket": {"port": 6421}})),
            Status::Warn,
        ),
        ("liveness-probe", engine(&format!("{CONTAINER}/livenessProbe"), probe(4)), Status::Warn),
        ("liveness-probe", engine(&format!("{CONTAINER}/livenessProbe/httpGet/port"), json!("api-peer")), Status::Pass),
        ("liveness-probe", engine(&format!("{CONTAINER}/livenessProbe/httpGet/path"), json!("/")), Status::Warn),
        ("startup-probe", engine(&format!("{CONTAINER}/startupProbe"), Value::Null), Status::Info),
        ("image-pinned", engine(&format!("{CONTAINER}/image"), json!("rivetdev/engine:2.3.19")), Status::Pass),
        ("image-pinned", engine(&format!("{CONTAINER}/image"), json!("rivetdev/engine@sha256:0f")), Status::Pass),
        ("image-pinned", engine(&format!("{CONTAINER}/image"), json!("rivetdev/engine")), Status::Fail),
        ("image-pinned", engine(&format!("{CONTAINER}/image"), json!("rivetdev/engine:main")), Status::Warn),
        ("image-pinned", engine(&format!("{CONTAINER}/image"), json!("rivetdev/engine:2.3")), Status::Warn),
        ("requests", engine(&format!("{CONTAINER}/resources/requests/cpu"), json!("999m")), Status::Fail),
        ("requests", engine(&format!("{CONTAINER}/resources/requests/cpu"), json!(1)), Status::Pass),
        ("requests", engine(&format!("{CONTAINER}/resources/requests/memory"), json!("1999M")), Status::Fail),
        ("requests", engine(&format!("{CONTAINER}/resources/requests/memory"), json!("2G")), Status::Pass),
        ("limits", engine(&format!("{CONTAINER}/resources/limits"), Value::Null), Status::Fail),
        // Workers need 30 s after the hook's 15, requests 600.
        ("grace-period", engine(&format!("{POD}/terminationGracePeriodSeconds"), json!(44)), Status::Fail),
        ("grace-period", engine(&format!("{POD}/terminationGracePeriodSeconds"), json!(45)), Status::Warn),
        ("grace-period", engine(&format!("{POD}/terminationGracePeriodSeconds"), json!(614)), Status::Warn),
        ("grace-period", engine(&format!("{POD}/terminationGracePeriodSeconds"), json!(615)), Status::Pass),
        (
            "metrics-port-declared",
            engine(&format!("{CONTAINER}/ports/0"), json!({"containerPort": 6430})),
            Status::Pass,
        ),
        ("ready-nodes", with(|o| each(&mut o.autoscalers, |a| set(a, "/spec/minReplicas", json!(1)))), Status::Fail),
        ("autoscaler", with(|o| o.autoscalers.as_mut().unwrap().items.clear()), Status::Fail),
        ("autoscaler", with(|o| each(&mut o.autoscalers, |a| set(a, "/spec/maxReplicas", json!(2)))), Status::Warn),
        ("disruption-budget", with(|o| o.budgets.as_mut().unwrap().items.clear()), Status::Fail),
        (
            "disruption-budget",
            with(|o| each(&mut o.budgets, |b| set(b, "/spec/maxUnavailable", json!(0)))),
            Status::Warn,
        ),
        (
            "disruption-budget",
            with(|o| each(&mut o.budgets, |b| set(b, "/spec/maxUnavailable", json!("100%")))),
            Status::Warn,
        ),
        (
            "peer-port-closed",
            with(|o| each(&mut o.services, |s| set(s, "/spec/type", json!("ClusterIP")))),
            Status::Pass,
        ),
        (
            "peer-port-closed",
            with(|o| each(&mut o.services, |s| set(s, "/spec/type", json!("LoadBalancer")))),
            Status::Fail,
        ),
        (
            "postgres-connections",
            with(|o| each(&mut o.autoscalers, |a| set(a, "/spec/maxReplicas", json!(7)))),
            Status::Pass,
        ),
        (
            "postgres-connections",
            with(|o| each(&mut o.autoscalers, |a| set(a, "/spec/maxReplicas", json!(8)))),
            Status::Fail,
        ),
        ("nats-servers", with(|o| each(&mut o.stateful_sets, |s| set(s, "/spec/replicas", json!(1)))), Status::Fail),
        (
            "postgres-standby",
            with(|o| each(&mut o.stateful_sets, |s| set(s, "/spec/replicas", json!(2)))),
            Status::Unknown,
        ),
    ];
    for (item, objects, expected) in cases {
        let report = report(objects);
        let finding = finding(&report, item);
        assert_eq!(finding.status, expected, "{finding:?}");
    }
}

#[test]
fn autoscaler_targets_are_notes_below_and_warnings_above() {
    let cpu = |target: Value| {
        with(|o| each(&mut o.autoscalers, |a| set(a, "/spec/metrics/0/resource/target", target.clone())))
    };
    let utilization = |percent: u32| json!({"type": "Utilization", "averageUtilization": percent});
    assert_eq!(status(cpu(utilization(70)), "autoscaler-cpu"), Status::Pass);
    assert_eq!(status(cpu(utilization(71)), "autoscaler-cpu"), Status::Warn);
    assert_eq!(status(cpu(utilization(69)), "autoscaler-cpu"), Status::Info);
    // 1.4 of the 2 requested cores are 70 %.
    assert_eq!(status(cpu(json!({"type": "AverageValue", "averageValue": "1400m"})), "autoscaler-cpu"), Status::Pass);
    assert_eq!(status(cpu(json!({"type": "AverageValue", "averageValue": "1500m"})), "autoscaler-cpu"), Status::Warn);
    let only_memory = with(|o| {
        each(&mut o.autoscalers, |a| {
            a["spec"]["metrics"].as_array_mut().unwrap().remove(0);
        });
    });
    assert_eq!(status(only_memory, "autoscaler-cpu"), Status::Fail);
    let by_container = with(|o| {
        each(&mut o.autoscalers, |a| {
            let target = json!({"type": "Utilization", "averageUtilization": 70});
            let metric = json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "rivet-engine", "target": target}});
            set(a, "/spec/metrics/0", metric);
        });
    });
    assert_eq!(status(by_container, "autoscaler-cpu"), Status::Pass);
    // A share of nothing scales nothing.
    assert_eq!(status(engine(&format!("{CONTAINER}/resources"), Value::Null), "autoscaler-memory"), Status::Fail);
}

#[test]
fn secrets_are_found_where_they_do_not_belong_and_never_shown() {
    let variable =
        |name: &str, value: &str| engine(&format!("{CONTAINER}/env/0"), json!({"name": name, "value": value}));
    for (name, value, expected) in [
        ("RIVET__AUTH__ADMIN_TOKEN", "s3cret-t0ken", Status::Fail),
        ("RIVET_ENDPOINT", "http://default:s3cret-t0ken@rivet:6420", Status::Fail),
        ("CALLBACK", "https://x/y?rvt-token=s3cret-t0ken", Status::Fail),
        ("RIVET__POSTGRES__URL", "postgres://u:s3cret-t0ken@db/x", Status::Warn),
        // The fixture's own password in its config map.
        ("RIVET_ENDPOINT", "http://rivet:6420", Status::Warn),
    ] {
        let report = report(variable(name, value));
        let finding = finding(&report, "secrets-in-secrets");
        assert_eq!(finding.status, expected, "{name}: {finding:?}");
        assert!(!format!("{report:?}").contains("s3cret"), "{name}");
    }
    // A token that is given is looked for word for word.
    let token = "9f86d081884c7d659a2feaa0c55ad015";
    let mut with_token = evidence(variable("SOMETHING", &format!("x-{token}-y")));
    with_token.told.admin_token = Some(Ok(token.into()));
    let report = judge(&with_token, &Choice::default());
    assert_eq!(finding(&report, "secrets-in-secrets").status, Status::Fail);
    assert!(!format!("{report:?} {with_token:?}").contains(token));
}

#[test]
fn clients_are_not_handed_the_admin_token_by_manifests() {
    let token = "9f86d081884c7d659a2feaa0c55ad015";
    let status = |endpoint: &str, known: Option<&str>| {
        let mut e = evidence(engine(
            &format!("{CONTAINER}/env/0"),
            json!({"name": "RIVET_PUBLIC_ENDPOINT", "value": endpoint}),
        ));
        e.told.admin_token = known.map(|t| Ok(t.into()));
        finding(&judge(&e, &Choice::default()), "admin-token-not-public").status
    };
    let with_token = format!("https://default:{token}@rivet.example.com");
    assert_eq!(status(&with_token, Some(token)), Status::Fail);
    assert_eq!(status(&with_token, Some("another")), Status::Pass);
    assert_eq!(status(&with_token, None), Status::Unknown, "nothing to compare with");
    assert_eq!(status("https://rivet.example.com", None), Status::Pass);
}

#[test]
fn idle_timeouts_are_read_from_the_controllers_annotations() {
    let with_ingress = |class: &str, annotations: Value| {
        with(|o| {
            let ingress = json!({
                "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
                "metadata": {"name": "rivet", "annotations": annotations},
                "spec": {"ingressClassName": class, "tls": [{"hosts": ["r.example.com"]}], "rules": [{"host": "r.example.com",
                    "http": {"paths": [{"path": "/", "backend": {"service": {"name": "rivet-engine", "port": {"number": 6420}}}}]}}]},
            });
            o.ingresses.as_mut().unwrap().items.push(ingress);
        })
    };
    let nginx = |read: &str, send: &str| json!({"nginx.ingress.kubernetes.io/proxy-read-timeout": read, "nginx.ingress.kubernetes.io/proxy-send-timeout": send});
    for (class, annotations, expected) in [
        ("nginx", nginx("3600", "3600"), Status::Pass),
        ("nginx", nginx("3600", "3599"), Status::Fail),
        ("nginx", json!({}), Status::Fail),
        (
            "alb",
            json!({"alb.ingress.kubernetes.io/load-balancer-attributes": "a=b,idle_timeout.timeout_seconds=4000"}),
            Status::Pass,
        ),
        ("alb", json!({}), Status::Fail),
        ("haproxy", json!({"haproxy.org/timeout-tunnel": "1h"}), Status::Pass),
        ("traefik", json!({}), Status::Unknown),
    ] {
        let report = report(with_ingress(class, annotations.clone()));
        let finding = finding(&report, "ingress-timeout");
        assert_eq!(finding.status, expected, "{class} {annotations}: {finding:?}");
    }
    let report = report(with_ingress("nginx", json!({})));
    assert_eq!(finding(&report, "tls-handshake").status, Status::Pass, "the Ingress ends TLS");
    // One that leads to 6421 opens it.
    let mut to_peer = with_ingress("nginx", json!({}));
    each(&mut to_peer.ingresses, |i| set(i, "/spec/rules/0/http/paths/0/backend/service/port/number", json!(6421)));
    each(&mut to_peer.services, |s| set(s, "/spec/type", json!("ClusterIP")));
    assert_eq!(status(to_peer, "peer-port-closed"), Status::Fail);
}

#[test]
fn a_pooler_between_engine_and_database_is_found() {
    assert_eq!(status(shipped(), "postgres-no-pooler"), Status::Pass);
    let behind_service = with(|o| {
        each(&mut o.stateful_sets, |s| {
            if s["metadata"]["name"] == "postgres" {
                set(s, &format!("{CONTAINER}/image"), json!("edoburu/pgbouncer:1.22"));
            }
        });
    });
    assert_eq!(status(behind_service, "postgres-no-pooler"), Status::Fail);
    let by_name = with(|o| {
        each(&mut o.config_maps, |m| {
            set(m, "/data/config.jsonc", json!("{\"postgres\": {\"url\": \"postgres://u@db-pooler.example.com/x\"}}"));
        });
    });
    assert_eq!(status(by_name, "postgres-no-pooler"), Status::Fail);
}

#[test]
fn rocksdb_is_one_node_and_needs_no_pubsub() {
    let rocksdb = |replicas: u32, max: u32| {
        with(move |o| {
            each(&mut o.config_maps, |m| {
                set(m, "/data/config.jsonc", json!("{\"file_system\": {\"path\": \"/data\"}}"))
            });
            each(&mut o.deployments, |d| set(d, "/spec/replicas", json!(replicas)));
            match max {
                0 => o.autoscalers.as_mut().unwrap().items.clear(),
                _ => each(&mut o.autoscalers, |a| set(a, "/spec/maxReplicas", json!(max))),
            }
        })
    };
    assert_eq!(status(rocksdb(1, 0), "rocksdb-one-node"), Status::Pass);
    assert_eq!(status(rocksdb(2, 0), "rocksdb-one-node"), Status::Fail);
    assert_eq!(status(rocksdb(1, 3), "rocksdb-one-node"), Status::Fail, "the autoscaler may add some");
    let report = report(rocksdb(1, 0));
    for item in ["ready-nodes", "postgres-backups", "nats-in-use", "nats-servers", "postgres-connections"] {
        let finding = finding(&report, item);
        assert_eq!(finding.status, Status::Skipped, "{finding:?}");
        assert!(finding.reason.contains("RocksDB"), "{finding:?}");
    }
}

#[test]
fn messages_between_nodes_need_nats() {
    let config = |text: &str| with(|o| each(&mut o.config_maps, |m| set(m, "/data/config.jsonc", json!(text))));
    assert_eq!(status(shipped(), "nats-in-use"), Status::Pass);
    let by_postgres = config("{\"postgres\": {\"url\": \"postgres://u@postgres/x\"}}");
    assert_eq!(status(by_postgres.clone(), "nats-in-use"), Status::Warn);
    // 128 connections each: 10 x 128.
    let report = report(by_postgres);
    assert!(finding(&report, "postgres-connections").reason.contains("x 128 connections = 1280"), "{report:?}");
    let in_memory = config("{\"postgres\": {\"url\": \"postgres://u@postgres/x\"}, \"memory\": {\"channel\": \"a\"}}");
    assert_eq!(status(in_memory, "nats-in-use"), Status::Fail);
}

#[test]
fn rights_that_are_missing_cost_only_their_items() {
    let no_right = |what: &str| -> Known<Listed<Value>> { unknown(format!("no right to list {what}")) };
    for (change, item) in [
        ((|o: &mut Objects, gap| o.services = gap) as fn(&mut Objects, Known<Listed<Value>>), "peer-port-closed"),
        (|o, gap| o.autoscalers = gap, "autoscaler"),
        (|o, gap| o.autoscalers = gap, "postgres-connections"),
        (|o, gap| o.budgets = gap, "disruption-budget"),
        (|o, gap| o.deployments = gap, "image-pinned"),
        (|o, gap| o.ingresses = gap, "ingress-timeout"),
    ] {
        let mut objects = shipped();
        change(&mut objects, no_right("them"));
        let report = report(objects);
        let finding = finding(&report, item);
        assert_eq!(finding.status, Status::Unknown, "{finding:?}");
        assert!(finding.reason.contains("no right to list them"), "{finding:?}");
    }
    // Without config maps the rest is still judged.
    let report = report(with(|o| o.config_maps = unknown("no right to list configmaps")));
    assert_eq!(finding(&report, "image-pinned").status, Status::Fail);
    assert_eq!(finding(&report, "postgres-backend").status, Status::Unknown);
}

#[test]
fn absence_is_concluded_from_whole_lists_alone() {
    let cut = with(|o| {
        let budgets = o.budgets.as_mut().unwrap();
        budgets.items.clear();
        budgets.unread.push("there are more than 10000 poddisruptionbudgets, and no more were read".into());
    });
    assert_eq!(status(cut, "disruption-budget"), Status::Unknown);
}

#[test]
fn ten_thousand_workloads_are_no_trouble() {
    let many = with(|o| {
        let template = o.stateful_sets.as_ref().unwrap().items[0].clone();
        let more = (0..10_000).map(|i| {
            let mut one = template.clone();
            one["metadata"]["name"] = format!("other-{i}").into();
            one
        });
        o.stateful_sets.as_mut().unwrap().items.extend(more);
    });
    let begun = std::time::Instant::now();
    let report = report(many);
    assert_eq!(finding(&report, "image-pinned").status, Status::Fail);
    // Orders of magnitude above what it takes, so that no slow machine fails it.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn the_runbook_has_a_section_for_every_item_and_no_other() {
    let (_, text) = rivetwatch::api::page::runbook("RivetCheckFailing").unwrap();
    let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let items: Vec<&str> = ITEMS.iter().map(|i| i.id).collect();
    assert_eq!(sections, items);
    let html = rivetwatch::api::page::to_html(text);
    assert!(items.iter().all(|item| html.contains(&format!("<h3 id=\"{item}\">"))), "links lead to sections");
}

#[test]
fn other_runbooks_that_the_items_name_exist() {
    let (_, text) = rivetwatch::api::page::runbook("RivetCheckFailing").unwrap();
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(|l| l.ends_with(".md")) {
        assert!(rivetwatch::api::page::runbook(link).is_some(), "{link}");
    }
}

#[test]
fn remedies_leave_alone_what_they_would_break() {
    use rivetwatch::checklist::fix::{Change, Wishes, remedies};
    let of = |objects: Objects, wishes: &Wishes| {
        let evidence = evidence(objects);
        let report = judge(&evidence, &Choice::default());
        remedies(&evidence, &report, wishes)
    };
    let services = |objects: Objects| -> Vec<String> {
        let (found, _) = of(objects, &Wishes::default());
        let of_item = found.into_iter().filter(|r| r.item == "peer-port-closed");
        of_item
            .map(|r| match r.change {
                Change::Patch { name, patch, .. } => format!("patch {name}: {patch}"),
                Change::Add(object) => format!("add {}: {}", object["metadata"]["name"], object["spec"]),
            })
            .collect()
    };
    // The name keeps both ports inside, the guard keeps its node port.
    let changes = services(shipped());
    assert!(changes[0].contains("rivet-engine: ") && changes[0].contains("\"type\":\"ClusterIP\""), "{changes:?}");
    assert!(changes[1].contains("rivet-engine-nodeport") && changes[1].contains("30420"), "{changes:?}");
    assert!(!changes[1].contains("6421"), "{changes:?}");
    // A load balancer keeps its address; the port leaves, unless the engine's own topology goes by it.
    let balancer = with(|o| each(&mut o.services, |s| set(s, "/spec/type", json!("LoadBalancer"))));
    let (_, left_out) = of(balancer.clone(), &Wishes::default());
    let reason = &left_out.iter().find(|l| l.item == "peer-port-closed").unwrap().reason;
    assert!(reason.contains("topology"), "{reason}");
    let mut without = balancer;
    each(&mut without.config_maps, |m| {
        set(m, "/data/config.jsonc", json!("{\"postgres\": {\"url\": \"postgres://u@postgres/x\"}}"))
    });
    let changes = services(without);
    assert!(changes[0].contains("\"$patch\":\"delete\"") && changes[1].contains("rivet-engine-inside"), "{changes:?}");
    // What nobody told is not made up.
    let (_, left_out) = of(shipped(), &Wishes::default());
    for (item, word) in
        [("image-pinned", "--image-tag"), ("otel-enabled", "--otlp-endpoint"), ("secrets-in-secrets", "Secret")]
    {
        let out = left_out.iter().find(|l| l.item == item).unwrap_or_else(|| panic!("{item}: {left_out:?}"));
        assert!(out.reason.contains(word), "{out:?}");
    }
}
