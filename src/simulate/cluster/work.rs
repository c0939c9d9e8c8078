//! The work of a step: what callers get, and what it costs each engine.
//!
//! In:  load and conditions.   Out: a [`Work`] for each process, recorded.
//! Source of the costs: the recordings of 2.3.19 (10 calls a second took about 0.4 cores beside an idle 0.3, a storm of 11
//! start requests a second took 1.6), rounded for a machine of its own.

use super::pool::{Asked, Outcome};
use super::{Cluster, Step};
use crate::rivet::limits::{
    CLUSTER_METRICS_INTERVAL_SECS, LOAD_SHEDDING_END, LOAD_SHEDDING_END_SHARE, LOAD_SHEDDING_START,
};
use crate::simulate::chance::{Chance, Latency};
use crate::simulate::engine::{
    Actors, ApiCalls, Calls, ClusterGauges, Database, LATE_CALL, Messages, PoolWork, Work, Worker,
};
use crate::simulate::scenario::{Action, Backend, Pubsub};

/// CPU of an idle engine, of a call, and of a start request with the workflow behind it, in cores and core-seconds.
const CPU_IDLE: f64 = 0.12;
const CPU_CALL: f64 = 0.01;
const CPU_START: f64 = 0.12;
/// Database transactions of an idle engine a second, of a call, and of a start.
const TX_IDLE: f64 = 2.0;
const TX_CALL: f64 = 10.0;
const TX_START: f64 = 20.0;
/// Reading an actor's row is given up after this long.
const FETCH_SECONDS: f64 = 5.0;
/// Why a workflow died, as the engine writes it.
const DEAD_ERROR: &str = "activity max failures reached: actor state is gone";

impl Cluster {
    /// Does the work of a step.
    pub(super) fn work(&mut self, step: &Step) {
        let time_of_day = self.now.0.rem_euclid(86_400_000);
        let factor = self.load.factor(self.now.since(self.start), time_of_day);
        let calls = self.load.calls * factor * step.conditions.calls;
        let starts = self.load.starts * factor * step.conditions.starts;
        let ready: Vec<usize> = (0..self.pods.len()).filter(|i| self.pods[*i].is_ready()).collect();
        let outcomes: Vec<Outcome> = (0..self.pools.len())
            .map(|p| {
                let share = 1.0 / self.pools.len() as f64;
                let asked = Asked {
                    now: step.to,
                    seconds: step.seconds,
                    calls: calls * share,
                    starts: starts * share,
                    actors: self.load.actors * share * (starts / self.load.starts.max(1e-9)).max(1.0),
                    has_engine: !ready.is_empty(),
                    connected: self.connected(p),
                    hosts: step.hosts[p],
                };
                self.pools[p].step(&asked, &mut self.chance)
            })
            .collect();
        self.metering += outcomes.iter().map(|o| o.lost as f64).sum::<f64>();
        self.stalled_since = match (step.conditions.database_stalled, self.stalled_since) {
            (true, since) => since.or(Some(self.now)),
            (false, _) => None,
        };
        let mut parts = Parts::new(outcomes, ready.len());
        let gauges_for = self.gauges_holder(&ready, step);
        for i in 0..self.pods.len() {
            if !self.pods[i].has_process() {
                self.pods[i].use_resources(0.0, step.seconds, 0.0);
                continue;
            }
            let outcomes = ready.contains(&i).then(|| parts.next(&mut self.chance));
            let engines = Engines { ready: ready.len(), is_first: ready.first() == Some(&i) };
            self.work_of(i, step, outcomes, engines, gauges_for == Some(i));
        }
    }

    /// The instance that wins the lock for the cluster's gauges in this step, if they are due.
    fn gauges_holder(&mut self, ready: &[usize], step: &Step) -> Option<usize> {
        let every = i64::from(CLUSTER_METRICS_INTERVAL_SECS) * 1000;
        let is_due = self.gauges_at.is_none_or(|last| step.to.since(last) >= every);
        let able: Vec<usize> = ready.iter().copied().filter(|i| !step.pods[*i].is_stalled).collect();
        if !is_due || able.is_empty() || step.conditions.database_stalled {
            return None;
        }
        self.gauges_at = Some(step.to);
        Some(able[self.chance.index(able.len())])
    }

