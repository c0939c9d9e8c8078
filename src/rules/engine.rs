//! The step machine: ticks and arrival passes over the graph, restart, reload, retirement.
//!
//! In:  a time, the store, and what the caller knows of the sources.   Out: points to commit, alerts to send.
//! Always: no clock is read; a tick's points are one batch; only ticks record, end alerts or reset `for`.
//! A group with an interval of its own, longer than the tick's, is evaluated on the first tick of each of its
//! intervals and takes no part in arrival passes, so that what it records is evenly spaced.
//! Limits: those of the query engine for each rule, and each group's `limit`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashSet;

use super::alerting::{Active, State};
use super::config::Settings;
use super::evaluate::Evaluate;
use super::hold::{Hold, Reason, Sending, Status};
use super::overlay::Fresh;
use super::own::OwnSeries;
use super::rule::{Group, Rule, RuleSet};
use super::stats::RuleStats;
use super::template::table_link;
use crate::model::{Alert, InstanceKey, Labels, TimestampMs, Value, stale_nan};
use crate::storage::{Batch, Point, Select};

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
    pub(super) previous: HashSet<Labels>,
    pub health: Health,
    pub evaluated_at: Option<TimestampMs>,
    pub took: Duration,
    pub(super) failures: u64,
    pub blind: bool,
}

/// The rules at work.
pub struct Rules {
    pub(super) set: Arc<RuleSet>,
    pub(super) settings: Settings,
    pub(super) evaluator: Arc<dyn Evaluate>,
    pub(super) stats: Arc<RuleStats>,
    pub(super) states: Vec<RuleState>,
    /// The interval of its own in which each group saw its last tick; `None` before the first.
    slots: Vec<Option<i64>>,
    order: Vec<usize>,
    last_run: TimestampMs,
    pub(super) ticks: u64,
    /// Instances known to be gone, and until when what is left of their data is ignored.
    pub(super) retired: BTreeMap<InstanceKey, TimestampMs>,
    /// Alerts of rules that are gone, until their end was repeated for long enough.
    pub(super) departed: Hold,
    /// Series of rules that are gone.
    pub(super) orphans: HashSet<Labels>,
    pub(super) own: OwnSeries,
}

impl Rules {
    /// A machine that has seen nothing yet.
    pub fn new(set: impl Into<Arc<RuleSet>>, settings: Settings, evaluator: Arc<dyn Evaluate>) -> Self {
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
            own: OwnSeries::default(),
        };
        rules.put(set.into());
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
    pub fn replace(&mut self, set: impl Into<Arc<RuleSet>>, now: TimestampMs) {
        let mut kept: HashMap<_, Vec<RuleState>> = HashMap::new();
        let old = Arc::clone(&self.set);
        for (rule, state) in old.rules.iter().zip(std::mem::take(&mut self.states)).rev() {
            kept.entry(rule.identity()).or_default().push(state);
        }
        let slots = std::mem::take(&mut self.slots);
        self.put(set.into());
        let new = Arc::clone(&self.set);
        for (group, slot) in new.groups.iter().zip(&mut self.slots) {
            let is_same =
                |g: &Group| (&g.file, &g.name, g.interval_ms) == (&group.file, &group.name, group.interval_ms);
            *slot = old.groups.iter().zip(&slots).find(|(g, _)| is_same(g)).and_then(|(_, slot)| *slot);
        }
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

    fn put(&mut self, set: Arc<RuleSet>) {
        self.states = set.rules.iter().map(|_| RuleState::default()).collect();
        self.slots = vec![None; set.groups.len()];
        self.order = if self.settings.graph_order { set.order.clone() } else { (0..set.rules.len()).collect() };
        self.own = OwnSeries::of(&set);
        self.stats.loaded.set(set.rules.len() as f64);
        self.set = set;
    }

    /// Evaluates groups in this order instead of the graph's, as `promtool test rules` does.
    pub(super) fn order_by_groups(&mut self, groups: &[usize]) {
        self.order = groups.iter().flat_map(|g| self.set.groups[*g].rules.clone()).collect();
    }

    /// Leaves these rules out of every evaluation until the next reload.
    pub(super) fn leave_out(&mut self, is_left_out: impl Fn(usize) -> bool) {
        self.order.retain(|i| !is_left_out(*i));
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

        let due: Vec<bool> = (0..set.groups.len()).map(|g| self.is_due(g, at)).collect();
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
            // Between ticks nothing is recorded for good, so only what alerts depend on is of use.
            if set.feeds_alerts[i] && self.own_interval(set.rules[i].group).is_none() {
                self.arrive_rule(i, &set.rules[i], now, input, &mut fresh, &mut out);
            }
        }
        out.alerts = self.due(now);
        self.count_alerts();
        Some(out)
    }

    /// When the next pending alert is to fire, if the condition goes on: run an arrival pass then.
    pub fn next_deadline(&self) -> Option<TimestampMs> {
        let arriving = self.set.rules.iter().zip(&self.states).filter(|(r, _)| self.own_interval(r.group).is_none());
        let alerting = arriving.filter_map(|(r, s)| Some((r.alerting()?, s)));
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
    pub fn retire(&mut self, now: TimestampMs, instance: &InstanceKey) -> Vec<Alert> {
        self.retired.insert(instance.clone(), now.plus_ms(self.settings.lookback_ms));
        let is_its = |labels: &Labels| instance.is_of(labels);
        for state in &mut self.states {
            state.active.retain(|labels, _| !is_its(labels));
            state.hold.end(now, Reason::Retired, is_its);
        }
        self.due(now)
    }

    /// Instances that are retired, and when each was.
    pub fn retired(&self) -> impl Iterator<Item = (&InstanceKey, TimestampMs)> {
        self.retired.iter().map(|(instance, until)| (instance, until.plus_ms(-self.settings.lookback_ms)))
    }

    /// Takes a retirement back: the instance is alive.
    pub fn revive(&mut self, instance: &InstanceKey) {
        self.retired.remove(instance);
    }

    /// The interval of a group that is evaluated less often than every tick.
    fn own_interval(&self, group: usize) -> Option<i64> {
        let interval_ms = self.set.groups[group].interval_ms.filter(|_| self.settings.group_intervals);
        interval_ms.filter(|ms| *ms > self.settings.interval_ms)
    }

    /// Whether this tick opens an interval of the group; one that was missed is made up for by the next tick.
    ///
    /// After a start the first tick says nothing of what was missed, so it counts only if it is aligned.
    fn is_due(&mut self, group: usize, at: TimestampMs) -> bool {
        let Some(interval) = self.own_interval(group) else { return true };
        let slot = at.0.div_euclid(interval);
        match self.slots[group].replace(slot) {
            Some(last) => last != slot,
            None => at.0.rem_euclid(interval) < self.settings.interval_ms,
        }
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

    pub(super) fn interval_of(&self, rule: &Rule) -> i64 {
        self.own_interval(rule.group).unwrap_or(self.settings.interval_ms)
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
