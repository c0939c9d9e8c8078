//! The bounded queue before the writer, and the writer's thread.
//!
//! In: batches from any thread.   Out: groups of them to the writer, in the order in which they came.
//! Always: a batch that does not fit is refused as a whole and at once; nobody waits for room.
//! Limits: waiting batches and waiting points; a single batch may be larger than the latter when nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::config::WalSync;
use super::stats::{Counters, Overload};
use super::wal::CheckpointJob;
use super::writer::{Answer, Shared, Writer};
use crate::model::TimestampMs;
use crate::storage::{AppendError, Batch};

/// Points that are committed together at most: what waits behind them waits some tens of milliseconds.
const GROUP_POINTS_MAX: usize = 200_000;

/// What a sender that met a full queue is told: the queue drains within a second at worst.
const RETRY_AFTER_QUEUE_MS: u64 = 1_000;

enum Command {
    Commit(Batch, Answer),
    Control(Control),
}

/// What ends a group of commits.
enum Control {
    Maintain(TimestampMs, SyncSender<Option<CheckpointJob>>),
    Close,
}

/// The writer on its own thread, behind its queue.
#[derive(Debug)]
pub(super) struct WriterThread {
    queue: SyncSender<Command>,
    handle: Mutex<Option<JoinHandle<()>>>,
    is_closed: AtomicBool,
    shared: Arc<Shared>,
}

impl WriterThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub fn start(writer: Writer, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (queue, commands) = mpsc::sync_channel(shared.settings.queue_batches);
        let for_thread = Arc::clone(&shared);
        let handle = std::thread::Builder::new()
            .name("tsdb-writer".into())
            .spawn(move || run(writer, &commands, &for_thread))?;
        Ok(Self { queue, handle: Mutex::new(Some(handle)), is_closed: AtomicBool::new(false), shared })
    }

    /// Puts a batch into the queue, or answers at once why not.
    pub fn commit(&self, batch: Batch, answer: Answer) {
        let counters = &self.shared.counters;
        let points = batch.points.len();
        if self.is_closed.load(Ordering::Acquire) {
            // A sender that has gone away does not want to know.
            let _ = answer.send(Err(AppendError::Closed));
            return;
        }
        let waiting = counters.queued_points.fetch_add(points, Ordering::AcqRel);
        let limit = self.shared.settings.queue_points;
        if waiting > 0 && waiting + points > limit {
            counters.queued_points.fetch_sub(points, Ordering::AcqRel);
            refuse(
                counters,
                answer,
                points,
                format!("{waiting} points wait for the writer (`queue_points` is {limit})"),
            );
            return;
        }
        counters.queued_batches.fetch_add(1, Ordering::AcqRel);
        let refused = match self.queue.try_send(Command::Commit(batch, answer)) {
            Ok(()) => return,
            Err(refused) => refused,
        };
        counters.queued_batches.fetch_sub(1, Ordering::AcqRel);
        counters.queued_points.fetch_sub(points, Ordering::AcqRel);
        match refused {
            TrySendError::Full(Command::Commit(_, answer)) => {
                let limit = self.shared.settings.queue_batches;
                refuse(counters, answer, points, format!("{limit} batches wait for the writer (`queue_batches`)"));
            }
            TrySendError::Disconnected(Command::Commit(_, answer)) => drop(answer.send(Err(AppendError::Closed))),
            TrySendError::Full(_) | TrySendError::Disconnected(_) => {}
        }
    }

    /// Has the writer drop what is old, behind the batches that wait; gives a checkpoint to write.
    pub fn maintain(&self, now: TimestampMs) -> Option<CheckpointJob> {
        let (reply, answered) = mpsc::sync_channel(1);
        self.queue.send(Command::Control(Control::Maintain(now, reply))).ok()?;
        answered.recv().ok().flatten()
    }

    /// Whether the thread runs: it ends by [`WriterThread::close`], or by a bug.
    pub fn is_running(&self) -> bool {
        self.handle.lock().as_ref().is_some_and(|handle| !handle.is_finished())
    }

    /// Lets the writer finish what waits, forces the log to disk, and ends the thread.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        let Some(handle) = self.handle.lock().take() else { return };
        // A thread that has ended already is what is wanted.
        let _ = self.queue.send(Command::Control(Control::Close));
        if handle.join().is_err() {
            tracing::error!("the writer of the store ended by a panic");
        }
    }
}

fn refuse(counters: &Counters, answer: Answer, points: usize, what: String) {
    counters.refuse(Overload::Queue, points);
    let _ = answer.send(Err(AppendError::Overloaded { what, retry_after_ms: RETRY_AFTER_QUEUE_MS }));
}

fn run(mut writer: Writer, commands: &Receiver<Command>, shared: &Shared) {
    let interval = shared.settings.sync_interval;
    let mut sync_due = None;
    loop {
        let command = match next(commands, sync_due) {
            Ok(command) => Some(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let control = match command {
            Some(Command::Commit(batch, answer)) => commit_group(&mut writer, commands, shared, (batch, answer)),
            Some(Command::Control(control)) => Some(control),
            None => None,
        };
        let goes_on = control.is_none_or(|control| obey(&mut writer, control));
        if !goes_on {
            break;
        }
        if sync_due.is_some_and(|due| Instant::now() >= due) {
            writer.sync();
            sync_due = None;
        }
        if sync_due.is_none() && writer.needs_sync() && shared.settings.sync == WalSync::Interval {
            sync_due = Some(Instant::now() + interval);
        }
    }
    writer.sync();
}

fn next(commands: &Receiver<Command>, sync_due: Option<Instant>) -> Result<Command, RecvTimeoutError> {
    match sync_due {
        Some(due) => commands.recv_timeout(due.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))),
        None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// Commits the batch together with those that wait behind it; gives what ended the group.
fn commit_group(
    writer: &mut Writer,
    commands: &Receiver<Command>,
    shared: &Shared,
    first: (Batch, Answer),
) -> Option<Control> {
    let mut points = first.0.points.len();
    let mut group = vec![first];
    let mut control = None;
    while points < GROUP_POINTS_MAX {
        match commands.try_recv() {
            Ok(Command::Commit(batch, answer)) => {
                points += batch.points.len();
                group.push((batch, answer));
            }
            Ok(Command::Control(ended_by)) => {
                control = Some(ended_by);
                break;
            }
            Err(_) => break,
        }
    }
    // They wait no longer; whoever is answered finds their room free.
    shared.counters.queued_batches.fetch_sub(group.len(), Ordering::AcqRel);
    shared.counters.queued_points.fetch_sub(points, Ordering::AcqRel);
    writer.commit(group);
    control
}

/// Does what is asked; says whether the thread goes on.
fn obey(writer: &mut Writer, control: Control) -> bool {
    match control {
        Control::Maintain(now, reply) => {
            // Nobody waits any more when the caller's thread has ended; the checkpoint comes with the next call.
            let _ = reply.send(writer.maintain(now));
            true
        }
        Control::Close => false,
    }
}
