//! metrics.k8s.io over a real socket: what of it becomes a signal, what the autoscaler's twin makes of it, and every refusal.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use rivetwatch::capacity::hpa::HpaSpec;
use rivetwatch::capacity::{self, Autoscaler, Facts, HpaSource, Report, SeenAutoscaler};
use rivetwatch::checklist::probes::kubernetes::{Refused, UsageReader};
use rivetwatch::model::{Labels, METRIC_NAME, TimestampMs, Value};
use rivetwatch::promql::{Engine, QueryValue};
use rivetwatch::receive::host::Resources;
use rivetwatch::receive::pod_metrics::{PodMetrics, Whole, Workload};
use rivetwatch::rules::{Input, Rules, Settings, Source, Tuning, load};
use rivetwatch::storage::{Append, Batch, Point};
use rivetwatch::tsdb::Tsdb;
use serde_json::json;

use crate::capacity::empty_store;
use crate::checklist_kubernetes::{Fake, POD_METRICS, access, kubeconfig};

const START: TimestampMs = TimestampMs(1_795_419_600_000);
const TICK_MS: i64 = 15_000;
const ENGINES: [&str; 2] = ["rivet-engine-a", "rivet-engine-b"];

/// A PodMetrics object of a pod with these containers, each with its CPU and memory.
fn measured(pod: &str, at: TimestampMs, containers: &[(&str, &str, &str)]) -> serde_json::Value {
    let container =
        |(name, cpu, memory): &(&str, &str, &str)| json!({"name": name, "usage": {"cpu": cpu, "memory": memory}});
    json!({
        "metadata": {"name": pod, "namespace": "rivet-engine", "creationTimestamp": at.to_rfc3339(),
            "labels": {"app": "rivet-engine", "component": "rivet-engine", "service": "engine"}},
        "timestamp": at.to_rfc3339(), "window": "15.055s",
        "containers": containers.iter().map(container).collect::<Vec<_>>(),
    })
}

/// A cluster, an agent's way from its API to the report, and virtual time.
struct World {
    fake: Fake,
    reader: UsageReader,
    step: PodMetrics,
    store: Tsdb,
    rules: Rules,
    now: TimestampMs,
    /// Cores that a sidecar's reading of `/proc` shows for each engine.
    process_cores: f64,
    _kubeconfig: tempfile::NamedTempFile,
}

impl World {
    async fn new(fake: Fake) -> Self {
        let kubeconfig = kubeconfig(fake.serve().await);
        let reader = UsageReader::new(access(&kubeconfig, Duration::from_secs(10), 10_000));
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
        let source =
            |name: &str| Source { name: name.into(), text: std::fs::read_to_string(alerts.join(name)).unwrap() };
        let sources = ["00-thresholds.yaml", "10-signals.yaml"].map(source);
        let rules = load(&sources, &Tuning::default()).unwrap();
        let settings = Settings { interval_ms: TICK_MS, own_series: false, ..Settings::default() };
        let rules = Rules::new(rules, settings, Arc::new(Engine::default()));
        let step = PodMetrics::new(None);
        let store = empty_store();
        Self { fake, reader, step, store, rules, now: START, process_cores: 0.2, _kubeconfig: kubeconfig }
    }

    /// Lives for some minutes, in which metrics-server tells `usage` of the engines, if it tells anything.
    async fn live(&mut self, minutes: i64, usage: Option<&[(&str, &str, &str)]>) {
        for _ in 0..minutes * 60_000 / TICK_MS {
            self.now = self.now.plus_ms(TICK_MS);
            let at = self.now.plus_ms(-10_000);
            self.fake.change(POD_METRICS, |pods| {
                *pods = usage.iter().flat_map(|usage| ENGINES.map(|pod| measured(pod, at, usage))).collect();
            });
            let batch = self.read().await;
            self.commit(batch).await;
            self.commit(self.engines()).await;
            let input = Input { storage: &self.store, sources_ready: true, stopwatch: None };
            let out = self.rules.tick(self.now, &input);
            assert_eq!(out.failures, []);
            self.commit(out.batch).await;
        }
    }

