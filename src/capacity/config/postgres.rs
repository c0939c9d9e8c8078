//! `capacity.postgres`: the database's limits where no exporter tells them.

use serde::Deserialize;

use crate::model::{ByteSize, Problem};
use crate::rivet::limits::POSTGRES_CONNECTIONS_PER_ENGINE;

/// What the operator knows of the engine's PostgreSQL. Figures of postgres_exporter and of the kubelet win over it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresConfig {
    /// `max_connections`; default unknown. The shipped manifests say 500.
    pub max_connections: Option<u32>,
    /// Connections that are kept for superusers (`superuser_reserved_connections`); default 3, as in PostgreSQL.
    pub reserved_connections: u32,
    /// Connections that others than the engines hold; default 0.
    pub other_connections: u32,
    /// Whether the engines' pubsub goes over PostgreSQL too, which doubles their connections from 64 to 128 each. Default
    /// unknown: then it does, unless the engines' NATS metrics are seen.
    pub pubsub: Option<bool>,
    /// Size of the volume with its data, such as `10GiB`; default unknown.
    pub volume_size: Option<ByteSize>,
}

impl Default for PostgresConfig {
    fn default() -> Self {
        Self { max_connections: None, reserved_connections: 3, other_connections: 0, pubsub: None, volume_size: None }
    }
}

impl PostgresConfig {
    /// Connections that are left for engines of `max_connections`.
    pub fn usable(&self, max_connections: f64) -> f64 {
        (max_connections - f64::from(self.reserved_connections) - f64::from(self.other_connections)).max(0.0)
    }

    /// Connections that one engine may open; `has_nats` where NATS is seen to carry the pubsub.
    pub fn per_engine(&self, has_nats: bool) -> f64 {
        let pools = if self.pubsub.unwrap_or(!has_nats) { 2 } else { 1 };
        f64::from(POSTGRES_CONNECTIONS_PER_ENGINE * pools)
    }

    /// Engines that the configured `max_connections` are enough for; `None` where it is not configured.
    pub fn engines(&self) -> Option<u32> {
        self.max_connections.map(|max| (self.usable(f64::from(max)) / self.per_engine(false)) as u32)
    }

    pub(super) fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let taken = self.reserved_connections.saturating_add(self.other_connections);
        if let Some(max) = self.max_connections.filter(|max| *max <= taken) {
            let rule = format!("must be more than the {taken} reserved and other connections, got {max}");
            problems.push(Problem::new(format!("{at}.max_connections"), rule));
        }
        if self.volume_size == Some(ByteSize(0)) {
            problems.push(Problem::new(format!("{at}.volume_size"), "must be greater than 0"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_manifests_break_at_eight_replicas() {
        let shipped = |pubsub| PostgresConfig { max_connections: Some(500), pubsub, ..PostgresConfig::default() };
        // (500 − 3) ÷ 64 = 7.77, and ÷ 128 = 3.88 where nobody says that NATS carries the pubsub.
        assert_eq!(shipped(Some(false)).engines(), Some(7));
        assert_eq!(shipped(Some(true)).engines(), Some(3));
        assert_eq!(shipped(None).engines(), Some(3));
        assert_eq!(PostgresConfig::default().engines(), None);
    }
}
