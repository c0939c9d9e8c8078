//! Plays a scenario: a cluster lives, an agent watches it, and what that would have paged is held against what it should.
//!
//! In:  a scenario, and what the agent judges by.   Out: a [`Report`].
//! Always: the same scenario, rules and routes give the same report.

use serde::Serialize;

use super::cluster::Cluster;
use super::families::Wanted;
use super::judge::{Judge, Settings};
use super::log::{Fired, PagedIncident};
use super::scenario::{Action, Scenario};
use super::verdict::{FalsePage, Judged, judge};
use super::watch::Watch;
use crate::model::TimestampMs;
use crate::storage::AppendError;

/// Everything is scraped so long after a tick; each target of a real agent has its own moment.
const SCRAPE_PHASE_MS: i64 = 7_000;
/// Data that arrived is judged once its source has been quiet for so long.
const QUIET_MS: i64 = 100;

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub scenario: String,
    /// Virtual length.
    pub seconds: f64,
    pub pages: Vec<PagedIncident>,
    pub expected: Judged,
    pub false_pages: Vec<FalsePage>,
    /// Alerts that fired, sent or not.
    pub alerts: Vec<Fired>,
    /// Points that the agent received.
    pub points: u64,
    /// Rules that could not be evaluated, with their error.
    pub failures: Vec<(String, String)>,
}

impl Report {
    /// Whether every expectation was met and nothing else paged.
    pub fn is_success(&self) -> bool {
        self.expected.missed.is_empty() && self.false_pages.is_empty() && self.failures.is_empty()
    }
}

/// Plays it; engines record what is `wanted`.
///
/// # Errors
/// The store refused a batch.
pub fn play(scenario: &Scenario, settings: Settings, wanted: Wanted) -> Result<Report, AppendError> {
    let interval_ms = settings.evaluation.interval_ms;
    let mut cluster = Cluster::new(scenario, wanted);
    let mut watch = Watch::new(scenario.cluster.platform, scenario.cluster.engine_api);
    let mut judge = Judge::new(settings, scenario.start);
    let end = scenario.start.plus_ms(scenario.duration_ms);
    let mut points = 0;
    let mut retirements: Vec<TimestampMs> = retirements(scenario).collect();
    let mut turn = scenario.start.align_down(interval_ms).plus_ms(SCRAPE_PHASE_MS % interval_ms);
    while turn < scenario.start {
        turn = turn.plus_ms(interval_ms);
    }
    while turn <= end {
        cluster.advance(turn);
        if cluster.is_agent_paused() {
            judge.sleep_until(turn);
            turn = turn.plus_ms(interval_ms);
            continue;
        }
        judge.advance(turn)?;
        for batch in watch.turn(&cluster, turn) {
            points += judge.receive(batch)?.stored;
        }
        judge.arrived(turn.plus_ms(QUIET_MS))?;
        while retirements.first().is_some_and(|at| *at <= turn) {
            retirements.remove(0);
            if let Some(gone) = &cluster.last_gone {
                judge.retire(turn.plus_ms(QUIET_MS), gone);
            }
        }
        turn = turn.plus_ms(interval_ms);
    }
    if !cluster.is_agent_paused() {
        judge.advance(end)?;
    }
    let (log, failures) = judge.finish();
    let (expected, false_pages) = self::judge(scenario, &log);
    Ok(Report {
        scenario: scenario.name.clone(),
        seconds: scenario.duration_ms as f64 / 1000.0,
        pages: log.pages,
        expected,
        false_pages,
        alerts: log.alerts,
        points,
        failures,
    })
}

fn retirements(scenario: &Scenario) -> impl Iterator<Item = TimestampMs> {
    let events = scenario.events.iter().filter(|event| event.action == Action::RetireInstance);
    events.map(|event| scenario.start.plus_ms(event.at_ms))
}
