//! The functions that templates may call: Go's own plus those of Prometheus.
//!
//! In: template values.   Out: template values or an error text. Pure, except for what a [`Session`]
//! knows: the time, the external URL, and the answers to queries.
//! Limits: a pattern compiles to at most 1 MiB; a text built by `reReplaceAll` is as long as its input allows.

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};
use regex::RegexBuilder;

use super::humanize;
use super::moment::Moment;
use super::printf::{print, printf, println, show, type_name};
use super::session::Session;
use crate::model::{of_re2, parse_duration_ms};

/// Names of Go's own functions, which gotmpl registers.
const BUILTIN: [&str; 19] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "print", "printf", "println", "len", "index", "slice",
    "call", "html", "js", "urlquery",
];

/// Reads a field, the zero value where a label is missing; not callable by name.
pub const FIELD: &str = "\u{1}field";
/// Turns a value into the text an action prints; not callable by name.
pub const SHOW: &str = "\u{1}show";
/// Calls a method with arguments; not callable by name.
pub const METHOD: &str = "\u{1}method";
/// Turns a month, a day of the week or a duration into the number that it is compared as; not callable by name.
pub const BARE: &str = "\u{1}bare";

/// What a function gives.
pub type Outcome = Result<Value, TemplateError>;

/// Whether templates know a function of this name.
pub fn is_known(name: &str) -> bool {
    BUILTIN.contains(&name) || PURE.iter().any(|(n, ..)| *n == name) || SESSION.contains(&name)
}

/// Every function of Prometheus, bound to the session of one template.
pub fn all(session: &Arc<Session>) -> FuncMap {
    let mut map = FuncMap::new();
    for (name, count, function) in PURE {
        let name = (*name).to_owned();
        let called = name.clone();
        map.insert(
            name,
            Arc::new(move |args: &[Value]| match count.is_none_or(|n| n == args.len()) {
                true => function(args),
                false => {
                    Err(TemplateError::ArgCount { name: called.clone(), expected: count.unwrap_or(0), got: args.len() })
                }
            }),
        );
    }
    let s = Arc::clone(session);
    map.insert("query".into(), Arc::new(move |args: &[Value]| s.answer(text(args, 0)?)));
    let s = Arc::clone(session);
    map.insert("externalURL".into(), Arc::new(move |_: &[Value]| Ok(string(s.external_url()))));
    let s = Arc::clone(session);
    map.insert("pathPrefix".into(), Arc::new(move |_: &[Value]| Ok(string(url_path(&s.external_url())))));
    let s = Arc::clone(session);
    map.insert("now".into(), Arc::new(move |_: &[Value]| Ok(Value::Float(s.now().as_secs_f64()))));
    map
}

const SESSION: [&str; 4] = ["query", "externalURL", "pathPrefix", "now"];

