//! Scenarios from a seed, as the YAML that a person would write, so that each can be looked at, kept and played again.
//!
//! In:  a seed.   Out: texts. Always: the same seed gives the same texts; quiet days hold nothing that a person would
//! want to be woken for, incidents one thing that they would, or two with causes of their own: the hosts of one pool of two,
//! and while they are in trouble something that hits everybody.

use std::fmt::Write;

use crate::model::format_duration_ms;
use crate::simulate::chance::Chance;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An event of a scenario in the making: its time and the line that says what it is.
struct Line {
    at_ms: i64,
    text: String,
}

/// A cluster with room for five times its calls, and its load.
struct Site {
    pods: u64,
    is_serverful: bool,
    yaml: String,
}

/// What runs on a cluster in the making.
#[derive(Clone, Copy)]
struct Plan<'a> {
    release: &'a str,
    is_serverful: bool,
    /// A second pool, [`TENANT`], takes half of the calls.
    has_tenant: bool,
    is_daily: bool,
}

/// The pool whose hosts are in trouble where something else is too.
const TENANT: &str = "tenant";

fn whole(chance: &mut Chance, low: u64, high: u64) -> u64 {
    low + chance.index((high - low + 1) as usize) as u64
}

fn pick<'a>(chance: &mut Chance, of: &[&'a str]) -> &'a str {
    of[chance.index(of.len())]
}

/// Times of `per_day` things a day over `days`, in order, none in the first half hour.
fn times(chance: &mut Chance, per_day: f64, days: u64) -> Vec<i64> {
    let n = chance.count(per_day * days as f64);
    let end = days as i64 * DAY_MS;
    let mut times: Vec<i64> =
        (0..n).map(|_| chance.between(30.0 * MINUTE_MS as f64, (end - HOUR_MS) as f64) as i64 / 1000 * 1000).collect();
    times.sort_unstable();
    times
}

fn site(chance: &mut Chance, plan: Plan<'_>) -> Site {
    let Plan { release, is_serverful, has_tenant, is_daily } = plan;
    let pods = whole(chance, 2, 4);
    let backend = pick(chance, &["postgres", "postgres", "foundationdb"]);
    let pubsub = pick(chance, &["nats", "nats", "postgres"]);
    let mut yaml =
        format!("cluster:\n  pods: {pods}\n  release: '{release}'\n  backend: {backend}\n  pubsub: {pubsub}\n");
    if chance.happens(0.5) {
        let _ = writeln!(yaml, "  autoscaler: {{min: {pods}, max: 10}}");
    }
    let kind = match is_serverful {
        true => format!(", kind: serverful, hosts: {}", whole(chance, 2, 6)),
        false => String::new(),
    };
    let tenant = if has_tenant { format!(", {{name: {TENANT}{kind}}}") } else { String::new() };
    let _ = writeln!(yaml, "  pools: [{{name: default{kind}}}{tenant}]");
    let calls = whole(chance, 4, 10) * pods;
    let actors = whole(chance, 20, 80);
    // Each actor sleeps after three to ten minutes.
    let starts = actors as f64 / chance.between(180.0, 600.0);
    let _ = write!(yaml, "load:\n  calls: {calls}/s\n  starts: {starts:.3}/s\n  actors: {actors}\n");
    if is_daily {
        let hour = whole(chance, 8, 20);
        let wave = chance.between(1.5, 4.0);
        let _ = writeln!(yaml, "  daily: {{times: {wave:.1}, peak: '{hour:02}:30'}}");
        let at = whole(chance, 1, 5);
        let length = whole(chance, 10, 40);
        let batch = chance.between(2.0, 4.0);
        let _ = writeln!(yaml, "  bursts: [{{at: {at}h, for: {length}m, times: {batch:.1}, every: 1d}}]");
    }
    Site { pods, is_serverful, yaml }
}

