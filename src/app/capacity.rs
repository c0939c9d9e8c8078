//! Headroom at work: worked out for the API and the external scaler, written as series once a minute.
//!
//! Always: on a blocking thread; callers that come within [`FRESH_MS`] of each other share one report.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::api::{Refused, ScalerMetric, ScalerQuestion};
use crate::capacity::{self, Facts, Report, Row, SeenAutoscaler, WhatIf};
use crate::clock::{Clock, next_tick};
use crate::config::Config;
use crate::model::{Counter, Gauge, Labels, StatRow, Stats, TimestampMs};
use crate::promql::Engine;
use crate::storage::{Append, Batch};
use crate::tsdb::Tsdb;

/// A report serves everybody who asks for so long.
const FRESH_MS: i64 = 5_000;

/// Headroom over one store; clones share it.
#[derive(Clone)]
pub struct Capacity(Arc<Inner>);

struct Inner {
    config: capacity::Config,
    facts: Mutex<Facts>,
    /// Figures older than this are stale for the external scaler.
    stale_after_ms: i64,
    clock: Clock,
    store: Arc<Tsdb>,
    engine: Arc<Engine>,
    last: Mutex<Option<Arc<Report>>>,
    stats: CapacityStats,
}

#[derive(Default)]
struct CapacityStats {
    failed: Counter,
    seconds: Gauge,
    /// When the series were last written, in seconds since the epoch.
    written: Gauge,
}

impl Stats for Capacity {
    fn rows(&self) -> Vec<StatRow> {
        let stats = &self.0.stats;
        vec![
            StatRow::counter(
                "rivetwatch_capacity_evaluations_failed_total",
                "Times that headroom could not be worked out or written.",
                stats.failed.get(),
            ),
            StatRow::gauge(
                "rivetwatch_capacity_evaluation_duration_seconds",
                "How long working out headroom took last.",
                stats.seconds.get(),
            ),
            StatRow::gauge(
                "rivetwatch_capacity_last_success_timestamp_seconds",
                "When headroom was last written as series, since the epoch; the start until then.",
                stats.written.get(),
            ),
        ]
    }
}

impl Capacity {
    /// Headroom over this store.
    pub fn new(config: &Config, clock: Clock, store: Arc<Tsdb>, engine: Arc<Engine>) -> Self {
        let facts = Facts { backend: config.engine.backend.map(|b| b.as_str().to_owned()), autoscaler: None };
        let stats = CapacityStats::default();
        stats.written.set(clock.now().as_secs_f64());
        Self(Arc::new(Inner {
            config: config.capacity.clone(),
            facts: Mutex::new(facts),
            stale_after_ms: config.api.external_scaler.stale_after.as_ms(),
            clock,
            store,
            engine,
            last: Mutex::default(),
            stats,
        }))
    }

    /// Takes in what Kubernetes' API tells of the engine's autoscaler; `None` when nothing scales the engine.
    pub fn know_autoscaler(&self, seen: Option<SeenAutoscaler>) {
        let mut facts = self.0.facts.lock();
        if facts.autoscaler != seen {
            facts.autoscaler = seen;
            *self.0.last.lock() = None;
        }
    }

    fn evaluate(&self, what_if: Option<&WhatIf>) -> Result<Report, String> {
        let inner = &*self.0;
        let began = Instant::now();
        let now = inner.clock.now();
        let facts = inner.facts.lock().clone();
        let report = capacity::evaluate(now, &*inner.store, &inner.engine, &inner.config, &facts, what_if);
        inner.stats.seconds.set(began.elapsed().as_secs_f64());
        report.map_err(|e| {
            inner.stats.failed.inc();
            crate::model::chain(&e)
        })
    }

    /// The report of now, or one that is hardly older.
    fn report(&self) -> Result<Arc<Report>, String> {
        // Whoever comes while it is worked out waits for it, rather than doing the same work.
        let mut last = self.0.last.lock();
        let now = self.0.clock.now();
        let is_fresh = |report: &&Arc<Report>| (0..FRESH_MS).contains(&now.since(report.at));
        if let Some(report) = last.as_ref().filter(is_fresh) {
            return Ok(report.clone());
        }
        let report = Arc::new(self.evaluate(None)?);
        *last = Some(report.clone());
        Ok(report)
    }

