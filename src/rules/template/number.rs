//! Numbers as Go prints them, so that a text rendered here reads as Prometheus would write it.
//!
//! In: floats.   Out: text.   Always: digits are those of the shortest exact form (`%v`) or rounded
//! to the asked precision (`%.4g`). Source: Go `strconv.FormatFloat`.

/// A float as `%v` prints it: shortest digits, an exponent below 1e-4 and from 1e6 on, where `%g` takes it for six digits.
pub fn shortest(v: f64) -> String {
    match special(v) {
        Some(text) => text.to_owned(),
        None => layout(&format!("{v:e}"), 6),
    }
}

/// A float as `%.<digits>g` prints it: rounded to `digits` significant digits, trailing zeros left out.
///
/// An exponent is used below 1e-4 and from 10^`digits` on.
pub fn significant(v: f64, digits: usize) -> String {
    match special(v) {
        Some(text) => text.to_owned(),
        None => layout(&format!("{v:.*e}", digits.saturating_sub(1)), i32::try_from(digits).unwrap_or(i32::MAX)),
    }
}

fn special(v: f64) -> Option<&'static str> {
    match v {
        _ if v.is_nan() => Some("NaN"),
        _ if v == f64::INFINITY => Some("+Inf"),
        _ if v == f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// Lays out `d.ddde±x` either plainly or with Go's two-digit exponent.
fn layout(scientific: &str, exponent_from: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match all.trim_end_matches('0') {
        "" => "0",
        trimmed => trimmed,
    };

    if exponent < -4 || exponent >= exponent_from {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs());
    }
    let Ok(whole) = usize::try_from(exponent + 1) else {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    };
    match whole {
        0 => format!("{sign}0.{digits}"),
        _ if digits.len() > whole => format!("{sign}{}.{}", &digits[..whole], &digits[whole..]),
        _ => format!("{sign}{digits}{}", "0".repeat(whole - digits.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_follows_go_percent_v() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (0.05, "0.05"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1234.5, "1234.5"),
            (999_999.0, "999999"),
            (123_456.789, "123456.789"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (12_345_678.5, "1.23456785e+07"),
            (1_073_741_824.0, "1.073741824e+09"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (-2.5, "-2.5"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(shortest(v), text);
        }
    }

    #[test]
    fn significant_follows_go_percent_4g() {
        for (v, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (12.0, "12"),
            (100.0, "100"),
            (1000.0, "1000"),
            (12345.0, "1.234e+04"),
            (99999.0, "1e+05"),
            (0.123456, "0.1235"),
            (0.00001234, "1.234e-05"),
            (71.25, "71.25"),
            (999.96, "1000"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(significant(v, 4), text, "{v}");
        }
    }
}
