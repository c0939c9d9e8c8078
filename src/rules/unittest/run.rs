//! Runs the tests of one file over a store in memory.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::super::config::{Settings, expand};
use super::super::engine::{Input, Rules};
use super::super::load::{Source, Tuning, load};
use super::super::memory::MemoryStore;
use super::super::rule::RuleSet;
use super::super::{AlertView, State};
use super::compare::{FiringAlert, SampleText, go_duration, indent, same_samples, show_alerts, show_samples};
use super::format::{AlertTest, ExprTest, TestFile, TestGroup};
use super::{FileReport, TestOptions};
use crate::model::{Labels, TimeRange, TimestampMs, Value, format_duration_ms};
use crate::promql::testing::MemoryStorage;
use crate::promql::{self, Engine, EngineOptions, QueryValue, parse_series_labels, parse_series_values};
use crate::storage::{Point, Select, SeriesData};

/// Runs the tests of the file `path`, whose text is given.
pub fn file(path: &Path, text: &str, options: &TestOptions, report: &mut FileReport) {
    let file = match TestFile::parse(text) {
        Ok(file) => file,
        Err(e) => return report.failures.push(format!("    {e}")),
    };
    let order: HashMap<&str, usize> = file.group_eval_order.iter().enumerate().map(|(i, g)| (g.as_str(), i)).collect();
    if order.len() < file.group_eval_order.len() {
        return report.failures.push("    group name repeated in evaluation order".into());
    }
    let sources = match sources(path, &file) {
        Ok(sources) => sources,
        Err(e) => return report.failures.push(e),
    };
    let interval_ms = file.evaluation_interval.map_or(60_000, |s| s.0).max(1);
    if file.tests.is_empty() {
        return;
    }
    let set = match load(&sources, &Tuning::default()) {
        Ok(set) => Arc::new(set),
        Err(e) => {
            let problems = e.problems.iter().map(|p| format!("    {}", indent(&p.to_string(), "    ")));
            return report.failures.extend(problems);
        }
    };
    for (i, group) in file.tests.iter().enumerate() {
        if options.run.as_ref().is_some_and(|wanted| !group.name.contains(wanted.as_str())) {
            continue;
        }
        report.tests += 1;
        let mut test = Test::new(group, &set, &order, interval_ms, file.fuzzy_compare, options);
        test.run();
        let name = if group.name.is_empty() { format!("test {}", i + 1) } else { group.name.clone() };
        if test.failures.first().is_some_and(|f| !f.starts_with("    name: ")) {
            report.failures.push(format!("    name: {name},"));
        }
        report.failures.append(&mut test.failures);
    }
}

/// The rule files that the test file names, from its own folder.
fn sources(path: &Path, file: &TestFile) -> Result<Vec<Source>, String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut sources = Vec::new();
    for pattern in &file.rule_files {
        let found = expand(&folder.join(pattern));
        if found.is_empty() {
            return Err(format!("    no file match pattern {}", folder.join(pattern).display()));
        }
        for path in found {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("    {}: {e}", path.display()))?;
            sources.push(Source { name: path.display().to_string(), text });
        }
    }
    Ok(sources)
}

struct Test<'a> {
    group: &'a TestGroup,
    rules: Rules,
    engine: Engine,
    store: MemoryStore,
    interval_ms: i64,
    fuzzy: bool,
    failures: Vec<String>,
}

impl<'a> Test<'a> {
    fn new(
        group: &'a TestGroup,
        set: &Arc<RuleSet>,
        order: &HashMap<&str, usize>,
        interval_ms: i64,
        fuzzy: bool,
        options: &TestOptions,
    ) -> Self {
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
        let mut by_order: Vec<usize> = (0..set.groups.len()).collect();
        by_order.sort_by_key(|g| order.get(set.groups[*g].name.as_str()).copied().unwrap_or(0));
        let mut rules = Rules::new(Arc::clone(set), settings, Arc::new(engine.clone()));
        if !order.is_empty() {
            rules.order_by_groups(&by_order);
        }
        Self { group, rules, engine, store: MemoryStore::default(), interval_ms, fuzzy, failures: Vec::new() }
    }

    fn run(&mut self) {
        if let Err(e) = self.load_input() {
            return self.failures.push(format!("    {e}"));
        }
        if let Some(test) = self.group.alert_rule_test.iter().find(|t| t.alertname.is_empty()) {
            let at = format_duration_ms(test.eval_time.0);
            let message = "an item under alert_rule_test misses required attribute alertname at eval_time";
            return self.failures.push(format!("    {message} {at}"));
        }
        if self.evaluate_rules() {
            self.group.promql_expr_test.iter().for_each(|test| self.check_expression(test));
        }
    }

    fn load_input(&mut self) -> Result<(), String> {
        let step = self.group.interval.map_or(self.interval_ms, |s| s.0);
        let mut input = MemoryStorage::default();
        for series in &self.group.input_series {
            let name = &series.series;
            let labels = parse_series_labels(name).map_err(|e| format!("series `{name}`: {e}"))?;
            let values = parse_series_values(&series.values).map_err(|e| format!("values of `{name}`: {e}"))?;
            for (i, value) in values.into_iter().enumerate() {
                if let Some(value) = value {
                    let t = TimestampMs(step.saturating_mul(i64::try_from(i).unwrap_or(i64::MAX)));
                    input.append(labels.clone(), t, value.value);
                }
            }
        }
        // Through that store, histograms come with the counter reset hints that Prometheus' chunks give them.
        let mut set = input.select(&[], TimeRange::ALL).map_err(|e| e.to_string())?;
        let mut data = SeriesData::default();
        while let Some(labels) = set.next_into(&mut data).map_err(|e| e.to_string())? {
            let floats = data.floats.iter().map(|s| (s.t, Value::Float(s.v)));
            let histograms = data.histograms.iter().map(|(t, h)| (*t, Value::Histogram(Arc::clone(h))));
            floats.chain(histograms).for_each(|(t, value)| self.store.push(Point { labels: labels.clone(), t, value }));
        }
        Ok(())
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
