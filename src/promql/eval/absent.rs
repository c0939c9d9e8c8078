//! `absent` and `absent_over_time`: one where nothing is.

use hashbrown::HashMap;

use super::Evaluator;
use super::grid::Grid;
use super::points::{Points, Series};
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MatchOp};
use crate::promql::ast::{Call, Expr};
use crate::promql::error::QueryError;

impl Evaluator<'_> {
    pub(super) fn absent(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let mut present = vec![false; grid.steps];
        self.stream(&call.args[0], grid, &mut |_, one| {
            one.points.iter().for_each(|(step, _)| present[step] = true);
            Ok(())
        })?;
        Ok(where_absent(&call.args[0], &present))
    }

    pub(super) fn absent_over_time(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        super::window::check_extension(call, &call.args[0])?;
        let mut present = vec![false; grid.steps];
        self.for_each_present_step(&call.args[0], grid, |step| present[step] = true)?;
        Ok(where_absent(&call.args[0], &present))
    }
}

fn where_absent(arg: &Expr, present: &[bool]) -> Vec<Series> {
    let mut points = Points::default();
    for (step, _) in present.iter().enumerate().filter(|(_, present)| !**present) {
        points.push_float(step, 1.0);
    }
    if points.is_empty() { Vec::new() } else { vec![Series { labels: expected_labels(arg), drop_name: false, points }] }
}

/// The labels that the missing series would have had: of each, what the selector asks with `=` first, unless a later
/// matcher speaks of it again.
fn expected_labels(arg: &Expr) -> Labels {
    let Some(selector) = arg.unwrap_parens().direct_selector() else { return Labels::empty() };
    // The value with which a label was asked first, until it was contradicted, which is for good.
    let mut asked: HashMap<&str, Option<&str>> = HashMap::new();
    for matcher in selector.matchers.iter().filter(|m| m.name != METRIC_NAME) {
        let name = matcher.name.as_str();
        if let Some(value) = asked.get_mut(name) {
            *value = None;
        } else if matcher.op == MatchOp::Equal {
            asked.insert(name, Some(&matcher.value));
        }
    }
    let mut labels = LabelsBuilder::default();
    for (name, value) in asked {
        if let Some(value) = value {
            labels.set(name, value);
        }
    }
    labels.build()
}
