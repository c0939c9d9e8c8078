//! One engine process: work in, telemetry out, as the release that it is sends it.
//!
//! In:  [`Work`] of each step, from whoever models the cluster.   Out: the page of :6430, or OTLP metrics, and spans.
//! Always: no clock; the same work and seed give the same bytes. It has the habits that matter to whoever watches the
//! real one: families appear at first use, CPU comes only as a histogram of cores observed when the worker looks for
//! work, calls that the engine refuses itself are counted as errors and not as proxied calls.

mod fill;
mod record;
mod spans;
mod work;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::chance::Chance;
use super::families::{Families, Wanted};
use crate::model::{TimestampMs, UnixNanos};
use crate::rivet::inventory;

pub use work::{
    Actors, ApiCalls, Calls, ClusterGauges, Database, LATE_CALL, Messages, PoolKind, PoolWork, Work, Worker,
};

/// The releases whose telemetry differs in shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// Metrics over OTLP, with the label names and texts of that time.
    V25_7,
    /// Metrics on :6430 without a prefix.
    V2_3_7,
    /// Metrics on :6430 with the prefix `rivet_`, some counters without `_total`; traces over OTLP.
    V2_3_19,
}

impl Release {
    /// Every release, oldest first.
    pub const ALL: [Self; 3] = [Self::V25_7, Self::V2_3_7, Self::V2_3_19];

    /// As people write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V25_7 => "25.7",
            Self::V2_3_7 => "2.3.7",
            Self::V2_3_19 => "2.3.19",
        }
    }

    /// The whole version, as the engine's API and `service.version` tell it.
    pub fn version(self) -> &'static str {
        match self {
            Self::V25_7 => "25.7.1",
            Self::V2_3_7 => "2.3.7",
            Self::V2_3_19 => "2.3.19",
        }
    }

    /// Whether metrics are scraped; 25.7 sends them.
    pub fn is_scraped(self) -> bool {
        self != Self::V25_7
    }

    /// The name under which this release sends a family; `None` where it does not.
    ///
    /// A family that 2.3.7 has and no recording of 2.3.19 shows is taken to be there, with the prefix.
    pub fn name_of(self, canonical: &str) -> Option<String> {
        let family = inventory::family(canonical).filter(|family| family.is_recorded)?;
        match self {
            Self::V25_7 => family.otlp_25_7.clone(),
            Self::V2_3_7 => family.scraped_2_3_7.clone(),
            Self::V2_3_19 => {
                let prefixed = || family.scraped_2_3_7.as_ref().map(|name| format!("rivet_{name}"));
                family.scraped_2_3_19.clone().or_else(prefixed)
            }
        }
    }
}

/// One simulated engine process.
#[derive(Debug)]
pub struct Engine {
    release: Release,
    instance: String,
    started: TimestampMs,
    families: Families,
    wanted: Wanted,
    chance: Chance,
    spans: Option<spans::Spans>,
    fill: fill::Fill,
    /// When the worker recorded its heartbeat last, by the time of the steps.
    heartbeat_at: Option<TimestampMs>,
}

/// How often the worker records its heartbeat.
const HEARTBEAT_MS: i64 = 10_000;

impl Engine {
    /// A process that began at `started` and records what is `wanted`.
    pub fn new(release: Release, instance: &str, chance: Chance, started: TimestampMs, wanted: Wanted) -> Self {
        Self {
            release,
            instance: instance.to_owned(),
            started,
            families: Families::engine(release, wanted.clone()),
            fill: fill::Fill::new(&wanted),
            wanted,
            chance,
            spans: None,
            heartbeat_at: None,
        }
    }

    /// From now on it also sends a span for each call.
    pub fn send_spans(&mut self) {
        self.spans = Some(spans::Spans::default());
    }

    /// What it is.
    pub fn release(&self) -> Release {
        self.release
    }

    /// When the process began.
    pub fn started(&self) -> TimestampMs {
        self.started
    }

    /// The process ends and another begins in its place at `now`: every counter from zero, every family absent.
    pub fn restart(&mut self, now: TimestampMs) {
        self.started = now;
        self.families = Families::engine(self.release, self.wanted.clone());
        self.fill = fill::Fill::new(&self.wanted);
        self.heartbeat_at = None;
    }

    /// Takes in what the process did in a step that ended at `now`.
    pub fn record(&mut self, now: TimestampMs, work: &Work) {
        record::record(self, now, work);
        self.fill.record(&mut self.families, work, &mut self.chance);
    }

    /// The page of port 6430, written over what `page` held; `false` from a release that has none.
    pub fn page_into(&self, page: &mut String) -> bool {
        if self.release.is_scraped() {
            self.families.page_into(page);
        }
        self.release.is_scraped()
    }

    /// The page of port 6430. A 25.7 engine has none.
    pub fn page(&self) -> Option<String> {
        let mut page = String::new();
        self.page_into(&mut page).then_some(page)
    }

    /// The metrics request that a 25.7 engine sends, stamped `now` by its own clock; later releases send none.
    ///
    /// `more` are resource attributes from its environment.
    pub fn metrics_request(&self, now: TimestampMs, more: &[(&str, &str)]) -> Option<ExportMetricsServiceRequest> {
        if self.release.is_scraped() {
            return None;
        }
        let resource: Vec<(&str, &str)> = self.resource().into_iter().chain(more.iter().copied()).collect();
        Some(self.families.otlp(&resource, nanos(self.started), nanos(now)))
    }

    /// The spans since the last call, at sampler ratio 1; `None` when there were none.
    pub fn trace_request(&mut self) -> Option<ExportTraceServiceRequest> {
        let resource: Vec<(String, String)> =
            self.resource().into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        self.spans.as_mut()?.take_request(&resource)
    }

    /// Attributes that the process puts on everything it sends.
    pub fn resource(&self) -> Vec<(&'static str, &str)> {
        let mut resource = vec![("service.name", "rivet"), ("service.version", self.release.version())];
        if self.release == Release::V25_7 {
            resource.push(("server_id", self.instance.as_str()));
        }
        resource
    }
}

/// Milliseconds as OTLP counts time.
pub fn nanos(t: TimestampMs) -> UnixNanos {
    UnixNanos(t.0.max(0).unsigned_abs() * 1_000_000)
}

#[cfg(test)]
mod tests;
