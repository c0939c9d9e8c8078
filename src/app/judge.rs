//! The loop that evaluates: ticks on the aligned interval, arrival passes between them, capacity once a minute.
//!
//! In:  the store, and the signal that data arrived.   Out: recorded series into the store, alerts to notify.
//! Always: one evaluation at a time, on a blocking thread; what a tick recorded is committed before the next begins.
//! Limits: the channel to notify holds a few batches; when it is full the alerts are dropped and counted, and come
//! again with the next resend.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, info_span, warn};

use super::arrivals::Announced;
use super::instances::Instances;
use super::own_series::OwnSeries;
use crate::api::Health;
use crate::clock::{Clock, next_tick};
use crate::model::{Alert, Counter, Gauge, StatRow, Stats, TimestampMs};
use crate::notify::{self, runner::Handle};
use crate::rules::{Failure, Input, Output, Rules};
use crate::storage::{Append, Batch};
use crate::tsdb::Tsdb;

/// Without received data for this long the agent does not call itself healthy.
const DATA_WINDOW_MS: i64 = 5 * 60_000;

/// Own counts of the judge.
#[derive(Debug, Default)]
pub struct JudgeStats {
    missed: Counter,
    alerts_dropped: Counter,
    commits_failed: Counter,
    tick_seconds: Gauge,
}

impl Stats for JudgeStats {
    fn rows(&self) -> Vec<StatRow> {
        vec![
            StatRow::counter(
                "rivetwatch_rule_ticks_missed_total",
                "Ticks that were passed over because the one before took too long.",
                self.missed.get(),
            ),
            StatRow::counter(
                "rivetwatch_alerts_dropped_total",
                "Alerts that did not reach the notifier because its channel was full; they are sent again.",
                self.alerts_dropped.get(),
            ),
            StatRow::counter(
                "rivetwatch_rule_commits_failed_total",
                "Evaluations whose series the store refused.",
                self.commits_failed.get(),
            ),
            StatRow::gauge(
                "rivetwatch_rule_tick_duration_seconds",
                "How long the last tick took.",
                self.tick_seconds.get(),
            ),
        ]
    }
}

/// What the loop works with.
pub struct Judge {
    pub clock: Clock,
    pub rules: Arc<Mutex<Rules>>,
    pub store: Arc<Tsdb>,
    pub arrivals: Announced,
    pub own: OwnSeries,
    pub instances: Instances,
    pub alerts: mpsc::Sender<Vec<Alert>>,
    pub notify: Handle,
    pub health: Arc<Health>,
    pub stats: Arc<JudgeStats>,
    pub interval_ms: i64,
    /// From when on every known source has had two intervals since the start.
    pub sources_ready_at: TimestampMs,
    /// Rules that failed at the last evaluation.
    pub failing: Mutex<HashSet<Failure>>,
}

/// What is to be done next.
enum Step {
    Tick(TimestampMs),
    Arrival,
}

impl Judge {
    /// Evaluates until told to stop; a running evaluation is finished and committed first.
    pub async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut due = next_tick(this.clock.now(), this.interval_ms, 0);
        loop {
            let step = tokio::select! {
                () = stop.cancelled() => return,
                () = this.clock.sleep_until(due) => Step::Tick(due),
                () = this.pending_alert() => Step::Arrival,
                () = this.arrivals.quiet_after_arrival() => Step::Arrival,
            };
            let is_tick = matches!(step, Step::Tick(_));
            let judge = Arc::clone(&this);
            let evaluated = tokio::task::spawn_blocking(move || judge.evaluate(step)).await;
            match evaluated {
                Ok(Some(output)) => this.hand_out(output).await,
                Ok(None) => {}
                Err(panic) => error!(%panic, "an evaluation ended in a panic"),
            }
            if is_tick {
                this.health.ticked(due, this.interval_ms);
                // The heartbeat goes on only while data arrives and is judged; a stopping notifier needs no health.
                let healthy = this.arrivals.has_data_since(this.clock.now().plus_ms(-DATA_WINDOW_MS));
                let _ = this.notify.input(notify::Input::Health(healthy)).await;
                let next = next_tick(this.clock.now(), this.interval_ms, 0);
                let missed = next.since(due) / this.interval_ms - 1;
                this.stats.missed.add(missed.max(0).unsigned_abs());
                due = next;
            }
        }
    }

    /// Completes when a pending alert has been pending for long enough; never when there is none.
    async fn pending_alert(&self) {
        let deadline = self.rules.lock().next_deadline();
        match deadline {
            Some(at) => self.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    fn evaluate(&self, step: Step) -> Option<Output> {
        let kind = if matches!(step, Step::Tick(_)) { "tick" } else { "arrival" };
        let _span = info_span!("evaluate", kind).entered();
        let began = Instant::now();
        let stopwatch = || began.elapsed();
        let now = self.clock.now();
        let input =
            Input { storage: &*self.store, sources_ready: now >= self.sources_ready_at, stopwatch: Some(&stopwatch) };
        let output = match step {
            Step::Arrival => self.rules.lock().arrival(now, &input),
            Step::Tick(at) => {
                // The agent's own numbers go in first, so that the rules about it see them in the same tick.
                self.commit(self.own.batch(at));
                self.instances.hear_last_words(at);
                let output = self.rules.lock().tick(at, &input);
                self.stats.tick_seconds.set(began.elapsed().as_secs_f64());
                Some(output)
            }
        };
        if let Some(output) = &output {
            self.log_failures(&output.failures, kind == "tick");
        }
        output
    }

    /// Says once that a rule began to fail, and once that none does any more; the counts say the rest.
    ///
    /// Only a tick evaluates every rule, so that only it can tell that one is well again.
    fn log_failures(&self, failures: &[Failure], is_tick: bool) {
        let now: HashSet<Failure> = failures.iter().cloned().collect();
        let mut before = self.failing.lock();
        for failure in now.difference(&before) {
            warn!(
                group = failure.group,
                rule = failure.rule,
                kind = failure.kind,
                error = failure.message,
                "a rule fails"
            );
        }
        if !is_tick {
            return before.extend(now);
        }
        if now.is_empty() && !before.is_empty() {
            info!("no rule fails any more");
        }
        *before = now;
    }

    async fn hand_out(&self, output: Output) {
        if !output.batch.points.is_empty()
            && let Err(error) = self.store.commit(output.batch).await
        {
            self.stats.commits_failed.inc();
            error!(%error, "the store refused what the rules recorded");
        }
        let count = output.alerts.len() as u64;
        if count > 0 && self.alerts.try_send(output.alerts).is_err() {
            self.stats.alerts_dropped.add(count);
            warn!(count, "the notifier does not keep up; alerts will be sent again");
        }
    }

    fn commit(&self, batch: Batch) {
        if let Err(error) = self.store.commit(batch).wait() {
            self.stats.commits_failed.inc();
            error!(%error, "the store refused the agent's own series");
        }
    }
}
