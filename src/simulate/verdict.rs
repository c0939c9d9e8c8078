//! Pages held against expectations.
//!
//! Always: each page meets at most one expectation; a page that meets none and is not allowed by `may` is false, and
//! so is one that `never` names. A page before the first sign of its cause is no detection.

use serde::Serialize;

use super::log::{Log, PagedIncident};
use super::scenario::{Expectation, Scenario};

/// Which expectations were met.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Judged {
    pub met: Vec<Met>,
    pub missed: Vec<Missed>,
}

/// An expectation that was met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Met {
    pub alertname: String,
    pub is_page: bool,
    /// Seconds after the first sign.
    pub after_seconds: f64,
    /// Seconds after the first sign within which it had to come.
    pub within_seconds: f64,
    pub at_seconds: f64,
}

/// An expectation that was not met, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missed {
    pub alertname: String,
    pub is_page: bool,
    pub latest_seconds: f64,
    pub why: String,
}

/// A page that should not have come.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FalsePage {
    pub alertname: String,
    pub severity: String,
    pub at_seconds: f64,
    pub why: &'static str,
}

/// Holds what was paged against what should have been.
pub fn judge(scenario: &Scenario, log: &Log) -> (Judged, Vec<FalsePage>) {
    let mut judged = Judged::default();
    let mut is_used = vec![false; log.pages.len()];
    for expectation in &scenario.expect {
        let verdict = match expectation.is_page {
            true => page(expectation, &log.pages, &mut is_used),
            false => alert(expectation, log),
        };
        match verdict {
            Ok(met) => judged.met.push(met),
            Err(why) => judged.missed.push(Missed {
                alertname: expectation.alertnames.join(" or "),
                is_page: expectation.is_page,
                latest_seconds: seconds(expectation.by_ms),
                why,
            }),
        }
    }
    let is_named = |names: &[String], page: &PagedIncident| {
        names.iter().any(|name| match name.strip_suffix('*') {
            Some(begin) => page.alertname.starts_with(begin),
            None => page.alertname == *name,
        })
    };
    let mut false_pages = Vec::new();
    for (page, is_used) in log.pages.iter().zip(is_used) {
        let why = match (is_named(&scenario.never, page), is_used || is_named(&scenario.may, page)) {
            (true, _) => "`never` names it",
            (false, true) => continue,
            (false, false) => "nothing expects it",
        };
        false_pages.push(FalsePage {
            alertname: page.alertname.clone(),
            severity: page.severity.clone(),
            at_seconds: page.at_seconds,
            why,
        });
    }
    (judged, false_pages)
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

fn page(expectation: &Expectation, pages: &[PagedIncident], is_used: &mut [bool]) -> Result<Met, String> {
    let (sign, latest) = (seconds(expectation.sign_ms), seconds(expectation.by_ms));
    let fits = |page: &PagedIncident| {
        expectation.alertnames.contains(&page.alertname)
            && expectation.severity.as_ref().is_none_or(|s| *s == page.severity)
    };
    let mut free = pages.iter().enumerate().filter(|(i, page)| !is_used[*i] && fits(page));
    let Some((i, page)) = free.clone().find(|(_, page)| page.at_seconds >= sign) else {
        return Err(match free.next_back() {
            Some((_, page)) => format!("paged at {} s, before the first sign at {sign} s", page.at_seconds),
            None => "never paged".to_owned(),
        });
    };
    is_used[i] = true;
    if page.at_seconds > latest {
        return Err(format!("paged at {} s, {:.1} s late", page.at_seconds, page.at_seconds - latest));
    }
    if let Some(resolved_by) = expectation.resolved_by_ms.map(seconds) {
        match page.resolved_at_seconds {
            None => return Err("paged in time and not resolved".to_owned()),
            Some(at) if at > resolved_by => return Err(format!("resolved at {at} s, {:.1} s late", at - resolved_by)),
            Some(_) => {}
        }
    }
    Ok(Met {
        alertname: page.alertname.clone(),
        is_page: true,
        after_seconds: page.at_seconds - sign,
        within_seconds: latest - sign,
        at_seconds: page.at_seconds,
    })
}

fn alert(expectation: &Expectation, log: &Log) -> Result<Met, String> {
    let (sign, latest) = (seconds(expectation.sign_ms), seconds(expectation.by_ms));
    let fired = log.alerts.iter().filter(|fired| {
        let has_severity = expectation.severity.as_ref().is_none_or(|s| *s == fired.severity);
        expectation.alertnames.contains(&fired.alertname) && has_severity && fired.from_seconds >= sign
    });
    let first = fired.min_by(|a, b| a.from_seconds.total_cmp(&b.from_seconds));
    let Some(fired) = first else { return Err("never fired".to_owned()) };
    if fired.from_seconds > latest {
        return Err(format!("fired at {} s, {:.1} s late", fired.from_seconds, fired.from_seconds - latest));
    }
    if let Some(resolved_by) = expectation.resolved_by_ms.map(seconds)
        && fired.to_seconds.is_none_or(|at| at > resolved_by)
    {
        return Err(format!("fired in time and not resolved by {resolved_by} s"));
    }
    Ok(Met {
        alertname: fired.alertname.clone(),
        is_page: false,
        after_seconds: fired.from_seconds - sign,
        within_seconds: latest - sign,
        at_seconds: fired.from_seconds,
    })
}
