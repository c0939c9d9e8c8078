//! The dashboard of the agent itself: what its alerts about itself look at.
//!
//! The series are the agent's own metrics as it scrapes or sends them: `job` and `instance` are the agent's.

use super::model::Color::{Blue, Orange, Purple, Red};
use super::model::{Dashboard, Panel, Row, select};
use super::unit::Unit;
use super::{AGENT, CHECKLIST, OVERVIEW, rules_present};

/// What comes in, what goes out, rules and capacity.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: AGENT,
        title: "Rivet / Agent",
        description: "What the agent tells of itself: data that it refused, notifications that did not leave, rules that fail. An \
                      alert on the agent links the panel that shows why it fires. Pick the agent's own job and instance.",
        tags: &["rivet"],
        from: "now-6h",
        rows: vec![now(), incoming(), outgoing(), rules(), reports()],
    }
}

/// Growth of a counter within Grafana's interval, by `label`.
fn growth(metric: &str, matchers: &str, label: &str) -> String {
    format!("sum by (instance, {label}) (increase({}[$__rate_interval]))", select(metric, matchers))
}

fn total(metric: &str, matchers: &str) -> String {
    format!("sum by (instance) (increase({}[$__rate_interval]))", select(metric, matchers))
}

/// The age of the newest of what a gauge dates.
fn age(metric: &str) -> String {
    format!("time() - max by (instance) ({})", select(metric, ""))
}

