//! `receive.remote_write`: whether others may write, and how much at once.

use serde::{Deserialize, Serialize};

use crate::model::{ByteSize, Problem};

/// `receive.remote_write`: the door `/api/v1/write` beside the API, with the API's address and token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether series may be written by Prometheus remote write 1.0. Default false.
    pub enabled: bool,
    /// Size of one request, decompressed. Default 32MiB, 1KiB to 256MiB.
    pub request_size: ByteSize,
    /// Size of all requests being worked on; more are refused as retryable. Default 64MiB, at least
    /// `request_size` twice.
    pub in_flight_size: ByteSize,
}

impl Default for Config {
    fn default() -> Self {
        Self { enabled: false, request_size: ByteSize(32 << 20), in_flight_size: ByteSize(64 << 20) }
    }
}

impl Config {
    /// Adds a problem for each key that breaks its rule; `at` is the path of this section.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        if !(1 << 10..=256 << 20).contains(&self.request_size.0) {
            let rule = format!("must be 1KiB to 256MiB, got {}", self.request_size);
            problems.push(Problem::new(format!("{at}.request_size"), rule));
        }
        // A request is counted as it came and once more decompressed.
        if self.in_flight_size.0 < self.request_size.0.saturating_mul(2) || self.in_flight_size.0 > 64 << 30 {
            let rule =
                format!("must be at least twice `{at}.request_size` and at most 64GiB, got {}", self.in_flight_size);
            problems.push(Problem::new(format!("{at}.in_flight_size"), rule));
        }
    }
}
