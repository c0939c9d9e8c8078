//! Prints JSON values as YAML that people can read and every loader takes.
//!
//! In: any JSON value.   Out: block style; text of several lines as a literal block, so that queries and embedded files
//! keep their shape. Always: reading it back gives the same value. Text that YAML could take for something else
//! (`on`, `1`, `null`, `a: b`) is written as a JSON string, which YAML also is.

use std::fmt::Write;

use serde_json::Value;

/// One document, without a leading `---`, ending in a newline.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(&mut out, value, 0),
        Value::Array(list) if !list.is_empty() => block(&mut out, value, 0),
        _ => {
            scalar(&mut out, value, 0);
            out.push('\n');
        }
    }
    out
}

/// Several documents, each behind `---`.
pub fn print_all(values: &[Value]) -> String {
    values.iter().map(|value| format!("---\n{}", print(value))).collect()
}

/// A map or list that is not empty, from the start of a line.
fn block(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (at, (key, item)) in map.iter().enumerate() {
                // The first key may stand behind a dash that is written already.
                if at > 0 || out.is_empty() || out.ends_with('\n') {
                    out.push_str(&pad);
                }
                out.push_str(&plain(key));
                out.push(':');
                child(out, item, indent);
            }
        }
        Value::Array(list) => {
            for item in list {
                out.push_str(&pad);
                out.push('-');
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        out.push(' ');
                        block(out, item, indent + 2);
                    }
                    _ => child(out, item, indent),
                }
            }
        }
        _ => scalar(out, value, indent),
    }
}

/// What follows a colon or a dash.
fn child(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        Value::Array(list) if !list.is_empty() => {
            out.push('\n');
            block(out, value, indent + 2);
        }
        _ => {
            out.push(' ');
            scalar(out, value, indent + 2);
            out.push('\n');
        }
    }
}

fn scalar(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::String(text) if is_literal(text) => literal(out, text, indent),
        Value::String(text) => out.push_str(&plain(text)),
        // Empty containers, numbers, booleans and null are the same in JSON and YAML.
        other => {
            let _ = write!(out, "{other}");
        }
    }
}

/// Whether a literal block keeps the text as it is.
fn is_literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n'])
        && !text
            .chars()
            .any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    let chomping = match text.len() - body.len() {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let _ = write!(out, "|{chomping}");
    for line in body.split('\n') {
        out.push('\n');
        if !line.is_empty() {
            let _ = write!(out, "{:indent$}{line}", "");
        }
    }
    // The newline that ends the node comes from the caller; further ones belong to the text.
    out.push_str(&"\n".repeat((text.len() - body.len()).saturating_sub(1)));
}

/// The text bare where no loader can mistake it, else as a JSON string.
fn plain(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts_as_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts_as_word && text.chars().all(safe) && !reserved.contains(&text.to_ascii_lowercase().as_str()) {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn prints_as_people_write() {
        let value = json!({
            "groups": [{ "name": "a", "rules": [{ "expr": "sum(x)\n  > 1\n", "for": "5m" }, "b"], "none": [], "size": 1.5 }],
            "on": "yes", "text": "a: b",
        });
        let expected = "groups:\n  - name: a\n    rules:\n      - expr: |\n          sum(x)\n            > 1\n        \
                        for: \"5m\"\n      - b\n    none: []\n    size: 1.5\n\"on\": \"yes\"\ntext: \"a: b\"\n";
        assert_eq!(print(&value), expected);
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~]{0,12}",
            "[a-z \n:#-]{0,16}",
            Just("a\nb\n\n".to_owned()),
            Just("~".to_owned()),
            Just("0x1F".to_owned()),
            Just("e\u{301}\u{2028}\n".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_back_what_it_prints(value in values()) {
            let text = print(&value);
            let back: Value = serde_saphyr::from_str(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?;
            prop_assert_eq!(back, value, "{}", text);
        }
    }
}
