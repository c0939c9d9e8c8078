//! What comes and goes with the day: growth, daily and weekly pattern, steps.
//!
//! Growth is the median of what each ten minutes have over the same ten minutes of the day before: the daily wave cancels
//! out, a weekend pulls as much down as up, and a deployment that makes everything a fifth dearer is one outlier of a
//! week. The pattern is last week itself, or yesterday while there is no week, grown by the days in between.

use super::grid::{DAY, Grid, SLOT_MS, WEEK, median, spread};
use crate::model::TimestampMs;

/// Without two days there is no pattern.
const SLOTS_MIN: usize = 2 * DAY;
/// Share of the slots that must be measured.
const COVERAGE_MIN: f64 = 0.6;
/// Growth is judged by parts of a day of so many slots (six hours).
const PART: usize = DAY / 4;
/// Standard errors of growth between likely and least; set by the back-tests, in which growth itself is not constant.
const Z: f64 = 2.5;
/// Share by which levels are off after a day because of deployments that no history shows; it grows with the root of the
/// days. Set by the back-tests, in which one comes every twelve days and changes the level by 5 to 20 %.
const CHANGE: f64 = 0.045;
/// A change of level against last week that is smaller than this share is no step.
const STEP_MIN: f64 = 0.06;
/// A quarter of the last day that lies further from the others than this share, or than so much of the noise, may be a
/// step that has only begun; so may a change against last week of so many standard errors. Set by the back-tests.
const UNSETTLED_MIN: f64 = 0.05;
const UNSETTLED_NOISES: f64 = 0.8;
const UNSETTLED_ERRORS: f64 = 2.0;

/// How a load goes on, as far as its history tells.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// When the first future slot begins.
    end: TimestampMs,
    /// The last period (a week, else a day), oldest first, at today's level.
    period: Vec<f64>,
    /// Growth a day as a share of today's level: least, likely, most.
    growth: [f64; 3],
    /// How far a value lies from the same time of another day, as a share, growth taken out.
    noise: f64,
    has_week: bool,
    has_step: bool,
    /// Whether the last day is like the week before in all its parts.
    is_settled: bool,
}

/// Why there is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPattern {
    TooShort,
    Gaps,
}

impl Pattern {
    /// The pattern of `history`.
    ///
    /// # Errors
    /// Less than two days, or more than four tenths of it not measured.
    pub fn of(history: &Grid) -> Result<Self, NoPattern> {
        if history.len() < SLOTS_MIN {
            return Err(NoPattern::TooShort);
        }
        let smooth = history.smoothed();
        let measured = history.slots().iter().flatten().count();
        if (measured as f64) < COVERAGE_MIN * history.len() as f64 {
            return Err(NoPattern::Gaps);
        }
        let ratios = log_ratios(&smooth, DAY);
        let Some((mut growth, mut error)) = estimate(&parts(&ratios)) else { return Err(NoPattern::Gaps) };
        // Two noisy values differ by more than either is off.
        let mut noise = spread(&ratios.into_iter().flatten().collect::<Vec<_>>()).unwrap_or(0.0) / f64::sqrt(2.0);
        let has_week = history.len() >= WEEK + DAY;
        let mut step = None;
        let mut is_settled = true;
        if has_week {
            let weekly = parts(&log_ratios(&smooth[smooth.len() - WEEK - DAY..], WEEK));
            if let Some((week, week_error)) = estimate(&weekly) {
                let net = week - 7.0 * growth;
                let off = UNSETTLED_MIN.max(UNSETTLED_NOISES * noise);
                is_settled = weekly.iter().all(|part| (part - week).abs() <= off)
                    && net.abs() <= STEP_MIN.max(UNSETTLED_ERRORS * 7.0 * error);
                match net.abs() > STEP_MIN.max(3.0 * 7.0 * error) {
                    true => step = Some((step_at(&smooth, net, growth), net)),
                    // Both tell the same, and over a week the noise is a seventh.
                    false if week_error / 7.0 < error => (growth, error) = (week / 7.0, week_error / 7.0),
                    false => {}
                }
            }
        }
        if let Some((_, net)) = step {
            // Where the level changed within the week it may change again.
            noise = noise.max(net.abs());
        }
        let length = if has_week { WEEK } else { DAY };
        let mut period = Vec::with_capacity(length);
        let first = history.len() - length;
        for (at, value) in history.slots().iter().enumerate().skip(first) {
            let value = value.or(smooth[at]).or_else(|| period.last().copied()).unwrap_or(0.0);
            let days = (history.len() - at) as f64 / DAY as f64;
            let stepped = step.map_or(1.0, |(when, net)| if at < when { f64::exp(net) } else { 1.0 });
            period.push(value * stepped * (1.0 + growth.exp_m1() * days));
        }
        let share = |log: f64| log.exp_m1();
        let growth = [share(growth - Z * error), share(growth), share(growth + Z * error)];
        Ok(Self { end: history.end(), period, growth, noise, has_week, has_step: step.is_some(), is_settled })
    }

