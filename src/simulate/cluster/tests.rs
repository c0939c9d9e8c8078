//! The modelled cluster: what events do to pods, calls and pools.

use super::*;
use crate::simulate::families::Wanted;

fn cluster(text: &str) -> Cluster {
    let scenario = Scenario::parse(text, "test").unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let start = scenario.start;
    let mut cluster = Cluster::new(&scenario, Wanted::All);
    cluster.advance(start);
    cluster
}

fn live(cluster: &mut Cluster, minutes: f64) {
    let to = cluster.now().plus_ms((minutes * 60_000.0) as i64);
    cluster.advance(to);
}

/// Value of the first series of the oldest pod that begins with `series`.
fn value(cluster: &Cluster, series: &str) -> f64 {
    let page = cluster.pods[0].engine.page().unwrap();
    let line = page.lines().find(|l| l.starts_with(series)).unwrap_or_else(|| panic!("{series} in\n{page}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_quiet_cluster_serves_its_load_and_nothing_fails() {
    let mut cluster = cluster("duration: 1h\n");
    let before = value(&cluster, "rivet_guard_proxy_request_total");
    live(&mut cluster, 10.0);
    // 20 calls a second on two pods, and what comes up calls too.
    let calls = value(&cluster, "rivet_guard_proxy_request_total") - before;
    assert!((5_500.0..6_600.0).contains(&calls), "{calls}");
    let page = cluster.pods[0].engine.page().unwrap();
    assert!(!page.contains("status=\"429\"") && !page.contains("timeout"), "{page}");
    assert!((0.15..0.4).contains(&cluster.pods[0].cpu_cores), "{}", cluster.pods[0].cpu_cores);
    assert!((20.0..60.0).contains(&cluster.pools[0].running));
}

#[test]
fn a_rollout_replaces_every_pod_and_is_never_short_of_one() {
    let mut cluster = cluster("duration: 1h\nevents: [{at: 1m, event: rollout}]\n");
    let old: Vec<u32> = cluster.pods.iter().map(|pod| pod.number).collect();
    let mut most = 0;
    for _ in 0..80 {
        live(&mut cluster, 0.1);
        most = most.max(cluster.pods.len());
        assert!(cluster.pods.iter().filter(|pod| pod.is_ready()).count() >= 2);
    }
    assert_eq!(cluster.pods.len(), 2);
    assert!(cluster.pods.iter().all(|pod| !old.contains(&pod.number) && pod.template == 1));
    assert!(most <= 4, "one more than there are to be, and one that ends: {most}");
}

#[test]
fn the_autoscaler_follows_the_load_up_at_once_and_down_later() {
    let mut cluster = cluster(
        "duration: 2h\ncluster: {autoscaler: {min: 2, max: 6}}\nload: {calls: 100/s}\n\
         events: [{at: 1m, event: traffic, of: calls, times: 4, for: 10m}]\n",
    );
    live(&mut cluster, 5.0);
    let peak = cluster.deployment.replicas;
    assert!(peak >= 4, "{peak}");
    live(&mut cluster, 7.0);
    assert!(cluster.deployment.replicas >= peak, "not before the stabilisation window is over");
    live(&mut cluster, 15.0);
    assert_eq!(cluster.deployment.replicas, 2);
}

#[test]
fn a_lost_node_is_replaced_after_five_minutes_and_a_leak_ends_in_a_kill() {
    let mut cluster = cluster("duration: 2h\nevents: [{at: 1m, event: node_lost, pods: 1}]\n");
    live(&mut cluster, 3.0);
    assert_eq!((cluster.pods.len(), cluster.pods.iter().filter(|p| p.is_ready()).count()), (2, 1));
    live(&mut cluster, 5.0);
    assert_eq!(cluster.pods.iter().filter(|p| p.is_ready()).count(), 2);
    assert!(cluster.last_gone.is_some());

    let mut cluster =
        self::cluster("duration: 2h\nevents: [{at: 0s, event: memory_leak, pods: 1, per_minute: 1GiB}]\n");
    live(&mut cluster, 6.0);
    let killed = cluster.pods.iter().find(|pod| pod.restarts > 0).unwrap();
    assert!(killed.oom_killed && killed.memory < 3e9, "{killed:?}");
}

#[test]
fn a_full_cpu_sheds_work_and_makes_calls_wait() {
    let mut cluster = cluster("duration: 1h\nevents: [{at: 1m, event: cpu_hog, cores: 3}]\n");
    live(&mut cluster, 10.0);
    assert_eq!(cluster.pods[0].cpu_cores, 3.0, "the limit");
    let (sum, count) = (
        value(&cluster, "rivet_gasoline_load_shedding_ratio_sum"),
        value(&cluster, "rivet_gasoline_load_shedding_ratio_count"),
    );
    assert!(sum < count, "{sum} of {count}");
    assert!(cluster.pods[0].backlog > 5.0, "{}", cluster.pods[0].backlog);
}

#[test]
fn stale_gauges_stay_where_the_lock_was() {
    let mut cluster = cluster("duration: 1h\n");
    live(&mut cluster, 5.0);
    let published: Vec<String> = cluster
        .pods
        .iter()
        .map(|pod| {
            let page = pod.engine.page().unwrap();
            let line = page.lines().find(|l| l.starts_with("rivet_gasoline_worker_last_metrics_publish"));
            line.unwrap_or_default().to_owned()
        })
        .collect();
    assert_ne!(published[0], published[1], "one pod at a time writes");
}

#[test]
fn a_stalled_database_ages_and_its_callers_fail() {
    let mut cluster = cluster("duration: 1h\nevents: [{at: 1m, event: database_stall, for: 5m}]\n");
    live(&mut cluster, 4.0);
    let age = value(&cluster, "rivet_udb_last_tx_completed_age_seconds");
    assert!((170.0..190.0).contains(&age), "{age}");
    let before = value(&cluster, "rivet_guard_proxy_request_total");
    live(&mut cluster, 1.0);
    assert_eq!(value(&cluster, "rivet_guard_proxy_request_total"), before, "nothing gets through");
    live(&mut cluster, 2.0);
    assert!(value(&cluster, "rivet_udb_last_tx_completed_age_seconds") < 2.0);
}

#[test]
fn the_same_scenario_lives_the_same_life_however_it_is_cut() {
    let text = "duration: 1h\nevents: [{at: 2m, event: rollout}, {at: 3m, event: host_rate_limit, for: 2m}]\n";
    let pages = |cut: f64| {
        let mut cluster = cluster(text);
        for _ in 0..(6.0 / cut) as i64 {
            live(&mut cluster, cut);
        }
        cluster.pods.iter().map(|pod| pod.engine.page().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(pages(0.25), pages(3.0), "cuts on the grid of steps change nothing");
}
