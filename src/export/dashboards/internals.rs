//! The fourth dashboard: objectives, and what the alerts on the engine's parts look at.

use super::model::Color::{Blue, Green, Orange, Purple, Red};
use super::model::Severity::{Critical, Warning};
use super::model::{Dashboard, Panel, Row, select};
use super::unit::Unit;
use super::{CAPACITY, INTERNALS, OVERVIEW, REQUESTS, rules_present};

/// Objectives, callers, the life of actors, hosts, what the engine stands on, and the watching itself.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: INTERNALS,
        title: "Rivet / Internals",
        description: "Service level objectives, and the parts of the engine that the alerts look at one by one. An alert \
                      links the panel that shows why it fires.",
        tags: &["rivet"],
        from: "now-6h",
        rows: vec![now(), objectives(), callers(), actors(), hosts(), stores(), messages(), runtime(), watching()],
    }
}

fn now() -> Row {
    Row::new(
        "Now",
        4,
        vec![
            rules_present(),
            Panel::stat(
                "Error budget burn, last hour",
                5,
                Unit::Plain,
                "How many times faster than the objective allows calls failed in the last hour, worst installation. At 14.4 \
                 the alert pages: 2 % of a month's budget is gone.",
            )
            .query(format!("max({})", select("rivet:slo:request_errors:burn1h:instance", "")), "burn rate")
            .no_value("no calls")
            .more("Requests", REQUESTS),
            Panel::stat(
                "Latency budget burn, last hour",
                5,
                Unit::Plain,
                "How many times faster than the objective allows calls took over 2.5 s in the last hour, worst installation. At \
                 14.4 the alert pages.",
            )
            .query(format!("max({})", select("rivet:slo:slow_requests:burn1h:instance", "")), "burn rate")
            .no_value("no calls")
            .more("Requests", REQUESTS),
            Panel::stat(
                "Versions of the engine",
                5,
                Unit::Plain,
                "One, but for the minutes of a rollout. More for longer: instances that were not replaced, whose workers take no \
                 work while newer ones are there.",
            )
            .query(format!("max({})", select("rivet:engine_versions:count:instance", "")), "versions")
            .no_value("unknown"),
            Panel::stat(
                "Connections to Postgres at most",
                5,
                Unit::Short,
                "64 for each replica that the autoscaler may start, twice that where Postgres carries messages. Above what the \
                 database allows, new replicas fail: lower the maximum, or raise max_connections.",
            )
            .query(format!("max({})", select("rivet:database_connections:count:instance", "")), "connections")
            .no_value("unknown")
            .more("Capacity", CAPACITY),
        ],
    )
}

fn objectives() -> Row {
    let burn = |title, what: &str, description| {
        let series = |window: &str| format!("max({})", select(&format!("rivet:slo:{what}:burn{window}:instance"), ""));
        Panel::time_series(title, 12, Unit::Plain, description)
            .query_in(Red, series("1h"), "1 h")
            .query_in(Orange, series("6h"), "6 h")
            .query_in(Purple, series("1d"), "1 d")
            .query_in(Blue, series("3d"), "3 d")
            .threshold("slo_burn_1h", Critical)
            .threshold("slo_burn_3d", Warning)
            .no_value("no calls")
            .more("Requests", REQUESTS)
    };
    Row::new(
        "Service level objectives",
        8,
        vec![
            burn(
                "Error budget burn",
                "request_errors",
                "Failed calls over the share that may fail, in four windows. At 1 the budget lasts for as long as it is meant to. \
                 Short windows high and long ones low: an incident now; the other way round: a steady leak. Needs Instance: All.",
            ),
            burn(
                "Latency budget burn",
                "slow_requests",
                "Calls over 2.5 s over the share that may be so slow, in four windows. High with low errors: cold starts, the \
                 database or CPU; see what requests wait for on Requests. Needs Instance: All.",
            ),
        ],
    )
}

fn callers() -> Row {
    Row::new(
        "Callers",
        8,
        vec![
            Panel::time_series(
                "Clients over the proxy's limits",
                8,
                Unit::RequestsPerSecond,
                "Requests refused because one client address sent over 10,000 a minute or had 2,000 in flight. All clients \
                 behind one balancer are one address unless it sets x-forwarded-for.",
            )
            .query(select("rivet:client_limited:rate", ""), "{{instance}}")
            .threshold("client_limited", Warning),
            Panel::time_series(
                "Requests that break at the gateway",
                8,
                Unit::Ratio,
                "Share of the requests to a pool's actors that break between gateway and host. Look at the host's logs and its \
                 network path. Needs Instance: All.",
            )
            .query(select("rivet:gateway_errors:ratio:instance", ""), "{{pool_name}}")
            .threshold("gateway_errors", Warning)
            .no_value("No request, or an instance is picked"),
            Panel::time_series(
                "Failed creates",
                8,
                Unit::Ratio,
                "Share of the creates of actors that the engine's API answers with 5xx. The engine's log has the ray id of each. \
                 Needs Instance: All.",
            )
            .query(select("rivet:actor_create_errors:ratio:instance", ""), "{{job}}")
            .threshold("actor_create_errors", Warning)
            .threshold("actor_create_errors", Critical)
            .no_value("No create through the API"),
        ],
    )
}

