//! What older loaders know of the format of rule files, and what is left out for them.
//!
//! In: a rule file as a document, and the oldest loader that shall read it.   Out: the same without the fields that this
//! loader refuses. Always: labels of a group are not lost, they go to its rules; what else is left out is counted, since
//! it changes how alerts behave. Source: changelogs of Prometheus and VictoriaMetrics; both refuse a whole file for one
//! field that they do not know.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// A release as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl FromStr for Version {
    type Err = String;

    /// Reads `2.42`, `2.42.0` or `v2.42.0`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.').map(str::parse);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor)), None | Some(Ok(_))) => Ok(Self { major, minor }),
            _ => Err(format!("`{text}` is not a version such as 2.42")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The oldest program that has to load the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loader {
    Prometheus(Version),
    Vmalert(Version),
}

impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prometheus(version) => write!(f, "Prometheus {version}"),
            Self::Vmalert(version) => write!(f, "vmalert {version}"),
        }
    }
}

/// Fields of groups and rules that came later than the format itself, with the release that knows them first.
struct Field {
    name: &'static str,
    of_group: bool,
    prometheus: Version,
    /// `None` where vmalert has no such field.
    vmalert: Option<Version>,
}

const fn version(major: u32, minor: u32) -> Version {
    Version { major, minor }
}

const FIELDS: [Field; 4] = [
    Field { name: "limit", of_group: true, prometheus: version(2, 31), vmalert: Some(version(1, 79)) },
    Field { name: "keep_firing_for", of_group: false, prometheus: version(2, 42), vmalert: Some(version(1, 92)) },
    Field { name: "query_offset", of_group: true, prometheus: version(2, 53), vmalert: None },
    Field { name: "labels", of_group: true, prometheus: version(3, 0), vmalert: Some(version(1, 55)) },
];

impl Field {
    fn is_known_to(&self, loader: Loader) -> bool {
        match loader {
            Loader::Prometheus(version) => version >= self.prometheus,
            Loader::Vmalert(version) => self.vmalert.is_some_and(|first| version >= first),
        }
    }
}

/// Leaves out of `document` what `loader` refuses; how often each field was there.
pub fn leave_out(document: &mut Value, loader: Loader) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for group in document["groups"].as_array_mut().into_iter().flatten() {
        for field in FIELDS.iter().filter(|f| f.of_group && !f.is_known_to(loader)) {
            let Some(value) = group.as_object_mut().and_then(|g| g.shift_remove(field.name)) else { continue };
            *counts.entry(field.name).or_default() += 1;
            if field.name == "labels" {
                give_to_rules(group, &value);
            }
        }
        for rule in group["rules"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            for field in FIELDS.iter().filter(|f| !f.of_group && !f.is_known_to(loader)) {
                if rule.shift_remove(field.name).is_some() {
                    *counts.entry(field.name).or_default() += 1;
                }
            }
        }
    }
    counts
}

/// Puts the labels of a group on each of its rules; those that a rule sets itself stay.
pub(super) fn give_to_rules(group: &mut Value, labels: &Value) {
    for rule in group["rules"].as_array_mut().into_iter().flatten() {
        let own = rule["labels"].as_object().cloned().unwrap_or_default();
        let mut all: Map<String, Value> = labels.as_object().cloned().unwrap_or_default();
        all.extend(own);
        rule["labels"] = all.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Value {
        let text = "groups:
- name: g
  limit: 5
  query_offset: 10s
  labels: {team: infra, severity: none}
  rules:
  - {alert: A, expr: up, keep_firing_for: 5m, labels: {severity: critical}}
  - {record: r, expr: up}
";
        serde_saphyr::from_str(text).unwrap()
    }

    fn left(loader: Loader) -> (Value, Vec<&'static str>) {
        let mut document = document();
        let counts = leave_out(&mut document, loader);
        assert!(counts.values().all(|n| *n == 1), "{counts:?}");
        (document["groups"][0].take(), counts.into_keys().collect())
    }

    #[test]
    fn each_loader_gets_the_fields_it_knows() {
        let prometheus = |text: &str| left(Loader::Prometheus(text.parse().unwrap())).1;
        assert_eq!(prometheus("3.0"), [""; 0]);
        assert_eq!(prometheus("2.53.1"), ["labels"]);
        assert_eq!(prometheus("2.42"), ["labels", "query_offset"]);
        assert_eq!(prometheus("v2.41.0"), ["keep_firing_for", "labels", "query_offset"]);
        assert_eq!(prometheus("2.30"), ["keep_firing_for", "labels", "limit", "query_offset"]);
        assert_eq!(left(Loader::Vmalert(version(1, 100))).1, ["query_offset"]);
        assert_eq!(left(Loader::Vmalert(version(1, 79))).1, ["keep_firing_for", "query_offset"]);
    }

    #[test]
    fn labels_of_a_group_go_to_its_rules() {
        let (group, _) = left(Loader::Prometheus(version(2, 42)));
        assert_eq!(group["rules"][0]["labels"]["team"], "infra");
        assert_eq!(group["rules"][0]["labels"]["severity"], "critical");
        assert_eq!(group["rules"][1]["labels"]["severity"], "none");
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "2", "2.x", "latest", "2.42.rc"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
        assert_eq!("v2.42.0".parse::<Version>().unwrap().to_string(), "2.42");
    }
}
