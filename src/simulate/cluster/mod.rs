//! A cluster of engines in virtual time: pods and their machines, pools of actor hosts, the database, the messages.
//!
//! In:  a plan, a load, events, and how far time is to go.   Out: engines that have recorded what happened to them, and the machine's
//! view of them.
//! Always: no clock; the same scenario and steps give the same cluster. The model is of rates and counts, not of
//! single calls; where a figure is not known from the recordings it is a round number, and says so.

mod conditions;
mod deployment;
mod pod;
mod pool;
mod work;

use std::sync::Arc;

use super::chance::Chance;
use super::engine::{Engine, PoolKind, Release};
use super::families::Wanted;
use super::scenario::{Action, ClusterPlan, Event, Load, Platform, Pods, Scenario, Source};
use crate::model::TimestampMs;

use conditions::{Conditions, PodConditions};
use deployment::{Deployment, pending};
pub use pod::{Hosts, Phase, Pod};
use pool::HostConditions;
pub use pool::Pool;

/// Longest step; shorter ones end where an event begins or ends.
pub const STEP_MS: i64 = 5_000;
/// How long the cluster has been at work when the scenario begins.
pub const WARM_UP_MS: i64 = 6 * 60_000;
/// Rivet's namespace.
const NAMESPACE_ID: &str = "9m6ezzt3rfkgblr7vmngk0alkddl00";

/// The cluster.
#[derive(Debug)]
pub struct Cluster {
    pub plan: Arc<ClusterPlan>,
    pub pods: Vec<Pod>,
    pub deployment: Deployment,
    pub pools: Vec<Pool>,
    /// Bytes of the data directory's file system that are free.
    pub disk_free: f64,
    /// The instance that went last.
    pub last_gone: Option<String>,
    load: Arc<Load>,
    events: Arc<Vec<Event>>,
    start: TimestampMs,
    now: TimestampMs,
    wanted: Wanted,
    chance: Chance,
    next_number: u32,
    /// When the cluster's gauges were written last.
    gauges_at: Option<TimestampMs>,
    dead_workflows: f64,
    metering: f64,
    stalled_since: Option<TimestampMs>,
    replicas_before_cap: u32,
}

impl Cluster {
    /// The cluster of a scenario, `WARM_UP_MS` before it begins; its engines record what is `wanted`.
    pub fn new(scenario: &Scenario, wanted: Wanted) -> Self {
        let plan = Arc::new(scenario.cluster.clone());
        let load = Arc::new(scenario.load.clone());
        let now = scenario.start.plus_ms(-WARM_UP_MS);
        let mut chance = Chance::new(scenario.seed);
        let per_pool = load.actors / plan.pools.len() as f64;
        let pools = plan.pools.iter().map(|p| Pool::new(p.clone(), NAMESPACE_ID, per_pool)).collect();
        let deployment = Deployment::new(plan.pods, plan.releases[0], plan.autoscaler);
        let seed = chance.fork();
        let mut cluster = Self {
            disk_free: plan.disk * plan.disk_free,
            pods: Vec::new(),
            deployment,
            pools,
            last_gone: None,
            load,
            events: Arc::new(scenario.events.clone()),
            start: scenario.start,
            now,
            wanted,
            chance: seed,
            next_number: 0,
            gauges_at: None,
            dead_workflows: 0.0,
            metering: 0.0,
            stalled_since: None,
            replicas_before_cap: plan.pods,
            plan,
        };
        let releases = cluster.plan.releases.clone();
        for release in releases.into_iter().cycle().take(cluster.plan.pods as usize) {
            cluster.deployment.release = release;
            cluster.create(now.plus_ms(-3_600_000), Phase::Ready);
        }
        cluster
    }

    /// The time to which it has lived.
    pub fn now(&self) -> TimestampMs {
        self.now
    }

    /// Whether the agent's machine sleeps.
    pub fn is_agent_paused(&self) -> bool {
        Conditions::of(self.events_on(), 0).agent_paused
    }

    /// Whether a source beside the engines tells nothing.
    pub fn has_lost(&self, source: Source) -> bool {
        Conditions::of(self.events_on(), 0).lost_sources.contains(&source)
    }

    /// Whether scrapes of an instance time out although it runs.
    pub fn is_out_of_reach(&self, pod: &Pod) -> bool {
        self.pod_conditions(pod.number).is_out_of_reach
    }

    /// Whether the health route of an instance answers.
    pub fn is_healthy(&self, pod: &Pod) -> bool {
        pod.answers(self.now) && !self.pod_conditions(pod.number).is_unhealthy
    }

    /// Whether the engine holds the pool in error.
    pub fn is_in_error(&self, pool: &Pool) -> bool {
        self.host_conditions(pool).in_error
    }

    /// The most replicas that the autoscaler may ask for now.
    pub fn replicas_max(&self) -> u32 {
        let most = Conditions::of(self.events_on(), self.replicas_before_cap).replicas_max;
        self.deployment.autoscaler.map_or(most, |scaler| scaler.max.min(most))
    }

