//! `sort` and its kin. Only the answer to an instant query has an order, so they do nothing over a range.

use std::cmp::Ordering;

use super::super::Evaluator;
use super::super::grid::Grid;
use super::super::points::{Point, Points, Series};
use crate::promql::ast::{Call, ExprKind};
use crate::promql::error::QueryError;
use crate::promql::functions::FunctionId;

impl Evaluator<'_> {
    pub(super) fn sort(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let mut series = self.vector(&call.args[0], grid)?;
        let descending = matches!(call.function.id, FunctionId::SortDesc | FunctionId::SortByLabelDesc);
        if matches!(call.function.id, FunctionId::Sort | FunctionId::SortDesc) {
            series = series.into_iter().map(without_histograms).filter(|one| !one.points.is_empty()).collect();
            if grid.steps == 1 {
                series.sort_by(|a, b| by_value(value(a), value(b), descending));
            }
            return Ok(series);
        }
        let names: Vec<String> = call.args[1..]
            .iter()
            .filter_map(|arg| match &arg.unwrap_parens().kind {
                ExprKind::String(text) => Some(text.text().into_owned()),
                _ => None,
            })
            .collect();
        if grid.steps == 1 {
            series.sort_by(|a, b| {
                let by_name = names
                    .iter()
                    .map(|name| natural(a.labels.get(name).unwrap_or(""), b.labels.get(name).unwrap_or("")));
                let order = by_name.fold(Ordering::Equal, Ordering::then).then_with(|| a.labels.cmp(&b.labels));
                if descending { order.reverse() } else { order }
            });
        }
        Ok(series)
    }
}

fn without_histograms(one: Series) -> Series {
    let mut points = Points::default();
    for (step, point) in one.points.iter() {
        if let Point::Float(v) = point {
            points.push_float(step, v);
        }
    }
    Series { points, ..one }
}

fn value(series: &Series) -> f64 {
    match series.points.get(0) {
        Some(Point::Float(v)) => v,
        _ => f64::NAN,
    }
}

/// NaN comes last either way.
fn by_value(a: f64, b: f64, descending: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => {
            let order = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
            if descending { order.reverse() } else { order }
        }
    }
}

/// Runs of digits compare as numbers, so that `cpu10` comes after `cpu9`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    while !a.is_empty() && !b.is_empty() {
        let (run_a, rest_a, digits_a) = first_run(a);
        let (run_b, rest_b, digits_b) = first_run(b);
        let order = if digits_a && digits_b {
            let (number_a, number_b) = (run_a.trim_start_matches('0'), run_b.trim_start_matches('0'));
            number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b)).then(run_a.len().cmp(&run_b.len()))
        } else {
            run_a.cmp(run_b)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    a.len().cmp(&b.len())
}

/// The leading run of digits or of anything else, and what follows.
fn first_run(text: &str) -> (&str, &str, bool) {
    let is_digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != is_digits).unwrap_or(text.len());
    (&text[..end], &text[end..], is_digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_compare_as_numbers() {
        let mut names = ["cpu10", "cpu9", "cpu", "1a", "cpu09", "b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["1a", "b", "cpu", "cpu9", "cpu09", "cpu10"]);
    }
}
