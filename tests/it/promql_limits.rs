//! Scenario: queries made to take all memory or time: a megabyte of text, ten thousand parentheses, expressions that
//! explode, a century, a million series.
//! Guarantee: an error that names the limit, memory that stays far below what the data would take, and an end soon
//! after somebody asks for it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rivetwatch::model::{Labels, MatchOp, Matcher, Metadata, Sample, TimeRange, TimestampMs};
use rivetwatch::promql::{Cancel, Engine, EngineOptions, QueryError, QueryResult, QueryValue, parse};
use rivetwatch::storage::{Append, Batch, Point, Select, SelectError, SeriesData, SeriesSet};
use rivetwatch::tsdb::{Settings, Tsdb};

const MIB: u64 = 1 << 20;

/// A store without memory: so many series, each with so many samples, made up as they are read.
pub(crate) struct Endless {
    series: u64,
    samples: i64,
    /// Set once the last series was read.
    cancel_at_end: Option<Cancel>,
    read: AtomicU64,
}

impl Endless {
    pub(crate) fn new(series: u64, samples: i64) -> Self {
        Self { series, samples, cancel_at_end: None, read: AtomicU64::new(0) }
    }
}

struct EndlessSet<'a> {
    store: &'a Endless,
    name: String,
    at: u64,
}

impl SeriesSet for EndlessSet<'_> {
    fn next_into(&mut self, into: &mut SeriesData) -> Result<Option<Labels>, SelectError> {
        into.clear();
        if self.at == self.store.series {
            if let Some(cancel) = &self.store.cancel_at_end {
                cancel.cancel();
            }
            return Ok(None);
        }
        self.at += 1;
        self.store.read.fetch_add(1, Ordering::Relaxed);
        // A sawtooth, so that every window function has something to do.
        let value = |i: i64| ((i * 7 + self.at as i64 * 13) % 101) as f64;
        let samples = (0..self.store.samples).map(|i| Sample { t: TimestampMs(i * 1_000), v: value(i) });
        into.floats.extend(samples);
        let (n, group) = (self.at.to_string(), (self.at % 10).to_string());
        Ok(Some(Labels::from_pairs([("__name__", self.name.as_str()), ("n", &n), ("group", &group)])))
    }
}

impl Select for Endless {
    fn select<'a>(&'a self, matchers: &[Matcher], _: TimeRange) -> Result<Box<dyn SeriesSet + 'a>, SelectError> {
        let name = matchers.iter().find(|m| m.name == "__name__").map_or("x", |m| &m.value).to_owned();
        Ok(Box::new(EndlessSet { store: self, name, at: 0 }))
    }

    fn series(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<Labels>, SelectError> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: &[Matcher], _: TimeRange) -> Result<Vec<String>, SelectError> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Vec<(String, Metadata)> {
        Vec::new()
    }
}

fn engine(options: EngineOptions) -> Engine {
    Engine::new(EngineOptions { experimental: true, ..options })
}

/// A range query over all samples of a store; the answer with the most memory that it took.
fn range(store: &Endless, options: EngineOptions, query: &str, steps: i64) -> (Result<QueryResult, QueryError>, u64) {
    let mut result = None;
    let info = allocation_counter::measure(|| {
        let expr = parse(query).unwrap();
        let step = (store.samples * 1_000 / steps).max(1);
        let end = TimestampMs(step * (steps - 1));
        result = Some(engine(options).range(store, &expr, TimestampMs(0), end, step));
    });
    (result.unwrap(), info.bytes_max)
}

#[test]
fn long_and_deep_texts_are_refused_before_they_take_memory() {
    let long =
        ["x".repeat(1 << 20), format!("x{{a=\"{}\"}}", "b".repeat(1 << 20)), format!("1{}", " + 1".repeat(1 << 18))];
    let deep = [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        "(".repeat(10_000),
        "-".repeat(10_000) + "1",
        format!("{}x{}", "abs(".repeat(10_000), ")".repeat(10_000)),
        format!("1{}", "^1".repeat(10_000)),
        format!("x{}", "[1m:1s]".repeat(10_000)),
        format!("x offset {}1m{}", "(".repeat(10_000), ")".repeat(10_000)),
    ];
    for (query, limit) in long.iter().map(|q| (q, "limit is 262144")).chain(deep.iter().map(|q| (q, "200 levels"))) {
        let mut error = None;
        let info = allocation_counter::measure(|| error = parse(query).err());
        let shown = error.unwrap().to_string();
        assert!(shown.contains(limit) && shown.len() < 300, "{}…: {shown}", &query[..20]);
        assert!(info.bytes_max < 8 * MIB, "{}… took {} bytes", &query[..20], info.bytes_max);
    }
}

