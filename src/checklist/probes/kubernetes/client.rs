//! The client: lists page by page, and the way to the API.
//!
//! Always: one deadline a page; what went wrong has a class for counts and a reason for a person.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;

use super::{Access, Refused, has_service_account};
use crate::checklist::cluster::{Cluster, LabelMap, Objects};
use crate::checklist::known::{Gap, Known, Listed, unknown};

const PAGE: usize = 500;
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Where the shipped manifests put the engine.
const NAMESPACE_DEFAULT: &str = "rivet-engine";

/// Lists everything the checklist looks at.
///
/// # Errors
/// There is no way to the API.
pub async fn read(access: &Access) -> Known<Objects> {
    let lists = &Lists::open(access).await?;
    let list = async |group, kind| lists.list(group, kind, None).await.map_err(Gap::from);
    let ((deployments, stateful_sets), services, ingresses, routes, autoscalers, budgets, config_maps) = tokio::join!(
        lists.workloads(),
        list("api/v1", "services"),
        list("apis/networking.k8s.io/v1", "ingresses"),
        list("apis/gateway.networking.k8s.io/v1", "httproutes"),
        list("apis/autoscaling/v2", "horizontalpodautoscalers"),
        list("apis/policy/v1", "poddisruptionbudgets"),
        list("api/v1", "configmaps"),
    );
    let workloads = lists.objects(deployments, stateful_sets);
    let mut objects = Objects { services, ingresses, routes, autoscalers, budgets, config_maps, ..workloads };
    objects.pods = pods(lists, &objects).await;
    Ok(objects)
}

/// Pods of the engine alone, so that ten thousand others cost nothing.
async fn pods(lists: &Lists, objects: &Objects) -> Known<Listed<Value>> {
    let cluster = Cluster::read(objects.clone());
    let mut all = Listed::default();
    for (workload, _) in cluster.engines()? {
        if workload.selector.is_empty() {
            all.unread.push(format!("{} selects its pods by expressions, which are not read", workload.title()));
            continue;
        }
        let found = lists.list("api/v1", "pods", Some(&workload.selector)).await?;
        all.items.extend(found.items);
        all.unread.extend(found.unread);
    }
    Ok(all)
}

/// A list, or why there is none.
pub(super) type List = Result<Listed<Value>, Refused>;

/// Lists of one namespace.
pub(super) struct Lists {
    client: Client,
    pub(super) namespace: String,
    access: Access,
}

