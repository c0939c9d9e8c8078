//! What the TLS handshake at the public address showed.

use crate::model::TimestampMs;

/// A certificate of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub not_before: TimestampMs,
    pub not_after: TimestampMs,
}

/// A handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSeen {
    /// `host:port`.
    pub address: String,
    /// The protocol that was agreed on, or why there was none.
    pub handshake: Result<String, String>,
    /// As it was sent, the host's own first; empty without a handshake.
    pub chain: Vec<Certificate>,
    /// Whether the chain leads to a trusted root and names the host, now.
    pub verification: Result<(), String>,
}
