//! The Kubernetes API over a real socket: objects in the shape a cluster answers with, and everything that goes wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::Mutex;
use rivetwatch::capacity::hpa::HpaSpec;
use rivetwatch::checklist::cluster::Cluster;
use rivetwatch::checklist::evidence::{EngineSettings, Evidence, Told};
use rivetwatch::checklist::known::unknown;
use rivetwatch::checklist::probes::{Access, kubernetes, manifests};
use rivetwatch::checklist::{Choice, Finding, Status, judge};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::checklist::{NOW, shipped_folder};

/// What the fake calls the pods of metrics.k8s.io.
pub const POD_METRICS: &str = "podmetrics";

/// A cluster: objects by kind, kinds that are forbidden, and what was asked.
#[derive(Clone, Default)]
pub struct Fake {
    objects: Arc<Mutex<BTreeMap<&'static str, Vec<Value>>>>,
    pub forbidden: Arc<Mutex<Vec<&'static str>>>,
    pub hangs: Arc<Mutex<bool>>,
    /// What metrics.k8s.io answers instead of a list: status and body.
    pub broken_metrics: Arc<Mutex<Option<(StatusCode, String)>>>,
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// The shipped manifests, running: two ready pods on two hosts.
    pub fn shipped() -> Self {
        let fake = Self::default();
        let objects = manifests::read(&shipped_folder(), None, None).unwrap();
        let items = |list: &rivetwatch::checklist::known::Known<rivetwatch::checklist::known::Listed<Value>>| {
            list.as_ref().unwrap().items.clone()
        };
        {
            let mut kinds = fake.objects.lock();
            for (kind, list) in [
                ("deployments", &objects.deployments),
                ("statefulsets", &objects.stateful_sets),
                ("services", &objects.services),
                ("ingresses", &objects.ingresses),
                ("horizontalpodautoscalers", &objects.autoscalers),
                ("poddisruptionbudgets", &objects.budgets),
                ("configmaps", &objects.config_maps),
            ] {
                kinds.insert(kind, items(list));
            }
            kinds.insert("pods", vec![pod("rivet-engine-a", "node-1", true), pod("rivet-engine-b", "node-2", true)]);
            let deployment = kinds.get_mut("deployments").unwrap().first_mut().unwrap();
            deployment["status"] = json!({"replicas": 2, "readyReplicas": 2});
        }
        fake
    }

    pub fn change(&self, kind: &'static str, change: impl FnOnce(&mut Vec<Value>)) {
        change(self.objects.lock().entry(kind).or_default());
    }

    pub async fn serve(&self) -> SocketAddr {
        let router = Router::new().fallback(answer).with_state(self.clone());
        let router = Router::new()
            .route("/api/v1/namespaces/{namespace}/{kind}", axum::routing::any(list))
            .route("/apis/{group}/{version}/namespaces/{namespace}/{kind}", axum::routing::any(list_of_group))
            .with_state(self.clone())
            .merge(router);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    async fn read(&self) -> Evidence {
        self.read_within(Duration::from_secs(10), 10_000).await
    }

    async fn read_within(&self, timeout: Duration, objects_max: usize) -> Evidence {
        let kubeconfig = kubeconfig(self.serve().await);
        let access = access(&kubeconfig, timeout, objects_max);
        let mut evidence = Evidence::nothing(NOW, Told::default());
        evidence.cluster = kubernetes::read(&access).await.map(Cluster::read);
        evidence.settings = EngineSettings::of(&unknown("no file was given"), &evidence.cluster);
        evidence
    }
}

/// The way to a fake.
pub fn access(kubeconfig: &tempfile::NamedTempFile, timeout: Duration, objects_max: usize) -> Access {
    Access {
        kubeconfig: Some(kubeconfig.path().to_owned()),
        context: None,
        namespace: None,
        engine: None,
        may_infer: false,
        timeout,
        objects_max,
    }
}

pub fn kubeconfig(address: SocketAddr) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts: [{{name: test, context: {{cluster: c, user: u, \
         namespace: rivet-engine}}}}]\nclusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}]\nusers: [{{name: u, \
         user: {{token: kube-t0ken}}}}]\n"
    );
    std::fs::write(file.path(), text).unwrap();
    file
}

