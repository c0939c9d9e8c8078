//! What queries see: the newest samples of every series, behind one lock.
//!
//! In: whole commits.   Out: snapshots, as counted pointers to series.
//! Always: a commit is applied under one hold of the write lock and a snapshot is taken under one hold of the read
//! lock, so a snapshot holds all of a commit or nothing. A reader keeps the lock only while it finds its series and
//! counts their pointers up; it matches regular expressions before or afterwards, and decodes afterwards. A series that a snapshot holds is copied before it changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use super::admission::Commit;
use super::index::{Index, Passing, Selected, Slot};
use super::passing::PassingCache;
use super::retention::Retention;
use super::series::Series;
use crate::model::{Labels, MatchOp, Matcher, Metadata, TimeRange, TimestampMs};

/// Families whose metadata is kept, further ones go without; an engine has a few hundred.
const FAMILIES_MAX: usize = 20_000;

/// How often one selection works out what passes an expression anew because its label has got new values meanwhile;
/// then each series is asked.
const WORKED_OUT_AGAIN_MAX: usize = 2;

/// Slots visited under one hold of the write lock while old chunks are dropped: well below a millisecond.
const SWEEP_SLOTS: usize = 2_048;

/// The queryable state.
#[derive(Debug)]
pub(super) struct Head {
    visible: RwLock<Visible>,
    passing: PassingCache,
    retention: Retention,
    // Copies of the levels, so that they are read without the lock.
    bytes: AtomicUsize,
    series: AtomicUsize,
    chunks: AtomicUsize,
}

#[derive(Debug, Default)]
struct Visible {
    series: Vec<Option<Arc<Series>>>,
    index: Index,
    metadata: BTreeMap<String, Metadata>,
    live: usize,
    chunks: usize,
    series_bytes: usize,
    metadata_bytes: usize,
}

impl Head {
    /// An empty head.
    pub fn new(retention: Retention) -> Self {
        Self {
            visible: RwLock::default(),
            passing: PassingCache::default(),
            retention,
            bytes: AtomicUsize::default(),
            series: AtomicUsize::default(),
            chunks: AtomicUsize::default(),
        }
    }

    /// Makes commits visible, all at one moment.
    pub fn apply(&self, commits: impl IntoIterator<Item = Commit>) {
        let mut visible = self.visible.write();
        for commit in commits {
            visible.apply(commit, &self.retention);
        }
        self.publish_levels(&visible);
    }

    /// Puts a series read from disk into its slot.
    pub fn restore(&self, restored: Vec<(Slot, Series)>, metadata: Vec<(String, Metadata)>) {
        let mut visible = self.visible.write();
        visible.index.insert(restored.iter().map(|(slot, series)| (*slot, &series.labels)));
        for (slot, series) in restored {
            visible.put(slot, series);
        }
        for (family, metadata) in metadata {
            visible.put_metadata(family, metadata);
        }
        self.publish_levels(&visible);
    }

    /// Drops chunks older than the retention of their series, and series left without samples; gives the dropped series.
    pub fn drop_old(&self, now: TimestampMs) -> Vec<(Slot, Labels)> {
        let mut dropped = Vec::new();
        let slots = self.visible.read().series.len();
        for start in (0..slots).step_by(SWEEP_SLOTS) {
            let mut visible = self.visible.write();
            let gone = visible.drop_old(now, &self.retention, start..slots.min(start + SWEEP_SLOTS));
            visible.index.remove(gone.iter().map(|(slot, labels)| (*slot, labels)));
            self.publish_levels(&visible);
            dropped.extend(gone);
        }
        dropped
    }

    /// At most how many series pass; `None` while a commit is applied, because this does not wait.
    pub fn series_at_most(&self, matchers: &[Matcher]) -> Option<usize> {
        let visible = self.visible.try_read()?;
        let exact = matchers.iter().filter(|m| m.op == MatchOp::Equal && !m.value.is_empty());
        Some(exact.map(|m| visible.index.postings(&m.name, &m.value).len()).min().unwrap_or(visible.live))
    }

