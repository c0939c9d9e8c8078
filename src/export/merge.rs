//! Several rule files as one, for a reader that takes one.
//!
//! In: rule files, in whatever style people write them.   Out: one file with the groups of all, in their order.
//! Always: what comes out holds the groups of every file, which is read back and compared; no two groups have one name,
//! which Prometheus refuses in a file. Limits: only files laid out as the shipped ones keep their comments, others are
//! printed again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::rules::{RuleFile, RulesError, read};
use super::{document, yaml};

/// What became of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    pub text: String,
    /// Groups whose name another file has, too: the name, and the new one.
    pub renamed: Vec<(String, String)>,
}

/// All files as one: the groups of each behind those of the one before.
///
/// # Errors
/// A file that is no rule file.
pub fn merged(files: &[RuleFile]) -> Result<Merged, RulesError> {
    let mut groups: Vec<Value> = Vec::new();
    let mut parts = Vec::with_capacity(files.len());
    let mut names = BTreeSet::new();
    let mut renamed = Vec::new();
    for file in files {
        let mut document = read(file)?;
        let renamed_before = renamed.len();
        for group in document["groups"].as_array_mut().into_iter().flatten() {
            let name = group["name"].as_str().unwrap_or_default().to_owned();
            let free = unique(&name, &mut names);
            if free != name {
                group["name"] = free.clone().into();
                renamed.push((name, free));
            }
        }
        let own = document["groups"].as_array().cloned().unwrap_or_default();
        match body(&file.text).filter(|_| renamed.len() == renamed_before) {
            Some((before, body)) => parts.push((before.to_owned(), body.to_owned())),
            None if own.is_empty() => {}
            None => parts.push((String::new(), printed(&own))),
        }
        groups.extend(own);
    }
    let text = joined(&parts);
    // The layout is judged line by line, so it is read back before anyone relies on it.
    let is_sound = document::read(&text).is_ok_and(|document| document["groups"].as_array() == Some(&groups));
    let text = if is_sound { text } else { yaml::print(&json!({ "groups": groups })) };
    Ok(Merged { text, renamed })
}

/// A name that no group before has: the same, or with a number behind it.
pub(super) fn unique(name: &str, names: &mut BTreeSet<String>) -> String {
    let mut free = name.to_owned();
    let mut n = 1;
    while !names.insert(free.clone()) {
        n += 1;
        free = format!("{name}-{n}");
    }
    free
}

/// What stands before and behind the line `groups:` of a file that is laid out as ours are: comments, that line, then
/// lines that are indented by two. `None` for any other.
fn body(text: &str) -> Option<(&str, &str)> {
    let is_blank = |line: &str| line.is_empty() || line.starts_with('#');
    let at = if text.starts_with("groups:\n") { 0 } else { text.find("\ngroups:\n")? + 1 };
    let (before, body) = (&text[..at], &text[at + "groups:\n".len()..]);
    let first = body.lines().find(|line| !is_blank(line) && !line.trim_start().starts_with('#'))?;
    let fits = |line: &str| is_blank(line) || line.starts_with("  ");
    let is_ours = before.lines().all(is_blank) && first.starts_with("  - ") && body.lines().all(fits);
    (is_ours && !text.contains(['\r', '\t'])).then_some((before, body))
}

/// The groups as [`body`] would find them.
fn printed(groups: &[Value]) -> String {
    let text = yaml::print(&json!({ "groups": groups }));
    text.strip_prefix("groups:\n").map(str::to_owned).unwrap_or(text)
}

fn joined(parts: &[(String, String)]) -> String {
    let mut out = String::new();
    for (i, (before, body)) in parts.iter().enumerate() {
        out.push_str(before);
        if i == 0 {
            out.push_str("groups:\n");
        }
        out.push_str(body.trim_end());
        out.push_str("\n\n");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "# kept\ngroups:\n  # of this group\n  - name: a\n    rules:\n      - record: x\n        expr: |\n          1\n\n          + 1\n";

    fn file(text: &str) -> RuleFile {
        RuleFile { name: "f.yaml".into(), text: text.into() }
    }

    fn merge(texts: &[&str]) -> (Vec<Value>, Merged) {
        let files: Vec<RuleFile> = texts.iter().map(|text| file(text)).collect();
        let merged = merged(&files).unwrap();
        let document = document::read(&merged.text).unwrap_or_else(|e| panic!("{e}\n{}", merged.text));
        (document["groups"].as_array().unwrap().clone(), merged)
    }

    #[test]
    fn files_of_every_style_are_one_rule_file() {
        let group = |name: &str| json!({"name": name, "rules": [{"record": "y", "expr": "up"}]});
        let ours = document::read(OURS).unwrap()["groups"][0].clone();
        for other in [
            "groups:\n- name: b\n  rules:\n  - record: y\n    expr: up\n",
            "groups:\n    - name: b\n      rules:\n        - record: y\n          expr: up\n",
            "{groups: [{name: b, rules: [{record: y, expr: up}]}]}",
            "groups: \n  - name: b\n    rules:\n      - record: y\n        expr: up\n",
            "groups:\r\n  - name: b\r\n    rules:\r\n      - record: y\r\n        expr: up\r\n",
            "\u{feff}groups:\n  - name: b\n    rules:\n      - record: y\n        expr: up\n",
            "---\ngroups:\n  - name: b\n    rules:\n      - record: y\n        expr: up\n---\n",
            "groups:\n  - name: b\n    rules:\n      - record: y\n        expr: up\n...\n",
            "groups:\n  [{name: b, rules: [{record: y, expr: up}]}]\n",
        ] {
            assert_eq!(merge(&[OURS, other]).0, [ours.clone(), group("b")], "{other}");
            assert_eq!(merge(&[other, OURS]).0, [group("b"), ours.clone()], "{other}");
        }
        let (groups, merged) = merge(&[OURS, "", "# nothing\n", "groups: []\n", &OURS.replace("name: a", "name: b")]);
        assert_eq!(groups.len(), 2);
        assert!(merged.text.starts_with(OURS) && merged.text.matches("# kept").count() == 2, "{}", merged.text);
    }

    #[test]
    fn groups_of_one_name_in_two_files_get_two() {
        let (groups, merged) = merge(&[OURS, OURS, OURS]);
        let names: Vec<_> = groups.iter().map(|group| group["name"].clone()).collect();
        assert_eq!(names, ["a", "a-2", "a-3"]);
        assert_eq!(merged.renamed[1], ("a".to_owned(), "a-3".to_owned()));
    }
}
