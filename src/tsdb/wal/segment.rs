//! Files of the log: their names, their headers, and appending to the last of them.
//!
//! Always: what an append that failed has left behind is cut off again; where that fails too, the next append
//! begins a new file. Directory entries are forced to disk when a file is made.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Magic and number of the file.
pub(super) const HEADER_BYTES: usize = 16;
const SEGMENT_MAGIC: [u8; 8] = *b"RWWAL\0\0\x01";
const CHECKPOINT_MAGIC: [u8; 8] = *b"RWCKP\0\0\x01";
/// The last byte of a magic is the version of the format.
const MAGIC_NAME_BYTES: usize = 7;

/// The two kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Commits; numbered from 1 without gaps.
    Segment,
    /// State before the segment with the same number.
    Checkpoint,
}

impl FileKind {
    /// The path of the file with this number.
    pub fn path(self, dir: &Path, number: u64) -> PathBuf {
        match self {
            Self::Segment => dir.join(format!("{number:08}.wal")),
            Self::Checkpoint => dir.join(format!("{number:08}.checkpoint")),
        }
    }

    /// The kind and number that a file name stands for.
    pub fn parse(name: &str) -> Option<(Self, u64)> {
        let (number, kind) = name.split_once('.')?;
        let kind = match kind {
            "wal" => Self::Segment,
            "checkpoint" => Self::Checkpoint,
            _ => return None,
        };
        let is_number = number.len() >= 8 && number.bytes().all(|b| b.is_ascii_digit());
        Some((kind, number.parse().ok().filter(|_| is_number)?))
    }

    /// The first bytes of the file with this number.
    pub fn header(self, number: u64) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&self.magic());
        header[8..].copy_from_slice(&number.to_le_bytes());
        header
    }

    /// What the first bytes of a file say.
    pub fn read_header(self, bytes: &[u8], number: u64) -> Header {
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Header::Short };
        let magic = self.magic();
        if *header == self.header(number) {
            Header::Good
        } else if header[..MAGIC_NAME_BYTES] == magic[..MAGIC_NAME_BYTES] && header[7] != magic[7] {
            Header::OtherVersion(header[7])
        } else {
            Header::Damaged
        }
    }

    fn magic(self) -> [u8; 8] {
        match self {
            Self::Segment => SEGMENT_MAGIC,
            Self::Checkpoint => CHECKPOINT_MAGIC,
        }
    }
}

/// What the first bytes of a file say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Good,
    /// The file ends inside its header: its maker died.
    Short,
    OtherVersion(u8),
    Damaged,
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct SegmentWriter {
    file: File,
    pub number: u64,
    pub len: u64,
    is_dirty: bool,
    /// The file's end could not be put right after a failure.
    is_broken: bool,
}

impl SegmentWriter {
    /// Makes the segment with this number, which must not exist.
    pub fn create(dir: &Path, number: u64) -> io::Result<Self> {
        let path = FileKind::Segment.path(dir, number);
        let mut file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        let written = file.write_all(&FileKind::Segment.header(number)).and_then(|()| sync_dir(dir));
        if let Err(error) = written {
            // Best effort: a leftover with a short header is taken for torn at the next start.
            let _ = std::fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self { file, number, len: HEADER_BYTES as u64, is_dirty: true, is_broken: false })
    }

    /// Goes on with a segment that was read to its end.
    pub fn reopen(dir: &Path, number: u64, len: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(FileKind::Segment.path(dir, number))?;
        Ok(Self { file, number, len, is_dirty: false, is_broken: false })
    }

    /// Appends bytes, and forces them to disk where asked; on failure none of them stays.
    pub fn append(&mut self, bytes: &[u8], force: bool) -> io::Result<()> {
        let mut written = self.file.write_all(bytes);
        if force && written.is_ok() {
            written = self.file.sync_data();
        }
        if let Err(error) = written {
            self.is_broken |= self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.is_dirty = !force;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Forces to disk what is not there yet; says whether there was anything.
    pub fn sync(&mut self) -> io::Result<bool> {
        if self.is_dirty {
            self.file.sync_data()?;
        }
        Ok(std::mem::take(&mut self.is_dirty))
    }

    /// Whether something is not forced to disk yet.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Whether the next append must go to a new segment.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }
}

/// Forces a directory's entries to disk.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_headers_read_back_what_they_say() {
        for kind in [FileKind::Segment, FileKind::Checkpoint] {
            for number in [1, 99_999_999, 123_456_789] {
                let path = kind.path(Path::new("."), number);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(FileKind::parse(name), Some((kind, number)));
                assert_eq!(kind.read_header(&kind.header(number), number), Header::Good);
                assert_eq!(kind.read_header(&kind.header(number), number + 1), Header::Damaged);
                assert_eq!(kind.read_header(&kind.header(number)[..15], number), Header::Short);
            }
        }
        let mut later = FileKind::Segment.header(1);
        later[7] = 2;
        assert_eq!(FileKind::Segment.read_header(&later, 1), Header::OtherVersion(2));
        for other in ["lock", "1.wal", "+0000001.wal", "00000001.wal.tmp", "00000001.txt"] {
            assert_eq!(FileKind::parse(other), None, "{other}");
        }
    }
}
