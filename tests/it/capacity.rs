//! Headroom over a store that holds known signals: every number can be worked out by hand.

use rivetwatch::capacity::{self, Config, Facts, LimitSource, Report};
use rivetwatch::model::{Labels, METRIC_NAME, TimestampMs, Value};
use rivetwatch::promql::Engine;
use rivetwatch::storage::{Append, Batch, Point};
use rivetwatch::tsdb::{Settings, Tsdb};

const NOW: TimestampMs = TimestampMs(1_795_419_600_000);

/// Name, labels, and the value at each minute.
type Series<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a dyn Fn(i64) -> f64);

/// A store with one sample of each series at `NOW`, or a line of samples up to it.
fn store(series: &[Series<'_>], minutes: i64) -> Tsdb {
    let store = Tsdb::in_memory(Settings::default());
    for minute in (0..=minutes).rev() {
        let t = NOW.plus_ms(-minute * 60_000);
        let point = |(name, labels, value): &Series<'_>| Point {
            labels: Labels::from_pairs(labels.iter().copied().chain([(METRIC_NAME, *name)])),
            t,
            value: Value::Float(value(minutes - minute)),
        };
        let points = series.iter().map(point).collect();
        store.commit(Batch { points, ..Batch::default() }).wait().unwrap();
    }
    store
}

fn report(store: &Tsdb, config: &str, backend: Option<&str>) -> Report {
    let config: Config = serde_saphyr::from_str(config).unwrap();
    let facts = Facts { backend: backend.map(str::to_owned) };
    capacity::evaluate(NOW, store, &Engine::default(), &config, &facts).unwrap()
}

fn row<'a>(report: &'a Report, resource: &str) -> &'a capacity::Row {
    report.rows.iter().find(|row| row.resource == resource).unwrap_or_else(|| panic!("{resource} in {report:#?}"))
}

#[test]
fn cpu_headroom_counts_to_the_target_of_the_request_and_names_when_it_is_full() {
    let engine: &[(&str, &str)] = &[("job", "rivet"), ("instance", "a")];
    let store = store(
        &[
            ("rivet:cpu_usage:cores", engine, &|minute| 0.5 + 0.01 * minute as f64),
            ("rivet:cpu_request:cores", engine, &|_| 2.0),
            ("rivet:cpu_limit:cores", engine, &|_| 3.0),
        ],
        30,
    );
    let report = report(&store, "{}", None);
    let target = row(&report, "cpu to 70 % of request");
    assert_eq!((target.used, target.limit), (Some(0.8), Some(1.4)));
    // 0.6 cores at 0.01 a minute.
    assert!((target.time_to_full_seconds.unwrap() - 3600.0).abs() < 1.0, "{target:?}");
    assert_eq!(row(&report, "cpu to limit").limit, Some(3.0));
    let scaling = &report.autoscaling[0];
    assert_eq!((scaling.replicas, scaling.wanted_replicas), (1, 1));
    assert_eq!(report.binding.as_ref().map(|b| b.resource.as_str()), Some("cpu to 70 % of request"));
    let names: Vec<_> = capacity::points(&report).iter().map(|p| p.labels.metric_name().to_owned()).collect();
    assert!(names.contains(&"rivet:headroom:ratio".to_owned()), "{names:?}");
    assert!(names.contains(&"rivet:headroom:time_to_full_seconds".to_owned()), "{names:?}");
}

#[test]
fn what_nobody_stated_is_unknown_and_never_headroom() {
    let engine: &[(&str, &str)] = &[("job", "rivet"), ("instance", "a")];
    let pool: &[(&str, &str)] = &[("job", "rivet"), ("pool_name", "default")];
    let store = store(
        &[
            ("rivet:memory_usage:bytes", engine, &|_| 1e9),
            ("rivet:actor_start_request:rate", pool, &|_| 13.0),
            ("rivet:actor_demand:rate", engine, &|_| 1.0),
        ],
        5,
    );
    let report = report(&store, "{}", None);
    assert!(report.binding.is_none(), "{report:#?}");
    assert!(capacity::points(&report).is_empty());
    let memory = row(&report, "memory to limit");
    assert_eq!((memory.used, memory.limit, memory.limit_source), (Some(1e9), None, LimitSource::Unknown));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["rows"].as_array().unwrap().iter().all(|row| row["limit"] == "unknown"), "{json:#}");
}

#[test]
fn the_only_pool_has_all_running_actors() {
    let engine: &[(&str, &str)] = &[("job", "rivet")];
    let store = store(&[("rivet:actors_running:count", engine, &|_| 17.0)], 5);
    let report = report(&store, "actor_hosts: [{pool: default, concurrency: 100}]", None);
    assert_eq!(row(&report, "running actors on the platform").used, Some(17.0));
}

#[test]
fn a_rate_limit_is_held_against_demand_and_load_apart() {
    let engine: &[(&str, &str)] = &[("job", "rivet"), ("instance", "a")];
    let pool: &[(&str, &str)] = &[("job", "rivet"), ("pool_name", "default")];
    let store = store(
        &[
            ("rivet:actor_demand:rate", engine, &|_| 1.0),
            ("rivet:actor_start_request:rate", pool, &|_| 13.0),
            ("rivet:actors_running:count", pool, &|_| 900.0),
            ("rivet_pool_max_concurrent_actors", pool, &|_| 1000.0),
        ],
        5,
    );
    let config = "actor_hosts: [{pool: default, rate_limit: 120/m, egress_ips: 2, concurrency: 950}]";
    let report = report(&store, config, Some("postgres"));
    // Two addresses at two a second each; a storm of retries is load, not demand.
    let demand = row(&report, "actor demand (creates + wakes)");
    assert_eq!((demand.used, demand.limit, demand.headroom_ratio), (Some(1.0), Some(4.0), Some(0.75)));
    let load = row(&report, "actor start requests (load, with retries)");
    assert_eq!(load.headroom_ratio, Some(1.0 - 13.0 / 4.0));
    assert_eq!(row(&report, "running actors").limit, Some(1000.0));
    assert_eq!(row(&report, "running actors on the platform").limit, Some(950.0));
    let guide = row(&report, "running actors for the backend");
    assert_eq!((guide.limit, guide.limit_source), (Some(1000.0), LimitSource::Guide));
}
