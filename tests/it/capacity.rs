//! Headroom over a store that holds known signals: every number can be worked out by hand.

use rivetwatch::capacity::hpa::HpaSpec;
use rivetwatch::capacity::{
    self, CPU_FORECAST, Config, Facts, Kind, LimitSource, REPLICAS_FORECAST, Report, Row, SeenAutoscaler, USED, WhatIf,
};
use rivetwatch::model::{HumanDuration, Labels, METRIC_NAME, TimestampMs, Value};
use rivetwatch::promql::Engine;
use rivetwatch::storage::{Append, Batch, Point};
use rivetwatch::tsdb::{self, Settings, Tsdb};

/// A Sunday noon, aligned to ten minutes.
pub const NOW: TimestampMs = TimestampMs(1_795_419_600_000);
pub const MINUTE_MS: i64 = 60_000;

pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Name, labels, and the value at each minute.
pub type Series<'a> = (&'a str, Pairs<'a>, &'a dyn Fn(i64) -> f64);

pub const ENGINE: Pairs<'static> = &[("job", "rivet"), ("instance", "a")];
const POOL: Pairs<'static> = &[("job", "rivet"), ("pool_name", "default")];

/// A store that keeps nine days.
pub fn empty_store() -> Tsdb {
    let config = tsdb::Config { retention: HumanDuration::secs(9 * 86_400), ..tsdb::Config::default() };
    Tsdb::in_memory(Settings::new(None, &config, &tsdb::WalConfig::default(), &tsdb::LimitsConfig::default()))
}

pub fn commit(store: &Tsdb, t: TimestampMs, points: Vec<(Labels, f64)>) {
    let point = |(labels, value)| Point { labels, t, value: Value::Float(value) };
    let points = points.into_iter().map(point).collect();
    store.commit(Batch { points, ..Batch::default() }).wait().unwrap();
}

pub fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied().chain([(METRIC_NAME, name)]))
}

