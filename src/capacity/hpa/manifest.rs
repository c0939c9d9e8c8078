//! Reads an `autoscaling/v2` HorizontalPodAutoscaler.
//!
//! In:  the object as JSON or YAML values, whole or only its `spec`.   Out: an [`HpaSpec`].
//! Always: what the API server would refuse is refused here, with the field and the value; what it would fill in is
//! filled in. Fields that the algorithm does not read are passed over.

use serde::Deserialize;
use serde_json::Value;

use super::spec::{
    Behavior, HpaSpec, MetricSpec, Policy, PolicyKind, Resource, ScaleTarget, ScalingRules, Select, Source, Target,
};
use crate::model::milli_quantity as milli;

/// Why an object is no autoscaler that Kubernetes would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("it is not a HorizontalPodAutoscaler of autoscaling/v2, but `{kind}` of `{api_version}`")]
    Kind { kind: String, api_version: String },
    #[error("{0}")]
    Shape(String),
    #[error("`{field}` {rule}")]
    Field { field: String, rule: String },
}

/// The longest stabilisation window that Kubernetes takes.
const WINDOW_SECS_MAX: i32 = 3600;
/// The longest period of a policy that Kubernetes takes.
const PERIOD_SECS_MAX: i32 = 1800;
/// CPU utilisation that Kubernetes aims at where the object names no metric.
const CPU_PERCENT_DEFAULT: i32 = 80;

