//! One reading as a step: objects and the time come from the caller.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::object::{PodUsage, Unreadable};
use crate::model::{self, Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, TimestampMs, stale_nan};
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
    /// The newest time of each series that is not marked stale.
    live: HashMap<Labels, TimestampMs>,
    has_metadata: bool,
}

impl PodMetrics {
    /// For pods of this cluster.
    pub fn new(cluster: Option<String>) -> Self {
        Self { cluster, live: HashMap::new(), has_metadata: false }
    }

    /// Points of what was read at `now`. Absence is concluded only where the lists are whole.
    ///
    /// What was measured before, as it is while metrics-server has nothing newer, is no point again.
    pub fn read(&mut self, namespace: &str, workloads: &[Workload], is_whole: bool, now: TimestampMs) -> Reading {
        let mut reading = Reading::default();
        let mut points = Vec::new();
        for workload in workloads {
            for object in &workload.pods {
                let usage = PodUsage::of(object).map_err(|Unreadable(why)| ("broken", why));
                match usage.and_then(|usage| timely(usage, now)) {
                    Err((reason, why)) => skip(&mut reading, reason, why),
                    Ok(usage) if reading.pods >= PODS_MAX => {
                        let why = format!("pod {} and others come after the first {PODS_MAX}", usage.pod);
                        skip(&mut reading, "over_limit", why);
                    }
                    Ok(usage) => {
                        reading.pods += 1;
                        self.add(&mut points, namespace, &usage, &workload.containers);
                    }
                }
            }
        }
        reading.batch.points = self.settle(points, is_whole, now);
        if !reading.batch.points.is_empty() && !std::mem::replace(&mut self.has_metadata, true) {
            reading.batch.metadata = metadata();
        }
        reading
    }

    /// Marks as stale what has grown too old, when nothing could be read at `now`.
    pub fn without_reading(&mut self, now: TimestampMs) -> Batch {
        Batch { points: self.settle(Vec::new(), false, now), ..Batch::default() }
    }

    fn add(&self, points: &mut Vec<Point>, namespace: &str, usage: &PodUsage, containers: &[(String, Resources)]) {
        let mut add = |name: &str, container: Option<&str>, value: Option<f64>| {
            let Some(value) = value else { return };
            let mut labels = LabelsBuilder::default();
            if let Some(cluster) = &self.cluster {
                labels.set("cluster", cluster.as_str());
            }
            if let Some(container) = container {
                labels.set("container", container);
            }
            labels.set("namespace", namespace).set("pod", usage.pod.as_str());
            labels.set("job", JOB).set("instance", INSTANCE);
            let labels = labels.set(METRIC_NAME, name).build();
            points.push(Point { labels, t: usage.at, value: model::Value::Float(value) });
        };
        add(WINDOW, None, Some(usage.window_secs));
        for container in &usage.containers {
            add(CPU, Some(&container.name), container.cpu);
            add(MEMORY, Some(&container.name), container.memory);
        }
        for (container, resources) in containers {
            add("k8s_container_cpu_request", Some(container), resources.cpu_request);
            add("k8s_container_cpu_limit", Some(container), resources.cpu_limit);
            add("k8s_container_memory_request_bytes", Some(container), resources.memory_request);
            add("k8s_container_memory_limit_bytes", Some(container), resources.memory_limit);
        }
    }

