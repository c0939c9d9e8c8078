//! The runbook of an alert.
//!
//! In:  the name of an alert, as people and links write it.   Out: the Markdown that the binary carries.

use super::runbooks_list::RUNBOOKS;

/// The runbook of an alert as (name, Markdown); upper and lower case do not matter, nor does `.md` behind the name, which
/// is how the files link each other.
pub fn runbook(alert: &str) -> Option<(&'static str, &'static str)> {
    let alert = alert.strip_suffix(".md").unwrap_or(alert);
    RUNBOOKS.iter().find(|(name, _)| name.eq_ignore_ascii_case(alert)).copied()
}
