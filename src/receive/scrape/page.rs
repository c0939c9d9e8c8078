//! A page as a whole: is it text, and is it all there?
//!
//! In:  bytes.   Out: lines that are valid UTF-8, or what shows that the page ends too early.

use std::borrow::Cow;

use super::text::Format;

/// Longest piece of a line that an example shows.
const EXAMPLE_CHARS_MAX: usize = 120;

/// The page as text; a line that is not UTF-8 is replaced by the replacement character, which no line begins with.
pub fn valid_lines(body: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(body.len());
    for line in body.split_inclusive(|b| *b == b'\n') {
        match std::str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => text.push_str(if line.ends_with(b"\n") { "\u{fffd}\n" } else { "\u{fffd}" }),
        }
    }
    Cow::Owned(text)
}

/// What shows that the page ends too early, if anything does.
pub fn truncation(text: &str, format: Format) -> Option<String> {
    let last = text.lines().next_back()?;
    if !text.ends_with('\n') {
        return Some(format!("its last line has no end: `{}`", shortened(last)));
    }
    let name = last.split(['{', ' ']).next().unwrap_or("");
    match format {
        Format::OpenMetrics if last.trim_end() != "# EOF" => Some("`# EOF` is missing".to_owned()),
        // Buckets come before the sum and the count, in every client library.
        Format::Text if name.ends_with("_bucket") && last.contains("le=\"") => {
            Some(format!("it ends inside the histogram `{name}`"))
        }
        _ => None,
    }
}

/// The beginning of a line, for an example.
pub fn shortened(line: &str) -> &str {
    line.char_indices().nth(EXAMPLE_CHARS_MAX).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_ends_in_a_line_or_a_histogram_is_truncated() {
        let is_truncated = |text| truncation(text, Format::Text).is_some();
        assert!(!is_truncated(""), "an empty page is a page");
        assert!(!is_truncated("a 1\n"));
        assert!(is_truncated("a 1\nb 2"));
        assert!(is_truncated("a_bucket{le=\"1\"} 2\n"));
        assert!(!is_truncated("a_bucket{le=\"1\"} 2\na_sum 1\na_count 2\n"));
        assert!(!is_truncated("ice_bucket 1\n"), "a bucket of another kind");
        assert!(truncation("a 1\n", Format::OpenMetrics).is_some());
        assert!(truncation("a 1\n# EOF\n", Format::OpenMetrics).is_none());
    }

    #[test]
    fn only_the_damaged_line_is_replaced() {
        assert_eq!(valid_lines(b"a 1\nb{x=\"\xff\"} 2\nc 3\n"), "a 1\n\u{fffd}\nc 3\n");
        assert_eq!(valid_lines(b"a 1\n\xff"), "a 1\n\u{fffd}");
    }
}
