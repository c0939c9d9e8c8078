//! The store's log: what was answered is there again after a crash, a kill, damage, and a checkpoint.

// Helpers of tests fail by panicking, as the tests do.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use proptest::prelude::*;
use rivetwatch::model::{FloatHistogram, Labels, Metadata, MetricKind, Stats, TimeRange, Value};
use rivetwatch::storage::{Append, AppendError, Batch, Point, Select, SeriesData};
use rivetwatch::tsdb::{OpenError, Settings, Tsdb, WalSync};

use crate::tsdb::{at, commit, dump, labels, never_sees_half_a_commit, point, stat};

type Samples = BTreeMap<Labels, Vec<(i64, u64)>>;

fn settings(dir: &Path) -> Settings {
    Settings { dir: Some(dir.to_owned()), ..Settings::default() }
}

fn open(dir: &Path) -> Tsdb {
    Tsdb::open(settings(dir)).unwrap()
}

fn everything(tsdb: &Tsdb) -> Samples {
    dump(tsdb, &[], TimeRange::ALL)
}

/// Files of the log, by name: segments before or behind their checkpoints do not matter.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.file_name().unwrap() != "lock").collect();
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        std::fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Adds what a batch stores to the model.
fn add(model: &mut Samples, points: &[Point]) {
    for point in points {
        let Value::Float(v) = point.value else { panic!("floats only") };
        model.entry(point.labels.clone()).or_default().push((point.t.0, v.to_bits()));
    }
}

#[test]
fn everything_is_there_again_after_a_restart() {
    everything_comes_back(false);
}

#[test]
fn everything_is_there_again_from_a_checkpoint() {
    everything_comes_back(true);
}

fn everything_comes_back(through_checkpoint: bool) {
    let dir = tempfile::tempdir().unwrap();
    let open = |dir: &Path| Tsdb::open(Settings { checkpoint_after_bytes: 17, ..settings(dir) }).unwrap();
    let (up, latency) = (labels("up", &[("job", "rivet")]), labels("latency", &[]));
    let histogram = Arc::new(FloatHistogram { count: 3.0, positive_buckets: vec![1.0, 2.0], ..Default::default() });
    let metadata = Metadata { kind: MetricKind::Gauge, help: "Whether.".into(), unit: String::new() };
    let nan = f64::from_bits(0x7ff8_dead_beef_0001);
    let tsdb = open(dir.path());
    let batch = Batch {
        points: vec![
            point(&up, 0, nan),
            point(&up, 15, 0.5),
            point(&up, 15, 0.5),
            Point { labels: latency.clone(), t: at(1), value: Value::Histogram(histogram.clone()) },
        ],
        metadata: vec![("up".into(), metadata.clone())],
        refused: vec![("bad_name", 7)],
        exemplars: Vec::new(),
    };
    assert_eq!(tsdb.commit(batch).wait().unwrap().stored, 3);
    commit(&tsdb, vec![point(&up, 14, 1.0)]);
    let (before, totals) = (everything(&tsdb), tsdb.totals());
    assert_eq!(totals.received, 12);
    if through_checkpoint {
        tsdb.maintain(at(15));
        assert!(files(dir.path()).iter().any(|path| path.extension().unwrap() == "checkpoint"));
        assert!(!dir.path().join("00000001.wal").exists(), "the covered segment is gone");
    }
    drop(tsdb);

    let tsdb = open(dir.path());
    assert_eq!(everything(&tsdb), before);
    assert_eq!(tsdb.totals(), totals, "the totals go on");
    assert_eq!(tsdb.metadata(None), [("up".to_owned(), metadata)]);
    let mut data = SeriesData::default();
    let matchers = [rivetwatch::model::Matcher::equal("__name__", "latency")];
    tsdb.select(&matchers, TimeRange::ALL).unwrap().next_into(&mut data).unwrap();
    assert_eq!(data.histograms, [(at(1), histogram.clone())]);
    // The rules of order hold across the restart, for both kinds of value.
    let repeat = Point { labels: latency, t: at(1), value: Value::Histogram(histogram) };
    let receipt = commit(&tsdb, vec![point(&up, 15, 0.5), repeat, point(&up, 14, 1.0), point(&up, 30, 1.0)]);
    assert_eq!((receipt.stored, receipt.duplicate, receipt.refused), (1, 2, vec![("out_of_order", 1)]));
    assert_eq!(tsdb.replay_report().damages, 0);
}

