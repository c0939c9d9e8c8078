//! The fifth dashboard: the production checklist as a running agent goes through it.

use super::model::Color::{Blue, Green, Orange, Purple, Red, Yellow};
use super::model::{Color, Dashboard, Panel, Row, select};
use super::unit::Unit;
use super::{CHECKLIST, rules_present};

/// Counts, what is not met or not seen, how that changed, and everything.
pub fn dashboard() -> Dashboard {
    Dashboard {
        uid: CHECKLIST,
        title: "Rivet / Checklist",
        description: "Is the installation set up as upstream's production checklists ask, and what is not. For whoever \
                      prepares a release, and for what [RivetCheckFailing] is about.",
        tags: &["rivet"],
        from: "now-24h",
        rows: vec![counts(), open(), history(), all()],
    }
}

/// 1 for the status that an item has; of several agents each has its own.
fn items(statuses: &str) -> String {
    select("rivetwatch_check_item_bool", &format!(r#"status=~"{statuses}""#))
}

/// How many items have a status: absent, not zero, where nobody goes through the checklist.
fn count(status: &str) -> String {
    format!("sum(max by (item) ({}))", items(status))
}

/// Seconds for which items have had their status.
fn ages(statuses: &str) -> String {
    let since = select("rivetwatch_check_item_since_timestamp_seconds", "");
    format!(
        "time() - min by (status, category, item) (({} == 1) * on (cluster, namespace, job, instance, item) group_left () {since})",
        items(statuses)
    )
}

fn counted(title: &'static str, status: &'static str, color: Color, description: &'static str) -> Panel {
    Panel::stat(title, 3, Unit::Plain, description)
        .query(count(status), status)
        .steps(&[(None, Green), (Some(1.0), color)])
        .no_value("Not run")
}

fn counts() -> Row {
    Row::new(
        "The last run",
        4,
        vec![
            rules_present(),
            counted(
                "Not met",
                "fail",
                Red,
                "Items that fail. Anything but 0: the table below names them, and the runbook RivetCheckFailing has a section \
                 for each.",
            ),
            counted(
                "Met at a risk",
                "warn",
                Orange,
                "Items that are met by half, or in a way that will not last. Plan them; `rivetwatch check` says why.",
            ),
            counted(
                "Not seen",
                "unknown",
                Yellow,
                "Items that apply and that the agent could not see. Never a pass: `rivetwatch check` says which right or key is \
                 missing, or attest them.",
            ),
            counted(
                "Attested",
                "attested",
                Blue,
                "Items that no probe sees and a person stands for. Each has a date (`check.attest[].until`), after which it fails.",
            ),
            Panel::stat(
                "Met",
                4,
                Unit::Plain,
                "Items that are met by what the agent saw itself. Fewer than yesterday: the history below shows when, and what \
                 they became.",
            )
            .query(count("pass"), "pass")
            .steps(&[(None, Green)])
            .no_value("Not run"),
            Panel::stat(
                "Age of the last run",
                4,
                Unit::Seconds,
                "How long ago the last run ended; one is due every `check.interval`. After three that did not come \
                 [RivetCheckStopped] is due: read the agent's log.",
            )
            .query(format!("time() - max({})", select("rivetwatch_check_last_run_timestamp_seconds", "")), "age")
            .no_value("Not run"),
        ],
    )
}

/// The columns of a table of items, the age of their status last.
const COLUMNS: [(&str, &str); 4] =
    [("status", "Status"), ("category", "Category"), ("item", "Item"), ("Value", "For how long")];

fn open() -> Row {
    Row::new(
        "What is open",
        12,
        vec![
            Panel::table(
                "Items that are not met, not seen or attested",
                24,
                Unit::Seconds,
                &COLUMNS,
                "Each with its category and for how long it has been so. Begin with those that fail; the reason, the evidence and \
                 a patch come from `rivetwatch check -v` and `--fix`.",
            )
            .query(ages("fail|warn|unknown|attested"), "")
            .no_value("Everything that applies is met, or no agent goes through the checklist"),
        ],
    )
}

fn history() -> Row {
    Row::new(
        "How it changed",
        8,
        vec![
            Panel::stacked(
                "Items by status",
                16,
                Unit::Plain,
                "How many items were open over time, by status. A step up: a release or a change of configuration that was not \
                 meant to be one; many unknown at once: a right or a door that the agent lost.",
            )
            .query_in(Red, count("fail"), "fail")
            .query_in(Orange, count("warn"), "warn")
            .query_in(Yellow, count("unknown"), "unknown")
            .query_in(Blue, count("attested"), "attested")
            .no_value("Not run"),
            Panel::time_series(
                "Duration of a run",
                8,
                Unit::Seconds,
                "How long the runs took. Near `check.timeout` or above: a door that does not answer, which `rivetwatch check` \
                 names.",
            )
            .query_in(Purple, format!("max({})", select("rivetwatch_check_duration_seconds", "")), "duration")
            .no_value("Not run"),
        ],
    )
}

fn all() -> Row {
    Row::new(
        "Every item",
        16,
        vec![
            Panel::table(
                "Every item",
                24,
                Unit::Seconds,
                &COLUMNS,
                "The whole checklist with the status of each item, and for how long it has been so. Skipped ones do not apply \
                 here; `rivetwatch check -v` says why.",
            )
            .query(ages(".+"), "")
            .no_value("Not run"),
        ],
    )
    .collapsed()
}
