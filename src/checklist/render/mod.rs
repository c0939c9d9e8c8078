//! The report for people (as `linkerd check` shows it), for test runners (JUnit) and for code scanners (SARIF).
//!
//! Always: pure functions from a report to text.

mod junit;
mod sarif;
mod text;

pub use junit::junit;
pub use sarif::sarif;
pub use text::{Style, text};

#[cfg(test)]
mod tests_support {
    use crate::checklist::outcome::Status;
    use crate::checklist::report::{Finding, Report};
    use crate::model::TimestampMs;

    /// Four findings, one of each kind that is treated differently.
    pub fn report() -> Report {
        let finding = |item: &str, status, reason: &str, evidence: &[&str]| {
            let item = crate::checklist::find_item(item).unwrap();
            Finding {
                item: item.id.into(),
                category: item.category.as_str().into(),
                title: item.title.into(),
                status,
                reason: reason.into(),
                evidence: evidence.iter().map(|e| (*e).into()).collect(),
                runbook: format!("https://x/r#{}", item.id),
            }
        };
        let findings = vec![
            finding("admin-token-set", Status::Pass, "", &["403"]),
            finding("peer-port-closed", Status::Fail, "Service rivet-engine opens 6421 on node port 30421", &[]),
            finding("image-pinned", Status::Unknown, "a <gap> & more", &[]),
            finding("rocksdb-one-node", Status::Skipped, "it is PostgreSQL", &[]),
        ];
        Report::new(TimestampMs(1_795_419_468_123), findings, Vec::new())
    }
}