#[test]
fn a_second_store_on_the_same_directory_is_refused_with_the_owner() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let refused = Tsdb::open(settings(dir.path())).unwrap_err();
    assert!(matches!(&refused, OpenError::Locked { owner: Some(pid), .. } if *pid == std::process::id()));
    assert!(refused.to_string().contains("is in use by process"), "{refused}");
    first.flush_and_close();
    open(dir.path());
}

#[test]
fn a_log_of_a_later_release_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000001.wal");
    let later = b"RWWAL\0\0\x02and whatever comes then";
    std::fs::write(&path, later).unwrap();
    let refused = Tsdb::open(settings(dir.path())).unwrap_err();
    assert!(matches!(refused, OpenError::Version { version: 2, .. }));
    assert_eq!(std::fs::read(&path).unwrap(), later);
}

#[test]
fn a_reader_never_sees_half_a_logged_commit() {
    let dir = tempfile::tempdir().unwrap();
    never_sees_half_a_commit(&open(dir.path()));
}

/// Scenario: segments of 64 KiB and a checkpoint every 64 KiB, with retention passing over the data.
/// Guarantee: the log stays small, and a restart gives what the store held, with the same totals.
#[test]
fn checkpoints_let_old_segments_go_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings {
        segment_bytes: 64 << 10,
        checkpoint_after_bytes: 64 << 10,
        retention_ms: 3_600_000,
        ..settings(dir.path())
    };
    let tsdb = Tsdb::open(small.clone()).unwrap();
    let series: Vec<_> = (0..100).map(|n| labels("m", &[("n", &n.to_string())])).collect();
    for round in 0..600 {
        let mut points: Vec<_> = series.iter().map(|s| point(s, round * 15, 0.1 * round as f64)).collect();
        // One series lives for one round only.
        points.push(point(&labels("brief", &[("round", &round.to_string())]), round * 15, 1.0));
        assert_eq!(commit(&tsdb, points).stored, 101);
        if round % 4 == 0 {
            tsdb.maintain(at(round * 15));
        }
    }
    assert!(stat(&tsdb, "rivetwatch_wal_checkpoints_total", None) > 5.0);
    assert_eq!(stat(&tsdb, "rivetwatch_wal_checkpoint_failures_total", None), 0.0);
    assert!(stat(&tsdb, "rivetwatch_head_series_dropped_total", None) > 300.0);
    let segments = files(dir.path()).iter().filter(|path| path.extension().unwrap() == "wal").count();
    assert_eq!(stat(&tsdb, "rivetwatch_wal_segments", None), segments as f64);
    assert!(segments <= 4, "{:?}", files(dir.path()));
    let (before, totals) = (everything(&tsdb), tsdb.totals());
    drop(tsdb);

    let tsdb = Tsdb::open(small).unwrap();
    tsdb.maintain(at(596 * 15));
    assert_eq!(everything(&tsdb), before);
    assert_eq!(tsdb.totals(), totals);
    assert_eq!(stat(&tsdb, "rivetwatch_wal_corruptions_total", None), 0.0);
}

#[test]
fn a_dropped_series_that_begins_again_is_one_series_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (up, other) = (labels("up", &[]), labels("other", &[]));
    let tsdb = open(dir.path());
    commit(&tsdb, vec![point(&up, 0, 1.0)]);
    tsdb.maintain(at(3 * 3600));
    assert_eq!(everything(&tsdb), Samples::new());
    // The free slot goes to another series first.
    commit(&tsdb, vec![point(&other, 3 * 3600, 2.0), point(&up, 3 * 3600, 3.0)]);
    let before = everything(&tsdb);
    drop(tsdb);
    let tsdb = open(dir.path());
    tsdb.maintain(at(3 * 3600));
    let again = everything(&tsdb);
    // The old sample shares a chunk span with nothing, so retention takes it out again.
    assert_eq!(again.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(again[&other], before[&other]);
    assert_eq!(again[&up], before[&up]);
}

