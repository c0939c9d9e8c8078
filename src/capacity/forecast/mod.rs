//! When something will be full, with how sure that is, or why nothing can be said.
//!
//! In:  the history of a use ([`Grid`]) and its limit.   Out: an [`Outlook`], or a [`NoOutlook`] in words.
//! Always: what the data cannot carry is not said: no trend without a rise that the noise leaves standing, none further
//! ahead than the history justifies. How far off it is over simulated months stands in `tests/capacity/SCORES.md`.

mod fill;
mod grid;
mod load;

use serde::Serialize;

pub use fill::{Line, NoLine};
pub use grid::{DAY, Grid, SLOT_MS, WEEK};
pub use load::{NoPattern, Pattern};

/// Nobody plans further ahead, and no trend holds for longer.
const HORIZON_MS: i64 = 30 * 86_400_000;
/// A daily pattern is followed for so many times its history.
const PATTERN_REACH: i64 = 4;
/// A line through what fills up is followed for so many times its history.
const FILL_REACH: i64 = 10;
/// Slots (three days) that a line needs for high confidence.
const DAYS_FOR_HIGH: usize = 3 * DAY;
/// While there is no pattern, a load's last two hours are followed for as long again.
const SHORT_SLOTS: usize = 12;

/// How a use behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// It comes and goes with the day: CPU, requests, running actors.
    Load,
    /// It adds up until somebody clears it: disks, leaking memory.
    Fill,
}

/// How much to believe of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Wide, or something not seen yet may change it: no whole week, a line of hours.
    Low,
    /// Earliest and latest lie up to one and a half times the likely time apart, or a day.
    Medium,
    /// Earliest and latest lie at most half the likely time apart, or six hours.
    High,
}

/// When a limit is reached, counted from the history's end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outlook {
    pub seconds: f64,
    pub earliest_seconds: f64,
    /// `None` beyond the horizon.
    pub latest_seconds: Option<f64>,
    pub confidence: Confidence,
}

/// Why nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoOutlook {
    /// Less than an hour of history, or less than two days of one that follows the day.
    TooShort,
    /// Too much of the history was not measured.
    Gaps,
    /// It does not rise, or not more than by chance.
    NotRising,
    /// It rises, and reaches the limit later than the history can tell.
    Beyond,
}

impl NoOutlook {
    /// The reason for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooShort => "history too short",
            Self::Gaps => "history has gaps",
            Self::NotRising => "no rise",
            Self::Beyond => "too far ahead",
        }
    }
}

/// When `history` reaches `limit`.
///
/// # Errors
/// See [`NoOutlook`].
pub fn time_to_limit(history: &Grid, limit: f64, nature: Nature) -> Result<Outlook, NoOutlook> {
    match nature {
        Nature::Fill => by_line(history, limit, WEEK + DAY, FILL_REACH),
        Nature::Load => match Pattern::of(history) {
            Ok(pattern) => by_pattern(&pattern, history, limit),
            Err(NoPattern::Gaps) => Err(NoOutlook::Gaps),
            // A climb that would go on for as long as it has lasted is worth a word, and no more.
            Err(NoPattern::TooShort) => by_line(history, limit, SHORT_SLOTS, 1).map_err(|why| match why {
                NoOutlook::NotRising | NoOutlook::Beyond => NoOutlook::TooShort,
                other => other,
            }),
        },
    }
}

fn by_pattern(pattern: &Pattern, history: &Grid, limit: f64) -> Result<Outlook, NoOutlook> {
    let reach = (history.end().since(history.start()) * PATTERN_REACH).min(HORIZON_MS);
    let [latest, likely, earliest] = pattern.slots_to(limit, (reach / SLOT_MS) as usize);
    // Within a day it is the pattern that reaches it, whatever the growth; without a week even the least growth must do.
    let soon = if pattern.has_week() { likely } else { latest };
    let is_soon = soon.is_some_and(|slots| slots < DAY);
    if !is_soon && !pattern.has_week() {
        // A weekend that begins or ends looks like growth to whoever has not seen one.
        return Err(NoOutlook::TooShort);
    }
    if !is_soon && pattern.growth()[0] <= 0.0 {
        return Err(NoOutlook::NotRising);
    }
    let seconds = |slots: usize| (slots as i64 * SLOT_MS) as f64 / 1000.0;
    let Some(likely) = likely else { return Err(NoOutlook::Beyond) };
    let (likely, earliest) = (seconds(likely), seconds(earliest.unwrap_or(likely)));
    let latest = latest.map(seconds);
    let most = match (pattern.has_week(), pattern.has_step()) {
        (false, _) => Confidence::Low,
        (true, true) => Confidence::Medium,
        (true, false) => Confidence::High,
    };
    let confidence = confidence(likely, earliest, latest).min(most);
    Ok(Outlook { seconds: likely, earliest_seconds: earliest, latest_seconds: latest, confidence })
}

fn by_line(history: &Grid, limit: f64, longest: usize, reach: i64) -> Result<Outlook, NoOutlook> {
    let line = Line::of(history, longest).map_err(|why| match why {
        NoLine::TooShort => NoOutlook::TooShort,
        NoLine::NotRising => NoOutlook::NotRising,
    })?;
    let [latest, likely, earliest] = line.ms_to(limit);
    let reach_ms = (line.length as i64 * SLOT_MS * reach).min(HORIZON_MS) as f64;
    if likely > reach_ms {
        return Err(NoOutlook::Beyond);
    }
    let latest = (latest <= HORIZON_MS as f64).then_some(latest / 1000.0);
    let (likely, earliest) = (likely / 1000.0, earliest / 1000.0);
    // A line of hours may be the slope of a day, and that of a day the slope of a week.
    let most = match line.length {
        ..DAY => Confidence::Low,
        DAY..DAYS_FOR_HIGH => Confidence::Medium,
        _ => Confidence::High,
    };
    let confidence = confidence(likely, earliest, latest).min(most);
    Ok(Outlook { seconds: likely, earliest_seconds: earliest, latest_seconds: latest, confidence })
}

/// By the width from earliest to latest: a quarter of a day is narrow however near the limit is.
fn confidence(likely: f64, earliest: f64, latest: Option<f64>) -> Confidence {
    let Some(latest) = latest else { return Confidence::Low };
    let width = latest - earliest;
    if width <= (0.5 * likely).max(6.0 * 3600.0) {
        Confidence::High
    } else if width <= (1.5 * likely).max(24.0 * 3600.0) {
        Confidence::Medium
    } else {
        Confidence::Low
    }
}

/// The value expected `ahead_ms` after the history's end; `None` where the data cannot tell.
///
/// By the pattern where there is one; up to an hour ahead otherwise the last slot's value, for want of a better guess.
pub fn expected(history: &Grid, ahead_ms: i64) -> Option<f64> {
    match Pattern::of(history) {
        Ok(pattern) => Some(pattern.at(history.end().plus_ms(ahead_ms))),
        Err(_) if ahead_ms <= 3_600_000 => history.peak(1),
        Err(_) => None,
    }
}
