//! The notifier at work: the only part of this room that waits, writes and sends.
//!
//! In:  alerts from the rules' channel, commands through a [`Handle`].   Out: requests to targets.
//! Always: the changes of a step are on disk before its messages leave. A disk that refuses holds messages
//! back (they are retried) rather than letting them go unrecorded.
//! Limits: the command queue holds 64; whoever sends more waits.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::client::HttpSender;
use super::notifier::{Change, Effect, Input, Notifier, Records, Send, Table};
use super::retry::{Class, Outcome};
use super::settings::{Integration, Settings};
use super::silence::Silence;
use super::stats::NotifyStats;
use super::store::{Store, StoreError, StoreThread};
use super::targets::MessageKind;
use super::view::View;
use crate::clock::Clock;
use crate::model::{Alert, TimestampMs};

const COMMANDS: usize = 64;
/// Inputs taken into one step at most.
const BATCH: usize = 256;

/// Where the terminal target prints.
pub type Terminal = Arc<Mutex<dyn Write + std::marker::Send>>;

/// The runner has ended, so there is nobody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("notification has stopped")]
pub struct Gone;

enum Command {
    Input(Input, oneshot::Sender<()>),
    View(oneshot::Sender<View>),
}

/// Talks to a runner; clones share it.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    clock: Clock,
    ids: Arc<Mutex<fastrand::Rng>>,
}

impl Handle {
    /// Hands an input over; when this returns it has been taken in, and what it asks to keep is on disk.
    ///
    /// # Errors
    /// The runner has ended.
    pub async fn input(&self, input: Input) -> Result<(), Gone> {
        let (done, taken) = oneshot::channel();
        self.commands.send(Command::Input(input, done)).await.map_err(|_| Gone)?;
        taken.await.map_err(|_| Gone)
    }

    /// Everything the notifier holds, as it is now.
    ///
    /// # Errors
    /// The runner has ended.
    pub async fn view(&self) -> Result<View, Gone> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::View(answer)).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// The present of the notifier's clock.
    pub fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    /// A fresh identity for a silence.
    pub fn new_silence_id(&self) -> String {
        super::silence::new_id(&mut self.ids.lock())
    }

    /// Keeps a silence.
    ///
    /// # Errors
    /// The runner has ended.
    pub async fn put_silence(&self, silence: Silence) -> Result<(), Gone> {
        self.input(Input::PutSilence(silence)).await
    }
}

/// The notifier with its disk and its connections, ready to [`run`](Runner::run).
pub struct Runner {
    notifier: Notifier,
    store: Option<StoreThread>,
    stats: Arc<NotifyStats>,
    clock: Clock,
    sender: Arc<HttpSender>,
    terminal: Terminal,
    commands: mpsc::Receiver<Command>,
    /// Changes that the disk refused; they go with the next ones.
    unsaved: BTreeMap<(Table, String), Option<Vec<u8>>>,
}

