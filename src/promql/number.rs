//! Numbers and durations as PromQL writes them.

use crate::model::{parse_duration_ms, write_float};

/// Reads a number without sign: decimal, exponent, `0x1f`, `017` (octal), `1_000`, `Inf`, `NaN` in any case.
///
/// `None` when the text is anything else, a duration such as `5m` included.
pub fn parse_number(text: &str) -> Option<f64> {
    if text.eq_ignore_ascii_case("inf") {
        return Some(f64::INFINITY);
    }
    if text.eq_ignore_ascii_case("nan") {
        return Some(f64::NAN);
    }
    let digits = without_separators(text)?;
    let lower = digits.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        let is_hex = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        // Folding in floats keeps numbers beyond 64 bits, which only lose precision.
        return is_hex.then(|| {
            hex.bytes().fold(0.0, |sum, b| sum * 16.0 + f64::from((b as char).to_digit(16).unwrap_or_default()))
        });
    }
    let is_octal = lower.len() > 1 && lower.starts_with('0') && lower.bytes().all(|b| (b'0'..b'8').contains(&b));
    if is_octal && let Ok(value) = i64::from_str_radix(&lower, 8) {
        return Some(value as f64);
    }
    let (mantissa, exponent) = match lower.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (lower.as_str(), None),
    };
    let is_mantissa = mantissa.bytes().any(|b| b.is_ascii_digit())
        && mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && mantissa.bytes().filter(|b| *b == b'.').count() <= 1;
    let is_exponent = exponent.is_none_or(|e| {
        let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    });
    (is_mantissa && is_exponent).then(|| lower.parse().ok()).flatten()
}

/// Reads a number with an optional sign, as in series descriptions and after `@`.
pub fn parse_signed_number(text: &str) -> Option<f64> {
    match text.strip_prefix('-') {
        Some(rest) => parse_number(rest).map(|v| -v),
        None => parse_number(text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Removes the underscores that separate digits; `None` when one stands anywhere else.
fn without_separators(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    if !text.contains('_') {
        return Some(text.into());
    }
    let bytes = text.as_bytes();
    let is_hex = bytes.len() > 1 && bytes[0] == b'0' && bytes[1].eq_ignore_ascii_case(&b'x');
    let is_digit = |b: &u8| if is_hex { b.is_ascii_hexdigit() } else { b.is_ascii_digit() };
    let stands_well = |at: usize| {
        let after_prefix = is_hex && at == 2;
        at > 0 && (after_prefix || is_digit(&bytes[at - 1])) && bytes.get(at + 1).is_some_and(is_digit)
    };
    let all_well = bytes.iter().enumerate().filter(|(_, b)| **b == b'_').all(|(at, _)| stands_well(at));
    all_well.then(|| text.replace('_', "").into())
}

/// Reads a duration with at least one unit, such as `1h30m`; milliseconds.
pub(super) fn parse_query_duration_ms(text: &str) -> Option<i64> {
    if text == "0" { None } else { parse_duration_ms(text) }
}

/// Writes a float as Go's `strconv.FormatFloat(v, 'f', -1, 64)` does: no exponent, `+Inf`, `-Inf`, `NaN`.
pub fn format_float(v: f64) -> String {
    let mut text = Vec::with_capacity(24);
    write_float(&mut text, v);
    String::from_utf8(text).expect("digits are ASCII")
}

/// Writes a float as Go's `%g` does: the shortest form, with an exponent below 1e-4 and from 1e6 on.
pub fn format_float_g(v: f64) -> String {
    with_exponent_from(v, 6)
}

/// Writes a float for people: the shortest form, with an exponent below 1e-4 and from 1e21 on.
pub fn format_float_short(v: f64) -> String {
    with_exponent_from(v, 21)
}

fn with_exponent_from(v: f64, digits: i32) -> String {
    if !v.is_finite() {
        return format_float(v);
    }
    let scientific = format!("{v:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..digits).contains(&exponent) {
        return format!("{v}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_prometheus_reads_them() {
        for (text, value) in [
            ("1", 1.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("0x1F", 31.0),
            ("017", 15.0),
            ("08", 8.0),
            ("1_000", 1000.0),
            ("1e-3", 0.001),
            ("0x_53_AB", 21419.0),
            ("iNf", f64::INFINITY),
        ] {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        assert!(parse_number("NaN").is_some_and(f64::is_nan));
        for text in ["", ".", "1__0", "_1", "1_", "1e", "5m", "1.2.3", "0x", "infinity", "1_e5"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        assert_eq!(format_float_g(1e21), "1e+21");
        assert_eq!((format_float_g(1_234_567.0), format_float_g(-1e6)), ("1.234567e+06".into(), "-1e+06".into()));
        assert_eq!((format_float_short(1_234_567.0), format_float_short(1e21)), ("1234567".into(), "1e+21".into()));
        assert_eq!(format_float_g(0.00001), "1e-05");
        assert_eq!(format_float_g(123456.5), "123456.5");
        assert_eq!(format_float(f64::NEG_INFINITY), "-Inf");
    }
}
