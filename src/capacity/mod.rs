//! How much room is left: engines, actor hosts, guard, database and disks against their limits; what the autoscaler wants.
//!
//! In:  the signals (`rivet:*`) in the store, and what the operator wrote under `capacity:`.
//! Out: a [`Report`] for people, and the same numbers as `rivet:headroom:*` and `rivet:capacity:*` series.
//! Always: a limit nobody stated is `unknown`, never headroom; a trend is given only where the data supports one.
//!
//! The way: [`world`] reads the signals, [`rows`] holds them against limits, [`history`] adds peaks and outlook from what
//! was recorded before, [`scaling`] runs the autoscaler's twin, [`advice`] says what to do.

mod advice;
mod config;
pub mod forecast;
mod history;
pub mod hpa;
mod kind;
mod pools;
mod reader;
mod report;
mod rows;
mod scaling;
mod series;
mod what_if;
mod world;

use crate::model::{Labels, TimestampMs};
use crate::promql::{self, Engine};
use crate::storage::Select;

pub use advice::MARGIN;
pub use config::{ActorHost, AutoscalerConfig, Config, ControllerConfig, PostgresConfig, Rate, RateScope};
pub use history::{LIMIT, USED};
pub use kind::Kind;
pub use report::{Advice, Autoscaling, Binding, LimitSource, Peaks, Report, Row};
pub use scaling::{Ahead, Autoscaler, HpaSource};
pub use series::{CPU_FORECAST, REPLICAS_FORECAST, points};
pub use what_if::WhatIf;

use history::History;
use reader::Reader;
use report::Limit;
use rows::Known;
use scaling::{Effective, Present};
use world::World;

/// Why headroom could not be worked out.
#[derive(Debug, thiserror::Error)]
pub enum CapacityError {
    #[error("failed to evaluate `{query}`")]
    Query { query: String, source: promql::QueryError },
}

/// What is known of the engine besides its signals.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `engine.backend`: `postgres`, `rocksdb` or `foundationdb`; `None` when it is not configured.
    pub backend: Option<String>,
    /// The autoscaler as a reader of Kubernetes' API has it; it wins over everything else.
    pub autoscaler: Option<SeenAutoscaler>,
}

/// The engine's HorizontalPodAutoscaler as Kubernetes' API gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenAutoscaler {
    /// Where it is; engines of other Kubernetes namespaces have others.
    pub namespace: String,
    pub spec: hpa::HpaSpec,
}

impl Facts {
    /// The autoscaler that was read for engines with these labels.
    fn autoscaler_of(&self, labels: &Labels) -> Option<&hpa::HpaSpec> {
        let seen = self.autoscaler.as_ref()?;
        let is_there = labels.get("namespace").is_none_or(|namespace| namespace == seen.namespace);
        is_there.then_some(&seen.spec)
    }
}

/// Works out all headroom at `now`, and again under `what_if`'s assumptions.
///
/// # Errors
/// A query could not be evaluated; missing data is no error but `unknown`.
pub fn evaluate(
    now: TimestampMs,
    store: &dyn Select,
    engine: &Engine,
    config: &Config,
    facts: &Facts,
    what_if: Option<&WhatIf>,
) -> Result<Report, CapacityError> {
    let reader = Reader { now, store, engine };
    let world = World::observe(&reader)?;
    let history = History::read(&reader)?;
    let seen = Asked { world: &world, config, facts, history: &history };
    let mut report = report_of(&Present::Live(&reader), seen, &|_| 1.0, 1.0)?;
    scaling::judge_forecasts(&reader, &mut report.autoscalers)?;
    if let Some(assumed) = what_if {
        let then = assumed.applied(&world);
        let (config, facts) = (assumed.config(config), assumed.facts(facts));
        let factor = |row: &Row| assumed.history_factor(row, &world, &then);
        let asked = Asked { world: &then, config: &config, facts: &facts, history: &history };
        let then = report_of(&Present::Assumed, asked, &factor, assumed.traffic())?;
        report.what_if = Some(Box::new(report::WhatIf { assumed: assumed.words(), report: then }));
    }
    Ok(report)
}

/// What a report is made of.
#[derive(Clone, Copy)]
struct Asked<'a> {
    world: &'a World,
    config: &'a Config,
    facts: &'a Facts,
    history: &'a History,
}

/// `factor` is what the history of a row is multiplied by, `traffic` what the loads of the history are.
fn report_of(
    present: &Present<'_>,
    asked: Asked<'_>,
    factor: &dyn Fn(&Row) -> f64,
    traffic: f64,
) -> Result<Report, CapacityError> {
    let Asked { world, config, facts, history } = asked;
    let effective: Vec<Effective> =
        world.installations.iter().map(|i| Effective::of(i, world, config, facts)).collect();
    let mut report = Report::new(world.at);
    report.engines = world.installations.iter().map(|installation| installation.engines.len()).sum();
    report.sample_ages = world.sample_ages.iter().map(|(labels, age)| (labels.clone(), *age)).collect();
    report.newest_sample_age_seconds = world.sample_ages.values().copied().reduce(f64::min);
    report.rows = rows::rows(Known { world, config, facts, effective: &effective });
    for row in &mut report.rows {
        row.history_factor = factor(row);
    }
    history.tell(world.at, &mut report);
    for (installation, effective) in world.installations.iter().zip(&effective) {
        let asked = scaling::Asked { world, installation, effective, config, history, traffic };
        let (mut autoscaler, by_resource) = scaling::autoscaler(present, asked)?;
        if let Some(autoscaler) = &mut autoscaler {
            let is_maximum = |row: &&Row| matches!(row.kind, Kind::CpuMaximum | Kind::MemoryMaximum);
            let here = report.rows.iter().filter(is_maximum).filter(|row| row.labels == installation.labels);
            autoscaler.maximum_binds_in_seconds = here.filter_map(|row| row.time_to_full_seconds).reduce(f64::min);
        }
        report.autoscalers.extend(autoscaler);
        report.autoscaling.extend(by_resource);
    }
    report.advice = advice::advice(&report.rows, world, config, &effective, &report.autoscalers);
    report.put_nearest_first();
    Ok(report)
}
