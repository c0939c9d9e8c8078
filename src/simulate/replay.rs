//! Plays a folder of recorded scrapes through translation, store, rules, inhibition and routing, in virtual time.
//!
//! In:  files named after their time in Unix seconds (`1795419468.prom.gz` or `.prom`), each one scrape of one engine.
//! Out: the pages a pager would have got, with their resolves, and every alert that fired.
//! Always: no clock and no socket; the notifier's sends are accepted at once.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::model::{Alert, AlertState, TimestampMs};
use crate::notify::{Effect, Input as NotifyInput, MessageKind, Notifier, NotifyStats, Outcome};
use crate::promql::Engine;
use crate::receive::identity::Identity;
use crate::receive::scrape::{Page, Target, TargetSettings};
use crate::rules::{Input, Output, RuleSet, Rules, Settings as RuleSettings};
use crate::storage::Append;
use crate::tsdb::{Settings as StoreSettings, Tsdb};

/// Why a recording could not be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("failed to read the recording `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` holds no scrapes: files must be named TIME.prom or TIME.prom.gz, TIME in Unix seconds", path.display())]
    Empty { path: PathBuf },
    #[error("the store refused a batch of the recording: {0}")]
    Store(#[from] crate::storage::AppendError),
}

/// One page and its resolve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PagedIncident {
    pub alertname: String,
    pub severity: String,
    /// What the page says first.
    pub summary: String,
    /// Seconds after the first scrape.
    pub at_seconds: f64,
    /// `None` when the recording ended before.
    pub resolved_at_seconds: Option<f64>,
}

/// One alert that fired, whether it was sent or held back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fired {
    pub alertname: String,
    pub severity: String,
    pub labels: BTreeMap<String, String>,
    pub from_seconds: f64,
    pub to_seconds: Option<f64>,
}

/// What a recording would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub scrapes: usize,
    pub points: u64,
    pub seconds: f64,
    pub pages: Vec<PagedIncident>,
    pub alerts: Vec<Fired>,
}

/// Reads the scrapes of a folder, oldest first.
///
/// # Errors
/// The folder or a file cannot be read, or there is no scrape in it.
pub fn read(dir: &Path) -> Result<Vec<(TimestampMs, Vec<u8>)>, ReplayError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReplayError::Read { path, source }
    };
    let mut scrapes = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let Some(seconds) = name.split_once(".prom").and_then(|(time, _)| time.parse::<f64>().ok()) else { continue };
        let mut page = std::fs::read(&path).map_err(failed(&path))?;
        if name.ends_with(".gz") {
            let mut plain = Vec::new();
            flate2::read::MultiGzDecoder::new(page.as_slice()).read_to_end(&mut plain).map_err(failed(&path))?;
            page = plain;
        }
        scrapes.push((TimestampMs((seconds * 1000.0) as i64), page));
    }
    scrapes.sort_by_key(|(t, _)| *t);
    if scrapes.is_empty() { Err(ReplayError::Empty { path: dir.to_owned() }) } else { Ok(scrapes) }
}

/// Plays scrapes of one engine; `notify` says who is paged.
///
/// # Errors
/// The store refused a scrape.
pub fn play(
    scrapes: &[(TimestampMs, Vec<u8>)],
    rules: RuleSet,
    settings: RuleSettings,
    notify: Arc<crate::notify::Settings>,
) -> Result<Report, ReplayError> {
    let Some(((first, _), (last, _))) = scrapes.first().zip(scrapes.last()) else { return Ok(Report::default()) };
    let identity = Identity { job: "rivet".into(), instance: "recorded".into(), extra: Vec::new() };
    let mut player = Player {
        start: *first,
        interval_ms: settings.interval_ms,
        // Rules that ask for absence wait for two intervals, as after a start.
        sources_ready_at: first.plus_ms(2 * settings.interval_ms),
        store: Tsdb::in_memory(StoreSettings::default()),
        target: Target::new(TargetSettings::engine(identity)),
        rules: Rules::new(rules, settings, Arc::new(Engine::default())),
        notifier: Notifier::new(notify, Arc::new(NotifyStats::default()), 0),
        report: Report { scrapes: scrapes.len(), seconds: last.since(*first) as f64 / 1000.0, ..Report::default() },
        open: BTreeMap::new(),
    };
    let mut tick = player.next_tick(*first);
    for (at, page) in scrapes {
        while tick <= *at {
            player.tick(tick)?;
            tick = player.next_tick(tick);
        }
        player.scrape(*at, page)?;
    }
    Ok(player.report)
}

