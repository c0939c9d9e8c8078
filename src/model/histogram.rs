//! Native histograms in their float form (Prometheus `model/histogram.FloatHistogram`).

/// Whether a histogram sample is known to follow a counter reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    #[default]
    Unknown,
    Reset,
    NotReset,
    Gauge,
}

/// A run of `length` neighbouring buckets that begins `offset` buckets after the previous run ended.
///
/// The first span's offset is the index of its first bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub offset: i32,
    pub length: u32,
}

/// A native histogram with absolute float counts per bucket.
///
/// `schema` is -4 to 8 for exponential buckets (base 2^(2^-schema)) and [`FloatHistogram::CUSTOM_BUCKETS`]
/// for the bounds in `custom_values` (ascending, without +Inf). Bucket counts are absolute, not deltas.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FloatHistogram {
    pub counter_reset_hint: CounterResetHint,
    pub schema: i32,
    pub zero_threshold: f64,
    pub zero_count: f64,
    pub count: f64,
    pub sum: f64,
    pub positive_spans: Vec<Span>,
    pub positive_buckets: Vec<f64>,
    pub negative_spans: Vec<Span>,
    pub negative_buckets: Vec<f64>,
    pub custom_values: Vec<f64>,
}

impl FloatHistogram {
    /// The schema number of histograms whose bounds stand in `custom_values`.
    pub const CUSTOM_BUCKETS: i32 = -53;

    /// Whether the bounds are the ones in `custom_values`.
    pub fn uses_custom_buckets(&self) -> bool {
        self.schema == Self::CUSTOM_BUCKETS
    }
}
