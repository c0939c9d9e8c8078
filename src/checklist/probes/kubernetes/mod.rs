//! Lists objects of one namespace through the Kubernetes API.
//!
//! In:  a kubeconfig or the pod's service account.   Out: objects, each kind for itself, so that a right that is
//! missing costs only the items that need it; what the engine's pods use ([`UsageReader`]).
//! Always: GET alone, one namespace, no Secrets, no nodes.
//! Limits: pages of 500, `objects_max` objects a kind, 16 MiB a page, one deadline a page.

#[cfg(feature = "kubernetes")]
mod client;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::checklist::cluster::Resources;
use crate::checklist::known::Gap;

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
pub async fn read(_access: &Access) -> crate::checklist::known::Known<crate::checklist::cluster::Objects> {
    crate::checklist::known::unknown("this build cannot ask Kubernetes (cargo feature `kubernetes`); use `--manifests`")
}

#[cfg(feature = "kubernetes")]
pub use client::read;
pub use usage::UsageReader;

/// Why the API gave no list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One of [`Refused::CLASSES`], for counts.
    pub class: &'static str,
    /// For a person.
    pub gap: Gap,
}

impl Refused {
    /// Every class there is.
    pub const CLASSES: [&'static str; 10] = [
        // There is neither a kubeconfig nor a service account that can be used.
        "no_access",
        // The engine's workload could not be found, so that its pods are not known.
        "no_workload",
        "unreachable",
        "timeout",
        "unauthorized",
        "forbidden",
        // The API has no such kind: there is no metrics-server.
        "absent",
        // It has, and what serves it does not answer.
        "unavailable",
        "status",
        "broken",
    ];

    fn new(class: &'static str, reason: impl Into<String>) -> Self {
        Self { class, gap: Gap::new(reason) }
    }
}

impl From<Refused> for Gap {
    fn from(refused: Refused) -> Self {
        refused.gap
    }
}

/// What metrics.k8s.io tells of the engine's pods, as it came.
#[derive(Clone, Debug, Default)]
pub struct PodMetrics {
    /// The engine's Kubernetes namespace.
    pub namespace: String,
    /// One for each Deployment or StatefulSet of the engine.
    pub workloads: Vec<MeasuredWorkload>,
    /// Why lists of usage are not whole.
    pub unread: Vec<String>,
    /// Why lists of pods are not whole, or are not there.
    pub states_unread: Vec<String>,
}

/// The pods of one workload.
#[derive(Clone, Debug, Default)]
pub struct MeasuredWorkload {
    /// Containers of its template: name, requests, limits.
    pub containers: Vec<(String, Resources, Resources)>,
    /// Objects of kind `PodMetrics`.
    pub pods: Vec<Value>,
    /// Objects of kind `Pod`.
    pub states: Vec<Value>,
}
