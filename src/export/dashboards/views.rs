//! The rule file that gives every series on a dashboard a `job` and an `instance`.
//!
//! In: the series without an instance (pools, alerts, thresholds) that panels show.   Out: `alerts/15-dashboard.yaml`.
//! Always: `X:instance` holds what `X` holds. A series that belongs to no instance gets `instance="all"`, so that it
//! shows while Instance is All; a threshold is repeated for each instance, so that its line shows for any choice.
//! The reason: a dashboard's selectors all carry `job=~"$job",instance=~"$instance"`, and `.+` matches no absent label.

use std::fmt::Write;

use super::model::Severity::{self, Critical, Warning};

/// Thresholds that some panel draws, as (signal, severity).
pub const THRESHOLDS: [(&str, Severity); 48] = [
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
    ("client_limited", Warning),
    ("gateway_errors", Warning),
    ("actor_create_errors", Warning),
    ("actor_wake_latency", Warning),
    ("actor_wake_errors", Warning),
    ("actor_restart", Warning),
    ("host_silence", Warning),
    ("host_disconnects", Warning),
    ("workflow_pull_latency", Warning),
    ("storage_errors", Warning),
    ("workflow_errors", Warning),
    ("database_conflicts", Warning),
    ("pubsub_errors", Warning),
    ("cache_errors", Warning),
    ("runtime_busy", Warning),
    ("runtime_queue", Warning),
    ("workflow_publish_age", Warning),
    ("slo_burn_3d", Warning),
    ("cpu_limit_utilization", Critical),
    ("memory_limit_utilization", Critical),
    ("load_shedding", Critical),
    ("data_directory_free", Critical),
    ("request_errors", Critical),
    ("request_latency", Critical),
    ("host_rate_limited", Critical),
    ("database_latency", Critical),
    ("actor_create_errors", Critical),
    ("workflow_worker_age", Critical),
    ("database_stall", Critical),
    ("slo_burn_1h", Critical),
];

/// Series of pools, of whole installations and of the configuration that some panel shows.
pub const WITHOUT_INSTANCE: [&str; 29] = [
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
    "rivet:engine_versions:count",
    "rivet:database_connections:count",
    "rivet:gateway_errors:ratio",
    "rivet:actor_create_errors:ratio",
    "rivet:actor_restart:rate",
    "rivet:host_silence:p99",
    "rivet:host_disconnects:increase10m",
    "rivet:storage_errors:ratio",
    "rivet:spans_seen:increase30m",
    "rivet:spans_expected:increase30m",
    "rivet_config_actor_host_rate_limit",
    "rivet:headroom:ratio",
    "rivet:headroom:peak_ratio",
    "rivet:headroom:outlook_seconds",
];

/// Burn rates that some panel shows, in a group of their own.
pub const BURN_RATES: [&str; 8] = [
    "rivet:slo:request_errors:burn1h",
    "rivet:slo:request_errors:burn6h",
    "rivet:slo:request_errors:burn1d",
    "rivet:slo:request_errors:burn3d",
    "rivet:slo:slow_requests:burn1h",
    "rivet:slo:slow_requests:burn6h",
    "rivet:slo:slow_requests:burn1d",
    "rivet:slo:slow_requests:burn3d",
];

/// What stands behind `rivet:alert:instance`: the alerts of the shipped rules that fire.
const FIRING: &str = r#"ALERTS{alertstate="firing",alertname=~"Rivet.+"}"#;

/// More rules than this in a group hide each other in lists.
const GROUP_RULES_MAX: usize = 20;

/// One view: the name it is recorded under, its expression, its labels.
type View = (String, String, Vec<(&'static str, &'static str)>);

/// The rule file as YAML that Prometheus 2.42 and later load.
pub fn rule_file() -> String {
    let mut out = String::from(
        "# Written by the dashboard builder (src/export/dashboards/views.rs); `UPDATE=1 cargo test dashboards` renews it.\n\
         # X:instance is X for dashboards, whose selectors all ask for a job and an instance: a series that belongs to\n\
         # no instance gets instance=\"all\", and a threshold is repeated for each instance.\n\
         groups:\n",
    );
    let view = |name: &&str| -> View { (format!("{name}:instance"), placed(name), Vec::new()) };
    let mut views: Vec<View> = vec![("rivet:alert:instance".into(), placed(FIRING), Vec::new())];
    views.extend(WITHOUT_INSTANCE.iter().map(view));
    groups(&mut out, "rivet-dashboard-views", None, &views);
    let burn_rates: Vec<View> = BURN_RATES.iter().map(view).collect();
    groups(&mut out, "rivet-dashboard-burn-rates", Some("1m"), &burn_rates);
    for severity in [Warning, Critical] {
        let lines =
            THRESHOLDS.iter().filter(|(_, of)| *of == severity).map(|(signal, _)| line(signal, severity.name()));
        let name = format!("rivet-dashboard-thresholds-{}", severity.name());
        // Constants: once a minute is enough for a line.
        groups(&mut out, &name, Some("1m"), &lines.collect::<Vec<_>>());
    }
    out
}

fn placed(expr: &str) -> String {
    format!(r#"label_replace(label_replace({expr}, "job", "all", "job", ""), "instance", "all", "instance", "")"#)
}

fn line(signal: &'static str, severity: &'static str) -> View {
    let expr = format!(
        r#"0 * rivet:engine_up:bool + on () group_left () min(rivet:threshold{{signal="{signal}",severity="{severity}"}})"#
    );
    ("rivet:threshold:instance".into(), expr, vec![("signal", signal), ("severity", severity)])
}

/// Writes `views` as a group, or as several with a number behind the name where they are too many for one.
fn groups(out: &mut String, name: &str, interval: Option<&str>, views: &[View]) {
    for (i, part) in views.chunks(GROUP_RULES_MAX).enumerate() {
        let suffix = if i == 0 { String::new() } else { format!("-{}", i + 1) };
        let _ = writeln!(out, "  - name: {name}{suffix}");
        if let Some(interval) = interval {
            let _ = writeln!(out, "    interval: {interval}");
        }
        let _ = writeln!(out, "    rules:");
        for (record, expr, labels) in part {
            let _ = writeln!(out, "      - record: {record}\n        expr: |\n          {expr}");
            if !labels.is_empty() {
                let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let _ = writeln!(out, "        labels: {{ {} }}", labels.join(", "));
            }
        }
    }
}
