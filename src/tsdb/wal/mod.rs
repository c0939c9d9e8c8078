//! The write-ahead log: commits in numbered segments, and checkpoints that let old segments go.
//!
//! In: commits, one after the other.   Out: after a restart, the same.
//! Always: one process has the directory; a commit is one record, so it is there as a whole or not at all.
//! Limits: a segment ends at `wal.segment_size`; `wal.checkpoint_after` bounds what lies behind the last checkpoint.
//! Bytes: `src/tsdb/FORMAT.md`.

mod checkpoint;
mod commit;
mod record;
mod replay;
mod segment;

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use checkpoint::CheckpointJob;
pub(super) use replay::Replayed;
pub use replay::{Damage, ReplayReport};

use super::admission::Commit;
use super::config::{Settings, WalSync};
use super::index::Slot;
use super::ledger::Totals;
use super::retention::Retention;
use crate::model::Counter;
use segment::SegmentWriter;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another store of this one, has the directory.
    #[error("the store in `{}` is in use{}; give each process its own directory", dir.display(), by(owner))]
    Locked { dir: PathBuf, owner: Option<u32> },
    /// The directory or a file could not be used.
    #[error("failed to {action} `{}`", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A later release has written the file.
    #[error("`{}` has format version {version}, this release reads version 1", path.display())]
    Version { path: PathBuf, version: u8 },
    /// The writer's thread could not be started.
    #[error("failed to start the writer's thread")]
    Thread { source: io::Error },
}

fn by(owner: &Option<u32>) -> String {
    owner.map(|pid| format!(" by process {pid}")).unwrap_or_default()
}

/// For `map_err`: what was tried on which path.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    move |source| OpenError::Io { action, path: path.to_owned(), source }
}

/// Counts of the log.
#[derive(Debug, Default)]
pub(super) struct WalCounters {
    pub bytes: Counter,
    pub writes: Counter,
    pub write_failures: Counter,
    pub fsyncs: Counter,
    pub fsync_failures: Counter,
    pub checkpoints: Counter,
    pub checkpoint_failures: Counter,
    /// Size of the segments that no checkpoint covers.
    pub uncovered_bytes: AtomicU64,
    /// Size of the last checkpoint of this process life.
    pub checkpoint_bytes: AtomicU64,
    pub first_segment: AtomicU64,
    pub last_segment: AtomicU64,
}

/// The log, for its one writer.
#[derive(Debug)]
pub(super) struct Wal {
    dir: PathBuf,
    segment: SegmentWriter,
    /// Commits that are written together.
    buffer: Vec<u8>,
    is_too_large: bool,
    sync: WalSync,
    segment_bytes: u64,
    checkpoint_after_bytes: u64,
    counters: Arc<WalCounters>,
    /// Held as long as the log is open.
    _lock: DirLock,
}

impl Wal {
    /// Takes the directory, reads it back, and makes ready to append.
    ///
    /// # Errors
    /// The directory is in use or cannot be read or written.
    pub fn open(dir: &Path, settings: &Settings, counters: Arc<WalCounters>) -> Result<(Self, Replayed), OpenError> {
        std::fs::create_dir_all(dir).map_err(io_error("create the directory", dir))?;
        let lock = lock(dir)?;
        let replayed = replay::replay(dir, Retention::new(settings))?;
        let segment = match replayed.last_segment {
            Some((number, len)) => SegmentWriter::reopen(dir, number, len),
            None => SegmentWriter::create(dir, replayed.next_segment),
        };
        let segment = segment.map_err(io_error("write a segment in", dir))?;
        counters.uncovered_bytes.store(replayed.uncovered_bytes, Ordering::Relaxed);
        counters.last_segment.store(segment.number, Ordering::Relaxed);
        counters
            .first_segment
            .store(segment.number + 1 - replayed.report.segments.clamp(1, segment.number), Ordering::Relaxed);
        let wal = Self {
            dir: dir.to_owned(),
            segment,
            buffer: Vec::new(),
            is_too_large: false,
            sync: settings.sync,
            segment_bytes: settings.segment_bytes,
            checkpoint_after_bytes: settings.checkpoint_after_bytes,
            counters,
            _lock: lock,
        };
        Ok((wal, replayed))
    }

