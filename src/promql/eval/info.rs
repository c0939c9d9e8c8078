//! `info(v, {selectors})`: adds the data labels of info metrics with the same `job` and `instance`.
//!
//! Info metrics are looked at as of the times at which `v` reads its samples, `@` and `offset` included.
//! Series that are info metrics themselves pass unchanged. Where two info series of one name are present, the one
//! with the newer sample counts. A selector on a data label that does not accept the empty value also filters.

use hashbrown::HashMap;

use super::grid::Grid;
use super::held::Held;
use super::points::{Output, Point, Points, Series};
use super::{Evaluator, merge_same_labels};
use crate::model::{Labels, METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{Call, Expr, ExprKind, TimeModifiers, VectorSelector};
use crate::promql::error::QueryError;

/// The labels by which info metrics are found.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// What the second argument asks for.
struct Request {
    /// Conditions on the names of info metrics; they always hold a positive one.
    names: Vec<Matcher>,
    /// Conditions on their labels; where there are any, only these labels are added.
    data: Vec<Matcher>,
}

impl Request {
    fn new(call: &Call) -> Result<Self, QueryError> {
        let given = call.args.get(1).and_then(Expr::direct_selector).map(|s| s.matchers.clone()).unwrap_or_default();
        let (mut names, data): (Vec<_>, Vec<_>) = given.into_iter().partition(|m| m.name == METRIC_NAME);
        if names.is_empty() {
            names.push(Matcher::equal(METRIC_NAME, "target_info"));
        } else if !names.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Matches)) {
            let any_info = Matcher::new(METRIC_NAME, MatchOp::Matches, ".+_info");
            names.push(any_info.map_err(|e| QueryError::Execution(e.to_string()))?);
        }
        Ok(Self { names, data })
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|m| m.matches(labels))
    }

    fn wants(&self, label: &str) -> bool {
        !IDENTIFYING.contains(&label)
            && label != METRIC_NAME
            && (self.data.is_empty() || self.data.iter().any(|m| m.name == label))
    }

    fn accepts_nothing(&self) -> bool {
        self.data.iter().all(Matcher::matches_empty)
    }
}

impl Evaluator<'_> {
    pub(super) fn info(&mut self, call: &Call, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let request = Request::new(call)?;
        let base = self.vector(&call.args[0], grid)?;
        let infos = self.info_series(&request, &call.args[0], grid)?;
        let mut by_identity: HashMap<Labels, Vec<usize>> = HashMap::new();
        for (index, info) in infos.iter().enumerate() {
            by_identity.entry(identity(&info.labels)).or_default().push(index);
        }
        let mut out = Vec::new();
        for one in base {
            self.cancel.check()?;
            let candidates = by_identity.get(&identity(&one.labels)).map(Vec::as_slice).unwrap_or_default();
            if request.is_info(&one.labels) {
                out.push(one);
            } else {
                enrich(&request, &one, candidates, &infos, &mut out)?;
            }
        }
        merge_same_labels(out)
    }

    /// Info series with, at each step, the time of the sample that is current.
    fn info_series(&mut self, request: &Request, base: &Expr, grid: &Grid) -> Result<Vec<Series>, QueryError> {
        let times =
            (0..grid.steps).map(|step| self.read_time(base, grid.time(step))).collect::<Result<Vec<i64>, _>>()?;
        let selector = VectorSelector {
            name: None,
            matchers: request.names.iter().chain(&request.data).cloned().collect(),
            time: TimeModifiers::default(),
            extension: None,
            position: base.position,
        };
        let sample_time = |found: &super::selector::Found<'_>| match found.output() {
            Output::Float(_) => Output::Float(found.time() as f64),
            histogram @ Output::Histogram(_) => histogram,
        };
        let mut infos: Vec<Series> = Vec::new();
        let mut total = Held::default();
        self.samples_at(&selector, grid.steps, |step| times[step], sample_time, &mut |this, one| {
            total += Held::of_series(one);
            this.check_held(total)?;
            infos.push(one.clone());
            Ok(())
        })?;
        super::selector::sort_by_labels(&mut infos);
        let has_histograms = |s: &Series| s.points.iter().any(|(_, point)| matches!(point, Point::Histogram(_)));
        if let Some(bad) = infos.iter().find(|s| has_histograms(s)) {
            let name = bad.labels.metric_name();
            return Err(QueryError::Execution(format!("info metric {name:?} is a native histogram, not a float")));
        }
        Ok(infos)
    }

    /// The time as of which an expression that is evaluated at `t` reads the samples of its first selector.
    fn read_time(&self, expr: &Expr, t: i64) -> Result<i64, QueryError> {
        let moved = |time: &TimeModifiers| {
            let (offset, at) = self.times.modifiers(time)?;
            Ok::<i64, QueryError>(at.unwrap_or(t) - offset)
        };
        if let Some(selector) = expr.direct_selector() {
            return moved(&selector.time);
        }
        if let ExprKind::Subquery(subquery) = &expr.kind {
            return self.read_time(&subquery.expr, moved(&subquery.time)?);
        }
        let with_selector = |child: &&Expr| crate::promql::ast::selectors(child).next().is_some();
        match expr.children().find(with_selector) {
            Some(child) => self.read_time(child, t),
            None => Ok(t),
        }
    }
}

