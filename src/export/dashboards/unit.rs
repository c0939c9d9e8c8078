//! Units of a panel's values, as Grafana spells them.
//!
//! Always: every id is one that Grafana knows; an unknown one would be printed behind the number as it stands.
//! Source: `packages/grafana-data/src/valueFormats/categories.ts` of Grafana 12.

/// The unit in which a panel's values arrive; Grafana scales from there (`1500` bytes, `0.42` as 42 %).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number, printed as it is.
    Plain,
    /// A plain number, shortened (`1.2 K`): cores, counts of many things.
    Short,
    /// A share of one; shown as percent.
    Ratio,
    /// Requests a second.
    RequestsPerSecond,
    /// Anything else a second.
    OperationsPerSecond,
    /// Seconds, scaled down to milliseconds where small.
    Seconds,
    /// Bytes, scaled by 1024.
    Bytes,
}

impl Unit {
    /// Every unit in use, for tests that hold them against Grafana's list.
    pub const ALL: [Self; 7] = [
        Self::Plain,
        Self::Short,
        Self::Ratio,
        Self::RequestsPerSecond,
        Self::OperationsPerSecond,
        Self::Seconds,
        Self::Bytes,
    ];

    /// Grafana's id of the unit.
    pub fn id(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Short => "short",
            Self::Ratio => "percentunit",
            Self::RequestsPerSecond => "reqps",
            Self::OperationsPerSecond => "ops",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
        }
    }
}
