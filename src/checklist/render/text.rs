//! The report as lines: categories, a mark and a sentence an item, and under what is not met the reason and where help is.

use crate::checklist::outcome::Status;
use crate::checklist::report::{Finding, Report};

/// How the lines look.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Marks are coloured.
    pub colour: bool,
    /// The terminal shows more than ASCII.
    pub unicode: bool,
    /// Only what is not met is shown.
    pub short: bool,
    /// The evidence is shown under every item.
    pub verbose: bool,
}

impl Style {
    /// The mark of a status, as `linkerd check` has them where it has them.
    fn mark(self, status: Status) -> String {
        let (unicode, ascii, colour) = match status {
            Status::Pass => ("√", "+", "32"),
            Status::Warn => ("‼", "!", "33"),
            Status::Fail => ("×", "x", "31"),
            Status::Unknown => ("?", "?", "36"),
            Status::Info => ("i", "i", "34"),
            Status::Attested => ("✎", "a", "32"),
            Status::Skipped => ("-", "-", "2"),
        };
        let mark = if self.unicode { unicode } else { ascii };
        match self.colour {
            true => format!("\u{1b}[{colour}m{mark}\u{1b}[0m"),
            false => mark.to_owned(),
        }
    }
}

/// The whole report as text.
pub fn text(report: &Report, style: Style) -> String {
    let mut out = String::new();
    for (category, findings) in report.by_category() {
        let shown: Vec<&Finding> =
            findings.into_iter().filter(|f| !style.short || f.status <= Status::Unknown).collect();
        if shown.is_empty() {
            continue;
        }
        let title = category.title();
        line(&mut out, title);
        line(&mut out, &"-".repeat(title.chars().count()));
        for (i, finding) in shown.iter().enumerate() {
            let same = |other: &&Finding| is_skipped_for(other, &finding.reason);
            match style.verbose || finding.status != Status::Skipped {
                true => add(&mut out, finding, style),
                // Items that do not apply for one reason are one line, where the first of them stands.
                false if !shown[..i].iter().any(same) => {
                    let all: Vec<&Finding> = shown.iter().copied().filter(same).collect();
                    add_skipped(&mut out, &all, style);
                }
                false => {}
            }
        }
        out.push('\n');
    }
    let counts: Vec<String> = Status::ALL
        .iter()
        .map(|status| (*status, report.count(*status)))
        .filter(|(_, count)| *count > 0)
        .map(|(status, count)| format!("{count} {}", status.as_str()))
        .collect();
    line(&mut out, &format!("{} items: {}", report.findings.len(), counts.join(", ")));
    // A warning or an unknown does not fail the run by itself; the mark says what is worst all the same.
    line(&mut out, &format!("Status check results are {}", style.mark(report.result)));
    out
}

fn is_skipped_for(finding: &Finding, reason: &str) -> bool {
    finding.status == Status::Skipped && finding.reason == reason
}

fn add_skipped(out: &mut String, findings: &[&Finding], style: Style) {
    match findings {
        [] => {}
        [one] => add(out, one, style),
        [first, ..] => {
            let names: Vec<&str> = findings.iter().map(|f| f.item.as_str()).collect();
            let (mark, reason) = (style.mark(Status::Skipped), clean(&first.reason));
            line(out, &format!("{mark} {} items: {} (skipped: {reason})", names.len(), names.join(", ")));
        }
    }
}

fn add(out: &mut String, finding: &Finding, style: Style) {
    let mark = style.mark(finding.status);
    let reason = &clean(&finding.reason);
    match finding.status {
        Status::Skipped => line(out, &format!("{mark} {} (skipped: {reason})", finding.title)),
        _ => line(out, &format!("{mark} {}", finding.title)),
    }
    if finding.status != Status::Skipped && !reason.is_empty() {
        line(out, &format!("    {reason}"));
    }
    if style.verbose {
        for evidence in finding.evidence.iter().filter(|e| **e != finding.reason) {
            line(out, &format!("    seen: {}", clean(evidence)));
        }
    }
    if finding.status <= Status::Warn {
        line(out, &format!("    see {} for hints", finding.runbook));
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Text that stays on its line and moves no cursor: objects of others may carry anything in their names.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::render::tests_support::report;

    #[test]
    fn lines_look_like_linkerds() {
        let style = Style { unicode: true, ..Style::default() };
        let shown = text(&report(), style);
        let expected = "security\n--------\n√ API calls without the admin token are refused\n× the peer API (6421) is not reachable \
                        from outside\n    Service rivet-engine opens 6421 on node port 30421\n    see https://x/r#peer-port-closed \
                        for hints\n\n";
        assert!(shown.starts_with(expected), "{shown}");
        assert!(
            shown.ends_with("4 items: 1 fail, 1 unknown, 1 pass, 1 skipped\nStatus check results are ×\n"),
            "{shown}"
        );
        assert!(shown.contains("- RocksDB has exactly one node (skipped: it is PostgreSQL)\n"), "{shown}");
        assert!(!text(&report(), Style { short: true, ..style }).contains('√'));
        let mut two = report();
        two.findings.push(Finding { item: "autoscaler".into(), ..two.findings[3].clone() });
        let shown = text(&two, style);
        assert!(shown.contains("- 2 items: rocksdb-one-node, autoscaler (skipped: it is PostgreSQL)\n"), "{shown}");
        assert!(text(&report(), Style { verbose: true, ..style }).contains("    seen: 403\n"));
        assert!(text(&report(), Style { colour: true, ..style }).contains("\u{1b}[31m×\u{1b}[0m the peer"));
        assert!(text(&report(), Style::default()).is_ascii());
        assert_eq!(clean("a\u{1b}[31m\nb"), "a [31m b");
    }
}
