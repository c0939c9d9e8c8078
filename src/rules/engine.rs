//! The step machine: ticks and arrival passes over the graph, restart, reload, retirement.
//!
//! In:  a time, the store, and what the caller knows of the sources.   Out: points to commit, alerts to send.
//! Always: no clock is read; a tick's points are one batch; only ticks record, end alerts or reset `for`.
//! Limits: those of the query engine for each rule, and each group's `limit`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::alerting::{self, Active, ActiveAlert, Element, Rendering, State, Step};
use super::config::Settings;
use super::evaluate::{Evaluate, RuleError, answer, vector};
use super::hold::{Hold, Outgoing, Reason, Sending, Status};
use super::overlay::{Fresh, Overlay};
use super::presence::{Presence, any_present};
use super::restore::{self, FIRED_METRIC, KEEP_METRIC, NO_DATA_METRIC, Remembered};
use super::rule::{Alerting, Rule, RuleKind, RuleSet};
use super::stats::RuleStats;
use super::template::table_link;
use crate::model::{Alert, Labels, LabelsBuilder, METRIC_NAME, TimestampMs, Value, stale_nan};
use crate::storage::{Batch, Point, Select, SelectError};

/// Failed evaluations by rule, since the start.
pub const FAILURES_METRIC: &str = "rivetwatch_rule_evaluation_failures_total";
/// One for each rule that reads nothing but series that are not there.
pub const BLIND_METRIC: &str = "rivetwatch_rule_blind";

/// Every so many ticks each rule is checked for series that are not there.
const BLIND_CHECK_TICKS: u64 = 4;

/// What a step is given.
pub struct Input<'a> {
    pub storage: &'a dyn Select,
    /// Whether each known source has had two intervals since the start. Until then rules that ask for absence
    /// wait, and alerts from before the restart are not ended. The caller bounds the wait.
    pub sources_ready: bool,
    /// Time since an arbitrary moment, for the cost of rules; `None` measures nothing.
    pub stopwatch: Option<&'a dyn Fn() -> Duration>,
}

/// What a step gives.
#[derive(Debug, Default)]
pub struct Output {
    /// Recorded series, `ALERTS`, `ALERTS_FOR_STATE` and the rules' own series; empty after an arrival pass.
    pub batch: Batch,
    /// Alerts that are due to be sent.
    pub alerts: Vec<Alert>,
    /// Rules that failed and templates that could not be rendered.
    pub failures: Vec<Failure>,
}

/// One failed rule or template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    pub group: String,
    pub rule: String,
    /// `evaluation` or `template`.
    pub kind: &'static str,
    pub message: String,
}

/// How a rule's last evaluation went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Unknown,
    Good,
    Bad(String),
}

/// What is known of one rule beyond its text.
#[derive(Debug, Default)]
pub(super) struct RuleState {
    pub active: Active,
    pub hold: Hold,
    /// Series of the previous evaluation, to be ended when they do not come again.
    previous: HashSet<Labels>,
    pub health: Health,
    pub evaluated_at: Option<TimestampMs>,
    pub took: Duration,
    failures: u64,
    pub blind: bool,
}

/// The rules at work.
pub struct Rules {
    pub(super) set: Arc<RuleSet>,
    pub(super) settings: Settings,
    evaluator: Arc<dyn Evaluate>,
    stats: Arc<RuleStats>,
    pub(super) states: Vec<RuleState>,
    /// The interval in which each group was last evaluated.
    slots: Vec<Option<i64>>,
    order: Vec<usize>,
    last_run: TimestampMs,
    ticks: u64,
    /// Instances known to be gone, and until when what is left of their data is ignored.
    retired: BTreeMap<String, TimestampMs>,
    /// Alerts of rules that are gone, until their end was repeated for long enough.
    departed: Hold,
    /// Series of rules that are gone.
    orphans: HashSet<Labels>,
}

impl Rules {
    /// A machine that has seen nothing yet.
    pub fn new(set: RuleSet, settings: Settings, evaluator: Arc<dyn Evaluate>) -> Self {
        let mut rules = Self {
            set: Arc::default(),
            settings,
            evaluator,
            stats: Arc::default(),
            states: Vec::new(),
            slots: Vec::new(),
            order: Vec::new(),
            last_run: TimestampMs::MIN,
            ticks: 0,
            retired: BTreeMap::new(),
            departed: Hold::default(),
            orphans: HashSet::new(),
        };
        rules.put(set);
        rules
    }

