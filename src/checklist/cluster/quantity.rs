//! Kubernetes quantities: `250m`, `2Gi`, `1e3`.

/// Reads a quantity as a number of its base unit (cores, bytes).
///
/// Suffixes are `n u m k M G T P E` and `Ki … Ei`; a decimal exponent is allowed. `None` for anything else and for
/// negative or infinite values. Source: apimachinery `resource.Quantity`.
pub fn parse_quantity(text: &str) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "Pi" => 1024.0f64.powi(5),
        "Ei" => 1024.0f64.powi(6),
        exponent => {
            let power: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10f64.powi(power)
        }
    };
    let number: f64 = number.parse().ok()?;
    let value = number * factor;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_follow_kubernetes() {
        for (text, value) in [
            ("250m", 0.25),
            ("2", 2.0),
            ("1.5", 1.5),
            ("2Gi", 2_147_483_648.0),
            ("2G", 2e9),
            ("1e3", 1000.0),
            ("12E2", 1200.0),
            ("3E", 3e18),
            ("512Ki", 524_288.0),
        ] {
            assert_eq!(parse_quantity(text), Some(value), "{text}");
        }
        for bad in ["", "Gi", "1GiB", "two", "-1", "1e", "1e999"] {
            assert_eq!(parse_quantity(bad), None, "{bad}");
        }
    }
}
