//! Which instances there are, and which are known to be gone: their alerts resolve at once instead of waiting for data.
//!
//! In:  the store, the word of a sidecar whose pod ends ([`RETIRED_METRIC`]), the operator's word.
//! Out: [`Rules::retire`], whose alerts go to notify; a list for the API.
//! Always: an instance that merely went silent is not gone, until it has been silent for a day.
//! Limits: [`INSTANCES_MAX`] are remembered; silence counts from the start of the process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{Ask, Refused, View};
use crate::clock::{Clock, next_tick};
use crate::model::{Alert, Labels, METRIC_NAME, MatchOp, Matcher, TimeRange, TimestampMs};
use crate::promql::{self, Engine, QueryValue};
use crate::receive::pod_metrics;
use crate::rules::Rules;
use crate::storage::{Select, SeriesData};
use crate::tsdb::Tsdb;

/// The series by which a sidecar says, as its last word, that its engine's pod is gone for good.
pub const RETIRED_METRIC: &str = "rivetwatch_instance_retired";

/// What is not data of an instance: what this process itself writes about it, recorded series (their names hold a
/// colon) above all. Those of the dashboards have an `instance` that is called `all`.
const ABOUT_INSTANCES: &str = "up|scrape_.*|rivet_probe_.*|.*:.*|rivetwatch_.*|ALERTS.*";
/// How often the instances are looked at, and how old their data may be to count as now.
const LOOK_MS: i64 = 60_000;
/// An instance without data for this long is gone.
const SILENCE_MS: i64 = 24 * 3_600_000;
/// A sidecar's last word may be on its way for this long.
const LAST_WORD_MS: i64 = 5 * 60_000;
const INSTANCES_MAX: usize = 10_000;

/// The instances and what is done about them.
#[derive(Clone)]
pub struct Instances(Arc<Inner>);

struct Inner {
    clock: Clock,
    store: Arc<Tsdb>,
    engine: Arc<Engine>,
    rules: Arc<Mutex<Rules>>,
    alerts: mpsc::Sender<Vec<Alert>>,
    /// When each last had data.
    seen: Mutex<BTreeMap<String, TimestampMs>>,
    /// The last words that were heard, by instance.
    heard: Mutex<HashMap<String, TimestampMs>>,
}

