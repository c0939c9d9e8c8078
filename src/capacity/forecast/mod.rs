//! When something will be full, with how sure that is, or why nothing can be said.
//!
//! In:  the history of a use ([`Grid`]) and its limit.   Out: an [`Outlook`], or a [`NoOutlook`] in words.
//! Always: what the data cannot carry is not said: no trend without a rise that the noise leaves standing, none further
//! ahead than the history justifies. How far off it is over simulated months stands in `tests/capacity/SCORES.md`.

mod fill;
mod grid;
mod load;

use serde::{Deserialize, Serialize};

pub use fill::{Line, NoLine};
pub use grid::{DAY, Grid, SLOT_MS, WEEK};
pub use load::{NoPattern, Pattern};

/// Nobody plans further ahead, and no trend holds for longer.
const HORIZON_MS: i64 = 30 * 86_400_000;
/// A daily pattern is followed for so many times its history.
const PATTERN_REACH: i64 = 4;
/// A line through what fills up is followed for so many times its history.
const FILL_REACH: i64 = 10;
/// Slots (two days, less two hours for the gaps of a restart) that a line needs for medium confidence.
const DAYS_FOR_MEDIUM: usize = 2 * DAY - 12;
/// Slots (three days) that a line needs for high confidence.
const DAYS_FOR_HIGH: usize = 3 * DAY;
/// What was cleared so often before it came near its limit will be cleared again.
const CLEARED_MIN: usize = 2;
/// A crest comes so much sooner or later than that of the day or week before.
const CREST_SECS: f64 = 7_200.0;
/// Further ahead (three days) the back-tests do not support more than low confidence in a load.
const SURE_SECS_MAX: f64 = 3.0 * 86_400.0;
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
    /// Wide, or something may change it: no whole week, a level that changed within it, a load more than three days ahead, a
    /// line of less than two days.
    Low,
    /// Earliest and latest lie up to one and a half times the likely time apart, or two days. Of what is said with this
    /// confidence or a higher one, at least 85 % came between them in each series of the back-tests.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It rises, and has been cleared again and again before it came there: sweeps, nightly restarts.
    Cleared,
}

impl NoOutlook {
    /// The reason for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::TooShort => "history too short",
            Self::Gaps => "history has gaps",
            Self::NotRising => "does not rise",
            Self::Beyond => "too far ahead",
            Self::Cleared => "cleared before",
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
    let (likely, earliest) = (seconds(likely), (seconds(earliest.unwrap_or(likely)) - CREST_SECS).max(0.0));
    let latest = latest.map(|slots| seconds(slots) + CREST_SECS);
    // What changed the level once may do so again, and sooner or later something will: nobody knows the deployments to come.
    let is_sure = pattern.has_week() && !pattern.has_step() && pattern.is_settled() && likely <= SURE_SECS_MAX;
    let most = if is_sure { Confidence::High } else { Confidence::Low };
    let confidence = confidence(likely, earliest, latest).min(most);
    Ok(Outlook { seconds: likely, earliest_seconds: earliest, latest_seconds: latest, confidence })
}

