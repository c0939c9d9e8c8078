//! Evaluation: what the scripts of Prometheus leave open, and properties against a plain model.

use std::sync::Arc;

use proptest::prelude::*;

use crate::model::{FloatHistogram, Labels, METRIC_NAME, TimestampMs, Value, stale_nan};
use crate::promql::testing::MemoryStorage;
use crate::promql::{
    Cancel, Engine, EngineOptions, FUNCTIONS, QueryError, QueryResult, QueryValue, ValueType, WindowEdges, parse,
};

const MINUTE: i64 = 60_000;

/// `counter{pod=…}` with a reset, `gauge` with a gap and an end, `native`, `h_bucket`.
fn storage() -> MemoryStorage {
    let mut storage = MemoryStorage::default();
    let mut add = |name: &str, label: (&str, &str), t: i64, value: Value| {
        let labels = Labels::from_pairs([(METRIC_NAME, name), label]);
        storage.append(labels, TimestampMs(t * MINUTE), value);
    };
    for t in 0..30 {
        for (index, pod) in ["a", "b", "c"].iter().enumerate() {
            add("counter", ("pod", pod), t, Value::Float(((t % 17) * (index as i64 + 1)) as f64));
        }
        if !(8..15).contains(&t) {
            let value = if t == 29 { stale_nan() } else { (t as f64).sin() };
            add("gauge", ("pod", "a"), t, Value::Float(value));
        }
        for (index, le) in ["0.5", "1", "+Inf"].iter().enumerate() {
            add("h_bucket", ("le", le), t, Value::Float((t * (index as i64 + 1)) as f64));
        }
        let native = FloatHistogram { count: t as f64, sum: t as f64, zero_count: t as f64, ..Default::default() };
        add("native", ("pod", "a"), t, Value::Histogram(Arc::new(native)));
    }
    storage
}

fn engine() -> Engine {
    Engine::new(EngineOptions { experimental: true, max_samples: 100_000, ..EngineOptions::default() })
}

#[test]
fn every_function_of_the_table_is_evaluated() {
    let (engine, storage) = (engine(), storage());
    for function in &FUNCTIONS {
        for metric in ["counter", "native", "h_bucket"] {
            let argument = |kind: &ValueType| match kind {
                ValueType::Scalar => "1".to_owned(),
                ValueType::String => "\"a\"".to_owned(),
                ValueType::Vector => metric.to_owned(),
                ValueType::Matrix => format!("{metric}[5m]"),
            };
            let mut args: Vec<String> = function.args.iter().map(argument).collect();
            if function.name == "info" {
                args[1] = "{pod=\"a\"}".to_owned();
            }
            let query = format!("{}({})", function.name, args.join(", "));
            let expr = parse(&query).unwrap_or_else(|e| panic!("{query}: {e}"));
            let at = TimestampMs(20 * MINUTE);
            let instant = engine.instant(&storage, &expr, at).map(drop);
            let range = engine.range(&storage, &expr, at, at.plus_ms(2 * MINUTE), MINUTE).map(drop);
            for error in [instant, range].into_iter().filter_map(Result::err) {
                assert!(!error.to_string().contains("not implemented"), "{query}: {error}");
            }
        }
    }
}

fn instant(query: &str, minute: i64) -> Result<QueryResult, QueryError> {
    engine().instant(&storage(), &parse(query)?, TimestampMs(minute * MINUTE))
}

#[test]
fn the_deepest_queries_evaluate_on_a_small_stack() {
    let queries = [
        format!("{}gauge{}", "(".repeat(190), ")".repeat(190)),
        format!("gauge{}", " or gauge".repeat(190)),
        format!("{}gauge{}", "abs(".repeat(190), ")".repeat(190)),
        format!("{}gauge{}", "max_over_time(".repeat(60), "[1m:30s])".repeat(60)),
        format!("{}gauge{}", "sum(".repeat(190), ")".repeat(190)),
        format!("{}gauge", "-".repeat(190)),
    ];
    // Threads of an async runtime have 2 MiB.
    let small = std::thread::Builder::new().stack_size(2 * 1024 * 1024);
    let run = move || {
        for query in &queries {
            let result =
                engine().range(&storage(), &parse(query).unwrap(), TimestampMs(0), TimestampMs(MINUTE), MINUTE);
            assert!(result.is_ok(), "{query}: {result:?}");
            let expr = parse(query).unwrap();
            assert_eq!(parse(&expr.to_string()).unwrap(), expr.clone());
        }
    };
    small.spawn(run).unwrap().join().unwrap();
}

