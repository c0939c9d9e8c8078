//! Which series a list told of, so that each point is told once and what is gone is marked stale.

use std::collections::HashMap;

use super::step::AGE_MS_MAX;
use crate::model::{Labels, TimestampMs, Value, stale_nan};
use crate::storage::Point;

/// The newest time of each series that is not marked stale.
#[derive(Debug, Default)]
pub(super) struct Live(HashMap<Labels, TimestampMs>);

impl Live {
    /// Drops points that were there before, and adds markers for series that are gone: at once where the list is whole, else
    /// once they are [`AGE_MS_MAX`] old.
    pub(super) fn settle(&mut self, mut points: Vec<Point>, is_whole: bool, now: TimestampMs) -> Vec<Point> {
        let before = std::mem::take(&mut self.0);
        points.retain(|point| {
            let newest = before.get(&point.labels).copied();
            let is_new = newest.is_none_or(|newest| point.t > newest);
            self.0.insert(point.labels.clone(), newest.map_or(point.t, |newest| newest.max(point.t)));
            is_new
        });
        for (labels, newest) in before {
            if self.0.contains_key(&labels) {
                continue;
            }
            if !is_whole && now.since(newest) <= AGE_MS_MAX {
                self.0.insert(labels, newest);
            } else {
                // Where a node's clock is ahead, the marker comes after what it marks all the same.
                let t = now.max(newest.plus_ms(1));
                points.push(Point { labels, t, value: Value::Float(stale_nan()) });
            }
        }
        points
    }
}
