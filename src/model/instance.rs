//! Which instance is meant: its name alone is not enough where there are several clusters.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Labels;

/// One instance: its name within its cluster and Kubernetes namespace; a place that is not known is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstanceKey {
    pub instance: String,
    #[serde(default)]
    pub cluster: String,
    #[serde(default)]
    pub namespace: String,
}

impl InstanceKey {
    /// An instance of this name, wherever it is.
    pub fn named(instance: impl Into<String>) -> Self {
        Self { instance: instance.into(), ..Self::default() }
    }

    /// The instance that labels are of, if they name one.
    pub fn of(labels: &Labels) -> Option<Self> {
        let place = |name: &str| labels.get(name).unwrap_or_default().to_owned();
        let instance = labels.get("instance")?.to_owned();
        Some(Self { instance, cluster: place("cluster"), namespace: place("namespace") })
    }

    /// Whether labels are of this instance. A place that one of them does not tell is no difference.
    pub fn is_of(&self, labels: &Labels) -> bool {
        let agrees = |mine: &str, label: &str| mine.is_empty() || labels.get(label).is_none_or(|theirs| theirs == mine);
        labels.get("instance") == Some(self.instance.as_str())
            && agrees(&self.cluster, "cluster")
            && agrees(&self.namespace, "namespace")
    }

    /// Whether this may be the other one, told with more or fewer of its places.
    pub fn may_be(&self, other: &Self) -> bool {
        let agrees = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
        self.instance == other.instance
            && agrees(&self.cluster, &other.cluster)
            && agrees(&self.namespace, &other.namespace)
    }
}

/// `name`, or `name (cluster eu, namespace rivet)`.
impl fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.instance)?;
        let places = [("cluster", &self.cluster), ("namespace", &self.namespace)];
        let places: Vec<String> =
            places.into_iter().filter(|(_, v)| !v.is_empty()).map(|(name, v)| format!("{name} {v}")).collect();
        match places.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", places.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_not_told_is_no_difference() {
        let key = InstanceKey { instance: "e".into(), cluster: "eu".into(), namespace: String::new() };
        assert_eq!(key.to_string(), "e (cluster eu)");
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(key.is_of(&labels(&[("instance", "e"), ("cluster", "eu"), ("namespace", "any")])));
        assert!(key.is_of(&labels(&[("instance", "e")])));
        assert!(!key.is_of(&labels(&[("instance", "e"), ("cluster", "us")])));
        assert!(
            !key.is_of(&labels(&[("instance", "f"), ("cluster", "eu")])) && !key.is_of(&labels(&[("cluster", "eu")]))
        );
        assert!(key.may_be(&InstanceKey::named("e")) && !key.may_be(&InstanceKey::named("f")));
        assert!(!key.may_be(&InstanceKey { cluster: "us".into(), ..key.clone() }));
    }
}
