//! Autoscalers for the engines: a HorizontalPodAutoscaler, or a ScaledObject for KEDA.
//!
//! In:  names, bounds and targets.   Out: YAML for `kubectl apply`, with the reason of each choice above it.
//! Always: CPU and memory are those of the engine's container, so that a sidecar's requests do not skew them; where
//! nobody configured how fast, one engine less in ten minutes at most, since one that goes drains its connections for so long.
//! Source: `autoscaling/v2` of Kubernetes 1.30, where ContainerResource is stable; `keda.sh/v1alpha1`.

use serde_json::{Map, Value, json};

use super::yaml;

/// Seconds that an engine drains for (`runtime.guard_shutdown_duration`).
const DRAIN_SECS: u32 = 600;

/// What the objects say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AutoscalerSettings {
    /// Name of the object.
    pub name: String,
    /// Written only where given.
    pub namespace: Option<String>,
    /// Group and version of what is scaled, `apps/v1` for what Kubernetes brings.
    pub target_api_version: String,
    /// `Deployment` or `StatefulSet`.
    pub target_kind: String,
    pub target_name: String,
    /// The engine's container in its pod.
    pub container: String,
    pub min_replicas: u32,
    pub max_replicas: u32,
    pub cpu: ResourceTarget,
    pub memory: ResourceTarget,
    /// The field `behavior` as somebody wrote it; `None` has one engine less in ten minutes.
    pub behavior: Option<Value>,
}

/// Where a resource is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceTarget {
    /// Percent of the request.
    Utilization(u32),
    /// A quantity for each engine, such as `1500m` or `2147483648`.
    AverageValue(String),
}

/// How KEDA finds the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalerSettings {
    /// `host:port` of `api.external_scaler.listen` as KEDA reaches it.
    pub address: String,
    /// Variable of the engine's container that holds the token.
    pub token_env: Option<String>,
    /// TriggerAuthentication with `caCert`, `tlsClientCert` and `tlsClientKey`.
    pub authentication: Option<String>,
}

/// The HorizontalPodAutoscaler.
pub fn hpa(settings: &AutoscalerSettings) -> String {
    let metric = |resource: &str, target: &ResourceTarget| {
        let target = match target {
            ResourceTarget::Utilization(percent) => json!({ "type": "Utilization", "averageUtilization": percent }),
            ResourceTarget::AverageValue(quantity) => json!({ "type": "AverageValue", "averageValue": quantity }),
        };
        let of_container = json!({ "name": resource, "container": settings.container, "target": target });
        json!({ "type": "ContainerResource", "containerResource": of_container })
    };
    let object = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(settings),
        "spec": {
            "scaleTargetRef": target(settings),
            "minReplicas": settings.min_replicas,
            "maxReplicas": settings.max_replicas,
            "metrics": [metric("cpu", &settings.cpu), metric("memory", &settings.memory)],
            "behavior": behavior(settings),
        },
    });
    format!("{REASONS}{}{}", behavior_reason(settings), yaml::print(&object))
}

/// The ScaledObject: CPU and memory as above, and the agent's external scaler.
pub fn keda(settings: &AutoscalerSettings, scaler: &ScalerSettings) -> String {
    let resource = |kind: &str, target: &ResourceTarget| {
        let (metric_type, value) = match target {
            ResourceTarget::Utilization(percent) => ("Utilization", percent.to_string()),
            ResourceTarget::AverageValue(quantity) => ("AverageValue", quantity.clone()),
        };
        json!({
            "type": kind,
            "metricType": metric_type,
            "metadata": { "value": value, "containerName": settings.container },
        })
    };
    let mut metadata_of_trigger = Map::new();
    metadata_of_trigger.insert("scalerAddress".into(), scaler.address.clone().into());
    metadata_of_trigger.insert("metric".into(), "binding".into());
    metadata_of_trigger.insert("target".into(), "100".into());
    if let Some(variable) = &scaler.token_env {
        metadata_of_trigger.insert("tokenFromEnv".into(), variable.clone().into());
    }
    // The figure is one for all replicas, so that `Value` is right and KEDA's default `AverageValue` is not.
    let mut external = json!({ "type": "external", "metricType": "Value", "metadata": metadata_of_trigger });
    if let Some(name) = &scaler.authentication {
        external["authenticationRef"] = json!({ "name": name });
    }
    let object = json!({
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": metadata(settings),
        "spec": {
            "scaleTargetRef": target(settings),
            "minReplicaCount": settings.min_replicas,
            "maxReplicaCount": settings.max_replicas,
            "pollingInterval": 30,
            "advanced": { "horizontalPodAutoscalerConfig": { "behavior": behavior(settings) } },
            "triggers": [resource("cpu", &settings.cpu), resource("memory", &settings.memory), external],
        },
    });
    format!("{REASONS}{}{KEDA_REASONS}{}", behavior_reason(settings), yaml::print(&object))
}

const REASONS: &str = "\
# Targets count the engine's container alone, so that a sidecar in the pod does not skew them.
";

const BEHAVIOR_REASON: &str = "\
# One engine less in ten minutes at most: an engine that goes drains its connections for up to 600 s.
";

/// `behavior` explains itself where somebody else chose it.
fn behavior_reason(settings: &AutoscalerSettings) -> &'static str {
    if settings.behavior.is_some() { "" } else { BEHAVIOR_REASON }
}

const KEDA_REASONS: &str = "\
# The external trigger serves how full the nearest limit is that more engines relieve, in percent. On stale figures it answers an
# error, and a missing metric forbids to shrink. `metricType: Value` is needed: the figure is not to be divided by the replicas.
";

fn metadata(settings: &AutoscalerSettings) -> Value {
    let mut metadata = Map::new();
    metadata.insert("name".into(), settings.name.clone().into());
    if let Some(namespace) = &settings.namespace {
        metadata.insert("namespace".into(), namespace.clone().into());
    }
    metadata.insert("labels".into(), json!({ "app.kubernetes.io/managed-by": "rivetwatch" }));
    metadata.into()
}

fn target(settings: &AutoscalerSettings) -> Value {
    json!({
        "apiVersion": settings.target_api_version,
        "kind": settings.target_kind,
        "name": settings.target_name,
    })
}

fn behavior(settings: &AutoscalerSettings) -> Value {
    settings.behavior.clone().unwrap_or_else(|| {
        json!({
            "scaleDown": {
                "stabilizationWindowSeconds": DRAIN_SECS,
                "policies": [{ "type": "Pods", "value": 1, "periodSeconds": DRAIN_SECS }],
            },
        })
    })
}
