//! Renders the Markdown of runbooks as HTML: a small, safe subset.
//!
//! In: headings, paragraphs, lists (one level of nesting), fenced code, block quotes, tables, and inside a line code,
//! bold, emphasis and links.   Out: HTML.
//! Always: text is escaped, raw HTML shows as text, and a link leads only to http, https or a place on this host, so that
//! a runbook of any origin cannot run anything.   Limits: no images, no deeper lists, no reference links.

/// The text with what HTML would take for markup replaced; safe in elements and in quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// The name of a section in links, as GitHub makes it: lower case, spaces as hyphens, no other punctuation.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// What a line begins.
enum Block<'a> {
    Blank,
    Fence,
    Heading(usize, &'a str),
    Rule,
    Item { ordered: bool, text: &'a str },
    Quote(&'a str),
    Row(&'a str),
    Text(&'a str),
}

fn block(line: &str) -> Block<'_> {
    let text = line.trim_start();
    let level = text.bytes().take_while(|b| *b == b'#').count();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if text.is_empty() {
        Block::Blank
    } else if text.starts_with("```") {
        Block::Fence
    } else if (1..=6).contains(&level) && text[level..].starts_with(' ') {
        Block::Heading(level, text[level..].trim().trim_end_matches('#').trim_end())
    } else if text.len() >= 3 && (text.bytes().all(|b| b == b'-') || text.bytes().all(|b| b == b'*')) {
        Block::Rule
    } else if let Some(item) = text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")) {
        Block::Item { ordered: false, text: item }
    } else if (1..=3).contains(&digits) && text[digits..].starts_with(". ") {
        Block::Item { ordered: true, text: &text[digits + 2..] }
    } else if let Some(quoted) = text.strip_prefix('>') {
        Block::Quote(quoted.trim_start())
    } else if text.starts_with('|') {
        Block::Row(text)
    } else {
        Block::Text(text)
    }
}

/// What is open while lines are read; the innermost is last.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Paragraph,
    Quote,
    Table,
    List { ordered: bool, indent: usize },
}

#[derive(Default)]
struct Writer {
    out: String,
    open: Vec<Open>,
}

impl Writer {
    fn close_to(&mut self, depth: usize) {
        while self.open.len() > depth {
            self.out.push_str(match self.open.pop() {
                Some(Open::Paragraph) => "</p>\n",
                Some(Open::Quote) => "</blockquote>\n",
                Some(Open::Table) => "</tbody></table>\n",
                Some(Open::List { ordered: true, .. }) => "</li></ol>\n",
                Some(Open::List { ordered: false, .. }) => "</li></ul>\n",
                None => return,
            });
        }
    }

    fn close_all(&mut self) {
        self.close_to(0);
    }

    fn item(&mut self, indent: usize, ordered: bool, text: &str) {
        // An item ends deeper lists, and other blocks; one of the other kind begins a new list.
        let keep = self.open.iter().take_while(|o| matches!(o, Open::List { indent: i, .. } if *i <= indent)).count();
        self.close_to(keep);
        match self.open.last() {
            Some(Open::List { ordered: same, indent: at }) if *at == indent => {
                if *same == ordered {
                    self.out.push_str("</li>\n<li>");
                } else {
                    self.close_to(keep - 1);
                    self.begin_list(indent, ordered);
                }
            }
            _ => self.begin_list(indent, ordered),
        }
        self.out.push_str(&inline(text));
    }

    fn begin_list(&mut self, indent: usize, ordered: bool) {
        self.out.push_str(if ordered { "<ol>\n<li>" } else { "<ul>\n<li>" });
        self.open.push(Open::List { ordered, indent });
    }

    fn text(&mut self, indent: usize, text: &str) {
        match self.open.last() {
            Some(Open::Paragraph | Open::Quote) => self.out.push('\n'),
            // Lazy continuation of an item.
            Some(Open::List { .. }) if indent > 0 => self.out.push('\n'),
            _ => {
                self.close_all();
                self.out.push_str("<p>");
                self.open.push(Open::Paragraph);
            }
        }
        self.out.push_str(&inline(text));
    }

    fn row(&mut self, row: &str) {
        let cells: Vec<&str> = row.trim().trim_matches('|').split('|').map(str::trim).collect();
        if cells.iter().all(|cell| !cell.is_empty() && cell.bytes().all(|b| matches!(b, b'-' | b':'))) {
            return;
        }
        let is_head = self.open.last() != Some(&Open::Table);
        if is_head {
            self.close_all();
            self.open.push(Open::Table);
        }
        let tag = if is_head { "th" } else { "td" };
        let cells: String = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", inline(cell))).collect();
        let (before, after) = if is_head { ("<table><thead>", "</thead><tbody>") } else { ("", "") };
        self.out.push_str(&format!("{before}<tr>{cells}</tr>{after}\n"));
    }
}

/// The document as HTML, without anything around it.
pub fn to_html(markdown: &str) -> String {
    let mut writer = Writer::default();
    let mut lines = markdown.lines();
    let mut after_blank = false;
    while let Some(line) = lines.next() {
        let indent = line.len() - line.trim_start().len();
        let block = block(line);
        let was_blank = std::mem::replace(&mut after_blank, matches!(block, Block::Blank));
        match block {
            Block::Blank => {
                // A list goes on behind a blank line when an item or an indented line follows.
                if !matches!(writer.open.last(), Some(Open::List { .. })) {
                    writer.close_all();
                }
            }
            Block::Fence => {
                if indent == 0 || !matches!(writer.open.last(), Some(Open::List { .. })) {
                    writer.close_all();
                }
                let code: Vec<&str> = lines.by_ref().take_while(|l| !l.trim_start().starts_with("```")).collect();
                let code = code.iter().map(|l| l.get(indent..).filter(|_| l[..indent].trim().is_empty()).unwrap_or(l));
                let code = escape(&code.collect::<Vec<_>>().join("\n"));
                writer.out.push_str(&format!("<pre><code>{code}\n</code></pre>\n"));
            }
            Block::Heading(level, text) => {
                writer.close_all();
                // Sections can be linked to; the title is the page itself.
                let id = if level > 1 { format!(" id=\"{}\"", slug(text)) } else { String::new() };
                writer.out.push_str(&format!("<h{level}{id}>{}</h{level}>\n", inline(text)));
            }
            Block::Rule => {
                writer.close_all();
                writer.out.push_str("<hr>\n");
            }
            Block::Item { ordered, text } => writer.item(indent, ordered, text),
            Block::Quote(text) => {
                if writer.open.last() == Some(&Open::Quote) {
                    writer.out.push('\n');
                } else {
                    writer.close_all();
                    writer.out.push_str("<blockquote>");
                    writer.open.push(Open::Quote);
                }
                writer.out.push_str(&inline(text));
            }
            Block::Row(row) => writer.row(row),
            Block::Text(text) => {
                if was_blank && indent == 0 {
                    writer.close_all();
                }
                writer.text(indent, text);
            }
        }
    }
    writer.close_all();
    writer.out
}

/// Code, bold, emphasis and links inside a line; everything else escaped.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[', '_', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(&escape(before));
        let at_word = before.chars().next_back().or(out.chars().next_back()).is_some_and(char::is_alphanumeric);
        match span(from, at_word) {
            Some((html, length)) => {
                out.push_str(&html);
                rest = &from[length..];
            }
            None => {
                // All of these marks are one byte long.
                out.push_str(&escape(&from[..1]));
                rest = &from[1..];
            }
        }
    }
    out + &escape(rest)
}