    /// The work of one process; `outcomes` is its part of what happened in the pools, by pool.
    fn work_of(&mut self, i: usize, step: &Step, outcomes: Option<Vec<Outcome>>, engines: Engines, has_lock: bool) {
        let Engines { ready, is_first } = engines;
        let (seconds, conditions, own) = (step.seconds, &step.conditions, step.pods[i]);
        let takes_calls = outcomes.is_some();
        let outcomes = outcomes.unwrap_or_default();
        let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
        let (answered, late) = (sum(|o| o.answered), sum(|o| o.answered_late));
        let attempts = sum(Outcome::attempts) + sum(|o| o.not_placed);
        let refused = outcomes.iter().flat_map(|o| &o.refused).map(|(_, n)| n).sum::<u64>();
        let calls = answered + late + refused;

        let demand = CPU_IDLE
            + own.hog_cores
            + (calls as f64 * CPU_CALL + (attempts + sum(|o| o.woken)) as f64 * CPU_START) / seconds;
        let limit = self.plan.cpu_limit;
        let cores = demand.min(limit);
        let pod = &mut self.pods[i];
        pod.backlog = (pod.backlog + (demand - limit) / limit * seconds).clamp(0.0, 60.0);
        let backlog = pod.backlog;
        let actors: f64 = self.pools.iter().map(|pool| pool.running).sum::<f64>() / ready.max(1) as f64;
        pod.use_resources(cores, seconds, actors);
        let skew = pod.clock_skew_ms;
        let utilization = cores / limit;
        let shedding = shedding(utilization);

        let database = self.database(step, calls, attempts);
        let backend =
            if self.stalled_since.is_some() { 1.0 } else { 1.0 - database.latency.share_until(FETCH_SECONDS) };
        let base = conditions.slow_calls.unwrap_or(self.load.latency);
        let crowded = 1.0 + 10.0 * (utilization - 0.8).max(0.0);
        let waits = database.latency.median * 2.0 + backlog;
        let latency = Latency::of(base * crowded).plus(if waits > 0.05 { waits } else { 0.0 });

        let chance = &mut self.chance;
        let unread = chance.share(answered, backend);
        let cut = chance.share(answered - unread, ((backlog - 15.0) / 30.0).clamp(0.0, 1.0));
        let cross = if ready > 1 { 0.5 } else { 0.0 };
        let unheard = chance.share(answered - unread - cut, if conditions.partitioned { cross } else { 0.0 });
        let proxied = answered - unread - cut - unheard;
        let failing = chance.share(proxied, 1.0 - (1.0 - self.load.failing) * (1.0 - conditions.failing));
        let mut work = Work { seconds, late, ..Work::default() };
        work.calls = vec![
            Calls { status: "200", n: proxied - failing, latency },
            Calls { status: "500", n: failing, latency },
            Calls { status: "200", n: late, latency: LATE_CALL },
            Calls { status: "error", n: sum(|o| o.cut_off), latency: Latency::of(30.0) },
        ];
        let mistakes = if takes_calls {
            chance.count((self.load.mistakes + conditions.caller_errors) / ready.max(1) as f64 * seconds)
        } else {
            0
        };
        work.refused = outcomes.iter().flat_map(|o| o.refused.iter().copied()).collect();
        work.refused.extend([
            ("pegboard.route_fetch_actor_timeout", unread),
            ("guard.request_timeout", cut),
            ("guard.tunnel_message_timeout", unheard),
            ("guard.actor_not_found", mistakes),
        ]);
        if is_first {
            work.calls.extend(self.slow_requests(step));
        }
        let chance = &mut self.chance;
        work.connections = chance.count((calls as f64 + mistakes as f64) * 0.2);
        if takes_calls {
            let factor = self.load.api / ready.max(1) as f64 * seconds;
            work.api = api_calls(factor, conditions.api_errors, self.stalled_since.is_some(), &database, chance);
        }
        work.actors = Actors {
            created: sum(|o| o.created),
            woken: sum(|o| o.woken),
            lost: sum(|o| o.lost),
            events: sum(|o| o.started) * 3,
        };
        work.pools = self.pool_work(i, outcomes, ready);
        work.worker = self.worker_of(step, &own, skew, cores, shedding, backlog, attempts);
        work.messages = self.messages(step, calls + attempts, own.is_stalled);
        work.cluster = has_lock.then(|| self.gauges());
        work.database = database;
        self.pods[i].engine.record(step.to, &work);
    }

