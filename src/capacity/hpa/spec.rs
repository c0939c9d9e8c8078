//! What the autoscaler is told: the object's spec and the controller's flags, as plain data.
//!
//! Whoever reads Kubernetes, kube-state-metrics or the configuration fills an [`HpaSpec`]; the twin reads nothing else.

/// A HorizontalPodAutoscaler (`autoscaling/v2`), as far as its algorithm needs it.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaSpec {
    /// `minReplicas`; Kubernetes puts 1 where it is not set.
    pub min_replicas: i32,
    pub max_replicas: i32,
    pub metrics: Vec<MetricSpec>,
    /// `None` has the older rules: twice the replicas or 4 at once, five minutes of patience on the way down.
    pub behavior: Option<Behavior>,
    /// `scaleTargetRef`, which the algorithm does not need and an exported object does.
    pub target: Option<ScaleTarget>,
}

/// What an autoscaler scales.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScaleTarget {
    /// `apps/v1` where the object names none.
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

/// More replicas than anybody runs, for a maximum that nobody stated.
pub const MAX_UNKNOWN: i32 = 10_000;

impl HpaSpec {
    /// An object without metrics, with a minimum of 1 and a maximum that nobody stated.
    pub fn unbounded() -> Self {
        Self { min_replicas: 1, max_replicas: MAX_UNKNOWN, metrics: Vec::new(), behavior: None, target: None }
    }
}

/// One entry of `metrics`.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    pub source: Source,
    pub target: Target,
}

impl MetricSpec {
    /// A target for a share of the pods' requests, in percent.
    pub fn utilization(resource: Resource, percent: i32) -> Self {
        Self { source: Source::Resource { resource, container: None }, target: Target::Utilization(percent) }
    }

    /// The metric in words: `cpu`, `cpu of container engine`, `external metric queue`.
    pub fn name(&self) -> String {
        match &self.source {
            Source::Resource { resource, container: None } => resource.as_str().to_owned(),
            Source::Resource { resource, container: Some(container) } => {
                format!("{} of container {container}", resource.as_str())
            }
            Source::Pods { metric } => format!("pods metric {metric}"),
            Source::Object { metric } => format!("object metric {metric}"),
            Source::External { metric } => format!("external metric {metric}"),
        }
    }
}

/// What a metric measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// CPU or memory of each pod (`Resource`), or of one container in it (`ContainerResource`).
    Resource { resource: Resource, container: Option<String> },
    /// A custom metric of each pod.
    Pods { metric: String },
    /// A metric of one other object.
    Object { metric: String },
    /// A metric from outside the cluster, summed over its series.
    External { metric: String },
}

/// The resources that metrics of pods know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    Cpu,
    Memory,
}

impl Resource {
    /// Kubernetes' name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// Where the autoscaler wants a metric. Values are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Percent of the request, all pods together.
    Utilization(i32),
    /// Per pod.
    AverageValue(i64),
    /// As a whole.
    Value(i64),
}

/// `behavior`, with Kubernetes' defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Behavior {
    pub scale_up: ScalingRules,
    pub scale_down: ScalingRules,
}

impl Default for Behavior {
    fn default() -> Self {
        Self { scale_up: ScalingRules::up(), scale_down: ScalingRules::down() }
    }
}

/// How fast, and after how much patience, replicas may change in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRules {
    /// `None`, possible on the way down only, has the controller's window.
    pub stabilization_window_secs: Option<i32>,
    pub select: Select,
    pub policies: Vec<Policy>,
    /// In place of the controller's tolerance; 0.05 is 5 %.
    pub tolerance: Option<f64>,
}

impl ScalingRules {
    /// Upwards at once: the larger of 4 pods and a doubling in 15 s.
    pub fn up() -> Self {
        let policies = vec![
            Policy { kind: PolicyKind::Pods, value: 4, period_secs: 15 },
            Policy { kind: PolicyKind::Percent, value: 100, period_secs: 15 },
        ];
        Self { stabilization_window_secs: Some(0), select: Select::Max, policies, tolerance: None }
    }

    /// Downwards after the controller's window: everything above the minimum in 15 s.
    pub fn down() -> Self {
        let policies = vec![Policy { kind: PolicyKind::Percent, value: 100, period_secs: 15 }];
        Self { stabilization_window_secs: None, select: Select::Max, policies, tolerance: None }
    }

    /// The longest period of a policy, in milliseconds: older changes count for nothing.
    pub(super) fn longest_period_ms(&self) -> i64 {
        self.policies.iter().map(|policy| i64::from(policy.period_secs) * 1000).max().unwrap_or(0)
    }
}

/// Which policy counts where several allow different changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The largest change.
    Max,
    /// The smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// At most so much change within a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub kind: PolicyKind,
    pub value: i32,
    pub period_secs: i32,
}

/// What a policy's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    Pods,
    /// Percent of the replicas at the period's start.
    Percent,
}

/// Flags of kube-controller-manager that the algorithm reads, with Kubernetes' defaults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization_ms: i64,
    /// `--horizontal-pod-autoscaler-cpu-initialization-period`.
    pub cpu_initialization_ms: i64,
    /// `--horizontal-pod-autoscaler-initial-readiness-delay`.
    pub initial_readiness_delay_ms: i64,
    /// `--horizontal-pod-autoscaler-sync-period`.
    pub sync_period_ms: i64,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            tolerance: 0.1,
            downscale_stabilization_ms: 300_000,
            cpu_initialization_ms: 300_000,
            initial_readiness_delay_ms: 30_000,
            sync_period_ms: 15_000,
        }
    }
}

impl Controller {
    /// The ratios within which replicas stay: the controller's, or those of the object's `behavior`.
    pub(super) fn tolerances(&self, spec: &HpaSpec) -> Tolerances {
        let of = |rules: Option<&ScalingRules>| rules.and_then(|r| r.tolerance).unwrap_or(self.tolerance);
        let behavior = spec.behavior.as_ref();
        Tolerances { down: of(behavior.map(|b| &b.scale_down)), up: of(behavior.map(|b| &b.scale_up)) }
    }
}

/// How far the ratio of a metric to its target may be from one without any change.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerances {
    pub down: f64,
    pub up: f64,
}

impl Tolerances {
    /// Both edges belong to it. Kubernetes before 1.33 computes `|1 - ratio| <= tolerance`, in which rounding leaves the
    /// ratio 1.1 out; since then it compares as here.
    pub fn hold(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}
