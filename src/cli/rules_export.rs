//! `rivetwatch rules export`: the rules as files of other systems.
//!
//! In: the shipped rules and, with a configuration, those it adds and what it changes.   Out: files in a folder, or one
//! document on standard output. What an older loader does not get is said on standard error.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::CliError;
use crate::app::{Origin, SHIPPED_INHIBIT_RULES, notify_settings};
use crate::config::Config;
use crate::export::covered::Covering;
use crate::export::grafana::{GrafanaSettings, grafana};
use crate::export::loader::{Loader, Version};
use crate::export::merge::merged;
use crate::export::relabel;
use crate::export::rules::{self as export, Changes, Links, Override, PrometheusRuleSettings, RuleFile};
use crate::model::HumanDuration;
use crate::rules::{builtin_sources, expand};

/// The first release of vmalert that knows every field of the shipped rules.
const VMALERT: Version = Version { major: 1, minor: 92 };

/// Arguments of `rules export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Folder for the files; without it everything goes to standard output, as one document.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The configuration whose `rules` and `thresholds` apply; without it the shipped rules come out as they are.
    #[arg(short, long, env = "RIVETWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// Leave out fields that this release of Prometheus refuses, such as keep_firing_for before 2.42.
    #[arg(long, value_name = "VERSION", conflicts_with = "for_vmalert")]
    for_prometheus: Option<Version>,
    /// Leave out fields that this release of vmalert refuses, such as keep_firing_for before 1.92.
    #[arg(long, value_name = "VERSION")]
    for_vmalert: Option<Version>,
    /// Leave out alerts that this set of rules says already.
    #[arg(long, value_enum, value_name = "SET")]
    skip_covered: Option<Set>,
    /// Address of the Grafana that holds the exported dashboards, for links to panels.
    #[arg(long, value_name = "URL")]
    grafana_url: Option<String>,
    /// Folder of the runbooks, which `URL/NAME` opens; an agent serves them under /runbooks.
    #[arg(long, value_name = "URL")]
    runbook_url: Option<String>,
    /// Labels of the PrometheusRule that its operator selects by, such as release=kube-prometheus-stack.
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Namespace of the PrometheusRule.
    #[arg(long)]
    namespace: Option<String>,
    /// `uid` of the data source in Grafana that records the signals.
    #[arg(long, value_name = "UID", default_value = "prometheus")]
    datasource: String,
    /// Folder in Grafana.
    #[arg(long, default_value = "Rivet")]
    folder: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Rule files as Prometheus loads them.
    #[default]
    Prometheus,
    /// A PrometheusRule object for the Prometheus operator.
    Prometheusrule,
    /// Alerting rules that Grafana manages itself, as a provisioning file; a Prometheus has to record the signals.
    Grafana,
    /// Rule files as vmalert loads them.
    Vmalert,
    /// `metric_relabel_configs` for a Prometheus that scrapes port 6430 itself.
    Relabel,
    /// `inhibit_rules` for an Alertmanager: one cause, one page.
    Alertmanager,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Set {
    /// kube-prometheus and kube-prometheus-stack: KubeHpaMaxedOut, KubePodCrashLooping and the like.
    KubePrometheus,
}

pub fn run(args: Args) -> Result<ExitCode, CliError> {
    let (shipped, mut changes) = source(args.config.as_deref())?;
    changes.links = Links { grafana: args.grafana_url.or(changes.links.grafana), runbooks: args.runbook_url };
    changes.oldest = match (args.for_prometheus, args.for_vmalert, args.format) {
        (Some(version), ..) => Some(Loader::Prometheus(version)),
        (_, Some(version), _) => Some(Loader::Vmalert(version)),
        (None, None, Format::Vmalert) => Some(Loader::Vmalert(VMALERT)),
        (None, None, _) => None,
    };
    if args.format != Format::Prometheusrule && !(args.labels.is_empty() && args.namespace.is_none()) {
        return Err(CliError::Usage(
            "`--label` and `--namespace` are those of a PrometheusRule: add `--format prometheusrule`".into(),
        ));
    }
    if let Some(Set::KubePrometheus) = args.skip_covered {
        changes.covered = Covering::KubePrometheus.alerts();
    }
    let failed = |e: export::RulesError| CliError::failed(&e);
    let one = |name: &str, text: String| vec![RuleFile { name: name.into(), text }];
    let files = match args.format {
        Format::Prometheus | Format::Vmalert => {
            tell_what_is_left_out(&shipped, &changes)?;
            export::prometheus(&shipped, &changes).map_err(failed)?
        }
        Format::Relabel => one("metric_relabel_configs.yaml", relabel::print(relabel::Reader::Prometheus)),
        Format::Alertmanager => {
            let shipped = notify_settings(&Config::default()).map_err(CliError::Failed)?.inhibitions;
            let is_source = |name: &&String| {
                let mut sources = shipped.iter().flat_map(|rule| &rule.sources.0);
                sources.any(|matcher| matcher.name == "alertname" && matcher.matches_value(name))
            };
            for name in changes.covered.iter().filter(is_source) {
                eprintln!("note: `{name}` is left out of the rules, so nothing is muted by it");
            }
            one("inhibit_rules.yaml", SHIPPED_INHIBIT_RULES.to_owned())
        }
        Format::Grafana => {
            let settings =
                GrafanaSettings { datasource: args.datasource, folder: args.folder, ..GrafanaSettings::default() };
            let provisioning = grafana(&shipped, &changes, &settings).map_err(failed)?;
            provisioning.notes.iter().for_each(|note| eprintln!("note: {note}"));
            one("rivetwatch-grafana.yaml", provisioning.text)
        }
        Format::Prometheusrule => {
            tell_what_is_left_out(&shipped, &changes)?;
            let mut settings = PrometheusRuleSettings::default();
            settings.namespace = args.namespace.or(settings.namespace);
            for label in &args.labels {
                let (name, value) = label
                    .split_once('=')
                    .ok_or_else(|| CliError::Usage(format!("`--label {label}` must be NAME=VALUE")))?;
                settings.labels.insert(name.to_owned(), value.to_owned());
            }
            let text = export::prometheus_rule(&shipped, &changes, &settings).map_err(failed)?;
            one("rivetwatch-prometheusrule.yaml", text)
        }
    };
    write(&files, args.dir.as_deref())
}

