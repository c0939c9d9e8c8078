//! The first dashboard: is the engine well, and if not, which part should be looked at.

use super::model::Color::{Blue, Green, Orange, Purple, Red, Yellow};
use super::model::Severity::{Critical, Warning};
use super::model::{Dashboard, Panel, Row, Word, select};
use super::unit::Unit;
use super::{CAPACITY, OVERVIEW, REQUESTS, rules_present};

/// Health first, then requests, actors, hosts and resources; internals are closed.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: OVERVIEW,
        title: "Rivet / Overview",
        description: "Is the engine well, and if not, where to look. For whoever was paged.",
        tags: &["rivet"],
        from: "now-3h",
        rows: vec![health(), alerts(), requests(), actors(), hosts(), resources(), internals()],
    }
}

fn health() -> Row {
    Row::new(
        "Healthy or not",
        4,
        vec![
            rules_present(),
            Panel::stat(
                "Critical alerts",
                3,
                Unit::Plain,
                "Alerts that page somebody, firing now. Anything but 0: read the table below, then the runbook of the alert.",
            )
            .query(firing("critical"), "critical")
            .steps(&[(None, Green), (Some(1.0), Red)]),
            Panel::stat(
                "Warnings",
                3,
                Unit::Plain,
                "Alerts to act on soon, firing now. They need somebody's day, not their night.",
            )
            .query(firing("warning"), "warning")
            .steps(&[(None, Green), (Some(1.0), Orange)]),
            Panel::stat(
                "Engines up",
                4,
                Unit::Plain,
                "Engine instances that answer, beside how many there should be where that is configured \
                 (`engine.expected_instances`). Fewer than expected: look at the orchestrator's events for the missing one.",
            )
            .query(format!("sum({})", select("rivet:engine_up:bool", "")), "up")
            .query(format!("sum({})", select("rivet:engine_expected:count:instance", "")), "expected")
            .no_value("unknown"),
            Panel::stat(
                "Error ratio",
                3,
                Unit::Ratio,
                "Share of requests that fail on the engine's side, all instances together. Rising: open Requests to see \
                 which instance, then the hosts row below, since a host in trouble fails the requests of its pool.",
            )
            .query(error_ratio(), "errors")
            .no_value("no requests")
            .more("Requests", REQUESTS),
            Panel::stat(
                "Latency p99",
                3,
                Unit::Seconds,
                "The slowest one in a hundred requests, worst instance. Rising with steady load: look at the database and \
                 pubsub latency under Internals, then at CPU.",
            )
            .query(format!("max({})", select("rivet:request_latency:p99", "")), "p99")
            .no_value("no requests")
            .more("Requests", REQUESTS),
            Panel::stat(
                "Actors running",
                4,
                Unit::Short,
                "Actors that run now, all hosts together. A sudden fall while requests go on means lost hosts: see the hosts row.",
            )
            .query(format!("sum({})", select("rivet:actors_running:count:instance", "")), "running")
            .no_value("unknown")
            .more("Capacity", CAPACITY),
        ],
    )
}

