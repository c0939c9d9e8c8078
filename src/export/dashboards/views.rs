//! The rule file that gives every series on a dashboard a `job` and an `instance`.
//!
//! In: the series without an instance (pools, alerts, thresholds) that panels show.   Out: `alerts/15-dashboard.yaml`.
//! Always: `X:instance` holds what `X` holds. A series that belongs to no instance gets `instance="all"`, so that it
//! shows while Instance is All; a threshold is repeated for each instance, so that its line shows for any choice.
//! The reason: a dashboard's selectors all carry `job=~"$job",instance=~"$instance"`, and `.+` matches no absent label.

use std::fmt::Write;

use super::model::Severity::{self, Critical, Warning};

/// Thresholds that some panel draws, as (signal, severity); each severity becomes a rule group.
pub const THRESHOLDS: [(&str, Severity); 26] = [
    ("cpu_utilization", Warning),
    ("memory_utilization", Warning),
    ("load_shedding", Warning),
    ("data_directory_free", Warning),
    ("request_errors", Warning),
    ("request_latency", Warning),
    ("api_request_errors", Warning),
    ("api_latency", Warning),
    ("actor_start_latency", Warning),
    ("actors_running", Warning),
    ("host_rate_limited", Warning),
    ("pool_concurrency", Warning),
    ("workflow_lag", Warning),
    ("workflow_backlog", Warning),
    ("database_latency", Warning),
    ("pubsub_latency", Warning),
    ("pubsub_lag", Warning),
    ("time_to_full", Warning),
    ("cpu_limit_utilization", Critical),
    ("memory_limit_utilization", Critical),
    ("load_shedding", Critical),
    ("data_directory_free", Critical),
    ("request_errors", Critical),
    ("request_latency", Critical),
    ("host_rate_limited", Critical),
    ("database_latency", Critical),
];

/// Series of pools, of whole installations and of the configuration that some panel shows.
pub const WITHOUT_INSTANCE: [&str; 19] = [
    "rivet:engine_expected:count",
    "rivet:autoscaler_replicas_wanted:count",
    "rivet:autoscaler_replicas_limit:count",
    "rivet:actors_running:count",
    "rivet:actors_existing:count",
    "rivet:actor_start_request:rate",
    "rivet:host_connected:count",
    "rivet:host_rate_limited:rate",
    "rivet:host_rate_limited:ratio",
    "rivet:host_error:rate",
    "rivet:host_error:ratio",
    "rivet:pool_error:bool",
    "rivet:pool_concurrency:ratio",
    "rivet:workflow_backlog:count",
    "rivet:workflow_dead:count",
    "rivet_config_actor_host_rate_limit",
    "rivet:headroom:ratio",
    "rivet:headroom:peak_ratio",
    "rivet:headroom:outlook_seconds",
];

/// What stands behind `rivet:alert:instance`: the alerts of the shipped rules that fire.
const FIRING: &str = r#"ALERTS{alertstate="firing",alertname=~"Rivet.+"}"#;

/// The rule file as YAML that Prometheus 2.42 and later load.
pub fn rule_file() -> String {
    let mut out = String::from(
        "# Written by the dashboard builder (src/export/dashboards/views.rs); `UPDATE=1 cargo test dashboards` renews it.\n\
         # X:instance is X for dashboards, whose selectors all ask for a job and an instance: a series that belongs to\n\
         # no instance gets instance=\"all\", and a threshold is repeated for each instance.\n\
         groups:\n  - name: rivet-dashboard-views\n    rules:\n",
    );
    rule(&mut out, "rivet:alert:instance", &placed(FIRING), &[]);
    for name in WITHOUT_INSTANCE {
        rule(&mut out, &format!("{name}:instance"), &placed(name), &[]);
    }
    let mut last = None;
    for (signal, severity) in THRESHOLDS {
        if last != Some(severity) {
            let _ = writeln!(out, "  - name: rivet-dashboard-thresholds-{}\n    rules:", severity.name());
            last = Some(severity);
        }
        let severity = severity.name();
        let expr = format!(
            r#"0 * rivet:engine_up:bool + on () group_left () min(rivet:threshold{{signal="{signal}",severity="{severity}"}})"#
        );
        rule(&mut out, "rivet:threshold:instance", &expr, &[("signal", signal), ("severity", severity)]);
    }
    out
}

fn placed(expr: &str) -> String {
    format!(r#"label_replace(label_replace({expr}, "job", "all", "job", ""), "instance", "all", "instance", "")"#)
}

fn rule(out: &mut String, record: &str, expr: &str, labels: &[(&str, &str)]) {
    let _ = writeln!(out, "      - record: {record}\n        expr: |\n          {expr}");
    if !labels.is_empty() {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let _ = writeln!(out, "        labels: {{ {} }}", labels.join(", "));
    }
}
