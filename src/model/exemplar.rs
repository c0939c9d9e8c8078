//! An observation behind a sample, such as the trace of one slow request.

use super::labels::{Labels, LabelsBuilder};
use super::time::TimestampMs;

/// Most characters of names and values that an exemplar's labels may have together (OpenMetrics 1.0, "Exemplars").
pub const EXEMPLAR_CHARS_MAX: usize = 128;

/// One observation that a counter or bucket counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Its own labels, `trace_id` first of all; not those of the series.
    pub labels: Labels,
    pub value: f64,
    pub t: TimestampMs,
}

impl Exemplar {
    /// An exemplar with those of the labels that fit into [`EXEMPLAR_CHARS_MAX`], the first given first; one with an
    /// empty name or value is left out.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        labels: impl IntoIterator<Item = (N, V)>,
        value: f64,
        t: TimestampMs,
    ) -> Self {
        let mut left = EXEMPLAR_CHARS_MAX;
        let mut builder = LabelsBuilder::default();
        for (name, value) in labels {
            let (name, value) = (name.as_ref(), value.as_ref());
            let chars = name.chars().count() + value.chars().count();
            if !name.is_empty() && !value.is_empty() && chars <= left {
                left -= chars;
                builder.set(name, value);
            }
        }
        Self { labels: builder.build(), value, t }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_do_not_fit_are_left_out() {
        let long = "x".repeat(EXEMPLAR_CHARS_MAX);
        let labels = [("trace_id", "abc"), ("path", long.as_str()), ("", "y"), ("empty", ""), ("user", "7")];
        let exemplar = Exemplar::new(labels, 1.0, TimestampMs(0));
        assert_eq!(exemplar.labels.to_string(), r#"{trace_id="abc", user="7"}"#);
    }
}
