//! Reads the log back after a start.
//!
//! In: the files of a directory.   Out: series, totals, metadata, and a report of what was damaged.
//! Always: of a commit everything comes back or nothing. A torn end of the last segment is cut off; damage elsewhere
//! costs the records it hits, and is reported with its place. A sample that is not newer than the last of its
//! series is passed over, so reading twice changes nothing.

use std::fmt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use super::checkpoint::{self, CheckpointHead, TEMPORARY_EXTENSION};
use super::commit::{self, Decoded};
use super::record::{self, Kind, Scanned};
use super::segment::{FileKind, HEADER_BYTES, Header};
use super::{OpenError, io_error};
use crate::model::{Labels, Metadata};
use crate::tsdb::index::Slot;
use crate::tsdb::ledger::Totals;
use crate::tsdb::retention::{Keep, Retention};
use crate::tsdb::series::Series;

/// Damaged places that are named; further ones are only counted.
const DAMAGES_MAX: usize = 100;

/// A place in the log that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How far it goes; zero for a file that is missing.
    pub bytes: u64,
    /// What is wrong, e.g. "no whole record".
    pub what: &'static str,
}

/// What reading the log back met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayReport {
    pub segments: u64,
    pub commits: u64,
    pub series: u64,
    pub samples: u64,
    /// Samples of series whose beginning was lost to damage.
    pub samples_unknown_series: u64,
    /// Bytes cut off from the end of the last segment, where a write was interrupted.
    pub torn_bytes: u64,
    /// Damaged places in all.
    pub damages: u64,
    /// The first hundred of them.
    pub damaged: Vec<Damage>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes at {}: {}", self.file.display(), self.bytes, self.offset, self.what)
    }
}

/// What the log gives back.
#[derive(Debug, Default)]
pub(in crate::tsdb) struct Replayed {
    /// In the order of their slots.
    pub series: Vec<Series>,
    pub totals: Totals,
    pub metadata: Vec<(String, Metadata)>,
    /// The highest number of a series that was met.
    pub last_log_ref: u64,
    pub report: ReplayReport,
    /// The segment to go on with, and its length; `None` where there is none.
    pub last_segment: Option<(u64, u64)>,
    /// The first number a new segment may have.
    pub next_segment: u64,
    /// Size of the segments that no checkpoint covers.
    pub uncovered_bytes: u64,
}

/// Reads everything, cuts a torn end off, and removes files that a checkpoint has made superfluous.
pub(super) fn replay(dir: &Path, retention: Retention) -> Result<Replayed, OpenError> {
    let (mut segments, mut checkpoints) = list(dir)?;
    segments.sort_unstable();
    checkpoints.sort_unstable();
    let mut reader = Reader::new(retention);
    let covered = checkpoints.last().copied();
    if let Some(number) = covered {
        reader.read_checkpoint(dir, number)?;
        checkpoint::remove_older(dir, number).map_err(io_error("remove files older than", dir))?;
        segments.retain(|segment| *segment >= number);
    }
    reader.out.next_segment = covered.unwrap_or(1);
    for (at, &number) in segments.iter().enumerate() {
        // Without a checkpoint the log begins with segment 1; with one, with its own number.
        if number != reader.out.next_segment {
            let file = FileKind::Segment.path(dir, reader.out.next_segment);
            reader.note(Damage { file, offset: 0, bytes: 0, what: "the segment is missing" });
        }
        reader.read_segment(dir, number, at + 1 == segments.len())?;
        reader.out.next_segment = number + 1;
    }
    if covered.is_some() && segments.is_empty() {
        // The segment is made before its checkpoint.
        let file = FileKind::Segment.path(dir, reader.out.next_segment);
        reader.note(Damage { file, offset: 0, bytes: 0, what: "the segment is missing" });
    }
    Ok(reader.finish())
}

fn list(dir: &Path) -> Result<(Vec<u64>, Vec<u64>), OpenError> {
    let (mut segments, mut checkpoints) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(dir).map_err(io_error("read the directory", dir))? {
        let path = entry.map_err(io_error("read the directory", dir))?.path();
        if path.extension().is_some_and(|extension| extension == TEMPORARY_EXTENSION) {
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
        }
        match path.file_name().and_then(|name| name.to_str()).and_then(FileKind::parse) {
            Some((FileKind::Segment, number)) => segments.push(number),
            Some((FileKind::Checkpoint, number)) => checkpoints.push(number),
            None => {}
        }
    }
    Ok((segments, checkpoints))
}

