//! What scales a workload, from JSON: a HorizontalPodAutoscaler, or the ScaledObject that KEDA makes one of.
//!
//! Source: `autoscaling/v2` and `v1` of Kubernetes; `keda.sh/v1alpha1`.

use serde_json::Value;

use super::fields::{Read, at, maps, name, namespace, number, quantity, text, word};
use super::{Autoscaler, Target, TargetOf};
use crate::model::parse_quantity;

/// Reads either of the two by its kind; items of a list of the API name none.
pub(super) fn autoscaler(value: &Value) -> Read<Autoscaler> {
    match value.get("kind").and_then(Value::as_str) {
        Some("ScaledObject") => scaled_object(value),
        _ => horizontal(value),
    }
}

fn horizontal(value: &Value) -> Read<Autoscaler> {
    let spec = at(value, "spec")?;
    // `autoscaling/v1` knows CPU alone.
    let v1: Option<u32> = number(spec, "/targetCPUUtilizationPercentage")?;
    let whole_pod = |percent: u32| TargetOf { container: None, target: Target::Utilization(f64::from(percent)) };
    let (mut cpu, mut memory) = (v1.map(whole_pod).into_iter().collect::<Vec<_>>(), Vec::new());
    for metric in maps(spec, "metrics")? {
        let (resource, container) = match (metric.get("resource"), metric.get("containerResource")) {
            (Some(resource), _) => (resource, None),
            (None, Some(resource)) => {
                (resource, Some(text(resource, "/container").ok_or("a ContainerResource names no container")?))
            }
            (None, None) if is_other_metric(metric) => continue,
            (None, None) => return Err("a metric is of no type".into()),
        };
        let target = resource.get("target").ok_or("a metric has no target")?;
        let target = match number::<u32>(target, "/averageUtilization")? {
            Some(percent) => Target::Utilization(f64::from(percent)),
            None => match quantity(Some(target), "averageValue")? {
                Some(value) => Target::AverageValue(value),
                None => return Err("a metric's target is neither a utilization nor an average value".into()),
            },
        };
        match text(resource, "/name").as_deref() {
            Some("cpu") => cpu.push(TargetOf { container, target }),
            Some("memory") => memory.push(TargetOf { container, target }),
            Some(_) => {}
            None => return Err("a metric names no resource".into()),
        }
    }
    Ok(Autoscaler {
        kind: "HorizontalPodAutoscaler",
        is_kedas: value.pointer("/metadata/ownerReferences").and_then(Value::as_array).is_some_and(|owners| {
            owners.iter().any(|owner| owner.get("kind").and_then(Value::as_str) == Some("ScaledObject"))
        }),
        name: name(value)?,
        namespace: namespace(value)?,
        target_kind: text(spec, "/scaleTargetRef/kind").ok_or("`scaleTargetRef.kind` is missing")?,
        target_name: text(spec, "/scaleTargetRef/name").ok_or("`scaleTargetRef.name` is missing")?,
        min_replicas: number(spec, "/minReplicas")?.unwrap_or(1),
        max_replicas: number(spec, "/maxReplicas")?.ok_or("`maxReplicas` is missing")?,
        cpu,
        memory,
        metrics: maps(spec, "metrics")?.to_vec(),
        current_replicas: number(value, "/status/currentReplicas")?,
    })
}

/// A metric that is not about CPU or memory of the pods.
fn is_other_metric(metric: &Value) -> bool {
    ["pods", "object", "external"].iter().any(|key| metric.get(*key).is_some_and(Value::is_object))
}

/// Triggers on CPU and memory become metrics of the autoscaler that KEDA makes; other triggers bound nothing here.
fn scaled_object(value: &Value) -> Read<Autoscaler> {
    let spec = at(value, "spec")?;
    let (mut cpu, mut memory) = (Vec::new(), Vec::new());
    for trigger in maps(spec, "triggers")? {
        let of = match word(trigger, "type")?.ok_or("a trigger has no type")?.as_str() {
            "cpu" => &mut cpu,
            "memory" => &mut memory,
            _ => continue,
        };
        let amount = text(trigger, "/metadata/value").ok_or("a trigger has no value")?;
        let amount_of = || parse_quantity(&amount).ok_or_else(|| format!("`{amount}` is no value of a trigger"));
        // The type stood in the metadata in older releases.
        let kind = word(trigger, "metricType")?.or_else(|| text(trigger, "/metadata/type"));
        let target = match kind.as_deref().unwrap_or("Utilization") {
            "Utilization" => Target::Utilization(amount_of()?),
            "AverageValue" => Target::AverageValue(amount_of()?),
            other => return Err(format!("`{other}` is no type of a CPU or memory trigger")),
        };
        let container = text(trigger, "/metadata/containerName").filter(|name| !name.is_empty());
        of.push(TargetOf { container, target });
    }
    Ok(Autoscaler {
        kind: "ScaledObject",
        is_kedas: true,
        name: name(value)?,
        namespace: namespace(value)?,
        target_kind: match at(spec, "scaleTargetRef")?.get("kind") {
            None => "Deployment".to_owned(),
            Some(kind) => kind.as_str().ok_or("`scaleTargetRef.kind` is not a text")?.to_owned(),
        },
        target_name: text(spec, "/scaleTargetRef/name").ok_or("`scaleTargetRef.name` is missing")?,
        // KEDA's own defaults; at 0 it takes the workload away altogether.
        min_replicas: number(spec, "/minReplicaCount")?.unwrap_or(0),
        max_replicas: number(spec, "/maxReplicaCount")?.unwrap_or(100),
        cpu,
        memory,
        metrics: Vec::new(),
        current_replicas: None,
    })
}
