//! Parts of a date, in UTC.

use super::super::Evaluator;
use super::super::grid::Grid;
use super::super::points::{Point, Points, Series};
use crate::model::Labels;
use crate::promql::ast::Call;
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;

impl Evaluator<'_> {
    /// Of each float as seconds since the epoch, or of the step's own time.
    pub(super) fn date_part(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let id = call.function.id;
        let Some(arg) = call.args.first() else {
            let mut points = Points::default();
            (0..grid.steps).for_each(|step| points.push_float(step, part(id, grid.time(step).div_euclid(1000))));
            return Ok(vec![Series { labels: Labels::empty(), drop_name: false, points }]);
        };
        let series = self.vector(arg, grid)?;
        let mut out = Vec::with_capacity(series.len());
        for one in series {
            let mut points = Points::default();
            for (step, point) in one.points.iter() {
                if let Point::Float(v) = point {
                    points.push_float(step, part(id, v as i64));
                }
            }
            if !points.is_empty() {
                out.push(Series { labels: one.labels, drop_name: true, points });
            }
        }
        Ok(out)
    }
}

/// A part of the Gregorian date, however far away the year is.
fn part(id: FunctionId, seconds: i64) -> f64 {
    const DAY: i64 = 86_400;
    let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let date = Date::of(days);
    let number = match id {
        FunctionId::DaysInMonth => days_in_month(date.year, date.month),
        FunctionId::DayOfMonth => date.day,
        // The first of January 1970 was a Thursday.
        FunctionId::DayOfWeek => (days + 4).rem_euclid(7),
        FunctionId::DayOfYear => (1..date.month).map(|month| days_in_month(date.year, month)).sum::<i64>() + date.day,
        FunctionId::Hour => of_day / 3600,
        FunctionId::Minute => of_day / 60 % 60,
        FunctionId::Month => date.month,
        _ => date.year,
    };
    number as f64
}

/// Months and days from 1.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date so many days after the first of January 1970: eras of 400 years have the same number of days, and years
    /// that begin in March have their leap day at the end (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    fn of(days: i64) -> Self {
        const DAYS_OF_ERA: i64 = 146_097;
        const DAYS_TO_EPOCH: i64 = 719_468;
        let days = days + DAYS_TO_EPOCH;
        let (era, day) = (days.div_euclid(DAYS_OF_ERA), days.rem_euclid(DAYS_OF_ERA));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month_from_march = (5 * day + 2) / 153;
        let day = day - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self { year: year + era * 400 + i64::from(month <= 2), month, day }
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_near_and_far_have_their_parts() {
        use FunctionId::{DayOfMonth, DayOfWeek, DayOfYear, DaysInMonth, Hour, Minute, Month, Year};
        let all = [Year, Month, DayOfMonth, DayOfYear, DayOfWeek, DaysInMonth, Hour, Minute];
        for (seconds, parts) in [
            (0, [1970.0, 1.0, 1.0, 1.0, 4.0, 31.0, 0.0, 0.0]),
            (951_782_400, [2000.0, 2.0, 29.0, 60.0, 2.0, 29.0, 0.0, 0.0]),
            (-1, [1969.0, 12.0, 31.0, 365.0, 3.0, 31.0, 23.0, 59.0]),
            (1_000_000_000_000, [33658.0, 9.0, 27.0, 270.0, 5.0, 30.0, 1.0, 46.0]),
        ] {
            assert_eq!(all.map(|id| part(id, seconds)), parts, "{seconds}");
        }
        // Whatever the calendar of the library knows, the same is found here.
        for seconds in (-377_705_023_201..253_402_207_200).step_by(86_400 * 997 + 61) {
            let date = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            let got = [Year, Month, DayOfMonth, DayOfYear, DaysInMonth].map(|id| part(id, seconds));
            let want =
                [date.year(), date.month().into(), date.day().into(), date.day_of_year(), date.days_in_month().into()];
            assert_eq!(got, want.map(f64::from), "{seconds}");
        }
        assert!(all.iter().all(|id| part(*id, i64::MIN).is_finite() && part(*id, i64::MAX).is_finite()));
    }
}
