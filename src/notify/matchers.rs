//! Matchers as Alertmanager writes them: `severity="critical"`, `{a=~"x|y", "service.name"!=z}`.
//!
//! In: one text.   Out: [`Matcher`]s in the order written.
//! Both of Alertmanager's notations are read: the classic one (quotes may be left out, names of
//! letters, digits, `_` and `:`) and the UTF-8 one (any name, then in quotes).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{Labels, MatchOp, Matcher};

/// Why a text is not a list of matchers.
#[derive(Debug, thiserror::Error)]
pub enum ParseMatcherError {
    #[error("`{text}` is not a matcher: {rule}")]
    Syntax { text: String, rule: &'static str },
    #[error("`{text}` is not a matcher")]
    Regex { text: String, source: crate::model::MatcherError },
}

/// Reads one or several matchers, separated by commas, braces around them or not.
///
/// Escapes in quotes are `\"`, `\\` and `\n`; regular expressions are anchored. An empty text and
/// `{}` give no matcher, which matches everything.
///
/// # Errors
/// A name, an operator or a closing quote is missing, or a regular expression does not compile.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseMatcherError> {
    let syntax = |rule| ParseMatcherError::Syntax { text: text.to_owned(), rule };
    let trimmed = text.trim();
    let inner = match (trimmed.strip_prefix('{'), trimmed.ends_with('}')) {
        (Some(rest), true) => &rest[..rest.len() - 1],
        (Some(_), false) => return Err(syntax("the closing brace is missing")),
        (None, _) => trimmed,
    };
    let mut rest = inner.trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let (name, after) = match rest.starts_with('"') {
            true => quoted(rest).ok_or_else(|| syntax("a closing quote is missing"))?,
            false => {
                let end = rest.find(['=', '!']).ok_or_else(|| syntax("an operator (=, !=, =~, !~) is missing"))?;
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        if name.is_empty() {
            return Err(syntax("the label name is missing"));
        }
        if name.contains(['"', '{', '}', ',', '\'']) && !rest.starts_with('"') {
            return Err(syntax("a label name with such a character needs quotes"));
        }
        let after = after.trim_start();
        let (op, after) =
            [("=~", MatchOp::Matches), ("!~", MatchOp::NotMatches), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)]
                .into_iter()
                .find_map(|(sign, op)| after.strip_prefix(sign).map(|after| (op, after.trim_start())))
                .ok_or_else(|| syntax("an operator (=, !=, =~, !~) is missing"))?;
        let (value, after) = match after.starts_with('"') {
            true => quoted(after).ok_or_else(|| syntax("a closing quote is missing"))?,
            false => {
                let end = after.find(',').unwrap_or(after.len());
                let value = after[..end].trim();
                if value.contains('"') {
                    return Err(syntax("a quote stands inside an unquoted value"));
                }
                (value.to_owned(), &after[end..])
            }
        };
        matchers.push(
            Matcher::new(name, op, value)
                .map_err(|source| ParseMatcherError::Regex { text: text.to_owned(), source })?,
        );
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if after.is_empty() => after,
            None => return Err(syntax("a comma is missing between two matchers")),
        };
    }
    Ok(matchers)
}

/// The text inside the leading quotes, and what follows them.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('"' | '\\') => value.push(escaped),
                // Go's reader keeps an unknown escape as it is, and regular expressions are full of them.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

/// Matchers all of which must pass; none at all lets everything pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matchers(pub Vec<Matcher>);

impl Matchers {
    /// Whether every matcher passes.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|m| m.matches(labels))
    }

    /// Whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Matchers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut all = Vec::new();
        for line in Vec::<String>::deserialize(deserializer)? {
            all.extend(parse_matchers(&line).map_err(|e| {
                let cause = std::error::Error::source(&e).map(|s| format!(": {s}")).unwrap_or_default();
                serde::de::Error::custom(format!("{e}{cause}"))
            })?);
        }
        Ok(Self(all))
    }
}

impl Serialize for Matchers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Vec<String> {
        parse_matchers(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn both_notations_are_read() {
        assert_eq!(printed(r#"severity="critical""#), [r#"severity="critical""#]);
        assert_eq!(printed("severity = critical"), [r#"severity="critical""#]);
        assert_eq!(printed(r#"{a=~"x|y,z", b != 'q' }"#), [r#"a=~"x|y,z""#, r#"b!="'q'""#]);
        assert_eq!(printed(r#""service.name"!~"a\"b""#), [r#""service.name"!~"a\"b""#]);
        assert_eq!(printed("größe=groß"), [r#""größe"="groß""#]);
        assert_eq!(printed("{}"), [""; 0]);
        assert_eq!(printed(r#"a="x",b="y","#), [r#"a="x""#, r#"b="y""#]);
    }

    #[test]
    fn what_is_not_a_matcher_is_refused_with_the_rule() {
        for (text, rule) in [
            ("severity", "operator"),
            (r#"a="b"#, "closing quote"),
            ("{a=b", "closing brace"),
            ("=b", "name is missing"),
            (r#"a="b" c="d""#, "comma"),
        ] {
            let error = parse_matchers(text).unwrap_err().to_string();
            assert!(error.contains(rule) && error.contains(text), "{text}: {error}");
        }
        assert!(matches!(parse_matchers("a=~("), Err(ParseMatcherError::Regex { .. })));
    }
}
