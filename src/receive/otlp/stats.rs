//! What came in over OTLP and what became of it.

use parking_lot::Mutex;

use super::reject::Reject;
use crate::model::{Counter, StatKind, StatRow, Stats};
use crate::storage::Receipt;

use super::intake::Signal;
use super::translate::Translated;

/// Counts of the OTLP doors, exact within a process life.
///
/// Data points: `received = accepted + refused`. Points made of them, with zeros and `target_info`:
/// `translated = stored + duplicate + refused`, unless the whole request was refused.
#[derive(Debug, Default)]
pub struct OtlpStats {
    requests: [[Counter; 2]; 3],
    items: [Counter; 3],
    bytes: Counter,
    rejects: [Counter; Reject::REASONS.len()],
    data_points_accepted: Counter,
    data_points_unkept: Counter,
    json_skipped: Counter,
    stored: Counter,
    duplicate: Counter,
    zeros: Counter,
    target_infos: Counter,
    long_attributes: Counter,
    merged: Counter,
    identity_conflicts: Counter,
    by_reason: Mutex<Refused>,
}

#[derive(Debug, Default)]
struct Refused {
    data_points: Vec<(&'static str, u64)>,
    points: Vec<(&'static str, u64)>,
}

fn add(counts: &mut Vec<(&'static str, u64)>, reasons: &[(&'static str, u64)]) {
    for (reason, n) in reasons {
        match counts.iter_mut().find(|(known, _)| known == reason) {
            Some((_, count)) => *count += n,
            None => counts.push((reason, *n)),
        }
    }
}

impl OtlpStats {
    pub(super) fn request(&self, signal: Signal, is_json: bool, bytes: usize) {
        self.requests[signal as usize][usize::from(is_json)].inc();
        self.bytes.add(bytes as u64);
    }

    pub(super) fn items(&self, signal: Signal, n: u64) {
        self.items[signal as usize].add(n);
    }

    pub(super) fn reject(&self, reject: &Reject) {
        self.rejects[reject.reason()].inc();
    }

    pub(super) fn skipped(&self, n: u64) {
        self.json_skipped.add(n);
    }

    pub(super) fn translated(&self, translated: &Translated) {
        self.data_points_accepted.add(translated.accepted);
        self.zeros.add(translated.zeros);
        self.target_infos.add(translated.target_infos);
        self.long_attributes.add(translated.long_attributes);
        self.merged.add(translated.merged);
        self.identity_conflicts.add(translated.identity_conflicts);
        add(&mut self.by_reason.lock().data_points, translated.refusals.by_reason());
    }

    /// The store refused the whole batch: data points that were translated are not kept.
    pub(super) fn unkept(&self, translated: u64) {
        self.data_points_unkept.add(translated);
    }

    pub(super) fn receipt(&self, receipt: &Receipt) {
        self.stored.add(receipt.stored);
        self.duplicate.add(receipt.duplicate);
        add(&mut self.by_reason.lock().points, &receipt.refused);
    }

    /// Data points, spans or log records received.
    pub fn received(&self, signal: Signal) -> u64 {
        self.items[signal as usize].get()
    }

    /// Requests refused as a whole for `reason`.
    pub fn rejected(&self, reason: &str) -> u64 {
        Reject::REASONS.iter().position(|r| *r == reason).map_or(0, |at| self.rejects[at].get())
    }
}

impl Stats for OtlpStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = Vec::new();
        for signal in Signal::ALL {
            for (encoding, count) in ["protobuf", "json"].into_iter().zip(&self.requests[signal as usize]) {
                rows.push(
                    StatRow::counter(
                        "rivetwatch_otlp_requests_total",
                        "OTLP requests whose body was read.",
                        count.get(),
                    )
                    .with("signal", signal.as_str())
                    .with("encoding", encoding),
                );
            }
            let help = "Data points, spans and log records received over OTLP.";
            rows.push(
                StatRow::counter("rivetwatch_otlp_received_items_total", help, self.items[signal as usize].get())
                    .with("signal", signal.as_str()),
            );
        }
        for (reason, count) in Reject::REASONS.into_iter().zip(&self.rejects) {
            let help = "OTLP requests refused as a whole.";
            rows.push(
                StatRow::counter("rivetwatch_otlp_refused_requests_total", help, count.get()).with("reason", reason),
            );
        }
        rows.push(StatRow::counter(
            "rivetwatch_otlp_received_bytes_total",
            "Bytes of OTLP requests, decompressed.",
            self.bytes.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_otlp_accepted_data_points_total",
            "Data points that became points of series.",
            self.data_points_accepted.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_otlp_unkept_data_points_total",
            "Accepted data points of requests that the store refused as a whole; senders may retry them.",
            self.data_points_unkept.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_otlp_unreadable_items_total",
            "Data points, spans and log records of OTLP/JSON requests that could not be read.",
            self.json_skipped.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_otlp_long_attributes_total",
            "Resource attributes left out of target_info because they are longer than a label may be.",
            self.long_attributes.get(),
        ));
        for (outcome, count) in [("stored", &self.stored), ("duplicate", &self.duplicate)] {
            let help = "Points of series made of OTLP data points, by what became of them.";
            rows.push(StatRow::counter("rivetwatch_otlp_points_total", help, count.get()).with("outcome", outcome));
        }
        for (kind, count) in [("zero", &self.zeros), ("target_info", &self.target_infos)] {
            let help = "Points added to those that were sent.";
            rows.push(StatRow::counter("rivetwatch_otlp_added_points_total", help, count.get()).with("kind", kind));
        }
        rows.push(StatRow::counter(
            "rivetwatch_otlp_merged_points_total",
            "Points added up with others after a free-text label was cut.",
            self.merged.get(),
        ));
        rows.push(StatRow::counter(
            "rivetwatch_identity_conflicts_total",
            "Resources received while two processes reported under one identity.",
            self.identity_conflicts.get(),
        ));
        let refused = self.by_reason.lock();
        let counted = |name, help, counts: &[(&'static str, u64)]| {
            let row = |(reason, n): &(&'static str, u64)| StatRow {
                name,
                help,
                kind: StatKind::Counter,
                labels: vec![("reason", (*reason).to_owned())],
                value: *n as f64,
            };
            counts.iter().map(row).collect::<Vec<_>>()
        };
        rows.extend(counted(
            "rivetwatch_otlp_refused_data_points_total",
            "Data points refused by the receiver.",
            &refused.data_points,
        ));
        rows.extend(counted(
            "rivetwatch_otlp_refused_points_total",
            "Points made of data points that the store refused.",
            &refused.points,
        ));
        rows
    }
}
