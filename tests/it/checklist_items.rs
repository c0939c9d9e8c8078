//! Items whose evidence is not in manifests: doors, TLS, PostgreSQL, NATS, telemetry, pools. Each on both sides.

use std::time::Duration;

use rivetwatch::checklist::evidence::{
    ActorHostTold, ApiAnswer, Archive, Attempt, Backend, Certificate, ClientToken, DashboardsSeen, Door, Evidence,
    Fingerprint, Health, HostMetadata, HostSeen, InstanceSeen, NatsMonitor, NatsSeen, NatsServer, PoolKind, PoolLoad,
    PoolSeen, PoolerSign, PostgresSeen, Reach, Standby, TargetSeen, TelemetrySeen, TlsSeen, Told,
};
use rivetwatch::checklist::known::unknown;
use rivetwatch::checklist::{Outcome, Status, find_item};
use rivetwatch::model::TimestampMs;

use crate::checklist::NOW;

fn judge(item: &str, e: &Evidence) -> Outcome {
    (find_item(item).unwrap_or_else(|| panic!("no item {item}")).judge)(e)
}

fn status(item: &str, change: impl FnOnce(&mut Evidence)) -> Status {
    let mut e = Evidence::nothing(NOW, Told { backend: Some(Backend::Postgres), ..Told::default() });
    change(&mut e);
    judge(item, &e).status
}

const TOKEN: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn the_api_is_closed_when_a_call_without_a_token_is_refused() {
    let answered = |code: u16, is_engine: bool| {
        status("admin-token-set", move |e| {
            e.engine.without_token = Ok(ApiAnswer { url: "http://e/namespaces".into(), status: code, is_engine });
        })
    };
    assert_eq!((answered(403, true), answered(401, false)), (Status::Pass, Status::Pass));
    assert_eq!(answered(200, true), Status::Fail);
    assert_eq!(answered(200, false), Status::Unknown, "somebody else's page");
    assert_eq!(answered(502, false), Status::Unknown);
}

#[test]
fn a_token_is_judged_only_where_it_is_the_engines() {
    let with = |token: &str, taken: Option<bool>| {
        let token = token.to_owned();
        status("admin-token-strong", move |e| {
            e.told.admin_token = Some(Ok(token.into()));
            e.engine.token_taken = taken.map(Ok);
        })
    };
    assert_eq!(with(TOKEN, Some(true)), Status::Pass);
    assert_eq!(with(TOKEN, None), Status::Pass);
    assert_eq!(with(TOKEN, Some(false)), Status::Unknown, "another token than the engine's");
    assert_eq!(with("changeme-changeme", Some(true)), Status::Fail);
    assert_eq!(with("jH8s2kQz0PmXw7Lr", Some(true)), Status::Warn, "95 bits");
}

#[test]
fn a_client_token_that_opens_the_api_is_the_admin_token() {
    let host = |token: Option<(&str, Option<bool>)>| HostMetadata {
        url: "http://app/api/rivet".into(),
        client_token: token.map(|(t, is_admin)| ClientToken { fingerprint: Fingerprint::of(&t.into()), is_admin }),
        version: None,
    };
    let with = |token: Option<(&str, Option<bool>)>, known: bool| {
        let seen = host(token);
        status("admin-token-not-public", move |e| {
            e.engine.metadata = vec![Ok(seen)];
            e.told.admin_token = known.then(|| Ok(TOKEN.into()));
        })
    };
    assert_eq!(with(Some((TOKEN, None)), true), Status::Fail, "by its fingerprint");
    assert_eq!(with(Some((TOKEN, Some(true))), false), Status::Fail, "by trying it");
    assert_eq!(with(Some(("public", Some(false))), false), Status::Pass);
    assert_eq!(with(Some(("public", None)), true), Status::Pass);
    assert_eq!(with(Some(("public", None)), false), Status::Unknown);
    assert_eq!(with(None, false), Status::Pass);
    assert_eq!(status("admin-token-not-public", |e| e.engine.metadata = vec![unknown("timeout")]), Status::Unknown);
    let pool = |kind: PoolKind| PoolSeen {
        namespace: "n".into(),
        name: "p".into(),
        kind,
        drain_on_version_upgrade: None,
        eviction_delay: None,
        eviction_period: None,
        eviction_rate: None,
    };
    assert_eq!(
        status("admin-token-not-public", |e| e.engine.pools = Ok(vec![pool(PoolKind::Normal)])),
        Status::Skipped
    );
}

