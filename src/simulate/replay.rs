//! Plays a folder of recorded scrapes through translation, store, rules, inhibition and routing, in virtual time.
//!
//! In:  files named after their time in Unix seconds (`1795419468.prom.gz` or `.prom`), each one scrape of one engine.
//! Out: the pages a pager would have got, with their resolves, and every alert that fired.
//! Always: no clock and no socket; the notifier's sends are accepted at once. An empty file is an engine that did not answer,
//! since that is what `curl | gzip` writes then; a file that ends too early is a scrape that the recorder did not finish.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::judge::{self, Judge};
use super::log::{Fired, PagedIncident};
use super::verdict::{FalsePage, Judged};
use crate::model::{TimestampMs, format_duration_ms};
use crate::receive::identity::Identity;
use crate::receive::scrape::{Failure, Page, Target, TargetSettings};

/// Longest time between two files: more is a slip in a name, and would be played tick by tick.
const GAP_MS_MAX: i64 = 7 * 24 * 3_600_000;

/// What no time in seconds reaches: it is one in milliseconds.
const SECONDS_MAX: f64 = 1e11;

/// Why a recording could not be played.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("failed to read the recording `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("`{}` holds no scrapes: files must be named TIME.prom or TIME.prom.gz, TIME in Unix seconds", path.display())]
    Empty { path: PathBuf },
    #[error("`{}` is not named after its time: TIME.prom must be in Unix seconds", path.display())]
    Time { path: PathBuf },
    #[error(
        "`{}` is {} later than the file before it, `{}`: a recording may pause for {} at most; is TIME in its name right?",
        path.display(), format_duration_ms(*gap_ms), before.display(), format_duration_ms(GAP_MS_MAX)
    )]
    Gap { before: PathBuf, path: PathBuf, gap_ms: i64 },
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

/// A file that holds no whole scrape, through the recorder's fault and not the engine's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Broken {
    pub file: PathBuf,
    pub reason: String,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recording {
    /// Oldest first.
    pub scrapes: Vec<(TimestampMs, Vec<u8>)>,
    /// Files that are played as if they were not there.
    pub broken: Vec<Broken>,
}

/// What a recording would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub scrapes: usize,
    /// The scrapes that gave nothing, which the engine's `up` shows as down.
    pub unread: Vec<Unread>,
    /// Files that were left out, as [`read`] found them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<Broken>,
    pub points: u64,
    pub seconds: f64,
    pub pages: Vec<PagedIncident>,
    /// As of a scenario, and empty: a recording does not say what it expects.
    pub expected: Judged,
    pub false_pages: Vec<FalsePage>,
    pub alerts: Vec<Fired>,
}

/// Reads the scrapes of a folder.
///
/// # Errors
/// The folder or a file cannot be read, there is no scrape in it, or a name holds a time that cannot be right.
pub fn read(dir: &Path) -> Result<Recording, ReplayError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReplayError::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
        let path = entry.map_err(failed(dir))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let time = name.split_once(".prom").and_then(|(time, _)| time.parse::<f64>().ok());
        let Some(seconds) = time.filter(|seconds| seconds.is_finite()) else { continue };
        if !(0.0..SECONDS_MAX).contains(&seconds) {
            return Err(ReplayError::Time { path });
        }
        files.push((TimestampMs((seconds * 1000.0) as i64), path));
    }
    files.sort();
    for pair in files.windows(2) {
        let [(before_at, before), (at, path)] = pair else { continue };
        let gap_ms = at.since(*before_at);
        if gap_ms > GAP_MS_MAX {
            return Err(ReplayError::Gap { before: before.clone(), path: path.clone(), gap_ms });
        }
    }
    let mut recording = Recording::default();
    for (at, path) in files {
        let page = std::fs::read(&path).map_err(failed(&path))?;
        match unpacked(&path, page) {
            Ok(page) => recording.scrapes.push((at, page)),
            Err(error) => recording.broken.push(Broken { file: path, reason: error.to_string() }),
        }
    }
    match recording.scrapes.is_empty() {
        true => Err(ReplayError::Empty { path: dir.to_owned() }),
        false => Ok(recording),
    }
}

/// The text of a page. A compressed file of no bytes at all is one that the recorder has only just begun.
fn unpacked(path: &Path, page: Vec<u8>) -> std::io::Result<Vec<u8>> {
    if path.extension().is_none_or(|end| end != "gz") {
        return Ok(page);
    }
    if page.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(page.as_slice()).read_to_end(&mut plain)?;
    Ok(plain)
}

/// Plays scrapes of one engine; `settings` say how they are judged and who is paged. A page without a word is no answer.
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
        let answer = match page.trim_ascii().is_empty() {
            true => Err(Failure::Connect { cause: "an empty page was recorded".into() }),
            false => Ok(Page::text(page)),
        };
        let (batch, scrape) = target.page_to_batch(answer, *at, Duration::ZERO);
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
    Ok(Report {
        scrapes: scrapes.len(),
        unread,
        points,
        seconds: last.since(*first) as f64 / 1000.0,
        pages: log.pages,
        alerts: log.alerts,
        ..Report::default()
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const START: i64 = 1_795_419_468;

    fn gz(text: &str) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, page) in files {
            std::fs::write(dir.path().join(name), page).unwrap();
        }
        dir
    }

    #[test]
    fn a_file_that_ends_too_early_is_left_out_and_named() {
        let whole = gz("a_metric 1\n");
        let (first, second, third) =
            (format!("{START}.prom.gz"), format!("{}.prom.gz", START + 15), "1795419498.prom.gz");
        let dir = folder(&[(&first, &whole), (&second, &whole[..whole.len() - 6]), (third, b""), ("notes.txt", b"x")]);
        let recording = read(dir.path()).unwrap();
        assert_eq!(recording.scrapes, [(TimestampMs(START * 1000), b"a_metric 1\n".to_vec())]);
        let broken: Vec<_> = recording.broken.iter().map(|broken| broken.file.clone()).collect();
        assert_eq!(broken, [dir.path().join(second), dir.path().join(third)]);
    }

    #[test]
    fn names_whose_time_cannot_be_right_are_refused() {
        let error = |name: &str| {
            let dir = folder(&[("1795419528.prom", b"a 1\n"), (name, b"a 1\n")]);
            read(dir.path()).map(|recording| recording.scrapes.len()).map_err(|e| e.to_string())
        };
        let far = error("17954195280.prom").unwrap_err();
        assert!(
            far.contains("17954195280.prom` is ") && far.contains("1795419528.prom`: a recording may pause"),
            "{far}"
        );
        assert!(error("1795419543000.prom").unwrap_err().contains("must be in Unix seconds"));
        assert_eq!(error("1795419543.5.prom"), Ok(2));
        assert_eq!(error("inf.prom"), Ok(1), "no time at all is another's file");
    }
}
