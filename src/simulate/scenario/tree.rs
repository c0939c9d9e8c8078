//! A scenario file as a tree in which everything knows its line, and the questions that are asked of it.
//!
//! In:  YAML.   Out: values by key, each checked where it is asked for.
//! Always: a mistake names its line, its key and the value; every mistake of a file is found in one pass; a key that
//! nobody asked for is a mistake.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::model::{ByteSize, parse_duration_ms};

/// One mistake in a scenario.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub line: u64,
    /// Path of the key, e.g. `events[2].at`; empty when the file is no YAML.
    pub key: String,
    /// The rule and the value; completes the sentence that begins with the key.
    pub rule: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.key.as_str()) {
            (0, _) => f.write_str(&self.rule),
            (line, "") => write!(f, "line {line}: {}", self.rule),
            (line, key) => write!(f, "line {line}: `{key}` {}", self.rule),
        }
    }
}

/// A value and its line.
#[derive(Clone, Debug)]
pub struct Spot {
    pub line: u64,
    pub node: Node,
}

/// A value as YAML has it; numbers and words as they are written.
#[derive(Clone, Debug)]
pub enum Node {
    Null,
    Text(String),
    List(Vec<Spot>),
    Map(Vec<(String, u64, Spot)>),
}

impl Node {
    fn shown(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Text(text) => format!("`{text}`"),
            Self::List(_) => "a list".to_owned(),
            Self::Map(_) => "a mapping".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, a list or a mapping")
            }

