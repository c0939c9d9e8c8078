//! Back-tests of the outlook: simulated months of use, and how far off the time to the limit was.
//!
//! Scenario: seeded series with growth, days, weekends, noise, deployments that change the level, restarts.
//! Guarantee: errors stay within the bounds below; of what is said with medium or high confidence at least 85 % lies between
//! earliest and latest, for each kind of series; series that do not grow get (next to) no advice; the figures stand in
//! `tests/capacity/SCORES.md`, which `UPDATE=1 cargo test capacity_backtest` renews.

use std::fmt::Write;
use std::path::Path;

use rivetwatch::capacity::forecast::{Confidence, Grid, Nature, SLOT_MS, time_to_limit};
use rivetwatch::model::{Sample, TimestampMs};

/// A value every five minutes, so that a slot has two.
const STEP_MS: i64 = 300_000;
const SLOT: usize = (SLOT_MS / STEP_MS) as usize;
/// Values of a day.
const DAY: usize = 288;
/// The store keeps so many days of what the outlook reads.
const HISTORY_DAYS: usize = 8;
/// Series of each kind.
const SERIES: u64 = 20;
const MONTHS_DAYS: usize = 60;

/// One kind of series.
struct Kind {
    name: &'static str,
    nature: Nature,
    make: fn(&mut fastrand::Rng) -> Series,
    /// Days of history at the time of asking.
    history_days: usize,
    must: Must,
}

/// What is demanded of the answers.
enum Must {
    /// Median and p90 of the relative error at most, share of answers at least.
    Answer { median: f64, p90: f64, answered: f64 },
    /// The limit is not reached: whoever says when is wrong.
    BeSilent,
    /// The limit is reached, but the history cannot tell.
    NotGuess,
}

/// Share of the answers of medium or high confidence whose earliest to latest holds the truth, at least.
const HELD_MIN: f64 = 0.85;
/// Share of answers where there should be none.
const WRONG_ADVICE_MAX: f64 = 0.01;

/// One value every five minutes, and the limit.
struct Series {
    values: Vec<f64>,
    limit: f64,
}

fn between(random: &mut fastrand::Rng, low: f64, high: f64) -> f64 {
    low + random.f64() * (high - low)
}

/// Noise with a memory of about twenty minutes, of deviation `size`.
struct Noise {
    last: f64,
    size: f64,
}

impl Noise {
    fn next(&mut self, random: &mut fastrand::Rng) -> f64 {
        let keep: f64 = 0.78;
        // Twelve evenly spread numbers make a normal one near enough.
        let fresh = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        self.last = keep * self.last + (1.0 - keep * keep).sqrt() * fresh;
        self.last * self.size
    }
}

/// A load that follows the day, `growth` of its first level a day.
fn load(random: &mut fastrand::Rng, growth: f64, steps_per_day: f64) -> Series {
    let wave = between(random, 0.2, 0.5);
    let weekend = between(random, 0.6, 1.0);
    let mut noise = Noise { last: 0.0, size: between(random, 0.02, 0.06) };
    let reach_day = between(random, 14.0, 45.0);
    let mut level = 1.0;
    let mut down = 0usize;
    let mut values = Vec::with_capacity(MONTHS_DAYS * DAY);
    for step in 0..MONTHS_DAYS * DAY {
        let day = step as f64 / DAY as f64;
        if random.f64() < steps_per_day / DAY as f64 {
            level *= if random.bool() { between(random, 1.05, 1.2) } else { between(random, 0.83, 0.95) };
            down = 1;
        }
        let is_weekend = matches!((day as usize) % 7, 5 | 6);
        let shape = (1.0 + wave * (std::f64::consts::TAU * (day - 0.3)).sin()) * if is_weekend { weekend } else { 1.0 };
        let value = level * (1.0 + growth * day) * shape * (1.0 + noise.next(random));
        values.push(if down > 0 { 0.0 } else { value.max(0.0) });
        down = down.saturating_sub(1);
    }
    Series { values, limit: (1.0 + growth.max(0.01) * reach_day) * (1.0 + wave) }
}

