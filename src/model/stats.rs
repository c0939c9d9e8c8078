//! Counts that a module keeps of its own work, and the one form in which telemetry reads them.
//!
//! A module holds plain atomics and lists them in [`Stats::rows`]; only `app` turns the rows into
//! OpenTelemetry instruments. So a module needs no exporter to be tested to the last point.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows within a process life.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that rises and falls, kept as the bits of an `f64`.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the level.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// The level last set; zero before the first.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// Whether a row is a running total or a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    Counter,
    Gauge,
}

/// One number with its name: what `/metrics` shows as a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct StatRow {
    /// `rivetwatch_<what>_<base unit>`, counters with `_total`.
    pub name: &'static str,
    /// One sentence for `# HELP`.
    pub help: &'static str,
    pub kind: StatKind,
    /// Bounded labels such as `reason="too_old"`; never free text.
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

impl StatRow {
    /// A running total without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, kind: StatKind::Counter, labels: Vec::new(), value: value as f64 }
    }

    /// A level without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: StatKind::Gauge, labels: Vec::new(), value }
    }

    /// The same row with one label more.
    pub fn with(mut self, label: &'static str, value: impl Into<String>) -> Self {
        self.labels.push((label, value.into()));
        self
    }
}

/// Something that counts its work.
pub trait Stats: Send + Sync {
    /// The current numbers. Every name has the same kind, help text and label names at every call.
    fn rows(&self) -> Vec<StatRow>;
}