#[test]
fn doors_that_answer_outsiders_are_open() {
    let tried = |item: &str, door: Door, reach: Reach| {
        status(item, move |e| {
            e.told.without_kubernetes = Some("there is none".into());
            e.outside.attempts.push(Attempt { door, url: "http://r".into(), reach });
        })
    };
    let other = |location: Option<&str>| Reach::Other { status: 301, location: location.map(str::to_owned) };
    for (item, door) in [("peer-port-closed", Door::Peer), ("metrics-port-closed", Door::Metrics)] {
        assert_eq!(tried(item, door, Reach::Engine { status: 200 }), Status::Fail);
        assert_eq!(tried(item, door, Reach::Closed("connection refused".into())), Status::Pass);
        assert_eq!(tried(item, door, other(None)), Status::Pass);
        assert_eq!(tried(item, door, Reach::Undecided("dns error".into())), Status::Unknown);
    }
    assert_eq!(tried("plain-http-closed", Door::PlainHttp, Reach::Engine { status: 200 }), Status::Fail);
    assert_eq!(tried("plain-http-closed", Door::PlainHttp, other(Some("https://r/"))), Status::Pass);
    // Closed where it was tried, and Kubernetes may open it elsewhere.
    let unread = status("peer-port-closed", |e| {
        let reach = Reach::Closed("connection refused".into());
        e.outside.attempts.push(Attempt { door: Door::Peer, url: "http://r".into(), reach });
        e.told.without_kubernetes = None;
        e.cluster = unknown("the Kubernetes API cannot be reached");
    });
    assert_eq!(unread, Status::Unknown);
    let unread = status("plain-http-closed", |e| {
        let reach = Reach::Other { status: 301, location: Some("https://r/".into()) };
        e.outside.attempts.push(Attempt { door: Door::PlainHttp, url: "http://r".into(), reach });
        e.cluster = unknown("the Kubernetes API cannot be reached");
    });
    assert_eq!(unread, Status::Unknown, "a node port may serve it");
    let here = status("peer-port-closed", |e| e.outside.on_this_machine.push((Door::Peer, "10.0.0.5:6421".into())));
    assert_eq!(here, Status::Warn, "a firewall cannot be seen");
}

fn certificate(issuer: &str, days: i64) -> Certificate {
    let (not_before, not_after) = (NOW.plus_ms(-86_400_000), NOW.plus_ms(days * 86_400_000));
    Certificate { subject: "CN=r.example.com".into(), issuer: issuer.into(), not_before, not_after }
}

#[test]
fn certificates_are_judged_by_trust_and_by_time() {
    let seen = |days: i64, verification: Result<(), String>| TlsSeen {
        address: "r.example.com:443".into(),
        handshake: Ok("TLS 1.3".into()),
        chain: vec![certificate("CN=Some CA", days), certificate("CN=Some CA", 3_650)],
        verification,
    };
    let with = |item: &'static str, seen: TlsSeen| status(item, move |e| e.tls = Ok(seen));
    assert_eq!(with("tls-handshake", seen(60, Ok(()))), Status::Pass);
    assert_eq!(with("tls-chain", seen(60, Ok(()))), Status::Pass);
    assert_eq!(with("tls-chain", seen(60, Err("no trusted root issued it".into()))), Status::Fail);
    for (days, expected) in
        [(15, Status::Pass), (14, Status::Pass), (13, Status::Warn), (0, Status::Fail), (-1, Status::Fail)]
    {
        assert_eq!(with("tls-expiry", seen(days, Ok(()))), expected, "{days} days");
    }
    let none = TlsSeen { handshake: Err("it is plain HTTP".into()), chain: Vec::new(), ..seen(1, Err("none".into())) };
    assert_eq!(with("tls-handshake", none.clone()), Status::Fail);
    assert_eq!(with("tls-expiry", none), Status::Skipped);
    assert_eq!(status("tls-handshake", |e| e.told.public_url = Some("http://r.example.com".into())), Status::Fail);
}

