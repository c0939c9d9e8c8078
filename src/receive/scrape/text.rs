//! Reads the Prometheus text format 0.0.4 and the basics of OpenMetrics 1.0, line by line, without copying.
//!
//! In:  one line.   Out: [`Line`]; a sample keeps its series as raw text, which [`parse_series`] takes apart
//! only when it is new. Always: no panic on any input; a line is read whole or refused whole.
//! Escapes `\\`, `\"` and `\n` are resolved, other backslashes stand for themselves, as in Prometheus. Quoted
//! metric and label names (UTF-8) are read.

use std::borrow::Cow;

use crate::model::{MetricKind, TimestampMs, is_legacy_label_name, is_legacy_metric_name};

/// Which of the two text formats a page is in: they differ in the unit of timestamps and in `# EOF`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: timestamps in milliseconds.
    #[default]
    Text,
    /// `application/openmetrics-text`: timestamps in seconds, `# EOF` at the end, exemplars.
    OpenMetrics,
}

impl Format {
    /// The format a `Content-Type` header names; anything else, or none, is read as text.
    pub fn from_content_type(content_type: &str) -> Self {
        match content_type.trim_start().starts_with("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }
}

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    Sample(SampleLine<'a>),
    Type {
        family: &'a str,
        kind: MetricKind,
    },
    Help {
        family: &'a str,
        text: Cow<'a, str>,
    },
    Unit {
        family: &'a str,
        unit: &'a str,
    },
    /// `# EOF`: the page is whole.
    Eof,
    /// Nothing, or a comment.
    Blank,
}

/// One sample, its series still as text.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels as they were written, e.g. `up{job="a"}`.
    pub series: &'a str,
    pub value: f64,
    /// The time on the line, if it has one.
    pub timestamp: Option<TimestampMs>,
    /// What stands behind ` # `, for [`parse_exemplar`].
    pub exemplar: Option<&'a str>,
}

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    #[error("the line is not UTF-8")]
    NotUtf8,
    #[error("the labels are not closed by `}}`")]
    LabelsNotClosed,
    #[error("the series has no value")]
    NoValue,
    #[error("the value is not a number")]
    BadValue,
    #[error("the timestamp is not a number")]
    BadTimestamp,
    #[error("there is text behind the sample")]
    TrailingText,
    #[error("the series has no name, or one that is not a metric name")]
    BadMetricName,
    #[error("a label name is missing or not a label name")]
    BadLabelName,
    #[error("a label has no quoted value")]
    BadLabelValue,
    #[error("a label appears twice")]
    LabelTwice,
    #[error("the type is not one of the text format's")]
    UnknownType,
}

/// Reads one line, without its line feed.
///
/// # Errors
/// The line is neither blank, a comment, nor a well-formed sample; the labels of a sample are checked only as
/// far as their closing brace, [`parse_series`] does the rest.
pub fn parse_line(line: &str, format: Format) -> Result<Line<'_>, LineError> {
    let line = trim(line);
    match line.as_bytes().first() {
        None => Ok(Line::Blank),
        Some(b'#') => parse_comment(line[1..].trim_start_matches([' ', '\t'])),
        Some(_) => {
            let end = series_end(line.as_bytes())?;
            parse_after_series(line, end, format).map(Line::Sample)
        }
    }
}

/// Reads the value and timestamp behind a series that ends at byte `end` of `line`.
///
/// # Errors
/// See [`parse_line`]; also when `end` is not the end of a series in `line`.
pub fn parse_after_series(line: &str, end: usize, format: Format) -> Result<SampleLine<'_>, LineError> {
    let (series, rest) = line.split_at_checked(end).ok_or(LineError::NoValue)?;
    // The engine's lines end in one space and a whole number, nearly all of them.
    if let Some(value) = rest.strip_prefix(' ').and_then(parse_whole_number) {
        return Ok(SampleLine { series, value, timestamp: None, exemplar: None });
    }
    let rest = trim(rest);
    let (rest, exemplar) = match (format, rest.split_once(" # ")) {
        (Format::OpenMetrics, Some((rest, exemplar))) => (rest, Some(exemplar)),
        _ => (rest, None),
    };
    let mut words = rest.split([' ', '\t']).filter(|word| !word.is_empty());
    let value = parse_value(words.next().ok_or(LineError::NoValue)?).ok_or(LineError::BadValue)?;
    let timestamp = words.next().map(|word| parse_timestamp(word, format)).transpose()?;
    match words.next() {
        None => Ok(SampleLine { series: series.trim_end_matches([' ', '\t']), value, timestamp, exemplar }),
        Some(_) => Err(LineError::TrailingText),
    }
}

