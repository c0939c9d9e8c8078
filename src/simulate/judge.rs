//! The judging half of an agent in virtual time: store, rules, capacity, notifier.
//!
//! In:  batches of points, and how far time is to go.   Out: a [`Log`] of pages and alerts.
//! Always: the real store, rules, capacity and notify's step machine; no clock and no socket, what the notifier sends
//! is accepted at once. Between two calls everything that is due happens at its own time: ticks, alerts whose `for`
//! elapses, groups whose wait is over.

use std::sync::Arc;

use super::log::Log;
use crate::capacity;
use crate::model::{InstanceKey, Labels, TimestampMs, Value};
use crate::notify::{self, Effect, Notifier, NotifyStats, Outcome};
use crate::promql::Engine;
use crate::rules::{self, Input, Output, RuleSet, Rules};
use crate::storage::{Append, AppendError, Batch, Point, Receipt};
use crate::tsdb::{self, Tsdb};

/// How often headroom is written as series and the store forgets what is old, half an interval after the ticks.
const CAPACITY_MS: i64 = 60_000;

/// What an agent judges by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rules: Arc<RuleSet>,
    pub evaluation: rules::Settings,
    pub notify: Arc<notify::Settings>,
    pub store: tsdb::Settings,
    pub capacity: capacity::Config,
    pub facts: capacity::Facts,
    /// Series of what the operator configured, written at each tick.
    pub configured: Vec<(Labels, f64)>,
    /// Rules that ask for absence wait so long after the start.
    pub patience_ms: i64,
}

/// An agent that judges.
pub struct Judge {
    store: Tsdb,
    engine: Arc<Engine>,
    rules: Rules,
    notifier: Notifier,
    capacity: Option<(capacity::Config, capacity::Facts)>,
    configured: Vec<(Labels, f64)>,
    interval_ms: i64,
    sources_ready_at: TimestampMs,
    next_tick: TimestampMs,
    next_capacity: TimestampMs,
    notify_due: Option<TimestampMs>,
    /// When the machine woke last.
    awake_at: TimestampMs,
    log: Log,
    /// Rules that failed, by rule and message.
    failures: Vec<(String, String)>,
}

impl Judge {
    /// An agent that starts at `start` and knows nothing yet.
    pub fn new(settings: Settings, start: TimestampMs) -> Self {
        let engine = Arc::new(Engine::default());
        let interval_ms = settings.evaluation.interval_ms;
        let next_minute = start.align_down(CAPACITY_MS).plus_ms(CAPACITY_MS + CAPACITY_MS / 2);
        Self {
            store: Tsdb::in_memory(settings.store),
            rules: Rules::new(settings.rules, settings.evaluation, engine.clone()),
            engine,
            notifier: Notifier::new(settings.notify, Arc::new(NotifyStats::default()), 0),
            capacity: Some((settings.capacity, settings.facts)),
            configured: settings.configured,
            interval_ms,
            sources_ready_at: start.plus_ms(settings.patience_ms),
            next_tick: start.align_down(interval_ms).plus_ms(interval_ms),
            next_capacity: next_minute,
            notify_due: None,
            awake_at: start,
            log: Log::new(start),
            failures: Vec::new(),
        }
    }

    /// The same without headroom.
    pub fn without_capacity(mut self) -> Self {
        self.capacity = None;
        self
    }

    /// What was sent and what fired.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Ends the agent and gives its log out, with the rules that failed.
    pub fn finish(self) -> (Log, Vec<(String, String)>) {
        (self.log, self.failures)
    }

    /// Stores received points.
    ///
    /// # Errors
    /// The store refused the batch.
    pub fn receive(&self, batch: Batch) -> Result<Receipt, AppendError> {
        self.store.commit(batch).wait()
    }

    /// Judges what arrived, as the pass between ticks does.
    ///
    /// # Errors
    /// The store refused what was recorded.
    pub fn arrived(&mut self, at: TimestampMs) -> Result<(), AppendError> {
        let sources_ready = at >= self.sources_ready_at;
        let input = Input { storage: &self.store, sources_ready, stopwatch: None };
        match self.rules.arrival(at, &input) {
            Some(output) => self.hand_out(at, output),
            None => Ok(()),
        }
    }

