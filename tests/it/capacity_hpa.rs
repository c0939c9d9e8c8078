//! The autoscaler twin against vectors worked out by hand, and against a plain model of its formula.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use rivetwatch::capacity::hpa::{
    Condition, Container, Controller, HpaSpec, Inputs, MetricSpec, Phase, Pod, PodReading, Reading, Reason, Requests,
    Resource, Source, Status, Twin,
};
use rivetwatch::model::{TimestampMs, milli_quantity as milli, parse_duration_ms};
use serde::Deserialize;
use serde_json::Value;

/// When every scenario begins.
const START: TimestampMs = TimestampMs(1_795_419_600_000);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    name: String,
    arithmetic: String,
    spec: Value,
    #[serde(default)]
    controller: Flags,
    steps: Vec<Step>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Flags {
    tolerance: Option<f64>,
    downscale_stabilization: Option<String>,
    cpu_initialization: Option<String>,
    initial_readiness_delay: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(default)]
    at: Option<String>,
    replicas: Option<i32>,
    status_replicas: Option<i32>,
    pods: Vec<PodText>,
    /// Readings of pods that are not the target's.
    #[serde(default)]
    strangers: Vec<PodText>,
    external: Option<Value>,
    #[serde(default)]
    unavailable: Vec<usize>,
    #[serde(default = "yes")]
    applied: bool,
    want: Want,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PodText {
    times: Option<usize>,
    cpu: Option<Value>,
    memory: Option<Value>,
    custom: Option<Value>,
    request: Option<Value>,
    memory_request: Option<Value>,
    containers: Option<Vec<ContainerText>>,
    pod_level: Option<Value>,
    phase: Option<String>,
    deleted: bool,
    started: Option<String>,
    ready: Option<String>,
    ready_for: Option<String>,
    age: Option<String>,
    window: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerText {
    name: String,
    cpu: Value,
    request: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Want {
    replicas: Option<i32>,
    wanted: Option<i32>,
    by: Option<usize>,
    reason: Option<String>,
}

/// A quantity, which YAML may have read as a number; `none` is none.
fn quantity(value: &Value) -> Option<i64> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    (text != "none").then(|| milli(&text).unwrap_or_else(|| panic!("`{text}` is no quantity")))
}

fn ms(text: &str) -> i64 {
    if text == "0s" { 0 } else { parse_duration_ms(text).unwrap_or_else(|| panic!("`{text}` is no duration")) }
}

impl Flags {
    fn controller(&self) -> Controller {
        let default = Controller::default();
        let or = |text: &Option<String>, otherwise: i64| text.as_deref().map_or(otherwise, ms);
        Controller {
            tolerance: self.tolerance.unwrap_or(default.tolerance),
            downscale_stabilization_ms: or(&self.downscale_stabilization, default.downscale_stabilization_ms),
            cpu_initialization_ms: or(&self.cpu_initialization, default.cpu_initialization_ms),
            initial_readiness_delay_ms: or(&self.initial_readiness_delay, default.initial_readiness_delay_ms),
            ..default
        }
    }
}

impl PodText {
    fn pod(&self, name: String, now: TimestampMs) -> Pod {
        let request = self.request.as_ref().map_or(Some(1_000), quantity);
        let memory = self.memory_request.as_ref().map_or_else(|| milli("1Gi"), quantity);
        let containers = match &self.containers {
            None => vec![Container { name: "engine".into(), requests: Requests { cpu: request, memory } }],
            Some(list) => list
                .iter()
                .map(|c| Container {
                    name: c.name.clone(),
                    requests: Requests { cpu: quantity(&c.request), memory: None },
                })
                .collect(),
        };
        let ago = |text: &Option<String>, otherwise: &str| match text.as_deref().unwrap_or(otherwise) {
            "none" => None,
            text => Some(now.plus_ms(-ms(text))),
        };
        let status = match self.ready.as_deref().unwrap_or("True") {
            "True" => Some(Status::True),
            "False" => Some(Status::False),
            "Unknown" => Some(Status::Unknown),
            "none" => None,
            other => panic!("readiness `{other}`"),
        };
        let since = ago(&self.ready_for, "1h").unwrap();
        Pod {
            name,
            phase: match self.phase.as_deref().unwrap_or("Running") {
                "Running" => Phase::Running,
                "Pending" => Phase::Pending,
                "Failed" => Phase::Failed,
                "Succeeded" => Phase::Succeeded,
                other => panic!("phase `{other}`"),
            },
            is_deleted: self.deleted,
            started: ago(&self.started, "1h"),
            ready: status.map(|status| Condition { status, since }),
            containers,
            pod_level: self.pod_level.as_ref().map(|value| Requests { cpu: quantity(value), memory: None }),
        }
    }

    /// What the metrics API has of this pod for a metric.
    fn usage(&self, metric: &MetricSpec) -> Option<i64> {
        let of = |value: &Option<Value>| value.as_ref().and_then(quantity);
        match (&metric.source, &self.containers) {
            (Source::Resource { resource: Resource::Cpu, container }, Some(list)) => {
                let named = list.iter().filter(|c| container.as_ref().is_none_or(|name| *name == c.name));
                Some(named.filter_map(|c| quantity(&c.cpu)).sum())
            }
            (Source::Resource { resource: Resource::Cpu, .. }, None) => of(&self.cpu),
            (Source::Resource { resource: Resource::Memory, .. }, _) => of(&self.memory),
            _ => of(&self.custom),
        }
    }

    fn reading(&self, metric: &MetricSpec, now: TimestampMs) -> Option<PodReading> {
        let age = self.age.as_deref().map_or(0, ms);
        let window_ms = self.window.as_deref().map_or(30_000, ms);
        self.usage(metric).map(|value| PodReading { value, at: now.plus_ms(-age), window_ms })
    }
}

impl Step {
    fn inputs(&self, spec: &HpaSpec, now: TimestampMs, replicas: i32) -> Inputs {
        let texts: Vec<&PodText> =
            self.pods.iter().flat_map(|text| std::iter::repeat_n(text, text.times.unwrap_or(1))).collect();
        let named = |at: usize| format!("engine-{at}");
        let pods = texts.iter().enumerate().map(|(at, text)| text.pod(named(at), now)).collect();
        let readings = spec.metrics.iter().enumerate().map(|(at, metric)| {
            if self.unavailable.contains(&at) {
                return Reading::Unavailable("unavailable".into());
            }
            if matches!(metric.source, Source::Object { .. } | Source::External { .. }) {
                let value = self.external.as_ref().and_then(quantity);
                return value.map_or_else(|| Reading::Unavailable("unavailable".into()), Reading::Total);
            }
            let of = texts.iter().enumerate().filter_map(|(at, text)| Some((named(at), text.reading(metric, now)?)));
            let strangers = self.strangers.iter().enumerate();
            let strangers =
                strangers.filter_map(|(at, text)| Some((format!("other-{at}"), text.reading(metric, now)?)));
            Reading::PerPod(of.chain(strangers).collect())
        });
        Inputs {
            spec_replicas: replicas,
            status_replicas: self.status_replicas.unwrap_or(replicas),
            pods,
            readings: readings.collect(),
        }
    }
}

/// Runs one scenario; what is not as wanted comes back in words.
fn run(scenario: &Scenario) -> Vec<String> {
    let spec = match HpaSpec::from_manifest(&scenario.spec) {
        Ok(spec) => spec,
        Err(error) => return vec![error.to_string()],
    };
    let mut twin = Twin::new(spec.clone(), scenario.controller.controller());
    let mut replicas = 0;
    let mut wrong = Vec::new();
    for (n, step) in scenario.steps.iter().enumerate() {
        let now = START.plus_ms(step.at.as_deref().map_or(0, ms));
        replicas = step.replicas.unwrap_or(replicas);
        let got = twin.step(now, &step.inputs(&spec, now, replicas));
        let want = &step.want;
        let mut compare = |what: &str, got: String, want: Option<String>| {
            if let Some(want) = want.filter(|want| *want != got) {
                wrong.push(format!("step {n}: {what} is {got}, not {want}"));
            }
        };
        let number = |value: Option<i32>| value.map_or_else(|| "none".to_owned(), |n| n.to_string());
        compare("replicas", got.desired.to_string(), want.replicas.map(|n| n.to_string()));
        compare("wanted", number(got.wanted), want.wanted.map(|n| n.to_string()));
        compare("by", got.deciding().map_or("none".into(), |n| n.to_string()), want.by.map(|n| n.to_string()));
        compare("reason", format!("{:?}", got.reason), want.reason.clone());
        if step.applied && got.desired != replicas {
            twin.applied(now, replicas, got.desired);
            replicas = got.desired;
        }
    }
    wrong
}

#[test]
fn vectors_worked_out_by_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capacity/hpa");
    let (mut count, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let scenarios: Vec<Scenario> =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for scenario in &scenarios {
            count += 1;
            assert!(!scenario.arithmetic.is_empty(), "{}: no arithmetic", scenario.name);
            let file = path.file_name().unwrap().to_string_lossy();
            wrong.extend(run(scenario).into_iter().map(|w| format!("{file}: {}: {w}", scenario.name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} scenarios were found");
}

fn steady(replicas: i32, milli_each: i64, target: i32, max: i32, behavior: &str) -> i32 {
    let spec = serde_json::from_str::<Value>(&format!(
        r#"{{"minReplicas": 1, "maxReplicas": {max}, "behavior": {behavior}, "metrics": [{{"type": "Resource",
            "resource": {{"name": "cpu", "target": {{"averageUtilization": {target}}}}}}}]}}"#
    ));
    let spec = HpaSpec::from_manifest(&spec.unwrap()).unwrap();
    let text = PodText { cpu: Some(format!("{milli_each}m").into()), ..PodText::default() };
    let metric = spec.metrics[0].clone();
    let mut twin = Twin::new(spec, Controller::default());
    let name = |at: i32| format!("engine-{at}");
    let inputs = Inputs {
        spec_replicas: replicas,
        status_replicas: replicas,
        pods: (0..replicas).map(|at| text.pod(name(at), START)).collect(),
        readings: vec![Reading::PerPod(
            (0..replicas).map(|at| (name(at), text.reading(&metric, START).unwrap())).collect::<BTreeMap<_, _>>(),
        )],
    };
    twin.step(START, &inputs).desired
}

