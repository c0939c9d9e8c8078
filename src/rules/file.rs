//! The rule file as it is written: Prometheus' YAML, with the line of everything in it.
//!
//! In: the text of a file.   Out: groups and rules, nothing checked but the YAML and its types; fields
//! that the format does not know are collected, not refused at the first. Of a stream of documents the first one counts, as
//! in Prometheus.
//! Source: Prometheus `model/rulefmt`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::problem::RuleProblem;
use crate::model::{FirstDocument, first_document};

/// A text and its line.
pub type Text = Spanned<String>;

/// Names and values in the order in which they stand.
#[derive(Debug, Default)]
pub struct Pairs(pub Vec<(Text, Text)>);

/// A whole file.
#[derive(Debug, Default)]
pub struct RuleFile {
    pub groups: Vec<Spanned<RuleGroup>>,
    pub unknown: Vec<Text>,
    /// Line of what stands behind the first document and is not read.
    pub unread_at: Option<u32>,
}

/// `- name: …` under `groups:`.
#[derive(Debug, Default)]
pub struct RuleGroup {
    pub name: Option<Text>,
    pub interval: Option<Text>,
    pub query_offset: Option<Text>,
    pub limit: Option<Text>,
    pub labels: Pairs,
    pub rules: Vec<Spanned<RuleEntry>>,
    pub unknown: Vec<Text>,
}

/// `- record: …` or `- alert: …` under `rules:`.
#[derive(Debug, Default)]
pub struct RuleEntry {
    pub record: Option<Text>,
    pub alert: Option<Text>,
    pub expr: Option<Text>,
    pub hold: Option<Text>,
    pub keep_firing_for: Option<Text>,
    pub labels: Pairs,
    pub annotations: Pairs,
    pub unknown: Vec<Text>,
}

/// Reads a mapping whose unknown keys are kept aside.
macro_rules! mapping {
    ($type:ident, $what:literal, { $($key:literal => $field:ident),* $(,)? }) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> Visitor<'de> for Fields {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                        f.write_str($what)
                    }

                    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<$type, A::Error> {
                        let mut out = $type::default();
                        while let Some(key) = map.next_key::<Text>()? {
                            match key.value.as_str() {
                                $($key => out.$field = map.next_value::<Option<_>>()?.unwrap_or_default(),)*
                                _ => {
                                    map.next_value::<IgnoredAny>()?;
                                    out.unknown.push(key);
                                }
                            }
                        }
                        Ok(out)
                    }
                }
                deserializer.deserialize_map(Fields)
            }
        }
    };
}

mapping!(RuleFile, "a rule file with `groups`", { "groups" => groups });
mapping!(RuleGroup, "a group with `name` and `rules`", {
    "name" => name, "interval" => interval, "query_offset" => query_offset, "limit" => limit,
    "labels" => labels, "rules" => rules,
});
mapping!(RuleEntry, "a rule with `record` or `alert`, and `expr`", {
    "record" => record, "alert" => alert, "expr" => expr, "for" => hold, "keep_firing_for" => keep_firing_for,
    "labels" => labels, "annotations" => annotations,
});

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a mapping of names to texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(name) = map.next_key::<Text>()? {
                    let value = map.next_value::<Option<Text>>()?;
                    let value = value.unwrap_or_else(|| Text::new(String::new(), name.referenced, name.defined));
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl RuleFile {
    /// Reads the text of `file`.
    ///
    /// # Errors
    /// The text is not YAML, or a value has the wrong type; the first such place.
    pub fn parse(file: &str, text: &str) -> Result<Self, RuleProblem> {
        let FirstDocument { text, more_at } = first_document(text);
        let options = serde_saphyr::options! { with_snippet: false };
        let read = match text.trim().is_empty() {
            true => Ok(None),
            false => serde_saphyr::from_str_with_options::<Option<Self>>(text, options),
        };
        read.map(|read| Self { unread_at: more_at, ..read.unwrap_or_default() }).map_err(|e| {
            let line = e.location().and_then(|l| u32::try_from(l.line()).ok());
            RuleProblem::in_file(file, line, format!("not a rule file: {e}"))
        })
    }
}

/// The line of a place, `None` where it is unknown.
pub fn line_of<T>(spanned: &Spanned<T>) -> Option<u32> {
    u32::try_from(spanned.referenced.line()).ok().filter(|l| *l > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text_and_line() {
        let text = "groups:\n- name: a\n  limit: 3\n  rules:\n  - record: x\n    expr: 1.50\n  - alert: Y\n    expr: |\n      up\n      == 0\n    labels: {n: 0x10, t: true, z: }\n";
        let file = RuleFile::parse("f", text).unwrap();
        let group = &file.groups[0];
        assert_eq!(line_of(group), Some(2));
        let [x, y] = &group.value.rules[..] else { panic!("two rules") };
        assert_eq!((x.value.expr.as_ref().unwrap().value.as_str(), line_of(x)), ("1.50", Some(5)));
        assert_eq!(line_of(y), Some(7));
        assert_eq!(y.value.expr.as_ref().unwrap().value, "up\n== 0\n");
        let labels: Vec<_> = y.value.labels.0.iter().map(|(n, v)| (n.value.as_str(), v.value.as_str())).collect();
        assert_eq!(labels, [("n", "0x10"), ("t", "true"), ("z", "")]);
        assert_eq!(group.value.limit.as_ref().unwrap().value, "3");
    }

    #[test]
    fn unknown_fields_are_collected_and_bad_yaml_is_placed() {
        let file = RuleFile::parse(
            "f",
            "groups:\n- name: a\n  ownership: {x: [1]}\n  rules:\n  - alert: Y\n    exp: 1\nextra: 2\n",
        )
        .unwrap();
        assert_eq!(file.unknown[0].value, "extra");
        assert_eq!(line_of(&file.groups[0].value.unknown[0]), Some(3));
        assert_eq!(file.groups[0].value.rules[0].value.unknown[0].value, "exp");
        let problem = RuleFile::parse("f", "groups:\n- name: [a\n").unwrap_err();
        assert!(problem.line.is_some(), "{problem}");
        assert!(RuleFile::parse("f", "groups:\n- name: a\n  name: b\n").is_err(), "duplicate key");
        assert!(RuleFile::parse("f", "").unwrap().groups.is_empty());
        assert!(RuleFile::parse("f", "groups:\n").unwrap().groups.is_empty());
    }

    #[test]
    fn of_a_stream_the_first_document_counts() {
        let one = "groups:\n- name: a\n";
        let read = |text: &str| {
            let file = RuleFile::parse("f", text).unwrap();
            (file.groups.len(), file.unread_at)
        };
        assert_eq!(read(&format!("---\n{one}---\n")), (1, None));
        assert_eq!(read(&format!("{one}---\n# end\n...\n")), (1, None));
        assert_eq!(read(&format!("{one}---\ngroups: {{{{ not: read\n")), (1, Some(4)));
        assert_eq!(read(&format!("---\n---\n{one}")), (0, Some(3)));
    }
}