#[test]
fn the_longest_query_that_is_read_takes_some_megabytes() {
    for piece in ["1,", "a,", "\"\","] {
        let query =
            format!("label_join(x, \"a\", \"b\"{})", format!(", {}", piece.trim_end_matches(',')).repeat(60_000));
        let info = allocation_counter::measure(|| drop(parse(&query)));
        assert!(info.bytes_max < 128 * MIB, "{piece} took {} bytes", info.bytes_max);
    }
}

#[test]
fn expressions_made_to_explode_are_refused_alone_and_together() {
    let (count, size) = ("invalid repeat count", "size limit");
    for (pattern, part) in [
        ("(a{1000}){1000}", count),
        ("((.{1,100}){1,100}){1,100}", count),
        ("(x+x+)+y{99999}", count),
        (r"(\\pL{30}){30}", size),
        (r"((.|\\pN){1,300}(x|\\pL{1,3})){3}", size),
    ] {
        let mut error = None;
        let info = allocation_counter::measure(|| error = parse(&format!("x{{a=~\"{pattern}\"}}")).err());
        let shown = error.unwrap().to_string();
        assert!(shown.contains(part), "{pattern}: {shown}");
        assert!(info.bytes_max < 16 * MIB, "{pattern} took {} bytes", info.bytes_max);
    }
    // Each of them is small enough.
    let query = format!("x{{{}}}", r#"a=~"[a-z]{9}(b|c.*)","#.repeat(10_000));
    let mut error = None;
    let info = allocation_counter::measure(|| error = parse(&query).err());
    let shown = error.unwrap().to_string();
    assert!(shown.contains("need more than 32 MiB"), "{shown}");
    assert!(info.bytes_max < 48 * MIB, "took {} bytes", info.bytes_max);
    let listed = format!("x{{{}}}", r#"a=~"b|c|d","#.repeat(10_000));
    assert!(parse(&listed).is_ok(), "lists of texts need no expression");
}

#[test]
fn a_million_series_are_refused_and_a_hundred_thousand_summed_in_little_memory() {
    let million = Endless::new(1_000_000, 3);
    let (result, bytes) = range(&million, EngineOptions::default(), "x", 2);
    let error = result.unwrap_err();
    assert!(matches!(error, QueryError::TooManySeries { limit: 500_000 }), "{error}");
    assert!(error.to_string().contains("more series than the limit of 500000"), "{error}");
    assert!(bytes < 200 * MIB, "took {bytes} bytes");
    assert_eq!(million.read.load(Ordering::Relaxed), 500_001, "reading ends with the first series too many");
    let narrow = || EngineOptions { max_series: 20_000, ..EngineOptions::default() };
    for query in ["rate(x[1m])", "sum(x)", "topk(3, x)", "x * on (n) x", "absent(x)", "count_values(\"v\", x)"] {
        let (result, bytes) = range(&million, narrow(), query, 2);
        let error = result.unwrap_err();
        assert!(matches!(error, QueryError::TooManySeries { limit: 20_000 }), "{query}: {error}");
        assert!(bytes < 8 * MIB, "{query} took {bytes} bytes");
    }
    let fewer = Endless::new(100_000, 3);
    for query in ["sum by (group) (x)", "avg(rate(x[1m]))", "max(-x * 2)", "absent(x)", "stddev(abs(x))"] {
        let (result, bytes) = range(&fewer, EngineOptions::default(), query, 2);
        assert!(result.is_ok(), "{query}: {result:?}");
        assert!(bytes < MIB, "{query} took {bytes} bytes");
    }
}

#[test]
fn samples_and_memory_have_limits_with_errors_that_name_them() {
    let few = |max_samples: usize| EngineOptions { max_samples, ..EngineOptions::default() };
    let store = Endless::new(2_000, 60);
    let refused = |query: &str, options: EngineOptions| {
        let (result, bytes) = range(&store, options, query, 50);
        let error = result.unwrap_err();
        assert_eq!(error.class(), "too_much", "{query}: {error}");
        (error.to_string(), bytes)
    };
    for query in ["x", "x + x", "sort(x)", "x @ 10", "label_replace(x, \"a\", \"$1\", \"n\", \"(.*)\")", "x or y"] {
        let (error, bytes) = refused(query, few(10_000));
        assert!(error.contains("the limit is 10000"), "{query}: {error}");
        // Less than all the samples of the data would take.
        assert!(bytes < 2 * MIB, "{query} took {bytes} bytes");
    }
    // Nested, each level doubles the value: 2^24 bytes after so many.
    let doubled =
        (0..24).fold("x".to_owned(), |inner, _| format!("label_replace({inner}, \"n\", \"$1$1\", \"n\", \"(.*)\")"));
    let (result, bytes) = range(&Endless::new(20, 1), few(1_000_000), &doubled, 1);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("256 KiB"), "{error}");
    assert!(bytes < 24 * MIB, "took {bytes} bytes");
    // Few samples with long labels: the memory counts, not the samples.
    let long = format!("label_replace(x, \"a\", \"{}\", \"n\", \".*\")", "b".repeat(100_000));
    let (result, bytes) = range(&store, few(1_000_000), &long, 1);
    let error = result.unwrap_err();
    assert!(matches!(error, QueryError::TooMuchMemory { .. }), "{error}");
    assert!(error.to_string().contains("86 MiB") && bytes < 110 * MIB, "{error}, took {bytes} bytes");
    // Many steps of a subquery hold nothing but the window that is looked at.
    let one = Endless::new(1, 60);
    let (result, bytes) = range(&one, few(1_000_000), "max_over_time(sum(x)[100d:1m])", 2);
    assert!(result.is_ok(), "{result:?}");
    assert!(bytes < 24 * MIB, "took {bytes} bytes");
    for query in ["sum_over_time(x[100y:1ms])", "max_over_time(sum(x)[290y:1s])", "count_over_time((x > 1)[290y:10s])"]
    {
        let (error, bytes) = refused(query, few(1_000_000));
        assert!(error.contains("too many samples") && bytes < MIB, "{query}: {error}, took {bytes} bytes");
    }
}

#[test]
fn centuries_and_steps_that_go_back_are_answered_or_refused_at_once() {
    const CENTURY: i64 = 100 * 365 * 86_400_000;
    let store = Endless::new(3, 60);
    let expr = parse("rate(x[5m]) > 0 or x").unwrap();
    let ask = |start: i64, end: i64, step: i64| {
        engine(EngineOptions::default()).range(&store, &expr, TimestampMs(start), TimestampMs(end), step)
    };
    let message = |result: Result<QueryResult, QueryError>| {
        let error = result.unwrap_err();
        assert_eq!(error.class(), "bad_data", "{error}");
        error.to_string()
    };
    assert!(ask(0, CENTURY, 86_400_000 * 10).is_ok());
    assert!(message(ask(0, CENTURY, 1_000)).contains("11,000 points"));
    for step in [0, -1, i64::MIN] {
        assert!(message(ask(0, 1_000, step)).contains("zero or negative"), "{step}");
    }
    assert!(message(ask(1_000, 0, 1)).contains("before start"));
    assert!(message(ask(i64::MIN, i64::MAX, i64::MAX)).contains("out of range"));
}

/// What to do once the data is read: much more work than reading it was.
const LONG: [&str; 14] = [
    "sort(x) + x",
    "x * on (group) group_left () sum by (group) (x)",
    "x and on (n) x",
    "(x or y) unless on (n) z",
    "topk(40, x)",
    "topk(3, x)",
    "quantile(0.9, x)",
    "count_values(\"v\", x)",
    "histogram_quantile(0.9, label_replace(x, \"le\", \"$1\", \"group\", \"(.*)\"))",
    "label_join(x, \"a\", \"-\", \"n\", \"group\")",
    "limit_ratio(0.5, x)",
    "limitk(5, x)",
    "sort_by_label(x, \"n\") * 2",
    "info(x)",
];

#[test]
fn a_query_that_was_ended_while_reading_does_no_more_work() {
    for query in LONG {
        let cancel = Cancel::default();
        let store = Endless { cancel_at_end: Some(cancel.clone()), ..Endless::new(500, 100) };
        let expr = parse(query).unwrap();
        let result = engine(EngineOptions::default()).range_with(
            &store,
            &expr,
            TimestampMs(0),
            TimestampMs(99_000),
            500,
            &cancel,
        );
        assert!(matches!(result, Err(QueryError::Canceled)), "{query}: {result:?}");
        assert!(store.read.load(Ordering::Relaxed) <= 500, "{query} went on to read");
    }
}

#[test]
fn a_query_that_is_ended_while_working_ends_soon() {
    // Each would take many seconds in a debug build: huge series, windows over all of them, huge subqueries, cross joins.
    let one = Endless::new(1, 3_000_000);
    let many = Endless::new(3_000, 300);
    let cases: [(&Endless, &str, i64); 9] = [
        (&one, "double_exponential_smoothing(x[40d], 0.3, 0.3)", 10_000),
        (&one, "mad_over_time(x[40d])", 10_000),
        (&one, "quantile_over_time(0.5, x[40d])", 10_000),
        (&one, "sum_over_time(sum_over_time(x[1d:1s])[30d:1s])", 10_000),
        (&one, "predict_linear(x[40d], 1e18)", 10_000),
        (&many, "x + on (n) x * on (n) x / on (n) x - on (n) x ^ on (n) x", 3_000),
        (&many, "x * on (group) group_left () max by (group) (x) + on (group, n) x", 3_000),
        (&many, "quantile(0.5, quantile_over_time(0.5, x[5m]))", 10_000),
        (&many, "topk(2000, x)", 10_000),
    ];
    for (store, query, steps) in cases {
        let cancel = Cancel::default();
        let expr = parse(query).unwrap();
        let step = (store.samples * 1_000 / steps).max(1);
        let options = EngineOptions { max_samples: 200_000_000, ..EngineOptions::default() };
        let (result, waited) = std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                engine(options).range_with(store, &expr, TimestampMs(0), TimestampMs(step * (steps - 1)), step, &cancel)
            });
            std::thread::sleep(Duration::from_millis(300));
            cancel.time_out();
            let asked = Instant::now();
            (running.join().unwrap(), asked.elapsed())
        });
        assert!(matches!(result, Err(QueryError::TimedOut)), "{query}: ended by itself: {:?}", result.map(shape));
        // Generous, for a debug build on a busy machine: without the checks it is minutes.
        assert!(waited < Duration::from_secs(5), "{query} went on for {waited:?}");
    }
}

