//! Which instances there are, and which are known to be gone: their alerts resolve at once instead of waiting for data.
//!
//! In:  the store, the word of a sidecar whose pod ends ([`RETIRED_METRIC`]), the operator's word.
//! Out: [`Rules::retire`], whose alerts go to notify; a list for the API.
//! Always: an instance that merely went silent is not gone, until it has been silent for a day.
//! Limits: [`INSTANCES_MAX`] are remembered; silence counts from the start of the process.

use std::collections::{BTreeMap, HashMap};
use std::iter::once;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::{AskRetire, Refused, Retire, View};
use crate::clock::{Clock, next_tick};
use crate::model::{Alert, InstanceKey, Labels, METRIC_NAME, MatchOp, Matcher, TimeRange, TimestampMs};
use crate::promql::{self, Engine, QueryValue};
use crate::receive::pod_metrics;
use crate::rules::Rules;
use crate::storage::{Select, SelectError, SeriesData};
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
    seen: Mutex<BTreeMap<InstanceKey, TimestampMs>>,
    /// The last words that were heard, by instance.
    heard: Mutex<HashMap<InstanceKey, TimestampMs>>,
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

    fn last_words(&self, range: TimeRange) -> Result<Vec<(InstanceKey, TimestampMs)>, SelectError> {
        let mut set = self.0.store.select(&[Matcher::equal(METRIC_NAME, RETIRED_METRIC)], range)?;
        let (mut data, mut words) = (SeriesData::default(), Vec::new());
        while let Some(labels) = set.next_into(&mut data)? {
            let last = data.floats.iter().rev().find(|s| s.v == 1.0);
            words.extend(InstanceKey::of(&labels).zip(last).map(|(instance, s)| (instance, s.t)));
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
        let present = match self.with_data(range) {
            Ok(present) => present,
            Err(error) => return warn!(%error, "the instances could not be read"),
        };
        let mut seen = self.0.seen.lock();
        // One that was known by fewer places is the same.
        seen.retain(|known, _| present.contains(known) || !present.iter().any(|new| known.may_be(new)));
        for instance in present {
            if seen.len() < INSTANCES_MAX || seen.contains_key(&instance) {
                seen.insert(instance, now);
            }
        }
        let silent: Vec<InstanceKey> =
            seen.iter().filter(|(_, last)| now.since(**last) >= SILENCE_MS).map(|(name, _)| name.clone()).collect();
        drop(seen);
        for instance in silent {
            self.retire(&instance, "it has had no data for a day");
        }
        self.revive();
    }

    /// Takes back the retirement of instances that go on sending; what was on its way when they were retired is none of that.
    fn revive(&self) {
        let retired: Vec<_> = self.0.rules.lock().retired().map(|(key, at)| (key.clone(), at)).collect();
        for (instance, at) in retired {
            let since = TimeRange { from: at.plus_ms(LOOK_MS), to: TimestampMs::MAX };
            if self.with_data(since).is_ok_and(|present| present.iter().any(|new| new.may_be(&instance))) {
                self.0.rules.lock().revive(&instance);
                warn!(%instance, "an instance that was retired has new data: it is not gone");
            }
        }
    }

    /// Instances that have data in `range`, each with its places.
    fn with_data(&self, range: TimeRange) -> Result<Vec<InstanceKey>, SelectError> {
        let is_data = Matcher::new(METRIC_NAME, MatchOp::NotMatches, ABOUT_INSTANCES);
        let is_data = is_data.expect("the pattern is a constant that the tests compile");
        // metrics.k8s.io tells of pods, and is no instance itself.
        let of_instances = Matcher::new("job", MatchOp::NotEqual, pod_metrics::JOB);
        let of_instances = of_instances.expect("only patterns can be wrong");
        let values = |name: &str, of: &[(&str, &str)]| {
            let mut matchers = vec![is_data.clone(), of_instances.clone()];
            matchers.extend(of.iter().map(|(label, value)| Matcher::equal(*label, *value)));
            self.0.store.label_values(name, &matchers, range)
        };
        // Series without the label are of the empty value.
        let mut found = Vec::new();
        for cluster in once(String::new()).chain(values("cluster", &[])?) {
            let of_cluster = ("cluster", cluster.as_str());
            for namespace in once(String::new()).chain(values("namespace", &[of_cluster])?) {
                let of = [of_cluster, ("namespace", namespace.as_str())];
                let key = |instance| InstanceKey { instance, cluster: cluster.clone(), namespace: namespace.clone() };
                found.extend(values("instance", &of)?.into_iter().map(key));
            }
        }
        // What tells fewer places of an instance tells of one that is there with more.
        let places = |key: &InstanceKey| usize::from(!key.cluster.is_empty()) + usize::from(!key.namespace.is_empty());
        let is_repeated =
            |key: &InstanceKey| found.iter().any(|other| places(other) > places(key) && other.may_be(key));
        Ok(found.iter().filter(|key| !is_repeated(key)).cloned().collect())
    }

    fn retire(&self, instance: &InstanceKey, reason: &str) -> usize {
        self.0.seen.lock().remove(instance);
        let alerts = self.0.rules.lock().retire(self.0.clock.now(), instance);
        let ended = alerts.iter().filter(|alert| instance.is_of(&alert.labels)).count();
        info!(%instance, reason, alerts = ended, "an instance is retired");
        if !alerts.is_empty() && self.0.alerts.try_send(alerts).is_err() {
            warn!(%instance, "the notifier does not keep up; the resolves will be sent again");
        }
        ended
    }

    /// The operator's way to retire one: `data` of the answer, or why not.
    pub fn retire_view(&self) -> AskRetire {
        let this = self.clone();
        Arc::new(move |wanted| {
            let instance = this.find(wanted)?;
            if !wanted.force && this.is_alive(&instance) {
                let reason = "has data of the last minute: its alerts would resolve and come again; if it is gone for good all the \
                              same, say so with `--force` (`\"force\": true`)";
                return Err(Refused::BadRequest(format!("instance {instance} {reason}")));
            }
            let resolved = this.retire(&instance, "the operator said so");
            Ok(json!({
                "instance": instance.instance, "cluster": instance.cluster, "namespace": instance.namespace,
                "resolvedAlerts": resolved,
            }))
        })
    }

    /// The one instance that is meant.
    fn find(&self, wanted: &Retire) -> Result<InstanceKey, Refused> {
        let agrees = |wanted: &Option<String>, has: &str| wanted.as_ref().is_none_or(|wanted| wanted == has);
        let seen = self.0.seen.lock();
        let named: Vec<InstanceKey> = seen.keys().filter(|key| key.instance == wanted.instance).cloned().collect();
        let matching: Vec<&InstanceKey> = named
            .iter()
            .filter(|key| agrees(&wanted.cluster, &key.cluster) && agrees(&wanted.namespace, &key.namespace))
            .collect();
        let list = |keys: &[&InstanceKey]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match matching[..] {
            [one] => Ok(one.clone()),
            // One that has been silent since the start is known to the store alone.
            [] if named.is_empty() && self.0.store.has_label("instance", &wanted.instance) => Ok(InstanceKey {
                instance: wanted.instance.clone(),
                cluster: wanted.cluster.clone().unwrap_or_default(),
                namespace: wanted.namespace.clone().unwrap_or_default(),
            }),
            [] => {
                let others: Vec<&InstanceKey> = match named.is_empty() {
                    true => seen.keys().take(10).collect(),
                    false => named.iter().collect(),
                };
                let hint = if others.is_empty() { String::new() } else { format!("; there is {}", list(&others)) };
                Err(Refused::NotFound(format!("no instance is named `{}`{hint}", wanted.instance)))
            }
            _ => Err(Refused::BadRequest(format!(
                "several instances are named `{}`: {}; say which with `--cluster` and `--namespace`",
                wanted.instance,
                list(&matching)
            ))),
        }
    }

    /// Whether it has data of the last minute and its scrapes, if there are any, do not fail.
    fn is_alive(&self, instance: &InstanceKey) -> bool {
        let now = self.0.clock.now();
        let last_minute = TimeRange { from: now.plus_ms(-LOOK_MS), to: TimestampMs::MAX };
        let has_data = self.with_data(last_minute).is_ok_and(|present| present.iter().any(|key| key.may_be(instance)));
        has_data && self.up(now).iter().filter(|(labels, _)| instance.is_of(labels)).all(|(_, up)| *up > 0.0)
    }

    /// `data` of `/api/v1/instances`: name, places, job, `up`, and when it last had data.
    pub fn view(&self) -> View<Value> {
        let this = self.clone();
        Arc::new(move || {
            let now = this.0.clock.now();
            let up = this.up(now);
            let seen = this.0.seen.lock();
            let row = |(key, last): (&InstanceKey, &TimestampMs)| {
                let own: Vec<&(Labels, f64)> = up.iter().filter(|(labels, _)| key.is_of(labels)).collect();
                json!({
                    "instance": key.instance,
                    "cluster": key.cluster,
                    "namespace": key.namespace,
                    "job": own.first().and_then(|(labels, _)| labels.get("job")),
                    "up": (!own.is_empty()).then(|| own.iter().all(|(_, v)| *v > 0.0)),
                    "lastData": last.to_rfc3339(),
                    "silentSeconds": now.since(*last).max(0) as f64 / 1000.0,
                })
            };
            Value::Array(seen.iter().map(row).collect())
        })
    }

    fn up(&self, now: TimestampMs) -> Vec<(Labels, f64)> {
        let Ok(expr) = promql::parse("up") else { return Vec::new() };
        let Ok(answer) = self.0.engine.instant(&*self.0.store, &expr, now) else { return Vec::new() };
        let QueryValue::Vector(vector) = answer.value else { return Vec::new() };
        let row = |sample: promql::VectorSample| match sample.value {
            crate::model::Value::Float(v) => Some((sample.labels, v)),
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
            self.put_in("", name, instance, v);
        }

        fn put_in(&self, cluster: &str, name: &str, instance: &str, v: f64) {
            let pairs = [(METRIC_NAME, name), ("instance", instance), ("job", "rivet"), ("cluster", cluster)];
            let labels = Labels::from_pairs(pairs.into_iter().filter(|(_, value)| !value.is_empty()));
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

    fn retire(f: &Fixture, wanted: Retire) -> Result<Value, Refused> {
        (f.instances.retire_view())(&wanted)
    }

    fn named(instance: &str) -> Retire {
        Retire { instance: instance.into(), ..Retire::default() }
    }

    #[test]
    fn the_operator_is_told_of_a_name_that_is_not_there() {
        let mut f = fixture();
        f.put("cpu", "a", 2.0);
        f.tick();
        f.instances.look(f.now());
        f.pass(LOOK_MS + 1);
        assert_eq!(retire(&f, named("b")), Err(Refused::NotFound("no instance is named `b`; there is a".into())));
        assert_eq!((f.instances.view())()[0]["instance"], "a");
        assert_eq!(retire(&f, named("a")).unwrap()["resolvedAlerts"], 1);
        assert_eq!(f.resolved(), ["a"]);
        assert_eq!((f.instances.view())(), json!([]));
    }

    #[test]
    fn one_that_is_alive_is_not_retired_unless_that_is_meant_and_comes_back_by_itself() {
        let mut f = fixture();
        f.put("cpu", "a", 2.0);
        f.tick();
        f.instances.look(f.now());
        let Err(Refused::BadRequest(why)) = retire(&f, named("a")) else { panic!("it has data") };
        assert!(why.starts_with("instance a has data of the last minute") && why.contains("--force"), "{why}");
        // Data that is on its way while scrapes fail already is no sign of life.
        f.put("up", "a", 0.0);
        assert!(!f.instances.is_alive(&InstanceKey::named("a")));
        f.pass(1_000);
        f.put("up", "a", 1.0);
        assert!(retire(&f, named("a")).is_err());
        assert_eq!(retire(&f, Retire { force: true, ..named("a") }).unwrap()["resolvedAlerts"], 1);
        assert_eq!(f.resolved(), ["a"]);
        let ignored = |f: &Fixture| f.rules.lock().retired().count();
        f.pass(LOOK_MS - 1);
        f.put("cpu", "a", 2.0);
        f.instances.look(f.now());
        assert_eq!(ignored(&f), 1, "it may have been on its way");
        f.pass(1);
        f.put("cpu", "a", 2.0);
        f.instances.look(f.now());
        assert_eq!(ignored(&f), 0);
    }

    #[test]
    fn instances_of_one_name_in_two_clusters_are_two() {
        let mut f = fixture();
        for (cluster, up) in [("eu", 0.0), ("us", 1.0)] {
            f.put_in(cluster, "cpu", "e1", 2.0);
            f.put_in(cluster, "up", "e1", up);
        }
        f.tick();
        f.instances.look(f.now());
        let shown = (f.instances.view())();
        let row = |n: usize| (shown[n]["cluster"].as_str().unwrap(), shown[n]["up"].as_bool().unwrap());
        assert_eq!((row(0), row(1)), (("eu", false), ("us", true)));
        f.pass(LOOK_MS + 1);
        let Err(Refused::BadRequest(why)) = retire(&f, named("e1")) else { panic!("which?") };
        assert!(why.starts_with("several instances are named `e1`: e1 (cluster eu), e1 (cluster us)"), "{why}");
        let of = |cluster: &str| Retire { cluster: Some(cluster.into()), ..named("e1") };
        assert!(matches!(retire(&f, of("ap")), Err(Refused::NotFound(why)) if why.contains("e1 (cluster eu)")));
        assert_eq!(retire(&f, of("eu")).unwrap()["resolvedAlerts"], 1);
        assert_eq!(f.resolved().len(), 1, "the other goes on firing");
    }
}