    /// Adds a commit to the next [`Wal::write`]; `totals` are those after it.
    pub fn add(&mut self, commit: &Commit, totals: &Totals, log_ref: impl Fn(Slot) -> u64) {
        let encode = |out: &mut Vec<u8>| commit::encode(out, commit, totals, log_ref);
        self.is_too_large |= !record::put(&mut self.buffer, record::Kind::Commit, encode);
    }

    /// Writes the commits added since the last call, all or none.
    ///
    /// # Errors
    /// The disk refused; the log is as it was before.
    pub fn write(&mut self) -> io::Result<()> {
        let written = if std::mem::take(&mut self.is_too_large) {
            Err(io::Error::new(io::ErrorKind::FileTooLarge, "the batch is larger than a record may be (1 GiB)"))
        } else {
            self.write_buffer()
        };
        if written.is_err() {
            self.counters.write_failures.inc();
        }
        self.buffer.clear();
        // One huge batch must not keep its memory for ever.
        self.buffer.shrink_to(1 << 20);
        written
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        let len = self.buffer.len() as u64;
        if len == 0 {
            return Ok(());
        }
        let is_full = self.segment.len + len > self.segment_bytes && self.segment.len > segment::HEADER_BYTES as u64;
        if is_full || self.segment.is_broken() {
            self.begin_segment()?;
        }
        let force = self.sync == WalSync::Always;
        self.segment.append(&self.buffer, force)?;
        if force {
            self.counters.fsyncs.inc();
        }
        self.counters.writes.inc();
        self.counters.bytes.add(len);
        self.counters.uncovered_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Whether written commits wait for [`Wal::sync`].
    pub fn is_dirty(&self) -> bool {
        self.segment.is_dirty()
    }

    /// Forces what was written to disk; a failure is counted and tried again with the next call.
    pub fn sync(&mut self) {
        match self.segment.sync() {
            Ok(true) => self.counters.fsyncs.inc(),
            Ok(false) => {}
            Err(error) => {
                self.counters.fsync_failures.inc();
                tracing::warn!(%error, segment = self.segment.number, "the write-ahead log could not be forced to disk");
            }
        }
    }

    /// Whether enough was written since the last checkpoint for another.
    pub fn needs_checkpoint(&self) -> bool {
        self.counters.uncovered_bytes.load(Ordering::Relaxed) >= self.checkpoint_after_bytes
    }

    /// Begins a segment; what the head holds now is what a checkpoint with its number must hold.
    ///
    /// # Errors
    /// The segment could not be made; the log goes on with the old one.
    pub fn cut(&mut self) -> io::Result<(PathBuf, u64, u64)> {
        self.begin_segment()?;
        Ok((self.dir.clone(), self.segment.number, self.counters.uncovered_bytes.load(Ordering::Relaxed)))
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        // What the old segment still owes the disk is paid before it is left.
        self.sync();
        self.segment = SegmentWriter::create(&self.dir, self.segment.number + 1)?;
        self.counters.last_segment.store(self.segment.number, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of memory of the buffer.
    pub fn size_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

/// Writes a checkpoint and counts it.
pub(super) fn run_checkpoint(job: CheckpointJob, counters: &WalCounters) {
    let (segment, covered) = (job.segment, job.covered_bytes);
    match job.run() {
        Ok(bytes) => {
            counters.checkpoints.inc();
            counters.checkpoint_bytes.store(bytes, Ordering::Relaxed);
            counters.uncovered_bytes.fetch_sub(covered, Ordering::Relaxed);
            counters.first_segment.store(segment, Ordering::Relaxed);
        }
        Err(error) => {
            counters.checkpoint_failures.inc();
            tracing::warn!(%error, segment, "a checkpoint of the write-ahead log could not be written");
        }
    }
}

/// Keeps the directory for this store.
#[derive(Debug)]
struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started holds a copy of it for a moment.
        // A failure leaves what closing does.
        let _ = self.0.unlock();
    }
}

/// Takes the directory, until the lock is dropped or the process ends.
fn lock(dir: &Path) -> Result<DirLock, OpenError> {
    let path = dir.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let owner = file.read_to_string(&mut owner).ok().and_then(|_| owner.trim().parse().ok());
            return Err(OpenError::Locked { dir: dir.to_owned(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
    }
    // The number is for the person who meets the lock; the lock itself is the kernel's.
    let noted = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    noted.map_err(io_error("write", &path))?;
    Ok(DirLock(file))
}
