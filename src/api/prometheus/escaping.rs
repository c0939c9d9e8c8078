//! Names beyond ASCII letters, digits and underscores, in forms that older readers take.
//!
//! In:  a name, and what the reader asked for in `escaping=` of its `Accept` header.   Out: the name as it is sent;
//! and from a path, the name that a client has escaped.
//! Always: a name that needs no quotes stays as it is, but for underscores where dots are spelt out.
//! Source: `EscapeName` and `UnescapeName` of `prometheus/common/model`.

use std::fmt::Write;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::answer::ApiError;
use super::params::unescape;

/// What begins a name whose other characters are written as their numbers.
const VALUES_PREFIX: &str = "U__";
/// Most hexadecimal digits of a character.
const CODE_DIGITS_MAX: usize = 6;

/// How a name that needs quotes is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Escaping {
    /// As it is, between quotes.
    AllowUtf8,
    /// `my.name` becomes `my_name`; what Prometheus does where nothing is asked for.
    #[default]
    Underscores,
    /// `my.name` becomes `my_dot_name`.
    Dots,
    /// `my.name` becomes `U__my_2e_name`, from which the name can be read again.
    Values,
}

impl Escaping {
    const ALL: [(&'static str, Self); 4] = [
        ("allow-utf-8", Self::AllowUtf8),
        ("underscores", Self::Underscores),
        ("dots", Self::Dots),
        ("values", Self::Values),
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, escaping)| *escaping)
    }

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, escaping)| *escaping == self).map_or("", |(name, _)| name)
    }

    /// The name as the reader takes it; `colons` are those of a metric's name, which labels have not.
    pub(super) fn escape(self, name: &str, colons: bool) -> String {
        let is_plain = |index: usize, c: char| {
            c.is_ascii_alphabetic() || c == '_' || (c == ':' && colons) || (c.is_ascii_digit() && index > 0)
        };
        let needs_none = !name.is_empty() && name.char_indices().all(|(index, c)| is_plain(index, c));
        if self == Self::AllowUtf8 || (needs_none && self != Self::Dots) {
            return name.to_owned();
        }
        let mut out = String::with_capacity(name.len() + 8);
        if self == Self::Values {
            out.push_str(VALUES_PREFIX);
        }
        for (index, c) in name.char_indices() {
            match self {
                Self::Dots | Self::Values if c == '_' => out.push_str("__"),
                _ if is_plain(index, c) => out.push(c),
                Self::Dots if c == '.' => out.push_str("_dot_"),
                Self::Dots => out.push_str("__"),
                Self::Values => write!(out, "_{:x}_", c as u32).expect("writing to memory cannot fail"),
                Self::AllowUtf8 | Self::Underscores => out.push('_'),
            }
        }
        out
    }
}

/// The name that `U__…` stands for; any other name, and one with a broken escape, stands for itself.
pub(super) fn unescaped(name: &str) -> String {
    name.strip_prefix(VALUES_PREFIX).and_then(read_values).unwrap_or_else(|| name.to_owned())
}

fn read_values(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        let (code, behind) = rest[at + 1..].split_once('_')?;
        if code.is_empty() {
            out.push('_');
        } else {
            let is_code = code.len() <= CODE_DIGITS_MAX && code.bytes().all(|b| b.is_ascii_hexdigit());
            let code = u32::from_str_radix(code, 16).ok().filter(|_| is_code)?;
            out.push(char::from_u32(code)?);
        }
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

/// The label in `/label/NAME/values`, its `U__` escapes read.
pub struct LabelName(pub String);

impl<S: Send + Sync> FromRequestParts<S> for LabelName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // The raw path, because a name that is no UTF-8 is to be refused in the form of this API.
        let path = parts.uri.path();
        let segment = path.strip_suffix("/values").and_then(|rest| rest.rsplit('/').next()).unwrap_or("");
        let invalid = |shown: &str| ApiError::bad_data(format!("invalid label name: \"{shown}\""));
        let bytes = unescape(segment, false).ok_or_else(|| invalid(segment))?;
        match String::from_utf8(bytes) {
            Ok(name) if name.is_empty() => Err(invalid("")),
            Ok(name) => Ok(Self(unescaped(&name))),
            Err(error) => Err(invalid(&shown(error.as_bytes()))),
        }
    }
}

/// Bytes as Go's `%q` writes them: what is no UTF-8 as `\xff`.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            write!(out, "\\x{byte:02x}").expect("writing to memory cannot fail");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sent_as_the_reader_takes_them() {
        for (name, underscores, dots, values) in [
            ("up", "up", "up", "up"),
            ("my_name", "my_name", "my__name", "my_name"),
            ("a.b_c", "a_b_c", "a_dot_b__c", "U__a_2e_b__c"),
            ("1é:", "__:", "____:", "U___31__e9_:"),
        ] {
            let escaped = |escaping: Escaping| escaping.escape(name, true);
            let got = (escaped(Escaping::Underscores), escaped(Escaping::Dots), escaped(Escaping::Values));
            assert_eq!((got.0.as_str(), got.1.as_str(), got.2.as_str()), (underscores, dots, values), "{name}");
            assert_eq!(unescaped(&got.2), name);
            assert_eq!(escaped(Escaping::AllowUtf8), name);
        }
        assert_eq!(Escaping::Underscores.escape("a:b", false), "a_b");
    }

    #[test]
    fn what_is_no_escape_stands_for_itself() {
        for name in ["U__a_2e", "U__a_zz_", "U__a_0000041_", "U__a_d800_", "V__a_2e_b", "U__a_"] {
            assert_eq!(unescaped(name), name);
        }
        assert_eq!(unescaped("U__service_2E_name"), "service.name");
    }
}
