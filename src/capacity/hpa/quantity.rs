//! Kubernetes quantities such as `500m`, `1.5` and `2Gi`.

/// Thousandths of a quantity, as the autoscaler counts everything.
///
/// Takes decimal (`n` to `E`) and binary (`Ki` to `Ei`) suffixes and exponents (`1e3`); parts of a thousandth round away
/// from zero, as `MilliValue` does; what does not fit is the largest or smallest number. `None` for anything else.
/// Source: Kubernetes API conventions, "resource.Quantity".
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