struct Reader {
    out: Replayed,
    retention: Retention,
    by_log_ref: HashMap<u64, Slot>,
    /// Made when the first commit brings a new series: a log that ends behind a checkpoint may bring none.
    by_labels: Option<HashMap<Labels, Slot>>,
    last_t: Vec<i64>,
    metadata: HashMap<String, Metadata>,
    /// Used again for each commit.
    decoded: Decoded,
}

impl Reader {
    fn new(retention: Retention) -> Self {
        Self {
            retention,
            out: Replayed::default(),
            by_log_ref: HashMap::default(),
            by_labels: None,
            last_t: Vec::new(),
            metadata: HashMap::default(),
            decoded: Decoded::default(),
        }
    }

    fn read_checkpoint(&mut self, dir: &Path, number: u64) -> Result<(), OpenError> {
        let path = FileKind::Checkpoint.path(dir, number);
        let bytes = self.read_file(FileKind::Checkpoint, &path, number)?;
        let (mut found, mut promised, mut has_head) = (0u64, None, false);
        let scanned = record::scan(&bytes, HEADER_BYTES, |kind, mut payload| match kind {
            Kind::CheckpointHead => {
                has_head = true;
                checkpoint::decode_head(payload).map(|head| self.take_head(head)).is_some()
            }
            Kind::CheckpointSeries => match checkpoint::decode_series(payload) {
                Some(series) => {
                    found += series.len() as u64;
                    series.into_iter().for_each(|series| self.take_series(series));
                    true
                }
                None => false,
            },
            Kind::CheckpointEnd => {
                promised = crate::tsdb::codec::take_uvarint(&mut payload);
                promised.is_some()
            }
            Kind::Commit => false,
        });
        self.note_scan(&path, &scanned, bytes.len());
        if promised != Some(found) || !has_head {
            self.note(Damage {
                file: path,
                offset: 0,
                bytes: 0,
                what: "series or totals of the checkpoint are missing",
            });
        }
        Ok(())
    }

    fn read_segment(&mut self, dir: &Path, number: u64, is_last: bool) -> Result<(), OpenError> {
        let path = FileKind::Segment.path(dir, number);
        let bytes = self.read_file(FileKind::Segment, &path, number)?;
        self.out.report.segments += 1;
        let mut decoded = std::mem::take(&mut self.decoded);
        let scanned = record::scan(&bytes, HEADER_BYTES, |kind, payload| {
            let is_understood = kind == Kind::Commit && commit::decode_into(payload, &mut decoded).is_some();
            if is_understood {
                self.take_commit(&mut decoded);
            }
            is_understood
        });
        self.decoded = decoded;
        if !is_last {
            self.note_scan(&path, &scanned, bytes.len());
        } else {
            self.note_scan(&path, &scanned, scanned.end);
            self.out.last_segment = self.cut_torn_end(&path, number, &scanned, bytes.len())?;
        }
        self.out.uncovered_bytes += scanned.end as u64;
        Ok(())
    }

    /// Leaves the last segment with whole records only; one that ends inside its header is removed.
    fn cut_torn_end(
        &mut self,
        path: &Path,
        number: u64,
        scanned: &Scanned,
        len: usize,
    ) -> Result<Option<(u64, u64)>, OpenError> {
        self.out.report.torn_bytes += (len - scanned.end) as u64;
        if len < HEADER_BYTES {
            std::fs::remove_file(path).map_err(io_error("remove", path))?;
            return Ok(None);
        }
        if scanned.end < len {
            let cut = |file: std::fs::File| file.set_len(scanned.end as u64).and_then(|()| file.sync_all());
            let file = std::fs::OpenOptions::new().write(true).open(path);
            file.and_then(cut).map_err(io_error("cut the torn end off", path))?;
        }
        Ok(Some((number, scanned.end as u64)))
    }

