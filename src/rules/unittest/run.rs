//! Runs the tests of one file over a store in memory.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::super::config::Settings;
use super::super::engine::{Input, Rules};
use super::super::memory::MemoryStore;
use super::super::{AlertView, State};
use super::compare::{FiringAlert, SampleText, go_duration, indent, same_samples, show_alerts, show_samples};
use super::format::{AlertTest, ExprTest, TestGroup};
use super::prepare::Prepared;
use super::{FileReport, TestOptions};
use crate::model::{Labels, TimestampMs, Value, format_duration_ms};
use crate::promql::{self, Engine, EngineOptions, QueryValue, parse_series_labels, parse_series_values};

/// Runs the tests of the file `path`, whose text is given.
pub fn file(path: &Path, text: &str, options: &TestOptions, report: &mut FileReport) {
    let mut prepared = match Prepared::read(path, text) {
        Ok(prepared) => prepared,
        Err(mut failures) => return report.failures.append(&mut failures),
    };
    report.warnings.append(&mut prepared.warnings);
    for (i, group) in prepared.file.tests.iter().enumerate() {
        if options.run.as_ref().is_some_and(|wanted| !group.name.contains(wanted.as_str())) {
            continue;
        }
        report.tests += 1;
        let needed = if options.only_needed { Some(prepared.needed(i)) } else { None };
        let mut failures = match prepared.input(i) {
            Ok(input) => Test::new(&prepared, i, input, needed.as_deref(), options).run(),
            Err(e) => vec![format!("    {e}")],
        };
        let name = if group.name.is_empty() { format!("test {}", i + 1) } else { group.name.clone() };
        if failures.first().is_some_and(|f| !f.starts_with("    name: ")) {
            report.failures.push(format!("    name: {name},"));
        }
        report.failures.append(&mut failures);
    }
}

/// One test under way.
pub struct Test<'a> {
    group: &'a TestGroup,
    rules: Rules,
    engine: Engine,
    store: MemoryStore,
    interval_ms: i64,
    fuzzy: bool,
    /// Whether the first failure is enough.
    stops_early: bool,
    failures: Vec<String>,
}

impl<'a> Test<'a> {
    /// The test number `i` of a file over its input; `needed` are the rules to evaluate, all without it.
    pub fn new(
        prepared: &'a Prepared,
        i: usize,
        input: MemoryStore,
        needed: Option<&[bool]>,
        options: &TestOptions,
    ) -> Self {
        let group = &prepared.file.tests[i];
        let interval_ms = prepared.interval_ms;
        let engine = Engine::new(EngineOptions {
            default_subquery_step_ms: interval_ms,
            window_edges: options.window_edges,
            experimental: options.experimental,
            ..EngineOptions::default()
        });
        let settings = Settings {
            interval_ms,
            external_labels: Labels::from_pairs(group.external_labels.clone()),
            external_url: group.external_url.trim_end_matches('/').to_owned(),
            group_intervals: false,
            own_series: false,
            ..Settings::default()
        };
        let mut rules = Rules::new(Arc::clone(&prepared.set), settings, Arc::new(engine.clone()));
        if let Some(order) = &prepared.group_order {
            rules.order_by_groups(order);
        }
        if let Some(needed) = needed {
            rules.leave_out(|i| !needed[i]);
        }
        let fuzzy = prepared.file.fuzzy_compare;
        Self { group, rules, engine, store: input, interval_ms, fuzzy, stops_early: false, failures: Vec::new() }
    }

    /// Runs it and gives what failed.
    pub fn run(mut self) -> Vec<String> {
        if let Some(test) = self.group.alert_rule_test.iter().find(|t| t.alertname.is_empty()) {
            let at = format_duration_ms(test.eval_time.0);
            let message = "an item under alert_rule_test misses required attribute alertname at eval_time";
            return vec![format!("    {message} {at}")];
        }
        if self.evaluate_rules() {
            self.group.promql_expr_test.iter().for_each(|test| self.check_expression(test));
        }
        self.failures
    }

    /// Runs it as far as the first failure; whether there was one.
    pub fn fails(mut self) -> bool {
        self.stops_early = true;
        !self.run().is_empty()
    }

    /// Evaluates the rules up to the last time that a test asks for; `false` when a rule failed.
    fn evaluate_rules(&mut self) -> bool {
        let alert_tests = &self.group.alert_rule_test;
        let times =
            alert_tests.iter().map(|t| t.eval_time).chain(self.group.promql_expr_test.iter().map(|t| t.eval_time));
        let last = times.max().unwrap_or_default().0;
        let mut asked: Vec<i64> =
            alert_tests.iter().map(|t| t.eval_time.0).collect::<BTreeSet<_>>().into_iter().collect();
        asked.reverse();

        let mut at = 0;
        while at <= last {
            let now = TimestampMs(at);
            self.store.show_until(now);
            let input = Input { storage: &self.store, sources_ready: true, stopwatch: None };
            let out = self.rules.tick(now, &input);
            self.store.commit(out.batch);
            let failed: Vec<_> = out.failures.iter().filter(|f| f.kind == "evaluation").collect();
            if !failed.is_empty() {
                let time = go_duration(at);
                self.failures
                    .extend(failed.iter().map(|f| format!("    rule: {}, time: {time}, err: {}", f.rule, f.message)));
                return false;
            }
            // The alerts of the evaluation at or before a test's time are the ones it asks for.
            while asked.last().is_some_and(|t| *t < at + self.interval_ms) {
                let time = asked.pop().unwrap_or_default();
                alert_tests.iter().filter(|t| t.eval_time.0 == time).for_each(|t| self.check_alerts(t));
            }
            if self.stops_early && !self.failures.is_empty() {
                return false;
            }
            at += self.interval_ms;
        }
        true
    }

