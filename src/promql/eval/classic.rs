//! `histogram_quantile`, `histogram_quantiles`, `histogram_fraction` over classic and native histograms.
//!
//! Classic buckets are joined by all labels but `le`. Where a native histogram has the labels of a classic one,
//! neither is used and a warning says so.

use hashbrown::{HashMap, HashSet};

use super::grid::Grid;
use super::held::Held;
use super::points::{Output, Point, Points, Scalar, Series};
use super::{Evaluated, Evaluator};
use crate::model::{FloatHistogram, LabelParts, Labels};
use crate::promql::ast::{Call, PositionRange};
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;
use crate::promql::histogram::{self, Sparse};
use crate::promql::number::format_float_g;

/// The label that holds a classic bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// Counts of classic buckets that differ by no more than this part of the count are rounding noise of `rate`.
const PRECISION_TOLERANCE: f64 = 1e-12;

/// A classic bucket: all observations up to a bound.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    upper: f64,
    count: f64,
}

/// The bucket series of one classic histogram.
struct Classic {
    labels: Labels,
    buckets: Vec<(f64, usize)>,
}

/// What is asked of each histogram.
enum Question<'a> {
    Quantile(&'a Scalar),
    Fraction(&'a Scalar, &'a Scalar),
}

/// Where annotations of a call point to.
#[derive(Clone, Copy)]
struct Places {
    question: PositionRange,
    vector: PositionRange,
}

