//! The rules that ship with the agent, embedded from `alerts/`.
//!
//! Out: one [`Source`] for each file. Always: every rule file in `alerts/`, whose names begin with two digits,
//! is listed here; a test compares.

use super::load::Source;

/// File name and text.
const FILES: &[(&str, &str)] = &[
    ("00-thresholds.yaml", include_str!("../../alerts/00-thresholds.yaml")),
    ("10-signals.yaml", include_str!("../../alerts/10-signals.yaml")),
    ("11-slo.yaml", include_str!("../../alerts/11-slo.yaml")),
    ("12-unexplained.yaml", include_str!("../../alerts/12-unexplained.yaml")),
    ("15-dashboard.yaml", include_str!("../../alerts/15-dashboard.yaml")),
    ("20-requests.yaml", include_str!("../../alerts/20-requests.yaml")),
    ("21-actors.yaml", include_str!("../../alerts/21-actors.yaml")),
    ("22-hosts.yaml", include_str!("../../alerts/22-hosts.yaml")),
    ("23-workflows.yaml", include_str!("../../alerts/23-workflows.yaml")),
    ("24-database.yaml", include_str!("../../alerts/24-database.yaml")),
    ("25-pubsub.yaml", include_str!("../../alerts/25-pubsub.yaml")),
    ("26-resources.yaml", include_str!("../../alerts/26-resources.yaml")),
    ("27-redundancy.yaml", include_str!("../../alerts/27-redundancy.yaml")),
    ("28-telemetry.yaml", include_str!("../../alerts/28-telemetry.yaml")),
    ("29-agent.yaml", include_str!("../../alerts/29-agent.yaml")),
    ("30-capacity.yaml", include_str!("../../alerts/30-capacity.yaml")),
    ("31-burn-rates.yaml", include_str!("../../alerts/31-burn-rates.yaml")),
    ("32-checklist.yaml", include_str!("../../alerts/32-checklist.yaml")),
];

/// What the names of embedded files begin with.
pub(super) const FOLDER: &str = "builtin/";

/// The embedded rule files, in order of their names.
pub fn sources() -> Vec<Source> {
    FILES.iter().map(|(name, text)| Source { name: format!("{FOLDER}{name}"), text: (*text).to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::load::{Tuning, load};

    #[test]
    fn every_file_in_alerts_is_embedded() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("alerts");
        let mut on_disk: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".yaml") && name.starts_with(|c: char| c.is_ascii_digit()))
            .collect();
        on_disk.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), on_disk);
    }

    #[test]
    fn embedded_rules_load_without_a_warning() {
        let set = load(&sources(), &Tuning { refuse_duplicates: true, ..Tuning::default() }).unwrap();
        assert!(set.warnings.is_empty(), "{:?}", set.warnings);
    }
}