/// A store with a line of samples of each series up to `NOW`, one a minute.
pub fn store(series: &[Series<'_>], minutes: i64) -> Tsdb {
    let store = empty_store();
    for minute in (0..=minutes).rev() {
        let points = series.iter().map(|(name, pairs, value)| (labels(name, pairs), value(minutes - minute))).collect();
        commit(&store, NOW.plus_ms(-minute * MINUTE_MS), points);
    }
    store
}

pub fn report_with(store: &Tsdb, config: &str, backend: Option<&str>, what_if: Option<&str>) -> Report {
    report_of(store, config, Facts { backend: backend.map(str::to_owned), autoscaler: None }, what_if)
}

pub fn report_of(store: &Tsdb, config: &str, facts: Facts, what_if: Option<&str>) -> Report {
    let config: Config = serde_saphyr::from_str(config).unwrap();
    let assumed = what_if.map(|text| WhatIf::parse(text).unwrap());
    capacity::evaluate(NOW, store, &Engine::default(), &config, &facts, assumed.as_ref()).unwrap()
}

pub fn report(store: &Tsdb, config: &str, backend: Option<&str>) -> Report {
    report_with(store, config, backend, None)
}

pub fn row(report: &Report, kind: Kind) -> &Row {
    report.rows.iter().find(|row| row.kind == kind).unwrap_or_else(|| panic!("{kind:?} in {report:#?}"))
}

#[test]
fn cpu_headroom_counts_to_the_target_of_the_request() {
    let store = store(
        &[
            ("rivet:cpu_usage:cores", ENGINE, &|minute| 0.5 + 0.01 * minute as f64),
            ("rivet:cpu_request:cores", ENGINE, &|_| 2.0),
            ("rivet:cpu_limit:cores", ENGINE, &|_| 3.0),
        ],
        30,
    );
    let report = report(&store, "{}", None);
    let target = row(&report, Kind::CpuTarget);
    assert_eq!((target.resource.as_str(), target.used, target.limit), ("cpu to 70 % of request", Some(0.8), Some(1.4)));
    let shedding = row(&report, Kind::CpuShedding);
    assert!((shedding.limit.unwrap() - 2.1).abs() < 1e-9, "70 % of 3 cores: {shedding:?}");
    assert_eq!(row(&report, Kind::CpuLimit).limit, Some(3.0));
    let scaling = &report.autoscaling[0];
    assert_eq!((scaling.replicas, scaling.wanted_replicas), (1, 1));
    assert_eq!(report.binding.as_ref().map(|b| b.kind), Some(Kind::CpuTarget));
    let names: Vec<_> = capacity::points(&report).iter().map(|p| p.labels.metric_name().to_owned()).collect();
    // What is to be kept for days is named so that the store keeps it.
    for name in [USED, capacity::LIMIT, CPU_FORECAST, REPLICAS_FORECAST] {
        assert!(name.starts_with("rivet:capacity:"), "{name}");
    }
    for name in ["rivet:headroom:ratio", USED, "rivet:headroom:binding_ratio", "rivet:headroom:twin_replicas"] {
        assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
    }
}

#[test]
fn what_nobody_stated_is_unknown_and_never_headroom() {
    let store = store(
        &[
            ("rivet:memory_usage:bytes", ENGINE, &|_| 1e9),
            ("rivet:actor_start_request:rate", POOL, &|_| 13.0),
            ("rivet:actor_demand:rate", ENGINE, &|_| 1.0),
            ("rivet:guard_request:rate1m", ENGINE, &|_| 5.0),
        ],
        5,
    );
    let report = report(&store, "{}", None);
    assert!(report.binding.is_none(), "{report:#?}");
    assert!(report.advice.is_empty(), "{:#?}", report.advice);
    let of_headroom = |name: &str| name.starts_with("rivet:headroom:") && name.contains("ratio");
    assert!(capacity::points(&report).iter().all(|p| !of_headroom(p.labels.metric_name())));
    let memory = row(&report, Kind::MemoryLimit);
    assert_eq!((memory.used, memory.limit, memory.limit_source), (Some(1e9), None, LimitSource::Unknown));
    // The guard's limit is known, but not how many addresses share the requests.
    let guard = row(&report, Kind::GuardRequests);
    assert_eq!((guard.used, guard.limit_source, guard.headroom_ratio), (None, LimitSource::Fixed, None));
    assert!(guard.note.contains("capacity.client_addresses"), "{}", guard.note);
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["rows"].as_array().unwrap().iter().all(|row| row["headroom_ratio"] == "unknown"), "{json:#}");
}

#[test]
fn the_only_pool_has_all_running_actors() {
    let store = store(&[("rivet:actors_running:count", &[("job", "rivet")], &|_| 17.0)], 5);
    let report = report(&store, "actor_hosts: [{pool: default, concurrency: 100}]", None);
    assert_eq!(row(&report, Kind::PlatformConcurrency).used, Some(17.0));
}

#[test]
fn a_rate_limit_is_held_against_demand_and_load_apart() {
    let store = store(
        &[
            ("rivet:actor_demand:rate", ENGINE, &|_| 1.0),
            ("rivet:actor_start_request:rate", POOL, &|_| 13.0),
            ("rivet:pool_running:count", POOL, &|_| 900.0),
            ("rivet:pool_limit:count", POOL, &|_| 1000.0),
            ("rivet:actors_running:count", &[("job", "rivet")], &|_| 900.0),
        ],
        5,
    );
    let config = "actor_hosts: [{pool: default, rate_limit: 120/m, egress_ips: 2, concurrency: 950}]";
    let report = report(&store, config, Some("postgres"));
    // Two addresses at two a second each; a storm of retries is load, not demand, and binds nothing.
    let demand = row(&report, Kind::ActorDemand);
    assert_eq!((demand.used, demand.limit, demand.headroom_ratio), (Some(1.0), Some(4.0), Some(0.75)));
    let load = row(&report, Kind::ActorLoad);
    assert_eq!(load.headroom_ratio, Some(1.0 - 13.0 / 4.0));
    assert_eq!(load.note, "12.0 a second more than is wanted: retries");
    assert_eq!(row(&report, Kind::PoolConcurrency).limit, Some(1000.0));
    assert_eq!(row(&report, Kind::PlatformConcurrency).limit, Some(950.0));
    assert_eq!(report.binding.as_ref().map(|b| b.kind), Some(Kind::PlatformConcurrency));
    let guide = row(&report, Kind::BackendActors);
    assert_eq!((guide.limit, guide.limit_source), (Some(1000.0), LimitSource::Guide));
    let concurrency: Vec<_> = report.advice.iter().filter(|a| a.kind == Kind::PlatformConcurrency).collect();
    assert_eq!(concurrency[0].arithmetic, "the engine places up to 1000, the platform runs 950");
}

