//! The configuration of notifications: Alertmanager's own schema, and a few keys beside it.
//!
//! In:  YAML, as a part of the agent's file or as an existing `alertmanager.yml`.
//! Out: [`Config`], checked by [`Config::validate`] (mistakes) and [`Config::warnings`] (what is read
//!      but not delivered by this release).
//! Always: unknown keys are refused; secrets never appear in an error, in `Debug` or in `Serialize`.

mod foreign;
mod global;
mod http;
mod opaque;
mod receiver;
mod secret;
mod time_interval;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use global::Global;
pub use http::{Auth, Authorization, BasicAuth, HeaderValues, HttpConfig, TlsConfig};
pub use opaque::Opaque;
pub use receiver::{
    AlertmanagerConfig, HeartbeatConfig, Link, PagerdutyConfig, Receiver, TerminalConfig, WebhookConfig,
};
pub use secret::{REDACTED, Secret, SecretRef, exposed};
pub use time_interval::{NamedInterval, TimeInterval};

use super::matchers::{Matchers, parse_matchers};
use crate::model::{HumanDuration, MatchOp, Matcher, Problem};

/// Why a configuration could not be read at all. What is merely wrong in it is a [`Problem`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read `{}`", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("not a valid notification configuration: {reason}")]
    Yaml { reason: String },
}

/// Routing, receivers, inhibition and mute times.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An existing `alertmanager.yml` that is used as it is; then no other key of Alertmanager's schema
    /// may stand here. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_file: Option<PathBuf>,
    /// Whether the inhibition rules that ship with the alerts come before `inhibit_rules`; default true.
    pub shipped_inhibit_rules: bool,
    /// Most alerts held at once; further new ones are refused and counted. Default 20000, at least 100.
    pub alerts_max: usize,
    /// Most open or waiting notifications; further new ones are refused and counted. Default 10000, at least 100.
    pub outbox_max: usize,

    #[serde(skip_serializing_if = "Option::is_none")]
    pub global: Option<Global>,
    /// The routing tree. Default: made from `receivers`: pagers get `critical`, heartbeats get `Watchdog`,
    /// Alertmanagers get every alert, everything else every alert but `Watchdog`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<Receiver>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inhibit_rules: Vec<InhibitRule>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub time_intervals: Vec<NamedInterval>,
    /// Old name of `time_intervals`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<NamedInterval>,
    /// Files with `{{ define }}` blocks that texts may use; `*` stands for any part of a file name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub templates: Vec<String>,
    /// Alertmanager's own tracing; read and left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Opaque>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            config_file: None,
            shipped_inhibit_rules: true,
            alerts_max: 20_000,
            outbox_max: 10_000,
            global: None,
            route: None,
            receivers: Vec::new(),
            inhibit_rules: Vec::new(),
            time_intervals: Vec::new(),
            mute_time_intervals: Vec::new(),
            templates: Vec::new(),
            tracing: None,
        }
    }
}

/// A node of the routing tree. What is absent is inherited from the parent.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Labels that make one notification; `...` means all of them. Empty at the root: one group for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// Old notation of `matchers` with `=`.
    #[serde(rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub equal_match: BTreeMap<String, String>,
    /// Old notation of `matchers` with `=~`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_re: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub matchers: Matchers,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mute_time_intervals: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub active_time_intervals: Vec<String>,
    /// Whether the routes after this one are tried too; default false.
    #[serde(rename = "continue")]
    pub continue_matching: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Wait before the first notification of a group; default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<HumanDuration>,
    /// Wait before a group's next notification; default 5m, not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<HumanDuration>,
    /// A notification is repeated while nothing changes after this; default 4h, not 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<HumanDuration>,
}

/// While an alert that matches the source fires, alerts that match the target are not notified.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct InhibitRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub source_match_re: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub source_matchers: Matchers,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub target_match_re: BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "Matchers::is_empty")]
    pub target_matchers: Matchers,
    /// Labels whose values must be the same on both; a missing label is the empty value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub equal: Vec<String>,
}

