//! The `expect:` of a scenario: which pages must come, and until when.

use super::named::Named;
use super::tree::Fields;

/// A page, or an alert, that must come.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Any of these.
    pub alertnames: Vec<String>,
    /// Whether somebody must be paged; otherwise it is enough that the alert fires.
    pub is_page: bool,
    /// Any when `None`.
    pub severity: Option<String>,
    /// The first sign that whoever watches can see: no page before it counts, and the time to page begins here.
    pub sign_ms: i64,
    /// Latest time.
    pub by_ms: i64,
    pub resolved_by_ms: Option<i64>,
}

impl Expectation {
    pub(super) fn read(
        fields: &mut Fields<'_>,
        duration_ms: i64,
        sign: Option<i64>,
        named: &mut Named,
    ) -> Option<Self> {
        let page = named.alerts(fields, "page");
        let alert = named.alerts(fields, "alert");
        let severity = named.severity(fields);
        let sign_ms = fields.duration("sign").or(sign).unwrap_or(0);
        let (by, within) = (fields.duration("by"), fields.duration("within"));
        if by.is_some() && within.is_some() {
            fields.wrong("within", "stands beside `by`; give one of them");
        }
        if by.is_none() && within.is_none() {
            fields.wrong("by", "must say until when the page has to come (or `within`, after the first sign)");
        }
        let by_ms = by.or(within.map(|within| sign_ms + within)).unwrap_or(duration_ms);
        if by_ms < sign_ms {
            fields.wrong("by", "must not be before the first sign");
        }
        let resolved_by_ms = fields.duration("resolved_by");
        for (key, time) in [("by", Some(by_ms)), ("resolved_by", resolved_by_ms)] {
            if time.is_some_and(|time| time > duration_ms) {
                fields.wrong(key, "must not be after the end of the scenario");
            }
        }
        if resolved_by_ms.is_some_and(|resolved| resolved < by_ms) {
            fields.wrong("resolved_by", "must not be before the latest time of the page");
        }
        let (alertnames, is_page) = match (page.is_empty(), alert.is_empty()) {
            (false, true) => (page, true),
            (true, false) => (alert, false),
            _ => {
                fields.wrong("page", "must name the alert that pages (or `alert`, one that only has to fire)");
                return None;
            }
        };
        Some(Self { alertnames, is_page, severity, sign_ms, by_ms, resolved_by_ms })
    }
}
