//! Parts of an `autoscaling/v2` object as it is written, the way back from [`super::HpaSpec`].
//!
//! Always: what is written is read again as the same; what Kubernetes fills in is written out.

use serde_json::{Value, json};

use super::spec::{Behavior, PolicyKind, ScalingRules, Select};

impl Behavior {
    /// The field `behavior` of an object.
    pub fn to_manifest(&self) -> Value {
        json!({ "scaleUp": rules(&self.scale_up), "scaleDown": rules(&self.scale_down) })
    }
}

fn rules(rules: &ScalingRules) -> Value {
    let policy = |policy: &super::Policy| {
        let kind = match policy.kind {
            PolicyKind::Pods => "Pods",
            PolicyKind::Percent => "Percent",
        };
        json!({ "type": kind, "value": policy.value, "periodSeconds": policy.period_secs })
    };
    let select = match rules.select {
        Select::Max => "Max",
        Select::Min => "Min",
        Select::Disabled => "Disabled",
    };
    let mut out = json!({ "selectPolicy": select, "policies": rules.policies.iter().map(policy).collect::<Vec<_>>() });
    if let Some(secs) = rules.stabilization_window_secs {
        out["stabilizationWindowSeconds"] = secs.into();
    }
    if let Some(tolerance) = rules.tolerance {
        out["tolerance"] = tolerance.to_string().into();
    }
    out
}

/// A quantity of so many thousandths, as Kubernetes writes it: `2`, `500m`.
pub fn quantity(milli: i64) -> String {
    if milli % 1000 == 0 { (milli / 1000).to_string() } else { format!("{milli}m") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::hpa::HpaSpec;

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        let behavior = json!({
            "scaleUp": { "selectPolicy": "Disabled", "tolerance": "0.05" },
            "scaleDown": { "stabilizationWindowSeconds": 900, "policies": [{ "type": "Percent", "value": 10, "periodSeconds": 60 }] },
        });
        let read = |behavior: &Value| {
            HpaSpec::from_manifest(&json!({ "maxReplicas": 3, "behavior": behavior })).unwrap().behavior.unwrap()
        };
        let first = read(&behavior);
        assert_eq!(read(&first.to_manifest()), first);
        assert_eq!(read(&Behavior::default().to_manifest()), Behavior::default());
        assert_eq!((quantity(2_000), quantity(1_500)), ("2".to_owned(), "1500m".to_owned()));
    }
}