    fn database(&mut self, step: &Step, calls: u64, attempts: u64) -> Database {
        let healthy = match self.plan.backend {
            Backend::Postgres => 0.003,
            Backend::RocksDb => 0.001,
            Backend::FoundationDb => 0.004,
        };
        let latency = Latency::of(step.conditions.database_median.unwrap_or(healthy));
        let mean = TX_IDLE * step.seconds + TX_CALL * calls as f64 + TX_START * attempts as f64;
        let transactions = if self.stalled_since.is_some() { 0 } else { self.chance.count(mean) };
        let idle_seconds = match self.stalled_since {
            Some(since) => step.to.since(since) as f64 / 1000.0,
            None => self.chance.between(0.0, 0.6) + latency.median,
        };
        let repeated = self.chance.share(transactions, (0.01_f64).max(step.conditions.conflicts));
        Database { transactions, latency, repeated, idle_seconds }
    }

    #[allow(clippy::too_many_arguments)]
    fn worker_of(
        &mut self,
        step: &Step,
        own: &super::conditions::PodConditions,
        skew_ms: i64,
        cores: f64,
        shedding: f64,
        backlog: f64,
        attempts: u64,
    ) -> Worker {
        let is_alive = !own.is_stalled && self.stalled_since.is_none();
        let latency = step.conditions.database_median.map_or(0.005, |median| 0.002 + median);
        let pulls = if is_alive { self.chance.count(step.seconds / 16.0 + attempts as f64 * 0.5) } else { 0 };
        Worker {
            heartbeat: is_alive.then(|| step.to.plus_ms(skew_ms)),
            cpu_cores: cores,
            shedding,
            pulls,
            pull: Latency::of(latency).plus(backlog),
            wakes: if is_alive { pulls + attempts * 3 } else { 0 },
            // What is not pulled now is pulled at one of the next turns.
            lag: Latency::of(0.02).plus(4.0 * (1.0 / shedding - 1.0) + latency.min(60.0) - 0.005 + backlog),
        }
    }

    fn messages(&mut self, step: &Step, calls: u64, is_stalled: bool) -> Messages {
        let (publish, lag) = match self.plan.pubsub {
            Pubsub::Memory => (0.000_02, 0.000_1),
            Pubsub::Nats => (0.000_2, 0.001),
            Pubsub::Postgres => (0.002, 0.004),
        };
        let is_split = step.conditions.partitioned;
        let published = self.chance.count(calls as f64 * 2.0 + step.seconds / 8.0);
        let trouble = if is_split { self.chance.share(published, 0.3) } else { 0 };
        Messages {
            published,
            publish: Latency::of(if is_split { 1.5 } else { publish }),
            received: if is_stalled { 0 } else { published },
            lag: Latency::of(if is_split { 12.0 } else { lag }),
            retries: trouble,
            timeouts: trouble / 2,
            slow_consumer: self.chance.count(step.conditions.slow_consumer * step.seconds),
            dropped: 0,
        }
    }

    fn pool_work(&mut self, i: usize, outcomes: Vec<Outcome>, ready: usize) -> Vec<PoolWork> {
        let pod = &self.pods[i];
        let mut works = Vec::new();
        for (p, pool) in self.pools.iter().enumerate() {
            let outcome = outcomes.get(p).cloned().unwrap_or_default();
            let hosts = pod.hosts.get(p).copied().unwrap_or_default();
            works.push(PoolWork {
                placed: outcome.placed,
                not_placed: outcome.not_placed,
                started: outcome.started,
                start: Latency { median: 0.4, spread: 0.5 },
                accepted: outcome.accepted,
                failed: outcome.failed,
                open: if pod.is_ready() { pool.running / ready.max(1) as f64 } else { 0.0 },
                hosts: hosts.connected,
                no_host: outcome.no_host,
                connected: hosts.joined,
                disconnected: vec![("connection_error", hosts.left)],
                ..PoolWork::idle(&pool.plan.name, &pool.namespace_id, pool.plan.kind)
            });
        }
        works
    }