    /// The counts of this machine; they outlive reloads.
    pub fn stats(&self) -> Arc<RuleStats> {
        Arc::clone(&self.stats)
    }

    /// The rules in use.
    pub fn set(&self) -> &Arc<RuleSet> {
        &self.set
    }

    /// Takes other rules; those with the same name and labels keep their alerts.
    ///
    /// Alerts of rules that are gone are resolved at the next step.
    pub fn replace(&mut self, set: RuleSet, now: TimestampMs) {
        let mut kept: HashMap<_, Vec<RuleState>> = HashMap::new();
        let old = Arc::clone(&self.set);
        for (rule, state) in old.rules.iter().zip(std::mem::take(&mut self.states)).rev() {
            kept.entry(rule.identity()).or_default().push(state);
        }
        self.put(set);
        let new = Arc::clone(&self.set);
        for (i, rule) in new.rules.iter().enumerate() {
            if let Some(state) = kept.get_mut(&rule.identity()).and_then(Vec::pop) {
                self.states[i] = state;
            }
        }
        for mut state in kept.into_values().flatten() {
            self.orphans.extend(state.previous);
            state.hold.end(now, Reason::RuleRemoved, |_| true);
            self.departed.alerts.extend(state.hold.alerts.into_iter().filter(|(_, o)| o.last_sent.is_some()));
        }
    }

    fn put(&mut self, set: RuleSet) {
        self.states = set.rules.iter().map(|_| RuleState::default()).collect();
        self.slots = vec![None; set.groups.len()];
        self.order = if self.settings.graph_order { set.order.clone() } else { (0..set.rules.len()).collect() };
        self.stats.loaded.set(set.rules.len() as f64);
        self.set = Arc::new(set);
    }

    /// Evaluates groups in this order instead of the graph's, as `promtool test rules` does.
    pub(super) fn order_by_groups(&mut self, groups: &[usize]) {
        self.order = groups.iter().flat_map(|g| self.set.groups[*g].rules.clone()).collect();
    }

    /// Evaluates every rule at `at` and gives out what is to be committed and sent.
    pub fn tick(&mut self, at: TimestampMs, input: &Input) -> Output {
        let set = Arc::clone(&self.set);
        let mut out = Output::default();
        let mut fresh = Fresh::default();
        self.ticks += 1;
        self.stats.ticks.inc();
        self.last_run = self.last_run.max(at);
        self.retired.retain(|_, until| *until > at);

        let due: Vec<bool> =
            set.groups.iter().enumerate().map(|(g, group)| self.is_due(g, group.interval_ms, at)).collect();
        for i in self.order.clone() {
            let rule = &set.rules[i];
            if due[rule.group] {
                self.tick_rule(i, rule, at, input, &mut fresh, &mut out);
            }
        }
        for labels in self.orphans.drain() {
            fresh.end(Point { labels, t: at, value: Value::Float(stale_nan()) });
        }
        if self.settings.own_series {
            self.record_own(at, input.storage, &mut fresh);
        }
        self.stats.recorded_points.add(fresh.len() as u64);
        out.batch.points = fresh.into_points();
        out.alerts = self.due(at);
        self.count_alerts();
        out
    }

    /// Evaluates between ticks: keeps what is recorded in memory, starts and fires alerts, ends none.
    ///
    /// `None` when the last step was less than `min_interval` ago.
    pub fn arrival(&mut self, now: TimestampMs, input: &Input) -> Option<Output> {
        if self.last_run > TimestampMs::MIN && now.since(self.last_run) < self.settings.min_interval_ms {
            return None;
        }
        let set = Arc::clone(&self.set);
        let mut out = Output::default();
        let mut fresh = Fresh::default();
        self.stats.arrival_passes.inc();
        self.last_run = now;
        for i in self.order.clone() {
            self.arrive_rule(i, &set.rules[i], now, input, &mut fresh, &mut out);
        }
        out.alerts = self.due(now);
        self.count_alerts();
        Some(out)
    }

    /// When the next pending alert is to fire, if the condition goes on: run an arrival pass then.
    pub fn next_deadline(&self) -> Option<TimestampMs> {
        let alerting = self.set.rules.iter().zip(&self.states).filter_map(|(r, s)| Some((r.alerting()?, s)));
        let deadlines = alerting.flat_map(|(a, s)| {
            let pending = s.active.values().filter(|alert| alert.state == State::Pending);
            pending.map(|alert| alert.active_at.plus_ms(a.for_ms))
        });
        // One that was not met when its time came is left to the tick.
        let next = deadlines.filter(|t| *t > self.last_run).min()?;
        Some(next.max(self.last_run.plus_ms(self.settings.min_interval_ms)))
    }