    fn read_file(&mut self, kind: FileKind, path: &Path, number: u64) -> Result<Vec<u8>, OpenError> {
        let bytes = std::fs::read(path).map_err(io_error("read", path))?;
        match kind.read_header(&bytes, number) {
            Header::Good | Header::Short => {}
            Header::OtherVersion(version) => return Err(OpenError::Version { path: path.to_owned(), version }),
            Header::Damaged => self.note(Damage {
                file: path.to_owned(),
                offset: 0,
                bytes: HEADER_BYTES as u64,
                what: "the header is damaged",
            }),
        }
        Ok(bytes)
    }

    fn take_head(&mut self, head: CheckpointHead) {
        self.out.totals.merge_max(head.totals);
        self.out.last_log_ref = self.out.last_log_ref.max(head.next_log_ref.saturating_sub(1));
        self.metadata.extend(head.metadata);
    }

    fn take_series(&mut self, mut series: Series) {
        series.keep = self.retention.keep(&series.labels);
        self.out.report.samples += series.samples() as u64;
        let slot = self.out.series.len() as Slot;
        self.out.last_log_ref = self.out.last_log_ref.max(series.log_ref);
        self.by_log_ref.insert(series.log_ref, slot);
        if let Some(by_labels) = &mut self.by_labels {
            by_labels.insert(series.labels.clone(), slot);
        }
        self.last_t.push(series.last_t().map_or(i64::MIN, |t| t.0));
        self.out.series.push(series);
    }

    fn take_commit(&mut self, decoded: &mut Decoded) {
        self.out.report.commits += 1;
        self.out.totals.merge_max(std::mem::take(&mut decoded.totals));
        self.metadata.extend(decoded.metadata.drain(..));
        for (log_ref, labels) in decoded.new_series.drain(..) {
            // A series that was dropped and began again has two numbers.
            match self.slot_of(&labels) {
                Some(slot) => drop(self.by_log_ref.insert(log_ref, slot)),
                None => self.take_series(Series::new(labels, log_ref, Keep::default())),
            }
            self.out.last_log_ref = self.out.last_log_ref.max(log_ref);
        }
        // A scrape repeats its order, so the series behind the last one is tried first.
        let mut guess = 0;
        for (log_ref, t, value) in decoded.samples.drain(..) {
            self.out.last_log_ref = self.out.last_log_ref.max(log_ref);
            let is_guessed = self.out.series.get(guess).is_some_and(|series| series.log_ref == log_ref);
            let slot = if is_guessed { Some(guess as Slot) } else { self.by_log_ref.get(&log_ref).copied() };
            let Some(slot) = slot else {
                self.out.report.samples_unknown_series += 1;
                continue;
            };
            guess = slot as usize + 1;
            let last_t = &mut self.last_t[slot as usize];
            if t.0 > *last_t {
                *last_t = t.0;
                self.out.report.samples += 1;
                let series = &mut self.out.series[slot as usize];
                series.push(t, value, self.retention.chunk_span_ms(series.keep));
            }
        }
    }

    fn slot_of(&mut self, labels: &Labels) -> Option<Slot> {
        let series = &self.out.series;
        let by_labels =
            self.by_labels.get_or_insert_with(|| series.iter().map(|series| series.labels.clone()).zip(0..).collect());
        by_labels.get(labels).copied()
    }

    fn note_scan(&mut self, path: &Path, scanned: &Scanned, len: usize) {
        let behind = (scanned.end < len).then_some(scanned.end..len);
        for range in scanned.damaged.iter().cloned().chain(behind) {
            let (offset, bytes) = (range.start as u64, range.len() as u64);
            self.note(Damage { file: path.to_owned(), offset, bytes, what: "no whole record" });
        }
    }

    fn note(&mut self, damage: Damage) {
        tracing::warn!(%damage, "part of the write-ahead log could not be read");
        self.out.report.damages += 1;
        if self.out.report.damaged.len() < DAMAGES_MAX {
            self.out.report.damaged.push(damage);
        }
    }

    fn finish(mut self) -> Replayed {
        // A series whose only samples were lost is not there.
        self.out.series.retain(|series| !series.is_empty());
        self.out.report.series = self.out.series.len() as u64;
        self.out.metadata = self.metadata.into_iter().collect();
        self.out
    }
}
