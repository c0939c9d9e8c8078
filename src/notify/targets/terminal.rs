//! The terminal: a page as a person reads it.

use crate::model::Alert;
use crate::notify::page::{Page, cut};

/// Longest line that is printed.
const LINE_MAX: usize = 500;

/// The page in lines, with an empty line after it.
pub fn text(page: &Page) -> String {
    let severity = page.severity();
    let head = match (page.firing.is_empty(), severity) {
        (true, _) => "RESOLVED".to_owned(),
        (false, "") => "FIRING".to_owned(),
        (false, severity) => severity.to_uppercase(),
    };
    let name = page.leading().first().map(Alert::name).unwrap_or("");
    // Control characters in a label could move the cursor or change the colours of the terminal.
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
    let body: Vec<String> = page.body().lines().map(|l| format!("  {}", cut(&clean(l), LINE_MAX))).collect();
    format!("[{head}] {}  ({name})\n{}\n\n", cut(&clean(&page.summary()), LINE_MAX), body.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::page::tests::page;

    #[test]
    fn a_page_is_readable_and_cannot_command_the_terminal() {
        let mut page = page(1);
        page.firing[0].annotations.insert("summary".into(), "CPU \u{1b}[31mhigh".into());
        let text = text(&page);
        assert_eq!(
            text,
            "[CRITICAL] CPU [31mhigh  (HighCpu)\n  Value: 1%\n  Since: 2026-11-23T07:37:47.000Z (1m1s ago)\n\n"
        );
    }
}
