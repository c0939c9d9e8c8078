//! `rivetwatch alerts why NAME`: each part of an alert's expression, with its value and what is missing to fire.

use serde_json::Value;

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, human};
use crate::model::Labels;

/// Arguments of `alerts why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The `alertname`, such as RivetCpuHigh.
    name: String,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    agent: AgentArgs,
}

pub fn run(args: &Args) -> Result<(), CliError> {
    let mut answer = args.agent.get("/api/v1/alerts/why", &[("name", &args.name)])?;
    // A sidecar has no notifier.
    let routed = args.agent.get("/api/v2/alerts", &[]).unwrap_or_default();
    for rule in answer["data"].as_array_mut().into_iter().flatten() {
        for alert in rule["alerts"].as_array_mut().into_iter().flatten() {
            alert["suppressed"] = suppressed(alert, &routed).into();
        }
    }
    args.output.print(&answer["data"], |rules| {
        for (i, rule) in rules.as_array().into_iter().flatten().enumerate() {
            if i > 0 {
                println!();
            }
            print!("{}", text_of(rule));
        }
    })
}

/// What keeps a firing alert from being sent, in words.
fn suppressed(alert: &Value, routed: &Value) -> Option<String> {
    let routed = routed.as_array()?;
    let firing = routed.iter().find(|r| alert["state"] == "firing" && super::alerts::is_same(alert, r))?;
    let ids = |kind: &str| firing["status"][kind].as_array().into_iter().flatten().filter_map(Value::as_str);
    let name_of = |fingerprint: &str| {
        let cause = routed.iter().find(|r| r["fingerprint"] == fingerprint);
        cause.map_or(fingerprint.to_owned(), |r| {
            format!("{} {}", r["labels"]["alertname"].as_str().unwrap_or(""), series(&r["labels"]))
        })
    };
    let silences: Vec<&str> = ids("silencedBy").collect();
    let causes: Vec<String> = ids("inhibitedBy").map(name_of).collect();
    match (silences.as_slice(), causes.as_slice()) {
        ([], []) => None,
        ([], causes) => Some(format!("held back by {}", causes.join(" and "))),
        (silences, _) => Some(format!("silenced by {}", silences.join(" and "))),
    }
}

fn text_of(rule: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let labels = rule["labels"].as_object().into_iter().flatten();
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
    let state = match rule["state"].as_str() {
        Some("inactive") => "silent".to_owned(),
        _ => text(&rule["state"]),
    };
    let mut out = format!("{} ({}): {state}\n", text(&rule["name"]), labels.join(", "));
    for alert in rule["alerts"].as_array().into_iter().flatten() {
        let then = match (alert["firesAt"].as_str(), alert["hold"].as_str()) {
            (Some(at), _) => format!("; fires at {} if it goes on", time(at)),
            (_, Some("no_data")) => "; its data is gone, so that it is held".to_owned(),
            (_, Some("error")) => "; the rule fails, so that it is held".to_owned(),
            _ => String::new(),
        };
        let active = time(&text(&alert["activeAt"]));
        let since = match alert["firedAt"].as_str().map(time) {
            Some(fired) if fired != active => format!("{fired} (pending from {active})"),
            _ => active,
        };
        out.push_str(&format!("  {} since {since}, value {}{then}\n", text(&alert["state"]), text(&alert["value"])));
        out.push_str(&format!("    {}\n", series(&alert["labels"])));
        if let Some(why) = alert["suppressed"].as_str() {
            out.push_str(&format!("    not sent: {why}\n"));
        }
    }
    if let Some(error) = rule["error"].as_str() {
        out.push_str(&format!("  The rule cannot be evaluated: {error}\n"));
        return out;
    }
    if let Some(offset) = rule["queryOffsetSeconds"].as_f64().filter(|s| *s != 0.0) {
        out.push_str(&format!("  It reads what was {offset} s before (query_offset); so do the values here.\n"));
    }
    for retired in rule["retired"].as_array().into_iter().flatten() {
        let (instance, at) = (text(&retired["instance"]["instance"]), time(&text(&retired["at"])));
        out.push_str(&format!("  What comes of {instance} is ignored: it was retired at {at}.\n"));
    }
    if rule["isBlind"].as_bool() == Some(true) {
        out.push_str("  It reads nothing but series that are not there (RivetRuleBlind).\n");
    }
    if let Some(missing) = rule["why"]["missing"].as_str() {
        out.push_str(&format!("  To fire it wants: {missing}\n"));
    }
    out.push('\n');
    part(&rule["why"], 1, &mut out);
    out
}

