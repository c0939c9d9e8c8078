//! What scales a workload, from JSON.

use serde_json::Value;

use super::fields::{Read, at, items, name, number, quantity, text};
use super::{Autoscaler, Target};

pub(super) fn autoscaler(value: &Value) -> Read<Autoscaler> {
    let spec = at(value, "spec")?;
    // `autoscaling/v1` knows CPU alone.
    let v1: Option<u32> = number(spec, "/targetCPUUtilizationPercentage")?;
    let (mut cpu, mut memory) = (v1.map(|percent| Target::Utilization(f64::from(percent))), None);
    for metric in items(spec, "metrics")? {
        let Some(resource) = metric.get("resource").or_else(|| metric.get("containerResource")) else { continue };
        let target = resource.get("target").ok_or("a metric has no target")?;
        let target = match number::<u32>(target, "/averageUtilization")? {
            Some(percent) => Target::Utilization(f64::from(percent)),
            None => match quantity(Some(target), "averageValue")? {
                Some(value) => Target::AverageValue(value),
                None => return Err("a metric's target is neither a utilization nor an average value".into()),
            },
        };
        match resource.get("name").and_then(Value::as_str) {
            Some("cpu") => cpu = Some(target),
            Some("memory") => memory = Some(target),
            _ => {}
        }
    }
    Ok(Autoscaler {
        name: name(value)?,
        target_kind: text(spec, "/scaleTargetRef/kind").ok_or("`scaleTargetRef.kind` is missing")?,
        target_name: text(spec, "/scaleTargetRef/name").ok_or("`scaleTargetRef.name` is missing")?,
        min_replicas: number(spec, "/minReplicas")?.unwrap_or(1),
        max_replicas: number(spec, "/maxReplicas")?.ok_or("`maxReplicas` is missing")?,
        cpu,
        memory,
        metrics: items(spec, "metrics")?.to_vec(),
        current_replicas: number(value, "/status/currentReplicas")?,
    })
}
