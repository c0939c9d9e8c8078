//! `capacity.autoscaler`: the engine's HorizontalPodAutoscaler where Kubernetes does not tell of it.

use serde::{Deserialize, Deserializer};

use crate::capacity::hpa::{Controller, HpaSpec};
use crate::model::{HumanDuration, Problem};

/// The autoscaler of the engines.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoscalerConfig {
    /// A HorizontalPodAutoscaler of `autoscaling/v2`, or its `spec`, as in the manifest: `{minReplicas: 2, maxReplicas: 10,
    /// metrics: […], behavior: {…}}`. What kube-state-metrics tells (minimum, maximum, utilisation targets) wins over it;
    /// `behavior` comes from here alone. Default none: the production checklist's 70 % CPU and 80 % memory, maximum unknown.
    #[serde(deserialize_with = "spec")]
    pub spec: Option<HpaSpec>,
    pub controller: ControllerConfig,
}

/// `capacity.autoscaler.controller`: flags of kube-controller-manager, with Kubernetes' defaults. Managed clusters keep them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControllerConfig {
    /// `--horizontal-pod-autoscaler-tolerance`; default 0.1, 0 to below 1.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`; default 5m, at most 1h.
    pub downscale_stabilization: HumanDuration,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`; default 5m.
    pub cpu_initialization_period: HumanDuration,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`; default 30s.
    pub initial_readiness_delay: HumanDuration,
    /// `--horizontal-pod-autoscaler-sync-period`; default 15s, at least 1s.
    pub sync_period: HumanDuration,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            downscale_stabilization: HumanDuration::secs(300),
            cpu_initialization_period: HumanDuration::secs(300),
            initial_readiness_delay: HumanDuration::secs(30),
            sync_period: HumanDuration::secs(15),
        }
    }
}

impl ControllerConfig {
    /// The flags as the twin reads them.
    pub fn settings(&self) -> Controller {
        Controller {
            tolerance: self.tolerance,
            downscale_stabilization_ms: self.downscale_stabilization.as_ms(),
            cpu_initialization_ms: self.cpu_initialization_period.as_ms(),
            initial_readiness_delay_ms: self.initial_readiness_delay.as_ms(),
            sync_period_ms: self.sync_period.as_ms(),
        }
    }
}

impl AutoscalerConfig {
    pub(super) fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let controller = &self.controller;
        let mut problem = |key: &str, rule: String| problems.push(Problem::new(format!("{at}.controller.{key}"), rule));
        if !(0.0..1.0).contains(&controller.tolerance) {
            problem("tolerance", format!("must be at least 0 and below 1, got {}", controller.tolerance));
        }
        if controller.downscale_stabilization > HumanDuration::secs(3600) {
            problem(
                "downscale_stabilization",
                format!("must be at most 1h, got {}", controller.downscale_stabilization),
            );
        }
        if controller.sync_period < HumanDuration::secs(1) {
            problem("sync_period", format!("must be at least 1s, got {}", controller.sync_period));
        }
    }
}

fn spec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HpaSpec>, D::Error> {
    let value = Option::<serde_json::Value>::deserialize(deserializer)?;
    value.map(|value| HpaSpec::from_manifest(&value).map_err(serde::de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::hpa::{MetricSpec, Resource};

    #[test]
    fn a_manifest_is_taken_as_it_is_and_its_mistakes_are_named() {
        let config: AutoscalerConfig =
            serde_saphyr::from_str("spec: {minReplicas: 2, maxReplicas: 10, metrics: [{type: Resource, resource: {name: memory, target: {type: Utilization, averageUtilization: 80}}}]}").unwrap();
        let spec = config.spec.unwrap();
        assert_eq!((spec.min_replicas, spec.max_replicas), (2, 10));
        assert_eq!(spec.metrics, [MetricSpec::utilization(Resource::Memory, 80)]);
        let error = serde_saphyr::from_str::<AutoscalerConfig>("spec: {maxReplicas: 0}").unwrap_err().to_string();
        assert!(error.contains("maxReplicas"), "{error}");
        let mut problems = Vec::new();
        let odd = "controller: {tolerance: 1, downscale_stabilization: 2h, sync_period: 1ms}";
        serde_saphyr::from_str::<AutoscalerConfig>(odd).unwrap().validate("capacity.autoscaler", &mut problems);
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
