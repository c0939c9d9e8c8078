//! One engine instance: its process, its life, and the machine's view of it.

use crate::model::TimestampMs;
use crate::simulate::engine::{Engine, Release};

/// A process opens its metrics port this long after it began.
const PORT_MS: i64 = 5_000;
/// The shipped startup probe begins after 30 s and looks every 10 s.
const READY_MS: i64 = 35_000;
/// Kubernetes starts a process that ended again after this long, the first time.
const RESTART_MS: i64 = 10_000;
/// From the order to end a pod to SIGTERM: the shipped preStop hook sleeps.
const PRE_STOP_MS: i64 = 15_000;
/// From the order to end a pod until it is gone: the shipped grace period.
const GRACE_MS: i64 = 25_000;

/// Resident memory of an engine without actors, as measured on 2.3.19, and a guess for each actor.
const MEMORY_IDLE: f64 = 105e6;
const MEMORY_PER_ACTOR: f64 = 4e6;

/// Where an instance is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Being placed; no process yet.
    Pending {
        until: TimestampMs,
    },
    /// The process runs and its probe has not passed.
    Starting {
        port_at: TimestampMs,
        ready_at: TimestampMs,
    },
    Ready,
    /// Ordered to end: no new calls, then no metrics, then gone.
    Ending {
        sigterm_at: TimestampMs,
        gone_at: TimestampMs,
    },
    /// No process; another begins at `until`.
    Down {
        until: TimestampMs,
    },
    /// Its machine is unreachable; Kubernetes gives it up at `until`.
    Lost {
        until: TimestampMs,
    },
    Gone,
}

/// The long-lived hosts of one pool at one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    pub connected: u64,
    /// Those that came and went in this step.
    pub joined: u64,
    pub left: u64,
}

impl Hosts {
    /// Forgets who came and went.
    pub fn begin_step(&mut self) {
        (self.joined, self.left) = (0, 0);
    }

    /// One more connects.
    pub fn join(&mut self) {
        self.connected += 1;
        self.joined += 1;
    }

    /// Up to `n` lose their connection.
    pub fn leave(&mut self, n: u64) {
        let n = n.min(self.connected);
        self.connected -= n;
        self.left += n;
    }
}

/// One engine instance.
#[derive(Debug)]
pub struct Pod {
    pub name: String,
    /// Rising in order of creation.
    pub number: u32,
    /// Which rollout it belongs to.
    pub template: u32,
    pub phase: Phase,
    pub engine: Engine,
    pub created: TimestampMs,
    /// Since when it is ready, or when it last was not any more.
    pub ready_since: Option<TimestampMs>,
    pub restarts: u32,
    /// Whether the process before this one was killed for its memory.
    pub oom_killed: bool,
    /// Long-lived hosts, by pool.
    pub hosts: Vec<Hosts>,
    /// CPU now, and since the container began.
    pub cpu_cores: f64,
    pub cpu_seconds: f64,
    /// What memory leaked beyond what the work needs, and all of it.
    pub leaked: f64,
    pub memory: f64,
    /// Seconds of CPU work that waits because the limit is reached.
    pub backlog: f64,
    pub clock_skew_ms: i64,
    /// When it crashed or is to crash next in a crash loop.
    pub crash_at: Option<TimestampMs>,
}

impl Pod {
    /// An instance that is ready when the scenario begins, or pending from `created` on.
    pub fn new(name: String, number: u32, template: u32, engine: Engine, created: TimestampMs, phase: Phase) -> Self {
        Self {
            name,
            number,
            template,
            phase,
            engine,
            created,
            ready_since: Some(created),
            restarts: 0,
            oom_killed: false,
            hosts: Vec::new(),
            cpu_cores: 0.0,
            cpu_seconds: 0.0,
            leaked: 0.0,
            memory: MEMORY_IDLE,
            backlog: 0.0,
            clock_skew_ms: 0,
            crash_at: None,
        }
    }

    /// Moves on to the phase of `now`.
    pub fn advance(&mut self, now: TimestampMs) {
        loop {
            self.phase = match self.phase {
                Phase::Pending { until } | Phase::Down { until } if until <= now => {
                    self.engine.restart(until);
                    self.backlog = 0.0;
                    self.leaked = 0.0;
                    Phase::Starting { port_at: until.plus_ms(PORT_MS), ready_at: until.plus_ms(READY_MS) }
                }
                Phase::Starting { ready_at, .. } if ready_at <= now => {
                    self.ready_since = Some(ready_at);
                    Phase::Ready
                }
                Phase::Ending { gone_at, .. } if gone_at <= now => Phase::Gone,
                Phase::Lost { until } if until <= now => Phase::Gone,
                _ => return,
            };
        }
    }

    /// Kubernetes is told to end the pod.
    pub fn end(&mut self, now: TimestampMs) {
        self.phase = Phase::Ending { sigterm_at: now.plus_ms(PRE_STOP_MS), gone_at: now.plus_ms(GRACE_MS) };
    }

    /// The process dies at `now`; another begins when Kubernetes starts it, or at `until`.
    pub fn crash(&mut self, now: TimestampMs, until: Option<TimestampMs>) {
        self.restarts += 1;
        self.ready_since = Some(now);
        self.oom_killed = false;
        self.phase = Phase::Down { until: until.unwrap_or_else(|| now.plus_ms(RESTART_MS)) };
    }

    /// Whether the metrics port and the health route answer.
    pub fn answers(&self, now: TimestampMs) -> bool {
        match self.phase {
            Phase::Starting { port_at, .. } => port_at <= now,
            Phase::Ready => true,
            // The metrics server is dropped at once on SIGTERM, while calls may still drain.
            Phase::Ending { sigterm_at, .. } => now < sigterm_at,
            Phase::Pending { .. } | Phase::Down { .. } | Phase::Lost { .. } | Phase::Gone => false,
        }
    }

    /// Whether it takes calls and work.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether a process runs.
    pub fn has_process(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Ready | Phase::Ending { .. })
    }

    /// Whether a process runs that nobody has told to end.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Starting { .. } | Phase::Ready)
    }

    /// Whether it counts for the Deployment: not ordered to end and not given up.
    pub fn is_wanted(&self) -> bool {
        !matches!(self.phase, Phase::Ending { .. } | Phase::Gone)
    }

    /// What it is.
    pub fn release(&self) -> Release {
        self.engine.release()
    }

    /// Takes in the CPU and memory of a step.
    pub fn use_resources(&mut self, cores: f64, seconds: f64, actors: f64) {
        self.cpu_cores = cores;
        self.cpu_seconds += cores * seconds;
        self.memory = if self.has_process() { MEMORY_IDLE + actors * MEMORY_PER_ACTOR + self.leaked } else { 0.0 };
    }
}