type Pure = (&'static str, Option<usize>, fn(&[Value]) -> Outcome);

/// Name, number of arguments (`None`: any), function.
const PURE: &[Pure] = &[
    (FIELD, None, field),
    (SHOW, Some(1), |a| Ok(string(show(&a[0])))),
    (METHOD, None, method),
    (BARE, Some(1), |a| Ok(Moment::of(&a[0]).and_then(Moment::number).map_or_else(|| a[0].clone(), Value::Int))),
    ("index", None, index),
    ("print", None, |a| Ok(string(print(a)))),
    ("println", None, |a| Ok(string(println(a)))),
    ("printf", None, printf),
    ("html", None, |a| Ok(string(gotmpl::html_escape(&print(a))))),
    ("js", None, |a| Ok(string(gotmpl::js_escape(&print(a))))),
    ("urlquery", None, |a| Ok(string(gotmpl::url_encode(&print(a))))),
    ("first", Some(1), first),
    ("label", Some(2), label),
    ("value", Some(1), |a| Ok(a[0].field("Value").cloned().unwrap_or(Value::Nil))),
    ("strvalue", Some(1), |a| Ok(label_of(&a[0], "__value__"))),
    ("args", None, numbered),
    ("sortByLabel", Some(2), sort_by_label),
    ("match", Some(2), |a| Ok(Value::Bool(pattern(text(a, 0)?)?.is_match(text(a, 1)?)))),
    ("reReplaceAll", Some(3), |a| Ok(string(pattern(text(a, 0)?)?.replace_all(text(a, 2)?, text(a, 1)?)))),
    ("title", Some(1), |a| Ok(string(title(text(a, 0)?)))),
    ("toUpper", Some(1), |a| Ok(string(text(a, 0)?.to_uppercase()))),
    ("toLower", Some(1), |a| Ok(string(text(a, 0)?.to_lowercase()))),
    ("safeHtml", Some(1), |a| Ok(string(text(a, 0)?))),
    ("stripPort", Some(1), |a| Ok(string(split_host_port(text(a, 0)?).map_or(text(a, 0)?, |(host, _)| host)))),
    ("stripDomain", Some(1), |a| Ok(string(strip_domain(text(a, 0)?)))),
    ("graphLink", Some(1), |a| Ok(string(graph_link(text(a, 0)?)))),
    ("tableLink", Some(1), |a| Ok(string(table_link(text(a, 0)?)))),
    ("urlQueryEscape", Some(1), |a| Ok(string(gotmpl::url_encode(text(a, 0)?)))),
    ("humanize", Some(1), |a| Ok(string(humanize::humanize(float(&a[0])?)))),
    ("humanize1024", Some(1), |a| Ok(string(humanize::humanize_1024(float(&a[0])?)))),
    ("humanizeDuration", Some(1), |a| Ok(string(humanize::humanize_duration(float(&a[0])?)))),
    ("humanizePercentage", Some(1), |a| Ok(string(humanize::humanize_percentage(float(&a[0])?)))),
    ("humanizeTimestamp", Some(1), |a| humanize::humanize_timestamp(float(&a[0])?).map(string).map_err(failure)),
    ("toTime", Some(1), |a| Moment::time(float(&a[0])?).map(Moment::value).map_err(failure)),
    ("toDuration", Some(1), |a| Moment::duration(float(&a[0])?).map(Moment::value).map_err(failure)),
    ("parseDuration", Some(1), |a| {
        let given = text(a, 0)?;
        let ms = parse_duration_ms(given).ok_or_else(|| failure(format!("not a valid duration string: {given:?}")))?;
        Ok(Value::Float(ms as f64 / 1000.0))
    }),
];

/// Where Prometheus shows an expression as a table; `path?query` without a host.
pub fn table_link(expr: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=1", gotmpl::url_encode(expr))
}

fn graph_link(expr: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=0", gotmpl::url_encode(expr))
}

/// `field value "a" "b"` is `value.a.b`.
fn field(args: &[Value]) -> Outcome {
    let mut value = args.first().cloned().unwrap_or(Value::Nil);
    for name in &args[1..] {
        let name = name.as_str().unwrap_or_default();
        value = match &value {
            Value::Map(map) => match map.get(name) {
                Some(found) => found.clone(),
                None if is_struct(&value) => {
                    return Err(failure(format!("can't evaluate field {name} in type struct")));
                }
                None => string(""),
            },
            Value::Nil => Value::Nil,
            other => match Moment::of(other) {
                Some(moment) => moment.call(name, &[])?,
                None => return Err(failure(format!("can't evaluate field {name} in type {}", type_name(other)))),
            },
        };
    }
    Ok(value)
}

/// `method value "name" arguments…` is `value.name arguments…`.
fn method(args: &[Value]) -> Outcome {
    let [value, name, args @ ..] = args else { return Err(failure("a method wants a value and a name")) };
    let name = name.as_str().unwrap_or_default();
    match Moment::of(value) {
        Some(moment) => moment.call(name, args),
        None => {
            field(&[value.clone(), string(name)])?;
            Err(failure(format!("{name} is not a method but has arguments")))
        }
    }
}

/// Template data and query samples are structs in Go: a missing field there is a mistake, not the empty label.
fn is_struct(value: &Value) -> bool {
    matches!(value.field("Labels"), Some(Value::Map(_)))
}

fn index(args: &[Value]) -> Outcome {
    let Some((first, path)) = args.split_first() else {
        return Err(TemplateError::ArgCount { name: "index".into(), expected: 1, got: 0 });
    };
    let mut value = first.clone();
    for key in path {
        value = match (&value, key.as_str()) {
            (Value::Map(map), Some(name)) => map.get(name).cloned().unwrap_or_else(|| string("")),
            _ => value.index(key)?,
        };
    }
    Ok(value)
}

fn first(args: &[Value]) -> Outcome {
    match &args[0] {
        Value::List(items) => {
            items.first().cloned().ok_or_else(|| failure("first() called on vector with no elements"))
        }
        other => Err(TemplateError::TypeMismatch { expected: "list", got: other.type_name() }),
    }
}

fn label(args: &[Value]) -> Outcome {
    Ok(label_of(&args[1], text(args, 0)?))
}

fn label_of(sample: &Value, name: &str) -> Value {
    sample.field("Labels").and_then(|labels| labels.field(name)).cloned().unwrap_or_else(|| string(""))
}

fn numbered(args: &[Value]) -> Outcome {
    Ok(Value::Map(Arc::new(args.iter().enumerate().map(|(i, v)| (Arc::from(format!("arg{i}")), v.clone())).collect())))
}

fn sort_by_label(args: &[Value]) -> Outcome {
    let name = text(args, 0)?;
    let Value::List(items) = &args[1] else {
        return Err(TemplateError::TypeMismatch { expected: "list", got: args[1].type_name() });
    };
    let mut sorted = items.to_vec();
    sorted.sort_by(|a, b| label_of(a, name).as_str().cmp(&label_of(b, name).as_str()));
    Ok(Value::List(sorted.into()))
}

/// Upper-cases the first letter of each word, as Go's `strings.Title`: words are cut at everything but
/// letters, digits and `_` in ASCII, and at white space beyond.
fn title(text: &str) -> String {
    let mut inside = false;
    text.chars()
        .map(|c| {
            let separator = if c.is_ascii() { !c.is_ascii_alphanumeric() && c != '_' } else { c.is_whitespace() };
            let starts = !std::mem::replace(&mut inside, !separator);
            if starts && !separator { c.to_uppercase().next().unwrap_or(c) } else { c }
        })
        .collect()
}

/// Host and port of `host:port` or `[v6]:port`; `None` where Go's `net.SplitHostPort` fails.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').map(|v6| (v6, port));
    }
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let host = host.split('.').next().unwrap_or(host);
    match (port, host.contains(':')) {
        ("", _) => host.to_owned(),
        (_, true) => format!("[{host}]:{port}"),
        (_, false) => format!("{host}:{port}"),
    }
}

