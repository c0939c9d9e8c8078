//! `rivetwatch check`: the production checklist, live, in the look of `linkerd check`.
//!
//! In:  the configuration and flags; or the report of a running agent.   Out: a report in one of several forms.
//! Exit: 0 met, 1 something fails (also warnings and unknowns where they are denied), 2 wrong usage, which an input is that
//! was named and cannot be read: a pipeline with a typo would be green for ever.

mod plan;
mod words;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use reqwest::Url;

use super::CliError;
use super::client::AgentArgs;
use super::spinner::Spinner;
use crate::app::clock;
use crate::checklist::evidence::Evidence;
use crate::checklist::fix::{File, FixError, Wishes, helm, kustomize};
use crate::checklist::known::unknown;
use crate::checklist::probes::Series;
use crate::checklist::render::{Style, junit, sarif, text};
use crate::checklist::{ITEMS, Report, Status, judge};
use plan::{Telemetry, named_inputs, plan};
use words::{check_names, with_flags};

/// Where the agent's API is by default.
const AGENT_DEFAULT: &str = "http://127.0.0.1:6440";

/// Shortest time between two runs.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// Forms of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    #[default]
    Table,
    /// Only what is not met.
    Short,
    Json,
    Yaml,
    Junit,
    Sarif,
}

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Marks: √ met, ‼ met by half or at a risk, × not met, ? could not be seen, i worth knowing, \
✎ attested by a person, - does not apply.\n\
Exit: 0 nothing fails, 1 something does (also warnings and unknowns where they are denied), 2 wrong usage, or a file, \
folder or context that was named on the command line and cannot be read. With --fix: 0 a patch was written, 1 there is none.\n\
Probes only read. The admin token goes to the engine's own address alone and is compared by its hash.")]
pub struct Args {
    /// The configuration file of the agent; its `check` section says what may be asked.
    #[arg(short, long, env = "RIVETWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Form of the report.
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Fail on warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// Fail on what could not be seen too.
    #[arg(long)]
    deny_unknown: bool,
    /// Only these items or categories; may be repeated or separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ITEM")]
    only: Vec<String>,
    /// Pass over these items; may be repeated or separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "ITEM")]
    skip: Vec<String>,
    /// Show under each item what it was seen by.
    #[arg(short, long)]
    verbose: bool,
    /// Name the items and end.
    #[arg(long)]
    list: bool,
    /// Run again and again, at this interval, of at least 1s.
    #[arg(long, value_name = "INTERVAL", num_args = 0..=1, default_missing_value = "30s", value_parser = watch_interval)]
    watch: Option<Duration>,
    /// Show what a running agent sees, in place of asking from here.
    #[arg(long, value_name = "URL", conflicts_with_all = ["manifests", "kubeconfig", "engine_url"])]
    agent: Option<String>,
    #[command(flatten)]
    fixes: Fixes,
    #[command(flatten)]
    asked: Asked,
}

/// Patches for what is not met.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Patches")]
struct Fixes {
    /// Write a patch for what is not met, once its own tool has built it and its items are met on the result: a kustomize
    /// component (needs kubectl), or values for a Helm chart (needs helm). What is not met goes to standard error then, and
    /// the exit says whether there is a patch.
    #[arg(long, value_enum, value_name = "FORM", conflicts_with_all = ["agent", "watch", "output"])]
    fix: Option<FixForm>,
    /// Write the files of the patch into this folder instead of to standard output.
    #[arg(long, value_name = "DIR", requires = "fix")]
    fix_dir: Option<PathBuf>,
    /// The chart that the values are for.
    #[arg(long, value_name = "DIR", required_if_eq("fix", "helm"))]
    chart: Option<PathBuf>,
    /// The release of the engine to pin; else the one that runs.
    #[arg(long, value_name = "TAG", requires = "fix")]
    image_tag: Option<String>,
    /// Where the engine's spans should go; else a Service with port 4317 that is named like a collector.
    #[arg(long, value_name = "URL", requires = "fix")]
    otlp_endpoint: Option<Url>,
}

/// Forms of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum FixForm {
    Kustomize,
    Helm,
}