/// Two tenants' pools of one name.
const TENANTS: [Pairs<'static>; 2] = [
    &[("job", "rivet"), ("rivet_namespace", "blue"), ("pool_name", "default")],
    &[("job", "rivet"), ("rivet_namespace", "green"), ("pool_name", "default")],
];

#[test]
fn pools_of_one_name_in_two_namespaces_are_two_pools() {
    let store = store(
        &[
            ("rivet:actor_demand:rate", ENGINE, &|_| 4.0),
            ("rivet:actor_start_request:rate", TENANTS[0], &|_| 6.0),
            ("rivet:actor_start_request:rate", TENANTS[1], &|_| 2.0),
            ("rivet:pool_running:count", TENANTS[0], &|_| 90.0),
            ("rivet:pool_running:count", TENANTS[1], &|_| 10.0),
            ("rivet:pool_limit:count", TENANTS[0], &|_| 100.0),
            ("rivet:pool_limit:count", TENANTS[1], &|_| 100.0),
        ],
        5,
    );
    let config = "actor_hosts: [{pool: default, rate_limit: 8}, {pool: default, rivet_namespace: blue, rate_limit: 4}]";
    let report = report(&store, config, None);
    let of = |kind: Kind, tenant: &str| {
        let is = |row: &&Row| row.kind == kind && row.rivet_namespace.as_deref() == Some(tenant);
        report.rows.iter().find(is).unwrap_or_else(|| panic!("{kind:?} of {tenant} in {report:#?}"))
    };
    // Demand carries no pool and is shared as the start requests are: 3 of 4 and 1 of 4.
    let (blue, green) = (of(Kind::ActorDemand, "blue"), of(Kind::ActorDemand, "green"));
    assert_eq!((blue.used, blue.limit, blue.subject.as_str()), (Some(3.0), Some(4.0), "blue/default"));
    assert_eq!((green.used, green.limit, green.subject.as_str()), (Some(1.0), Some(8.0), "green/default"));
    let running = of(Kind::PoolConcurrency, "blue");
    assert_eq!((running.used, running.limit), (Some(90.0), Some(100.0)), "not 100 of 200");
    assert_eq!(report.binding.as_ref().map(|b| b.subject.as_str()), Some("blue/default"));
    let written = capacity::points(&report);
    for name in ["rivet:headroom:ratio", USED, capacity::LIMIT] {
        let named = written.iter().filter(|p| p.labels.metric_name() == name && p.labels.get("pool_name").is_some());
        let tenants: std::collections::BTreeSet<_> = named.map(|p| p.labels.get("rivet_namespace")).collect();
        assert_eq!(tenants, [Some("blue"), Some("green")].into(), "{name}");
    }
}

