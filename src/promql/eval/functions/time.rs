//! Parts of a date, in UTC.

use jiff::civil::Weekday;
use jiff::tz::TimeZone;

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

/// NaN beyond the years that the calendar knows (-9999 to 9999).
fn part(id: FunctionId, seconds: i64) -> f64 {
    let Ok(timestamp) = jiff::Timestamp::from_second(seconds) else { return f64::NAN };
    let date = timestamp.to_zoned(TimeZone::UTC);
    match id {
        FunctionId::DaysInMonth => f64::from(date.days_in_month()),
        FunctionId::DayOfMonth => f64::from(date.day()),
        FunctionId::DayOfWeek => f64::from(date.weekday().since(Weekday::Sunday)),
        FunctionId::DayOfYear => f64::from(date.day_of_year()),
        FunctionId::Hour => f64::from(date.hour()),
        FunctionId::Minute => f64::from(date.minute()),
        FunctionId::Month => f64::from(date.month()),
        _ => f64::from(date.year()),
    }
}
