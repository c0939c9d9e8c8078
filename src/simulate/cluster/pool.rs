//! A pool of actor hosts: who runs, who waits, and what the host makes of it.
//!
//! Always: an actor that cannot start is tried again for as long as somebody calls it, so that a host which refuses is
//! kept full of retries (recorded: 40 wanted actors gave 1,434 start requests in two minutes), and whoever calls such
//! an actor has an error after its last wake retry, never a proxied answer.

use std::collections::VecDeque;

use crate::model::TimestampMs;
use crate::simulate::chance::Chance;
use crate::simulate::engine::PoolKind;
use crate::simulate::scenario::PoolPlan;

/// A waiting actor is tried again about this often (recorded: 12 a second for 40).
const RETRY_SECONDS: f64 = 3.2;
/// A caller has its error after eight wake retries.
const WAKE_RETRIES_MS: i64 = 26_000;
/// A caller of an actor on a long-lived host waits this long for it.
const READY_TIMEOUT_MS: i64 = 15_000;
/// Calls that were being answered when the hosts vanished end with an error, as many as come in this time.
const IN_FLIGHT_SECONDS: f64 = 8.0;
/// Placements without a host: often at first, rarely once the back-off has grown (recorded over 7 minutes).
const PLACEMENTS_SECONDS: (f64, f64) = (25.0, 300.0);
const PLACEMENTS_OFTEN_MS: i64 = 90_000;
/// An actor for which there is no room is placed again after a back-off of two seconds doubling to minutes: about this
/// often at first. Round number, not recorded.
const FULL_SECONDS: f64 = 20.0;

/// What the events of a scenario make of a pool at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HostConditions {
    /// Share of starts answered 429.
    pub refused: f64,
    /// Share of starts that fail, and their status.
    pub failing: Option<(f64, &'static str)>,
    pub in_error: bool,
    /// Long-lived hosts are away; how long calls go on failing once they are back.
    pub away: Option<i64>,
    /// More actors that are wanted at once, for as long as it lasts.
    pub storm: f64,
}

/// What is asked of a pool in a step.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub now: TimestampMs,
    pub seconds: f64,
    /// Calls and starts a second.
    pub calls: f64,
    pub starts: f64,
    /// Actors that run when all is well.
    pub actors: f64,
    /// Whether any engine takes calls.
    pub has_engine: bool,
    /// Connected long-lived hosts.
    pub connected: u64,
    pub hosts: HostConditions,
}

