//! One cause gives one page: what the shipped alerts and inhibition rules leave of an incident's alerts.
//!
//! Each case is a list of alerts that fire together, as an incident of that kind makes them, and the pages that go out.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::collections::BTreeSet;

use rivetwatch::model::TimestampMs;

use crate::notify_fakes::{World, firing};

/// Alerts that page, of critical and warning ones, written `Name`, or `Name(label=value, …)` beside the installation's own labels.
fn pages(alerts: &[&str]) -> BTreeSet<String> {
    let shipped = include_str!("../../alerts/inhibit_rules.yaml");
    let mut world = World::new(&format!(
        "route: {{receiver: pager, group_by: ['...'], group_wait: 0s, group_interval: 5m, repeat_interval: 4h,\n\
         \x20 routes: [{{receiver: nobody, matchers: ['severity=info']}}]}}\n\
         receivers: [{{name: pager, pagerduty_configs: [{{routing_key: k}}]}}, {{name: nobody}}]\n{shipped}"
    ));
    let start = TimestampMs(1_795_419_468_000);
    let alert = |text: &&str| {
        let (name, more) = text.split_once('(').unwrap_or((text, ")"));
        let mut pairs = vec![("alertname", name), ("severity", "critical")];
        pairs.extend([("cluster", "eu"), ("namespace", "rivet"), ("job", "rivet")]);
        for pair in more.trim_end_matches(')').split(", ").filter(|pair| !pair.is_empty()) {
            let (label, value) = pair.split_once('=').unwrap();
            pairs.retain(|(known, _)| *known != label);
            pairs.push((label, value));
        }
        let mut alert = firing(&pairs, start);
        let pool = alert.labels.get("pool_name").map_or(String::new(), |pool| format!(" of {pool}"));
        alert.annotations.insert("summary".into(), format!("{name}{pool}"));
        alert
    };
    let alerts: Vec<_> = alerts.iter().map(alert).collect();
    world.now = start;
    world.run_with(&alerts, 60_000);
    let summary = |event: &serde_json::Value| {
        let text = event["payload"]["summary"].as_str().unwrap();
        // Without the scope in brackets that ends it.
        text.split_once(" [").map_or(text, |(says, _)| says).to_owned()
    };
    world.pagerduty.bodies.iter().filter(|event| event["event_action"] == "trigger").map(summary).collect()
}

fn check(incident: &str, alerts: &[&str], expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(pages(alerts), expected, "{incident}");
}

const POOL: &str = "rivet_namespace=default, pool_name=workers";