    /// Growth a day as a share of today's level: least, likely, most.
    pub fn growth(&self) -> [f64; 3] {
        self.growth
    }

    /// Whether a whole week was seen, weekend and all.
    pub fn has_week(&self) -> bool {
        self.has_week
    }

    /// Whether the level changed within the week, as by a deployment.
    pub fn has_step(&self) -> bool {
        self.has_step
    }

    /// Whether nothing hints at a change of level that has only begun.
    pub fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// The value expected at `t`, after the history's end, by likely growth.
    pub fn at(&self, t: TimestampMs) -> f64 {
        let ahead = (t.since(self.end) / SLOT_MS).max(0) as usize;
        self.value(ahead, self.growth[1])
    }

    fn value(&self, ahead: usize, growth: f64) -> f64 {
        let days = (ahead as f64 + 1.0) / DAY as f64;
        self.period[ahead % self.period.len()] * (1.0 + growth * days)
    }

    /// Slots until the limit within `horizon` slots: at the latest, likely, at the earliest.
    pub fn slots_to(&self, limit: f64, horizon: usize) -> [Option<usize>; 3] {
        let side = [1.0, 0.0, -1.0];
        let off = |ahead: usize| self.noise + CHANGE * ((ahead as f64 + 1.0) / DAY as f64).sqrt();
        let is_there =
            |n: usize, ahead: usize| self.value(ahead, self.growth[n]) >= limit * (1.0 + side[n] * off(ahead));
        std::array::from_fn(|n| (0..horizon).find(|ahead| is_there(n, *ahead)))
    }
}

/// Logarithm of each value over the one `lag` slots before; nothing where either is missing or not positive.
fn log_ratios(values: &[Option<f64>], lag: usize) -> Vec<Option<f64>> {
    let pair = |at: usize| {
        let (now, before) = (values[at]?, values[at - lag]?);
        (now > 0.0 && before > 0.0).then(|| (now / before).ln())
    };
    (lag..values.len()).map(pair).collect()
}

/// Medians of six hours each, counted from the end; parts with less than half of their slots are left out.
fn parts(ratios: &[Option<f64>]) -> Vec<f64> {
    let part = |chunk: &[Option<f64>]| {
        let mut known: Vec<f64> = chunk.iter().flatten().copied().collect();
        (known.len() * 2 >= PART).then(|| median(&mut known)).flatten()
    };
    ratios.rchunks(PART).filter_map(part).collect()
}

/// The median of the parts, and its standard error; parts next to each other are not independent.
fn estimate(parts: &[f64]) -> Option<(f64, f64)> {
    if parts.len() < 3 {
        return None;
    }
    let middle = median(&mut parts.to_vec())?;
    let independent = parts.len() as f64 / 2.0;
    Some((middle, 1.253 * spread(parts)? / independent.sqrt()))
}

/// The slot at which the level changed by `net`: the day whose values differ most from the day before.
fn step_at(smooth: &[Option<f64>], net: f64, growth: f64) -> usize {
    let ratios = log_ratios(smooth, DAY);
    let excess = |at: usize| {
        let mut day: Vec<f64> = ratios[at..at + DAY].iter().flatten().map(|r| (r - growth) * net.signum()).collect();
        median(&mut day).unwrap_or(0.0)
    };
    let first = ratios.len().saturating_sub(WEEK);
    let last = ratios.len().saturating_sub(DAY);
    let best = (first..=last).step_by(6).max_by(|a, b| excess(*a).total_cmp(&excess(*b)));
    best.unwrap_or(first) + DAY
}
