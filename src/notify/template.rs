//! Texts that users write as Go templates over Alertmanager's data.
//!
//! In: a text such as `{{ .CommonLabels.alertname }}` and a [`Page`].   Out: the text, rendered.
//! `.Alerts.Firing` and `.Alerts.Resolved` are methods in Go; here they are lists of their own, to which
//! the text is rewritten before it is parsed. A text that fails to render is sent as it stands in the file,
//! with the mistake behind it: a page with an odd title is better than no page.

use std::collections::BTreeMap;
use std::sync::Arc;

use gotmpl::{Template, Value};

use super::page::Page;
use crate::model::{Alert, Labels, Problem, of_re2};

/// The `{{ define }}` blocks of the files under `templates`.
#[derive(Clone, Debug, Default)]
pub struct Templates {
    sources: Vec<String>,
}

impl Templates {
    /// Reads the files; `*` in a file name stands for anything. A pattern without any file is no mistake.
    pub fn read(patterns: &[String], at: &str, problems: &mut Vec<Problem>) -> Self {
        let mut sources = Vec::new();
        for (i, pattern) in patterns.iter().enumerate() {
            for path in expand(pattern) {
                let checked = std::fs::read_to_string(&path).map_err(|e| e.to_string()).and_then(|text| {
                    let text = rewrite(&text);
                    engine().parse(&text).map_err(|e| e.to_string())?;
                    Ok(text)
                });
                match checked {
                    Ok(text) => sources.push(text),
                    Err(rule) => {
                        problems.push(Problem::new(format!("{at}[{i}]"), format!("`{}`: {rule}", path.display())));
                    }
                }
            }
        }
        Self { sources }
    }

    /// Renders `text`; a text without `{{` is given back at once.
    pub fn render(&self, text: &str, page: &Page) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        let rendered = || -> gotmpl::Result<String> {
            let mut template = engine();
            for source in &self.sources {
                template = template.parse(source)?;
            }
            template.parse(&rewrite(text))?.execute_to_string(&data(page))
        };
        rendered().unwrap_or_else(|error| format!("{text} (template failed: {error})"))
    }
}

fn engine() -> Template {
    let text_fn = |f: fn(&str) -> String| {
        move |args: &[Value]| {
            let text = args.first().map(ToString::to_string).unwrap_or_default();
            Ok(Value::String(Arc::from(f(&text))))
        }
    };
    let string = |v: Option<&Value>| v.map(ToString::to_string).unwrap_or_default();
    Template::new("text")
        .missing_key(gotmpl::MissingKey::ZeroValue)
        .max_range_iters(100_000)
        .func("toUpper", text_fn(str::to_uppercase))
        .func("toLower", text_fn(str::to_lowercase))
        .func("trimSpace", text_fn(|t| t.trim().to_owned()))
        .func(
            "title",
            text_fn(|t| {
                let mut chars = t.chars();
                chars.next().map(|c| c.to_uppercase().chain(chars).collect()).unwrap_or_default()
            }),
        )
        .func("join", move |args: &[Value]| {
            let Some(Value::List(items)) = args.get(1) else { return Ok(Value::String(Arc::from(""))) };
            let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
            Ok(Value::String(Arc::from(texts.join(&string(args.first())))))
        })
        .func("match", move |args: &[Value]| {
            let pattern = pattern(&string(args.first()));
            Ok(Value::Bool(pattern.is_some_and(|p| p.is_match(&string(args.get(1))))))
        })
        .func("reReplaceAll", move |args: &[Value]| {
            let (pattern, with, text) = (string(args.first()), string(args.get(1)), string(args.get(2)));
            let replaced = self::pattern(&pattern).map(|p| p.replace_all(&text, with.as_str()).into_owned());
            Ok(Value::String(Arc::from(replaced.unwrap_or(text))))
        })
}

/// A pattern of Go's dialect, if it is one.
fn pattern(text: &str) -> Option<regex::Regex> {
    regex::Regex::new(&of_re2(text).ok()?).ok()
}

/// Go's methods as fields.
fn rewrite(text: &str) -> String {
    text.replace(".Alerts.Firing", ".AlertsFiring").replace(".Alerts.Resolved", ".AlertsResolved")
}

fn text(value: &str) -> Value {
    Value::String(Arc::from(value))
}

fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    Value::Map(Arc::new(pairs.into_iter().map(|(k, v)| (Arc::from(k), v)).collect()))
}

fn labels(labels: &Labels) -> Value {
    pairs(labels.iter())
}

fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let pairs: Vec<(&str, &str)> = pairs.collect();
    let sorted = pairs.iter().map(|(n, v)| map([("Name", text(n)), ("Value", text(v))]));
    let names = Value::List(pairs.iter().map(|(n, _)| text(n)).collect());
    let values = Value::List(pairs.iter().map(|(_, v)| text(v)).collect());
    // Labels cannot be called so by Prometheus' conventions, so the methods of Go's type find room beside them.
    let methods = [("SortedPairs", Value::List(sorted.collect())), ("Names", names), ("Values", values)];
    map(pairs.iter().map(|(n, v)| (*n, text(v))).chain(methods))
}

fn alert_value(alert: &Alert, is_resolved: bool) -> Value {
    let annotations: &BTreeMap<String, String> = &alert.annotations;
    map([
        ("Status", text(if is_resolved { "resolved" } else { "firing" })),
        ("Labels", labels(&alert.labels)),
        ("Annotations", pairs(annotations.iter().map(|(n, v)| (n.as_str(), v.as_str())))),
        ("StartsAt", text(&alert.starts_at.to_rfc3339())),
        ("EndsAt", text(&if is_resolved { alert.ends_at.to_rfc3339() } else { String::new() })),
        ("GeneratorURL", text(&alert.generator_url)),
        ("Fingerprint", text(&format!("{:016x}", alert.labels.hash64()))),
    ])
}

fn data(page: &Page) -> Value {
    let firing: Vec<Value> = page.firing.iter().map(|a| alert_value(a, false)).collect();
    let resolved: Vec<Value> = page.resolved.iter().map(|a| alert_value(a, true)).collect();
    let annotations = page.common_annotations();
    map([
        ("Receiver", text(&page.receiver)),
        ("Status", text(page.status())),
        ("Alerts", Value::List(firing.iter().chain(&resolved).cloned().collect())),
        ("AlertsFiring", Value::List(firing.into())),
        ("AlertsResolved", Value::List(resolved.into())),
        ("GroupLabels", labels(&page.group_labels)),
        ("CommonLabels", labels(&page.common_labels())),
        ("CommonAnnotations", pairs(annotations.iter().map(|(n, v)| (n.as_str(), v.as_str())))),
        ("ExternalURL", text(page.external_url.as_deref().unwrap_or(""))),
    ])
}

/// Files that a pattern names; `*` in the last part only.
fn expand(pattern: &str) -> Vec<std::path::PathBuf> {
    let path = std::path::Path::new(pattern);
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else {
        return vec![path.to_owned()];
    };
    if !name.contains('*') {
        return vec![path.to_owned()];
    }
    let pattern = regex::escape(name).replace(r"\*", ".*");
    let Ok(pattern) = regex::Regex::new(&format!("^{pattern}$")) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| pattern.is_match(n)))
        .collect();
    found.sort();
    found
}
