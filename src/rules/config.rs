//! The `rules:` section of the configuration, and how it becomes a rule set.
//!
//! In: keys that people write.   Out: [`Settings`] for the step machine, sources and [`Tuning`] for loading.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::builtin;
use super::load::{LoadError, Override, Source, Tuning, load};
use super::problem::RuleProblem;
use super::rule::{Group, RuleSet};
use crate::model::{HumanDuration, Labels, Problem, format_duration_ms};

/// Values by signal and severity that replace those in `alerts/00-thresholds.yaml`.
pub type Thresholds = BTreeMap<String, BTreeMap<String, f64>>;

/// Rules: which are loaded, how they are changed, and how often they are evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Time between two ticks, aligned to the epoch; each evaluates every rule, but for groups with a longer
    /// `interval` of their own. Default `15s`, from `1s` to `1h`.
    pub interval: HumanDuration,
    /// Least time between two passes that arriving data triggers between ticks. Default `1s`, from `100ms`
    /// to `interval`.
    pub min_interval: HumanDuration,
    /// How far before the tick rules are evaluated, for groups without their own `query_offset`. Default `0s`,
    /// at most `1h`.
    pub query_offset: HumanDuration,
    /// Whether the rules that ship with the agent are loaded. Default `true`.
    pub builtin: bool,
    /// Rule files of Prometheus to load besides: paths or patterns with `*` and `?`. A pattern may match nothing,
    /// a path must exist.
    pub files: Vec<String>,
    /// Names of alerts and recorded series to leave out.
    pub disable: Vec<String>,
    /// Changes to alerts, by name.
    #[serde(rename = "override")]
    pub overrides: BTreeMap<String, AlertOverride>,
    /// Labels added to every alert that does not set them, such as `team`.
    pub labels: BTreeMap<String, String>,
    /// Labels that name this installation, added to alerts when they are sent and known to templates as
    /// `$externalLabels`.
    pub external_labels: BTreeMap<String, String>,
    /// Where Grafana serves the exported dashboards, such as `https://grafana.example`. Annotations `dashboard_url`
    /// that begin with `/`, as those of the shipped alerts do, are completed with it. Default none.
    pub grafana_url: Option<String>,
    /// How often a firing alert is sent again. Default `1m`, from `1s` to `1h`.
    pub resend_interval: HumanDuration,
    /// How long an alert whose data vanished stays firing before it is resolved as no data. Default `15m`,
    /// `0s` resolves at once, at most `24h`.
    pub no_data_hold: HumanDuration,
    /// A pending alert goes on counting after a restart if the agent was down for less. Default `10m`, at most `24h`.
    pub restore_tolerance: HumanDuration,
}

/// Changes to one alert.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertOverride {
    /// How long the condition must hold before the alert fires.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<HumanDuration>,
    /// How long it goes on firing after the condition ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<HumanDuration>,
    /// `critical`, `warning` or `info`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    /// Labels set or replaced.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations set or replaced; templates as in rule files.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: HumanDuration::secs(15),
            min_interval: HumanDuration::secs(1),
            query_offset: HumanDuration::secs(0),
            builtin: true,
            files: Vec::new(),
            disable: Vec::new(),
            overrides: BTreeMap::new(),
            labels: BTreeMap::new(),
            external_labels: BTreeMap::new(),
            grafana_url: None,
            resend_interval: HumanDuration::secs(60),
            no_data_hold: HumanDuration::secs(15 * 60),
            restore_tolerance: HumanDuration::secs(10 * 60),
        }
    }
}

/// What the step machine goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    pub interval_ms: i64,
    pub min_interval_ms: i64,
    pub query_offset_ms: i64,
    pub resend_ms: i64,
    /// How long a resolved alert is repeated.
    pub resolved_retention_ms: i64,
    pub no_data_hold_ms: i64,
    pub restore_tolerance_ms: i64,
    /// How far back a sample still counts as present; the engine's lookback.
    pub lookback_ms: i64,
    pub external_labels: Labels,
    /// Where this agent is reached from outside, without a slash at the end; empty for no links.
    pub external_url: String,
    /// Whether groups with a longer interval of their own are evaluated only as often, on aligned ticks; off, every
    /// tick evaluates all, as promtool does.
    pub group_intervals: bool,
    /// Whether the graph decides the order; off, files and groups do, as in Prometheus.
    pub graph_order: bool,
    /// Whether series about the rules themselves are written beside those of the rules.
    pub own_series: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Config::default().settings("", 5 * 60_000)
    }
}

const HOUR_MS: i64 = 3_600_000;

