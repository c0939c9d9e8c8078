//! Relabelling for a Prometheus that scrapes the engine itself: every release's names become the canonical ones.
//!
//! In: the inventory of `rivet`.   Out: `metric_relabel_configs` for Prometheus, `metricRelabelings` for its operator.
//! Always: a raw name that `rivet::names` knows ends as it says there, whatever release served the page, so that the
//! shipped rules read one set of names during a mixed rollout; canonical names and unknown names pass untouched.
//! Limits: relabelling cannot add series up, so free text in labels (`error`, `location`) stays as it is; the rules sum
//! it away. Names that travel over OTLP only never pass here.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::yaml;
use crate::model::MetricKind;
use crate::rivet::inventory::families;
use crate::rivet::names::{HISTOGRAM_SUFFIXES, PREFIX, lookup, raw_names};

/// One step: where the whole name matches `regex`, it becomes `replacement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Anchored at both ends, as Prometheus does.
    pub regex: String,
    /// The new name; `$1` and `${1}` are the groups of `regex`.
    pub replacement: String,
}

/// Which reader the relabelling is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reader {
    /// `metric_relabel_configs` below a scrape job in `prometheus.yml`.
    #[default]
    Prometheus,
    /// `metricRelabelings` below an endpoint of a PodMonitor or ServiceMonitor.
    Operator,
}

/// How one raw name can become canonical.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A counter: the prefix and `_total` may each be missing.
    Counter,
    /// A histogram: the prefix may be missing, the series suffix stays.
    Histogram,
    /// A gauge or anything else: the prefix may be missing.
    Other,
}

impl Shape {
    fn of(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter,
            MetricKind::Histogram => Self::Histogram,
            _ => Self::Other,
        }
    }

    fn step(self, stems: &str) -> Step {
        let (regex, replacement) = match self {
            Self::Counter => (format!("(?:{PREFIX})?({stems})(?:_total)?"), format!("{PREFIX}${{1}}_total")),
            Self::Histogram => {
                (format!("({stems})({})?", HISTOGRAM_SUFFIXES.join("|")), format!("{PREFIX}${{1}}${{2}}"))
            }
            Self::Other => (format!("({stems})"), format!("{PREFIX}${{1}}")),
        };
        Step { regex, replacement }
    }
}

/// The steps, in the order in which they apply; each name is changed by one of them at most.
pub fn steps() -> Vec<Step> {
    let mut stems =
        [(Shape::Counter, BTreeSet::new()), (Shape::Histogram, BTreeSet::new()), (Shape::Other, BTreeSet::new())];
    let mut odd = Vec::new();
    for family in families() {
        let shape = Shape::of(family.kind);
        let stem = family.stem();
        for raw in raw_names(family) {
            // A name of two families belongs to the one that `rivet::names` gives it to.
            if lookup(&raw).is_none_or(|found| found.family.name != family.name) || raw == family.name {
                continue;
            }
            let bare = raw.strip_prefix(PREFIX).unwrap_or(&raw);
            let fits = match shape {
                Shape::Counter => bare == stem || bare.strip_suffix("_total") == Some(stem),
                Shape::Histogram | Shape::Other => raw == stem,
            };
            if fits {
                let (_, list) = stems.iter_mut().find(|(s, _)| *s == shape).expect("all shapes are listed");
                list.insert(stem);
            } else if shape == Shape::Histogram {
                let suffixes = HISTOGRAM_SUFFIXES.join("|");
                odd.push(Step { regex: format!("{raw}({suffixes})?"), replacement: format!("{}${{1}}", family.name) });
            } else {
                odd.push(Step { regex: raw, replacement: family.name.clone() });
            }
        }
    }
    let common = stems.into_iter().filter(|(_, list)| !list.is_empty());
    let common = common.map(|(shape, list)| shape.step(&list.into_iter().collect::<Vec<_>>().join("|")));
    odd.into_iter().chain(common).collect()
}