#[test]
fn limits_end_a_query_with_an_error_that_names_them() {
    let storage = storage();
    let run = |options: EngineOptions, query: &str| {
        let engine = Engine::new(EngineOptions { experimental: true, ..options });
        engine.range(&storage, &parse(query).unwrap(), TimestampMs(0), TimestampMs(29 * MINUTE), MINUTE)
    };
    let few = EngineOptions { max_samples: 50, ..EngineOptions::default() };
    assert!(matches!(run(few.clone(), "counter"), Err(QueryError::TooManySamples { limit: 50 })));
    assert!(run(few.clone(), "sum(gauge)").is_ok());
    assert!(matches!(run(few, "gauge + gauge"), Err(QueryError::TooManySamples { .. })));
    let narrow = EngineOptions { max_series: 2, ..EngineOptions::default() };
    assert!(matches!(run(narrow, "counter"), Err(QueryError::TooManySeries { limit: 2 })));
    let few = EngineOptions { max_samples: 50, ..EngineOptions::default() };
    assert!(matches!(run(few, "counter @ 60"), Err(QueryError::TooManySamples { .. })));
    let result = run(EngineOptions::default(), "sum_over_time(gauge[100y:1ms])");
    assert!(matches!(result, Err(QueryError::TooManySamples { .. })), "{result:?}");
}

#[test]
fn impossible_questions_are_refused_or_empty_but_never_panic() {
    let storage = storage();
    let expr = parse("counter").unwrap();
    let ask =
        |start: i64, end: i64, step: i64| engine().range(&storage, &expr, TimestampMs(start), TimestampMs(end), step);
    assert!(matches!(ask(0, 10, 0), Err(QueryError::BadQuery(_))));
    assert!(matches!(ask(0, 10, -5), Err(QueryError::BadQuery(_))));
    assert!(matches!(ask(10, 0, 5), Err(QueryError::BadQuery(_))));
    assert!(matches!(ask(0, i64::MAX, 1), Err(QueryError::BadQuery(_))));
    assert!(matches!(ask(i64::MIN, i64::MAX, i64::MAX), Err(QueryError::BadQuery(_))));
    assert!(ask(0, 100 * 365 * 24 * 60 * MINUTE, 24 * 60 * 60 * MINUTE).is_ok(), "a century");
    for query in [
        "counter @ 9223372036854774.0 offset -290y",
        "rate(counter[290y] offset 290y)",
        "max_over_time(counter[1m:1s] @ -9000000000000000)",
        "counter offset (5m * 1e300)",
        "rate(counter[5m % 0])",
        "predict_linear(gauge[1h], 1e308)",
        "topk(1e300, counter)",
        "day_of_year(vector(1e300))",
    ] {
        if let Err(error) = instant(query, 5) {
            let is_refusal = matches!(error, QueryError::Parse(_) | QueryError::BadQuery(_) | QueryError::Execution(_));
            assert!(is_refusal, "{query}: {error}");
        }
    }
}

#[test]
fn a_canceled_query_says_who_ended_it() {
    let cancel = Cancel::default();
    let run = || engine().instant_with(&storage(), &parse("sum(counter)").unwrap(), TimestampMs(0), &cancel);
    assert!(run().is_ok());
    cancel.time_out();
    assert!(matches!(run(), Err(QueryError::TimedOut)));
    cancel.cancel();
    assert!(matches!(run(), Err(QueryError::Canceled)));
}

