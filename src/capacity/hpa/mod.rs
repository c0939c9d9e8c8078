//! The HorizontalPodAutoscaler's algorithm, whole: a twin that says what the real one does, and what another would do.
//!
//! In:  an [`HpaSpec`] (from Kubernetes, kube-state-metrics or configuration) and, at each sync, [`Inputs`].
//! Out: a [`Recommendation`] each time.
//! Always: exactly what kube-controller-manager computes, quirks of integers and floats included; vectors worked out by
//! hand stand in `tests/capacity/hpa/`.

mod manifest;
mod pods;
mod rates;
mod spec;
mod twin;
mod written;

pub use manifest::SpecError;
pub use pods::{Condition, Container, Inputs, Phase, Pod, PodReading, Proposal, Reading, Requests, Status};
pub use spec::{
    Behavior, Controller, HpaSpec, MAX_UNKNOWN, MetricSpec, Policy, PolicyKind, Resource, ScaleTarget, ScalingRules,
    Select, Source, Target,
};
pub use twin::{Reason, Recommendation, Twin};
pub use written::quantity;
