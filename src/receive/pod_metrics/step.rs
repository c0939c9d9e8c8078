//! One reading as a step: objects and the time come from the caller.

use std::collections::BTreeMap;

use serde_json::Value;

use super::live::Live;
use super::object::{PodUsage, Unreadable};
use super::state::PodState;
use crate::model::{self, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, TimestampMs};
use crate::receive::host::Resources;
use crate::storage::{Batch, Point};

/// How old usage may be: metrics-server measures once a minute at the slowest, and two in a row may fail.
pub const AGE_MS_MAX: i64 = 180_000;
/// How far a node's clock may be ahead of this one.
pub const AHEAD_MS_MAX: i64 = 60_000;
/// Pods that are kept of one reading.
pub const PODS_MAX: usize = 2_000;
/// Why pods are passed over.
pub(super) const SKIPPED: [&str; 4] = ["stale", "ahead", "broken", "over_limit"];

/// The job of these series, which come neither from an engine nor from this process.
pub const JOB: &str = "kubernetes";
const INSTANCE: &str = "metrics.k8s.io";

/// The pods of one workload.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// Its containers and what they ask for.
    pub containers: Vec<(String, Resources)>,
    /// Objects of kind `PodMetrics`.
    pub pods: Vec<Value>,
    /// Objects of kind `Pod`; none where they may not be read.
    pub states: Vec<Value>,
}

/// Which lists are whole, so that what is not in them is gone.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    pub usage: bool,
    pub states: bool,
}

/// A batch, and what it could not be made of.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    pub batch: Batch,
    /// Pods that were read.
    pub pods: usize,
    /// By reason: how many pods were passed over, and of the first the words for a person.
    pub skipped: BTreeMap<&'static str, (u64, String)>,
}

/// Turns readings into points, and remembers which series there are.
#[derive(Debug)]
pub struct PodMetrics {
    cluster: Option<String>,
    usage: Live,
    states: Live,
    has_metadata: bool,
}

impl PodMetrics {
    /// For pods of this cluster.
    pub fn new(cluster: Option<String>) -> Self {
        Self { cluster, usage: Live::default(), states: Live::default(), has_metadata: false }
    }

    /// Points of what was read at `now`. Absence is concluded only where the lists are whole.
    ///
    /// What was measured before, as it is while metrics-server has nothing newer, is no point again.
    pub fn read(&mut self, namespace: &str, workloads: &[Workload], whole: Whole, now: TimestampMs) -> Reading {
        let mut reading = Reading::default();
        let mut usages = Points::new(self.cluster.as_deref(), namespace);
        let mut states = Points::new(self.cluster.as_deref(), namespace);
        let mut stateful = 0;
        for workload in workloads {
            for object in &workload.pods {
                let usage = PodUsage::of(object).map_err(|Unreadable(why)| ("broken", why));
                match usage.and_then(|usage| timely(usage, now)) {
                    Err((reason, why)) => skip(&mut reading, reason, why),
                    Ok(usage) if reading.pods >= PODS_MAX => skip_beyond(&mut reading, &usage.pod),
                    Ok(usage) => {
                        reading.pods += 1;
                        usages.usage(&usage, &workload.containers);
                    }
                }
            }
            for object in &workload.states {
                match PodState::of(object) {
                    Err(Unreadable(why)) => skip(&mut reading, "broken", why),
                    Ok(state) if stateful >= PODS_MAX => skip_beyond(&mut reading, &state.pod),
                    Ok(state) => {
                        stateful += 1;
                        states.state(&state, now);
                    }
                }
            }
        }
        let points = &mut reading.batch.points;
        *points = self.usage.settle(usages.points, whole.usage, now);
        points.extend(self.states.settle(states.points, whole.states, now));
        if !points.is_empty() && !std::mem::replace(&mut self.has_metadata, true) {
            reading.batch.metadata = metadata();
        }
        reading
    }

    /// Marks as stale what has grown too old, when nothing could be read at `now`.
    pub fn without_reading(&mut self, now: TimestampMs) -> Batch {
        let mut points = self.usage.settle(Vec::new(), false, now);
        points.extend(self.states.settle(Vec::new(), false, now));
        Batch { points, ..Batch::default() }
    }
}

/// Points of pods of one namespace.
struct Points<'a> {
    cluster: Option<&'a str>,
    namespace: &'a str,
    points: Vec<Point>,
}

