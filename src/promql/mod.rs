//! Evaluates PromQL over `storage::Select`.