/// Just the inhibition rules of a file, as `alerts/inhibit_rules.yaml` holds them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct InhibitRulesFile {
    inhibit_rules: Vec<InhibitRule>,
}

impl Config {
    /// Reads YAML. Mistakes in the values are left to [`Config::validate`].
    ///
    /// # Errors
    /// The text is not YAML, holds an unknown key, or a value has the wrong type.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        read_yaml(text)
    }

    /// The configuration with `config_file` read into it; relative paths in that file are taken from its folder.
    ///
    /// # Errors
    /// The file cannot be read or is not of Alertmanager's schema.
    pub fn with_file(&self) -> Result<Self, ConfigError> {
        let Some(path) = &self.config_file else { return Ok(self.clone()) };
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        let mut loaded = Self::from_yaml(&text)?;
        if let Some(folder) = path.parent() {
            loaded.resolve_paths(folder);
        }
        // From here on it is as if it stood in our own file.
        loaded.config_file = None;
        loaded.shipped_inhibit_rules = self.shipped_inhibit_rules;
        loaded.alerts_max = self.alerts_max;
        loaded.outbox_max = self.outbox_max;
        Ok(loaded)
    }

    fn resolve_paths(&mut self, folder: &Path) {
        let join = |path: &mut PathBuf| *path = folder.join(&*path);
        for template in &mut self.templates {
            *template = folder.join(&*template).to_string_lossy().into_owned();
        }
        for receiver in &mut self.receivers {
            for c in &mut receiver.pagerduty_configs {
                c.routing_key_file.iter_mut().chain(&mut c.service_key_file).for_each(join);
            }
            receiver.webhook_configs.iter_mut().filter_map(|c| c.url_file.as_mut()).for_each(join);
            receiver.heartbeat_configs.iter_mut().filter_map(|c| c.url_file.as_mut()).for_each(join);
        }
    }

    /// Reads a file that holds `inhibit_rules:` and nothing else.
    ///
    /// # Errors
    /// As [`Config::from_yaml`].
    pub fn inhibit_rules_from_yaml(text: &str) -> Result<Vec<InhibitRule>, ConfigError> {
        read_yaml::<InhibitRulesFile>(text).map(|file| file.inhibit_rules)
    }

    /// Adds every mistake; `at` is the path of this section, empty for a file of its own.
    pub fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let at = if at.is_empty() || at.ends_with('.') { at.to_owned() } else { format!("{at}.") };
        for (key, value) in [("alerts_max", self.alerts_max), ("outbox_max", self.outbox_max)] {
            if value < 100 {
                problems.push(Problem::new(format!("{at}{key}"), format!("must be at least 100, got {value}")));
            }
        }
        let stands_here = self.global.is_some()
            || self.route.is_some()
            || !self.templates.is_empty()
            || !(self.receivers.is_empty() && self.inhibit_rules.is_empty())
            || !(self.time_intervals.is_empty() && self.mute_time_intervals.is_empty());
        if self.config_file.is_some() && stands_here {
            let rule = "must not be set together with route, receivers or other keys of that file";
            problems.push(Problem::new(format!("{at}config_file"), rule));
        }
        let global = self.global.clone().unwrap_or_default();
        global.validate(&at, problems);
        if let Some(url) = &global.pagerduty_url {
            receiver::validate_url(url, &format!("{at}global.pagerduty_url"), problems);
        }
        if let (true, Some(http)) = (self.inherits_http(), &global.http_config) {
            http.validate_delivered(&format!("{at}global.http_config"), problems);
        }

        let mut names = BTreeSet::new();
        for (i, receiver) in self.receivers.iter().enumerate() {
            let at = format!("{at}receivers[{i}]");
            receiver.validate(&global, &at, problems);
            if !receiver.name.is_empty() && !names.insert(receiver.name.as_str()) {
                problems
                    .push(Problem::new(format!("{at}.name"), format!("must be unique, got `{}` again", receiver.name)));
            }
        }
        for (i, receiver) in self.receivers.iter().enumerate() {
            if let Some(name) =
                receiver.fallback.as_ref().filter(|n| !names.contains(n.as_str()) || **n == receiver.name)
            {
                let key = format!("{at}receivers[{i}].fallback");
                problems.push(Problem::new(key, format!("must name another receiver, got `{name}`")));
            }
        }

        let mut intervals = BTreeSet::new();
        for (key, list) in
            [("time_intervals", &self.time_intervals), ("mute_time_intervals", &self.mute_time_intervals)]
        {
            for (i, interval) in list.iter().enumerate() {
                let at = format!("{at}{key}[{i}]");
                interval.validate(&at, problems);
                if !interval.name.is_empty() && !intervals.insert(interval.name.as_str()) {
                    let rule = format!("must be unique, got `{}` again", interval.name);
                    problems.push(Problem::new(format!("{at}.name"), rule));
                }
            }
        }

        if let Some(root) = &self.route {
            let at = format!("{at}route");
            if root.receiver.as_deref().unwrap_or("").is_empty() {
                problems.push(Problem::new(format!("{at}.receiver"), "is missing; the root route needs one"));
            }
            if !root.equal_match.is_empty() || !root.match_re.is_empty() || !root.matchers.is_empty() {
                problems.push(Problem::new(&at, "must not have matchers; the root route takes every alert"));
            }
            for (key, list) in [
                ("mute_time_intervals", &root.mute_time_intervals),
                ("active_time_intervals", &root.active_time_intervals),
            ] {
                if !list.is_empty() {
                    problems.push(Problem::new(format!("{at}.{key}"), "must not stand at the root route"));
                }
            }
            if root.continue_matching {
                problems.push(Problem::new(format!("{at}.continue"), "must not stand at the root route"));
            }
            root.validate(&at, &names, &intervals, problems);
        }
        for (i, rule) in self.inhibit_rules.iter().enumerate() {
            rule.validate(&format!("{at}inhibit_rules[{i}]"), problems);
        }
    }

    /// Adds what stands here and is not delivered by this release: each names its receiver and key.
    pub fn warnings(&self, at: &str) -> Vec<Problem> {
        let at = if at.is_empty() || at.ends_with('.') { at.to_owned() } else { format!("{at}.") };
        let mut warnings = Vec::new();
        for (i, receiver) in self.receivers.iter().enumerate() {
            for (field, _) in receiver.foreign() {
                warnings.push(Problem::new(
                    format!("{at}receivers[{i}].{field}"),
                    format!("is not delivered by this release: receiver `{}` gets nothing by it", receiver.name),
                ));
            }
        }
        if self.tracing.is_some() {
            warnings.push(Problem::new(format!("{at}tracing"), "is not used: it is Alertmanager's own tracing"));
        }
        warnings
    }

    fn inherits_http(&self) -> bool {
        let delivered = |r: &Receiver| {
            r.pagerduty_configs.iter().any(|c| c.http_config.is_none())
                || r.webhook_configs.iter().any(|c| c.http_config.is_none())
                || r.alertmanager_configs.iter().any(|c| c.http_config.is_none())
                || r.heartbeat_configs.iter().any(|c| c.http_config.is_none())
        };
        self.receivers.iter().any(delivered)
    }
}