/// Days in which a lot goes on and nobody must be woken.
pub fn quiet(seed: u64, days: u64) -> String {
    let mut chance = Chance::new(seed ^ 0x5157_1e7d);
    let is_serverful = chance.happens(0.4);
    let release = pick(&mut chance, &["2.3.19", "2.3.19", "2.3.7"]);
    let site = site(&mut chance, Plan { release, is_serverful, has_tenant: false, is_daily: true });
    let mut lines = Vec::new();
    let mut add = |chance: &mut Chance, per_day: f64, text: &dyn Fn(&mut Chance) -> String| {
        for at_ms in times(chance, per_day, days) {
            lines.push(Line { at_ms, text: text(chance) });
        }
    };
    add(&mut chance, 0.8, &|_| "event: rollout".to_owned());
    add(&mut chance, 2.0, &|c| format!("event: scrape_gap, pods: 1, for: {}s", whole(c, 15, 240)));
    add(&mut chance, 1.0, &|c| format!("event: scrape_gap, for: {}s", whole(c, 10, 30)));
    add(&mut chance, 0.5, &|c| format!("event: agent_pause, for: {}s", whole(c, 20, 300)));
    add(&mut chance, 6.0, &|c| format!("event: slow_request, length: {}s", whole(c, 5, 120)));
    add(&mut chance, 1.0, &|_| "event: counter_reset, pods: 1".to_owned());
    add(&mut chance, 0.3, &|_| "event: node_lost, pods: 1".to_owned());
    add(&mut chance, 1.0, &|c| format!("event: caller_errors, rate: {}/s, for: {}m", whole(c, 1, 30), whole(c, 5, 60)));
    add(&mut chance, 1.0, &|c| {
        format!("event: slow_database, median: {}ms, for: {}s", whole(c, 100, 900), whole(c, 10, 40))
    });
    add(&mut chance, 0.5, &|c| {
        let by = whole(c, 1, 25);
        format!("event: clock_skew, by: {}{by}s, for: {}m", pick(c, &["", "-"]), whole(c, 10, 120))
    });
    add(&mut chance, 1.5, &|c| format!("event: traffic, times: {:.1}, for: {}m", c.between(1.2, 2.0), whole(c, 5, 60)));
    add(&mut chance, 0.5, &|c| format!("event: cpu_hog, cores: {:.1}, for: {}m", c.between(0.1, 0.5), whole(c, 5, 60)));
    add(&mut chance, 0.1, &|_| "event: dead_workflows, count: 1".to_owned());
    match site.is_serverful {
        true => add(&mut chance, 0.5, &|c| format!("event: host_down, for: {}s, recovery: 0s", whole(c, 3, 12))),
        false => {
            add(&mut chance, 1.0, &|c| {
                format!("event: host_rate_limit, share: {}%, for: {}s", whole(c, 10, 60), whole(c, 5, 30))
            });
            add(&mut chance, 0.5, &|c| {
                format!("event: host_error, share: {}%, for: {}s", whole(c, 10, 60), whole(c, 5, 20))
            });
        }
    }
    for (day, at_ms) in times(&mut chance, 0.3, days).into_iter().enumerate() {
        // Scaled up, and down again some hours later.
        let up = site.pods + whole(&mut chance, 1, 2);
        lines.push(Line { at_ms, text: format!("event: scale, to: {up}") });
        let back = at_ms + (2 + day as i64 % 3) * HOUR_MS;
        if back < days as i64 * DAY_MS {
            lines.push(Line { at_ms: back, text: format!("event: scale_down, to: {}", site.pods) });
        }
    }
    let name = format!("quiet-{seed}-{days}d");
    text(&name, "Nothing that anybody should be woken for.", seed, days as i64 * DAY_MS, &site, lines, "")
}

/// Kinds of incidents: the event, the page, and how soon it has to come.
struct Kind {
    name: &'static str,
    is_serverful: bool,
    /// Older releases do not show it.
    release: &'static [&'static str],
    event: fn(&mut Chance) -> String,
    page: &'static str,
    within: &'static str,
    /// A total outage: its time counts from the first scrape that shows it.
    is_total: bool,
    may: &'static [&'static str],
}

const ANY: &[&str] = &["2.3.7", "2.3.19", "2.3.19"];
const NEWEST: &[&str] = &["2.3.19"];

/// What can hit everybody while the hosts of a pool are in trouble, and is told apart from it. Where refused starts are tried
/// again and again the CPU is short of them already, so that a lack of it beside them is no cause of its own.
const BESIDE: [&str; 7] = [
    "database-stalled",
    "database-crawls",
    "nats-partition",
    "calls-fail",
    "calls-slow",
    "workers-stalled",
    "unhealthy",
];
const BESIDE_WITHOUT_RETRIES: &str = "cpu-short";
/// The trouble that hosts of one pool can be in, and whether starts are tried again and again.
const OF_A_POOL: [(&str, bool); 4] =
    [("host-rate-limited", true), ("host-errors", true), ("hosts-lost", false), ("pool-in-error", false)];