#[test]
fn experimental_features_need_the_switch() {
    let plain = Engine::default();
    for (query, refusal) in [
        ("abs(mad_over_time(gauge[5m]))", "1:5: parse error: function \"mad_over_time\" is not enabled"),
        ("limitk(1, counter)", "1:1: parse error: limitk() is experimental and not enabled"),
        ("gauge + fill(0) gauge", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
        ("1 * gauge smoothed", "1:5: parse error: smoothed modifier is experimental and not enabled"),
        ("gauge[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
        ("info(gauge)", "1:1: parse error: function \"info\" is not enabled"),
        ("gauge[5m+1m]", "1:7: parse error: experimental duration expression is not enabled"),
        ("gauge offset step()", "1:14: parse error: experimental duration expression is not enabled"),
        ("rate(gauge[5m:(1m)])", "1:16: parse error: experimental duration expression is not enabled"),
    ] {
        let error = plain.instant(&storage(), &parse(query).unwrap(), TimestampMs(0)).unwrap_err();
        assert!(matches!(error, QueryError::Parse(_)) && error.to_string().starts_with(refusal), "{query}: {error}");
    }
    for query in ["gauge[5m]", "gauge offset -5m", "gauge[+300]"] {
        assert!(plain.instant(&storage(), &parse(query).unwrap(), TimestampMs(0)).is_ok(), "{query}");
    }
}

#[test]
fn samples_count_for_each_step_that_reads_them() {
    let storage = storage();
    let count = |query: &str, steps: i64| {
        let end = TimestampMs((20 + steps - 1) * MINUTE);
        engine().range(&storage, &parse(query).unwrap(), TimestampMs(20 * MINUTE), end, MINUTE).unwrap().samples
    };
    // Three pods, three steps; the samples within the lookback beside them are not read.
    assert_eq!(count("sum(counter)", 3), 9);
    assert_eq!(count("rate(counter[5m])", 3), 45);
    assert_eq!(count("counter + counter", 1), 6);
    // Of a subquery its windows count, not what it was made of.
    assert_eq!(count("max_over_time(counter[5m:1m])", 1), 15);
    assert_eq!(count("vector(1)", 5), 0);
    // What is the same at each step counts for each.
    assert_eq!(count("sum(rate(counter[5m] @ 600))", 3), 45);
}

#[test]
fn ten_annotations_are_shown_and_the_others_counted() {
    let mut storage = MemoryStorage::default();
    for index in 0..25 {
        let name = format!("g{index}");
        for t in 0..3 {
            let labels = Labels::from_pairs([(METRIC_NAME, name.as_str()), ("of", name.as_str())]);
            storage.append(labels, TimestampMs(t * MINUTE), Value::Float(1.0));
        }
    }
    let expr = parse("rate({__name__=~\"g.*\"}[5m])").unwrap();
    let result = engine().instant(&storage, &expr, TimestampMs(2 * MINUTE)).unwrap();
    assert_eq!((result.warnings.len(), result.infos.len()), (0, 11));
    assert_eq!(result.infos[10], "15 more info annotations omitted");
    assert!(result.infos[9].starts_with("PromQL info: metric might not be a counter"));
}

#[test]
fn closed_edges_also_take_the_sample_on_the_left_one() {
    let count = |window_edges: WindowEdges, query: &str| {
        let engine = Engine::new(EngineOptions { window_edges, ..EngineOptions::default() });
        match engine.instant(&storage(), &parse(query).unwrap(), TimestampMs(5 * MINUTE)).unwrap().value {
            QueryValue::Vector(samples) => match samples.first().map(|s| s.value.clone()) {
                Some(Value::Float(v)) => v,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    for query in ["count_over_time(gauge[2m])", "count_over_time(gauge[2m:1m])"] {
        assert_eq!(count(WindowEdges::HalfOpen, query), 2.0, "{query}");
        assert_eq!(count(WindowEdges::Closed, query), 3.0, "{query}");
    }
}

#[test]
fn what_is_not_supported_is_named() {
    for (query, name) in [
        ("start_timestamp(gauge)", "start_timestamp"),
        ("gauge[5m] smoothed", "smoothed"),
        ("gauge anchored", "anchored"),
        ("absent_over_time(gauge[5m] smoothed)", "absent_over_time"),
    ] {
        let error = instant(query, 1).unwrap_err().to_string();
        assert!(error.contains(name), "{query}: {error}");
    }
}

/// A variance is worked out from the window before, so its last digits may be others over a range; here these decide.
const DECIDED_BY_DIGITS: [&str; 9] = ["resets", "changes", "round", "%", "==", "<", ">", "topk", "atan2"];

/// Queries over the test data: selectors, functions, operators, subqueries, nested at random.
fn queries() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("counter".to_owned()),
        Just("counter{pod=~\"a|b\"}".to_owned()),
        Just("gauge offset 2m".to_owned()),
        Just("gauge @ end()".to_owned()),
        Just("native".to_owned()),
        Just("h_bucket".to_owned()),
        Just("vector(time())".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let functions = prop::sample::select(vec![
            "abs",
            "sum",
            "sum by (pod)",
            "count without (pod)",
            "-",
            "sort_desc",
            "timestamp",
            "avg by (le)",
            "stddev",
            "group",
            "absent",
            "round",
        ]);
        let windows = prop::sample::select(vec![
            "rate",
            "increase",
            "delta",
            "irate",
            "sum_over_time",
            "avg_over_time",
            "max_over_time",
            "changes",
            "deriv",
            "last_over_time",
            "stdvar_over_time",
            "resets",
        ]);
        let operators = prop::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            ">",
            "== bool",
            "<",
            "and on (pod)",
            "or",
            "unless",
            "> on (pod) group_left ()",
            "+ ignoring (le) fill(0)",
            "atan2",
            "</",
        ]);
        prop_oneof![
            (functions, inner.clone()).prop_map(|(f, e)| format!("{f}({e})")),
            (windows, inner.clone(), 1..9u8).prop_map(|(f, e, range)| format!("{f}(({e})[{range}m:1m])")),
            (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (inner.clone(), 0..4u8).prop_map(|(e, k)| format!("topk({k}, {e})")),
            inner.clone().prop_map(|e| format!("histogram_quantile(0.9, {e})")),
            inner.prop_map(|e| format!("clamp_max({e}, scalar(gauge))")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A range query is the instant queries of its steps, one after the other.
    #[test]
    fn a_range_is_its_instants(query in queries(), first in 0..25i64, steps in 1..4i64) {
        let storage = storage();
        let expr = parse(&query).unwrap();
        // A pinned end moves with the query, so the instants would be other questions.
        prop_assume!(!query.contains("end()") && !query.contains("sort"));
        prop_assume!(!(query.contains("stdvar_over_time") && DECIDED_BY_DIGITS.iter().any(|word| query.contains(word))));
        let (start, end) = (TimestampMs(first * MINUTE), TimestampMs((first + steps) * MINUTE));
        let range = engine().range(&storage, &expr, start, end, MINUTE);
        for step in 0..=steps {
            let at = TimestampMs((first + step) * MINUTE);
            let instant = engine().instant(&storage, &expr, at);
            let (Ok(range), Ok(instant)) = (&range, &instant) else {
                prop_assert!(range.is_err() || instant.is_ok(), "{query} at {at}: {instant:?}");
                continue;
            };
            let (QueryValue::Matrix(matrix), QueryValue::Vector(vector)) = (&range.value, &instant.value) else {
                return Err(TestCaseError::fail("unexpected types"));
            };
            for sample in vector {
                let series = matrix.iter().find(|s| s.labels == sample.labels);
                let series = series.ok_or_else(|| TestCaseError::fail(format!("{query}: {} is missing", sample.labels)))?;
                let found = match &sample.value {
                    // Where variances cancel out, nothing but their last digits is left.
                    Value::Float(v) => series.floats.iter().any(|s| {
                        let close = (s.v - v).abs() <= v.abs().max(1.0) * 1e-12;
                        s.t == at && (s.v == *v || close || (s.v.is_nan() && v.is_nan()))
                    }),
                    // As text, in which one NaN is another.
                    Value::Histogram(h) => {
                        series.histograms.iter().any(|(t, other)| *t == at && format!("{h:?}") == format!("{other:?}"))
                    }
                };
                prop_assert!(found, "{query} at {at}: {sample:?} is not in {series:?}");
            }
            let at_step = matrix.iter().filter(|s| s.floats.iter().any(|f| f.t == at) || s.histograms.iter().any(|(t, _)| *t == at));
            prop_assert_eq!(at_step.count(), vector.len(), "{} at {}", query, at);
        }
    }

    /// Whatever parses prints as something that parses to the same tree.
    #[test]
    fn generated_queries_print_and_parse_back(query in queries()) {
        let expr = parse(&query).unwrap();
        prop_assert_eq!(parse(&expr.to_string()).unwrap(), expr);
    }

    /// No text makes the parser panic, and what it accepts can be evaluated.
    #[test]
    fn soup_of_tokens_never_panics(words in prop::collection::vec(prop::sample::select(vec![
        "counter", "gauge", "sum", "by", "(", ")", "[", "]", "{", "}", ",", ":", "5m", "1", "0x", "\"a\"", "'", "`b`",
        "=", "=~", "!=", "+", "-", "^", "@", "offset", "start()", "rate", "fill", "bool", "on", "group_left", ">/", "</",
        "and", "anchored", "smoothed", "step()", "#", "\n", "ü", "nan", "1e5", "label_replace", "histogram_quantile", "_", "\\",
    ]), 0..14), glue in prop::bool::ANY) {
        let query = words.join(if glue { "" } else { " " });
        match parse(&query) {
            Ok(expr) => {
                let _ = engine().instant(&storage(), &expr, TimestampMs(MINUTE));
                let _ = engine().range(&storage(), &expr, TimestampMs(0), TimestampMs(MINUTE), 30_000);
            }
            Err(error) => prop_assert!(error.render().contains("parse error")),
        }
    }
}