    /// The series that pass every matcher and may have samples in the range, as they are at one moment.
    pub fn snapshot(&self, matchers: &[Matcher], range: TimeRange) -> Vec<Arc<Series>> {
        let mut passing: Vec<Option<Arc<Passing>>> =
            matchers.iter().map(|matcher| if matcher.is_slow() { self.passing.get(matcher) } else { None }).collect();
        let mut worked_out = 0;
        loop {
            let visible = self.visible.read();
            let selected = visible.index.select(
                matchers,
                worked_out < matchers.len() + WORKED_OUT_AGAIN_MAX,
                |number| passing[number].as_deref(),
                |slot| &visible.at(slot).expect("the index lists live slots only").labels,
                || visible.live_slots(),
            );
            let series_of = |slots: Vec<Slot>| -> Vec<Arc<Series>> {
                let series = slots.into_iter().filter_map(|slot| visible.at(slot));
                series.filter(|series| series.overlaps(range)).cloned().collect()
            };
            match selected {
                Selected::Slots(slots, left) => {
                    let mut series = series_of(slots);
                    drop(visible);
                    series.retain(|series| left.iter().all(|number| matchers[*number].matches(&series.labels)));
                    return series;
                }
                // Nothing passes any more, so nothing that were found would be right.
                Selected::Needs(number) if matchers[number].has_given_up() => return Vec::new(),
                Selected::Needs(number) => {
                    let matcher = &matchers[number];
                    let changed = visible.index.values_changed(&matcher.name);
                    let values: Vec<Box<str>> =
                        visible.index.values(&matcher.name).map(|(value, _)| Box::from(value)).collect();
                    drop(visible);
                    worked_out += 1;
                    passing[number] = Some(self.passing.work_out(matcher, changed, values));
                }
            }
        }
    }

    /// All series, as they are at this moment.
    pub fn all(&self) -> Vec<Arc<Series>> {
        self.visible.read().series.iter().flatten().cloned().collect()
    }

    /// The series in a slot.
    pub fn series_at(&self, slot: Slot) -> Option<Arc<Series>> {
        self.visible.read().at(slot).cloned()
    }

    /// Times of the oldest and the newest sample.
    pub fn time_range(&self) -> Option<TimeRange> {
        let visible = self.visible.read();
        let times = visible.series.iter().flatten().filter_map(|series| Some((series.first_t()?, series.last_t()?)));
        times
            .map(|(from, to)| TimeRange { from, to })
            .reduce(|all, one| TimeRange { from: all.from.min(one.from), to: all.to.max(one.to) })
    }

    /// Whether any series carries this label.
    pub fn has_label(&self, name: &str, value: &str) -> bool {
        !self.visible.read().index.postings(name, value).is_empty()
    }

    /// The values of `name` whose series may have samples in the range, unsorted.
    pub fn label_values(&self, name: &str, range: TimeRange) -> Vec<String> {
        let visible = self.visible.read();
        let is_in_range =
            |slots: &[Slot]| slots.iter().any(|slot| visible.at(*slot).is_some_and(|s| s.overlaps(range)));
        visible.index.values(name).filter(|(_, slots)| is_in_range(slots)).map(|(value, _)| value.to_owned()).collect()
    }

    /// Label names of series that may have samples in the range, unsorted.
    pub fn label_names(&self, range: TimeRange) -> Vec<String> {
        let visible = self.visible.read();
        let is_in_range = |name: &str| {
            let mut slots = visible.index.values(name).flat_map(|(_, slots)| slots);
            slots.any(|slot| visible.at(*slot).is_some_and(|s| s.overlaps(range)))
        };
        visible.index.names().filter(|(name, _)| is_in_range(name)).map(|(name, _)| name.to_owned()).collect()
    }

    /// For each label name the number of its values, unsorted.
    pub fn label_cardinality(&self) -> Vec<(String, usize)> {
        self.visible.read().index.names().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// What is known of the families, by name; `family` narrows it to one.
    pub fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)> {
        let visible = self.visible.read();
        match family {
            Some(name) => {
                visible.metadata.get_key_value(name).map(|(n, m)| (n.clone(), m.clone())).into_iter().collect()
            }
            None => visible.metadata.iter().map(|(n, m)| (n.clone(), m.clone())).collect(),
        }
    }

    /// Whether this would change what is known of the family.
    pub fn is_new_metadata(&self, family: &str, metadata: &Metadata) -> bool {
        let visible = self.visible.read();
        match visible.metadata.get(family) {
            Some(known) => known != metadata,
            None => visible.metadata.len() < FAMILIES_MAX,
        }
    }

