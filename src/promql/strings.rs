//! Go's string escapes, which PromQL uses.

/// Resolves the escapes of the text between `quote`s. Bytes, because `\xc5` alone is not UTF-8.
///
/// # Errors
/// An escape that does not exist, or is cut short: the reason as Prometheus words it.
pub(super) fn unquote(body: &str, quote: char) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(escape) = chars.next() else { return Err("escape sequence not terminated".into()) };
        let mut code = |digits: usize, radix: u32| {
            (0..digits).try_fold(0u32, |code, _| {
                // Behind the text stands the quote that ends it.
                let digit = chars.next().unwrap_or(quote);
                let illegal = || format!("illegal character {} in escape sequence", code_point(digit));
                let value = digit.to_digit(radix).ok_or_else(illegal)?;
                Ok::<u32, String>(code.saturating_mul(radix).saturating_add(value))
            })
        };
        match escape {
            'a' => out.push(0x07),
            'b' => out.push(0x08),
            'f' => out.push(0x0c),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(0x0b),
            '\\' => out.push(b'\\'),
            _ if escape == quote => out.push(quote as u8),
            'x' => out.push(code(2, 16)? as u8),
            'u' | 'U' => {
                let code = code(if escape == 'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code).ok_or("escape sequence is an invalid Unicode code point")?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let first = escape.to_digit(8).unwrap_or_default();
                let code = first * 64 + code(2, 8)?;
                out.push(u8::try_from(code).map_err(|_| "escape sequence is an invalid Unicode code point")?);
            }
            _ => return Err(format!("unknown escape sequence {}", code_point(escape))),
        }
    }
    Ok(out)
}

/// A character as Go's `%#U` writes it: `U+0071 'q'`.
fn code_point(c: char) -> String {
    let number = c as u32;
    if c.is_control() { format!("U+{number:04X}") } else { format!("U+{number:04X} '{c}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_resolve_or_say_why_not() {
        assert_eq!(unquote(r#"a\n\"\x41\u00e9\101"#, '"').unwrap(), "a\n\"AéA".as_bytes());
        assert_eq!(unquote(r"\xc5", '"').unwrap(), [0xc5]);
        assert_eq!(unquote(r"\q", '"').unwrap_err(), "unknown escape sequence U+0071 'q'");
        assert_eq!(unquote(r"\xz", '"').unwrap_err(), "illegal character U+007A 'z' in escape sequence");
        assert!(unquote(r"\x4", '"').is_err());
    }
}
