//! The last report as the agent's own metrics, so that rules and dashboards read what `check` shows.

use std::collections::BTreeMap;

use parking_lot::RwLock;

use super::items::{ITEMS, find};
use super::outcome::Status;
use super::report::Report;
use crate::model::{Counter, StatRow, Stats, TimestampMs};

/// What became of the runs of a running agent.
#[derive(Debug)]
pub struct CheckStats {
    last: RwLock<Option<Last>>,
    since: RwLock<BTreeMap<String, Since>>,
    runs: Counter,
    interval_seconds: f64,
}

/// The status of an item, and when it got it.
type Since = (Status, TimestampMs);

#[derive(Clone, Debug)]
struct Last {
    report: Report,
    at: TimestampMs,
    took_seconds: f64,
}

impl CheckStats {
    /// Of an agent that runs the checklist every `interval_seconds`.
    pub fn new(interval_seconds: f64) -> Self {
        Self { last: RwLock::default(), since: RwLock::default(), runs: Counter::default(), interval_seconds }
    }

    /// Takes over since when items have had their status, from before a restart.
    pub fn resume(&self, since: impl IntoIterator<Item = (String, Status, TimestampMs)>) {
        self.since.write().extend(since.into_iter().map(|(item, status, at)| (item, (status, at))));
    }

    /// Keeps the report of a run that ended at `at`.
    pub fn finished(&self, report: Report, at: TimestampMs, took_seconds: f64) {
        self.runs.inc();
        let mut since = self.since.write();
        let before = std::mem::take(&mut *since);
        for finding in &report.findings {
            let kept = before.get(&finding.item).filter(|(status, _)| *status == finding.status);
            since.insert(finding.item.clone(), kept.copied().unwrap_or((finding.status, at)));
        }
        *self.last.write() = Some(Last { report, at, took_seconds });
    }

    /// The last report; `None` before the first run has ended.
    pub fn report(&self) -> Option<Report> {
        self.last.read().as_ref().map(|last| last.report.clone())
    }
}

impl Stats for CheckStats {
    fn rows(&self) -> Vec<StatRow> {
        let help = "Runs of the production checklist that ended.";
        let mut rows = vec![StatRow::counter("rivetwatch_check_runs_total", help, self.runs.get())];
        let help = "Time between two runs of the production checklist.";
        rows.push(StatRow::gauge("rivetwatch_check_interval_seconds", help, self.interval_seconds));
        let last = self.last.read();
        let Some(last) = last.as_ref() else { return rows };
        let help = "When the last run of the production checklist ended.";
        rows.push(StatRow::gauge("rivetwatch_check_last_run_timestamp_seconds", help, last.at.as_secs_f64()));
        let help = "How long the last run of the production checklist took.";
        rows.push(StatRow::gauge("rivetwatch_check_duration_seconds", help, last.took_seconds));
        for finding in &last.report.findings {
            let Some(item) = find(&finding.item) else { continue };
            for status in Status::ALL {
                let value = f64::from(u8::from(finding.status == status));
                let help = "1 for the status an item of the production checklist has, 0 for the others.";
                let row = StatRow::gauge("rivetwatch_check_item_bool", help, value);
                rows.push(
                    row.with("category", item.category.as_str()).with("item", item.id).with("status", status.as_str()),
                );
            }
        }
        let since = self.since.read();
        for (id, (_, at)) in since.iter() {
            let Some(item) = find(id) else { continue };
            let help =
                "Since when an item of the production checklist has had its status, as far as this agent has seen.";
            let row = StatRow::gauge("rivetwatch_check_item_since_timestamp_seconds", help, at.as_secs_f64());
            rows.push(row.with("category", item.category.as_str()).with("item", item.id));
        }
        debug_assert!(rows.len() <= 4 + ITEMS.len() * (Status::ALL.len() + 1));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::{Choice, evidence::Evidence, evidence::Told, judge};

    #[test]
    fn every_item_has_exactly_one_status() {
        let stats = CheckStats::new(300.0);
        assert_eq!(stats.rows().len(), 2, "nothing is known before the first run");
        let now = TimestampMs(1_000);
        stats.finished(judge(&Evidence::nothing(now, Told::default()), &Choice::default()), now, 0.5);
        let rows = stats.rows();
        let items: Vec<_> = rows.iter().filter(|r| r.name == "rivetwatch_check_item_bool").collect();
        assert_eq!(items.len(), ITEMS.len() * Status::ALL.len());
        assert_eq!(items.iter().map(|r| r.value).sum::<f64>(), ITEMS.len() as f64);
        let unknown = items.iter().filter(|r| r.value > 0.0 && r.labels.contains(&("status", "unknown".into())));
        assert_eq!(unknown.count(), ITEMS.len());
    }

    #[test]
    fn an_item_is_as_old_as_its_status() {
        let run = |stats: &CheckStats, at: i64, status: Status| {
            let mut report = judge(&Evidence::nothing(TimestampMs(at), Told::default()), &Choice::default());
            report.findings[0].status = status;
            stats.finished(report, TimestampMs(at), 0.5);
        };
        let first = ITEMS[0].id;
        let since = |stats: &CheckStats, item: &str| {
            let rows = stats.rows().into_iter().filter(|r| r.name == "rivetwatch_check_item_since_timestamp_seconds");
            let of: Vec<f64> = rows.filter(|r| r.labels.contains(&("item", item.into()))).map(|r| r.value).collect();
            assert_eq!(of.len(), 1, "{item}");
            of[0]
        };
        let stats = CheckStats::new(300.0);
        for (at, status, began) in [
            (1_000, Status::Fail, 1.0),
            (2_000, Status::Fail, 1.0),
            (3_000, Status::Pass, 3.0),
            (4_000, Status::Fail, 4.0),
            (5_000, Status::Fail, 4.0),
        ] {
            run(&stats, at, status);
            assert_eq!(since(&stats, first), began, "at {at}");
            assert_eq!(since(&stats, ITEMS[1].id), 1.0, "others are as they were");
        }
        // A restart takes over what is as it was, and nothing else.
        let again = CheckStats::new(300.0);
        again.resume([
            (first.to_owned(), Status::Fail, TimestampMs(4_000)),
            (ITEMS[1].id.to_owned(), Status::Pass, TimestampMs(500)),
            ("an item of an older release".to_owned(), Status::Pass, TimestampMs(500)),
        ]);
        run(&again, 9_000, Status::Fail);
        assert_eq!((since(&again, first), since(&again, ITEMS[1].id)), (4.0, 9.0));
    }
}
