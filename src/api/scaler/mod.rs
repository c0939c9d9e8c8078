//! KEDA's external scaler: the headroom over gRPC, package `externalscaler`.
//!
//! In:  calls of KEDA's operator.   Out: how full the binding limit is, or how many replicas are wanted.
//! Always: stale or missing figures are an error, never a number, since 0 would scale down. What to aim at is answered even
//! then: KEDA drops a metric whose target it cannot ask for, and an autoscaler without it would shrink, too.
//! Limits: requests of 64 KiB; a stream looks again every 15 s, and says something only when it changes.

mod config;
mod grpc;
pub mod proto;

use std::collections::HashMap;
use std::sync::Arc;

use tonic::Status;

pub use config::{ScalerConfig, ScalerTls};
pub use grpc::{ScalerDoor, ScalerError, ScalerSettings, ScalerStats};

/// What a ScaledObject asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalerQuestion {
    pub metric: ScalerMetric,
    /// Only engines of this job.
    pub job: Option<String>,
    /// Only engines of this namespace.
    pub namespace: Option<String>,
}

/// The two figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalerMetric {
    /// Percent used of the nearest limit that more replicas relieve; for `metricType: Value`.
    Binding,
    /// Replicas that the autoscaler's twin wants; for `metricType: AverageValue`.
    Replicas,
}

impl ScalerMetric {
    fn name(self) -> &'static str {
        match self {
            Self::Binding => "rivetwatch-binding-percent",
            Self::Replicas => "rivetwatch-wanted-replicas",
        }
    }
}

/// Answers a question with a figure, or says why there is none. Called on a blocking thread.
pub type ScalerView = Arc<dyn Fn(&ScalerQuestion) -> Result<f64, String> + Send + Sync>;

/// A question and what to aim at, from a trigger's metadata.
fn read(metadata: &HashMap<String, String>) -> Result<(ScalerQuestion, f64), Status> {
    let text = |name: &str| metadata.get(name).map(String::as_str).filter(|v| !v.is_empty());
    let metric = match text("metric") {
        None | Some("binding") => ScalerMetric::Binding,
        Some("replicas") => ScalerMetric::Replicas,
        Some(other) => {
            let says = format!("metadata `metric` must be `binding` or `replicas`, got `{}`", short(other));
            return Err(Status::invalid_argument(says));
        }
    };
    let target = match (metric, text("target")) {
        // Replicas are counted one by one, whatever is asked.
        (ScalerMetric::Replicas, _) => 1.0,
        (ScalerMetric::Binding, None) => 100.0,
        (ScalerMetric::Binding, Some(text)) => match text.trim_end_matches('%').parse::<f64>() {
            Ok(target) if (1.0..=1000.0).contains(&target) => target,
            _ => {
                let says = format!("metadata `target` must be percent from 1 to 1000, got `{}`", short(text));
                return Err(Status::invalid_argument(says));
            }
        },
    };
    let owned = |name: &str| text(name).map(str::to_owned);
    Ok((ScalerQuestion { metric, job: owned("job"), namespace: owned("namespace") }, target))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_read_with_defaults_and_mistakes_are_named() {
        let of = |pairs: &[(&str, &str)]| {
            read(&pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<HashMap<_, _>>())
        };
        let (question, target) = of(&[("scalerAddress", "x:6442")]).unwrap();
        assert_eq!((question.metric, question.job, target), (ScalerMetric::Binding, None, 100.0));
        assert_eq!(of(&[("target", "80%")]).unwrap().1, 80.0);
        let (question, target) = of(&[("metric", "replicas"), ("target", "7"), ("namespace", "rivet")]).unwrap();
        assert_eq!((question.metric, target), (ScalerMetric::Replicas, 1.0));
        assert_eq!(question.namespace.as_deref(), Some("rivet"));
        for wrong in [("metric", "cpu"), ("target", "0"), ("target", "much")] {
            let status = of(&[wrong]).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(wrong.0) && status.message().contains(wrong.1), "{status}");
        }
    }
}
