//! Whether what came out is what was expected, and how promtool prints the two.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::template::format_float;
use crate::model::{CounterResetHint, FloatHistogram, Labels, Span};

/// One alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
}

/// One element of a vector.
#[derive(Clone, Debug)]
pub struct SampleText {
    pub labels: Labels,
    pub value: f64,
    pub histogram: Option<Arc<FloatHistogram>>,
}

/// Alerts as promtool prints them.
pub fn show_alerts(alerts: &[FiringAlert]) -> String {
    if alerts.is_empty() {
        return "[]".into();
    }
    let shown: Vec<String> = alerts
        .iter()
        .enumerate()
        .map(|(i, alert)| {
            // Annotations, unlike labels, may be empty.
            let annotations = alert.annotations.iter().map(|(n, v)| (n.as_str(), v.as_str()));
            let text = format!("\nLabels:{}\nAnnotations:{}", go_labels(alert.labels.iter()), go_labels(annotations));
            format!("{i}:{}", indent(&text, "  "))
        })
        .collect();
    format!("[\n{}\n]", shown.join(",\n"))
}

/// A vector as promtool prints it.
pub fn show_samples(samples: &[SampleText]) -> String {
    if samples.is_empty() {
        return "nil".into();
    }
    let shown: Vec<String> = samples
        .iter()
        .map(|s| match &s.histogram {
            Some(histogram) => format!("{} {}", go_labels(s.labels.iter()), histogram_text(histogram)),
            None => format!("{} {}", go_labels(s.labels.iter()), exponent(s.value)),
        })
        .collect();
    shown.join(", ")
}

/// Whether two sorted vectors are the same; `fuzzy` lets neighbouring floats pass.
pub fn same_samples(expected: &[SampleText], got: &[SampleText], fuzzy: bool) -> bool {
    let same_float =
        |a: f64, b: f64| a == b || (a.is_nan() && b.is_nan()) || (fuzzy && (a.next_up() == b || a.next_down() == b));
    expected.len() == got.len()
        && expected.iter().zip(got).all(|(e, g)| {
            let histograms = match (&e.histogram, &g.histogram) {
                (Some(a), Some(b)) => histogram_text(a) == histogram_text(b),
                (None, None) => true,
                _ => false,
            };
            e.labels == g.labels && same_float(e.value, g.value) && histograms
        })
}

/// A histogram in the notation of test files; buckets between spans are zeros.
fn histogram_text(h: &FloatHistogram) -> String {
    let mut parts = Vec::new();
    if h.schema != 0 {
        parts.push(format!("schema:{}", h.schema));
    }
    for (name, v) in [("count", h.count), ("sum", h.sum), ("z_bucket", h.zero_count), ("z_bucket_w", h.zero_threshold)]
    {
        if v != 0.0 {
            parts.push(format!("{name}:{}", format_float(v)));
        }
    }
    if h.uses_custom_buckets() {
        parts.push(format!("custom_values:[{}]", list(&h.custom_values)));
    }
    match h.counter_reset_hint {
        CounterResetHint::Unknown => {}
        CounterResetHint::Reset => parts.push("counter_reset_hint:reset".into()),
        CounterResetHint::NotReset => parts.push("counter_reset_hint:not_reset".into()),
        CounterResetHint::Gauge => parts.push("counter_reset_hint:gauge".into()),
    }
    for (prefix, spans, buckets) in
        [("", &h.positive_spans, &h.positive_buckets), ("n_", &h.negative_spans, &h.negative_buckets)]
    {
        let (offset, dense) = one_span(spans, buckets);
        if dense.is_empty() {
            continue;
        }
        if offset != 0 {
            parts.push(format!("{prefix}offset:{offset}"));
        }
        parts.push(format!("{prefix}buckets:[{}]", list(&dense)));
    }
    format!("{{{{{}}}}}", parts.join(" "))
}

/// The buckets as one span without zeros at its ends, and the index of the first.
fn one_span(spans: &[Span], buckets: &[f64]) -> (i64, Vec<f64>) {
    let (mut at, mut first, mut dense) = (0i64, None, Vec::new());
    let mut counts = buckets.iter();
    for span in spans {
        at += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            if *count != 0.0 {
                let first = *first.get_or_insert(at);
                dense.resize(usize::try_from(at - first).unwrap_or(0), 0.0);
                dense.push(*count);
            }
            at += 1;
        }
    }
    (first.unwrap_or(0), dense)
}

fn list(values: &[f64]) -> String {
    values.iter().map(|v| format_float(*v)).collect::<Vec<_>>().join(" ")
}

/// Every line but the first behind `indent`.
pub fn indent(text: &str, indent: &str) -> String {
    text.replace('\n', &format!("\n{indent}"))
}

fn go_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let pairs: Vec<String> = labels.map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A float as Go's `strconv.FormatFloat(v, 'E', -1, 64)`.
fn exponent(v: f64) -> String {
    if !v.is_finite() {
        return format_float(v);
    }
    let text = format!("{v:E}");
    let (mantissa, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}E{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// A duration as Go prints it: `1h0m0s`, `1m30s`, `500ms`.
pub fn go_duration(ms: i64) -> String {
    let (h, m, s, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
    let seconds = match rest {
        0 => s.to_string(),
        _ => format!("{s}.{rest:03}").trim_end_matches('0').to_owned(),
    };
    match (h, m, s, rest) {
        (0, 0, 0, 0) => "0s".into(),
        (0, 0, 0, ms) => format!("{ms}ms"),
        (0, 0, ..) => format!("{seconds}s"),
        (0, ..) => format!("{m}m{seconds}s"),
        _ => format!("{h}h{m}m{seconds}s"),
    }
}