fn identity(labels: &Labels) -> Labels {
    labels.keep(|name| IDENTIFYING.contains(&name))
}

/// Adds to `out` the series that one base series becomes: another one whenever the info labels change.
fn enrich(
    request: &Request,
    one: &Series,
    candidates: &[usize],
    infos: &[Series],
    out: &mut Vec<Series>,
) -> Result<(), QueryError> {
    let begin = out.len();
    for (step, point) in one.points.iter() {
        let current = current_infos(candidates, infos, step)?;
        if current.is_empty() && !request.accepts_nothing() {
            continue;
        }
        let labels = with_data_labels(request, &one.labels, current)?;
        let at = out[begin..].iter().position(|s| s.labels == labels).map_or(out.len(), |at| begin + at);
        if at == out.len() {
            out.push(Series { labels, drop_name: one.drop_name, points: Points::default() });
        }
        out[at].points.push(step, point.to_output());
    }
    Ok(())
}

/// The info series at a step, of each name the one with the newest sample.
fn current_infos<'s>(candidates: &[usize], infos: &'s [Series], step: usize) -> Result<Vec<&'s Labels>, QueryError> {
    let mut newest: Vec<(&Labels, f64)> = Vec::new();
    for info in candidates.iter().map(|at| &infos[*at]) {
        let Some(Point::Float(time)) = info.points.get(step) else { continue };
        let name = info.labels.metric_name();
        match newest.iter_mut().find(|(labels, _)| labels.metric_name() == name) {
            None => newest.push((&info.labels, time)),
            Some(twin) if twin.1 == time => {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for info metric: {} and {}",
                    crate::promql::labels_text(twin.0),
                    crate::promql::labels_text(&info.labels)
                )));
            }
            Some(twin) if twin.1 < time => *twin = (&info.labels, time),
            Some(_) => {}
        }
    }
    Ok(newest.into_iter().map(|(labels, _)| labels).collect())
}

/// The base labels with those of the info series that they lack.
fn with_data_labels(request: &Request, base: &Labels, infos: Vec<&Labels>) -> Result<Labels, QueryError> {
    let mut builder = base.builder();
    for (name, value) in infos.iter().flat_map(|labels| labels.iter()) {
        if !request.wants(name) || base.get(name).is_some() {
            continue;
        }
        if builder.get(name).is_some_and(|present| present != value) {
            return Err(QueryError::Execution(format!("conflicting label: {name}")));
        }
        builder.set(name, value);
    }
    Ok(builder.build())
}
