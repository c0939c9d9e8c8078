//! The arrows between the rooms: which module may import which, and what no room may do.
//!
//! The table is the one of ARCHITECTURE.md; a new arrow is a decision, made here first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may import besides itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("clock", &["model"]),
    ("rivet", &["model"]),
    ("storage", &["model"]),
    ("telemetry", &["model"]),
    ("receive", &["storage", "rivet", "model", "clock"]),
    ("tsdb", &["storage", "model"]),
    ("promql", &["storage", "model"]),
    ("rules", &["promql", "storage", "model"]),
    ("capacity", &["promql", "storage", "rivet", "model"]),
    ("checklist", &["rivet", "model"]),
    ("notify", &["model", "clock"]),
    ("forward", &["storage", "model"]),
    ("export", &["rivet", "model"]),
    ("api", &["promql", "notify", "storage", "model", "clock"]),
    ("simulate", &["receive", "tsdb", "promql", "rules", "capacity", "notify", "rivet", "storage", "model"]),
    (
        "config",
        &[
            "api",
            "capacity",
            "checklist",
            "forward",
            "notify",
            "receive",
            "rules",
            "telemetry",
            "tsdb",
            "rivet",
            "promql",
            "model",
        ],
    ),
];

/// Rooms whose time is a parameter, and the words that would read or wait for a clock.
const CLOCKLESS: &[&str] = &[
    "model",
    "rivet",
    "storage",
    "promql",
    "rules",
    "capacity",
    "checklist/items",
    "checklist/evidence",
    "checklist/cluster",
    "checklist/render",
    "simulate",
    "export",
];
const CLOCK_WORDS: &[&str] = &["Instant::now", "SystemTime::now", "tokio::time", "jiff::Timestamp::now", "Zoned::now"];

fn sources(room: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = src.join(format!("{room}.rs"));
    if file.exists() {
        return vec![file];
    }
    let mut files = Vec::new();
    let mut folders = vec![src.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => files.push(path),
                false => {}
            }
        }
    }
    files
}

/// The part of a file that is not its tests: what stands before the first `#[cfg(test)]`.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

/// Names of rooms after `crate::`, in `use` lines and in paths.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split("crate::").skip(1) {
        let list = part.strip_prefix('{').map_or(part, |rest| rest.split('}').next().unwrap_or(rest));
        let items = if part.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for item in items {
            let name: String = item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn rooms_import_only_what_the_architecture_allows() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let rooms: Vec<&str> = allowed.keys().copied().chain(["app", "cli"]).collect();
    let mut wrong = Vec::new();
    for (room, may) in &allowed {
        for file in sources(room) {
            if file.file_name().is_some_and(|n| n == "tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for name in imports(without_tests(&text)) {
                if rooms.contains(&name.as_str()) && name != *room && !may.contains(&name.as_str()) {
                    wrong.push(format!("{} imports `{name}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the table does not allow:\n{}", wrong.join("\n"));
}

#[test]
fn rooms_without_a_clock_read_none() {
    let mut wrong = Vec::new();
    for room in CLOCKLESS {
        for file in sources(room) {
            let text = std::fs::read_to_string(&file).unwrap();
            for word in CLOCK_WORDS.iter().filter(|w| without_tests(&text).contains(**w)) {
                wrong.push(format!("{} says `{word}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "time is a parameter in these rooms:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let mut silent = Vec::new();
    for (room, _) in ARROWS.iter().chain([&("app", &[] as &[&str]), &("cli", &[])]) {
        for file in sources(room) {
            // `tests.rs` is the end of the file beside it.
            let is_tests = file.file_name().is_some_and(|name| name == "tests.rs");
            if !is_tests && !std::fs::read_to_string(&file).unwrap().starts_with("//!") {
                silent.push(file.display().to_string());
            }
        }
    }
    assert!(silent.is_empty(), "modules without a header:\n{}", silent.join("\n"));
}
