//! The first document of a YAML stream.

/// Where the first document of a stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDocument<'a> {
    /// The stream up to the end of its first document, so that lines count as in the whole.
    pub text: &'a str,
    /// Line, from 1, of the first thing behind it; `None` where nothing but comments and markers follows.
    pub more_at: Option<u32>,
}

/// Cuts a YAML stream behind its first document, which is all that Prometheus reads of a rule file.
///
/// A line that begins with `---` or `...` is a marker wherever it stands: no text of several lines may hold one.
pub fn first_document(stream: &str) -> FirstDocument<'_> {
    let is_marker = |line: &str| {
        let rest = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r']))
    };
    let says_something = |line: &str| {
        let text = line.trim();
        !text.is_empty() && !text.starts_with('#')
    };
    let (mut at, mut is_open, mut end) = (0, false, None);
    for (i, whole) in stream.split_inclusive('\n').enumerate() {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = if i == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let content = if is_marker(line) { &line[3..] } else { line };
        match end {
            None if is_marker(line) && (is_open || line.starts_with("...")) => end = Some(at),
            // Directives come before the marker that opens their document.
            None => is_open |= is_marker(line) || (says_something(line) && !line.starts_with('%')),
            Some(_) => {}
        }
        if let Some(end) = end
            && says_something(content)
        {
            return FirstDocument { text: &stream[..end], more_at: u32::try_from(i + 1).ok() };
        }
        at += whole.len();
    }
    FirstDocument { text: &stream[..end.unwrap_or(stream.len())], more_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_behind_its_first_document() {
        for (stream, text, more_at) in [
            ("a: 1\n", "a: 1\n", None),
            ("", "", None),
            ("---\na: 1\n---\n# end\n", "---\na: 1\n", None),
            ("\u{feff}---\r\na: 1\r\n---\r\n", "\u{feff}---\r\na: 1\r\n", None),
            ("# c\n%YAML 1.1\n---\na: 1\n...\nb: 2", "# c\n%YAML 1.1\n---\na: 1\n", Some(6)),
            ("--- {a: 1}\n--- {b: 1}\n", "--- {a: 1}\n", Some(2)),
            ("a: |\n  ---\n  x\nb: ---\n----: c\n", "a: |\n  ---\n  x\nb: ---\n----: c\n", None),
            ("---\n---\na: 1\n", "---\n", Some(3)),
        ] {
            assert_eq!(first_document(stream), FirstDocument { text, more_at }, "{stream:?}");
        }
    }
}
