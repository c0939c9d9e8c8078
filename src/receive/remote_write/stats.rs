//! What came in by remote write and what became of it.

use parking_lot::Mutex;

use super::decode::Decoded;
use crate::model::{Counter, StatRow, Stats};
use crate::storage::Receipt;

/// The status codes this door answers with.
const CODES: [u16; 8] = [204, 400, 408, 413, 415, 500, 503, 404];

/// Counts of the door, exact within a process life.
///
/// `received = stored + duplicate + refused`, less those of requests that the store refused as a whole (`unkept`).
#[derive(Debug, Default)]
pub struct RemoteWriteStats {
    requests: [Counter; CODES.len()],
    bytes: Counter,
    floats: Counter,
    histograms: Counter,
    exemplars: Counter,
    stored: Counter,
    duplicate: Counter,
    unkept: Counter,
    refused: Mutex<Vec<(&'static str, u64)>>,
}

impl RemoteWriteStats {
    pub(super) fn answered(&self, code: u16) {
        if let Some(at) = CODES.iter().position(|known| *known == code) {
            self.requests[at].inc();
        }
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes.add(bytes as u64);
    }

    pub(super) fn decoded(&self, decoded: &Decoded) {
        self.floats.add(decoded.floats);
        self.histograms.add(decoded.histograms);
        self.exemplars.add(decoded.exemplars);
        self.refuse(&decoded.batch.refused);
    }

    pub(super) fn receipt(&self, receipt: &Receipt) {
        self.stored.add(receipt.stored);
        self.duplicate.add(receipt.duplicate);
        self.refuse(&receipt.refused);
    }

    pub(super) fn unkept(&self, points: u64) {
        self.unkept.add(points);
    }

    fn refuse(&self, reasons: &[(&'static str, u64)]) {
        let mut refused = self.refused.lock();
        for (reason, n) in reasons {
            match refused.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += n,
                None => refused.push((reason, *n)),
            }
        }
    }
}

impl Stats for RemoteWriteStats {
    fn rows(&self) -> Vec<StatRow> {
        let mut rows = Vec::new();
        for (code, count) in CODES.iter().zip(&self.requests) {
            let help = "Remote write requests, by the status they were answered with.";
            let row = StatRow::counter("rivetwatch_remote_write_requests_total", help, count.get());
            rows.push(row.with("code", code.to_string()));
        }
        let help = "Bytes of remote write requests, decompressed.";
        rows.push(StatRow::counter("rivetwatch_remote_write_received_bytes_total", help, self.bytes.get()));
        for (kind, count) in [("float", &self.floats), ("histogram", &self.histograms)] {
            let help = "Samples received by remote write.";
            let row = StatRow::counter("rivetwatch_remote_write_received_samples_total", help, count.get());
            rows.push(row.with("kind", kind));
        }
        let help = "Exemplars received by remote write.";
        rows.push(StatRow::counter("rivetwatch_remote_write_exemplars_total", help, self.exemplars.get()));
        for (outcome, count) in [("stored", &self.stored), ("duplicate", &self.duplicate), ("unkept", &self.unkept)] {
            let help = "Samples received by remote write, by what became of them; unkept ones may be sent again.";
            let row = StatRow::counter("rivetwatch_remote_write_samples_total", help, count.get());
            rows.push(row.with("outcome", outcome));
        }
        for (reason, n) in self.refused.lock().iter() {
            let help = "Samples received by remote write that were refused.";
            rows.push(
                StatRow::counter("rivetwatch_remote_write_refused_samples_total", help, *n).with("reason", *reason),
            );
        }
        rows
    }
}
