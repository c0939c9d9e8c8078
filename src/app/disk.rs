//! Room on the file system that holds the agent's own data.

use std::path::PathBuf;

use crate::model::{StatRow, Stats};

/// Reads the file system of one folder whenever it is asked.
pub struct Disk(pub PathBuf);

impl Stats for Disk {
    fn rows(&self) -> Vec<StatRow> {
        // A folder that cannot be read has no figures; the store says what is wrong with it.
        let Ok(stat) = rustix::fs::statvfs(&self.0) else { return Vec::new() };
        let bytes = |blocks: u64| blocks as f64 * stat.f_frsize as f64;
        vec![
            StatRow::gauge(
                "rivetwatch_storage_filesystem_size_bytes",
                "Size of the file system that holds `storage.path`.",
                bytes(stat.f_blocks),
            ),
            StatRow::gauge(
                "rivetwatch_storage_filesystem_free_bytes",
                "What of it the agent may still write.",
                bytes(stat.f_bavail),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_a_file_system_and_a_missing_one_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let rows = Disk(dir.path().to_owned()).rows();
        assert!(rows[0].value >= rows[1].value && rows[0].value > 0.0, "{rows:?}");
        assert!(Disk(dir.path().join("missing")).rows().is_empty());
    }
}