#[test]
fn an_incident_pages_once_under_the_name_of_its_cause() {
    let of = |name: &str| format!("{name}({POOL})");
    for cause in ["RivetActorHostRateLimited", "RivetActorHostErrors", "RivetPoolInError", "RivetActorHostLost"] {
        check(
            cause,
            &[
                &of(cause),
                &of("RivetActorsCrashLooping"),
                &of("RivetActorHostSilent"),
                &of("RivetActorHostFlapping"),
                "RivetActorsLost(severity=warning)",
                "RivetActorWakeErrors(severity=warning, instance=engine-0)",
                "RivetErrorBudgetBurn(long=1d, short=2h, severity=warning)",
                "RivetRetryStorm(severity=info, instance=engine-0)",
                "RivetLoadShedding(instance=engine-0)",
                "RivetCpuNearLimit(instance=engine-0)",
                "RivetRequestLatency(instance=engine-0)",
                "RivetRuntimeBusy(severity=warning, instance=engine-0)",
            ],
            &[&format!("{cause} of workers")],
        );
    }
    check(
        "the hosts of a pool are gone",
        &[&of("RivetActorHostLost"), "RivetActorsNotAllocated"],
        &["RivetActorHostLost of workers"],
    );
    check(
        "a pool in error that only the refused calls tell of",
        &["RivetPoolInError", &of("RivetActorHostLost"), &of("RivetActorsCrashLooping")],
        &["RivetPoolInError"],
    );
    check(
        "a pool at its limit",
        &[
            &of("RivetPoolConcurrencyHigh"),
            "RivetActorsNotAllocated",
            "RivetActorsLost(severity=warning)",
            "RivetWorkflowBacklog(severity=warning)",
        ],
        &["RivetPoolConcurrencyHigh of workers"],
    );
    check(
        "the database stands still",
        &[
            "RivetDatabaseStalled",
            "RivetDatabaseLatency(instance=engine-0)",
            "RivetRequestErrors",
            "RivetActorCreateErrors",
            "RivetEngineUnhealthy",
            "RivetWorkflowWorkerStalled",
            "RivetPubsubLag(instance=engine-0)",
            "RivetErrorBudgetBurn(long=1h)",
            &of("RivetActorHostLost"),
            &of("RivetActorStorageErrors"),
        ],
        &["RivetDatabaseStalled"],
    );
    check(
        "everything is down",
        &["RivetEngineDown", "RivetRequestErrors", "RivetErrorBudgetBurn(long=1h)", "RivetWorkflowWorkerStalled"],
        &["RivetEngineDown"],
    );
    check(
        "messages arrive late",
        &[
            "RivetPubsubLag(instance=engine-0)",
            "RivetRequestErrors",
            "RivetRequestLatency(instance=engine-0)",
            "RivetLatencyBudgetBurn(long=1h)",
        ],
        &["RivetPubsubLag"],
    );
    check(
        "CPU is short",
        &[
            "RivetLoadShedding(instance=engine-0)",
            "RivetCpuNearLimit(instance=engine-0)",
            "RivetMostEnginesStarved(severity=info)",
            "RivetRequestLatency(instance=engine-0)",
            "RivetLatencyBudgetBurn(long=1h)",
            "RivetRuntimeQueueing(severity=warning, instance=engine-0)",
        ],
        &["RivetLoadShedding"],
    );
    check(
        "creates fail",
        &["RivetActorCreateErrors", "RivetApiErrors(severity=warning, instance=engine-0)"],
        &["RivetActorCreateErrors"],
    );
    check(
        "calls fail slowly",
        &[
            "RivetErrorBudgetBurn(long=1h)",
            "RivetErrorBudgetBurn(long=6h)",
            "RivetErrorBudgetBurn(long=3d, severity=warning)",
            "RivetLatencyBudgetBurn(long=6h)",
            "RivetRequestErrors(severity=warning, instance=engine-0)",
        ],
        &["RivetErrorBudgetBurn"],
    );
    check(
        "a budget that is burnt by what paged within half an hour",
        &[
            "RivetCauseNamed(severity=info, symptom=errors)",
            "RivetCauseNamed(severity=info, symptom=latency)",
            "RivetErrorBudgetBurn(long=1h)",
            "RivetErrorBudgetBurn(long=6h)",
            "RivetLatencyBudgetBurn(long=6h)",
        ],
        &[],
    );
}

