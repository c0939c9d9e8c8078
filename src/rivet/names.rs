//! One name for each engine series, whatever release sent it and by whatever road.
//!
//! In:  a raw series name (with `_bucket`, `_sum` or `_count` where it has one) and its labels.
//! Out: the canonical name; the labels renamed, and free text in them cut to a bounded set of values.
//! Always: only for sources known as engines, since nobody else's `cache_request_total` is ours to rename;
//! canonical names map to themselves; a name that no release has is left alone.
//! A cut can make two series one: then their values belong added up ([`Canonical::merges`]).

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use super::inventory::{Family, families};
use crate::model::{LabelsBuilder, MetricKind};

/// What canonical engine names begin with.
pub const PREFIX: &str = "rivet_";

/// The series suffixes of a classic histogram.
pub const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A raw series name that belongs to the engine.
#[derive(Clone, Copy, Debug)]
pub struct Canonical {
    /// Canonical name of the series, with the raw name's histogram suffix.
    pub name: &'static str,
    pub family: &'static Family,
    /// Whether labels of this family are cut, so that several raw series may become this one: add their values.
    pub merges: bool,
}

/// The canonical name of a raw series name of any release; `None` when no release has it.
///
/// Labels are not looked at; [`translate`] does both.
pub fn lookup(raw_name: &str) -> Option<Canonical> {
    let entry = NAMES.get(raw_name)?;
    Some(Canonical { name: &entry.canonical, family: entry.family, merges: entry.merges })
}

/// The canonical name, with `labels` (without the name) renamed and cut in place; `None` leaves them untouched.
pub fn translate(raw_name: &str, labels: &mut LabelsBuilder) -> Option<Canonical> {
    let found = lookup(raw_name)?;
    let family = found.family.name.as_str();
    for rename in RENAMES.iter().filter(|r| family.starts_with(r.families)) {
        if labels.get(rename.to).is_none()
            && let Some(value) = labels.get(rename.from).map(str::to_owned)
        {
            labels.remove(rename.from);
            labels.set(rename.to, rename.value(&value));
        }
    }
    for cut in cuts_of(family) {
        if let Some(value) = labels.get(cut.label)
            && let Cow::Owned(shorter) = cut.rule.apply(value)
        {
            labels.set(cut.label, shorter);
        }
    }
    Some(found)
}

/// The canonical series name, with `labels` renamed and cut in place; see [`translate`] for more about the family.
pub fn canonical(raw_name: &str, labels: &mut LabelsBuilder) -> Option<Cow<'static, str>> {
    translate(raw_name, labels).map(|c| Cow::Borrowed(c.name))
}

/// The canonical family name of a raw family name (as in `# TYPE` lines and OTLP metrics).
pub fn canonical_family(raw_family: &str) -> Option<&'static Family> {
    // A family name and a series name differ only by the histogram suffix, which a family name does not have.
    lookup(raw_family).filter(|c| c.name == c.family.name).map(|c| c.family)
}

