//! Numbers as people read them: `1.234k`, `1.5Mi`, `1h 30m 5s`, `71.25%`.
//!
//! In: a float in the base unit.   Out: text with four significant digits.   Source: Prometheus
//! `template/template.go`; not a number and the infinities are printed as such, without a prefix.

use super::moment::Moment;
use super::number::significant;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_BINARY: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// With metric prefixes: 1234567 is `1.235M`, 0.0012 is `1.2m`.
pub fn humanize(v: f64) -> String {
    match v {
        _ if v == 0.0 || !v.is_finite() => significant(v, 4),
        _ if v.abs() >= 1.0 => grow(v, 1000.0, &LARGE),
        _ => shrink(v),
    }
}

/// With binary prefixes: 2^20 is `1Mi`; values up to one are printed as they are.
pub fn humanize_1024(v: f64) -> String {
    match v {
        _ if v.abs() <= 1.0 || !v.is_finite() => significant(v, 4),
        _ => grow(v, 1024.0, &LARGE_BINARY),
    }
}

/// Seconds as days, hours, minutes and seconds, or with a metric prefix below one second.
pub fn humanize_duration(v: f64) -> String {
    match v {
        _ if !v.is_finite() => significant(v, 4),
        _ if v == 0.0 => format!("{}s", significant(v, 4)),
        _ if v.abs() < 1.0 => format!("{}s", shrink(v)),
        _ => {
            let (sign, v) = if v < 0.0 { ("-", -v) } else { ("", v) };
            let whole = v as i64;
            let (s, m, h, d) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
            match (d, h, m) {
                (0, 0, 0) => format!("{sign}{}s", significant(v, 4)),
                (0, 0, _) => format!("{sign}{m}m {s}s"),
                (0, _, _) => format!("{sign}{h}h {m}m {s}s"),
                _ => format!("{sign}{d}d {h}h {m}m {s}s"),
            }
        }
    }
}

/// A ratio as a percentage: 0.7125 is `71.25%`.
pub fn humanize_percentage(v: f64) -> String {
    format!("{}%", significant(v * 100.0, 4))
}

/// Seconds since the epoch as Go prints a UTC time: `2015-06-23 13:21:24.128 +0000 UTC`.
///
/// # Errors
/// The time does not fit in 64 bits of nanoseconds; the message is Prometheus' own.
pub fn humanize_timestamp(v: f64) -> Result<String, String> {
    if !v.is_finite() {
        return Ok(significant(v, 4));
    }
    Moment::time(v).map(Moment::text)
}

fn grow(mut v: f64, base: f64, prefixes: &[&str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if v.abs() < base {
            break;
        }
        prefix = next;
        v /= base;
    }
    format!("{}{prefix}", significant(v, 4))
}

fn shrink(mut v: f64) -> String {
    let mut prefix = "";
    for next in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = next;
        v *= 1000.0;
    }
    format!("{}{prefix}", significant(v, 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected texts are those of Prometheus' own template tests.
    #[test]
    fn humanize_matches_prometheus() {
        for (v, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1234567.0, "1.235M"),
            (0.12, "120m"),
            (1e-27, "0.001y"),
            (-1234.0, "-1.234k"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(humanize(v), text);
        }
    }

    #[test]
    fn humanize_1024_matches_prometheus() {
        for (v, text) in [(0.0, "0"), (1.0, "1"), (1_048_576.0, "1Mi"), (0.12, "0.12"), (-2048.0, "-2ki")] {
            assert_eq!(humanize_1024(v), text);
        }
    }

    #[test]
    fn humanize_duration_matches_prometheus() {
        for (v, text) in [
            (0.0, "0s"),
            (1.0, "1s"),
            (60.0, "1m 0s"),
            (3600.0, "1h 0m 0s"),
            (86_400.0, "1d 0h 0m 0s"),
            (86_400.0 + 3600.0, "1d 1h 0m 0s"),
            (-(86_400.0 * 2.0 + 3600.0 * 3.0 + 60.0 * 4.0 + 5.0), "-2d 3h 4m 5s"),
            (0.1, "100ms"),
            (0.0001, "100us"),
            (0.12345, "123.5ms"),
            (60.1, "1m 0s"),
            (60.5, "1m 0s"),
            (1.2345, "1.234s"),
            (12.345, "12.35s"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(humanize_duration(v), text, "{v}");
        }
    }

    #[test]
    fn percentages_and_timestamps_match_prometheus() {
        assert_eq!(humanize_percentage(-0.22222), "-22.22%");
        assert_eq!(humanize_percentage(0.0), "0%");
        assert_eq!(humanize_percentage(0.1234567), "12.35%");
        assert_eq!(humanize_percentage(1.23456), "123.5%");
        assert_eq!(humanize_timestamp(0.0).unwrap(), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(humanize_timestamp(1_435_065_584.128).unwrap(), "2015-06-23 13:19:44.128 +0000 UTC");
        assert!(humanize_timestamp(1e300).unwrap_err().contains("overflows int64"));
    }
}
