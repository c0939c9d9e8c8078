//! Numbers as people read them: `1.234k`, `1.5Mi`, `1h 30m 5s`, `71.25%`.
//!
//! In: a float in the base unit.   Out: text with four significant digits.   Source: Prometheus
//! `template/template.go`; not a number and the infinities are printed as such, without a prefix.

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
    let nanos = v * 1e9;
    if nanos > i64::MAX as f64 || nanos < i64::MIN as f64 {
        return Err(format!(
            "{} cannot be represented as a nanoseconds timestamp since it overflows int64",
            super::number::shortest(v)
        ));
    }
    // Prometheus cuts to whole milliseconds before it prints.
    let ms = (nanos as i64).div_euclid(1_000_000);
    let Ok(t) = jiff::Timestamp::from_millisecond(ms) else {
        return Err(format!("{ms} ms is not a time"));
    };
    let fraction = match ms.rem_euclid(1000) {
        0 => String::new(),
        rest => format!(".{rest:03}").trim_end_matches('0').to_owned(),
    };
    Ok(format!("{}{fraction} +0000 UTC", t.strftime("%Y-%m-%d %H:%M:%S")))
}

/// Seconds as Go prints a `time.Duration`: `1h30m0s`, `1.5s`, `100ms`. What does not fit in 64 bits of nanoseconds is cut
/// to what does.
pub fn go_duration(v: f64) -> String {
    // A cast cuts to the range of its type, and makes zero of what is no number.
    let nanos = (v * 1e9) as i64;
    if nanos == 0 {
        return "0s".into();
    }
    let (sign, rest) = if nanos < 0 { ("-", nanos.unsigned_abs()) } else { ("", nanos.unsigned_abs()) };
    const SECOND: u64 = 1_000_000_000;
    let units = [(1, "ns"), (1_000, "\u{b5}s"), (1_000_000, "ms"), (SECOND, "s")];
    let (unit, name) = units.into_iter().rfind(|(unit, _)| *unit <= rest).unwrap_or((1, "ns"));
    let (hours, minutes) = (rest / (3_600 * SECOND), rest / (60 * SECOND) % 60);
    let last = if unit == SECOND { rest % (60 * SECOND) } else { rest };
    let digits = unit.ilog10() as usize;
    let fraction = match last % unit {
        0 => String::new(),
        part => format!(".{part:0digits$}").trim_end_matches('0').to_owned(),
    };
    let whole = match (hours, minutes) {
        (0, 0) => String::new(),
        (0, _) => format!("{minutes}m"),
        _ => format!("{hours}h{minutes}m"),
    };
    format!("{sign}{whole}{}{fraction}{name}", last / unit)
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
    fn durations_are_printed_as_go_does() {
        for (v, text) in [
            (0.0, "0s"),
            (5_400.0, "1h30m0s"),
            (-90_061.5, "-25h1m1.5s"),
            (60.0, "1m0s"),
            (1.5, "1.5s"),
            (0.1, "100ms"),
            (0.001_25, "1.25ms"),
            (0.000_1, "100\u{b5}s"),
            (1e-9, "1ns"),
            (f64::NAN, "0s"),
            (1e300, "2562047h47m16.854775807s"),
        ] {
            assert_eq!(go_duration(v), text, "{v}");
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
