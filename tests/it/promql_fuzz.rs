//! Scenario: thousands of queries that nobody would write, drawn, cut up and joined by a seed.
//! Guarantee: none panics, none needs more memory than its limits say, none goes on for ever, and each agrees with
//! itself; see `promql::testing::fuzz`.
//!
//! `RIVETWATCH_FUZZ_SEEDS` and `RIVETWATCH_FUZZ_FIRST` ask for more, or others; `.ci/long.d/promql-fuzz` does.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rivetwatch::promql::testing::MemoryStorage;
use rivetwatch::promql::testing::fuzz::{Entropy, Generator, MAX_SAMPLES, check, mutated, smallest, store};

/// Queries of one seed.
const CASES: u64 = 6_000;

/// Memory that any of the queries may need at once: the samples that it may hold, in the forms they take on the way, and
/// the 64 MiB that every query has, of which these need little.
const BYTES_MAX: u64 = (MAX_SAMPLES * 64 + (24 << 20)) as u64;

/// Nobody waits this long for data of half an hour, even with a debug build on a busy machine.
const ENDLESS: Duration = Duration::from_secs(60);

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The queries of the scripts in `tests/promql`, and those that the differential test has drawn.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut queries = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().map(str::trim);
        match file.extension().and_then(|e| e.to_str()) {
            Some("txt") => queries.extend(lines.filter(|line| !line.starts_with('#')).map(str::to_owned)),
            Some("test") => queries.extend(lines.filter_map(evaluated).map(str::to_owned)),
            _ => {}
        }
    }
    queries
}

/// The query of an `eval` line.
fn evaluated(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("eval")?;
    let after = if rest.contains(" step ") { " step " } else { " at " };
    let (_, rest) = rest.split_once(after)?;
    rest.trim_start().split_once(' ').map(|(_, query)| query)
}

/// Panics that are caught here are told at the end, not each time that the smallest query is looked for.
fn quiet() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let is_checked = info.location().is_some_and(|place| !place.file().contains("tests/it"));
        let is_ours = std::thread::current().name().is_some_and(|name| name.contains("promql_fuzz"));
        if !(is_checked && is_ours) {
            before(info);
        }
    }));
}

/// Memory that a query needed at once, or why it fails.
fn outcome(query: &str) -> Result<u64, String> {
    static STORE: LazyLock<MemoryStorage> = LazyLock::new(store);
    static QUIET: LazyLock<()> = LazyLock::new(quiet);
    let (store, ()) = (&*STORE, *QUIET);
    let mut outcome = Ok(());
    let info = allocation_counter::measure(|| {
        outcome = catch_unwind(AssertUnwindSafe(|| check(store, query)));
    });
    match outcome {
        Ok(()) if info.bytes_max > BYTES_MAX => Err(format!("needs {} bytes at once", info.bytes_max)),
        Ok(()) => Ok(info.bytes_max),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(text.unwrap_or_default().chars().take(500).collect())
        }
    }
}

/// What has been asked so far, by all threads.
#[derive(Default)]
struct Tally {
    queries: u64,
    parsed: u64,
    bytes_max: u64,
    slowest: (Duration, String),
    failures: Vec<String>,
}

/// The query that a thread is asking, and since when.
type Running = Mutex<Option<(Instant, String)>>;

/// What never comes back cannot fail by itself.
struct Watch {
    running: Vec<Running>,
    is_over: AtomicBool,
}

impl Watch {
    fn new(threads: usize) -> Self {
        let running = (0..threads).map(|_| Mutex::new(None)).collect();
        Self { running, is_over: AtomicBool::new(false) }
    }

    /// Ends the process with the query that does not end.
    fn look(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(100));
            for slot in &self.running {
                if let Some((since, query)) = &*slot.lock()
                    && since.elapsed() > ENDLESS
                {
                    // Not by a macro: what those print is kept back until the test ends.
                    let _ = writeln!(std::io::stderr(), "this query does not end:\n  {query}");
                    std::process::abort();
                }
            }
        }
    }
}

/// Asks the queries of one seed; ends with the first that fails.
fn ask_seed(seed: u64, mut corpus: Vec<String>, slot: &Running, tally: &Mutex<Tally>) {
    for case in 0..CASES {
        let mut entropy = Entropy::new(seed.wrapping_mul(1_000_003).wrapping_add(case));
        let query = match entropy.below(3) {
            0 => mutated(&mut entropy, &corpus),
            _ => Generator::new(&mut entropy).query(),
        };
        let is_parsed = rivetwatch::promql::parse(&query).is_ok();
        let ask = |text: &str| {
            *slot.lock() = Some((Instant::now(), text.to_owned()));
            let outcome = outcome(text);
            (outcome, slot.lock().take().map_or(Duration::ZERO, |(since, _)| since.elapsed()))
        };
        let (outcome, took) = ask(&query);
        let failure = outcome.as_ref().err().map(|reason| {
            let least = smallest(&query, |text| ask(text).0.is_err());
            let its_reason = ask(&least).0.err().unwrap_or_default();
            format!("case {case} of seed {seed}: {reason}\n  {query}\nsmallest: {its_reason}\n  {least}")
        });
        let mut tally = tally.lock();
        tally.queries += 1;
        tally.parsed += u64::from(is_parsed);
        tally.bytes_max = tally.bytes_max.max(outcome.unwrap_or(0));
        if took > tally.slowest.0 {
            tally.slowest = (took, query.clone());
        }
        if let Some(failure) = failure {
            tally.failures.push(failure);
            return;
        }
        // What was made by grammar is new material for cutting.
        if corpus.len() < 2_000 {
            corpus.push(query);
        }
    }
}

#[test]
fn queries_by_chance_neither_panic_nor_explode_nor_contradict_themselves() {
    let (seeds, first) = (setting("RIVETWATCH_FUZZ_SEEDS", 1), setting("RIVETWATCH_FUZZ_FIRST", 1));
    let corpus = corpus();
    assert!(corpus.len() > 300, "the corpus is not there");
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(usize::try_from(seeds).unwrap());
    let (watch, next, tally) = (Watch::new(threads), AtomicU64::new(0), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        scope.spawn(|| watch.look());
        let work = |slot| {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    break;
                }
                ask_seed(first + seed, corpus.clone(), slot, &tally);
            }
        };
        let named =
            |slot| std::thread::Builder::new().name("promql_fuzz".into()).spawn_scoped(scope, move || work(slot));
        let workers: Vec<_> = watch.running.iter().map(|slot| named(slot).unwrap()).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        watch.is_over.store(true, Ordering::Relaxed);
    });
    let Tally { queries, parsed, bytes_max, slowest, failures } = tally.into_inner();
    println!(
        "promql-fuzz: {queries} queries of {seeds} seeds from {first}, {parsed} of them PromQL; {} failed; at most {:.1} MB \
         at once; slowest {} ms: {}",
        failures.len(),
        bytes_max as f64 / 1e6,
        slowest.0.as_millis(),
        slowest.1
    );
    assert!(failures.is_empty(), "{} queries fail:\n{}", failures.len(), failures.join("\n"));
    // Otherwise only the parser would be fuzzed.
    assert!(parsed * 3 > queries, "only {parsed} of {queries} queries were PromQL");
}

#[test]
fn the_corpus_itself_holds() {
    for query in corpus() {
        assert_eq!(outcome(&query).err(), None, "{query}");
    }
}