/// Every raw name a family has in some release or after some bridge, canonical name first, without histogram suffixes.
///
/// Bridges from OTLP to Prometheus add `_total` to counters; 2.3.0 to 2.3.7 send no prefix; 25.7, and since some
/// release before 2.3.19 the pages, do.
pub fn raw_names(family: &Family) -> Vec<String> {
    let stem = family.stem();
    let mut names = vec![family.name.clone()];
    let known = [&family.otlp_25_7, &family.scraped_2_3_7, &family.scraped_2_3_19];
    let spelled = known.into_iter().flatten().cloned();
    let bridged = known.into_iter().flatten().map(|name| format!("{name}_total"));
    let derived = [PREFIX, ""].into_iter().map(|prefix| format!("{prefix}{stem}"));
    let is_counter = family.kind == MetricKind::Counter;
    let with_total = is_counter.then(|| format!("{stem}_total"));
    let bridged = bridged.filter(|name| is_counter && !name.ends_with("_total_total"));
    for name in spelled.chain(bridged).chain(with_total).chain(derived) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A label that had another name in an older release.
#[derive(Clone, Copy, Debug)]
pub struct Rename {
    /// Prefix of the canonical family names it applies to.
    pub families: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    /// Old values that are now written otherwise; all others are kept.
    pub values: &'static [(&'static str, &'static str)],
}

impl Rename {
    fn value(&self, old: &str) -> String {
        let new = self.values.iter().find(|(from, _)| *from == old).map_or(old, |(_, to)| to);
        new.to_owned()
    }
}

/// Labels that 25.7 named differently (FACTS of both releases; `did_reserve` was "the allocation succeeded").
pub const RENAMES: &[Rename] = &[
    Rename { families: "rivet_api_", from: "error_code", to: "error", values: &[] },
    Rename { families: "rivet_gasoline_", from: "error_code", to: "error", values: &[] },
    Rename { families: "rivet_gasoline_", from: "worker_instance_id", to: "worker_id", values: &[] },
    Rename { families: "rivet_guard_", from: "error_type", to: "error", values: &[] },
    Rename {
        families: "rivet_pegboard_actor_allocate_duration",
        from: "did_reserve",
        to: "result",
        values: &[("true", "allocated"), ("false", "not_allocated")],
    },
];

/// A label whose values are free text, and how they are cut.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Prefix of the canonical family names it applies to.
    pub families: &'static str,
    pub label: &'static str,
    pub rule: CutRule,
}

/// How a free text becomes one of few values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutRule {
    /// Keeps what stands before the first single colon: `guard.no_route: No route for host x` is `guard.no_route`.
    /// A Rust path's `::` does not end it.
    Code,
    /// Keeps the outermost cause of an error chain: the first line up to `: `, at most 80 characters.
    FirstCause,
    /// Keeps a source file without line and column: `engine/a.rs:63:18` is `engine/a.rs`.
    SourceFile,
    /// Keeps the number of an HTTP status: `404 Not Found` is `404`.
    StatusCode,
    /// Turns a raw URL into a route: the query is dropped, segments that hold an identifier become `{id}`.
    Route,
}

/// The free-text labels of the engine. `Code` and `FirstCause` come from the engine's error chains, `Route` and
/// `StatusCode` from 25.7, which used the raw URL and the status text.
pub const CUTS: &[Cut] = &[
    Cut { families: "rivet_guard_proxy_request_errors_total", label: "error", rule: CutRule::Code },
    Cut { families: "rivet_guard_websocket_close_errors_total", label: "error", rule: CutRule::Code },
    Cut { families: "rivet_gasoline_workflow_errors_total", label: "error", rule: CutRule::FirstCause },
    Cut { families: "rivet_gasoline_workflow_dead", label: "error", rule: CutRule::FirstCause },
    Cut { families: "rivet_gasoline_activity_", label: "error", rule: CutRule::FirstCause },
    Cut { families: "rivet_gasoline_operation_", label: "error", rule: CutRule::FirstCause },
    Cut { families: "rivet_", label: "location", rule: CutRule::SourceFile },
    Cut { families: "rivet_api_", label: "status", rule: CutRule::StatusCode },
    Cut { families: "rivet_api_", label: "path", rule: CutRule::Route },
];

/// Longest value, in characters, that [`CutRule::FirstCause`] keeps.
pub const FIRST_CAUSE_CHARS_MAX: usize = 80;

/// The cuts of a family, in order.
pub fn cuts_of(family: &str) -> impl Iterator<Item = &'static Cut> {
    CUTS.iter().filter(move |cut| family.starts_with(cut.families))
}

impl CutRule {
    /// The bounded form of `value`; borrowed when it is that already.
    pub fn apply(self, value: &str) -> Cow<'_, str> {
        let kept = match self {
            Self::Code => value[..single_colon(value).unwrap_or(value.len())].trim_end(),
            Self::FirstCause => first_cause(value),
            Self::SourceFile => source_file(value),
            Self::StatusCode => status_code(value),
            Self::Route => return route(value),
        };
        if kept.len() == value.len() { Cow::Borrowed(value) } else { Cow::Owned(kept.to_owned()) }
    }
}