impl Route {
    fn validate(&self, at: &str, receivers: &BTreeSet<&str>, intervals: &BTreeSet<&str>, problems: &mut Vec<Problem>) {
        if let Some(name) = self.receiver.as_ref().filter(|n| !n.is_empty() && !receivers.contains(n.as_str())) {
            problems.push(Problem::new(format!("{at}.receiver"), format!("must name a receiver, got `{name}`")));
        }
        if let Some(group_by) = &self.group_by {
            let key = format!("{at}.group_by");
            let unique: BTreeSet<_> = group_by.iter().collect();
            if unique.len() < group_by.len() {
                problems.push(Problem::new(&key, "must not name a label twice"));
            }
            if group_by.len() > 1 && group_by.iter().any(|l| l == "...") {
                problems.push(Problem::new(&key, "must not mix `...` with label names"));
            }
            if group_by.iter().any(String::is_empty) {
                problems.push(Problem::new(&key, "must not hold an empty label name"));
            }
        }
        for (key, value) in [("group_interval", self.group_interval), ("repeat_interval", self.repeat_interval)] {
            if value.is_some_and(|v| v.as_ms() == 0) {
                problems.push(Problem::new(format!("{at}.{key}"), "must be longer than 0s"));
            }
        }
        for (key, names) in
            [("mute_time_intervals", &self.mute_time_intervals), ("active_time_intervals", &self.active_time_intervals)]
        {
            for name in names.iter().filter(|n| !intervals.contains(n.as_str())) {
                problems.push(Problem::new(format!("{at}.{key}"), format!("must name a time interval, got `{name}`")));
            }
        }
        old_matchers(&self.equal_match, &self.match_re, ["match", "match_re"], at, Some(problems));
        for (i, route) in self.routes.iter().enumerate() {
            route.validate(&format!("{at}.routes[{i}]"), receivers, intervals, problems);
        }
    }

