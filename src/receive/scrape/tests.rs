//! The life of a target, page by page.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{Labels, MetricKind, TimestampMs, Value, is_stale_nan};
use crate::receive::identity::Identity;
use crate::receive::redact::Redactor;
use crate::storage::Batch;

const TOOK: Duration = Duration::from_millis(7);

fn identity() -> Identity {
    Identity { job: "rivet".into(), instance: "e0".into(), extra: vec![("pod".into(), "engine-0".into())] }
}

fn engine() -> Target {
    Target::new(TargetSettings::engine(identity()))
}

fn stranger(limits: Limits) -> Target {
    Target::new(TargetSettings { is_engine: false, limits, ..TargetSettings::engine(identity()) })
}

/// Scrape number `n`, one every 15 s.
fn scrape(target: &mut Target, n: i64, page: &str) -> (Batch, Report) {
    target.page_to_batch(Ok(Page::text(page.as_bytes())), TimestampMs(n * 15_000), TOOK)
}

fn refuse(target: &mut Target, n: i64) -> (Batch, Report) {
    let failure = Failure::Connect { cause: "connection refused".into() };
    target.page_to_batch(Err(failure), TimestampMs(n * 15_000), TOOK)
}

/// The points of a batch as `series @seconds value`, without identity and the target's own series.
fn lines(batch: &Batch) -> Vec<String> {
    let own = ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"];
    let page_points = batch.points.iter().filter(|p| {
        let name = p.labels.metric_name();
        !own.contains(&name) && name != "scrape_samples_post_metric_relabeling"
    });
    let line = |p: &crate::storage::Point| {
        let labels = p.labels.keep(|name| !["job", "instance", "pod"].contains(&name));
        let value = match p.value {
            Value::Float(v) if is_stale_nan(v) => "stale".to_owned(),
            Value::Float(v) => v.to_string(),
            Value::Histogram(_) => "histogram".to_owned(),
        };
        format!("{labels} @{} {value}", p.t.as_secs_f64())
    };
    page_points.map(line).collect()
}

fn value_of(batch: &Batch, name: &str) -> f64 {
    let point = batch.points.iter().find(|p| p.labels.metric_name() == name).unwrap_or_else(|| panic!("no {name}"));
    match point.value {
        Value::Float(v) => v,
        Value::Histogram(_) => panic!("{name} is a histogram"),
    }
}

#[test]
fn pages_of_both_shapes_become_the_same_series() {
    let new = "# TYPE rivet_gasoline_signal_published counter\nrivet_gasoline_signal_published{signal_name=\"a\"} 3\n";
    let old = "# TYPE gasoline_signal_published counter\ngasoline_signal_published{signal_name=\"a\"} 3\n";
    let (a, _) = scrape(&mut engine(), 1, new);
    let (b, _) = scrape(&mut engine(), 1, old);
    assert_eq!(a.points, b.points);
    assert_eq!(a.metadata[0].0, "rivet_gasoline_signal_published_total");
    let expected =
        r#"rivet_gasoline_signal_published_total{instance="e0", job="rivet", pod="engine-0", signal_name="a"}"#;
    assert_eq!(a.points[0].labels.to_string(), expected);
}

#[test]
fn nobody_elses_names_are_changed() {
    let (batch, _) = scrape(&mut stranger(Limits::default()), 1, "cache_request_total 1\n");
    assert_eq!(lines(&batch), ["cache_request_total @15 1"]);
}

