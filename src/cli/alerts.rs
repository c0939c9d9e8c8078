//! `rivetwatch alerts`: what is firing and pending on a running agent; `alerts why` explains one.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, print_table};
use super::why;

/// Arguments of `alerts`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Exit 1 when an alert of severity critical is firing.
    #[arg(long)]
    fail_on_critical: bool,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say why an alert fires, is pending or is silent: each part of its expression with its value now.
    Why(why::Args),
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if let Some(Command::Why(args)) = &args.command {
        return why::run(args).map(|()| ExitCode::SUCCESS);
    }
    let answer = args.agent.get("/api/v1/alerts", &[])?;
    // A sidecar has no notifier, and its alerts are none.
    let routed = args.agent.get("/api/v2/alerts", &[]).unwrap_or_default();
    let alerts = merged(&answer["data"]["alerts"], &routed);
    args.output.print(&alerts, |alerts| table(alerts))?;
    let is_critical = |alert: &Value| alert["state"] == "firing" && alert["labels"]["severity"] == "critical";
    let found = alerts.iter().any(is_critical);
    Ok(if args.fail_on_critical && found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The rules' own alerts with what the notifier does about each, and those that others handed in.
fn merged(own: &Value, routed: &Value) -> Vec<Value> {
    let mut alerts: Vec<Value> = own.as_array().cloned().unwrap_or_default();
    for routed in routed.as_array().into_iter().flatten() {
        let held = match (&routed["status"]["silencedBy"], &routed["status"]["inhibitedBy"]) {
            (by, _) if by.as_array().is_some_and(|by| !by.is_empty()) => Some("silenced"),
            (_, by) if by.as_array().is_some_and(|by| !by.is_empty()) => Some("held back"),
            _ => None,
        };
        match alerts.iter_mut().find(|own| is_same(own, routed)) {
            Some(own) if own["state"] == "firing" => {
                own["suppressed"] = held.into();
                own["receivers"] = routed["receivers"].clone();
            }
            Some(_) => {}
            None => alerts.push(json!({
                "labels": routed["labels"], "annotations": routed["annotations"], "state": "firing",
                "activeAt": routed["startsAt"], "suppressed": held, "receivers": routed["receivers"],
                "source": "handed in by others",
            })),
        }
    }
    alerts
}

/// Whether the notifier's alert is this one of the rules; it has the external labels besides.
pub(super) fn is_same(own: &Value, routed: &Value) -> bool {
    own["labels"].as_object().into_iter().flatten().all(|(name, value)| routed["labels"][name.as_str()] == *value)
}

/// What an alert is about: where it is, then what tells it from others of its name.
fn subject(labels: &Value) -> String {
    let text = |name: &str| labels[name].as_str().unwrap_or("");
    let place = ["instance", "pool_name", "job"].into_iter().map(text).find(|v| !v.is_empty()).unwrap_or("");
    // Two clusters may have instances of the same names.
    let place = match text("cluster") {
        "" => place.to_owned(),
        cluster => format!("{cluster}/{place}"),
    };
    let shown_elsewhere = ["alertname", "severity", "cluster", "namespace", "job", "instance", "pool_name"];
    let further =
        labels.as_object().into_iter().flatten().filter(|(name, _)| !shown_elsewhere.contains(&name.as_str()));
    let further = further.filter_map(|(_, value)| value.as_str());
    [place.as_str()].into_iter().chain(further).filter(|v| !v.is_empty()).collect::<Vec<_>>().join(" ")
}

fn table(alerts: &[Value]) {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let row = |alert: &Value| {
        let labels = &alert["labels"];
        let state = alert["suppressed"].as_str().map_or_else(|| text(&alert["state"]), str::to_owned);
        vec![
            state,
            text(&labels["severity"]),
            text(&labels["alertname"]),
            subject(labels),
            text(alert.get("firedAt").unwrap_or(&alert["activeAt"])).get(..19).unwrap_or_default().replace('T', " "),
            text(&alert["annotations"]["summary"]),
        ]
    };
    let rows: Vec<_> = alerts.iter().map(row).collect();
    match rows.is_empty() {
        true => println!("No alert is firing or pending."),
        false => print_table(&["STATE", "SEVERITY", "ALERT", "OF", "SINCE", "SUMMARY"], &rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_of_one_name_are_told_apart() {
        let labels = json!({"alertname": "RivetRuleBlind", "severity": "warning", "job": "rivet", "rule": "a:b"});
        assert_eq!(subject(&labels), "rivet a:b");
        assert_eq!(subject(&json!({"alertname": "X", "instance": "i", "pool_name": "p", "job": "j"})), "i");
        assert_eq!(subject(&json!({"alertname": "X", "instance": "i", "cluster": "eu"})), "eu/i");
        assert_eq!(subject(&json!({"alertname": "X"})), "");
    }

    #[test]
    fn foreign_alerts_and_what_is_held_back_are_shown() {
        let own = json!([
            {"labels": {"alertname": "A", "severity": "critical"}, "state": "firing"},
            {"labels": {"alertname": "B"}, "state": "firing"},
            {"labels": {"alertname": "C"}, "state": "pending"},
        ]);
        let routed = |name: &str, inhibited: Value| {
            json!({
                "labels": {"alertname": name, "severity": "critical", "cluster": "eu"}, "startsAt": "2026-01-01T00:00:00Z",
                "status": {"silencedBy": [], "inhibitedBy": inhibited}, "receivers": [{"name": "oncall"}],
            })
        };
        let alerts = merged(&own, &json!([routed("A", json!([])), routed("B", json!(["x"])), routed("F", json!([]))]));
        let states: Vec<_> =
            alerts.iter().map(|a| (a["labels"]["alertname"].as_str(), a["suppressed"].as_str())).collect();
        assert_eq!(states, [(Some("A"), None), (Some("B"), Some("held back")), (Some("C"), None), (Some("F"), None)]);
        assert_eq!(alerts[3]["source"], "handed in by others");
    }
}