#[test]
fn health_has_five_seconds() {
    let with = |code: Option<u16>, took: Duration| {
        let health = Health { url: "http://e/health".into(), status: code, took, version: None };
        status("health-answers", move |e| e.engine.health = Ok(health))
    };
    assert_eq!(with(Some(200), Duration::from_secs(5)), Status::Pass);
    assert_eq!(with(Some(200), Duration::from_millis(5_001)), Status::Fail);
    assert_eq!(with(Some(503), Duration::from_millis(1)), Status::Fail);
    assert_eq!(with(None, Duration::from_secs(5)), Status::Fail);
    assert_eq!(with(None, Duration::from_secs(1)), Status::Unknown, "nobody waited for five seconds");
}

fn postgres() -> PostgresSeen {
    PostgresSeen {
        address: "db:5432".into(),
        version: "17.2".into(),
        is_standby: false,
        sees_statistics: true,
        max_connections: 500,
        reserved_connections: 3,
        used_connections: Some(12),
        archive: Ok(Archive { mode: "on".into(), last_archived: Some(Duration::from_secs(600)), last_failed: None }),
        standbys: Ok(vec![Standby { name: "db-1".into(), state: "streaming".into(), lag_bytes: Some(0), lag: None }]),
        pooler: Ok(PoolerSign::Direct("two backends".into())),
    }
}

fn of_postgres(item: &str, change: impl FnOnce(&mut PostgresSeen)) -> Outcome {
    let mut e = Evidence::nothing(
        NOW,
        Told { backend: Some(Backend::Postgres), expected_instances: Some(2), ..Told::default() },
    );
    let mut seen = postgres();
    change(&mut seen);
    e.postgres = Ok(seen);
    judge(item, &e)
}

#[test]
fn backups_show_in_the_archiver_or_by_their_marker() {
    let archive = |mode: &str, archived: Option<u64>, failed: Option<u64>| {
        let archive = Archive {
            mode: mode.into(),
            last_archived: archived.map(Duration::from_secs),
            last_failed: failed.map(Duration::from_secs),
        };
        of_postgres("postgres-backups", move |p| p.archive = Ok(archive))
    };
    const HOUR: u64 = 3_600;
    assert_eq!(archive("on", Some(26 * HOUR), None).status, Status::Pass);
    assert_eq!(archive("on", Some(26 * HOUR + 1), None).status, Status::Fail);
    assert_eq!(archive("on", None, None).status, Status::Fail);
    assert_eq!(archive("on", Some(600), Some(601)).status, Status::Pass, "it failed before, and succeeded since");
    assert_eq!(archive("on", Some(600), Some(599)).status, Status::Fail);
    let off = archive("off", None, None);
    assert_eq!((off.status, off.attestable), (Status::Fail, true), "somebody may take them where no probe sees it");
    assert!(!archive("on", None, Some(1)).attestable);
    assert_eq!(of_postgres("postgres-backups", |p| p.archive = unknown("no right")).status, Status::Unknown);

    let marker = |age: u64, mode: &str, failed: Option<u64>| {
        let archive = Archive {
            mode: mode.into(),
            last_archived: Some(Duration::from_secs(9_000)),
            last_failed: failed.map(Duration::from_secs),
        };
        status("postgres-backups", move |e| {
            e.postgres = Ok(PostgresSeen { archive: Ok(archive), ..postgres() });
            e.backups.marker = Some(("`/var/backups/done`".into(), Ok(Duration::from_secs(age))));
        })
    };
    assert_eq!(marker(HOUR, "off", None), Status::Pass);
    assert_eq!(marker(27 * HOUR, "off", None), Status::Fail);
    assert_eq!(marker(HOUR, "on", Some(5)), Status::Fail, "an archive that fails is not made good by a dump");
}

#[test]
fn a_standby_streams_close_behind() {
    let with = |state: &str, lag: Option<f64>, bytes: Option<u64>| {
        let standby = Standby {
            name: "db-1".into(),
            state: state.into(),
            lag_bytes: bytes,
            lag: lag.map(Duration::from_secs_f64),
        };
        of_postgres("postgres-standby", move |p| p.standbys = Ok(vec![standby])).status
    };
    assert_eq!(with("streaming", Some(30.0), Some(9)), Status::Pass);
    assert_eq!(with("streaming", Some(30.1), Some(9)), Status::Warn);
    assert_eq!(with("streaming", Some(300.0), Some(0)), Status::Pass, "nothing is missing");
    assert_eq!(with("streaming", None, None), Status::Unknown);
    assert_eq!(with("catchup", Some(0.1), Some(9)), Status::Warn);
    let none = of_postgres("postgres-standby", |p| p.standbys = Ok(Vec::new()));
    assert_eq!((none.status, none.attestable), (Status::Fail, true));
    assert_eq!(of_postgres("postgres-standby", |p| p.standbys = unknown("grant `pg_monitor`")).status, Status::Unknown);
    assert_eq!(of_postgres("postgres-standby", |p| p.is_standby = true).status, Status::Unknown);
    assert_eq!(of_postgres("postgres-failover", |p| p.standbys = Ok(Vec::new())).status, Status::Skipped);
    assert_eq!(of_postgres("postgres-failover", |_| ()).status, Status::Unknown);
}

