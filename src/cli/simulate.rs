//! `rivetwatch simulate`: rehearse incidents in virtual time, with the shipped rules and routes or one's own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use super::CliError;
use super::output::{Output, human_seconds, print_table};
use crate::app::Rehearsal;
use crate::rules;
use crate::simulate::log::{Fired, PagedIncident};
use crate::simulate::play::{self, Report};
use crate::simulate::replay::{self, ReplayError};
use crate::simulate::scenario::{EVENTS, Scenario, random};
use crate::simulate::scores::Scores;
use crate::simulate::{Wanted, promtool};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// Scenarios to play; see docs/simulate.md for their keys.
    #[arg(value_name = "SCENARIO.yaml", required_unless_present_any = ["replay", "random", "days"], conflicts_with_all = ["replay", "random"])]
    scenarios: Vec<PathBuf>,
    /// A folder of recorded scrapes of one engine, each named after its time: 1795419468.prom.gz.
    #[arg(long, value_name = "DIR")]
    replay: Option<PathBuf>,
    /// Play scenarios made from this seed: incidents, or with `--days` quiet days.
    #[arg(long, value_name = "SEED", conflicts_with = "replay")]
    random: Option<u64>,
    /// With `--random`: how many incidents.
    #[arg(long, value_name = "N", requires = "random", conflicts_with = "days", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    incidents: u64,
    /// With `--random`: so many days in which a lot goes on and nobody must be woken.
    #[arg(long, value_name = "N", requires = "random", value_parser = clap::value_parser!(u64).range(1..=366))]
    days: Option<u64>,
    /// With `--random`: print the scenarios instead of playing them.
    #[arg(long, requires = "random")]
    print: bool,
    /// Use the rules, thresholds and routes of this configuration instead of the shipped ones.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// Record every family that the engine has, not only those that the rules read.
    #[arg(long)]
    full: bool,
    /// List every alert that fired, also those that paged nobody.
    #[arg(long)]
    alerts: bool,
    /// Scenarios played at once. Default: one for each core.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Instead of judging, write each scenario as a unit test for `promtool test rules`, with the rules beside it.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["replay", "config"])]
    promtool: Option<PathBuf>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

fn after_help() -> String {
    let mut text = String::from(
        "Exit status: 0 as expected, 1 an expectation failed, 2 a scenario, recording or argument is wrong.\n\nEvents:\n",
    );
    for (name, keys, about) in EVENTS {
        let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
        text.push_str(&format!("  {name}{keys}: {about}\n"));
    }
    text
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let scenarios = match args.random {
        Some(seed) => made(seed, &args)?,
        None => read(&args.scenarios)?,
    };
    if args.print {
        scenarios.iter().for_each(|given| println!("---\n{}", given.text.trim_end()));
        return Ok(ExitCode::SUCCESS);
    }
    let config =
        crate::config::load(args.config.as_deref(), &[]).map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let base = args.config.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    let rehearsal = Rehearsal::new(config, base).map_err(CliError::Usage)?;
    if let Some(dir) = &args.replay {
        let wrong = |e: ReplayError| match e {
            ReplayError::Store(_) => CliError::failed(&e),
            _ => CliError::Usage(crate::model::chain(&e)),
        };
        let recording = replay::read(dir).map_err(wrong)?;
        for broken in &recording.broken {
            eprintln!("warning: `{}` is left out, as if it were not there: {}", broken.file.display(), broken.reason);
        }
        let mut report = replay::play(&recording.scrapes, rehearsal.replay()).map_err(wrong)?;
        report.broken = recording.broken;
        args.output.print(&report, |report| replay_table(report, args.alerts))?;
        return Ok(ExitCode::SUCCESS);
    }
    check_names(&scenarios, &rehearsal)?;
    let scenarios: Vec<Scenario> = scenarios.into_iter().map(|given| given.scenario).collect();
    let wanted = rehearsal.wanted(args.full);
    if let Some(dir) = &args.promtool {
        return write_unit_tests(dir, &scenarios, &rehearsal, &wanted);
    }
    let reports = play_all(&scenarios, &rehearsal, &wanted, args.jobs)?;
    let is_success = reports.iter().all(Report::is_success);
    if let [report] = reports.as_slice() {
        args.output.print(report, |report| report_table(report, args.alerts))?;
    } else {
        let all = All { scores: Scores::of(&reports), scenarios: reports };
        args.output.print(&all, |all| all_table(all, args.alerts))?;
    }
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Several reports and the figures over them.
#[derive(Serialize)]
struct All {
    scores: Scores,
    scenarios: Vec<Report>,
}

/// A scenario and where it comes from.
struct Given {
    origin: String,
    text: String,
    scenario: Scenario,
}

/// Reads every file before any is played, so that all mistakes are seen at once.
fn read(files: &[PathBuf]) -> Result<Vec<Given>, CliError> {
    let mut scenarios = Vec::new();
    let mut mistakes = Vec::new();
    for path in files {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                mistakes.push(format!("{shown}: cannot be read: {error}"));
                continue;
            }
        };
        let name = path.file_stem().map_or_else(|| shown.to_string(), |stem| stem.to_string_lossy().into_owned());
        match Scenario::parse(&text, &name) {
            Ok(scenario) => scenarios.push(Given { origin: shown.to_string(), text, scenario }),
            Err(found) => mistakes.extend(found.iter().map(|mistake| format!("{shown}: {mistake}"))),
        }
    }
    if mistakes.is_empty() { Ok(scenarios) } else { Err(CliError::Usage(mistakes.join("\n"))) }
}