/// Reads an exemplar, `{trace_id="…"} 0.67 1.4`: its labels, value, and time where it has one.
pub fn parse_exemplar(text: &str) -> Option<(Labels<'_>, f64, Option<TimestampMs>)> {
    let end = series_end(text.as_bytes()).ok().filter(|_| text.starts_with('{'))?;
    let mut series = Series { name: "".into(), labels: Vec::new() };
    parse_labels(&text[1..end], &mut series).ok()?;
    let sample = parse_after_series(text, end, Format::OpenMetrics).ok()?;
    Some((series.labels, sample.value, sample.timestamp))
}

/// Pairs of a label's name and value, in the order they were written.
pub type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The name and labels of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    pub name: Cow<'a, str>,
    /// Each name once; values may be empty.
    pub labels: Labels<'a>,
}

/// Takes the raw text of a series apart.
///
/// # Errors
/// A name is missing or malformed, a value is not quoted, or a label appears twice.
pub fn parse_series(raw: &str) -> Result<Series<'_>, LineError> {
    let Some((name, labels)) = raw.split_once('{') else {
        return match is_legacy_metric_name(raw) {
            true => Ok(Series { name: raw.into(), labels: Vec::new() }),
            false => Err(LineError::BadMetricName),
        };
    };
    let name = name.trim_end_matches([' ', '\t']);
    let mut series = Series { name: name.into(), labels: Vec::new() };
    parse_labels(labels, &mut series)?;
    let quoted_name = name.is_empty() && !series.name.is_empty();
    if quoted_name || is_legacy_metric_name(&series.name) { Ok(series) } else { Err(LineError::BadMetricName) }
}

/// Reads what stands behind `{`, up to the `}` at the end.
fn parse_labels<'a>(text: &'a str, series: &mut Series<'a>) -> Result<(), LineError> {
    let mut rest = skip_space(text);
    loop {
        if let Some(end) = rest.strip_prefix('}') {
            return if skip_space(end).is_empty() { Ok(()) } else { Err(LineError::TrailingText) };
        }
        rest = parse_label(rest, series)?;
        rest = match rest.strip_prefix(',') {
            Some(next) => skip_space(next),
            None if rest.starts_with('}') => rest,
            None => return Err(LineError::LabelsNotClosed),
        };
    }
}

/// Reads one `name="value"`, or a quoted metric name; returns what stands behind it.
fn parse_label<'a>(text: &'a str, series: &mut Series<'a>) -> Result<&'a str, LineError> {
    let (name, rest) = if text.starts_with('"') {
        let (name, rest) = parse_quoted(text).ok_or(LineError::LabelsNotClosed)?;
        let rest = skip_space(rest);
        if !rest.starts_with('=') {
            if !series.name.is_empty() || name.is_empty() {
                return Err(LineError::BadMetricName);
            }
            series.name = name;
            return Ok(rest);
        }
        if name.is_empty() {
            return Err(LineError::BadLabelName);
        }
        (name, rest)
    } else {
        let end = text.find(['=', ' ', '\t', ',', '}', '"']).ok_or(LineError::LabelsNotClosed)?;
        let (name, rest) = text.split_at(end);
        if !is_legacy_label_name(name) {
            return Err(LineError::BadLabelName);
        }
        (name.into(), skip_space(rest))
    };
    let rest = skip_space(rest.strip_prefix('=').ok_or(LineError::BadLabelValue)?);
    let (value, rest) = parse_quoted(rest).ok_or(LineError::BadLabelValue)?;
    // `__name__` would name the metric a second time.
    if name == crate::model::METRIC_NAME || series.labels.iter().any(|(n, _)| *n == name) {
        return Err(LineError::LabelTwice);
    }
    series.labels.push((name, value));
    Ok(skip_space(rest))
}

/// Reads a quoted string with its escapes; `None` when it does not begin with a quote or does not end.
fn parse_quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let inner = text.strip_prefix('"')?;
    let end = string_end(inner.as_bytes())?;
    let (raw, rest) = (&inner[..end], &inner[end + 1..]);
    Some((unescape(raw), rest))
}

/// Index of the closing quote of a string whose opening quote is behind us.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescape(raw: &str) -> Cow<'_, str> {
    if !raw.contains('\\') {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('\\', Some(escaped @ ('\\' | '"' | 'n'))) => {
                chars.next();
                text.push(if escaped == 'n' { '\n' } else { escaped });
            }
            _ => text.push(c),
        }
    }
    Cow::Owned(text)
}