#[test]
fn a_pool_whose_namespace_only_some_sources_tell_is_one_pool() {
    let store = store(
        &[
            ("rivet:actor_demand:rate", ENGINE, &|_| 1.0),
            ("rivet:actor_start_request:rate", TENANTS[0], &|_| 1.0),
            ("rivet:pool_running:count", POOL, &|_| 40.0),
            ("rivet:pool_limit:count", POOL, &|_| 50.0),
        ],
        5,
    );
    let report = report(&store, "actor_hosts: [{pool: default, rate_limit: 2}]", None);
    let pools: Vec<&Row> = report.rows.iter().filter(|row| row.kind == Kind::PoolConcurrency).collect();
    assert_eq!(pools.len(), 1, "{pools:#?}");
    assert_eq!((pools[0].used, pools[0].limit, pools[0].subject.as_str()), (Some(40.0), Some(50.0), "default"));
    assert_eq!(pools[0].rivet_namespace.as_deref(), Some("blue"));
    assert_eq!(row(&report, Kind::ActorDemand).headroom_ratio, Some(0.5));
}

#[test]
fn what_was_recorded_without_a_namespace_is_the_only_tenants_own() {
    let day = |now: &[Pairs<'_>]| {
        let store = empty_store();
        let key: Pairs<'_> = &[("job", "rivet"), ("pool_name", "default"), ("kind", "actor_demand")];
        for slot in 0..150i64 {
            let demand = if slot == 100 { 1.6 } else { 0.2 };
            commit(&store, NOW.plus_ms((slot - 150) * 10 * MINUTE_MS + MINUTE_MS), vec![(labels(USED, key), demand)]);
        }
        let of = |pool: &Pairs<'_>| (labels("rivet:actor_start_request:rate1m", pool), 1.0);
        let demand = [(labels("rivet:actor_demand:rate1m", ENGINE), 0.2)];
        commit(&store, NOW, now.iter().map(of).chain(demand).collect());
        row(&report(&store, "actor_hosts: [{pool: default, rate_limit: 2}]", None), Kind::ActorDemand).peaks
    };
    let one = day(&TENANTS[..1]);
    assert_eq!((one.day, one.since), (Some(1.6), None), "a day of history, though no tenant was recorded");
    // Of two it was the sum, which is neither's.
    let two = day(&TENANTS);
    assert_eq!((two.day, two.since), (None, Some(NOW)));
}

#[test]
fn figures_that_the_platform_sends_win_and_are_marked_measured() {
    let store = store(
        &[
            ("rivet:actor_demand:rate", ENGINE, &|_| 1.0),
            ("rivet:actor_start_request:rate", POOL, &|_| 1.0),
            ("rivet:host_rate_limit:rate", &[("job", "cloud"), ("pool_name", "default")], &|_| 8.0),
            ("rivet:host_concurrency_limit:count", &[("job", "cloud"), ("pool_name", "default")], &|_| 300.0),
        ],
        5,
    );
    let report = report(&store, "actor_hosts: [{pool: default, rate_limit: 2, concurrency: 50}]", None);
    let demand = row(&report, Kind::ActorDemand);
    assert_eq!((demand.limit, demand.limit_source), (Some(8.0), LimitSource::Measured));
    let platform = row(&report, Kind::PlatformConcurrency);
    assert_eq!((platform.limit, platform.limit_source), (Some(300.0), LimitSource::Measured));
}

