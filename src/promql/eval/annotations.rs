//! Warnings and infos of a query, worded and placed as Prometheus does.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::promql::ast::PositionRange;
use crate::promql::number::format_float_g;

/// Most warnings, and most infos, that an answer has; the others are counted, as Prometheus' API does.
const SHOWN_MAX: usize = 10;

/// What is to be said about an answer, each thing once.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    /// Hashes, because there may be one for each of a hundred thousand names.
    seen: HashSet<u64>,
    warnings: Shown,
    infos: Shown,
}

/// The first of a kind, and how many more there were.
#[derive(Debug, Default)]
struct Shown {
    texts: Vec<String>,
    omitted: usize,
}

impl Shown {
    fn add(&mut self, seen: &mut HashSet<u64>, text: String) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        if !seen.insert(hasher.finish()) {
            return;
        }
        if self.texts.len() < SHOWN_MAX {
            self.texts.push(text);
        } else {
            self.omitted += 1;
        }
    }

    fn finish(mut self, kind: &str) -> Vec<String> {
        if self.omitted > 0 {
            self.texts.push(format!("{} more {kind} annotations omitted", self.omitted));
        }
        self.texts
    }
}

/// What a histogram was being used for.
#[derive(Clone, Copy, Debug)]
pub(super) enum HistogramUse {
    Addition,
    Subtraction,
    Aggregation,
}

impl HistogramUse {
    fn as_str(self) -> &'static str {
        match self {
            Self::Addition => "addition",
            Self::Subtraction => "subtraction",
            Self::Aggregation => "aggregation",
        }
    }
}

fn for_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {name:?}") }
}

impl Annotations {
    fn warn(&mut self, at: PositionRange, text: String) {
        let full = format!("PromQL warning: {text} ({}:{})", at.line, at.column);
        self.warnings.add(&mut self.seen, full);
    }

    fn info(&mut self, at: PositionRange, text: String) {
        let full = format!("PromQL info: {text} ({}:{})", at.line, at.column);
        self.infos.add(&mut self.seen, full);
    }

    /// The warnings and the infos, each in order of first appearance.
    pub(super) fn finish(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.finish("warning"), self.infos.finish("info"))
    }

    pub(super) fn invalid_quantile(&mut self, at: PositionRange, q: f64) {
        self.warn(at, format!("quantile value should be between 0 and 1, got {}", format_float_g(q)));
    }

    pub(super) fn invalid_ratio(&mut self, at: PositionRange, ratio: f64, capped: f64) {
        let (ratio, capped) = (format_float_g(ratio), format_float_g(capped));
        self.warn(at, format!("ratio value should be between -1 and 1, got {ratio}, capping to {capped}"));
    }

    pub(super) fn bad_bucket_label(&mut self, at: PositionRange, name: &str, le: &str) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {le:?}{}", for_metric(name));
        self.warn(at, text);
    }

    pub(super) fn mixed_floats_histograms(&mut self, at: PositionRange, name: &str) {
        self.warn(at, format!("encountered a mix of histograms and floats for metric name {name:?}"));
    }

    pub(super) fn mixed_in_aggregation(&mut self, at: PositionRange) {
        self.warn(at, "encountered a mix of histograms and floats in aggregation".into());
    }

    pub(super) fn mixed_classic_native(&mut self, at: PositionRange, name: &str) {
        self.warn(at, format!("vector contains a mix of classic and native histograms{}", for_metric(name)));
    }

    pub(super) fn not_a_counter(&mut self, at: PositionRange, name: &str) {
        self.warn(at, format!("this native histogram metric is not a counter: {name:?}"));
    }

    pub(super) fn not_a_gauge(&mut self, at: PositionRange, name: &str) {
        self.warn(at, format!("this native histogram metric is not a gauge: {name:?}"));
    }

    pub(super) fn mixed_exponential_custom(&mut self, at: PositionRange, name: &str) {
        let kinds = "vector contains a mix of histograms with exponential and custom buckets schemas";
        self.warn(at, format!("{kinds} for metric name {name:?}"));
    }

    pub(super) fn incompatible_layout(&mut self, at: PositionRange, operator: &str) {
        self.warn(at, format!("incompatible bucket layout encountered for binary operator {operator}"));
    }

    pub(super) fn reset_collision(&mut self, at: PositionRange, used_for: HistogramUse) {
        self.warn(at, format!("conflicting counter resets during histogram {}", used_for.as_str()));
    }

    pub(super) fn bounds_reconciled(&mut self, at: PositionRange, used_for: HistogramUse) {
        self.info(at, format!("mismatched custom buckets were reconciled during {}", used_for.as_str()));
    }

    pub(super) fn possible_non_counter(&mut self, at: PositionRange, name: &str) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket";
        self.info(at, format!("{text}: {name:?}"));
    }

    pub(super) fn possible_non_counter_type(&mut self, at: PositionRange, name: &str, kind: &str) {
        let text = "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\"";
        self.info(at, format!("{text}, got {kind:?}: {name:?}"));
    }

    pub(super) fn histograms_ignored_in_range(&mut self, at: PositionRange, name: &str) {
        let text = "ignored histograms in a range containing both floats and histograms";
        self.info(at, format!("{text} for metric name {name:?}"));
    }

    pub(super) fn histogram_ignored_in_aggregation(&mut self, at: PositionRange, aggregation: &str) {
        self.info(at, format!("ignored histogram in {aggregation} aggregation"));
    }

    pub(super) fn incompatible_types(&mut self, at: PositionRange, left: &str, operator: &str, right: &str) {
        let what = "incompatible sample types encountered for binary operator";
        self.info(at, format!("{what} {operator:?}: {left} {operator} {right}"));
    }

    pub(super) fn quantile_is_nan(&mut self, at: PositionRange, name: &str) {
        let text = "input to histogram_quantile has NaN observations, result is NaN";
        self.info(at, format!("{text}{}", for_metric(name)));
    }

    pub(super) fn quantile_is_skewed(&mut self, at: PositionRange, name: &str) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher";
        self.info(at, format!("{text}{}", for_metric(name)));
    }

    pub(super) fn fraction_excludes_nan(&mut self, at: PositionRange, name: &str) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(at, format!("{text}{}", for_metric(name)));
    }

    pub(super) fn forced_monotonicity(&mut self, at: PositionRange, name: &str) {
        let text = "input to histogram_quantile needed to be fixed for monotonicity \
                    (see https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";
        self.info(at, format!("{text}{}", for_metric(name)));
    }
}
