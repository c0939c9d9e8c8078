//! The store through its two doors: what is stored, refused, counted and given back.

// Helpers of tests fail by panicking, as the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rivetwatch::model::{
    FloatHistogram, Labels, MatchOp, Matcher, Metadata, MetricKind, Stats, TimeRange, TimestampMs, Value, stale_nan,
};
use rivetwatch::storage::{Append, AppendError, Batch, Point, Receipt, Select, SeriesData};
use rivetwatch::tsdb::{Settings, Tsdb};

/// 2026-11-23T17:04:28Z, so that times look like times.
const START: i64 = 1_795_453_468_000;

pub(crate) fn at(seconds: i64) -> TimestampMs {
    TimestampMs(START + seconds * 1_000)
}

pub(crate) fn labels(name: &str, pairs: &[(&str, &str)]) -> Labels {
    let name = [("__name__", name)];
    Labels::from_pairs(name.iter().chain(pairs).map(|(n, v)| (n.to_string(), v.to_string())))
}

pub(crate) fn point(labels: &Labels, seconds: i64, v: f64) -> Point {
    Point { labels: labels.clone(), t: at(seconds), value: Value::Float(v) }
}

pub(crate) fn commit(tsdb: &Tsdb, points: Vec<Point>) -> Receipt {
    tsdb.commit(Batch { points, ..Batch::default() }).wait().unwrap()
}

/// Everything that passes, with bits instead of floats so that a NaN equals itself.
pub(crate) fn dump(tsdb: &Tsdb, matchers: &[Matcher], range: TimeRange) -> BTreeMap<Labels, Vec<(i64, u64)>> {
    let mut set = tsdb.select(matchers, range).unwrap();
    let (mut data, mut out) = (SeriesData::default(), BTreeMap::new());
    while let Some(labels) = set.next_into(&mut data).unwrap() {
        let samples = data.floats.iter().map(|s| (s.t.0, s.v.to_bits())).collect();
        assert!(out.insert(labels, samples).is_none(), "a series came twice");
    }
    out
}

pub(crate) fn stat(tsdb: &Tsdb, name: &str, label: Option<(&str, &str)>) -> f64 {
    let matches = |row: &&rivetwatch::model::StatRow| {
        row.name == name && label.is_none_or(|(n, v)| row.labels.iter().any(|(rn, rv)| *rn == n && rv == v))
    };
    tsdb.rows().iter().find(matches).map_or(0.0, |row| row.value)
}

#[test]
fn each_point_of_a_batch_gets_one_verdict_and_the_totals_add_up() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let up = labels("up", &[("job", "rivet")]);
    assert_eq!(commit(&tsdb, vec![point(&up, 0, 1.0), point(&up, 15, 0.0)]).stored, 2);

    let nameless = Labels::from_pairs([("job", "rivet")]);
    let batch = Batch {
        points: vec![
            point(&up, 15, 0.0),
            point(&up, 15, -0.0),
            point(&up, 0, 1.0),
            point(&up, 7, 1.0),
            point(&up, -3 * 3600, 1.0),
            point(&nameless, 15, 1.0),
            point(&up, 30, stale_nan()),
        ],
        refused: vec![("bad_name", 3)],
        ..Batch::default()
    };
    let receipt = tsdb.commit(batch).wait().unwrap();
    assert_eq!((receipt.stored, receipt.duplicate), (1, 2), "the last and an older repeat are duplicates");
    let mut refused = receipt.refused.clone();
    refused.sort_unstable();
    assert_eq!(refused, [("conflicting_value", 1), ("invalid_labels", 1), ("out_of_order", 1), ("too_old", 1)]);
    assert_eq!(receipt.examples.len(), 4, "{:?}", receipt.examples);

    assert_eq!(stat(&tsdb, "rivetwatch_points_received_total", None), 12.0);
    assert_eq!(stat(&tsdb, "rivetwatch_points_stored_total", None), 3.0);
    assert_eq!(stat(&tsdb, "rivetwatch_points_duplicate_total", None), 2.0);
    assert_eq!(stat(&tsdb, "rivetwatch_points_refused_total", Some(("reason", "bad_name"))), 3.0);
    let want = vec![(at(0).0, 1f64.to_bits()), (at(15).0, 0), (at(30).0, stale_nan().to_bits())];
    assert_eq!(dump(&tsdb, &[], TimeRange::ALL), BTreeMap::from([(up, want)]));
}