/// Standard output is for the files.
fn tell_what_is_left_out(files: &[RuleFile], changes: &Changes) -> Result<(), CliError> {
    let Some(oldest) = changes.oldest else { return Ok(()) };
    for (field, n) in export::left_out(files, changes).map_err(|e| CliError::failed(&e))? {
        match field {
            "labels" => {
                eprintln!("note: `labels` of {n} groups, which {oldest} does not know, are given to their rules")
            }
            _ => eprintln!("note: `{field}`, which {oldest} does not know, is left out {n} times"),
        }
    }
    Ok(())
}

fn write(files: &[RuleFile], dir: Option<&Path>) -> Result<ExitCode, CliError> {
    let Some(dir) = dir else {
        let text = match files {
            [only] => only.text.clone(),
            several => {
                let merged = merged(several).map_err(|e| CliError::failed(&e))?;
                for (name, new) in &merged.renamed {
                    eprintln!("note: a second group `{name}` is named `{new}`, since one file holds a name once");
                }
                merged.text
            }
        };
        // A reader that goes away early, such as `head`, is no failure.
        drop(std::io::stdout().lock().write_all(text.as_bytes()));
        return Ok(ExitCode::SUCCESS);
    };
    for file in files {
        let path = dir.join(&file.name);
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, &file.text))
            .map_err(|e| CliError::Failed(format!("failed to write `{}`: {e}", path.display())))?;
        println!("{}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// The rule files to export, and what a configuration changes in them.
fn source(config: Option<&Path>) -> Result<(Vec<RuleFile>, Changes), CliError> {
    let shipped = || {
        let named = |name: String| name.trim_start_matches("builtin/").to_owned();
        builtin_sources().into_iter().map(move |s| RuleFile { name: named(s.name), text: s.text })
    };
    let Some(path) = config else { return Ok((shipped().collect(), Changes::default())) };
    let origin = Origin { path: Some(path.to_owned()), env: std::env::vars().collect() };
    let config = origin.load().map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    // Loaded once for its mistakes: what does not load here would not load elsewhere.
    config.rules.load(origin.base(), &config.thresholds).map_err(|e| CliError::Usage(crate::model::chain(&e)))?;
    let mut files: Vec<RuleFile> = if config.rules.builtin { shipped().collect() } else { Vec::new() };
    for pattern in &config.rules.files {
        for path in expand(&origin.base().join(pattern)) {
            let text = std::fs::read_to_string(&path)
                .map_err(|e| CliError::Failed(format!("failed to read `{}`: {e}", path.display())))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Two files of one name would overwrite each other in a folder.
            let name = if files.iter().any(|f| f.name == name) { format!("{}-{name}", files.len()) } else { name };
            files.push(RuleFile { name, text });
        }
    }
    let duration = |d: HumanDuration| crate::model::format_duration_ms(d.as_ms());
    let overrides: BTreeMap<String, Override> = config
        .rules
        .overrides
        .iter()
        .map(|(name, change)| {
            let change = Override {
                hold: change.hold.map(duration),
                keep_firing_for: change.keep_firing_for.map(duration),
                severity: change.severity.clone(),
                labels: change.labels.clone(),
                annotations: change.annotations.clone(),
            };
            (name.clone(), change)
        })
        .collect();
    let changes = Changes {
        disable: config.rules.disable.iter().cloned().collect(),
        overrides,
        labels: config.rules.labels.clone(),
        thresholds: config.thresholds.clone(),
        links: Links { grafana: config.rules.grafana_url.clone(), runbooks: None },
        ..Changes::default()
    };
    Ok((files, changes))
}
