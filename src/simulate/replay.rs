//! Plays a folder of recorded scrapes through translation, store, rules, inhibition and routing, in virtual time.
//!
//! In:  files named after their time in Unix seconds (`1795419468.prom.gz` or `.prom`), each one scrape of one engine.
//! Out: the pages a pager would have got, with their resolves, and every alert that fired.
//! Always: no clock and no socket; the notifier's sends are accepted at once.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::judge::{self, Judge};
use super::log::{Fired, PagedIncident};
use crate::model::TimestampMs;
use crate::receive::identity::Identity;
use crate::receive::scrape::{Page, Target, TargetSettings};

/// Why a recording could not be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("failed to read the recording `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` holds no scrapes: files must be named TIME.prom or TIME.prom.gz, TIME in Unix seconds", path.display())]
    Empty { path: PathBuf },
    #[error("no scrape of the recording could be read; the first: {reason}")]
    Unreadable { reason: String },
    #[error("the store refused a batch of the recording: {0}")]
    Store(#[from] crate::storage::AppendError),
}

/// A scrape that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Unread {
    /// Since the recording's first scrape.
    pub at_seconds: f64,
    pub reason: String,
}

/// What a recording would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub scrapes: usize,
    /// The scrapes that gave nothing, which the engine's `up` shows as down.
    pub unread: Vec<Unread>,
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

/// Plays scrapes of one engine; `settings` say how they are judged and who is paged.
///
/// # Errors
/// The store refused a scrape, or not one scrape is a metrics page.
pub fn play(scrapes: &[(TimestampMs, Vec<u8>)], settings: judge::Settings) -> Result<Report, ReplayError> {
    let Some(((first, _), (last, _))) = scrapes.first().zip(scrapes.last()) else { return Ok(Report::default()) };
    let identity = Identity { job: "rivet".into(), instance: "recorded".into(), extra: Vec::new() };
    let mut target = Target::new(TargetSettings::engine(identity));
    // One engine's page holds no headroom worth a series.
    let mut judge = Judge::new(settings, *first).without_capacity();
    let mut points = 0;
    let mut unread = Vec::new();
    for (at, page) in scrapes {
        judge.advance(*at)?;
        let (batch, scrape) = target.page_to_batch(Ok(Page::text(page)), *at, Duration::ZERO);
        if let Some(failure) = scrape.failure {
            unread.push(Unread { at_seconds: at.since(*first) as f64 / 1000.0, reason: failure.to_string() });
        }
        points += judge.receive(batch)?.stored;
        judge.arrived(*at)?;
    }
    if unread.len() == scrapes.len() {
        let reason = unread.swap_remove(0).reason;
        return Err(ReplayError::Unreadable { reason });
    }
    let (log, _) = judge.finish();
    let seconds = last.since(*first) as f64 / 1000.0;
    Ok(Report { scrapes: scrapes.len(), unread, points, seconds, pages: log.pages, alerts: log.alerts })
}
