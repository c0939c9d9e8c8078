//! The third dashboard: how much room is left, which limit binds, and how many replicas are wanted.

use super::model::Color::{Blue, Green, Orange, Purple, Red, Yellow};
use super::model::Severity::{Critical, Warning};
use super::model::{Dashboard, Panel, Row, Severity, select, threshold};
use super::unit::Unit;
use super::{CAPACITY, REQUESTS, rules_present};

/// Replicas, CPU, memory, actor hosts, disk.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: CAPACITY,
        title: "Rivet / Capacity",
        description: "How much room is left, which limit binds first, and how many replicas the load asks for. For \
                      planning, and for the question whether to scale during an incident.",
        tags: &["rivet"],
        from: "now-24h",
        rows: vec![now(), limits(), autoscaler(), cpu(), memory(), actors(), hosts(), disk()],
    }
}

/// What is left of a threshold, as a share of it: 0 at the threshold, negative beyond.
fn room(signal: &str, metric: &str, severity: Severity) -> String {
    format!("1 - max({}) / {}", select(metric, ""), threshold(signal, severity))
}

/// Replicas by the HPA's formula: the sum of the utilisations over the target, rounded up, per job.
fn wanted(signal: &str, metric: &str) -> String {
    let matchers = format!(r#"signal="{signal}",severity="warning""#);
    format!(
        "ceil(sum by (job) ({}) / on (job) min by (job) ({}))",
        select(metric, ""),
        select("rivet:threshold:instance", &matchers)
    )
}

fn by_reason(expr: &str, reason: &str) -> String {
    format!(r#"label_replace({expr}, "reason", "{reason}", "", "")"#)
}

fn now() -> Row {
    let left = [(None, Red), (Some(0.0), Yellow), (Some(0.2), Green)];
    let running = format!("count by (job) ({} == 1)", select("rivet:engine_up:bool", ""));
    let both = |cpu: &str, memory: &str| format!("{} or {}", by_reason(cpu, "CPU"), by_reason(memory, "Memory"));
    let wanted_both = both(
        &wanted("cpu_utilization", "rivet:cpu_utilization:ratio"),
        &wanted("memory_utilization", "rivet:memory_utilization:ratio"),
    );
    Row::new(
        "Room left",
        6,
        vec![
            rules_present(),
            Panel::stat(
                "CPU to the warning",
                4,
                Unit::Ratio,
                "How much of the way to the CPU threshold is left, fullest instance. Below 20 %: add a replica before the \
                 next peak; negative: the alert is due.",
            )
            .query(room("cpu_utilization", "rivet:cpu_utilization:ratio", Warning), "CPU")
            .steps(&left)
            .no_value("unknown"),
            Panel::stat(
                "Memory to the warning",
                4,
                Unit::Ratio,
                "How much of the way to the memory threshold is left, fullest instance. Below 20 %: see whether it grows with \
                 actors (scale) or with time (a leak).",
            )
            .query(room("memory_utilization", "rivet:memory_utilization:ratio", Warning), "memory")
            .steps(&left)
            .no_value("unknown"),
            Panel::table(
                "Replicas: needed against running",
                6,
                Unit::Plain,
                &[("job", "Job"), ("reason", "Reason"), ("Value #A", "Needed"), ("Value #B", "Running")],
                "The HPA's arithmetic with the thresholds as targets: sum of utilisations over target, rounded up. Needed \
                 above running for the same reason over minutes: raise the HPA's maximum, or the replicas where there is no HPA.",
            )
            .query(wanted_both, "")
            .query(both(&running, &running), "")
            .no_value("unknown"),
            Panel::time_series(
                "Replicas and the autoscaler",
                6,
                Unit::Short,
                "Engines up, how many the HPA wants, and the most it may have. Wanted at the maximum for long: raise the maximum, \
                 but not beyond what the database's connections carry (64 for each engine).",
            )
            .query_in(Blue, format!("sum({})", select("rivet:engine_up:bool", "")), "up")
            .query_in(Purple, format!("max({})", select("rivet:autoscaler_replicas_wanted:count:instance", "")), "wanted")
            .line(Red, format!("max({})", select("rivet:autoscaler_replicas_limit:count:instance", "")), "maximum"),
        ],
    )
}

fn limits() -> Row {
    let left = [(None, Red), (Some(0.0), Yellow), (Some(0.2), Green)];
    Row::new(
        "Every limit",
        8,
        vec![
            Panel::stat(
                "Nearest limit",
                6,
                Unit::Ratio,
                "Share of the nearest limit that was left at the day's peak, and which limit that is. Below 20 %: act before the \
                 next peak, as `rivetwatch capacity` advises.",
            )
            .query(select("rivet:headroom:binding_ratio", ""), "{{resource}} of {{subject}}")
            .steps(&left)
            .no_value("Only where the agent runs"),
            Panel::bar_gauge(
                "Room left now, by limit",
                9,
                Unit::Ratio,
                "What the agent's capacity report says of each limit that is known; the shortest bar is the nearest. Negative: \
                 passed. A limit that nobody stated is missing here: `rivetwatch capacity` names it and the key to set.",
            )
            .query(
                format!("sort({})", select("rivet:headroom:ratio:instance", "")),
                "{{resource}} {{instance}} {{rivet_namespace}} {{pool_name}}",
            )
            .steps(&left)
            .max(1.0)
            .no_value("Only where the agent runs"),
            Panel::bar_gauge(
                "Room left at the day's peak",
                9,
                Unit::Ratio,
                "The same at the highest use of the last day, or of as much as was recorded. Plan by this one: at night \
                 everything has room.",
            )
            .query(
                format!("sort({})", select("rivet:headroom:peak_ratio:instance", "")),
                "{{resource}} {{instance}} {{rivet_namespace}} {{pool_name}}",
            )
            .steps(&left)
            .max(1.0)
            .no_value("No history yet"),
            Panel::table(
                "Time to full",
                10,
                Unit::Seconds,
                &[
                    ("kind", "Limit"),
                    ("job", "Job"),
                    ("instance", "Instance"),
                    ("pool_name", "Pool"),
                    ("rivet_namespace", "Rivet namespace"),
                    ("confidence", "Confidence"),
                    ("Value", "Reached in"),
                ],
                "When a limit is reached by growth and daily pattern, only where the history carries it (loads: eight days). Low \
                 confidence: something not seen yet may change it; earliest and latest stand in `rivetwatch capacity`.",
            )
            .query(format!("sort({})", select("rivet:headroom:outlook_seconds:instance", "")), "")
            .no_value("Nothing rises towards its limit"),
            Panel::time_series(
                "Time to full, over time",
                14,
                Unit::Seconds,
                "How the outlook has moved. A line that falls by a day each day is a good forecast; one that jumps follows a change \
                 of level, such as a deployment. Below the line [RivetLimitSoon] is due.",
            )
            .query(select("rivet:headroom:outlook_seconds:instance", ""), "{{kind}} {{instance}} {{rivet_namespace}} {{pool_name}}")
            .threshold("time_to_full", Warning)
            .no_value("Nothing rises towards its limit"),
        ],
    )
}

fn autoscaler() -> Row {
    let used = select("rivet:capacity:used:max", r#"kind="cpu_target""#);
    let expected = select("rivet:capacity:cpu_forecast:cores", "");
    Row::new(
        "Autoscaler",
        8,
        vec![
            Panel::time_series(
                "Wanted, and in some hours",
                8,
                Unit::Short,
                "What the autoscaler's own algorithm makes of the live figures, and of the load that is expected in 1, 6 and 24 \
                 hours. Expected above possible: raise the maximum before that hour.",
            )
            .query_in(Purple, format!("max({})", select("rivet:headroom:twin_replicas", "")), "wanted now")
            .query(format!("max by (ahead) ({})", select("rivet:headroom:ahead_replicas", "")), "in {{ahead}}")
            .line(Red, format!("min({})", select("rivet:headroom:most_replicas", "")), "possible")
            .no_value("Only where the agent runs"),
            Panel::time_series(
                "CPU: expected an hour before, and what came",
                10,
                Unit::Short,
                "The forecast judges itself. Lines that part: something changed that no pattern shows; do not plan by outlooks \
                 until they meet again.",
            )
            .query_in(Blue, format!("sum({used})"), "used")
            .query_in(Orange, format!("sum({expected} offset 1h)"), "expected")
            .no_value("No history yet"),
            Panel::time_series(
                "Forecast error",
                6,
                Unit::Ratio,
                "How far off the CPU expected an hour ago is, as a share of what came. Above a half for an hour raises \
                 RivetForecastOff.",
            )
            .query(select("rivet:headroom:forecast_error", r#"of="cpu""#), "{{job}}")
            .no_value("No forecast is an hour old yet"),
        ],
    )
}

fn cpu() -> Row {
    Row::new(
        "CPU",
        8,
        vec![
            Panel::time_series(
                "Used, requested, limit",
                8,
                Unit::Short,
                "Cores used by instance, beside what one instance requests and where it is cut off. Use at the limit: the kernel \
                 throttles, latency follows; work is shed from 70 % of the limit on.",
            )
            .query(select("rivet:cpu_usage:cores", ""), "{{instance}}")
            .query(select("rivet:retry_storm:cores", ""), "{{instance}} retries of refused starts")
            .line(Yellow, format!("min({})", select("rivet:cpu_request:cores", "")), "request")
            .line(Red, format!("min({})", select("rivet:cpu_limit:cores", "")), "limit"),
            Panel::time_series(
                "Share of the request",
                8,
                Unit::Ratio,
                "Use over request by instance, as the HPA counts it. Over the line for 10 minutes: scale out.",
            )
            .query(select("rivet:cpu_utilization:ratio", ""), "{{instance}}")
            .threshold("cpu_utilization", Warning),
            Panel::time_series(
                "Share of the limit",
                8,
                Unit::Ratio,
                "Use over limit by instance. The engine sheds load from 70 % on and pulls next to nothing at 90 %: raise the \
                 limit or add instances before.",
            )
            .query(select("rivet:cpu_limit_utilization:ratio", ""), "{{instance}}")
            .threshold("cpu_limit_utilization", Critical),
        ],
    )
}

fn memory() -> Row {
    Row::new(
        "Memory",
        8,
        vec![
            Panel::time_series(
                "Used, requested, limit",
                12,
                Unit::Bytes,
                "Working set by instance, beside request and limit. At the limit the kernel kills the engine: raise the limit \
                 first, then look for what grows.",
            )
            .query(select("rivet:memory_usage:bytes", ""), "{{instance}}")
            .line(Yellow, format!("min({})", select("rivet:memory_request:bytes", "")), "request")
            .line(Red, format!("min({})", select("rivet:memory_limit:bytes", "")), "limit"),
            Panel::time_series(
                "Share of the limit, and in 4 hours",
                8,
                Unit::Ratio,
                "Use over limit, fullest instance, and where the last hour's slope leads in 4 hours. The trend above 1: a kill \
                 for lack of memory within the shift; restart in a quiet moment.",
            )
            .query_in(Blue, format!("max({})", select("rivet:memory_limit_utilization:ratio", "")), "now")
            .query_in(
                Purple,
                format!("max(predict_linear({}[1h], 14400))", select("rivet:memory_limit_utilization:ratio", "")),
                "in 4 hours",
            )
            .threshold("memory_limit_utilization", Critical),
            Panel::bar_gauge(
                "Share of the request",
                4,
                Unit::Ratio,
                "Use over request now, by instance. Uneven: long-lived connections stick to the older instances.",
            )
            .query(select("rivet:memory_utilization:ratio", ""), "{{instance}}")
            .max(1.0)
            .no_value("unknown"),
        ],
    )
}

fn actors() -> Row {
    Row::new(
        "Actors",
        8,
        vec![
            Panel::time_series(
                "Running",
                8,
                Unit::Short,
                "Actors running, by installation, beside what Postgres is recommended for. On Postgres above the line: plan \
                 for FoundationDB; on another backend the line means nothing. Needs Instance: All.",
            )
            .query(select("rivet:actors_running:count:instance", ""), "{{job}}")
            .threshold("actors_running", Warning),
            Panel::time_series(
                "Existing",
                8,
                Unit::Short,
                "Actors that exist, running or asleep. Growth that never ends costs storage, not CPU: destroy the ones that nobody will \
                 call again. Needs Instance: All.",
            )
            .query_in(Blue, format!("max({})", select("rivet:actors_existing:count:instance", "")), "existing"),
            Panel::time_series(
                "Demand against its limit",
                8,
                Unit::OperationsPerSecond,
                "Creates and wakes a second, highest of each minute, without retries, beside the platform's rate limit. What a \
                 limit must allow is the peak with room: `rivetwatch capacity` has the arithmetic.",
            )
            .query_in(Green, format!("sum({})", select("rivet:actor_demand:rate", "")), "creates and wakes")
            .query(select("rivet:capacity:used:max", r#"kind="actor_demand""#), "{{rivet_namespace}} {{pool_name}}, of the minute")
            .query(select("rivet:capacity:limit:min", r#"kind="actor_demand""#), "{{rivet_namespace}} {{pool_name}} limit")
            .more("Requests", REQUESTS),
        ],
    )
}

fn hosts() -> Row {
    Row::new(
        "Actor hosts",
        8,
        vec![
            Panel::time_series(
                "Start requests against the limit",
                12,
                Unit::OperationsPerSecond,
                "Start requests to serverless hosts by pool, retries included, beside the configured rate limits \
                 (`capacity.actor_hosts`). At the limit: ask the platform for more, from the peak of Demand. Needs Instance: All.",
            )
            .query(select("rivet:actor_start_request:rate:instance", ""), "{{pool_name}}")
            .query(select("rivet_config_actor_host_rate_limit:instance", ""), "{{pool_name}} limit")
            .no_value("No serverless host, or an instance is picked"),
            Panel::time_series(
                "Refused or failed by the host",
                6,
                Unit::Ratio,
                "Share of start requests that a serverless host answers with 429 or fails, by pool. 429 that lasts: its limit is \
                 too small, and retries keep it full; failures: its log.",
            )
            .query(select("rivet:host_rate_limited:ratio:instance", ""), "{{pool_name}} 429")
            .query(select("rivet:host_error:ratio:instance", ""), "{{pool_name}} failed")
            .threshold("host_rate_limited", Warning)
            .threshold("host_rate_limited", Critical)
            .no_value("No serverless host, or an instance is picked"),
            Panel::time_series(
                "Concurrency used",
                6,
                Unit::Ratio,
                "Running actors over the pool's `max_concurrent_actors`, which the engine enforces. At 1 every further actor is \
                 refused: raise it together with the platform's own concurrency.",
            )
            .query(select("rivet:pool_concurrency:ratio:instance", ""), "{{pool_name}}")
            .threshold("pool_concurrency", Warning)
            .no_value("No pool with a maximum, or an instance is picked"),
        ],
    )
}

fn disk() -> Row {
    Row::new(
        "Disk, restarts, shedding",
        8,
        vec![
            Panel::time_series(
                "Data directory free",
                8,
                Unit::Ratio,
                "Free share of the file system that holds the engine's data (RocksDB). Under the line: grow the volume; the \
                 engine stops when it is full.",
            )
            .query(select("rivet:data_directory_free:ratio", ""), "{{instance}}")
            .threshold("data_directory_free", Warning)
            .threshold("data_directory_free", Critical)
            .max(1.0)
            .no_value("Not on this machine, or another backend"),
            Panel::time_series(
                "Restarts and kills in 15 minutes",
                8,
                Unit::Short,
                "Restarts, and kills for lack of memory among them. A restart without a rollout: the previous log; a kill: \
                 memory above.",
            )
            .query_in(Orange, format!("sum({})", select("rivet:restarts:increase15m", "")), "restarts")
            .query_in(Red, format!("sum({})", select("rivet:oom_kills:increase15m", "")), "out of memory")
            .no_value("unknown"),
            Panel::time_series(
                "Load shedding",
                8,
                Unit::Ratio,
                "Share of work that workers still pull. Below 1 the CPU limit binds, whatever the other panels say.",
            )
            .query(select("rivet:load_shedding:ratio", ""), "{{instance}}")
            .threshold("load_shedding", Warning)
            .threshold("load_shedding", Critical)
            .max(1.0),
        ],
    )
}
