//! JUnit XML, so that a pipeline shows items as tests.
//!
//! A category is a suite; a failure fails, a warning too where warnings are denied, an unknown is skipped unless unknowns
//! are denied. Format: the schema of Jenkins' xUnit plugin, which runners agree on.

use std::fmt::Write;

use crate::checklist::outcome::Status;
use crate::checklist::report::{Finding, Report};

/// The report as XML.
pub fn junit(report: &Report, deny_warnings: bool, deny_unknown: bool) -> String {
    let fails = |f: &&&Finding| match f.status {
        Status::Fail => true,
        Status::Warn => deny_warnings,
        Status::Unknown => deny_unknown,
        _ => false,
    };
    let is_skipped = |f: &&&Finding| f.status == Status::Skipped || (f.status == Status::Unknown && !deny_unknown);
    let all: Vec<&Finding> = report.findings.iter().collect();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"rivetwatch check\" tests=\"{}\" failures=\"{}\" errors=\"0\">",
        all.len(),
        all.iter().filter(fails).count()
    );
    for (category, findings) in report.by_category() {
        let _ = writeln!(
            out,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" timestamp=\"{}\">",
            category.as_str(),
            findings.len(),
            findings.iter().filter(fails).count(),
            findings.iter().filter(is_skipped).count(),
            escape(report.at.get(..19).unwrap_or(&report.at)),
        );
        for finding in &findings {
            let _ = writeln!(
                out,
                "    <testcase classname=\"rivetwatch.{}\" name=\"{}\" time=\"0\">",
                escape(&finding.category),
                escape(&format!("{}: {}", finding.item, finding.title)),
            );
            let word = finding.status.as_str();
            let (reason, runbook) = (escape(&finding.reason), escape(&finding.runbook));
            if fails(&finding) {
                let _ = writeln!(out, "      <failure type=\"{word}\" message=\"{reason}\">see {runbook}</failure>");
            } else if is_skipped(&finding) {
                let _ = writeln!(out, "      <skipped message=\"{word}: {reason}\"/>");
            }
            let mut lines: Vec<String> = finding.evidence.iter().map(|e| escape(e)).collect();
            if !fails(&finding) && !is_skipped(&finding) && !reason.is_empty() {
                lines.insert(0, format!("{word}: {reason}"));
            }
            if !lines.is_empty() {
                let _ = writeln!(out, "      <system-out>{}</system-out>", lines.join("\n"));
            }
            out.push_str("    </testcase>\n");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// Text for elements and attributes; characters that XML 1.0 does not allow become spaces.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::render::tests_support::report;

    #[test]
    fn failures_fail_and_unknowns_are_skipped_unless_denied() {
        let xml = junit(&report(), false, false);
        assert!(
            xml.contains("<testsuites name=\"rivetwatch check\" tests=\"4\" failures=\"1\" errors=\"0\">"),
            "{xml}"
        );
        assert!(xml.contains("<failure type=\"fail\" message=\"Service rivet-engine opens 6421"), "{xml}");
        assert!(xml.contains("<skipped message=\"unknown: a &lt;gap&gt; &amp; more\"/>"), "{xml}");
        assert!(junit(&report(), false, true).contains("failures=\"2\" errors"));
    }
}