    fn check_alerts(&mut self, test: &AlertTest) {
        let view = self.rules.view();
        let fires = |a: &AlertView| a.state == State::Firing && a.hold.is_none();
        let mut got: Vec<FiringAlert> = view
            .alerts()
            .filter(|(rule, alert)| rule.name == test.alertname && fires(alert))
            .map(|(_, a)| FiringAlert { labels: a.labels.clone(), annotations: a.annotations.clone() })
            .collect();
        let mut expected: Vec<FiringAlert> = test
            .exp_alerts
            .iter()
            .flatten()
            .map(|alert| {
                let mut labels = alert.exp_labels.clone().unwrap_or_default();
                labels.insert("alertname".into(), test.alertname.clone());
                let annotations = alert.exp_annotations.clone().unwrap_or_default();
                FiringAlert { labels: Labels::from_pairs(labels), annotations }
            })
            .collect();
        got.sort();
        expected.sort();
        if expected != got {
            let name =
                if self.group.name.is_empty() { String::new() } else { format!("    name: {},\n", self.group.name) };
            let time = format_duration_ms(test.eval_time.0);
            let deep = "            ";
            let (expected, got) = (indent(&show_alerts(&expected), deep), indent(&show_alerts(&got), deep));
            let alertname = &test.alertname;
            self.failures.push(format!(
                "{name}    alertname: {alertname}, time: {time}, \n        exp:{expected}, \n        got:{got}"
            ));
        }
    }

    fn check_expression(&mut self, test: &ExprTest) {
        let time = format_duration_ms(test.eval_time.0);
        let place = format!("    expr: {:?}, time: {time},", test.expr);
        let mut got = match self.query(test) {
            Ok(got) => got,
            Err(e) => return self.failures.push(format!("{place} err: {e}")),
        };
        let mut expected = match expected_samples(test) {
            Ok(expected) => expected,
            Err(e) => return self.failures.push(format!("{place} err: {e}")),
        };
        expected.sort_by(|a, b| a.labels.cmp(&b.labels));
        got.sort_by(|a, b| a.labels.cmp(&b.labels));
        if !same_samples(&expected, &got, self.fuzzy) {
            let (expected, got) = (show_samples(&expected), show_samples(&got));
            self.failures.push(format!("{place}\n        exp: {expected}\n        got: {got}"));
        }
    }

    fn query(&self, test: &ExprTest) -> Result<Vec<SampleText>, String> {
        let expr = promql::parse(&test.expr).map_err(|e| e.to_string())?;
        let result =
            self.engine.instant(&self.store, &expr, TimestampMs(test.eval_time.0)).map_err(|e| e.to_string())?;
        match result.value {
            QueryValue::Vector(samples) => {
                Ok(samples.into_iter().map(|s| SampleText::new(s.labels, s.value)).collect())
            }
            QueryValue::Scalar(sample) => Ok(vec![SampleText::new(Labels::empty(), Value::Float(sample.v))]),
            _ => Err("rule result is not a vector or scalar".into()),
        }
    }
}

fn expected_samples(test: &ExprTest) -> Result<Vec<SampleText>, String> {
    let read = |sample: &super::format::ExpectedSample| {
        let labels = match sample.labels.trim() {
            "" => Labels::empty(),
            text => parse_series_labels(text).map_err(|e| format!("labels {text:?}: {e}"))?,
        };
        if sample.histogram.is_empty() {
            return Ok(SampleText::new(labels, Value::Float(sample.value)));
        }
        let values =
            parse_series_values(&sample.histogram).map_err(|e| format!("histogram {:?}: {e}", sample.histogram))?;
        match values.into_iter().next().flatten().map(|v| v.value) {
            Some(value @ Value::Histogram(_)) => Ok(SampleText::new(labels, value)),
            _ => Err(format!("histogram {:?}: not a histogram", sample.histogram)),
        }
    };
    test.exp_samples.iter().flatten().map(read).collect()
}

impl SampleText {
    fn new(labels: Labels, value: Value) -> Self {
        match value {
            Value::Float(value) => Self { labels, value, histogram: None },
            Value::Histogram(histogram) => Self { labels, value: 0.0, histogram: Some(histogram) },
        }
    }
}