#[test]
fn advice_on_a_rate_comes_from_a_day_of_demand_or_from_a_peak_over_the_limit() {
    let config = "actor_hosts: [{pool: default, rate_limit: 120/m}]";
    let of_rate = |report: &Report| report.advice.iter().find(|a| a.kind == Kind::ActorDemand).cloned();
    // While starts are refused, callers come again, and what they ask for is more than there are actors to start.
    let refused = store(
        &[
            ("rivet:actor_demand:rate1m", ENGINE, &|_| 3.0),
            ("rivet:actor_start_request:rate1m", POOL, &|_| 40.0),
            ("rivet:host_rate_limited:rate", POOL, &|_| 0.0),
            ("rivet:host_error:rate", POOL, &|minute| if minute == 1 { 30.0 } else { 0.0 }),
        ],
        5,
    );
    let advice = of_rate(&report(&refused, config, None)).unwrap();
    assert_eq!(advice.advice, "ask the platform of pool default for up to 270 starts a minute per address");
    assert!(advice.arithmetic.ends_with("are in that peak: less may do"), "{}", advice.arithmetic);
    // Three a second against two: over the limit now, so that five minutes are enough to say so.
    let over = store(
        &[("rivet:actor_demand:rate1m", ENGINE, &|_| 3.0), ("rivet:actor_start_request:rate1m", POOL, &|_| 40.0)],
        5,
    );
    let advice = of_rate(&report(&over, config, None)).unwrap();
    assert_eq!(advice.advice, "ask the platform of pool default for 270 starts a minute per address");
    assert_eq!(
        advice.arithmetic,
        "peak demand of what was seen so far 3 a second × 1.5 = 4.5 a second × 60 = 270 a minute; now 120 a minute"
    );
    // One and a half a second would need 135 a minute, but half an hour does not show a day.
    let short = store(&[("rivet:actor_demand:rate1m", ENGINE, &|_| 1.5)], 30);
    assert_eq!(of_rate(&report(&short, config, None)), None);
    // With a day of history its peak counts: 1.6 × 1.5 is more than two.
    let key: Pairs<'_> = &[("job", "rivet"), ("pool_name", "default"), ("kind", "actor_demand")];
    let day = empty_store();
    for slot in 0..150i64 {
        let demand = if slot == 100 { 1.6 } else { 0.2 };
        let t = NOW.plus_ms((slot - 150) * 10 * MINUTE_MS + MINUTE_MS);
        commit(&day, t, vec![(labels(USED, key), demand)]);
    }
    commit(
        &day,
        NOW,
        vec![(labels("rivet:actor_demand:rate1m", ENGINE), 0.2), (labels("rivet:pool_running:count", POOL), 1.0)],
    );
    let advice = of_rate(&report(&day, config, None)).unwrap();
    assert_eq!(
        advice.arithmetic,
        "peak demand of the last day 1.6 a second × 1.5 = 2.4 a second × 60 = 144 a minute; now 120 a minute"
    );
    // A limit that is large enough needs no word.
    assert_eq!(of_rate(&report(&day, "actor_hosts: [{pool: default, rate_limit: 150/m}]", None)), None);
    // Over two addresses each needs half.
    let two = of_rate(&report(&day, "actor_hosts: [{pool: default, rate_limit: 60/m, egress_ips: 2}]", None)).unwrap();
    assert!(two.arithmetic.contains("× 1.5 ÷ 2 addresses = 1.2 a second"), "{}", two.arithmetic);
}

#[test]
fn the_autoscaler_that_the_api_gives_wins_for_the_engines_of_its_namespace() {
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine: Pairs<'_> = &[("namespace", "rivet"), ("job", "rivet"), ("instance", "a")];
    let store = store(
        &[
            ("rivet:cpu_usage:cores", engine, &|_| 0.5),
            ("rivet:cpu_request:cores", engine, &|_| 2.0),
            ("rivet:autoscaler_replicas_limit:count", place, &|_| 10.0),
            ("rivet:autoscaler_replicas:count", place, &|_| 1.0),
        ],
        15,
    );
    let most = |namespace: &str, what_if| {
        let spec = HpaSpec::from_manifest(&serde_json::json!({"minReplicas": 1, "maxReplicas": 4})).unwrap();
        let autoscaler = Some(SeenAutoscaler { namespace: namespace.into(), spec });
        let report = report_of(&store, "{}", Facts { autoscaler, ..Facts::default() }, what_if);
        let then = report.what_if.as_ref().map(|then| then.report.autoscalers[0].max_replicas);
        (report.autoscalers[0].max_replicas, then)
    };
    assert_eq!(most("rivet", None), (Some(4), None));
    assert_eq!(most("staging", None), (Some(10), None));
    assert_eq!(most("rivet", Some("maxReplicas=6")), (Some(4), Some(Some(6))));
}

