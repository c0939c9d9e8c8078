//! All findings of one run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::attest::Attestation;
use super::evidence::Evidence;
use super::items::{Category, ITEMS, Item};
use super::outcome::{Outcome, Status};
use crate::model::TimestampMs;

/// One item and what it came to, as JSON and the command line show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub item: String,
    pub category: String,
    /// Worded as the success.
    pub title: String,
    pub status: Status,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub evidence: Vec<String>,
    /// The section of the runbook.
    pub runbook: String,
}

/// A run of the checklist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// When it was run, in RFC 3339.
    pub at: String,
    /// The worst that counts: `fail`, `warn`, `unknown` or `pass`.
    pub result: Status,
    /// Findings of each status.
    pub counts: BTreeMap<String, usize>,
    /// What was asked, and what came of it.
    pub sources: Vec<Source>,
    pub findings: Vec<Finding>,
}

/// Something that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    /// Whether it answered.
    pub is_known: bool,
    /// What it is, or why it is not known.
    pub detail: String,
}

/// Which items are judged, and what people say about them.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Ids and categories; empty for all.
    pub only: Vec<String>,
    /// Items that are passed over, with the reason.
    pub skip: BTreeMap<String, String>,
    pub attest: Vec<Attestation>,
    /// The runbook's address without the section.
    pub runbook: String,
}

impl Choice {
    /// Whether an item is judged at all.
    pub fn takes(&self, item: &Item) -> bool {
        self.only.is_empty() || self.only.iter().any(|o| o == item.id || o == item.category.as_str())
    }
}

/// Judges every chosen item.
pub fn judge(evidence: &Evidence, choice: &Choice) -> Report {
    let findings = ITEMS.iter().filter(|item| choice.takes(item)).map(|item| {
        let outcome = match choice.skip.get(item.id) {
            Some(reason) => Outcome::skipped(format!("`check.skip`: {reason}")),
            None => (item.judge)(evidence),
        };
        let outcome = match choice.attest.iter().find(|a| a.item == item.id) {
            Some(attestation) => attestation.apply(outcome, evidence.now),
            None => outcome,
        };
        Finding {
            item: item.id.to_owned(),
            category: item.category.as_str().to_owned(),
            title: item.title.to_owned(),
            status: outcome.status,
            reason: outcome.reason,
            evidence: outcome.evidence,
            runbook: format!("{}#{}", choice.runbook, item.id),
        }
    });
    Report::new(evidence.now, findings.collect(), sources(evidence))
}

impl Report {
    pub(super) fn new(now: TimestampMs, findings: Vec<Finding>, sources: Vec<Source>) -> Self {
        let count = |status: Status| findings.iter().filter(|f| f.status == status).count();
        let counts = Status::ALL.into_iter().map(|s| (s.as_str().to_owned(), count(s))).collect();
        let worst = findings.iter().map(|f| f.status).min().unwrap_or(Status::Pass);
        let result = if worst <= Status::Unknown { worst } else { Status::Pass };
        Self { at: now.to_rfc3339(), result, counts, sources, findings }
    }

    /// The report with the findings of which `is_wanted` says so by item and category.
    pub fn narrowed(self, is_wanted: impl Fn(&str, &str) -> bool) -> Self {
        let findings = self.findings.into_iter().filter(|f| is_wanted(&f.item, &f.category)).collect();
        Self { at: self.at, ..Self::new(TimestampMs(0), findings, self.sources) }
    }

    /// The number of findings with this status.
    pub fn count(&self, status: Status) -> usize {
        self.counts.get(status.as_str()).copied().unwrap_or(0)
    }

    /// Whether the run counts as failed.
    pub fn is_failure(&self, deny_warnings: bool, deny_unknown: bool) -> bool {
        self.count(Status::Fail) > 0
            || (deny_warnings && self.count(Status::Warn) > 0)
            || (deny_unknown && self.count(Status::Unknown) > 0)
    }

    /// Findings by category, in order, without empty categories.
    pub fn by_category(&self) -> Vec<(Category, Vec<&Finding>)> {
        let of = |category: Category| -> Vec<&Finding> {
            self.findings.iter().filter(|f| f.category == category.as_str()).collect()
        };
        Category::ALL.into_iter().map(|c| (c, of(c))).filter(|(_, found)| !found.is_empty()).collect()
    }
}

fn sources(e: &Evidence) -> Vec<Source> {
    fn source<T>(name: &str, known: &super::known::Known<T>, detail: impl Fn(&T) -> String) -> Source {
        match known {
            Ok(value) => Source { name: name.to_owned(), is_known: true, detail: detail(value) },
            Err(gap) => Source { name: name.to_owned(), is_known: false, detail: gap.reason().to_owned() },
        }
    }
    vec![
        source("engine", &e.engine.health, |h| h.url.clone()),
        source("kubernetes", &e.cluster, |c| c.source.clone()),
        source("engine configuration", &e.settings, |s| s.sources.join(", ")),
        source("telemetry", &e.telemetry, |t| t.source.clone()),
        source("tls", &e.tls, |t| t.address.clone()),
        source("postgresql", &e.postgres, |p| p.address.clone()),
        source("nats", &e.nats, |n| n.servers.iter().map(|s| s.address.as_str()).collect::<Vec<_>>().join(", ")),
        source("grafana", &e.dashboards, |d| d.source.clone()),
    ]
}
