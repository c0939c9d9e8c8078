//! Calls: which file evaluates which function.

mod math;
mod sort;
mod time;

use super::grid::Grid;
use super::points::{Output, Point, Points, Scalar, Series};
use super::selector::Found;
use super::stream::Sink;
use super::{Evaluated, Evaluator};
use crate::model::Labels;
use crate::promql::ast::{Call, ExprKind, ValueType};
use crate::promql::error::QueryError;
use crate::promql::functions::{Function, FunctionId};
use crate::promql::histogram::{Sparse, variance};

/// Whether the function looks at one series at a time.
pub(super) fn is_streamed(function: &Function) -> bool {
    match function.id {
        FunctionId::AbsentOverTime => false,
        FunctionId::Timestamp => true,
        id => math::is_math(id) || function.args.contains(&ValueType::Matrix),
    }
}

impl<'a> Evaluator<'a> {
    pub(super) fn call(&mut self, call: &Call, grid: &Grid) -> Result<Evaluated, QueryError> {
        use FunctionId as F;
        match call.function.id {
            F::AbsentOverTime => self.absent_over_time(call, grid).map(Evaluated::Vector),
            F::Absent => self.absent(call, grid).map(Evaluated::Vector),
            F::StartTimestamp => Err(QueryError::Execution(
                "function `start_timestamp` is not supported: the store keeps no start timestamps".into(),
            )),
            F::Info => self.info(call, grid).map(Evaluated::Vector),
            F::LabelReplace => self.label_replace(call, grid).map(Evaluated::Vector),
            F::LabelJoin => self.label_join(call, grid).map(Evaluated::Vector),
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => self.sort(call, grid).map(Evaluated::Vector),
            F::HistogramQuantile | F::HistogramQuantiles | F::HistogramFraction => {
                self.histogram_call(call, grid).map(Evaluated::Vector)
            }
            F::HistogramAvg | F::HistogramCount | F::HistogramSum | F::HistogramStddev | F::HistogramStdvar => {
                self.histogram_number(call, grid).map(Evaluated::Vector)
            }
            F::Vector => {
                let scalar = self.scalar(&call.args[0], grid)?;
                let mut points = Points::default();
                (0..grid.steps).for_each(|step| points.push_float(step, scalar.at(step)));
                Ok(Evaluated::Vector(vec![Series { labels: Labels::empty(), drop_name: false, points }]))
            }
            F::Scalar => self.scalar_of(call, grid).map(Evaluated::Scalar),
            F::Time | F::Pi | F::Start | F::End | F::Step | F::Range | F::MinOf | F::MaxOf => {
                self.scalar_call(call, grid).map(Evaluated::Scalar)
            }
            F::DaysInMonth | F::DayOfMonth | F::DayOfWeek | F::DayOfYear | F::Hour | F::Minute | F::Month | F::Year => {
                self.date_part(call, grid).map(Evaluated::Vector)
            }
            _ => Err(QueryError::Execution(format!("function `{}` is not implemented", call.function.name))),
        }
    }

    /// A call whose function looks at one series at a time; see [`is_streamed`].
    pub(super) fn stream_call(&mut self, call: &Call, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        match call.function.id {
            FunctionId::Timestamp => self.timestamp(call, grid, sink),
            id if math::is_math(id) => self.math_call(call, grid, sink),
            _ => self.window_call(call, grid, sink),
        }
    }

    fn scalar_call(&mut self, call: &Call, grid: &Grid) -> Result<Scalar, QueryError> {
        use FunctionId as F;
        let seconds = |ms: i64| Scalar::Constant(ms as f64 / 1000.0);
        Ok(match call.function.id {
            F::Time => Scalar::Steps((0..grid.steps).map(|step| grid.time(step) as f64 / 1000.0).collect()),
            F::Pi => Scalar::Constant(std::f64::consts::PI),
            F::Start => seconds(self.times.start),
            F::End => seconds(self.times.end),
            F::Step => seconds(self.times.step),
            F::Range => seconds(self.times.end - self.times.start),
            id => {
                let (a, b) = (self.scalar(&call.args[0], grid)?, self.scalar(&call.args[1], grid)?);
                let choose = |a: f64, b: f64| match id {
                    _ if a.is_nan() || b.is_nan() => f64::NAN,
                    F::MinOf => a.min(b),
                    _ => a.max(b),
                };
                Scalar::Steps((0..grid.steps).map(|step| choose(a.at(step), b.at(step))).collect())
            }
        })
    }

    /// The float of a vector that has exactly one, NaN otherwise.
    fn scalar_of(&mut self, call: &Call, grid: &Grid) -> Result<Scalar, QueryError> {
        let series = self.vector(&call.args[0], grid)?;
        let mut values = vec![f64::NAN; grid.steps];
        let mut seen = vec![0u8; grid.steps];
        for one in &series {
            for (step, point) in one.points.iter() {
                if let Point::Float(v) = point {
                    seen[step] = seen[step].saturating_add(1);
                    values[step] = if seen[step] == 1 { v } else { f64::NAN };
                }
            }
        }
        Ok(Scalar::Steps(values))
    }

    /// When each sample was taken: of a selector the samples' own times, of anything else the step's.
    fn timestamp(&mut self, call: &Call, grid: &Grid, sink: Sink<'_, 'a>) -> Result<(), QueryError> {
        if let ExprKind::Vector(selector) = &call.args[0].unwrap_parens().kind
            && selector.extension.is_none()
        {
            let seconds = |found: &Found<'_>| Output::Float(found.time() as f64 / 1000.0);
            return self.latest_samples(selector, grid, seconds, &mut |this, one| {
                one.drop_name = true;
                sink(this, one)
            });
        }
        self.stream(&call.args[0], grid, &mut |this, one| {
            let mut points = Points::default();
            one.points.iter().for_each(|(step, _)| points.push_float(step, grid.time(step) as f64 / 1000.0));
            (one.drop_name, one.points) = (true, points);
            sink(this, one)
        })
    }

    /// One number of each native histogram; floats are passed over.
    fn histogram_number(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let wants_no_buckets = matches!(
            call.function.id,
            FunctionId::HistogramAvg | FunctionId::HistogramCount | FunctionId::HistogramSum
        );
        let series = self.vector_with_resets(&call.args[0], grid, wants_no_buckets)?;
        let mut out = Vec::with_capacity(series.len());
        for one in series {
            let mut points = Points::default();
            for (step, point) in one.points.iter() {
                let Point::Histogram(h) = point else { continue };
                points.push_float(
                    step,
                    match call.function.id {
                        FunctionId::HistogramAvg => h.sum / h.count,
                        FunctionId::HistogramCount => h.count,
                        FunctionId::HistogramSum => h.sum,
                        FunctionId::HistogramStdvar => variance(&Sparse::from(&**h)),
                        _ => variance(&Sparse::from(&**h)).sqrt(),
                    },
                );
            }
            if !points.is_empty() {
                out.push(Series { labels: one.labels, drop_name: true, points });
            }
        }
        Ok(out)
    }
}
