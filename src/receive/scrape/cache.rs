//! Remembers the series of a target between scrapes, so that a steady page costs one comparison a line.
//!
//! In:  raw series texts.   Out: what was made of each: labels, or the reason to skip it.
//! Always: several raw texts may lead to one series (free text in labels is cut); one raw text leads to one.
//! A page keeps its order, so each entry remembers which one followed it: the next line is compared with that
//! text first, and hashed only when it differs.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::{Labels, TimestampMs};

/// Index of an entry: a raw series text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(u32);

/// Index of a series: a label set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesId(u32);

/// What a raw text leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Series(SeriesId),
    /// Its family is not kept.
    Filtered,
}

/// A raw series text of the page.
#[derive(Debug)]
pub struct Entry {
    pub raw: Box<str>,
    pub meaning: Meaning,
    /// Number of the scrape that last had it.
    pub seen: u64,
    /// The entry that stood on the following line.
    next: u32,
}

/// A series as it is stored.
#[derive(Debug)]
pub struct Series {
    pub labels: Labels,
    /// A counter or part of a histogram: it is born at zero and only falls with a restart.
    pub is_cumulative: bool,
    /// Raw texts that lead here are added up.
    pub merges: bool,
    /// Number of the scrape that last had it; zero before the first.
    pub seen: u64,
    /// Whether the successful scrape before the last one that had it, had it too.
    pub was_known: bool,
    /// Index of its point in the batch of the scrape `seen`.
    pub point: usize,
    /// The page gave its last sample a time of its own: then its end is not marked.
    pub has_own_time: bool,
    pub value: f64,
    /// The value before it fell, until it is reached again.
    pub fell_from: Option<f64>,
}

/// Entries and series of one target.
#[derive(Debug, Default)]
pub struct Cache {
    entries: Vec<Entry>,
    series: Vec<Series>,
    by_raw: HashTable<u32>,
    by_labels: HashTable<u32>,
}

const NONE: u32 = u32::MAX;

impl Cache {
    /// The entry that `text` begins with, if it is the one that followed `previous` in the last page.
    ///
    /// A space must end it in `text`.
    pub fn predicted(&self, previous: Option<EntryId>, text: &str) -> Option<EntryId> {
        let next = match previous {
            Some(EntryId(at)) => self.entries[at as usize].next,
            None => 0,
        };
        let raw = &self.entries.get(next as usize)?.raw;
        let tail = text.as_bytes().strip_prefix(raw.as_bytes())?;
        (tail.first() == Some(&b' ')).then_some(EntryId(next))
    }

    /// The entry with this text.
    pub fn find(&self, raw: &str) -> Option<EntryId> {
        let found = self.by_raw.find(xxh3_64(raw.as_bytes()), |&at| *self.entries[at as usize].raw == *raw);
        found.map(|&at| EntryId(at))
    }

    /// Adds an entry whose text is not there yet.
    pub fn add(&mut self, raw: &str, meaning: Meaning) -> EntryId {
        let at = u32::try_from(self.entries.len()).expect("series limits keep a page far below 4 billion series");
        self.entries.push(Entry { raw: raw.into(), meaning, seen: 0, next: NONE });
        let entries = &self.entries;
        self.by_raw.insert_unique(xxh3_64(raw.as_bytes()), at, |&e| xxh3_64(entries[e as usize].raw.as_bytes()));
        EntryId(at)
    }

    /// Remembers that `entry` followed `previous`.
    pub fn follow(&mut self, previous: Option<EntryId>, entry: EntryId) {
        if let Some(EntryId(at)) = previous {
            self.entries[at as usize].next = entry.0;
        }
    }

    /// An entry.
    pub fn entry(&mut self, EntryId(at): EntryId) -> &mut Entry {
        &mut self.entries[at as usize]
    }

    /// A series.
    pub fn series(&mut self, SeriesId(at): SeriesId) -> &mut Series {
        &mut self.series[at as usize]
    }

    /// All series.
    pub fn all_series(&mut self) -> &mut [Series] {
        &mut self.series
    }

    /// The series with these labels.
    pub fn find_series(&self, labels: &Labels) -> Option<SeriesId> {
        let found = self.by_labels.find(labels.hash64(), |&at| self.series[at as usize].labels == *labels);
        found.map(|&at| SeriesId(at))
    }

    /// Adds a series whose labels are not there yet.
    pub fn add_series(&mut self, labels: Labels, is_cumulative: bool, merges: bool) -> SeriesId {
        let at = u32::try_from(self.series.len()).expect("series limits keep a page far below 4 billion series");
        let hash = labels.hash64();
        self.series.push(Series {
            labels,
            is_cumulative,
            merges,
            seen: 0,
            was_known: false,
            point: 0,
            has_own_time: false,
            value: 0.0,
            fell_from: None,
        });
        let series = &self.series;
        self.by_labels.insert_unique(hash, at, |&s| series[s as usize].labels.hash64());
        SeriesId(at)
    }

    /// Number of series, vanished ones that are still remembered among them.
    pub fn series_len(&self) -> usize {
        self.series.len()
    }

    /// Forgets what no scrape since number `oldest` had, once that is most of what is remembered, or room is needed.
    pub fn compact(&mut self, oldest: u64, needs_room: bool) {
        const SLACK: usize = 1_000;
        let live = self.entries.iter().filter(|e| e.seen >= oldest).count();
        if !needs_room && self.entries.len() <= 2 * live + SLACK {
            return;
        }
        let old = std::mem::take(self);
        let mut moved = vec![None; old.series.len()];
        for (at, series) in old.series.into_iter().enumerate() {
            if series.seen >= oldest {
                let id = self.add_series(series.labels.clone(), series.is_cumulative, series.merges);
                *self.series(id) = series;
                moved[at] = Some(id);
            }
        }
        let mut previous = None;
        for entry in old.entries.into_iter().filter(|e| e.seen >= oldest) {
            let meaning = match entry.meaning {
                Meaning::Series(SeriesId(at)) => moved[at as usize].map(Meaning::Series),
                skipped => Some(skipped),
            };
            if let Some(meaning) = meaning {
                let id = self.add(&entry.raw, meaning);
                self.entry(id).seen = entry.seen;
                self.follow(previous, id);
                previous = Some(id);
            }
        }
    }
}

impl Series {
    /// Marks the end of the series at `t`.
    pub fn stale_point(&self, t: TimestampMs) -> crate::storage::Point {
        let value = crate::model::Value::Float(crate::model::stale_nan());
        crate::storage::Point { labels: self.labels.clone(), t, value }
    }
}