#[test]
fn the_shipped_manifests_break_at_eight_replicas() {
    let place: Pairs<'_> = &[("namespace", "rivet")];
    let engine = |instance| [("namespace", "rivet"), ("job", "rivet"), ("instance", instance)];
    let (a, b) = (engine("a"), engine("b"));
    let store = store(
        &[
            ("rivet:engine_up:bool", &a, &|_| 1.0),
            ("rivet:engine_up:bool", &b, &|_| 1.0),
            ("rivet:cpu_usage:cores", &a, &|_| 0.5),
            ("rivet:cpu_usage:cores", &b, &|_| 0.5),
            ("rivet:cpu_request:cores", &a, &|_| 2.0),
            ("rivet:cpu_request:cores", &b, &|_| 2.0),
            ("rivet:autoscaler_replicas_minimum:count", place, &|_| 2.0),
            ("rivet:autoscaler_replicas_limit:count", place, &|_| 10.0),
            ("rivet:autoscaler_replicas:count", place, &|_| 2.0),
            ("rivet:cpu_target:ratio", place, &|_| 0.6),
            ("rivet:memory_target:ratio", place, &|_| 0.8),
        ],
        15,
    );
    let report = report(&store, "postgres: {max_connections: 500, pubsub: false}", Some("postgres"));
    let now = row(&report, Kind::PostgresConnections);
    assert_eq!((now.used, now.limit, now.limit_source), (Some(128.0), Some(497.0), LimitSource::Configured));
    let maximum = row(&report, Kind::PostgresConnectionsMaximum);
    assert_eq!(maximum.used, Some(640.0));
    assert_eq!(maximum.note, "enough for 7 engines: breaks at 8");
    let advice = report.advice.iter().find(|a| a.kind == Kind::PostgresConnectionsMaximum).unwrap();
    assert_eq!(advice.advice, "set `maxReplicas` to 7, or `max_connections` of Postgres to 643");
    assert_eq!(
        advice.arithmetic,
        "10 replicas × 64 connections = 640; 500 − 3 reserved or taken by others = 497; 497 ÷ 64 = 7.76, so 7 engines"
    );
    // What CPU may grow to is what the database carries: 7 × 0.6 × 2 cores.
    let cpu = row(&report, Kind::CpuMaximum);
    assert!((cpu.limit.unwrap() - 8.4).abs() < 1e-9, "{cpu:?}");
    assert!(cpu.note.contains("Postgres connections"), "{}", cpu.note);
    let autoscaler = &report.autoscalers[0];
    assert_eq!((autoscaler.max_replicas, autoscaler.most_replicas, autoscaler.min_replicas), (Some(10), Some(7), 2));
    // Twice the connections where nobody says that pubsub does not go over Postgres.
    let unsaid = self::report(&store, "postgres: {max_connections: 500}", Some("postgres"));
    assert_eq!(unsaid.autoscalers[0].most_replicas, Some(3));
    assert!(row(&unsaid, Kind::PostgresConnections).note.contains("capacity.postgres.pubsub"));
    // Unset is unknown.
    let unknown = self::report(&store, "{}", Some("postgres"));
    assert_eq!(row(&unknown, Kind::PostgresConnections).headroom_ratio, None);
}

