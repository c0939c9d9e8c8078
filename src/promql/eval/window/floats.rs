//! Functions of range vectors over series that hold floats alone, as nearly all do.
//!
//! In:  the samples of one series.   Out: its values by step. Each function is one loop over the windows, with what
//! it remembers between them beside it.

use super::super::grid::Grid;
use super::super::points::Points;
use super::super::quantiles::quantile_of_sorted;
use super::super::{Evaluator, selector::PartitionPointLinear};
use super::over_time::{average, median_deviation, sum, variance};
use super::sliding::{Extreme, Folded, Line, Sorted, Spread, Sum};
use super::{Slide, WindowCall, falls, rate, trend};
use crate::model::Sample;
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;

/// One window: the samples from `lo` up to before `hi`.
#[derive(Clone, Copy)]
struct Bounds {
    step: usize,
    lo: usize,
    hi: usize,
    /// The right edge; the left one is the range before it.
    end: i64,
}

/// Indexes of which a window holds those behind its first sample.
struct Marks {
    all: Vec<usize>,
    from: usize,
    to: usize,
}

impl Marks {
    fn new(all: Vec<usize>) -> Self {
        Self { all, from: 0, to: 0 }
    }

    fn inside(&mut self, bounds: Bounds) -> &[usize] {
        self.from += self.all[self.from..].partition_point_linear(|i| *i <= bounds.lo);
        self.to = self.to.max(self.from);
        self.to += self.all[self.to..].partition_point_linear(|i| *i < bounds.hi);
        &self.all[self.from..self.to]
    }
}

/// A walk over the windows of one series.
struct Walk<'w> {
    call: &'w WindowCall,
    slide: &'w Slide,
    grid: &'w Grid,
    floats: &'w [Sample],
    out: &'w mut Points,
}

/// The value of a window, if it has one.
type Value = Result<Option<f64>, QueryError>;