fn growing(random: &mut fastrand::Rng) -> Series {
    let growth = between(random, 0.01, 0.05);
    load(random, growth, 0.0)
}

fn growing_with_deployments(random: &mut fastrand::Rng) -> Series {
    let growth = between(random, 0.01, 0.05);
    load(random, growth, 1.0 / 12.0)
}

fn steady(random: &mut fastrand::Rng) -> Series {
    load(random, 0.0, 0.0)
}

fn shrinking(random: &mut fastrand::Rng) -> Series {
    load(random, -0.005, 0.0)
}

/// A disk that fills, with compactions that take back a part of what was written since the last.
fn disk(random: &mut fastrand::Rng) -> Series {
    let per_day = between(random, 1.0, 8.0);
    let wave = between(random, 0.0, 0.8);
    let (mut kept, mut loose) = (between(random, 5.0, 40.0), 0.0);
    let start = kept;
    let compaction = between(random, 0.3, 2.0) * per_day;
    let mut values = Vec::with_capacity(MONTHS_DAYS * DAY);
    for step in 0..MONTHS_DAYS * DAY {
        let day = step as f64 / DAY as f64;
        let rate = per_day * (1.0 + wave * (std::f64::consts::TAU * day).sin()) / DAY as f64;
        kept += rate;
        loose += rate * 0.4;
        if loose > compaction * 0.4 {
            loose = 0.0;
        }
        values.push(kept + loose + random.f64() * 0.01);
    }
    Series { values, limit: start + per_day * between(random, 14.0, 45.0) }
}

/// A disk whose old data is deleted as fast as new comes, in sweeps.
fn disk_with_retention(random: &mut fastrand::Rng) -> Series {
    let sweep = between(random, 0.5, 6.0);
    let per_day = between(random, 1.0, 8.0);
    let base = between(random, 10.0, 40.0) + sweep;
    let mut loose = 0.0;
    let values = (0..MONTHS_DAYS * DAY).map(|_| {
        loose += per_day / DAY as f64 * (0.8 + 0.4 * random.f64());
        if loose > sweep {
            loose = 0.0;
        }
        base + loose
    });
    Series { values: values.collect(), limit: base + sweep * 3.0 }
}

/// Memory that leaks, taken back by a restart every few days.
fn leak(random: &mut fastrand::Rng) -> Series {
    let per_day = between(random, 0.1, 0.4);
    let wave = between(random, 0.0, 0.05);
    let mut noise = Noise { last: 0.0, size: 0.01 };
    let mut since = 0usize;
    let restart_every = (between(random, 9.0, 25.0) * DAY as f64) as usize;
    let values = (0..MONTHS_DAYS * DAY).map(|step| {
        since = if step % restart_every == 0 { 0 } else { since + 1 };
        let day = step as f64 / DAY as f64;
        0.3 + per_day * since as f64 / DAY as f64 + wave * (std::f64::consts::TAU * day).sin() + noise.next(random)
    });
    let values: Vec<f64> = values.collect();
    Series { values, limit: 0.3 + per_day * between(random, 5.0, 8.5) }
}

