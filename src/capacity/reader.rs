//! Reads signals by query at one time.

use std::collections::HashMap;

use super::CapacityError;
use crate::model::{Labels, Sample, TimestampMs, Value};
use crate::promql::{self, Engine, QueryValue};
use crate::storage::Select;

/// The store, seen at one time.
pub(super) struct Reader<'a> {
    pub now: TimestampMs,
    pub store: &'a dyn Select,
    pub engine: &'a Engine,
}

/// Labels of one instance.
pub(super) fn instance(labels: &Labels) -> Labels {
    labels.keep(|name| matches!(name, "cluster" | "namespace" | "job" | "instance"))
}

/// Labels of one installation.
pub(super) fn installation(labels: &Labels) -> Labels {
    labels.keep(|name| matches!(name, "cluster" | "namespace" | "job"))
}

/// Labels of one Kubernetes namespace, where an autoscaler and a database are.
pub(super) fn place(labels: &Labels) -> Labels {
    labels.keep(|name| matches!(name, "cluster" | "namespace"))
}

impl Reader<'_> {
    fn ask(&self, query: &str) -> Result<QueryValue, CapacityError> {
        let expr = promql::parse(query).expect("the queries of this room parse, as its tests show");
        let answer = self.engine.instant(self.store, &expr, self.now);
        answer.map(|a| a.value).map_err(|source| CapacityError::Query { query: query.to_owned(), source })
    }

    /// The finite floats of an instant vector.
    pub fn vector(&self, query: &str) -> Result<Vec<(Labels, f64)>, CapacityError> {
        let QueryValue::Vector(vector) = self.ask(query)? else { return Ok(Vec::new()) };
        let finite = |value: Value| match value {
            Value::Float(v) if v.is_finite() => Some(v),
            _ => None,
        };
        Ok(vector.into_iter().filter_map(|s| finite(s.value).map(|v| (s.labels, v))).collect())
    }

    /// The same by those labels that `key` keeps; of several, the greatest.
    pub fn by(&self, query: &str, key: fn(&Labels) -> Labels) -> Result<HashMap<Labels, f64>, CapacityError> {
        let mut out: HashMap<Labels, f64> = HashMap::new();
        for (labels, value) in self.vector(query)? {
            out.entry(key(&labels)).and_modify(|v| *v = v.max(value)).or_insert(value);
        }
        Ok(out)
    }

    /// The first value of an instant vector.
    pub fn scalar(&self, query: &str) -> Result<Option<f64>, CapacityError> {
        Ok(self.vector(query)?.first().map(|(_, v)| *v))
    }

    /// The floats of a range query, by series.
    pub fn range(
        &self,
        query: &str,
        from: TimestampMs,
        to: TimestampMs,
        step_ms: i64,
    ) -> Result<Vec<(Labels, Vec<Sample>)>, CapacityError> {
        let expr = promql::parse(query).expect("the queries of this room parse, as its tests show");
        let answer = self.engine.range(self.store, &expr, from, to, step_ms);
        let answer = answer.map_err(|source| CapacityError::Query { query: query.to_owned(), source })?;
        let QueryValue::Matrix(matrix) = answer.value else { return Ok(Vec::new()) };
        Ok(matrix.into_iter().map(|series| (series.labels, series.floats)).collect())
    }
}