    async fn read(&mut self) -> Batch {
        match self.reader.read().await {
            Ok(metrics) => {
                let workload = |of: rivetwatch::checklist::probes::kubernetes::MeasuredWorkload| Workload {
                    containers: of
                        .containers
                        .into_iter()
                        .map(|(name, requests, limits)| {
                            let of = Resources {
                                cpu_request: requests.cpu,
                                cpu_limit: limits.cpu,
                                memory_request: requests.memory,
                                memory_limit: limits.memory,
                            };
                            (name, of)
                        })
                        .collect(),
                    pods: of.pods,
                    states: of.states,
                };
                let workloads: Vec<_> = metrics.workloads.into_iter().map(workload).collect();
                let whole = Whole { usage: metrics.unread.is_empty(), states: metrics.states_unread.is_empty() };
                self.step.read(&metrics.namespace, &workloads, whole, self.now).batch
            }
            Err(_) => self.step.without_reading(self.now),
        }
    }

    async fn commit(&self, batch: Batch) {
        let receipt = self.store.commit(batch).await.unwrap();
        assert!(receipt.refused.is_empty(), "{receipt:?}");
    }

    /// What sidecars forward: that the engines are up, what their processes use, and what CPU they ask for.
    fn engines(&self) -> Batch {
        let mut points = Vec::new();
        for pod in ENGINES {
            let of = [("job", "rivet"), ("instance", pod), ("namespace", "rivet-engine"), ("pod", pod)];
            let secs = self.now.since(START) as f64 / 1000.0;
            for (name, value) in [
                ("up", 1.0),
                ("process_cpu_time_seconds_total", secs * self.process_cores),
                ("process_memory_usage_bytes", 1e8),
                ("k8s_container_cpu_request", 2.0),
            ] {
                let labels = Labels::from_pairs(of.into_iter().chain([(METRIC_NAME, name)]));
                points.push(Point { labels, t: self.now, value: Value::Float(value) });
            }
        }
        Batch { points, ..Batch::default() }
    }

    /// What the twin says, with an autoscaler of these metrics.
    fn autoscaler(&self, metrics: serde_json::Value) -> Autoscaler {
        self.report(metrics).autoscalers.remove(0)
    }

    fn report(&self, metrics: serde_json::Value) -> Report {
        let spec = json!({"minReplicas": 2, "maxReplicas": 10, "metrics": metrics});
        let seen = SeenAutoscaler { namespace: "rivet-engine".into(), spec: HpaSpec::from_manifest(&spec).unwrap() };
        let facts = Facts { autoscaler: Some(seen), ..Facts::default() };
        let config = capacity::Config::default();
        capacity::evaluate(self.now, &self.store, &Engine::default(), &config, &facts, None).unwrap()
    }

    /// The values of a query now, by their labels.
    fn query(&self, expr: &str) -> BTreeMap<String, f64> {
        let parsed = rivetwatch::promql::parse(expr).unwrap();
        let QueryValue::Vector(vector) = Engine::default().instant(&self.store, &parsed, self.now).unwrap().value
        else {
            panic!("no vector")
        };
        let float = |value: Value| match value {
            Value::Float(v) => v,
            Value::Histogram(_) => panic!("no histogram"),
        };
        vector.into_iter().map(|s| (s.labels.to_string(), float(s.value))).collect()
    }
}

fn cpu(percent: i64) -> serde_json::Value {
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}}])
}

fn cpu_of(container: &str, percent: i64) -> serde_json::Value {
    let target = json!({"type": "Utilization", "averageUtilization": percent});
    json!([{"type": "ContainerResource", "containerResource": {"name": "cpu", "container": container, "target": target}}])
}