const KINDS: &[Kind] = &[
    Kind {
        name: "load, growing 1 to 5 % a day",
        nature: Nature::Load,
        make: growing,
        history_days: 8,
        must: Must::Answer { median: 0.15, p90: 0.65, answered: 0.95 },
    },
    Kind {
        name: "the same with deployments that change the level",
        nature: Nature::Load,
        make: growing_with_deployments,
        history_days: 8,
        must: Must::Answer { median: 0.35, p90: 1.4, answered: 0.7 },
    },
    Kind {
        name: "the same with 3 days of history",
        nature: Nature::Load,
        make: growing_with_deployments,
        history_days: 3,
        must: Must::NotGuess,
    },
    Kind { name: "load, steady", nature: Nature::Load, make: steady, history_days: 8, must: Must::BeSilent },
    Kind { name: "load, shrinking", nature: Nature::Load, make: shrinking, history_days: 8, must: Must::BeSilent },
    Kind {
        name: "disk with compactions",
        nature: Nature::Fill,
        make: disk,
        history_days: 8,
        must: Must::Answer { median: 0.08, p90: 0.2, answered: 0.95 },
    },
    Kind {
        name: "disk with compactions, 1 day of history",
        nature: Nature::Fill,
        make: disk,
        history_days: 1,
        must: Must::Answer { median: 0.35, p90: 0.7, answered: 0.4 },
    },
    Kind {
        name: "disk with compactions, 2 days of history",
        nature: Nature::Fill,
        make: disk,
        history_days: 2,
        must: Must::Answer { median: 0.35, p90: 0.6, answered: 0.7 },
    },
    Kind {
        name: "disk with compactions, 4 days of history",
        nature: Nature::Fill,
        make: disk,
        history_days: 4,
        must: Must::Answer { median: 0.12, p90: 0.3, answered: 0.95 },
    },
    Kind {
        name: "disk with retention",
        nature: Nature::Fill,
        make: disk_with_retention,
        history_days: 8,
        must: Must::BeSilent,
    },
    Kind {
        name: "leaking memory with restarts",
        nature: Nature::Fill,
        make: leak,
        history_days: 8,
        must: Must::Answer { median: 0.08, p90: 0.3, answered: 0.95 },
    },
];

/// What came of asking about one kind of series again and again.
#[derive(Default)]
struct Score {
    asked: usize,
    /// Relative errors of the likely time, and the same in days.
    errors: Vec<f64>,
    days: Vec<f64>,
    /// Answers whose earliest to latest held the truth.
    held: usize,
    sure: Vec<f64>,
    /// Answers by confidence (low, medium, high), and those of them whose earliest to latest held the truth.
    by_confidence: [(usize, usize); 3],
}

