//! Lives of alerts over hours and days on a stepped clock: each file in `tests/rules/lives` is one.
//!
//! A file holds rules, series in promtool's notation (a value for each interval), actions at times, and the
//! log that must come out: one line for each alert that starts, ends, or is held, but none for repeats.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking, as the tests do.

use std::collections::BTreeMap;
use std::sync::Arc;

use rivetwatch::model::{
    Alert, AlertState, InstanceKey, TimestampMs, Value, format_duration_ms, is_stale_nan, parse_duration_ms,
};
use rivetwatch::promql::{Engine, EngineOptions, parse_series_labels, parse_series_values};
use rivetwatch::rules::{Config, Input, MemoryStore, Rules, STATE_ANNOTATION, Source, Tuning, load};
use rivetwatch::storage::Point;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Life {
    /// Scenario and guarantee.
    about: String,
    #[serde(default)]
    settings: Config,
    rules: String,
    /// Values at 0, interval, 2 × interval, …
    #[serde(default)]
    series: BTreeMap<String, String>,
    until: String,
    #[serde(default)]
    actions: Vec<Action>,
    expect: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    at: String,
    /// The process dies and is back after this long; what was to be scraped meanwhile is lost.
    #[serde(default)]
    restart: Option<String>,
    /// After a restart: how long until every source has reported twice.
    #[serde(default)]
    ready_after: Option<String>,
    #[serde(default)]
    retire: Option<String>,
    /// Other rules.
    #[serde(default)]
    reload: Option<String>,
    /// Samples that arrive between ticks, followed by an arrival pass.
    #[serde(default)]
    arrive: BTreeMap<String, f64>,
    /// An arrival pass without new data, as a timer triggers it.
    #[serde(default)]
    timer: bool,
}

struct World {
    store: MemoryStore,
    rules: Rules,
    log: Vec<String>,
    /// What was last told of each alert.
    told: BTreeMap<String, String>,
    down_until: i64,
    ready_at: i64,
}

fn ms(text: &str) -> i64 {
    parse_duration_ms(text).unwrap_or_else(|| panic!("`{text}` is a duration"))
}

fn machine(text: &str, config: &Config) -> Rules {
    let set = load(&[Source { name: "life".into(), text: text.into() }], &Tuning::default()).unwrap();
    Rules::new(set, config.settings("http://watch.example", 300_000), Arc::new(Engine::new(EngineOptions::default())))
}

impl World {
    fn hear(&mut self, at: i64, alerts: Vec<Alert>) {
        for alert in alerts {
            let note = alert.annotations.get(STATE_ANNOTATION).map_or("", |n| n.split(':').next().unwrap());
            let state = match alert.state {
                AlertState::Firing => "firing",
                AlertState::Resolved => "resolved",
            };
            let name = format!("{}{}", alert.name(), alert.labels.keep(|n| n != "alertname"));
            let mut line = format!("{state} {name}");
            if !note.is_empty() {
                line += &format!(" {note}");
            }
            line += &format!(" since {}", format_duration_ms(alert.starts_at.0));
            if alert.state == AlertState::Firing {
                assert!(alert.ends_at.0 >= at + 240_000, "{line}: vouched for long enough");
            }
            if self.told.insert(name, line.clone()).as_ref() != Some(&line) {
                self.log.push(format!("{} {line}", format_duration_ms(at)));
            }
        }
    }

    fn step(&mut self, at: i64, arrival: bool) {
        let input = Input { storage: &self.store, sources_ready: at >= self.ready_at, stopwatch: None };
        let out = match arrival {
            true => match self.rules.arrival(TimestampMs(at), &input) {
                Some(out) => out,
                None => return self.log.push(format!("{} too soon", format_duration_ms(at))),
            },
            false => self.rules.tick(TimestampMs(at), &input),
        };
        assert!(!arrival || out.batch.points.is_empty(), "arrival passes write nothing");
        self.store.commit(out.batch);
        self.hear(at, out.alerts);
    }

    fn act(&mut self, at: i64, action: &Action) {
        let now = TimestampMs(at);
        if let Some(down) = &action.restart {
            self.down_until = at + ms(down);
            self.ready_at = self.down_until + action.ready_after.as_deref().map_or(0, ms);
        }
        if let Some(instance) = &action.retire {
            let alerts = self.rules.retire(now, &InstanceKey::named(instance));
            self.hear(at, alerts);
        }
        if let Some(text) = &action.reload {
            let set = load(&[Source { name: "life".into(), text: text.clone() }], &Tuning::default()).unwrap();
            self.rules.replace(set, now);
        }
        for (series, v) in &action.arrive {
            self.store.push(Point { labels: parse_series_labels(series).unwrap(), t: now, value: Value::Float(*v) });
        }
        if action.timer || !action.arrive.is_empty() {
            self.step(at, true);
        }
    }
}

fn live(life: &Life) -> String {
    let interval = life.settings.interval.as_ms();
    let mut world = World {
        store: MemoryStore::default(),
        rules: machine(&life.rules, &life.settings),
        log: Vec::new(),
        told: BTreeMap::new(),
        down_until: 0,
        ready_at: 0,
    };
    let series: Vec<_> = life
        .series
        .iter()
        .map(|(name, values)| (parse_series_labels(name).unwrap(), parse_series_values(values).unwrap()))
        .collect();
    let mut actions: Vec<(i64, &Action)> = life.actions.iter().map(|a| (ms(&a.at), a)).collect();
    actions.sort_by_key(|(at, _)| *at);
    let mut actions = actions.into_iter().peekable();
    let mut restarted = false;
    for tick in 0..=ms(&life.until) / interval {
        let at = tick * interval;
        while let Some((when, action)) = actions.next_if(|(when, _)| *when <= at) {
            world.act(when, action);
            restarted |= action.restart.is_some();
        }
        if at < world.down_until {
            continue;
        }
        if std::mem::take(&mut restarted) {
            world.rules = machine(&life.rules, &life.settings);
            world.rules.restore(TimestampMs(at), &world.store).unwrap();
        }
        for (labels, values) in &series {
            // A value that follows an empty position ends the series, as a scrape without it does.
            let position = usize::try_from(tick).unwrap();
            let value = values.get(position).cloned().flatten().map(|v| v.value);
            let before = position.checked_sub(1).and_then(|p| values.get(p).cloned().flatten().map(|v| v.value));
            let value =
                value.or_else(|| before.filter(|v| !is_end(v)).map(|_| Value::Float(rivetwatch::model::stale_nan())));
            if let Some(value) = value {
                world.store.push(Point { labels: labels.clone(), t: TimestampMs(at), value });
            }
        }
        world.step(at, false);
    }
    world.log.join("\n") + "\n"
}

fn is_end(value: &Value) -> bool {
    matches!(value, Value::Float(v) if is_stale_nan(*v))
}

#[test]
fn alerts_live_as_their_files_tell() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules/lives");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 10, "the lives are there");
    let mut wrong = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let life: Life = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let log = live(&life);
        if log.trim() != life.expect.trim() {
            wrong.push(format!("{}: {}\nexpected\n{}\ngot\n{log}", file.display(), life.about, life.expect));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
