//! `rivetwatch simulate --replay DIR`: what recorded scrapes would have paged.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::CliError;
use super::output::{Output, human_seconds, print_table};
use crate::rules;
use crate::simulate::replay::{self, Report};

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A folder of recorded scrapes of one engine, each named after its time: 1795419468.prom.gz.
    #[arg(long, value_name = "DIR")]
    replay: PathBuf,
    /// Use the rules, thresholds and routes of this configuration instead of the shipped ones.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// List every alert that fired, also those that paged nobody.
    #[arg(long)]
    alerts: bool,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let env: Vec<(String, String)> = Vec::new();
    let config =
        crate::config::load(args.config.as_deref(), &env).map_err(|e| CliError::Usage(crate::app::chain(&e)))?;
    let scrapes = replay::read(&args.replay).map_err(|e| CliError::failed(&e))?;
    let base = args.config.as_deref().and_then(|p| p.parent()).unwrap_or(std::path::Path::new("."));
    let set = config.rules.load(base, &config.thresholds).map_err(|e| CliError::failed(&e))?;
    let settings: rules::Settings = config.rules.settings("", crate::promql::EngineOptions::default().lookback_ms);
    let notify = crate::app::replay_routes(&config).map_err(CliError::Usage)?;
    let report = replay::play(&scrapes, set, settings, Arc::new(notify)).map_err(|e| CliError::failed(&e))?;
    args.output.print(&report, |report| table(report, args.alerts))?;
    Ok(ExitCode::SUCCESS)
}

fn table(report: &Report, alerts: bool) {
    println!(
        "{} scrapes over {}, {} points, {} page{}\n",
        report.scrapes,
        human_seconds(report.seconds),
        report.points,
        report.pages.len(),
        if report.pages.len() == 1 { "" } else { "s" }
    );
    let end = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), human_seconds);
    if !report.pages.is_empty() {
        let row = |page: &replay::PagedIncident| {
            let at = human_seconds(page.at_seconds);
            vec![at, end(page.resolved_at_seconds), page.severity.clone(), page.alertname.clone(), page.summary.clone()]
        };
        let rows: Vec<_> = report.pages.iter().map(row).collect();
        print_table(&["PAGED AT", "RESOLVED AT", "SEVERITY", "ALERT", "SUMMARY"], &rows);
    }
    if alerts {
        let row = |fired: &replay::Fired| {
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
        let rows: Vec<_> = report.alerts.iter().map(row).collect();
        println!();
        print_table(&["FIRED AT", "ENDED AT", "SEVERITY", "ALERT", "LABELS"], &rows);
    }
}
