//! Decides about every point of a batch before anything is written: stored, duplicate or refused, and why.
//!
//! In: batches, in the order of their commit.   Out: a [`Commit`] with the points to store and the receipt.
//! Always: this is the writer's own state and runs ahead of what queries see by the commits under way; a commit
//! that could not be logged is taken back by [`Admission::roll_back`].
//! Limits: series in all and per job; only points of further new series are refused.

use hashbrown::{HashMap, HashTable};

use super::config::Settings;
use super::head::Head;
use super::index::Slot;
use super::series::{Series, fingerprint};
use crate::model::{Labels, Metadata, TimestampMs, Value};
use crate::storage::{Batch, Receipt};

/// Encoded labels of one series may take this much; the widest of the engine take about 400 bytes.
const LABELS_BYTES_MAX: usize = 64 << 10;

/// A series that a commit brings into being.
#[derive(Clone, Debug)]
pub(super) struct NewSeries {
    pub slot: Slot,
    pub log_ref: u64,
    pub labels: Labels,
}

/// A point that was admitted.
#[derive(Clone, Debug)]
pub(super) struct AdmittedSample {
    pub slot: Slot,
    pub t: TimestampMs,
    pub value: Value,
}

/// What a batch changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Commit {
    pub new_series: Vec<NewSeries>,
    pub samples: Vec<AdmittedSample>,
    /// Only what was not known yet.
    pub metadata: Vec<(String, Metadata)>,
}

/// The newest point of a series, commits under way included.
#[derive(Clone, Debug)]
struct Entry {
    labels: Labels,
    log_ref: u64,
    last_t: i64,
    last_fingerprint: u64,
}

/// The clock of a series without samples: earlier than every time that is admitted.
const NO_SAMPLE: i64 = i64::MIN;

/// The writer's view of every series.
#[derive(Debug)]
pub(super) struct Admission {
    slots: HashTable<Slot>,
    entries: Vec<Entry>,
    free: Vec<Slot>,
    series_by_job: HashMap<String, usize>,
    next_log_ref: u64,
    /// Time of the newest sample.
    newest: TimestampMs,
    /// The `now` of the last `maintain`.
    now: Option<TimestampMs>,
    retention_ms: i64,
    future_ms_max: Option<i64>,
    series_max: usize,
    series_per_job_max: usize,
}

/// Which points a batch may bring, by their time.
#[derive(Clone, Copy)]
struct Window {
    oldest: TimestampMs,
    newest: TimestampMs,
}

impl Admission {
    /// The view of an empty store.
    pub fn new(settings: &Settings) -> Self {
        Self {
            slots: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            series_by_job: HashMap::new(),
            next_log_ref: 1,
            newest: TimestampMs::MIN,
            now: None,
            retention_ms: settings.retention_ms,
            future_ms_max: settings.future_ms_max,
            series_max: settings.series_max,
            series_per_job_max: settings.series_per_job_max,
        }
    }

    /// Decides about a batch. `head` is asked only about points older than the newest of their series.
    pub fn admit(&mut self, batch: Batch, head: &Head) -> (Commit, Receipt) {
        let window = self.window();
        let mut commit = Commit { samples: Vec::with_capacity(batch.points.len()), ..Commit::default() };
        let mut receipt = Receipt::default();
        let mut newest = self.newest;
        // Scrapes and exports repeat their order, so the slot behind the last one is tried first.
        let mut guess = 0;
        for point in batch.points {
            let found = self.find(&point.labels, guess);
            let decided = match found {
                Some(slot) => {
                    self.judge_known(slot, point.t, &point.value, window, head).map(|stored| stored.then_some(slot))
                }
                None => self.judge_new(&point.labels, point.t, window).map(|()| {
                    let slot = self.create(point.labels.clone(), fingerprint(&point.value), point.t);
                    let log_ref = self.entries[slot as usize].log_ref;
                    commit.new_series.push(NewSeries { slot, log_ref, labels: point.labels.clone() });
                    Some(slot)
                }),
            };
            match decided {
                Ok(Some(slot)) => {
                    guess = slot + 1;
                    newest = newest.max(point.t);
                    receipt.stored += 1;
                    commit.samples.push(AdmittedSample { slot, t: point.t, value: point.value });
                }
                Ok(None) => {
                    guess = found.unwrap_or(guess) + 1;
                    receipt.duplicate += 1;
                }
                Err(refusal) => {
                    guess = found.map_or(guess, |slot| slot + 1);
                    refuse(&mut receipt, refusal, &point.labels, point.t, window);
                }
            }
        }
        // Raised only now, so that the verdict on a point does not depend on its place in the batch.
        self.newest = newest;
        commit.metadata = batch.metadata;
        commit.metadata.retain(|(family, metadata)| head.is_new_metadata(family, metadata));
        (commit, receipt)
    }

