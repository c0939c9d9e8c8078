//! Every mistake of a file that does not parse, by key.
//!
//! In:  the text of the file.   Out: a problem for each key that cannot be read, and for each broken rule elsewhere.
//! Always: values below keys that hold secrets are not shown.

use serde_json::{Map, Value};

use super::{Config, yaml};
use crate::model::Problem;

/// The problems of `text`; none when it is not even YAML, or nothing can be pinned to a key.
///
/// A parser stops at the first mistake. So each part of the file is read on its own, down to the keys that fail.
pub(super) fn find(text: &str) -> Vec<Problem> {
    let Ok(Value::Object(tree)) = yaml::<Value>(text) else { return Vec::new() };
    let mut problems = Vec::new();
    let mut sound = Map::new();
    for (key, value) in tree {
        let found = below(&[Step::Key(key.clone())], &value);
        if found.is_empty() {
            sound.insert(key, value);
        }
        problems.extend(found.into_iter().map(|(path, error)| problem(text, &path, &error)));
    }
    // The rules of the sections that can be read; what they say of the others is not known yet.
    if let Ok(mut config) = read(&Value::Object(sound.clone())) {
        config.take_role_defaults();
        let is_read = |p: &Problem| p.key.split(['.', '[']).next().is_some_and(|section| sound.contains_key(section));
        problems.extend(config.problems().into_iter().filter(is_read));
    }
    problems
}

#[derive(Clone, Debug)]
enum Step {
    Key(String),
    Item(usize),
}

/// The deepest places at or below `path` that cannot be read on their own, with the parser's words.
fn below(path: &[Step], value: &Value) -> Vec<(Vec<Step>, String)> {
    let Err(error) = read(&wrapped(path, value)) else { return Vec::new() };
    let children: Vec<(Step, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (Step::Key(key.clone()), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(i, value)| (Step::Item(i), value)).collect(),
        _ => Vec::new(),
    };
    let found: Vec<_> = children
        .into_iter()
        .flat_map(|(step, child)| below(&[path, &[step]].concat(), child))
        // Read alone, a part misses what its neighbours give.
        .filter(|(_, error)| !error.starts_with("missing field"))
        .collect();
    if found.is_empty() { vec![(path.to_vec(), error)] } else { found }
}

/// A file that holds nothing but `value` at `path`.
fn wrapped(path: &[Step], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, step| match step {
        Step::Key(key) => Value::Object([(key.clone(), inner)].into_iter().collect()),
        Step::Item(_) => Value::Array(vec![inner]),
    })
}

fn read(tree: &Value) -> Result<Config, String> {
    let text = serde_saphyr::to_string(tree).map_err(|e| e.to_string())?;
    // The place is one in the text made here.
    yaml(&text).map_err(|error| error.rsplit_once(" at line ").map_or(error.clone(), |(error, _)| error.to_owned()))
}

fn problem(text: &str, path: &[Step], error: &str) -> Problem {
    let mut shown = String::new();
    for step in path {
        match step {
            Step::Key(key) if shown.is_empty() => shown.push_str(key),
            Step::Key(key) => shown.push_str(&format!(".{key}")),
            Step::Item(i) => shown.push_str(&format!("[{i}]")),
        }
    }
    let last = path.iter().rev().find_map(|step| match step {
        Step::Key(key) => Some(key.as_str()),
        Step::Item(_) => None,
    });
    let last = last.unwrap_or_default();
    let is_secret = ["key", "token", "password", "secret", "credentials"].iter().any(|word| last.ends_with(word));
    let rule = match error.strip_prefix(&format!("unknown field `{last}`, ")) {
        Some(expected) => format!("is not a known key, {expected}"),
        None if is_secret => "cannot be read; its value is not shown".to_owned(),
        None => format!("cannot be read: {error}"),
    };
    let line = line_of(text, last).map(|n| format!(" (line {n})")).unwrap_or_default();
    Problem::new(shown, rule + &line)
}

/// The line of `key`, where only one line has a key of that name.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let has_key = |line: &str| {
        line.match_indices(key).any(|(at, _)| {
            let before = line[..at].chars().next_back().is_none_or(|c| " {,\"'-".contains(c));
            before && line[at + key.len()..].trim_start_matches(['"', '\'']).starts_with(':')
        })
    };
    let mut lines = text.lines().enumerate().filter(|(_, line)| has_key(line));
    match (lines.next(), lines.next()) {
        (Some((at, _)), None) => Some(at + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        find(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_that_cannot_be_read_is_named_beside_broken_rules() {
        let problems = found(concat!(
            "rol: all\n",
            "receive:\n  scrape: {intervall: 5s, targets: [{url: 'http://a:1/metrics', enginee: true}]}\n",
            "rules: {interval: soon}\n",
            "deployment: ''\n",
        ));
        let starts = [
            "`rol` is not a known key, expected one of",
            "`receive.scrape.intervall` is not a known key",
            "`receive.scrape.targets[0].enginee` is not a known key",
            "`rules.interval` cannot be read: ",
            "`deployment` must be 1 to 64 characters",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
        assert!(problems[0].ends_with("(line 1)") && problems[3].ends_with("(line 4)"), "{problems:#?}");
    }

    #[test]
    fn secrets_are_not_shown_and_sound_files_have_no_mistakes() {
        let problems = found("notify: {receivers: [{name: p, pagerduty_configs: [{routing_key: [s3cr3t]}]}]}");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(!problems[0].contains("s3cr3t") && problems[0].contains("routing_key"), "{problems:?}");
        assert_eq!(found("deployment: x"), [""; 0]);
        assert_eq!(found("a: [b"), [""; 0]);
    }
}
