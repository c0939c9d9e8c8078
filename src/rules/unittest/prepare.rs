//! A test file made ready: its rules loaded, its input parsed, and which rules a test depends on.
//!
//! In:  the text of a test file.   Out: what [`super::run::Test`] runs, once or, over changed rules, many times.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::super::config::expand;
use super::super::graph::{self, Graph};
use super::super::load::{Source, Tuning, load};
use super::super::memory::MemoryStore;
use super::super::rule::{RuleSet, reads_of};
use super::compare::indent;
use super::format::{TestFile, TestGroup};
use crate::model::{TimeRange, TimestampMs, Value};
use crate::promql::testing::MemoryStorage;
use crate::promql::{self, parse_series_labels, parse_series_values};
use crate::storage::{Point, Select, SeriesData};

/// One test file with the rules it is about.
pub struct Prepared {
    pub file: TestFile,
    pub set: Arc<RuleSet>,
    /// Indexes of the groups in the order of `group_eval_order`; `None` leaves the order to the graph.
    pub group_order: Option<Vec<usize>>,
    pub interval_ms: i64,
    /// What promtool warns of: patterns that match no rule file.
    pub warnings: Vec<String>,
    /// Which rules read which.
    graph: Graph,
}

impl Prepared {
    /// Reads the test file `path`, whose text is given, and the rule files it names.
    ///
    /// # Errors
    /// What is wrong with the test file or its rules, as promtool prints it.
    pub fn read(path: &Path, text: &str) -> Result<Self, Vec<String>> {
        let file = TestFile::parse(text).map_err(|e| vec![format!("    {e}")])?;
        let order: HashMap<&str, usize> =
            file.group_eval_order.iter().enumerate().map(|(i, g)| (g.as_str(), i)).collect();
        if order.len() < file.group_eval_order.len() {
            return Err(vec!["    group name repeated in evaluation order".into()]);
        }
        let (sources, warnings) = sources(path, &file).map_err(|e| vec![e])?;
        // promtool loads the rules of each test, so a file without tests loads none.
        let sources = if file.tests.is_empty() { Vec::new() } else { sources };
        let set = load(&sources, &Tuning::default()).map_err(|e| {
            e.problems.iter().map(|p| format!("    {}", indent(&p.to_string(), "    "))).collect::<Vec<_>>()
        })?;
        let group_order = (!order.is_empty()).then(|| {
            let mut groups: Vec<usize> = (0..set.groups.len()).collect();
            groups.sort_by_key(|g| order.get(set.groups[*g].name.as_str()).copied().unwrap_or(0));
            groups
        });
        let interval_ms = file.evaluation_interval.map_or(60_000, |s| s.0).max(1);
        let graph = graph::build(&set.rules);
        Ok(Self { file, set: Arc::new(set), group_order, interval_ms, warnings, graph })
    }

    /// The input series of test `i`.
    ///
    /// # Errors
    /// A series or its values are not in promtool's notation.
    pub fn input(&self, i: usize) -> Result<MemoryStore, String> {
        let group = &self.file.tests[i];
        let step = group.interval.map_or(self.interval_ms, |s| s.0);
        let mut input = MemoryStorage::default();
        for series in &group.input_series {
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
        let mut store = MemoryStore::default();
        let mut set = input.select(&[], TimeRange::ALL).map_err(|e| e.to_string())?;
        let mut data = SeriesData::default();
        while let Some(labels) = set.next_into(&mut data).map_err(|e| e.to_string())? {
            let floats = data.floats.iter().map(|s| (s.t, Value::Float(s.v)));
            let histograms = data.histograms.iter().map(|(t, h)| (*t, Value::Histogram(Arc::clone(h))));
            floats.chain(histograms).for_each(|(t, value)| store.push(Point { labels: labels.clone(), t, value }));
        }
        Ok(store)
    }

    /// Evaluations that test `i` takes: up to the last time it asks for.
    pub fn ticks(&self, i: usize) -> i64 {
        let group = &self.file.tests[i];
        let times = group.alert_rule_test.iter().map(|t| t.eval_time);
        let last = times.chain(group.promql_expr_test.iter().map(|t| t.eval_time)).max().unwrap_or_default();
        last.0 / self.interval_ms + 1
    }

    /// For each rule, whether what test `i` expects can depend on it: by its alerts, by what it records, or by way of
    /// rules that read it.
    pub fn needed(&self, i: usize) -> Vec<bool> {
        self.graph.with_all_they_read(self.asked_for(&self.file.tests[i]))
    }

    fn asked_for(&self, group: &TestGroup) -> Vec<usize> {
        let rules = &self.set.rules;
        let names: HashSet<&str> = group.alert_rule_test.iter().map(|t| t.alertname.as_str()).collect();
        let alerts =
            rules.iter().enumerate().filter(|(_, r)| r.alerting().is_some() && names.contains(r.name.as_str()));
        let mut asked: Vec<usize> = alerts.map(|(at, _)| at).collect();
        for test in &group.promql_expr_test {
            // One that does not parse fails for what it is, whatever the rules do.
            if let Ok(expr) = promql::parse(&test.expr) {
                asked.extend(graph::read_by(&reads_of(&expr), rules));
            }
        }
        asked
    }
}

/// The rule files that the test file names, from its own folder, and what names none: a file that is not there is a
/// pattern that matches nothing, which to promtool is worth a warning.
fn sources(path: &Path, file: &TestFile) -> Result<(Vec<Source>, Vec<String>), String> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut sources, mut warnings) = (Vec::new(), Vec::new());
    for pattern in &file.rule_files {
        let found: Vec<_> = expand(&folder.join(pattern)).into_iter().filter(|path| path.exists()).collect();
        if found.is_empty() {
            warnings.push(format!("no file match pattern {}", folder.join(pattern).display()));
        }
        for path in found {
            let text = std::fs::read_to_string(&path).map_err(|e| format!("    {}: {e}", path.display()))?;
            sources.push(Source { name: path.display().to_string(), text });
        }
    }
    Ok((sources, warnings))
}