#[test]
fn connections_are_counted_without_the_reserved_ones() {
    // 2 x 64 = 128; where PostgreSQL may carry the messages, 256.
    let with = |max: u32| of_postgres("postgres-connections", move |p| p.max_connections = max).status;
    assert_eq!(with(130), Status::Fail);
    assert_eq!(with(131), Status::Unknown, "enough, unless it carries the messages, which is not known");
    assert_eq!(with(259), Status::Pass);
    assert_eq!(of_postgres("postgres-no-pooler", |_| ()).status, Status::Pass);
    let pooled = of_postgres("postgres-no-pooler", |p| p.pooler = Ok(PoolerSign::Pooler("one backend".into())));
    assert_eq!(pooled.status, Status::Fail);
}

fn nats_server(id: &str, cluster: Option<&str>, routes: &[&str]) -> NatsServer {
    NatsServer {
        address: format!("10.0.0.{id}:4222"),
        id: id.into(),
        name: format!("nats-{id}"),
        version: "2.10.0".into(),
        cluster: cluster.map(str::to_owned),
        has_jetstream: false,
        others: Vec::new(),
        monitor: Ok(NatsMonitor {
            slow_consumers: 0,
            routes: routes.iter().map(|r| (*r).into()).collect(),
            has_jetstream: false,
        }),
    }
}

fn of_nats(item: &str, servers: Vec<NatsServer>, silent: &[&str]) -> Status {
    let silent = silent.iter().map(|a| ((*a).to_owned(), "connection refused".to_owned())).collect();
    status(item, move |e| e.nats = Ok(NatsSeen { servers, silent }))
}

#[test]
fn nats_servers_are_counted_with_those_behind_their_routes() {
    let one = || nats_server("1", None, &[]);
    assert_eq!(of_nats("nats-servers", vec![one()], &[]), Status::Fail);
    assert_eq!(
        of_nats("nats-servers", vec![nats_server("1", Some("c"), &["2"])], &[]),
        Status::Pass,
        "the other by its route"
    );
    let both = || vec![nats_server("1", Some("c"), &["2"]), nats_server("2", Some("c"), &["1"])];
    assert_eq!(of_nats("nats-servers", both(), &[]), Status::Pass);
    assert_eq!(of_nats("nats-servers", both(), &["10.0.0.3:4222"]), Status::Warn);
    let apart = vec![one(), nats_server("2", None, &[])];
    assert_eq!(of_nats("nats-servers", apart, &[]), Status::Warn, "two that are no cluster");
    assert_eq!(of_nats("nats-servers", Vec::new(), &["10.0.0.1:4222"]), Status::Unknown);

    let mut slow = one();
    slow.monitor = Ok(NatsMonitor { slow_consumers: 1, routes: Vec::new(), has_jetstream: false });
    assert_eq!(of_nats("nats-slow-consumers", vec![slow], &[]), Status::Warn);
    assert_eq!(of_nats("nats-slow-consumers", vec![one()], &[]), Status::Pass);
    let mut silent = one();
    silent.monitor = unknown("refused");
    assert_eq!(of_nats("nats-slow-consumers", vec![silent], &[]), Status::Unknown);
    let stream = NatsServer { has_jetstream: true, ..one() };
    assert_eq!(of_nats("nats-jetstream", vec![stream], &[]), Status::Info);
}

