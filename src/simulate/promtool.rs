//! A played history as a unit test for `promtool test rules`: the received series as input, our `ALERTS` at every tick
//! as what must come out.
//!
//! In:  a scenario and a rule set.   Out: the text of a test file.
//! Always: samples lie on the ticks, since promtool knows nothing between; rules are evaluated in the order of their
//! groups, arrival passes off, window edges closed as Prometheus 2.42 has them. Only series that the rules read are
//! written; what the real engine had counted before the history begins is left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use super::cluster::Cluster;
use super::families::Wanted;
use super::scenario::Scenario;
use super::watch::Watch;
use crate::model::{Labels, METRIC_NAME, MatchOp, MetricKind, TimestampMs, Value, is_stale_nan};
use crate::promql::{Engine, EngineOptions, WindowEdges};
use crate::rivet::names;
use crate::rules::{Input, MemoryStore, RuleSet, Rules, Settings};
use crate::storage::Point;

/// Time between two ticks.
const INTERVAL_MS: i64 = 15_000;

/// A test file and how much it holds.
#[derive(Clone, Debug)]
pub struct UnitTest {
    pub yaml: String,
    pub ticks: usize,
    pub series: usize,
    /// Lines of `ALERTS` over all ticks.
    pub alerts: usize,
}

/// Writes the test of a scenario; `rule_files` are named in it, relative to where it will lie.
///
/// `configured` are the series that the agent itself writes at each tick.
///
/// # Errors
/// A rule could not be evaluated; the text says which.
pub fn unit_test(
    scenario: &Scenario,
    set: &Arc<RuleSet>,
    wanted: Wanted,
    configured: &[(Labels, f64)],
    rule_files: &[String],
) -> Result<UnitTest, String> {
    let ticks = scenario.duration_ms / INTERVAL_MS;
    let history = history(scenario, set, wanted, configured, ticks);
    let expected = alerts(set, &history, ticks)?;
    let mut yaml = String::from("# Written by `rivetwatch simulate --promtool`.\nrule_files:\n");
    // Writing to a `String` cannot fail.
    for file in rule_files {
        let _ = writeln!(yaml, "  - {}", quoted(file));
    }
    let names: Vec<String> = set.groups.iter().map(|group| quoted(&group.name)).collect();
    let _ = writeln!(yaml, "evaluation_interval: 15s\ngroup_eval_order: [{}]", names.join(", "));
    let _ = writeln!(yaml, "tests:\n  - interval: 15s\n    name: {}\n    input_series:", quoted(&scenario.name));
    for (labels, samples) in &history {
        let _ = writeln!(
            yaml,
            "      - series: {}\n        values: {}",
            quoted(&notation(labels)),
            quoted(&values(samples))
        );
    }
    let _ = writeln!(yaml, "    promql_expr_test:");
    for (tick, alerts) in expected.iter().enumerate() {
        let _ = writeln!(yaml, "      - expr: ALERTS\n        eval_time: {}s", tick as i64 * INTERVAL_MS / 1000);
        let _ = writeln!(yaml, "        exp_samples:{}", if alerts.is_empty() { " []" } else { "" });
        for labels in alerts {
            let _ = writeln!(yaml, "          - {{labels: {}, value: 1}}", quoted(&notation(labels)));
        }
    }
    let alerts = expected.iter().map(Vec::len).sum();
    Ok(UnitTest { yaml, ticks: expected.len(), series: history.len(), alerts })
}

/// Samples of one series by number of the tick.
type Samples = BTreeMap<i64, f64>;

/// What an agent would have received, on the ticks, as far as the rules read it.
fn history(
    scenario: &Scenario,
    set: &RuleSet,
    wanted: Wanted,
    configured: &[(Labels, f64)],
    ticks: i64,
) -> BTreeMap<Labels, Samples> {
    let start = scenario.start;
    let mut cluster = Cluster::new(scenario, wanted);
    let mut watch = Watch::new(scenario.cluster.platform, scenario.cluster.engine_api);
    let reads = Reads::of(set);
    let mut history: BTreeMap<Labels, Samples> = BTreeMap::new();
    for tick in 0..=ticks {
        let now = start.plus_ms(tick * INTERVAL_MS);
        cluster.advance(now);
        let own = configured.iter().map(|(labels, value)| Point {
            labels: labels.clone(),
            t: now,
            value: Value::Float(*value),
        });
        let received = watch.turn(&cluster, now).into_iter().flat_map(|batch| batch.points);
        for point in own.chain(received) {
            let Value::Float(value) = point.value else { continue };
            if reads.has(&point.labels) {
                // A zero for a counter that was born lies at the tick before.
                let at = point.t.since(start).div_euclid(INTERVAL_MS);
                history.entry(point.labels).or_default().insert(at, value);
            }
        }
    }
    for (labels, samples) in &mut history {
        samples.retain(|tick, _| *tick >= 0);
        if is_cumulative(labels.metric_name()) {
            from_zero(samples);
        }
    }
    history
}

/// Whether a series is a counter or a part of a histogram.
fn is_cumulative(name: &str) -> bool {
    match names::lookup(name) {
        Some(canonical) => matches!(canonical.family.kind, MetricKind::Counter | MetricKind::Histogram),
        None => name.ends_with("_total"),
    }
}