impl HpaSpec {
    /// Reads `object`: a HorizontalPodAutoscaler with `apiVersion` and `kind`, or the `spec` of one.
    ///
    /// # Errors
    /// Another kind of object, a wrong shape, or a value outside Kubernetes' bounds, with its field.
    pub fn from_manifest(object: &Value) -> Result<Self, SpecError> {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, api_version) = (text("kind"), text("apiVersion"));
        let is_object = !kind.is_empty() || !api_version.is_empty();
        if is_object && (kind != "HorizontalPodAutoscaler" || api_version != "autoscaling/v2") {
            return Err(SpecError::Kind { kind, api_version });
        }
        let spec = if is_object { object.get("spec").unwrap_or(&Value::Null) } else { object };
        let raw: RawSpec = serde_json::from_value(spec.clone()).map_err(|e| SpecError::Shape(e.to_string()))?;
        raw.read()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    min_replicas: Option<i32>,
    max_replicas: i32,
    #[serde(default)]
    metrics: Vec<RawMetric>,
    behavior: Option<RawBehavior>,
    scale_target_ref: Option<RawTargetRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTargetRef {
    api_version: Option<String>,
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMetric {
    #[serde(rename = "type")]
    kind: String,
    resource: Option<RawResource>,
    container_resource: Option<RawResource>,
    pods: Option<RawCustom>,
    object: Option<RawCustom>,
    external: Option<RawCustom>,
}

#[derive(Deserialize)]
struct RawResource {
    name: String,
    container: Option<String>,
    target: RawTarget,
}

#[derive(Deserialize)]
struct RawCustom {
    metric: RawIdentifier,
    target: RawTarget,
}

#[derive(Deserialize)]
struct RawIdentifier {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget {
    average_utilization: Option<i32>,
    average_value: Option<RawQuantity>,
    value: Option<RawQuantity>,
}

/// YAML writes `averageValue: 30` as a number.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum RawQuantity {
    Text(String),
    Number(serde_json::Number),
}

impl RawQuantity {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBehavior {
    scale_up: Option<RawRules>,
    scale_down: Option<RawRules>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRules {
    stabilization_window_seconds: Option<i32>,
    select_policy: Option<String>,
    policies: Option<Vec<RawPolicy>>,
    tolerance: Option<RawQuantity>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPolicy {
    #[serde(rename = "type")]
    kind: String,
    value: i32,
    period_seconds: i32,
}

fn refuse<T>(field: impl Into<String>, rule: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError::Field { field: field.into(), rule: rule.into() })
}

impl RawSpec {
    fn read(self) -> Result<HpaSpec, SpecError> {
        let min_replicas = self.min_replicas.unwrap_or(1);
        if min_replicas < 0 {
            return refuse("minReplicas", format!("must not be negative, got {min_replicas}"));
        }
        if self.max_replicas < min_replicas.max(1) {
            return refuse("maxReplicas", format!("must be at least 1 and `minReplicas`, got {}", self.max_replicas));
        }
        let mut metrics = Vec::with_capacity(self.metrics.len());
        for (at, metric) in self.metrics.into_iter().enumerate() {
            metrics.push(metric.read(&format!("metrics[{at}]"))?);
        }
        if metrics.is_empty() {
            metrics.push(MetricSpec::utilization(Resource::Cpu, CPU_PERCENT_DEFAULT));
        }
        let behavior = match self.behavior {
            None => None,
            Some(raw) => Some(Behavior {
                scale_up: rules(raw.scale_up, ScalingRules::up(), "behavior.scaleUp")?,
                scale_down: rules(raw.scale_down, ScalingRules::down(), "behavior.scaleDown")?,
            }),
        };
        let target = self.scale_target_ref.map(|raw| ScaleTarget {
            api_version: raw.api_version.unwrap_or_else(|| "apps/v1".to_owned()),
            kind: raw.kind,
            name: raw.name,
        });
        Ok(HpaSpec { min_replicas, max_replicas: self.max_replicas, metrics, behavior, target })
    }
}

impl RawMetric {
    fn read(self, at: &str) -> Result<MetricSpec, SpecError> {
        let (source, target, at) = match (self.kind.as_str(), self.resource, self.container_resource) {
            ("Resource", Some(raw), _) => {
                let at = format!("{at}.resource");
                (Source::Resource { resource: resource(&raw.name, &at)?, container: None }, raw.target, at)
            }
            ("ContainerResource", _, Some(raw)) => {
                let at = format!("{at}.containerResource");
                if raw.container.is_none() {
                    return refuse(format!("{at}.container"), "must name a container");
                }
                (Source::Resource { resource: resource(&raw.name, &at)?, container: raw.container }, raw.target, at)
            }
            (kind, ..) => {
                let (name, custom) = match kind {
                    "Pods" => ("pods", self.pods),
                    "Object" => ("object", self.object),
                    "External" => ("external", self.external),
                    _ => ("type", None),
                };
                let Some(RawCustom { metric: RawIdentifier { name: metric }, target }) = custom else {
                    return refuse(
                        format!("{at}.type"),
                        format!("is `{kind}`, for which the metric is missing or unknown"),
                    );
                };
                let source = match name {
                    "pods" => Source::Pods { metric },
                    "object" => Source::Object { metric },
                    _ => Source::External { metric },
                };
                (source, target, format!("{at}.{name}"))
            }
        };
        let target = target.read(&source, &format!("{at}.target"))?;
        Ok(MetricSpec { source, target })
    }
}

fn resource(name: &str, at: &str) -> Result<Resource, SpecError> {
    match name {
        "cpu" => Ok(Resource::Cpu),
        "memory" => Ok(Resource::Memory),
        other => refuse(format!("{at}.name"), format!("must be `cpu` or `memory`, got `{other}`")),
    }
}

impl RawTarget {
    fn read(self, source: &Source, at: &str) -> Result<Target, SpecError> {
        let positive = |value: Option<RawQuantity>, name: &str| match value {
            None => Ok(None),
            Some(raw) => match milli(&raw.text()) {
                Some(value) if value > 0 => Ok(Some(value)),
                _ => refuse(format!("{at}.{name}"), format!("must be a positive quantity, got `{}`", raw.text())),
            },
        };
        let average = positive(self.average_value, "averageValue")?;
        let value = positive(self.value, "value")?;
        match (source, self.average_utilization, average, value) {
            (Source::Resource { .. }, Some(percent), None, _) if percent > 0 => Ok(Target::Utilization(percent)),
            (Source::Resource { .. } | Source::Pods { .. }, None, Some(average), _) => {
                Ok(Target::AverageValue(average))
            }
            (Source::Object { .. } | Source::External { .. }, _, Some(average), None) => {
                Ok(Target::AverageValue(average))
            }
            (Source::Object { .. } | Source::External { .. }, _, None, Some(value)) => Ok(Target::Value(value)),
            _ => refuse(at, "must have one positive target that its kind of metric knows"),
        }
    }
}

/// The rules of one direction over their defaults, field by field as the API server lays them.
fn rules(raw: Option<RawRules>, defaults: ScalingRules, at: &str) -> Result<ScalingRules, SpecError> {
    let Some(raw) = raw else { return Ok(defaults) };
    let mut rules = defaults;
    if let Some(secs) = raw.stabilization_window_seconds {
        if !(0..=WINDOW_SECS_MAX).contains(&secs) {
            return refuse(
                format!("{at}.stabilizationWindowSeconds"),
                format!("must be between 0 and {WINDOW_SECS_MAX}, got {secs}"),
            );
        }
        rules.stabilization_window_secs = Some(secs);
    }
    if let Some(select) = raw.select_policy {
        rules.select = match select.as_str() {
            "Max" => Select::Max,
            "Min" => Select::Min,
            "Disabled" => Select::Disabled,
            other => {
                let rule = format!("must be `Max`, `Min` or `Disabled`, got `{other}`");
                return refuse(format!("{at}.selectPolicy"), rule);
            }
        };
    }
    if let Some(policies) = raw.policies {
        if policies.is_empty() {
            return refuse(format!("{at}.policies"), "must not be empty");
        }
        let read = |(n, raw): (usize, RawPolicy)| raw.read(&format!("{at}.policies[{n}]"));
        rules.policies = policies.into_iter().enumerate().map(read).collect::<Result<_, _>>()?;
    }
    if let Some(raw) = raw.tolerance {
        match milli_exact(&raw.text()) {
            Some(tolerance) if tolerance >= 0.0 => rules.tolerance = Some(tolerance),
            _ => {
                return refuse(
                    format!("{at}.tolerance"),
                    format!("must be a quantity of at least 0, got `{}`", raw.text()),
                );
            }
        }
    }
    Ok(rules)
}

/// A quantity as a float, which tolerances are; plain decimals keep all their digits.
fn milli_exact(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|v| v.is_finite()).or_else(|| milli(text).map(|n| n as f64 / 1000.0))
}

impl RawPolicy {
    fn read(self, at: &str) -> Result<Policy, SpecError> {
        let kind = match self.kind.as_str() {
            "Pods" => PolicyKind::Pods,
            "Percent" => PolicyKind::Percent,
            other => return refuse(format!("{at}.type"), format!("must be `Pods` or `Percent`, got `{other}`")),
        };
        if self.value <= 0 {
            return refuse(format!("{at}.value"), format!("must be greater than 0, got {}", self.value));
        }
        if !(1..=PERIOD_SECS_MAX).contains(&self.period_seconds) {
            let rule = format!("must be between 1 and {PERIOD_SECS_MAX}, got {}", self.period_seconds);
            return refuse(format!("{at}.periodSeconds"), rule);
        }
        Ok(Policy { kind, value: self.value, period_secs: self.period_seconds })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_api_server_fills_in_is_filled_in() {
        let spec = HpaSpec::from_manifest(&json!({"maxReplicas": 3})).unwrap();
        assert_eq!((spec.min_replicas, spec.max_replicas, &spec.behavior), (1, 3, &None));
        assert_eq!(spec.metrics, [MetricSpec::utilization(Resource::Cpu, 80)]);
        let object = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
            "maxReplicas": 3, "behavior": {"scaleDown": {"tolerance": "50m", "selectPolicy": "Min"}}}});
        let behavior = HpaSpec::from_manifest(&object).unwrap().behavior.unwrap();
        assert_eq!(behavior.scale_up, ScalingRules::up());
        let expected = ScalingRules { tolerance: Some(0.05), select: Select::Min, ..ScalingRules::down() };
        assert_eq!(behavior.scale_down, expected);
    }

    #[test]
    fn what_the_api_server_refuses_is_refused_by_field() {
        let cpu = |target: Value| json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        let up = |rules: Value| json!({"maxReplicas": 3, "behavior": {"scaleUp": rules}});
        let policy = |kind: &str, value: i32, period: i32| json!({"policies": [{"type": kind, "value": value, "periodSeconds": period}]});
        for (object, field) in [
            (json!({"maxReplicas": 0}), "maxReplicas"),
            (json!({"minReplicas": 4, "maxReplicas": 3}), "maxReplicas"),
            (json!({"minReplicas": -1, "maxReplicas": 3}), "minReplicas"),
            (json!({"maxReplicas": 3, "metrics": cpu(json!({"averageUtilization": 0}))}), "metrics[0].resource.target"),
            (json!({"maxReplicas": 3, "metrics": cpu(json!({"averageValue": "-1"}))}), "target.averageValue"),
            (json!({"maxReplicas": 3, "metrics": [{"type": "Disk"}]}), "metrics[0].type"),
            (
                json!({"maxReplicas": 3, "metrics": [{"type": "ContainerResource", "containerResource":
                {"name": "cpu", "target": {"averageUtilization": 60}}}]}),
                "containerResource.container",
            ),
            (up(json!({"stabilizationWindowSeconds": 3601})), "scaleUp.stabilizationWindowSeconds"),
            (up(json!({"selectPolicy": "Most"})), "scaleUp.selectPolicy"),
            (up(json!({"policies": []})), "scaleUp.policies"),
            (up(policy("Pods", 0, 15)), "policies[0].value"),
            (up(policy("Pods", 1, 1801)), "policies[0].periodSeconds"),
            (up(policy("Share", 1, 15)), "policies[0].type"),
            (up(json!({"tolerance": "-0.1"})), "scaleUp.tolerance"),
        ] {
            let error = HpaSpec::from_manifest(&object).unwrap_err().to_string();
            assert!(error.contains(field), "{field} in {error}");
        }
        let other = json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "spec": {}});
        assert!(HpaSpec::from_manifest(&other).unwrap_err().to_string().contains("autoscaling/v1"));
        assert!(matches!(HpaSpec::from_manifest(&json!({"maxReplicas": "x"})), Err(SpecError::Shape(_))));
    }
}
