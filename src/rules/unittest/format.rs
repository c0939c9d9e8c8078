//! promtool's unit-test file as it is written.
//!
//! In: the text of a file.   Out: its tests, unknown fields refused. Source: Prometheus `cmd/promtool/unittest.go`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::model::parse_duration_ms;

/// A whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestFile {
    #[serde(default)]
    pub rule_files: Vec<String>,
    #[serde(default)]
    pub evaluation_interval: Option<Span>,
    #[serde(default)]
    pub group_eval_order: Vec<String>,
    #[serde(default)]
    pub fuzzy_compare: bool,
    #[serde(default)]
    pub tests: Vec<TestGroup>,
}

/// One test: input, and what is expected of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TestGroup {
    pub name: String,
    pub interval: Option<Span>,
    pub input_series: Vec<InputSeries>,
    pub alert_rule_test: Vec<AlertTest>,
    pub promql_expr_test: Vec<ExprTest>,
    pub external_labels: BTreeMap<String, String>,
    pub external_url: String,
}

/// A series and its values in promtool's notation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSeries {
    pub series: String,
    pub values: String,
}

/// The alerts of one name that fire at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertTest {
    #[serde(default)]
    pub eval_time: Span,
    #[serde(default)]
    pub alertname: String,
    #[serde(default)]
    pub exp_alerts: Option<Vec<ExpectedAlert>>,
}

/// Labels without `alertname`, and annotations, of one alert.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedAlert {
    pub exp_labels: Option<BTreeMap<String, String>>,
    pub exp_annotations: Option<BTreeMap<String, String>>,
}

/// The value of an expression at a time.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExprTest {
    pub expr: String,
    #[serde(default)]
    pub eval_time: Span,
    #[serde(default)]
    pub exp_samples: Option<Vec<ExpectedSample>>,
}

/// One element of the vector.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedSample {
    pub labels: String,
    pub value: f64,
    pub histogram: String,
}

/// A duration in Prometheus' notation, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = parse_duration_ms(text.trim());
        ms.map(Self).ok_or_else(|| serde::de::Error::custom(format!("not a valid duration string: {text:?}")))
    }
}

impl TestFile {
    /// Reads the text of a file; an empty one holds no tests.
    ///
    /// # Errors
    /// Not YAML, a wrong type, or a field that promtool does not know; with its line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let options = serde_saphyr::options! { with_snippet: false };
        serde_saphyr::from_str_with_options(text, options).map_err(|e| match e.location() {
            Some(place) => format!("line {}: {e}", place.line()),
            None => e.to_string(),
        })
    }
}
