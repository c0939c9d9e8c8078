//! The report as series, so that every number of it can be queried, drawn and alerted on, and remembered.

use std::collections::BTreeMap;

use super::history::{LIMIT, USED, key};
use super::report::{Report, Row};
use super::scaling::Autoscaler;
use crate::model::{Labels, METRIC_NAME, Value};
use crate::storage::Point;

/// CPU that was expected in an hour when the series was written.
pub const CPU_FORECAST: &str = "rivet:capacity:cpu_forecast:cores";
/// Replicas that were expected to be wanted in an hour.
pub const REPLICAS_FORECAST: &str = "rivet:capacity:replicas_forecast:count";

/// Every series of the report, at its time.
///
/// A row whose limit or use is unknown has no headroom: absent is not zero.
pub fn points(report: &Report) -> Vec<Point> {
    let mut points = Vec::new();
    let mut push = |name: &str, identity: &Labels, more: &[(&str, &str)], value: f64| {
        let mut labels = identity.builder();
        labels.set(METRIC_NAME, name);
        for (name, value) in more {
            labels.set(*name, *value);
        }
        points.push(Point { labels: labels.build(), t: report.at, value: Value::Float(value) });
    };
    for row in &report.rows {
        let of = [("resource", row.resource.as_str()), ("kind", row.kind.as_str())];
        let mut some = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                push(name, &row.labels, &of, value);
            }
        };
        some("rivet:headroom:ratio", row.headroom_ratio);
        some("rivet:headroom:peak_ratio", row.headroom_at_peak_ratio);
        some("rivet:headroom:time_to_full_seconds", row.time_to_full_seconds);
        if let (Some(outlook), Some(seconds)) = (row.outlook, row.time_to_full_seconds) {
            let confidence = match outlook.confidence {
                super::forecast::Confidence::Low => "low",
                super::forecast::Confidence::Medium => "medium",
                super::forecast::Confidence::High => "high",
            };
            let of = [("kind", row.kind.as_str()), ("confidence", confidence)];
            push("rivet:headroom:outlook_seconds", &row.labels, &of, seconds);
        }
    }
    for (labels, row) in recorded(report) {
        let labels = placed(&labels);
        let Some(used) = row.peaks.minute.or(row.used) else { continue };
        push(USED, &labels, &[], used);
        if let Some(limit) = row.limit {
            push(LIMIT, &labels, &[], limit);
        }
    }
    if let Some(binding) = &report.binding {
        let of =
            [("resource", binding.resource.as_str()), ("kind", binding.kind.as_str()), ("subject", &binding.subject)];
        push("rivet:headroom:binding_ratio", &placed(&Labels::empty()), &of, binding.headroom_at_peak_ratio);
    }
    for scaling in &report.autoscaling {
        let of = [("resource", scaling.resource)];
        push("rivet:headroom:wanted_replicas", &scaling.labels, &of, f64::from(scaling.wanted_replicas));
        push("rivet:headroom:replicas", &scaling.labels, &of, f64::from(scaling.replicas));
    }
    for autoscaler in &report.autoscalers {
        autoscaler_points(autoscaler, &mut push);
    }
    points
}

/// With `job` and `instance`, which the selectors of dashboards ask for: what belongs to no instance belongs to all.
fn placed(labels: &Labels) -> Labels {
    let mut labels = labels.builder();
    labels.set_default("job", "all").set_default("instance", "all");
    labels.build()
}

/// The row that stands for each kind and installation or pool: the fullest.
fn recorded(report: &Report) -> BTreeMap<Labels, &Row> {
    let mut out: BTreeMap<Labels, &Row> = BTreeMap::new();
    let share = |row: &Row| (row.headroom_ratio.map_or(0.0, |h| 1.0 - h), row.used.unwrap_or(0.0));
    for row in report.rows.iter().filter(|row| row.kind.has_history() && row.used.is_some()) {
        out.entry(key(row))
            .and_modify(|best| {
                if share(row) > share(best) {
                    *best = row
                }
            })
            .or_insert(row);
    }
    out
}

fn autoscaler_points(autoscaler: &Autoscaler, push: &mut impl FnMut(&str, &Labels, &[(&str, &str)], f64)) {
    let of = &placed(&autoscaler.labels);
    let mut some = |name: &str, more: &[(&str, &str)], value: Option<u32>| {
        if let Some(value) = value {
            push(name, of, more, f64::from(value));
        }
    };
    some("rivet:headroom:twin_replicas", &[], autoscaler.wanted_replicas);
    some("rivet:headroom:unbounded_replicas", &[], autoscaler.unbounded_replicas);
    some("rivet:headroom:peak_replicas", &[], autoscaler.peak_replicas);
    some("rivet:headroom:most_replicas", &[], autoscaler.most_replicas);
    for ahead in &autoscaler.ahead {
        let hours = format!("{}h", ahead.hours);
        some("rivet:headroom:ahead_replicas", &[("ahead", &hours)], ahead.replicas);
    }
    if let Some(difference) = autoscaler.difference() {
        push("rivet:headroom:twin_difference", of, &[], difference);
    }
    if let Some(cores) = autoscaler.cpu_in_an_hour {
        push(CPU_FORECAST, of, &[], cores);
    }
    if let Some(replicas) = autoscaler.ahead.iter().find(|a| a.hours == 1).and_then(|a| a.replicas) {
        push(REPLICAS_FORECAST, of, &[], f64::from(replicas));
    }
    for (what, error) in &autoscaler.forecast_errors {
        push("rivet:headroom:forecast_error", of, &[("of", what)], *error);
    }
}