#[tokio::test]
async fn the_twin_follows_what_metrics_k8s_io_serves_and_says_so() {
    let fake = Fake::shipped();
    *fake.forbidden.lock() = vec!["pods"];
    let mut world = World::new(fake).await;
    world.live(3, None).await;
    // 0.2 of 2 cores are 10 %: nobody needs more than the minimum.
    let before = world.autoscaler(cpu(60));
    assert_eq!((before.source, before.replicas, before.wanted_replicas), (HpaSource::Kubernetes, 2, Some(2)));
    assert_eq!(before.notes, ["approximate: usage over 2 m; pods count as ready"]);

    // 1.9 of 2 cores are 95 %; 95 / 60 × 2 = 3.17, four.
    world.live(2, Some(&[("rivet-engine", "1900000001n", "1Gi")])).await;
    let served = world.autoscaler(cpu(60));
    assert_eq!((served.wanted_replicas, served.unbounded_replicas), (Some(4), Some(4)), "{served:#?}");
    assert_eq!(served.notes, ["usage from metrics.k8s.io", "approximate: pods count as ready"]);
    let used = world.query("rivet:cpu_usage:cores");
    assert_eq!(used.values().copied().collect::<Vec<_>>(), [1.900_000_001; 2], "before `/proc`: {used:?}");
    assert!(world.query("rivet:memory_usage:bytes").values().all(|v| *v == 1_073_741_824.0));
    let of_the_template = world.query("rivet:memory_limit:bytes");
    assert_eq!(of_the_template.values().copied().collect::<Vec<_>>(), [4_294_967_296.0; 2]);

    // Where metrics-server is taken away, its last figures stay for three minutes, and then the others count again.
    *world.fake.broken_metrics.lock() = Some((StatusCode::NOT_FOUND, "404 page not found".into()));
    world.live(2, None).await;
    assert!(world.autoscaler(cpu(60)).notes[0].starts_with("usage from"), "a failure or two are no reason");
    world.live(3, None).await;
    assert_eq!(world.autoscaler(cpu(60)).notes, ["approximate: usage over 2 m; pods count as ready"]);
    assert!(world.query("rivet:cpu_usage:cores").values().all(|v| (*v - 0.2).abs() < 1e-9));
    // And they come back as they went.
    *world.fake.broken_metrics.lock() = None;
    world.live(1, Some(&[("rivet-engine", "1", "1Gi")])).await;
    assert!(world.query("rivet:cpu_usage:cores").values().all(|v| *v == 1.0));
}