impl Config {
    /// Checks the bounds that the keys' documentation gives.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let ranges: [(&str, HumanDuration, i64, i64); 6] = [
            ("interval", self.interval, 1_000, HOUR_MS),
            ("min_interval", self.min_interval, 100, self.interval.as_ms()),
            ("query_offset", self.query_offset, 0, HOUR_MS),
            ("resend_interval", self.resend_interval, 1_000, HOUR_MS),
            ("no_data_hold", self.no_data_hold, 0, 24 * HOUR_MS),
            ("restore_tolerance", self.restore_tolerance, 0, 24 * HOUR_MS),
        ];
        for (key, value, least, most) in ranges {
            let (low, high) = (HumanDuration::millis(least.unsigned_abs()), HumanDuration::millis(most.unsigned_abs()));
            if value < low || value > high {
                problems
                    .push(Problem::new(format!("{at}.{key}"), format!("must be from {low} to {high}, got `{value}`")));
            }
        }
        for (i, file) in self.files.iter().enumerate() {
            if file.trim().is_empty() {
                problems.push(Problem::new(format!("{at}.files[{i}]"), "must name a rule file, got ``"));
            }
        }
        for (name, change) in &self.overrides {
            if let Some(severity) = &change.severity
                && !matches!(severity.as_str(), "critical" | "warning" | "info")
            {
                let rule = format!("must be critical, warning or info, got `{severity}`");
                problems.push(Problem::new(format!("{at}.override.{name}.severity"), rule));
            }
        }
        if let Some(url) = self.grafana_url.as_ref().filter(|u| !u.starts_with("http://") && !u.starts_with("https://"))
        {
            let rule = format!("must begin with http:// or https://, got `{url}`");
            problems.push(Problem::new(format!("{at}.grafana_url"), rule));
        }
        for (key, labels) in [("labels", &self.labels), ("external_labels", &self.external_labels)] {
            for name in labels.keys() {
                if name.is_empty() || name == crate::model::METRIC_NAME || name == "alertname" {
                    problems.push(Problem::new(format!("{at}.{key}"), format!("must not set the label `{name}`")));
                }
            }
        }
    }

    /// The settings of the step machine; `lookback_ms` is the query engine's.
    pub fn settings(&self, external_url: &str, lookback_ms: i64) -> Settings {
        Settings {
            interval_ms: self.interval.as_ms(),
            min_interval_ms: self.min_interval.as_ms(),
            query_offset_ms: self.query_offset.as_ms(),
            resend_ms: self.resend_interval.as_ms(),
            resolved_retention_ms: 15 * 60_000,
            no_data_hold_ms: self.no_data_hold.as_ms(),
            restore_tolerance_ms: self.restore_tolerance.as_ms(),
            lookback_ms,
            external_labels: Labels::from_pairs(self.external_labels.clone()),
            external_url: external_url.trim_end_matches('/').to_owned(),
            group_intervals: true,
            graph_order: true,
            own_series: true,
        }
    }

    /// Reads and loads everything that the configuration names.
    ///
    /// Relative paths start at `base`, the folder of the configuration file.
    ///
    /// # Errors
    /// A file that cannot be read, and every mistake in the rules.
    pub fn load(&self, base: &Path, thresholds: &Thresholds) -> Result<RuleSet, LoadError> {
        let (sources, mut problems) = self.sources(base);
        let mut result = load(&sources, &self.tuning(thresholds));
        if problems.is_empty() {
            if let Ok(set) = &mut result {
                let uneven = self.uneven_groups(set);
                set.warnings.extend(uneven);
            }
            return result;
        }
        if let Err(e) = result {
            problems.extend(e.problems);
        }
        Err(LoadError { problems })
    }

    /// The files whose change should reload the rules: those that are named, and those that patterns match now.
    pub fn watched_files(&self, base: &Path) -> Vec<PathBuf> {
        self.files.iter().flat_map(|pattern| expand(&base.join(pattern))).collect()
    }

    fn sources(&self, base: &Path) -> (Vec<Source>, Vec<RuleProblem>) {
        let mut sources = if self.builtin { builtin::sources() } else { Vec::new() };
        let mut problems = Vec::new();
        for pattern in &self.files {
            let paths = expand(&base.join(pattern));
            if paths.is_empty() {
                let shown = base.join(pattern);
                tracing::warn!(pattern = %shown.display(), "a pattern of `rules.files` matches no file");
            }
            for path in paths {
                match std::fs::read_to_string(&path) {
                    Ok(text) => sources.push(Source { name: path.display().to_string(), text }),
                    Err(e) => {
                        let message = format!("failed to read the file that `rules.files` names: {e}");
                        problems.push(RuleProblem::in_file(&path.display().to_string(), None, message));
                    }
                }
            }
        }
        (sources, problems)
    }

    /// Groups whose own interval no number of ticks makes.
    fn uneven_groups(&self, set: &RuleSet) -> Vec<RuleProblem> {
        let tick = self.interval;
        let warn = |group: &Group| {
            let own = group.interval_ms.filter(|ms| ms % tick.as_ms() != 0)?;
            let what = match own < tick.as_ms() {
                true => format!("it is evaluated every {tick}, as `rules.interval` has it"),
                false => {
                    format!("it is evaluated at the first tick of each, and ticks come every {tick} (`rules.interval`)")
                }
            };
            let message = format!("the interval of {} cannot be kept: {what}", format_duration_ms(own));
            Some(RuleProblem::in_file(&group.file, None, message).group(&group.name).warning())
        };
        set.groups.iter().filter(|group| !group.is_builtin()).filter_map(warn).collect()
    }

    fn tuning(&self, thresholds: &Thresholds) -> Tuning {
        let overrides = self.overrides.iter().map(|(name, change)| {
            let mut labels = change.labels.clone();
            labels.extend(change.severity.iter().map(|s| ("severity".to_owned(), s.clone())));
            let change = Override {
                for_ms: change.hold.map(HumanDuration::as_ms),
                keep_firing_for_ms: change.keep_firing_for.map(HumanDuration::as_ms),
                labels,
                annotations: change.annotations.clone(),
            };
            (name.clone(), change)
        });
        Tuning {
            disable: self.disable.clone(),
            overrides: overrides.collect(),
            labels: self.labels.clone(),
            thresholds: thresholds.clone(),
            grafana_url: self.grafana_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
            refuse_duplicates: false,
        }
    }
}

