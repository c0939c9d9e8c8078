//! The report as series, so that every number of it can be queried, drawn and alerted on.

use super::report::Report;
use crate::model::{Labels, METRIC_NAME, Value};
use crate::storage::Point;

/// `rivet:headroom:ratio`, `rivet:headroom:time_to_full_seconds` and `rivet:headroom:wanted_replicas` at the report's time.
///
/// A row whose limit or use is unknown has no series: absent is not zero.
pub fn points(report: &Report) -> Vec<Point> {
    let mut points = Vec::new();
    let mut push = |name: &str, identity: &Labels, resource: &str, value: f64| {
        let mut labels = identity.builder();
        labels.set(METRIC_NAME, name).set("resource", resource);
        points.push(Point { labels: labels.build(), t: report.at, value: Value::Float(value) });
    };
    for row in &report.rows {
        if let Some(ratio) = row.headroom_ratio {
            push("rivet:headroom:ratio", &row.labels, &row.resource, ratio);
        }
        if let Some(seconds) = row.time_to_full_seconds {
            push("rivet:headroom:time_to_full_seconds", &row.labels, &row.resource, seconds);
        }
    }
    for scaling in &report.autoscaling {
        push("rivet:headroom:wanted_replicas", &Labels::empty(), scaling.resource, f64::from(scaling.wanted_replicas));
        push("rivet:headroom:replicas", &Labels::empty(), scaling.resource, f64::from(scaling.replicas));
    }
    points
}