/// Where the series at the start of a sample line ends: behind `}`, or before the first space.
fn series_end(line: &[u8]) -> Result<usize, LineError> {
    let name_end = line.iter().position(|b| matches!(b, b'{' | b' ' | b'\t')).ok_or(LineError::NoValue)?;
    let open = name_end + line[name_end..].iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    if line.get(open) != Some(&b'{') {
        return Ok(name_end);
    }
    let mut at = open + 1;
    loop {
        match line.get(at) {
            Some(b'}') => return Ok(at + 1),
            Some(b'"') => {
                let end = string_end(&line[at + 1..]).ok_or(LineError::LabelsNotClosed)?;
                at += end + 2;
            }
            Some(_) => at += 1,
            None => return Err(LineError::LabelsNotClosed),
        }
    }
}

fn parse_comment(comment: &str) -> Result<Line<'_>, LineError> {
    let (keyword, rest) = split_word(comment);
    let (family, rest) = match keyword {
        "HELP" | "TYPE" | "UNIT" => split_family(rest),
        "EOF" if rest.is_empty() => return Ok(Line::Eof),
        _ => return Ok(Line::Blank),
    };
    if family.is_empty() {
        return Ok(Line::Blank);
    }
    match keyword {
        "HELP" => Ok(Line::Help { family, text: unescape(rest) }),
        "UNIT" => Ok(Line::Unit { family, unit: rest }),
        _ => parse_kind(rest).map(|kind| Line::Type { family, kind }).ok_or(LineError::UnknownType),
    }
}

fn parse_kind(word: &str) -> Option<MetricKind> {
    Some(match word {
        "counter" => MetricKind::Counter,
        "gauge" => MetricKind::Gauge,
        "histogram" => MetricKind::Histogram,
        "gaugehistogram" => MetricKind::GaugeHistogram,
        "summary" => MetricKind::Summary,
        "info" => MetricKind::Info,
        "stateset" => MetricKind::StateSet,
        "untyped" | "unknown" => MetricKind::Unknown,
        _ => return None,
    })
}