impl<'a> Points<'a> {
    fn new(cluster: Option<&'a str>, namespace: &'a str) -> Self {
        Self { cluster, namespace, points: Vec::new() }
    }

    fn add(&mut self, name: &str, pod: &str, more: Option<(&str, &str)>, t: TimestampMs, value: Option<f64>) {
        let Some(value) = value else { return };
        let mut labels = LabelsBuilder::default();
        if let Some(cluster) = self.cluster {
            labels.set("cluster", cluster);
        }
        if let Some((label, value)) = more {
            labels.set(label, value);
        }
        labels.set("namespace", self.namespace).set("pod", pod).set("job", JOB).set("instance", INSTANCE);
        let labels = labels.set(METRIC_NAME, name).build();
        self.points.push(Point { labels, t, value: model::Value::Float(value) });
    }

    fn usage(&mut self, usage: &PodUsage, containers: &[(String, Resources)]) {
        let (pod, at) = (usage.pod.as_str(), usage.at);
        self.add(WINDOW, pod, None, at, Some(usage.window_secs));
        for container in &usage.containers {
            let of = Some(("container", container.name.as_str()));
            self.add(CPU, pod, of, at, container.cpu);
            self.add(MEMORY, pod, of, at, container.memory);
        }
        for (container, resources) in containers {
            let of = Some(("container", container.as_str()));
            self.add("k8s_container_cpu_request", pod, of, at, resources.cpu_request);
            self.add("k8s_container_cpu_limit", pod, of, at, resources.cpu_limit);
            self.add("k8s_container_memory_request_bytes", pod, of, at, resources.memory_request);
            self.add("k8s_container_memory_limit_bytes", pod, of, at, resources.memory_limit);
        }
    }

    fn state(&mut self, state: &PodState, now: TimestampMs) {
        let pod = state.pod.as_str();
        let one = |yes: bool| f64::from(u8::from(yes));
        self.add(PHASE, pod, Some(("phase", state.phase)), now, Some(1.0));
        self.add(READY, pod, None, now, state.ready.map(one));
        self.add(READY_TIME, pod, None, now, state.ready_since.map(TimestampMs::as_secs_f64));
        self.add(START_TIME, pod, None, now, state.started.map(TimestampMs::as_secs_f64));
        self.add(DELETED, pod, None, now, Some(one(state.is_deleted)));
    }
}

fn timely(usage: PodUsage, now: TimestampMs) -> Result<PodUsage, (&'static str, String)> {
    let age = now.since(usage.at);
    if age > AGE_MS_MAX {
        return Err(("stale", format!("usage of pod {} is {} s old", usage.pod, age / 1000)));
    }
    if age < -AHEAD_MS_MAX {
        return Err(("ahead", format!("usage of pod {} is {} s ahead of this clock", usage.pod, -age / 1000)));
    }
    Ok(usage)
}

fn skip(reading: &mut Reading, reason: &'static str, why: String) {
    reading.skipped.entry(reason).or_insert((0, why)).0 += 1;
}

fn skip_beyond(reading: &mut Reading, pod: &str) {
    skip(reading, "over_limit", format!("pod {pod} and others come after the first {PODS_MAX}"));
}

const CPU: &str = "k8s_container_cpu_usage";
const MEMORY: &str = "k8s_container_memory_working_set_bytes";
const WINDOW: &str = "k8s_pod_usage_window_seconds";
const PHASE: &str = "k8s_pod_status_phase";
const READY: &str = "k8s_pod_status_ready";
const READY_TIME: &str = "k8s_pod_status_ready_time_seconds";
const START_TIME: &str = "k8s_pod_start_time_seconds";
const DELETED: &str = "k8s_pod_deleted";