#[tokio::test]
async fn pods_that_are_not_ready_count_as_the_autoscaler_counts_them() {
    let fake = Fake::shipped();
    // In its first five minutes a pod that is not ready yet is left out on the way up: 95 % of the other, not of both.
    let starting = |pods: &mut Vec<serde_json::Value>, since: TimestampMs| {
        pods[1]["status"]["startTime"] = json!(since.to_rfc3339());
        pods[1]["status"]["conditions"] =
            json!([{"type": "Ready", "status": "False", "lastTransitionTime": since.to_rfc3339()}]);
    };
    fake.change("pods", |pods| starting(pods, START));
    let mut world = World::new(fake).await;
    let busy = [("rivet-engine", "1900m", "1Gi")];
    world.live(2, Some(&busy)).await;
    assert_eq!(world.query("rivet:engine_pod_ready:bool").values().sum::<f64>(), 1.0);
    assert_eq!(world.query(r#"rivet:engine_pod_phase:info{phase="Running"}"#).len(), 2);
    let starting = world.autoscaler(cpu(60));
    assert_eq!(starting.notes, ["usage from metrics.k8s.io"], "nothing is assumed");
    // ⌈95/60 × 1⌉ of the ready pod, with the other at none of its request: 95/60/2 < 1 is no way up.
    assert_eq!(starting.wanted_replicas, Some(2), "{starting:#?}");
    // Ready, its load counts: ⌈95/60 × 2⌉.
    world.fake.change("pods", |pods| pods[1]["status"]["conditions"][0]["status"] = json!("True"));
    world.live(2, Some(&busy)).await;
    assert_eq!(world.autoscaler(cpu(60)).wanted_replicas, Some(4));
}

#[tokio::test]
async fn sidecars_count_for_a_resource_and_not_for_a_container() {
    let fake = Fake::shipped();
    fake.change("deployments", |deployments| {
        let containers = deployments[0].pointer_mut("/spec/template/spec/containers").unwrap();
        containers.as_array_mut().unwrap().push(json!({
            "name": "rivetwatch", "image": "rivetwatch:1", "resources": {"requests": {"cpu": "500m"}},
        }));
    });
    let mut world = World::new(fake).await;
    // The engine has 1.8 of 2 cores, the sidecar 0.2 of a half: 90 % of the one, 80 % of both.
    world.live(2, Some(&[("rivet-engine", "1800m", "1Gi"), ("rivetwatch", "200m", "20Mi")])).await;
    // 80 / 40 × 2 = 4, and 90 / 40 × 2 = 4.5, five.
    assert_eq!(world.autoscaler(cpu(40)).unbounded_replicas, Some(4));
    assert_eq!(world.autoscaler(cpu_of("rivet-engine", 40)).unbounded_replicas, Some(5));
    let used = |metrics| world.report(metrics).autoscaling[0].utilization;
    assert_eq!(
        (used(cpu(40)), used(cpu_of("rivet-engine", 40))),
        (0.8, 0.9),
        "what the object's own status would show"
    );
    // 40 / 10 × 2: the sidecar's own.
    assert_eq!(world.autoscaler(cpu_of("rivetwatch", 10)).unbounded_replicas, Some(8));
    let missing = world.autoscaler(cpu_of("shop", 40));
    assert!(missing.notes.iter().any(|n| n == "a metric is missing: no metrics of ready pods"), "{:?}", missing.notes);
    // A container without a request makes a share of the requests impossible, as Kubernetes says in the same words.
    world.live(2, Some(&[("rivet-engine", "1800m", "1Gi"), ("debugger", "1m", "1Mi")])).await;
    let without = world.autoscaler(cpu(40));
    let why = "a metric is missing: no request for cpu in container debugger of pod rivet-engine-a";
    assert!(without.notes.iter().any(|n| n == why), "{:?}", without.notes);
    assert_eq!(world.autoscaler(cpu_of("rivet-engine", 40)).unbounded_replicas, Some(5));
}

#[tokio::test]
async fn only_the_engines_pods_are_asked_for_over_one_connection() {
    let fake = Fake::shipped();
    let at = START;
    fake.change(POD_METRICS, |pods| {
        *pods = (0..10_000)
            .map(|n| {
                let mut other = measured(&format!("other-{n}"), at, &[("shop", "1", "1Gi")]);
                other["metadata"]["labels"] = json!({"app": "other"});
                other
            })
            .collect();
        pods.push(measured("rivet-engine-a", at, &[("rivet-engine", "1", "1Gi")]));
    });
    let kubeconfig = kubeconfig(fake.serve().await);
    let mut reader = UsageReader::new(access(&kubeconfig, Duration::from_secs(10), 10_000));
    for _ in 0..3 {
        let metrics = reader.read().await.unwrap();
        assert_eq!((metrics.namespace.as_str(), metrics.workloads.len()), ("rivet-engine", 1));
        assert_eq!(metrics.workloads[0].pods.len(), 1);
        let (name, requests, limits) = &metrics.workloads[0].containers[0];
        assert_eq!((name.as_str(), requests.cpu, limits.memory), ("rivet-engine", Some(2.0), Some(4_294_967_296.0)));
    }
    let asked = fake.asked.lock();
    let of = |kind: &str| asked.iter().filter(|a| a.contains(&format!(" {kind} "))).count();
    assert_eq!((of("deployments"), of("statefulsets"), of(POD_METRICS)), (1, 1, 3), "{asked:?}");
    assert!(asked.iter().all(|a| a.starts_with("GET ")), "{asked:?}");
}

#[tokio::test]
async fn every_refusal_has_a_class_and_says_what_is_missing() {
    let fake = Fake::shipped();
    let kubeconfig = kubeconfig(fake.serve().await);
    let refusal = async |timeout_ms| {
        let mut reader = UsageReader::new(access(&kubeconfig, Duration::from_millis(timeout_ms), 10_000));
        let Refused { class, gap } = reader.read().await.unwrap_err();
        assert!(Refused::CLASSES.contains(&class), "{class}");
        (class, gap.reason().to_owned())
    };
    for (status, body, class, words) in [
        (404, "404 page not found", "absent", "there is no metrics-server: the Kubernetes API knows no pods"),
        (503, "service unavailable", "unavailable", "metrics-server does not answer: the Kubernetes API answered"),
        (500, r#"{"message": "boom"}"#, "status", "with status 500 boom"),
        (200, "<html>", "broken", "did not answer with a list of pods"),
        (200, r#"{"items": "none"}"#, "broken", "did not answer with a list of pods"),
    ] {
        *fake.broken_metrics.lock() = Some((StatusCode::from_u16(status).unwrap(), body.into()));
        let said = refusal(10_000).await;
        assert!(said.0 == class && said.1.contains(words), "{said:?}");
    }
    *fake.broken_metrics.lock() = Some((StatusCode::OK, " ".repeat((16 << 20) + 1)));
    assert_eq!(refusal(10_000).await, ("broken", "the list of pods has a page of more than 16 MiB".into()));
    *fake.broken_metrics.lock() = None;

    *fake.forbidden.lock() = vec![POD_METRICS];
    let said = refusal(10_000).await;
    assert_eq!(
        said,
        ("forbidden", "metrics.k8s.io cannot be read: no right to list pods in namespace `rivet-engine`".into())
    );
    *fake.forbidden.lock() = vec!["deployments", "statefulsets"];
    assert_eq!(refusal(10_000).await.0, "forbidden");
    fake.forbidden.lock().clear();
    fake.change("deployments", Vec::clear);
    let said = refusal(10_000).await;
    assert!(said.0 == "no_workload" && said.1.contains("check.kubernetes.engine"), "{said:?}");
    *fake.hangs.lock() = true;
    let said = refusal(200).await;
    assert!(said.0 == "timeout" && said.1.contains("within 200 ms"), "{said:?}");

    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let file = crate::checklist_kubernetes::kubeconfig(nobody);
    let mut away = access(&file, Duration::from_secs(5), 1_000);
    assert_eq!(UsageReader::new(away.clone()).read().await.unwrap_err().class, "unreachable");
    away.kubeconfig = Some("/nowhere/kubeconfig".into());
    assert_eq!(UsageReader::new(away).read().await.unwrap_err().class, "no_access");
}

#[tokio::test]
async fn a_reader_recovers_by_itself() {
    let fake = Fake::shipped();
    fake.change(POD_METRICS, |pods| *pods = vec![measured("rivet-engine-a", START, &[("rivet-engine", "1", "1Gi")])]);
    let kubeconfig = kubeconfig(fake.serve().await);
    let mut reader = UsageReader::new(access(&kubeconfig, Duration::from_secs(10), 10_000));
    assert_eq!(reader.read().await.unwrap().workloads[0].pods.len(), 1);
    *fake.broken_metrics.lock() = Some((StatusCode::SERVICE_UNAVAILABLE, String::new()));
    assert_eq!(reader.read().await.unwrap_err().class, "unavailable");
    *fake.broken_metrics.lock() = None;
    assert_eq!(reader.read().await.unwrap().workloads[0].pods.len(), 1);
}