impl Runner {
    /// Takes up what the outbox at `path` holds. Without a path nothing outlives the process.
    ///
    /// `seed` decides jitter and identities; give a random one outside tests.
    ///
    /// # Errors
    /// The outbox cannot be opened or read.
    pub fn open(
        settings: Arc<Settings>,
        path: Option<&Path>,
        clock: Clock,
        terminal: Terminal,
        seed: u64,
    ) -> Result<(Self, Handle), StoreError> {
        let stats = Arc::new(NotifyStats::default());
        let (records, store) = match path {
            None => (Records::new(), None),
            Some(path) => {
                let store = Store::open(path)?;
                let records = store.records()?;
                let thread =
                    StoreThread::start(store).map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
                (records, Some(thread))
            }
        };
        let (notifier, unreadable) = Notifier::restore(settings, stats.clone(), seed, &records, clock.now());
        if unreadable > 0 {
            warn!(records = unreadable, "records of the outbox could not be read and are left alone");
            stats.store_failures.add(unreadable as u64);
        }
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let ids = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed ^ 0x5eed)));
        let handle = Handle { commands, clock: clock.clone(), ids };
        let runner = Self {
            notifier,
            store,
            stats,
            clock,
            sender: Arc::new(HttpSender::new()),
            terminal,
            commands: inbox,
            unsaved: BTreeMap::new(),
        };
        Ok((runner, handle))
    }

    /// The counts, for `/metrics`.
    pub fn stats(&self) -> Arc<NotifyStats> {
        self.stats.clone()
    }

    /// Runs until `stop` is cancelled or `alerts` is closed, then until what is on its way has arrived.
    ///
    /// What waits for a retry stays in the outbox and goes on with the next start.
    pub async fn run(mut self, mut alerts: mpsc::Receiver<Vec<Alert>>, stop: CancellationToken) {
        let (outcomes_in, mut outcomes) = mpsc::unbounded_channel::<(u64, Outcome)>();
        let mut flying = 0usize;
        let mut inputs = Vec::new();
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let mut is_stopping = false;
        loop {
            let (effects, deadline) = self.notifier.step(self.clock.now(), std::mem::take(&mut inputs));
            for send in self.persist(effects, &outcomes_in, &mut flying).await {
                flying += 1;
                self.launch(send, outcomes_in.clone());
            }
            for done in waiting.drain(..) {
                // Whoever asked may have left.
                let _ = done.send(());
            }
            if is_stopping && flying == 0 {
                break;
            }
            let clock = self.clock.clone();
            let sleep = async move {
                match deadline {
                    Some(at) => clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((id, outcome)) = outcomes.recv() => {
                    flying -= 1;
                    inputs.push(Input::Delivered { id, outcome });
                }
                batch = alerts.recv(), if !is_stopping => match batch {
                    Some(batch) => inputs.push(Input::Alerts(batch)),
                    None => is_stopping = true,
                },
                Some(command) = self.commands.recv(), if !is_stopping => {
                    self.command(command, &mut inputs, &mut waiting);
                }
                () = stop.cancelled(), if !is_stopping => is_stopping = true,
                () = sleep => {}
            }
            while inputs.len() < BATCH {
                if let Ok((id, outcome)) = outcomes.try_recv() {
                    flying -= 1;
                    inputs.push(Input::Delivered { id, outcome });
                } else if let Ok(batch) = alerts.try_recv() {
                    inputs.push(Input::Alerts(batch));
                } else {
                    break;
                }
            }
        }
        info!("notification has stopped");
    }

    fn command(&self, command: Command, inputs: &mut Vec<Input>, waiting: &mut Vec<oneshot::Sender<()>>) {
        match command {
            Command::Input(input, done) => {
                inputs.push(input);
                waiting.push(done);
            }
            Command::View(answer) => {
                // Whoever asked may have left.
                let _ = answer.send(self.notifier.view(self.clock.now()));
            }
        }
    }

    /// Brings the changes to disk and gives the messages that may leave now.
    async fn persist(
        &mut self,
        effects: Vec<Effect>,
        outcomes: &mpsc::UnboundedSender<(u64, Outcome)>,
        flying: &mut usize,
    ) -> Vec<Send> {
        let mut sends = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(changes) => {
                    self.unsaved.extend(changes.into_iter().map(|c| ((c.table, c.key), c.value)));
                }
                Effect::Send(send) => sends.push(send),
            }
        }
        let Some(store) = &self.store else {
            self.unsaved.clear();
            return sends;
        };
        if self.unsaved.is_empty() {
            return sends;
        }
        let changes = self.unsaved.iter().map(|((table, key), value)| Change {
            table: *table,
            key: key.clone(),
            value: value.clone(),
        });
        match store.apply(changes.collect()).await {
            Ok(()) => {
                self.unsaved.clear();
                sends
            }
            Err(error) => {
                self.stats.store_failures.inc();
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(%error, cause, "notifications are held back because the outbox cannot be written");
                for send in sends {
                    *flying += 1;
                    let what = "the outbox could not be written".to_owned();
                    // The receiving end lives as long as this loop.
                    let _ = outcomes.send((send.id, Outcome::Failed { may_have_arrived: false, what }));
                }
                Vec::new()
            }
        }
    }

    fn launch(&self, send: Send, outcomes: mpsc::UnboundedSender<(u64, Outcome)>) {
        let (sender, terminal, now) = (self.sender.clone(), self.terminal.clone(), self.clock.now());
        tokio::spawn(async move {
            let outcome = match send.target.integration {
                Integration::Terminal => print(terminal, send.body.clone()).await,
                _ => sender.send(&send).await,
            };
            report(&send, &outcome, now);
            // The loop ends only once every message has its outcome.
            let _ = outcomes.send((send.id, outcome));
        });
    }
}

async fn print(terminal: Terminal, text: String) -> Outcome {
    let written = tokio::task::spawn_blocking(move || {
        let mut terminal = terminal.lock();
        terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush())
    });
    match written.await {
        Ok(Ok(())) => Outcome::Answered { status: 200, retry_after: None, body: String::new() },
        Ok(Err(error)) => Outcome::Unusable { what: format!("failed to print: {error}") },
        Err(error) => Outcome::Unusable { what: format!("failed to print: {error}") },
    }
}

/// Logs an attempt that was not accepted; the outcome holds no secrets.
fn report(send: &Send, outcome: &Outcome, now: TimestampMs) {
    let (receiver, integration) = (send.target.receiver.as_str(), send.target.integration.as_str());
    let kind = match send.kind {
        MessageKind::Trigger => "trigger",
        MessageKind::Resolve => "resolve",
    };
    match outcome.classify(now) {
        Class::Accepted => {}
        Class::Retry { .. } => {
            warn!(
                receiver,
                integration,
                kind,
                outcome = outcome.describe(),
                "a notification failed and is tried again"
            );
        }
        Class::BodyRejected | Class::TargetRejected => {
            warn!(receiver, integration, kind, outcome = outcome.describe(), "a notification was refused");
        }
    }
}