/// What is asked, over the configuration.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is asked")]
struct Asked {
    /// Look at Kubernetes objects in this folder or file, `-` for standard input, in place of the API; nothing live is
    /// asked but what other flags name.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["kubeconfig", "context", "no_kubernetes"])]
    manifests: Option<PathBuf>,
    /// A kubeconfig; else that of the environment, else the service account.
    #[arg(long, value_name = "FILE", conflicts_with = "no_kubernetes")]
    kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The engine's namespace.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The engine does not run in Kubernetes: skip its items.
    #[arg(long)]
    no_kubernetes: bool,
    /// The engine's configuration files or folders; may be repeated.
    #[arg(long, value_name = "PATH")]
    engine_config: Vec<PathBuf>,
    /// The engine's public API.
    #[arg(long, value_name = "URL")]
    engine_url: Option<Url>,
    /// The engine's peer API.
    #[arg(long, value_name = "URL")]
    peer_url: Option<Url>,
    /// Where clients reach the engine; TLS and closed ports are tried there.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// File with the admin token, sent to the engine's public API alone.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// An actor host's `/api/rivet`; may be repeated.
    #[arg(long, value_name = "URL")]
    actor_host: Vec<Url>,
    /// File with the URL of PostgreSQL.
    #[arg(long, value_name = "FILE")]
    postgres_url_file: Option<PathBuf>,
    /// A NATS server, `host:port`; may be repeated.
    #[arg(long, value_name = "SERVER")]
    nats: Vec<String>,
    /// The agent whose series are read.
    #[arg(long, value_name = "URL", env = "RIVETWATCH_AGENT")]
    telemetry: Option<Url>,
    /// File with the bearer token of the agent's API.
    #[arg(long, value_name = "FILE", env = "RIVETWATCH_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// Reads the time between two runs; each asks an API server and an engine.
fn watch_interval(text: &str) -> Result<Duration, String> {
    let interval = super::duration(text)?;
    match interval < WATCH_MIN {
        true => Err(format!("`{text}` is shorter than {} s", WATCH_MIN.as_secs())),
        false => Ok(interval),
    }
}

/// Gives a report, with the evidence where it was gathered here.
type Ask = dyn Fn() -> Result<(Report, Option<Evidence>), CliError>;

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    if args.list {
        return list();
    }
    check_names(&args.only, true)?;
    check_names(&args.skip, false)?;
    if args.watch.is_some() && args.asked.manifests.as_deref().is_some_and(|path| path.as_os_str() == "-") {
        return Err(CliError::Usage("`--watch` cannot read standard input again; give `--manifests` a folder".into()));
    }
    let ask: Box<Ask> = match &args.agent {
        Some(agent) => {
            let agent = AgentArgs::new(agent.clone(), args.asked.token_file.clone());
            let (only, skip) = (args.only.clone(), args.skip.clone());
            Box::new(move || Ok((of_agent(&agent, &only, &skip)?, None)))
        }
        None => {
            let plan = plan(&args)?;
            let telemetry = Telemetry::of(&args, &plan)?;
            Box::new(move || {
                // A client belongs to the runtime of its run.
                let series = telemetry.as_ref().map(Telemetry::series).transpose()?;
                let series = match &series {
                    Some(series) => Ok(series as &dyn Series),
                    None => unknown("only files are looked at; add `--telemetry` to read an agent's series"),
                };
                let evidence = super::block_on(plan.evidence(clock::wall().now(), series))?;
                Ok((with_flags(judge(&evidence, &plan.choice)), Some(evidence)))
            })
        }
    };
    let is_text = matches!(args.output, Form::Table | Form::Short);
    let mut shown = None;
    let mut is_first = true;
    loop {
        let spinner = is_text.then(|| Spinner::start("asking"));
        let answer = ask();
        drop(spinner);
        let (report, evidence) = answer?;
        // Later on a file may be away for a moment, which is unknown as everything else is.
        if let Some(evidence) = evidence.as_ref().filter(|_| std::mem::take(&mut is_first)) {
            named_inputs(&args.asked, evidence)?;
        }
        if let (Some(form), Some(evidence)) = (args.fixes.fix, &evidence) {
            return fix(&args, form, evidence, &report);
        }
        if shown.as_ref() != Some(&without_time(&report)) || is_text {
            print(&args, &report)?;
            shown = Some(without_time(&report));
        }
        let code = match report.is_failure(args.deny_warnings, args.deny_unknown) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        };
        match args.watch {
            None => return Ok(code),
            Some(interval) => std::thread::sleep(interval),
        }
    }
}