fn telemetry() -> TelemetrySeen {
    TelemetrySeen {
        source: "the agent".into(),
        instances: Ok(vec![instance(Some(1_000_000.0), 40.0)]),
        actors_running: Ok(212.0),
        versions: Ok(vec!["2.3.19".into()]),
        pools: Ok(vec![PoolLoad {
            rivet_namespace: None,
            pool: "p".into(),
            starts: Some(7.0),
            refused: Some(0.0),
            running: Some(40.0),
            concurrency: Some(0.5),
        }]),
        secrets: Ok(0.0),
        sampled: Ok((100.0, 100_000.0)),
        targets: Ok(vec![target("oncall", "pagerduty", false, Some(60.0))]),
        backend: Ok("postgres".into()),
        nats_slow_consumers: Ok(0.0),
        cpu_request: Ok(2.0),
        memory_request: Ok(4e9),
        cpu_limit: Ok(3.0),
        memory_limit: Ok(4e9),
    }
}

fn instance(connections: Option<f64>, spans: f64) -> InstanceSeen {
    let span_age = (spans > 0.0).then_some(30.0);
    InstanceSeen { name: "engine-0".into(), pod: None, is_up: true, age: Some(12.0), connections, spans, span_age }
}

fn target(receiver: &str, integration: &str, is_broken: bool, last_success: Option<f64>) -> TargetSeen {
    TargetSeen { receiver: receiver.into(), integration: integration.into(), is_broken, last_success }
}

fn of_telemetry(item: &str, change: impl FnOnce(&mut TelemetrySeen)) -> Status {
    status(item, |e| {
        let mut seen = telemetry();
        change(&mut seen);
        e.telemetry = Ok(seen);
    })
}

#[test]
fn silence_of_spans_is_a_failure_only_where_some_were_due() {
    let with = |connections: Option<f64>, spans: f64| {
        of_telemetry("traces-arriving", |t| t.instances = Ok(vec![instance(connections, spans)]))
    };
    assert_eq!(with(Some(10.0), 1.0), Status::Pass);
    // At 0.001 five are due from 5,000 connections on.
    assert_eq!(with(Some(4_999.0), 0.0), Status::Unknown);
    assert_eq!(with(Some(5_000.0), 0.0), Status::Fail);
    assert_eq!(with(None, 0.0), Status::Unknown);
    // Half an hour without one, at 10,000 connections an hour: five were due.
    let stopped = |minutes: f64, connections: f64| {
        let seen = InstanceSeen { span_age: Some(minutes * 60.0), ..instance(Some(connections), 3.0) };
        of_telemetry("traces-arriving", move |t| t.instances = Ok(vec![seen]))
    };
    assert_eq!((stopped(30.0, 10_000.0), stopped(29.0, 10_000.0)), (Status::Fail, Status::Pass));
    assert_eq!(stopped(4.0, 1e6), Status::Pass, "a batch may be on its way");
    assert_eq!(of_telemetry("traces-arriving", |t| t.instances = Ok(Vec::new())), Status::Unknown);
}

#[test]
fn the_sampler_ratio_is_measured_where_it_cannot_be_read() {
    let with = |spans: f64, requests: f64| of_telemetry("sampler-ratio", |t| t.sampled = Ok((spans, requests)));
    assert_eq!(with(100.0, 100_000.0), Status::Pass);
    assert_eq!(with(1_000.0, 100_000.0), Status::Warn, "ten times what is told");
    assert_eq!(with(0.0, 100_000.0), Status::Warn);
    assert_eq!(with(5.0, 10_000.0), Status::Unknown, "too few to tell");
}

#[test]
fn metrics_are_fresh() {
    let with = |is_up: bool, age: Option<f64>| {
        of_telemetry("metrics-arriving", move |t| {
            t.instances = Ok(vec![InstanceSeen { is_up, age, ..instance(None, 0.0) }])
        })
    };
    assert_eq!(with(true, Some(300.0)), Status::Pass);
    assert_eq!(with(true, Some(301.0)), Status::Fail);
    assert_eq!(with(false, Some(1.0)), Status::Fail);
    assert_eq!(with(true, None), Status::Pass, "an engine of 25.7 over OTLP has no `up`");
    assert_eq!(of_telemetry("metrics-arriving", |t| t.instances = Ok(Vec::new())), Status::Fail);
}

#[test]
fn alerts_reach_somebody_lately() {
    let with = |targets: Vec<TargetSeen>| of_telemetry("alerts-reach-somebody", move |t| t.targets = Ok(targets));
    let week = 7.0 * 86_400.0;
    assert_eq!(with(Vec::new()), Status::Fail);
    assert_eq!(with(vec![target("t", "terminal", false, Some(1.0))]), Status::Fail, "a terminal is nobody");
    assert_eq!(with(vec![target("o", "pagerduty", false, Some(week))]), Status::Pass);
    assert_eq!(with(vec![target("o", "pagerduty", false, Some(week + 1.0))]), Status::Warn);
    assert_eq!(with(vec![target("o", "pagerduty", false, None)]), Status::Unknown);
    let one_broken = vec![target("o", "pagerduty", true, Some(1.0)), target("h", "heartbeat", false, Some(1.0))];
    assert_eq!(with(one_broken), Status::Fail);
}

