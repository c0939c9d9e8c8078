//! What is known of the metrics that rules read: does an engine of this release send them, and are they what they seem?
//!
//! In: the name of a metric, and the rule that reads it.   Out: a verdict with a reason that says what to do.
//! Limits: only names that claim to be the engine's or the agent's are judged; nobody knows what else a store holds.

use crate::rivet::inventory::{Family, families, family};
use crate::rivet::names::{HISTOGRAM_SUFFIXES, PREFIX, lookup};
use crate::rules::{Reading, Rule};

/// A release of the engine whose metrics are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Release {
    /// 25.7, over OTLP.
    #[value(name = "25.7")]
    V25_7,
    /// 2.3.0 to 2.3.7, scraped without a prefix.
    #[value(name = "2.3.7")]
    V2_3_7,
    /// 2.3.19, scraped with a prefix.
    #[value(name = "2.3.19")]
    V2_3_19,
}

impl Release {
    fn text(self) -> &'static str {
        match self {
            Self::V25_7 => "25.7",
            Self::V2_3_7 => "2.3.7",
            Self::V2_3_19 => "2.3.19",
        }
    }

    /// Families appear on first use, so what 2.3.7 records and no recording of 2.3.19 shows may be there all the same.
    fn sends(self, family: &Family) -> bool {
        match self {
            Self::V25_7 => family.otlp_25_7.is_some(),
            Self::V2_3_7 => family.scraped_2_3_7.is_some(),
            Self::V2_3_19 => family.scraped_2_3_19.is_some() || family.scraped_2_3_7.is_some(),
        }
    }
}

/// Series that are there beside the engine's own: what the agent reads of configuration, API, spans and capacity, and what
/// an actor host's platform tells of its limits (docs/capacity.md).
const BESIDE_THE_ENGINE: [&str; 9] = [
    "rivetwatch_",
    "rivet_config_",
    "rivet_probe_",
    "rivet_engine_info",
    "rivet_platform_",
    "rivet_pool_",
    "rivet_span_",
    "rivet:headroom:",
    "rivet:capacity:",
];

/// By which a rule tells the instance whose cluster-wide gauges are right.
const PUBLISHED: &str = "rivet_gasoline_worker_last_metrics_publish";

/// What is known of `name`, read by `rule`; without a release, of all that are known.
pub fn judge(release: Option<Release>, rule: &Rule, name: &str) -> Reading {
    if let Some(found) = lookup(name) {
        return if found.name == name {
            of_family(release, rule, name, found.family)
        } else {
            Reading::Missing(format!("metric `{name}` is kept as `{}`, whatever release sent it", found.name))
        };
    }
    let ours = name.starts_with(PREFIX) || name.starts_with("rivet:") || name.starts_with("rivetwatch");
    if !ours || BESIDE_THE_ENGINE.iter().any(|prefix| name.starts_with(prefix)) {
        return Reading::Fine;
    }
    let hint = nearest(name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Reading::Missing(format!("metric `{name}` is neither sent by an engine nor recorded by a rule{hint}"))
}

fn of_family(release: Option<Release>, rule: &Rule, name: &str, family: &Family) -> Reading {
    if !family.is_recorded {
        return Reading::Missing(format!("metric `{name}` is declared by the engine and never recorded"));
    }
    if let Some(release) = release.filter(|release| !release.sends(family)) {
        return Reading::Missing(format!("metric `{name}` is not sent by release {}", release.text()));
    }
    if family.drifts {
        let why = "drifts upward whenever a caller drops its request; only its changes mean anything";
        return Reading::Trap(format!("gauge `{name}` {why}"));
    }
    let reads = |metric: &str| {
        let mut matchers = rule.selectors.iter().flat_map(|s| &s.matchers);
        matchers.any(|m| m.name == "__name__" && m.value == metric)
    };
    if family.is_cluster_wide && !reads(PUBLISHED) {
        let how = format!("only the one with the greatest `{PUBLISHED}` is right");
        return Reading::Trap(format!(
            "gauge `{name}` is written by one instance at a time and stale on the others; {how}"
        ));
    }
    Reading::Fine
}

/// The known name that is nearest, if one is near.
fn nearest(name: &str) -> Option<String> {
    let suffix = HISTOGRAM_SUFFIXES.into_iter().find(|s| name.ends_with(s)).unwrap_or("");
    let stem = name.strip_suffix(suffix).unwrap_or(name);
    let found = crate::model::nearest(stem, families().iter().map(|f| f.name.as_str()))?;
    // A suffix belongs to a histogram only.
    let is_whole = suffix.is_empty() || family(found).is_some_and(|f| !f.bounds.is_empty());
    is_whole.then(|| format!("{found}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Source, Tuning, load};

    fn read(release: Option<Release>, expr: &str, name: &str) -> Reading {
        let text = format!("groups: [{{name: g, rules: [{{record: r, expr: '{expr}'}}]}}]");
        let set = load(&[Source { name: "f".into(), text }], &Tuning::default()).unwrap();
        judge(release, &set.rules[0], name)
    }

    fn why(name: &str) -> String {
        match read(None, name, name) {
            Reading::Fine => "fine".into(),
            Reading::Missing(why) | Reading::Trap(why) => why,
        }
    }

    #[test]
    fn names_are_known_or_the_nearest_is_named() {
        for fine in
            ["rivet_guard_proxy_request_total", "http_requests_total", "rivet_pool_error", "rivetwatch_rule_blind"]
        {
            assert_eq!(why(fine), "fine", "{fine}");
        }
        assert!(why("rivet_guard_proxy_reqest_total").ends_with("did you mean `rivet_guard_proxy_request_total`?"));
        assert!(
            why("rivet_api_request_durations_bucket").ends_with("did you mean `rivet_api_request_duration_bucket`?")
        );
        assert!(why("rivet_something_else_altogether").ends_with("recorded by a rule"));
        assert!(why("gasoline_worker_last_ping").contains("kept as `rivet_gasoline_worker_last_ping`"));
        assert!(
            why("rivet_gasoline_workflow_dispatched").contains("kept as `rivet_gasoline_workflow_dispatched_total`")
        );
    }

    #[test]
    fn what_a_release_does_not_send_is_missing_there() {
        let name = "rivet_udb_last_tx_completed_age_seconds";
        assert_eq!(read(None, name, name), Reading::Fine);
        assert_eq!(read(Some(Release::V2_3_19), name, name), Reading::Fine);
        assert!(matches!(read(Some(Release::V2_3_7), name, name), Reading::Missing(_)));
        let lazy = "rivet_nats_slow_consumer_total";
        assert_eq!(read(Some(Release::V2_3_19), lazy, lazy), Reading::Fine, "not seen is not gone");
    }

    #[test]
    fn traps_are_named() {
        assert!(why("rivet_pegboard_actor_active").contains("never recorded"));
        assert!(why("rivet_udb_transaction_pending").contains("drifts"));
        let gauge = "rivet_gasoline_workflow_dead";
        assert!(why(gauge).contains("stale on the others"));
        let guarded = "rivet_gasoline_workflow_dead and on (instance) rivet_gasoline_worker_last_metrics_publish";
        assert_eq!(read(None, guarded, gauge), Reading::Fine);
    }
}
