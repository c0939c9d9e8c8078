//! Mutation testing of rules: how many small mistakes in a rule would its unit tests find?
//!
//! In:  a [`Plan`] (rule files, promtool's unit-test files, changes).   Out: for each mutant whether a test fails on it.
//! Always: a mutant is judged by the tests that can depend on its rule, each evaluated only as far as it needs; a test
//! that finds one has passed on the rule as it is; the order and the sample depend on the plan alone. An equivalent that is listed but found by a test is reported: its
//! reason is wrong. So is one that fits no mutant.

mod operators;
mod plan;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::Serialize;

use self::operators::{Change, Mutation, mutations};
use self::plan::Plan;
use super::config::expand;
use super::memory::MemoryStore;
use super::rule::{Rule, RuleKind};
use super::unittest::{Prepared, Test, TestOptions};
use crate::promql::WindowEdges;

/// How a run went.
#[derive(Clone, Debug, Serialize)]
pub struct MutationReport {
    pub mutants: usize,
    pub killed: usize,
    /// Mutants listed as equivalent; they do not count.
    pub equivalent: usize,
    pub score: f64,
    pub score_min: f64,
    /// Mutants that no test found.
    pub survivors: Vec<String>,
    /// Entries of the plan that are wrong: equivalents that a test finds, and entries that fit nothing.
    pub wrong_entries: Vec<String>,
}

impl MutationReport {
    /// Whether enough was found and the plan is right.
    pub fn is_success(&self) -> bool {
        self.score >= self.score_min && self.wrong_entries.is_empty()
    }
}

impl fmt::Display for MutationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for survivor in &self.survivors {
            writeln!(f, "survived: {survivor}")?;
        }
        for entry in &self.wrong_entries {
            writeln!(f, "wrong in the plan: {entry}")?;
        }
        let (counted, equivalent) = (self.mutants - self.equivalent, self.equivalent);
        let score = self.score * 100.0;
        let least = self.score_min * 100.0;
        let killed = self.killed;
        writeln!(
            f,
            "mutation score {score:.1} %: {killed} of {counted} mutants killed, {equivalent} equivalent, at least {least:.0} % wanted"
        )
    }
}

/// One rule of one test file, changed.
struct Mutant {
    /// Index into [`Mutants::rules`].
    rule: usize,
    mutation: Mutation,
    /// Index into the plan's equivalents.
    equivalent: Option<usize>,
}

/// A rule as it stands in the plan's rule files, and where tests of it are.
struct Subject {
    name: String,
    shown: String,
    /// Tests that can depend on it, cheapest first.
    trials: Vec<Trial>,
}

/// A test of a rule, as indexes: the test file, the test in it, the rule among the file's rules.
#[derive(Clone, Copy)]
struct Trial {
    file: usize,
    test: usize,
    rule: usize,
}

/// Every mutant of a plan, ready to be tried.
pub struct Mutants {
    plan: Plan,
    test_files: Vec<PathBuf>,
    rules: Vec<Subject>,
    mutants: Vec<Mutant>,
    /// The test files as they were read for planning; the first thread of a run takes them.
    benches: Mutex<Option<Vec<Bench>>>,
}

