//! The runbooks that the binary carries: one for each shipped alert.

include!("runbooks_list.rs");

/// The runbook of an alert as (name, Markdown); upper and lower case do not matter, nor does `.md` behind the name, which
/// is how the files link each other.
pub fn runbook(alert: &str) -> Option<(&'static str, &'static str)> {
    let alert = alert.strip_suffix(".md").unwrap_or(alert);
    RUNBOOKS.iter().find(|(name, _)| name.eq_ignore_ascii_case(alert)).copied()
}
