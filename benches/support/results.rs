//! `benches/RESULTS.md`: one section a bench, each replaced by the run that was asked to with `--write`.

use std::path::Path;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/RESULTS.md");

const PREFACE: &str = "# Figures of the benches\n\nEach section is what `cargo bench --bench NAME -- --write` printed last. \
The machine has two cores that others use, too,\nso ratios between peers of one run say more than the figures.\n";

/// Whether the command line asks for the figures to be kept.
pub fn is_wanted() -> bool {
    std::env::args().any(|arg| arg == "--write")
}

/// Puts `text` under `## name` with the command and the day, in place of what stood there.
///
/// # Errors
/// The file cannot be read or written.
pub fn write(name: &str, text: &str) -> std::io::Result<()> {
    let before = match Path::new(PATH).exists() {
        true => std::fs::read_to_string(PATH)?,
        false => PREFACE.to_owned(),
    };
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let section = format!("## {name}\n\n`cargo bench --bench {name} -- --write`, {today}.\n\n{}\n", text.trim());
    std::fs::write(PATH, replaced(&before, name, &section))
}

/// The file with one section replaced, or added in the order of names.
fn replaced(file: &str, name: &str, section: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = file;
    while let Some(at) = rest.get(1..).and_then(|tail| tail.find("\n## ")) {
        let (part, tail) = rest.split_at(at + 2);
        parts.push(part);
        rest = tail;
    }
    parts.push(rest);
    let title = |part: &str| part.lines().next().and_then(|line| line.strip_prefix("## ")).map(str::to_owned);
    let (preface, sections) = parts.split_first().expect("a text has at least one part");
    let mut sections: Vec<&str> =
        sections.iter().copied().filter(|part| title(part).as_deref() != Some(name)).collect();
    sections.push(section);
    sections.sort_by_key(|part| title(part));
    let trimmed: Vec<&str> = [*preface].into_iter().chain(sections).map(str::trim_end).collect();
    trimmed.join("\n\n") + "\n"
}