impl Mutants {
    /// Reads the plan's files and works out the mutants.
    ///
    /// # Errors
    /// A plan, rule file or test file that cannot be used.
    pub fn read(path: &Path) -> Result<Self, String> {
        let plan = Plan::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let rule_files = found(folder, &plan.rule_files)?;
        let is_skipped = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            plan.skip_test_files.iter().any(|skip| plan::matches_pattern(skip, &name))
        };
        let test_files: Vec<PathBuf> =
            found(folder, &plan.test_files)?.into_iter().filter(|path| !is_skipped(path)).collect();
        let mut out = Self { plan, test_files, rules: Vec::new(), mutants: Vec::new(), benches: Mutex::default() };
        let benches = out.prepare()?;
        for path in &rule_files {
            out.add_rules(path, &benches)?;
        }
        *out.benches.get_mut() = Some(benches);
        Ok(out)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.mutants.len()
    }

    fn prepare(&self) -> Result<Vec<Bench>, String> {
        self.test_files.iter().map(|path| Bench::read(path)).collect()
    }

    fn add_rules(&mut self, path: &Path, benches: &[Bench]) -> Result<(), String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("failed to read `{}`: {e}", path.display()))?;
        let source = super::Source { name: path.display().to_string(), text };
        let set = super::load(&[source], &super::Tuning::default()).map_err(|e| e.to_string())?;
        let is_skipped =
            |rule: &&Rule| !self.plan.skip_rules.iter().any(|s| plan::matches_pattern(&s.rule, &rule.name));
        for rule in set.rules.iter().filter(is_skipped) {
            let mut trials: Vec<Trial> = Vec::new();
            for (file, bench) in benches.iter().enumerate() {
                let Some(at) = bench.position(rule) else { continue };
                let tests = (0..bench.tests.len()).filter(|t| bench.tests[*t].needed[at]);
                trials.extend(tests.map(|test| Trial { file, test, rule: at }));
            }
            trials.sort_by_key(|t| benches[t.file].tests[t.test].cost);
            let fixed = rule.fixed_labels().into_iter().filter(|(n, _)| *n != "alertname");
            let fixed: Vec<String> = fixed.map(|(n, v)| format!("{n}={v}")).collect();
            let shown = format!("{}{{{}}}", rule.name, fixed.join(","));
            let at = self.rules.len();
            for mutation in mutations(rule, &self.plan.operators, self.plan.shift) {
                let equivalent = self.plan.equivalent.iter().position(|e| e.is_about(&rule.name, &mutation));
                self.mutants.push(Mutant { rule: at, mutation, equivalent });
            }
            self.rules.push(Subject { name: rule.name.clone(), shown, trials });
        }
        Ok(())
    }

    /// Tries mutants on `threads` threads: all of them, or the plan's seeded sample. `only` keeps those of rules whose
    /// name holds the text.
    ///
    /// # Errors
    /// A test that fails on the rules as they are; a file that changed meanwhile.
    pub fn run(&self, is_sample: bool, only: Option<&str>, threads: usize) -> Result<MutationReport, String> {
        let mut chosen: Vec<usize> = (0..self.mutants.len())
            .filter(|i| only.is_none_or(|text| self.rules[self.mutants[*i].rule].name.contains(text)))
            .collect();
        if is_sample {
            fastrand::Rng::with_seed(self.plan.seed).shuffle(&mut chosen);
            chosen.truncate(self.plan.sample);
            chosen.sort_unstable();
        }
        let next = AtomicUsize::new(0);
        let worker = || -> Result<Vec<(usize, bool)>, String> {
            let planned = self.benches.lock().take();
            let mut benches = planned.map_or_else(|| self.prepare(), Ok)?;
            let mut done = Vec::new();
            while let Some(i) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((*i, self.is_killed(&self.mutants[*i], &mut benches)?));
            }
            Ok(done)
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().map(|w| w.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
        });
        let mut killed = vec![None; self.mutants.len()];
        for result in results {
            for (i, is_killed) in result? {
                killed[i] = Some(is_killed);
            }
        }
        Ok(self.report(&killed, !is_sample && only.is_none()))
    }

    /// Whether a test fails on the mutant; an error when that test fails on the rules as they are.
    fn is_killed(&self, mutant: &Mutant, benches: &mut [Bench]) -> Result<bool, String> {
        for trial in &self.rules[mutant.rule].trials {
            let bench = &mut benches[trial.file];
            if bench.fails_on(*trial, &mutant.mutation.change) {
                return match bench.check(trial.test) {
                    Ok(()) => Ok(true),
                    Err(e) => Err(format!("`{}` {e}", self.test_files[trial.file].display())),
                };
            }
        }
        Ok(false)
    }

    fn report(&self, killed: &[Option<bool>], is_whole: bool) -> MutationReport {
        let shown = |mutant: &Mutant| {
            let m = &mutant.mutation;
            let number = if m.at > 1 { format!(" #{}", m.at) } else { String::new() };
            let operator = serde_json::to_value(m.operator).ok();
            let operator = operator.as_ref().and_then(|v| v.as_str()).unwrap_or_default();
            format!("{} {operator}: {}{number}", self.rules[mutant.rule].shown, m.what)
        };
        let tried = || self.mutants.iter().zip(killed).filter_map(|(m, k)| Some((m, (*k)?)));
        let counted = || tried().filter(|(m, _)| m.equivalent.is_none());
        let mut wrong_entries: Vec<String> = tried()
            .filter(|(m, is_killed)| m.equivalent.is_some() && *is_killed)
            .map(|(m, _)| format!("listed as equivalent, but a test finds it: {}", shown(m)))
            .collect();
        if is_whole {
            for (i, entry) in self.plan.equivalent.iter().enumerate() {
                if !self.mutants.iter().any(|m| m.equivalent == Some(i)) {
                    wrong_entries.push(format!("`equivalent` fits no mutant: {} {}", entry.rule, entry.what));
                }
            }
        }
        let (total, dead) = (counted().count(), counted().filter(|(_, k)| *k).count());
        MutationReport {
            mutants: tried().count(),
            killed: dead,
            equivalent: tried().count() - total,
            score: if total == 0 { 1.0 } else { dead as f64 / total as f64 },
            score_min: self.plan.score_min,
            survivors: counted().filter(|(_, k)| !*k).map(|(m, _)| shown(m)).collect(),
            wrong_entries,
        }
    }
}