impl Lists {
    /// The way to the API that `access` names.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub async fn open(access: &Access) -> Known<Self> {
        // Whoever comes first installs the provider; the second try only finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (config, has_namespace) = config(access).await?;
        let namespace = match &access.namespace {
            Some(namespace) => namespace.clone(),
            None if has_namespace => config.default_namespace.clone(),
            None => NAMESPACE_DEFAULT.to_owned(),
        };
        let client = Client::try_from(config)
            .map_err(|e| Gap::new(format!("no Kubernetes client: {}", crate::model::chain(&e))))?;
        Ok(Self { client, namespace, access: access.clone() })
    }

    /// Deployments and StatefulSets.
    pub async fn workloads(&self) -> (List, List) {
        tokio::join!(self.list("apis/apps/v1", "deployments", None), self.list("apis/apps/v1", "statefulsets", None),)
    }

    /// Objects of which only the workloads were listed.
    pub fn objects(&self, deployments: List, stateful_sets: List) -> Objects {
        let not_yet = || unknown("it was not listed");
        Objects {
            source: format!("namespace `{}`", self.namespace),
            is_live: true,
            engine_name: self.access.engine.clone(),
            deployments: deployments.map_err(Gap::from),
            stateful_sets: stateful_sets.map_err(Gap::from),
            pods: unknown("pods were not listed, because the engine's workload is not known"),
            services: not_yet(),
            ingresses: not_yet(),
            routes: not_yet(),
            autoscalers: not_yet(),
            budgets: not_yet(),
            config_maps: not_yet(),
        }
    }

    /// All objects of one kind, those of `selector` alone where there is one.
    ///
    /// # Errors
    /// Not even the first page was given.
    pub async fn list(&self, group: &str, kind: &str, selector: Option<&LabelMap>) -> List {
        let mut listed = Listed::default();
        let mut token = String::new();
        loop {
            let page = self.page(group, kind, selector, &token).await;
            let page = match (page, listed.items.is_empty()) {
                (Ok(page), _) => page,
                (Err(refused), true) => return Err(refused),
                // What was read before is there; only absence cannot be concluded any more.
                (Err(refused), false) => {
                    listed.unread.push(refused.gap.reason().to_owned());
                    return Ok(listed);
                }
            };
            match page.get("items").and_then(Value::as_array) {
                Some(items) => listed.items.extend(items.iter().cloned()),
                None => {
                    let reason = format!("the Kubernetes API did not answer with a list of {kind}");
                    return Err(Refused::new("broken", reason));
                }
            }
            token = page.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or_default().to_owned();
            if token.is_empty() {
                return Ok(listed);
            }
            if listed.items.len() >= self.access.objects_max {
                let max = self.access.objects_max;
                listed.unread.push(format!("there are more than {max} {kind}, and no more were read"));
                return Ok(listed);
            }
        }
    }

    async fn page(&self, group: &str, kind: &str, selector: Option<&LabelMap>, token: &str) -> Result<Value, Refused> {
        let mut query = format!("limit={PAGE}");
        if let Some(selector) = selector {
            let pairs: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
            query.push_str(&format!("&labelSelector={}", encode(&pairs.join(","))));
        }
        if !token.is_empty() {
            query.push_str(&format!("&continue={}", encode(token)));
        }
        let uri = format!("/{group}/namespaces/{}/{kind}?{query}", encode(&self.namespace));
        let request = http::Request::get(uri).header(http::header::ACCEPT, "application/json");
        let request = request.body(kube::client::Body::empty());
        let request = request.map_err(|e| Refused::new("broken", format!("{kind} cannot be asked for: {e}")))?;
        let work = async {
            let response = self.client.send(request).await.map_err(|e| {
                let reason = format!("the Kubernetes API cannot be reached: {}", crate::model::chain(&e));
                Refused::new("unreachable", reason)
            })?;
            let status = response.status();
            let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
            let body = body.map_err(|e| match e.is::<LengthLimitError>() {
                true => Refused::new("broken", format!("the list of {kind} has a page of more than 16 MiB")),
                false => Refused::new("broken", format!("the list of {kind} broke off: {e}")),
            })?;
            let json: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
            match status.as_u16() {
                200 => Ok(json),
                status => Err(self.refusal(status, group, kind, &json)),
            }
        };
        match tokio::time::timeout(self.access.timeout, work).await {
            Ok(answer) => answer,
            Err(_) => {
                let waited = self.access.timeout.as_millis();
                let reason = format!("the Kubernetes API gave no list of {kind} within {waited} ms");
                Err(Refused::new("timeout", reason))
            }
        }
    }

    fn refusal(&self, status: u16, group: &str, kind: &str, body: &Value) -> Refused {
        let message = body.get("message").and_then(Value::as_str).unwrap_or_default();
        let answered = || format!("the Kubernetes API answered a list of {kind} with status {status} {message}");
        match status {
            403 => Refused::new("forbidden", format!("no right to list {kind} in namespace `{}`", self.namespace)),
            401 => Refused::new("unauthorized", "the Kubernetes API does not know who asks (status 401)"),
            404 => Refused::new("absent", format!("the Kubernetes API knows no {kind} ({group})")),
            503 => Refused::new("unavailable", answered()),
            _ => Refused::new("status", answered()),
        }
    }
}

/// The way to the API, and whether it says which namespace is meant.
async fn config(access: &Access) -> Known<(Config, bool)> {
    let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &access.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path)),
        None if access.may_infer && super::has_kubeconfig() => Some(Kubeconfig::read()),
        None => None,
    };
    let mut config = match kubeconfig {
        Some(read) => {
            let kubeconfig =
                read.map_err(|e| Gap::new(format!("the kubeconfig cannot be read: {}", crate::model::chain(&e))))?;
            let has_namespace = names_namespace(&kubeconfig, access.context.as_deref());
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
            let config =
                config.map_err(|e| Gap::new(format!("the kubeconfig cannot be used: {}", crate::model::chain(&e))))?;
            (config, has_namespace)
        }
        None if has_service_account() => {
            let config = Config::incluster();
            (
                config.map_err(|e| {
                    Gap::new(format!("the service account cannot be used: {}", crate::model::chain(&e)))
                })?,
                true,
            )
        }
        None => return unknown("there is neither a kubeconfig nor a service account's token"),
    };
    config.0.connect_timeout = Some(access.timeout);
    config.0.read_timeout = Some(access.timeout);
    config.0.default_retry = false;
    Ok(config)
}

fn names_namespace(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let name = context.or(kubeconfig.current_context.as_deref());
    let context = kubeconfig.contexts.iter().find(|c| Some(c.name.as_str()) == name);
    context.and_then(|c| c.context.as_ref()).is_some_and(|c| c.namespace.is_some())
}

/// Percent-encodes what is not a plain letter, digit or one of `-._~`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