/// Scenario: three days of a raw series and of one that burn rates read, with checkpoints and a restart on the way.
/// Guarantee: the first keeps its hours, the second its days, before and after.
#[test]
fn named_series_outlive_the_others_through_checkpoints_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { segment_bytes: 64 << 10, checkpoint_after_bytes: 64 << 10, ..settings(dir.path()) };
    let (raw, slo) = (labels("up", &[]), labels("rivet:slo:requests_good:rate1m", &[]));
    let days = 3;
    let mut tsdb = Tsdb::open(small.clone()).unwrap();
    for minute in 0..days * 24 * 60 {
        commit(&tsdb, vec![point(&raw, minute * 60, 1.0), point(&slo, minute * 60, 1.0)]);
        tsdb.maintain(at(minute * 60));
        if minute == 2_000 {
            drop(tsdb);
            tsdb = Tsdb::open(small.clone()).unwrap();
        }
    }
    let check = |tsdb: &Tsdb| {
        let kept = everything(tsdb);
        assert_eq!(kept[&slo].len() as i64, days * 24 * 60);
        assert!((120..=151).contains(&kept[&raw].len()), "{} samples of two hours", kept[&raw].len());
    };
    check(&tsdb);
    assert!(stat(&tsdb, "rivetwatch_wal_checkpoints_total", None) > 0.0);
    drop(tsdb);
    let tsdb = Tsdb::open(small).unwrap();
    tsdb.maintain(at(days * 24 * 3600));
    check(&tsdb);
}

#[test]
fn damage_in_the_middle_costs_the_commits_it_hits_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let series: Vec<_> = (0..20).map(|n| labels("m", &[("n", &n.to_string())])).collect();
    let small = Settings { segment_bytes: 64 << 10, ..settings(dir.path()) };
    let tsdb = Tsdb::open(small.clone()).unwrap();
    for round in 0..2_000 {
        commit(&tsdb, series.iter().map(|s| point(s, round, 0.1 * round as f64)).collect());
    }
    let before = everything(&tsdb);
    drop(tsdb);
    let segments = files(dir.path());
    assert!(segments.len() >= 4);
    // A flipped bit in the middle of the second segment, and the third one gone.
    let mut bytes = std::fs::read(&segments[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    std::fs::write(&segments[1], bytes).unwrap();
    std::fs::remove_file(&segments[2]).unwrap();

    let tsdb = Tsdb::open(small).unwrap();
    let report = tsdb.replay_report();
    assert_eq!((report.damages, report.torn_bytes, report.samples_unknown_series), (2, 0, 0), "{report:?}");
    assert_eq!(report.damaged[0].file, segments[1]);
    assert!(
        report.damaged[0].offset <= middle as u64
            && middle as u64 <= report.damaged[0].offset + report.damaged[0].bytes
    );
    assert_eq!(report.damaged[1].file, segments[2]);
    assert_eq!(stat(&tsdb, "rivetwatch_wal_corruptions_total", None), 2.0);
    let after = everything(&tsdb);
    assert_eq!(after.len(), 20);
    let times =
        |samples: &Samples| samples.values().map(|s| s.iter().map(|(t, _)| *t).collect()).collect::<Vec<Vec<_>>>();
    let kept = times(&after);
    assert!(kept.iter().all(|k| *k == kept[0]), "each commit is there as a whole or not at all");
    assert_eq!(kept[0].last(), times(&before)[0].last(), "what follows the damage is there");
    let lost = 2_000 - kept[0].len();
    assert!(lost > 1 && lost < 1_200, "{lost} of 2000 commits lost");
}

#[test]
fn a_damaged_checkpoint_gives_what_is_whole_and_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { segment_bytes: 64 << 10, checkpoint_after_bytes: 64 << 10, ..settings(dir.path()) };
    let tsdb = Tsdb::open(small.clone()).unwrap();
    // More series than one record of a checkpoint holds.
    let wide = "x".repeat(200);
    let series: Vec<_> = (0..3_000).map(|n| labels("m", &[("n", &n.to_string()), ("wide", &wide)])).collect();
    commit(&tsdb, series.iter().map(|s| point(s, 0, 0.1)).collect());
    tsdb.maintain(at(0));
    drop(tsdb);
    let checkpoint = files(dir.path()).into_iter().find(|path| path.extension().unwrap() == "checkpoint").unwrap();
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&checkpoint, bytes).unwrap();
    let tsdb = Tsdb::open(small).unwrap();
    let kept = everything(&tsdb).len();
    assert!(kept > 500 && kept < 3_000, "{kept}");
    assert_eq!(tsdb.replay_report().damages, 2, "the place, and that series are missing");
    assert_eq!(tsdb.totals().stored, 3_000);
}