fn part(part_of: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let holds = part_of["holds"].as_bool().unwrap_or(false);
    let since = &part_of["since"];
    let longer = if since["or_longer"].as_bool() == Some(true) { " or longer" } else { "" };
    // Where the look back failed nothing is known of the past.
    let since = since["at"].as_str().map_or_else(String::new, |at| format!("  (since {}{longer})", time(at)));
    let word = if holds { "yes" } else { "no " };
    let what = match part_of["kind"].as_str() {
        Some("all_of") => "all of:",
        Some("any_of") => "any of:",
        Some("unless") => "the first and not the second:",
        _ => part_of["expr"].as_str().unwrap_or(""),
    };
    out.push_str(&format!("{indent}{word} {what}{since}\n"));
    let sides = [("left", "has"), ("right", "against")];
    for (side, word) in sides {
        for shown in part_of[side].as_array().into_iter().flatten() {
            let value = shown["value"].as_str().unwrap_or("");
            let value = value.parse().map_or_else(|_| value.to_owned(), human);
            out.push_str(&format!("{indent}      {word} {value} {}\n", series(&shown["labels"])).replace(" \n", "\n"));
        }
    }
    for inner in part_of["parts"].as_array().into_iter().flatten() {
        part(inner, depth + 1, out);
    }
}

/// Labels without the metric's name; nothing where there are none.
fn series(labels: &Value) -> String {
    let labels =
        serde_json::from_value::<Labels>(labels.clone()).unwrap_or_else(|_| Labels::empty()).without_metric_name();
    if labels.is_empty() { String::new() } else { labels.to_string() }
}

/// `2026-01-31T13:00:00Z` as it is read.
fn time(text: &str) -> String {
    text.get(..19).unwrap_or(text).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_holds_an_alert_back_and_what_fails_is_named() {
        let alert =
            json!({"labels": {"alertname": "A", "pod": "x"}, "state": "firing", "value": "1e+00", "activeAt": "t"});
        let routed = json!([
            {"labels": {"alertname": "A", "pod": "x", "cluster": "eu"}, "fingerprint": "1",
             "status": {"silencedBy": [], "inhibitedBy": ["2"]}},
            {"labels": {"alertname": "Cause", "cluster": "eu"}, "fingerprint": "2", "status": {"inhibitedBy": []}},
        ]);
        let why = suppressed(&alert, &routed).unwrap();
        assert_eq!(why, r#"held back by Cause {alertname="Cause", cluster="eu"}"#);
        assert_eq!(suppressed(&alert, &json!([])), None);
        let mut shown = alert.clone();
        shown["suppressed"] = why.into();
        let rule = json!({
            "name": "A", "labels": {}, "state": "firing", "alerts": [shown], "isBlind": false, "why": null,
            "error": "too many samples",
        });
        let wanted = "A (): firing\n  firing since t, value 1e+00\n    {alertname=\"A\", pod=\"x\"}\n    not sent: held back by \
                      Cause {alertname=\"Cause\", cluster=\"eu\"}\n  The rule cannot be evaluated: too many samples\n";
        assert_eq!(text_of(&rule), wanted);
    }

    #[test]
    fn firing_is_told_from_pending_and_an_unknown_past_from_a_known_one() {
        let alert = json!({
            "labels": {"alertname": "A"}, "state": "firing", "value": "3e+00", "activeAt": "2026-01-31T13:00:00.000Z",
            "firedAt": "2026-01-31T13:05:00.000Z",
        });
        let why = json!({"expr": "a > 1", "kind": "comparison", "holds": true});
        let rule = json!({
            "name": "A", "labels": {}, "state": "firing", "alerts": [alert], "why": why, "queryOffsetSeconds": 10.0,
        });
        let wanted = "A (): firing\n  firing since 2026-01-31 13:05:00 (pending from 2026-01-31 13:00:00), value 3e+00\n    \
                      {alertname=\"A\"}\n  It reads what was 10 s before (query_offset); so do the values here.\n\n  \
                      yes a > 1\n";
        assert_eq!(text_of(&rule), wanted);
    }

    #[test]
    fn a_silent_alert_says_what_it_wants() {
        let comparison = json!({
            "expr": "cpu > 0.7", "kind": "comparison", "holds": false,
            "since": {"at": "2026-01-31T13:00:00.000Z", "or_longer": true},
            "left": [{"labels": {"__name__": "cpu", "instance": "a"}, "value": "0.4"}],
            "right": [{"labels": {}, "value": "0.7"}], "missing": "0.4 of {instance=\"a\"} is not > 0.7",
        });
        let rule = json!({
            "name": "High", "labels": {"severity": "warning"}, "state": "inactive", "alerts": [], "isBlind": false,
            "why": comparison,
        });
        let wanted = "High (severity=warning): silent\n  To fire it wants: 0.4 of {instance=\"a\"} is not > 0.7\n\n  \
                      no  cpu > 0.7  (since 2026-01-31 13:00:00 or longer)\n        has 0.4000 {instance=\"a\"}\n        \
                      against 0.7000\n";
        assert_eq!(text_of(&rule), wanted);
    }
}