    /// Connected long-lived hosts of a pool, by its index.
    pub fn connected(&self, pool: usize) -> u64 {
        self.pods.iter().filter_map(|pod| pod.hosts.get(pool)).map(|hosts| hosts.connected).sum()
    }

    /// Lives on until `to`.
    pub fn advance(&mut self, to: TimestampMs) {
        while self.now < to {
            let grid = self.now.align_down(STEP_MS).plus_ms(STEP_MS);
            let edges = self.events.iter().flat_map(|event| [event.at_ms, event.until_ms]);
            let edge = edges.map(|ms| self.start.plus_ms(ms)).filter(|t| *t > self.now).min();
            let next = grid.min(to).min(edge.unwrap_or(TimestampMs::MAX));
            self.step(next);
        }
    }

    /// The events that are on: what holds from now on, and in the step that begins now.
    fn events_on(&self) -> impl Iterator<Item = &Event> {
        let since_start = self.now.since(self.start);
        self.events.iter().filter(move |event| event.is_on(since_start))
    }

    /// Where an instance stands among those that are not gone, the oldest first.
    fn pod_conditions(&self, number: u32) -> PodConditions {
        let rank = self.pods.iter().filter(|pod| pod.phase != Phase::Gone && pod.number < number).count();
        PodConditions::of(self.events_on(), rank)
    }

    fn host_conditions(&self, pool: &Pool) -> HostConditions {
        HostConditions::of(self.events_on(), &pool.plan)
    }

    /// One step, which lies between two events.
    fn step(&mut self, to: TimestampMs) {
        let seconds = to.since(self.now) as f64 / 1000.0;
        let since_start = self.now.since(self.start);
        for event in Arc::clone(&self.events).iter().filter(|event| event.at_ms == since_start) {
            self.begin(event);
        }
        let step = Step {
            to,
            seconds,
            conditions: Conditions::of(self.events_on(), self.replicas_before_cap),
            pods: self.pods.iter().map(|pod| self.pod_conditions(pod.number)).collect(),
            hosts: self.pools.iter().map(|pool| self.host_conditions(pool)).collect(),
        };
        self.live_pods(&step);
        self.connect_hosts(&step);
        self.work(&step);
        self.now = to;
        self.pods.retain(|pod| pod.phase != Phase::Gone);
        self.deploy(&step.conditions);
        self.disk_free = (self.disk_free - step.conditions.disk_bytes_a_second * seconds).max(0.0);
    }

    /// What happens at once when an event begins.
    fn begin(&mut self, event: &Event) {
        let now = self.now;
        let meant = match event.pods {
            Pods::All => usize::MAX,
            Pods::Oldest(n) => n as usize,
        };
        match &event.action {
            Action::NodeLost { replaced_after_ms } => {
                let until = replaced_after_ms.map_or(TimestampMs::MAX, |ms| now.plus_ms(ms));
                self.drop_pods(meant, |pod| pod.phase = Phase::Lost { until });
            }
            Action::EngineDown => {
                let until = self.start.plus_ms(event.until_ms);
                self.drop_pods(meant, |pod| pod.crash(now, Some(until)));
            }
            Action::CounterReset => {
                self.pods.iter_mut().filter(|pod| pod.is_ready()).take(meant).for_each(|pod| pod.engine.restart(now));
            }
            Action::DeadWorkflows { n } => self.dead_workflows += n,
            Action::Rollout { to } => match self.plan.platform {
                Platform::Kubernetes => self.deployment.roll_out(*to),
                Platform::Host => self.restart_in_turn(*to),
            },
            Action::Scale { to } => self.deployment.replicas = *to,
            Action::HpaMax { .. } => self.replicas_before_cap = self.deployment.replicas,
            _ => {}
        }
    }

    /// Takes some of the ready instances away, with the actors and hosts that hang on them.
    fn drop_pods(&mut self, most: usize, drop: impl Fn(&mut Pod)) {
        let ready: Vec<usize> = (0..self.pods.len()).filter(|i| self.pods[*i].is_ready()).collect();
        for i in ready.into_iter().take(most) {
            self.lose_connections(i);
            drop(&mut self.pods[i]);
        }
    }

    /// Processes on machines of their own are restarted one after the other, half a minute apart.
    fn restart_in_turn(&mut self, to: Option<Release>) {
        for i in 0..self.pods.len() {
            let until = self.now.plus_ms(3_000);
            self.lose_connections(i);
            let pod = &mut self.pods[i];
            if let Some(release) = to {
                let chance = self.chance.fork();
                pod.engine = Engine::new(release, &pod.name, chance, until, self.wanted.clone());
            }
            pod.crash(self.now, Some(until));
        }
    }

    /// The actors whose start requests hang on an instance go with it; hosts connect to another, and theirs live on.
    fn lose_connections(&mut self, i: usize) {
        let ready = self.pods.iter().filter(|pod| pod.is_ready()).count().max(1);
        for (pool, hosts) in self.pools.iter_mut().zip(&mut self.pods[i].hosts) {
            if pool.plan.kind == PoolKind::Serverless {
                pool.lose(1.0 / ready as f64);
            }
            *hosts = Hosts::default();
        }
    }