    /// Bytes of memory of series, samples, index and metadata, roughly.
    pub fn size_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Live series and their chunks.
    pub fn levels(&self) -> (usize, usize) {
        (self.series.load(Ordering::Relaxed), self.chunks.load(Ordering::Relaxed))
    }

    fn publish_levels(&self, visible: &Visible) {
        self.bytes.store(visible.size_bytes(), Ordering::Relaxed);
        self.series.store(visible.live, Ordering::Relaxed);
        self.chunks.store(visible.chunks, Ordering::Relaxed);
    }
}

impl Visible {
    fn apply(&mut self, commit: Commit, retention: &Retention) {
        self.index.insert(commit.new_series.iter().map(|new| (new.slot, &new.labels)));
        for new in commit.new_series {
            let keep = retention.keep(&new.labels);
            self.put(new.slot, Series::new(new.labels, new.log_ref, keep));
        }
        for sample in commit.samples {
            let place = self.series.get_mut(sample.slot as usize).and_then(Option::as_mut);
            let shared = place.expect("a commit brings the series that are not there yet");
            // Before a copy is made: a copy is smaller, and what it saves counts, too.
            let own_bytes = shared.own_bytes();
            let series = Arc::make_mut(shared);
            let growth = series.push(sample.t, sample.value, retention.chunk_span_ms(series.keep));
            self.series_bytes = (self.series_bytes + growth.bytes + series.own_bytes()).saturating_sub(own_bytes);
            self.chunks += growth.chunks;
        }
        for (family, metadata) in commit.metadata {
            self.put_metadata(family, metadata);
        }
    }

    fn put(&mut self, slot: Slot, series: Series) {
        let at = slot as usize;
        if self.series.len() <= at {
            self.series.resize(at + 1, None);
        }
        self.series_bytes += series.size_bytes();
        self.chunks += series.chunks();
        self.live += 1;
        let replaced = self.series[at].replace(Arc::new(series));
        debug_assert!(replaced.is_none(), "a slot is given again only after its series was dropped");
    }

    fn put_metadata(&mut self, family: String, metadata: Metadata) {
        if self.metadata.len() >= FAMILIES_MAX && !self.metadata.contains_key(&family) {
            return;
        }
        let size = |m: &Metadata| size_of::<(String, Metadata)>() + m.help.len() + m.unit.len();
        self.metadata_bytes += family.len() + size(&metadata);
        let replaced = self.metadata.insert(family, metadata);
        if let Some(old) = replaced {
            self.metadata_bytes = self.metadata_bytes.saturating_sub(size(&old));
        }
    }

    fn drop_old(
        &mut self,
        now: TimestampMs,
        retention: &Retention,
        slots: std::ops::Range<usize>,
    ) -> Vec<(Slot, Labels)> {
        let cutoff = |series: &Series| retention.cutoff(series.keep, now);
        let mut gone = Vec::new();
        for at in slots {
            let is_old = |series: &&mut Arc<Series>| series.has_chunks_before(cutoff(series));
            let Some(series) = self.series[at].as_mut().filter(is_old) else { continue };
            let cutoff = cutoff(series);
            let (bytes, chunks) = (series.size_bytes(), series.chunks());
            let changed = Arc::make_mut(series);
            changed.drop_before(cutoff);
            let is_empty = changed.is_empty();
            let (bytes_left, chunks_left) = if is_empty { (0, 0) } else { (changed.size_bytes(), changed.chunks()) };
            self.series_bytes = (self.series_bytes + bytes_left).saturating_sub(bytes);
            self.chunks = self.chunks + chunks_left - chunks;
            if is_empty {
                let slot = Slot::try_from(at).expect("slots are counted in 32 bits");
                let series = self.series[at].take().expect("it was there a moment ago");
                gone.push((slot, series.labels.clone()));
                self.live -= 1;
            }
        }
        gone
    }

    fn at(&self, slot: Slot) -> Option<&Arc<Series>> {
        self.series.get(slot as usize)?.as_ref()
    }

    fn live_slots(&self) -> Vec<Slot> {
        (0..).zip(&self.series).filter(|(_, series)| series.is_some()).map(|(slot, _)| slot).collect()
    }

    fn size_bytes(&self) -> usize {
        self.series_bytes
            + self.index.size_bytes()
            + self.metadata_bytes
            + self.series.capacity() * size_of::<Option<Arc<Series>>>()
    }
}
