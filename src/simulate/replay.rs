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
    #[error("the store refused a batch of the recording: {0}")]
    Store(#[from] crate::storage::AppendError),
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

/// Plays scrapes of one engine; `settings` say how they are judged and who is paged.
///
/// # Errors
/// The store refused a scrape.
pub fn play(scrapes: &[(TimestampMs, Vec<u8>)], settings: judge::Settings) -> Result<Report, ReplayError> {
    let Some(((first, _), (last, _))) = scrapes.first().zip(scrapes.last()) else { return Ok(Report::default()) };
    let identity = Identity { job: "rivet".into(), instance: "recorded".into(), extra: Vec::new() };
    let mut target = Target::new(TargetSettings::engine(identity));
    // One engine's page holds no headroom worth a series.
    let mut judge = Judge::new(settings, *first).without_capacity();
    let mut points = 0;
    for (at, page) in scrapes {
        judge.advance(*at)?;
        let (batch, _) = target.page_to_batch(Ok(Page::text(page)), *at, Duration::ZERO);
        points += judge.receive(batch)?.stored;
        judge.arrived(*at)?;
    }
    let (log, _) = judge.finish();
    let seconds = last.since(*first) as f64 / 1000.0;
    Ok(Report { scrapes: scrapes.len(), points, seconds, pages: log.pages, alerts: log.alerts })
}