proptest! {
    /// The documentation's own formula in whole numbers: ceil(replicas × percent / target), within rate and bounds.
    #[test]
    fn equal_ready_pods_follow_the_documented_formula(
        replicas in 1..30i32, each in 0..4_000i64, target in 20..120i32, max in 1..60i32, patient in any::<bool>()
    ) {
        prop_assume!(replicas <= max);
        let behavior = if patient { "null" } else { r#"{"scaleDown": {"stabilizationWindowSeconds": 0}}"# };
        let desired = steady(replicas, each, target, max, behavior);
        let percent = (each * i64::from(replicas) * 100 / (1_000 * i64::from(replicas))) as i32;
        // One tenth of tolerance, its edges left to the vectors.
        let (low, high) = (percent * 10 < target * 9, percent * 10 > target * 11);
        prop_assume!(percent * 10 != target * 9 && percent * 10 != target * 11);
        let exact = (i64::from(replicas) * i64::from(percent) + i64::from(target) - 1) / i64::from(target);
        let wanted = if low || high { exact as i32 } else { replicas };
        let rate = if patient { (2 * replicas).max(4) } else { (replicas + 4).max(2 * replicas) };
        let floor = if patient { replicas.max(wanted) } else { wanted };
        let expected = floor.clamp(1, max.min(rate));
        // Floats may add one where the quotient is whole (a vector has the case).
        let is_whole = i64::from(replicas) * i64::from(percent) % i64::from(target) == 0;
        prop_assert!(
            desired == expected || (is_whole && desired == expected + 1),
            "{replicas} at {percent} % of {target} %, max {max}: {desired}, not {expected}"
        );
    }

    /// Whatever it sees, it stays within its bounds and never moves away from what the metrics want.
    #[test]
    fn a_life_stays_within_bounds(loads in prop::collection::vec((0..3_000i64, 0..4u8), 1..60), seed in 1..6i32) {
        let spec = r#"{"minReplicas": 2, "maxReplicas": 8, "behavior": {"scaleUp": {"stabilizationWindowSeconds": 30,
            "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]}, "scaleDown": {"stabilizationWindowSeconds": 60,
            "policies": [{"type": "Percent", "value": 50, "periodSeconds": 60}]}}}"#;
        let spec = HpaSpec::from_manifest(&serde_json::from_str(spec).unwrap()).unwrap();
        let metric = spec.metrics[0].clone();
        let mut twin = Twin::new(spec, Controller::default());
        let mut replicas = seed;
        for (n, (load, missing)) in loads.iter().enumerate() {
            let now = START.plus_ms(n as i64 * 15_000);
            let text = PodText { cpu: Some(format!("{load}m").into()), ..PodText::default() };
            let name = |at: i32| format!("engine-{at}");
            let known = (0..replicas - i32::from(*missing)).map(|at| (name(at), text.reading(&metric, now).unwrap()));
            let inputs = Inputs {
                spec_replicas: replicas,
                status_replicas: replicas,
                readings: vec![Reading::PerPod(known.collect())],
                pods: (0..replicas).map(|at| text.pod(name(at), now)).collect(),
            };
            let got = twin.step(now, &inputs);
            prop_assert!((2..=8).contains(&got.desired), "{got:?}");
            match got.wanted {
                Some(wanted) if wanted > replicas => prop_assert!((replicas..=wanted.min(8)).contains(&got.desired)),
                Some(wanted) => prop_assert!(got.desired <= replicas && got.desired >= wanted.max(2).min(replicas), "{got:?}"),
                None if got.reason == Reason::MetricsMissing => prop_assert_eq!(got.desired, replicas),
                None => {}
            }
            if got.desired != replicas {
                twin.applied(now, replicas, got.desired);
                replicas = got.desired;
            }
        }
    }
}