#[test]
fn limits_refuse_only_points_of_new_series() {
    let settings = Settings { series_max: 3, series_per_job_max: 2, ..Settings::default() };
    let tsdb = Tsdb::in_memory(settings);
    let of = |job: &str, n: usize| labels("m", &[("job", job), ("n", &n.to_string())]);
    let first = commit(&tsdb, (0..4).map(|n| point(&of("a", n), 0, 1.0)).collect());
    assert_eq!((first.stored, first.refused), (2, vec![("series_per_job_limit", 2)]));
    let second =
        commit(&tsdb, vec![point(&of("b", 0), 0, 1.0), point(&of("b", 1), 0, 1.0), point(&of("a", 0), 1, 2.0)]);
    assert_eq!((second.stored, second.refused), (2, vec![("series_limit", 1)]));
    assert_eq!(second.examples, ["series_limit: `m{job=\"b\", n=\"1\"}` is new and `limits.series` (3) is reached"]);

    // Once the old series age out there is room again.
    tsdb.maintain(at(3 * 3600));
    assert_eq!(stat(&tsdb, "rivetwatch_head_series", None), 0.0);
    let third = commit(&tsdb, (5..9).map(|n| point(&of("a", n), 3 * 3600, 1.0)).collect());
    assert_eq!((third.stored, third.refused), (2, vec![("series_per_job_limit", 2)]));
}

