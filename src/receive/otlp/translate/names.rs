//! Metric and label names from OpenTelemetry to Prometheus.
//!
//! In:  an instrument's name, unit and type; attribute keys.   Out: series and label names.
//! Source: OpenTelemetry specification, "Prometheus and OpenMetrics compatibility"; Prometheus `otlptranslator`.

use std::borrow::Cow;

/// What a name is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A monotonic sum: `_total` at the end.
    Counter,
    /// A gauge: unit `1` reads `_ratio`.
    Gauge,
    /// Everything else.
    Other,
}

/// How names are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Dots and other characters stay as they were sent.
    pub keeps_utf8: bool,
    /// Units and types are appended.
    pub adds_suffixes: bool,
}

/// The series name of an instrument; empty for an empty name.
///
/// A unit already in the name is not repeated, and `total` moves to the end. Units in braces such as
/// `{requests}` are annotations and left out.
pub(super) fn metric_name(name: &str, unit: &str, shape: Shape, style: Style) -> String {
    if name.is_empty() {
        return String::new();
    }
    match style {
        Style { keeps_utf8: true, adds_suffixes: false } => name.to_owned(),
        Style { keeps_utf8: true, adds_suffixes: true } => utf8_name(name, unit, shape),
        Style { keeps_utf8: false, adds_suffixes: false } => guarded(&collapsed(name, |c| c == ':'), "_"),
        Style { keeps_utf8: false, adds_suffixes: true } => {
            let tokens = name.split(|c: char| !c.is_ascii_alphanumeric() && c != ':').filter(|t| !t.is_empty());
            let mut tokens: Vec<&str> = tokens.collect();
            let suffixes = suffixes(&tokens, unit, shape);
            if shape == Shape::Counter {
                tokens.retain(|t| *t != "total");
            }
            let joined = tokens.into_iter().chain(suffixes.iter().map(AsRef::as_ref)).collect::<Vec<_>>().join("_");
            guarded(&joined, "_")
        }
    }
}

fn utf8_name(name: &str, unit: &str, shape: Shape) -> String {
    let tokens: Vec<&str> = name.split(|c: char| !c.is_alphanumeric()).filter(|t| !t.is_empty()).collect();
    let base = match shape {
        Shape::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    suffixes(&tokens, unit, shape).iter().fold(base.to_owned(), |name, suffix| format!("{name}_{suffix}"))
}

/// What is appended to a name made of `tokens`.
fn suffixes(tokens: &[&str], unit: &str, shape: Shape) -> Vec<Cow<'static, str>> {
    let mut suffixes: Vec<Cow<'static, str>> = Vec::new();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let plain = |unit: &str| !unit.is_empty() && !unit.contains(['{', '}']);
    if plain(main) {
        let word = main_unit(main);
        if !word.is_empty() && !tokens.contains(&word.as_ref()) {
            suffixes.push(word);
        }
    }
    if plain(per) {
        let word = per_unit(per);
        if !word.is_empty() && !tokens.contains(&word.as_ref()) {
            suffixes.extend([Cow::Borrowed("per"), word]);
        }
    }
    match shape {
        Shape::Counter => suffixes.push("total".into()),
        Shape::Gauge if unit.trim() == "1" && !tokens.contains(&"ratio") => suffixes.push("ratio".into()),
        _ => {}
    }
    suffixes
}

fn main_unit(unit: &str) -> Cow<'static, str> {
    let word = match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => return clean_unit(other),
    };
    word.into()
}

fn per_unit(unit: &str) -> Cow<'static, str> {
    let word = match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => return clean_unit(other),
    };
    word.into()
}

fn clean_unit(unit: &str) -> Cow<'static, str> {
    collapsed(unit, |_| false).trim_matches('_').to_owned().into()
}

/// The label name of an attribute key: every run of foreign characters becomes one underscore.
///
/// Names that begin with a digit or one underscore get `key_` in front, and so do those that begin with two:
/// `__name__` and its kind are not for senders to set. Empty for a key without any usable character.
pub(super) fn label_name(key: &str, keeps_utf8: bool) -> Cow<'_, str> {
    if keeps_utf8 && !key.starts_with("__") {
        return Cow::Borrowed(key);
    }
    let is_plain = key.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !key.contains("__");
    if is_plain {
        return Cow::Borrowed(key);
    }
    let name = collapsed(key, |_| false);
    match name.as_bytes().first() {
        None => Cow::Borrowed(""),
        Some(b'_') if name.len() == 1 => Cow::Borrowed(""),
        Some(b'_') => Cow::Owned(format!("key{name}")),
        Some(first) if first.is_ascii_digit() => Cow::Owned(format!("key_{name}")),
        Some(_) => Cow::Owned(name),
    }
}

/// `text` with every run of characters outside `[a-zA-Z0-9]`, and outside `kept`, as one underscore.
fn collapsed(text: &str, kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || kept(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out
}

fn guarded(name: &str, prefix: &str) -> String {
    match name.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => format!("{prefix}{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { keeps_utf8: false, adds_suffixes: true };

    #[test]
    fn units_and_types_follow_the_specification() {
        for (name, unit, shape, expected) in [
            ("http.server.duration", "s", Shape::Other, "http_server_duration_seconds"),
            ("http.server.duration_seconds", "s", Shape::Other, "http_server_duration_seconds"),
            ("system.io", "By", Shape::Counter, "system_io_bytes_total"),
            ("requests_total", "", Shape::Counter, "requests_total"),
            ("total.requests", "1", Shape::Counter, "requests_total"),
            ("cpu.utilization", "1", Shape::Gauge, "cpu_utilization_ratio"),
            ("queue.size", "{messages}", Shape::Gauge, "queue_size"),
            ("speed", "m/s", Shape::Gauge, "speed_meters_per_second"),
            ("rate", "By/s", Shape::Gauge, "rate_bytes_per_second"),
            ("fuel", "{cells}/min", Shape::Gauge, "fuel_per_min"),
            ("2xx.count", "", Shape::Gauge, "_2xx_count"),
            ("rivet_gasoline_signal_published", "", Shape::Counter, "rivet_gasoline_signal_published_total"),
            ("a:b..c", "", Shape::Gauge, "a:b_c"),
            ("", "s", Shape::Gauge, ""),
        ] {
            assert_eq!(metric_name(name, unit, shape, PLAIN), expected, "{name} {unit}");
        }
    }

    #[test]
    fn utf8_names_keep_their_dots() {
        let style = Style { keeps_utf8: true, adds_suffixes: true };
        assert_eq!(metric_name("system.io", "By", Shape::Counter, style), "system.io_bytes_total");
        assert_eq!(metric_name("a.b_total", "", Shape::Counter, style), "a.b_total");
        let bare = Style { keeps_utf8: false, adds_suffixes: false };
        assert_eq!(metric_name("system..io", "By", Shape::Counter, bare), "system_io");
    }

    #[test]
    fn label_names_are_sanitised_and_cannot_take_reserved_names() {
        for (key, expected) in [
            ("http.route", "http_route"),
            ("plain", "plain"),
            ("2nd", "key_2nd"),
            ("_hidden", "key_hidden"),
            ("__name__", "key_name_"),
            ("a--b", "a_b"),
            ("é", ""),
            ("", ""),
        ] {
            assert_eq!(label_name(key, false), expected, "{key}");
        }
        assert_eq!(label_name("http.route", true), "http.route");
        assert_eq!(label_name("__name__", true), "key_name_");
    }
}