            fn visit_bool<E>(self, v: bool) -> Result<Node, E> {
                Ok(Node::Text(v.to_string()))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Node, E> {
                Ok(Node::Text(v.to_string()))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Node, E> {
                Ok(Node::Text(v.to_string()))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Node, E> {
                Ok(Node::Text(v.to_string()))
            }

            fn visit_str<E>(self, v: &str) -> Result<Node, E> {
                Ok(Node::Text(v.to_owned()))
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
                Node::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Spanned<Node>>()? {
                    items.push(item.into());
                }
                Ok(Node::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Node>>()? {
                    entries.push((key.value, key.referenced.line(), value.into()));
                }
                Ok(Node::Map(entries))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl From<Spanned<Node>> for Spot {
    fn from(spanned: Spanned<Node>) -> Self {
        Self { line: spanned.referenced.line(), node: spanned.value }
    }
}

/// Reads a file as a tree.
///
/// # Errors
/// It is no YAML, or a key stands twice.
pub fn parse(text: &str) -> Result<Spot, Mistake> {
    serde_saphyr::from_str::<Spanned<Node>>(text).map(Into::into).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let words = error.to_string();
        let words = words.lines().next().unwrap_or("").trim_start_matches("error: ");
        Mistake { line, key: String::new(), rule: format!("is not YAML: {words}") }
    })
}

/// A name and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub line: u64,
    pub key: String,
    pub text: String,
}

/// The entries of one mapping, and the mistakes found so far.
pub struct Fields<'a> {
    path: String,
    /// Where the mapping stands.
    pub line: u64,
    entries: Vec<(&'a str, u64, &'a Spot)>,
    asked: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

impl<'a> Fields<'a> {
    /// The entries of `spot`, which `path` leads to; of none when it is not a mapping, which is a mistake.
    pub fn of(spot: &'a Spot, path: &str) -> Self {
        let mut fields = Self {
            path: path.to_owned(),
            line: spot.line,
            entries: Vec::new(),
            asked: Vec::new(),
            mistakes: Vec::new(),
        };
        match &spot.node {
            Node::Map(entries) => fields.entries = entries.iter().map(|(k, line, v)| (k.as_str(), *line, v)).collect(),
            Node::Null => {}
            other => fields.mistakes.push(Mistake {
                line: spot.line,
                key: path.to_owned(),
                rule: format!("must be a mapping of keys, got {}", other.shown()),
            }),
        }
        fields
    }

    /// The path of a key of this mapping.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a mistake at a key, or at the mapping when the key is not there.
    pub fn wrong(&mut self, key: &str, rule: impl Into<String>) {
        let line = self.entries.iter().find(|(k, ..)| *k == key).map_or(self.line, |(_, line, _)| *line);
        self.mistakes.push(Mistake { line, key: self.path_of(key), rule: rule.into() });
    }

    /// Takes over mistakes from below.
    pub fn take(&mut self, mistakes: Vec<Mistake>) {
        self.mistakes.extend(mistakes);
    }

    /// Whether the key stands there with a value.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _, spot)| *k == key && !matches!(spot.node, Node::Null))
    }

    /// The value of a key, whatever it is.
    pub fn spot(&mut self, key: &'static str) -> Option<&'a Spot> {
        self.asked.push(key);
        let (.., spot) = self.entries.iter().find(|(k, ..)| *k == key)?;
        (!matches!(spot.node, Node::Null)).then_some(*spot)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match &self.spot(key)?.node {
            Node::Text(text) => Some(text.as_str()),
            other => {
                self.wrong(key, format!("must be a single value, got {}", other.shown()));
                None
            }
        }
    }

    /// A text that `read` understands; `rule` says what it must be.
    pub fn read<T>(&mut self, key: &'static str, rule: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(key)?;
        let value = read(text);
        if value.is_none() {
            self.wrong(key, format!("must be {rule}, got `{text}`"));
        }
        value
    }

    /// A length of time in milliseconds, as `90s`.
    pub fn duration(&mut self, key: &'static str) -> Option<i64> {
        self.read(key, "a duration such as 90s, 10m or 1h30m", parse_duration_ms)
    }

    /// A number in a range, ends included.
    pub fn number(&mut self, key: &'static str, low: f64, high: f64) -> Option<f64> {
        let rule = if high >= 1e12 { format!("a number from {low}") } else { format!("a number from {low} to {high}") };
        self.read(key, &rule, |text| text.parse().ok().filter(|n| (low..=high).contains(n)))
    }

    /// A whole number in a range, ends included.
    pub fn whole(&mut self, key: &'static str, low: u64, high: u64) -> Option<u64> {
        self.read(key, &format!("a whole number from {low} to {high}"), |text| {
            text.parse().ok().filter(|n| (low..=high).contains(n))
        })
    }

    /// A rate a second: `20/s`, `300/m`, or a bare number.
    pub fn rate(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a rate such as 20/s or 300/m", |text| {
            let (number, seconds) = match text.split_once('/') {
                None => (text, 1.0),
                Some((number, "s")) => (number, 1.0),
                Some((number, "m")) => (number, 60.0),
                Some((number, "h")) => (number, 3600.0),
                Some(_) => return None,
            };
            number.trim().parse::<f64>().ok().map(|n| n / seconds).filter(|n| (0.0..1e6).contains(n))
        })
    }

    /// A share: `0.25` or `25%`.
    pub fn share(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a share such as 0.25 or 25%", |text| {
            let share = match text.strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
                None => text.parse().ok()?,
            };
            (0.0..=1.0).contains(&share).then_some(share)
        })
    }

    /// A number of bytes: `2GiB`, `512MB`, or a bare number.
    pub fn bytes(&mut self, key: &'static str) -> Option<f64> {
        self.read(key, "a size such as 512MiB or 10GB", |text| {
            serde_saphyr::from_str::<ByteSize>(&format!("'{text}'")).ok().map(|size| size.0 as f64)
        })
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", |text| text.parse().ok())
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        self.read(key, &format!("one of {}", names.join(", ")), |text| {
            words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
        })
    }

    /// The items of a list; a single item may stand for a list of one.
    pub fn items(&mut self, key: &'static str) -> Vec<&'a Spot> {
        match self.spot(key) {
            None => Vec::new(),
            Some(Spot { node: Node::List(items), .. }) => items.iter().collect(),
            Some(one) => vec![one],
        }
    }

    /// A list of names, or a single one.
    pub fn names(&mut self, key: &'static str) -> Vec<Name> {
        let mut names = Vec::new();
        for (i, item) in self.items(key).into_iter().enumerate() {
            let (line, key) = (item.line, format!("{}[{i}]", self.path_of(key)));
            match &item.node {
                Node::Text(text) => names.push(Name { line, key, text: text.clone() }),
                other => {
                    let rule = format!("must be a name, got {}", other.shown());
                    self.mistakes.push(Mistake { line, key, rule });
                }
            }
        }
        names
    }

    /// As [`Fields::names`], without their places.
    pub fn words(&mut self, key: &'static str) -> Vec<String> {
        self.names(key).into_iter().map(|name| name.text).collect()
    }

    /// Everything found wrong, with the keys that nobody asked for.
    pub fn finish(mut self) -> Vec<Mistake> {
        let mut known = self.asked.clone();
        known.dedup();
        for (key, line, _) in &self.entries {
            if !known.contains(key) {
                let rule = format!("is not a known key; known here: {}", known.join(", "));
                self.mistakes.push(Mistake { line: *line, key: self.path_of(key), rule });
            }
        }
        self.mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_has_its_line_key_and_value() {
        let text = "a: 10m\nb:\n  - 1\nc: soon\nd: {x: 2}\nratee: 3/s\nrate: 3/y\n";
        let spot = parse(text).unwrap();
        let mut fields = Fields::of(&spot, "");
        assert_eq!(fields.duration("a"), Some(600_000));
        assert_eq!(fields.text("b"), None);
        assert_eq!(fields.duration("c"), None);
        assert_eq!(fields.number("d", 0.0, 1.0), None);
        assert_eq!(fields.rate("rate"), None);
        assert_eq!(fields.flag("missing"), None);
        let shown: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "line 2: `b` must be a single value, got a list",
                "line 4: `c` must be a duration such as 90s, 10m or 1h30m, got `soon`",
                "line 5: `d` must be a single value, got a mapping",
                "line 7: `rate` must be a rate such as 20/s or 300/m, got `3/y`",
                "line 6: `ratee` is not a known key; known here: a, b, c, d, rate, missing",
            ]
        );
    }

    #[test]
    fn units_are_read() {
        let spot = parse("{r: 300/m, p: 25%, s: 0.5, b: 2GiB, n: 3, w: [p, q], o: z, v: 2.3.19, f: 25.7}").unwrap();
        let mut fields = Fields::of(&spot, "load");
        assert_eq!((fields.rate("r"), fields.share("p"), fields.share("s")), (Some(5.0), Some(0.25), Some(0.5)));
        assert_eq!((fields.bytes("b"), fields.whole("n", 1, 3)), (Some(2_147_483_648.0), Some(3)));
        assert_eq!(
            (fields.words("w"), fields.words("o")),
            (vec!["p".to_owned(), "q".to_owned()], vec!["z".to_owned()])
        );
        assert_eq!((fields.text("v"), fields.text("f")), (Some("2.3.19"), Some("25.7")));
        assert_eq!(fields.finish(), []);
    }

    #[test]
    fn what_is_no_yaml_says_where() {
        for text in ["a: [b", "a: 1\na: 2\n"] {
            let mistake = parse(text).unwrap_err();
            assert!(mistake.line > 0 && mistake.rule.starts_with("is not YAML: "), "{mistake}");
        }
    }
}
