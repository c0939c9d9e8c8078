//! The traps of the engine's telemetry, each avoided by every shipped rule: dead families, raw names, stale cluster-wide
//! gauges, drifting gauges, free-text labels, labels and buckets that do not exist, installations that mix.
//!
//! Absence, restarts, and counters born above zero are seen at work in `alerts/tests/`.

use std::collections::BTreeSet;

use regex::Regex;
use rivetwatch::promql::{self, Expr, ExprKind, selectors};
use rivetwatch::rivet::inventory::{Family, families};
use rivetwatch::rivet::names::lookup;

use crate::catalogue::rule_files;

/// Every rule with its parsed expression, views of the dashboards left out.
fn expressions() -> Vec<(String, Expr)> {
    let mut out = Vec::new();
    for (file, _, parsed) in rule_files().into_iter().filter(|(name, ..)| !name.starts_with("15-")) {
        for rule in parsed.groups.into_iter().flat_map(|group| group.rules) {
            let name = rule.record.or(rule.alert).unwrap();
            out.push((format!("{file}: {name}"), promql::parse(&rule.expr).unwrap()));
        }
    }
    out
}

/// The engine's family behind each selector of a rule.
fn engine_families(expr: &Expr) -> Vec<&'static Family> {
    selectors(expr).filter_map(|s| lookup(s.name.as_deref()?)).map(|found| found.family).collect()
}

#[test]
fn rules_read_only_families_that_some_release_records_by_their_canonical_names() {
    let mut read = BTreeSet::new();
    for (rule, expr) in expressions() {
        for selector in selectors(&expr) {
            let name = selector.name.as_deref().unwrap_or_else(|| panic!("{rule}: a selector without a name"));
            if let Some(found) = lookup(name) {
                assert_eq!(found.name, name, "{rule}: a raw name of one release");
                assert!(found.family.is_recorded, "{rule}: `{name}` is declared and never recorded");
                read.insert(found.family.name.as_str());
            }
        }
    }
    assert!(read.len() > 45, "only {} of {} families are read", read.len(), families().len());
}

#[test]
fn matchers_ask_for_labels_and_buckets_that_the_engine_has() {
    const IDENTITY: [&str; 6] = ["__name__", "cluster", "namespace", "job", "instance", "pod"];
    let mut asked = 0;
    for (rule, expr) in expressions() {
        for selector in selectors(&expr) {
            let Some(found) = selector.name.as_deref().and_then(lookup) else { continue };
            for matcher in selector.matchers.iter().filter(|m| !IDENTITY.contains(&m.name.as_str())) {
                let known = match matcher.name.as_str() {
                    "le" => matcher.value.parse::<f64>().is_ok_and(|le| found.family.bounds.contains(&le)),
                    name => found.family.labels.iter().any(|label| label == name),
                };
                assert!(known, "{rule}: `{}` has no {}=\"{}\"", found.name, matcher.name, matcher.value);
                asked += 1;
            }
        }
    }
    assert!(asked > 60, "{asked}");
}

#[test]
fn cluster_wide_gauges_are_read_from_the_instance_that_published_last() {
    let mut seen = 0;
    for (rule, expr) in expressions() {
        if engine_families(&expr).iter().any(|f| f.is_cluster_wide) {
            let text = expr.to_string();
            let picks = "rivet_gasoline_worker_last_metrics_publish == on (cluster, namespace, job) group_left () max";
            assert!(text.contains(picks), "{rule}: stale copies of other instances count too");
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen}");
}

#[test]
fn no_rule_reads_a_gauge_that_drifts_or_the_counter_that_never_moves() {
    for (rule, expr) in expressions() {
        let found = engine_families(&expr);
        let bad: Vec<_> =
            found.iter().filter(|f| f.drifts || f.name == "rivet_udb_transaction_attempts").map(|f| &f.name).collect();
        assert!(bad.is_empty(), "{rule} reads {bad:?}");
    }
}

#[test]
fn free_text_labels_are_summed_away_and_installations_are_kept_apart() {
    const FREE_TEXT: [&str; 3] = ["error", "location", "type"];
    for (rule, expr) in expressions() {
        for node in expr.walk() {
            let ExprKind::Aggregate(aggregate) = &node.kind else { continue };
            assert!(!aggregate.without, "{rule}: `without` lets through labels that nobody has thought of");
            let by: BTreeSet<&str> = aggregate.grouping.iter().map(String::as_str).collect();
            let free: Vec<_> = FREE_TEXT.iter().filter(|label| by.contains(**label)).collect();
            assert!(free.is_empty(), "{rule}: by {free:?}");
            // `min` and `max` without labels are constants: thresholds, and the one sampler ratio of the configuration.
            let is_constant = by.is_empty()
                && selectors(node)
                    .all(|s| matches!(s.name.as_deref(), Some("rivet:threshold" | "rivet_config_sampler_ratio")));
            // What Kubernetes, Postgres and the agent count belongs to a namespace, a pod or the agent, not to an engine's job.
            let has_no_job = selectors(node).all(|s| {
                let name = s.name.as_deref().unwrap_or_default();
                ["kube_", "k8s_", "container_", "kubelet_", "pg_", "rivetwatch_"]
                    .iter()
                    .any(|source| name.starts_with(source))
            });
            let kept = by.contains("cluster") && by.contains("namespace") && (by.contains("job") || has_no_job);
            assert!(is_constant || kept, "{rule}: by {by:?}");
            assert_eq!(by.contains("pool_name"), by.contains("rivet_namespace"), "{rule}: a pool without its tenant");
        }
    }
}

#[test]
fn series_that_are_kept_for_days_have_the_names_by_which_they_are_kept() {
    let long = Regex::new(r"^rivet:(slo|capacity):.+").unwrap();
    for (rule, expr) in expressions() {
        for node in expr.walk() {
            let ExprKind::Matrix(matrix) = &node.kind else { continue };
            let rivetwatch::promql::DurationKind::Literal(range) = &matrix.range.kind else { continue };
            let name = matrix.selector.name.as_deref().unwrap_or_default();
            // What is only asked for its presence within a day may have less to look at.
            let presence = ["up", "rivet_gasoline_worker_last_ping", "rivet:engine_instances:count"].contains(&name);
            assert!(range.value <= 7200.0 || presence || long.is_match(name), "{rule}: {name} over {} s", range.value);
        }
    }
}