fn single_colon(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let is_colon = |at: usize| bytes.get(at) == Some(&b':');
    (0..bytes.len()).find(|&at| is_colon(at) && !is_colon(at + 1) && (at == 0 || !is_colon(at - 1)))
}

fn first_cause(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("");
    let cause = line.split(": ").next().unwrap_or("").trim_end_matches(':');
    match cause.char_indices().nth(FIRST_CAUSE_CHARS_MAX) {
        Some((end, _)) => &cause[..end],
        None => cause,
    }
}

fn source_file(text: &str) -> &str {
    let mut rest = text;
    // Line and column, each only if it is a number, so that a Windows drive or a module path is kept.
    for _ in 0..2 {
        match rest.rsplit_once(':') {
            Some((file, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => rest = file,
            _ => break,
        }
    }
    rest
}

fn status_code(text: &str) -> &str {
    match text.split_once(' ') {
        Some((code, _)) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit()) => code,
        _ => text,
    }
}

fn route(text: &str) -> Cow<'_, str> {
    let path = text.split(['?', '#']).next().unwrap_or("");
    if path.len() == text.len() && !path.split('/').any(holds_identifier) {
        return Cow::Borrowed(text);
    }
    let segments: Vec<&str> = path.split('/').map(|s| if holds_identifier(s) { "{id}" } else { s }).collect();
    Cow::Owned(segments.join("/"))
}

/// Whether a path segment is an identifier rather than a word: a number, or 16 characters and more with a digit.
fn holds_identifier(segment: &str) -> bool {
    let is_number = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
    is_number || (segment.len() >= 16 && !segment.starts_with('{') && segment.bytes().any(|b| b.is_ascii_digit()))
}

struct Entry {
    canonical: String,
    family: &'static Family,
    merges: bool,
}

