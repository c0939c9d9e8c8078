//! A checker for the part of JSON Schema (draft 7) that Grafana's published schemas use.
//!
//! In: a schema with `definitions`, a value.   Out: every violation with the path to it.
//! Limits: the keywords listed in `KEYWORDS`; any other makes `check` panic, so that nothing is passed over.

use serde_json::Value;

const KEYWORDS: [&str; 24] = [
    "$schema",
    "$ref",
    "definitions",
    "description",
    "default",
    "type",
    "const",
    "enum",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "oneOf",
    "allOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "title",
    "format",
    "deprecated",
    "x-deprecation-message",
];

/// Every place where `value` breaks `definition` (a name under `definitions`) of `schema`.
pub fn check(schema: &Value, definition: &str, value: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let node = schema["definitions"].get(definition).unwrap_or_else(|| panic!("schema defines `{definition}`"));
    walk(schema, node, value, definition, &mut problems);
    problems
}

fn walk(root: &Value, node: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
    let Some(node) = node.as_object() else { return };
    for keyword in node.keys() {
        assert!(KEYWORDS.contains(&keyword.as_str()), "the checker does not know `{keyword}`");
    }
    let mut fail = |rule: String| problems.push(format!("{at}: {rule}"));
    if let Some(kind) = node.get("type").and_then(Value::as_str)
        && !is_of(value, kind)
    {
        return fail(format!("is not of type {kind}: {value}"));
    }
    if let Some(only) = node.get("const")
        && only != value
    {
        fail(format!("must be {only}"));
    }
    if let Some(Value::Array(allowed)) = node.get("enum")
        && !allowed.contains(value)
    {
        fail(format!("{value} is none of {allowed:?}"));
    }
    if let Some(number) = value.as_f64() {
        let bound = |key: &str| node.get(key).and_then(Value::as_f64);
        let low =
            bound("minimum").is_some_and(|b| number < b) || bound("exclusiveMinimum").is_some_and(|b| number <= b);
        let high =
            bound("maximum").is_some_and(|b| number > b) || bound("exclusiveMaximum").is_some_and(|b| number >= b);
        if low || high {
            fail(format!("{number} is out of range"));
        }
    }
    if let (Some(text), Some(min)) = (value.as_str(), node.get("minLength").and_then(Value::as_u64))
        && (text.len() as u64) < min
    {
        fail("is too short".into());
    }
    if let Some(object) = value.as_object() {
        for name in node.get("required").and_then(Value::as_array).into_iter().flatten() {
            let name = name.as_str().expect("required names are text");
            if !object.contains_key(name) {
                fail(format!("lacks `{name}`"));
            }
        }
    }
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        let name = reference.strip_prefix("#/definitions/").expect("references are local");
        walk(root, &root["definitions"][name], value, at, problems);
    }
    for part in node.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        walk(root, part, value, at, problems);
    }
    for (key, one_only) in [("anyOf", false), ("oneOf", true)] {
        let Some(parts) = node.get(key).and_then(Value::as_array) else { continue };
        let results: Vec<Vec<String>> = parts
            .iter()
            .map(|part| {
                let mut inner = Vec::new();
                walk(root, part, value, at, &mut inner);
                inner
            })
            .collect();
        let fitting = results.iter().filter(|inner| inner.is_empty()).count();
        if fitting == 0 {
            problems.push(format!("{at}: fits no {key} branch: {results:?}"));
        } else if one_only && fitting > 1 {
            problems.push(format!("{at}: fits {fitting} branches of oneOf"));
        }
    }
    if let Some(object) = value.as_object() {
        let properties = node.get("properties").and_then(Value::as_object);
        for (name, item) in object {
            let inside = format!("{at}.{name}");
            match (properties.and_then(|p| p.get(name)), node.get("additionalProperties")) {
                (Some(property), _) => walk(root, property, item, &inside, problems),
                (None, Some(Value::Bool(false))) => problems.push(format!("{inside}: unknown key")),
                (None, Some(rest)) => walk(root, rest, item, &inside, problems),
                (None, None) => {}
            }
        }
    }
    if let (Some(list), Some(items)) = (value.as_array(), node.get("items")) {
        for (index, item) in list.iter().enumerate() {
            walk(root, items, item, &format!("{at}[{index}]"), problems);
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("the checker does not know type `{other}`"),
    }
}

#[test]
fn checker_finds_each_kind_of_mistake() {
    use serde_json::json;
    let schema = json!({ "definitions": {
        "A": {
            "type": "object", "additionalProperties": false, "required": ["n"],
            "properties": {
                "n": { "type": "integer", "exclusiveMinimum": 0, "maximum": 9 },
                "b": { "$ref": "#/definitions/B" },
                "l": { "type": "array", "items": { "enum": ["x", "y"] } },
                "o": { "oneOf": [{ "type": "string", "minLength": 1 }, { "type": "number" }, { "type": "integer" }] },
                "free": { "type": "object", "additionalProperties": {} },
            },
        },
        "B": { "anyOf": [{ "type": "null" }, { "type": "object", "additionalProperties": { "type": "boolean" } }] },
    }});
    let good = [
        json!({ "n": 1 }),
        json!({ "n": 9, "b": null, "l": ["x"], "o": "s" }),
        json!({ "n": 2, "b": { "k": true }, "o": 1.5, "free": { "a": [1] } }),
    ];
    for value in good {
        assert_eq!(check(&schema, "A", &value), Vec::<String>::new(), "{value}");
    }
    let bad = [
        json!([]),
        json!({}),
        json!({ "n": 0 }),
        json!({ "n": 10 }),
        json!({ "n": 1.5 }),
        json!({ "n": 1, "other": 1 }),
        json!({ "n": 1, "b": 1 }),
        json!({ "n": 1, "b": { "k": 1 } }),
        json!({ "n": 1, "l": ["z"] }),
        json!({ "n": 1, "o": "" }),
        json!({ "n": 1, "o": 1 }),
        json!({ "n": 1, "free": "text" }),
    ];
    for value in bad {
        assert_eq!(check(&schema, "A", &value).len(), 1, "{value}");
    }
}