/// Prints the report on standard error and the patch on standard output, or writes it into its folder.
fn fix(args: &Args, form: FixForm, evidence: &Evidence, report: &Report) -> Result<ExitCode, CliError> {
    let style = Style { short: true, colour: std::io::stderr().is_terminal() && !forbids_colour(), ..style() };
    let is_unmet = |item: &str, _: &str| report.findings.iter().any(|f| f.item == item && f.status <= Status::Warn);
    let unmet = report.clone().narrowed(is_unmet);
    if !unmet.findings.is_empty() {
        let _ = std::io::stderr().lock().write_all(text(&unmet, style).as_bytes());
    }
    let fixes = &args.fixes;
    let wishes =
        Wishes { image_tag: fixes.image_tag.clone(), otlp_endpoint: fixes.otlp_endpoint.as_ref().map(without_slash) };
    let failed = |e: FixError| CliError::failed(&e);
    let (files, items, left_out, how) = match (form, &fixes.chart) {
        (FixForm::Kustomize, _) => {
            let fix = kustomize(evidence, report, &wishes).map_err(failed)?;
            (fix.files, fix.items, fix.left_out, "`kubectl kustomize` builds it")
        }
        (FixForm::Helm, Some(chart)) => {
            let fix = helm(evidence, report, &wishes, chart).map_err(failed)?;
            let file = File { name: "values-fix.yaml".into(), text: fix.values };
            (vec![file], fix.items, fix.left_out, "`helm template` renders it")
        }
        (FixForm::Helm, None) => return Err(CliError::Usage("`--fix helm` needs `--chart`".into())),
    };
    for out in &left_out {
        eprintln!("not in the patch: {}: {}", out.item, out.reason);
    }
    eprintln!("The patch is valid: {how}, and on the result these items are met: {}.", items.join(", "));
    match &fixes.fix_dir {
        Some(dir) => {
            crate::checklist::fix::write(dir, &files).map_err(failed)?;
            for file in &files {
                eprintln!("wrote {}", dir.join(&file.name).display());
            }
        }
        None => {
            let text: Vec<String> = files.iter().map(|f| format!("# file: {}\n{}", f.name, f.text)).collect();
            // A reader that goes away early, such as `head`, is no failure.
            let _ = std::io::stdout().lock().write_all(text.join("---\n").as_bytes());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Everything but when it was: two reports that say the same are the same.
fn without_time(report: &Report) -> Report {
    Report { at: String::new(), ..report.clone() }
}

fn list() -> Result<ExitCode, CliError> {
    let rows: Vec<Vec<String>> = ITEMS
        .iter()
        .map(|item| vec![item.category.as_str().to_owned(), item.id.to_owned(), item.title.to_owned()])
        .collect();
    super::output::print_table(&["CATEGORY", "ITEM", "MET WHEN"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// The report of a running agent, cut down to what was asked for.
fn of_agent(agent: &AgentArgs, only: &[String], skip: &[String]) -> Result<Report, CliError> {
    let mut answer = agent.get("/api/v1/check", &[])?;
    let report: Report = serde_json::from_value(answer["data"].take())
        .map_err(|e| CliError::Failed(format!("the agent's report cannot be read: {e}")))?;
    let is_wanted = |item: &str, category: &str| {
        (only.is_empty() || only.iter().any(|o| o == item || o == category)) && !skip.iter().any(|s| s == item)
    };
    Ok(report.narrowed(is_wanted))
}

fn print(args: &Args, report: &Report) -> Result<(), CliError> {
    let failed = |e: &dyn std::error::Error| CliError::failed(e);
    let out = match args.output {
        Form::Table | Form::Short => {
            let clears = args.watch.is_some() && std::io::stdout().is_terminal();
            let style = Style { short: args.output == Form::Short, verbose: args.verbose, ..style() };
            let at = args.watch.map(|_| format!("{}\n", report.at)).unwrap_or_default();
            format!("{}{at}{}", if clears { "\u{1b}[2J\u{1b}[H" } else { "" }, text(report, style))
        }
        Form::Json => serde_json::to_string_pretty(report).map_err(|e| failed(&e))? + "\n",
        Form::Yaml => serde_saphyr::to_string(report).map_err(|e| failed(&e))?,
        Form::Junit => junit(report, args.deny_warnings, args.deny_unknown),
        Form::Sarif => serde_json::to_string_pretty(&sarif(report)).map_err(|e| failed(&e))? + "\n",
    };
    // A reader that goes away early, such as `head`, is no failure.
    let _ = std::io::stdout().lock().write_all(out.as_bytes());
    Ok(())
}

fn forbids_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some() || std::env::var("TERM").is_ok_and(|term| term == "dumb")
}

/// Colour on a terminal that did not ask for none, and more than ASCII where the locale says UTF-8.
fn style() -> Style {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let locale = var("LC_ALL").or_else(|| var("LC_CTYPE")).or_else(|| var("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    Style {
        colour: std::io::stdout().is_terminal() && !forbids_colour(),
        unicode: locale.contains("utf-8") || locale.contains("utf8"),
        ..Style::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_of_no_time_is_refused() {
        assert!(watch_interval("0s").is_err() && watch_interval("999ms").is_err() && watch_interval("x").is_err());
        assert_eq!(watch_interval("1s"), Ok(Duration::from_secs(1)));
    }
}
