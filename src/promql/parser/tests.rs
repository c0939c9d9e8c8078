//! Parsing: positions, precedence, what is refused, and that what is printed reads back.

use super::*;
use crate::promql::ast::selectors;

fn round_trip(query: &str) -> String {
    let expr = parse(query).unwrap_or_else(|e| panic!("{query}: {e}"));
    let printed = expr.to_string();
    let again = parse(&printed).unwrap_or_else(|e| panic!("{query} -> {printed}: {e}"));
    assert_eq!(expr, again, "{query} -> {printed}");
    printed
}

#[test]
fn what_is_printed_parses_to_the_same_tree() {
    for (query, printed) in [
        ("1+2*3^-4", "1 + 2 * 3 ^ -4"),
        ("-foo^2", "-foo ^ 2"),
        ("sum(foo) by (a,)", "sum by (a) (foo)"),
        ("foo{a!=\"b\",}[5m] offset -1h @ start()", "foo{a!=\"b\"}[5m] @ start() offset -1h"),
        ("{\"my.metric\", \"my.label\"=~'x'}", "{\"my.metric\",\"my.label\"=~\"x\"}"),
        ("rate(foo[5m:])[1h:5m] @ 1.5", "rate(foo[5m:])[1h:5m] @ 1.500"),
        ("foo @ -1.5", "foo @ -1.500"),
        ("a + on(x) group_left(y) fill_right(-1) b", "a + on (x) group_left (y) fill_right (-1) b"),
        ("a + fill(0) fill", "a + fill (0) fill"),
        ("sum + by", "sum + by"),
        ("foo[2m*(step()+min_of(1,range()))] anchored", "foo[2m * (step() + min_of(1s, range()))] anchored"),
        ("h </ 1_000 >/ 0x10", "h </ 1000 >/ 16"),
        ("`raw\\n`", "\"raw\\\\n\""),
        ("-NaN", "NaN"),
        ("foo offset -0", "foo offset 0s"),
        ("Inf^2", "Inf ^ 2"),
        ("1 / -0d", "1 / -0s"),
        ("{\"on\"} + {\"Inf\"}", "{\"on\"} + {\"Inf\"}"),
        ("metric offset 2 ^ 2", "metric offset 2s ^ 2"),
        ("topk(1, a) unless on() b", "topk(1, a) unless on () b"),
    ] {
        assert_eq!(round_trip(query), printed);
    }
}

#[test]
fn mistakes_are_told_as_prometheus_tells_them() {
    for (query, message) in [
        ("", "1:1: parse error: no expression found in input"),
        ("1 +", "1:4: parse error: unexpected end of input"),
        ("foo{a=1}", "1:7: parse error: unexpected number \"1\" in label matching, expected string"),
        ("{a=\"\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("rate(foo)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("m + bool 1", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("m*on(a)group_left(a)grp", "1:2: parse error: label \"a\" must not occur in ON and GROUP clause at once"),
        ("m @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("m offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("m @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("# c", "1:1: parse error: no expression found in input"),
        ("sum(m", "1:6: parse error: unclosed left parenthesis"),
        ("nope(m", "1:7: parse error: unclosed left parenthesis"),
        ("sum(m m", "1:7: parse error: unexpected identifier \"m\" in aggregation"),
        ("sum(abs(m m", "1:11: parse error: unexpected identifier \"m\" in aggregation"),
        ("abs(m m)", "1:7: parse error: unexpected identifier \"m\""),
        ("sum by (a) m", "1:12: parse error: unexpected identifier \"m\" in aggregation"),
        ("m[5m", "1:5: parse error: unclosed left bracket"),
        ("m)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("on(x)", "1:1: parse error: unexpected <on>"),
        ("m + ignoring(a) on(b) m", "1:17: parse error: unexpected <on>"),
        ("m}", "1:2: parse error: unexpected character: '}'"),
        ("\"a\\", "1:1: parse error: escape sequence not terminated"),
        ("\"\\x\"", "1:1: parse error: illegal character U+0022 '\"' in escape sequence"),
        ("m @ start(1)", "1:11: parse error: unexpected number \"1\" in @, expected timestamp"),
        ("by(x)", "1:3: parse error: unexpected \"(\""),
        ("\"\\q\"", "1:1: parse error: unknown escape sequence U+0071 'q'"),
        ("m[300y]", "1:3: parse error: duration out of range"),
        ("m offset 300y", "1:10: parse error: duration out of range"),
        ("m{__name__=\"m\"}", "1:1: parse error: metric name must not be set twice: \"m\" or \"m\""),
        ("m{__name__=~\"n\"}", "1:1: parse error: metric name must not be set twice: \"m\" or \"n\""),
        ("1 + ignoring(a) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("nope(1)", "1:1: parse error: unknown function with name \"nope\""),
        (
            "sum(foo) offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("foo and on(a) group_left bar", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a\n+ +", "2:4: parse error: unexpected end of input"),
        ("foo or 1", "1:1: parse error: set operator \"or\" not allowed in binary scalar expression"),
        ("round()", "1:1: parse error: expected at least 1 argument(s) in call to \"round\", got 0"),
    ] {
        assert_eq!(parse(query).unwrap_err().to_string(), message, "{query}");
    }
}

#[test]
fn a_mistake_is_shown_with_a_caret() {
    let rendered = parse("sum(rate(foo))").unwrap_err().render();
    assert!(rendered.ends_with("\n  sum(rate(foo))\n           ^^^"), "{rendered}");
    let wide = parse("\"日本\" + fo(x)").unwrap_err().render();
    assert!(wide.ends_with("\n  \"日本\" + fo(x)\n           ^^"), "{wide}");
}

#[test]
fn a_mistake_that_another_told_is_shown_with_a_caret_too() {
    let told = "the agent answered 400: invalid parameter \"query\": 2:7: parse error: function \"mad_over_time\" is not enabled";
    let rendered = ParseError::told("1 +\n  abs(mad_over_time(m[5m]))", told).unwrap().render();
    let want = "2:7: parse error: function \"mad_over_time\" is not enabled\n    abs(mad_over_time(m[5m]))\n        ^^^^^^^^^^^^^";
    assert_eq!(rendered, want);
    for other in ["no place", "x: parse error: y", "9:9: parse error: y", "0:0: parse error: y"] {
        assert!(ParseError::told("m", other).is_none(), "{other}");
    }
}

#[test]
fn deep_and_long_queries_are_refused() {
    for query in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        "-".repeat(10_000) + "1",
        "1+".repeat(10_000) + "1",
        "abs(".repeat(10_000),
        format!("foo[{}1m]", "(".repeat(10_000)),
        format!("foo{}", "[1m:]".repeat(10_000)),
        "1^".repeat(10_000) + "1",
    ] {
        let message = parse(&query).unwrap_err().message;
        assert!(message.contains("nests deeper"), "{message}");
    }
    assert!(parse(&" ".repeat(MAX_QUERY_BYTES + 1)).unwrap_err().message.contains("the limit is"));
    assert!(parse(&("a or ".repeat(150) + "a")).is_ok());
}

#[test]
fn selectors_are_found_in_every_corner() {
    let expr = parse("sum(a) / (b[5m:1m] and topk(scalar(c), d{x=\"y\"} offset 1m))");
    assert!(expr.is_err(), "a subquery is a range vector");
    let expr = parse("sum(a) / (max_over_time(b[5m:1m]) and topk(scalar(c), d{x=\"y\"} offset 1m))").unwrap();
    let names: Vec<_> = selectors(&expr).map(|s| s.name.clone().unwrap_or_default()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
}
