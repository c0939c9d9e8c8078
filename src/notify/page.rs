//! What one notification says: the alerts of a group, and the words a person reads at 3 a.m.
//!
//! In: the group's alerts at the moment of the flush.   Out: summary, facts and the worst instances.
//! Always: summary first, then value, since when, runbook, how many, the worst five. Texts are cut between
//! characters and show that they are cut.

use std::collections::BTreeMap;

use crate::model::{Alert, Labels, TimestampMs, format_duration_ms};

/// Instances that a page names one by one.
pub const WORST_MAX: usize = 5;
/// Marks a text that was cut.
pub const CUT: &str = "…";

/// One notification before it takes the form of a target.
#[derive(Clone, Debug)]
pub struct Page {
    pub deployment: String,
    pub receiver: String,
    pub dedup_key: String,
    pub group_labels: Labels,
    /// Oldest first.
    pub firing: Vec<Alert>,
    pub resolved: Vec<Alert>,
    pub external_url: Option<String>,
    pub now: TimestampMs,
}

impl Page {
    /// `firing` while anything fires, else `resolved`.
    pub fn status(&self) -> &'static str {
        if self.firing.is_empty() { "resolved" } else { "firing" }
    }

    /// The alerts that decide the wording: the firing ones, or what has just ended.
    pub fn leading(&self) -> &[Alert] {
        if self.firing.is_empty() { &self.resolved } else { &self.firing }
    }

    /// Labels with the same value on every alert.
    pub fn common_labels(&self) -> Labels {
        let mut all = self.firing.iter().chain(&self.resolved);
        let Some(first) = all.next() else { return self.group_labels.clone() };
        let rest: Vec<&Alert> = all.collect();
        Labels::from_pairs(first.labels.iter().filter(|(n, v)| rest.iter().all(|a| a.labels.get(n) == Some(*v))))
    }

    /// Annotations with the same text on every alert.
    pub fn common_annotations(&self) -> BTreeMap<String, String> {
        let mut all = self.firing.iter().chain(&self.resolved);
        let Some(first) = all.next() else { return BTreeMap::new() };
        let rest: Vec<&Alert> = all.collect();
        let is_common = |(n, v): &(&String, &String)| rest.iter().all(|a| a.annotations.get(*n) == Some(*v));
        first.annotations.iter().filter(is_common).map(|(n, v)| (n.clone(), v.clone())).collect()
    }

    /// The gravest severity among the alerts that decide the wording; empty when none has one.
    pub fn severity(&self) -> &str {
        let rank = |s: &str| match s {
            "critical" | "page" => 0,
            "error" => 1,
            "warning" => 2,
            "info" => 3,
            _ => 4,
        };
        self.leading().iter().filter_map(|a| a.labels.get("severity")).min_by_key(|s| rank(s)).unwrap_or("")
    }

    /// When the oldest of the leading alerts began.
    pub fn since(&self) -> TimestampMs {
        self.leading().iter().map(|a| a.starts_at).min().unwrap_or(self.now)
    }

    /// Up to `n` leading alerts, the worst first: by severity, then by the number in `value`, then by age.
    pub fn worst(&self, n: usize) -> Vec<&Alert> {
        let value = |a: &Alert| a.annotations.get("value").and_then(|v| leading_number(v));
        let mut alerts: Vec<&Alert> = self.leading().iter().collect();
        alerts.sort_by(|a, b| {
            let severity = |x: &Alert| x.labels.get("severity") != Some("critical");
            severity(a)
                .cmp(&severity(b))
                .then_with(|| value(b).unwrap_or(f64::MIN).total_cmp(&value(a).unwrap_or(f64::MIN)))
                .then_with(|| a.starts_at.cmp(&b.starts_at))
                .then_with(|| a.labels.cmp(&b.labels))
        });
        alerts.truncate(n);
        alerts
    }

    /// One line: what is wrong, where, and how often.
    pub fn summary(&self) -> String {
        let Some(worst) = self.worst(1).first().copied() else { return format!("[{}]", self.status()) };
        let text = worst.annotations.get("summary").filter(|s| !s.trim().is_empty());
        let what = text.cloned().unwrap_or_else(|| match (worst.name(), place(worst)) {
            ("", _) => worst.labels.to_string(),
            (name, place) if place.is_empty() => name.to_owned(),
            (name, place) => format!("{name} on {place}"),
        });
        let others = match self.leading().len() {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let prefix = if self.firing.is_empty() { "Resolved: " } else { "" };
        let scope = match self.scope() {
            scope if scope.is_empty() => scope,
            scope => format!(" [{scope}]"),
        };
        one_line(&format!("{prefix}{what}{scope}{others}"))
    }

    /// Which installation and which part of it, as far as the group knows: `eu, shop, pool default`.
    ///
    /// A summary is one static sentence, and whoever is woken may look after several installations.
    pub fn scope(&self) -> String {
        let deployment = Some(self.deployment.as_str()).filter(|name| !matches!(*name, "" | "default"));
        let group = |name: &str| self.group_labels.get(name).filter(|value| !value.is_empty());
        let places = ["cluster", "namespace"].into_iter().filter_map(group).map(str::to_owned);
        let pool = group("pool_name").map(|pool| format!("pool {pool}"));
        let parts: Vec<String> = deployment.map(str::to_owned).into_iter().chain(places).chain(pool).collect();
        parts.join(", ")
    }

    /// The text under the summary, for targets that show plain text.
    pub fn body(&self) -> String {
        let mut lines = Vec::new();
        let worst = self.worst(WORST_MAX);
        if let Some(first) = worst.first() {
            lines.extend(first.annotations.get("description").map(|d| d.trim().to_owned()));
            lines.extend(first.annotations.get("value").map(|v| format!("Value: {v}")));
        }
        let duration = format_duration_ms(self.now.since(self.since()).max(0) / 1000 * 1000);
        lines.push(match self.firing.is_empty() {
            false => format!("Since: {} ({duration} ago)", self.since().to_rfc3339()),
            true => format!("Began: {}", self.since().to_rfc3339()),
        });
        lines.extend(self.runbook().map(|url| format!("Runbook: {url}")));
        lines.extend(self.external_url.as_ref().map(|url| format!("Alerts: {url}")));
        if self.leading().len() > 1 || !self.resolved.is_empty() {
            lines.push(format!("Instances: {} firing, {} resolved", self.firing.len(), self.resolved.len()));
        }
        if self.leading().len() > 1 {
            lines.extend(worst.iter().map(|a| format!("  - {}", instance_line(a))));
            let rest = self.leading().len() - worst.len();
            if rest > 0 {
                lines.push(format!("  {CUT} and {rest} more"));
            }
        }
        lines.join("\n")
    }

    /// Where the way out is described, as an absolute address; `None` for a relative one without `external_url`.
    pub fn runbook(&self) -> Option<String> {
        let url = self.worst(1).first()?.annotations.get("runbook_url")?.trim().to_owned();
        match (url.starts_with("http://") || url.starts_with("https://"), &self.external_url) {
            (true, _) => Some(url),
            (false, Some(base)) if !url.is_empty() => Some(format!("{base}/{}", url.trim_start_matches('/'))),
            (false, _) => None,
        }
    }
}