fn found(folder: &Path, patterns: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut out = Vec::new();
    for pattern in patterns {
        let paths = expand(&folder.join(pattern));
        if paths.is_empty() {
            return Err(format!("`{pattern}` matches no file"));
        }
        out.extend(paths);
    }
    Ok(out)
}

/// One test of a file with its input.
struct BenchTest {
    input: MemoryStore,
    needed: Vec<bool>,
    /// Roughly, evaluations of rules.
    cost: i64,
    /// Whether it is known to pass on the rules as they are.
    passes: bool,
}

/// A test file with everything parsed once.
struct Bench {
    prepared: Prepared,
    tests: Vec<BenchTest>,
    options: TestOptions,
}

impl Bench {
    fn read(path: &Path) -> Result<Self, String> {
        let file = path.display();
        let text = std::fs::read_to_string(path).map_err(|e| format!("failed to read `{file}`: {e}"))?;
        let prepared = Prepared::read(path, &text).map_err(|e| format!("`{file}`: {}", e.join("\n")))?;
        // Shipped tests are written for promtool 2.42, whose windows hold both edges.
        let options = TestOptions { window_edges: WindowEdges::Closed, ..TestOptions::default() };
        let mut tests = Vec::with_capacity(prepared.file.tests.len());
        for i in 0..prepared.file.tests.len() {
            let needed = prepared.needed(i);
            let rules = needed.iter().filter(|n| **n).count();
            let cost = prepared.ticks(i) * i64::try_from(rules).unwrap_or(i64::MAX);
            let input = prepared.input(i).map_err(|e| format!("`{file}`: {e}"))?;
            tests.push(BenchTest { input, needed, cost, passes: false });
        }
        Ok(Self { prepared, tests, options })
    }

    /// Where a rule of a rule file stands in this test file's own set.
    fn position(&self, rule: &Rule) -> Option<usize> {
        let identity = rule.identity();
        self.prepared.set.rules.iter().position(|r| r.text == rule.text && r.identity() == identity)
    }

    fn test(&self, i: usize) -> Test<'_> {
        let BenchTest { input, needed, .. } = &self.tests[i];
        Test::new(&self.prepared, i, input.clone(), Some(needed), &self.options)
    }

    /// A test that fails on the rules as they are would find whatever is changed, so each is tried once.
    fn check(&mut self, test: usize) -> Result<(), String> {
        if !self.tests[test].passes {
            let failures = self.test(test).run();
            if !failures.is_empty() {
                return Err(format!("fails on the rules as they are:\n{}", failures.join("\n")));
            }
            self.tests[test].passes = true;
        }
        Ok(())
    }

    fn fails_on(&mut self, trial: Trial, change: &Change) -> bool {
        let unchanged = self.exchange(trial.rule, change.clone());
        let fails = self.test(trial.test).fails();
        self.exchange(trial.rule, unchanged);
        fails
    }

    /// Puts a change into a rule and gives back what undoes it.
    fn exchange(&mut self, rule: usize, change: Change) -> Change {
        // No test is under way, so nobody else holds the set.
        let set = Arc::get_mut(&mut self.prepared.set).expect("the rules of a test outlived it");
        let rule = &mut set.rules[rule];
        match (change, &mut rule.kind) {
            (Change::Expr(expr), _) => Change::Expr(Box::new(std::mem::replace(&mut rule.expr, *expr))),
            (Change::ForMs(ms), RuleKind::Alerting(a)) => Change::ForMs(std::mem::replace(&mut a.for_ms, ms)),
            (Change::KeepFiringForMs(ms), RuleKind::Alerting(a)) => {
                Change::KeepFiringForMs(std::mem::replace(&mut a.keep_firing_for_ms, ms))
            }
            (change, RuleKind::Recording { .. }) => change,
        }
    }
}