fn metadata() -> Vec<(String, Metadata)> {
    let families = [
        (CPU, "", "Cores that a container uses, over the window of its pod."),
        (MEMORY, "bytes", "Working set of a container."),
        (WINDOW, "seconds", "Over how long the CPU use of a pod was measured."),
        (PHASE, "", "1 for the phase that a pod is in."),
        (READY, "", "Whether a pod is ready."),
        (READY_TIME, "seconds", "When the readiness of a pod last changed, since the epoch."),
        (START_TIME, "seconds", "When the kubelet took a pod on, since the epoch."),
        (DELETED, "", "Whether a pod is being deleted."),
    ];
    let family = |(name, unit, help): (&str, &str, &str)| {
        let metadata = Metadata { kind: MetricKind::Gauge, unit: unit.to_owned(), help: help.to_owned() };
        (name.to_owned(), metadata)
    };
    families.into_iter().map(family).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::is_stale_nan;

    const WHOLE: Whole = Whole { usage: true, states: true };
    const PART: Whole = Whole { usage: false, states: false };
    const NOW: TimestampMs = TimestampMs(1_795_640_400_000);

    /// A pod that was measured `age_secs` ago.
    fn pod(name: &str, age_secs: i64, cpu: &str) -> Value {
        json!({
            "metadata": {"name": name}, "timestamp": NOW.plus_ms(-age_secs * 1000).to_rfc3339(), "window": "15s",
            "containers": [{"name": "rivet-engine", "usage": {"cpu": cpu, "memory": "1Gi"}}],
        })
    }

    fn workload(pods: Vec<Value>) -> [Workload; 1] {
        let requests = Resources { cpu_request: Some(2.0), ..Resources::default() };
        [Workload { containers: vec![("rivet-engine".into(), requests)], pods, states: Vec::new() }]
    }

    fn values(batch: &Batch) -> Vec<String> {
        let text = |p: &Point| match p.value {
            model::Value::Float(v) if is_stale_nan(v) => format!("{} stale at {}", p.labels, NOW.since(p.t)),
            model::Value::Float(v) => format!("{} {v} at {}", p.labels, NOW.since(p.t)),
            model::Value::Histogram(_) => panic!("no histogram"),
        };
        let mut all: Vec<_> = batch.points.iter().map(text).collect();
        all.sort();
        all
    }

    #[test]
    fn a_pod_is_told_once_for_each_time_that_it_was_measured() {
        let mut step = PodMetrics::new(Some("eu".into()));
        let reading = step.read("rivet", &workload(vec![pod("a", 20, "412345678n")]), WHOLE, NOW);
        let of = r#"cluster="eu", container="rivet-engine", instance="metrics.k8s.io", job="kubernetes", namespace="rivet", pod="a""#;
        let pod_only = of.replace(r#"container="rivet-engine", "#, "");
        assert_eq!(
            values(&reading.batch),
            [
                format!("k8s_container_cpu_request{{{of}}} 2 at 20000"),
                format!("k8s_container_cpu_usage{{{of}}} 0.412345678 at 20000"),
                format!("k8s_container_memory_working_set_bytes{{{of}}} 1073741824 at 20000"),
                format!("k8s_pod_usage_window_seconds{{{pod_only}}} 15 at 20000"),
            ]
        );
        assert_eq!((reading.pods, reading.batch.metadata.len()), (1, 8));
        // Nothing newer, something older, something newer.
        for (age, points) in [(20, 0), (40, 0), (5, 4)] {
            let again = step.read("rivet", &workload(vec![pod("a", age, "1")]), WHOLE, NOW);
            assert_eq!(again.batch.points.len(), points, "{age}");
            assert!(again.batch.metadata.is_empty());
        }
    }

    #[test]
    fn a_pod_that_is_gone_is_marked_at_once_and_after_failures_when_it_is_old() {
        let mut step = PodMetrics::new(None);
        let both = workload(vec![pod("a", 20, "1"), pod("b", 20, "1")]);
        assert_eq!(step.read("rivet", &both, WHOLE, NOW).batch.points.len(), 8);
        let alone = step.read("rivet", &workload(vec![pod("a", 10, "1")]), WHOLE, NOW);
        let stale: Vec<_> = values(&alone.batch).into_iter().filter(|v| v.contains("stale")).collect();
        assert!(stale.len() == 4 && stale.iter().all(|v| v.contains(r#"pod="b""#)), "{stale:?}");
        // From a list that is not whole nothing follows.
        assert!(step.read("rivet", &[], PART, NOW).batch.points.is_empty());
        assert!(step.without_reading(NOW.plus_ms(AGE_MS_MAX - 10_000)).points.is_empty());
        let old = step.without_reading(NOW.plus_ms(AGE_MS_MAX - 9_999));
        assert!(old.points.len() == 4 && values(&old).iter().all(|v| v.contains("stale")), "{old:?}");
        assert!(step.without_reading(NOW.plus_ms(2 * AGE_MS_MAX)).points.is_empty(), "once");
    }

    #[test]
    fn the_state_of_a_pod_is_told_at_each_reading_until_it_is_gone() {
        let mut step = PodMetrics::new(None);
        let state = |phase: &str, ready: &str| {
            let since = NOW.plus_ms(-60_000).to_rfc3339();
            let conditions = json!([{"type": "Ready", "status": ready, "lastTransitionTime": since}]);
            let status = json!({"phase": phase, "startTime": since, "conditions": conditions});
            [Workload { states: vec![json!({"metadata": {"name": "a"}, "status": status})], ..Workload::default() }]
        };
        let of =
            |more: &str| format!(r#"instance="metrics.k8s.io", job="kubernetes", namespace="rivet"{more}, pod="a""#);
        let pending = step.read("rivet", &state("Pending", "False"), WHOLE, NOW);
        assert_eq!(pending.pods, 0, "usage is what counts as read");
        let secs = NOW.plus_ms(-60_000).as_secs_f64();
        assert_eq!(
            values(&pending.batch),
            [
                format!("k8s_pod_deleted{{{}}} 0 at 0", of("")),
                format!("k8s_pod_start_time_seconds{{{}}} {secs} at 0", of("")),
                format!(
                    r#"k8s_pod_status_phase{{{}, phase="Pending", pod="a"}} 1 at 0"#,
                    of("").replace(r#", pod="a""#, "")
                ),
                format!("k8s_pod_status_ready_time_seconds{{{}}} {secs} at 0", of("")),
                format!("k8s_pod_status_ready{{{}}} 0 at 0", of("")),
            ]
        );
        let later = NOW.plus_ms(30_000);
        let running = step.read("rivet", &state("Running", "True"), WHOLE, later);
        let texts = values(&running.batch);
        assert!(
            texts.len() == 6 && texts.iter().filter(|t| t.contains("stale")).count() == 1,
            "the old phase ends: {texts:?}"
        );
        // Where pods may no longer be listed, what was known of them ends after three minutes, and their usage goes on.
        let part = Whole { usage: true, states: false };
        assert!(step.read("rivet", &[], part, later.plus_ms(AGE_MS_MAX)).batch.points.is_empty());
        let ended = step.read("rivet", &[], part, later.plus_ms(AGE_MS_MAX + 1));
        assert_eq!(ended.batch.points.len(), 5);
    }

    #[test]
    fn what_cannot_be_used_is_counted_with_the_first_reason() {
        let mut step = PodMetrics::new(None);
        let mut broken = pod("c", 1, "1");
        broken["containers"][0]["usage"]["cpu"] = json!("lots");
        let pods =
            vec![pod("a", 181, "1"), pod("b", -61, "1"), broken, json!(7), pod("d", 180, "1"), pod("e", -60, "1")];
        let reading = step.read("rivet", &workload(pods), WHOLE, NOW);
        assert_eq!(reading.pods, 2);
        let said: Vec<_> = reading.skipped.iter().map(|(reason, (n, why))| (*reason, *n, why.as_str())).collect();
        assert_eq!(
            said,
            [
                ("ahead", 1, "usage of pod b is 61 s ahead of this clock"),
                ("broken", 2, "`containers[].usage.cpu` of pod c is missing or not as Kubernetes writes it"),
                ("stale", 1, "usage of pod a is 181 s old"),
            ]
        );
        assert!(said.iter().all(|(reason, ..)| SKIPPED.contains(reason)));
        // A marker comes after what it marks, also where that is ahead.
        let gone = step.read("rivet", &[], WHOLE, NOW);
        assert!(values(&gone.batch).iter().any(|v| v.contains(r#"pod="e""#) && v.ends_with("stale at -60001")));
    }

    #[test]
    fn ten_thousand_pods_are_cut_and_counted() {
        let mut step = PodMetrics::new(None);
        let pods = (0..10_000).map(|n| pod(&format!("p-{n:05}"), 10, "1m")).collect();
        let reading = step.read("rivet", &workload(pods), WHOLE, NOW);
        assert_eq!((reading.pods, reading.batch.points.len()), (PODS_MAX, 4 * PODS_MAX));
        assert_eq!(reading.skipped["over_limit"].0, 8_000);
    }
}
