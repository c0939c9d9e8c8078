//! `rivetwatch instances`: which instances a running agent knows; `instances retire NAME` says that one is gone.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::CliError;
use super::client::AgentArgs;
use super::output::{Output, human_seconds, print_table};

/// Arguments of `instances`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    agent: AgentArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say that an instance is gone for good: its alerts resolve at once, and what is left of its data is ignored for
    /// five minutes.
    Retire {
        /// The `instance`, as `rivetwatch instances` lists it.
        name: String,
        /// The cluster it was in, where several have an instance of that name.
        #[arg(long)]
        cluster: Option<String>,
        /// Its Kubernetes namespace, likewise.
        #[arg(long)]
        namespace: Option<String>,
        /// Also where it has had data within the last minute.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        agent: AgentArgs,
    },
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if let Some(Command::Retire { name, cluster, namespace, force, agent }) = args.command {
        let wanted = json!({ "instance": name, "cluster": cluster, "namespace": namespace, "force": force });
        let answer = agent.post("/api/v1/instances/retire", &wanted)?;
        let resolved = answer["data"]["resolvedAlerts"].as_u64().unwrap_or(0);
        println!("{name} is retired; {resolved} alert{} resolved", if resolved == 1 { "" } else { "s" });
        return Ok(ExitCode::SUCCESS);
    }
    let answer = args.agent.get("/api/v1/instances", &[])?;
    args.output.print(&answer["data"], table)?;
    Ok(ExitCode::SUCCESS)
}

fn table(instances: &Value) {
    let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
    let row = |instance: &Value| {
        let up = match instance["up"].as_bool() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let silent = instance["silentSeconds"].as_f64().map_or_else(|| "-".to_owned(), human_seconds);
        let places = ["cluster", "namespace"].map(|place| text(&instance[place]));
        [vec![text(&instance["instance"])], places.to_vec(), vec![text(&instance["job"]), up.to_owned(), silent]]
            .concat()
    };
    let rows: Vec<_> = instances.as_array().into_iter().flatten().map(row).collect();
    match rows.is_empty() {
        true => println!("No instance has had data in the last minutes; they are looked at once a minute."),
        false => print_table(&["INSTANCE", "CLUSTER", "NAMESPACE", "JOB", "UP", "LAST DATA AGO"], &rows),
    }
}
