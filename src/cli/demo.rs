//! `rivetwatch demo`: the agent at work on simulated engines, without any set-up.

use std::process::ExitCode;
use std::time::Duration;

use super::CliError;
use super::output::{Output, human_seconds};
use crate::app::demo::{Demo, INCIDENT, Outcome, Page};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many times faster than real time the demo's clock runs.
    #[arg(long, default_value_t = 20.0, value_parser = speed)]
    speed: f64,
    /// End after this many real seconds; without it the demo goes on until Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1.0..=100.0).contains(&speed) => Ok(speed),
        _ => Err(format!("must be a number from 1 to 100, got `{text}`")),
    }
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    super::runtime()?.block_on(async {
        let (mut demo, mut pages) = Demo::start(args.speed).await.map_err(|e| CliError::failed(&e))?;
        eprintln!("An agent watches two simulated engines; a minute passes in {:.0} seconds.", 60.0 / args.speed);
        eprintln!("  page     http://{}/", demo.api);
        eprintln!("  metrics  http://{}/metrics (the simulated engine 2.3.19)", demo.engine);
        eprintln!("  try      rivetwatch alerts --agent http://{0}   rivetwatch capacity --agent http://{0}", demo.api);
        let (begins, ends) = (INCIDENT.begins_ms as f64 / 1000.0, INCIDENT.ends_ms as f64 / 1000.0);
        let (begins, ends) = (human_seconds(begins), human_seconds(ends));
        eprintln!(
            "From {begins} to {ends} of demo time the actor host refuses starts with 429. Ctrl-C ends the demo.\n"
        );
        let end = async {
            match args.seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                _ = super::ended_by_signal() => break,
                task = demo.failed() => {
                    eprintln!("rivetwatch: task `{task}` ended unexpectedly");
                    break;
                }
                page = pages.recv() => if let Some(page) = page { tell(&page) },
            }
        }
        let outcome = demo.stop().await;
        args.output.print(&outcome, summary)?;
        // Whoever ends it by hand has seen what they wanted to see.
        let is_fine = outcome.is_complete() || args.seconds.is_none();
        Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn tell(page: &Page) {
    let after = human_seconds(page.after_seconds);
    match page.status {
        "resolved" => eprintln!("[{after}] RESOLVED  {}\n", page.alertname),
        _ => {
            eprintln!("[{after}] PAGE      {} ({})", page.alertname, page.severity);
            eprintln!("           {}", page.summary);
            let details = page.body["payload"]["custom_details"].as_object();
            for (name, value) in details.into_iter().flatten() {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                eprintln!("           {name}: {}", text.replace('\n', "\n           "));
            }
            for link in page.body["links"].as_array().into_iter().flatten() {
                eprintln!("           {}", link["href"].as_str().unwrap_or(""));
            }
            eprintln!();
        }
    }
}

fn summary(outcome: &Outcome) {
    let count = |status: &str| outcome.pages.iter().filter(|page| page.status == status).count();
    println!(
        "{} page{} and {} resolve{}; {} points were ingested.",
        count("firing"),
        if count("firing") == 1 { "" } else { "s" },
        count("resolved"),
        if count("resolved") == 1 { "" } else { "s" },
        outcome.ingested_points
    );
}