#[test]
fn a_steady_page_keeps_its_series_in_any_order() {
    let mut target = engine();
    scrape(&mut target, 1, "a{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n");
    let (batch, report) = scrape(&mut target, 2, "a{x=\"1\"} 10\na{x=\"2\"} 20\nb 30\n");
    assert_eq!(lines(&batch), [r#"a{x="1"} @30 10"#, r#"a{x="2"} @30 20"#, "b @30 30"]);
    assert_eq!((report.series_added, report.stale_markers), (0, 0));
    let (batch, report) = scrape(&mut target, 3, "b 31\na{x=\"2\"} 21\na{x=\"1\"} 11\n");
    assert_eq!(lines(&batch), ["b @45 31", r#"a{x="2"} @45 21"#, r#"a{x="1"} @45 11"#]);
    assert_eq!((report.series_added, report.stale_markers), (0, 0));
}

#[test]
fn a_longer_series_is_not_mistaken_for_the_predicted_one() {
    let mut target = engine();
    scrape(&mut target, 1, "a 1\nab 2\n");
    let (batch, _) = scrape(&mut target, 2, "a 3\nabc 4\nab 5\n");
    assert_eq!(lines(&batch), ["a @30 3", "abc @30 4", "ab @30 5"]);
}

#[test]
fn what_vanishes_is_marked_stale_once() {
    let mut target = engine();
    scrape(&mut target, 1, "a 1\nb 1\n");
    let (batch, report) = scrape(&mut target, 2, "a 1\n");
    assert_eq!(lines(&batch), ["a @30 1", "b @30 stale"]);
    assert_eq!(report.stale_markers, 1);
    let (batch, _) = scrape(&mut target, 3, "a 1\n");
    assert_eq!(lines(&batch), ["a @45 1"]);
}

#[test]
fn a_failed_scrape_marks_everything_stale_once_and_up_is_zero() {
    let mut target = engine();
    scrape(&mut target, 1, "# TYPE a counter\na 1\n");
    let (batch, report) = refuse(&mut target, 2);
    assert_eq!(lines(&batch), ["a @30 stale"]);
    assert_eq!(value_of(&batch, "up"), 0.0);
    assert_eq!(report.failure.map(|f| f.reason()), Some("connect"));
    let (batch, _) = refuse(&mut target, 3);
    assert!(lines(&batch).is_empty());
    let (batch, _) = scrape(&mut target, 4, "# TYPE a counter\na 5\n");
    assert_eq!(lines(&batch), ["a @60 5"], "a counter that was only out of sight is not born anew");
    assert_eq!(value_of(&batch, "up"), 1.0);
}

#[test]
fn the_end_of_a_target_marks_its_own_series_too() {
    let mut target = engine();
    scrape(&mut target, 1, "a 1\n");
    let end = target.end(TimestampMs(20_000));
    assert_eq!(end.points.len(), 6);
    assert!(end.points.iter().all(|p| matches!(p.value, Value::Float(v) if is_stale_nan(v))));
    assert!(engine().end(TimestampMs(1)).points.is_empty(), "what was never seen has no end");
}

#[test]
fn counters_and_histograms_born_on_a_known_instance_begin_at_zero() {
    let mut target = engine();
    let idle = "# TYPE up_s gauge\nup_s 1\n";
    let (batch, report) = scrape(&mut target, 1, "# TYPE c_total counter\nc_total 9\n");
    assert_eq!((lines(&batch), report.zeros), (vec!["c_total @15 9".to_owned()], 0), "the first page is no birth");
    scrape(&mut target, 2, idle);
    let page = "# TYPE e_total counter\ne_total{status=\"429\"} 114\n# TYPE g gauge\ng 4\n# TYPE h histogram\n\
                h_bucket{le=\"+Inf\"} 2\nh_sum 7\nh_count 2\n";
    let (batch, report) = scrape(&mut target, 3, page);
    assert_eq!(
        lines(&batch),
        [
            r#"e_total{status="429"} @30 0"#,
            r#"e_total{status="429"} @45 114"#,
            "g @45 4",
            r#"h_bucket{le="+Inf"} @30 0"#,
            r#"h_bucket{le="+Inf"} @45 2"#,
            "h_sum @30 0",
            "h_sum @45 7",
            "h_count @30 0",
            "h_count @45 2",
            "up_s @45 stale",
        ]
    );
    assert_eq!(report.zeros, 4);
}

#[test]
fn a_counter_that_comes_back_after_it_vanished_is_born_again() {
    let mut target = engine();
    let with = |n| format!("# TYPE c counter\nc {n}\na 1\n");
    scrape(&mut target, 1, &with(5));
    scrape(&mut target, 2, "a 1\n");
    let (batch, _) = scrape(&mut target, 3, &with(6));
    assert_eq!(lines(&batch), ["c @30.001 0", "c @45 6", "a @45 1"], "behind the staleness marker at 30 s");
}

#[test]
fn free_text_is_cut_and_what_falls_together_is_added_up() {
    let mut target = engine();
    let page = "# TYPE guard_proxy_request_errors_total counter\n\
        guard_proxy_request_errors_total{error=\"guard.no_route: No route found for hostname a.\"} 3\n\
        guard_proxy_request_errors_total{error=\"guard.no_route: No route found for hostname b.\"} 4\n";
    let expected = r#"rivet_guard_proxy_request_errors_total{error="guard.no_route"} @15 7"#;
    let (batch, report) = scrape(&mut target, 1, page);
    assert_eq!((lines(&batch), report.duplicates), (vec![expected.to_owned()], 0));
    let more = format!("{page}guard_proxy_request_errors_total{{error=\"guard.no_route: other\"}} 1\n");
    let (batch, report) = scrape(&mut target, 2, &more);
    assert_eq!(lines(&batch), [r#"rivet_guard_proxy_request_errors_total{error="guard.no_route"} @30 8"#]);
    assert_eq!(report.zeros, 0, "the series was there before");
}

#[test]
fn a_series_that_stands_twice_is_kept_once_and_counted() {
    let (batch, report) = scrape(&mut engine(), 1, "a{x=\"1\"} 1\na{x=\"1\"} 2\na{x=\"1\",} 3\n");
    assert_eq!(lines(&batch), [r#"a{x="1"} @15 1"#]);
    assert_eq!((report.samples, report.duplicates), (3, 2));
    assert_eq!(batch.refused, [("duplicate_in_page", 2)]);
}

#[test]
fn a_bad_line_costs_itself_alone() {
    let (batch, report) = scrape(&mut engine(), 1, "# HELP a x\na 1\nb{x=\"1} 2\nc 3\nd x\n");
    assert_eq!(lines(&batch), ["a @15 1", "c @15 3"]);
    assert_eq!(report.bad_lines, 2);
    let example = report.bad_example.unwrap();
    assert_eq!(example, "line 3: the labels are not closed by `}`: `b{x=\"1} 2`");
    assert_eq!(value_of(&batch, "up"), 1.0);
    let body = b"a 1\nb{x=\"\xff\"} 2\n";
    let (batch, report) = engine().page_to_batch(Ok(Page::text(body)), TimestampMs(15_000), TOOK);
    assert_eq!((lines(&batch), report.bad_lines), (vec!["a @15 1".to_owned()], 1));
    assert!(report.bad_example.unwrap().contains("not UTF-8"));
}

#[test]
fn a_bad_value_on_a_known_series_is_a_bad_line_too() {
    let mut target = engine();
    scrape(&mut target, 1, "a 1\nb 2\n");
    let (batch, report) = scrape(&mut target, 2, "a one\nb 3\n");
    assert_eq!(lines(&batch), ["b @30 3", "a @30 stale"]);
    assert_eq!(report.bad_lines, 1);
}

#[test]
fn a_truncated_page_is_a_failed_scrape() {
    let mut target = engine();
    scrape(&mut target, 1, "a 1\nb 2\n");
    let (batch, report) = scrape(&mut target, 2, "a 1\nb 2");
    assert_eq!(lines(&batch), ["a @30 stale", "b @30 stale"]);
    assert_eq!(value_of(&batch, "up"), 0.0);
    assert_eq!(report.failure.unwrap().to_string(), "the page is truncated: its last line has no end: `b 2`");
    let (batch, report) = scrape(&mut target, 3, "a 4\nb 5\n");
    assert_eq!((lines(&batch).len(), report.series_added), (2, 0), "the next whole page goes on where the last ended");
}

#[test]
fn a_web_page_is_no_metrics_page() {
    let (batch, report) = scrape(&mut engine(), 1, "<!doctype html>\n<html lang=\"en\">\n");
    assert_eq!(report.failure.as_ref().map(Failure::reason), Some("not_a_page"));
    assert_eq!(value_of(&batch, "up"), 0.0);
    let (batch, report) = scrape(&mut engine(), 1, "");
    assert_eq!((report.failure, value_of(&batch, "up")), (None, 1.0), "an engine may have nothing to say yet");
}

#[test]
fn limits_drop_only_what_is_over_them() {
    let mut target = stranger(Limits { series: 2, labels: 2, label_bytes: 8 });
    scrape(&mut target, 1, "a 1\nb 2\n");
    let (batch, report) = scrape(&mut target, 2, "new 0\na 1\nb 2\n");
    assert_eq!(lines(&batch), ["a @30 1", "b @30 2"], "known series go on");
    assert_eq!((report.over_series_limit, report.limit_example.as_deref()), (1, Some("new")));
    let mut target = stranger(Limits { series: 9, labels: 2, label_bytes: 8 });
    let long = "x".repeat(1 << 20);
    let page = format!("a{{l=\"{long}\"}} 1\na{{p=\"1\",q=\"2\",r=\"3\"}} 1\na{{p=\"1\"}} 1\n");
    let (batch, report) = scrape(&mut target, 1, &page);
    assert_eq!(lines(&batch), [r#"a{p="1"} @15 1"#]);
    assert_eq!(report.over_label_limit, 2);
    assert!(report.limit_example.unwrap().len() < 200);
    assert_eq!(batch.refused, [("scrape_label_limit", 2)]);
}

#[test]
fn room_taken_by_vanished_series_is_given_back() {
    let mut target = stranger(Limits { series: 2, ..Limits::default() });
    scrape(&mut target, 1, "a 1\nb 2\n");
    scrape(&mut target, 2, "a 1\nc 3\n");
    scrape(&mut target, 3, "a 1\nc 3\n");
    let (batch, report) = scrape(&mut target, 4, "a 1\nc 3\n");
    assert_eq!(report.over_series_limit, 0);
    assert_eq!(lines(&batch), ["a @60 1", "c @60 3"]);
}

#[test]
fn only_used_families_of_the_engine_are_kept() {
    let keep = Keep::used(["rivet_api_request_duration_bucket", "up"]);
    let mut target = Target::new(TargetSettings { keep, ..TargetSettings::engine(identity()) });
    let page = "# TYPE rivet_api_request_duration histogram\nrivet_api_request_duration_bucket{le=\"+Inf\"} 1\n\
        rivet_api_request_duration_sum 1\nrivet_api_request_duration_count 1\n\
        # TYPE rivet_tokio_thread_count gauge\nrivet_tokio_thread_count 8\nsomething_else 1\n";
    let (batch, report) = scrape(&mut target, 1, page);
    assert_eq!(lines(&batch).len(), 4, "the whole histogram, and what is not the engine's");
    assert_eq!((report.samples, report.filtered), (5, 1));
    assert_eq!(batch.metadata.len(), 1);
    let (_, report) = scrape(&mut target, 2, page);
    assert_eq!(report.filtered, 1);
}

#[test]
fn labels_of_the_page_are_kept_under_another_name_or_win() {
    let page = "a{instance=\"x\",job=\"y\",exported_job=\"z\"} 1\n";
    let labels = |honor_labels| {
        let settings = TargetSettings { honor_labels, ..TargetSettings::engine(identity()) };
        let (batch, _) = scrape(&mut Target::new(settings), 1, page);
        batch.points[0].labels.clone()
    };
    let theirs = [("__name__", "a"), ("instance", "x"), ("job", "y"), ("exported_job", "z"), ("pod", "engine-0")];
    assert_eq!(labels(true), Labels::from_pairs(theirs));
    let ours = [
        ("__name__", "a"),
        ("instance", "e0"),
        ("exported_instance", "x"),
        ("job", "rivet"),
        ("exported_job", "z"),
        ("exported_exported_job", "y"),
        ("pod", "engine-0"),
    ];
    assert_eq!(labels(false), Labels::from_pairs(ours));
}

#[test]
fn times_on_the_page_are_kept_and_have_no_staleness() {
    let mut target = engine();
    let (batch, _) = scrape(&mut target, 1, "a 1 12345\n");
    assert_eq!(lines(&batch), ["a @12.345 1"]);
    let (batch, _) = scrape(&mut target, 2, "b 1\n");
    assert_eq!(lines(&batch), ["b @30 1"]);
}

#[test]
fn an_address_with_two_engines_behind_it_is_noticed() {
    let page = |base: u32, n: u32| (0..5).map(|i| format!("c{i}_total {}\n", base + n)).collect::<String>();
    let mut target = stranger(Limits::default());
    let seen: Vec<bool> = (1..8)
        .map(|n| scrape(&mut target, i64::from(n), &page(if n % 2 == 0 { 100 } else { 9_000 }, n)).1.is_load_balanced)
        .collect();
    assert!(!seen[2] && seen[6], "{seen:?}");
}

#[test]
fn one_restart_is_not_taken_for_two_engines() {
    let page = |n: i64| (0..5).map(|i| format!("c{i}_total {n}\n")).collect::<String>();
    let mut target = stranger(Limits::default());
    for (n, value) in [100, 200, 300, 10, 110, 210, 310, 410].into_iter().enumerate() {
        assert!(!scrape(&mut target, n as i64 + 1, &page(value)).1.is_load_balanced);
    }
}

#[test]
fn metadata_comes_once_and_again_when_it_changes() {
    let mut target = engine();
    let page = "# HELP a one\n# TYPE a counter\na 1\n";
    let (batch, _) = scrape(&mut target, 1, page);
    assert_eq!(batch.metadata.len(), 1);
    assert_eq!((batch.metadata[0].1.kind, batch.metadata[0].1.help.as_str()), (MetricKind::Counter, "one"));
    assert!(scrape(&mut target, 2, page).0.metadata.is_empty());
    assert_eq!(scrape(&mut target, 3, "# HELP a two\n# TYPE a counter\na 1\n").0.metadata[0].1.help, "two");
}

#[test]
fn secrets_are_taken_out_of_labels_help_and_examples_and_what_they_told_apart_is_one_series() {
    let secret = "4dm1n-t0ken-of-the-engine";
    let redactor = Arc::new(Redactor::new([secrecy::SecretString::from(secret)]));
    let mut target = Target::new(TargetSettings {
        redactor: Arc::clone(&redactor),
        is_engine: false,
        ..TargetSettings::engine(identity())
    });
    let page = format!(
        "# HELP calls_total Calls to http://default:hunter2@engine:6420.\n# TYPE calls_total counter\n\
         calls_total{{uri=\"/a?rvt-token=first\"}} 2\ncalls_total{{uri=\"/a?rvt-token=second\"}} 3\n\
         calls_total{{uri=\"/b\"}} 5\ncalls_total{{token=\"{secret}\"}} 7\ncalls_total{{uri=\"{secret}\" 1\n"
    );
    let (batch, report) = scrape(&mut target, 1, &page);
    let expected = [
        r#"calls_total{uri="/a?rvt-token=REDACTED"} @15 5"#,
        r#"calls_total{uri="/b"} @15 5"#,
        r#"calls_total{token="REDACTED"} @15 7"#,
    ];
    assert_eq!(lines(&batch), expected);
    assert_eq!(batch.metadata[0].1.help, "Calls to http://REDACTED@engine:6420.");
    assert!(report.bad_example.is_some_and(|example| example.contains("REDACTED") && !example.contains(secret)));

    let cut = format!("{page}calls_total{{uri=\"{secret}");
    let failure = scrape(&mut target, 2, &cut).1.failure.map(|f| f.to_string()).unwrap_or_default();
    assert!(failure.contains("REDACTED") && !failure.contains(secret), "{failure}");

    let counted = |redactor: &Redactor| crate::model::Stats::rows(redactor).iter().map(|row| row.value).sum::<f64>();
    let before = counted(&redactor);
    let page = page.replace("hunter2@", "").replace("calls_total{uri=\"4dm1n-t0ken-of-the-engine\" 1\n", "");
    assert_eq!(lines(&scrape(&mut target, 3, &page).0).len(), 3);
    assert_eq!(counted(&redactor), before, "a series is looked at once");
}

#[test]
fn a_sample_far_ahead_of_its_scrape_is_refused_and_counted() {
    let mut target = stranger(Limits::default());
    let (batch, report) = scrape(&mut target, 1, "a 1 99999999999999\nb 2 20000\nc 3\n");
    assert_eq!(lines(&batch), ["b @20 2", "c @15 3"]);
    assert_eq!(report.too_new, 1);
    assert!(batch.refused.contains(&("too_new", 1)), "{:?}", batch.refused);
    assert!(report.limit_example.is_some_and(|e| e.contains("a{") && e.contains("ahead")));
    let (batch, _) = scrape(&mut target, 2, "a 1\n");
    assert!(lines(&batch).contains(&"a @30 1".to_owned()), "later samples of the series are taken");
}