/// Series names of all releases, with histogram suffixes, to canonical ones.
static NAMES: LazyLock<HashMap<String, Entry>> = LazyLock::new(|| {
    let mut names = HashMap::new();
    for family in families() {
        let labels: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        let merges = cuts_of(&family.name).any(|cut| labels.contains(&cut.label));
        for raw in raw_names(family) {
            // Native histograms keep the bare name, classic ones add a suffix.
            let suffixes: &[&str] = if family.kind == MetricKind::Histogram { &HISTOGRAM_SUFFIXES } else { &[] };
            for suffix in [""].iter().chain(suffixes) {
                let canonical = format!("{}{suffix}", family.name);
                names.entry(format!("{raw}{suffix}")).or_insert(Entry { canonical, family, merges });
            }
        }
    }
    names
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Labels;

    fn translated(raw: &str, labels: &[(&str, &str)]) -> (Option<&'static str>, Labels) {
        let mut builder = Labels::from_pairs(labels.iter().copied()).builder();
        let name = translate(raw, &mut builder).map(|c| c.name);
        (name, builder.build())
    }

    #[test]
    fn the_three_shapes_of_a_counter_are_one() {
        let canonical = Some("rivet_gasoline_signal_published_total");
        for raw in [
            "rivet_gasoline_signal_published",
            "gasoline_signal_published",
            "rivet_gasoline_signal_published_total",
            "gasoline_signal_published_total",
        ] {
            assert_eq!(lookup(raw).map(|c| c.name), canonical, "{raw}");
        }
    }

    #[test]
    fn histogram_parts_keep_their_suffix_and_counters_that_end_in_count_are_not_parts() {
        assert_eq!(lookup("api_request_duration_bucket").unwrap().name, "rivet_api_request_duration_bucket");
        assert_eq!(lookup("rivet_ups_subscriber_count").unwrap().name, "rivet_ups_subscriber_count_total");
        assert_eq!(lookup("rivet_api_request_errors").unwrap().name, "rivet_api_request_errors_total");
        assert_eq!(canonical_family("api_request_duration").unwrap().name, "rivet_api_request_duration");
        assert!(canonical_family("api_request_duration_sum").is_none());
    }

    #[test]
    fn gauges_that_end_in_total_keep_their_name_and_strangers_are_left_alone() {
        assert_eq!(lookup("gasoline_workflow_total").unwrap().name, "rivet_gasoline_workflow_total");
        assert!(lookup("http_requests_total").is_none());
        assert!(lookup("rivet_something_new").is_none());
    }

    #[test]
    fn no_raw_name_belongs_to_two_families() {
        let mut owners: HashMap<String, &str> = HashMap::new();
        for family in families() {
            let suffixes: &[&str] = if family.kind == MetricKind::Histogram { &HISTOGRAM_SUFFIXES } else { &[] };
            for raw in raw_names(family) {
                for suffix in [""].iter().chain(suffixes) {
                    if let Some(other) = owners.insert(format!("{raw}{suffix}"), &family.name) {
                        panic!("`{raw}{suffix}` is both {other} and {}", family.name);
                    }
                }
            }
        }
    }

    #[test]
    fn labels_of_the_old_release_take_their_new_names_and_values() {
        let (name, labels) = translated(
            "rivet_api_request_errors",
            &[("error_code", "404 Not Found"), ("status", "404 Not Found"), ("path", "/actors/0b5ddf7a-8a4e-4e0f?x=1")],
        );
        assert_eq!(name, Some("rivet_api_request_errors_total"));
        assert_eq!(
            labels,
            Labels::from_pairs([("error", "404 Not Found"), ("status", "404"), ("path", "/actors/{id}")])
        );
        let (_, labels) = translated("rivet_gasoline_worker_last_ping", &[("worker_instance_id", "w")]);
        assert_eq!(labels, Labels::from_pairs([("worker_id", "w")]));
        let (_, labels) = translated("rivet_pegboard_actor_allocate_duration", &[("did_reserve", "false")]);
        assert_eq!(labels, Labels::from_pairs([("result", "not_allocated")]));
    }

    #[test]
    fn free_text_is_cut_and_what_is_short_is_kept() {
        for (rule, raw, cut) in [
            (CutRule::Code, "guard.no_route: No route found for hostname a, path /b.", "guard.no_route"),
            (CutRule::Code, "tokio_tungstenite::tungstenite::Error", "tokio_tungstenite::tungstenite::Error"),
            (CutRule::Code, "hyper::Error: broken", "hyper::Error"),
            (CutRule::FirstCause, "failed to allocate: db error: timed out\n  at x", "failed to allocate"),
            (CutRule::FirstCause, "", ""),
            (
                CutRule::SourceFile,
                "engine/packages/gasoline/src/workflow.rs:63:18",
                "engine/packages/gasoline/src/workflow.rs",
            ),
            (CutRule::SourceFile, "src/a.rs:7", "src/a.rs"),
            (CutRule::SourceFile, "module::path", "module::path"),
            (CutRule::StatusCode, "200 OK", "200"),
            (CutRule::StatusCode, "200", "200"),
            (CutRule::Route, "/runner-configs/{runner_name}", "/runner-configs/{runner_name}"),
            (CutRule::Route, "/actors/12345/kv/keys/abc", "/actors/{id}/kv/keys/abc"),
        ] {
            assert_eq!(rule.apply(raw), cut, "{rule:?} {raw}");
        }
        let long = "é".repeat(200);
        assert_eq!(CutRule::FirstCause.apply(&long).chars().count(), FIRST_CAUSE_CHARS_MAX);
    }

    #[test]
    fn only_families_with_a_cut_label_merge() {
        assert!(lookup("rivet_serialize_size_bucket").unwrap().merges, "location");
        assert!(lookup("rivet_guard_proxy_request_errors_total").unwrap().merges, "error");
        assert!(!lookup("rivet_gasoline_signal_published").unwrap().merges);
    }

    #[test]
    fn a_canonical_series_maps_to_itself() {
        for family in families() {
            let c = lookup(&family.name).unwrap();
            assert_eq!(c.name, family.name);
        }
    }
}
