//! One rule at one time, at a tick and between ticks.
//!
//! In:  a rule, the store under what this evaluation has recorded so far.   Out: its points and its alerts' state.
//! Always: a rule that fails changes nothing but its health, so that what it knew goes on being told.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::alerting::{self, Element, Rendering, Step};
use super::engine::{Failure, Health, Input, Output, Rules};
use super::evaluate::{Evaluate, RuleError, answer, vector};
use super::overlay::{Fresh, Overlay};
use super::presence::Presence;
use super::rule::{Alerting, Rule, RuleKind};
use super::stats::RuleStats;
use crate::model::{Labels, METRIC_NAME, TimestampMs, Value, stale_nan};
use crate::storage::{Point, Select};

impl Rules {
    pub(super) fn offset(&self, rule: &Rule) -> i64 {
        self.set.group_of(rule).query_offset_ms.unwrap_or(self.settings.query_offset_ms)
    }

    pub(super) fn tick_rule(
        &mut self,
        i: usize,
        rule: &Rule,
        at: TimestampMs,
        input: &Input,
        fresh: &mut Fresh,
        out: &mut Output,
    ) {
        let t = at.plus_ms(-self.offset(rule));
        let started = input.stopwatch.map(|now| now());
        let waits = rule.waits_for_sources && rule.alerting().is_some() && !input.sources_ready;
        let result = match &rule.kind {
            RuleKind::Alerting(alerting) if waits => Ok(self.alert_series(i, rule, alerting, t)),
            RuleKind::Alerting(alerting) => self.tick_alerts(i, rule, alerting, at, t, input, fresh, out),
            RuleKind::Recording { labels } => {
                let overlay = Overlay::new(input.storage, fresh);
                record(&*self.evaluator, &overlay, rule, labels, t, self.set.group_of(rule).limit)
            }
        };
        let state = &mut self.states[i];
        if let (Some(started), Some(now)) = (started, input.stopwatch) {
            state.took = now().saturating_sub(started);
        }
        if waits {
            return write(&mut state.previous, result.unwrap_or_default(), t, fresh, &self.stats);
        }
        self.stats.evaluations.inc();
        state.evaluated_at = Some(at);
        match result {
            Ok(points) => {
                state.health = Health::Good;
                write(&mut state.previous, points, t, fresh, &self.stats);
            }
            Err(e) => {
                state.hold.failing = true;
                state.health = Health::Bad(e.to_string());
                self.fail(i, rule, &e, out);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn tick_alerts(
        &mut self,
        i: usize,
        rule: &Rule,
        alerting: &Alerting,
        at: TimestampMs,
        t: TimestampMs,
        input: &Input,
        fresh: &Fresh,
        out: &mut Output,
    ) -> Result<Vec<Point>, RuleError> {
        let overlay = Overlay::new(input.storage, fresh);
        let elements = self.elements(i, rule, alerting, at, &overlay, out)?;
        let step = Step {
            at,
            alerting,
            limit: self.set.group_of(rule).limit,
            keep_restored: !input.sources_ready,
            resolved_retention_ms: self.settings.resolved_retention_ms,
        };
        let state = &mut self.states[i];
        alerting::tick(&mut state.active, elements, &step)?;
        let mut presence = Presence::new(&overlay, &rule.selectors, t, self.settings.lookback_ms);
        state.hold.tick(&state.active, at, self.settings.no_data_hold_ms, |source| presence.has_data(source));
        Ok(self.alert_series(i, rule, alerting, t))
    }

    pub(super) fn arrive_rule(
        &mut self,
        i: usize,
        rule: &Rule,
        now: TimestampMs,
        input: &Input,
        fresh: &mut Fresh,
        out: &mut Output,
    ) {
        let t = now.plus_ms(-self.offset(rule));
        self.stats.evaluations.inc();
        let result = match &rule.kind {
            RuleKind::Recording { labels } => {
                let overlay = Overlay::new(input.storage, fresh);
                record(&*self.evaluator, &overlay, rule, labels, t, self.set.group_of(rule).limit)
            }
            RuleKind::Alerting(_) if rule.waits_for_sources && !input.sources_ready => Ok(Vec::new()),
            RuleKind::Alerting(alerting) => {
                let overlay = Overlay::new(input.storage, fresh);
                self.elements(i, rule, alerting, now, &overlay, out).map(|elements| {
                    let step = Step {
                        at: now,
                        alerting,
                        limit: self.set.group_of(rule).limit,
                        keep_restored: true,
                        resolved_retention_ms: self.settings.resolved_retention_ms,
                    };
                    let state = &mut self.states[i];
                    // Data that arrives cannot begin an absence.
                    alerting::arrive(&mut state.active, elements, &step, !rule.waits_for_sources);
                    state.hold.start(&state.active, now);
                    Vec::new()
                })
            }
        };
        match result {
            Ok(points) => points.into_iter().for_each(|point| {
                fresh.record(point);
            }),
            Err(e) => self.fail(i, rule, &e, out),
        }
    }

    fn elements(
        &mut self,
        i: usize,
        rule: &Rule,
        alerting: &Alerting,
        at: TimestampMs,
        storage: &dyn Select,
        out: &mut Output,
    ) -> Result<BTreeMap<Labels, Element>, RuleError> {
        let samples = vector(&*self.evaluator, storage, &rule.expr, at.plus_ms(-self.offset(rule)))?;
        let with = Rendering {
            external_labels: &self.settings.external_labels,
            external_url: &self.settings.external_url,
            now: at,
            answerer: &|query| answer(&*self.evaluator, storage, query, at),
        };
        let mut template_errors = Vec::new();
        let elements = alerting::elements(rule, alerting, samples, &with, &mut template_errors);
        self.stats.template_errors.add(template_errors.len() as u64);
        if let Some(first) = template_errors.into_iter().next() {
            // The rule is well, but what it says is not: RivetRuleFailing counts this, too.
            self.states[i].failures += 1;
            let group = self.set.group_of(rule).name.clone();
            out.failures.push(Failure { group, rule: rule.name.clone(), kind: "template", message: first });
        }
        let mut elements = elements?;
        if !self.retired.is_empty() {
            elements.retain(|labels, _| !self.retired.keys().any(|instance| instance.is_of(labels)));
        }
        Ok(elements)
    }

    fn fail(&mut self, i: usize, rule: &Rule, error: &RuleError, out: &mut Output) {
        self.stats.failures.inc();
        self.states[i].failures += 1;
        let group = self.set.group_of(rule).name.clone();
        out.failures.push(Failure { group, rule: rule.name.clone(), kind: "evaluation", message: error.to_string() });
    }
}

/// The recorded series of a rule at `t`.
fn record(
    evaluator: &dyn Evaluate,
    storage: &dyn Select,
    rule: &Rule,
    extra: &[(String, String)],
    t: TimestampMs,
    limit: usize,
) -> Result<Vec<Point>, RuleError> {
    let samples = vector(evaluator, storage, &rule.expr, t)?;
    let mut points = Vec::with_capacity(samples.len());
    let mut seen = HashSet::with_capacity(samples.len());
    for sample in samples {
        let named = sample.labels.with(METRIC_NAME, &rule.name);
        let labels = extra.iter().fold(named, |labels, (name, value)| labels.with(name, value));
        if !seen.insert(labels.clone()) {
            return Err(RuleError::SameLabels { kind: "rule", labels: labels.to_string() });
        }
        points.push(Point { labels, t, value: sample.value });
    }
    if limit > 0 && points.len() > limit {
        return Err(RuleError::Limit { limit, count: points.len(), what: "series" });
    }
    Ok(points)
}

/// Adds an evaluation's points and ends the series of the previous one that did not come again.
fn write(previous: &mut HashSet<Labels>, points: Vec<Point>, t: TimestampMs, fresh: &mut Fresh, stats: &RuleStats) {
    let mut returned = HashSet::with_capacity(points.len());
    for point in points {
        returned.insert(point.labels.clone());
        if !fresh.record(point) {
            stats.duplicate_points.inc();
        }
    }
    for labels in previous.drain().filter(|l| !returned.contains(l)) {
        fresh.end(Point { labels, t, value: Value::Float(stale_nan()) });
    }
    *previous = returned;
}
