//! Scenario: requests over HTTP that are made to take all memory or time.
//! Guarantee: each is answered with an error in the API's form that names the limit, in little memory; the same limits
//! inside of the engine are in `promql_limits`, those of the running agent in `tests/peers/test_limits.py`.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::Arc;

use super::prometheus_api::{get, post, router_over};
use super::promql_limits::Endless;

const MIB: u64 = 1 << 20;

/// What one answer must be.
struct Refusal<'a> {
    status: u16,
    kind: &'a str,
    /// A part of the message, which names the limit.
    part: &'a str,
    /// Memory that the request may take at once on the thread that answers it, with its body and its answer.
    bytes: u64,
}

/// Sends parameters to a path below `/api/v1`, and checks that they are refused.
fn refused(path: &str, parameters: &[(&str, &str)], refusal: &Refusal<'_>) {
    let escaped = |text: &str| -> String {
        // What means something in a form or must not stand in a URL; not more, so that forms keep their length.
        let special = |c: char| "%+&{}\"~ <>^`|\\".contains(c);
        text.chars().map(|c| if special(c) { format!("%{:02X}", c as u32) } else { c.to_string() }).collect()
    };
    let pairs: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let form = pairs.join("&");
    let shown: String = form.chars().take(80).collect();
    let router = router_over(Arc::new(Endless::new(1_000_000, 3)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut answer = None;
    let info = allocation_counter::measure(|| {
        answer = Some(match path {
            // Prometheus takes no POST here.
            "label/a/values" => runtime.block_on(get(&router, &format!("/api/v1/{path}?{form}"))),
            _ => runtime.block_on(post(&router, &format!("/api/v1/{path}"), &form)),
        });
    });
    let (status, body) = answer.unwrap();
    assert_eq!((status.as_u16(), body["status"].as_str()), (refusal.status, Some("error")), "{shown}: {body}");
    assert_eq!(body["errorType"], refusal.kind, "{shown}: {body}");
    let message = body["error"].as_str().unwrap();
    assert!(message.contains(refusal.part) && message.len() < 400, "{shown}: {message}");
    assert!(info.bytes_max < refusal.bytes, "{shown} took {} bytes", info.bytes_max);
}

#[test]
fn a_query_of_a_megabyte() {
    let refusal = Refusal { status: 400, kind: "bad_data", part: "limit is 262144", bytes: 8 * MIB };
    for query in ["x".repeat(1 << 20), "-1".repeat(1 << 19), format!("\"{}\"", "(".repeat(1 << 20))] {
        for path in ["query", "query_exemplars", "parse_query", "format_query"] {
            refused(path, &[("query", &query)], &refusal);
        }
        refused("query_range", &[("query", &query), ("start", "0"), ("end", "1"), ("step", "1")], &refusal);
        refused("series", &[("match[]", &query)], &refusal);
    }
    let form = Refusal { part: "the form is above 2097152 bytes", bytes: 16 * MIB, ..refusal };
    refused("query", &[("query", &"x".repeat(3 << 20))], &form);
}

#[test]
fn ten_thousand_nested_parentheses() {
    let refusal = Refusal { status: 400, kind: "bad_data", part: "200 levels", bytes: 16 * MIB };
    for (open, close) in [("(", ")"), ("(", ""), ("-", ""), ("abs(", ")"), ("sum by (a) (", ")"), ("x[5m:] + (", ")")] {
        let query = format!("{}x{}", open.repeat(10_000), close.repeat(10_000));
        for path in ["query", "parse_query", "format_query"] {
            refused(path, &[("query", &query)], &refusal);
        }
    }
}

#[test]
fn expressions_made_to_explode() {
    let (count, size) = ("invalid repeat count", "size limit");
    for (pattern, part) in
        [("(a{1000}){1000}", count), ("((.{1,100}){1,100}){1,100}", count), (r"(\\pL{30}){30}", size)]
    {
        let refusal = Refusal { status: 400, kind: "bad_data", part, bytes: 16 * MIB };
        let selector = format!("x{{a=~\"{pattern}\"}}");
        refused("query", &[("query", &selector)], &refusal);
        for path in ["series", "labels", "label/a/values"] {
            refused(path, &[("match[]", &selector)], &refusal);
        }
    }
}

#[test]
fn a_range_of_a_century() {
    let century = ("3155760000", "1");
    let points = Refusal { status: 400, kind: "bad_data", part: "11,000 points", bytes: MIB };
    for (end, step) in [century, ("3155760000", "1ms"), ("9e15", "1"), ("1e12", "60")] {
        refused("query_range", &[("query", "x"), ("start", "0"), ("end", end), ("step", step)], &points);
    }
    let backwards = Refusal { part: "must not be before", ..points };
    refused("query_range", &[("query", "x"), ("start", "3155760000"), ("end", "0"), ("step", "1")], &backwards);
    let beyond = Refusal { part: "\"end\"", ..points };
    refused("query_range", &[("query", "x"), ("start", "0"), ("end", "1e300"), ("step", "1")], &beyond);
    let samples = Refusal { status: 422, kind: "execution", part: "too many samples", bytes: MIB };
    for query in ["sum_over_time(x[100y:1ms])", "max_over_time(vector(1)[100y:1ms])"] {
        refused("query", &[("query", query)], &samples);
    }
}

#[test]
fn steps_that_are_negative_or_zero() {
    let refusal = Refusal { status: 400, kind: "bad_data", part: "zero or negative", bytes: MIB };
    for step in ["-1", "0", "-0", "0s", "-1e15", "0.0001"] {
        refused("query_range", &[("query", "x"), ("start", "0"), ("end", "60"), ("step", step)], &refusal);
    }
    let no_number = Refusal { part: "\"step\"", ..refusal };
    for step in ["NaN", "Inf", "1e300", "-1m", "1x", "99999999999999999999y"] {
        refused("query_range", &[("query", "x"), ("start", "0"), ("end", "60"), ("step", step)], &no_number);
    }
}

#[test]
fn a_million_series() {
    let refusal = Refusal { status: 422, kind: "execution", part: "more series than the limit of 500000", bytes: MIB };
    refused("query", &[("query", "sum(x)"), ("time", "2")], &refusal);
    refused("query_range", &[("query", "x"), ("start", "0"), ("end", "2"), ("step", "1")], &refusal);
}

#[test]
fn what_is_just_within_the_limits_is_answered() {
    let router = router_over(Arc::new(Endless::new(2, 3)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let nested = format!("{}x{}", "(".repeat(190), ")".repeat(190));
    let long = format!("1{}", " ".repeat(262_000));
    for query in [nested, long] {
        let (status, body) = runtime.block_on(post(&router, "/api/v1/query", &format!("query={query}&time=2")));
        assert_eq!((status.as_u16(), body["status"].as_str()), (200, Some("success")), "{body}");
    }
    let path = "/api/v1/query_range?query=x&start=0&end=3155760000&step=10d";
    let (status, body) = runtime.block_on(get(&router, path));
    assert_eq!((status.as_u16(), body["data"]["result"].as_array().map(Vec::len)), (200, Some(2)), "{body}");
}