/// The family name of a comment; a quoted one must hold no escapes to be read without copying.
fn split_family(text: &str) -> (&str, &str) {
    match text.strip_prefix('"').and_then(|quoted| quoted.split_once('"')) {
        Some((family, rest)) if !family.contains('\\') => (family, skip_space(rest)),
        Some(_) => ("", ""),
        None => split_word(text),
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    (&text[..end], skip_space(&text[end..]))
}

/// Reads a sample value as Go's `ParseFloat` does: decimal, exponent, `NaN`, `+Inf`, `-Inf`.
pub fn parse_value(text: &str) -> Option<f64> {
    parse_whole_number(text).or_else(|| text.parse().ok())
}

/// Reads up to 15 digits, which are exact in an `f64`; `None` for anything else.
fn parse_whole_number(text: &str) -> Option<f64> {
    if text.is_empty() || text.len() > 15 {
        return None;
    }
    let add = |n: u64, b: u8| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0'));
    text.bytes().try_fold(0u64, add).map(|n| n as f64)
}

fn parse_timestamp(text: &str, format: Format) -> Result<TimestampMs, LineError> {
    let ms = match format {
        Format::Text => text.parse::<i64>().ok(),
        Format::OpenMetrics => {
            let seconds = parse_value(text).filter(|s| s.is_finite() && s.abs() < 1e14);
            seconds.map(|s| (s * 1000.0).round() as i64)
        }
    };
    ms.map(TimestampMs).ok_or(LineError::BadTimestamp)
}

/// Without the white space at both ends; a carriage return at the end is tolerated.
fn trim(line: &str) -> &str {
    line.trim_start_matches([' ', '\t']).trim_end_matches([' ', '\t', '\r'])
}

fn skip_space(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, METRIC_NAME};

    fn sample(line: &str) -> SampleLine<'_> {
        match parse_line(line, Format::Text) {
            Ok(Line::Sample(sample)) => sample,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn labels(raw: &str) -> String {
        let series = parse_series(raw).unwrap();
        let name = [(METRIC_NAME.into(), series.name)];
        Labels::from_pairs(name.into_iter().chain(series.labels)).to_string()
    }

    #[test]
    fn the_examples_of_the_format_are_read() {
        let s = sample(r#"http_requests_total{method="post",code="200"} 1027 1395066363000"#);
        assert_eq!((s.value, s.timestamp), (1027.0, Some(TimestampMs(1_395_066_363_000))));
        let s = sample(
            r#"msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9"#,
        );
        let series = parse_series(s.series).unwrap();
        assert_eq!(series.labels[0].1, r"C:\DIR\FILE.TXT");
        assert_eq!(series.labels[1].1, "Cannot find file:\n\"FILE.TXT\"");
        assert_eq!(sample("metric_without_timestamp_and_labels 12.47").value, 12.47);
        let s = sample(r#"something_weird{problem="division by zero"} +Inf -3982045"#);
        assert_eq!((s.value, s.timestamp), (f64::INFINITY, Some(TimestampMs(-3_982_045))));
        assert!(sample("a NaN").value.is_nan());
    }

    #[test]
    fn braces_commas_and_hashes_in_values_do_not_end_anything() {
        let s = sample(r#"a{x="}",y="a,b=\"c\" # d"} 1"#);
        assert_eq!(labels(s.series), r#"a{x="}", y="a,b=\"c\" # d"}"#);
        assert_eq!(labels("a { x = \"1\" , }"), r#"a{x="1"}"#);
        assert_eq!(labels("a{}"), "a");
        assert_eq!(labels(r#"{"my.metric", "http.code"="200"}"#), r#"{"my.metric", "http.code"="200"}"#);
    }

    #[test]
    fn open_metrics_differs_in_timestamps_exemplars_and_the_end() {
        let line = r##"foo_bucket{le="1"} 17 1.5 # {trace_id="a # b"} 0.67 1.4"##;
        let Ok(Line::Sample(s)) = parse_line(line, Format::OpenMetrics) else { panic!("{line}") };
        assert_eq!((s.value, s.timestamp), (17.0, Some(TimestampMs(1500))));
        let exemplar = parse_exemplar(s.exemplar.unwrap()).unwrap();
        assert_eq!(exemplar, (vec![("trace_id".into(), "a # b".into())], 0.67, Some(TimestampMs(1400))));
        for bad in ["", "{", "{} ", "{a=1} 1", "a 1", "{a=\"1\"} x"] {
            assert_eq!(parse_exemplar(bad), None, "{bad}");
        }
        assert_eq!(parse_line("# EOF", Format::OpenMetrics), Ok(Line::Eof));
        assert_eq!(
            parse_line("# UNIT a seconds", Format::OpenMetrics),
            Ok(Line::Unit { family: "a", unit: "seconds" })
        );
        assert_eq!(Format::from_content_type("application/openmetrics-text; version=1.0.0"), Format::OpenMetrics);
        assert_eq!(Format::from_content_type("text/html"), Format::Text);
    }

    #[test]
    fn comments_carry_type_and_help() {
        assert_eq!(
            parse_line("# TYPE a histogram", Format::Text),
            Ok(Line::Type { family: "a", kind: MetricKind::Histogram })
        );
        assert_eq!(
            parse_line(r"# HELP a two\nlines", Format::Text),
            Ok(Line::Help { family: "a", text: "two\nlines".into() })
        );
        assert_eq!(parse_line("# just a remark", Format::Text), Ok(Line::Blank));
        assert_eq!(parse_line("#", Format::Text), Ok(Line::Blank));
        assert_eq!(parse_line("  ", Format::Text), Ok(Line::Blank));
    }

    #[test]
    fn refusals_name_the_rule() {
        for (line, error) in [
            ("a", LineError::NoValue),
            ("a{x=\"1\"}", LineError::NoValue),
            ("a{x=\"1\" 1", LineError::LabelsNotClosed),
            ("a{x=\"1", LineError::LabelsNotClosed),
            ("a one", LineError::BadValue),
            ("a 1 2.5", LineError::BadTimestamp),
            ("a 1 2 3", LineError::TrailingText),
            ("# TYPE a number", LineError::UnknownType),
        ] {
            assert_eq!(parse_line(line, Format::Text), Err(error), "{line}");
        }
        for (raw, error) in [
            ("9a", LineError::BadMetricName),
            ("{x=\"1\"}", LineError::BadMetricName),
            ("a{x=\"1\",x=\"2\"}", LineError::LabelTwice),
            ("a{__name__=\"b\"}", LineError::LabelTwice),
            ("a{x=1}", LineError::BadLabelValue),
            ("a{9=\"1\"}", LineError::BadLabelName),
            ("a{x=\"1\"y=\"2\"}", LineError::LabelsNotClosed),
            ("a{=\"1\"}", LineError::BadLabelName),
            ("a{x=\"1\"}b", LineError::TrailingText),
        ] {
            assert_eq!(parse_series(raw), Err(error), "{raw}");
        }
    }
}