fn url_path(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or("").to_owned()
}

fn pattern(text: &str) -> Result<regex::Regex, TemplateError> {
    let dialect = of_re2(text).map_err(|e| failure(e.to_string()))?;
    RegexBuilder::new(&dialect)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| failure(format!("error parsing regexp `{text}`: {e}")))
}

fn float(value: &Value) -> Result<f64, TemplateError> {
    match value {
        Value::Float(v) => Ok(*v),
        Value::Int(n) => Ok(*n as f64),
        Value::Uint(n) => Ok(*n as f64),
        Value::String(text) => parse_float(text).ok_or_else(|| failure(format!("can't convert {text:?} to float"))),
        other => match Moment::of(other) {
            Some(Moment::Duration(nanos)) => Ok(nanos as f64 / 1e9),
            _ => Err(failure(format!("can't convert {} to float", type_name(other)))),
        },
    }
}

fn parse_float(text: &str) -> Option<f64> {
    let bare = text.trim_start_matches(['+', '-']);
    // Rust also reads words such as `infinity`; so does Go. Neither allows surrounding spaces.
    (!bare.is_empty() && !bare.starts_with(['+', '-'])).then(|| text.parse().ok()).flatten()
}

fn text(args: &[Value], at: usize) -> Result<&str, TemplateError> {
    match args.get(at) {
        Some(Value::String(s)) => Ok(s),
        Some(other) => Err(TemplateError::TypeMismatch { expected: "string", got: other.type_name() }),
        None => Err(failure(format!("argument {} is missing", at + 1))),
    }
}

/// A template string.
pub fn string(text: impl AsRef<str>) -> Value {
    Value::String(Arc::from(text.as_ref()))
}

/// What a function that fails gives.
pub fn failure(message: impl Into<String>) -> TemplateError {
    TemplateError::Exec(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_ports_are_cut_as_prometheus_does() {
        for (given, port_cut, domain_cut) in [
            ("foo.example.com:9090", "foo.example.com", "foo:9090"),
            ("foo.example.com", "foo.example.com", "foo"),
            ("10.0.0.1:80", "10.0.0.1", "10.0.0.1:80"),
            ("[2001:db8::1]:80", "2001:db8::1", "[2001:db8::1]:80"),
            ("2001:db8::1", "2001:db8::1", "2001:db8::1"),
            ("", "", ""),
        ] {
            let cut = split_host_port(given).map_or(given, |(h, _)| h);
            assert_eq!(cut, port_cut);
            assert_eq!(strip_domain(given), domain_cut);
        }
    }

    #[test]
    fn title_starts_words_as_go_does() {
        assert_eq!(title("aa bB_c-dd éé"), "Aa BB_c-Dd Éé");
    }
}