struct Player {
    start: TimestampMs,
    interval_ms: i64,
    sources_ready_at: TimestampMs,
    store: Tsdb,
    target: Target,
    rules: Rules,
    notifier: Notifier,
    report: Report,
    /// Pages that wait for their resolve, by target and key.
    open: BTreeMap<String, usize>,
}

impl Player {
    fn next_tick(&self, t: TimestampMs) -> TimestampMs {
        t.align_down(self.interval_ms).plus_ms(self.interval_ms)
    }

    fn since_start(&self, t: TimestampMs) -> f64 {
        t.since(self.start) as f64 / 1000.0
    }

    fn scrape(&mut self, at: TimestampMs, body: &[u8]) -> Result<(), ReplayError> {
        let (batch, _) = self.target.page_to_batch(Ok(Page::text(body)), at, Duration::ZERO);
        self.report.points += self.store.commit(batch).wait()?.stored;
        let input = Input { storage: &self.store, sources_ready: at >= self.sources_ready_at, stopwatch: None };
        if let Some(output) = self.rules.arrival(at, &input) {
            self.hand_out(at, output)?;
        }
        Ok(())
    }

    fn tick(&mut self, at: TimestampMs) -> Result<(), ReplayError> {
        // A pending alert fires at its own time, not at the tick.
        while let Some(due) = self.rules.next_deadline().filter(|due| *due < at) {
            let input = Input { storage: &self.store, sources_ready: due >= self.sources_ready_at, stopwatch: None };
            match self.rules.arrival(due, &input) {
                Some(output) => self.hand_out(due, output)?,
                None => break,
            }
        }
        let input = Input { storage: &self.store, sources_ready: at >= self.sources_ready_at, stopwatch: None };
        let output = self.rules.tick(at, &input);
        self.hand_out(at, output)?;
        self.store.maintain(at);
        Ok(())
    }

    fn hand_out(&mut self, at: TimestampMs, output: Output) -> Result<(), ReplayError> {
        if !output.batch.points.is_empty() {
            self.store.commit(output.batch).wait()?;
        }
        for alert in &output.alerts {
            self.note_alert(at, alert);
        }
        self.notify(at, vec![NotifyInput::Health(true), NotifyInput::Alerts(output.alerts)]);
        Ok(())
    }

    /// Steps the notifier until nothing is due at `at`; whatever it sends is accepted.
    fn notify(&mut self, at: TimestampMs, mut inputs: Vec<NotifyInput>) {
        loop {
            let (effects, _) = self.notifier.step(at, std::mem::take(&mut inputs));
            for effect in effects {
                let Effect::Send(send) = effect else { continue };
                self.note_send(at, &send);
                let outcome = Outcome::Answered { status: 202, retry_after: None, body: String::new() };
                inputs.push(NotifyInput::Delivered { id: send.id, outcome });
            }
            if inputs.is_empty() {
                return;
            }
        }
    }

    fn note_send(&mut self, at: TimestampMs, send: &crate::notify::Send) {
        let seconds = self.since_start(at);
        let body: serde_json::Value = serde_json::from_str(&send.body).unwrap_or_default();
        let key = format!("{}/{}", send.target.receiver, body["dedup_key"].as_str().unwrap_or(""));
        match send.kind {
            MessageKind::Trigger if !self.open.contains_key(&key) => {
                let text = |v: &serde_json::Value| v.as_str().unwrap_or("").to_owned();
                let payload = &body["payload"];
                self.open.insert(key, self.report.pages.len());
                self.report.pages.push(PagedIncident {
                    alertname: text(&payload["class"]),
                    severity: text(&payload["severity"]),
                    summary: text(&payload["summary"]),
                    at_seconds: seconds,
                    resolved_at_seconds: None,
                });
            }
            MessageKind::Trigger => {}
            MessageKind::Resolve => {
                if let Some(page) = self.open.remove(&key) {
                    self.report.pages[page].resolved_at_seconds = Some(seconds);
                }
            }
        }
    }

    fn note_alert(&mut self, at: TimestampMs, alert: &Alert) {
        let seconds = self.since_start(at);
        let labels: BTreeMap<String, String> = alert.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let known =
            self.report.alerts.iter_mut().rev().find(|fired| fired.labels == labels && fired.to_seconds.is_none());
        match (alert.state, known) {
            (AlertState::Firing, None) => self.report.alerts.push(Fired {
                alertname: alert.name().to_owned(),
                severity: alert.labels.get("severity").unwrap_or("").to_owned(),
                labels,
                from_seconds: seconds,
                to_seconds: None,
            }),
            (AlertState::Resolved, Some(fired)) => fired.to_seconds = Some(seconds),
            (AlertState::Firing, Some(_)) | (AlertState::Resolved, None) => {}
        }
    }
}
