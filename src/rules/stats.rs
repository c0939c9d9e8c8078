//! What the rules count of their own work.

use crate::model::{Counter, Gauge, StatRow, Stats};

/// Running totals and levels of the rule engine; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct RuleStats {
    pub ticks: Counter,
    pub arrival_passes: Counter,
    pub evaluations: Counter,
    pub failures: Counter,
    pub template_errors: Counter,
    pub recorded_points: Counter,
    pub duplicate_points: Counter,
    pub alerts_sent: Counter,
    pub loaded: Gauge,
    pub blind: Gauge,
    pub pending: Gauge,
    pub firing: Gauge,
    pub held: Gauge,
}

impl Stats for RuleStats {
    fn rows(&self) -> Vec<StatRow> {
        let counter = |name, help, counter: &Counter| StatRow::counter(name, help, counter.get());
        let alerts = |state: &str, gauge: &Gauge| {
            StatRow::gauge("rivetwatch_rules_alerts", "Alerts by state.", gauge.get()).with("state", state)
        };
        vec![
            counter("rivetwatch_rules_ticks_total", "Evaluations of all rules on the interval.", &self.ticks),
            counter("rivetwatch_rules_arrival_passes_total", "Evaluations between ticks.", &self.arrival_passes),
            counter("rivetwatch_rules_evaluations_total", "Evaluations of single rules.", &self.evaluations),
            counter("rivetwatch_rules_failures_total", "Evaluations of single rules that failed.", &self.failures),
            counter(
                "rivetwatch_rules_template_errors_total",
                "Label and annotation templates that failed.",
                &self.template_errors,
            ),
            counter("rivetwatch_rules_recorded_points_total", "Points that ticks recorded.", &self.recorded_points),
            counter(
                "rivetwatch_rules_duplicate_points_total",
                "Points dropped because another rule recorded the same series in the same tick.",
                &self.duplicate_points,
            ),
            counter("rivetwatch_rules_alerts_sent_total", "Alerts handed to notify.", &self.alerts_sent),
            StatRow::gauge("rivetwatch_rules_loaded", "Rules in use.", self.loaded.get()),
            StatRow::gauge("rivetwatch_rules_blind", "Rules whose series are not there.", self.blind.get()),
            alerts("pending", &self.pending),
            alerts("firing", &self.firing),
            alerts("no_data", &self.held),
        ]
    }
}
