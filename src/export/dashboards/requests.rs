//! The second dashboard: rate, errors and latency of everything that comes in, instance by instance.

use super::model::Color::{Blue, Green, Orange, Purple, Red};
use super::model::Severity::{Critical, Warning};
use super::model::{Dashboard, Panel, Row, select};
use super::unit::Unit;
use super::{CAPACITY, OVERVIEW, REQUESTS, overview, rules_present};

/// Proxy, API, actor starts, and what requests wait for.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: REQUESTS,
        title: "Rivet / Requests",
        description: "Rate, errors and latency of the proxy, the API and actor starts, by instance. For finding out which \
                      part fails or slows down, and since when.",
        tags: &["rivet"],
        from: "now-3h",
        rows: vec![summary(), proxy(), api(), starts(), behind()],
    }
}

fn summary() -> Row {
    Row::new(
        "Now",
        4,
        vec![
            rules_present(),
            Panel::stat(
                "Requests",
                4,
                Unit::RequestsPerSecond,
                "Requests through the proxy, all instances together. Zero in a busy hour: check the load balancer and DNS.",
            )
            .query(format!("sum({})", select("rivet:request:rate", "")), "requests")
            .no_value("none seen")
            .more("Overview", OVERVIEW),
            Panel::stat(
                "Errors",
                4,
                Unit::RequestsPerSecond,
                "Requests that fail on the engine's side, all instances together. Steady and small: single actors that \
                 throw; rising: compare with the pools on Overview.",
            )
            .query(format!("sum({})", select("rivet:request_errors:rate", "")), "errors")
            .no_value("none seen"),
            Panel::stat(
                "Error ratio",
                4,
                Unit::Ratio,
                "Errors over requests. This is what callers feel; the alert compares each instance, shown below.",
            )
            .query(overview::error_ratio(), "ratio")
            .no_value("no requests"),
            Panel::stat(
                "p50",
                4,
                Unit::Seconds,
                "The middle request, worst instance. If this moved, everything is slower: CPU, database or pubsub.",
            )
            .query(format!("max({})", select("rivet:request_latency:p50", "")), "p50")
            .no_value("no requests"),
            Panel::stat(
                "p99",
                4,
                Unit::Seconds,
                "The slowest one in a hundred, worst instance. If only this moved: cold starts or few slow actors.",
            )
            .query(format!("max({})", select("rivet:request_latency:p99", "")), "p99")
            .no_value("no requests"),
        ],
    )
}

fn proxy() -> Row {
    Row::new(
        "Proxy",
        8,
        vec![
            Panel::stacked(
                "Rate",
                12,
                Unit::RequestsPerSecond,
                "Requests by instance. Uneven: sticky connections or a load balancer that counts connections, not requests.",
            )
            .query(select("rivet:request:rate", ""), "{{instance}}"),
            Panel::stacked(
                "Errors",
                12,
                Unit::RequestsPerSecond,
                "Failed requests by instance: 5xx answers and the engine's own refusals, for example of a pool in error, which \
                 no status code shows. On one instance: replace it; on all: hosts, database, pubsub.",
            )
            .query(select("rivet:request_errors:rate", ""), "{{instance}}"),
            Panel::time_series(
                "Error ratio",
                12,
                Unit::Ratio,
                "Errors over requests by instance, with the lines at which the alerts are due.",
            )
            .query(select("rivet:request_errors:ratio", ""), "{{instance}}")
            .threshold("request_errors", Warning)
            .threshold("request_errors", Critical),
            Panel::time_series(
                "Latency p99",
                12,
                Unit::Seconds,
                "The slowest one in a hundred by instance, with the lines at which the alerts are due. One instance alone: \
                 its CPU on Capacity; all: what requests wait for, in the last row.",
            )
            .query(select("rivet:request_latency:p99", ""), "{{instance}}")
            .threshold("request_latency", Warning)
            .threshold("request_latency", Critical)
            .more("Capacity", CAPACITY),
        ],
    )
}

fn api() -> Row {
    Row::new(
        "API",
        8,
        vec![
            Panel::stacked(
                "Rate",
                8,
                Unit::RequestsPerSecond,
                "Calls of the engine's own API, health checks left out. A step up: a client that polls or retries.",
            )
            .query(select("rivet:api_request:rate", ""), "{{instance}}"),
            Panel::time_series(
                "Error ratio",
                8,
                Unit::Ratio,
                "Share of API calls answered with 5xx. The engine's log has the ray id of each.",
            )
            .query(select("rivet:api_request_errors:ratio", ""), "{{instance}}")
            .threshold("api_request_errors", Warning),
            Panel::time_series(
                "Latency p99",
                8,
                Unit::Seconds,
                "The slowest one in a hundred API calls. Lists fan out to all datacenters: a far one that is slow shows here.",
            )
            .query(select("rivet:api_latency:p99", ""), "{{instance}}")
            .threshold("api_latency", Warning),
        ],
    )
}

fn starts() -> Row {
    Row::new(
        "Actor starts",
        8,
        vec![
            Panel::time_series(
                "Start latency p99",
                8,
                Unit::Seconds,
                "From the wish for an actor to the actor running. Rising: cold hosts, or hosts that refuse at first.",
            )
            .query(select("rivet:actor_start_latency:p99", ""), "{{instance}}")
            .threshold("actor_start_latency", Warning),
            Panel::time_series(
                "Wanted and asked for",
                8,
                Unit::OperationsPerSecond,
                "Wanted: creates and wakes. Asked for: start requests to serverless hosts, with retries. Asked far above wanted is \
                 a retry storm: raise the host's rate limit, do not lower the demand. Needs Instance: All.",
            )
            .query_in(Green, format!("sum({})", select("rivet:actor_demand:rate", "")), "wanted")
            .query_in(Purple, format!("sum({})", select("rivet:actor_start_request:rate:instance", "")), "asked for")
            .more("Capacity", CAPACITY),
            Panel::time_series(
                "Refused and lost",
                8,
                Unit::OperationsPerSecond,
                "Actors without a place, and actors whose host went away. The first asks for hosts, the second for the \
                 hosts' logs.",
            )
            .query_in(Orange, format!("sum({})", select("rivet:actor_not_allocated:rate", "")), "not allocated")
            .query_in(Red, format!("sum({})", select("rivet:actor_lost:rate", "")), "lost"),
        ],
    )
}

fn behind() -> Row {
    Row::new(
        "What requests wait for",
        8,
        vec![
            Panel::time_series(
                "Database p99",
                8,
                Unit::Seconds,
                "Time of a database operation by instance. All instances alike: the database itself; one: its connections.",
            )
            .query(select("rivet:database_latency:p99", ""), "{{instance}}")
            .threshold("database_latency", Warning)
            .threshold("database_latency", Critical),
            Panel::time_series(
                "Pubsub p99",
                8,
                Unit::Seconds,
                "Time to publish, and age on arrival. Over a second: slow consumers or a partition between NATS servers.",
            )
            .query_in(Blue, format!("max({})", select("rivet:pubsub_latency:p99", "")), "publish")
            .query_in(Purple, format!("max({})", select("rivet:pubsub_lag:p99", "")), "arrival")
            .threshold("pubsub_latency", Warning),
            Panel::time_series(
                "Workflow lag p99",
                8,
                Unit::Seconds,
                "How late workflows are woken by instance. Rising before anything else: the workers lack CPU.",
            )
            .query(select("rivet:workflow_lag:p99", ""), "{{instance}}")
            .threshold("workflow_lag", Warning),
        ],
    )
}