/// What came of it, over all engines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub answered: u64,
    /// Answered after their actor had come up.
    pub answered_late: u64,
    /// Proxied and cut off.
    pub cut_off: u64,
    pub refused: Vec<(&'static str, u64)>,
    pub created: u64,
    pub woken: u64,
    pub lost: u64,
    pub placed: u64,
    pub not_placed: u64,
    pub no_host: u64,
    pub started: u64,
    pub accepted: u64,
    pub failed: Vec<(&'static str, u64)>,
}

impl Outcome {
    /// Start requests, successful or not.
    pub fn attempts(&self) -> u64 {
        self.accepted + self.failed.iter().map(|(_, n)| n).sum::<u64>()
    }
}

/// Calls that wait for an actor and will fail.
#[derive(Clone, Copy, Debug)]
struct Doomed {
    due: TimestampMs,
    error: &'static str,
    n: u64,
}

/// One pool.
#[derive(Debug)]
pub struct Pool {
    pub plan: PoolPlan,
    /// Id of Rivet's namespace.
    pub namespace_id: String,
    pub running: f64,
    /// Actors that somebody calls and that do not run.
    pub waiting: f64,
    /// Start requests that the platform still takes in its window.
    tokens: f64,
    doomed: VecDeque<Doomed>,
    /// Since when the hosts are away, or calls go on failing although they are back.
    away_since: Option<TimestampMs>,
    recovers_at: Option<TimestampMs>,
    /// Actors of the storm that have not come up.
    storm_left: Option<f64>,
}

impl Pool {
    /// A pool at work.
    pub fn new(plan: PoolPlan, namespace_id: &str, actors: f64) -> Self {
        let tokens = plan.rate_limit.map_or(0.0, |rate| rate * 60.0);
        let running = if plan.kind == PoolKind::Serverful && plan.hosts == 0 { 0.0 } else { actors };
        Self {
            namespace_id: namespace_id.to_owned(),
            running,
            waiting: 0.0,
            tokens,
            doomed: VecDeque::new(),
            away_since: None,
            recovers_at: None,
            storm_left: None,
            plan,
        }
    }

    /// Some of the actors go down with their engine or host and are wanted again.
    pub fn lose(&mut self, share: f64) -> u64 {
        let lost = self.running * share;
        self.running -= lost;
        self.waiting += lost;
        lost.round() as u64
    }

    /// Lives through a step.
    pub fn step(&mut self, asked: &Asked, chance: &mut Chance) -> Outcome {
        let mut out = Outcome::default();
        if !asked.has_engine {
            // Whoever waited has lost the connection with the engine.
            self.doomed.clear();
            self.lose(1.0);
            return out;
        }
        match self.plan.kind {
            _ if asked.hosts.in_error => self.in_error(asked, chance, &mut out),
            PoolKind::Serverless => self.serverless(asked, chance, &mut out),
            PoolKind::Serverful => self.serverful(asked, chance, &mut out),
        }
        while let Some(doomed) = self.doomed.front().filter(|d| d.due <= asked.now).copied() {
            self.doomed.pop_front();
            add(&mut out.refused, doomed.error, doomed.n);
        }
        out
    }

    /// The engine refuses every call at once; nobody is even tried.
    fn in_error(&mut self, asked: &Asked, chance: &mut Chance, out: &mut Outcome) {
        self.lose(1.0);
        self.waiting = self.waiting.min(asked.actors.max(1.0));
        let n = chance.count(asked.calls * asked.seconds) + chance.count(asked.starts * asked.seconds);
        add(&mut out.refused, "guard.actor_runner_failed", n);
    }

    fn serverless(&mut self, asked: &Asked, chance: &mut Chance, out: &mut Outcome) {
        let wanted = self.wanted(asked, chance, out);
        let room = (self.plan.max_concurrent as f64 - self.running).max(0.0) as u64;
        let each = if room as f64 >= self.waiting { RETRY_SECONDS } else { FULL_SECONDS };
        let retries = chance.count((self.waiting - wanted as f64).max(0.0) * asked.seconds / each);
        let attempts = (wanted + retries).min((self.waiting.ceil().max(0.0) as u64) * 4);
        out.not_placed = attempts.saturating_sub(room);
        let attempts = attempts - out.not_placed;
        let mut left = attempts;
        let mut fail = |status, n: u64, left: &mut u64| {
            let n = n.min(*left);
            *left -= n;
            add(&mut out.failed, status, n);
        };
        if let Some(rate) = self.plan.rate_limit {
            self.tokens = (self.tokens + rate * asked.seconds).min(rate * 60.0);
            fail("429", left.saturating_sub(self.tokens as u64), &mut left);
        }
        fail("429", chance.share(left, asked.hosts.refused), &mut left);
        if let Some((share, status)) = asked.hosts.failing {
            fail(status, chance.share(left, share), &mut left);
        }
        // What was refused has used up the window too: a limit counts requests.
        self.tokens = (self.tokens - attempts as f64).max(0.0);
        // Tried several times or not, an actor comes up once.
        let failed = attempts - left;
        out.accepted = left.min(self.waiting.ceil() as u64);
        out.placed = out.accepted + failed;
        out.started = out.accepted;
        out.lost += failed;
        out.woken += failed;
        let error = if out.not_placed > 0 { "guard.actor_ready_timeout" } else { "guard.actor_wake_retries_exceeded" };
        self.come_up(out.accepted, out);
        self.call(asked, error, WAKE_RETRIES_MS, chance, out);
    }

    fn serverful(&mut self, asked: &Asked, chance: &mut Chance, out: &mut Outcome) {
        let wanted = self.wanted(asked, chance, out);
        if asked.connected == 0 {
            let since = *self.away_since.get_or_insert(asked.now);
            if since == asked.now {
                out.cut_off = chance.count(asked.calls * IN_FLIGHT_SECONDS);
            }
            self.lose(1.0);
            let often = asked.now.since(since) < PLACEMENTS_OFTEN_MS;
            let each = if often { PLACEMENTS_SECONDS.0 } else { PLACEMENTS_SECONDS.1 };
            out.not_placed = wanted + chance.count(self.waiting * asked.seconds / each);
            out.no_host = out.not_placed;
            self.recovers_at = asked.hosts.away.map(|recovery| asked.now.plus_ms(recovery));
            self.call(asked, "guard.actor_ready_timeout", READY_TIMEOUT_MS, chance, out);
            return;
        }
        self.away_since = None;
        if self.recovers_at.is_some_and(|at| at > asked.now) {
            // The host is back and the back-off is not over: the recorded incident went on for more than six minutes.
            self.call(asked, "guard.actor_ready_timeout", READY_TIMEOUT_MS, chance, out);
            return;
        }
        self.recovers_at = None;
        let up = self.waiting.ceil() as u64;
        out.placed = up;
        out.started = up;
        out.woken += up.saturating_sub(wanted);
        self.come_up(up, out);
        self.call(asked, "guard.actor_ready_timeout", READY_TIMEOUT_MS, chance, out);
    }

    /// Actors fall asleep, and others are wanted: the whole number of these.
    fn wanted(&mut self, asked: &Asked, chance: &mut Chance, out: &mut Outcome) -> u64 {
        if asked.actors > 0.0 {
            self.running -= self.running * (asked.starts / asked.actors * asked.seconds).min(1.0);
        }
        let storm = match (asked.hosts.storm > 0.0, self.storm_left) {
            (true, None) => {
                self.storm_left = Some(asked.hosts.storm);
                asked.hosts.storm.round() as u64
            }
            (true, Some(_)) => 0,
            (false, _) => {
                self.storm_left = None;
                0
            }
        };
        let wanted = chance.count(asked.starts * asked.seconds) + storm;
        out.created = chance.share(wanted, 0.3);
        out.woken += wanted - out.created;
        // There are only so many actors whose callers could wait.
        self.waiting = (self.waiting + wanted as f64).min((2.0 * asked.actors).max(20.0) + asked.hosts.storm);
        wanted
    }

    /// Actors come up, and so do the calls that wait for them.
    fn come_up(&mut self, n: u64, out: &mut Outcome) {
        let n = n as f64;
        let share = if self.waiting > 0.0 { (n / self.waiting).min(1.0) } else { 1.0 };
        self.running += n;
        self.waiting = (self.waiting - n).max(0.0);
        for doomed in &mut self.doomed {
            let saved = (doomed.n as f64 * share).round() as u64;
            doomed.n -= saved;
            out.answered_late += saved;
        }
        self.doomed.retain(|doomed| doomed.n > 0);
    }

    /// Calls: those of running actors are answered, those of waiting ones will fail.
    fn call(&mut self, asked: &Asked, error: &'static str, after_ms: i64, chance: &mut Chance, out: &mut Outcome) {
        let all = chance.count(asked.calls * asked.seconds);
        let down = if self.running + self.waiting > 0.0 { self.waiting / (self.running + self.waiting) } else { 0.0 };
        let n = chance.share(all, down);
        out.answered += all - n;
        if n > 0 {
            self.doomed.push_back(Doomed { due: asked.now.plus_ms(after_ms), error, n });
            // Each of them wakes its actor once more.
            out.woken += n;
        }
    }
}

fn add(list: &mut Vec<(&'static str, u64)>, what: &'static str, n: u64) {
    if n == 0 {
        return;
    }
    match list.iter_mut().find(|(known, _)| *known == what) {
        Some((_, count)) => *count += n,
        None => list.push((what, n)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: PoolKind) -> PoolPlan {
        PoolPlan { name: "default".into(), kind, hosts: 2, rate_limit: None, max_concurrent: 1_000 }
    }

    fn asked(now_s: i64, hosts: HostConditions) -> Asked {
        let now = TimestampMs(now_s * 1000);
        Asked { now, seconds: 5.0, calls: 10.0, starts: 0.2, actors: 30.0, has_engine: true, connected: 2, hosts }
    }

    /// Sums over steps of five seconds.
    fn live(pool: &mut Pool, from_s: i64, to_s: i64, change: impl Fn(&mut Asked)) -> Outcome {
        let mut chance = Chance::new(5);
        let mut sum = Outcome::default();
        for t in (from_s..to_s).step_by(5) {
            let mut asked = asked(t, HostConditions::default());
            change(&mut asked);
            let out = pool.step(&asked, &mut chance);
            sum.answered += out.answered;
            sum.cut_off += out.cut_off;
            sum.no_host += out.no_host;
            sum.accepted += out.accepted;
            sum.lost += out.lost;
            out.refused.iter().for_each(|(e, n)| add(&mut sum.refused, e, *n));
            out.failed.iter().for_each(|(s, n)| add(&mut sum.failed, s, *n));
        }
        sum
    }

    #[test]
    fn a_healthy_pool_keeps_its_actors_and_refuses_nobody() {
        for kind in [PoolKind::Serverless, PoolKind::Serverful] {
            let mut pool = Pool::new(plan(kind), "n", 30.0);
            let sum = live(&mut pool, 0, 1800, |_| {});
            assert_eq!((&sum.refused, &sum.failed, sum.cut_off), (&vec![], &vec![], 0), "{kind:?}");
            assert!((15.0..50.0).contains(&pool.running), "{}", pool.running);
            assert!((17_000..19_000).contains(&sum.answered), "{}", sum.answered);
        }
    }

    #[test]
    fn a_refusing_host_is_kept_full_of_retries_and_callers_fail_later() {
        let mut pool = Pool::new(plan(PoolKind::Serverless), "n", 0.0);
        pool.waiting = 40.0;
        let storm = |a: &mut Asked| {
            a.hosts.refused = 1.0;
            a.starts = 0.0;
            a.calls = 2.0;
        };
        let first = live(&mut pool, 0, 25, storm);
        assert_eq!(first.refused, [], "a caller waits for its retries first");
        let sum = live(&mut pool, 25, 145, storm);
        // Recorded: 1,434 start requests for 40 actors in 120 s.
        let attempts = sum.attempts();
        assert!((1_100..1_900).contains(&attempts), "{attempts}");
        assert_eq!(sum.accepted, 0);
        assert_eq!(sum.refused[0].0, "guard.actor_wake_retries_exceeded");
        let after = live(&mut pool, 145, 200, |a| a.starts = 0.0);
        assert!(after.accepted >= 39 && pool.waiting < 1.0, "{after:?}");
    }

    #[test]
    fn a_lost_host_fails_every_call_until_well_after_it_is_back() {
        let mut pool = Pool::new(plan(PoolKind::Serverful), "n", 30.0);
        let away = |a: &mut Asked| {
            a.connected = 0;
            a.hosts.away = Some(360_000);
        };
        let gone = live(&mut pool, 0, 90, away);
        assert!(gone.answered == 0 && gone.cut_off > 40, "{gone:?}");
        assert!((60..180).contains(&gone.no_host), "recorded 117 in about 90 s: {}", gone.no_host);
        let back = live(&mut pool, 90, 440, |_| {});
        assert!(back.answered == 0 && back.refused[0].1 > 2_000, "{back:?}");
        let well = live(&mut pool, 480, 600, |_| {});
        assert!(well.answered > 1_000, "{well:?}");
    }

    #[test]
    fn a_pool_in_error_refuses_at_once_and_starts_nobody() {
        let mut pool = Pool::new(plan(PoolKind::Serverless), "n", 30.0);
        let sum = live(&mut pool, 0, 60, |a| a.hosts.in_error = true);
        assert_eq!((sum.answered, sum.attempts()), (0, 0));
        assert_eq!(sum.refused[0].0, "guard.actor_runner_failed");
        assert!(sum.refused[0].1 > 500);
    }

    #[test]
    fn a_small_limit_of_the_platform_becomes_429() {
        let mut pool = Pool::new(PoolPlan { rate_limit: Some(0.1), ..plan(PoolKind::Serverless) }, "n", 30.0);
        let sum = live(&mut pool, 0, 1800, |a| a.starts = 0.5);
        assert!(sum.failed.iter().any(|(status, n)| *status == "429" && *n > 1_000), "{:?}", sum.failed);
    }
}