#[test]
fn a_full_memory_refuses_the_whole_batch_and_can_be_retried() {
    let tsdb = Tsdb::in_memory(Settings { memory_bytes_max: 100_000, ..Settings::default() });
    let mut stored = 0;
    let refused_at = (0..).find(|n| {
        let series = labels("m", &[("n", &n.to_string())]);
        match tsdb.commit(Batch { points: vec![point(&series, 0, 1.0)], ..Batch::default() }).wait() {
            Ok(receipt) => {
                stored += receipt.stored;
                false
            }
            Err(AppendError::Overloaded { what, retry_after_ms }) => {
                assert!(what.contains("limits.memory") && retry_after_ms > 0);
                true
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert_eq!(refused_at, Some(stored));
    assert_eq!(stat(&tsdb, "rivetwatch_head_series", None), stored as f64);
    assert_eq!(stat(&tsdb, "rivetwatch_store_overloaded_batches_total", Some(("limit", "memory"))), 1.0);
    tsdb.maintain(at(3 * 3600));
    assert_eq!(commit(&tsdb, vec![point(&labels("m", &[]), 3 * 3600, 1.0)]).stored, 1);
}

/// Scenario: two stores take the same samples; one is read all the while, so that its series are copied before each.
/// Guarantee: the account of memory does not drift, neither while samples come nor once all are dropped.
#[test]
fn the_account_of_memory_does_not_drift() {
    let (read, unread) = (Tsdb::in_memory(Settings::default()), Tsdb::in_memory(Settings::default()));
    let series: Vec<_> = (0..20).map(|n| labels("m", &[("n", &n.to_string())])).collect();
    let histogram = Arc::new(FloatHistogram { positive_buckets: vec![1.0; 20], ..Default::default() });
    for round in 0..1_500 {
        let points = || {
            let mut points: Vec<_> = series.iter().map(|s| point(s, round * 15, 0.1 * round as f64)).collect();
            let value = Value::Histogram(histogram.clone());
            points.push(Point { labels: labels("latency", &[]), t: at(round * 15), value });
            points
        };
        let _held = read.select(&[], TimeRange::ALL).unwrap();
        commit(&read, points());
        commit(&unread, points());
        if round % 40 == 0 {
            read.maintain(at(round * 15));
            unread.maintain(at(round * 15));
        }
    }
    let (with, without) = (read.memory_bytes() as f64, unread.memory_bytes() as f64);
    assert!((with / without - 1.0).abs() < 0.1, "{with} with readers, {without} without");
    for tsdb in [&read, &unread] {
        tsdb.maintain(at(1_500 * 15 + 3 * 3600));
        assert_eq!(stat(tsdb, "rivetwatch_head_chunks", None), 0.0);
        // What is left are tables that may be filled again.
        assert!(tsdb.memory_bytes() < 5_000, "{}", tsdb.memory_bytes());
    }
    assert_eq!(read.memory_bytes(), unread.memory_bytes());
}

#[test]
fn a_bound_on_the_future_counts_from_the_time_told() {
    let tsdb = Tsdb::in_memory(Settings { future_ms_max: Some(600_000), ..Settings::default() });
    let up = labels("up", &[]);
    tsdb.maintain(at(0));
    let receipt = commit(&tsdb, vec![point(&up, 600, 1.0), point(&up, 601, 1.0)]);
    assert_eq!((receipt.stored, receipt.refused), (1, vec![("too_new", 1)]));
}

#[test]
fn a_sample_from_the_future_does_not_make_the_present_too_old() {
    let tsdb = Tsdb::in_memory(Settings::default());
    tsdb.maintain(at(0));
    commit(&tsdb, vec![point(&labels("ahead", &[]), 86_400, 1.0)]);
    assert_eq!(commit(&tsdb, vec![point(&labels("up", &[]), 0, 1.0)]).stored, 1);
}

#[test]
fn a_closed_store_can_be_read_and_takes_nothing() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let up = labels("up", &[]);
    commit(&tsdb, vec![point(&up, 0, 1.0)]);
    tsdb.flush_and_close();
    let refused = tsdb.commit(Batch { points: vec![point(&up, 1, 1.0)], ..Batch::default() }).wait();
    assert!(matches!(refused, Err(AppendError::Closed)));
    assert_eq!(dump(&tsdb, &[], TimeRange::ALL).len(), 1);
}

#[test]
fn floats_histograms_and_metadata_live_side_by_side() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let series = labels("latency", &[]);
    let histogram =
        |count: f64| Arc::new(FloatHistogram { count, positive_buckets: vec![count], ..Default::default() });
    let as_point =
        |seconds, count| Point { labels: series.clone(), t: at(seconds), value: Value::Histogram(histogram(count)) };
    let metadata = Metadata { kind: MetricKind::Histogram, help: "Time taken.".into(), unit: "seconds".into() };
    let batch = Batch {
        points: vec![as_point(0, 1.0), point(&series, 1, 5.0), as_point(2, 2.0), as_point(2, 2.0), as_point(2, 3.0)],
        metadata: vec![("latency".into(), metadata.clone())],
        ..Batch::default()
    };
    let receipt = tsdb.commit(batch).wait().unwrap();
    assert_eq!((receipt.stored, receipt.duplicate, receipt.refused), (3, 1, vec![("conflicting_value", 1)]));

    let mut data = SeriesData::default();
    tsdb.select(&[], TimeRange { from: at(1), to: at(2) }).unwrap().next_into(&mut data).unwrap();
    assert_eq!(data.floats.len(), 1);
    assert_eq!(data.histograms, [(at(2), histogram(2.0))]);
    assert_eq!(tsdb.metadata(Some("latency")), [("latency".to_owned(), metadata)]);
    assert_eq!(tsdb.metadata(Some("other")), []);
}

#[test]
fn series_without_a_sample_in_the_range_are_passed_over() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let (gappy, steady) = (labels("gappy", &[]), labels("steady", &[("job", "a")]));
    commit(
        &tsdb,
        vec![point(&gappy, 0, 1.0), point(&gappy, 100, 1.0), point(&steady, 0, 1.0), point(&steady, 50, 2.0)],
    );
    let middle = TimeRange { from: at(40), to: at(60) };
    assert_eq!(tsdb.series(&[], middle).unwrap(), std::slice::from_ref(&steady));
    assert_eq!(dump(&tsdb, &[], middle), BTreeMap::from([(steady, vec![(at(50).0, 2f64.to_bits())])]));
    assert_eq!(tsdb.label_names(&[], TimeRange::ALL).unwrap(), ["__name__", "job"]);
    assert_eq!(tsdb.label_values("__name__", &[], TimeRange::ALL).unwrap(), ["gappy", "steady"]);
    let not_a = [Matcher::new("job", MatchOp::NotEqual, "a").unwrap()];
    assert_eq!(tsdb.label_values("__name__", &not_a, TimeRange::ALL).unwrap(), ["gappy"]);
}

/// Scenario: one thread commits batches that set every series to the batch's number; readers select all the while.
/// Guarantee: a reader sees every series at the same number, and numbers never go back.
#[test]
fn a_reader_never_sees_half_a_commit() {
    never_sees_half_a_commit(&Tsdb::in_memory(Settings::default()));
}

pub(crate) fn never_sees_half_a_commit(tsdb: &Tsdb) {
    let series: Vec<_> = (0..50).map(|n| labels("m", &[("n", &n.to_string())])).collect();
    let done = AtomicBool::new(false);
    let matchers = [Matcher::equal("__name__", "m")];
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut last, mut rounds) = (0, 0);
                    while !done.load(Ordering::Relaxed) || rounds == 0 {
                        let seen = dump(tsdb, &matchers, TimeRange::ALL);
                        let lengths: Vec<_> = seen.values().map(Vec::len).collect();
                        assert!(lengths.iter().all(|n| *n == lengths[0]), "half a commit: {lengths:?}");
                        assert!(seen.is_empty() || seen.len() == series.len());
                        let length = lengths.first().copied().unwrap_or_default();
                        assert!(length >= last);
                        (last, rounds) = (length, rounds + 1);
                    }
                })
            })
            .collect();
        for n in 0..600 {
            assert_eq!(commit(tsdb, series.iter().map(|s| point(s, n, n as f64)).collect()).stored, 50);
        }
        done.store(true, Ordering::Relaxed);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

