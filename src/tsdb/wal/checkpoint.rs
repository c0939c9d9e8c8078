//! The state before a segment in one file, so that the segments before it can go. Bytes: `src/tsdb/FORMAT.md`.
//!
//! In: a snapshot of the head.   Out: a file that replay reads first.
//! Always: written beside, forced to disk, then renamed; older files are removed only after that. The writer takes
//! commits all the while, into segments that the checkpoint does not cover.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use super::commit::{decode_metadata, encode_metadata};
use super::record::{self, Kind};
use super::segment::{FileKind, sync_dir};
use crate::model::{Labels, Metadata, TimestampMs};
use crate::tsdb::chunk::{Chunk, SAMPLES_MAX};
use crate::tsdb::codec::{
    put_bytes, put_histogram, put_uvarint, put_varint, take_bytes, take_count, take_histogram, take_uvarint,
    take_varint,
};
use crate::tsdb::ledger::Totals;
use crate::tsdb::series::Series;

/// Series go into records of about this size: small enough to lose little to a damaged one.
const RECORD_BYTES: usize = 256 << 10;

/// Beside the files of the log while a checkpoint is written.
pub(super) const TEMPORARY_EXTENSION: &str = "tmp";

/// A checkpoint to write, on a thread that may be held.
#[derive(Debug)]
pub(in crate::tsdb) struct CheckpointJob {
    pub dir: PathBuf,
    /// The first segment that is not covered.
    pub segment: u64,
    /// Size of the log since the last checkpoint, as far as this one covers it.
    pub covered_bytes: u64,
    pub series: Vec<Arc<Series>>,
    pub metadata: Vec<(String, Metadata)>,
    pub totals: Totals,
    pub next_log_ref: u64,
}

impl CheckpointJob {
    /// Writes the file and removes what it makes superfluous; gives its size.
    ///
    /// # Errors
    /// The file could not be written; then the log is as it was.
    pub fn run(self) -> io::Result<u64> {
        let path = FileKind::Checkpoint.path(&self.dir, self.segment);
        let beside = path.with_extension(TEMPORARY_EXTENSION);
        let written = self.write(&beside).and_then(|len| {
            std::fs::rename(&beside, &path)?;
            sync_dir(&self.dir)?;
            Ok(len)
        });
        match written {
            Ok(len) => {
                remove_older(&self.dir, self.segment)?;
                Ok(len)
            }
            Err(error) => {
                // Best effort: leftovers are removed at the next start.
                let _ = std::fs::remove_file(&beside);
                Err(error)
            }
        }
    }

    fn write(&self, path: &std::path::Path) -> io::Result<u64> {
        let mut file = File::create(path)?;
        let mut buffer = FileKind::Checkpoint.header(self.segment).to_vec();
        let mut len = 0;
        put(&mut buffer, Kind::CheckpointHead, |out| {
            self.totals.encode(out);
            put_uvarint(out, self.next_log_ref);
            encode_metadata(out, &self.metadata);
        })?;
        let mut some = Vec::with_capacity(RECORD_BYTES);
        for (at, series) in self.series.iter().enumerate() {
            encode_series(&mut some, series);
            if some.len() >= RECORD_BYTES || at + 1 == self.series.len() {
                put(&mut buffer, Kind::CheckpointSeries, |out| out.append(&mut some))?;
                file.write_all(&buffer)?;
                len += buffer.len() as u64;
                buffer.clear();
            }
        }
        put(&mut buffer, Kind::CheckpointEnd, |out| put_uvarint(out, self.series.len() as u64))?;
        file.write_all(&buffer)?;
        file.sync_all()?;
        Ok(len + buffer.len() as u64)
    }
}

fn put(out: &mut Vec<u8>, kind: Kind, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    match record::put(out, kind, write) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::FileTooLarge, "a record of the checkpoint is larger than 1 GiB")),
    }
}

/// Removes segments and checkpoints numbered below `segment`.
pub(super) fn remove_older(dir: &std::path::Path, segment: u64) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let parsed = entry.file_name().to_str().and_then(FileKind::parse);
        if parsed.is_some_and(|(_, number)| number < segment) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the first record of a checkpoint holds.
#[derive(Debug, PartialEq)]
pub(super) struct CheckpointHead {
    pub totals: Totals,
    pub next_log_ref: u64,
    pub metadata: Vec<(String, Metadata)>,
}

/// Reads a payload of [`Kind::CheckpointHead`].
pub(super) fn decode_head(mut rest: &[u8]) -> Option<CheckpointHead> {
    let totals = Totals::decode(&mut rest)?;
    let next_log_ref = take_uvarint(&mut rest)?;
    Some(CheckpointHead { totals, next_log_ref, metadata: decode_metadata(&mut rest)? })
}

fn encode_series(out: &mut Vec<u8>, series: &Series) {
    put_uvarint(out, series.log_ref);
    put_bytes(out, series.labels.encoded());
    put_uvarint(out, series.views().count() as u64);
    for view in series.views() {
        put_varint(out, view.first_t);
        put_varint(out, view.last_t.wrapping_sub(view.first_t));
        put_uvarint(out, view.count.into());
        put_bytes(out, view.bytes);
    }
    put_uvarint(out, series.histogram_runs().map(<[_]>::len).sum::<usize>() as u64);
    for (t, histogram) in series.histogram_runs().flatten() {
        put_varint(out, t.0);
        put_histogram(out, histogram);
    }
}

/// Reads a payload of [`Kind::CheckpointSeries`].
pub(super) fn decode_series(mut rest: &[u8]) -> Option<Vec<Series>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let log_ref = take_uvarint(&mut rest)?;
        let labels = Labels::from_encoded(take_bytes(&mut rest)?)?;
        let chunks = (0..take_count(&mut rest, 4)?).map(|_| decode_chunk(&mut rest)).collect::<Option<_>>()?;
        let histograms = (0..take_count(&mut rest, 2)?)
            .map(|_| Some((TimestampMs(take_varint(&mut rest)?), take_histogram(&mut rest)?)))
            .collect::<Option<_>>()?;
        all.push(Series::from_parts(labels, log_ref, chunks, histograms));
    }
    Some(all)
}

fn decode_chunk(rest: &mut &[u8]) -> Option<Arc<Chunk>> {
    let first_t = take_varint(rest)?;
    let last_t = first_t.wrapping_add(take_varint(rest)?);
    let count = u16::try_from(take_uvarint(rest)?).ok().filter(|count| (1..=SAMPLES_MAX).contains(count))?;
    Some(Arc::new(Chunk { first_t, last_t, count, bytes: take_bytes(rest)?.into() }))
}