/// The HTML of the span that `from` begins with and its length in bytes; `None` when the mark is just a character.
fn span(from: &str, at_word: bool) -> Option<(String, usize)> {
    let marked = |mark: &str, tag: &str| {
        let inner = from.strip_prefix(mark)?;
        let end = inner.find(mark).filter(|end| *end > 0)?;
        let body = &inner[..end];
        let tight = !body.starts_with(' ') && !body.ends_with(' ');
        tight.then(|| (format!("<{tag}>{}</{tag}>", inline(body)), end + 2 * mark.len()))
    };
    match from.as_bytes()[0] {
        b'`' => {
            let ticks = from.bytes().take_while(|b| *b == b'`').count();
            let end = from[ticks..].find(&from[..ticks])?;
            let code = from[ticks..ticks + end].trim();
            Some((format!("<code>{}</code>", escape(code)), end + 2 * ticks))
        }
        b'\\' => {
            let next = from[1..].chars().next().filter(char::is_ascii_punctuation)?;
            Some((escape(&next.to_string()), 2))
        }
        b'*' => marked("**", "strong").or_else(|| marked("*", "em")),
        // Underscores inside words are names, such as `max_concurrent_actors`.
        b'_' if !at_word => marked("__", "strong").or_else(|| marked("_", "em")),
        b'[' => {
            let close = from.find("](")?;
            let end = close + 2 + from[close + 2..].find(')')?;
            let (text, url) = (&from[1..close], &from[close + 2..end]);
            let html = match is_safe(url) {
                true => format!("<a href=\"{}\" rel=\"noreferrer\">{}</a>", escape(url), inline(text)),
                false => inline(text),
            };
            Some((html, end + 1))
        }
        _ => None,
    }
}