#[test]
fn what_has_another_cause_still_pages() {
    let of = |name: &str, pool: &str| format!("{name}(rivet_namespace=default, pool_name={pool})");
    check(
        "two pools, two causes",
        &[&of("RivetActorHostRateLimited", "a"), &of("RivetActorHostLost", "b")],
        &["RivetActorHostRateLimited of a", "RivetActorHostLost of b"],
    );
    check(
        "the actors of another pool crash",
        &[&of("RivetActorHostErrors", "a"), &of("RivetActorsCrashLooping", "b")],
        &["RivetActorHostErrors of a", "RivetActorsCrashLooping of b"],
    );
    for cause in [
        "RivetActorHostRateLimited",
        "RivetActorHostErrors",
        "RivetPoolInError",
        "RivetActorHostLost",
        "RivetPoolConcurrencyHigh",
    ] {
        for other in [
            "RivetRequestErrors",
            "RivetRequestLatency(instance=engine-0)",
            "RivetErrorBudgetBurn(long=1h, short=5m)",
            "RivetErrorBudgetBurn(long=6h, short=30m)",
            "RivetLatencyBudgetBurn(long=6h, short=30m)",
            "RivetActorCreateErrors",
            "RivetLoadShedding(instance=engine-0)",
            "RivetCpuNearLimit(instance=engine-0)",
            "RivetMemoryNearLimit(instance=engine-0)",
            "RivetPubsubLag(instance=engine-0)",
            "RivetPubsubDropping(severity=warning, instance=engine-0)",
            "RivetApiErrors(severity=warning, instance=engine-0)",
            "RivetApiLatency(severity=warning, instance=engine-0)",
            "RivetDatabaseStalled",
            "RivetDatabaseLatency(instance=engine-0)",
            "RivetWorkflowWorkerStalled",
            "RivetWorkflowErrors(severity=warning, instance=engine-0)",
            "RivetAutoscalerAtMaximum(severity=warning)",
            "RivetGatewayErrors(severity=warning, rivet_namespace=default, pool_name=b)",
        ] {
            let name = other.split('(').next().unwrap();
            let pool = if name == "RivetGatewayErrors" { " of b" } else { "" };
            // A database that stands still takes the connections of hosts along.
            let is_effect = name.starts_with("RivetDatabase") && cause == "RivetActorHostLost";
            let both = [format!("{cause} of a"), format!("{name}{pool}")];
            let expected: Vec<&str> = both[usize::from(is_effect)..].iter().map(String::as_str).collect();
            check(&format!("{cause} and {name}"), &[&of(cause, "a"), other], &expected);
        }
    }
    check(
        "retries take the CPU of one instance and something else that of another",
        &[
            &of("RivetActorHostErrors", "a"),
            "RivetRetryStorm(severity=info, instance=engine-0)",
            "RivetLoadShedding(instance=engine-0)",
            "RivetLoadShedding(instance=engine-1)",
        ],
        &["RivetActorHostErrors of a", "RivetLoadShedding"],
    );
    for other in ["RivetPubsubLag", "RivetRequestLatency", "RivetCpuNearLimit"] {
        check(
            "one instance has no CPU left, and another has something else",
            &["RivetLoadShedding(instance=engine-0)", &format!("{other}(instance=engine-1)")],
            &["RivetLoadShedding", other],
        );
    }
    check(
        "creates fail, and so do calls of actors that run",
        &["RivetActorCreateErrors", "RivetRequestErrors"],
        &["RivetActorCreateErrors", "RivetRequestErrors"],
    );
    check(
        "workers stand still after calls were told to fail",
        &["RivetCauseNamed(severity=info, symptom=workers)", "RivetWorkflowWorkerStalled", "RivetMemoryNearLimit"],
        &["RivetMemoryNearLimit"],
    );
    check(
        "another installation",
        &["RivetEngineDown", "RivetRequestErrors(cluster=us)", "RivetErrorBudgetBurn(namespace=other, long=1h)"],
        &["RivetEngineDown", "RivetRequestErrors", "RivetErrorBudgetBurn"],
    );
    check(
        "metrics are gone and the probe answers",
        &["RivetEngineDown", "RivetTelemetryStale(severity=warning, instance=engine-0)"],
        &["RivetEngineDown", "RivetTelemetryStale"],
    );
    check(
        "the agent",
        &["RivetEngineDown", "RivetAgentStorageFailing(job=rivetwatch, instance=agent)"],
        &["RivetEngineDown", "RivetAgentStorageFailing"],
    );
    check(
        "a full disk kills the database",
        &["RivetDatabaseStalled", "RivetDataDirectoryFilling(instance=engine-0)"],
        &["RivetDatabaseStalled", "RivetDataDirectoryFilling"],
    );
}