    /// Resolves every alert of an instance that is known to be gone, and ignores what is left of its data for
    /// the length of the lookback.
    pub fn retire(&mut self, now: TimestampMs, instance: &str) -> Vec<Alert> {
        self.retired.insert(instance.to_owned(), now.plus_ms(self.settings.lookback_ms));
        let is_its = |labels: &Labels| labels.get("instance") == Some(instance);
        for state in &mut self.states {
            state.active.retain(|labels, _| !is_its(labels));
            state.hold.end(now, Reason::Retired, is_its);
        }
        self.due(now)
    }

    /// Takes up the alerts from before a restart; call once, before the first tick.
    ///
    /// # Errors
    /// The store could not be read; the machine then begins with nothing.
    pub fn restore(&mut self, now: TimestampMs, storage: &dyn Select) -> Result<usize, SelectError> {
        let set = Arc::clone(&self.set);
        let mut restored = 0;
        for (labels, memory) in restore::remembered(storage, now)? {
            let home = owner(&set, &labels);
            match home {
                Some(i) => restored += usize::from(self.take_up(i, &set.rules[i], labels, memory, now)),
                None => {
                    self.orphans.extend(memory.series.iter().cloned());
                    if let Some(mut outgoing) = outgoing(&labels, &memory, BTreeMap::new()) {
                        if outgoing.is_firing() {
                            outgoing.status = Status::Resolved { at: now, reason: Reason::RuleRemoved };
                        }
                        self.departed.alerts.insert(labels, outgoing);
                    }
                }
            }
        }
        Ok(restored)
    }

    fn take_up(&mut self, i: usize, rule: &Rule, labels: Labels, memory: Remembered, now: TimestampMs) -> bool {
        let Some(alerting) = rule.alerting() else { return false };
        // Labels whose template came out empty stand in the series as they were written.
        let raw = |name: &str, value: &str| {
            alerting.labels.iter().any(|(n, t)| n == name && t.is_dynamic() && t.text() == value)
        };
        let mut builder = labels.builder();
        labels.iter().filter(|(n, v)| raw(n, v)).for_each(|(n, _)| {
            builder.remove(n);
        });
        let labels = builder.build();
        let of_rule = |name: &str| name == "alertname" || alerting.labels.iter().any(|(n, _)| n == name);
        let source = labels.keep(|name| !of_rule(name));
        let with = Rendering {
            external_labels: &self.settings.external_labels,
            external_url: &self.settings.external_url,
            now,
            answerer: &|_| Err("the value is not known after a restart".into()),
        };
        let mut annotations = alerting::render(rule, alerting, &source, f64::NAN, &with, &mut Vec::new()).annotations;
        annotations.retain(|_, text| !text.contains("<error expanding template:"));

        let state = &mut self.states[i];
        state.previous.extend(memory.series.iter().cloned());
        let down_ms = memory.last_seen.map_or(i64::MAX, |t| now.since(t));
        if let Some(mut outgoing) = outgoing(&labels, &memory, annotations.clone()) {
            outgoing.source = source.clone();
            state.hold.alerts.insert(labels.clone(), outgoing);
        }
        let Some(active_at) = memory.active_at else { return state.hold.alerts.contains_key(&labels) };
        if !memory.was_firing && down_ms >= self.settings.restore_tolerance_ms {
            return false;
        }
        let alert = ActiveAlert {
            source,
            annotations,
            state: if memory.was_firing { State::Firing } else { State::Pending },
            value: f64::NAN,
            active_at,
            fired_at: memory.fired_at.filter(|_| memory.was_firing),
            resolved_at: None,
            keep_firing_since: memory.keep_firing_since,
            restored: true,
        };
        state.active.insert(labels, alert);
        true
    }

    fn is_due(&mut self, group: usize, interval_ms: Option<i64>, at: TimestampMs) -> bool {
        let Some(interval) = interval_ms.filter(|_| self.settings.group_intervals) else { return true };
        let slot = at.0.div_euclid(interval);
        self.slots[group].replace(slot) != Some(slot)
    }

    fn offset(&self, rule: &Rule) -> i64 {
        self.set.group_of(rule).query_offset_ms.unwrap_or(self.settings.query_offset_ms)
    }

