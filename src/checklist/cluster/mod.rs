//! Kubernetes objects as far as the checklist reads them: plain values, whether from the API or from a folder of files.
//!
//! In:  objects as JSON values ([`Cluster::read`]).   Out: [`Cluster`], with everything optional that may be missing.
//! Always: an object that cannot be read is named in its list and never counted as absent; plain values of environment
//! variables and config maps may be secrets and are not printed by `Debug`.

mod fields;
mod image;
mod mounts;
mod read;
mod read_scaling;
mod read_workload;
mod select;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;

use super::known::{Known, Listed};

pub use image::Image;
pub use mounts::{Mount, VolumeSource, is_at_or_below};
pub use read::Objects;
pub use workload::{
    Container, EnvSource, EnvValue, EnvVar, Handler, HealthProbe, Port, PortRef, Resources, Spread, Workload,
};

/// Labels or a label selector.
pub type LabelMap = BTreeMap<String, String>;

/// What is known of the objects around the engine.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where the objects come from, for people: ``namespace `rivet-engine` `` or ``the manifests in `k8s/` ``.
    pub source: String,
    /// Whether the objects are those of a running cluster, so that counts and readiness mean something.
    pub is_live: bool,
    /// Deployments and StatefulSets.
    pub workloads: Known<Listed<Workload>>,
    /// Pods of the engine.
    pub pods: Known<Listed<Pod>>,
    pub services: Known<Listed<Service>>,
    pub ingresses: Known<Listed<Ingress>>,
    /// Routes of the Gateway API, for which the documented Role gives no right.
    pub routes: Known<Listed<Route>>,
    pub autoscalers: Known<Listed<Autoscaler>>,
    pub budgets: Known<Listed<Budget>>,
    pub config_maps: Known<Listed<ConfigMap>>,
    /// The workload the operator named as the engine.
    pub engine_name: Option<String>,
    /// The objects as they came, for working out patches.
    pub raw: Arc<Objects>,
}

/// A pod of the engine.
#[derive(Clone, Debug, Default)]
pub struct Pod {
    pub name: String,
    pub node: Option<String>,
    /// The condition `Ready`; `None` when the pod does not tell.
    pub is_ready: Option<bool>,
    /// It is going away.
    pub is_deleted: bool,
    pub labels: LabelMap,
    /// Image of each container by name, as the node resolved it where it says so.
    pub images: BTreeMap<String, String>,
}

/// How a Service can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    #[default]
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalName,
}

/// A port of a Service.
#[derive(Clone, Debug)]
pub struct ServicePort {
    pub name: Option<String>,
    pub port: u16,
    pub target: PortRef,
    pub node_port: Option<u16>,
}

/// A Service.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: String,
    pub namespace: Option<String>,
    pub kind: ServiceType,
    pub selector: LabelMap,
    pub ports: Vec<ServicePort>,
    pub has_external_ips: bool,
    pub annotations: BTreeMap<String, String>,
}

/// One rule of an Ingress or a route: host, and the Service port behind it.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The namespace of the Service, where it is said.
    pub namespace: Option<String>,
    pub host: Option<String>,
    pub service: String,
    pub port: Option<PortRef>,
}

/// An Ingress.
#[derive(Clone, Debug)]
pub struct Ingress {
    pub name: String,
    pub namespace: Option<String>,
    pub class: Option<String>,
    pub annotations: BTreeMap<String, String>,
    pub backends: Vec<Backend>,
    /// Whether it ends TLS at all.
    pub has_tls: bool,
}

/// A route of the Gateway API.
#[derive(Clone, Debug)]
pub struct Route {
    /// Kind and name.
    pub title: String,
    pub backends: Vec<Backend>,
}

/// What a HorizontalPodAutoscaler scales by, per resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Percent of the request.
    Utilization(f64),
    /// Cores or bytes per pod.
    AverageValue(f64),
}

/// A target, and what it is measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetOf {
    /// One container of the pods; `None` for the pods as a whole.
    pub container: Option<String>,
    pub target: Target,
}

/// What scales a workload.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    /// `HorizontalPodAutoscaler`, or KEDA's `ScaledObject`.
    pub kind: &'static str,
    /// A ScaledObject, or what KEDA made of one and would make again if it were changed.
    pub is_kedas: bool,
    pub name: String,
    pub namespace: Option<String>,
    pub target_kind: String,
    pub target_name: String,
    /// Kubernetes takes 1 when it is not given, KEDA 0.
    pub min_replicas: u32,
    pub max_replicas: u32,
    /// Every target of CPU, of which the one that wants most replicas decides.
    pub cpu: Vec<TargetOf>,
    pub memory: Vec<TargetOf>,
    /// `spec.metrics` of a HorizontalPodAutoscaler as it came, with what is not read here.
    pub metrics: Vec<serde_json::Value>,
    /// Replicas there are now, where the status tells.
    pub current_replicas: Option<u32>,
}

impl Autoscaler {
    /// `HorizontalPodAutoscaler rivet-engine`.
    pub fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// A number of pods, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Pods(u32),
    Percent(f64),
}

impl Amount {
    /// The number of pods among `replicas`, rounded up as the disruption controller does.
    pub fn of(self, replicas: u32) -> u32 {
        match self {
            Self::Pods(n) => n,
            // At most a few thousand pods: no loss.
            Self::Percent(percent) => (percent / 100.0 * f64::from(replicas)).ceil() as u32,
        }
    }
}

/// The pods that a PodDisruptionBudget holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Those with these labels; none without labels.
    Pods(LabelMap),
    /// Those of the whole namespace, which an empty selector picks (`policy/v1`).
    AllPods,
    /// Expressions, which are not read.
    ByExpressions,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug)]
pub struct Budget {
    pub name: String,
    pub namespace: Option<String>,
    pub selector: Selected,
    pub min_available: Option<Amount>,
    pub max_unavailable: Option<Amount>,
}

/// A ConfigMap; its values may hold secrets that do not belong there.
#[derive(Clone, Debug)]
pub struct ConfigMap {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: LabelMap,
    pub data: BTreeMap<String, SecretString>,
    /// Keys of `binaryData`, which is not read.
    pub binary: Vec<String>,
}