    /// The conditions of the old and the new notation together.
    pub fn all_matchers(&self) -> Matchers {
        let old = old_matchers(&self.equal_match, &self.match_re, ["match", "match_re"], "", None);
        Matchers(old.into_iter().chain(self.matchers.0.iter().cloned()).collect())
    }
}

impl InhibitRule {
    fn validate(&self, at: &str, problems: &mut Vec<Problem>) {
        let sources = ["source_match", "source_match_re"];
        let targets = ["target_match", "target_match_re"];
        old_matchers(&self.source_match, &self.source_match_re, sources, at, Some(problems));
        old_matchers(&self.target_match, &self.target_match_re, targets, at, Some(problems));
        if self.equal.iter().any(String::is_empty) {
            problems.push(Problem::new(format!("{at}.equal"), "must not hold an empty label name"));
        }
    }

    /// The conditions on the source, of both notations.
    pub fn sources(&self) -> Matchers {
        let old = old_matchers(&self.source_match, &self.source_match_re, ["", ""], "", None);
        Matchers(old.into_iter().chain(self.source_matchers.0.iter().cloned()).collect())
    }

    /// The conditions on the target, of both notations.
    pub fn targets(&self) -> Matchers {
        let old = old_matchers(&self.target_match, &self.target_match_re, ["", ""], "", None);
        Matchers(old.into_iter().chain(self.target_matchers.0.iter().cloned()).collect())
    }
}

/// The matchers of the old notation; where `problems` is given, what is wrong with them is added there.
fn old_matchers(
    equal: &BTreeMap<String, String>,
    regex: &BTreeMap<String, Option<String>>,
    keys: [&str; 2],
    at: &str,
    mut problems: Option<&mut Vec<Problem>>,
) -> Vec<Matcher> {
    let mut matchers: Vec<Matcher> = equal.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let mut report = |name: &str, rule: String| {
        if let Some(problems) = problems.as_deref_mut() {
            problems.push(Problem::new(format!("{at}.{}.{name}", keys[1]), rule));
        }
    };
    for (name, pattern) in regex {
        match pattern {
            None => report(name, "must be a regular expression, got nothing".into()),
            Some(pattern) => match Matcher::new(name, MatchOp::Matches, pattern) {
                Ok(matcher) => matchers.push(matcher),
                Err(error) => report(name, format!("must be a regular expression: {error}")),
            },
        }
    }
    matchers
}

fn read_yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    // A snippet of the file could show a secret, so errors carry the place only.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| ConfigError::Yaml { reason: e.to_string() })
}

/// Reads matchers as the command line and the API write them.
///
/// # Errors
/// See [`parse_matchers`].
pub fn matchers_from_text(text: &str) -> Result<Matchers, super::matchers::ParseMatcherError> {
    parse_matchers(text).map(Matchers)
}