    /// Drops points that were there before, and adds markers for series that are gone.
    fn settle(&mut self, mut points: Vec<Point>, is_whole: bool, now: TimestampMs) -> Vec<Point> {
        let before = std::mem::take(&mut self.live);
        points.retain(|point| {
            let newest = before.get(&point.labels).copied();
            let is_new = newest.is_none_or(|newest| point.t > newest);
            self.live.insert(point.labels.clone(), newest.map_or(point.t, |newest| newest.max(point.t)));
            is_new
        });
        for (labels, newest) in before {
            if self.live.contains_key(&labels) {
                continue;
            }
            if !is_whole && now.since(newest) <= AGE_MS_MAX {
                self.live.insert(labels, newest);
            } else {
                // Where a node's clock is ahead, the marker comes after what it marks all the same.
                let t = now.max(newest.plus_ms(1));
                points.push(Point { labels, t, value: model::Value::Float(stale_nan()) });
            }
        }
        points
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

const CPU: &str = "k8s_container_cpu_usage";
const MEMORY: &str = "k8s_container_memory_working_set_bytes";
const WINDOW: &str = "k8s_pod_usage_window_seconds";

fn metadata() -> Vec<(String, Metadata)> {
    let families = [
        (CPU, "", "Cores that a container uses, over the window of its pod."),
        (MEMORY, "bytes", "Working set of a container."),
        (WINDOW, "seconds", "Over how long the CPU use of a pod was measured."),
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
        [Workload { containers: vec![("rivet-engine".into(), requests)], pods }]
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
        let reading = step.read("rivet", &workload(vec![pod("a", 20, "412345678n")]), true, NOW);
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
        assert_eq!((reading.pods, reading.batch.metadata.len()), (1, 3));
        // Nothing newer, something older, something newer.
        for (age, points) in [(20, 0), (40, 0), (5, 4)] {
            let again = step.read("rivet", &workload(vec![pod("a", age, "1")]), true, NOW);
            assert_eq!(again.batch.points.len(), points, "{age}");
            assert!(again.batch.metadata.is_empty());
        }
    }

    #[test]
    fn a_pod_that_is_gone_is_marked_at_once_and_after_failures_when_it_is_old() {
        let mut step = PodMetrics::new(None);
        let both = workload(vec![pod("a", 20, "1"), pod("b", 20, "1")]);
        assert_eq!(step.read("rivet", &both, true, NOW).batch.points.len(), 8);
        let alone = step.read("rivet", &workload(vec![pod("a", 10, "1")]), true, NOW);
        let stale: Vec<_> = values(&alone.batch).into_iter().filter(|v| v.contains("stale")).collect();
        assert!(stale.len() == 4 && stale.iter().all(|v| v.contains(r#"pod="b""#)), "{stale:?}");
        // From a list that is not whole nothing follows.
        assert!(step.read("rivet", &[], false, NOW).batch.points.is_empty());
        assert!(step.without_reading(NOW.plus_ms(AGE_MS_MAX - 10_000)).points.is_empty());
        let old = step.without_reading(NOW.plus_ms(AGE_MS_MAX - 9_999));
        assert!(old.points.len() == 4 && values(&old).iter().all(|v| v.contains("stale")), "{old:?}");
        assert!(step.without_reading(NOW.plus_ms(2 * AGE_MS_MAX)).points.is_empty(), "once");
    }

    #[test]
    fn what_cannot_be_used_is_counted_with_the_first_reason() {
        let mut step = PodMetrics::new(None);
        let mut broken = pod("c", 1, "1");
        broken["containers"][0]["usage"]["cpu"] = json!("lots");
        let pods =
            vec![pod("a", 181, "1"), pod("b", -61, "1"), broken, json!(7), pod("d", 180, "1"), pod("e", -60, "1")];
        let reading = step.read("rivet", &workload(pods), true, NOW);
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
        let gone = step.read("rivet", &[], true, NOW);
        assert!(values(&gone.batch).iter().any(|v| v.contains(r#"pod="e""#) && v.ends_with("stale at -60001")));
    }

    #[test]
    fn ten_thousand_pods_are_cut_and_counted() {
        let mut step = PodMetrics::new(None);
        let pods = (0..10_000).map(|n| pod(&format!("p-{n:05}"), 10, "1m")).collect();
        let reading = step.read("rivet", &workload(pods), true, NOW);
        assert_eq!((reading.pods, reading.batch.points.len()), (PODS_MAX, 4 * PODS_MAX));
        assert_eq!(reading.skipped["over_limit"].0, 8_000);
    }
}