impl Evaluator<'_> {
    pub(super) fn histogram_call(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        match call.function.id {
            FunctionId::HistogramQuantile => {
                let q = self.scalar(&call.args[0], grid)?;
                let series = self.vector_with_resets(&call.args[1], grid, false)?;
                let places = Places { question: call.args[0].position, vector: call.args[1].position };
                self.ask(&Question::Quantile(&q), &series, grid, places)
            }
            FunctionId::HistogramFraction => {
                let (lower, upper) = (self.scalar(&call.args[0], grid)?, self.scalar(&call.args[1], grid)?);
                let series = self.vector_with_resets(&call.args[2], grid, false)?;
                let places = Places { question: call.args[0].position, vector: call.args[2].position };
                self.ask(&Question::Fraction(&lower, &upper), &series, grid, places)
            }
            _ => self.histogram_quantiles(call, grid),
        }
    }

    fn histogram_quantiles(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let series = self.vector_with_resets(&call.args[0], grid, false)?;
        let label = match self.eval(&call.args[1], grid)? {
            Evaluated::String(bytes) => super::labels::label_name(&bytes)?,
            _ => return Err(QueryError::Execution("expected a string".into())),
        };
        // In the order in which the quantiles are asked, so that the steps of one series may come in any.
        let mut out: Vec<(Labels, Vec<(usize, Output)>)> = Vec::new();
        let mut by_labels: HashMap<Labels, usize> = HashMap::new();
        let mut total = Held::default();
        for arg in &call.args[2..] {
            let q = self.scalar(arg, grid)?;
            let places = Places { question: arg.position, vector: call.args[0].position };
            let answers = self.ask(&Question::Quantile(&q), &series, grid, places)?;
            for answer in answers {
                self.worked(answer.points.len())?;
                // The quantile may change from step to step, and with it the label.
                let mut last: Option<(f64, usize)> = None;
                for (step, point) in answer.points.iter() {
                    let at = match last.filter(|(of, _)| *of == q.at(step)) {
                        Some((_, at)) => at,
                        None => {
                            let labels = answer.labels.with(&label, &open_metrics_float(q.at(step)));
                            *by_labels.entry(labels).or_insert(out.len())
                        }
                    };
                    last = Some((q.at(step), at));
                    if at == out.len() {
                        let labels = answer.labels.with(&label, &open_metrics_float(q.at(step)));
                        total += Held { samples: answer.points.len(), bytes: labels.size_bytes() };
                        self.check_held(total)?;
                        out.push((labels, Vec::new()));
                    }
                    out[at].1.push((step, point.to_output()));
                }
            }
        }
        out.into_iter()
            .map(|(labels, mut steps)| {
                steps.sort_by_key(|(step, _)| *step);
                if steps.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                    return Err(QueryError::Execution("vector cannot contain metrics with the same labelset".into()));
                }
                let mut points = Points::default();
                steps.into_iter().for_each(|(step, value)| points.push(step, value));
                Ok(Series { labels, drop_name: true, points })
            })
            .collect()
    }

    fn ask(
        &mut self,
        question: &Question<'_>,
        series: &[Series],
        grid: &Grid,
        places: Places,
    ) -> Result<Vec<Series>, QueryError> {
        if let Question::Quantile(q) = question {
            for q in (0..grid.steps).map(|step| q.at(step)).filter(|q| !(0.0..=1.0).contains(q)) {
                self.notes.invalid_quantile(places.question, q);
            }
        }
        let (classics, parts) = self.classic_histograms(series, places);
        let mut silenced: Vec<HashSet<usize>> = vec![HashSet::new(); classics.len()];
        let mut out = Vec::new();
        for one in series {
            self.worked(one.points.len())?;
            let twin = parts.get(&one.labels);
            let mut points = Points::default();
            for (step, point) in one.points.iter() {
                let Point::Histogram(h) = point else { continue };
                if let Some(twin) = twin.filter(|at| has_buckets(&classics[*at], series, step)) {
                    self.notes.mixed_classic_native(places.vector, one.labels.metric_name());
                    silenced[twin].insert(step);
                    continue;
                }
                points.push_float(step, self.ask_native(question, h, step, one.labels.metric_name(), places));
            }
            if !points.is_empty() {
                out.push(Series { labels: one.labels.clone(), drop_name: true, points });
            }
        }
        for (classic, silenced) in classics.iter().zip(&silenced) {
            self.worked(grid.steps.saturating_mul(classic.buckets.len()))?;
            let mut points = Points::default();
            for step in (0..grid.steps).filter(|step| !silenced.contains(step)) {
                let mut buckets = buckets_at(classic, series, step);
                if !buckets.is_empty() {
                    let value = self.ask_classic(question, &mut buckets, step, classic.labels.metric_name(), places);
                    points.push(step, Output::Float(value));
                }
            }
            if !points.is_empty() {
                out.push(Series { labels: classic.labels.clone(), drop_name: true, points });
            }
        }
        Ok(out)
    }

    fn classic_histograms(&mut self, series: &[Series], places: Places) -> (Vec<Classic>, LabelParts) {
        let mut classics: Vec<Classic> = Vec::new();
        let mut parts = LabelParts::default();
        for (index, one) in series.iter().enumerate() {
            if !one.points.iter().any(|(_, point)| matches!(point, Point::Float(_))) {
                continue;
            }
            let le = one.labels.get(BUCKET_LABEL).unwrap_or("");
            let Some(upper) = crate::promql::number::parse_signed_number(le) else {
                self.notes.bad_bucket_label(places.vector, one.labels.metric_name(), le);
                continue;
            };
            let at = parts.number(&one.labels, |name| name != BUCKET_LABEL.as_bytes());
            if at == classics.len() {
                classics.push(Classic { labels: parts.last(), buckets: Vec::new() });
            }
            classics[at].buckets.push((upper, index));
        }
        classics.iter_mut().for_each(|c| c.buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b)));
        (classics, parts)
    }

    fn ask_native(
        &mut self,
        question: &Question<'_>,
        h: &FloatHistogram,
        step: usize,
        name: &str,
        places: Places,
    ) -> f64 {
        let sparse = Sparse::from(h);
        match question {
            Question::Quantile(q) => {
                let answer = histogram::quantile(q.at(step), &sparse);
                if answer.is_nan_result {
                    self.notes.quantile_is_nan(places.vector, name);
                } else if answer.is_skewed {
                    self.notes.quantile_is_skewed(places.vector, name);
                }
                answer.value
            }
            Question::Fraction(lower, upper) => {
                if h.sum.is_nan() && h.count > 0.0 {
                    self.notes.fraction_excludes_nan(places.vector, name);
                }
                histogram::fraction(lower.at(step), upper.at(step), &sparse)
            }
        }
    }

    fn ask_classic(
        &mut self,
        question: &Question<'_>,
        buckets: &mut [Bucket],
        step: usize,
        name: &str,
        places: Places,
    ) -> f64 {
        match question {
            Question::Quantile(q) => {
                let (value, forced) = bucket_quantile(q.at(step), buckets);
                if forced {
                    self.notes.forced_monotonicity(places.vector, name);
                }
                value
            }
            Question::Fraction(lower, upper) => bucket_fraction(lower.at(step), upper.at(step), buckets),
        }
    }
}

fn has_buckets(classic: &Classic, series: &[Series], step: usize) -> bool {
    classic.buckets.iter().any(|(_, index)| matches!(series[*index].points.get(step), Some(Point::Float(_))))
}