/// Something else that is to happen beside `kind`; half of the times where it can.
fn beside(chance: &mut Chance, kind: &Kind, release: &str) -> Option<&'static Kind> {
    let (_, is_retried) = OF_A_POOL.iter().find(|(name, _)| *name == kind.name)?;
    let fits = |other: &&Kind| {
        let is_named = BESIDE.contains(&other.name) || (!is_retried && other.name == BESIDE_WITHOUT_RETRIES);
        is_named && other.release.contains(&release)
    };
    let others: Vec<&Kind> = KINDS.iter().filter(fits).collect();
    chance.happens(0.5).then(|| others[chance.index(others.len())])
}

/// How long an incident lasts.
const LENGTH_MINUTES: (u64, u64) = (15, 20);

fn length(chance: &mut Chance) -> String {
    format!("for: {}m", whole(chance, LENGTH_MINUTES.0, LENGTH_MINUTES.1))
}

static KINDS: [Kind; 15] = [
    Kind {
        name: "host-rate-limited",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: host_rate_limit, share: {}%, {}", whole(c, 85, 100), length(c)),
        page: "RivetActorHostRateLimited",
        within: "7m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "retry-storm",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: retry_storm, wanted: {}, {}", whole(c, 20, 60), length(c)),
        page: "RivetActorHostRateLimited",
        within: "4m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "host-errors",
        is_serverful: false,
        release: ANY,
        event: |c| {
            let status = pick(c, &["500", "502", "503", "504"]);
            format!("event: host_error, share: {}%, status: {status}, {}", whole(c, 85, 100), length(c))
        },
        page: "RivetActorHostErrors",
        within: "6m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "hosts-lost",
        is_serverful: true,
        release: ANY,
        event: |c| format!("event: host_down, recovery: {}m, {}", whole(c, 2, 6), length(c)),
        page: "RivetActorHostLost",
        within: "90s",
        is_total: true,
        may: &[],
    },
    Kind {
        name: "pool-in-error",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: pool_error, {}", length(c)),
        page: "RivetPoolInError",
        within: "90s",
        is_total: true,
        may: &[],
    },
    Kind {
        name: "engine-down",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: engine_down, {}", length(c)),
        page: "RivetEngineDown",
        within: "90s",
        is_total: true,
        may: &[],
    },
    Kind {
        name: "database-stalled",
        is_serverful: false,
        release: NEWEST,
        event: |c| format!("event: database_stall, {}", length(c)),
        page: "RivetDatabaseStalled",
        within: "90s",
        is_total: true,
        may: &[],
    },
    Kind {
        name: "database-crawls",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: slow_database, median: {}ms, {}", whole(c, 5_500, 9_000), length(c)),
        page: "RivetDatabaseLatency",
        within: "6m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "nats-partition",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: nats_partition, {}", length(c)),
        page: "RivetPubsubLag",
        within: "6m",
        is_total: false,
        may: &["RivetRequestErrors"],
    },
    Kind {
        name: "cpu-short",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: cpu_hog, cores: {:.1}, {}", c.between(2.4, 2.7), length(c)),
        page: "RivetLoadShedding",
        within: "6m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "calls-fail",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: failing_calls, share: {}%, {}", whole(c, 20, 90), length(c)),
        page: "RivetRequestErrors",
        within: "4m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "calls-slow",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: slow_calls, median: {}s, {}", whole(c, 12, 30), length(c)),
        page: "RivetRequestLatency",
        within: "7m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "workers-stalled",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: worker_stall, {}", length(c)),
        page: "RivetWorkflowWorkerStalled",
        within: "4m",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "unhealthy",
        is_serverful: false,
        release: ANY,
        event: |c| format!("event: unhealthy, {}", length(c)),
        page: "RivetEngineUnhealthy",
        within: "2m30s",
        is_total: false,
        may: &[],
    },
    Kind {
        name: "node-lost",
        is_serverful: false,
        release: ANY,
        event: |_| "event: node_lost, pods: 1, replaced_after: never".to_owned(),
        page: "RivetEngineInstancesMissing",
        within: "12m",
        is_total: false,
        may: &[],
    },
];

/// Scenarios of one incident each, or of two that overlap.
pub fn incidents(seed: u64, n: u64) -> Vec<String> {
    let mut chance = Chance::new(seed ^ 0x1ec1_de47);
    (0..n).map(|i| incident(&mut chance, seed, i)).collect()
}