/// How many alerts of one severity fire; zero where the rules say that none does.
fn firing(severity: &str) -> String {
    format!("count({}) or vector(0)", select("rivet:alert:instance", &format!(r#"severity="{severity}""#)))
}

/// Errors over requests of all instances, absent while nothing is asked.
pub(super) fn error_ratio() -> String {
    format!("sum({}) / (sum({}) > 0)", select("rivet:request_errors:rate", ""), select("rivet:request:rate", ""))
}

fn alerts() -> Row {
    let columns = [
        ("severity", "Severity"),
        ("alertname", "Alert"),
        ("instance", "Instance"),
        ("pool_name", "Pool"),
        ("rivet_namespace", "Rivet namespace"),
        ("job", "Job"),
    ];
    let alerts = select("rivet:alert:instance", r#"severity=~"critical|warning""#);
    Row::new(
        "Firing now",
        6,
        vec![
            Panel::table(
                "Alerts",
                24,
                Unit::Plain,
                &columns,
                "What fires, where. Instance `all` is an alert about a pool or the whole job. The runbook of each is \
                 linked in its notification and stands in `alerts/runbooks`.",
            )
            .query(format!("max by (severity, alertname, instance, pool_name, rivet_namespace, job) ({alerts})"), "")
            .no_value("Nothing fires"),
        ],
    )
}

fn requests() -> Row {
    Row::new(
        "Requests",
        8,
        vec![
            Panel::stacked(
                "Request rate",
                8,
                Unit::RequestsPerSecond,
                "Requests through the engine's proxy, by instance. One instance without any while others have some: the \
                 load balancer does not send to it. A cliff on all: the callers, or what stands in front.",
            )
            .query(select("rivet:request:rate", ""), "{{instance}}")
            .more("Requests", REQUESTS),
            Panel::time_series(
                "Error ratio",
                8,
                Unit::Ratio,
                "Share of requests that fail on the engine's side (5xx and the engine's own refusals; what callers cause \
                 is left out), by instance. Over a line the alert of that severity is due. All instances alike: hosts or database; \
                 one alone: restart or replace it.",
            )
            .query(select("rivet:request_errors:ratio", ""), "{{instance}}")
            .threshold("request_errors", Warning)
            .threshold("request_errors", Critical)
            .more("Requests", REQUESTS),
            Panel::time_series(
                "Latency",
                8,
                Unit::Seconds,
                "Half of the requests are faster than p50, all but one in a hundred faster than p99; worst instance. Only \
                 p99 rises: cold starts or single slow actors; both rise: CPU, database or pubsub.",
            )
            .query_in(Blue, format!("max({})", select("rivet:request_latency:p50", "")), "p50")
            .query_in(Purple, format!("max({})", select("rivet:request_latency:p99", "")), "p99")
            .threshold("request_latency", Warning)
            .threshold("request_latency", Critical)
            .more("Requests", REQUESTS),
        ],
    )
}

fn actors() -> Row {
    Row::new(
        "Actors",
        8,
        vec![
            Panel::stacked(
                "Running",
                8,
                Unit::Short,
                "Actors that run, by installation. A staircase up without one down: actors do not go to sleep; a cliff: \
                 lost hosts. No instance counts them alone, so this needs Instance: All.",
            )
            .query(select("rivet:actors_running:count:instance", ""), "{{job}}")
            .more("Capacity", CAPACITY),
            Panel::time_series(
                "Created and woken",
                8,
                Unit::OperationsPerSecond,
                "Demand on the actor hosts: new actors and wakes of sleeping ones, without the engine's retries. Compare \
                 with the start requests on Capacity: far more of those means a retry storm.",
            )
            .query_in(Blue, format!("sum({})", select("rivet:actor_create:rate", "")), "created")
            .query_in(Green, format!("sum({})", select("rivet:actor_wake:rate", "")), "woken")
            .more("Capacity", CAPACITY),
            Panel::time_series(
                "Refused and lost",
                8,
                Unit::OperationsPerSecond,
                "Actors that found no place (not allocated) and actors whose host went away (lost). Not allocated: add hosts or \
                 raise the pool's maximum. Lost: read the hosts' logs for crashes and kills.",
            )
            .query_in(Orange, format!("sum({})", select("rivet:actor_not_allocated:rate", "")), "not allocated")
            .query_in(Red, format!("sum({})", select("rivet:actor_lost:rate", "")), "lost"),
        ],
    )
}

fn hosts() -> Row {
    Row::new(
        "Actor hosts",
        8,
        vec![
            Panel::time_series(
                "Connected",
                8,
                Unit::Short,
                "Actor hosts connected, by pool. Fewer than deployed: their network path to port 6420, or their token. Pools \
                 belong to no instance, so this needs Instance: All.",
            )
            .query(select("rivet:host_connected:count:instance", ""), "{{pool_name}}")
            .no_value("No long-lived host, or an instance is picked"),
            Panel::time_series(
                "Answers that are errors",
                8,
                Unit::OperationsPerSecond,
                "Start requests that a serverless host answers with 429 (its rate limit) or 5xx (it fails), by pool. 429: ask \
                 the platform for the rate that Capacity shows; 5xx: read that host's logs.",
            )
            .query(select("rivet:host_rate_limited:rate:instance", ""), "{{pool_name}} 429")
            .query(select("rivet:host_error:rate:instance", ""), "{{pool_name}} 5xx")
            .no_value("No serverless host, or an instance is picked")
            .more("Capacity", CAPACITY),
            Panel::time_series(
                "Pools in error",
                8,
                Unit::Plain,
                "1 while the engine refuses every call of a pool because the pool's metadata or starts keep failing. Three \
                 good answers from its host clear it: repair the host first.",
            )
            .query(select("rivet:pool_error:bool:instance", ""), "{{pool_name}}")
            .max(1.0)
            .words(&[
                Word { value: "0", text: "well", color: Green },
                Word { value: "1", text: "in error", color: Red },
            ])
            .no_value("Unknown: the agent reads it from the engine's API"),
        ],
    )
}

fn resources() -> Row {
    Row::new(
        "Resources",
        8,
        vec![
            Panel::time_series(
                "CPU of the request",
                12,
                Unit::Ratio,
                "CPU used over CPU requested (over the machine where nothing is requested), by instance, as the HPA counts it. \
                 Over the warning line for 10 minutes: scale out, or see Capacity for what binds.",
            )
            .query(select("rivet:cpu_utilization:ratio", ""), "{{instance}}")
            .threshold("cpu_utilization", Warning)
            .more("Capacity", CAPACITY),
            Panel::time_series(
                "Memory of the request",
                12,
                Unit::Ratio,
                "Memory used over memory requested, by instance. A slope that never falls is a leak: plan a restart and report \
                 it; over the line with traffic: scale out.",
            )
            .query(select("rivet:memory_utilization:ratio", ""), "{{instance}}")
            .threshold("memory_utilization", Warning)
            .more("Capacity", CAPACITY),
        ],
    )
}

fn internals() -> Row {
    Row::new(
        "Internals",
        8,
        vec![
            Panel::time_series(
                "Workflow lag p99",
                8,
                Unit::Seconds,
                "How late workflows are woken. Rising: workers are short of CPU (load shedding) or the database is slow.",
            )
            .query(select("rivet:workflow_lag:p99", ""), "{{instance}}")
            .threshold("workflow_lag", Warning),
            Panel::time_series(
                "Workflows waiting and dead",
                8,
                Unit::Short,
                "Work not yet pulled, and workflows given up on. Backlog that grows: more engine instances; dead ones: the \
                 engine's log names the error of each.",
            )
            .query_in(Blue, format!("max({})", select("rivet:workflow_backlog:count:instance", "")), "waiting")
            .query_in(Red, format!("max({})", select("rivet:workflow_dead:count:instance", "")), "dead")
            .threshold("workflow_backlog", Warning),
            Panel::time_series(
                "Load shedding",
                8,
                Unit::Ratio,
                "Share of work that workers still pull; below 1 the engine protects itself, from 70 % of its CPU limit. Act \
                 before: raise the limit or add instances.",
            )
            .query(select("rivet:load_shedding:ratio", ""), "{{instance}}")
            .threshold("load_shedding", Warning)
            .threshold("load_shedding", Critical)
            .max(1.0),
            Panel::time_series(
                "Database latency p99",
                8,
                Unit::Seconds,
                "Time of a database operation. Rising: look at the database's own load, its disk and connections (64 for each \
                 engine process).",
            )
            .query(select("rivet:database_latency:p99", ""), "{{instance}}")
            .threshold("database_latency", Warning)
            .threshold("database_latency", Critical),
            Panel::time_series(
                "Database conflicts",
                8,
                Unit::OperationsPerSecond,
                "Transactions tried again because another one was first. Some are normal; many with rising latency point at \
                 a hot key or an overloaded database.",
            )
            .query(select("rivet:database_conflicts:rate", ""), "{{instance}}"),
            Panel::time_series(
                "Pubsub p99",
                8,
                Unit::Seconds,
                "Time to publish a message, and age of messages when they arrive. Rising: the NATS servers' CPU and slow \
                 consumers, or Postgres where it carries pubsub.",
            )
            .query_in(Blue, format!("max({})", select("rivet:pubsub_latency:p99", "")), "publish")
            .query_in(Yellow, format!("max({})", select("rivet:pubsub_lag:p99", "")), "arrival")
            .threshold("pubsub_lag", Warning),
        ],
    )
    .collapsed()
}