    /// Sets the time that retention and the bound on the future count from.
    pub fn set_now(&mut self, now: TimestampMs) {
        self.now = Some(now);
    }

    /// The number by which the log knows the series in a slot.
    pub fn log_ref(&self, slot: Slot) -> u64 {
        self.entries[slot as usize].log_ref
    }

    /// Forgets series that the head has dropped.
    pub fn forget(&mut self, dropped: &[(Slot, Labels)]) {
        for (slot, labels) in dropped {
            if let Ok(found) = self.slots.find_entry(labels.hash64(), |other| other == slot) {
                found.remove();
            }
            self.entries[*slot as usize] =
                Entry { labels: Labels::empty(), log_ref: 0, last_t: NO_SAMPLE, last_fingerprint: 0 };
            self.free.push(*slot);
            let job = labels.get("job").unwrap_or("");
            if let Some(count) = self.series_by_job.get_mut(job) {
                *count -= 1;
                if *count == 0 {
                    self.series_by_job.remove(job);
                }
            }
        }
    }

    /// The newest time known, to be given back to [`Admission::roll_back`].
    pub fn newest(&self) -> TimestampMs {
        self.newest
    }

    /// Takes back commits that did not reach the log: what the head shows is what counts again.
    pub fn roll_back(&mut self, commits: &[Commit], newest: TimestampMs, head: &Head) {
        self.newest = newest;
        for commit in commits {
            let created: Vec<_> = commit.new_series.iter().map(|new| (new.slot, new.labels.clone())).collect();
            self.forget(&created);
            for sample in &commit.samples {
                if let Some(series) = head.series_at(sample.slot) {
                    self.rewind(sample.slot, &series);
                }
            }
        }
    }

    /// Takes a series over from the head, as after a restart; the slot must be the next one.
    pub fn restore(&mut self, slot: Slot, series: &Series) {
        let labels = series.labels.clone();
        debug_assert_eq!(slot as usize, self.entries.len());
        self.entries.push(Entry { labels, log_ref: series.log_ref, last_t: NO_SAMPLE, last_fingerprint: 0 });
        self.register(slot);
        self.rewind(slot, series);
        self.newest = self.newest.max(series.last_t().unwrap_or(TimestampMs::MIN));
        self.next_log_ref = self.next_log_ref.max(series.log_ref + 1);
    }

    /// Makes sure that no number up to `log_ref` is given again.
    pub fn skip_log_refs(&mut self, log_ref: u64) {
        self.next_log_ref = self.next_log_ref.max(log_ref + 1);
    }

    /// The number that the next new series gets in the log.
    pub fn next_log_ref(&self) -> u64 {
        self.next_log_ref
    }

    /// Bytes of memory of this view.
    pub fn size_bytes(&self) -> usize {
        // The table holds a slot and a byte of hash for each place, and keeps an eighth of them free.
        self.entries.capacity() * size_of::<Entry>() + self.slots.capacity() * 6
    }

    fn rewind(&mut self, slot: Slot, series: &Series) {
        let entry = &mut self.entries[slot as usize];
        let last = series.last_t();
        entry.last_t = last.map_or(NO_SAMPLE, |t| t.0);
        // A damaged chunk has no last value: then a repeat of it is taken for a conflict.
        entry.last_fingerprint = last.and_then(|t| series.fingerprint_at(t).ok().flatten()).unwrap_or_default();
    }

    fn window(&self) -> Window {
        let newest = match (self.now, self.future_ms_max) {
            (Some(now), Some(bound)) => now.plus_ms(bound),
            _ => TimestampMs::MAX,
        };
        // Once the time is told, a sample from the future no longer makes the present too old.
        let reference = self.now.unwrap_or(self.newest);
        Window { oldest: reference.plus_ms(-self.retention_ms), newest }
    }

    fn find(&self, labels: &Labels, guess: Slot) -> Option<Slot> {
        if self.entries.get(guess as usize).is_some_and(|entry| entry.labels == *labels && entry.log_ref != 0) {
            return Some(guess);
        }
        self.slots.find(labels.hash64(), |slot| self.entries[*slot as usize].labels == *labels).copied()
    }