    fn slow_requests(&self, step: &Step) -> Vec<Calls> {
        let began = |event: &&crate::simulate::scenario::Event| {
            let at = self.start.plus_ms(event.at_ms);
            self.now <= at && at < step.to
        };
        let slow = self.events.iter().filter(began).filter_map(|event| match event.action {
            Action::SlowRequest { seconds } => Some(seconds),
            _ => None,
        });
        slow.map(|median| Calls { status: "200", n: 1, latency: Latency { median, spread: 0.001 } }).collect()
    }

    fn gauges(&self) -> ClusterGauges {
        let sum = |of: fn(&super::Pool) -> f64| self.pools.iter().map(of).sum::<f64>();
        let (running, waiting) = (sum(|p| p.running), sum(|p| p.waiting));
        ClusterGauges {
            actors_active: running + waiting,
            actors_sleeping: self.load.actors * 4.0,
            housekeeping: 1.0,
            pending_wakes: waiting,
            pending_metering: self.metering,
            dead: if self.dead_workflows > 0.0 { vec![(DEAD_ERROR, self.dead_workflows)] } else { Vec::new() },
        }
    }
}

/// Share of its work that an engine takes at this use of its CPU limit.
fn shedding(utilization: f64) -> f64 {
    let over = (utilization - LOAD_SHEDDING_START) / (LOAD_SHEDDING_END - LOAD_SHEDDING_START);
    (1.0 - over * (1.0 - LOAD_SHEDDING_END_SHARE)).clamp(LOAD_SHEDDING_END_SHARE, 1.0)
}

/// Calls of the API on a few routes; `mean` of them in all.
fn api_calls(mean: f64, errors: f64, is_stalled: bool, database: &Database, chance: &mut Chance) -> Vec<ApiCalls> {
    let routes = [("GET", "/actors", 0.7), ("PUT", "/actors", 0.3)];
    let mut calls = Vec::new();
    for (method, path, share) in routes {
        let n = chance.count(mean * share);
        let failed = chance.share(n, if is_stalled { 1.0 } else { errors });
        let latency = if is_stalled { Latency::of(5.0) } else { Latency::of(0.003).plus(database.latency.median) };
        for (status, error, n) in [("200", "", n - failed), ("500", "core.internal_error", failed)] {
            calls.push(ApiCalls { method, path, status, error, n, latency });
        }
    }
    // The kubelet's probes.
    let health = chance.count(mean.max(1.0) * 0.3);
    calls.push(ApiCalls {
        method: "GET",
        path: "/health",
        status: "200",
        error: "",
        n: health,
        latency: Latency::of(0.0001),
    });
    calls
}

/// The engines that take calls, as one of them sees it.
#[derive(Clone, Copy, Debug)]
struct Engines {
    ready: usize,
    is_first: bool,
}

/// What happened in the pools, dealt out to the engines that take calls.
struct Parts {
    left: Vec<Outcome>,
    engines: usize,
}

impl Parts {
    fn new(outcomes: Vec<Outcome>, engines: usize) -> Self {
        Self { left: outcomes, engines }
    }

    /// The next engine's part, by pool.
    fn next(&mut self, chance: &mut Chance) -> Vec<Outcome> {
        let share = 1.0 / self.engines.max(1) as f64;
        self.engines = self.engines.saturating_sub(1);
        self.left.iter_mut().map(|left| take_part(left, share, chance)).collect()
    }
}

fn take_part(left: &mut Outcome, share: f64, chance: &mut Chance) -> Outcome {
    let mut part = |n: &mut u64| {
        let taken = chance.share(*n, share);
        *n -= taken;
        taken
    };
    let mut list = |list: &mut Vec<(&'static str, u64)>| -> Vec<(&'static str, u64)> {
        list.iter_mut().map(|(what, n)| (*what, part(n))).collect()
    };
    let (refused, failed) = (list(&mut left.refused), list(&mut left.failed));
    Outcome {
        refused,
        failed,
        answered: part(&mut left.answered),
        answered_late: part(&mut left.answered_late),
        cut_off: part(&mut left.cut_off),
        created: part(&mut left.created),
        woken: part(&mut left.woken),
        lost: part(&mut left.lost),
        placed: part(&mut left.placed),
        not_placed: part(&mut left.not_placed),
        no_host: part(&mut left.no_host),
        started: part(&mut left.started),
        accepted: part(&mut left.accepted),
    }
}