impl Instances {
    /// Over this store and these rules; alerts of retired instances go down `alerts`.
    pub fn new(
        clock: Clock,
        store: Arc<Tsdb>,
        engine: Arc<Engine>,
        rules: Arc<Mutex<Rules>>,
        alerts: mpsc::Sender<Vec<Alert>>,
    ) -> Self {
        let (seen, heard) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { clock, store, engine, rules, alerts, seen, heard }))
    }

    /// Retires the instances whose sidecars said their last word since the last call.
    pub fn hear_last_words(&self, now: TimestampMs) {
        let range = TimeRange { from: now.plus_ms(-LAST_WORD_MS), to: TimestampMs::MAX };
        let words = match self.last_words(range) {
            Ok(words) => words,
            Err(error) => return warn!(%error, "the last words of sidecars could not be read"),
        };
        self.0.heard.lock().retain(|_, t| *t >= range.from);
        for (instance, t) in words {
            let before = self.0.heard.lock().insert(instance.clone(), t);
            if before.is_none_or(|before| before < t) {
                self.retire(&instance, "its pod ended");
            }
        }
    }

    fn last_words(&self, range: TimeRange) -> Result<Vec<(String, TimestampMs)>, crate::storage::SelectError> {
        let mut set = self.0.store.select(&[Matcher::equal(METRIC_NAME, RETIRED_METRIC)], range)?;
        let (mut data, mut words) = (SeriesData::default(), Vec::new());
        while let Some(labels) = set.next_into(&mut data)? {
            let last = data.floats.iter().rev().find(|s| s.v == 1.0);
            words.extend(labels.get("instance").zip(last).map(|(instance, s)| (instance.to_owned(), s.t)));
        }
        Ok(words)
    }

    /// Looks at the instances once a minute until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let at = next_tick(self.0.clock.now(), LOOK_MS, LOOK_MS / 4);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.clock.sleep_until(at) => {}
            }
            let this = self.clone();
            if let Err(panic) = tokio::task::spawn_blocking(move || this.look(at)).await {
                error!(%panic, "looking at the instances ended in a panic");
            }
        }
    }

    fn look(&self, now: TimestampMs) {
        let range = TimeRange { from: now.plus_ms(-2 * LOOK_MS), to: TimestampMs::MAX };
        let is_data = Matcher::new(METRIC_NAME, MatchOp::NotMatches, ABOUT_INSTANCES);
        let is_data = is_data.expect("the pattern is a constant that the tests compile");
        // metrics.k8s.io tells of pods, and is no instance itself.
        let of_instances = Matcher::new("job", MatchOp::NotEqual, pod_metrics::JOB);
        let matchers = [is_data, of_instances.expect("only patterns can be wrong")];
        let present = match self.0.store.label_values("instance", &matchers, range) {
            Ok(present) => present,
            Err(error) => return warn!(%error, "the instances could not be read"),
        };
        let mut seen = self.0.seen.lock();
        for instance in present {
            if seen.len() < INSTANCES_MAX || seen.contains_key(&instance) {
                seen.insert(instance, now);
            }
        }
        let silent: Vec<String> =
            seen.iter().filter(|(_, last)| now.since(**last) >= SILENCE_MS).map(|(name, _)| name.clone()).collect();
        drop(seen);
        for instance in silent {
            self.retire(&instance, "it has had no data for a day");
        }
    }

    fn retire(&self, instance: &str, reason: &str) -> usize {
        self.0.seen.lock().remove(instance);
        let alerts = self.0.rules.lock().retire(self.0.clock.now(), instance);
        let ended = alerts.iter().filter(|alert| alert.labels.get("instance") == Some(instance)).count();
        info!(instance, reason, alerts = ended, "an instance is retired");
        if !alerts.is_empty() && self.0.alerts.try_send(alerts).is_err() {
            warn!(instance, "the notifier does not keep up; the resolves will be sent again");
        }
        ended
    }

    /// The operator's way to retire one: `data` of the answer, or that there is none of that name.
    pub fn retire_view(&self) -> Ask {
        let this = self.clone();
        Arc::new(move |name| {
            let is_known = this.0.seen.lock().contains_key(name) || this.0.store.has_label("instance", name);
            if !is_known {
                let known: Vec<String> = this.0.seen.lock().keys().take(10).cloned().collect();
                let hint = if known.is_empty() { String::new() } else { format!("; there is {}", known.join(", ")) };
                return Err(Refused::NotFound(format!("no instance is named `{name}`{hint}")));
            }
            let resolved = this.retire(name, "the operator said so");
            Ok(json!({ "instance": name, "resolvedAlerts": resolved }))
        })
    }

    /// `data` of `/api/v1/instances`: name, job, `up`, and when it last had data.
    pub fn view(&self) -> View<Value> {
        let this = self.clone();
        Arc::new(move || {
            let now = this.0.clock.now();
            let up = this.up(now);
            let seen = this.0.seen.lock();
            let row = |(name, last): (&String, &TimestampMs)| {
                let (labels, value) = up.get(name).map_or((None, None), |(labels, v)| (Some(labels), Some(*v)));
                json!({
                    "instance": name,
                    "job": labels.and_then(|labels| labels.get("job")),
                    "up": value.map(|v| v > 0.0),
                    "lastData": last.to_rfc3339(),
                    "silentSeconds": now.since(*last).max(0) as f64 / 1000.0,
                })
            };
            Value::Array(seen.iter().map(row).collect())
        })
    }

    fn up(&self, now: TimestampMs) -> HashMap<String, (Labels, f64)> {
        let Ok(expr) = promql::parse("up") else { return HashMap::new() };
        let Ok(answer) = self.0.engine.instant(&*self.0.store, &expr, now) else { return HashMap::new() };
        let QueryValue::Vector(vector) = answer.value else { return HashMap::new() };
        let row = |sample: promql::VectorSample| match sample.value {
            crate::model::Value::Float(v) => Some((sample.labels.get("instance")?.to_owned(), (sample.labels, v))),
            crate::model::Value::Histogram(_) => None,
        };
        vector.into_iter().filter_map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Value as Sample;
    use crate::rules::{Input, RuleSet, Settings, Source, Tuning, load};
    use crate::storage::{Append, Batch, Point};

    struct Fixture {
        instances: Instances,
        store: Arc<Tsdb>,
        rules: Arc<Mutex<Rules>>,
        alerts: mpsc::Receiver<Vec<Alert>>,
        now: Arc<Mutex<TimestampMs>>,
    }

    fn rule_set() -> RuleSet {
        let text = "groups: [{name: g, rules: [{alert: Hot, expr: 'cpu > 1', labels: {severity: critical}}]}]";
        load(&[Source { name: "t.yaml".into(), text: text.into() }], &Tuning::default()).unwrap()
    }

    fn fixture() -> Fixture {
        let now = Arc::new(Mutex::new(TimestampMs(1_000_000)));
        let (reader, store) = (now.clone(), Arc::new(Tsdb::in_memory(crate::tsdb::Settings::default())));
        let engine = Arc::new(Engine::default());
        let rules = Arc::new(Mutex::new(Rules::new(rule_set(), Settings::default(), engine.clone())));
        let (sender, alerts) = mpsc::channel(8);
        let clock = Clock::new(move || *reader.lock(), 1.0);
        let instances = Instances::new(clock, store.clone(), engine, rules.clone(), sender);
        Fixture { instances, store, rules, alerts, now }
    }

    impl Fixture {
        /// Not the guard, which the clock would wait for.
        fn now(&self) -> TimestampMs {
            *self.now.lock()
        }

        fn put(&self, name: &str, instance: &str, v: f64) {
            let labels = Labels::from_pairs([(METRIC_NAME, name), ("instance", instance), ("job", "rivet")]);
            let point = Point { labels, t: self.now(), value: Sample::Float(v) };
            self.store.commit(Batch { points: vec![point], ..Batch::default() }).wait().unwrap();
        }

        fn tick(&self) {
            let input = Input { storage: &*self.store, sources_ready: true, stopwatch: None };
            self.rules.lock().tick(self.now(), &input);
        }

        fn pass(&self, ms: i64) {
            let mut now = self.now.lock();
            *now = now.plus_ms(ms);
        }

        /// Instances whose alerts were resolved, of the next message.
        fn resolved(&mut self) -> Vec<String> {
            let alerts = self.alerts.try_recv().unwrap_or_default();
            let resolved = alerts.iter().filter(|alert| alert.state == crate::model::AlertState::Resolved);
            resolved.filter_map(|alert| alert.labels.get("instance").map(str::to_owned)).collect()
        }
    }

    #[test]
    fn a_last_word_resolves_the_alerts_of_its_instance_once() {
        let mut f = fixture();
        f.put("cpu", "a", 2.0);
        f.put("cpu", "b", 2.0);
        f.tick();
        f.pass(1_000);
        f.put(RETIRED_METRIC, "a", 1.0);
        f.instances.hear_last_words(f.now());
        assert_eq!(f.resolved(), ["a"]);
        f.pass(1_000);
        f.instances.hear_last_words(f.now());
        assert!(f.resolved().is_empty(), "the same word is heard once");
    }

    #[test]
    fn a_day_of_silence_retires_and_less_does_not() {
        let mut f = fixture();
        f.put("cpu", "a", 2.0);
        f.tick();
        f.instances.look(f.now());
        for (ms, expected) in [(SILENCE_MS - 1, vec![]), (1, vec!["a".to_owned()])] {
            f.pass(ms);
            f.put("up", "a", 0.0);
            f.instances.look(f.now());
            assert_eq!(f.resolved(), expected, "what this process writes itself is no sign of life");
        }
    }

    #[test]
    fn the_operator_is_told_of_a_name_that_is_not_there() {
        let mut f = fixture();
        f.put("cpu", "a", 2.0);
        f.tick();
        f.instances.look(f.now());
        f.pass(1_000);
        let retire = f.instances.retire_view();
        assert_eq!(retire("b"), Err(Refused::NotFound("no instance is named `b`; there is a".into())));
        assert_eq!((f.instances.view())()[0]["instance"], "a");
        assert_eq!(retire("a").unwrap()["resolvedAlerts"], 1);
        assert_eq!(f.resolved(), ["a"]);
        assert_eq!((f.instances.view())(), json!([]));
    }
}