fn shape(result: QueryResult) -> usize {
    match result.value {
        QueryValue::Matrix(matrix) => matrix.iter().map(|series| series.floats.len()).sum(),
        _ => 0,
    }
}

#[test]
fn a_selection_by_a_slow_expression_ends_with_its_query() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let now = TimestampMs(1_795_453_468_000);
    let point = |n: usize| {
        let value = format!("{}{n}", "aab".repeat(200));
        Point {
            labels: Labels::from_pairs([("__name__", "x"), ("a", &value)]),
            t: now,
            value: rivetwatch::model::Value::Float(1.0),
        }
    };
    tsdb.commit(Batch { points: (0..20_000).map(point).collect(), ..Batch::default() }).wait().unwrap();
    // Of the largest kind that is let through; no shortcut of the library applies to it.
    let slow = r#"count({a=~"(.*a.{120}b.*|.*b.{110}a.{7}b.*)[0-9]?"})"#;
    assert!(parse(slow).is_ok());
    assert!(Matcher::new("a", MatchOp::Matches, "(.*a.{120}b.*|.*b.{110}a.{7}b.*)[0-9]?").unwrap().is_slow());
    let (cancel, expr) = (Cancel::default(), parse(slow).unwrap());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| engine(EngineOptions::default()).instant_with(&tsdb, &expr, now, &cancel));
        std::thread::sleep(Duration::from_millis(200));
        // Meanwhile the store takes what comes.
        let asked = Instant::now();
        tsdb.commit(Batch { points: vec![point(20_001)], ..Batch::default() }).wait().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(2), "a commit waited {:?} for a query", asked.elapsed());
        cancel.cancel();
        let asked = Instant::now();
        let result = running.join().unwrap();
        assert!(matches!(result, Err(QueryError::Canceled)), "{result:?}");
        assert!(asked.elapsed() < Duration::from_secs(3), "went on for {:?}", asked.elapsed());
    });
}