#[test]
fn load_decides_on_the_database_and_on_help() {
    let with = |item: &str, actors: f64| of_telemetry(item, |t| t.actors_running = Ok(actors));
    assert_eq!((with("postgres-load", 800.0), with("postgres-load", 801.0)), (Status::Pass, Status::Warn));
    assert_eq!(with("postgres-load", 1_001.0), Status::Warn);
    assert_eq!((with("foundationdb", 1_000.0), with("foundationdb", 1_001.0)), (Status::Pass, Status::Info));
    assert_eq!(
        (with("enterprise-support", 1_000.0), with("enterprise-support", 1_001.0)),
        (Status::Pass, Status::Info)
    );
    let fdb = status("foundationdb", |e| e.told.backend = Some(Backend::Foundationdb));
    assert_eq!(fdb, Status::Pass, "in use, whatever the load");
    assert_eq!(of_telemetry("admin-token-not-in-telemetry", |t| t.secrets = Ok(1.0)), Status::Fail);
    assert_eq!(of_telemetry("admin-token-not-in-telemetry", |_| ()), Status::Pass);
    assert_eq!(of_telemetry("one-version", |t| t.versions = Ok(vec!["a".into(), "b".into()])), Status::Warn);
    assert_eq!(of_telemetry("requests", |t| t.cpu_request = Ok(0.5)), Status::Fail);
    assert_eq!(of_telemetry("limits", |_| ()), Status::Pass, "without Kubernetes, by the agent's own figures");
}

#[test]
fn limits_of_actor_hosts_that_nobody_told_are_never_headroom() {
    let with = |item: &str, told: Option<(f64, u64)>, load: PoolLoad| {
        status(item, |e| {
            e.telemetry = Ok(TelemetrySeen { pools: Ok(vec![load]), ..telemetry() });
            e.told.actor_hosts = told
                .map(|(rate, actors)| ActorHostTold {
                    pool: "p".into(),
                    rivet_namespace: None,
                    start_rate: Some(rate),
                    concurrency: Some(actors),
                })
                .into_iter()
                .collect();
        })
    };
    let load = |starts: f64, refused: f64| PoolLoad {
        pool: "p".into(),
        starts: Some(starts),
        refused: Some(refused),
        ..PoolLoad::default()
    };
    assert_eq!(with("host-rate-limit", None, load(1.0, 0.0)), Status::Unknown);
    assert_eq!(with("host-rate-limit", Some((10.0, 1)), load(7.0, 0.0)), Status::Pass);
    assert_eq!(with("host-rate-limit", Some((10.0, 1)), load(7.1, 0.0)), Status::Warn);
    assert_eq!(with("host-rate-limit", Some((10.0, 1)), load(10.1, 0.0)), Status::Fail);
    assert_eq!(with("host-rate-limit", None, load(1.0, 0.1)), Status::Fail, "it was refused, whatever the limit");
    let running = |actors: f64, ratio: Option<f64>| PoolLoad {
        pool: "p".into(),
        running: Some(actors),
        concurrency: ratio,
        ..PoolLoad::default()
    };
    assert_eq!(with("host-concurrency", Some((1.0, 100)), running(90.0, Some(0.5))), Status::Pass);
    assert_eq!(with("host-concurrency", Some((1.0, 100)), running(91.0, Some(0.5))), Status::Warn);
    assert_eq!(with("host-concurrency", Some((1.0, 100)), running(100.0, Some(0.5))), Status::Fail);
    assert_eq!(with("host-concurrency", Some((1.0, 100)), running(1.0, Some(0.91))), Status::Warn);
    assert_eq!(with("host-concurrency", None, running(1.0, Some(0.1))), Status::Unknown);
}