/// A pod as the API gives it: typed, so that its shape is one that exists.
fn pod(name: &str, node: &str, is_ready: bool) -> Value {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "rivet-engine",
            "labels": {"app": "rivet-engine", "component": "rivet-engine", "service": "engine", "pod-template-hash": "5d8"}},
        "spec": {"nodeName": node, "containers": [{"name": "rivet-engine", "image": "rivetdev/engine:latest"}]},
        "status": {"phase": "Running", "startTime": "2026-11-20T08:00:00Z",
            "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" },
                "lastTransitionTime": "2026-11-20T08:00:30Z"}],
            "containerStatuses": [{"name": "rivet-engine", "image": "rivetdev/engine:latest", "ready": is_ready,
                "imageID": "docker.io/rivetdev/engine@sha256:aa", "restartCount": 0}]},
    }))
    .unwrap();
    serde_json::to_value(pod).unwrap()
}

async fn list(
    fake: State<Fake>,
    Path((namespace, kind)): Path<(String, String)>,
    query: Query<BTreeMap<String, String>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    page(&fake, &namespace, &kind, &query, &method, &headers).await
}

async fn list_of_group(
    fake: State<Fake>,
    Path((group, _, namespace, kind)): Path<(String, String, String, String)>,
    query: Query<BTreeMap<String, String>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let kind = if group == "metrics.k8s.io" { POD_METRICS.to_owned() } else { kind };
    page(&fake, &namespace, &kind, &query, &method, &headers).await
}

async fn answer() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"kind": "Status", "code": 404}))).into_response()
}

async fn page(
    fake: &Fake,
    namespace: &str,
    kind: &str,
    query: &BTreeMap<String, String>,
    method: &Method,
    headers: &HeaderMap,
) -> Response {
    fake.asked.lock().push(format!("{method} {kind} {query:?}"));
    if *fake.hangs.lock() {
        std::future::pending::<()>().await;
    }
    if headers.get("authorization").is_none_or(|v| v != "Bearer kube-t0ken") {
        return (StatusCode::UNAUTHORIZED, Json(json!({"kind": "Status", "code": 401}))).into_response();
    }
    if fake.forbidden.lock().contains(&kind) || namespace != "rivet-engine" {
        let message = format!("{kind} is forbidden: User \"u\" cannot list resource");
        return (StatusCode::FORBIDDEN, Json(json!({"kind": "Status", "code": 403, "message": message})))
            .into_response();
    }
    if let Some((status, body)) = fake.broken_metrics.lock().clone().filter(|_| kind == POD_METRICS) {
        return (status, body).into_response();
    }
    let selector = query.get("labelSelector").cloned().unwrap_or_default();
    let picks = |object: &&Value| {
        selector.split(',').filter(|pair| !pair.is_empty()).all(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            object["metadata"]["labels"][name] == value
        })
    };
    let objects = fake.objects.lock();
    let all: Vec<Value> = objects.get(kind).into_iter().flatten().filter(picks).cloned().collect();
    if kind == POD_METRICS {
        // metrics-server knows no pages.
        return Json(json!({"kind": "PodMetricsList", "metadata": {}, "items": all})).into_response();
    }
    let from: usize = query.get("continue").and_then(|c| c.parse().ok()).unwrap_or(0);
    let limit: usize = query["limit"].parse().unwrap();
    let items: Vec<Value> = all.iter().skip(from).take(limit).cloned().map(bare).collect();
    let next = if from + limit < all.len() { (from + limit).to_string() } else { String::new() };
    Json(json!({"kind": "List", "metadata": {"continue": next, "resourceVersion": "1"}, "items": items}))
        .into_response()
}

/// Items of a list carry neither version nor kind.
fn bare(mut object: Value) -> Value {
    let map = object.as_object_mut().unwrap();
    map.remove("apiVersion");
    map.remove("kind");
    object
}

