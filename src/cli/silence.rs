//! `rivetwatch silence`: add, list and expire silences of a running agent.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, print_table};
use crate::model::{TimestampMs, parse_duration_ms};

/// Arguments of `silence`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Mute the alerts that pass every matcher.
    Add {
        /// `label=value`, `label!=value`, `label=~regex` or `label!~regex`.
        #[arg(required = true)]
        matchers: Vec<String>,
        /// For how long.
        #[arg(long, default_value = "1h")]
        duration: String,
        /// Why, for the others.
        #[arg(long)]
        comment: String,
        /// Who; the user name by default.
        #[arg(long, env = "USER", default_value = "rivetwatch")]
        author: String,
    },
    /// List silences that are active or pending.
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
        /// Expired ones too.
        #[arg(long)]
        all: bool,
    },
    /// End a silence now.
    Expire {
        /// Its id, from `list`.
        id: String,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Add { matchers, duration, comment, author } => {
            let matchers: Vec<Value> = matchers.iter().map(|m| matcher(m)).collect::<Result<_, _>>()?;
            let length = parse_duration_ms(&duration).filter(|ms| *ms > 0).ok_or_else(|| {
                CliError::Usage(format!("`--duration` must be a duration such as 30m or 2h, got `{duration}`"))
            })?;
            let now: TimestampMs = crate::app::clock::wall().now();
            let body = json!({
                "matchers": matchers, "startsAt": now.to_rfc3339(), "endsAt": now.plus_ms(length).to_rfc3339(),
                "createdBy": author, "comment": comment,
            });
            let answer = args.agent.post("/api/v2/silences", &body)?;
            println!("{}", answer["silenceID"].as_str().unwrap_or_default());
        }
        Action::List { output, all } => {
            let mut silences = args.agent.get("/api/v2/silences", &[])?;
            if let (false, Some(list)) = (all, silences.as_array_mut()) {
                list.retain(|s| s["status"]["state"] != "expired");
            }
            output.print(&silences, table)?;
        }
        Action::Expire { id } => {
            args.agent.delete(&format!("/api/v2/silence/{id}"))?;
            eprintln!("silence {id} expired");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads `label=value` and its three relatives in the form of Alertmanager's API.
fn matcher(text: &str) -> Result<Value, CliError> {
    let at = text.find(['=', '!']).ok_or_else(|| {
        CliError::Usage(format!(
            "`{text}` is not a matcher such as `alertname=RivetEngineDown` or `pool_name=~\"a.*\"`"
        ))
    })?;
    let (name, rest) = text.split_at(at);
    let operators = [("=~", true, true), ("!~", true, false), ("!=", false, false), ("=", false, true)];
    let (value, is_regex, is_equal) = operators
        .iter()
        .find_map(|(op, is_regex, is_equal)| rest.strip_prefix(op).map(|value| (value, *is_regex, *is_equal)))
        .ok_or_else(|| CliError::Usage(format!("`{text}` has no operator of `=`, `!=`, `=~`, `!~`")))?;
    let value = value.trim_matches('"');
    Ok(json!({ "name": name.trim(), "value": value, "isRegex": is_regex, "isEqual": is_equal }))
}

fn table(silences: &Value) {
    let empty = Vec::new();
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let row = |silence: &Value| {
        let matcher = |m: &Value| {
            let op = match (m["isRegex"].as_bool(), m["isEqual"].as_bool().unwrap_or(true)) {
                (Some(true), true) => "=~",
                (Some(true), false) => "!~",
                (_, true) => "=",
                (_, false) => "!=",
            };
            format!("{}{op}{}", text(&m["name"]), text(&m["value"]))
        };
        let matchers: Vec<_> = silence["matchers"].as_array().unwrap_or(&empty).iter().map(matcher).collect();
        vec![
            text(&silence["id"]),
            text(&silence["status"]["state"]),
            matchers.join(" "),
            text(&silence["endsAt"]),
            text(&silence["createdBy"]),
            text(&silence["comment"]),
        ]
    };
    let rows: Vec<_> = silences.as_array().unwrap_or(&empty).iter().map(row).collect();
    match rows.is_empty() {
        true => println!("No silence."),
        false => print_table(&["ID", "STATE", "MATCHERS", "ENDS", "BY", "COMMENT"], &rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_operators_are_read() {
        let m = matcher("pool_name!~\"a.*\"").unwrap();
        assert_eq!(m, json!({"name": "pool_name", "value": "a.*", "isRegex": true, "isEqual": false}));
        assert_eq!(matcher("a=b").unwrap()["isEqual"], json!(true));
        assert!(matcher("alertname").is_err());
    }
}