/// Lets each life of a counter begin at zero: a life goes on until a gap or a fall.
///
/// Where a counter begins just above zero in the middle of a window, Prometheus 3 extrapolates to the beginning of the
/// window otherwise than 2.42 (tests/peers/differences-2.42.json); from zero, and in the middle of a life, both do the same.
fn from_zero(samples: &mut Samples) {
    let (mut last, mut base): (Option<(i64, f64)>, f64) = (None, 0.0);
    for (tick, value) in samples.iter_mut() {
        if is_stale_nan(*value) {
            last = None;
            continue;
        }
        let raw = *value;
        match last {
            Some((before, was)) if before + 1 == *tick && raw >= was => {}
            Some((before, _)) if before + 1 == *tick => base = 0.0,
            _ => base = raw,
        }
        last = Some((*tick, raw));
        *value = raw - base;
    }
}

/// Which series the rules read and none of them records.
struct Reads {
    names: BTreeSet<String>,
    /// Selectors without a plain name read everything.
    everything: bool,
}

impl Reads {
    fn of(set: &RuleSet) -> Self {
        let mut reads = Self { names: BTreeSet::new(), everything: false };
        for selector in set.rules.iter().flat_map(|rule| &rule.selectors) {
            let name = selector.matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
            match name {
                Some(name) => drop(reads.names.insert(name.value.clone())),
                None => reads.everything = true,
            }
        }
        reads
    }

    fn has(&self, labels: &Labels) -> bool {
        self.everything || self.names.contains(labels.metric_name())
    }
}

/// `ALERTS` at each tick, by our rules.
fn alerts(set: &Arc<RuleSet>, history: &BTreeMap<Labels, Samples>, ticks: i64) -> Result<Vec<Vec<Labels>>, String> {
    let engine = Engine::new(EngineOptions {
        default_subquery_step_ms: INTERVAL_MS,
        window_edges: WindowEdges::Closed,
        ..EngineOptions::default()
    });
    let settings = Settings {
        interval_ms: INTERVAL_MS,
        group_intervals: false,
        graph_order: false,
        own_series: false,
        ..Settings::default()
    };
    let mut rules = Rules::new(Arc::clone(set), settings, Arc::new(engine));
    let mut store = MemoryStore::default();
    for (labels, samples) in history {
        for (tick, value) in samples {
            let t = TimestampMs(tick * INTERVAL_MS);
            store.push(Point { labels: labels.clone(), t, value: Value::Float(*value) });
        }
    }
    let mut expected = Vec::new();
    for tick in 0..=ticks {
        let now = TimestampMs(tick * INTERVAL_MS);
        store.show_until(now);
        let output = rules.tick(now, &Input { storage: &store, sources_ready: true, stopwatch: None });
        if let Some(failure) = output.failures.iter().find(|failure| failure.kind == "evaluation") {
            return Err(format!("rule {} at {now}: {}", failure.rule, failure.message));
        }
        let is_alert = |point: &&Point| {
            let is_value = matches!(point.value, Value::Float(v) if !is_stale_nan(v));
            point.labels.metric_name() == "ALERTS" && is_value
        };
        expected.push(output.batch.points.iter().filter(is_alert).map(|p| p.labels.clone()).collect());
        store.commit(output.batch);
    }
    Ok(expected)
}

/// A series as PromQL writes it.
fn notation(labels: &Labels) -> String {
    format!("{}{}", labels.metric_name(), labels.without_metric_name())
}

/// Samples in promtool's notation, a missing one being `_`.
fn values(samples: &Samples) -> String {
    let Some(last) = samples.keys().next_back() else { return String::new() };
    let sample = |tick: i64| match samples.get(&tick) {
        None => "_".to_owned(),
        Some(v) if is_stale_nan(*v) => "stale".to_owned(),
        Some(v) => v.to_string(),
    };
    (0..=*last).map(sample).collect::<Vec<_>>().join(" ")
}

/// A YAML text in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stale_nan;
    use crate::rules::{Tuning, builtin_sources, load};

    #[test]
    fn each_life_of_a_counter_begins_at_zero() {
        let stale = stale_nan();
        let raw = [(0, 100.0), (1, 110.0), (2, 5.0), (3, 9.0), (4, stale), (6, 3.0), (7, 4.0), (9, 8.0), (10, 8.0)];
        let mut samples: Samples = raw.into_iter().collect();
        from_zero(&mut samples);
        let lives: Vec<(i64, f64)> =
            samples.iter().filter(|(_, v)| !is_stale_nan(**v)).map(|(tick, v)| (*tick, *v)).collect();
        assert_eq!(lives, [(0, 0.0), (1, 10.0), (2, 5.0), (3, 9.0), (6, 0.0), (7, 1.0), (9, 0.0), (10, 0.0)]);
        assert_eq!(values(&samples), "0 10 5 9 stale _ 0 1 _ 0 0");
    }

    #[test]
    fn a_test_file_holds_what_the_rules_read_and_every_tick() {
        let set = Arc::new(load(&builtin_sources(), &Tuning::default()).unwrap());
        let text = "name: it's down\nduration: 4m\nevents: [{at: 1m, event: engine_down}]\n";
        let scenario = Scenario::parse(text, "x").unwrap();
        let test = unit_test(&scenario, &set, Wanted::All, &[], &["rules/a.yaml".to_owned()]).unwrap();
        assert_eq!(test.ticks, 17);
        assert!(test.yaml.contains("name: 'it''s down'") && test.yaml.contains("  - 'rules/a.yaml'"));
        assert!(test.yaml.contains("alertname=\"RivetEngineDown\""), "it fires within three minutes");
        assert!(!test.yaml.contains("rivet_epoxy_"), "no rule reads these");
    }
}
