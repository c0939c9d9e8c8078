//! Alerts that a widespread set of rules says already, so that nobody is told twice.
//!
//! In: the name of the set.   Out: names of shipped alerts, each with the one that says the same.
//! Always: an alert stands here only where the other fires for the same reason on the same thing; one that merely
//! resembles it (fewer replicas than wanted as a warning, where ours pages) does not. Nor does RivetEngineInstanceDown,
//! though TargetDown is much the same: it tells nobody, and mutes what comes of one instance, which TargetDown does not name.

use std::collections::BTreeSet;

/// A set of rules that is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covering {
    /// kubernetes-mixin, node-mixin and the general rules of kube-prometheus and kube-prometheus-stack.
    KubePrometheus,
}

/// Ours, theirs.
const KUBE_PROMETHEUS: [(&str, &str); 4] = [
    ("RivetAutoscalerAtMaximum", "KubeHpaMaxedOut"),
    ("RivetRestarting", "KubePodCrashLooping"),
    ("RivetDataDirectoryFilling", "KubePersistentVolumeFillingUp"),
    ("Watchdog", "Watchdog"),
];

impl Covering {
    /// Each alert of ours that is left out, with the one of the set.
    pub fn pairs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::KubePrometheus => &KUBE_PROMETHEUS,
        }
    }

    /// The alerts that are left out.
    pub fn alerts(self) -> BTreeSet<String> {
        self.pairs().iter().map(|(ours, _)| (*ours).to_owned()).collect()
    }
}