/// Whether a link leads to the web or to a place on this host.
fn is_safe(url: &str) -> bool {
    let has_odd = url.chars().any(|c| c.is_whitespace() || c.is_control());
    let scheme_end = url.find([':', '/', '?', '#']);
    let no_scheme = scheme_end.is_none_or(|at| url.as_bytes()[at] != b':');
    !has_odd && (url.starts_with("https://") || url.starts_with("http://") || no_scheme)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_become_elements() {
        for (markdown, html) in [
            ("# A `b` & c", "<h1>A <code>b</code> &amp; c</h1>\n"),
            ("### Peer-port \"closed\"", "<h3 id=\"peer-port-closed\">Peer-port &quot;closed&quot;</h3>\n"),
            ("one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>\n"),
            ("- a\n- b\n  more", "<ul>\n<li>a</li>\n<li>b\nmore</li></ul>\n"),
            ("1. a\n\n2. b\n\nend", "<ol>\n<li>a</li>\n<li>b</li></ol>\n<p>end</p>\n"),
            ("- a\n  - b\n- c", "<ul>\n<li>a<ul>\n<li>b</li></ul>\n</li>\n<li>c</li></ul>\n"),
            ("```sh\na <b>\n\n  c\n```\nx", "<pre><code>a &lt;b&gt;\n\n  c\n</code></pre>\n<p>x</p>\n"),
            ("1. a\n   ```\n   x\n   ```\n2. b", "<ol>\n<li>a<pre><code>x\n</code></pre>\n</li>\n<li>b</li></ol>\n"),
            ("> a\n> b", "<blockquote>a\nb</blockquote>\n"),
            (
                "| a | b |\n|---|:-:|\n| 1 | `2` |",
                "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>\n\
                 <tr><td>1</td><td><code>2</code></td></tr>\n</tbody></table>\n",
            ),
            ("---", "<hr>\n"),
            ("```\nunclosed", "<pre><code>unclosed\n</code></pre>\n"),
        ] {
            assert_eq!(to_html(markdown), html, "{markdown}");
        }
    }

    #[test]
    fn spans_become_elements() {
        for (markdown, html) in [
            ("**a** *b* _c_", "<strong>a</strong> <em>b</em> <em>c</em>"),
            ("max_concurrent_actors", "max_concurrent_actors"),
            ("2 * 3 * 4", "2 * 3 * 4"),
            ("`a < b`", "<code>a &lt; b</code>"),
            ("a ` b", "a ` b"),
            ("[x](/runbooks/X)", "<a href=\"/runbooks/X\" rel=\"noreferrer\">x</a>"),
            ("[x](https://rivet.dev/docs)", "<a href=\"https://rivet.dev/docs\" rel=\"noreferrer\">x</a>"),
            ("[x] (y)", "[x] (y)"),
            (r"\*a\*", "*a*"),
            ("é*ü*", "é<em>ü</em>"),
        ] {
            assert_eq!(inline(markdown), html, "{markdown}");
        }
    }

    #[test]
    fn nothing_that_runs_gets_through() {
        for markdown in [
            "<script>alert(1)</script>",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](data:text/html,x)",
            "[x](java\tscript:alert(1))",
            "[x](\" onclick=\"alert(1))",
            "`<img src=x onerror=alert(1)>`",
            "# <b onclick=x>",
            "| <i> |\n|---|\n| <i> |",
        ] {
            let html = to_html(markdown);
            for part in html.split('<').skip(1) {
                let (tag, _) = part.split_once('>').expect("a `<` is always a tag");
                let name = tag.trim_start_matches('/').split(' ').next().unwrap();
                assert!(
                    ["p", "a", "code", "h1", "table", "thead", "tbody", "tr", "th", "td"].contains(&name),
                    "{html}"
                );
                let attributes = tag.strip_prefix(name).unwrap_or_default();
                assert!(attributes.is_empty() || attributes.starts_with(" href=\"&quot;"), "{html}");
            }
        }
        for url in
            ["javascript:x", "JaVaScRiPt:x", "data:text/html,x", "java\tscript:x", " http://a", "vbscript:x", "x:y"]
        {
            assert!(!is_safe(url), "{url}");
        }
        for url in ["https://a/b?c=d:e", "http://a", "/runbooks/X", "#part", "?a=b:c", "X", "../x:y"] {
            assert!(is_safe(url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn any_text_renders_with_its_elements_closed(text in "[a-c<>&\"'`*_\\[\\]()#|\\-1. \n\\\\é:/]{0,80}") {
            let html = to_html(&text);
            let mut open: Vec<&str> = Vec::new();
            for part in html.split('<').skip(1) {
                let (tag, _) = part.split_once('>').expect("a `<` is always a tag");
                let name = tag.split(' ').next().unwrap();
                match name.strip_prefix('/') {
                    Some(closed) => prop_assert_eq!(open.pop(), Some(closed), "{}", html),
                    None if name == "hr" => {}
                    None => open.push(name),
                }
            }
            prop_assert!(open.is_empty(), "{}", html);
        }
    }
}