    /// `Ok(true)` to store, `Ok(false)` for a duplicate.
    fn judge_known(
        &mut self,
        slot: Slot,
        t: TimestampMs,
        value: &Value,
        window: Window,
        head: &Head,
    ) -> Result<bool, Refusal> {
        let entry = &mut self.entries[slot as usize];
        if t.0 > entry.last_t {
            window.judge(t)?;
            (entry.last_t, entry.last_fingerprint) = (t.0, fingerprint(value));
            return Ok(true);
        }
        let known = match t.0 == entry.last_t {
            true => Some(entry.last_fingerprint),
            // A late repeat of something stored is no loss; it is looked up so that it is not counted as one.
            false => head.series_at(slot).and_then(|series| series.fingerprint_at(t).ok().flatten()),
        };
        match known {
            Some(known) if known == fingerprint(value) => Ok(false),
            Some(_) => Err(Refusal::ConflictingValue),
            None => window.judge(t).and(Err(Refusal::OutOfOrder)),
        }
    }

    fn judge_new(&self, labels: &Labels, t: TimestampMs, window: Window) -> Result<(), Refusal> {
        if labels.metric_name().is_empty() || labels.encoded().len() > LABELS_BYTES_MAX {
            return Err(Refusal::InvalidLabels);
        }
        window.judge(t)?;
        if self.slots.len() >= self.series_max {
            return Err(Refusal::SeriesLimit(self.series_max));
        }
        let of_job = self.series_by_job.get(labels.get("job").unwrap_or("")).copied().unwrap_or_default();
        if of_job >= self.series_per_job_max {
            return Err(Refusal::SeriesPerJobLimit(self.series_per_job_max));
        }
        Ok(())
    }

    fn create(&mut self, labels: Labels, fingerprint: u64, t: TimestampMs) -> Slot {
        let log_ref = self.next_log_ref;
        self.next_log_ref += 1;
        let entry = Entry { labels, log_ref, last_t: t.0, last_fingerprint: fingerprint };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                Slot::try_from(self.entries.len() - 1).expect("limits.series keeps slots far below 2^32")
            }
        };
        self.register(slot);
        slot
    }

    fn register(&mut self, slot: Slot) {
        let entries = &self.entries;
        let labels = &entries[slot as usize].labels;
        self.slots.insert_unique(labels.hash64(), slot, |other| entries[*other as usize].labels.hash64());
        *self.series_by_job.entry_ref(labels.get("job").unwrap_or("")).or_default() += 1;
    }
}

impl Window {
    fn judge(self, t: TimestampMs) -> Result<(), Refusal> {
        if t < self.oldest || t == TimestampMs::MIN {
            Err(Refusal::TooOld)
        } else if t > self.newest {
            Err(Refusal::TooNew)
        } else {
            Ok(())
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    OutOfOrder,
    TooOld,
    TooNew,
    ConflictingValue,
    SeriesLimit(usize),
    SeriesPerJobLimit(usize),
    InvalidLabels,
}

impl Refusal {
    fn reason(self) -> &'static str {
        match self {
            Self::OutOfOrder => "out_of_order",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::ConflictingValue => "conflicting_value",
            Self::SeriesLimit(_) => "series_limit",
            Self::SeriesPerJobLimit(_) => "series_per_job_limit",
            Self::InvalidLabels => "invalid_labels",
        }
    }

    fn sentence(self, labels: &Labels, t: TimestampMs, window: Window) -> String {
        // Labels may be as long as a message; an example is read by a person.
        let series: String = labels.to_string().chars().take(300).collect();
        match self {
            Self::OutOfOrder => format!("`{series}` already has a sample after {t}"),
            Self::TooOld => format!("`{series}` at {t} is before {}, the end of retention", window.oldest),
            Self::TooNew => format!("`{series}` at {t} is after {}, the latest time accepted", window.newest),
            Self::ConflictingValue => format!("`{series}` already has another value at {t}"),
            Self::SeriesLimit(max) => format!("`{series}` is new and `limits.series` ({max}) is reached"),
            Self::SeriesPerJobLimit(max) => {
                format!("`{series}` is new and its job has reached `limits.series_per_job` ({max})")
            }
            Self::InvalidLabels => {
                format!("`{series}` has no metric name, or more than {LABELS_BYTES_MAX} bytes of labels")
            }
        }
    }
}

fn refuse(receipt: &mut Receipt, refusal: Refusal, labels: &Labels, t: TimestampMs, window: Window) {
    let reason = refusal.reason();
    match receipt.refused.iter_mut().find(|(known, _)| *known == reason) {
        Some((_, count)) => *count += 1,
        None => {
            receipt.refused.push((reason, 1));
            receipt.examples.push(format!("{reason}: {}", refusal.sentence(labels, t, window)));
        }
    }
}