#[test]
fn the_guard_counts_by_address() {
    let of = |addresses: f64, refused: f64| {
        let store = store(
            &[
                ("rivet:engine_up:bool", ENGINE, &|_| 1.0),
                ("rivet:guard_request:rate1m", ENGINE, &|_| 100.0),
                ("rivet:guard_in_flight:count", ENGINE, &|_| 1000.0),
                ("rivet:guard_clients:count", ENGINE, &|_| addresses),
                ("rivet:client_limited:rate", ENGINE, &|_| refused),
            ],
            5,
        );
        report(&store, "{}", None)
    };
    // 6,000 a minute of 10,000, and 1,000 in flight of 2,000.
    let one = of(1.0, 0.0);
    assert!((row(&one, Kind::GuardRequests).headroom_ratio.unwrap() - 0.4).abs() < 1e-9);
    assert_eq!(row(&one, Kind::GuardInFlight).headroom_ratio, Some(0.5));
    assert_eq!(one.binding.as_ref().map(|b| b.kind), Some(Kind::GuardRequests));
    // A mean over many is no promise for the busiest.
    let many = of(50.0, 0.0);
    assert_eq!(row(&many, Kind::GuardRequests).used, Some(120.0));
    assert!(many.binding.is_none(), "{:?}", many.binding);
    // A refusal is proof.
    let refusing = of(50.0, 2.0);
    assert_eq!(row(&refusing, Kind::GuardRequests).headroom_ratio, Some(0.0));
    assert!(refusing.advice.iter().any(|a| a.advice.contains("x-forwarded-for")), "{:?}", refusing.advice);
}

#[test]
fn what_was_recorded_comes_back_as_peaks_with_the_time_since_when() {
    let store = empty_store();
    for minute in 0..=40i64 {
        let t = NOW.plus_ms((minute - 40) * MINUTE_MS);
        let used = if minute == 10 { 1.2 } else { 0.5 };
        let series = [("rivet:cpu_usage:cores", used), ("rivet:cpu_request:cores", 2.0)];
        commit(&store, t, series.iter().map(|(name, v)| (labels(name, ENGINE), *v)).collect());
        let config = Config::default();
        let told = capacity::evaluate(t, &store, &Engine::default(), &config, &Facts::default(), None).unwrap();
        store.commit(Batch { points: capacity::points(&told), ..Batch::default() }).wait().unwrap();
    }
    let report = report(&store, "{}", None);
    let cpu = row(&report, Kind::CpuTarget);
    assert_eq!((cpu.peaks.minute, cpu.peaks.ten_minutes, cpu.peaks.day), (Some(0.5), Some(0.5), Some(1.2)));
    assert_eq!(cpu.peaks.since, Some(NOW.plus_ms(-40 * MINUTE_MS)));
    assert_eq!(report.history_since, Some(NOW.plus_ms(-40 * MINUTE_MS)));
    let at_peak = cpu.headroom_at_peak_ratio.unwrap();
    assert!((at_peak - (1.0 - 1.2 / 1.4)).abs() < 1e-9, "{at_peak}");
    let binding = report.binding.unwrap();
    assert!((binding.headroom_at_peak_ratio - at_peak).abs() < 1e-9 && binding.headroom_ratio > 0.6, "{binding:?}");
}

#[test]
fn what_belongs_to_no_engine_remembers_its_past_too() {
    let agent: Pairs<'_> = &[("instance", "rivetwatch-0")];
    let store = store(
        &[("rivet:agent_disk_used:bytes", agent, &|_| 4e9), ("rivet:agent_disk_limit:bytes", agent, &|_| 1e10)],
        5,
    );
    let now = report(&store, "{}", None);
    let written = capacity::points(&now).into_iter().find(|p| p.labels.metric_name() == USED).unwrap();
    // What it wrote an hour ago was more.
    for minute in 55..=65 {
        commit(&store, NOW.plus_ms(-minute * MINUTE_MS), vec![(written.labels.clone(), 9e9)]);
    }
    let peak = row(&report(&store, "{}", None), Kind::AgentDisk).peaks.day;
    assert_eq!(peak, Some(9e9));
}