/// Buckets with a value at a step, by ascending bound, those of the same bound added up.
fn buckets_at(classic: &Classic, series: &[Series], step: usize) -> Vec<Bucket> {
    let mut buckets: Vec<Bucket> = Vec::with_capacity(classic.buckets.len());
    for (upper, index) in &classic.buckets {
        let Some(Point::Float(count)) = series[*index].points.get(step) else { continue };
        match buckets.last_mut() {
            Some(last) if last.upper == *upper => last.count += count,
            _ => buckets.push(Bucket { upper: *upper, count }),
        }
    }
    buckets
}

/// The quantile of a classic histogram, linear within a bucket, and whether counts had to be made to rise.
///
/// NaN without a `+Inf` bucket, with fewer than two buckets, or without observations. The lowest bucket begins at
/// zero where its bound is positive; from the highest its lower bound is taken.
fn bucket_quantile(q: f64, buckets: &mut [Bucket]) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    if buckets.last().is_none_or(|b| b.upper != f64::INFINITY) {
        return (f64::NAN, false);
    }
    let forced = make_counts_rise(buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, false);
    }
    let rank = q * observations;
    // Counts that are no number are in no bucket but the last.
    let at = if rank.is_nan() { last } else { buckets[..last].partition_point(|b| b.count < rank) };
    if at == last {
        return (buckets[last - 1].upper, forced);
    }
    if at == 0 && buckets[0].upper <= 0.0 {
        return (buckets[0].upper, forced);
    }
    let below = if at == 0 { Bucket { upper: 0.0, count: 0.0 } } else { buckets[at - 1] };
    let share = (rank - below.count) / (buckets[at].count - below.count);
    (below.upper + (buckets[at].upper - below.upper) * share, forced)
}

/// Removes falls in the cumulative counts; whether any was more than rounding noise.
fn make_counts_rise(buckets: &mut [Bucket]) -> bool {
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let difference = (bucket.count - before).abs();
        if difference == 0.0 {
            continue;
        }
        if difference / bucket.count <= PRECISION_TOLERANCE {
            bucket.count = before;
        } else {
            before = bucket.count;
        }
    }
    let mut forced = false;
    let mut highest = buckets[0].count;
    for bucket in &mut buckets[1..] {
        if bucket.count > highest {
            highest = bucket.count;
        } else if bucket.count < highest {
            bucket.count = highest;
            forced = true;
        }
    }
    forced
}

/// The fraction of a classic histogram between two values, by way of a native one with the same bounds.
fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some(last) = buckets.last().filter(|b| b.upper == f64::INFINITY) else { return f64::NAN };
    let mut below = 0.0;
    let differences = buckets.iter().enumerate().map(|(index, bucket)| {
        let count = bucket.count - below;
        below = bucket.count;
        (index as i32, count)
    });
    let native = Sparse {
        schema: FloatHistogram::CUSTOM_BUCKETS,
        count: last.count,
        positive: differences.collect(),
        custom_values: buckets[..buckets.len() - 1].iter().map(|b| b.upper).collect(),
        ..Sparse::default()
    };
    histogram::fraction(lower, upper, &native)
}

/// A float as OpenMetrics writes it: whole numbers with `.0`.
fn open_metrics_float(value: f64) -> String {
    let text = format_float_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|(upper, count)| Bucket { upper: *upper, count: *count }).collect()
    }

    #[test]
    fn edges_of_classic_quantiles() {
        let whole = [(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 20.0)];
        assert_eq!(bucket_quantile(0.5, &mut buckets(&whole)), (1.0, false));
        assert_eq!(bucket_quantile(0.25, &mut buckets(&whole)), (0.5, false));
        assert_eq!(bucket_quantile(1.5, &mut buckets(&whole)).0, f64::INFINITY);
        assert!(bucket_quantile(0.5, &mut buckets(&whole[..2])).0.is_nan(), "no +Inf bucket");
        assert!(bucket_quantile(0.5, &mut buckets(&[(1.0, 3.0), (2.0, 2.0), (f64::INFINITY, 4.0)])).1);
    }

    #[test]
    fn fractions_count_what_lies_between() {
        let whole = buckets(&[(1.0, 10.0), (2.0, 20.0), (f64::INFINITY, 40.0)]);
        assert_eq!(bucket_fraction(0.5, 1.5, &whole), 0.25);
        assert_eq!(bucket_fraction(f64::NEG_INFINITY, f64::INFINITY, &whole), 1.0);
    }
}