/// The paths that a pattern matches, sorted; a path without `*` or `?` is itself, whether it exists or not. They have no
/// `.` in them, as Prometheus shows them: `rules/a.yaml` beside a configuration `rw.yaml` is not `./rules/a.yaml`.
pub fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components().filter(|part| *part != Component::CurDir) {
        let text = part.as_os_str().to_string_lossy();
        if !text.contains(['*', '?']) {
            found.iter_mut().for_each(|p| p.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            let Ok(entries) = std::fs::read_dir(listed) else { continue };
            let names = entries.filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()));
            next.extend(names.filter(|n| matches_pattern(&text, n)).map(|n| folder.join(n)));
        }
        next.sort();
        found = next;
    }
    found
}

fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => name.is_empty(),
        Some('*') => {
            let rest = chars.as_str();
            name.char_indices().map(|(i, _)| i).chain([name.len()]).any(|i| matches_pattern(rest, &name[i..]))
        }
        Some(c) => {
            let mut name = name.chars();
            name.next().is_some_and(|n| c == '?' || c == n) && matches_pattern(chars.as_str(), name.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked_in_one_pass() {
        let text = "interval: 10ms\nmin_interval: 1m\nfiles: ['']\noverride: {A: {severity: page}}\ngrafana_url: /d\nlabels: {alertname: x}\n";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let mut problems = Vec::new();
        config.validate("rules", &mut problems);
        let keys: Vec<&str> = problems.iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "rules.interval",
                "rules.min_interval",
                "rules.files[0]",
                "rules.override.A.severity",
                "rules.grafana_url",
                "rules.labels"
            ]
        );
        let mut none = Vec::new();
        Config::default().validate("rules", &mut none);
        assert_eq!(none, []);
        assert!(serde_saphyr::from_str::<Config>("intervall: 15s").is_err());
    }

    #[test]
    fn files_are_found_by_pattern_and_a_missing_path_is_a_mistake() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.yaml", "c.txt"] {
            let text = format!("groups: [{{name: g, rules: [{{record: 'from_{}', expr: up}}]}}]", &name[..1]);
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let config = Config { builtin: false, files: vec!["*.yaml".into(), "*.none".into()], ..Config::default() };
        let set = config.load(dir.path(), &Thresholds::new()).unwrap();
        assert_eq!(set.rules.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["from_a", "from_b"]);
        assert_eq!(config.watched_files(dir.path()).len(), 2);
        let missing = Config { builtin: false, files: vec!["nope.yaml".into()], ..Config::default() };
        assert!(missing.load(dir.path(), &Thresholds::new()).unwrap_err().to_string().contains("nope.yaml"));
    }

    #[test]
    fn intervals_that_no_number_of_ticks_makes_are_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let group = |interval: &str| format!("- {{name: g{interval}, interval: {interval}, rules: []}}\n");
        let text = format!("groups:\n{}", ["5s", "20s", "15s", "1m"].map(group).concat());
        std::fs::write(dir.path().join("own.yaml"), text).unwrap();
        let config = Config { files: vec!["own.yaml".into()], ..Config::default() };
        let set = config.load(dir.path(), &Thresholds::new()).unwrap();
        let warnings: Vec<String> = set.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("g5s") && warnings[0].contains("evaluated every 15s"), "{}", warnings[0]);
        assert!(warnings[1].contains("g20s") && warnings[1].contains("first tick"), "{}", warnings[1]);
    }

    #[test]
    fn files_are_named_as_they_are_configured() {
        let files = vec!["rules/own.yaml".into(), "./rules/other.yaml".into(), "../x/./more.yaml".into()];
        let config = Config { files, ..Config::default() };
        let named = |base: &str| config.watched_files(Path::new(base));
        assert_eq!(named("."), ["rules/own.yaml", "rules/other.yaml", "../x/more.yaml"].map(PathBuf::from));
        assert_eq!(named("/etc/rw")[1], Path::new("/etc/rw/rules/other.yaml"));
    }

    #[test]
    fn patterns_know_stars_and_question_marks() {
        for (pattern, name, matches) in [
            ("*", "x", true),
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("?-*.y*", "1-a.yaml", true),
            ("a*b", "ab", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), matches, "{pattern} {name}");
        }
    }
}