    /// Lets everything happen that is due until `to`, in order.
    ///
    /// # Errors
    /// The store refused what was recorded.
    pub fn advance(&mut self, to: TimestampMs) -> Result<(), AppendError> {
        loop {
            let pending = self.rules.next_deadline().filter(|due| *due < self.next_tick);
            let next = [Some(self.next_tick), Some(self.next_capacity), self.notify_due, pending];
            let Some(due) = next.into_iter().flatten().min().filter(|at| *at <= to) else { return Ok(()) };
            // What came due while the machine slept happens when it wakes.
            let at = due.max(self.awake_at);
            if Some(due) == self.notify_due {
                self.notify(at, Vec::new());
            }
            if due == self.next_capacity {
                self.next_capacity = due.plus_ms(CAPACITY_MS);
                self.store.maintain(at);
                self.headroom(at)?;
            }
            if due == self.next_tick {
                self.next_tick = due.plus_ms(self.interval_ms);
                self.tick(at)?;
            } else if Some(due) == pending {
                // An alert fires at its own time, not at the tick.
                self.arrived(at)?;
            }
        }
    }

    /// The agent's machine slept: what was due until `to` never happened.
    pub fn sleep_until(&mut self, to: TimestampMs) {
        self.awake_at = to;
        self.next_tick = self.next_tick.max(to.align_down(self.interval_ms).plus_ms(self.interval_ms));
        while self.next_capacity <= to {
            self.next_capacity = self.next_capacity.plus_ms(CAPACITY_MS);
        }
    }

    /// The operator says that an instance is gone for good.
    pub fn retire(&mut self, at: TimestampMs, instance: &str) {
        let alerts = self.rules.retire(at, &InstanceKey::named(instance));
        alerts.iter().for_each(|alert| self.log.alert(at, alert));
        self.notify(at, vec![notify::Input::Alerts(alerts)]);
    }

    fn tick(&mut self, at: TimestampMs) -> Result<(), AppendError> {
        let point =
            |(labels, value): &(Labels, f64)| Point { labels: labels.clone(), t: at, value: Value::Float(*value) };
        let points = self.configured.iter().map(point).collect();
        self.store.commit(Batch { points, ..Batch::default() }).wait()?;
        let input = Input { storage: &self.store, sources_ready: at >= self.sources_ready_at, stopwatch: None };
        let output = self.rules.tick(at, &input);
        self.hand_out(at, output)
    }

    fn headroom(&mut self, at: TimestampMs) -> Result<(), AppendError> {
        let Some((config, facts)) = &self.capacity else { return Ok(()) };
        match capacity::evaluate(at, &self.store, &self.engine, config, facts, None) {
            Ok(report) => {
                let points = capacity::points(&report);
                self.store.commit(Batch { points, ..Batch::default() }).wait().map(|_| ())
            }
            Err(error) => {
                self.failed("capacity", &error.to_string());
                Ok(())
            }
        }
    }

    fn hand_out(&mut self, at: TimestampMs, output: Output) -> Result<(), AppendError> {
        for failure in &output.failures {
            self.failed(&failure.rule, &failure.message);
        }
        if !output.batch.points.is_empty() {
            self.store.commit(output.batch).wait()?;
        }
        output.alerts.iter().for_each(|alert| self.log.alert(at, alert));
        self.notify(at, vec![notify::Input::Health(true), notify::Input::Alerts(output.alerts)]);
        Ok(())
    }

    fn failed(&mut self, rule: &str, message: &str) {
        let failure = (rule.to_owned(), message.to_owned());
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    /// Steps the notifier until nothing is due at `at`; whatever it sends is accepted.
    fn notify(&mut self, at: TimestampMs, mut inputs: Vec<notify::Input>) {
        loop {
            let (effects, due) = self.notifier.step(at, std::mem::take(&mut inputs));
            self.notify_due = due.filter(|due| *due > at);
            for effect in effects {
                let Effect::Send(send) = effect else { continue };
                self.log.sent(at, &send);
                let outcome = Outcome::Answered { status: 202, retry_after: None, body: String::new() };
                inputs.push(notify::Input::Delivered { id: send.id, outcome });
            }
            if inputs.is_empty() {
                return;
            }
        }
    }
}
