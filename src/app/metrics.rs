//! From the counts that the rooms keep to OpenTelemetry instruments.
//!
//! In:  every room's `Stats`.   Out: one observable instrument a name, read by `/metrics` and by OTLP alike.
//! Always: all numbers of one page come from one [`Bridge::refresh`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use parking_lot::{Mutex, RwLock};

use crate::model::{StatKind, StatRow, Stats};
use crate::telemetry;

type Snapshot = BTreeMap<&'static str, Vec<StatRow>>;

/// Collects the rows of every room and makes an instrument for each new name.
pub struct Bridge {
    meter: Meter,
    sources: RwLock<Vec<Arc<dyn Stats>>>,
    snapshot: Arc<RwLock<Snapshot>>,
    known: Mutex<BTreeSet<&'static str>>,
}

impl Bridge {
    /// A bridge to this meter, without sources yet.
    pub fn new(meter: Meter) -> Self {
        Self { meter, sources: RwLock::default(), snapshot: Arc::default(), known: Mutex::default() }
    }

    /// Adds a room's counts.
    pub fn add(&self, source: Arc<dyn Stats>) {
        self.sources.write().push(source);
    }

    /// Reads every room; what is collected after this shows these numbers.
    pub fn refresh(&self) {
        let mut snapshot = Snapshot::new();
        for row in self.sources.read().iter().flat_map(|source| source.rows()) {
            snapshot.entry(row.name).or_default().push(row);
        }
        let mut known = self.known.lock();
        for (name, rows) in snapshot.iter().filter(|(name, _)| !known.contains(**name)) {
            let values = self.snapshot.clone();
            let name: &'static str = name;
            let read: telemetry::Observe = Arc::new(move |report| {
                for row in values.read().get(name).into_iter().flatten() {
                    report(row.value, &row.labels);
                }
            });
            telemetry::observe(&self.meter, name, rows[0].help, rows[0].kind == StatKind::Counter, read);
        }
        known.extend(snapshot.keys());
        drop(known);
        *self.snapshot.write() = snapshot;
    }

    /// The rows of the last refresh, for storing them as series.
    pub fn rows(&self) -> Vec<StatRow> {
        self.snapshot.read().values().flatten().cloned().collect()
    }
}