/// A refusal of the disk that needs no special rights to bring about: the next segment's name is taken.
#[test]
fn a_batch_that_cannot_be_logged_is_refused_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let small = Settings { segment_bytes: 64 << 10, ..settings(dir.path()) };
    let tsdb = Tsdb::open(small.clone()).unwrap();
    let fill = |n: usize| labels("fill", &[("n", &n.to_string()), ("wide", &"x".repeat(200))]);
    commit(&tsdb, (0..290).map(|n| point(&fill(n), 0, 1.0)).collect());
    let blocker = dir.path().join("00000002.wal");
    std::fs::create_dir(&blocker).unwrap();
    let (before, totals) = (everything(&tsdb), tsdb.totals());
    let batch = || Batch {
        points: (280..400).map(|n| point(&fill(n), 15, 2.0)).collect(),
        refused: vec![("bad_name", 1)],
        ..Batch::default()
    };
    let refused = tsdb.commit(batch()).wait();
    assert!(matches!(refused, Err(AppendError::Log { .. })), "{refused:?}");
    assert_eq!((everything(&tsdb), tsdb.totals()), (before, totals));
    assert_eq!(stat(&tsdb, "rivetwatch_wal_write_failures_total", None), 1.0);

    std::fs::remove_dir(&blocker).unwrap();
    let receipt = tsdb.commit(batch()).wait().unwrap();
    assert_eq!((receipt.stored, receipt.duplicate, receipt.refused), (120, 0, vec![]), "the same batch is taken now");
    let before = everything(&tsdb);
    drop(tsdb);
    let tsdb = Tsdb::open(small).unwrap();
    assert_eq!(everything(&tsdb), before);
    assert_eq!(tsdb.replay_report().damages, 0);
}