fn by_line(history: &Grid, limit: f64, longest: usize, reach: i64) -> Result<Outlook, NoOutlook> {
    let line = Line::of(history, longest).map_err(|why| match why {
        NoLine::TooShort => NoOutlook::TooShort,
        NoLine::NotRising => NoOutlook::NotRising,
    })?;
    if line.beginnings >= CLEARED_MIN && line.highest < limit {
        return Err(NoOutlook::Cleared);
    }
    let [latest, likely, earliest] = line.ms_to(limit);
    let reach_ms = (line.length as i64 * SLOT_MS * reach).min(HORIZON_MS) as f64;
    if likely > reach_ms {
        return Err(NoOutlook::Beyond);
    }
    let latest = (latest <= HORIZON_MS as f64).then_some(latest / 1000.0);
    let (likely, earliest) = (likely / 1000.0, earliest / 1000.0);
    // A line of hours may be the slope of a day, and that of a day the slope of a week.
    let most = match line.length {
        ..DAYS_FOR_MEDIUM => Confidence::Low,
        DAYS_FOR_MEDIUM..DAYS_FOR_HIGH => Confidence::Medium,
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
    } else if width <= (1.5 * likely).max(48.0 * 3600.0) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Sample, TimestampMs};

    fn grid(values: impl IntoIterator<Item = f64>) -> Grid {
        let sample = |(n, v)| Sample { t: TimestampMs(n as i64 * SLOT_MS), v };
        Grid::of(&values.into_iter().enumerate().map(sample).collect::<Vec<_>>())
    }

    fn day(slot: usize) -> f64 {
        (std::f64::consts::TAU * slot as f64 / DAY as f64).sin()
    }

    #[test]
    fn a_straight_rise_of_a_disk_meets_its_limit_on_time() {
        // One a slot; 100 are missing at the end of 600.
        let outlook = time_to_limit(&grid((0..600).map(f64::from)), 699.0, Nature::Fill).unwrap();
        assert!((outlook.seconds - 60_000.0).abs() < 1.0, "{outlook:?}");
        assert_eq!(outlook.confidence, Confidence::High);
        assert_eq!(outlook.earliest_seconds, outlook.seconds);
    }

    #[test]
    fn a_deletion_begins_the_line_anew() {
        let since_then = (0..30).map(|n| 10.0 + f64::from(n));
        let outlook = time_to_limit(&grid((0..200).map(f64::from).chain(since_then)), 59.0, Nature::Fill).unwrap();
        assert!((outlook.seconds - 20.0 * 600.0).abs() < 700.0, "{outlook:?}");
        assert_eq!(outlook.confidence, Confidence::Low, "five hours may be the slope of a day");
    }

    #[test]
    fn what_the_data_cannot_carry_is_not_said() {
        let rising = |n: usize| grid((0..n).map(|n| n as f64));
        assert_eq!(time_to_limit(&rising(4), 100.0, Nature::Fill), Err(NoOutlook::TooShort));
        assert_eq!(time_to_limit(&rising(12), 1_000.0, Nature::Fill), Err(NoOutlook::Beyond), "ten times two hours");
        assert_eq!(time_to_limit(&grid(vec![5.0; 600]), 10.0, Nature::Fill), Err(NoOutlook::NotRising));
        let sawtooth = grid((0..600).map(|n| 50.0 + f64::from(n % 25)));
        assert_eq!(time_to_limit(&sawtooth, 100.0, Nature::Fill), Err(NoOutlook::Cleared));
        let small = grid((0..600).map(|n| 50.0 + f64::from(n % 12)));
        assert_eq!(time_to_limit(&small, 100.0, Nature::Fill), Err(NoOutlook::NotRising));
        // A morning is no growth: three days of it, and no week.
        let days = grid((0..3 * DAY + 40).map(|n| 10.0 + 5.0 * day(n)));
        assert_eq!(time_to_limit(&days, 16.0, Nature::Load), Err(NoOutlook::TooShort));
        let gaps = Grid::of(
            &(0..2_000).step_by(3).map(|n| Sample { t: TimestampMs(n * SLOT_MS), v: 1.0 }).collect::<Vec<_>>(),
        );
        assert_eq!(time_to_limit(&gaps, 2.0, Nature::Load), Err(NoOutlook::Gaps));
    }

    #[test]
    fn a_step_within_the_week_is_a_new_level_and_no_growth() {
        // No growth; four days ago a deployment made everything a third dearer.
        let level = |n: usize| if n < WEEK + DAY - 4 * DAY { 1.0 } else { 1.33 };
        let history = grid((0..WEEK + DAY).map(|n| level(n) * (10.0 + 4.0 * day(n))));
        assert!(matches!(time_to_limit(&history, 20.0, Nature::Load), Err(NoOutlook::NotRising)));
        let pattern = Pattern::of(&history).unwrap();
        assert!(pattern.has_step() && pattern.has_week());
        // The crest of tomorrow is at the new level.
        let crest = pattern.at(history.end().plus_ms(DAY as i64 / 4 * SLOT_MS));
        assert!((crest - 1.33 * 14.0).abs() < 0.3, "{crest}");
    }

    #[test]
    fn a_level_that_may_have_changed_promises_nothing() {
        // 8 % of the first level a day; the next crest is 23.2. A deployment of five hours ago that made everything cheaper
        // shows in no median of the week yet.
        let ask = |level: f64| {
            let since = WEEK + DAY - 30;
            let level = |n: usize| if n < since { 1.0 } else { level };
            let value = |n: usize| level(n) * (1.0 + 0.08 * n as f64 / DAY as f64) * (10.0 + 4.0 * day(n));
            time_to_limit(&grid((0..WEEK + DAY).map(value)), 21.0, Nature::Load).unwrap()
        };
        assert!(ask(1.0).confidence >= Confidence::Medium, "{:?}", ask(1.0));
        assert_eq!(ask(0.85).confidence, Confidence::Low, "{:?}", ask(0.85));
    }

    #[test]
    fn growth_on_a_daily_wave_reaches_the_limit_at_a_crest() {
        // 2 % of the first level a day; the crest is 14 × (1 + 0.02 d), which is 18.2 at d = 15: 7 days after the eight.
        let history = grid((0..WEEK + DAY).map(|n| (1.0 + 0.02 * n as f64 / DAY as f64) * (10.0 + 4.0 * day(n))));
        let outlook = time_to_limit(&history, 18.2, Nature::Load).unwrap();
        let days = outlook.seconds / 86_400.0;
        assert!((days - 7.0).abs() < 1.3, "{days}");
        let hour = (days.fract() * 24.0).round();
        assert!((4.0..=9.0).contains(&hour), "the crest is at six: {days}");
    }
}