#[test]
fn odd_figures_are_no_figures() {
    let store = store(
        &[
            ("rivet:cpu_usage:cores", ENGINE, &|_| f64::NAN),
            ("rivet:memory_usage:bytes", ENGINE, &|_| 1e9),
            ("rivet:memory_request:bytes", ENGINE, &|_| 0.0),
            ("rivet:memory_limit:bytes", ENGINE, &|_| f64::INFINITY),
            ("rivet:pool_limit:count", POOL, &|_| 0.0),
            ("rivet:autoscaler_replicas_limit:count", &[], &|_| -3.0),
        ],
        5,
    );
    let report = report(&store, "{}", Some("postgres"));
    assert!(report.rows.iter().all(|r| r.headroom_ratio.is_none_or(f64::is_finite)), "{report:#?}");
    assert_eq!(row(&report, Kind::MemoryLimit).limit, None);
    assert_eq!(row(&report, Kind::PoolConcurrency).limit, None);
    serde_json::to_string(&report).unwrap();
}

#[test]
fn ten_thousand_engines_are_reported_by_the_fullest() {
    let store = empty_store();
    for minute in (0..=8).rev() {
        let mut points = Vec::new();
        for n in 0..10_000 {
            let name = format!("engine-{n}");
            let of = [("job", "rivet"), ("instance", name.as_str())];
            points.push((labels("rivet:cpu_usage:cores", &of), 0.5 + f64::from(n) / 10_000.0));
            points.push((labels("rivet:cpu_request:cores", &of), 2.0));
            points.push((labels("rivet:cpu_limit:cores", &of), 3.0));
        }
        commit(&store, NOW.plus_ms(-minute * MINUTE_MS), points);
    }
    let report = report(&store, "{}", None);
    assert!(report.rows.len() < 100, "{}", report.rows.len());
    let shedding = row(&report, Kind::CpuShedding);
    assert_eq!((shedding.subject.as_str(), shedding.note.as_str()), ("engine-9999", "the fullest 20 of 10000"));
    assert_eq!(report.autoscalers[0].replicas, 10_000);
}

#[test]
fn the_start_of_an_engine_is_no_load() {
    // Up for three minutes; its start took 3 cores, which the rate over two minutes shows for two.
    let store = store(
        &[
            ("rivet:cpu_request:cores", ENGINE, &|_| 2.0),
            ("rivet:engine_up:bool", ENGINE, &|minute| if minute < 5 { 0.0 } else { 1.0 }),
            ("rivet:cpu_usage:cores", ENGINE, &|minute| if minute < 7 { 3.0 } else { 1.0 }),
        ],
        8,
    );
    let report = report(&store, "autoscaler: {spec: {maxReplicas: 10}}", None);
    // Counted, 3 cores of 2 would ask for 2 replicas (150 / 80 = 1.875) and hold for five minutes.
    assert_eq!(report.autoscalers[0].wanted_replicas, Some(1), "{:?}", report.autoscalers[0]);
}

#[test]
fn rocksdb_has_one_engine_whatever_the_load() {
    let store = store(
        &[
            ("rivet:engine_up:bool", ENGINE, &|_| 1.0),
            ("rivet:cpu_usage:cores", ENGINE, &|_| 3.0),
            ("rivet:cpu_request:cores", ENGINE, &|_| 2.0),
        ],
        10,
    );
    let report = report(&store, "{}", Some("rocksdb"));
    let autoscaler = &report.autoscalers[0];
    assert_eq!(
        (autoscaler.wanted_replicas, autoscaler.unbounded_replicas, autoscaler.most_replicas),
        (Some(1), Some(3), None),
        "nobody could raise that maximum"
    );
    assert!(report.rows.iter().all(|row| row.kind != Kind::CpuMaximum));
    let advice: Vec<_> =
        report.advice.iter().filter(|a| a.kind == Kind::CpuMaximum).map(|a| a.advice.as_str()).collect();
    assert!(matches!(advice[..], [one] if one.contains("RocksDB has exactly one node")), "{advice:?}");
}

#[test]
fn every_kind_is_documented() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/capacity.md");
    let text = std::fs::read_to_string(path).unwrap();
    for kind in Kind::ALL {
        assert!(text.contains(&format!("`{}`", kind.as_str())), "{kind:?} is not in docs/capacity.md");
    }
}