fn now() -> Row {
    Row::new(
        "Now",
        4,
        vec![
            rules_present(),
            Panel::stat(
                "Last reload succeeded",
                5,
                Unit::Plain,
                "1 after a reload of configuration, rules or routes that was taken over, 0 after one that was refused: the old set \
                 goes on, and the agent's log names each mistake.",
            )
            .query(format!("min({})", select("rivetwatch_config_last_reload_successful", "")), "successful")
            .no_value("pick the agent's job"),
            Panel::stat(
                "Mistakes in the configuration",
                5,
                Unit::Plain,
                "A sidecar whose configuration is wrong starts with defaults and counts the mistakes here; `rivetwatch config check` \
                 names them.",
            )
            .query(format!("max({})", select("rivetwatch_config_invalid", "")), "mistakes")
            .no_value("pick the agent's job"),
            Panel::stat(
                "Thresholds that panels draw",
                5,
                Unit::Plain,
                "How many thresholds of the catalogue are recorded, of those that some panel draws. Fewer than yesterday: a rule \
                 file is missing, and the alerts that compare with it cannot fire.",
            )
            .query(
                format!(
                    "count(group by (signal, severity) ({}))",
                    select("rivet:threshold:instance", r#"signal=~".+",severity=~".+""#)
                ),
                "thresholds",
            )
            .no_value("none")
            .more("Overview", OVERVIEW),
            Panel::stat(
                "Secrets redacted",
                5,
                Unit::Short,
                "Secrets found in received telemetry within the interval and redacted. Whoever else receives that telemetry has \
                 them in clear: change them.",
            )
            .query(format!("sum({})", total("rivetwatch_secrets_redacted_total", "")), "secrets")
            .no_value("none"),
        ],
    )
}

fn incoming() -> Row {
    Row::new(
        "What comes in",
        8,
        vec![
            Panel::time_series(
                "Points refused",
                8,
                Unit::Short,
                "Data points refused, by reason. A reason that begins with series is a limit on series: what its new series would \
                 show is not seen.",
            )
            .query(growth("rivetwatch_points_refused_total", "", "reason"), "{{instance}} {{reason}}"),
            Panel::time_series(
                "Queue and memory used",
                8,
                Unit::Ratio,
                "Use of the queue in front of the store, and of the memory that the store may take. At 1 data is refused: raise the \
                 limit or send less.",
            )
            .query_in(
                Blue,
                format!(
                    "max by (instance) ({} / {})",
                    select("rivetwatch_store_queue_points", ""),
                    select("rivetwatch_store_queue_limit_points", "")
                ),
                "{{instance}} queue",
            )
            .query_in(
                Purple,
                format!(
                    "max by (instance) ({} / {})",
                    select("rivetwatch_store_memory_bytes", ""),
                    select("rivetwatch_store_memory_limit_bytes", "")
                ),
                "{{instance}} memory",
            )
            .max(1.0),
            Panel::time_series(
                "Writes that failed",
                8,
                Unit::Short,
                "Failed writes of the write-ahead log, its syncs and checkpoints, and of the outbox. Look at the disk: what is not \
                 written is lost with the next restart.",
            )
            .query_in(Red, total("rivetwatch_wal_write_failures_total", ""), "{{instance}} log")
            .query_in(Orange, total("rivetwatch_wal_fsync_failures_total", ""), "{{instance}} sync")
            .query_in(Purple, total("rivetwatch_wal_checkpoint_failures_total", ""), "{{instance}} checkpoint")
            .query_in(Blue, total("rivetwatch_notify_store_failures_total", ""), "{{instance}} outbox"),
            Panel::time_series(
                "Targets behind a balancer",
                8,
                Unit::Plain,
                "1 for a scrape target whose counters jump back and forth: several engines answer under one address. Scrape each of \
                 them by its own.",
            )
            .query(
                format!("max by (instance, target) ({})", select("rivetwatch_scrape_load_balanced_target", "")),
                "{{target}}",
            )
            .no_value("none"),
            Panel::time_series(
                "Several processes under one identity",
                8,
                Unit::Short,
                "How often engines that send under one identity were found and kept apart. Give each its own service.instance.id or \
                 server_id.",
            )
            .query(total("rivetwatch_identity_conflicts_total", ""), "{{instance}}")
            .no_value("none"),
            Panel::time_series(
                "Refused by the engine's API",
                8,
                Unit::Short,
                "Calls of the engine's API that failed, by endpoint and reason. forbidden, token: the agent needs a valid admin token, \
                 or pools in error are not seen.",
            )
            .query(
                growth("rivetwatch_engine_api_failures_total", "", "endpoint, reason"),
                "{{instance}} {{endpoint}} {{reason}}",
            )
            .no_value("none"),
        ],
    )
}

fn outgoing() -> Row {
    Row::new(
        "What goes out",
        8,
        vec![
            Panel::time_series(
                "Broken notification targets",
                6,
                Unit::Plain,
                "1 while a receiver refuses what the agent sends. `rivetwatch notify test` tells why; until then others are told in its \
                 place if a fallback is set.",
            )
            .query(
                format!(
                    "max by (instance, receiver, integration) ({})",
                    select("rivetwatch_notification_target_broken_bool", "")
                ),
                "{{receiver}} {{integration}}",
            )
            .no_value("none"),
            Panel::time_series(
                "Notifications given up, alerts dropped",
                6,
                Unit::Short,
                "Notifications that were dropped or failed for good, by reason, and alerts that did not reach the notifier. Any of them \
                 may be a page that nobody got.",
            )
            .query(growth("rivetwatch_notifications_dropped_total", "", "reason"), "{{instance}} dropped {{reason}}")
            .query(growth("rivetwatch_notifications_failed_total", "", "reason"), "{{instance}} failed {{reason}}")
            .query(total("rivetwatch_alerts_dropped_total", ""), "{{instance}} alerts")
            .no_value("none"),
            Panel::time_series(
                "Oldest notification that waits",
                6,
                Unit::Seconds,
                "How long the oldest notification in the outbox has waited. Growing: the pager cannot be reached, or refuses for \
                 now.",
            )
            .query(
                format!("max by (instance) ({})", select("rivetwatch_notify_outbox_oldest_seconds", "")),
                "{{instance}}",
            ),
            Panel::time_series(
                "Dropped on the way to others",
                6,
                Unit::Short,
                "Points, spans and log records that could not be forwarded and were dropped. The receiver is down or too slow for the \
                 queue.",
            )
            .query(total("rivetwatch_forward_dropped_items_total", ""), "{{instance}}")
            .no_value("none"),
        ],
    )
}

fn rules() -> Row {
    Row::new(
        "Rules",
        8,
        vec![
            Panel::time_series(
                "Rules that fail or see nothing",
                6,
                Unit::Short,
                "Evaluations that failed, by rule, and 1 for each rule that reads series which never existed or vanished. `rivetwatch \
                 rules check` tells what is wrong.",
            )
            .query(growth("rivetwatch_rule_evaluation_failures_total", "", "rule"), "{{rule}} fails")
            .query(format!("max by (instance, rule) ({})", select("rivetwatch_rule_blind", "")), "{{rule}} is blind"),
            Panel::time_series(
                "A round of all rules",
                6,
                Unit::Seconds,
                "How long one evaluation of all rules took. Near the interval: rounds are missed and alerts come late; see which rule \
                 costs so much.",
            )
            .query(format!("max by (instance) ({})", select("rivetwatch_rule_tick_duration_seconds", "")), "{{instance}}"),
            Panel::time_series(
                "Rounds missed, series refused",
                6,
                Unit::Short,
                "Evaluations that were left out because the one before took too long, and those whose series the store refused. Signals \
                 have gaps there.",
            )
            .query_in(Orange, total("rivetwatch_rule_ticks_missed_total", ""), "{{instance}} missed")
            .query_in(Red, total("rivetwatch_rule_commits_failed_total", ""), "{{instance}} refused"),
            Panel::time_series(
                "The dearest rules",
                6,
                Unit::Seconds,
                "The five rules whose evaluation takes longest. One that stands out reads too many series: narrow its selectors or record \
                 a part of it.",
            )
            .query(
                format!(
                    "topk(5, max by (instance, rule) ({}))",
                    select("rivetwatch_rule_evaluation_duration_seconds", "")
                ),
                "{{rule}}",
            ),
        ],
    )
}

fn reports() -> Row {
    Row::new(
        "Reports",
        8,
        vec![
            Panel::time_series(
                "Age of the capacity report",
                24,
                Unit::Seconds,
                "Time since limits and headroom were computed last; they are every minute. Older: the figures on Capacity are of the \
                 past.",
            )
            .query(age("rivetwatch_capacity_last_success_timestamp_seconds"), "{{instance}}")
            .more("Checklist", CHECKLIST),
        ],
    )
}