impl Score {
    fn quantile(mut errors: Vec<f64>, q: f64) -> f64 {
        errors.sort_by(f64::total_cmp);
        errors
            .get(((errors.len() as f64 * q) as usize).min(errors.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    }
}

fn score(kind: &Kind) -> Score {
    let mut score = Score::default();
    for seed in 0..SERIES {
        let mut random = fastrand::Rng::with_seed(seed * 7919 + kind.name.len() as u64);
        let series = (kind.make)(&mut random);
        let sample = |(step, v): (usize, &f64)| Sample { t: TimestampMs(step as i64 * STEP_MS), v: *v };
        let whole = Grid::of(&series.values.iter().enumerate().map(sample).collect::<Vec<_>>());
        // Asked every 17 hours, so that no two asks in a row fall on the same hour.
        for ask in (HISTORY_DAYS * DAY..MONTHS_DAYS * DAY).step_by(204) {
            let reached = series.values[ask..].iter().position(|v| *v >= series.limit);
            let recent = &series.values[ask - DAY..ask];
            // Only where the answer is still ahead: reached between 6 hours and 25 days.
            let is_ahead = reached.is_some_and(|n| (DAY / 4..25 * DAY).contains(&n));
            let is_asked = match kind.must {
                Must::BeSilent => reached.is_none(),
                _ => recent.iter().all(|v| *v < series.limit),
            };
            if !is_asked {
                continue;
            }
            let is_scored = is_ahead || matches!(kind.must, Must::BeSilent);
            score.asked += usize::from(is_scored);
            let history = whole.part((ask - kind.history_days * DAY) / SLOT, ask / SLOT);
            assert_eq!(history.end(), TimestampMs(ask as i64 * STEP_MS), "nothing of the future is in it");
            let Ok(outlook) = time_to_limit(&history, series.limit, kind.nature) else { continue };
            let seconds = |steps: usize| steps as f64 * (STEP_MS / 1000) as f64;
            let truth = reached.map_or(f64::INFINITY, seconds);
            let latest = outlook.latest_seconds.unwrap_or(f64::INFINITY);
            let is_held = (outlook.earliest_seconds..=latest).contains(&truth);
            if is_scored {
                let error = (outlook.seconds - truth).abs() / truth;
                score.errors.push(error);
                score.days.push((outlook.seconds - truth).abs() / 86_400.0);
                if outlook.confidence >= Confidence::Medium {
                    score.sure.push(error);
                }
                score.held += usize::from(is_held);
            }
            // What was promised is held against whatever came, or against nothing where the series ends too soon to tell.
            let is_silent = matches!(kind.must, Must::BeSilent);
            if is_silent || reached.is_some() || latest < seconds(MONTHS_DAYS * DAY - ask) {
                let (answers, held) = &mut score.by_confidence[outlook.confidence as usize];
                *answers += 1;
                *held += usize::from(is_held);
            }
        }
    }
    score
}

#[test]
fn capacity_backtest_over_simulated_months() {
    let mut table = String::from(
        "# Back-tests of the time to a limit\n\n\
         Written by `UPDATE=1 cargo test capacity_backtest`; the generator and the bounds stand in `tests/it/capacity_backtest.rs`.\n\
         20 seeded series of each kind over 60 simulated days, one value every five minutes, asked every 17 hours with the history that the store\n\
         keeps. The error is the distance between the likely time and the true one, as a share of the true one. At medium or high confidence at least\n\
         85 % of the true times must lie between earliest and latest, for each kind.\n\n\
         | Series | Asked | Answered | Error, median | Error, p90 | p90 in days | p90 at medium or high confidence | Truth between earliest and latest | … at medium confidence | … at high confidence |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let mut wrong = Vec::new();
    let scores: Vec<Score> = std::thread::scope(|scope| {
        let running: Vec<_> = KINDS.iter().map(|kind| scope.spawn(|| score(kind))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (kind, s) in KINDS.iter().zip(scores) {
        assert!(s.asked > 300, "{}: asked {} times only", kind.name, s.asked);
        let (median, p90) = (Score::quantile(s.errors.clone(), 0.5), Score::quantile(s.errors.clone(), 0.9));
        let (sure, answered) = (Score::quantile(s.sure.clone(), 0.9), s.errors.len() as f64 / s.asked as f64);
        let percent = |share: f64| if share.is_nan() { "–".to_owned() } else { format!("{:.0} %", share * 100.0) };
        let held = percent(s.held as f64 / s.errors.len() as f64);
        let [_, medium, high] = s.by_confidence;
        let of = |(answers, held): (usize, usize)| match answers {
            0 => "–".to_owned(),
            _ => format!("{:.0} % of {answers}", held as f64 / answers as f64 * 100.0),
        };
        let days = Score::quantile(s.days.clone(), 0.9);
        let cells = match kind.must {
            Must::Answer { .. } => {
                format!(
                    "{} | {} | {days:.1} | {} | {held} | {} | {}",
                    percent(median),
                    percent(p90),
                    percent(sure),
                    of(medium),
                    of(high)
                )
            }
            _ => "– | – | – | – | – | – | –".to_owned(),
        };
        let _ = writeln!(table, "| {} | {} | {:.1} % | {cells} |", kind.name, s.asked, answered * 100.0);
        match kind.must {
            Must::Answer { median: median_max, p90: p90_max, answered: answered_min } => {
                let (answers, held) = (medium.0 + high.0, medium.1 + high.1);
                if (held as f64) < HELD_MIN * answers as f64 {
                    wrong.push(format!("{}: of {answers} sure answers only {held} held the truth", kind.name));
                }
                if !(median <= median_max && p90 <= p90_max && answered >= answered_min) {
                    wrong.push(format!("{}: median {median:.2}, p90 {p90:.2}, answered {answered:.2}", kind.name));
                }
            }
            Must::BeSilent | Must::NotGuess if medium.0 + high.0 > 0 => {
                wrong.push(format!("{}: {} sure answers where there is none", kind.name, medium.0 + high.0));
            }
            Must::BeSilent | Must::NotGuess if answered > WRONG_ADVICE_MAX => {
                wrong.push(format!("{}: advice in {answered:.3} of the cases", kind.name));
            }
            Must::BeSilent | Must::NotGuess => {}
        }
    }
    println!("{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capacity/SCORES.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == table, "`tests/capacity/SCORES.md` is not what the back-tests give: run with UPDATE=1");
}