impl Evaluator<'_> {
    /// Evaluates the function for all windows of a series; `false` where it is not known here.
    pub(super) fn window_of_floats(
        &mut self,
        call: &WindowCall,
        slide: &Slide,
        grid: &Grid,
        floats: &[Sample],
        out: &mut Points,
    ) -> Result<bool, QueryError> {
        use FunctionId as F;
        let walk = Walk { call, slide, grid, floats, out };
        let some = |value: f64| Ok(Some(value));
        match call.id {
            F::Rate | F::Increase | F::Delta => {
                let mut falls = Marks::new(if call.id == F::Delta { Vec::new() } else { falls(floats) });
                self.each_window(walk, |_, at| {
                    let reached = falls.inside(at).iter().map(|i| floats[i - 1].v).sum::<f64>();
                    Ok(rate::of_floats(call, &floats[at.lo..at.hi], reached, (at.end - slide.range, at.end)))
                })
            }
            F::Irate | F::Idelta => self.each_window(walk, |_, at| {
                let [.., before, after] = &floats[at.lo..at.hi] else { return Ok(None) };
                Ok(rate::instant_change(call.id == F::Irate, before.t.0, before.v, after.t.0, after.v))
            }),
            F::Changes | F::Resets => {
                let differ = |a: f64, b: f64| a != b && !(a.is_nan() && b.is_nan());
                let mut marks = Marks::new(match call.id {
                    F::Resets => falls(floats),
                    _ => (1..floats.len()).filter(|i| differ(floats[i - 1].v, floats[*i].v)).collect(),
                });
                self.each_window(walk, |_, at| some(marks.inside(at).len() as f64))
            }
            F::CountOverTime => self.each_window(walk, |_, at| some((at.hi - at.lo) as f64)),
            F::PresentOverTime => self.each_window(walk, |_, _| some(1.0)),
            F::FirstOverTime => self.each_window(walk, |_, at| some(floats[at.lo].v)),
            F::LastOverTime => self.each_window(walk, |_, at| some(floats[at.hi - 1].v)),
            F::TsOfFirstOverTime => self.each_window(walk, |_, at| some(floats[at.lo].t.as_secs_f64())),
            F::TsOfLastOverTime => self.each_window(walk, |_, at| some(floats[at.hi - 1].t.as_secs_f64())),
            F::SumOverTime | F::AvgOverTime => self.sums(walk),
            F::MaxOverTime => self.extremes(walk, |new, old| new > old, |best| best.v),
            F::MinOverTime => self.extremes(walk, |new, old| new < old, |best| best.v),
            F::TsOfMaxOverTime => self.extremes(walk, |new, old| new >= old, |best| best.t.as_secs_f64()),
            F::TsOfMinOverTime => self.extremes(walk, |new, old| new <= old, |best| best.t.as_secs_f64()),
            F::StddevOverTime => self.variances(walk, f64::sqrt),
            F::StdvarOverTime => self.variances(walk, |variance| variance),
            F::QuantileOverTime => self.quantiles(walk),
            F::MadOverTime => self.median_deviations(walk),
            F::Deriv | F::PredictLinear => self.lines(walk),
            F::DoubleExponentialSmoothing => self.each_window(walk, |this, at| {
                this.worked(at.hi - at.lo)?;
                trend::of_floats(call, &floats[at.lo..at.hi], at.step, grid.time(at.step))
            }),
            _ => return Ok(false),
        }?;
        Ok(true)
    }

    /// Walks the windows that hold samples.
    #[inline]
    fn each_window(
        &mut self,
        walk: Walk<'_>,
        mut value: impl FnMut(&mut Self, Bounds) -> Value,
    ) -> Result<(), QueryError> {
        let Walk { slide, grid, floats, out, .. } = walk;
        let reach = self.reach(slide.range);
        let (mut lo, mut hi) = (0, 0);
        for step in 0..grid.steps {
            self.worked(0)?;
            let end = slide.end(grid, step);
            let first = reach.first(end);
            lo += floats[lo..].partition_point_linear(|s| s.t.0 < first);
            hi = hi.max(lo);
            hi += floats[hi..].partition_point_linear(|s| s.t.0 <= end);
            self.read_samples(hi - lo);
            if lo < hi
                && let Some(value) = value(self, Bounds { step, lo, hi, end })?
            {
                out.push_float(step, value);
            }
        }
        Ok(())
    }

    fn sums(&mut self, walk: Walk<'_>) -> Result<(), QueryError> {
        let (floats, averages) = (walk.floats, walk.call.id == FunctionId::AvgOverTime);
        let mut sums = Folded::<Sum>::new();
        self.each_window(walk, |this, at| {
            let Sum { sum: found, lost } = sums.over(floats, at.lo, at.hi);
            if found.is_finite() && lost.is_finite() {
                let count = (at.hi - at.lo) as f64;
                return Ok(Some(if averages { found / count + lost / count } else { found + lost }));
            }
            // Where a sum overflows, the order of adding matters.
            this.worked(at.hi - at.lo)?;
            let values = floats[at.lo..at.hi].iter().map(|s| s.v);
            Ok(Some(if averages { average(values) } else { sum(values) }))
        })
    }

    fn variances(&mut self, walk: Walk<'_>, wanted: impl Fn(f64) -> f64) -> Result<(), QueryError> {
        let floats = walk.floats;
        let mut spreads = Folded::<Spread>::new();
        self.each_window(walk, |this, at| {
            if let Some(found) = spreads.over(floats, at.lo, at.hi).variance() {
                return Ok(Some(wanted(found)));
            }
            this.worked(at.hi - at.lo)?;
            Ok(Some(wanted(variance(&floats[at.lo..at.hi]))))
        })
    }

    fn lines(&mut self, walk: Walk<'_>) -> Result<(), QueryError> {
        let Walk { call, grid, floats, .. } = walk;
        let mut lines = Folded::<Line>::new();
        self.each_window(walk, |this, at| {
            let window = &floats[at.lo..at.hi];
            let line = lines.over(floats, at.lo, at.hi);
            if window.len() < 2 {
                return Ok(None);
            }
            let origin = trend::origin(call, window, grid.time(at.step));
            if let Some(line) = line.slope_and_value(origin) {
                return Ok(Some(trend::of_line(call, line, at.step)));
            }
            this.worked(window.len())?;
            Ok(Some(trend::of_line(call, trend::linear_regression(window, origin), at.step)))
        })
    }

    fn extremes(
        &mut self,
        walk: Walk<'_>,
        wins: impl Fn(f64, f64) -> bool,
        wanted: impl Fn(Sample) -> f64,
    ) -> Result<(), QueryError> {
        let floats = walk.floats;
        let mut extreme = Extreme::default();
        self.each_window(walk, |_, at| Ok(Some(wanted(extreme.over(floats, at.lo, at.hi, &wins)))))
    }

    fn quantiles(&mut self, walk: Walk<'_>) -> Result<(), QueryError> {
        let (call, floats) = (walk.call, walk.floats);
        let mut sorted = Sorted::default();
        self.each_window(walk, |this, at| {
            // Values are moved to make room in the order.
            this.worked((at.hi - at.lo) / 8)?;
            let q = call.params.first().map_or(f64::NAN, |p| p.at(at.step));
            if !(0.0..=1.0).contains(&q) {
                this.notes.invalid_quantile(call.first_arg, q);
            }
            Ok(Some(quantile_of_sorted(q, sorted.over(floats, at.lo, at.hi))))
        })
    }

    fn median_deviations(&mut self, walk: Walk<'_>) -> Result<(), QueryError> {
        let floats = walk.floats;
        let (mut sorted, mut scratch) = (Sorted::default(), Vec::new());
        self.each_window(walk, |this, at| {
            this.worked(at.hi - at.lo)?;
            let values = sorted.over(floats, at.lo, at.hi);
            Ok(Some(median_deviation(quantile_of_sorted(0.5, values), values, &mut scratch)))
        })
    }
}
