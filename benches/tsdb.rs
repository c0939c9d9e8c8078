//! The store: points into it, bytes it takes, time to read it back. Prints figures; nothing passes or fails.
//!
//! Varies one quantity a section: where the points go (memory, log), the number of series read back.
//! Set `RIVETWATCH_BENCH_SERIES` to change the 100,000 series of the second and third section.

use std::path::Path;
use std::time::{Duration, Instant};

use rivetwatch::model::{Labels, Matcher, TimeRange, TimestampMs, Value};
use rivetwatch::storage::{Append, Batch, Point, Select, SeriesData};
use rivetwatch::tsdb::{Settings, Tsdb};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const START: i64 = 1_795_453_468_000;
const STEP_MS: i64 = 15_000;

/// A scrape's worth of the real engine.
const SCRAPE_SERIES: usize = 14_000;

fn main() {
    let many = std::env::var("RIVETWATCH_BENCH_SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    // First, because memory that was freed stays with the process and would hide what this takes.
    head_and_replay(many);
    append("memory", None);
    let dir = tempfile::tempdir().expect("a temporary directory");
    append("log", Some(dir.path()));
}

/// Series shaped as the engine's: some labels shared by all, bucket bounds, a few values for the rest.
fn series(count: usize) -> Vec<Labels> {
    (0..count)
        .map(|n| {
            Labels::from_pairs([
                ("__name__".to_owned(), format!("rivet_guard_request_duration_seconds_bucket_{}", n / 500)),
                ("cluster".to_owned(), "production".to_owned()),
                ("instance".to_owned(), format!("rivet-engine-7f9c6d5b8-{:05}:6430", n / 15_000)),
                ("job".to_owned(), "rivet".to_owned()),
                ("le".to_owned(), format!("0.{:03}", n % 20)),
                ("path".to_owned(), format!("/actors/{}", n / 20 % 25)),
                ("pod".to_owned(), format!("rivet-engine-7f9c6d5b8-{:05}", n / 15_000)),
                ("otel_scope_name".to_owned(), "rivet-guard".to_owned()),
            ])
        })
        .collect()
}

/// Half counters that move, a quarter counters that stand, a quarter gauges with fractions.
fn value(series: usize, round: usize) -> f64 {
    match series % 4 {
        0 | 1 => (series % 97 * round) as f64 + (round * round % 7) as f64,
        2 => (series % 1_000) as f64,
        _ => 0.25 + ((series * 31 + round * 17) % 1_000) as f64 / 777.0,
    }
}

fn batch(series: &[Labels], first: usize, round: usize) -> Batch {
    let t = TimestampMs(START + round as i64 * STEP_MS);
    let point = |(n, labels): (usize, &Labels)| Point {
        labels: labels.clone(),
        t,
        value: Value::Float(value(first + n, round)),
    };
    Batch { points: series.iter().enumerate().map(point).collect(), ..Batch::default() }
}

fn settings(dir: Option<&Path>) -> Settings {
    Settings {
        dir: dir.map(Path::to_owned),
        memory_bytes_max: usize::MAX,
        queue_points: usize::MAX,
        retention_ms: 7_200_000,
        ..Settings::default()
    }
}

fn append(to: &str, dir: Option<&Path>) {
    const ROUNDS: usize = 240;
    const BLOCK: usize = 40;
    let tsdb = Tsdb::open(settings(dir)).expect("an empty directory can be opened");
    let shared = series(SCRAPE_SERIES);
    tsdb.commit(batch(&shared, 0, 0)).wait().expect("the first scrape is taken");
    for (labels, is_shared) in [("the same label sets", true), ("equal label sets, built anew", false)] {
        let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
        let offset = if is_shared { 1 } else { ROUNDS + 1 };
        for first in (offset..offset + ROUNDS).step_by(BLOCK) {
            // Built ahead, so that only the store is measured.
            let batches: Vec<_> = (first..first + BLOCK)
                .map(|round| match is_shared {
                    true => batch(&shared, 0, round),
                    false => batch(&series(SCRAPE_SERIES), 0, round),
                })
                .collect();
            let (start, cpu_start) = (Instant::now(), cpu_time());
            for batch in batches {
                let receipt = tsdb.commit(batch).wait().expect("the store takes the scrape");
                assert_eq!(receipt.stored, SCRAPE_SERIES as u64);
            }
            wall += start.elapsed();
            cpu += cpu_time().saturating_sub(cpu_start);
        }
        let points = (SCRAPE_SERIES * ROUNDS) as f64;
        println!(
            "append to {to}, {labels}: {:.2} M points/core-second, {:.1} ms a scrape of {SCRAPE_SERIES}",
            points / cpu.as_secs_f64() / 1e6,
            wall.as_secs_f64() * 1e3 / ROUNDS as f64,
        );
    }
    let matchers = [Matcher::equal("path", "/actors/7")];
    let end = TimestampMs(START + 480 * STEP_MS);
    for (what, length_ms) in [("5 m", 300_000), ("1 h", 3_600_000)] {
        let range = TimeRange { from: end.plus_ms(-length_ms), to: end };
        let start = Instant::now();
        let (mut series, mut samples, mut data) = (0, 0, SeriesData::default());
        for _ in 0..10 {
            let mut set = tsdb.select(&matchers, range).expect("the store can be read");
            while set.next_into(&mut data).expect("chunks are whole").is_some() {
                series += 1;
                samples += data.len();
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "select of {what} from {to}: {:.2} µs a series, {:.1} M samples/s",
            seconds * 1e6 / series as f64,
            samples as f64 / seconds / 1e6
        );
    }
}

fn head_and_replay(count: usize) {
    const ROUNDS: usize = 240;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let before = resident_bytes();
    let tsdb = Tsdb::open(settings(Some(dir.path()))).expect("an empty directory can be opened");
    {
        let series = series(count);
        for round in 0..ROUNDS {
            for (n, some) in series.chunks(SCRAPE_SERIES).enumerate() {
                tsdb.commit(batch(some, n * SCRAPE_SERIES, round)).wait().expect("the store takes the scrape");
            }
            if round % 4 == 3 {
                tsdb.maintain(TimestampMs(START + round as i64 * STEP_MS));
            }
        }
    }
    let resident = resident_bytes().saturating_sub(before);
    println!(
        "{count} series x {ROUNDS} samples: {:.0} bytes a series resident, {:.0} by own account",
        resident as f64 / count as f64,
        tsdb.memory_bytes() as f64 / count as f64,
    );
    tsdb.flush_and_close();
    drop(tsdb);
    let on_disk: u64 = std::fs::read_dir(dir.path())
        .expect("the directory is there")
        .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
        .sum();
    let (start, cpu_start) = (Instant::now(), cpu_time());
    let tsdb = Tsdb::open(settings(Some(dir.path()))).expect("the directory can be opened again");
    let (took, cpu) = (start.elapsed(), cpu_time().saturating_sub(cpu_start));
    let report = tsdb.replay_report();
    println!(
        "replay of {} series, {:.1} M samples, {:.0} MB on disk: {:.0} ms, {:.0} ms of it on a core",
        report.series,
        report.samples as f64 / 1e6,
        on_disk as f64 / 1e6,
        took.as_secs_f64() * 1e3,
        cpu.as_secs_f64() * 1e3,
    );
    let series = series(count);
    let mut worst = Duration::ZERO;
    let now = TimestampMs(START + ROUNDS as i64 * STEP_MS);
    for round in ROUNDS..ROUNDS + 8 {
        for (n, some) in series.chunks(SCRAPE_SERIES).enumerate() {
            let batch = batch(some, n * SCRAPE_SERIES, round);
            let start = Instant::now();
            tsdb.commit(batch).wait().expect("the store takes the scrape");
            worst = worst.max(start.elapsed());
        }
    }
    let start = Instant::now();
    tsdb.maintain(now.plus_ms(3_600_000));
    println!(
        "slowest scrape of {SCRAPE_SERIES} into {count} series: {:.1} ms; maintain after an hour: {:.0} ms",
        worst.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
    );
}

/// CPU time of all threads of this process (`/proc/self/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kb| kb.parse::<usize>().ok()).unwrap_or_default() * 1024
}