fn finding(evidence: &Evidence, item: &str) -> Finding {
    judge(evidence, &Choice::default()).findings.into_iter().find(|f| f.item == item).unwrap()
}

#[test]
fn the_fixture_is_of_the_shape_that_kubernetes_has() {
    let objects = manifests::read(&shipped_folder(), None, None).unwrap();
    for object in &objects.deployments.unwrap().items {
        serde_json::from_value::<Deployment>(object.clone()).unwrap();
    }
    for object in &objects.services.unwrap().items {
        serde_json::from_value::<Service>(object.clone()).unwrap();
    }
}

#[tokio::test]
async fn a_running_cluster_has_the_findings_of_its_manifests_and_of_its_pods() {
    let fake = Fake::shipped();
    let evidence = fake.read().await;
    for (item, status) in [
        ("peer-port-closed", Status::Fail),
        ("image-pinned", Status::Fail),
        ("readiness-probe", Status::Warn),
        ("postgres-connections", Status::Fail),
        ("ready-nodes", Status::Pass),
        ("node-spread", Status::Pass),
        ("one-version", Status::Pass),
    ] {
        let finding = finding(&evidence, item);
        assert_eq!(finding.status, status, "{finding:?}");
    }
    let scaler = evidence.cluster.as_ref().unwrap().engine_autoscaler().unwrap().unwrap();
    assert_eq!(scaler["metadata"]["namespace"], "rivet-engine");
    assert_eq!(HpaSpec::from_manifest(&scaler["spec"]).unwrap().max_replicas, 10, "capacity's twin reads it");
    let asked = fake.asked.lock();
    assert!(asked.iter().all(|a| a.starts_with("GET ")), "{asked:?}");
    assert!(!asked.iter().any(|a| a.contains("secrets") || a.contains("nodes")), "{asked:?}");
    let pods: Vec<_> = asked.iter().filter(|a| a.contains(" pods ")).collect();
    assert!(pods.len() == 1 && pods[0].contains("app=rivet-engine"), "only the engine's pods: {pods:?}");
}

#[tokio::test]
async fn pods_on_one_host_not_ready_or_of_two_images_are_seen() {
    let fake = Fake::shipped();
    fake.change("pods", |pods| *pods = vec![pod("a", "node-1", true), pod("b", "node-1", true)]);
    assert_eq!(finding(&fake.read().await, "node-spread").status, Status::Fail);
    fake.change("pods", |pods| {
        pods[1]["status"]["containerStatuses"][0]["imageID"] = json!("docker.io/rivetdev/engine@sha256:bb")
    });
    assert_eq!(finding(&fake.read().await, "one-version").status, Status::Warn);
    fake.change("deployments", |d| d[0]["status"]["readyReplicas"] = json!(1));
    assert_eq!(finding(&fake.read().await, "ready-nodes").status, Status::Fail);
}

#[tokio::test]
async fn a_right_that_is_missing_is_named_and_costs_only_its_items() {
    let fake = Fake::shipped();
    *fake.forbidden.lock() = vec!["configmaps", "poddisruptionbudgets"];
    let evidence = fake.read().await;
    let budget = finding(&evidence, "disruption-budget");
    assert_eq!(budget.status, Status::Unknown);
    assert!(budget.reason.contains("no right to list poddisruptionbudgets in namespace `rivet-engine`"), "{budget:?}");
    assert_eq!(finding(&evidence, "image-pinned").status, Status::Fail);
    assert_eq!(finding(&evidence, "postgres-backend").status, Status::Unknown);
    *fake.forbidden.lock() = vec!["deployments", "statefulsets"];
    let evidence = fake.read().await;
    let report = judge(&evidence, &Choice::default());
    assert!(!report.findings.iter().any(|f| f.status == Status::Pass), "{report:#?}");
}