#[test]
fn a_full_queue_refuses_whole_batches_and_every_ticket_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let tight = Settings { queue_batches: 2, sync: WalSync::Always, ..settings(dir.path()) };
    let tsdb = Tsdb::open(tight).unwrap();
    let tickets: Vec<_> = (0..300)
        .map(|n| {
            let points = (0..50).map(|s| point(&labels("m", &[("s", &s.to_string())]), n, 1.0)).collect();
            tsdb.commit(Batch { points, ..Batch::default() })
        })
        .collect();
    let (mut stored, mut overloaded) = (0, 0);
    for ticket in tickets {
        match ticket.wait() {
            Ok(receipt) => stored += receipt.stored,
            Err(AppendError::Overloaded { .. }) => overloaded += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(stored + overloaded * 50, 300 * 50);
    assert_eq!(stat(&tsdb, "rivetwatch_store_overloaded_batches_total", Some(("limit", "queue"))), overloaded as f64);
    assert_eq!(stat(&tsdb, "rivetwatch_store_queue_points", None), 0.0);
    assert_eq!(tsdb.totals().stored, stored);
    assert_eq!(everything(&tsdb).values().map(Vec::len).sum::<usize>() as u64, stored);
    // Rows keep their names and labels from call to call.
    let shape = || tsdb.rows().into_iter().map(|row| (row.name, row.labels)).collect::<Vec<_>>();
    assert_eq!(shape(), shape());
}

/// Scenario: four threads commit at once, so that groups form, while another maintains.
/// Guarantee: an answered batch is visible at once, and all of them are there after a restart.
#[test]
fn batches_of_many_threads_are_visible_once_answered_and_all_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = Tsdb::open(Settings { checkpoint_after_bytes: 17, ..settings(dir.path()) }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let tsdb = &tsdb;
            scope.spawn(move || {
                let series = labels("m", &[("thread", &thread.to_string())]);
                let matchers = [rivetwatch::model::Matcher::equal("thread", thread.to_string())];
                for n in 0..200 {
                    assert_eq!(commit(tsdb, vec![point(&series, n, n as f64)]).stored, 1);
                    assert_eq!(dump(tsdb, &matchers, TimeRange::ALL)[&series].len(), n as usize + 1);
                }
            });
        }
        scope.spawn(|| (0..20).for_each(|n| tsdb.maintain(at(n))));
    });
    let before = everything(&tsdb);
    assert_eq!(before.values().map(Vec::len).collect::<Vec<_>>(), [200; 4]);
    drop(tsdb);
    let tsdb = open(dir.path());
    assert_eq!(everything(&tsdb), before);
    assert_eq!(tsdb.totals().stored, 800);
}