fn incident(chance: &mut Chance, seed: u64, i: u64) -> String {
    let kind = &KINDS[chance.index(KINDS.len())];
    let release = pick(chance, kind.release);
    let second = beside(chance, kind, release);
    let plan = Plan { release, is_serverful: kind.is_serverful, has_tenant: second.is_some(), is_daily: false };
    let site = site(chance, plan);
    let at_ms = whole(chance, 10 * 60, 20 * 60) as i64 * 1000;
    let mut lines = vec![Line { at_ms, text: (kind.event)(chance) }];
    let mut expect = format!("expect:\n{}", expectation(kind, at_ms));
    let mut may: Vec<&str> = kind.may.to_vec();
    let (mut name, mut end_ms) = (kind.name.to_owned(), at_ms + 35 * MINUTE_MS);
    if let Some(second) = second {
        let _ = write!(lines[0].text, ", pool: {TENANT}");
        // By then the first has paged, and it still lasts.
        let at_ms = at_ms + whole(chance, 8 * 60, 11 * 60) as i64 * 1000;
        lines.push(Line { at_ms, text: (second.event)(chance) });
        expect.push_str(&expectation(second, at_ms));
        may.extend(second.may);
        let _ = write!(name, "+{}", second.name);
        end_ms = at_ms + 35 * MINUTE_MS;
    }
    // Something harmless before.
    if chance.happens(0.5) {
        let before = whole(chance, 60, 8 * 60) as i64 * 1000;
        let text = pick(
            chance,
            &[
                "event: rollout",
                "event: slow_request, length: 30s",
                "event: scrape_gap, pods: 1, for: 60s",
                "event: counter_reset, pods: 1",
                "event: caller_errors, rate: 10/s, for: 5m",
            ],
        );
        lines.push(Line { at_ms: before, text: text.to_owned() });
    }
    if !may.is_empty() {
        let _ = writeln!(expect, "may: [{}]", may.join(", "));
    }
    let name = format!("{name}-{seed}-{i}");
    let about = if second.is_some() { "Two incidents, each with a cause of its own." } else { "One incident." };
    text(&name, about, seed.wrapping_mul(1_000).wrapping_add(i), end_ms, &site, lines, &expect)
}

/// The line that expects the page of an incident that begins at `at_ms`.
fn expectation(kind: &Kind, at_ms: i64) -> String {
    // Scrapes are seven seconds after each tick.
    let sign_ms = if kind.is_total { (at_ms - 7_000).div_euclid(15_000) * 15_000 + 22_000 } else { at_ms };
    let sign = format_duration_ms(sign_ms);
    format!("  - {{page: {}, severity: critical, sign: {sign}, within: {}}}\n", kind.page, kind.within)
}

fn text(name: &str, about: &str, seed: u64, length_ms: i64, site: &Site, mut lines: Vec<Line>, rest: &str) -> String {
    lines.sort_by_key(|line| line.at_ms);
    let duration = format_duration_ms(length_ms);
    let mut text = format!("name: {name}\nabout: {about}\nseed: {seed}\nduration: {duration}\n{}", site.yaml);
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "events:{}", if lines.is_empty() { " []" } else { "" });
    for Line { at_ms, text: what } in lines {
        let _ = writeln!(text, "  - {{at: {}, {what}}}", format_duration_ms(at_ms));
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::scenario::Scenario;

    fn parse(text: &str) -> Scenario {
        Scenario::parse(text, "random").unwrap_or_else(|mistakes| panic!("{mistakes:#?}\n{text}"))
    }

    #[test]
    fn every_seed_makes_sound_scenarios_and_the_same_ones_again() {
        for seed in 0..60 {
            assert!(parse(&quiet(seed, 3)).is_quiet());
            for text in incidents(seed, 5) {
                let scenario = parse(&text);
                assert_eq!(scenario.expect.len(), 1 + usize::from(scenario.name.contains('+')), "{text}");
            }
        }
        assert_eq!((quiet(7, 30), incidents(7, 9)), (quiet(7, 30), incidents(7, 9)));
        assert_ne!(quiet(7, 30), quiet(8, 30));
    }

    #[test]
    fn a_month_holds_every_kind_of_harmless_event_and_many_seeds_every_kind_of_incident() {
        let month = parse(&quiet(1, 30));
        assert!(month.events.len() > 300, "{}", month.events.len());
        let names: Vec<String> = incidents(1, 400).iter().map(|text| parse(text).name).collect();
        for kind in &KINDS {
            assert!(names.iter().any(|name| name.starts_with(kind.name)), "{}", kind.name);
        }
        for (name, _) in OF_A_POOL {
            assert!(names.iter().any(|n| n.starts_with(&format!("{name}+"))), "{name} never beside another");
        }
        for name in BESIDE.into_iter().chain([BESIDE_WITHOUT_RETRIES]) {
            assert!(names.iter().any(|n| n.contains(&format!("+{name}-"))), "{name} never beside another");
        }
    }
}
