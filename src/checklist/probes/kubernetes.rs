//! Lists objects of one namespace through the Kubernetes API.
//!
//! In:  a kubeconfig or the pod's service account.   Out: [`Objects`], each kind for itself, so that a right that is
//! missing costs only the items that need it.   Always: GET alone, one namespace, no Secrets, no nodes.
//! Limits: pages of 500, `objects_max` objects a kind, 16 MiB a page, one deadline a page.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::checklist::cluster::Objects;
use crate::checklist::known::Known;

/// How the API is reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// A kubeconfig; `None` takes that of the environment, or the service account.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub namespace: Option<String>,
    pub engine: Option<String>,
    /// Whether a kubeconfig of the environment may be used: by the command, not by the agent.
    pub may_infer: bool,
    pub timeout: Duration,
    pub objects_max: usize,
}

/// Whether this process has a service account's token to use.
pub fn has_service_account() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
        && Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()
}

/// Whether the environment names a kubeconfig that exists.
pub fn has_kubeconfig() -> bool {
    match std::env::var_os("KUBECONFIG") {
        Some(paths) => std::env::split_paths(&paths).any(|p| p.exists()),
        None => std::env::var_os("HOME").is_some_and(|home| Path::new(&home).join(".kube/config").exists()),
    }
}

/// Lists everything the checklist looks at.
///
/// # Errors
/// There is no way to the API, or this build has none.
#[cfg(not(feature = "kubernetes"))]
pub async fn read(_access: &Access) -> Known<Objects> {
    crate::checklist::known::unknown("this build cannot ask Kubernetes (cargo feature `kubernetes`); use `--manifests`")
}

#[cfg(feature = "kubernetes")]
pub use client::read;

#[cfg(feature = "kubernetes")]
mod client {
    use http_body_util::{BodyExt, Limited};
    use kube::config::{KubeConfigOptions, Kubeconfig};
    use kube::{Client, Config};
    use serde_json::Value;

    use super::{Access, Known, Objects, has_service_account};
    use crate::checklist::cluster::{Cluster, LabelMap};
    use crate::checklist::known::{Gap, Listed, unknown};

    const PAGE: usize = 500;
    const PAGE_BYTES_MAX: usize = 16 << 20;
    /// Where the shipped manifests put the engine.
    const NAMESPACE_DEFAULT: &str = "rivet-engine";

    /// Lists everything the checklist looks at.
    ///
    /// # Errors
    /// There is no way to the API.
    pub async fn read(access: &Access) -> Known<Objects> {
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
        let lists = Lists { client, namespace: &namespace, access };
        let (deployments, stateful_sets, services, ingresses, routes, autoscalers, budgets, config_maps) = tokio::join!(
            lists.list("apis/apps/v1", "deployments", None),
            lists.list("apis/apps/v1", "statefulsets", None),
            lists.list("api/v1", "services", None),
            lists.list("apis/networking.k8s.io/v1", "ingresses", None),
            lists.list("apis/gateway.networking.k8s.io/v1", "httproutes", None),
            lists.list("apis/autoscaling/v2", "horizontalpodautoscalers", None),
            lists.list("apis/policy/v1", "poddisruptionbudgets", None),
            lists.list("api/v1", "configmaps", None),
        );
        let mut objects = Objects {
            source: format!("namespace `{namespace}`"),
            is_live: true,
            engine_name: access.engine.clone(),
            deployments,
            stateful_sets,
            pods: unknown("pods were not listed, because the engine's workload is not known"),
            services,
            ingresses,
            routes,
            autoscalers,
            budgets,
            config_maps,
        };
        objects.pods = pods(&lists, &objects).await;
        Ok(objects)
    }

    /// Pods of the engine alone, so that ten thousand others cost nothing.
    async fn pods(lists: &Lists<'_>, objects: &Objects) -> Known<Listed<Value>> {
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

    struct Lists<'a> {
        client: Client,
        namespace: &'a str,
        access: &'a Access,
    }

    impl Lists<'_> {
        async fn list(&self, group: &str, kind: &str, selector: Option<&LabelMap>) -> Known<Listed<Value>> {
            let mut listed = Listed::default();
            let mut token = String::new();
            loop {
                let page = self.page(group, kind, selector, &token).await;
                let page = match (page, listed.items.is_empty()) {
                    (Ok(page), _) => page,
                    (Err(gap), true) => return Err(gap),
                    // What was read before is there; only absence cannot be concluded any more.
                    (Err(gap), false) => {
                        listed.unread.push(gap.reason().to_owned());
                        return Ok(listed);
                    }
                };
                match page.get("items").and_then(Value::as_array) {
                    Some(items) => listed.items.extend(items.iter().cloned()),
                    None => return unknown(format!("the Kubernetes API did not answer with a list of {kind}")),
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

        async fn page(&self, group: &str, kind: &str, selector: Option<&LabelMap>, token: &str) -> Known<Value> {
            let mut query = format!("limit={PAGE}");
            if let Some(selector) = selector {
                let pairs: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
                query.push_str(&format!("&labelSelector={}", encode(&pairs.join(","))));
            }
            if !token.is_empty() {
                query.push_str(&format!("&continue={}", encode(token)));
            }
            let uri = format!("/{group}/namespaces/{}/{kind}?{query}", encode(self.namespace));
            let request = http::Request::get(uri).header(http::header::ACCEPT, "application/json");
            let request = request.body(kube::client::Body::empty());
            let request = request.map_err(|e| Gap::new(format!("{kind} cannot be asked for: {e}")))?;
            let work = async {
                let response = self.client.send(request).await.map_err(|e| {
                    Gap::new(format!("the Kubernetes API cannot be reached: {}", crate::model::chain(&e)))
                })?;
                let status = response.status();
                let body = Limited::new(response.into_body(), PAGE_BYTES_MAX).collect().await;
                let body = body.map_err(|e| Gap::new(format!("the list of {kind} broke off: {e}")))?.to_bytes();
                let json: Value = serde_json::from_slice(&body).unwrap_or_default();
                match status.as_u16() {
                    200 => Ok(json),
                    403 => unknown(format!("no right to list {kind} in namespace `{}`", self.namespace)),
                    401 => unknown("the Kubernetes API does not know who asks (status 401)"),
                    404 => unknown(format!("the Kubernetes API knows no {kind} ({group})")),
                    status => {
                        let message = json.get("message").and_then(Value::as_str).unwrap_or_default();
                        unknown(format!("the Kubernetes API answered a list of {kind} with status {status} {message}"))
                    }
                }
            };
            match tokio::time::timeout(self.access.timeout, work).await {
                Ok(answer) => answer,
                Err(_) => unknown(format!(
                    "the Kubernetes API gave no list of {kind} within {} ms",
                    self.access.timeout.as_millis()
                )),
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
                let config = config
                    .map_err(|e| Gap::new(format!("the kubeconfig cannot be used: {}", crate::model::chain(&e))))?;
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
}