/// The relabelling as YAML, to be put below the scrape job or endpoint of the engine.
pub fn print(reader: Reader) -> String {
    let (key, below) = match reader {
        Reader::Prometheus => ("metric_relabel_configs", "the job that scrapes port 6430 (call it `rivet`)"),
        Reader::Operator => ("metricRelabelings", "the endpoint for port 6430 of a PodMonitor or ServiceMonitor"),
    };
    let list = yaml::print(&json!({ key: configs(reader) }));
    format!(
        "# Turns the metric names of every engine release into the canonical ones that the rules read.\n\
         # Put it below {below}.\n{list}"
    )
}

/// The steps as a list in the reader's own keys.
pub fn configs(reader: Reader) -> Value {
    let (source, target) = match reader {
        Reader::Prometheus => ("source_labels", "target_label"),
        Reader::Operator => ("sourceLabels", "targetLabel"),
    };
    let config = |step: Step| json!({ source: ["__name__"], "regex": step.regex, target: "__name__", "replacement": step.replacement });
    steps().into_iter().map(config).collect()
}

/// The name after all steps, as Prometheus applies them. For tests and for showing what a page will become.
///
/// # Errors
/// None of the shipped steps fails; a pattern that does not compile is given back.
pub fn apply(steps: &[Step], name: &str) -> Result<String, regex::Error> {
    let mut name = name.to_owned();
    for step in steps {
        let regex = regex::Regex::new(&format!("^(?:{})$", step.regex))?;
        if let Some(found) = regex.captures(&name) {
            let mut changed = String::new();
            found.expand(&step.replacement, &mut changed);
            name = changed;
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_every_release_ends_where_the_agent_puts_it() {
        let steps = steps();
        let regexes: Vec<_> =
            steps.iter().map(|step| (regex::Regex::new(&format!("^(?:{})$", step.regex)).unwrap(), step)).collect();
        let mut seen = 0;
        for family in families() {
            for raw in raw_names(family) {
                for suffix in [""].iter().chain(&HISTOGRAM_SUFFIXES) {
                    let name = format!("{raw}{suffix}");
                    let Some(expected) = lookup(&name) else { continue };
                    let mut got = name.clone();
                    for (regex, step) in &regexes {
                        if let Some(found) = regex.captures(&got) {
                            let mut changed = String::new();
                            found.expand(&step.replacement, &mut changed);
                            got = changed;
                        }
                    }
                    assert_eq!(got, expected.name, "{name}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 1000, "{seen} names is too few");
    }

    #[test]
    fn both_page_shapes_become_one() {
        let steps = steps();
        for (raw, canonical) in [
            ("gasoline_workflow_dispatched", "rivet_gasoline_workflow_dispatched_total"),
            ("rivet_gasoline_workflow_dispatched", "rivet_gasoline_workflow_dispatched_total"),
            ("rivet_gasoline_workflow_dispatched_total", "rivet_gasoline_workflow_dispatched_total"),
            ("guard_proxy_request_duration_bucket", "rivet_guard_proxy_request_duration_bucket"),
            ("guard_proxy_request_total", "rivet_guard_proxy_request_total"),
            ("gasoline_worker_last_ping", "rivet_gasoline_worker_last_ping"),
            ("go_goroutines", "go_goroutines"),
            ("request_total", "request_total"),
            ("rivet_unheard_of", "rivet_unheard_of"),
        ] {
            assert_eq!(apply(&steps, raw).unwrap(), canonical, "{raw}");
        }
    }

    #[test]
    fn readers_get_their_own_keys() {
        let prometheus: Value = serde_saphyr::from_str(&print(Reader::Prometheus)).unwrap();
        assert_eq!(prometheus["metric_relabel_configs"], configs(Reader::Prometheus));
        assert!(prometheus["metric_relabel_configs"][0]["source_labels"].is_array());
        let operator: Value = serde_saphyr::from_str(&print(Reader::Operator)).unwrap();
        assert_eq!(operator["metricRelabelings"][0]["targetLabel"], "__name__");
    }
}