fn actors() -> Row {
    Row::new(
        "Actors",
        8,
        vec![
            Panel::time_series(
                "Wake latency p99",
                8,
                Unit::Seconds,
                "From a call to a sleeping actor to the actor being ready. Callers give up after 30 s. Rising: cold hosts, a \
                 host's rate limit, or workflow lag.",
            )
            .query(select("rivet:actor_wake_latency:p99", ""), "{{instance}}")
            .threshold("actor_wake_latency", Warning),
            Panel::time_series(
                "Waits that end without an actor",
                8,
                Unit::Ratio,
                "Share of the callers that waited for an actor and did not get it. The hosts come first: lost, refusing, failing \
                 or too few.",
            )
            .query(select("rivet:actor_wake_errors:ratio", ""), "{{instance}}")
            .threshold("actor_wake_errors", Warning)
            .more("Overview", OVERVIEW),
            Panel::time_series(
                "Starts of actors that keep ending",
                8,
                Unit::OperationsPerSecond,
                "Starts of actors that were started five times before, by pool. An actor that crashes as it starts: the host's \
                 logs; a host that refuses: its rate limit. Needs Instance: All.",
            )
            .query(select("rivet:actor_restart:rate:instance", ""), "{{pool_name}}")
            .threshold("actor_restart", Warning)
            .no_value("No serverless host, or an instance is picked"),
        ],
    )
}

fn hosts() -> Row {
    Row::new(
        "Hosts and their storage",
        8,
        vec![
            Panel::time_series(
                "Silence of hosts p99",
                8,
                Unit::Seconds,
                "Time since a host's last answer to a ping, by pool. At 15 s the engine drops the host and loses its actors. \
                 Rising: the host's process is blocked, or its network. Needs Instance: All.",
            )
            .query(select("rivet:host_silence:p99:instance", ""), "{{pool_name}}")
            .threshold("host_silence", Warning)
            .no_value("No long-lived host, or an instance is picked"),
            Panel::time_series(
                "Connections of hosts that broke",
                8,
                Unit::Short,
                "Unclean ends of host connections within ten minutes, by pool. Again and again: the host crashes, or something \
                 between it and port 6420 cuts idle connections. Needs Instance: All.",
            )
            .query(select("rivet:host_disconnects:increase10m:instance", ""), "{{pool_name}}")
            .threshold("host_disconnects", Warning)
            .no_value("No long-lived host, or an instance is picked"),
            Panel::time_series(
                "Failed commits of actors' storage",
                8,
                Unit::Ratio,
                "Share of the commits to actors' SQLite storage that fail, by pool. What those actors wrote is not kept: look at \
                 the database first. Needs Instance: All.",
            )
            .query(select("rivet:storage_errors:ratio:instance", ""), "{{pool_name}}")
            .threshold("storage_errors", Warning)
            .no_value("No actor with storage, or an instance is picked"),
        ],
    )
}

fn stores() -> Row {
    Row::new(
        "Workflows and database",
        8,
        vec![
            Panel::time_series(
                "Workflow errors",
                6,
                Unit::OperationsPerSecond,
                "Runs of workflows that ended in an error and are tried again. The engine's log names workflow and error; many \
                 at once point at the database.",
            )
            .query(select("rivet:workflow_errors:rate", ""), "{{instance}}")
            .threshold("workflow_errors", Warning),
            Panel::time_series(
                "Looking up workflows p99",
                6,
                Unit::Seconds,
                "Time to find the workflows that can run. At 10 s the worker stops and starts again: the database is slow, or far \
                 too many workflows wait.",
            )
            .query(select("rivet:workflow_pull_latency:p99", ""), "{{instance}}")
            .threshold("workflow_pull_latency", Warning),
            Panel::time_series(
                "Repeated transactions",
                6,
                Unit::Ratio,
                "Share of the database transactions that had to be tried again. With rising latency: a hot key or a database \
                 that is too small.",
            )
            .query(select("rivet:database_conflicts:ratio", ""), "{{instance}}")
            .threshold("database_conflicts", Warning),
            Panel::time_series(
                "Since a transaction ended",
                6,
                Unit::Seconds,
                "Seconds since the last database transaction of an instance ended; an idle engine makes two a second. Growing \
                 on all instances: the database is gone.",
            )
            .query(select("rivet:database_stall:seconds", ""), "{{instance}}")
            .threshold("database_stall", Critical)
            .no_value("Releases before 2.3.19 do not tell"),
        ],
    )
}

