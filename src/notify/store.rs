//! The outbox's file: lanes, groups and silences, in one redb database of mode 0600.
//!
//! In:  the changes of one pass, as one transaction, on disk when the call returns.
//! Out: every record, at start.
//! Always: one thread writes. The file holds secrets (a resolve needs the key that its trigger used), so
//! nobody but its owner may read it.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::oneshot;

use super::notifier::{Change, Records, Table};

const LANES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("lanes");
const GROUPS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("groups");
const SILENCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("silences");
/// The records are few and small; redb would take 1 GiB.
const CACHE_BYTES: usize = 1 << 20;
/// Passes that may wait for the disk; the runner waits for each, so one is the rule.
const QUEUE: usize = 4;

/// Why the outbox could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to create the outbox `{}`", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("failed to open the outbox `{}`", path.display())]
    Open { path: PathBuf, source: Box<redb::Error> },
    #[error("failed to read the outbox")]
    Read { source: Box<redb::Error> },
    #[error("failed to write the outbox")]
    Write { source: Box<redb::Error> },
    #[error("the outbox's thread has ended")]
    Gone,
}

fn definition(table: Table) -> TableDefinition<'static, &'static str, &'static [u8]> {
    match table {
        Table::Lanes => LANES,
        Table::Groups => GROUPS,
        Table::Silences => SILENCES,
    }
}

/// The open file; see the module.
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens or creates the file, and its folder.
    ///
    /// # Errors
    /// It cannot be created, another process has it open, or it is not an outbox.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let create = |source| StoreError::Create { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(create)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(create)?;
        let open = |source: redb::Error| StoreError::Open { path: path.to_owned(), source: Box::new(source) };
        let backend = redb::backends::FileBackend::new(file).map_err(|e| open(e.into()))?;
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(|e| open(e.into()))?;
        Ok(Self { database })
    }

    /// Every record.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn records(&self) -> Result<Records, StoreError> {
        let read = || -> Result<Records, redb::Error> {
            let mut records = Records::new();
            let transaction = self.database.begin_read()?;
            for table in [Table::Lanes, Table::Groups, Table::Silences] {
                let opened = match transaction.open_table(definition(table)) {
                    Err(redb::TableError::TableDoesNotExist(_)) => continue,
                    other => other?,
                };
                for row in opened.iter()? {
                    let (key, value) = row?;
                    records.insert((table, key.value().to_owned()), value.value().to_owned());
                }
            }
            Ok(records)
        };
        read().map_err(|source| StoreError::Read { source: Box::new(source) })
    }

    /// Writes the changes as one transaction; they are on disk afterwards.
    ///
    /// # Errors
    /// Nothing was written.
    pub fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let write = || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            for table in [Table::Lanes, Table::Groups, Table::Silences] {
                let mut opened = transaction.open_table(definition(table))?;
                for change in changes.iter().filter(|c| c.table == table) {
                    match &change.value {
                        Some(value) => opened.insert(change.key.as_str(), value.as_slice())?,
                        None => opened.remove(change.key.as_str())?,
                    };
                }
            }
            Ok(transaction.commit()?)
        };
        write().map_err(|source| StoreError::Write { source: Box::new(source) })
    }
}

type Job = (Vec<Change>, oneshot::Sender<Result<(), StoreError>>);

/// The one thread that writes; ends when the handle is dropped.
pub struct StoreThread {
    jobs: Option<mpsc::SyncSender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StoreThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(store: Store) -> std::io::Result<Self> {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(QUEUE);
        let thread = thread::Builder::new().name("notify-outbox".into()).spawn(move || {
            for (changes, answer) in inbox {
                // The runner may have given up waiting; the changes are written all the same.
                let _ = answer.send(store.apply(&changes));
            }
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Writes the changes and waits until they are on disk.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.jobs.as_ref().ok_or(StoreError::Gone)?;
        jobs.try_send((changes, answer)).map_err(|_| StoreError::Gone)?;
        answered.await.unwrap_or(Err(StoreError::Gone))
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was counted as a failed write already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &str, value: Option<&str>) -> Change {
        Change { table: Table::Lanes, key: key.into(), value: value.map(|v| v.as_bytes().to_vec()) }
    }

    #[test]
    fn what_was_applied_is_there_after_a_reopen_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/outbox.redb");
        let store = Store::open(&path).unwrap();
        assert!(store.records().unwrap().is_empty());
        store.apply(&[change("a", Some("1")), change("b", Some("2"))]).unwrap();
        store.apply(&[change("a", None), change("b", Some("3"))]).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Open { .. })), "one process at a time");
        drop(store);
        let records = Store::open(&path).unwrap().records().unwrap();
        assert_eq!(records, Records::from([((Table::Lanes, "b".to_owned()), b"3".to_vec())]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