    fn tick_rule(
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
        let elements = self.elements(rule, alerting, at, t, &overlay, out)?;
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

    fn arrive_rule(
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
                self.elements(rule, alerting, now, t, &overlay, out).map(|elements| {
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
        &self,
        rule: &Rule,
        alerting: &Alerting,
        at: TimestampMs,
        t: TimestampMs,
        storage: &dyn Select,
        out: &mut Output,
    ) -> Result<BTreeMap<Labels, Element>, RuleError> {
        let samples = vector(&*self.evaluator, storage, &rule.expr, t)?;
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
            let group = self.set.group_of(rule).name.clone();
            out.failures.push(Failure { group, rule: rule.name.clone(), kind: "template", message: first });
        }
        let mut elements = elements?;
        if !self.retired.is_empty() {
            elements.retain(|labels, _| labels.get("instance").is_none_or(|i| !self.retired.contains_key(i)));
        }
        Ok(elements)
    }

    /// Series of a rule's alerts: Prometheus' two, and what a restart needs besides.
    fn alert_series(&self, i: usize, rule: &Rule, alerting: &Alerting, t: TimestampMs) -> Vec<Point> {
        let state = &self.states[i];
        let mut points = alerting::series(rule, alerting, &state.active, t);
        if !self.settings.own_series {
            return points;
        }
        let mut push = |metric: &str, labels: &Labels, when: TimestampMs| {
            let labels = labels.builder().set(METRIC_NAME, metric).build();
            points.push(Point { labels, t, value: Value::Float(when.as_secs_f64()) });
        };
        for (labels, outgoing) in state.hold.alerts.iter().filter(|(_, o)| o.is_firing()) {
            push(FIRED_METRIC, labels, outgoing.starts_at);
            if let Status::NoData { since } = outgoing.status {
                push(NO_DATA_METRIC, labels, since);
            }
        }
        for (labels, alert) in &state.active {
            if let Some(since) = alert.keep_firing_since.filter(|_| alert.state == State::Firing) {
                push(KEEP_METRIC, labels, since);
            }
        }
        points
    }

    fn fail(&mut self, i: usize, rule: &Rule, error: &RuleError, out: &mut Output) {
        self.stats.failures.inc();
        self.states[i].failures += 1;
        let group = self.set.group_of(rule).name.clone();
        out.failures.push(Failure { group, rule: rule.name.clone(), kind: "evaluation", message: error.to_string() });
    }

    /// Series about the rules, so that failing and blind rules can be alerts like any other.
    fn record_own(&mut self, at: TimestampMs, storage: &dyn Select, fresh: &mut Fresh) {
        let set = Arc::clone(&self.set);
        let constant: HashSet<&str> = set
            .rules
            .iter()
            .filter(|r| r.selectors.is_empty() && r.alerting().is_none())
            .map(|r| r.name.as_str())
            .collect();
        let mut blind_count = 0;
        // Rules may share name and severity, as thresholds do; their counts are added.
        let mut own: BTreeMap<Labels, (u64, bool)> = BTreeMap::new();
        for (i, rule) in set.rules.iter().enumerate() {
            if (self.ticks + i as u64).is_multiple_of(BLIND_CHECK_TICKS) && self.states[i].evaluated_at.is_some() {
                let t = at.plus_ms(-self.offset(rule));
                let overlay = Overlay::new(storage, fresh);
                self.states[i].blind = is_blind(rule, &constant, &overlay, t, self.settings.lookback_ms);
            }
            let state = &self.states[i];
            blind_count += usize::from(state.blind);
            let group = set.group_of(rule);
            let mut labels = LabelsBuilder::default();
            labels.set("rule", &rule.name).set("group", &group.name);
            if let Some((_, severity)) = rule.fixed_labels().into_iter().find(|(n, _)| *n == "severity") {
                labels.set("rule_severity", severity);
            }
            let entry = own.entry(labels.build()).or_default();
            *entry = (entry.0 + state.failures, entry.1 || state.blind);
        }
        for (labels, (failures, blind)) in own {
            let mut push = |metric: &str, value: f64| {
                let labels = labels.builder().set(METRIC_NAME, metric).build();
                fresh.record(Point { labels, t: at, value: Value::Float(value) });
            };
            push(FAILURES_METRIC, failures as f64);
            push(BLIND_METRIC, f64::from(u8::from(blind)));
        }
        self.stats.blind.set(blind_count as f64);
    }

    fn due(&mut self, at: TimestampMs) -> Vec<Alert> {
        let set = Arc::clone(&self.set);
        let external_labels = self.settings.external_labels.clone();
        let mut alerts = Vec::new();
        for (i, rule) in set.rules.iter().enumerate().filter(|(_, r)| r.alerting().is_some()) {
            let link = match self.settings.external_url.as_str() {
                "" => String::new(),
                url => format!("{url}{}", table_link(&rule.query)),
            };
            let interval_ms = self.interval_of(rule);
            let sending = self.sending(at, interval_ms, &external_labels, &link);
            alerts.extend(self.states[i].hold.due(&sending));
        }
        let sending = self.sending(at, self.settings.interval_ms, &external_labels, "");
        alerts.extend(self.departed.due(&sending));
        self.stats.alerts_sent.add(alerts.len() as u64);
        alerts
    }

    fn interval_of(&self, rule: &Rule) -> i64 {
        let own = self.set.group_of(rule).interval_ms.filter(|_| self.settings.group_intervals);
        own.unwrap_or(0).max(self.settings.interval_ms)
    }

    fn sending<'a>(
        &self,
        at: TimestampMs,
        interval_ms: i64,
        external_labels: &'a Labels,
        link: &'a str,
    ) -> Sending<'a> {
        Sending {
            at,
            interval_ms,
            resend_ms: self.settings.resend_ms,
            resolved_retention_ms: self.settings.resolved_retention_ms,
            external_labels,
            generator_url: link,
        }
    }

