//! The state of one object of kind `Pod` (v1), read as JSON: what the autoscaler asks of a pod beside its usage.
//!
//! Always: what an object does not tell is absent, never a guess; a pod without a phase is no state at all.

use serde_json::Value;

use super::object::{Unreadable, name, unreadable};
use crate::model::TimestampMs;

/// Every phase that Kubernetes knows.
pub(super) const PHASES: [&str; 5] = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];

/// In what state one pod is.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    pub pod: String,
    /// One of Kubernetes' five.
    pub phase: &'static str,
    /// Whether its condition `Ready` is `True`; `None` before the kubelet has told.
    pub ready: Option<bool>,
    /// When that last changed.
    pub ready_since: Option<TimestampMs>,
    /// When the kubelet took it on.
    pub started: Option<TimestampMs>,
    /// It is being deleted.
    pub is_deleted: bool,
}

impl PodState {
    /// Reads an object.
    ///
    /// # Errors
    /// Its name or its phase is missing or of another shape than Kubernetes gives it.
    pub fn of(object: &Value) -> Result<Self, Unreadable> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let pod = name(text("/metadata/name")).ok_or_else(|| unreadable("an object", "metadata.name"))?;
        let phase = text("/status/phase").and_then(|phase| PHASES.into_iter().find(|known| *known == phase));
        let phase = phase.ok_or_else(|| unreadable(&format!("pod {pod}"), "status.phase"))?;
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
        Ok(Self {
            phase,
            ready: ready.and_then(|condition| match condition["status"].as_str() {
                Some("True") => Some(true),
                Some("False" | "Unknown") => Some(false),
                _ => None,
            }),
            ready_since: ready
                .and_then(|condition| condition["lastTransitionTime"].as_str())
                .and_then(TimestampMs::from_rfc3339),
            started: text("/status/startTime").and_then(TimestampMs::from_rfc3339),
            is_deleted: text("/metadata/deletionTimestamp").is_some(),
            pod,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object() -> Value {
        json!({
            "metadata": {"name": "rivet-engine-a", "deletionTimestamp": "2026-11-25T20:10:00Z"},
            "status": {
                "phase": "Running", "startTime": "2026-11-25T20:00:00Z",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-25T20:00:01Z"},
                    {"type": "Ready", "status": "False", "lastTransitionTime": "2026-11-25T20:00:40Z"},
                ],
            },
        })
    }

    #[test]
    fn an_object_is_read_as_kubernetes_writes_it() {
        let state = PodState::of(&object()).unwrap();
        assert_eq!(
            (state.pod.as_str(), state.phase, state.ready, state.is_deleted),
            ("rivet-engine-a", "Running", Some(false), true)
        );
        assert_eq!(state.ready_since.unwrap().to_rfc3339(), "2026-11-25T20:00:40.000Z");
        assert_eq!(state.started.unwrap().to_rfc3339(), "2026-11-25T20:00:00.000Z");
    }

    #[test]
    fn what_a_pod_does_not_tell_is_absent() {
        // Accepted by the API and not yet by a node.
        let pending = json!({"metadata": {"name": "p"}, "status": {"phase": "Pending"}});
        let state = PodState::of(&pending).unwrap();
        let none = PodState {
            pod: "p".into(),
            phase: "Pending",
            ready: None,
            ready_since: None,
            started: None,
            is_deleted: false,
        };
        assert_eq!(state, none);
        for (pointer, broken) in [
            ("/status/conditions", json!("ready")),
            ("/status/conditions/1/status", json!(true)),
            ("/status/conditions/1", json!(7)),
        ] {
            let mut object = object();
            *object.pointer_mut(pointer).unwrap() = broken;
            assert_eq!(PodState::of(&object).unwrap().ready, None, "{pointer}");
        }
        for (pointer, field) in [("/metadata/name", "metadata.name"), ("/status/phase", "status.phase")] {
            for broken in [json!(null), json!(""), json!({}), json!(1)] {
                let mut object = object();
                *object.pointer_mut(pointer).unwrap() = broken;
                let Err(Unreadable(why)) = PodState::of(&object) else { panic!("{pointer}") };
                assert!(why.starts_with(&format!("`{field}` of ")), "{why}");
            }
        }
    }
}
