//! Figures over several scenarios: what was detected, how soon, and what paged for nothing.

use serde::Serialize;

use super::play::Report;
use super::verdict::Met;

/// Seconds of a week.
const WEEK_SECONDS: f64 = 7.0 * 86_400.0;
/// How the names of the alerts on burn rates end.
const BURN_RATE: &str = "BudgetBurn";

/// The figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    pub scenarios: usize,
    pub failed: usize,
    /// Pages that had to come, and that did in time.
    pub pages_expected: usize,
    pub pages_met: usize,
    /// `None` where no page had to come.
    pub detection_rate: Option<f64>,
    /// From the first sign to the page.
    pub median_seconds_to_page: Option<f64>,
    pub worst_seconds_to_page: Option<f64>,
    /// Pages for a budget that is burnt too fast, which take as long as their windows do. They are not among the seconds above.
    pub burn_rate_pages: usize,
    /// The greatest share of the time within which it had to come that one of them took; the library's scenarios give each its long
    /// window, its `for` and 60 seconds. `None` where none came in time.
    pub worst_burn_rate_share: Option<f64>,
    pub simulated_weeks: f64,
    pub false_pages: usize,
    pub false_pages_per_week: f64,
    /// Alerts of severity warning that fired in scenarios that expect nothing.
    pub warnings_per_quiet_week: Option<f64>,
}

impl Scores {
    /// Of these reports.
    pub fn of(reports: &[Report]) -> Self {
        let met = reports.iter().flat_map(|r| &r.expected.met).filter(|met| met.is_page);
        let (burn_rates, met): (Vec<&Met>, Vec<&Met>) = met.partition(|met| met.alertname.ends_with(BURN_RATE));
        let shares = burn_rates.iter().map(|met| met.after_seconds / met.within_seconds);
        let worst_burn_rate_share = shares.max_by(f64::total_cmp);
        let mut delays: Vec<f64> = met.iter().map(|met| met.after_seconds).collect();
        delays.sort_by(f64::total_cmp);
        let missed = reports.iter().flat_map(|r| &r.expected.missed).filter(|missed| missed.is_page).count();
        let pages_met = delays.len() + burn_rates.len();
        let pages_expected = pages_met + missed;
        let weeks = |reports: &mut dyn Iterator<Item = &Report>| reports.map(|r| r.seconds).sum::<f64>() / WEEK_SECONDS;
        let simulated_weeks = weeks(&mut reports.iter());
        let is_quiet = |r: &&Report| r.expected.met.is_empty() && r.expected.missed.is_empty();
        let quiet_weeks = weeks(&mut reports.iter().filter(is_quiet));
        let warnings = reports.iter().filter(is_quiet).flat_map(|r| &r.alerts);
        let warnings = warnings.filter(|alert| alert.severity == "warning").count();
        let false_pages: usize = reports.iter().map(|r| r.false_pages.len()).sum();
        let rate = |n: usize, weeks: f64| if weeks > 0.0 { n as f64 / weeks } else { 0.0 };
        Self {
            scenarios: reports.len(),
            failed: reports.iter().filter(|r| !r.is_success()).count(),
            pages_expected,
            pages_met,
            detection_rate: (pages_expected > 0).then(|| pages_met as f64 / pages_expected as f64),
            median_seconds_to_page: (!delays.is_empty()).then(|| delays[(delays.len() - 1) / 2]),
            worst_seconds_to_page: delays.last().copied(),
            burn_rate_pages: burn_rates.len(),
            worst_burn_rate_share,
            simulated_weeks,
            false_pages,
            false_pages_per_week: rate(false_pages, simulated_weeks),
            warnings_per_quiet_week: (quiet_weeks > 0.0).then(|| rate(warnings, quiet_weeks)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::verdict::{FalsePage, Judged, Missed};

    fn report(delays: &[f64], missed: usize, false_pages: usize) -> Report {
        let met = |after_seconds: &f64| Met {
            alertname: "A".into(),
            is_page: true,
            after_seconds: *after_seconds,
            within_seconds: 100.0,
            at_seconds: 0.0,
        };
        let miss = Missed { alertname: "B".into(), is_page: true, latest_seconds: 0.0, why: "never paged".into() };
        let page = FalsePage { alertname: "C".into(), severity: "critical".into(), at_seconds: 0.0, why: "" };
        Report {
            scenario: String::new(),
            seconds: WEEK_SECONDS / 2.0,
            pages: Vec::new(),
            expected: Judged { met: delays.iter().map(met).collect(), missed: vec![miss; missed] },
            false_pages: vec![page; false_pages],
            alerts: Vec::new(),
            points: 0,
            failures: Vec::new(),
        }
    }

    #[test]
    fn figures_are_over_all_scenarios() {
        let scores = Scores::of(&[report(&[30.0, 90.0], 1, 0), report(&[60.0], 0, 0), report(&[], 0, 2)]);
        assert_eq!((scores.scenarios, scores.failed), (3, 2));
        assert_eq!((scores.pages_met, scores.pages_expected, scores.detection_rate), (3, 4, Some(0.75)));
        assert_eq!((scores.median_seconds_to_page, scores.worst_seconds_to_page), (Some(60.0), Some(90.0)));
        assert_eq!((scores.simulated_weeks, scores.false_pages), (1.5, 2));
        assert!((scores.false_pages_per_week - 4.0 / 3.0).abs() < 1e-9);
        assert_eq!(scores.warnings_per_quiet_week, Some(0.0));
        assert_eq!((scores.burn_rate_pages, scores.worst_burn_rate_share), (0, None));
        let nothing = Scores::of(&[]);
        assert_eq!(
            (nothing.detection_rate, nothing.worst_seconds_to_page, nothing.false_pages_per_week),
            (None, None, 0.0)
        );
    }

    #[test]
    fn pages_on_burn_rates_are_held_against_their_windows_and_not_among_the_seconds_of_outages() {
        let mut slow = report(&[90.0, 20.0], 0, 0);
        for met in &mut slow.expected.met {
            met.alertname = "RivetErrorBudgetBurn".into();
        }
        let scores = Scores::of(&[slow, report(&[30.0], 0, 0)]);
        assert_eq!((scores.pages_met, scores.pages_expected), (3, 3));
        assert_eq!((scores.worst_seconds_to_page, scores.burn_rate_pages), (Some(30.0), 2));
        assert_eq!(scores.worst_burn_rate_share, Some(0.9));
    }
}