    fn live_pods(&mut self, step: &Step) {
        let now = step.to;
        for (i, conditions) in step.pods.iter().enumerate() {
            let was_ready = self.pods[i].is_ready();
            let down_until = self.events_on().find(|e| e.action == Action::EngineDown).map(|e| e.until_ms);
            let pod = &mut self.pods[i];
            pod.advance(now);
            pod.clock_skew_ms = conditions.clock_skew_ms;
            if pod.has_process() {
                pod.leaked += conditions.leak_bytes_a_second * step.seconds;
            }
            if conditions.is_down && pod.is_running() {
                // Whoever came up meanwhile goes down again until it is over.
                pod.crash(now, down_until.map(|ms| self.start.plus_ms(ms)));
            }
            match conditions.crashes_every_ms {
                Some(every) if pod.is_running() && pod.crash_at.is_none_or(|at| at <= now) => {
                    pod.crash_at = Some(now.plus_ms(every));
                    pod.crash(now, None);
                }
                Some(_) => {}
                None => pod.crash_at = None,
            }
            if pod.memory > self.plan.memory_limit && pod.is_running() {
                pod.crash(now, None);
                pod.oom_killed = true;
            }
            if pod.phase == Phase::Gone {
                self.last_gone = Some(pod.name.clone());
            }
            if was_ready && !pod.is_ready() {
                self.lose_connections(i);
            }
        }
    }

    fn deploy(&mut self, conditions: &Conditions) {
        if self.plan.platform == Platform::Host {
            return;
        }
        let (cpu, memory) = (self.plan.cpu_request, self.plan.memory_request);
        self.deployment.autoscale(self.now, &self.pods, cpu, memory, conditions.replicas_max);
        for _ in 0..self.deployment.missing(&self.pods) {
            let wait = self.chance.between(3.0, 12.0);
            self.create(self.now, pending(self.now, wait));
        }
        if let Some(i) = self.deployment.surplus(&self.pods) {
            self.lose_connections(i);
            self.pods[i].end(self.now);
        }
    }

    fn create(&mut self, at: TimestampMs, phase: Phase) {
        self.next_number += 1;
        let (number, template) = (self.next_number, self.deployment.template);
        let name = match self.plan.platform {
            Platform::Kubernetes => {
                // The hash of the replica set stays the same within a rollout.
                let hash = Chance::new(u64::from(template) + 7).name(9);
                format!("rivet-engine-{hash}-{}", self.chance.name(5))
            }
            Platform::Host => format!("engine-{number}"),
        };
        let chance = self.chance.fork();
        let engine = Engine::new(self.deployment.release, &name, chance, at, self.wanted.clone());
        let mut pod = Pod::new(name, number, template, engine, at, phase);
        pod.hosts = vec![Hosts::default(); self.pools.len()];
        self.pods.push(pod);
    }

    /// Hosts go and come: those without an engine connect to the one that has the fewest.
    fn connect_hosts(&mut self, step: &Step) {
        for pod in &mut self.pods {
            pod.hosts.iter_mut().for_each(Hosts::begin_step);
        }
        for p in 0..self.pools.len() {
            if self.pools[p].plan.kind != PoolKind::Serverful {
                continue;
            }
            if step.hosts[p].away.is_some() {
                self.pods.iter_mut().for_each(|pod| pod.hosts[p].leave(u64::MAX));
                continue;
            }
            if self.is_flap_due(p, step) {
                let connected = self.connected(p).max(1);
                if let Some(pod) = self.pods.iter_mut().find(|pod| pod.hosts[p].connected > 0) {
                    pod.hosts[p].leave(1);
                    self.pools[p].lose(1.0 / connected as f64);
                    continue;
                }
            }
            let missing = u64::from(self.pools[p].plan.hosts).saturating_sub(self.connected(p));
            for _ in 0..missing {
                let ready = self.pods.iter_mut().filter(|pod| pod.is_ready());
                if let Some(pod) = ready.min_by_key(|pod| pod.hosts[p].connected) {
                    pod.hosts[p].join();
                }
            }
        }
    }

    /// Whether a host of the pool loses its connection in this step.
    fn is_flap_due(&self, p: usize, step: &Step) -> bool {
        let (from, to) = (self.now.since(self.start), step.to.since(self.start));
        self.events_on().any(|event| {
            let is_meant = event.pool.as_ref().is_none_or(|name| *name == self.pools[p].plan.name);
            let Action::HostFlap { every_ms } = event.action else { return false };
            let turn = |t: i64| (t - event.at_ms).div_euclid(every_ms);
            is_meant && (from == event.at_ms || turn(from) != turn(to))
        })
    }
}

/// What holds in one step.
#[derive(Debug)]
struct Step {
    to: TimestampMs,
    seconds: f64,
    conditions: Conditions,
    /// In the order of the pods and of the pools.
    pods: Vec<PodConditions>,
    hosts: Vec<HostConditions>,
}

#[cfg(test)]
mod tests;