#[tokio::test]
async fn routes_are_listed_where_a_right_is_given_and_named_where_none_is() {
    let fake = Fake::shipped();
    fake.change("services", |services| services[0]["spec"]["type"] = json!("ClusterIP"));
    let closed = finding(&fake.read().await, "peer-port-closed");
    assert_eq!(closed.status, Status::Pass, "{closed:?}");
    fake.change("httproutes", |routes| {
        let backends = json!([{"name": "rivet-engine", "port": 6421}]);
        routes.push(json!({"metadata": {"name": "peer"}, "spec": {"rules": [{"backendRefs": backends}]}}));
    });
    let open = finding(&fake.read().await, "peer-port-closed");
    assert!(open.status == Status::Fail && open.reason.contains("HTTPRoute peer leads to port 6421"), "{open:?}");
    // The documented Role gives no such right.
    *fake.forbidden.lock() = vec!["httproutes"];
    let unlisted = finding(&fake.read().await, "peer-port-closed");
    assert_eq!(unlisted.status, Status::Pass);
    assert!(unlisted.evidence[0].contains("no right to list httproutes"), "{unlisted:?}");
}

#[tokio::test]
async fn ten_thousand_pods_are_read_in_pages_and_cut_where_the_limit_is() {
    let fake = Fake::shipped();
    fake.change("pods", |pods| {
        // Others of the namespace are not even asked for.
        pods.extend((0..10_000).map(|i| {
            let mut other = pod(&format!("other-{i}"), "node-3", true);
            other["metadata"]["labels"] = json!({"app": "other"});
            other
        }));
    });
    assert_eq!(finding(&fake.read().await, "node-spread").status, Status::Pass);
    fake.change("services", |services| {
        let template = services[0].clone();
        *services = (0..2_500)
            .map(|i| {
                let mut service = template.clone();
                service["metadata"]["name"] = json!(format!("s-{i}"));
                service["spec"]["selector"] = json!({"app": "other"});
                service
            })
            .collect();
    });
    assert_eq!(finding(&fake.read().await, "peer-port-closed").status, Status::Pass, "five pages, nothing opens it");
    let cut = fake.read_within(Duration::from_secs(10), 1_000).await;
    let cut = finding(&cut, "peer-port-closed");
    assert!(cut.status == Status::Unknown && cut.reason.contains("more than 1000 services"), "{cut:?}");
}

#[tokio::test]
async fn an_api_that_hangs_is_away_or_does_not_know_us_is_unknown() {
    let fake = Fake::shipped();
    *fake.hangs.lock() = true;
    let begun = std::time::Instant::now();
    let evidence = fake.read_within(Duration::from_millis(200), 10_000).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "each list has one deadline");
    let hanging = finding(&evidence, "image-pinned");
    assert!(hanging.status == Status::Unknown && hanging.reason.contains("200 ms"), "{hanging:?}");

    let nobody = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
    let file = kubeconfig(nobody);
    let mut access = access(&file, Duration::from_secs(5), 1_000);
    let objects = kubernetes::read(&access).await.unwrap();
    assert!(objects.deployments.unwrap_err().reason().contains("cannot be reached"));
    access.kubeconfig = Some("/nowhere/kubeconfig".into());
    assert!(kubernetes::read(&access).await.unwrap_err().reason().contains("kubeconfig"));
    access.kubeconfig = None;
    assert!(kubernetes::read(&access).await.unwrap_err().reason().contains("neither"));
}

#[tokio::test]
async fn half_broken_objects_of_a_cluster_are_named() {
    let fake = Fake::shipped();
    fake.change("deployments", |d| d[0]["spec"]["template"]["spec"]["containers"] = json!("none"));
    let evidence = fake.read().await;
    let broken = finding(&evidence, "image-pinned");
    assert_eq!(broken.status, Status::Unknown, "{broken:?}");
    assert!(broken.reason.contains("Deployment rivet-engine could not be read"), "{broken:?}");
    assert!(
        !judge(&evidence, &Choice::default())
            .findings
            .iter()
            .any(|f| f.status == Status::Pass && f.category == "resources")
    );
}