#[test]
fn pools_of_one_name_in_two_rivet_namespaces_are_judged_by_themselves() {
    let load = |namespace: &str, starts: f64| PoolLoad {
        pool: "p".into(),
        rivet_namespace: Some(namespace.into()),
        starts: Some(starts),
        ..PoolLoad::default()
    };
    let told = |namespace: Option<&str>, rate: f64| ActorHostTold {
        pool: "p".into(),
        rivet_namespace: namespace.map(str::to_owned),
        start_rate: Some(rate),
        concurrency: None,
    };
    let judged = |hosts: Vec<ActorHostTold>| {
        let mut e = Evidence::nothing(NOW, Told { actor_hosts: hosts, ..Told::default() });
        e.telemetry = Ok(TelemetrySeen { pools: Ok(vec![load("n1", 6.0), load("n2", 6.0)]), ..telemetry() });
        let outcome = judge("host-rate-limit", &e);
        (outcome.status, outcome.reason)
    };
    // Each has six of ten; both together would have twelve.
    assert_eq!(judged(vec![told(None, 10.0)]).0, Status::Pass);
    let (status, reason) = judged(vec![told(None, 10.0), told(Some("n2"), 5.0)]);
    assert!(status == Status::Fail && reason.contains("pool `p` of Rivet namespace `n2` needs 6.00"), "{reason}");
}

#[test]
fn pools_are_set_up_for_upgrades_and_for_their_platform() {
    let pool = |kind: PoolKind, drains: bool, period: u64| PoolSeen {
        namespace: "n".into(),
        name: "p".into(),
        kind,
        drain_on_version_upgrade: Some(drains),
        eviction_delay: Some(0),
        eviction_period: Some(period),
        eviction_rate: Some(1.0),
    };
    let serverless = |lifespan: u64, drain: Option<u64>, actors: Option<u64>| PoolKind::Serverless {
        request_lifespan: Some(lifespan),
        drain_grace_period: drain,
        max_concurrent_actors: actors,
        max_runners: None,
    };
    let with = |item: &str, pool: PoolSeen| status(item, |e| e.engine.pools = Ok(vec![pool]));
    assert_eq!(with("actor-eviction", pool(PoolKind::Normal, true, 60)), Status::Pass);
    assert_eq!(with("actor-eviction", pool(PoolKind::Normal, true, 0)), Status::Info);
    assert_eq!(with("actor-eviction", pool(PoolKind::Normal, false, 60)), Status::Warn);
    assert_eq!(with("max-runners", pool(PoolKind::Normal, true, 0)), Status::Skipped);
    assert_eq!(with("max-runners", pool(serverless(9, None, None), true, 0)), Status::Info);
    assert_eq!(with("max-runners", pool(serverless(9, None, Some(50)), true, 0)), Status::Pass);
    assert_eq!(with("request-lifespan", pool(serverless(3_600, Some(60), None), true, 0)), Status::Pass);
    assert_eq!(
        with("request-lifespan", pool(serverless(3_600, None, None), true, 0)),
        Status::Pass,
        "1,800 s by default"
    );
    assert_eq!(with("request-lifespan", pool(serverless(3_599, None, None), true, 0)), Status::Warn);
    assert_eq!(with("request-lifespan", pool(serverless(60, Some(60), None), true, 0)), Status::Fail);
    assert_eq!(status("max-runners", |e| e.engine.pools = Ok(Vec::new())), Status::Unknown);

    let host = |version: u64| HostSeen { namespace: "n".into(), pool: "p".into(), version: Some(version) };
    assert_eq!(status("runner-version", |e| e.engine.hosts = Ok(vec![host(1)])), Status::Warn, "nobody set it");
    assert_eq!(status("runner-version", |e| e.engine.hosts = Ok(vec![host(2)])), Status::Pass);
    assert_eq!(status("runner-version", |e| e.engine.hosts = Ok(Vec::new())), Status::Unknown);
}

#[test]
fn dashboards_are_looked_for_by_name() {
    let with = |titles: &[&str]| {
        let titles = titles.iter().map(|t| (*t).to_owned()).collect();
        status("dashboards", |e| e.dashboards = Ok(DashboardsSeen { source: "Grafana".into(), titles }))
    };
    assert_eq!((with(&["Rivet / Overview"]), with(&[])), (Status::Pass, Status::Fail));
}

#[test]
fn a_time_before_the_first_day_is_no_trouble() {
    let e = Evidence::nothing(TimestampMs::MIN, Told::default());
    for item in rivetwatch::checklist::ITEMS {
        assert_eq!((item.judge)(&e).status, Status::Unknown, "{}", item.id);
    }
}