#[test]
fn a_closed_store_says_so_and_gives_the_directory_free() {
    let dir = tempfile::tempdir().unwrap();
    let tsdb = open(dir.path());
    assert!(tsdb.is_writable());
    let ticket = tsdb.commit(Batch { points: vec![point(&labels("up", &[]), 0, 1.0)], ..Batch::default() });
    tsdb.flush_and_close();
    assert_eq!(ticket.wait().unwrap().stored, 1, "what waited was committed");
    assert!(!tsdb.is_writable());
    assert!(matches!(tsdb.commit(Batch::default()).wait(), Err(AppendError::Closed)));
    assert_eq!(everything(&tsdb).len(), 1);
    tsdb.maintain(at(0));
    assert_eq!(everything(&open(dir.path())).len(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    /// Series, seconds since the last commit, and a value for each.
    Commit(Vec<usize>, i64, u64),
    Maintain,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let commit = (prop::collection::btree_set(0usize..30, 1..15), 1i64..100, any::<u64>())
        .prop_map(|(series, after, bits)| Step::Commit(series.into_iter().collect(), after, bits));
    prop::collection::vec(prop_oneof![12 => commit, 2 => Just(Step::Maintain), 1 => Just(Step::Reopen)], 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Scenario: commits, checkpoints and restarts; then a crash that leaves any prefix of the last segment.
    /// Guarantee: every commit answered before that prefix ended is there as a whole; of others, nothing.
    #[test]
    fn after_a_crash_the_answered_commits_are_there_and_no_halves(steps in steps(), cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        // The smallest checkpoint bound, so that each `maintain` with anything new writes one; nothing ages out.
        let small = Settings { checkpoint_after_bytes: 17, retention_ms: 1 << 40, ..settings(dir.path()) };
        let mut tsdb = Tsdb::open(small.clone()).unwrap();
        let mut now = 0;
        // What the store held when the last segment had this length.
        let mut history: Vec<(PathBuf, u64, Samples)> = Vec::new();
        let mut model = Samples::new();
        let note = |history: &mut Vec<_>, model: &Samples| {
            let segments = files(dir.path());
            let last = segments.iter().rfind(|path| path.extension().unwrap() == "wal").unwrap().clone();
            let len = last.metadata().unwrap().len();
            history.push((last, len, model.clone()));
        };
        note(&mut history, &model);
        for step in steps {
            match step {
                Step::Commit(series, after, bits) => {
                    now += after;
                    let points: Vec<_> = series
                        .iter()
                        .map(|n| (labels("m", &[("n", &n.to_string())]), f64::from_bits(bits.rotate_left(*n as u32))))
                        .map(|(labels, v)| point(&labels, now, v))
                        .collect();
                    prop_assert_eq!(commit(&tsdb, points.clone()).stored, points.len() as u64);
                    add(&mut model, &points);
                }
                Step::Maintain => tsdb.maintain(at(now)),
                Step::Reopen => {
                    drop(tsdb);
                    tsdb = Tsdb::open(small.clone()).unwrap();
                }
            }
            prop_assert_eq!(&everything(&tsdb), &model);
            note(&mut history, &model);
        }
        // The files as a dead process leaves them: nothing is closed or flushed.
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let (last, len, _) = history.last().unwrap().clone();
        let keep = cut.index(len as usize + 1) as u64;
        let copied = crashed.path().join(last.file_name().unwrap());
        std::fs::File::options().write(true).open(&copied).unwrap().set_len(keep).unwrap();
        let want = history.iter().rfind(|(file, len, _)| *file == last && *len <= keep);
        // Cut inside the header, the segment holds nothing; then what the files before it held is there.
        let before = || history.iter().find(|(file, _, _)| *file == last).unwrap();
        let want = &want.unwrap_or_else(before).2;
        for _ in 0..2 {
            let again = Tsdb::open(Settings { dir: Some(crashed.path().to_owned()), ..small.clone() }).unwrap();
            prop_assert_eq!(&everything(&again), want);
            let report = again.replay_report();
            prop_assert!(report.damages == 0 || keep < 16, "{:?}", report);
            prop_assert_eq!(again.totals().stored, want.values().map(Vec::len).sum::<usize>() as u64);
        }
    }
}

/// The child of the next test: commits without end and prints the number of each commit that was answered.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os("RIVETWATCH_TEST_KILLED_DIR") else { return };
    let tsdb = Tsdb::open(Settings { segment_bytes: 64 << 10, ..settings(Path::new(&dir)) }).unwrap();
    let series: Vec<_> = (0..40).map(|n| labels("m", &[("n", &n.to_string())])).collect();
    for n in 0.. {
        commit(&tsdb, series.iter().map(|s| point(s, n, n as f64 + 0.5)).collect());
        println!("answered {n}");
        if n % 100 == 99 {
            tsdb.maintain(at(n));
        }
    }
}

/// Scenario: `kill -9` of a process in the middle of its commits, three times over.
/// Guarantee: every commit that was answered is there, and of no commit a part.
#[test]
fn answered_commits_survive_kill_9() {
    for commits_before_kill in [1, 150, 700] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tsdb_wal::child_that_is_killed", "--nocapture", "--test-threads=1"])
            .env("RIVETWATCH_TEST_KILLED_DIR", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut answered = None;
        let read = |line: std::io::Result<String>| {
            line.unwrap().rsplit_once("answered ").and_then(|(_, n)| n.parse::<usize>().ok())
        };
        while answered.is_none_or(|n| n < commits_before_kill) {
            let line = lines.next().expect("the child goes on until it is killed");
            answered = read(line).or(answered);
        }
        // SIGKILL, on Unix.
        child.kill().unwrap();
        // What it printed before it died was answered, too.
        for line in lines {
            answered = read(line).or(answered);
        }
        child.wait().unwrap();
        let answered = answered.unwrap();

        let tsdb = open(dir.path());
        let samples = everything(&tsdb);
        assert_eq!(samples.len(), 40);
        let length = samples.values().next().unwrap().len();
        assert!(length > answered, "{length} commits are there, {} were answered", answered + 1);
        for series in samples.values() {
            let want: Vec<_> = (0..length).map(|n| (at(n as i64).0, (n as f64 + 0.5).to_bits())).collect();
            assert_eq!(*series, want);
        }
        assert_eq!(tsdb.totals().stored, 40 * length as u64);
    }
}
