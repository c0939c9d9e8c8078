//! Durations and sizes as people write them: `1m30s`, `64MiB`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS_MS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a Prometheus duration (`1d`, `1h30m`, `500ms`, `0`) as milliseconds.
///
/// Units must fall from left to right and appear once each; no sign, no fraction. `None` for
/// anything else and for values beyond `i64` milliseconds. Source: Prometheus `model.ParseDuration`.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total, mut next_unit) = (text, 0i64, 0usize);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        let unit_len = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = &rest[digits..digits + unit_len];
        let at = next_unit + UNITS_MS[next_unit..].iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(number.checked_mul(UNITS_MS[at].1)?)?;
        next_unit = at + 1;
        rest = &rest[digits + unit_len..];
    }
    (next_unit > 0).then_some(total)
}

/// Writes milliseconds as Prometheus does: `90000` is `1m30s`, `0` is `0s`; years and weeks only when exact.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let (sign, mut rest) = if ms < 0 { ("-", ms.unsigned_abs()) } else { ("", ms.unsigned_abs()) };
    let mut text = sign.to_owned();
    for (name, unit) in UNITS_MS {
        let unit = unit.unsigned_abs();
        let only_if_exact = matches!(name, "y" | "w");
        if rest < unit || (only_if_exact && !rest.is_multiple_of(unit)) {
            continue;
        }
        text.push_str(&format!("{}{name}", rest / unit));
        rest %= unit;
    }
    text
}

/// A non-negative duration in a configuration file, in Prometheus' notation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl HumanDuration {
    /// `n` seconds.
    pub const fn secs(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }

    /// `n` milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// The length in whole milliseconds.
    pub fn as_ms(self) -> i64 {
        i64::try_from(self.0.as_millis()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration_ms(self.as_ms()))
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = parse_duration_ms(&text).ok_or_else(|| {
            serde::de::Error::custom(format!("`{text}` is not a duration such as `30s`, `5m` or `1h30m`"))
        })?;
        Ok(Self(Duration::from_millis(ms.unsigned_abs())))
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A number of bytes in a configuration file: `16MiB`, `2GB`, or a bare number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// `n` mebibytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().ok()?;
        let factor = match text[digits..].trim_start() {
            "" | "B" => 1,
            unit => SIZES.iter().find(|(name, _)| *name == unit)?.1,
        };
        number.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZES[..4].iter().rev().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(n) => Ok(Self(n)),
            Raw::Text(text) => Self::parse(&text)
                .ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not a size such as `64MiB` or `1GB`"))),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_follow_prometheus() {
        for (text, ms) in [("0", 0), ("500ms", 500), ("1m30s", 90_000), ("1d", 86_400_000), ("1h", 3_600_000)] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for bad in ["", "5", "1s1m", "1m1m", "1.5h", "-1s", "s", "99999999999999999y", "1 m"] {
            assert_eq!(parse_duration_ms(bad), None, "{bad}");
        }
        assert_eq!(format_duration_ms(90_000), "1m30s");
        assert_eq!(format_duration_ms(8 * 86_400_000), "8d");
        assert_eq!(format_duration_ms(14 * 86_400_000), "2w");
    }

    #[test]
    fn sizes_read_back_what_they_print() {
        for (text, bytes) in [("64MiB", 64 << 20), ("2GB", 2_000_000_000), ("17", 17)] {
            let size = ByteSize::parse(text).unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(ByteSize::parse(&size.to_string()), Some(size));
        }
        assert_eq!(ByteSize::parse("12 parsecs"), None);
    }
}
