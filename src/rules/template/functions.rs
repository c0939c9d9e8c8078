//! The functions that templates may call: Go's own plus those of Prometheus.
//!
//! In: template values.   Out: template values or an error text. Pure, except for what a [`Session`]
//! knows: the time, the external URL, and the answers to queries.
//! Limits: a pattern compiles to at most 1 MiB; a text built by `reReplaceAll` is as long as its input allows.

use std::sync::Arc;

use gotmpl::{FuncMap, TemplateError, Value};
use regex::RegexBuilder;

use super::humanize;
use super::number::shortest;
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

type Outcome = Result<Value, TemplateError>;

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
    ("index", None, index),
    ("print", None, |a| Ok(string(print(a)))),
    ("printf", None, printf),
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
    ("toTime", Some(1), |a| humanize::humanize_timestamp(float(&a[0])?).map(string).map_err(failure)),
    ("toDuration", Some(1), |a| Ok(string(humanize::go_duration(float(&a[0])?)))),
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

/// A value as an action prints it.
pub fn show(value: &Value) -> String {
    match value {
        Value::Nil => "<no value>".into(),
        other => plain(other),
    }
}

/// A value as Go's `%v` prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::Float(v) => shortest(*v),
        Value::List(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Map(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", plain(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn print(args: &[Value]) -> String {
    // Go puts a space between two operands when neither is a string.
    let mut out = String::new();
    for (i, arg) in args.iter().enumerate() {
        let between_strings = i > 0 && (arg.as_str().is_some() || args[i - 1].as_str().is_some());
        if i > 0 && !between_strings {
            out.push(' ');
        }
        out.push_str(&plain(arg));
    }
    out
}

/// `printf`, with floats under `%v` and infinities printed as Go does.
fn printf(args: &[Value]) -> Outcome {
    let format = text(args, 0)?;
    let (mut rewritten, mut rest) = (String::with_capacity(format.len()), args[1..].to_vec());
    let mut at = 0;
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        rewritten.push(c);
        if c != '%' {
            continue;
        }
        for c in chars.by_ref() {
            match c {
                '%' => rewritten.push(c),
                // Explicit argument indexes and widths from arguments are left to the library.
                '*' | '[' => return sprintf(format, &args[1..]),
                _ if c.is_ascii_alphabetic() => {
                    match (c, rest.get(at)) {
                        ('v', Some(Value::Float(v))) => rest[at] = string(shortest(*v)),
                        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Some(Value::Float(v))) if v.is_infinite() => {
                            rest[at] = string(shortest(*v));
                            // A precision would cut the word short.
                            let keep = rewritten.rfind(['%', '.']).map_or(0, |p| p.max(1));
                            if rewritten[keep..].starts_with('.') {
                                rewritten.truncate(keep);
                            }
                            rewritten.push('s');
                            at += 1;
                            break;
                        }
                        // What the library does not print, or prints otherwise: with its flags replaced by the text.
                        ('d', Some(Value::Float(v))) => {
                            rest[at] = string(format!("%!d(float64={})", shortest(*v)));
                            at += 1;
                            rewritten.truncate(rewritten.rfind('%').unwrap_or(0));
                            rewritten.push_str("%s");
                            break;
                        }
                        ('T', Some(value)) => {
                            rest[at] = string(type_name(value));
                            at += 1;
                            rewritten.truncate(rewritten.rfind('%').unwrap_or(0));
                            rewritten.push_str("%s");
                            break;
                        }
                        _ => {}
                    }
                    rewritten.push(c);
                    at += 1;
                    break;
                }
                _ => {
                    rewritten.push(c);
                    continue;
                }
            }
            break;
        }
    }
    sprintf(&rewritten, &rest)
}

/// The name that Go gives the type of a value.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Float(_) => "float64",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::List(_) => "[]interface {}",
        Value::Map(_) => "map[string]interface {}",
        _ => "<nil>",
    }
}

fn sprintf(format: &str, args: &[Value]) -> Outcome {
    // gotmpl keeps its formatter private; a one-line template reaches it.
    let data = Value::List(Arc::from(args));
    let calls: String = (0..args.len()).map(|i| format!(" (index . {i})")).collect();
    let template = gotmpl::Template::new("").parse(&format!("{{{{printf {}{calls}}}}}", go_quote(format)))?;
    template.execute_to_string(&data).map(string)
}

fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
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
            other => return Err(failure(format!("can't evaluate field {name} in type {}", other.type_name()))),
        };
    }
    Ok(value)
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
        other => Err(failure(format!("can't convert {} to float", other.type_name()))),
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

fn failure(message: impl Into<String>) -> TemplateError {
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

    #[test]
    fn printf_prints_floats_as_go_does() {
        let render = |args: &[Value]| printf(args).unwrap().to_string();
        assert_eq!(render(&[string("%v|%s"), Value::Float(1e21), string("x")]), "1e+21|x");
        assert_eq!(render(&[string("%.2f%%"), Value::Float(71.256)]), "71.26%");
        assert_eq!(render(&[string("%.2f"), Value::Float(f64::INFINITY)]), "+Inf");
        assert_eq!(render(&[string("\"%5.1f\"\n"), Value::Float(1.25)]), "\"  1.2\"\n");
        assert_eq!(
            render(&[string("%T: %3d %s"), Value::Float(1.5), Value::Float(1.5), string("x")]),
            "float64: %!d(float64=1.5) x"
        );
        assert_eq!(render(&[string("%d %T"), Value::Int(7), Value::Int(7)]), "7 int64");
    }
}
