//! The alerts and severities that a scenario names, checked against the rules that are played.
//!
//! A name that no rule has makes an expectation that is never met, or a `never` that cannot fail.

use std::collections::BTreeSet;

use super::tree::{Fields, Mistake, Name};
use crate::model::nearest;
use crate::rules::RuleSet;

/// Names and where they stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    alerts: Vec<Name>,
    severities: Vec<Name>,
}

impl Named {
    /// Reads the alerts at a key.
    pub(super) fn alerts(&mut self, fields: &mut Fields<'_>, key: &'static str) -> Vec<String> {
        let names = fields.names(key);
        let texts = names.iter().map(|name| name.text.clone()).collect();
        self.alerts.extend(names);
        texts
    }

    /// Reads `severity`.
    pub(super) fn severity(&mut self, fields: &mut Fields<'_>) -> Option<String> {
        let text = fields.text("severity")?.to_owned();
        let (line, key) = (fields.line, fields.path_of("severity"));
        self.severities.push(Name { line, key, text: text.clone() });
        Some(text)
    }

    /// What none of these sets of rules has; `*` at the end of an alert's name stands for any rest.
    pub fn unknown_to(&self, sets: &[&RuleSet]) -> Vec<Mistake> {
        let rules = || sets.iter().flat_map(|set| &set.rules).filter(|rule| rule.alerting().is_some());
        let alerts: BTreeSet<&str> = rules().map(|rule| rule.name.as_str()).collect();
        let severities: BTreeSet<&str> =
            rules().flat_map(|rule| rule.fixed_labels()).filter(|(n, _)| *n == "severity").map(|(_, v)| v).collect();
        let is_alert = |name: &str| match name.strip_suffix('*') {
            Some(begin) => alerts.iter().any(|alert| alert.starts_with(begin)),
            None => alerts.contains(name),
        };
        let unknown_alerts = self.alerts.iter().filter(|name| !is_alert(&name.text)).map(|name| {
            let near = nearest(&name.text, alerts.iter().copied());
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            mistake(name, format!("names no alert of the rules, got `{}`{hint}", name.text))
        });
        let unknown_severities =
            self.severities.iter().filter(|name| !severities.contains(name.text.as_str())).map(|name| {
                let known = severities.iter().copied().collect::<Vec<_>>().join(", ");
                mistake(name, format!("must be a severity of the rules, one of {known}, got `{}`", name.text))
            });
        unknown_alerts.chain(unknown_severities).collect()
    }
}

fn mistake(name: &Name, rule: String) -> Mistake {
    Mistake { line: name.line, key: name.key.clone(), rule }
}