    /// The report as JSON, for the API; with `what_if` also under assumptions.
    ///
    /// # Errors
    /// Assumptions that cannot be read; a query that failed.
    pub fn view(&self, what_if: Option<&str>) -> Result<Value, Refused> {
        let assumed = what_if.map(WhatIf::parse).transpose().map_err(Refused::BadRequest)?;
        let json = |report: &Report| serde_json::to_value(report).map_err(|e| Refused::Failed(e.to_string()));
        match assumed {
            None => json(&*self.report().map_err(Refused::Failed)?),
            Some(assumed) => json(&self.evaluate(Some(&assumed)).map_err(Refused::Failed)?),
        }
    }

    /// What the external scaler serves.
    ///
    /// # Errors
    /// In words, and never a number instead: figures are stale or missing, or no limit that replicas relieve is known.
    pub fn scaler(&self, question: &ScalerQuestion) -> Result<f64, String> {
        let report = self.report()?;
        let waited = self.0.clock.now().since(report.at) as f64 / 1000.0;
        let ages = report.sample_ages.iter().filter(|(labels, _)| is_asked(question, labels));
        let newest = ages.map(|(_, age)| *age).reduce(f64::min);
        let age = newest.ok_or("no such engine sends figures")? + waited;
        if age * 1000.0 > self.0.stale_after_ms as f64 {
            return Err(format!("the newest figure of any such engine is {age:.0} s old"));
        }
        answer(&report, question)
    }

    /// Writes the series until told to stop.
    pub async fn run(self, interval_ms: i64, stop: CancellationToken) {
        let clock = self.0.clock.clone();
        loop {
            // Half an interval after the ticks, so that neither waits for the other.
            let at = next_tick(clock.now(), interval_ms, interval_ms / 2);
            tokio::select! {
                () = stop.cancelled() => return,
                () = clock.sleep_until(at) => {}
            }
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.write()).await {
                Ok(Ok(now)) => self.0.stats.written.set(now.as_secs_f64()),
                Ok(Err(error)) => warn!(error, "headroom could not be written"),
                Err(panic) => error!(%panic, "working out headroom ended in a panic"),
            }
        }
    }

    fn write(&self) -> Result<TimestampMs, String> {
        let report = self.evaluate(None)?;
        let batch = Batch { points: capacity::points(&report), ..Batch::default() };
        self.0.store.commit(batch).wait().map_err(|e| {
            self.0.stats.failed.inc();
            e.to_string()
        })?;
        Ok(report.at)
    }
}

/// Whether these labels are of the engines that a ScaledObject names.
fn is_asked(question: &ScalerQuestion, labels: &Labels) -> bool {
    let has = |name: &str, value: &Option<String>| value.as_deref().is_none_or(|value| labels.get(name) == Some(value));
    has("job", &question.job) && has("namespace", &question.namespace)
}

/// The figure that a ScaledObject asks for.
fn answer(report: &Report, question: &ScalerQuestion) -> Result<f64, String> {
    match question.metric {
        ScalerMetric::Replicas => {
            let found = report.autoscalers.iter().filter(|a| is_asked(question, &a.labels));
            let wanted = found.filter_map(|a| a.wanted_replicas).max();
            wanted.map(f64::from).ok_or_else(|| "no replicas are wanted: usage or requests are not known".to_owned())
        }
        ScalerMetric::Binding => {
            let is_relieved = |row: &&Row| row.kind.is_relieved_by_replicas() && is_asked(question, &row.labels);
            let left = report.rows.iter().filter(is_relieved).filter_map(|row| row.headroom_ratio).reduce(f64::min);
            let left = left.ok_or("no limit that more replicas relieve is known")?;
            Ok((1.0 - left) * 100.0)
        }
    }
}
