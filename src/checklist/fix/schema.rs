//! Holds an object against the types of the Kubernetes API: nothing in it may be unknown to them.

/// What the types do not take of an object; `None` where there are no types for its kind, or none in this build.
#[cfg(not(feature = "kubernetes"))]
pub fn problem(_object: &serde_json::Value) -> Option<String> {
    None
}

#[cfg(feature = "kubernetes")]
pub use typed::problem;

#[cfg(feature = "kubernetes")]
mod typed {
    use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
    use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
    use k8s_openapi::api::core::v1::Service;
    use k8s_openapi::api::networking::v1::Ingress;
    use k8s_openapi::api::policy::v1::PodDisruptionBudget;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    /// What the types do not take of an object; `None` where there are no types for its kind.
    pub fn problem(object: &Value) -> Option<String> {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("apiVersion"), text("kind")) {
            ("apps/v1", "Deployment") => round_trip::<Deployment>(object),
            ("apps/v1", "StatefulSet") => round_trip::<StatefulSet>(object),
            ("autoscaling/v2", "HorizontalPodAutoscaler") => round_trip::<HorizontalPodAutoscaler>(object),
            ("v1", "Service") => round_trip::<Service>(object),
            ("networking.k8s.io/v1", "Ingress") => round_trip::<Ingress>(object),
            ("policy/v1", "PodDisruptionBudget") => round_trip::<PodDisruptionBudget>(object),
            _ => None,
        }
    }

    /// A field that the type does not know is lost on the way through it.
    fn round_trip<T: Serialize + DeserializeOwned>(object: &Value) -> Option<String> {
        let typed: T = match serde_json::from_value(object.clone()) {
            Ok(typed) => typed,
            Err(e) => return Some(e.to_string()),
        };
        let back = serde_json::to_value(&typed).unwrap_or_default();
        lost("", object, &back)
            .map(|path| format!("`{}` is not a field that Kubernetes knows", path.trim_start_matches('.')))
    }

    fn lost(path: &str, before: &Value, after: &Value) -> Option<String> {
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(key, value)| {
                let at = format!("{path}.{key}");
                let is_empty = value.is_null()
                    || value.as_array().is_some_and(Vec::is_empty)
                    || value.as_object().is_some_and(|o| o.is_empty());
                match after.get(key) {
                    Some(kept) => lost(&at, value, kept),
                    None if is_empty => None,
                    None => Some(at),
                }
            }),
            (Value::Array(before), Value::Array(after)) => {
                before.iter().zip(after).enumerate().find_map(|(i, (b, a))| lost(&format!("{path}[{i}]"), b, a))
            }
            _ => None,
        }
    }

    #[cfg(test)]
    mod tests {
        use serde_json::json;

        use super::*;

        #[test]
        fn a_field_that_does_not_exist_is_named() {
            let service =
                |spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec});
            assert_eq!(
                problem(&service(json!({"type": "ClusterIP", "ports": [{"port": 1, "targetPort": "a"}]}))),
                None
            );
            let typo = problem(&service(json!({"ports": [{"port": 1, "nodeport": 30000}]}))).unwrap();
            assert!(typo.contains("spec.ports[0].nodeport"), "{typo}");
            assert!(problem(&service(json!({"ports": [{"port": "one"}]}))).unwrap().contains("invalid type"));
        }
    }
}
