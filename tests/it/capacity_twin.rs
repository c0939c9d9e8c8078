//! The autoscaler's twin, its forecasts, and assumptions: over days that grow and pods that Kubernetes knows.

use rivetwatch::capacity::hpa::HpaSpec;
use rivetwatch::capacity::{self, CPU_FORECAST, Facts, Kind, REPLICAS_FORECAST, SeenAutoscaler, USED};
use rivetwatch::tsdb::Tsdb;

use crate::capacity::{
    MINUTE_MS, NOW, Pairs, Series, commit, empty_store, labels, report, report_of, report_with, row, store,
};

/// A store with eight days of CPU that follows the day and grows 3 % a day, and the signals of now.
fn grown(growth: f64) -> Tsdb {
    let store = empty_store();
    let of = |kind| [("namespace", "rivet"), ("job", "rivet"), ("kind", kind)];
    for slot in 0..8 * 144i64 {
        let day = slot as f64 / 144.0;
        let cores = 2.0 * (1.0 + growth * day) * (1.0 + 0.4 * (std::f64::consts::TAU * day).sin());
        let t = NOW.plus_ms((slot - 8 * 144) * 10 * MINUTE_MS + 5 * MINUTE_MS);
        let points = vec![(labels(USED, &of("cpu_target")), cores), (labels(USED, &of("cpu_maximum")), cores)];
        commit(&store, t, points);
    }
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine: Pairs<'_> = &[("namespace", "rivet"), ("job", "rivet"), ("instance", "a")];
    for minute in (0..=15).rev() {
        let series: &[(&str, Pairs<'_>, f64)] = &[
            ("rivet:cpu_usage:cores", engine, 2.0 * (1.0 + growth * 8.0)),
            ("rivet:cpu_request:cores", engine, 2.0),
            ("rivet:autoscaler_replicas_minimum:count", place, 1.0),
            ("rivet:autoscaler_replicas_limit:count", place, 3.0),
            ("rivet:autoscaler_replicas:count", place, 1.0),
            ("rivet:cpu_target:ratio", place, 0.7),
        ];
        let t = NOW.plus_ms(-minute * MINUTE_MS);
        commit(&store, t, series.iter().map(|(name, of, v)| (labels(name, of), *v)).collect());
    }
    store
}

#[test]
fn a_week_and_a_day_tell_when_the_maximum_binds_and_what_the_day_will_want() {
    let report = report(&grown(0.03), "{}", None);
    let maximum = row(&report, Kind::CpuMaximum);
    // Three replicas at 70 % of two cores; the peak is 1.4 × 2 × (1 + 0.03 d), which is 4.2 at d = 16.7, 8.7 days from now.
    assert_eq!(maximum.resource, "cpu to 70 % at 3 replicas");
    assert!((maximum.limit.unwrap() - 4.2).abs() < 1e-9);
    let outlook = maximum.outlook.unwrap_or_else(|| panic!("{maximum:#?}"));
    let days = outlook.seconds / 86_400.0;
    assert!((7.0..10.5).contains(&days), "{days} days: {outlook:?}");
    assert!(outlook.earliest_seconds <= outlook.seconds, "{outlook:?}");
    let autoscaler = &report.autoscalers[0];
    // Now 2.48 cores over 2 cores are 124 % of 70 %: 1.77, 2 replicas. At the day's crest about 3.5 cores, 3 replicas.
    assert_eq!((autoscaler.replicas, autoscaler.wanted_replicas), (1, Some(2)));
    assert_eq!(autoscaler.peak_replicas, Some(3));
    let ahead: Vec<_> = autoscaler.ahead.iter().map(|a| (a.hours, a.replicas)).collect();
    assert_eq!(ahead[1], (6, Some(3)), "{ahead:?}");
    assert!(ahead[2].1.is_some(), "{ahead:?}");
    // The history of the first report has no forecast of an hour ago yet.
    assert!(autoscaler.forecast_errors.is_empty());
    let names: Vec<_> = capacity::points(&report).iter().map(|p| p.labels.metric_name().to_owned()).collect();
    assert!(names.iter().any(|n| n == CPU_FORECAST) && names.iter().any(|n| n == REPLICAS_FORECAST), "{names:?}");
}

#[test]
fn a_load_that_does_not_grow_gets_no_advice() {
    let report = report(&grown(0.0), "{}", None);
    let maximum = row(&report, Kind::CpuMaximum);
    assert_eq!((maximum.outlook, maximum.time_to_full_seconds), (None, None), "{maximum:?}");
    assert!(maximum.no_outlook.is_some());
}

#[test]
fn the_forecast_of_an_hour_ago_is_held_against_now() {
    let store = grown(0.0);
    let of: Pairs<'_> = &[("namespace", "rivet"), ("job", "rivet")];
    for minute in [62, 61, 60] {
        let t = NOW.plus_ms(-minute * MINUTE_MS);
        // One replica and 5 cores were expected; 2 are wanted and 2 cores (the last ten minutes' highest) used.
        commit(&store, t, vec![(labels(CPU_FORECAST, of), 5.0), (labels(REPLICAS_FORECAST, of), 1.0)]);
    }
    commit(&store, NOW, vec![(labels(USED, &[("namespace", "rivet"), ("job", "rivet"), ("kind", "cpu_target")]), 2.0)]);
    let report = report(&store, "{}", None);
    let errors = &report.autoscalers[0].forecast_errors;
    let of = |name: &str| errors.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{errors:?}")).1;
    assert!((of("cpu") - 1.5).abs() < 0.02, "{errors:?}");
    assert_eq!(of("replicas"), 1.0);
    let errors: Vec<_> = capacity::points(&report)
        .into_iter()
        .filter(|p| p.labels.metric_name() == "rivet:headroom:forecast_error")
        .collect();
    assert_eq!(errors.len(), 2);
}

#[test]
fn assumptions_change_what_they_name_and_nothing_else() {
    let report = report_with(&grown(0.0), "actor_hosts: []", None, Some("replicas=4,traffic=2x,target.cpu=60%"));
    let then = report.what_if.as_ref().unwrap();
    assert_eq!(then.assumed.len(), 3, "{:?}", then.assumed);
    let target = then.report.rows.iter().find(|r| r.kind == Kind::CpuTarget).unwrap();
    // Twice 2 cores on four engines of two: 60 % of 8 cores.
    assert_eq!((target.used, target.resource.as_str()), (Some(4.0), "cpu to 60 % of request"));
    assert!((target.limit.unwrap() - 4.8).abs() < 1e-9, "{target:?}");
    // Three are the maximum; 4 cores on three engines of two are 66 %, and 66 / 60 = 1.1 is within the tolerance.
    let autoscaler = &then.report.autoscalers[0];
    assert_eq!((autoscaler.replicas, autoscaler.wanted_replicas, autoscaler.unbounded_replicas), (4, Some(3), Some(3)));
    assert_eq!(row(&report, Kind::CpuTarget).used, Some(2.0), "the present is untouched");
    // The highest of the day was 2.8 cores, which is 5.6 then.
    assert!((target.peaks.day.unwrap() - 5.6).abs() < 0.01, "{:?}", target.peaks);
}

#[test]
fn other_replicas_leave_the_name_and_without_engines_there_are_none() {
    let report = report_with(&grown(0.0), "{}", None, Some("replicas=1,max=1"));
    let then = &report.what_if.as_ref().unwrap().report;
    assert_eq!((report.engines, then.engines), (1, 1));
    assert_eq!(then.autoscalers[0].subject, report.autoscalers[0].subject);
    assert!(then.binding.is_some(), "{then:#?}");
    let none = self::report(&empty_store(), "{}", None);
    assert_eq!((none.engines, none.binding), (0, None));
}

#[test]
fn pods_that_kubernetes_knows_count_as_the_autoscaler_counts_them() {
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine = |pod| [("namespace", "rivet"), ("job", "rivet"), ("instance", pod), ("pod", pod)];
    let phase = |pod, phase| [("namespace", "rivet"), ("pod", pod), ("phase", phase)];
    let (a, b) = (engine("a"), engine("b"));
    let pending = phase("c", "Pending");
    let long_ago = NOW.as_secs_f64() - 86_400.0;
    let mut series: Vec<Series<'_>> = Vec::new();
    let (pa, pb) = (phase("a", "Running"), phase("b", "Running"));
    for (engine, running) in [(&a, &pa), (&b, &pb)] {
        series.push(("rivet:cpu_usage:cores", engine, &|_| 1.8));
        series.push(("rivet:cpu_request:cores", engine, &|_| 2.0));
        series.push(("rivet:engine_pod_phase:info", running, &|_| 1.0));
        series.push(("rivet:engine_pod_ready:bool", &running[..2], &|_| 1.0));
    }
    let times = [&pa, &pb].map(|pod| ("rivet:engine_pod_start_time:seconds", &pod[..2]));
    let started = move |_: i64| long_ago;
    for (name, of) in times {
        series.push((name, of, &started));
        series.push(("rivet:engine_pod_ready_time:seconds", of, &started));
    }
    series.push(("rivet:engine_pod_phase:info", &pending, &|_| 1.0));
    series.push(("rivet:autoscaler_replicas:count", place, &|_| 3.0));
    series.push(("rivet:autoscaler_replicas_limit:count", place, &|_| 10.0));
    series.push(("rivet:cpu_target:ratio", place, &|_| 0.5));
    series.push(("rivet:autoscaler_replicas_wanted:count", place, &|_| 5.0));
    let report = report(&store(&series, 10), "{}", None);
    let autoscaler = &report.autoscalers[0];
    // 2 at 90 % and one pending as idle: 180 / 3 = 60 %; 60 / 50 × 3 = 3.6, 4. Without Kubernetes' view it would be 90 / 50 × 2.
    assert_eq!((autoscaler.wanted_replicas, autoscaler.unbounded_replicas), (Some(4), Some(4)), "{autoscaler:#?}");
    assert!(autoscaler.notes.iter().any(|n| n == "approximate: usage over 2 m"), "{:?}", autoscaler.notes);
    assert_eq!((autoscaler.kubernetes_replicas, autoscaler.difference()), (Some(5), Some(-1.0)));
}

#[test]
fn readings_of_metrics_k8s_io_count_with_their_own_times_and_windows() {
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine = |pod| [("namespace", "rivet"), ("job", "rivet"), ("instance", pod), ("pod", pod)];
    let running = |pod| [("namespace", "rivet"), ("pod", pod), ("phase", "Running")];
    let container = |pod| [("namespace", "rivet"), ("pod", pod), ("container", "rivet-engine")];
    let (engines, pods) = (["a", "b", "c"].map(engine), ["a", "b", "c"].map(running));
    let containers = ["a", "c"].map(container);
    let now = NOW.as_secs_f64();
    let (long_ago, started) = (move |_: i64| now - 86_400.0, move |_: i64| now - 60.0);
    // The clock of a recorded time runs along, one sample a minute; `a` was measured just now.
    let measured = |ago: f64| move |minute: i64| now - 60.0 * (10 - minute) as f64 - ago;
    let wanted = |ago: f64| {
        let mut series: Vec<Series<'_>> = Vec::new();
        for (engine, pod) in engines.iter().zip(&pods) {
            // What the signals say is nothing to go by.
            series.push(("rivet:cpu_usage:cores", engine, &|_| 0.01));
            series.push(("rivet:engine_pod_phase:info", pod, &|_| 1.0));
            series.push(("rivet:engine_pod_ready:bool", &pod[..2], &|_| 1.0));
            let since: &dyn Fn(i64) -> f64 = if pod[1].1 == "c" { &started } else { &long_ago };
            series.push(("rivet:engine_pod_start_time:seconds", &pod[..2], since));
            series.push(("rivet:engine_pod_ready_time:seconds", &pod[..2], since));
        }
        let (of_a, of_c) = (measured(5.0), measured(ago));
        let times: [(Pairs<'_>, &dyn Fn(i64) -> f64); 2] = [(&pods[0][..2], &of_a), (&pods[2][..2], &of_c)];
        for (container, (pod, time)) in containers.iter().zip(times) {
            series.push(("rivet:engine_container_cpu_usage:cores", container, &|_| 1.8));
            series.push(("rivet:engine_container_cpu_request:cores", container, &|_| 2.0));
            series.push(("rivet:engine_pod_usage_time:seconds", pod, time));
            series.push(("rivet:engine_pod_usage_window:seconds", pod, &|_| 15.0));
        }
        series.push(("rivet:autoscaler_replicas:count", place, &|_| 3.0));
        series.push(("rivet:autoscaler_replicas_limit:count", place, &|_| 20.0));
        series.push(("rivet:cpu_target:ratio", place, &|_| 0.2));
        let report = report(&store(&series, 10), "{}", None);
        let autoscaler = &report.autoscalers[0];
        assert_eq!(autoscaler.notes[0], "usage from metrics.k8s.io", "{:?}", autoscaler.notes);
        assert!(!autoscaler.notes.iter().any(|n| n.contains("approximate")), "{:?}", autoscaler.notes);
        autoscaler.unbounded_replicas
    };
    // Ready for a minute, a pod that starts counts once a whole window lies after that: 44 s ago, and not 46 s ago. `b` has
    // the request of the others and no reading, so that it is idle on the way up.
    // 1.8 of 6 cores are 30 %; 30 / 20 × 3 = 4.5, five. With both measured 3.6 of 6 are 60 %, nine.
    assert_eq!((wanted(46.0), wanted(44.0)), (Some(5), Some(9)));
}

#[test]
fn a_container_metric_has_the_engine_by_the_name_of_the_object() {
    let engine: Pairs<'_> = &[("namespace", "rivet"), ("job", "rivet"), ("instance", "a")];
    let store =
        store(&[("rivet:cpu_usage:cores", engine, &|_| 1.5), ("rivet:cpu_request:cores", engine, &|_| 2.0)], 10);
    let of = |container: &str| {
        let metric = serde_json::json!({"type": "ContainerResource", "containerResource": {"name": "cpu",
            "container": container, "target": {"type": "Utilization", "averageUtilization": 25}}});
        let spec = serde_json::json!({"minReplicas": 1, "maxReplicas": 9, "metrics": [metric]});
        let spec = HpaSpec::from_manifest(&spec).unwrap();
        let autoscaler = Some(SeenAutoscaler { namespace: "rivet".into(), spec });
        let report = report_of(&store, "{}", Facts { autoscaler, ..Facts::default() }, None);
        (report.autoscalers[0].unbounded_replicas, report.autoscalers[0].notes.join("; "))
    };
    // 75 / 25 × 1.
    assert_eq!((of("rivet-engine").0, of("engine").0), (Some(3), Some(3)));
    let (wanted, notes) = of("logger");
    assert_eq!(wanted, None);
    assert!(notes.contains("cpu of container logger is not seen without metrics.k8s.io"), "{notes}");
}

#[test]
fn behaviour_comes_from_the_configuration_and_bounds_from_kubernetes() {
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine: Pairs<'_> = &[("namespace", "rivet"), ("job", "rivet"), ("instance", "a")];
    let store = store(
        &[
            ("rivet:cpu_usage:cores", engine, &|_| 5.0),
            ("rivet:cpu_request:cores", engine, &|_| 1.0),
            ("rivet:autoscaler_replicas:count", place, &|_| 1.0),
            ("rivet:autoscaler_replicas_limit:count", place, &|_| 8.0),
            ("rivet:cpu_target:ratio", place, &|_| 0.5),
        ],
        10,
    );
    let config = "autoscaler: {spec: {maxReplicas: 30, behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}}}";
    let report = report(&store, config, None);
    let autoscaler = &report.autoscalers[0];
    // 500 / 50 × 1 = 10 are asked for, 8 allowed, one more at a time.
    assert_eq!(
        (autoscaler.max_replicas, autoscaler.unbounded_replicas, autoscaler.wanted_replicas),
        (Some(8), Some(10), Some(2))
    );
}