/// Where an alert is, in as few words as its labels allow.
pub fn place(alert: &Alert) -> String {
    let parts: Vec<&str> = ["cluster", "namespace", "job", "instance", "pool_name"]
        .iter()
        .filter_map(|name| alert.labels.get(name))
        .collect();
    parts.join("/")
}

/// One line about one alert of many.
pub fn instance_line(alert: &Alert) -> String {
    let what = match place(alert) {
        place if place.is_empty() => alert.labels.to_string(),
        place => place,
    };
    let detail = alert.annotations.get("value").or_else(|| alert.annotations.get("summary"));
    one_line(&match detail {
        Some(detail) => format!("{what}: {detail}"),
        None => what,
    })
}

/// The number a text begins with, so that `93.4%` and `1.2GB` can be compared roughly.
fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The text with every run of white space as one blank.
pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text in at most `max` characters (Unicode scalar values), with a mark where it was cut.
pub fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => {
            let keep = text.char_indices().nth(max.saturating_sub(CUT.chars().count())).map_or(0, |(at, _)| at);
            format!("{}{CUT}", text[..keep].trim_end())
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::AlertState;

    /// A page about `n` instances whose values are their numbers.
    pub fn page(n: usize) -> Page {
        let alert = |i: usize| Alert {
            labels: Labels::from_pairs([
                ("alertname", "HighCpu".to_owned()),
                ("severity", "critical".to_owned()),
                ("instance", format!("engine-{i}")),
            ]),
            annotations: [("summary", format!("CPU of engine-{i} at {i}%")), ("value", format!("{i}%"))]
                .map(|(k, v)| (k.to_owned(), v))
                .into(),
            state: AlertState::Firing,
            starts_at: TimestampMs(1_795_419_468_000 - i as i64 * 1_000),
            ends_at: TimestampMs(0),
            generator_url: String::new(),
        };
        Page {
            deployment: "default".into(),
            receiver: "pager".into(),
            dedup_key: "key".into(),
            group_labels: Labels::from_pairs([("alertname", "HighCpu")]),
            firing: (1..=n).map(alert).collect(),
            resolved: Vec::new(),
            external_url: None,
            now: TimestampMs(1_795_419_528_000),
        }
    }

    #[test]
    fn a_page_about_many_names_the_count_and_the_worst_five() {
        let page = page(25);
        assert_eq!(page.summary(), "CPU of engine-25 at 25% (and 24 more)");
        let body = page.body();
        for line in ["Value: 25%", "Instances: 25 firing, 0 resolved", "  - engine-25: 25%", "  … and 20 more"] {
            assert!(body.lines().any(|l| l == line), "{line} is not in\n{body}");
        }
        assert!(!body.contains("engine-20:"), "{body}");
        assert!(!body.contains("Runbook") && !body.contains("Alerts:"), "no link without external_url");
    }

    #[test]
    fn the_summary_names_the_installation_and_the_pool_where_they_are_known() {
        let mut page = page(1);
        page.deployment = "eu".into();
        page.group_labels = Labels::from_pairs([("alertname", "HostLost"), ("namespace", "shop"), ("pool_name", "p")]);
        assert_eq!(page.summary(), "CPU of engine-1 at 1% [eu, shop, pool p]");
    }

    #[test]
    fn links_need_an_address_that_people_can_reach() {
        let mut page = page(1);
        page.firing[0].annotations.insert("runbook_url".into(), "/runbooks/HighCpu".into());
        assert_eq!(page.runbook(), None);
        page.external_url = Some("https://watch.example".into());
        assert_eq!(page.runbook().as_deref(), Some("https://watch.example/runbooks/HighCpu"));
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("héllo wörld", 6), "héllo…");
        assert_eq!(cut("🔥🔥🔥🔥", 3), "🔥🔥…");
        assert_eq!(cut("short", 5), "short");
    }

    #[test]
    fn what_all_alerts_share_is_common() {
        let page = page(2);
        assert_eq!(page.common_labels(), Labels::from_pairs([("alertname", "HighCpu"), ("severity", "critical")]));
        assert!(page.common_annotations().is_empty());
    }
}
