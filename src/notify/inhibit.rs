//! Inhibition: while one alert explains another, only the one that explains notifies.
//!
//! In: the rules and all firing alerts.   Out: whether an alert is inhibited, and by which.
//! As in Alertmanager: a label missing on both sides is equal; an alert that matches both sides of a
//! rule is not inhibited by another such alert, nor by itself; a source inhibits even while silenced.

use hashbrown::HashMap;

use super::matchers::Matchers;
use crate::model::Labels;

/// One rule, ready to be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Inhibition {
    pub sources: Matchers,
    pub targets: Matchers,
    pub equal: Vec<String>,
}

/// Sources by the values of their rule's `equal` labels.
type ByValues<'a> = HashMap<Vec<&'a str>, Vec<&'a Labels>>;

/// The firing sources of every rule at one moment, by the values of the rule's `equal` labels.
pub struct Sources<'a> {
    rules: Vec<(&'a Inhibition, ByValues<'a>)>,
}

impl<'a> Sources<'a> {
    /// Collects the sources among `firing`.
    pub fn collect(rules: &'a [Inhibition], firing: impl Iterator<Item = &'a Labels> + Clone) -> Self {
        let sources_of = |rule: &'a Inhibition| {
            let mut by_values = ByValues::new();
            for labels in firing.clone().filter(|labels| rule.sources.matches(labels)) {
                by_values.entry(values(rule, labels)).or_default().push(labels);
            }
            by_values
        };
        Self { rules: rules.iter().map(|rule| (rule, sources_of(rule))).collect() }
    }

    /// The firing alert because of which `labels` is inhibited; `None` when nothing inhibits it.
    pub fn inhibitor(&self, labels: &Labels) -> Option<&'a Labels> {
        self.rules.iter().filter(|(rule, _)| rule.targets.matches(labels)).find_map(|(rule, sources)| {
            let is_source_too = rule.sources.matches(labels);
            let candidates = sources.get(values(rule, labels).as_slice())?;
            candidates.iter().copied().find(|source| !(is_source_too && rule.targets.matches(source)))
        })
    }
}

fn values<'l>(rule: &Inhibition, labels: &'l Labels) -> Vec<&'l str> {
    rule.equal.iter().map(|name| labels.get(name).unwrap_or("")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::matchers::parse_matchers;

    fn rule(sources: &str, targets: &str, equal: &[&str]) -> Inhibition {
        let matchers = |text| Matchers(parse_matchers(text).unwrap());
        Inhibition {
            sources: matchers(sources),
            targets: matchers(targets),
            equal: equal.iter().map(ToString::to_string).collect(),
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn equal_labels_decide_and_missing_ones_are_empty() {
        let rules = [rule("alertname=Down", "alertname!=Down", &["job", "pool"])];
        let down = labels(&[("alertname", "Down"), ("job", "a")]);
        let sources = Sources::collect(&rules, [&down].into_iter());
        let inhibited = |pairs| sources.inhibitor(&labels(pairs)).is_some();
        assert!(inhibited(&[("alertname", "Slow"), ("job", "a")]), "pool is missing on both");
        assert!(!inhibited(&[("alertname", "Slow"), ("job", "b")]));
        assert!(!inhibited(&[("alertname", "Slow"), ("job", "a"), ("pool", "p")]));
    }

    #[test]
    fn an_alert_that_matches_both_sides_is_inhibited_by_neither_itself_nor_its_like() {
        let rules = [rule(r#"severity=~"critical|warning""#, r#"severity="warning""#, &["job"])];
        let warning = labels(&[("alertname", "A"), ("severity", "warning"), ("job", "a")]);
        let other = labels(&[("alertname", "B"), ("severity", "warning"), ("job", "a")]);
        let both = [&warning, &other];
        assert_eq!(Sources::collect(&rules, both.into_iter()).inhibitor(&warning), None);
        let critical = labels(&[("alertname", "C"), ("severity", "critical"), ("job", "a")]);
        let all = [&warning, &other, &critical];
        assert_eq!(Sources::collect(&rules, all.into_iter()).inhibitor(&warning), Some(&critical));
    }
}
