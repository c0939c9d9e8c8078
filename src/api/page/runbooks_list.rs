// Written by `UPDATE=1 cargo test runbooks`: every file of alerts/runbooks.

/// Name of the alert and Markdown of its runbook, in order of name.
#[rustfmt::skip]
pub const RUNBOOKS: &[(&str, &str)] = &[];