    fn count_alerts(&self) {
        let of = |state: State| self.states.iter().flat_map(|s| s.active.values()).filter(|a| a.state == state).count();
        let held = self.states.iter().flat_map(|s| s.hold.alerts.values());
        let held = held.filter(|o| matches!(o.status, Status::NoData { .. })).count();
        self.stats.pending.set(of(State::Pending) as f64);
        self.stats.firing.set(of(State::Firing) as f64);
        self.stats.held.set(held as f64);
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
        let mut builder = sample.labels.builder();
        builder.set(METRIC_NAME, &rule.name);
        for (name, value) in extra {
            builder.set(name, value);
        }
        let labels = builder.build();
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

/// Whether a rule reads series, and none of them is there. Thresholds and other constants do not count.
fn is_blind(rule: &Rule, constant: &HashSet<&str>, storage: &dyn Select, t: TimestampMs, lookback_ms: i64) -> bool {
    let is_constant = |reads: &super::rule::Reads| {
        reads.matchers.iter().any(|m| {
            m.name == METRIC_NAME && m.op == crate::model::MatchOp::Equal && constant.contains(m.value.as_str())
        })
    };
    let mut reads = rule.selectors.iter().filter(|s| !is_constant(s)).peekable();
    // A rule that asks for absence fires on what this would report.
    !rule.waits_for_sources
        && reads.peek().is_some()
        && reads.all(|s| {
            let present = any_present(storage, &s.matchers, t.plus_ms(-s.offset_ms), lookback_ms);
            matches!(present, Ok(false))
        })
}

/// The alerting rule that an alert's labels belong to: same name, fixed labels equal, most of them first.
fn owner(set: &RuleSet, labels: &Labels) -> Option<usize> {
    let fits = |rule: &&Rule| rule.fixed_labels().iter().all(|(n, v)| labels.get(n).unwrap_or("") == *v);
    let name = labels.get("alertname")?;
    let candidates = set.rules.iter().enumerate().filter(|(_, r)| r.name == name && r.alerting().is_some());
    candidates.filter(|(_, r)| fits(r)).max_by_key(|(i, r)| (r.fixed_labels().len(), usize::MAX - i)).map(|(i, _)| i)
}

/// What the outside knew of a remembered alert; `None` when it had not fired, or ended before it could be told.
fn outgoing(labels: &Labels, memory: &Remembered, annotations: BTreeMap<String, String>) -> Option<Outgoing> {
    let status = match (memory.resolved_at, memory.no_data_since, memory.was_firing) {
        (Some(at), ..) => Status::Resolved { at, reason: Reason::Ended },
        (None, Some(since), false) => Status::NoData { since },
        _ => Status::Firing,
    };
    Some(Outgoing {
        source: labels.clone(),
        annotations,
        value: f64::NAN,
        starts_at: memory.fired_at?,
        status,
        last_sent: None,
    })
}
