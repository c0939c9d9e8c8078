//! The words everything else is written in: labels, samples, histograms, timestamps, alerts.
//!
//! In and out: plain values. Always: no clock, no I/O, no async, nothing imported from the rest of the crate.

mod alert;
mod chain;
mod document;
mod exemplar;
mod float;
mod histogram;
mod instance;
mod labels;
mod matcher;
mod metadata;
mod pattern;
mod problem;
mod quantity;
mod re2;
mod sample;
mod spelling;
mod stats;
mod time;
mod units;

pub use alert::{Alert, AlertState};
pub use chain::chain;
pub use document::{FirstDocument, first_document};
pub use exemplar::{EXEMPLAR_CHARS_MAX, Exemplar};
pub use float::{write_float, write_whole};
pub use histogram::{Bucket, CounterResetHint, FloatHistogram, Span};
pub use instance::InstanceKey;
pub use labels::{LabelParts, Labels, LabelsBuilder, METRIC_NAME, Quoted, is_legacy_label_name, is_legacy_metric_name};
pub use matcher::{MatchOp, Matcher, MatcherError};
pub use metadata::{Metadata, MetricKind};
pub use pattern::{PatternError, REGEX_BYTES_MAX, compile as compile_anchored};
pub use problem::Problem;
pub use quantity::{milli as milli_quantity, parse_quantity};
pub use re2::{SyntaxError, of_re2};
pub use sample::{STALE_NAN_BITS, Sample, Value, is_stale_nan, stale_nan};
pub use spelling::nearest;
pub use stats::{Counter, Gauge, StatKind, StatRow, Stats};
pub use time::{TimeRange, TimestampMs, UnixNanos};
pub use units::{ByteSize, HumanDuration, format_duration_ms, parse_duration_ms};