fn messages() -> Row {
    Row::new(
        "Messages and cache",
        8,
        vec![
            Panel::time_series(
                "Messages retried or lost",
                12,
                Unit::OperationsPerSecond,
                "Messages between engines that were sent again or never answered, and those that NATS dropped. Dropped ones \
                 leave callers waiting: look at the NATS servers.",
            )
            .query_in(Orange, format!("sum({})", select("rivet:pubsub_errors:rate", "")), "retried")
            .query_in(Red, format!("sum({})", select("rivet:pubsub_dropped:rate", "")), "lost")
            .threshold("pubsub_errors", Warning)
            .no_value("none"),
            Panel::time_series(
                "Failed cache look-ups",
                12,
                Unit::Ratio,
                "Share of the cache look-ups that fail and go to the database. More than a few: the engine's log, and the \
                 database's load.",
            )
            .query(select("rivet:cache_errors:ratio", ""), "{{instance}}")
            .threshold("cache_errors", Warning),
        ],
    )
}

fn runtime() -> Row {
    Row::new(
        "Runtime",
        8,
        vec![
            Panel::time_series(
                "Worker threads busy",
                12,
                Unit::Ratio,
                "Share of their time that the engine's worker threads are busy. At 1 everything waits: give it more CPU or more \
                 instances, whatever the CPU limit says.",
            )
            .query(select("rivet:runtime_busy:ratio", ""), "{{instance}}")
            .threshold("runtime_busy", Warning)
            .max(1.0)
            .no_value("Releases before 2.3.19 do not tell"),
            Panel::time_series(
                "Tasks waiting for a thread",
                12,
                Unit::Short,
                "Tasks in the runtime's global queue, averaged over two minutes. Growing: the threads are busy or blocked.",
            )
            .query(select("rivet:runtime_queue:depth", ""), "{{instance}}")
            .threshold("runtime_queue", Warning)
            .no_value("Needs TOKIO_RUNTIME_METRICS in some releases"),
        ],
    )
}

fn watching() -> Row {
    Row::new(
        "What is seen",
        8,
        vec![
            Panel::time_series(
                "Engines that answer",
                6,
                Unit::Plain,
                "1 for each instance that answers its health probe, and for each that sends metrics. Answers without metrics: look at the                  way of the metrics; metrics without an answer: the process hangs, restart it.",
            )
            .query_in(Green, select("rivet:engine_healthy:bool", ""), "{{instance}} answers")
            .query_in(Blue, select("rivet:engine_up:bool", ""), "{{instance}} sends metrics")
            .no_value("The agent may not ask the engine"),
            Panel::time_series(
                "Signals that have a source",
                6,
                Unit::Short,
                "On how many instances the signals are recorded that every engine should have. Below the engines up: what reads the                  missing one cannot fire; see the runbook of RivetSignalMissing.",
            )
            .query(format!("count({})", select("rivet:engine_up:bool", "")), "engines")
            .query(format!("count({})", select("rivet:cpu_usage:cores", "")), "CPU")
            .query(format!("count({})", select("rivet:memory_usage:bytes", "")), "memory")
            .query(format!("count({})", select("rivet:request:rate", "")), "requests")
            .query(format!("count({})", select("rivet:database_latency:p99", "")), "database")
            .query(format!("count({})", select("rivet:load_shedding:ratio", "")), "load shedding"),
            Panel::time_series(
                "Age of the cluster-wide gauges",
                12,
                Unit::Seconds,
                "Time since each instance published the gauges of workflows and signals. One of them does every 20 s; if none \
                 does, backlog and dead workflows are figures of the past.",
            )
            .query(select("rivet:workflow_publish_age:seconds", ""), "{{instance}}")
            .threshold("workflow_publish_age", Warning),
            Panel::time_series(
                "Age of the workers' heartbeat",
                12,
                Unit::Seconds,
                "Time since the last heartbeat of each workflow worker; one comes every 10 s. A worker counts as lost after 30 s: \
                 restart an instance that is up without one.",
            )
            .query(select("rivet:workflow_worker_age:seconds", ""), "{{instance}}")
            .threshold("workflow_worker_age", Critical),
            Panel::time_series(
                "Spans seen and expected",
                12,
                Unit::Short,
                "Spans of calls within half an hour, and how many there should be by the sampler's ratio. None while some are \
                 expected: the engine's sampler is at zero, or its exporter does not reach the agent. Needs Instance: All.",
            )
            .query_in(Green, format!("sum({})", select("rivet:spans_seen:increase30m:instance", "")), "seen")
            .query_in(Blue, format!("sum({})", select("rivet:spans_expected:increase30m:instance", "")), "expected")
            .no_value("No spans are received"),
        ],
    )
}