/// Refuses names that neither the rules in use nor the shipped ones have; a shipped one that is not in use is no slip.
fn check_names(scenarios: &[Given], rehearsal: &Rehearsal) -> Result<(), CliError> {
    let shipped =
        rules::load(&rules::builtin_sources(), &rules::Tuning::default()).map_err(|e| CliError::failed(&e))?;
    let sets = [&**rehearsal.rules(), &shipped];
    let unknown = scenarios.iter().flat_map(|given| {
        let mistakes = given.scenario.named.unknown_to(&sets);
        mistakes.into_iter().map(|mistake| format!("{}: {mistake}", given.origin))
    });
    let unknown: Vec<String> = unknown.collect();
    if unknown.is_empty() { Ok(()) } else { Err(CliError::Usage(unknown.join("\n"))) }
}

/// Scenarios made from a seed.
fn made(seed: u64, args: &Args) -> Result<Vec<Given>, CliError> {
    let texts = match args.days {
        Some(days) => vec![random::quiet(seed, days)],
        None => random::incidents(seed, args.incidents),
    };
    let parse = |text: String| {
        let scenario = Scenario::parse(&text, "random").map_err(|mistakes| {
            let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            CliError::Failed(format!("seed {seed} made a wrong scenario: {}\n{text}", mistakes.join("; ")))
        })?;
        Ok(Given { origin: format!("--random {seed}"), text, scenario })
    };
    texts.into_iter().map(parse).collect()
}

/// Plays them on a few threads; the reports are in the order of the scenarios.
fn play_all(
    scenarios: &[Scenario],
    rehearsal: &Rehearsal,
    wanted: &Wanted,
    jobs: Option<usize>,
) -> Result<Vec<Report>, CliError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.unwrap_or(cores).clamp(1, scenarios.len().max(1)) {
            scope.spawn(|| {
                while let Some((i, scenario)) = {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    scenarios.get(i).map(|scenario| (i, scenario))
                } {
                    let report = play::play(scenario, rehearsal.scenario(scenario), wanted.clone());
                    done.lock().push((i, report));
                }
            });
        }
    });
    let mut done = done.into_inner();
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, report)| report.map_err(|e| CliError::failed(&e))).collect()
}

fn write_unit_tests(
    dir: &Path,
    scenarios: &[Scenario],
    rehearsal: &Rehearsal,
    wanted: &Wanted,
) -> Result<ExitCode, CliError> {
    let write = |path: PathBuf, text: &str| {
        std::fs::write(&path, text).map_err(|e| CliError::Failed(format!("failed to write `{}`: {e}", path.display())))
    };
    let rules = dir.join("rules");
    std::fs::create_dir_all(&rules)
        .map_err(|e| CliError::Failed(format!("failed to make the folder `{}`: {e}", rules.display())))?;
    let mut files = Vec::new();
    for source in crate::rules::builtin_sources() {
        let name = Path::new(&source.name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        write(rules.join(&name), &source.text)?;
        files.push(format!("rules/{name}"));
    }
    let mut rows = Vec::new();
    for scenario in scenarios {
        let configured = rehearsal.scenario(scenario).configured;
        let test = promtool::unit_test(scenario, rehearsal.rules(), wanted.clone(), &configured, &files)
            .map_err(|e| CliError::Failed(format!("{}: {e}", scenario.name)))?;
        let file = format!("{}.test.yaml", file_name(&scenario.name));
        write(dir.join(&file), &test.yaml)?;
        rows.push(vec![file, test.ticks.to_string(), test.series.to_string(), test.alerts.to_string()]);
    }
    print_table(&["FILE", "TICKS", "SERIES", "ALERTS"], &rows);
    Ok(ExitCode::SUCCESS)
}

/// A name as part of a file name.
fn file_name(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' }).collect()
}

fn end(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), human_seconds)
}

/// The pages, behind an empty line; nothing where there is none.
fn pages_table(pages: &[PagedIncident]) {
    let row = |page: &PagedIncident| {
        let at = human_seconds(page.at_seconds);
        vec![at, end(page.resolved_at_seconds), page.severity.clone(), page.alertname.clone(), page.summary.clone()]
    };
    if !pages.is_empty() {
        let rows: Vec<_> = pages.iter().map(row).collect();
        println!();
        print_table(&["PAGED AT", "RESOLVED AT", "SEVERITY", "ALERT", "SUMMARY"], &rows);
    }
}

