//! Kubernetes quantities such as `500m`, `1.5`, `12345678n` and `2Gi`.
//!
//! In:  the text of a manifest, of the downward API or of metrics.k8s.io.   Out: thousandths, as the autoscaler counts, or a
//! number of the base unit (cores, bytes).
//!
//! Source: Kubernetes API conventions, "resource.Quantity".

/// A quantity that cannot be below zero (a request, a limit, a usage) as a number of its base unit.
///
/// Takes what [`milli`] takes, without its rounding. `None` for anything else, below zero, or beyond all numbers.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (binary, decimal) = scale(suffix)?;
    let number: f64 = number.parse().ok()?;
    // A power of ten is exact up to 22, its inverse never: so that 250m are 0.25 it is a divisor.
    let power = 10f64.powi(decimal.abs());
    let value = number * binary as f64;
    let value = if decimal < 0 { value / power } else { value * power };
    value.is_finite().then_some(value)
}

/// Thousandths of a quantity, as the autoscaler counts everything.
///
/// Takes decimal (`n` to `E`) and binary (`Ki` to `Ei`) suffixes and exponents (`1e3`); parts of a thousandth round away
/// from zero, as `MilliValue` does; what does not fit is the largest or smallest number. `None` for anything else.
pub fn milli(text: &str) -> Option<i64> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let digits = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() + fraction.len() > 20 {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (binary, decimal) = scale(suffix)?;
    // Thousandths are three more powers of ten, and each digit of the fraction is one less.
    let power = decimal + 3 - i32::try_from(fraction.len()).ok()?;
    let scaled = mantissa.saturating_mul(binary);
    let thousandths = match power {
        0.. => scaled.saturating_mul(10_i128.saturating_pow(power.unsigned_abs())),
        _ => {
            let divisor = 10_i128.saturating_pow(power.unsigned_abs());
            scaled / divisor + i128::from(scaled % divisor != 0)
        }
    };
    let signed = if text.starts_with('-') { -thousandths } else { thousandths };
    Some(i64::try_from(signed).unwrap_or(if signed < 0 { i64::MIN } else { i64::MAX }))
}

/// The factor of a binary suffix and the power of ten of a decimal one.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let decimal = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];
    if let Some(at) = decimal.iter().position(|s| *s == suffix) {
        return Some((1, (at as i32 - 3) * 3));
    }
    let binary = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if let Some(at) = binary.iter().position(|s| *s == suffix) {
        return Some((1 << (10 * (at + 1)), 0));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    (-30..=30).contains(&exponent).then_some((1, exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers_of_their_base_unit() {
        for (text, value) in [
            ("250m", 0.25),
            ("2", 2.0),
            ("1.5", 1.5),
            ("12345678n", 0.012_345_678),
            ("870u", 0.000_87),
            ("2Gi", 2_147_483_648.0),
            ("2G", 2e9),
            ("1e3", 1000.0),
            ("12E2", 1200.0),
            ("3E", 3e18),
            ("512Ki", 524_288.0),
            ("0", 0.0),
        ] {
            assert_eq!(parse_quantity(text), Some(value), "{text}");
        }
        for bad in ["", "Gi", "1GiB", "two", "1 core", "-1", "1.2.3", "1e", "1e999", "inf", "NaN"] {
            assert_eq!(parse_quantity(bad), None, "{bad}");
        }
    }

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, thousandths) in [
            ("1", 1_000),
            ("500m", 500),
            ("1.5", 1_500),
            (".5", 500),
            ("100n", 1), // a ten-thousandth of a thousandth rounds up
            ("1k", 1_000_000),
            ("2Ki", 2_048_000),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1E", i64::MAX), // thousandths of an exa do not fit
            ("-1.0005", -1_001),
            ("0.05", 50),
        ] {
            assert_eq!(milli(text), Some(thousandths), "{text}");
        }
        for text in ["", "m", "1x", "--1", "1.2.3", "1e", "one", "1 Gi"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
