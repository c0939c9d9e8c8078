//! The two doors of the store: [`Append`] takes points in, [`Select`] gives series out. Nothing else.
//!
//! In:  one [`Batch`] for each request, scrape or evaluation.   Out: series, one after the other.
//! Always: a batch becomes visible as a whole, and is in the WAL (where there is one) before it is visible.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::model::{Exemplar, FloatHistogram, Labels, Matcher, Metadata, Sample, TimeRange, TimestampMs, Value};

/// One point of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub labels: Labels,
    pub t: TimestampMs,
    pub value: Value,
}

/// What one request, scrape or evaluation brings: committed together, visible together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub points: Vec<Point>,
    /// Exemplars with the labels of their series; they are no points and not in the counts of a [`Receipt`].
    pub exemplars: Vec<(Labels, Exemplar)>,
    /// Type, unit and help by metric family name.
    pub metadata: Vec<(String, Metadata)>,
    /// Points that the receiver itself refused, by bounded reason: they join the running totals.
    pub refused: Vec<(&'static str, u64)>,
}

/// What became of the points of a batch. `stored + duplicate + refused` is every point of the batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Points that can now be queried.
    pub stored: u64,
    /// Points that were there already with the same time and value.
    pub duplicate: u64,
    /// Points the store refused, by bounded reason: `out_of_order`, `too_old`, `too_new`,
    /// `conflicting_value`, `series_limit`, `series_per_job_limit`, `invalid_labels`.
    pub refused: Vec<(&'static str, u64)>,
    /// For a person: the first refusal of each reason, with the series it met.
    pub examples: Vec<String>,
}

/// Why a whole batch was not taken. Nothing of it is visible.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The memory cap or the queue is reached; the same batch may be sent again later.
    #[error("the store is at its limit: {what}; retry in {retry_after_ms} ms")]
    Overloaded { what: String, retry_after_ms: u64 },
    /// The log could not be written; the batch may be sent again.
    #[error("failed to write the log: {reason}")]
    Log { reason: String },
    /// The store is closed because the process is stopping.
    #[error("the store is closed")]
    Closed,
}

/// The promise of an answer to a commit: `wait` for it on a plain thread, or `.await` it.
#[derive(Debug)]
pub struct Ticket(oneshot::Receiver<Result<Receipt, AppendError>>);

impl Ticket {
    /// A ticket and the sender that answers it.
    pub fn new() -> (oneshot::Sender<Result<Receipt, AppendError>>, Self) {
        let (tx, rx) = oneshot::channel();
        (tx, Self(rx))
    }

    /// A ticket that is answered already.
    pub fn ready(answer: Result<Receipt, AppendError>) -> Self {
        let (tx, ticket) = Self::new();
        // The receiver is right here, so the send cannot fail.
        let _ = tx.send(answer);
        ticket
    }

    /// Blocks this thread until the batch is committed or refused. Not for async threads.
    pub fn wait(self) -> Result<Receipt, AppendError> {
        self.0.blocking_recv().unwrap_or(Err(AppendError::Closed))
    }
}

impl Future for Ticket {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(AppendError::Closed)))
    }
}

/// Takes batches.
pub trait Append: Send + Sync {
    /// Hands a batch over for commit. Returns at once; the ticket is answered after the batch is in
    /// the WAL and visible, or was refused as a whole.
    fn commit(&self, batch: Batch) -> Ticket;
}

/// Why a selection failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SelectError {
    /// The store could not read what it holds.
    #[error("failed to read the store: {reason}")]
    Read { reason: String },
}

/// Samples of one series, oldest first; a series may hold floats and histograms at different times.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeriesData {
    /// Floats, staleness markers among them.
    pub floats: Vec<Sample>,
    pub histograms: Vec<(TimestampMs, Arc<FloatHistogram>)>,
    /// What the reader asks for: of each kind the latest sample in the range alone. A store need not decode the others,
    /// and may give them all the same.
    pub latest_only: bool,
}

impl SeriesData {
    /// Memory for a reader of which [`SeriesData::latest_only`] is set.
    pub fn for_latest() -> Self {
        Self { latest_only: true, ..Self::default() }
    }

    /// Forgets the samples and keeps the memory.
    pub fn clear(&mut self) {
        self.floats.clear();
        self.histograms.clear();
    }

    /// Number of samples of both kinds.
    pub fn len(&self) -> usize {
        self.floats.len() + self.histograms.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Series of one selection, from one snapshot of the store.
pub trait SeriesSet {
    /// Clears `into`, fills it with the next series' samples in the range and returns the series'
    /// labels; `None` after the last. Series without a sample in the range are passed over.
    /// The order of series is unspecified.
    ///
    /// # Errors
    /// The samples could not be decoded.
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError>;
}

/// Gives series out.
pub trait Select: Send + Sync {
    /// The series that pass every matcher, with their samples in the closed range, staleness markers included.
    ///
    /// # Errors
    /// The store could not be read.
    fn select<'a>(&'a self, matchers: &[Matcher], range: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError>;

    /// The label sets of the series that pass every matcher and have a sample in the range, sorted.
    ///
    /// # Errors
    /// The store could not be read.
    fn series(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<Labels>, SelectError>;

    /// Names of labels on the series that pass, sorted. No matcher means every series.
    ///
    /// # Errors
    /// The store could not be read.
    fn label_names(&self, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError>;

    /// Values of `name` on the series that pass, sorted.
    ///
    /// # Errors
    /// The store could not be read.
    fn label_values(&self, name: &str, matchers: &[Matcher], range: TimeRange) -> Result<Vec<String>, SelectError>;

    /// A number of series that no more than pass every matcher, where that is known at once; for guessing what a query
    /// costs.
    fn series_at_most(&self, _matchers: &[Matcher]) -> Option<usize> {
        None
    }

    /// The exemplars in the range of the series that pass every matcher of any selector, sorted by series, oldest
    /// first; a store that keeps none has none.
    fn exemplars(&self, _selectors: &[Vec<Matcher>], _range: TimeRange) -> Vec<(Labels, Vec<Exemplar>)> {
        Vec::new()
    }

    /// What is known of the families, sorted by name; `family` narrows it to one.
    fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)>;
}