fn alerts_table(alerts: &[Fired]) {
    let row = |fired: &Fired| {
        let labels = fired.labels.iter().filter(|(n, _)| !matches!(n.as_str(), "alertname" | "severity"));
        let labels: Vec<String> = labels.map(|(n, v)| format!("{n}={v}")).collect();
        vec![
            human_seconds(fired.from_seconds),
            end(fired.to_seconds),
            fired.severity.clone(),
            fired.alertname.clone(),
            labels.join(" "),
        ]
    };
    let rows: Vec<_> = alerts.iter().map(row).collect();
    println!();
    print_table(&["FIRED AT", "ENDED AT", "SEVERITY", "ALERT", "LABELS"], &rows);
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn replay_table(report: &replay::Report, alerts: bool) {
    let (scrapes, points) = (report.scrapes, report.points);
    let pages = plural(report.pages.len(), "page");
    println!("{scrapes} scrapes over {}, {points} points, {pages}", human_seconds(report.seconds));
    if let [first, ..] = report.unread.as_slice() {
        let (n, at) = (report.unread.len(), human_seconds(first.at_seconds));
        println!(
            "{n} of them could not be read and count as an engine that does not answer; the first, at {at}: {}",
            first.reason
        );
    }
    pages_table(&report.pages);
    if alerts {
        alerts_table(&report.alerts);
    }
}

fn report_table(report: &Report, alerts: bool) {
    let pages = plural(report.pages.len(), "page");
    println!(
        "{}: {} in virtual time, {} points, {pages}",
        report.scenario,
        human_seconds(report.seconds),
        report.points
    );
    pages_table(&report.pages);
    let mut rows = Vec::new();
    for met in &report.expected.met {
        let when = format!("{} after its first sign", human_seconds(met.after_seconds));
        rows.push(vec!["met".to_owned(), met.alertname.clone(), when]);
    }
    for missed in &report.expected.missed {
        rows.push(vec!["MISSED".to_owned(), missed.alertname.clone(), missed.why.clone()]);
    }
    for page in &report.false_pages {
        let why = format!("at {}: {}", human_seconds(page.at_seconds), page.why);
        rows.push(vec!["FALSE PAGE".to_owned(), page.alertname.clone(), why]);
    }
    for (rule, error) in &report.failures {
        rows.push(vec!["RULE FAILED".to_owned(), rule.clone(), error.clone()]);
    }
    if !rows.is_empty() {
        println!();
        print_table(&["VERDICT", "ALERT", "DETAIL"], &rows);
    }
    if alerts {
        alerts_table(&report.alerts);
    }
}

fn all_table(all: &All, alerts: bool) {
    let row = |report: &Report| {
        let mut found: Vec<String> = Vec::new();
        found.extend(report.expected.missed.iter().map(|m| format!("{} {}", m.alertname, m.why)));
        let false_page = |p: &crate::simulate::verdict::FalsePage| {
            format!("false page {} at {}", p.alertname, human_seconds(p.at_seconds))
        };
        found.extend(report.false_pages.iter().map(false_page));
        found.extend(report.failures.iter().map(|(rule, error)| format!("rule {rule} failed: {error}")));
        let delays = report.expected.met.iter().filter(|met| met.is_page).map(|met| human_seconds(met.after_seconds));
        vec![
            if report.is_success() { "ok" } else { "FAILED" }.to_owned(),
            report.scenario.clone(),
            human_seconds(report.seconds),
            report.pages.len().to_string(),
            delays.collect::<Vec<_>>().join(", "),
            found.join("; "),
        ]
    };
    let rows: Vec<_> = all.scenarios.iter().map(row).collect();
    print_table(&["VERDICT", "SCENARIO", "LENGTH", "PAGES", "PAGED AFTER", "FOUND"], &rows);
    if alerts {
        for report in &all.scenarios {
            println!("\n{}:", report.scenario);
            alerts_table(&report.alerts);
        }
    }
    println!();
    scores_table(&all.scores);
}

fn scores_table(scores: &Scores) {
    let seconds = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |s| format!("{s:.1} s"));
    let rate = scores.detection_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.1} %", rate * 100.0));
    let rows = [
        ("scenarios played, failed", format!("{}, {}", scores.scenarios, scores.failed)),
        ("pages that had to come, came in time", format!("{}, {}", scores.pages_expected, scores.pages_met)),
        ("detection rate", rate),
        ("median time to page", seconds(scores.median_seconds_to_page)),
        ("worst time to page", seconds(scores.worst_seconds_to_page)),
        (
            "pages on burn rates, most of their time taken",
            scores.worst_burn_rate_share.map_or_else(
                || scores.burn_rate_pages.to_string(),
                |share| format!("{}, {:.0} %", scores.burn_rate_pages, share * 100.0),
            ),
        ),
        ("simulated weeks", format!("{:.2}", scores.simulated_weeks)),
        ("false pages per simulated week", format!("{:.2} ({})", scores.false_pages_per_week, scores.false_pages)),
        (
            "warnings per quiet week",
            scores.warnings_per_quiet_week.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}")),
        ),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(what, value)| vec![what.to_owned(), value]).collect();
    print_table(&["FIGURE", "VALUE"], &rows);
}