/// A sample of the model: series, step of time since the last, value.
fn steps() -> impl Strategy<Value = Vec<(usize, i64, u32)>> {
    prop::collection::vec((0usize..6, 0i64..200, 0u32..3), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// The store against a plain map, through chunk boundaries and any range.
    #[test]
    fn ranges_equal_those_of_a_plain_map(steps in steps(), from in 0i64..20_000, length in 0i64..20_000) {
        let tsdb = Tsdb::in_memory(Settings { retention_ms: 40_000_000, ..Settings::default() });
        let mut model: BTreeMap<Labels, Vec<(i64, u64)>> = BTreeMap::new();
        let mut now = 0;
        for (series, step, value) in steps {
            now += step;
            let series = labels(["a", "b"][series % 2], &[("n", &series.to_string())]);
            let known = model.entry(series.clone()).or_default();
            let wanted = (at(now).0, f64::from(value).to_bits());
            let receipt = commit(&tsdb, vec![point(&series, now, f64::from(value))]);
            match known.last() {
                Some(last) if *last == wanted => prop_assert_eq!(receipt.duplicate, 1),
                Some((t, _)) if *t == wanted.0 => prop_assert_eq!(receipt.refused, vec![("conflicting_value", 1)]),
                _ => { prop_assert_eq!(receipt.stored, 1); known.push(wanted); }
            }
        }
        let range = TimeRange { from: at(from), to: at(from + length) };
        for matchers in [vec![], vec![Matcher::equal("__name__", "a")]] {
            let want: BTreeMap<_, Vec<_>> = model
                .iter()
                .filter(|(labels, _)| matchers.iter().all(|m| m.matches(labels)))
                .map(|(labels, samples)| {
                    let inside = samples.iter().filter(|(t, _)| range.contains(TimestampMs(*t))).copied().collect();
                    (labels.clone(), inside)
                })
                .filter(|(_, samples): &(_, Vec<_>)| !samples.is_empty())
                .collect();
            prop_assert_eq!(tsdb.series(&matchers, range).unwrap(), want.keys().cloned().collect::<Vec<_>>());
            prop_assert_eq!(&dump(&tsdb, &matchers, range), &want);
            let last = want.into_iter().map(|(labels, samples)| (labels, *samples.last().unwrap()));
            prop_assert_eq!(latest(&tsdb, &matchers, range), last.collect::<BTreeMap<_, _>>());
        }
    }
}

/// The latest sample of everything that passes.
fn latest(tsdb: &Tsdb, matchers: &[Matcher], range: TimeRange) -> BTreeMap<Labels, (i64, u64)> {
    let mut set = tsdb.select(matchers, range).unwrap();
    let (mut data, mut out) = (SeriesData::for_latest(), BTreeMap::new());
    while let Some(labels) = set.next_into(&mut data).unwrap() {
        let last = data.floats.last().map(|s| (s.t.0, s.v.to_bits()));
        out.insert(labels, last.unwrap());
    }
    out
}

#[test]
fn what_passes_an_expression_is_known_anew_when_values_come() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let series = |n: usize| labels("x", &[("pod", &format!("pod-{n}")), ("zone", ["a", "b"][n % 2])]);
    let pods = |matchers: &[Matcher]| -> Vec<String> {
        let found = tsdb.series(matchers, TimeRange::ALL).unwrap();
        found.iter().map(|labels| labels.get("pod").unwrap().trim_start_matches("pod-").to_owned()).collect()
    };
    let regex = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    for n in 0..20 {
        commit(&tsdb, vec![point(&series(n), 0, 1.0)]);
        let ends_in_seven = |m: usize| m % 10 == 7;
        let listed = |wanted: &dyn Fn(usize) -> bool| {
            let mut listed: Vec<_> = (0..=n).filter(|m| wanted(*m)).map(|m| m.to_string()).collect();
            listed.sort();
            listed
        };
        // Twice, because the second time it is remembered; alone, beside few and beside many series.
        for _ in 0..2 {
            let mut found = pods(&[regex("pod", MatchOp::Matches, "pod-[0-9]?7")]);
            found.sort();
            assert_eq!(found, listed(&ends_in_seven));
            let mut found = pods(&[Matcher::equal("__name__", "x"), regex("pod", MatchOp::NotMatches, "pod-[0-9]?7")]);
            found.sort();
            assert_eq!(found, listed(&|m| !ends_in_seven(m)));
            let both = [regex("zone", MatchOp::Matches, "[b-y]"), regex("pod", MatchOp::Matches, "pod-[0-9]?[67]")];
            let mut found = pods(&both);
            found.sort();
            assert_eq!(found, listed(&ends_in_seven));
            assert_eq!(pods(&[Matcher::equal("__name__", "x"), regex("none", MatchOp::NotMatches, "[a-z]?")]), [""; 0]);
            assert_eq!(
                pods(&[Matcher::equal("__name__", "x"), regex("none", MatchOp::Matches, "[a-z]?")]).len(),
                n + 1
            );
        }
    }
}

#[test]
fn a_selection_that_nobody_waits_for_ends_without_matching() {
    let tsdb = Tsdb::in_memory(Settings::default());
    let flag = Arc::new(std::sync::atomic::AtomicU8::new(0));
    commit(&tsdb, (0..100).map(|n| point(&labels("x", &[("n", &n.to_string())]), 0, 1.0)).collect());
    let matcher = Matcher::new("n", MatchOp::Matches, "[0-9]?5").unwrap().until(&flag);
    assert_eq!(tsdb.series(std::slice::from_ref(&matcher), TimeRange::ALL).unwrap().len(), 10);
    commit(&tsdb, vec![point(&labels("x", &[("n", "105")]), 0, 1.0)]);
    flag.store(1, Ordering::Relaxed);
    assert!(tsdb.series(std::slice::from_ref(&matcher), TimeRange::ALL).unwrap().is_empty());
    flag.store(0, Ordering::Relaxed);
    let found = tsdb.series(std::slice::from_ref(&matcher), TimeRange::ALL).unwrap();
    assert_eq!(found.len(), 10, "what was given up on is not remembered");
}
